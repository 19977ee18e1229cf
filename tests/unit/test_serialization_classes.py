"""Every class goes to data and back: in place, whole or in part, and without changing what it is given."""

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from serilux import Serializable, SerializableRegistry

from routilux import (
    Connection,
    ErrorHandler,
    Event,
    ExecutionRecord,
    ExecutionTracker,
    Flow,
    JobState,
    Routine,
    Slot,
)
from routilux.job_state import ledger_of
from tests.drawings import draw_stepped, node, source
from tests.registered import Box, Hopper, Patient, newest_wins

CLASSES = [Connection, ErrorHandler, Event, ExecutionRecord, ExecutionTracker, Flow, JobState, Routine, Slot]


class AppError(Exception):
    """An error of an application."""

    class InnerError(Exception):
        """A class in a class."""


def a_connection():
    return Connection(param_mapping={"a": "b"})


def an_error_handler():
    handler = ErrorHandler("retry", 5, 0.5, 3.0, (ValueError, AppError, AppError.InnerError), is_critical=True)
    handler.retry_count = 2
    return handler


def an_event():
    return Event("output", output_params=["a", "b"])


def a_record():
    record = ExecutionRecord("a", "output", {"_type": "Flow", "n": [1, None]}, datetime(2026, 1, 2, 3, 4, 5, 6))
    record.is_emission = True
    return record


def a_tracker():
    tracker = ExecutionTracker("f")
    tracker.record_routine_start("a", {"x": 1})
    tracker.record_routine_end("a", result={"y": 2})
    tracker.record_routine_start("a")
    tracker.record_event("a", "output", "b", {"z": 3})
    return tracker


def a_flow():
    flow = Flow("f", "concurrent", 3, 12.5)
    flow.add_routine(Hopper(), "a")
    flow.add_routine(Hopper(), "b")
    flow.connect("a", "out", "b", "left", {"value": "text"})
    flow.set_error_handler(ErrorHandler("skip"))
    return flow


def a_job_state():
    state = JobState("f")
    state.status = "on hold"
    state.current_routine_id = "a"
    state.update_routine_state("a", {"status": "completed"})
    state.record_execution("a", "start", {"slot": "trigger"})
    state.pause_points.append({"timestamp": "2026-01-01T00:00:00", "reason": "r", "checkpoint": {"step": 1}})
    state.pending_tasks.append({"routine_id": "b", "slot": "left", "data": {"x": (1,)}, "priority": 1, "attempt": 2})
    state.add_deferred_event("a", "out", {"q": 1})
    state.update_shared_data("k", {"v": 1.5})
    state.append_to_shared_log({"line": 1})
    state.send_output("a", "answer", {"text": "hi"})
    state.metadata["who"] = "me"
    ledger_of(state).slot_data["b", "left"] = {"x": [1]}
    return state


def a_routine():
    hopper = Hopper()
    hopper.set_config(hop_count=3, _type="callable")
    hopper.define_slot("extra", handler=hopper.hop, merge_strategy=newest_wins)
    hopper.define_event("later", ["when"])
    hopper.get_slot("left").receive({"hops": 99})
    hopper.set_as_critical(max_retries=1)
    return hopper


def a_slot():
    slot = Slot("input", handler=newest_wins, merge_strategy="append")
    slot._data = {"a": [1, 2]}
    return slot


MAKERS = [
    a_connection,
    an_error_handler,
    an_event,
    a_record,
    a_tracker,
    a_flow,
    a_job_state,
    a_routine,
    a_slot,
]
each_kind = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


@pytest.fixture(autouse=True)
def no_execution(monkeypatch):
    # A Hopper that receives by hand has no run to write into.
    def hop(self, **data):
        pass

    monkeypatch.setattr(Hopper, "hop", hop)


def through_json(data):
    return json.loads(json.dumps(data))


# -- round trips


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_is_registered_and_can_be_made_without_arguments(cls):
    assert SerializableRegistry.get_class(cls.__name__) is cls
    assert issubclass(cls, Serializable)
    assert cls().serialize()["_type"] == cls.__name__


@each_kind
@pytest.mark.parametrize("way", [through_json, lambda data: data], ids=["through JSON", "straight"])
def test_what_is_saved_comes_back(make, way):
    original = make()
    data = original.serialize()
    restored = type(original)()
    assert restored.deserialize(way(data)) is None
    again = restored.serialize()
    assert json.dumps(again, sort_keys=True) == json.dumps(data, sort_keys=True)


