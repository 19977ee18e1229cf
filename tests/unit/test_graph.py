"""FlowGraph: what is drawn, as plain values."""

from hypothesis import given
from hypothesis import strategies as st

from routilux import Event, Flow, Routine
from routilux.flow.graph import EventNode, FlowGraph, FlowNode, Line


class Step(Routine):
    def __init__(self):
        super().__init__()
        self.define_slot("trigger", self.begin)
        self.define_slot("input", self.take, merge_strategy="append")
        self.define_slot("any", lambda **data: None)
        self.define_slot("silent")
        self.define_event("output", ["value"])
        self.define_event("other")

    def begin(self):
        pass

    def take(self, value, unit, scale=1):
        pass


def flow_of(*names):
    flow = Flow("graph")
    for name in names:
        flow.add_routine(Step(), name)
    return flow


def test_a_graph_shows_routines_ports_and_lines_in_the_order_of_drawing():
    flow = flow_of("b", "a")
    flow.connect("b", "output", "a", "input", {"value": "amount"})
    flow.connect("b", "other", "a", "any")

    graph = flow.graph()

    assert graph.flow_id == "graph"
    assert list(graph.nodes) == ["b", "a"]
    assert [slot.name for slot in graph.nodes["b"].slots] == ["trigger", "input", "any", "silent"]
    assert graph.nodes["b"].events == (EventNode("output", ("value",)), EventNode("other", ()))
    assert graph.nodes["b"].class_name == "Step"
    assert graph.lines == (
        Line("b", "output", "a", "input", {"value": "amount"}),
        Line("b", "other", "a", "any", {}),
    )


def test_a_slot_shows_what_its_handler_can_be_given():
    trigger, taking, anything, silent = flow_of("a").graph().nodes["a"].slots

    assert (taking.handler, taking.merge_strategy) == ("take", "append")
    assert (taking.required, taking.optional, taking.takes_everything) == (("value", "unit"), ("scale",), False)
    assert anything.takes_everything
    assert trigger.takes_everything
    assert (trigger.takes_keywords, anything.takes_keywords, taking.takes_keywords) == (False, True, False)
    assert silent.handler is None


def test_keywords_take_everything_beside_what_the_handler_needs():
    routine = Routine()
    routine.define_slot("input", lambda value, unit, **rest: None)
    flow = Flow()
    flow.add_routine(routine, "a")
    (slot,) = flow.graph().nodes["a"].slots

    assert (slot.required, slot.takes_everything, slot.takes_keywords) == (("value", "unit"), True, True)


def test_a_slot_that_hears_an_event_without_a_connection_is_in_the_graph():
    flow = flow_of("a", "b")
    flow.routines["a"].get_event("output").connect(flow.routines["b"].get_slot("any"))

    assert flow.graph().lines == (Line("a", "output", "b", "any", {}),)


def test_a_line_of_another_flow_over_the_same_routines_is_not_in_the_graph():
    here, there = flow_of("a", "b"), Flow("there")
    for key, routine in here.routines.items():
        there.add_routine(routine, key)
    there.connect("a", "output", "b", "any")

    assert here.graph().lines == ()
    assert len(there.graph().lines) == 1


def test_a_graph_does_not_follow_later_changes():
    flow = flow_of("a", "b")
    graph = flow.graph()
    flow.connect("a", "output", "b", "any")

    assert graph.lines == ()


def graph_with(count, arrows):
    nodes = [FlowNode(str(index), "Step", (), ()) for index in range(count)]
    return FlowGraph("random", nodes, [Line(str(a), "output", str(b), "input", {}) for a, b in arrows])


sizes = st.integers(1, 7)


@given(st.data())
def test_cycles_are_the_groups_of_routines_that_reach_each_other(data):
    count = data.draw(sizes)
    some = st.integers(0, count - 1)
    arrows = data.draw(st.lists(st.tuples(some, some), max_size=14))
    graph = graph_with(count, arrows)
    # Warshall's closure: who can be reached in at least one step.
    reach = {(a, b) for a, b in arrows}
    for k in range(count):
        reach |= {(a, b) for a in range(count) for b in range(count) if (a, k) in reach and (k, b) in reach}
    expected = {frozenset(str(b) for b in range(count) if (a, b) in reach and (b, a) in reach) for a in range(count)}

    assert {frozenset(group) for group in graph.cycles()} == expected - {frozenset()}
    for start in range(count):
        assert graph.reachable([str(start)]) == {str(start)} | {str(b) for b in range(count) if (start, b) in reach}


def test_a_chain_longer_than_the_stack_is_walked():
    count = 20_000
    graph = graph_with(count, [(index, (index + 1) % count) for index in range(count)])

    assert [len(group) for group in graph.cycles()] == [count]
    assert len(graph.reachable(["0"])) == count


def test_an_event_object_that_hears_nothing_has_no_line():
    flow = flow_of("a")
    flow.routines["a"].get_event("output").connect(Step().get_slot("any"))

    assert isinstance(flow.routines["a"].get_event("output"), Event)
    assert flow.graph().lines == ()


def test_a_line_that_leads_out_of_the_flow_is_kept_apart():
    flow, outside = flow_of("a"), Step()
    outside._id = "outside"
    flow.routines["a"].get_event("output").connect(outside.get_slot("any"), {"value": "x"})
    graph = flow.graph()

    assert graph.lines == ()
    assert graph.lines_out == (Line("a", "output", "outside", "any", {"value": "x"}),)


def test_a_slot_shows_that_a_function_merges_and_what_breaks_every_delivery():
    def append(old, new, extra):
        return new

    routine = Routine()
    routine.define_slot("merged", print, append)
    routine.define_slot("called", lambda text, /, **rest: None)
    routine.define_slot("fine", lambda text, /, more=1: None, "append")
    flow = Flow()
    flow.add_routine(routine, "a")
    merged, called, fine = flow.graph().nodes["a"].slots

    assert (merged.merge_strategy, merged.merges_by_function) == ("append", True)
    assert "'append' cannot be called with two arguments" in merged.broken
    assert "takes 'text' by position only" in called.broken
    assert (fine.merge_strategy, fine.merges_by_function, fine.broken) == ("append", False, "")


def test_the_lines_of_one_routine_can_be_asked_for():
    flow = flow_of("a", "b")
    flow.connect("a", "output", "b", "input")
    flow.connect("a", "other", "b", "any")
    graph = flow.graph()
    first, second = graph.lines

    assert graph.lines_from("a") == graph.lines_to("b") == [first, second]
    assert graph.lines_from("a", "other") == graph.lines_to("b", "any") == [second]
    assert graph.lines_from("b") == graph.lines_to("nobody") == []


def test_output_params_that_are_no_names_are_left_out():
    flow = flow_of("a")
    flow.routines["a"].get_event("output").output_params = ["value", 5]
    flow.routines["a"].get_event("other").output_params = None

    assert [event.output_params for event in flow.graph().nodes["a"].events] == [("value",), ()]
