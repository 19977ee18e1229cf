"""Small flows for tests: routines out of functions, drawings out of text, waits with deadlines."""

import asyncio
import contextlib
import contextvars
import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

from routilux import ErrorHandler, Event, ExecutionContext, Flow, JobState, Routine, Slot
from routilux.flow.ending import RunEnd
from routilux.job_state import ledger_of
from routilux.testing import FakeClock, ManualExecutor

__all__ = [
    "DEADLINE",
    "Act",
    "Gate",
    "HandlerKind",
    "SteppedFlow",
    "Watched",
    "await_reader",
    "collector",
    "delayed",
    "draw",
    "draw_failing_beside",
    "draw_stepped",
    "entry",
    "fails",
    "in_thread",
    "items",
    "keeps_context",
    "names",
    "node",
    "own_context",
    "own_run",
    "passed",
    "relay",
    "reloaded",
    "source",
    "start_held",
    "wait",
    "wait_until",
]

# Seconds after which a test gives up. Nothing takes that long on a slow machine; nothing waits for it to pass.
DEADLINE = 20.0

# What a node does with one delivery: (the routine, the data).
Act = Callable[[Routine, dict[str, Any]], Any]


def plain_handler(routine: Routine, act: Act) -> Callable[..., Any]:
    """A handler that a worker calls."""
    return lambda **data: act(routine, data)


def async_handler(routine: Routine, act: Act) -> Callable[..., Any]:
    """A handler that awaits, then has a thread call the act, which may wait there for the test.

    A thread of its own each time: those of a loop's executor are few, and acts wait for each other.
    """

    async def handler(**data: Any) -> None:
        await asyncio.sleep(0)
        await _from_thread(contextvars.copy_context(), act, routine, data)

    return handler


def _from_thread(context: contextvars.Context, act: Act, routine: Routine, data: dict[str, Any]) -> Any:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def end(error: BaseException | None) -> None:
        if not ended.done():  # else its handler was cancelled
            ended.set_exception(error) if error is not None else ended.set_result(None)

    def call() -> None:
        error: BaseException | None = None
        try:
            context.run(act, routine, data)
        except BaseException as raised:  # noqa: BLE001 - whatever it is, the handler raises it
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has gone with the handler
            loop.call_soon_threadsafe(end, error)

    threading.Thread(target=call, daemon=True).start()
    return ended


class HandlerKind:
    """What `node` makes of an act; the fixture `handler_kind` sets it."""

    make: Callable[[Routine, Act], Callable[..., Any]] = plain_handler

    @classmethod
    def use(cls, kind: str) -> None:
        """From now on: "plain" or "async"."""
        cls.make = staticmethod(async_handler if kind == "async" else plain_handler)


class Node(Routine):
    """A routine with one slot and some events, whose handler is a function of (routine, data)."""

    def __init__(self, act: Act | None, slot: str, events: tuple[str, ...], merge_strategy: Any) -> None:
        super().__init__()
        for name in events:
            self.define_event(name)
        self.define_slot(
            slot, handler=None if act is None else HandlerKind.make(self, act), merge_strategy=merge_strategy
        )


class Watched(Node):
    """A node that tells when it is asked for its slots and events, which happens in the middle of a resume.

    `on_get_slot()` and `on_get_event()` are called before the answer, on the thread that asks. A test sets them when it
    begins to watch, and to None when it has seen enough.
    """

    def __init__(self, act: Act | None, *, slot: str = "input", events: tuple[str, ...] = ("output",)) -> None:
        super().__init__(act, slot, events, "override")
        self.on_get_slot: Callable[[], None] | None = None
        self.on_get_event: Callable[[], None] | None = None

    def get_slot(self, name: str) -> Slot | None:
        look = self.on_get_slot
        if look is not None:
            look()
        return super().get_slot(name)

    def get_event(self, name: str) -> Event | None:
        look = self.on_get_event
        if look is not None:
            look()
        return super().get_event(name)


def node(
    act: Act | None = None,
    *,
    slot: str = "input",
    events: tuple[str, ...] = ("output",),
    merge_strategy: Any = "override",
    error_handler: ErrorHandler | None = None,
) -> Routine:
    """A routine that calls `act(routine, data)` for each delivery to its slot `input`."""
    routine = Node(act, slot, events, merge_strategy)
    routine.set_error_handler(error_handler)
    return routine


def entry(act: Act | None = None, *, events: tuple[str, ...] = ("output",), **options: Any) -> Routine:
    """A routine that `Flow.execute` may start at."""
    return node(act, slot="trigger", events=events, **options)


def source(*items: Any) -> Routine:
    """An entry that emits `output` once for each item, as `item=`; without items once, with what it was given."""

    def emit_all(routine: Routine, data: dict[str, Any]) -> None:
        if not items:
            routine.emit("output", **data)
        for item in items:
            routine.emit("output", item=item)

    return entry(emit_all)


def delayed(delay: float, item: Any = 1) -> Routine:
    """An entry that emits `output` with one item, after `delay` seconds of the flow's clock."""
    return entry(lambda routine, data: routine.emit_later("output", delay=delay, data={"item": item}))


def relay(**options: Any) -> Routine:
    """A routine that emits as `output` what it receives."""
    return node(lambda routine, data: routine.emit("output", **data), **options)


def collector(into: list[Any], **options: Any) -> Routine:
    """A routine that appends each delivery to a list."""
    return node(lambda routine, data: into.append(data), **options)


def fails(error: Exception, times: int | None = None) -> Act:
    """An act that raises `error`, always or the first few times, and then passes on what it got."""
    left = [times]

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if left[0] is None:
            raise error
        if left[0]:
            left[0] -= 1
            raise error
        routine.emit("output", **data)

    return act