@each_kind
def test_restoring_does_not_change_its_input(make):
    original = make()
    data = original.serialize()
    before = copy.deepcopy(data)
    restored = type(original)()
    restored.deserialize(data)
    if isinstance(restored, JobState):
        restored.update_shared_data("new", 1)
        restored.execution_history[0].data["new"] = 1
        restored.pending_tasks[0]["data"]["new"] = 1
    assert data == before


@each_kind
def test_a_missing_key_keeps_the_present_value(make):
    original = make()
    data = original.serialize()
    for key in data:
        restored = make()
        first = restored.serialize()
        restored.deserialize({key: value for key, value in first.items() if key in ("_type", key)})
        assert restored.serialize() == first
        fresh = type(original)()
        blank = fresh.serialize()
        fresh.deserialize({key: data[key]})
        after = fresh.serialize()
        changed = {name for name in after if after[name] != blank.get(name)}
        # What tells of the rest; a method names the routine that it is of.
        follows = {"updated_at", "performance_metrics"} | ({"_slots"} if key == "_id" else set())
        assert changed - follows <= {key}, f"restoring {key} alone"


@each_kind
def test_unknown_keys_are_ignored(make):
    original = make()
    data = original.serialize()
    restored = type(original)()
    restored.deserialize({**data, "no_such_key": {"_type": "callable"}, "__class__": "x", "serialize": None})
    assert restored.serialize() == data


@each_kind
@pytest.mark.parametrize("data", [{}, {"nothing": "known"}, {"_type": "Elsewhere"}])
def test_data_without_a_known_key_leave_everything_as_it_was(make, data):
    present = make()
    before = present.serialize()
    present.deserialize(data)
    assert present.serialize() == before


@each_kind
@pytest.mark.parametrize("data", [None, [], "text", 7, [("_type", "Flow")]])
def test_what_is_no_dict_is_refused(make, data):
    present = make()
    before = present.serialize()
    with pytest.raises(ValueError, match="must be a dict"):
        present.deserialize(data)
    assert present.serialize() == before


@each_kind
def test_seriluxs_arguments_are_accepted(make):
    original = make()
    assert original.serialize(max_depth=50, _current_depth=3) == original.serialize()
    type(original)().deserialize(original.serialize(), strict=False, registry=None)


@each_kind
def test_the_saved_form_is_plain_json(make):
    data = make().serialize()
    assert through_json(data) == data


# -- what each class saves


def test_a_flow_saves_exactly_what_was_agreed():
    data = a_flow().serialize()
    assert list(data) == [
        "_type",
        "flow_id",
        "execution_strategy",
        "max_workers",
        "execution_timeout",
        "error_handler",
        "routines",
        "connections",
    ]
    assert list(data["routines"]) == ["a", "b"]
    assert data["connections"] == [
        {
            "_type": "Connection",
            "source_routine_id": "a",
            "source_event": "out",
            "target_routine_id": "b",
            "target_slot": "left",
            "param_mapping": {"value": "text"},
        }
    ]
    assert data["error_handler"]["strategy"] == "skip"


def test_an_empty_flow_saves_empty_containers():
    data = Flow("f").serialize()
    assert (data["routines"], data["connections"], data["error_handler"]) == ({}, [], None)
    assert (data["execution_strategy"], data["max_workers"], data["execution_timeout"]) == ("sequential", 1, 300.0)


def test_a_flow_that_has_run_saves_no_run():
    flow, executor, _ = draw_stepped("a.out -> b.left", a=Hopper(), b=Hopper())
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.job_state = job_state
    assert "job_state" not in flow.serialize()
    assert job_state.job_id not in json.dumps(flow.serialize())


def test_a_routine_saves_exactly_what_was_agreed():
    assert Routine().serialize().keys() == {"_type", "_id", "_config", "_slots", "_events", "_error_handler"}
    data = a_routine().serialize()
    assert data["_type"] == "Hopper"
    assert data["_config"] == {"hop_count": 3, "_type": "callable"}
    assert data["_slots"]["left"]["_data"] == {"hops": 99}
    assert data["_events"]["later"] == {"_type": "Event", "name": "later", "output_params": ["when"]}
    assert data["_error_handler"]["is_critical"] is True


def test_an_empty_routine_saves_empty_containers():
    data = Routine().serialize()
    assert (data["_config"], data["_slots"], data["_events"], data["_error_handler"]) == ({}, {}, {}, None)


