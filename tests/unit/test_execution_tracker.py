"""A tracker adds up: against a plain model, by hand, and over the runs of a flow."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import ErrorHandler, ExecutionTracker
from routilux.execution_tracker import KEPT_COUNT
from tests.drawings import Gate, collector, draw, entry, node, source, start_held, wait

STATUSES = st.sampled_from(["completed", "failed", "error_continued", "skipped"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from("ab"), st.just("")),
        st.tuples(st.just("end"), st.sampled_from("abc"), STATUSES),
        st.tuples(st.just("event"), st.sampled_from("ab"), st.just("")),
    ),
    max_size=40,
)


def test_a_tracker_can_be_made_without_arguments_and_is_all_zeros():
    tracker = ExecutionTracker()
    assert tracker.flow_id == ""
    assert tracker.routine_executions == {}
    assert tracker.event_flow == []
    assert tracker.performance_metrics == {}
    assert type(tracker.routine_executions) is dict
    assert type(tracker.event_flow) is list
    assert type(tracker.performance_metrics) is dict
    assert tracker.get_routine_performance("nobody") is None
    assert tracker.get_flow_performance() == {
        "total_routines": 0,
        "total_events": 0,
        "total_execution_time": 0,
        "avg_routine_time": 0,
    }


@given(STEPS)
def test_sums_are_those_of_a_plain_model(steps):
    tracker = ExecutionTracker("drawn")
    started: dict[str, int] = {}
    ended: dict[str, list[str]] = {}
    events = 0
    for what, routine_id, status in steps:
        if what == "start":
            tracker.record_routine_start(routine_id)
            started[routine_id] = started.get(routine_id, 0) + 1
        elif what == "end":
            tracker.record_routine_end(routine_id, status)
            if started.get(routine_id, 0) > len(ended.get(routine_id, [])):
                ended.setdefault(routine_id, []).append(status)
        else:
            tracker.record_event(routine_id, "output")
            events += 1
    assert set(tracker.routine_executions) == set(started)
    total_seconds = 0.0
    for routine_id, count in started.items():
        outcome = ended.get(routine_id, [])
        performance = tracker.get_routine_performance(routine_id)
        completed = outcome.count("completed")
        seconds = [e["execution_time"] for e in tracker.routine_executions[routine_id] if e["status"] != "running"]
        assert len(seconds) == len(outcome)
        assert all(each > 0 for each in seconds)
        assert performance["total_executions"] == count
        assert performance["completed"] == completed
        assert performance["failed"] == len(outcome) - completed
        assert performance["success_rate"] == completed / count
        assert performance["avg_execution_time"] == pytest.approx(sum(seconds) / len(seconds) if seconds else 0)
        assert performance["min_execution_time"] == pytest.approx(min(seconds, default=0))
        assert performance["max_execution_time"] == pytest.approx(max(seconds, default=0))
        total_seconds += sum(seconds)
    flow_performance = tracker.get_flow_performance()
    assert flow_performance["total_routines"] == len(started)
    assert flow_performance["total_events"] == events == len(tracker.event_flow)
    assert flow_performance["total_execution_time"] == pytest.approx(total_seconds)
    average = total_seconds / len(started) if started else 0
    assert flow_performance["avg_routine_time"] == pytest.approx(average)


def test_a_started_execution_is_running():
    tracker = ExecutionTracker()
    tracker.record_routine_start("a", {"n": 1})
    (execution,) = tracker.routine_executions["a"]
    assert (execution["routine_id"], execution["params"], execution["status"]) == ("a", {"n": 1}, "running")
    datetime.fromisoformat(str(execution["start_time"]))
    assert "end_time" not in execution
    assert tracker.get_routine_performance("a")["total_executions"] == 1


def test_an_ended_execution_has_its_outcome():
    tracker = ExecutionTracker()
    tracker.record_routine_start("a")
    tracker.record_routine_end("a", "failed", result={"n": 1}, error="no good")
    (execution,) = tracker.routine_executions["a"]
    assert execution["params"] == {}
    assert (execution["status"], execution["result"], execution["error"]) == ("failed", {"n": 1}, "no good")
    assert execution["execution_time"] > 0
    assert "end_time" in execution


def test_result_and_error_are_there_only_if_they_were_given():
    tracker = ExecutionTracker()
    tracker.record_routine_start("a")
    tracker.record_routine_end("a")
    (execution,) = tracker.routine_executions["a"]
    assert execution["status"] == "completed"
    assert "result" not in execution
    assert "error" not in execution


def test_an_end_without_a_start_leaves_nothing():
    tracker = ExecutionTracker()
    tracker.record_routine_end("a")
    assert tracker.routine_executions == {}
    assert tracker.get_routine_performance("a") is None
    assert tracker.get_flow_performance()["total_routines"] == 0


def test_an_event_is_kept_with_its_ends():
    tracker = ExecutionTracker()
    tracker.record_event("a", "output", "b", {"n": 1})
    tracker.record_event("a", "output")
    first, second = tracker.event_flow
    assert (first["source_routine_id"], first["event_name"], first["target_routine_id"], first["data"]) == (
        "a",
        "output",
        "b",
        {"n": 1},
    )
    assert (second["target_routine_id"], second["data"]) == (None, {})
    assert "timestamp" in first


def test_memory_is_bounded_and_the_sums_are_not():
    tracker = ExecutionTracker()
    for _ in range(3 * KEPT_COUNT):
        tracker.record_routine_start("a")
        tracker.record_routine_end("a")
        tracker.record_event("a", "output")
    assert len(tracker.routine_executions["a"]) <= KEPT_COUNT
    assert len(tracker.event_flow) <= KEPT_COUNT
    assert tracker.get_routine_performance("a")["total_executions"] == 3 * KEPT_COUNT
    assert tracker.get_routine_performance("a")["completed"] == 3 * KEPT_COUNT
    assert tracker.get_flow_performance()["total_events"] == 3 * KEPT_COUNT


def test_a_flow_has_no_tracker_before_its_first_run():
    flow = draw(a=source(1))
    assert flow.execution_tracker is None
    flow.run("a")
    flow.shutdown()
    assert isinstance(flow.execution_tracker, ExecutionTracker)
    assert flow.execution_tracker.flow_id == flow.flow_id


def test_the_entrys_execution_and_emissions_are_there_when_execute_returns():
    flow = draw(a=source(1, 2))
    flow.execute("a", {"n": 1})
    tracker = flow.execution_tracker
    assert tracker.get_routine_performance("a")["completed"] == 1
    (execution,) = tracker.routine_executions["a"]
    assert execution["status"] == "completed"
    assert execution["params"] == {"n": 1}
    assert execution["execution_time"] > 0
    assert [event["data"] for event in tracker.event_flow] == [{"item": 1}, {"item": 2}]
    flow.shutdown()


def test_the_runs_of_a_flow_are_added_up_under_its_routine_ids():
    flow = draw("source -> sink", source=source(1, 2, 3), sink=collector([]))
    for _ in range(4):
        flow.run("source")
    flow.shutdown()
    tracker = flow.execution_tracker
    assert tracker.get_routine_performance("source")["total_executions"] == 4
    assert tracker.get_routine_performance("sink")["total_executions"] == 12
    assert tracker.get_routine_performance("sink")["success_rate"] == 1.0
    assert set(tracker.routine_executions) == {"source", "sink"}
    assert len(tracker.routine_executions["sink"]) == 12
    performance = tracker.get_flow_performance()
    assert performance["total_routines"] == 2
    assert performance["total_events"] == 12
    assert performance["total_execution_time"] > 0


@pytest.mark.parametrize("strategy", ["stop", "continue", "skip"])
def test_a_handler_that_raises_counts_as_failed(strategy):
    broken = node(lambda routine, data: 1 / 0, error_handler=ErrorHandler(strategy))
    flow = draw("a -> b", a=source(1), b=broken)
    flow.run("a")
    flow.shutdown()
    performance = flow.execution_tracker.get_routine_performance("b")
    assert (performance["total_executions"], performance["completed"], performance["failed"]) == (1, 0, 1)
    assert performance["success_rate"] == 0
    (execution,) = flow.execution_tracker.routine_executions["b"]
    assert execution["status"] != "running"
    assert "division" in execution["error"]


def test_an_activation_that_is_retried_is_one_execution():
    failed = []

    def act(routine: Any, data: Any) -> None:
        if len(failed) < 2:
            failed.append(1)
            raise ValueError("again")

    retried = node(act, error_handler=ErrorHandler("retry", retry_delay=0))
    flow = draw("a -> b", a=source(1), b=retried)
    flow.run("a")
    flow.shutdown()
    performance = flow.execution_tracker.get_routine_performance("b")
    assert (performance["total_executions"], performance["completed"], performance["failed"]) == (1, 1, 0)
    (execution,) = flow.execution_tracker.routine_executions["b"]
    assert execution["status"] == "completed"


def test_an_execution_that_is_still_at_work_is_seen():
    seen: list[Any] = []

    def act(routine: Any, data: Any) -> None:
        tracker = flow.execution_tracker
        seen.append(tracker.routine_executions["a"][0]["status"])
        seen.append(tracker.get_routine_performance("a")["total_executions"])

    flow = draw(a=entry(act))
    flow.run("a")
    flow.shutdown()
    assert seen == ["running", 1]


def test_reading_while_a_run_goes_on_counts_nothing_twice():
    def act(routine: Any, data: Any) -> None:
        for n in range(5):
            routine.emit("output", item=n)
            flow.execution_tracker.get_flow_performance()
            assert len(flow.execution_tracker.event_flow) == n + 1

    flow = draw("a -> b", a=entry(act), b=collector([]))
    flow.run("a")
    flow.shutdown()
    tracker = flow.execution_tracker
    assert len(tracker.event_flow) == tracker.get_flow_performance()["total_events"] == 5
    assert len(tracker.routine_executions["b"]) == tracker.get_routine_performance("b")["total_executions"] == 5


def test_performance_metrics_are_the_routines_performances():
    flow = draw("a -> b", a=source(1), b=collector([]))
    flow.run("a")
    flow.shutdown()
    tracker = flow.execution_tracker
    metrics = tracker.performance_metrics
    assert type(metrics) is dict
    assert tracker.performance_metrics is metrics
    assert metrics["b"] == tracker.get_routine_performance("b")


def test_a_tracker_of_ones_own_may_be_set_and_adds_up():
    flow = draw("a -> b", a=source(1), b=collector([]))
    mine = ExecutionTracker("mine")
    flow.execution_tracker = mine
    flow.run("a")
    assert flow.execution_tracker is mine
    assert mine.get_routine_performance("b")["total_executions"] == 1
    flow.shutdown()


def test_a_tracker_may_be_set_to_none_between_runs():
    flow = draw("a -> b", a=source(1), b=collector([]))
    flow.run("a")
    flow.execution_tracker = None
    assert flow.run("a").status == "completed"
    flow.shutdown()


def test_a_tracker_of_ones_own_that_is_set_after_the_first_run_adds_up_the_later_ones():
    flow = draw("a -> b", a=source(1), b=collector([]))
    flow.run("a")
    mine = flow.execution_tracker = ExecutionTracker("mine")
    flow.run("a")
    flow.shutdown()
    assert mine.get_routine_performance("b")["total_executions"] == 1
    assert mine.get_flow_performance()["total_events"] == 1


def test_a_tracker_that_replaces_the_flows_has_the_entrys_execution_and_emissions_when_execute_returns():
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    gate.open()
    flow.run("a")
    gate.may_go.clear()
    mine = flow.execution_tracker = ExecutionTracker("mine")
    job_state = flow.execute("a")
    assert mine.get_routine_performance("a")["completed"] == 1
    assert mine.get_flow_performance()["total_events"] == 1
    gate.open()
    wait(flow, job_state)
    flow.shutdown()
    assert mine.get_routine_performance("b")["completed"] == 1


def test_a_tracker_that_is_set_beside_a_live_run_counts_it_whole_and_once():
    flow, job_state, gate = start_held()
    first = flow.execution_tracker
    assert first.get_flow_performance()["total_events"] == 1
    assert len(first.routine_executions["a"]) == 1
    mine = flow.execution_tracker = ExecutionTracker("mine")
    for _ in range(2):
        assert mine.get_flow_performance()["total_events"] == 1
        assert [each["status"] for each in mine.routine_executions["a"]] == ["completed"]
    assert first.get_flow_performance()["total_events"] == 0  # its figures are where the run ends
    assert len(first.routine_executions["a"]) == 1
    gate.open()
    wait(flow, job_state)
    flow.shutdown()
    assert mine.get_flow_performance()["total_events"] == 2
    assert mine.get_routine_performance("a")["total_executions"] == 1
    assert len(mine.routine_executions["a"]) == len(mine.routine_executions["b"]) == 1
    assert len(mine.event_flow) == 2


def test_a_tracker_that_was_read_before_it_was_set_again_counts_nothing_twice():
    flow, job_state, gate = start_held()
    tracker = flow.execution_tracker
    assert len(tracker.event_flow) == 1
    flow.execution_tracker = None
    flow.execution_tracker = tracker
    assert len(tracker.event_flow) == 1
    gate.open()
    wait(flow, job_state)
    flow.shutdown()
    assert len(tracker.event_flow) == tracker.get_flow_performance()["total_events"] == 2


def test_only_a_tracker_may_be_set():
    flow = draw(a=source(1))
    with pytest.raises(TypeError, match="is not an ExecutionTracker"):
        flow.execution_tracker = "mine"
    assert flow.execution_tracker is None


def test_an_event_whose_name_is_a_word_of_the_engine_is_an_event():
    routine = entry(lambda routine, data: routine.emit("error", text="x"), events=("error",))
    flow = draw(a=routine)
    job_state = flow.run("a")
    flow.shutdown()
    assert job_state.status == "completed"
    performance = flow.execution_tracker.get_routine_performance("a")
    assert (performance["completed"], performance["failed"]) == (1, 0)
    assert flow.execution_tracker.get_flow_performance()["total_events"] == 1
    assert [event["event_name"] for event in flow.execution_tracker.event_flow] == ["error"]
    (execution,) = flow.execution_tracker.routine_executions["a"]
    assert execution["status"] == "completed"
