"""The two waits: for the end of a run, and for a condition."""

import asyncio
import threading
import time
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from tests.drawings import (
    DEADLINE,
    Gate,
    await_reader,
    collector,
    draw,
    entry,
    in_thread,
    node,
    own_run,
    passed,
    source,
    start_held,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def made_by_hand(flow: Flow, status: str) -> JobState:
    job_state = JobState(flow.flow_id)
    job_state.status = status
    return job_state


def quickly(flow: Flow, job_state: JobState, **options: Any) -> bool:
    options = {"timeout": 0.1, "check_interval": 0.005, "stability_delay": 0.001, **options}
    return JobState.wait_for_completion(flow, job_state, **options)


def test_a_wait_for_a_run_that_is_over_returns_at_once():
    flow = draw("a -> b", a=source(1), b=collector([]))
    job_state = flow.run("a")
    began_at = time.monotonic()
    for _ in range(20):
        assert JobState.wait_for_completion(flow, job_state)
    assert time.monotonic() - began_at < 1.0  # twenty polls of 0.2 s would take four
    flow.shutdown()


def test_a_live_run_wakes_its_waiter_at_once():
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    job_state = flow.execute("a")
    join = in_thread(lambda: JobState.wait_for_completion(flow, job_state, check_interval=3600, stability_delay=3600))
    gate.await_arrival()
    gate.open()
    assert join() is True
    assert job_state.status == "completed"
    flow.shutdown()


def test_a_wait_that_is_not_met_in_time_is_false_and_changes_nothing():
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    job_state = flow.execute("a")
    assert JobState.wait_for_completion(flow, job_state, timeout=0.02) is False
    assert job_state.status == "running"
    gate.open()
    assert wait(flow, job_state).status == "completed"
    flow.shutdown()


def test_a_wait_looks_at_its_run_and_not_at_the_whole_flow():
    gate, held = Gate(), []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == "long":
            held.append(1)
            gate.hold()

    flow = draw("a -> b", flow=Flow(execution_strategy="concurrent", max_workers=2), a=source(), b=node(act))
    long = flow.execute("a", {"item": "long"})
    gate.await_arrival()
    short = flow.execute("a", {"item": "short"})
    assert wait(flow, short).status == "completed"
    assert long.status == "running"
    gate.open()
    flow.shutdown()


def test_all_arguments_may_be_given_by_name():
    flow = draw(a=source(1))
    assert JobState.wait_for_completion(
        flow=flow, job_state=flow.execute("a"), timeout=5.0, stability_checks=2, check_interval=0.01,
        stability_delay=0.01, progress_callback=lambda queue_size, active_count, status: None,
    )  # fmt: skip


def test_progress_is_called_on_the_first_incomplete_round_with_sizes_and_status():
    gate, calls, called = Gate(), [], threading.Event()

    def progress(queue_size: int, active_count: int, status: str) -> None:
        calls.append((queue_size, active_count, status))
        called.set()

    flow = draw("a -> b", a=source(1, 2, 3), b=node(gate.act))
    job_state = flow.execute("a")
    gate.await_arrival()
    join = in_thread(lambda: JobState.wait_for_completion(flow, job_state, progress_callback=progress))
    passed(called)
    gate.open()
    assert join()
    flow.shutdown()
    assert calls == [(2, 1, "running")]


def test_a_wait_for_ones_own_run_is_refused():
    caught: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        context = routine.get_execution_context()
        with pytest.raises(RuntimeError, match="own run") as error:
            JobState.wait_for_completion(context.flow, context.job_state)
        caught.append(error.value)

    flow = draw("a -> b", a=entry(lambda routine, data: (act(routine, data), routine.emit("output"))), b=node(act))
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert len(caught) == 2


# -- states that have no live run


@pytest.mark.parametrize("status", ["paused", "failed", "cancelled", "completed"])
def test_a_state_made_by_hand_that_is_over_is_complete_and_keeps_its_status(status):
    flow = Flow()
    job_state = made_by_hand(flow, status)
    assert quickly(flow, job_state) is True
    assert job_state.status == status


def test_a_pending_state_never_completes():
    flow = Flow()
    job_state = JobState(flow.flow_id)
    assert quickly(flow, job_state) is False
    assert job_state.status == "pending"


def test_a_running_state_made_by_hand_becomes_completed_in_an_idle_flow():
    flow = Flow()
    job_state = made_by_hand(flow, "running")
    assert quickly(flow, job_state) is True
    assert job_state.status == "completed"


@pytest.mark.parametrize("word", ["failed", "error"])
def test_a_running_state_made_by_hand_becomes_failed_where_a_routine_did(word):
    flow = Flow()
    job_state = made_by_hand(flow, "running")
    job_state.update_routine_state("a", {"status": "completed"})
    job_state.update_routine_state("b", {"status": word})
    assert quickly(flow, job_state) is True
    assert job_state.status == "failed"


@pytest.mark.parametrize("word", ["error_continued", "skipped", "completed", "my own"])
def test_a_tolerated_routine_does_not_fail_a_state_made_by_hand(word):
    flow = Flow()
    job_state = made_by_hand(flow, "running")
    job_state.update_routine_state("a", {"status": word})
    job_state.record_execution("a", "error", {"error": "only in the history"})
    assert quickly(flow, job_state) is True
    assert job_state.status == "completed"


def test_a_running_state_made_by_hand_is_not_complete_while_the_flow_works():
    flow, _, gate = start_held()
    job_state = made_by_hand(flow, "running")
    assert quickly(flow, job_state) is False
    assert job_state.status == "running"
    gate.open()
    flow.shutdown()
    assert quickly(flow, job_state, timeout=20) is True


def test_progress_is_called_for_a_state_made_by_hand_too():
    calls: list[Any] = []
    flow = Flow()
    assert not quickly(flow, JobState(), timeout=0.05, progress_callback=lambda *args: calls.append(args))
    assert calls == [(0, 0, "pending")]


def test_a_state_that_another_thread_ends_is_seen():
    flow = Flow()
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: quickly(flow, job_state, timeout=20))
    job_state.status = "failed"
    assert join() is True


