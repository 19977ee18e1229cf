"""An event knows the slots that hear it."""

from typing import Any

import pytest

from routilux import Event, Routine, Slot
from tests.drawings import collector, draw, entry


def test_an_event_can_be_made_without_arguments():
    event = Event()
    assert event.name == ""
    assert event.routine is None
    assert event.output_params == []
    assert event.connected_slots == []


def test_output_params_are_kept_for_readers():
    assert Event("output", output_params=["a", "b"]).output_params == ["a", "b"]


def test_connecting_an_event_is_seen_from_both_ends():
    event, slot = Event("output"), Slot("input")
    event.connect(slot)
    assert event.connected_slots == [slot]
    assert slot.connected_events == [event]
    event.disconnect(slot)
    assert event.connected_slots == []
    assert slot.connected_events == []


def test_connecting_and_disconnecting_an_event_twice_changes_nothing():
    event, slot = Event("output"), Slot("input")
    event.connect(slot)
    event.connect(slot)
    assert event.connected_slots == [slot]
    event.disconnect(slot)
    event.disconnect(slot)
    assert slot.connected_events == []


def test_disconnecting_what_was_never_connected_changes_nothing():
    event, slot = Event("output"), Slot("input")
    event.disconnect(slot)
    assert event.connected_slots == []
    assert slot.connected_events == []


def test_an_event_without_a_flow_delivers_at_once():
    seen: list[Any] = []
    event = Event("output")
    event.connect(Slot("input", handler=lambda **data: seen.append(data)))
    event.emit(n=1)
    assert seen == [{"n": 1}]


def test_every_connected_slot_receives_in_the_order_of_connection():
    seen: list[str] = []
    event = Event("output")
    for name in ("first", "second", "third"):
        event.connect(Slot(name, handler=lambda name=name, **data: seen.append(name)))
    event.emit()
    assert seen == ["first", "second", "third"]


def test_one_slot_that_raises_does_not_keep_the_others_from_receiving(caplog):
    seen: list[Any] = []
    event = Event("output")
    event.connect(Slot("broken", handler=lambda **data: 1 / 0))
    event.connect(Slot("whole", handler=lambda **data: seen.append(data)))
    event.emit(n=1)
    assert seen == [{"n": 1}]


def test_each_slot_gets_its_own_dict():
    event = Event("output")
    for _ in range(2):
        event.connect(Slot("input", handler=lambda data: data.clear()))
    seen: list[Any] = []
    event.connect(Slot("last", handler=lambda **data: seen.append(data)))
    event.emit(n=1)
    assert seen == [{"n": 1}]


def test_an_event_of_a_routine_in_a_flow_emits_into_the_run():
    seen: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        event = routine.get_event("output")
        assert event is not None
        event.emit(n=1)

    flow = draw("a -> b", a=entry(act), b=collector(seen))
    job_state = flow.run("a")
    flow.shutdown()
    assert seen == [{"n": 1}]
    assert [record.event_name for record in job_state.get_execution_history("a")] == ["start", "output", "completed"]


@pytest.mark.parametrize("key", ["event_name", "self", "data", "name", "delay", "priority", "timestamp"])
def test_any_keyword_may_be_emitted_by_a_routine(key):
    seen: list[Any] = []
    routine = Routine()
    routine.define_event("output").connect(Slot("input", handler=lambda data: seen.append(data)))  # noqa: PLW0108
    routine.emit("output", **{key: 5})
    assert seen == [{key: 5}]


def test_an_event_says_where_it_stands_and_who_hears_it():
    routine = Routine()
    routine._id = "worker"
    event = routine.define_event("output", ["value"])
    event.connect(Slot("input"))
    text = repr(event)
    assert "worker.output" in text
    assert "value" in text
    assert "1 slot" in text
