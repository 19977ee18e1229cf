"""What if? A run goes back to a point of another run's history, and takes another way; the old one stays as it is.

A warehouse packs a week of orders, and runs out of boxes on Thursday. What was packed before that is not packed again.
"""

import tempfile
from pathlib import Path

from routilux import Flow, JobState, Routine
from routilux.functions import routine

WEEK = {"Monday": 40, "Tuesday": 25, "Wednesday": 30, "Thursday": 45, "Friday": 20}


class Calendar(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.open)
        self.define_event("day", ["name", "orders"])

    def open(self, boxes: int) -> None:
        context = self.get_execution_context()
        if context is not None:
            context.job_state.update_shared_data("boxes", boxes)
        for name, orders in WEEK.items():
            self.emit("day", name=name, orders=orders)


@routine
def pack(name: str, orders: int) -> None:
    context = pack.get_execution_context()
    if context is None:
        return
    boxes = context.job_state.get_shared_data("boxes")
    packed = min(orders, boxes)
    context.job_state.update_shared_data("boxes", boxes - packed)
    context.job_state.modify_shared_data("late", lambda late: late + orders - packed, default=0)
    print(f"  {name}: {packed} of {orders} packed, {boxes - packed} boxes left")


def draw(store: Path) -> Flow:
    flow = Flow("warehouse", store=store)
    flow.add_routine(Calendar(), "calendar")
    flow.add_routine(pack, "pack")
    flow.connect("calendar", "day", "pack", "input")
    return flow


def tell(what: str, job_state: JobState) -> None:
    print(f"{what}: {job_state.get_shared_data('late')} orders are late.")


def end_of(day: int, job_state: JobState) -> int:
    """The number of the record that says that a day is packed."""
    packed = [
        number
        for number, record in enumerate(job_state.execution_history)
        if (record.routine_id, record.event_name) == ("pack", "completed")
    ]
    return packed[day - 1]


def more_boxes(job_state: JobState) -> None:
    """A change may be a function: it is given the new run before that goes on."""
    job_state.modify_shared_data("boxes", lambda boxes: boxes + 60)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, draw(Path(folder, "runs.db")) as flow:
        print("The week as it was")
        week = flow.run("calendar", {"boxes": 100})
        tell("In the end", week)

        print("What if boxes had come on Tuesday night?")
        restocked = flow.fork(week, at=end_of(2, week), changes=more_boxes)
        JobState.wait_for_completion(flow, restocked)
        tell("Then", restocked)

        print("What if nobody had ordered on Thursday?")

        def no_thursday(job_state: JobState) -> None:
            job_state.pending_tasks[:] = [
                task for task in job_state.pending_tasks if task["data"]["name"] != "Thursday"
            ]

        quiet = flow.fork(week, at=end_of(3, week), changes=no_thursday)
        JobState.wait_for_completion(flow, quiet)
        tell("Then", quiet)

        tell("The first run stays as it was", week)


if __name__ == "__main__":
    main()
