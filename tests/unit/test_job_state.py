"""A JobState is a record that anybody may write and read, with or without a run."""

import copy
import pickle
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from routilux import ExecutionRecord, JobState, QueueOutputHandler, Routine
from routilux.output_handler import CallbackOutputHandler
from tests.drawings import DEADLINE, Gate, collector, draw, entry, in_thread, own_run, source, wait


def test_a_record_has_defaults():
    before = datetime.now()
    record = ExecutionRecord()
    assert (record.routine_id, record.event_name, record.data) == ("", "", {})
    assert before <= record.timestamp <= datetime.now()
    assert ExecutionRecord().data is not record.data


def test_a_record_keeps_what_it_is_given():
    at = datetime(2025, 1, 15)
    record = ExecutionRecord("worker", "output", {"n": 1}, at)
    assert (record.routine_id, record.event_name, record.data, record.timestamp) == ("worker", "output", {"n": 1}, at)
    assert repr(record) == f"ExecutionRecord[worker.output@{at}]"


def test_a_new_state_is_pending_and_empty():
    before = datetime.now() - timedelta(seconds=1)
    job_state = JobState("drawn")
    assert job_state.flow_id == "drawn"
    assert job_state.status == "pending"
    assert job_state.current_routine_id is None
    assert job_state.routine_states == {}
    assert job_state.output_handler is None
    assert job_state.checkpoint == {}
    for name in ("execution_history", "pause_points", "pending_tasks", "deferred_events", "shared_log", "output_log"):
        assert getattr(job_state, name) == []
    assert job_state.shared_data == {}
    assert job_state.metadata == {}
    assert before <= job_state.created_at <= job_state.updated_at <= datetime.now() + timedelta(seconds=1)


def test_a_state_can_be_made_without_arguments_and_has_a_job_id_of_its_own():
    one, other = JobState(), JobState()
    assert one.flow_id == ""
    assert one.job_id != other.job_id


@pytest.mark.parametrize("status", ["pending", "running", "completed", "my own word", ""])
def test_any_string_may_be_the_status(status):
    job_state = JobState()
    job_state.status = status
    assert job_state.status == status
    assert type(job_state.status) is str


def test_a_state_names_its_job_and_status():
    job_state = JobState()
    assert repr(job_state).startswith(f"JobState[{job_state.job_id}:pending]")


def test_updating_a_routines_state_replaces_it_with_a_copy():
    job_state = JobState()
    state = {"status": "completed", "extra": 1}
    job_state.update_routine_state("worker", state)
    state["status"] = "changed"
    assert job_state.get_routine_state("worker") == {"status": "completed", "extra": 1}
    job_state.update_routine_state("worker", {"other": 2})
    assert job_state.get_routine_state("worker") == {"other": 2}
    assert job_state.routine_states == {"worker": {"other": 2}}


def test_the_state_of_an_unknown_routine_is_none():
    assert JobState().get_routine_state("nobody") is None


def test_routine_states_may_be_walked_and_written():
    job_state = JobState()
    job_state.update_routine_state("a", {"status": "completed"})
    job_state.routine_states["b"] = {"status": "failed"}
    assert {name: state["status"] for name, state in job_state.routine_states.items()} == {
        "a": "completed",
        "b": "failed",
    }
    assert list(job_state.routine_states) == ["a", "b"]
    job_state.routine_states.setdefault("_cancellation", {})["reason"] = "enough"
    assert job_state.routine_states["_cancellation"] == {"reason": "enough"}


@pytest.mark.parametrize(
    "write",
    [
        lambda run: run.routine_states.update(run.routine_states),
        lambda run: run.routine_states.update((key, {"y": run.get_routine_state(key)["x"]}) for key in ["a"]),
        lambda run: setattr(run, "routine_states", run.routine_states),
        lambda run: setattr(run, "routine_states", ((key, run.routine_states[key]) for key in ["a"])),
        lambda run: run.update_routine_state("b", run.routine_states),
        lambda run: run.routine_states.setdefault("b", run.routine_states),
        lambda run: setattr(run, "execution_history", (record for record in run.execution_history)),
        lambda run: setattr(run, "shared_data", run.shared_data),
    ],
)
def test_a_state_may_be_written_out_of_itself(write):
    job_state = JobState()
    job_state.update_routine_state("a", {"x": 1})
    job_state.record_execution("a", "output", {})
    in_thread(lambda: write(job_state))()
    assert "a" in job_state.routine_states
    assert len(job_state.execution_history) == 1
    job_state.serialize()


