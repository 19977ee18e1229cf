"""A history may be bounded: the newest records stay, and the others are counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Flow, JobState
from routilux.job_state import ledger_of
from routilux.testing import FakeClock
from tests.drawings import collector, draw, names, source


def bounded(limit: int) -> JobState:
    job_state = JobState()
    ledger_of(job_state).limit = limit
    return job_state


@given(st.integers(1, 20), st.lists(st.booleans(), max_size=80))
def test_the_newest_records_stay_and_the_others_are_counted(limit, steps):
    job_state = bounded(limit)
    written = 0
    for reads in steps:
        if reads:
            assert len(job_state.execution_history) <= limit
        else:
            job_state.record_execution("a", str(written), {})
            written += 1
    kept = [record.event_name for record in job_state.execution_history]
    assert kept == [str(number) for number in range(max(0, written - limit), written)]
    assert job_state.metadata.get("history_dropped", 0) == max(0, written - limit)


def test_a_bounded_history_stays_one_and_the_same_list():
    job_state = bounded(2)
    history = job_state.execution_history
    for number in range(9):
        job_state.record_execution("a", str(number), {})
    assert job_state.execution_history is history
    assert [record.event_name for record in history] == ["7", "8"]


def test_unread_records_of_a_bounded_history_do_not_pile_up():
    job_state = bounded(10)
    for number in range(1000):
        job_state.record_execution("a", str(number), {})
    assert ledger_of(job_state).unread_count() < 40


def test_a_flow_bounds_the_history_of_its_runs():
    flow = draw("a -> b", flow=Flow(history_limit=4), a=source(*range(10)), b=collector([]))
    job_state = flow.run("a")
    flow.shutdown()
    assert names(job_state) == ["b.start", "b.completed", "b.start", "b.completed"]
    assert job_state.metadata["history_dropped"] == 1 + 10 + 1 + 20 - 4
    assert job_state.status == "completed"


def test_a_run_may_have_a_bound_of_its_own():
    flow = draw(a=source(*range(10)))
    job_state = flow.execute("a", history_limit=3)
    unbounded = flow.execute("a")
    flow.shutdown()
    assert len(job_state.execution_history) == 3
    assert job_state.metadata["history_dropped"] == 9
    assert len(unbounded.execution_history) == 12
    assert unbounded.metadata == {}


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True])
def test_a_bound_that_is_no_whole_number_from_one_is_refused(limit):
    with pytest.raises(ValueError, match="history_limit"):
        Flow(history_limit=limit)
    with pytest.raises(ValueError, match="history_limit"):
        draw(a=source()).execute("a", history_limit=limit)


def test_record_times_are_the_clocks_and_never_run_backwards():
    clock = FakeClock(start=1_000_000.0)
    job_state = JobState()
    ledger_of(job_state).use_clock(clock)
    for seconds in (0.0, 1.0, 0.0, 2.5):
        clock.advance(seconds)
        job_state.record_execution("a", "tick", {})
    times = [record.timestamp for record in job_state.execution_history]
    assert [(at - times[0]).total_seconds() for at in times] == [0.0, 1.0, 1.0, 3.5]