def test_an_error_handler_saves_exactly_what_was_agreed():
    assert an_error_handler().serialize() == {
        "_type": "ErrorHandler",
        "strategy": "retry",
        "max_retries": 5,
        "retry_delay": 0.5,
        "retry_backoff": 3.0,
        "retry_count": 2,
        "is_critical": True,
        "retryable_exceptions": ["ValueError", f"{__name__}.AppError", f"{__name__}.AppError.InnerError"],
    }


def test_a_job_state_saves_its_keys_at_top_level_and_the_format_version():
    data = a_job_state().serialize()
    own_names = {"_type", "format_version", "slot_data", "execution_strategy"}
    assert set(JobState.fields_to_serialize) | own_names == set(data)
    assert (data["_type"], data["format_version"]) == ("JobState", 1)
    assert data["status"] == "on hold"
    assert data["execution_history"][0].keys() == {"_type", "routine_id", "event_name", "data", "timestamp"}


def test_subclasses_save_their_own_name():
    class Remembering(JobState):
        pass

    class Named(ExecutionRecord):
        pass

    assert [cls().serialize()["_type"] for cls in (Remembering, Named, Patient, Hopper)] == [
        "Remembering",
        "Named",
        "Patient",
        "Hopper",
    ]


# -- what may come and what may not


def test_slots_and_events_of_the_constructor_stay_the_same_objects():
    original = a_routine()
    restored = Hopper()
    slots, events = dict(restored._slots), dict(restored._events)
    restored.deserialize(through_json(original.serialize()))
    assert {name: restored._slots[name] for name in slots} == slots
    assert {name: restored._events[name] for name in events} == events
    assert set(restored._slots) - set(slots) == {"extra"}
    assert set(restored._events) - set(events) == {"later"}
    assert restored.get_slot("extra").routine is restored
    assert restored.get_event("later").routine is restored


@pytest.mark.parametrize("handler", [None, {"_type": "callable", "callable_type": "builtin", "name": "eval"}, "x"])
@pytest.mark.parametrize("strategy", ["override", "append", {"_type": "callable"}, "unknown"])
def test_the_constructors_handler_and_merge_strategy_stay_whatever_the_data_say(handler, strategy):
    data = Hopper().serialize()
    for saved in data["_slots"].values():
        saved.update(handler=handler, merge_strategy=strategy)
    restored = Hopper()
    before = {name: (slot.handler, slot.merge_strategy) for name, slot in restored._slots.items()}
    restored.deserialize(data)
    assert {name: (slot.handler, slot.merge_strategy) for name, slot in restored._slots.items()} == before


def test_a_slot_without_a_handler_takes_both_from_the_data():
    class Open(Routine):
        def __init__(self):
            super().__init__()
            self.define_slot("input")

    original = Open()
    original.get_slot("input").handler = newest_wins
    original.get_slot("input").merge_strategy = "append"
    restored = Open()
    restored.deserialize(original.serialize())
    assert (restored.get_slot("input").handler, restored.get_slot("input").merge_strategy) == (newest_wins, "append")


def test_an_error_handler_of_the_application_comes_back_when_its_class_is_registered():
    hopper = Hopper()
    hopper.set_error_handler(Patient("retry", max_retries=7))
    restored = Hopper()
    restored.deserialize(hopper.serialize())
    assert type(restored.get_error_handler()) is Patient
    assert restored.get_error_handler().max_retries == 7


def test_an_error_handler_of_an_unknown_class_is_refused_by_name():
    class Unregistered(ErrorHandler):
        pass

    hopper = Hopper()
    hopper.set_error_handler(Unregistered())
    with pytest.raises(ValueError, match="'Unregistered' is not a registered ErrorHandler"):
        Hopper().deserialize(hopper.serialize())


def test_exception_classes_that_a_policy_has_already_need_no_name_to_be_found_by():
    class LocalError(Exception):
        pass

    handler = ErrorHandler("retry", retryable_exceptions=[LocalError, OSError])
    handler.deserialize(handler.serialize())
    assert handler.retryable_exceptions == (LocalError, OSError)
    with pytest.raises(ValueError, match="LocalError"):
        ErrorHandler().deserialize(handler.serialize())


