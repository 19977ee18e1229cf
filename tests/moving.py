"""A flow whose runs are stopped, saved and moved by tests: fan-out, retries, fan-in, merges, deferred events.

Its handlers are deterministic, and write what they find under keys of their own: whatever happens to a run, its result
is the one of the run that nothing happened to. It is imported by child processes, too.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.job_state import register_serializable
from tests.drawings import own_context, own_run, wait

__all__ = ["FANNED_OUT", "at_instants", "draw_moving", "finish", "result"]

# How many items the source sends, unless it is told.
FANNED_OUT = 6

_looks: list[Callable[[], None]] = []


def at_instants(look: Callable[[], None] | None) -> None:
    """Call `look()` at every place between two steps of a handler, on its thread; None: nobody looks."""
    _looks[:] = [] if look is None else [look]


def instant() -> None:
    """A place in a handler at which a run may be looked at."""
    for look in _looks:
        look()


def tallied(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A merge function: how many there were, and their sum."""
    return {"count": old.get("count", 0) + 1, "total": old.get("total", 0) + new["item"]}


class Moving(Routine):
    """What the routines of the flow have in common."""

    def share(self, key: str, value: Any) -> None:
        """Write a result."""
        own_run(self).update_shared_data(key, value)
        instant()

    def send(self, event_name: str, item: Any) -> None:
        """Emit an item."""
        self.emit(event_name, item=item)
        instant()


@register_serializable
class MovingSource(Moving):
    """Sends items, and defers two events."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.start)
        self.define_event("output")
        self.define_event("asked")

    def start(self, **given: Any) -> None:
        count = given.get("count", FANNED_OUT)
        for item in range(count // 2):
            self.send("output", item)
        for item in range(2):
            self.emit_deferred_event("asked", item=item)
            instant()
        for item in range(count // 2, count):
            self.send("output", item)


@register_serializable
class MovingWorker(Moving):
    """Fails at the first attempt with every third item, after it has emitted."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.work)
        self.define_event("output")
        self.set_error_handler(ErrorHandler("retry", max_retries=2, retry_delay=0.002, retry_backoff=1))

    def work(self, item: int) -> None:
        instant()
        context = own_context(self)
        self.send("output", item * 10)
        self.send("output", item * 10 + 1)
        if item % 3 == 0 and context.attempt == 1:
            raise OSError("down for a moment")
        self.share(f"worked on {item} at attempt {context.attempt}", True)


@register_serializable
class MovingBranch(Moving):
    """Passes items on, its emissions released at once."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.pass_on)
        self.define_event("output")

    def pass_on(self, item: int) -> None:
        instant()
        self.send("output", item)
        self.send("output", -item)


@register_serializable
class MovingJoin(Moving):
    """Where two branches come together: "append" collects what they send."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.join, merge_strategy="append")

    def join(self, item: list[int]) -> None:
        instant()
        self.share(f"joined {len(item)}", True)
        if len(item) == self.get_config("expected"):
            self.share("joined", sorted(item))


@register_serializable
class MovingTally(Moving):
    """Merges by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.tell, merge_strategy=tallied)

    def tell(self, count: int, total: int) -> None:
        instant()
        self.share(f"tallied {count}", True)
        if count == self.get_config("expected"):
            self.share("total", total)


@register_serializable
class MovingAnswer(Moving):
    """Hears deferred events."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.answer)

    def answer(self, item: int) -> None:
        instant()
        self.share(f"answered {item}", True)


def draw_moving(strategy: str = "concurrent", count: int = FANNED_OUT, **options: Any) -> Flow:
    """The flow, drawn for so many items."""
    flow = Flow("moving", strategy, 4, execution_timeout=None, **options)
    flow.add_routine(MovingSource(), "source")
    flow.add_routine(MovingWorker(), "worker")
    for name in ("left", "right"):
        flow.add_routine(MovingBranch(), name)
    join, tally = MovingJoin(), MovingTally()
    join.set_config(expected=count * 8)
    tally.set_config(expected=count * 2)
    flow.add_routine(join, "join")
    flow.add_routine(tally, "tally")
    flow.add_routine(MovingAnswer(), "answer")
    flow.connect("source", "output", "worker", "input")
    flow.connect("source", "asked", "answer", "input")
    for name in ("left", "right"):
        flow.connect("worker", "output", name, "input")
        flow.connect(name, "output", "join", "input")
    flow.connect("worker", "output", "tally", "input")
    return flow


def finish(flow: Flow, job_state: JobState, drive: Callable[[], Any] | None = None) -> JobState:
    """Resume a run until nothing of it is left, its deferred events included."""
    while True:
        flow.resume(job_state)
        if drive is not None:
            drive()
        wait(flow, job_state)
        if not job_state.deferred_events:
            return job_state


def result(job_state: JobState) -> dict[str, Any]:
    """What a run came to, in plain data: results, emissions, and how often each routine ended and failed."""
    records = job_state.execution_history
    emitted = Counter(
        f"{record.routine_id}.{record.event_name} {record.data}" for record in records if record.is_emission
    )
    told = Counter(f"{record.routine_id} {record.event_name}" for record in records if not record.is_emission)
    return {
        "status": job_state.status,
        "shared": dict(job_state.shared_data),
        "emitted": dict(emitted),
        "told": {name: number for name, number in told.items() if not name.endswith(" start")},
        "pending": list(job_state.pending_tasks),
    }
