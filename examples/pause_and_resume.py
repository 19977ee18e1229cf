"""A run is paused, saved, and finished by another process: it goes on where it stood."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from routilux import Flow, JobState, Routine
from routilux.job_state import register_serializable


@register_serializable
class Warehouse(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.unload)
        self.define_event("crate", ["number"])

    def unload(self, count: int) -> None:
        for number in range(1, count + 1):
            self.emit("crate", number=number)


@register_serializable
class Scale(Routine):
    """Weighs crates. "append" collects what has come to the slot so far, and that moves with the run."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("crate", handler=self.weigh, merge_strategy="append")

    def weigh(self, number: list[int]) -> None:
        print(f"  crate {number[-1]}: {len(number)} so far, {10 * sum(number)} kg")
        context = self.get_execution_context()
        if context is not None and number[-1] == 3 and len(number) == 3:
            # Handlers that are at work finish, what is queued waits. Anybody who has the JobState may pause it.
            context.flow.pause(context.job_state, reason="the lights go out", checkpoint={"shift": "early"})


def begin(folder: Path) -> None:
    """The first process: start a run, and save the flow and the run."""
    with Flow("harbour") as flow:
        flow.add_routine(Warehouse(), "warehouse")
        flow.add_routine(Scale(), "scale")
        flow.connect("warehouse", "crate", "scale", "crate")
        job_state = flow.run("warehouse", {"count": 6})

        (folder / "flow.json").write_text(json.dumps(flow.serialize()), encoding="utf-8")
        job_state.save(folder / "run.json")
    print(f"The run is {job_state.status}: {job_state.pause_points[-1]['reason']}.")


def end(folder: Path) -> None:
    """The second process: it knows the classes, and finds everything else in the files."""
    job_state = JobState.load(folder / "run.json")
    print(f"{len(job_state.pending_tasks)} crates wait since the {job_state.checkpoint['shift']} shift.")
    with Flow() as flow:
        flow.deserialize(json.loads((folder / "flow.json").read_text(encoding="utf-8")))
        JobState.wait_for_completion(flow, flow.resume(job_state))
    print(f"The run is {job_state.status}.")


def main() -> None:
    if len(sys.argv) > 2:
        {"begin": begin, "end": end}[sys.argv[1]](Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, what in enumerate(("begin", "end"), start=1):
            print(f"Process {number}", flush=True)
            subprocess.run([sys.executable, __file__, what, folder], check=True)  # noqa: S603 - this very file


if __name__ == "__main__":
    main()