@pytest.mark.parametrize("part", ["routine_states", "shared_data"])
def test_two_states_may_be_written_out_of_each_other(part):
    meeting = threading.Barrier(2, timeout=DEADLINE)

    def pairs(other: JobState):
        meeting.wait()  # both have begun to write
        yield from getattr(other, part).items()

    one, other = JobState(), JobState()
    one.routine_states["a"] = one.shared_data["a"] = {"x": 1}
    other.routine_states["b"] = other.shared_data["b"] = {"x": 2}
    joins = [
        in_thread(lambda: getattr(one, part).update(pairs(other))),
        in_thread(lambda: getattr(other, part).update(pairs(one))),
    ]
    for join in joins:
        join()
    assert dict(getattr(other, part))["a"] == {"x": 1}
    assert dict(getattr(one, part))["b"] == {"x": 2}


def test_augmented_assignments_keep_the_objects_that_others_hold():
    job_state = JobState()
    history, states, shared, log = (
        job_state.execution_history,
        job_state.routine_states,
        job_state.shared_data,
        job_state.shared_log,
    )
    job_state.execution_history += [ExecutionRecord("me", "mine")]
    job_state.routine_states |= {"a": {"x": 1}}
    job_state.shared_data |= {"key": 1}
    job_state.shared_log += [{"entry": 1}]
    job_state.record_execution("a", "output", {})
    assert job_state.execution_history is history
    assert [record.event_name for record in history] == ["mine", "output"]
    assert job_state.routine_states is states
    assert states == {"a": {"x": 1}}
    assert job_state.shared_data is shared
    assert shared == {"key": 1}
    assert job_state.shared_log is log


def test_no_record_is_lost_when_a_caller_extends_the_history_beside_a_run():
    job_state = JobState()
    kept = job_state.execution_history
    kept += [ExecutionRecord("me", "mine")]
    job_state.record_execution("a", "output", {})  # between the caller's look and its assignment
    job_state.execution_history = kept
    assert [record.event_name for record in job_state.execution_history] == ["mine", "output"]


def test_the_status_that_a_handler_has_written_is_not_asked_for_its_opinion():
    job_state = JobState()

    class Status:
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            job_state.get_routine_state("r")  # which waits for ever where the state's lock is held
            return False

    def handler(routine: Routine, data: dict[str, Any]) -> None:
        own_run(routine).routine_states["r"] = {"status": Status()}

    flow = draw(r=entry(handler))
    in_thread(lambda: flow.execute("r", job_state=job_state))()
    assert wait(flow, job_state).status == "completed"


def test_recording_appends_with_the_present_time():
    job_state = JobState()
    job_state.record_execution("a", "output", {"n": 1})
    job_state.record_execution("b", "done", {})
    first, second = job_state.execution_history
    assert (first.routine_id, first.event_name, first.data) == ("a", "output", {"n": 1})
    assert (second.routine_id, second.event_name, second.data) == ("b", "done", {})
    assert first.timestamp <= second.timestamp
    assert isinstance(first, ExecutionRecord)


def test_a_record_without_data_can_be_saved_before_and_after_it_was_read():
    job_state = JobState()
    job_state.record_execution("a", "output", None)
    assert job_state.serialize()["execution_history"][0]["data"] == {}
    assert job_state.execution_history[0].data == {}
    assert job_state.serialize()["execution_history"][0]["data"] == {}


def test_a_record_of_another_time_zone_is_sorted_with_the_others():
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    local = noon.astimezone().replace(tzinfo=None)
    job_state = JobState()
    first, last = ExecutionRecord("a", "first", {}, noon), ExecutionRecord("a", "last", {}, local + timedelta(hours=1))
    assigned = ExecutionRecord("a", "assigned")
    assigned.timestamp = noon + timedelta(minutes=1)
    job_state.execution_history += [last, assigned, first]
    assert first.timestamp == local
    assert [record.event_name for record in job_state.get_execution_history()] == ["first", "assigned", "last"]


