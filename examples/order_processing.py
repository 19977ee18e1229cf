"""Orders are processed by a process that is killed in the middle, and by the next one, which goes on.

The runs are kept in a file. What was kept is not done again; the moment that was lost is, so the handlers give the
outside world their activation's id, by which it knows a repeated request.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from routilux import Flow, JobState
from routilux.functions import routine

ORDERS = {"order-1": 30, "order-2": 75, "order-3": 20}


class Bank:
    """The world outside: a file with a line for each payment. A request that it has seen before changes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def payments(self) -> dict[str, list[object]]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return {key: [order, amount] for key, order, amount in map(json.loads, lines)}

    def charge(self, key: str, order: str, amount: int) -> None:
        if key not in self.payments():
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, order, amount]) + "\n")


@routine
def accept(order: str, amount: int) -> dict[str, object]:
    return {"order": order, "amount": amount}


@routine
def pay(order: str, amount: int) -> dict[str, object]:
    context = pay.get_execution_context()
    if context is not None:
        Bank(Path("payments.txt")).charge(context.activation_id, order, amount)
    if order == "order-2" and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)  # the money is paid, and nobody has been told
    return {"order": order}


@routine
def ship(order: str) -> None:
    ship.send_output("shipped", order=order)


def draw() -> Flow:
    flow = Flow("orders", store="orders.db")
    flow.chain(accept, pay, ship)
    return flow


def work() -> None:
    """What the application does whenever it starts: go on with what is unfinished, then do what is new."""
    with draw() as flow:
        for job_state in flow.recover():
            print(f"{job_state.job_id} goes on", flush=True)
        for order, amount in ORDERS.items():
            # The job_id makes it safe to ask again: a run that is there is returned, not started a second time.
            job_state = flow.execute("accept", {"order": order, "amount": amount}, job_id=order)
            JobState.wait_for_completion(flow, job_state)
            print(f"{order} is {job_state.status}", flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        work()
        return
    with tempfile.TemporaryDirectory() as folder:
        for number in (1, 2):
            print(f"Process {number}", flush=True)
            command = [sys.executable, str(Path(__file__).resolve()), "work"]
            ended = subprocess.run(command, cwd=folder, check=False)  # noqa: S603 - this very file
            print("killed" if ended.returncode == -signal.SIGKILL else "done")
        print(
            "Paid:", *(f"{order} {amount}" for order, amount in Bank(Path(folder, "payments.txt")).payments().values())
        )


if __name__ == "__main__":
    main()
