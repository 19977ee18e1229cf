"""Flows that are executed, waited for and shut down from inside handlers."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.errors import FlowShutDownError
from routilux.flow import SlotActivationTask
from routilux.flow.event_loop import EventLoop
from tests.drawings import (
    DEADLINE,
    Gate,
    collector,
    draw,
    entry,
    fails,
    in_thread,
    items,
    node,
    passed,
    relay,
    source,
    start_held,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def nesting(depth: int, into: list[tuple[int, str]], strategy: str, workers: int) -> Flow:
    """A flow whose task runs the flow itself, `depth` times, and waits each time."""

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["depth"] > 0:
            inner = flow.run("a", {"depth": data["depth"] - 1})
            into.append((data["depth"], inner.status))

    flow = Flow("nesting", execution_strategy=strategy, max_workers=workers)
    return draw("a -> b", flow=flow, a=entry(lambda routine, data: routine.emit("output", **data)), b=node(act))


@pytest.mark.parametrize(("strategy", "workers"), [("sequential", 1), ("concurrent", 1), ("concurrent", 2)])
def test_a_flow_whose_handlers_wait_for_runs_of_their_own_comes_to_its_end(strategy: str, workers: int) -> None:
    done: list[tuple[int, str]] = []
    flow = nesting(20, done, strategy, workers)
    assert flow.run("a", {"depth": 20}).status == "completed"
    assert done == [(depth, "completed") for depth in range(1, 21)]
    flow.shutdown()


def test_waits_that_are_nested_deeper_than_a_stack_is_high_come_to_their_end() -> None:
    done: list[tuple[int, str]] = []
    flow = nesting(150, done, "sequential", 1)
    assert flow.run("a", {"depth": 150}).status == "completed"
    assert {status for _, status in done} == {"completed"}
    assert len(done) == 150
    flow.shutdown()


def by_condition(flow: Flow) -> str:
    job_state = flow.execute("c")
    JobState.wait_until_condition(flow, job_state, lambda f, j: j.status == "completed", timeout=DEADLINE)
    return job_state.status


def by_stream(flow: Flow) -> str:
    stream = flow.stream("c")
    for _ in stream:
        pass
    return stream.job_state.status


def by_polling(flow: Flow) -> str:
    """For a state that was made by hand, and a task for it."""
    job_state = JobState(flow.flow_id)
    job_state.status = "running"
    slot = flow.routines["d"].get_slot("input")
    assert slot is not None
    flow._task_queue.put(SlotActivationTask(slot, {"item": 1}, job_state=job_state))
    JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
    return job_state.status


@pytest.mark.parametrize("waits", [by_condition, by_stream, by_polling])
def test_a_handler_that_waits_gives_its_place_away_however_it_waits(waits: Callable[[Flow], str]) -> None:
    seen: list[Any] = []
    flow = draw("a -> b", "c -> d", a=source(1), c=source(1), d=collector(seen),
                b=node(lambda routine, data: seen.append(waits(flow))))  # fmt: skip
    assert flow.run("a").status == "completed"
    assert seen == [{"item": 1}, "completed"]
    flow.shutdown()


def test_a_handlers_wait_keeps_its_timeout_while_the_other_runs_handler_is_at_work() -> None:
    gate, came = Gate(), []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        job_state = flow.execute("c")
        came.append(JobState.wait_for_completion(flow, job_state, timeout=0.05))
        gate.open()
        came.append(JobState.wait_for_completion(flow, job_state, timeout=DEADLINE))

    flow = draw("a -> b", "c -> d", a=source(1), b=node(act), c=source(1), d=node(gate.act))
    assert flow.run("a").status == "completed"
    assert came == [False, True]
    flow.shutdown()


def test_many_runs_that_all_wait_for_runs_of_their_own_come_to_their_end_on_one_worker() -> None:
    done: list[tuple[int, str]] = []
    flow = nesting(2, done, "sequential", 1)
    before = threading.active_count()
    runs = [flow.execute("a", {"depth": 2}) for _ in range(200)]
    for job_state in runs:
        assert wait(flow, job_state).status == "completed"
    assert len(done) == 400
    assert threading.active_count() - before <= 40, "a handler that waits must not cost a thread for good"
    flow.shutdown()


def test_a_waiting_handler_lets_another_run_have_its_place() -> None:
    # One worker; its handler waits for a run that is on a timer; a third run passes meanwhile.
    released = threading.Event()

    def slow_inner(routine: Routine, data: dict[str, Any]) -> None:
        if not released.is_set():
            raise OSError("not yet")

    def outer(routine: Routine, data: dict[str, Any]) -> None:
        assert flow.run("inner").status == "completed"

    policy = ErrorHandler("retry", max_retries=1000, retry_delay=0.005, retry_backoff=1.0)
    flow = draw(
        "a -> outer",
        "inner -> b",
        "c -> d",
        a=source(1),
        outer=node(outer),
        inner=source(1),
        b=node(slow_inner, error_handler=policy),
        c=source(1),
        d=node(lambda routine, data: released.set()),
    )
    outer_run = flow.execute("a")
    assert wait(flow, flow.execute("c")).status == "completed"
    assert wait(flow, outer_run).status == "completed"
    flow.shutdown()


def test_a_handler_may_wait_for_a_run_that_another_thread_started() -> None:
    gate = Gate()
    other: list[JobState] = []

    def waits(routine: Routine, data: dict[str, Any]) -> None:
        gate.hold()
        assert JobState.wait_for_completion(flow, other[0], timeout=DEADLINE)

    flow = draw("a -> b", "c -> d -> e", a=source(1), b=node(waits), c=source(1, 2, 3), d=node(), e=node())
    first = flow.execute("a")
    gate.await_arrival()
    other.append(flow.execute("c"))
    gate.open()
    assert wait(flow, first).status == "completed"
    assert other[0].status == "completed"
    flow.shutdown()


def test_an_entry_handler_may_run_another_flow() -> None:
    inner = draw("a -> b", a=source(1, 2), b=node())
    seen: list[str] = []
    outer = draw(a=entry(lambda routine, data: seen.append(inner.run("a").status)))
    assert outer.execute("a").status == "completed"
    assert seen == ["completed"]
    inner.shutdown()


def test_the_context_of_the_outer_handler_is_back_after_a_nested_run() -> None:
    seen: list[Any] = []

    def outer(routine: Routine, data: dict[str, Any]) -> None:
        before = routine.get_execution_context()
        flow.run("inner")
        after = routine.get_execution_context()
        assert before is not None
        assert after is not None
        seen.append((before.job_state is after.job_state, after.routine_id))
        routine.emit("output", x=1)

    flow = draw("a -> c", a=entry(outer), c=collector(seen), inner=source(1))
    flow.run("a")
    assert seen == [(True, "a"), {"x": 1}]
    flow.shutdown()


def test_a_failing_nested_run_does_not_fail_the_outer_one() -> None:
    def outer(routine: Routine, data: dict[str, Any]) -> None:
        assert flow.run("bad").status == "failed"

    flow = draw("a -> b", a=source(1), b=node(outer), bad=entry(fails(ValueError("boom"))))
    assert flow.run("a").status == "completed"
    flow.shutdown()


@pytest.mark.parametrize("waits", [True, False])
def test_a_handler_may_shut_its_flow_down(waits: bool) -> None:
    ended = threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        flow.shutdown(wait=waits)
        routine.emit("output", x=1)
        ended.set()

    got: list[Any] = []
    flow = draw("a -> b -> c", a=source(1), b=node(act), c=collector(got))
    job_state = flow.execute("a")
    passed(ended)
    wait(flow, job_state)
    if waits:
        assert (job_state.status, got) == ("completed", [{"x": 1}])
    else:
        assert (job_state.status, got) == ("paused", [])
        assert [task["routine_id"] for task in job_state.pending_tasks] == ["c"]


def test_a_shutdown_from_a_handler_waits_for_the_other_runs() -> None:
    gate, order = Gate(), []

    def closes(routine: Routine, data: dict[str, Any]) -> None:
        gate.await_arrival()
        gate.open()
        flow.shutdown(wait=True)
        order.append("closed")

    def slow(routine: Routine, data: dict[str, Any]) -> None:
        gate.hold()
        order.append("slow")

    flow = draw("a -> b", "c -> d", a=source(1), b=node(slow), c=source(1), d=node(closes))
    flow.set_execution_strategy("concurrent", 2)
    first, second = flow.execute("a"), flow.execute("c")
    wait(flow, first)
    wait(flow, second)
    assert order == ["slow", "closed"]


def test_two_shutdowns_at_once_both_return() -> None:
    flow, job_state, gate = start_held()
    joins = [in_thread(lambda: flow.shutdown(wait=True)) for _ in range(2)]
    gate.open()
    for join in joins:
        join()
    assert job_state.status == "completed"


def closing_at_once(closes: Callable[[str], None]) -> Flow:
    """Two entries, `a` and `x`; a handler of each run calls `closes(entry)` when the other is there too."""
    both = threading.Barrier(2)

    def act(routine: Routine, data: dict[str, Any]) -> None:
        both.wait(DEADLINE)
        closes(data["item"])
        routine.emit("output", **data)

    flow = draw("a -> b -> c", "x -> b", a=source("a"), x=source("x"), b=node(act), c=node())
    flow.set_execution_strategy("concurrent", 2)
    return flow


def test_handlers_of_two_runs_may_shut_their_flow_down_at_once() -> None:
    flow = closing_at_once(lambda name: flow.shutdown())
    runs = [flow.execute("a"), flow.execute("x")]
    assert [wait(flow, each).status for each in runs] == ["completed", "completed"]


def test_a_handler_that_shuts_down_while_another_one_waits_in_a_shutdown_lets_it_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first_waits = threading.Event()
    wait_until = EventLoop.wait_until

    def waits(loop: EventLoop, is_done: Callable[[], bool], timeout: float | None) -> bool:
        first_waits.set()
        return wait_until(loop, is_done, timeout)

    def closes(name: str) -> None:
        if name == "x":
            passed(first_waits)
        flow.shutdown()

    monkeypatch.setattr(EventLoop, "wait_until", waits)
    flow = closing_at_once(closes)
    runs = [flow.execute("a"), flow.execute("x")]
    assert [wait(flow, each).status for each in runs] == ["completed", "completed"]


def test_a_shutdown_does_not_park_the_run_of_a_handler_whose_own_shutdown_has_just_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of two handlers that shut down, x has waited, and a has returned, when x looks what there is to be parked.
    x_has_waited, a_returned, x_returned = threading.Event(), threading.Event(), threading.Event()
    wait_until = EventLoop.wait_until
    closing = threading.local()

    def waits(loop: EventLoop, is_done: Callable[[], bool], timeout: float | None) -> bool:
        found = wait_until(loop, is_done, timeout)
        if getattr(closing, "name", "") == "x":
            x_has_waited.set()
            passed(a_returned)
        elif getattr(closing, "name", "") == "a":
            passed(x_has_waited)
        return found

    def closes(name: str) -> None:
        closing.name = name
        flow.shutdown()
        closing.name = ""
        (a_returned if name == "a" else x_returned).set()
        if name == "a":
            passed(x_returned)

    monkeypatch.setattr(EventLoop, "wait_until", waits)
    flow = closing_at_once(closes)
    runs = [flow.execute("a"), flow.execute("x")]
    assert [wait(flow, each).status for each in runs] == ["completed", "completed"]


def test_execute_is_refused_while_a_shutdown_waits_and_works_again_afterwards() -> None:
    gate = Gate()
    refused = threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        gate.hold()
        for _ in range(2000):
            try:
                wait(flow, flow.execute("c"))
            except FlowShutDownError:
                refused.set()
                return

    flow = draw("a -> b", a=source(1), b=node(act), c=entry())
    job_state = flow.execute("a")
    gate.await_arrival()
    join = in_thread(lambda: flow.shutdown(wait=True))
    gate.open()
    join()
    assert job_state.status == "completed"
    assert refused.is_set()
    assert flow.run("c").status == "completed"
    flow.shutdown()


@pytest.mark.plain_only("it counts workers, and handlers that await need none")
def test_a_worker_that_took_a_waiters_place_goes_when_the_waiter_is_back() -> None:
    # A sequential flow with two runs: A's handler waits for a run of another flow, so B begins beside it. When A goes
    # on, the two must soon be one at a time again, though neither has to let anybody else go first.
    lock, overlaps, order = threading.Lock(), [], []
    working: set[str] = set()
    inner_gate = Gate()
    inner = draw("a -> b", a=source(1), b=node(inner_gate.act))

    def act(routine: Routine, data: dict[str, Any]) -> None:
        with lock:
            working.add(data["run"])
            overlaps.append(len(working))
            order.append(data["run"])
        if data["item"] == "wait":
            with lock:
                working.discard(data["run"])
            inner.run("a")
            return
        if order.count("B") == 1:
            inner_gate.open()
        threading.Event().wait(0.0005)
        with lock:
            working.discard(data["run"])

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for item in ("wait" if data["run"] == "A" else 0, *range(200)):
            routine.emit("output", run=data["run"], item=item)

    flow = draw("a -> b", a=entry(start), b=node(act))
    first = flow.execute("a", {"run": "A"})
    inner_gate.await_arrival()
    second = flow.execute("a", {"run": "B"})
    wait(flow, first)
    wait(flow, second)
    assert overlaps[-200:].count(2) == 0, "two handlers of a sequential flow were still at work together"
    flow.shutdown()
    inner.shutdown()


@pytest.mark.parametrize("place", ["entry", "task"])
def test_a_retried_handler_that_has_waited_for_a_run_of_retried_handlers_emits_for_itself(place: str) -> None:
    got: list[Any] = []
    policy = ErrorHandler("retry", retry_delay=0)

    def start_inner(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", item="before")
        assert flow.run("in").status == "completed"  # whose handlers are called on this thread
        routine.emit("output", item="after")

    flow = Flow("nested", "concurrent", max_workers=1)
    begin = entry(lambda routine, data: routine.emit("output", item="inner"), error_handler=policy)
    parts = {"in": begin, "inner": relay(error_handler=policy), "heard": collector(got)}
    draw("in -> inner -> heard", flow=flow, **parts)
    outer = entry(start_inner, error_handler=policy) if place == "entry" else node(start_inner, error_handler=policy)
    draw("outer -> heard", flow=flow, outer=outer)
    if place == "task":
        draw("first -> outer", flow=flow, first=source(1))
    job_state = flow.run("outer" if place == "entry" else "first")
    flow.shutdown()
    assert job_state.status == "completed"
    assert items(got) == ["inner", "before", "after"]
