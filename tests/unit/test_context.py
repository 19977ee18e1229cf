"""The context says which run the present thread works for."""

from routilux import ExecutionContext, Flow, JobState
from routilux.routine import _current_job_state


def test_a_context_unpacks_into_three():
    flow, job_state = Flow(), JobState()
    assert tuple(ExecutionContext(flow, job_state, "a")) == (flow, job_state, "a")
    context = ExecutionContext(flow=flow, job_state=job_state, routine_id="a")
    assert (context.flow, context.job_state, context.routine_id) == (flow, job_state, "a")


def test_a_context_made_by_hand_is_a_first_attempt_of_nothing():
    context = ExecutionContext(Flow(), JobState(), "a")
    assert (context.attempt, context.activation_id, context.cancelled) == (1, "", False)


def test_a_context_says_where_it_is():
    text = repr(ExecutionContext(Flow("drawn"), JobState(), "a"))
    assert "'drawn'" in text
    assert "'a'" in text


def test_no_job_is_current_at_first():
    assert _current_job_state.get() is None
    assert _current_job_state.get(None) is None