def keeps_context(into: list[Any]) -> Act:
    """An act that keeps (its context, its routine): with them a test emits as a thread of the handler would."""
    return lambda routine, data: into.append((contextvars.copy_context(), routine))


def draw(*lines: str, flow: Flow | None = None, **routines: Routine) -> Flow:
    """A flow of named routines, and lines such as `a -> b` or `a.output -> b.input`."""
    flow = Flow("drawn") if flow is None else flow
    for name, routine in routines.items():
        flow.add_routine(routine, name)
    for line in lines:
        ends = [end.strip().partition(".") for end in line.split("->")]
        for (one, _, event), (other, _, slot) in itertools.pairwise(ends):
            flow.connect(one, event or "output", other, slot or "input")
    return flow


class SteppedFlow:
    """A flow with a manual executor and a fake clock."""

    def __init__(self, flow: Flow, executor: ManualExecutor, clock: FakeClock) -> None:
        self.flow = flow
        self.executor = executor
        self.clock = clock

    def __iter__(self) -> Any:
        return iter((self.flow, self.executor, self.clock))


def draw_stepped(*lines: str, options: dict[str, Any] | None = None, **routines: Routine) -> SteppedFlow:
    """As `draw`, with workers that are stepped and a clock that is advanced by hand."""
    executor, clock = ManualExecutor(), FakeClock()
    flow = Flow("drawn", executor=executor, clock=clock, **(options or {}))
    return SteppedFlow(draw(*lines, flow=flow, **routines), executor, clock)


def wait(flow: Flow, job_state: JobState, timeout: float = DEADLINE) -> JobState:
    """Wait for a run that must come to its end; returns it."""
    assert JobState.wait_for_completion(flow, job_state, timeout=timeout), f"still going: {job_state!r}"
    return job_state


def wait_until(flow: Flow, job_state: JobState, condition: Callable[[JobState], bool]) -> None:
    """Wait for something that must become true of a run."""
    came = JobState.wait_until_condition(flow, job_state, lambda _, state: condition(state), timeout=DEADLINE)
    assert came, f"it never came true of {job_state!r}"


def await_reader(job_state: JobState) -> RunEnd:
    """Until somebody sleeps who wants to be woken by every change of a run; returns the live side of that."""
    for _ in range(round(DEADLINE / 0.001)):
        run = ledger_of(job_state).live
        if isinstance(run, RunEnd):
            with run.lock:  # which is given back by one who has fallen asleep
                if run._waiters.watcher_count:  # noqa: SLF001 - nobody else can know that it sleeps
                    return run
        threading.Event().wait(0.001)
    raise AssertionError(f"nobody waits for news of {job_state!r}")


def reloaded(job_state: JobState) -> JobState:
    """The run as another process would find it: through JSON text, into a new JobState."""
    copy = JobState()
    copy.deserialize(json.loads(json.dumps(job_state.serialize())))
    return copy


def own_context(routine: Routine) -> ExecutionContext:
    """In a handler: what it knows of its activation."""
    context = routine.get_execution_context()
    assert context is not None
    return context


def own_run(routine: Routine) -> JobState:
    """In a handler: the run that it works for."""
    return own_context(routine).job_state


def names(job_state: JobState, routine_id: str | None = None) -> list[str]:
    """The history as `routine.event` texts, or as event names of one routine."""
    records = job_state.execution_history
    if routine_id is not None:
        return [record.event_name for record in records if record.routine_id == routine_id]
    return [f"{record.routine_id}.{record.event_name}" for record in records]


def items(got: list[dict[str, Any]]) -> list[Any]:
    """What a `collector` got as `item`, in its order."""
    return [data["item"] for data in got]


def passed(event: threading.Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(DEADLINE), "an expected event did not come"


class Gate:
    """A place in a handler where a test holds it: it reports that it arrived, and goes on when it may."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.may_go = threading.Event()

    def hold(self) -> None:
        """In the handler: arrive, and wait."""
        self.arrived.set()
        passed(self.may_go)

    def await_arrival(self) -> None:
        """In the test: until a handler is held here."""
        passed(self.arrived)

    def open(self) -> None:
        """In the test: let it go on."""
        self.may_go.set()

    def act(self, routine: Routine, data: dict[str, Any]) -> None:
        """For `node(gate.act)`: hold, then pass on."""
        self.hold()
        if routine.get_event("output") is not None:
            routine.emit("output", **data)


def start_held() -> tuple[Flow, JobState, Gate]:
    """A run of `a -> b` whose only handler at work, the one of `b`, is held at the gate."""
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    job_state = flow.execute("a")
    gate.await_arrival()
    return flow, job_state, gate


def draw_failing_beside(act: Act) -> Flow:
    """A flow for one run from `a`: `fail` raises while `slow` is at work, and `slow` calls `act` after that.

    What `act` emits goes to `c`.
    """
    at_work, failed = threading.Event(), threading.Event()

    def slow(routine: Routine, data: dict[str, Any]) -> None:
        at_work.set()
        passed(failed)
        act(routine, data)

    def fail(routine: Routine, data: dict[str, Any]) -> None:
        passed(at_work)
        raise ValueError("boom")

    flow = draw("a -> slow -> c", "a -> fail", a=source(1), slow=node(slow), c=node(),
                fail=node(fail, error_handler=ErrorHandler("stop")))  # fmt: skip
    flow.set_execution_strategy("concurrent", 2)
    flow.on_run_end(lambda job_state: failed.set())
    return flow


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Call a function in a thread of its own; the returned function joins it and gives its result."""
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the joining test gets it
            outcome.append((None, error))

    thread = threading.Thread(target=target, daemon=True)
    thread.start()

    def join() -> Any:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "the thread is still at work"
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    return join