# -- conditions


def test_a_condition_that_holds_is_true_at_once():
    flow = draw(a=source(1))
    job_state = flow.run("a")
    assert JobState.wait_until_condition(flow, job_state, lambda f, j: (f, j) == (flow, job_state)) is True


def test_a_condition_is_asked_again_when_something_has_happened():
    gate = Gate()
    flow = draw("a -> b -> c", a=source(1), b=node(gate.act), c=collector([]))
    job_state = flow.execute("a")

    def is_there(flow: Flow, job_state: JobState) -> bool:
        state = job_state.get_routine_state("c")
        return state is not None and state["status"] == "completed"

    join = in_thread(lambda: JobState.wait_until_condition(flow, job_state, is_there, check_interval=3600))
    gate.await_arrival()
    gate.open()
    assert join() is True
    flow.shutdown()


def test_a_condition_that_does_not_come_true_before_the_end_is_false():
    flow = draw("a -> b", a=source(1), b=collector([]))
    job_state = flow.execute("a")
    assert JobState.wait_until_condition(flow, job_state, lambda f, j: False) is False
    flow.shutdown()


def test_a_condition_is_asked_once_more_after_the_end():
    flow = draw("a -> b", a=source(1), b=collector([]))
    job_state = flow.execute("a")
    assert JobState.wait_until_condition(flow, job_state, lambda f, j: j.status == "completed") is True
    flow.shutdown()


def test_a_condition_that_does_not_come_true_in_time_is_false():
    flow = Flow()
    job_state = made_by_hand(flow, "running")
    assert JobState.wait_until_condition(flow, job_state, lambda f, j: False, 0.02, 0.005) is False


def test_a_wait_for_a_run_that_has_ended_with_a_status_of_its_own_is_over():
    def act(routine: Routine, data: dict[str, Any]) -> None:
        own_run(routine).status = "waiting for Bob"

    with draw("a -> b", a=entry(act), b=collector([])) as flow:
        job_state = flow.execute("a")
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE) is True
        assert job_state.status == "waiting for Bob"


async def _is_there(flow: Flow, job_state: JobState) -> bool:
    return False


@pytest.mark.parametrize(
    "condition", [_is_there, lambda f, j: (yield), "completed"], ids=["async", "generator", "text"]
)
def test_a_condition_that_is_no_plain_function_is_refused(condition):
    flow = Flow()
    with pytest.raises(TypeError, match="plain function of \\(flow, job_state\\)"):
        JobState.wait_until_condition(flow, made_by_hand(flow, "running"), condition, 0.02)


