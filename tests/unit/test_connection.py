"""A connection joins an event and a slot, and renames what passes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Connection, Event, Flow, Slot
from tests.drawings import collector, draw, source

NAMES = st.sampled_from("abcde")


def ends(seen: list[Any]) -> tuple[Event, Slot]:
    return Event("output"), Slot("input", handler=lambda **data: seen.append(data))


def test_a_connection_can_be_made_without_arguments():
    connection = Connection()
    assert connection.source_event is None
    assert connection.target_slot is None
    assert connection.param_mapping == {}
    connection.disconnect()
    connection.activate({"a": 1})


def test_making_a_connection_connects_both_ends():
    event, slot = ends([])
    connection = Connection(event, slot)
    assert event.connected_slots == [slot]
    assert slot.connected_events == [event]
    assert (connection.source_event, connection.target_slot) == (event, slot)


def test_activating_delivers_at_once_and_mapped():
    seen: list[Any] = []
    event, slot = ends(seen)
    Connection(event, slot, {"a": "x"}).activate({"a": 1, "b": 2})
    assert seen == [{"x": 1, "b": 2}]


def test_a_renamed_name_does_not_stay_beside_the_new_one():
    seen: list[Any] = []
    event, slot = ends(seen)
    Connection(event, slot, {"a": "x"})
    event.emit(a=1)
    assert seen == [{"x": 1}]


def test_a_source_name_that_is_missing_is_skipped():
    seen: list[Any] = []
    event, slot = ends(seen)
    Connection(event, slot, {"a": "x", "missing": "y"})
    event.emit(a=1)
    assert seen == [{"x": 1}]


def test_a_name_that_collides_with_a_renamed_one_gives_way():
    seen: list[Any] = []
    event, slot = ends(seen)
    Connection(event, slot, {"a": "b"})
    event.emit(a=1, b=2)
    assert seen == [{"b": 1}]


def test_two_names_may_be_swapped():
    seen: list[Any] = []
    event, slot = ends(seen)
    Connection(event, slot, {"a": "b", "b": "a"})
    event.emit(a=1, b=2)
    assert seen == [{"a": 2, "b": 1}]


@given(
    data=st.dictionaries(NAMES, st.integers(), max_size=5),
    pairs=st.lists(st.tuples(NAMES, NAMES), unique_by=(lambda p: p[0], lambda p: p[1]), max_size=4),
)
def test_mapping_renames_what_is_there_and_passes_the_rest(data, pairs):
    seen: list[Any] = []
    event, slot = ends(seen)
    mapping = dict(pairs)
    Connection(event, slot, mapping).activate(data)
    (received,) = seen
    for name, target in mapping.items():
        if name in data:
            assert received[target] == data[name]
    taken = {target for name, target in mapping.items() if name in data}
    passing = {name: value for name, value in data.items() if name not in mapping and name not in taken}
    assert received == {**passing, **{target: data[name] for name, target in mapping.items() if name in data}}


def test_mapping_does_not_change_what_was_emitted():
    event, slot = ends([])
    data = {"a": 1}
    Connection(event, slot, {"a": "x"}).activate(data)
    assert data == {"a": 1}


def test_disconnecting_is_seen_from_both_ends_and_twice_changes_nothing():
    seen: list[Any] = []
    event, slot = ends(seen)
    connection = Connection(event, slot)
    connection.disconnect()
    connection.disconnect()
    assert event.connected_slots == []
    assert slot.connected_events == []
    event.emit(a=1)
    assert seen == []


def test_connecting_the_same_pair_again_replaces_the_mapping_and_delivers_once():
    seen: list[Any] = []
    event, slot = ends(seen)
    Connection(event, slot, {"a": "x"})
    Connection(event, slot, {"a": "y"})
    event.emit(a=1)
    assert seen == [{"y": 1}]
    assert event.connected_slots == [slot]


def test_a_connection_takes_the_place_of_a_bare_connect():
    seen: list[Any] = []
    event, slot = ends(seen)
    event.connect(slot)
    Connection(event, slot, {"a": "x"})
    event.emit(a=1)
    assert seen == [{"x": 1}]


def test_a_bare_connect_after_a_connection_changes_nothing():
    seen: list[Any] = []
    event, slot = ends(seen)
    Connection(event, slot, {"a": "x"})
    event.connect(slot)
    event.emit(a=1)
    assert seen == [{"x": 1}]


def test_its_ends_may_be_assigned():
    seen: list[Any] = []
    event, slot = ends(seen)
    other_seen: list[Any] = []
    other_event, other_slot = ends(other_seen)
    connection = Connection()
    connection.source_event = event
    connection.target_slot = slot
    event.emit(a=1)
    assert seen == [{"a": 1}]
    connection.target_slot = other_slot
    event.emit(a=2)
    assert (seen, other_seen) == ([{"a": 1}], [{"a": 2}])
    connection.source_event = other_event
    event.emit(a=3)
    other_event.emit(a=4)
    assert (seen, other_seen) == ([{"a": 1}], [{"a": 2}, {"a": 4}])
    assert event.connected_slots == []


def test_the_target_of_a_flows_connection_may_be_assigned():
    first: list[Any] = []
    second: list[Any] = []
    flow = draw(a=source(1), b=collector(first), c=collector(second))
    connection = flow.connect("a", "output", "b", "input")
    connection.target_slot = flow.routines["c"].get_slot("input")
    job_state = flow.run("a")
    flow.shutdown()
    assert (first, second) == ([], [{"item": 1}])
    assert job_state.get_routine_state("c") is not None
    assert job_state.get_routine_state("b") is None


def test_the_source_of_a_flows_connection_may_be_assigned():
    seen: list[Any] = []
    flow = draw(a=source(1), other=source(2), b=collector(seen))
    connection = flow.connect("a", "output", "b", "input")
    connection.source_event = flow.routines["other"].get_event("output")
    flow.run("a")
    assert seen == []
    flow.run("other")
    flow.shutdown()
    assert seen == [{"item": 2}]


def test_a_connection_made_by_hand_carries_tasks_of_a_flow_too():
    seen: list[Any] = []
    flow = draw(a=source(1), b=collector(seen))
    Connection(flow.routines["a"].get_event("output"), flow.routines["b"].get_slot("input"), {"item": "x"})
    flow.run("a")
    flow.shutdown()
    assert seen == [{"x": 1}]


def test_a_connection_by_hand_and_the_flows_own_between_the_same_pair_deliver_once():
    seen: list[Any] = []
    flow = draw(a=source(1), b=collector(seen))
    Connection(flow.routines["a"].get_event("output"), flow.routines["b"].get_slot("input"), {"item": "x"})
    flow.connect("a", "output", "b", "input", {"item": "y"})
    flow.run("a")
    flow.shutdown()
    assert seen == [{"y": 1}]


def test_the_flows_connection_and_then_one_by_hand_between_the_same_pair_deliver_once():
    seen: list[Any] = []
    flow = draw(a=source(1), b=collector(seen))
    flow.connect("a", "output", "b", "input", {"item": "y"})
    Connection(flow.routines["a"].get_event("output"), flow.routines["b"].get_slot("input"), {"item": "x"})
    flow.run("a")
    flow.shutdown()
    assert seen == [{"x": 1}]


def test_a_disconnected_connection_of_a_flow_carries_nothing_more():
    seen: list[Any] = []
    flow = draw(a=source(1), b=collector(seen))
    connection = flow.connect("a", "output", "b", "input")
    flow.run("a")
    connection.disconnect()
    flow.run("a")
    flow.shutdown()
    assert seen == [{"item": 1}]


def test_a_new_mapping_is_in_force_from_the_next_emission_on():
    seen: list[Any] = []
    flow = draw(a=source(1), b=collector(seen))
    connection = flow.connect("a", "output", "b", "input")
    flow.run("a")
    connection.param_mapping = {"item": "x"}
    flow.run("a")
    flow.shutdown()
    assert seen == [{"item": 1}, {"x": 1}]


@pytest.mark.parametrize("mapping", [["a"], {"a": 1}, {1: "a"}, "ab"])
def test_a_mapping_that_is_no_dict_of_names_is_refused(mapping):
    with pytest.raises(TypeError, match="param_mapping"):
        Connection(Event("output"), Slot("input"), mapping)


def test_a_connection_says_what_it_connects():
    flow = Flow()
    draw(flow=flow, a=source(1), b=collector([]))
    text = repr(flow.connect("a", "output", "b", "input", {"item": "x"}))
    assert "a.output" in text
    assert "b.input" in text
    assert "item" in text
