"""Timers against everything that may happen in the moment in which they fire."""

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.flow.run import Run
from routilux.testing import FakeClock
from tests.drawings import (
    DEADLINE,
    Act,
    Gate,
    SteppedFlow,
    collector,
    draw,
    draw_stepped,
    entry,
    fails,
    in_thread,
    names,
    node,
    own_context,
    passed,
    source,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")

RETRY = {"retry_delay": 2.0, "retry_backoff": 1.0}


def test_a_timeout_that_fires_after_the_end_changes_nothing() -> None:
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a", timeout=5)
    executor.run_until_idle()
    assert job_state.status == "completed"
    clock.advance(100)
    executor.run_until_idle()
    assert job_state.status == "completed"
    assert "timeout" not in [record.event_name for record in job_state.execution_history]


@pytest.mark.plain_only("a timeout stops an async handler, which does not complete")
def test_a_timeout_that_fires_in_the_last_handler_wins_over_the_completion() -> None:
    def last(routine: Routine, data: dict[str, Any]) -> None:
        clock.advance(5)
        executor.fire_timers()

    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(last))
    job_state = flow.execute("a", timeout=5)
    executor.run_until_idle()
    assert job_state.status == "failed"
    assert names(job_state)[-2:] == [".timeout", "b.completed"]
    assert job_state.errors[-1].data["timeout"] == 5


@pytest.mark.plain_only("a timeout stops an async handler, which is kept as well")
def test_a_timeout_parks_what_is_queued_and_refuses_what_is_emitted_afterwards() -> None:
    def slow(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == 1:
            clock.advance(5)
            executor.fire_timers()
            assert own_context(routine).cancelled
        routine.emit("output", item=data["item"])

    got: list[Any] = []
    flow, executor, clock = draw_stepped("a -> b -> c", a=source(1, 2), b=node(slow), c=collector(got))
    job_state = flow.execute("a", timeout=5)
    executor.run_until_idle()
    assert job_state.status == "failed"
    assert got == []
    assert [(task["routine_id"], task["data"], task["was"]) for task in job_state.pending_tasks] == [
        ("b", {"item": 2}, "queued")
    ]
    refused = [record for record in job_state.execution_history if record.event_name == "refused"]
    assert [(record.routine_id, record.data["event"], record.data["data"]) for record in refused] == [
        ("b", "output", {"item": 1})
    ]


def test_the_timeout_of_one_run_leaves_the_other_runs_alone() -> None:
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node())
    short, long = flow.execute("a", timeout=1), flow.execute("a", timeout=100)
    clock.advance(2)
    executor.run_until_idle()
    assert (short.status, long.status) == ("failed", "completed")


def test_the_timeout_stands_still_while_a_run_waits_for_nothing_but_a_delay() -> None:
    got: list[Any] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit_later("output", delay=100, data={"x": 1})

    def second(routine: Routine, data: dict[str, Any]) -> None:
        got.append(data)
        clock.advance(3)
        executor.fire_timers()

    flow, executor, clock = draw_stepped("a -> b", a=entry(start), b=node(second))
    job_state = flow.execute("a", timeout=4)
    clock.advance(50)
    executor.run_until_idle()
    assert job_state.status == "running"
    clock.advance(50)
    executor.run_until_idle()
    assert (job_state.status, got) == ("completed", [{"x": 1}])


def test_the_timeout_runs_on_when_the_delay_is_over() -> None:
    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit_later("output", delay=100, data={"x": 1})

    def second(routine: Routine, data: dict[str, Any]) -> None:
        clock.advance(5)
        executor.fire_timers()

    flow, executor, clock = draw_stepped("a -> b", a=entry(start), b=node(second))
    job_state = flow.execute("a", timeout=4)
    clock.advance(100)
    executor.run_until_idle()
    assert job_state.status == "failed"


def asks_and_delays(routine: Routine, data: dict[str, Any]) -> None:
    routine.emit_later("output", delay=1000, data={"item": 1})
    routine.request_input("answer", "input")


def make_work(flow: Flow, job_state: JobState, how: str, contexts: list[Any]) -> None:
    """Have the handler of `slow` called, in a run that has nothing but a delay and a request."""
    if how == "input":
        flow.send_input(job_state.job_id, "answer", {"item": 2})
    elif how == "outside":
        flow.routines["a"].emit("now", flow=flow, job_state=job_state)
    else:
        contexts[0].run(flow.routines["a"].emit, "now")


