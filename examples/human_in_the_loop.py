"""A run asks a person and waits in a file, for as long as it takes; the answer comes in another process."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from routilux import Flow, JobState, Routine
from routilux.job_state import register_serializable


@register_serializable
class Cashier(Routine):
    """Pays small amounts, and asks before it pays a large one."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.look)
        self.define_slot("approved", handler=self.pay)
        self.define_event("decision_needed", ["amount"])

    def look(self, amount: int) -> None:
        context = self.get_execution_context()
        if context is None:
            return
        if amount < 100:
            self.pay(amount)
            return
        print(f"  cashier: who approves {amount}?")
        # It is emitted when somebody resumes the run. This handler ends here, and is not called again.
        self.emit_deferred_event("decision_needed", amount=amount)
        context.flow.pause(context.job_state, reason="approval", checkpoint={"question": f"Pay {amount}?"})

    def pay(self, amount: int) -> None:
        print(f"  cashier: {amount} paid")


@register_serializable
class Desk(Routine):
    """Where the answer is, once the run goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("decision_needed", handler=self.decide)
        self.define_event("approved", ["amount"])

    def decide(self, amount: int) -> None:
        context = self.get_execution_context()
        if context is None:
            return
        answer = context.job_state.get_shared_data("answer")
        print(f"  desk: the answer is {answer!r}")
        if answer == "yes":
            self.emit("approved", amount=amount)


def ask(folder: Path) -> None:
    """The first process: the run asks, and is saved."""
    with Flow("expenses") as flow:
        flow.add_routine(Cashier(), "cashier")
        flow.add_routine(Desk(), "desk")
        flow.connect("cashier", "decision_needed", "desk", "decision_needed")
        flow.connect("desk", "approved", "cashier", "approved")
        job_state = flow.run("cashier", {"amount": 250})
        (folder / "flow.json").write_text(json.dumps(flow.serialize()), encoding="utf-8")
        job_state.save(folder / "run.json")
    print(f"The run is {job_state.status}.")


def answer(folder: Path) -> None:
    """The second process: a person answers, and the run ends."""
    job_state = JobState.load(folder / "run.json")
    print(f"  person: {job_state.checkpoint['question']} Yes.")
    job_state.update_shared_data("answer", "yes")
    with Flow() as flow:
        flow.deserialize(json.loads((folder / "flow.json").read_text(encoding="utf-8")))
        JobState.wait_for_completion(flow, flow.resume(job_state))
    asked = sum(record.event_name == "start" for record in job_state.get_execution_history("cashier"))
    print(f"The run is {job_state.status}; the cashier was called {asked} times, once to ask and once to pay.")


def main() -> None:
    if len(sys.argv) > 2:
        {"ask": ask, "answer": answer}[sys.argv[1]](Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, what in enumerate(("ask", "answer"), start=1):
            print(f"Process {number}", flush=True)
            subprocess.run([sys.executable, __file__, what, folder], check=True)  # noqa: S603 - this very file


if __name__ == "__main__":
    main()