def test_the_history_is_one_and_the_same_list():
    job_state = JobState()
    history = job_state.execution_history
    job_state.record_execution("a", "output", {})
    assert job_state.execution_history is history
    assert len(history) == 1
    job_state.record_execution("a", "output", {})
    assert job_state.execution_history is history
    assert len(history) == 2


def test_records_are_the_same_objects_at_every_reading():
    job_state = JobState()
    job_state.record_execution("a", "output", {})
    assert job_state.execution_history[0] is job_state.execution_history[0]


def test_callers_may_append_records_of_their_own():
    job_state = JobState()
    job_state.record_execution("a", "first", {})
    mine = ExecutionRecord("me", "second", {})
    job_state.execution_history.append(mine)
    job_state.record_execution("a", "third", {})
    assert [record.event_name for record in job_state.execution_history] == ["first", "second", "third"]
    assert job_state.execution_history[1] is mine


def test_the_history_of_one_routine_is_a_list_of_its_own():
    job_state = JobState()
    for name in "aba":
        job_state.record_execution(name, "output", {})
    found = job_state.get_execution_history("a")
    assert [record.routine_id for record in found] == ["a", "a"]
    found.clear()
    assert len(job_state.execution_history) == 3
    assert job_state.get_execution_history("nobody") == []


def test_the_history_that_is_asked_for_is_sorted_by_time():
    job_state = JobState()
    job_state.record_execution("a", "late", {})
    early = ExecutionRecord("a", "early", {}, datetime(2000, 1, 1))
    job_state.execution_history.append(early)
    assert [record.event_name for record in job_state.get_execution_history()] == ["early", "late"]
    assert [record.event_name for record in job_state.execution_history] == ["late", "early"]


def test_every_change_moves_updated_at_forward():
    job_state = JobState()
    seen = [job_state.updated_at]
    changes = [
        lambda: job_state.record_execution("a", "output", {}),
        lambda: job_state.update_routine_state("a", {}),
        lambda: job_state.update_shared_data("k", 1),
        lambda: job_state.append_to_shared_log({}),
        lambda: job_state.add_deferred_event("a", "output", {}),
        lambda: job_state.send_output("a", "kind", {}),
        lambda: job_state.modify_shared_data("k", lambda value: value),
        lambda: setattr(job_state, "status", "running"),
    ]
    for change in changes:
        change()
        seen.append(job_state.updated_at)
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen)


def test_shared_data_are_set_and_read():
    job_state = JobState()
    job_state.update_shared_data("k", [1])
    assert job_state.get_shared_data("k") == [1]
    assert job_state.get_shared_data("missing") is None
    assert job_state.get_shared_data("missing", 7) == 7
    assert job_state.shared_data == {"k": [1]}
    job_state.shared_data["direct"] = 1
    assert job_state.get_shared_data("direct") == 1


def test_shared_data_may_be_walked_and_unpacked():
    job_state = JobState()
    job_state.update_shared_data("a", 1)
    job_state.update_shared_data("b", 2)
    assert dict(job_state.shared_data) == {**job_state.shared_data} == {"a": 1, "b": 2}
    assert sorted(job_state.shared_data) == ["a", "b"]
    assert sum(job_state.shared_data.values()) == 3


def test_modifying_shared_data_gives_the_new_value():
    job_state = JobState()
    assert job_state.modify_shared_data("n", lambda n: n + 1, 0) == 1
    assert job_state.modify_shared_data("n", lambda n: n + 1, 0) == 2
    assert job_state.modify_shared_data("other", lambda value: value) is None
    assert job_state.shared_data == {"n": 2, "other": None}


def test_a_modification_that_raises_leaves_the_value():
    job_state = JobState()
    job_state.update_shared_data("n", 1)
    with pytest.raises(ZeroDivisionError):
        job_state.modify_shared_data("n", lambda n: n / 0)
    assert job_state.get_shared_data("n") == 1
    assert job_state.modify_shared_data("n", lambda n: n + 1) == 2


