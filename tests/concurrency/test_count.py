"""The end of a run is counted: nothing that is queued, active or on a timer is ever left out of the count."""

from typing import Any

import pytest

from routilux import ErrorHandler, Routine
from tests.drawings import collector, draw_stepped, entry, names, node, own_run

pytestmark = pytest.mark.usefixtures("handler_kind")

CONCURRENT = {"execution_strategy": "concurrent", "max_workers": 4}


def test_a_run_goes_on_when_its_last_child_settles_while_the_parent_still_emits() -> None:
    got: list[Any] = []
    statuses: list[str] = []

    def parent(routine: Routine, data: dict[str, Any]) -> None:
        for item in range(3):
            routine.emit("output", item=item)
            executor.run_until_idle()  # the only child there is settles here, in the middle of its parent
            statuses.append(own_run(routine).status)

    flow, executor, _ = draw_stepped("parent -> child", options=CONCURRENT, parent=entry(parent), child=collector(got))
    job_state = flow.execute("parent")

    assert statuses == ["running"] * 3
    assert got == [{"item": 0}, {"item": 1}, {"item": 2}]
    assert job_state.status == "completed"


def test_a_run_goes_on_while_a_grandchild_is_queued_and_its_parent_has_settled() -> None:
    flow, executor, _ = draw_stepped(
        "a -> b -> c",
        a=entry(lambda routine, data: routine.emit("output")),
        b=node(lambda routine, data: routine.emit("output")),
        c=node(),
    )
    job_state = flow.execute("a")
    assert job_state.status == "running"
    executor.step()
    assert (job_state.status, names(job_state)[-1]) == ("running", "b.completed")
    executor.step()
    assert (job_state.status, names(job_state)[-1]) == ("completed", "c.completed")


def test_a_run_without_tasks_is_final_when_execute_returns() -> None:
    flow, _, _ = draw_stepped(a=entry())
    assert flow.execute("a").status == "completed"


def test_an_emission_that_nobody_hears_does_not_keep_the_run_alive() -> None:
    flow, _, _ = draw_stepped(a=entry(lambda routine, data: routine.emit("output", x=1)))
    assert flow.execute("a").status == "completed"


def test_a_run_that_waits_for_a_retry_is_not_over() -> None:
    policy = ErrorHandler("retry", max_retries=1, retry_delay=5.0)
    calls: list[int] = []

    def flaky(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("not yet")

    flow, executor, clock = draw_stepped(
        "a -> b", a=entry(lambda routine, data: routine.emit("output")), b=node(flaky, error_handler=policy)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert (len(calls), job_state.status) == (1, "running")
    clock.advance(4.9)
    executor.run_until_idle()
    assert (len(calls), job_state.status) == (1, "running")
    clock.advance(0.1)
    executor.run_until_idle()
    assert (len(calls), job_state.status) == (2, "completed")


def test_the_held_emissions_of_a_retried_handler_are_counted_before_it_is_uncounted() -> None:
    got: list[Any] = []

    def flaky(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", item=len(got))

    policy = ErrorHandler("retry")
    flow, executor, _ = draw_stepped(
        "a -> b -> c",
        a=entry(lambda routine, data: routine.emit("output")),
        b=node(flaky, error_handler=policy),
        c=collector(got),
    )
    job_state = flow.execute("a")
    executor.step()
    assert (job_state.status, got) == ("running", [])
    executor.step()
    assert (job_state.status, got) == ("completed", [{"item": 0}])


def test_a_delayed_emission_is_counted_until_it_is_delivered() -> None:
    got: list[Any] = []
    flow, executor, clock = draw_stepped(
        "a -> b",
        a=entry(lambda routine, data: routine.emit_later("output", delay=10, data={"x": 1})),
        b=collector(got),
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert (job_state.status, got) == ("running", [])
    clock.advance(10)
    executor.run_until_idle()
    assert (job_state.status, got) == ("completed", [{"x": 1}])


def test_a_failed_run_is_over_only_when_its_other_handlers_are() -> None:
    seen: list[str] = []

    def slow(routine: Routine, data: dict[str, Any]) -> None:
        executor.step()  # the other one fails meanwhile
        seen.append(own_run(routine).status)
        routine.emit("output", late=True)

    def fail(routine: Routine, data: dict[str, Any]) -> None:
        raise ValueError("boom")

    flow, executor, _ = draw_stepped(
        "a -> slow -> c",
        "a -> fail",
        options=CONCURRENT,
        a=entry(lambda routine, data: routine.emit("output")),
        slow=node(slow),
        fail=node(fail, error_handler=ErrorHandler("stop")),
        c=node(),
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert seen == ["failed"]
    assert job_state.status == "failed"
    # What the slow one emitted afterwards is kept for a resume, and so is the failed delivery.
    assert {(task["routine_id"], task["was"]) for task in job_state.pending_tasks} == {
        ("fail", "failed"),
        ("c", "queued"),
    }
    assert "slow.completed" in names(job_state)