@pytest.mark.parametrize(
    "name",
    ["no_such_module.Error", "antigravity.Error", "os.system", "int", "builtins", "", ".", "os.", "..ValueError"],
)
def test_a_name_of_no_known_exception_class_is_refused(name):
    with pytest.raises(ValueError, match="retryable_exceptions"):
        ErrorHandler().deserialize({"retryable_exceptions": [name]})


def deep(depth=20_000):
    value = []
    for _ in range(depth):
        value = [value]
    return value


WRONG = [None, [], [1], {"a": 1}, "", "x", -1, 10**400, 1.5, float("nan"), float("inf"), True, deep(), {1: 2}]


@each_kind
def test_wrong_values_are_refused_and_change_nothing_or_are_taken_as_they_are(make):
    for key in make().serialize():
        for wrong in WRONG:
            present = make()
            before = present.serialize()
            try:
                present.deserialize({key: wrong})
            except (ValueError, TypeError):
                assert json.dumps(present.serialize()) == json.dumps(before), f"{key}: {wrong!r:.50}"
                continue
            after = present.serialize()  # it can be saved, and read again
            restored = type(present)()
            restored.deserialize(through_json(after))
            assert json.dumps(restored.serialize()) == json.dumps(after), f"{key}: {wrong!r:.50}"


@pytest.mark.parametrize(
    "entry",
    [
        {"routine_id": "a"},
        {"routine_id": "a", "slot": 5},
        {"routine_id": ["a"], "slot": "b"},
        {"routine_id": "a", "slot": "b", "data": []},
        {"routine_id": "a", "slot": "b", "attempt": True},
        {"routine_id": "a", "slot": "b", "attempt": "1"},
        {"routine_id": "a", "slot": "b", "priority": 9},
        {"routine_id": "a", "slot": "b", "connection": ["a"]},
        {"routine_id": "a", "slot": "b", "connection": {"routine_id": ["a"], "event": {}}},
        {"routine_id": "a", "slot": "b", "released": {"out": 5}},
        {"routine_id": "a", "slot": "b", "released": {"out": [5]}},
        {"routine_id": "a", "slot": "b", "due_at": 5},
        {"routine_id": "a", "slot": "b", "was": ["failed"]},
        {"routine_id": "a", "slot": "b", "id": 5},
        "text",
    ],
)
def test_a_pending_task_that_cannot_be_resumed_is_refused(entry):
    with pytest.raises(ValueError, match="pending_tasks"):
        JobState().deserialize({"pending_tasks": [entry]})


@pytest.mark.parametrize("entry", [{}, {"routine_id": "a", "event_name": 5}, "text"])
def test_a_deferred_event_that_cannot_be_emitted_is_refused(entry):
    with pytest.raises(ValueError, match="deferred_events"):
        JobState().deserialize({"deferred_events": [entry]})
    with pytest.raises(ValueError, match="'data' must be a dict"):
        JobState().deserialize({"deferred_events": [{"routine_id": "a", "event_name": "b", "data": []}]})


@pytest.mark.parametrize("version", [2, 10**6, "1", 1.0, True, None, -1, []])
def test_another_format_version_is_refused(version):
    with pytest.raises(ValueError, match="version"):
        JobState().deserialize({"format_version": version})


def test_a_newer_format_is_refused_by_its_number():
    with pytest.raises(ValueError, match=r"format version 2.*up to 1.*Update routilux"):
        JobState().deserialize({**a_job_state().serialize(), "format_version": 2})


def test_data_without_a_format_version_are_the_oldest_form():
    data = a_job_state().serialize()
    del data["format_version"], data["slot_data"]
    restored = JobState()
    restored.deserialize(data)
    assert restored.shared_data == {"k": {"v": 1.5}}


# -- times


@pytest.mark.parametrize("key", ["created_at", "updated_at"])
@pytest.mark.parametrize("value", [datetime(2026, 5, 4, 3, 2, 1), "2026-05-04T03:02:01", "2026-05-04 03:02:01"])
def test_a_time_comes_as_text_or_as_a_time(key, value):
    state = JobState()
    state.deserialize({key: value})
    assert getattr(state, key) == datetime(2026, 5, 4, 3, 2, 1)


@pytest.mark.parametrize(
    "value", [datetime(2026, 5, 4, 3, tzinfo=UTC), "2026-05-04T03:00:00Z", "2026-05-04T08:30:00+05:30"]
)
def test_a_time_with_a_zone_becomes_a_local_one(value):
    state, record = JobState(), ExecutionRecord()
    state.deserialize({"created_at": value, "updated_at": value})
    record.deserialize({"timestamp": value})
    instant = datetime(2026, 5, 4, 3, tzinfo=UTC)
    assert [each.astimezone(UTC) for each in (state.created_at, state.updated_at, record.timestamp)] == [instant] * 3
    state.record_execution("a", "start", {})
    assert state.get_execution_history()


