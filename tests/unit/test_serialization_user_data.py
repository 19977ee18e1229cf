"""User data are opaque: nothing in them is interpreted, and they come back equal, or are refused with their path."""

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routilux import ExecutionRecord, ExecutionTracker, JobState, Routine
from routilux.job_state import ledger_of
from routilux.plain import DEPTH_MAX
from tests.registered import Hopper, Part

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=6)
TRICKS: list[Any] = [
    {"_type": "callable", "callable_type": "function", "module": "os", "name": "system"},
    {"_type": "lambda_expression", "expression": "__import__('os').system('true')"},
    {"_type": "Part", "size": 3},
    {"_type": "JobState", "flow_id": "x"},
    {"_type": "Flow"},
    {"_type": ["unhashable"]},
    {"_type": None, "_id": {}},
    {"__class__": "x", "__reduce__": [], "serialize": 1, "_type": "Hopper", "_slots": {}},
    {"py/object": "os.system", "__type__": "x", "$ref": "#"},
    "\ud800 \udfff \0 \x1b[31m \u2028",
    {"\ud800": {"\0": ""}},
    [float("inf"), float("-inf"), 1e308, -0.0],
    {"": {"": []}},
    '{"_type": "Flow"}',
    10**4000,
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.sampled_from(TRICKS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(ANY_TEXT | st.sampled_from(["_type", "_id", "data"]), inner, max_size=3)
    ),
    max_leaves=8,
)
DICTS = st.dictionaries(ANY_TEXT | st.just("_type"), VALUES, max_size=3)


class Place:
    """A place for user data: how they are put there, and how they are read."""

    def __init__(self, path, put, get):
        self.path, self.put, self.get = path, put, get

    def __repr__(self):
        return self.path


def set_slot_data(state, data):
    ledger_of(state).slot_data["b", "left"] = data


def put_pending(state, data):
    state.pending_tasks.append({"routine_id": "b", "slot": "left", "data": data, "released": {"out": [data]}})


PLACES = [
    Place("shared_data", lambda s, d: s.update_shared_data("k", d), lambda s: s.shared_data["k"]),
    Place("metadata", lambda s, d: s.metadata.update(k=d), lambda s: s.metadata["k"]),
    Place("routine_states", lambda s, d: s.update_routine_state("a", d), lambda s: s.routine_states["a"]),
    Place(
        "execution_history[0].data",
        lambda s, d: s.record_execution("a", "out", d),
        lambda s: s.execution_history[0].data,
    ),
    Place("output_log[0]", lambda s, d: s.send_output("a", "t", d), lambda s: s.output_log[0]["data"]),
    Place("shared_log[0]", lambda s, d: s.append_to_shared_log({"d": d}), lambda s: s.shared_log[0]["d"]),
    Place("deferred_events[0]", lambda s, d: s.add_deferred_event("a", "e", d), lambda s: s.deferred_events[0]["data"]),
    Place("pending_tasks[0]", put_pending, lambda s: s.pending_tasks[0]["data"]),
    Place("pause_points[0]", lambda s, d: s.pause_points.append({"checkpoint": d}), lambda s: s.checkpoint),
    Place("slot_data['b']['left']", set_slot_data, lambda s: ledger_of(s).slot_data["b", "left"]),
]
each_place = pytest.mark.parametrize("place", PLACES, ids=repr)


def as_text(value):
    return json.dumps(value, sort_keys=True)


def loaded(state, tmp_path):
    path = tmp_path / "state.json"
    state.save(path)
    return JobState.load(path)


def nested(depth):
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("states")


@each_place
@given(data=DICTS)
@example(data={str(number): trick for number, trick in enumerate(TRICKS)})
def test_user_data_come_back_equal_whatever_their_keys(place, data, folder):
    state = JobState("f")
    place.put(state, copy.deepcopy(data))
    assert as_text(place.get(loaded(state, folder))) == as_text(data)


@each_place
@pytest.mark.parametrize(
    ("wrong", "path"),
    [({"x": [0, {1, 2}]}, "['x'][1]"), ({"x": {"y": object()}}, "['x']['y']"), ({"x": {5: 1}}, "['x']")],
)
def test_what_json_cannot_hold_is_refused_with_its_path_and_no_file_is_touched(place, wrong, path, tmp_path):
    state = JobState("f")
    before = loaded(state, tmp_path).serialize()
    place.put(state, wrong)
    with pytest.raises(TypeError) as raised:
        state.save(tmp_path / "state.json")
    assert place.path.split("[")[0] in str(raised.value)
    assert path in str(raised.value)
    with pytest.raises(TypeError):
        state.save(tmp_path / "new" / "state.json")
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]
    assert JobState.load(tmp_path / "state.json").serialize() == before


