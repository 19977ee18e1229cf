"""A run asks for an approval and is paused; another process, a day later perhaps, gives it, and the run goes on.

The run is kept in a file. No thread waits, and no process has to be there in between.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from routilux import Flow, JobState, Routine


class Purchase(Routine):
    """Orders what is cheap, and asks before it orders the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.look)
        self.define_slot("decided", handler=self.decide)
        self.define_event("approved", ["item"])

    def look(self, item: str, price: int) -> None:
        if price < 100:
            print(f"  {item}: no need to ask")
            self.emit("approved", item=item)
            return
        context = self.get_execution_context()
        if context is not None:
            context.job_state.update_shared_data("item", item)
        print(f"  {item}: who approves {price}?")
        # This handler ends here. The answer comes to the slot, whenever that is; after a week it says "timed_out".
        self.request_input("approval", slot="decided", timeout=7 * 24 * 3600)

    def decide(self, approved: bool = False, by: str = "nobody", timed_out: bool = False) -> None:
        context = self.get_execution_context()
        if context is None:
            return
        item = context.job_state.get_shared_data("item")
        print(f"  {item}: {by} says {'yes' if approved else 'no'}" if not timed_out else f"  {item}: nobody answered")
        if approved:
            self.emit("approved", item=item)


class Warehouse(Routine):
    """Orders."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("order", handler=self.order)

    def order(self, item: str) -> None:
        print(f"  {item}: ordered")


def draw() -> Flow:
    flow = Flow("purchases", store="purchases.db")
    flow.add_routine(Purchase(), "purchase")
    flow.add_routine(Warehouse(), "warehouse")
    flow.connect("purchase", "approved", "warehouse", "order")
    return flow


def ask() -> None:
    """The first process: one run ends, and two wait for a person."""
    with draw() as flow:
        for item, price in {"pencils": 20, "chair": 250, "yacht": 900_000}.items():
            job_state = flow.execute("purchase", {"item": item, "price": price}, job_id=item)
            JobState.wait_for_completion(flow, job_state)
            reason = job_state.pause_points[-1]["reason"] if job_state.pause_points else "nothing"
            print(f"{item} is {job_state.status} and waits for {reason}")


def answer() -> None:
    """The second process: a person answers."""
    with draw() as flow:
        for header in reversed(flow.store.list_runs(status="paused")) if flow.store is not None else ():
            flow.send_input(header.job_id, "approval", {"approved": header.job_id == "chair", "by": "Grace"})
            job_state = flow.load(header.job_id)
            JobState.wait_for_completion(flow, job_state)
            print(f"{job_state.job_id} is {job_state.status}")


def main() -> None:
    if sys.argv[1:] in (["ask"], ["answer"]):
        {"ask": ask, "answer": answer}[sys.argv[1]]()
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, what in enumerate(("ask", "answer"), start=1):
            print(f"Process {number}", flush=True)
            subprocess.run([sys.executable, str(Path(__file__).resolve()), what], cwd=folder, check=True)  # noqa: S603 - this very file


if __name__ == "__main__":
    main()
