"""What an emission does is prepared once, and again only after the drawing has changed."""

import pytest

from routilux import Connection, Flow, Routine, Slot
from routilux.errors import UnknownNameError
from routilux.flow.wiring import Wiring
from tests.drawings import collector, draw, relay, source


def wiring_of(flow: Flow) -> Wiring:
    return flow._engine.wiring  # noqa: SLF001 - the room under test has no other door


def targets(flow: Flow, routine_id: str) -> list[str]:
    wiring = wiring_of(flow)
    return [delivery.port.node.id for delivery in wiring.wire(wiring.node(routine_id), "output").deliveries]


def test_deliveries_stand_in_the_order_of_connection():
    flow = draw("a -> c", "a -> b", a=source(), b=collector([]), c=collector([]))
    assert targets(flow, "a") == ["c", "b"]


def test_what_was_prepared_is_known_to_be_stale_after_a_change():
    flow = draw("a -> b", a=source(), b=collector([]), c=collector([]))
    wiring = wiring_of(flow)
    wired = wiring.wire(wiring.node("a"), "output")
    assert wired.version == wired.event.version
    flow.connect("a", "output", "c", "input")
    assert wired.version != wired.event.version
    assert targets(flow, "a") == ["b", "c"]


def test_one_routine_under_two_ids_has_the_lines_of_each_id():
    shared = source()
    flow = draw("a -> x", "b -> y", a=shared, b=shared, x=collector([]), y=collector([]))
    assert targets(flow, "a") == ["x"]
    assert targets(flow, "b") == ["y"]


def test_one_routine_in_two_flows_has_the_lines_of_each_flow():
    shared, sink = source(), collector([])
    one = draw("a -> left", a=shared, left=sink)
    other = draw("a -> right", a=shared, right=sink)
    assert targets(one, "a") == ["left"]
    assert targets(other, "a") == ["right"]


def test_bare_connections_are_lines_in_every_flow():
    shared, sink = source(), collector([])
    shared.get_event("output").connect(sink.get_slot("input"))
    assert targets(draw(a=shared, b=sink), "a") == ["b"]
    assert targets(draw(a=shared, c=sink), "a") == ["c"]


def test_a_slot_of_a_routine_in_no_flow_is_known_by_the_routines_own_id():
    stranger = Routine()
    stranger._id = "stranger"
    shared = source()
    Connection(shared.get_event("output"), stranger.define_slot("input"))
    assert targets(draw(a=shared), "a") == ["stranger"]


def test_a_slot_without_a_routine_is_a_target_too():
    shared = source()
    shared.get_event("output").connect(Slot("alone"))
    assert targets(draw(a=shared), "a") == [""]


def test_the_id_of_a_routine_is_the_one_it_calls_itself_where_it_stands_there():
    shared = relay()
    shared._id = "second"
    flow = draw(first=shared, second=shared)
    assert flow.id_of(shared) == "second"
    shared._id = "unknown"
    assert flow.id_of(shared) == "first"
    assert flow.id_of(Routine()) is None


def test_unknown_routines_and_events_are_named_with_those_that_exist():
    flow = draw(a=source())
    wiring = wiring_of(flow)
    with pytest.raises(UnknownNameError, match="'missing'") as caught:
        wiring.node("missing")
    assert caught.value.known == ["a"]
    with pytest.raises(UnknownNameError, match="'missing'") as caught:
        wiring.wire(wiring.node("a"), "missing")
    assert caught.value.known == ["output"]


def test_a_replaced_routine_is_wired_anew():
    flow = draw("a -> b", a=source(), b=collector([]))
    assert targets(flow, "a") == ["b"]
    flow.routines["a"] = source()
    assert targets(flow, "a") == []
