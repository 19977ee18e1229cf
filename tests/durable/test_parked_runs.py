"""What nobody has asked to stand still goes on with the next recovery; what somebody has paused does not."""

from typing import Any

import pytest

from routilux import Flow, JobState
from tests.drawings import Gate, collector, draw, items, node, source, wait


def drawn(url: str, gate: Gate, got: list[Any]) -> Flow:
    parts = {"a": source(1, 2, 3), "b": node(gate.act), "c": collector(got)}
    return draw("a -> b -> c", flow=Flow("parked", store=url), **parts)


def at_work(url: str) -> tuple[Flow, JobState, Gate]:
    """A run that is held in the first of its three deliveries."""
    gate = Gate()
    flow = drawn(url, gate, [])
    job_state = flow.execute("a", job_id="run")
    gate.await_arrival()
    return flow, job_state, gate


def recovered(url: str) -> tuple[list[JobState], list[Any], Flow]:
    gate, got = Gate(), []
    gate.open()
    flow = drawn(url, gate, got)
    return flow.recover(), got, flow


def leave_by_an_exception(flow: Flow) -> None:
    with pytest.raises(ZeroDivisionError), flow:
        raise ZeroDivisionError


@pytest.mark.parametrize("stop", [lambda flow: flow.shutdown(wait=False), leave_by_an_exception])
def test_a_run_that_a_shutdown_has_parked_goes_on_with_the_next_recovery(url: str, stop: Any) -> None:
    flow, job_state, gate = at_work(url)
    stop(flow)
    gate.open()
    assert wait(flow, job_state).status == "paused"
    runs, got, second = recovered(url)
    with second:
        assert [each.job_id for each in runs] == ["run"]
        assert wait(second, runs[0]).status == "completed"
    assert sorted([1, *items(got)]) in ([1, 1, 2, 3], [1, 2, 3])
    assert [items(got).count(item) for item in (2, 3)] == [1, 1]


def test_a_run_that_somebody_has_paused_stays_paused_whatever_the_reason_says_and_who_shuts_down(url: str) -> None:
    flow, job_state, gate = at_work(url)
    gate.open()
    flow.pause(job_state, reason="shutdown")
    flow.shutdown(wait=False)
    runs, got, second = recovered(url)
    with second:
        assert (runs, got, second.load("run").status) == ([], [], "paused")


def test_a_run_that_was_parked_and_then_paused_by_somebody_stays_paused(url: str) -> None:
    flow, job_state, gate = at_work(url)
    flow.shutdown(wait=False)
    gate.open()
    wait(flow, job_state)
    flow.pause(job_state)
    runs, got, second = recovered(url)
    with second:
        assert (runs, got, second.load("run").status) == ([], [], "paused")
