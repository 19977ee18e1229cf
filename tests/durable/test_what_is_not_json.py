"""A durable run refuses what it could not keep, where it is given, and says which value of whom it was."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from tests.drawings import DEADLINE, Act, Gate, entry, node

LOCK = threading.Lock()


def state_of(routine: Routine) -> JobState:
    context = routine.get_execution_context()
    assert context is not None
    return context.job_state


def run_of(act: Act, **options: Any) -> tuple[Flow, JobState, list[Any]]:
    """A run of one routine, 'giver', before a collector; and what has been collected."""
    seen: list[Any] = []
    flow = Flow("refusing", store="memory:")
    flow.add_routine(entry(act, **options), "giver")
    flow.add_routine(node(lambda routine, data: seen.append(data)), "taker")
    flow.connect("giver", "output", "taker", "input")
    with flow:
        job_state = flow.execute("giver", job_id="job")
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
    return flow, job_state, seen


def error_of(job_state: JobState) -> str:
    return str(job_state.routine_states["giver"]["error"])


@pytest.mark.parametrize("policy", [None, ErrorHandler("retry", max_retries=0)])
def test_an_emission_that_is_not_json_names_routine_event_key_and_type_and_leaves_nothing(
    policy: ErrorHandler | None,
) -> None:
    def emits(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", good=1, bad={"inner": [LOCK]})

    flow, job_state, seen = run_of(emits, error_handler=policy)
    assert job_state.status == "failed"
    for word in ("'giver'", "'output'", "['bad']['inner'][0]", "lock"):
        assert word in error_of(job_state)
    assert seen == []
    assert flow.load("job").serialize() == job_state.serialize()
    assert [record.event_name for record in job_state.execution_history] == ["start", "error"]


def test_a_handler_may_catch_the_refusal_and_go_on() -> None:
    def tries(routine: Routine, data: dict[str, Any]) -> None:
        with pytest.raises(TypeError):
            routine.emit("output", bad=LOCK)
        routine.emit("output", good=1)

    _, job_state, seen = run_of(tries)
    assert (job_state.status, seen) == ("completed", [{"good": 1}])


def _shares(routine: Routine) -> None:
    state_of(routine).update_shared_data("lock", LOCK)


def _shares_deep(routine: Routine) -> None:
    state_of(routine).shared_data.update(lock={"deep": LOCK})


def _sends(routine: Routine) -> None:
    routine.send_output("line", lock=LOCK)


def _records(routine: Routine) -> None:
    state_of(routine).record_execution("giver", "noted", {"lock": LOCK})


def _logs(routine: Routine) -> None:
    state_of(routine).append_to_shared_log({"lock": LOCK})


def _defers(routine: Routine) -> None:
    routine.emit_deferred_event("output", lock=LOCK)


def _has_a_state(routine: Routine) -> None:
    state_of(routine).update_routine_state("giver", {"lock": LOCK})


@pytest.mark.parametrize("gives", [_shares, _shares_deep, _sends, _records, _logs, _defers, _has_a_state])
def test_the_activation_that_gives_what_is_not_json_fails_and_the_message_names_the_key(
    gives: Callable[[Routine], None],
) -> None:
    _, job_state, _ = run_of(lambda routine, data: gives(routine))
    assert job_state.status == "failed"
    assert "lock" in error_of(job_state)
    assert "JSON" in error_of(job_state)


def test_params_that_are_not_json_are_refused_by_execute_and_leave_nothing() -> None:
    with Flow("refusing", store="memory:") as flow:
        flow.add_routine(entry(lambda routine, data: None), "giver")
        with pytest.raises(TypeError, match="lock"):
            flow.execute("giver", {"lock": LOCK}, job_id="job")
        assert flow.store.list_runs() == []
        assert flow.execute("giver", {"lock": 1}, job_id="job").job_id == "job"


STOPS: dict[str, tuple[Callable[[Flow, JobState | None], Any], str]] = {
    "checkpoint": (
        lambda flow, job_state: flow.pause(job_state, checkpoint={"a": {"lock": LOCK}}),
        r"the checkpoint of a pause\['a'\]\['lock'\]",
    ),
    "reason of a pause": (
        lambda flow, job_state: flow.pause(job_state, reason=ValueError("no")),  # type: ignore[arg-type]
        r"The reason of a pause is text, not ValueError\('no'\)",
    ),
    "reason of a cancellation": (
        lambda flow, job_state: flow.cancel(job_state, reason=ValueError("no")),  # type: ignore[arg-type]
        r"The reason of a cancellation is text, not ValueError\('no'\)",
    ),
}


@pytest.mark.parametrize("name", STOPS)
@pytest.mark.parametrize("is_over", [False, True])
def test_a_stop_that_cannot_be_kept_is_refused_before_anything_has_happened(name: str, is_over: bool) -> None:
    stop, message = STOPS[name]
    gate = Gate()
    flow = Flow("refusing", store="memory:")
    flow.add_routine(entry(lambda routine, data: routine.emit("output")), "giver")
    flow.add_routine(node(gate.act), "taker")
    flow.connect("giver", "output", "taker", "input")
    with flow:
        job_state = flow.execute("giver", job_id="job")
        gate.await_arrival()
        if is_over:
            gate.open()
            assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        before = job_state.status
        for whose in (job_state, None):
            with pytest.raises(TypeError, match=message):
                stop(flow, whose)
        assert (job_state.status, job_state.pause_points) == (before, [])
        gate.open()
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        assert job_state.status == flow.store.load("job").status == "completed"


def test_a_run_without_a_store_is_paused_with_whatever_is_given() -> None:
    flow = Flow("refusing")
    flow.add_routine(entry(lambda routine, data: flow.pause(state_of(routine), "", {"a": LOCK})), "giver")
    with flow:
        assert flow.execute("giver").checkpoint == {"a": LOCK}