@pytest.mark.parametrize(
    "value",
    [
        "9999-12-31T23:59:59.999999",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime.max,
        "yesterday",
        "",
        "\udc80",
        "2026-05-04T03:02:01\udc80",
        0,
        None,
        [2026],
    ],
)
def test_a_time_that_cannot_be_reckoned_with_is_refused(value):
    for cls, key in [(JobState, "created_at"), (JobState, "updated_at"), (ExecutionRecord, "timestamp")]:
        with pytest.raises(ValueError, match=key):
            cls().deserialize({key: value})


# -- the tracker


@pytest.mark.parametrize(
    "entry",
    [
        5,
        {"routine_id": ["a"]},
        {"execution_time": "long"},
        {"execution_time": float("nan")},
        {"execution_time": float("inf")},
        {"execution_time": 10**400},
        {"execution_time": True},
        {"execution_time": -1},
        {"status": "running"},
        {"status": "running", "start_time": "then"},
        {"status": "running", "start_time": "2026-01-01T00:00:00Z"},
        {"status": "running", "start_time": 5},
    ],
)
def test_an_execution_that_cannot_be_reckoned_with_is_refused(entry):
    tracker = ExecutionTracker()
    with pytest.raises(ValueError, match="routine_executions"):
        tracker.deserialize({"flow_id": "g", "routine_executions": {"a": [entry]}})
    assert tracker.flow_id == ""


def test_a_restored_tracker_goes_on_counting():
    tracker = ExecutionTracker()
    tracker.deserialize(through_json(a_tracker().serialize()))
    assert tracker.get_routine_performance("a")["total_executions"] == 2
    assert tracker.get_routine_performance("a")["completed"] == 1
    tracker.record_routine_end("a")
    tracker.deserialize({"routine_executions": {"a": [{"status": "completed"}] * 600}})
    for _ in range(600):
        tracker.record_routine_start("a")
    assert tracker.get_flow_performance()["total_events"] == 1


# -- serilux's own path


@pytest.mark.parametrize("make", [m for m in MAKERS if m is not a_routine], ids=lambda make: make.__name__)
def test_an_object_in_an_object_of_the_application_goes_seriluxs_own_way(make):
    box = Box()
    box.held = make()
    data = box.serialize()
    assert data["held"] == box.held.serialize()
    restored = Box()
    restored.deserialize(through_json(data))
    assert type(restored.held) is type(box.held)
    assert restored.held.serialize() == data["held"]


def test_a_routine_in_an_object_of_the_application_goes_seriluxs_own_way():
    box = Box()
    box.held = [a_routine()]
    restored = Box()
    restored.deserialize(through_json(box.serialize()))
    assert restored.held[0].serialize() == {**box.serialize()["held"][0], "_id": restored.held[0]._id}
    assert restored.held[0].get_slot("extra").handler.__self__ is restored.held[0]


def test_the_depth_is_handed_on_to_everything_below():
    seen = []

    class Deep(Patient):
        def serialize(self, max_depth=100, _current_depth=0):
            seen.append((max_depth, _current_depth))
            return super().serialize(max_depth, _current_depth)

    flow = a_flow()
    flow.set_error_handler(Deep())
    flow.routines["a"].set_error_handler(Deep())
    box = Box()
    box.held = flow
    box.serialize(max_depth=70)
    assert seen == [(70, 2), (70, 3)]


# -- copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_a_copy_of_a_paused_state_keeps_what_its_slots_have_merged(copied):
    def collecting():
        flow, executor, _ = draw_stepped("a -> b", a=source(1, 2, 3), b=node(merge_strategy="append"))
        return flow, executor

    flow, executor = collecting()
    state = flow.execute("a")
    executor.step()
    flow.pause(state)
    twin = copied(state)
    assert {**twin.serialize(), "updated_at": None} == {**state.serialize(), "updated_at": None}
    other, executor = collecting()
    other.resume(twin)
    executor.run_until_idle()
    assert ledger_of(twin).slot_data["b", "input"] == {"item": [1, 2, 3]}
    assert len(state.pending_tasks) > 0