@pytest.mark.parametrize("wait_for", [JobState.wait_for_completion, JobState.wait_until_condition])
def test_the_timeout_of_a_wait_is_a_number_of_seconds(wait_for):
    flow = Flow()
    rest = [lambda f, j: True] if wait_for is JobState.wait_until_condition else []
    with pytest.raises(TypeError, match="timeout must be seconds, not '1'"):
        wait_for(flow, made_by_hand(flow, "running"), *rest, timeout="1")


def test_a_condition_on_a_paused_run_is_asked_once_in_each_interval():
    paused, looks = JobState("drawn"), []
    flow = draw(a=entry(lambda routine, data: flow.pause(paused)))
    flow.execute("a", job_state=paused)
    assert paused.status == "paused"
    asked = JobState.wait_until_condition(flow, paused, lambda f, j: looks.append(1), timeout=0.1, check_interval=0.02)
    assert asked is False
    assert len(looks) <= 7  # at its beginning, at its end, and every 0.02 seconds or more
    flow.shutdown()


def test_a_condition_that_waits_for_a_pause_is_asked_when_it_comes():
    gate, asked = Gate(), threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        gate.hold()
        flow.pause(own_run(routine))

    def is_paused(f: Flow, j: JobState) -> bool:
        asked.set()
        return j.status == "paused"

    flow = draw("a -> b", a=source(1), b=node(act))
    job_state = flow.execute("a")
    gate.await_arrival()
    join = in_thread(lambda: JobState.wait_until_condition(flow, job_state, is_paused, check_interval=3600))
    passed(asked)
    await_reader(job_state)
    gate.open()
    assert join() is True
    flow.shutdown()


def test_a_condition_that_raises_is_not_yet_true(caplog):
    asked: list[int] = []

    def condition(flow: Flow, job_state: JobState) -> bool:
        asked.append(1)
        if len(asked) < 3:
            raise LookupError("not there yet")
        return True

    flow = Flow()
    assert JobState.wait_until_condition(flow, made_by_hand(flow, "running"), condition, 20, 0.001) is True
    assert "The condition" in caplog.text


def test_a_condition_reports_its_progress():
    calls: list[Any] = []
    flow = Flow()
    job_state = made_by_hand(flow, "running")
    JobState.wait_until_condition(flow, job_state, lambda f, j: False, 0.02, 0.005, lambda *args: calls.append(args))
    assert calls == [(0, 0, "running")]


def test_a_condition_may_look_at_the_retry_count():
    gate = Gate()

    def act(routine: Routine, data: Any) -> None:
        if routine.get_execution_context().attempt == 3:
            gate.hold()
            return
        raise ValueError("again")

    worker = node(act)
    worker.set_as_critical(retry_delay=0.001)
    flow = draw("a -> b", a=source(1), b=worker)
    job_state = flow.execute("a")
    assert JobState.wait_until_condition(
        flow, job_state, lambda f, j: (f.get_routine_retry_count("b") or 0) >= 2, timeout=20, check_interval=0.005
    )
    gate.open()
    flow.shutdown()


# -- the flow's own wait


def test_the_flows_own_wait_is_deprecated_and_waits_for_all_live_runs():
    flow = draw("a -> b", a=source(1), b=collector([]))
    with pytest.warns(DeprecationWarning, match=r"JobState\.wait_for_completion"):
        assert flow.wait_for_completion() is True
    states = [flow.execute("a") for _ in range(5)]
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert flow.wait_for_completion(timeout=20) is True
    assert {job_state.status for job_state in states} == {"completed"}
    flow.shutdown()


def test_the_flows_own_wait_may_be_for_one_run():
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    job_state = flow.execute("a")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert flow.wait_for_completion(timeout=0.02, job_state=job_state) is False
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert flow.wait_for_completion(0.02) is False
    gate.open()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert flow.wait_for_completion(timeout=20, job_state=job_state) is True
    flow.shutdown()


@pytest.mark.parametrize("wrong", [None, "an id", "the flow"])
def test_what_is_no_job_state_cannot_be_waited_for(wrong):
    flow = draw(a=source(1))
    not_a_run = flow if wrong == "the flow" else wrong
    condition = lambda flow, job_state: True  # noqa: E731 - shorter here
    for call in (
        lambda: JobState.wait_for_completion(flow, not_a_run),
        lambda: JobState.wait_until_condition(flow, not_a_run, condition),
        lambda: asyncio.run(flow.wait_async(not_a_run)),
    ):
        with pytest.raises(TypeError, match="JobState"):
            call()
