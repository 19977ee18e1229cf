"""A cancel ends one run for good: nothing of it starts any more, nothing of it is kept, and no other run notices."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from tests.drawings import (
    DEADLINE,
    Gate,
    collector,
    draw,
    draw_failing_beside,
    draw_stepped,
    entry,
    fails,
    in_thread,
    names,
    node,
    own_context,
    own_run,
    passed,
    relay,
    reloaded,
    source,
    wait,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def test_a_cancelled_run_says_so_and_why() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.cancel(job_state, reason="no longer needed")
    assert job_state.status == "cancelled"
    assert job_state.routine_states["_cancellation"]["reason"] == "no longer needed"


def test_what_a_cancelled_run_has_queued_is_dropped() -> None:
    got: list[Any] = []
    start = entry(
        lambda routine, data: (routine.emit("output", item=1), routine.emit_later("output", delay=5, data={"item": 2}))
    )
    flow, executor, clock = draw_stepped("a -> b", a=start, b=collector(got))
    job_state = flow.execute("a")
    flow.cancel(job_state)
    executor.run_until_idle()
    clock.advance(10)
    executor.run_until_idle()
    assert (got, job_state.pending_tasks, job_state.serialize()["pending_tasks"]) == ([], [], [])
    assert job_state.status == "cancelled"
    assert flow._running is False


def test_a_retry_of_a_cancelled_run_never_comes() -> None:
    flow, executor, clock = draw_stepped(
        "a -> b", a=source(1), b=node(fails(OSError("down")), error_handler=ErrorHandler("retry", retry_delay=5))
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.cancel(job_state)
    clock.advance(1000)
    executor.run_until_idle()
    assert names(job_state, "b") == ["start", "error"]
    assert (job_state.status, job_state.pending_tasks) == ("cancelled", [])


def test_the_caller_of_execute_stops_waiting_for_the_entrys_retry() -> None:
    flow = draw(a=entry(fails(OSError("down")), error_handler=ErrorHandler("retry", retry_delay=3600)))
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: flow.execute("a", job_state=job_state))
    wait_until(flow, job_state, lambda state: bool(state.errors))
    flow.cancel(job_state)
    assert join().status == "cancelled"
    assert job_state.pending_tasks == []
    flow.shutdown()


@pytest.mark.parametrize("before", ["running", "paused"])
def test_what_a_late_handler_emits_is_refused_and_recorded(before: str) -> None:
    seen: list[bool] = []
    has_emitted = threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if before == "paused":
            flow.pause(own_run(routine))
        flow.cancel(own_run(routine), reason="stop")
        seen.append(own_context(routine).cancelled)
        routine.emit("output", item="late")
        routine.emit_later("output", delay=5, data={"item": "later"})
        has_emitted.set()

    flow, executor, clock = draw_stepped("a -> b -> c", a=source(1), b=node(act), c=node())
    job_state = flow.execute("a")
    executor.run_until_idle()
    passed(has_emitted)  # a thread that an async handler has awaited goes on when the handler was cancelled
    clock.advance(10)
    executor.run_until_idle()
    assert (job_state.status, job_state.pending_tasks, seen) == ("cancelled", [], [True])
    refused = [record for record in job_state.execution_history if record.event_name == "refused"]
    assert [(record.routine_id, record.data["event"], record.data["data"]["item"]) for record in refused] == [
        ("b", "output", "late"),
        ("b", "output", "later"),
    ]
    assert "c" not in {record.routine_id for record in job_state.execution_history}


def test_what_a_failed_runs_handler_still_emits_is_refused_once_the_run_is_cancelled() -> None:
    def cancel_and_emit(routine: Routine, data: dict[str, Any]) -> None:
        flow.cancel(own_run(routine))
        routine.emit("output", item="late")

    flow = draw_failing_beside(cancel_and_emit)
    job_state = wait(flow, flow.execute("a"))
    assert (job_state.status, job_state.pending_tasks) == ("cancelled", [])
    assert "refused" in names(job_state, "slow")
    flow.shutdown()


@pytest.mark.parametrize("policy", ["stop", "continue", "skip", "retry"])
def test_a_handler_that_fails_after_the_cancel_changes_nothing_and_leaves_nothing(policy: str) -> None:
    def act(routine: Routine, data: dict[str, Any]) -> None:
        flow.cancel(own_run(routine))
        raise ValueError("boom")

    flow, executor, clock = draw_stepped("a -> b", a=source(1, 2), b=node(act, error_handler=ErrorHandler(policy)))
    job_state = flow.execute("a")
    executor.run_until_idle()
    clock.advance(1000)
    executor.run_until_idle()
    assert (job_state.status, job_state.pending_tasks) == ("cancelled", [])
    assert JobState.wait_for_completion(flow, job_state, timeout=0.0)
    assert job_state.status == "cancelled"


@pytest.mark.plain_only("an async handler that cancels its run is stopped where it awaits, and releases nothing")
def test_what_was_held_back_for_a_retry_is_refused_too() -> None:
    def act(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", item=1)
        flow.cancel(own_run(routine))

    flow, executor, _ = draw_stepped(
        "a -> b -> c", a=source(1), b=node(act, error_handler=ErrorHandler("retry")), c=node()
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert (job_state.status, job_state.pending_tasks) == ("cancelled", [])
    assert names(job_state, "b").count("refused") == 1


@pytest.mark.plain_only("a cancellation stops an async handler, and there is nothing to wait for")
def test_a_cancel_from_outside_does_not_wait_and_a_wait_does() -> None:
    gate, finished = Gate(), threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        gate.hold()
        finished.set()

    flow = draw("a -> b", a=source(1, 2), b=node(act))
    job_state = flow.execute("a")
    gate.await_arrival()
    flow.cancel(job_state)
    assert job_state.status == "cancelled"
    join = in_thread(lambda: (JobState.wait_for_completion(flow, job_state, timeout=DEADLINE), finished.is_set()))
    gate.open()
    assert join() == (True, True)
    flow.shutdown()


@pytest.mark.parametrize("kind", ["paused", "failed", "completed", "restored"])
def test_a_run_that_has_stopped_may_be_cancelled_and_loses_what_it_kept(kind: str) -> None:
    act = fails(ValueError("boom")) if kind == "failed" else None
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2), b=node(act, error_handler=ErrorHandler("stop")))
    job_state = flow.execute("a")
    if kind == "paused":
        flow.pause(job_state)
    elif kind == "restored":
        job_state = reloaded(job_state)
    else:
        executor.run_until_idle()
        assert job_state.status == kind
    flow.cancel(job_state, reason="over")
    assert (job_state.status, job_state.pending_tasks) == ("cancelled", [])
    assert job_state.routine_states["_cancellation"] == {"reason": "over"}
    with pytest.raises(ValueError, match="cancelled"):
        flow.resume(job_state)


def test_a_cancelled_run_survives_json_as_it_is() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.cancel(job_state, reason="over")
    copy = reloaded(job_state)
    assert (copy.status, copy.routine_states["_cancellation"]) == ("cancelled", {"reason": "over"})
    with pytest.raises(ValueError, match="cancelled"):
        flow.resume(copy)


def test_nothing_of_any_other_run_is_dropped() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(), b=relay(), c=collector(got))
    runs = [flow.execute("a", {"run": number}) for number in range(3)]
    executor.step()
    flow.pause(runs[2])
    flow.cancel(runs[1])
    executor.run_until_idle()
    assert [job_state.status for job_state in runs] == ["completed", "cancelled", "paused"]
    assert [data["run"] for data in got] == [0]
    wait(flow, flow.resume(runs[2]))
    assert [data["run"] for data in got] == [0, 2]


def test_without_a_job_state_every_live_run_of_the_flow_is_cancelled() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    over = flow.execute("a")
    executor.run_until_idle()
    paused = flow.execute("a")
    flow.pause(paused)
    runs = [flow.execute("a") for _ in range(3)]
    other, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    elsewhere = other.execute("a")
    flow.cancel(reason="all")
    assert [job_state.status for job_state in runs] == ["cancelled"] * 3
    assert (over.status, paused.status, elsewhere.status) == ("completed", "paused", "running")


def test_another_flows_run_is_not_cancelled() -> None:
    flow = draw(a=source())
    job_state = draw(flow=Flow("other"), a=source()).execute("a")
    with pytest.raises(ValueError, match="does not match"):
        flow.cancel(job_state)
    assert job_state.status == "completed"


def test_the_end_by_a_cancel_is_told_once() -> None:
    told: list[str] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    flow.on_run_end(lambda job_state: told.append(job_state.status))
    job_state = flow.execute("a")
    flow.cancel(job_state)
    flow.cancel(job_state)
    executor.run_until_idle()
    assert told == ["cancelled"]


def test_pause_and_cancel_at_once_leave_a_run_that_is_cancelled_or_paused_with_all_of_it() -> None:
    got: list[Any] = []
    flow = draw("a -> b", flow=Flow("drawn", "concurrent", 2), a=source(*range(200)), b=collector(got))
    for _ in range(20):
        got.clear()
        job_state = flow.execute("a")
        together = threading.Barrier(2)

        def at_once(
            act: Callable[[JobState], None], job_state: JobState = job_state, together: threading.Barrier = together
        ) -> None:
            together.wait(DEADLINE)
            act(job_state)

        for join in [in_thread(partial(at_once, flow.pause)), in_thread(partial(at_once, flow.cancel))]:
            join()
        if job_state.status == "cancelled":
            wait(flow, job_state)
            assert job_state.pending_tasks == []
        else:
            # The cancel came first, and then the pause: a run that is over may be paused.
            assert job_state.status == "paused"
            assert "cancelled" in job_state.pause_points[-1].values() or len(got) == 200
    flow.shutdown()