def draw_asking(act: Act, contexts: list[Any]) -> SteppedFlow:
    """`a` asks for an input, delays an emission and keeps its context; `slow` acts, `a.input` passes on to it."""

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        asks_and_delays(routine, data)
        contexts.append(contextvars.copy_context())

    a = entry(ask, events=("output", "now"))
    a.define_slot("input", lambda **data: a.emit("now"))
    return draw_stepped("a -> later", "a.now -> slow", a=a, later=node(), slow=node(act))


@pytest.mark.plain_only("a timeout stops an async handler; the test below is about those")
@pytest.mark.parametrize("how", ["input", "outside", "thread"])
def test_the_timeout_runs_while_a_handler_works_though_a_delay_is_pending(how: str) -> None:
    def work(routine: Routine, data: dict[str, Any]) -> None:
        clock.advance(3)
        executor.fire_timers()

    contexts: list[Any] = []
    flow, executor, clock = draw_asking(work, contexts)
    job_state = flow.execute("a", timeout=8)
    executor.run_until_idle()
    for _ in range(2):
        clock.advance(100)  # it only waits
        make_work(flow, job_state, how, contexts)
        executor.run_until_idle()
        if how == "input":
            contexts[0].run(flow.routines["a"].request_input, "answer", "input")
    assert job_state.status == "running"
    clock.advance(100)
    make_work(flow, job_state, how, contexts)
    executor.run_until_idle()
    assert job_state.status == "failed"
    assert job_state.errors[-1].data["timeout"] == 8


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
@pytest.mark.parametrize("how", ["input", "outside", "thread"])
def test_a_handler_that_works_too_long_is_too_long_though_a_delay_is_pending(how: str, strategy: str) -> None:
    gate, clock, contexts, tick = Gate(), FakeClock(), [], threading.Event()

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        asks_and_delays(routine, data)
        contexts.append(contextvars.copy_context())

    flow = Flow("asking", strategy, clock=clock)
    a = entry(ask, events=("output", "now"))
    a.define_slot("input", lambda **data: a.emit("now"))
    draw("a -> later", "a.now -> slow", flow=flow, a=a, later=node(), slow=node(gate.act))
    job_state = flow.execute("a", timeout=5)
    clock.advance(100)
    assert job_state.status == "running"
    make_work(flow, job_state, how, contexts)
    gate.await_arrival()
    clock.advance(5)
    for _ in range(4000):
        if job_state.status != "running":
            break
        clock.advance(0)  # it wakes those who wait, and not who is about to
        tick.wait(0.001)
    assert job_state.status == "failed"
    gate.open()
    wait(flow, job_state)
    flow.shutdown()


def test_the_timeout_does_not_stand_still_during_a_retry_delay() -> None:
    policy = ErrorHandler("retry", max_retries=5, retry_delay=10)
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(fails(OSError("no")), error_handler=policy))
    job_state = flow.execute("a", timeout=5)
    executor.run_until_idle()
    clock.advance(5)
    executor.run_until_idle()
    assert job_state.status == "failed"
    assert [task["was"] for task in job_state.pending_tasks] == ["retry"]