def test_a_modification_may_use_the_state_itself():
    job_state = JobState()
    job_state.update_shared_data("a", 2)
    job_state.modify_shared_data("b", lambda _: job_state.get_shared_data("a") * 2)
    job_state.modify_shared_data("c", lambda _: job_state.update_shared_data("d", 1))
    assert dict(job_state.shared_data) == {"a": 2, "b": 4, "c": None, "d": 1}


def test_no_write_comes_between_the_reading_and_the_writing_of_a_modification():
    job_state, gate, was_late = JobState(), Gate(), threading.Event()

    def slowly(value: int) -> int:
        gate.hold()
        return value + 1

    def add_ten() -> None:
        job_state.modify_shared_data("n", lambda n: n + 10, 0)
        was_late.set()

    first = in_thread(lambda: job_state.modify_shared_data("n", slowly, 0))
    gate.await_arrival()
    second = in_thread(add_ten)
    assert not was_late.wait(0.05)
    gate.open()
    first()
    second()
    assert job_state.get_shared_data("n") == 11


def test_modifications_from_many_threads_are_all_counted():
    job_state = JobState()

    def count() -> None:
        for _ in range(1000):
            job_state.modify_shared_data("n", lambda n: n + 1, 0)

    for join in [in_thread(count) for _ in range(4)]:
        join()
    assert job_state.get_shared_data("n") == 4000


def test_the_shared_log_gets_a_time_where_there_is_none():
    job_state = JobState()
    entry_without = {"a": 1}
    job_state.append_to_shared_log(entry_without)
    job_state.append_to_shared_log({"a": 2, "timestamp": "mine"})
    first, second = job_state.shared_log
    assert first["a"] == 1
    datetime.fromisoformat(first["timestamp"])
    assert second == {"a": 2, "timestamp": "mine"}
    assert entry_without == {"a": 1}


@pytest.mark.parametrize("wrong", ["text", None, ["a"], 5])
def test_what_is_no_dict_is_refused_by_the_shared_log(wrong):
    with pytest.raises(ValueError, match="dictionary"):
        JobState().append_to_shared_log(wrong)


def test_the_shared_log_is_filtered_and_copied():
    job_state = JobState()
    for n in range(4):
        job_state.append_to_shared_log({"n": n})
    assert [e["n"] for e in job_state.get_shared_log(lambda e: e["n"] % 2 == 0)] == [0, 2]
    job_state.get_shared_log().clear()
    assert len(job_state.get_shared_log()) == 4


def test_a_deferred_event_is_kept():
    job_state = JobState()
    job_state.add_deferred_event("a", "asked", {"question": "name?"})
    (entry,) = job_state.deferred_events
    assert (entry["routine_id"], entry["event_name"], entry["data"]) == ("a", "asked", {"question": "name?"})
    datetime.fromisoformat(entry["timestamp"])


def test_an_output_goes_to_the_log_and_to_the_handler():
    job_state, handler = JobState(), QueueOutputHandler()
    job_state.set_output_handler(handler)
    job_state.send_output("a", "kind", {"n": 1})
    output = handler.queue.get_nowait()
    assert (output["job_id"], output["routine_id"], output["output_type"], output["data"]) == (
        job_state.job_id,
        "a",
        "kind",
        {"n": 1},
    )
    (logged,) = job_state.output_log
    assert (logged["routine_id"], logged["output_type"], logged["data"]) == ("a", "kind", {"n": 1})
    assert logged["timestamp"] == output["timestamp"].isoformat()


def test_without_a_handler_outputs_are_logged_all_the_same():
    job_state = JobState()
    job_state.set_output_handler(QueueOutputHandler())
    job_state.set_output_handler(None)
    job_state.send_output("a", "kind", {})
    assert len(job_state.output_log) == 1


def test_outputs_are_selected_by_their_type():
    job_state = JobState()
    for kind in ("x", "y", "x"):
        job_state.send_output("a", kind, {})
    assert [output["output_type"] for output in job_state.outputs()] == ["x", "y", "x"]
    assert len(job_state.outputs("x")) == 2
    assert job_state.outputs("z") == []
    job_state.outputs().clear()
    assert len(job_state.outputs()) == 3


def test_an_output_handler_that_raises_warns_and_stops_nothing():
    job_state = JobState()
    job_state.set_output_handler(CallbackOutputHandler(lambda *args: 1 / 0))
    with pytest.warns(RuntimeWarning, match="Output handler failed.*ZeroDivisionError"):
        job_state.send_output("a", "kind", {})
    assert len(job_state.output_log) == 1


