"""A slot merges what it receives and calls its handler."""

# ruff: noqa: PLW0108 - the name of a lambda's parameter is what is tested

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Event, Flow, JobState, Routine, Slot
from routilux.routine import _current_job_state
from tests.drawings import collector, draw, entry, fails, node

DELIVERIES = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers() | st.lists(st.integers())), max_size=6)


def test_a_slot_can_be_made_without_arguments():
    slot = Slot()
    assert slot.name == ""
    assert slot.routine is None
    assert slot.handler is None
    assert slot.merge_strategy == "override"
    assert slot.connected_events == []
    assert slot._data == {}
    assert type(slot._data) is dict


def test_its_routine_may_be_assigned():
    slot, routine = Slot("input"), Routine()
    slot.routine = routine
    assert slot.routine is routine


def test_override_replaces_everything_that_was_there():
    slot = Slot("input")
    slot.receive({"a": 1, "b": 2})
    slot.receive({"a": 3})
    assert slot._data == {"a": 3}


def test_append_collects_a_list_for_each_key():
    slot = Slot("input", merge_strategy="append")
    slot.receive({"a": 1})
    slot.receive({"a": 2, "b": 3})
    assert slot._data == {"a": [1, 2], "b": [3]}


def test_append_makes_a_list_of_an_old_value_that_is_none():
    slot = Slot("input", merge_strategy="append")
    slot._data = {"a": 1, "b": [2]}
    slot.receive({"a": 5, "b": 6})
    assert slot._data == {"a": [1, 5], "b": [2, 6]}


def test_append_gives_the_handler_the_keys_of_this_delivery_only():
    seen: list[Any] = []
    slot = Slot("input", handler=lambda **data: seen.append(data), merge_strategy="append")
    slot.receive({"a": 1})
    slot.receive({"b": 2})
    slot.receive({"a": 3})
    assert seen == [{"a": [1]}, {"b": [2]}, {"a": [1, 3]}]


def test_the_lists_of_append_do_not_grow_under_the_hands_of_a_handler():
    seen: list[Any] = []
    slot = Slot("input", handler=lambda a: seen.append(a), merge_strategy="append")
    slot.receive({"a": 1})
    first = seen[0]
    slot.receive({"a": 2})
    assert first == [1]


def test_a_handler_that_changes_its_list_does_not_change_what_is_collected():
    slot = Slot("input", handler=lambda a: a.clear(), merge_strategy="append")
    slot.receive({"a": 1})
    slot.receive({"a": 2})
    assert slot._data == {"a": [1, 2]}


def test_append_leaves_a_callers_list_as_it_was():
    mine = [1]
    slot = Slot("input", merge_strategy="append")
    slot._data = {"a": mine}
    slot.receive({"a": 2})
    assert mine == [1]