def test_a_retry_that_is_due_at_a_shutdown_is_parked_and_not_run() -> None:
    calls: list[int] = []

    def flaky(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(1)
        raise OSError("no")

    flow, executor, clock = draw_stepped(
        "a -> b", a=source(1), b=node(flaky, error_handler=ErrorHandler("retry", **RETRY))
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    clock.advance(2.0)  # due, and nobody has looked yet
    flow.shutdown(wait=False)
    executor.run_until_idle()
    assert len(calls) == 1
    assert job_state.status == "paused"
    assert [(task["was"], task["attempt"], task["data"]) for task in job_state.pending_tasks] == [
        ("retry", 2, {"item": 1})
    ]
    assert job_state.pending_tasks[0]["due_at"] is not None
    assert job_state.pause_points[-1]["reason"] == "shutdown"


def test_a_retry_that_was_put_back_into_the_queue_is_parked_by_a_shutdown() -> None:
    flow, executor, clock = draw_stepped(
        "a -> b", a=source(1), b=node(fails(OSError("no")), error_handler=ErrorHandler("retry", **RETRY))
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    clock.advance(2.0)
    executor.fire_timers()  # in the queue, not begun
    flow.shutdown(wait=False)
    assert not executor.run_until_idle() or job_state.status == "paused"
    assert [(task["was"], task["attempt"]) for task in job_state.pending_tasks] == [("retry", 2)]


def test_a_delay_that_is_pending_when_the_run_fails_is_parked() -> None:
    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit_later("output", delay=10, data={"x": 1})
        raise ValueError("boom")

    flow, executor, clock = draw_stepped("a -> b", a=entry(start), b=node())
    job_state = flow.execute("a")
    clock.advance(20)
    executor.run_until_idle()
    assert job_state.status == "failed"
    assert {(task["routine_id"], task["was"]) for task in job_state.pending_tasks} == {
        ("b", "queued"),
        ("a", "failed"),
    }
    assert "b.start" not in names(job_state)


def test_the_delays_before_retries_grow_by_the_backoff() -> None:
    at: list[float] = []

    def flaky(routine: Routine, data: dict[str, Any]) -> None:
        at.append(clock.monotonic_ns() / 1e9)
        raise OSError("no")

    policy = ErrorHandler("retry", max_retries=3, retry_delay=1.0, retry_backoff=3.0)
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(flaky, error_handler=policy))
    job_state = flow.execute("a")
    for _ in range(200):
        executor.run_until_idle()
        clock.advance(0.5)
    assert at == [0.0, 1.0, 4.0, 13.0]
    assert job_state.status == "failed"


def test_two_runs_count_their_retries_apart() -> None:
    calls: dict[str, int] = {"one": 0, "two": 0}

    def flaky(routine: Routine, data: dict[str, Any]) -> None:
        calls[data["run"]] += 1
        raise OSError("no")

    policy = ErrorHandler("retry", max_retries=2, retry_delay=1, retry_backoff=1)
    flow, executor, clock = draw_stepped(
        "a -> b",
        a=entry(lambda routine, data: routine.emit("output", **data)),
        b=node(flaky, error_handler=policy),
    )
    runs = [flow.execute("a", {"run": name}) for name in calls]
    for _ in range(6):
        executor.run_until_idle()
        clock.advance(0.5)
    assert calls == {"one": 3, "two": 3}
    assert [run.status for run in runs] == ["failed", "failed"]


def test_no_thread_sleeps_out_a_delay() -> None:
    # One worker; a thousand activations wait for their retry at once, and another run passes meanwhile.
    clock = FakeClock()
    policy = ErrorHandler("retry", max_retries=1, retry_delay=60)
    flow = Flow("patient", clock=clock)
    draw(
        "a -> b",
        "c -> d",
        flow=flow,
        a=source(*range(1000)),
        b=node(fails(OSError("no")), error_handler=policy),
        c=source(1),
        d=node(),
    )
    waiting = flow.execute("a", timeout=1e9)
    assert wait(flow, flow.execute("c")).status == "completed"
    assert waiting.status == "running"
    flow.shutdown(wait=False)
    wait(flow, waiting)  # a handler may have been at work; then it is parked when it has failed
    assert len(waiting.pending_tasks) == 1000


def test_the_caller_of_execute_waits_for_its_entrys_retry_and_a_timeout_ends_that_wait() -> None:
    clock = FakeClock()
    failed = threading.Event()

    def flaky(routine: Routine, data: dict[str, Any]) -> None:
        failed.set()
        raise OSError("no")

    flow = Flow("entry", clock=clock)
    draw(flow=flow, a=entry(flaky, error_handler=ErrorHandler("retry", max_retries=9, retry_delay=100)))
    join = in_thread(lambda: flow.execute("a", timeout=50))
    passed(failed)
    wait_until_a_timer_is_set(flow)
    clock.advance(50)
    job_state = join()
    assert job_state.status == "failed"
    assert [task["was"] for task in job_state.pending_tasks] == ["retry"]
    flow.shutdown()


class InterruptingClock(FakeClock):
    """Whoever waits by it without a limit, as the caller of `execute` does for its entry's retry, sees a Ctrl-C."""

    def __init__(self) -> None:
        super().__init__()
        self.on_wait: Callable[[], None] = lambda: None

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        if timeout is not None:
            super().wait(condition, timeout)
            return
        condition.release()
        try:
            self.on_wait()
        finally:
            condition.acquire()
        raise KeyboardInterrupt


def draw_interrupted() -> tuple[Flow, JobState, InterruptingClock]:
    clock = InterruptingClock()
    flow = Flow("entry", clock=clock, execution_timeout=None)
    policy = ErrorHandler("retry", retry_delay=100)
    draw(flow=flow, a=entry(fails(OSError("no"), times=1), error_handler=policy))
    return flow, JobState("entry"), clock


def test_a_run_whose_caller_is_interrupted_in_the_wait_for_its_entrys_retry_fails_and_may_be_resumed() -> None:
    flow, job_state, clock = draw_interrupted()
    with pytest.raises(KeyboardInterrupt):
        flow.execute("a", job_state=job_state)
    assert wait(flow, job_state).status == "failed"
    assert [(error.routine_id, error.data["error_type"]) for error in job_state.errors] == [
        ("a", "OSError"),
        ("a", "KeyboardInterrupt"),
    ]
    assert [(task["was"], task["attempt"]) for task in job_state.pending_tasks] == [("retry", 2)]
    clock.advance(100)
    assert wait(flow, flow.resume(job_state)).status == "completed"
    flow.shutdown()


def test_a_run_that_was_resumed_meanwhile_does_without_the_caller_who_is_interrupted() -> None:
    flow, job_state, clock = draw_interrupted()

    def resume() -> None:
        flow.pause(job_state)
        flow.resume(job_state)

    clock.on_wait = resume
    with pytest.raises(KeyboardInterrupt):
        flow.execute("a", job_state=job_state)
    assert job_state.status == "running"
    clock.advance(101)
    assert wait(flow, job_state).status == "completed"
    flow.shutdown()


@pytest.mark.parametrize("moment", ["open_for_tasks", "hand_out"])
def test_a_run_whose_caller_is_interrupted_beside_the_handler_comes_to_its_end(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    flow = draw("a -> b", a=source(1), b=node())
    flow.execution_timeout = None
    job_state = JobState(flow.flow_id)
    with monkeypatch.context() as patches:
        patches.setattr(Run, moment, interrupt)
        with pytest.raises(KeyboardInterrupt):
            flow.execute("a", job_state=job_state)
    assert wait(flow, job_state).status == "failed"
    assert job_state.errors[-1].data["error_type"] == "KeyboardInterrupt"
    flow.shutdown()


def test_the_retries_of_an_entry_are_over_when_execute_returns() -> None:
    policy = ErrorHandler("retry", max_retries=3, retry_delay=0.001)
    flow = draw(a=entry(fails(OSError("no"), times=2), error_handler=policy))
    job_state = flow.execute("a")
    assert job_state.status == "completed"
    assert names(job_state) == ["a.start", "a.error", "a.error", "a.output", "a.completed"]
    flow.shutdown()


def test_a_shutdown_ends_the_wait_for_an_entrys_retry() -> None:
    clock = FakeClock()
    failed = threading.Event()

    def flaky(routine: Routine, data: dict[str, Any]) -> None:
        failed.set()
        raise OSError("no")

    flow = Flow("entry", clock=clock)
    draw(flow=flow, a=entry(flaky, error_handler=ErrorHandler("retry", max_retries=9, retry_delay=100)))
    join = in_thread(lambda: flow.execute("a"))
    passed(failed)
    wait_until_a_timer_is_set(flow)
    flow.shutdown(wait=False)
    job_state = join()
    assert job_state.status == "paused"
    assert [(task["was"], task["attempt"]) for task in job_state.pending_tasks] == [("retry", 2)]


def test_a_shutdown_that_waits_lets_pending_retries_and_delays_finish() -> None:
    got: list[Any] = []
    policy = ErrorHandler("retry", max_retries=3, retry_delay=0.02, retry_backoff=1)

    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", x=1)
        routine.emit_later("output", delay=0.05, data={"x": 2})

    flow = draw(
        "a -> b -> c", a=entry(start), b=node(fails(OSError("no"), times=2), error_handler=policy), c=collector(got)
    )
    job_state = flow.execute("a")
    flow.shutdown(wait=True)
    assert job_state.status == "completed"
    assert sorted(data["x"] for data in got) == [1, 2]


def test_a_held_handler_does_not_delay_another_runs_timeout() -> None:
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    stuck = flow.execute("a")
    gate.await_arrival()
    queued = flow.execute("a", timeout=0.05)
    ended = threading.Event()
    flow.on_run_end(lambda job_state: ended.set() if job_state is queued else None)
    if queued.status == "running":
        passed(ended)
    assert queued.status == "failed"
    assert stuck.status == "running"
    gate.open()
    wait(flow, stuck)
    flow.shutdown(timeout=DEADLINE)


def wait_until_a_timer_is_set(flow: Flow) -> None:
    """Until the entry that has failed is no longer active, and so waits for its timer."""
    tick = threading.Event()
    for _ in range(2000):
        if not flow._active_tasks:
            return
        tick.wait(0.005)
    raise AssertionError("the entry is still active")
