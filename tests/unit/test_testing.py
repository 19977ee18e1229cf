"""What `routilux.testing` gives to those who test their own routines."""

from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.testing import FakeClock, ManualExecutor, activate
from tests.drawings import collector, draw, draw_stepped, entry, fails, names, node, relay, source


def test_nothing_runs_on_a_manual_executor_until_it_is_stepped():
    seen: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2), b=collector(seen))
    job_state = flow.execute("a")
    assert seen == []
    assert job_state.status == "running"
    assert executor.step() is True
    assert seen == [{"item": 1}]
    assert job_state.status == "running"
    assert executor.step() is True
    assert job_state.status == "completed"
    assert executor.step() is False


def test_running_until_idle_counts_its_steps():
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(1, 2), b=relay(), c=collector([]))
    flow.execute("a")
    assert executor.run_until_idle() == 4
    assert executor.run_until_idle() == 0


def test_run_steps_for_itself():
    seen: list[Any] = []
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=collector(seen))
    assert flow.run("a").status == "completed"
    assert seen == [{"item": 1}]


def test_a_handler_may_step_another_activation_in_the_middle_of_its_own():
    order: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        order.append(f"in {data['item']}")
        if data["item"] == 1:
            executor.step()
        order.append(f"out {data['item']}")

    flow, executor, _ = draw_stepped(
        "a -> b", options={"execution_strategy": "concurrent"}, a=source(1, 2), b=node(act)
    )
    flow.run("a")
    assert order == ["in 1", "in 2", "out 2", "out 1"]


def test_a_retry_comes_when_the_clock_says_so():
    handler = ErrorHandler("retry", retry_delay=2.0, retry_backoff=3.0)
    flow, executor, clock = draw_stepped(
        "a -> b", a=source(1), b=node(fails(ValueError("x"), 2), error_handler=handler)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    clock.advance(1.9)
    assert executor.step() is False
    clock.advance(0.1)
    assert executor.step() is True
    clock.advance(5.9)
    assert executor.step() is False
    assert job_state.status == "running"
    clock.advance(0.1)
    assert executor.step() is True
    assert job_state.status == "completed"
    assert names(job_state, "b") == ["start", "error", "error", "output", "completed"]


def test_a_wait_that_nobody_can_end_says_so_instead_of_hanging():
    flow, _, _ = draw_stepped(a=entry(lambda routine, data: routine.emit_later("output", delay=5)), b=collector([]))
    flow.connect("a", "output", "b", "input")
    with pytest.raises(RuntimeError, match=r"[Aa]dvance"):
        flow.run("a")


def test_a_wait_with_a_timeout_that_nobody_can_end_is_false():
    flow, executor, clock = draw_stepped(
        "a -> b", a=entry(lambda routine, data: routine.emit_later("output", delay=5)), b=collector([])
    )
    job_state = flow.execute("a")
    assert JobState.wait_for_completion(flow, job_state, timeout=0.01) is False
    clock.advance(5)
    executor.run_until_idle()
    assert JobState.wait_for_completion(flow, job_state, timeout=0.01) is True


def test_one_executor_may_serve_several_flows():
    executor, clock, seen = ManualExecutor(), FakeClock(), []
    flows = [Flow(name, executor=executor, clock=clock) for name in ("one", "other")]
    states = []
    for flow in flows:
        draw("a -> b", flow=flow, a=source(1), b=collector(seen))
        states.append(flow.execute("a"))
    executor.run_until_idle()
    assert [job_state.status for job_state in states] == ["completed", "completed"]
    assert len(seen) == 2


def test_record_times_are_those_of_the_fake_clock():
    flow, _, clock = draw_stepped(a=source(1))
    flow.run("a")
    clock.advance(60)
    first = flow.run("a").execution_history[0].timestamp
    clock.advance(60)
    second = flow.run("a").execution_history[0].timestamp
    assert (second - first).total_seconds() == 60


def test_activating_a_slot_shows_what_its_handler_did():
    def act(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", n=data["n"] + 1)
        routine.emit("done")
        routine.send_output("progress", percent=100)
        routine.get_execution_context().job_state.update_shared_data("seen", data["n"])

    activation = activate(node(act, events=("output", "done")), "input", n=1)
    assert activation.emitted() == [("output", {"n": 2}), ("done", {})]
    assert activation.emitted("output") == [("output", {"n": 2})]
    assert activation.outputs == [("progress", {"percent": 100})]
    assert activation.job_state.get_shared_data("seen") == 1
    assert activation.error is None


def test_activating_a_slot_whose_handler_raises_shows_the_error():
    assert activate(node(fails(ValueError("no good"))), "input").error == "no good"


def test_activating_follows_the_routines_error_handler_without_taking_time():
    handler = ErrorHandler("retry", max_retries=3, retry_delay=1000.0)
    activation = activate(node(fails(ValueError("no good"), 3), error_handler=handler), "input", n=1)
    assert activation.emitted() == [("output", {"n": 1})]


def test_activations_may_share_a_job_state():
    def count(routine: Routine, data: dict[str, Any]) -> None:
        routine.get_execution_context().job_state.modify_shared_data("n", lambda n: n + 1, 0)

    routine = node(count)
    first = activate(routine, "input")
    second = activate(routine, "input", job_state=first.job_state)
    assert second.job_state is first.job_state
    assert second.job_state.get_shared_data("n") == 2


def test_activating_an_unknown_slot_lists_those_that_exist():
    with pytest.raises(ValueError, match="'input'"):
        activate(relay(), "inptu")


def test_activating_leaves_the_routine_as_it_was():
    seen: list[Any] = []
    routine = relay()
    flow = draw("a -> b -> c", a=source(1), b=routine, c=collector(seen))
    activate(routine, "input", item=0)
    assert routine._current_flow is flow
    assert seen == []
    assert list(flow.routines) == ["a", "b", "c"]
    flow.run("a")
    flow.shutdown()
    assert seen == [{"item": 1}]