def test_a_merge_function_gets_old_and_new_and_its_result_is_kept_and_handed_over():
    seen: list[Any] = []

    def add(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        return {"sum": old.get("sum", 0) + new["n"]}

    slot = Slot("input", handler=lambda **data: seen.append(data), merge_strategy=add)
    slot.receive({"n": 2})
    slot.receive({"n": 3})
    assert seen == [{"sum": 2}, {"sum": 5}]
    assert slot._data == {"sum": 5}


@given(DELIVERIES)
def test_override_is_the_last_delivery(deliveries):
    slot = Slot("input", merge_strategy="override")
    for data in deliveries:
        slot.receive(data)
    assert slot._data == (deliveries[-1] if deliveries else {})


@given(DELIVERIES)
def test_append_is_every_value_in_its_order(deliveries):
    slot = Slot("input", merge_strategy="append")
    for data in deliveries:
        slot.receive(data)
    keys = {key for data in deliveries for key in data}
    assert slot._data == {key: [data[key] for data in deliveries if key in data] for key in keys}


def test_what_was_delivered_is_the_slots_own():
    data = {"a": 1}
    slot = Slot("input")
    slot.receive(data)
    data["a"] = 2
    assert slot._data == {"a": 1}


def test_a_slot_without_a_handler_still_merges():
    slot = Slot("input")
    slot.receive({"a": 1})
    assert slot._data == {"a": 1}


def test_receive_logs_an_error_of_the_handler_and_does_not_raise_it(caplog):
    def broken(**data: Any) -> None:
        raise ValueError("no good")

    with caplog.at_level(logging.ERROR, "routilux"):
        Slot("input", handler=broken).receive({"a": 1})
    assert "no good" in caplog.text


def test_receive_records_one_error_in_a_job_that_was_made_by_hand(caplog):
    def broken(**data: Any) -> None:
        raise ValueError("no good")

    routine = Routine()
    slot = routine.define_slot("input", handler=broken)
    flow = Flow("never-ran")
    flow.add_routine(routine, "named")
    job_state = JobState("never-ran")
    slot.receive({}, job_state=job_state, flow=flow)
    (record,) = job_state.execution_history
    assert (record.routine_id, record.event_name) == ("named", "error")
    assert record.data["error"] == "no good"
    assert record.data["error_type"] == "ValueError"
    assert record.data["slot"] == "input"


def test_receive_finds_the_flow_of_a_routine_by_itself(caplog):
    routine = node(fails(ValueError("no good")))
    flow = draw(named=routine)
    job_state = JobState(flow.flow_id)
    routine.get_slot("input").receive({}, job_state=job_state)
    assert [record.routine_id for record in job_state.errors] == ["named"]


def test_receive_survives_a_merge_function_that_raises_and_says_which(caplog):
    def broken(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("cannot merge")

    seen: list[Any] = []
    job_state = JobState()
    slot = Slot("input", handler=lambda **data: seen.append(data), merge_strategy=broken)
    slot.receive({"a": 1}, job_state=job_state)
    assert seen == []
    assert [record.data["error"] for record in job_state.errors] == ["cannot merge"]
    assert "broken" in caplog.text


def test_a_merge_function_that_returns_no_dict_is_named(caplog):
    job_state = JobState()
    Slot("input", handler=lambda **data: None, merge_strategy=lambda old, new: None).receive({"a": 1}, job_state)
    (error,) = job_state.errors
    assert "must return" in error.data["error"]


def test_during_receive_the_handler_sees_the_job_and_afterwards_it_is_gone():
    seen: list[Any] = []
    job_state = JobState()
    slot = Slot("input", handler=lambda **data: seen.append(_current_job_state.get()))
    slot.receive({}, job_state=job_state)
    assert seen == [job_state]
    assert _current_job_state.get() is None


def test_the_job_is_put_back_after_a_handler_that_raised(caplog):
    outer, inner = JobState(), JobState()
    token = _current_job_state.set(outer)
    try:
        Slot("input", handler=lambda **data: 1 / 0).receive({}, job_state=inner)
        assert _current_job_state.get() is outer
    finally:
        _current_job_state.reset(token)


def test_call_handler_calls_without_merging():
    seen: list[Any] = []
    slot = Slot("input", handler=lambda a: seen.append(a))
    slot.call_handler({"a": 1})
    assert seen == [1]
    assert slot._data == {}


def test_call_handler_raises_only_when_it_is_asked_to(caplog):
    slot = Slot("input", handler=lambda **data: 1 / 0)
    slot.call_handler({})
    with pytest.raises(ZeroDivisionError):
        slot.call_handler({}, propagate_exceptions=True)


def test_connecting_a_slot_is_seen_from_both_ends():
    slot, event = Slot("input"), Event("output")
    slot.connect(event)
    assert slot.connected_events == [event]
    assert event.connected_slots == [slot]
    slot.disconnect(event)
    assert slot.connected_events == []
    assert event.connected_slots == []


def test_connecting_and_disconnecting_a_slot_twice_changes_nothing():
    slot, event = Slot("input"), Event("output")
    slot.connect(event)
    slot.connect(event)
    assert event.connected_slots == [slot]
    assert slot.connected_events == [event]
    slot.disconnect(event)
    slot.disconnect(event)
    assert event.connected_slots == []


def test_the_data_of_a_run_do_not_stay_on_the_slot():
    deliveries: list[Any] = []
    sink = collector(deliveries, merge_strategy="append")
    flow = draw("a -> sink", a=entry(lambda routine, data: routine.emit("output", n=1)), sink=sink)
    for _ in range(2):
        assert flow.run("a").status == "completed"
    flow.shutdown()
    assert deliveries == [{"n": [1]}, {"n": [1]}]
    assert sink.get_slot("input")._data == {}


def test_a_handler_that_assigns_the_slots_data_resets_the_run():
    seen: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        seen.append(data["n"])
        slot = routine.get_slot("input")
        assert slot is not None
        assert slot._data == {"n": data["n"]}
        if len(data["n"]) == 2:
            slot._data = {}

    def emit_four(routine: Routine, data: dict[str, Any]) -> None:
        for n in range(4):
            routine.emit("output", n=n)

    flow = draw("a -> batch", a=entry(emit_four), batch=node(act, merge_strategy="append"))
    flow.run("a")
    flow.shutdown()
    assert seen == [[0], [0, 1], [2], [2, 3]]


def test_a_slot_says_where_it_stands_and_how_it_merges():
    routine = Routine()
    routine._id = "worker"
    text = repr(routine.define_slot("input", merge_strategy="append"))
    assert "worker.input" in text
    assert "append" in text
