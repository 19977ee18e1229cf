"""The end of a run: it comes once, at the last settlement, and everybody who waits for it hears of it."""

import queue
import threading
from typing import Any

import pytest

from routilux import ErrorHandler, JobState, Routine
from routilux.errors import RunEndedError, SelfWaitError
from tests.drawings import (
    DEADLINE,
    Gate,
    draw,
    draw_stepped,
    entry,
    fails,
    in_thread,
    keeps_context,
    node,
    own_run,
    passed,
    source,
    start_held,
    wait,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def test_a_run_becomes_final_without_anybody_waiting() -> None:
    ended = threading.Event()
    flow = draw("a -> b", a=source(1), b=node())
    flow.on_run_end(lambda job_state: ended.set())
    job_state = flow.execute("a")
    passed(ended)
    assert job_state.status == "completed"
    flow.shutdown()


def test_two_waiters_of_one_run_both_return() -> None:
    flow, job_state, gate = start_held()
    joins = [in_thread(lambda: JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)) for _ in range(2)]
    gate.open()
    assert [join() for join in joins] == [True, True]
    flow.shutdown()


def test_a_wait_that_begins_after_the_end_returns_at_once() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert JobState.wait_for_completion(flow, job_state, timeout=0.0)


def test_the_end_is_told_once_and_before_the_waiters_return() -> None:
    told: list[str] = []
    gate, may_end = Gate(), threading.Event()

    def slow_listener(job_state: JobState) -> None:
        gate.hold()
        told.append(job_state.status)

    flow = draw("a -> b", a=source(1, 2, 3), b=node())
    flow.on_run_end(slow_listener)
    job_state = flow.execute("a")
    gate.await_arrival()
    assert job_state.status == "completed"
    join = in_thread(lambda: (JobState.wait_for_completion(flow, job_state), may_end.is_set()))
    assert JobState.wait_for_completion(flow, job_state, timeout=0.05) is False
    may_end.set()
    gate.open()
    assert join() == (True, True)
    assert told == ["completed"]
    flow.shutdown()


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_the_end_is_told_whatever_it_is(outcome: str) -> None:
    told: list[str] = []
    act = fails(ValueError("boom")) if outcome == "failed" else None
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=ErrorHandler("stop")))
    flow.on_run_end(lambda job_state: told.append(job_state.status))
    flow.execute("a")
    executor.run_until_idle()
    assert told == [outcome]


def test_the_end_by_a_timeout_is_told() -> None:
    told: list[str] = []
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node())
    flow.on_run_end(lambda job_state: told.append(job_state.status))
    flow.execute("a", timeout=1)
    clock.advance(1)
    executor.fire_timers()
    executor.run_until_idle()
    assert told == ["failed"]


def test_a_callback_may_wait_for_the_run_that_it_is_told_of_and_start_another() -> None:
    seen: list[Any] = []

    def again(job_state: JobState) -> None:
        seen.append(JobState.wait_for_completion(flow, job_state, timeout=DEADLINE))
        if len(seen) == 1:
            flow.run("a")

    flow = draw("a -> b", a=source(1), b=node())
    flow.on_run_end(again)
    assert flow.run("a").status == "completed"
    assert seen == [True, True]
    flow.shutdown()


@pytest.mark.parametrize("ends_by", ["last_handler", "timeout"])
@pytest.mark.parametrize("waits", [True, False])
def test_a_callback_may_shut_its_flow_down_whichever_thread_calls_it(ends_by: str, waits: bool) -> None:
    gate, outcomes = Gate(), queue.SimpleQueue[BaseException | None]()

    def closes(job_state: JobState) -> None:
        try:
            flow.shutdown(wait=waits)
            outcomes.put(None)
        except BaseException as error:  # whatever it is, the test tells of it
            outcomes.put(error)
            raise

    flow = draw("a -> b", a=source(1), b=node(gate.act if ends_by == "timeout" else lambda routine, data: None))
    flow.on_run_end(closes)
    job_state = flow.execute("a", timeout=0.01 if ends_by == "timeout" else None)
    if ends_by == "timeout":
        wait_until(flow, job_state, lambda state: state.status == "failed")
        gate.open()
    assert outcomes.get(timeout=DEADLINE) is None
    wait(flow, job_state)
    assert flow.run("a").status == "completed", "a flow that was shut down starts afresh"
    flow.shutdown()


def test_what_a_callback_raises_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def broken(job_state: JobState) -> None:
        raise ValueError("my callback")

    flow = draw("a -> b", a=source(1), b=node())
    flow.on_run_end(broken)
    flow.on_run_end(lambda job_state: told.append(job_state.status))
    assert flow.run("a").status == "completed"
    assert told == ["completed"]
    assert "my callback" in caplog.text
    flow.shutdown()


def test_an_emission_into_a_run_that_has_ended_is_an_error_that_names_it() -> None:
    kept: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node(keeps_context(kept)))
    job_state = flow.execute("a")
    executor.run_until_idle()
    context, routine = kept[0]
    with pytest.raises(RunEndedError, match=f"run {job_state.job_id} has ended with status 'completed'"):
        context.run(routine.emit, "output", x=1)
    with pytest.raises(RuntimeError, match=job_state.job_id):
        routine.emit("output", flow=flow, job_state=job_state, x=1)


def test_a_handler_that_waits_for_its_own_run_is_told_so() -> None:
    errors: list[BaseException] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        try:
            JobState.wait_for_completion(flow, own_run(routine))
        except SelfWaitError as error:
            errors.append(error)

    flow = draw("a -> b", a=source(1), b=node(act))
    assert flow.run("a").status == "completed"
    assert "its own run" in str(errors[0])
    flow.shutdown()


def test_a_handler_that_waits_for_the_run_that_waits_for_it_is_told_so() -> None:
    errors: list[BaseException] = []
    outer: list[JobState] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if not outer:
            outer.append(own_run(routine))
            flow.run("a")
            return
        try:
            JobState.wait_for_completion(flow, outer[0])
        except RuntimeError as error:
            errors.append(error)

    flow = draw("a -> b", a=source(1), b=node(act))
    assert flow.run("a").status == "completed"
    assert "a run that waits for it" in str(errors[0])
    flow.shutdown()


def test_a_failed_run_is_waited_for_until_its_handlers_are_over() -> None:
    gate, failed = Gate(), threading.Event()

    def fail(routine: Routine, data: dict[str, Any]) -> None:
        gate.await_arrival()
        raise ValueError("boom")

    flow = draw(
        "a -> slow", "a -> fail", a=source(1), slow=node(gate.act), fail=node(fail, error_handler=ErrorHandler("stop"))
    )
    flow.set_execution_strategy("concurrent", 2)
    flow.on_run_end(lambda job_state: failed.set())
    job_state = flow.execute("a")
    passed(failed)
    assert job_state.status == "failed"
    assert JobState.wait_for_completion(flow, job_state, timeout=0.01) is False
    gate.open()
    assert wait(flow, job_state).status == "failed"
    assert flow._active_tasks == set()
    flow.shutdown()


def test_a_status_that_somebody_assigned_is_not_overwritten_by_the_end() -> None:
    def act(routine: Routine, data: dict[str, Any]) -> None:
        own_run(routine).status = "mine"

    flow = draw(a=entry(act))
    assert flow.execute("a").status == "mine"