def test_what_cannot_handle_is_no_output_handler():
    with pytest.raises(TypeError, match="handle"):
        JobState().set_output_handler(print)  # type: ignore[arg-type]


def test_the_checkpoint_is_the_last_pause_points():
    job_state = JobState()
    job_state.pause_points.append({"checkpoint": {"step": 1}})
    job_state.pause_points.append({"checkpoint": {"step": 2}})
    assert job_state.checkpoint == {"step": 2}


def test_errors_are_the_records_of_what_went_wrong():
    job_state = JobState()
    job_state.record_execution("a", "output", {"error": "a payload of the user's"})
    job_state.record_execution("a", "error", {"error": "no good", "error_type": "ValueError"})
    job_state.record_execution("", "timeout", {"error": "too slow", "timeout": 1.0})
    assert [record.data["error"] for record in job_state.errors] == ["no good", "too slow"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda job_state: pickle.loads(pickle.dumps(job_state))])
def test_a_copy_is_the_record_without_its_live_side(copied):
    job_state = JobState("drawn")
    job_state.status = "running"
    job_state.set_output_handler(CallbackOutputHandler(lambda *args: None))
    job_state.record_execution("a", "output", {"n": [1]})
    job_state.update_routine_state("a", {"status": "completed"})
    job_state.update_shared_data("k", [1])
    job_state.append_to_shared_log({"n": 1})
    job_state.send_output("a", "kind", {"n": 1})
    job_state.metadata["mine"] = 1
    twin = copied(job_state)
    assert (twin.flow_id, twin.job_id, twin.status) == ("drawn", job_state.job_id, "running")
    assert [(r.routine_id, r.event_name, r.data) for r in twin.execution_history] == [("a", "output", {"n": [1]})]
    assert twin.execution_history[0].timestamp == job_state.execution_history[0].timestamp
    assert (twin.routine_states, twin.shared_data) == ({"a": {"status": "completed"}}, {"k": [1]})
    assert twin.shared_log == job_state.shared_log
    assert twin.output_log == job_state.output_log
    assert twin.metadata == {"mine": 1}
    assert (twin.created_at, twin.updated_at) == (job_state.created_at, job_state.updated_at)
    assert twin.output_handler is None
    twin.shared_data["k"].append(2)
    twin.record_execution("b", "output", {})
    twin.update_routine_state("b", {})
    assert job_state.shared_data == {"k": [1]}
    assert len(job_state.execution_history) == 1
    assert list(job_state.routine_states) == ["a"]
    assert twin.execution_history[1].timestamp >= twin.execution_history[0].timestamp


def test_a_copy_of_a_live_run_does_not_follow_it():
    gate, seen = threading.Event(), threading.Event()

    def act(routine: Any, data: Any) -> None:
        seen.set()
        assert gate.wait(20)

    flow = draw(a=entry(act))
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: flow.execute("a", job_state=job_state))
    assert seen.wait(20)
    twin = copy.deepcopy(job_state)
    gate.set()
    join()
    flow.shutdown()
    assert job_state.status == "completed"
    assert twin.status == "running"
    assert [record.event_name for record in twin.execution_history] == ["start"]


def test_a_state_may_be_read_from_any_thread_while_a_run_writes_it(hasty_switching):
    stop = threading.Event()
    flow = draw("a -> b", a=source(*range(200)), b=collector([]))
    job_state = JobState(flow.flow_id)

    def read() -> None:
        before = 0
        while not stop.is_set():
            history = list(job_state.execution_history)
            assert len(history) >= before
            before = len(history)
            times = [record.timestamp for record in history]
            assert times == sorted(times)
            assert all("status" in state for state in job_state.routine_states.values())
            repr(job_state)
            job_state.get_execution_history("b")

    readers = [in_thread(read) for _ in range(2)]
    flow.execute("a", job_state=job_state)
    assert JobState.wait_for_completion(flow, job_state, timeout=20)
    stop.set()
    for join in readers:
        join()
    flow.shutdown()
    assert len(job_state.get_execution_history("b")) == 400