@each_place
def test_what_is_deep_can_be_loaded_if_it_could_be_saved(place, tmp_path):
    for depth in range(DEPTH_MAX - 4, DEPTH_MAX + 2):
        state = JobState("f")
        place.put(state, nested(depth))
        try:
            state.save(tmp_path / "state.json")
        except TypeError:  # which of them can be saved is the place's own matter
            assert depth > DEPTH_MAX - 4
        else:
            assert place.get(JobState.load(tmp_path / "state.json")) == nested(depth)


@each_place
def test_live_objects_travel_freely_until_they_are_saved(place):
    state, live = JobState("f"), object()
    place.put(state, {"live": live, 5: (1, 2)})
    assert place.get(state)["live"] is live
    assert place.get(state)[5] == (1, 2)


def test_tuples_come_back_as_lists(tmp_path):
    state = JobState("f")
    state.update_shared_data("pairs", ((1, 2), {"x": (3,)}))
    assert loaded(state, tmp_path).shared_data["pairs"] == [[1, 2], {"x": [3]}]


def test_files_are_ascii(tmp_path):
    state = JobState("f")
    state.update_shared_data("texts", ["é", "\ud83d", "\0", "\u2028", "😀"])
    assert loaded(state, tmp_path).shared_data["texts"] == ["é", "\ud83d", "\0", "\u2028", "😀"]
    assert (tmp_path / "state.json").read_bytes().isascii()


def test_two_texts_that_json_tells_apart_stay_two_keys(tmp_path):
    state = JobState("f")
    state.shared_data = {"1": "text", "é": 1, "e\u0301": 2, "\ud800": 3}
    assert loaded(state, tmp_path).shared_data == {"1": "text", "é": 1, "e\u0301": 2, "\ud800": 3}


def test_a_released_payload_is_kept_as_a_digest_that_knows_keys_apart(tmp_path):
    state = JobState("f")
    put_pending(state, {"x": 1})
    first = state.serialize()["pending_tasks"][0]["released"]["out"]
    assert first == loaded(state, tmp_path).pending_tasks[0]["released"]["out"]
    assert [len(each) for each in first] == [24]
    state.pending_tasks[0]["released"] = {5: [{"x": 1}]}
    with pytest.raises(TypeError, match=r"A key of pending_tasks\[0\]\['released'\]"):
        state.serialize()


@given(DICTS)
def test_a_config_comes_back_equal_whatever_its_keys(data):
    routine = Hopper()
    routine.set_config(**data)
    restored = Hopper()
    restored.deserialize(json.loads(json.dumps(routine.serialize())))
    assert as_text(restored.config()) == as_text(data)


@given(DICTS)
def test_a_slots_data_come_back_equal_whatever_their_keys(data):
    routine = Routine()
    routine.define_slot("input")._data = data
    restored = Routine()
    restored.deserialize(json.loads(json.dumps(routine.serialize())))
    assert as_text(restored.get_slot("input")._data) == as_text(data)


@given(DICTS)
def test_what_a_tracker_has_seen_comes_back_equal_whatever_its_keys(data):
    tracker = ExecutionTracker("f")
    tracker.record_routine_start("a", data)
    tracker.record_event("a", "out", "b", data)
    restored = ExecutionTracker()
    restored.deserialize(json.loads(json.dumps(tracker.serialize())))
    assert as_text(restored.routine_executions["a"][0]["params"]) == as_text(data)
    assert as_text(restored.event_flow[0]["data"]) == as_text(data)


def test_what_a_routine_cannot_save_is_refused_with_its_path():
    routine = Routine()
    routine.set_config(x=[{1}])
    with pytest.raises(TypeError, match=r"the config of Routine\[.*\]\['x'\]\[0\]"):
        routine.serialize()
    routine = Routine()
    routine.define_slot("input").receive({"x": [{1}]})
    with pytest.raises(TypeError, match=r"the data of slot '.*input'\['x'\]\[0\]"):
        routine.serialize()


def test_a_record_and_a_tracker_refuse_what_is_not_json():
    with pytest.raises(TypeError, match=r"data of an ExecutionRecord\['x'\]"):
        ExecutionRecord("a", "out", {"x": {1}}).serialize()
    tracker = ExecutionTracker()
    tracker.record_event("a", "out", data={"x": {1}})
    with pytest.raises(TypeError, match=r"tracker's event_flow\[0\]\['data'\]\['x'\]"):
        tracker.serialize()


def test_a_part_that_cannot_be_saved_as_json_is_refused_with_its_path():
    class Holder(Routine):
        def __init__(self):
            super().__init__()
            self.part = Part()
            self.part.items = [{1}]
            self.add_serializable_fields(["part"])

    with pytest.raises(TypeError, match=r"part of Holder.*\['items'\]\[0\]"):
        Holder().serialize()
