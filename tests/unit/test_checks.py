"""Checks: each finding where it is meant, and none where a flow is as its author wants it."""

from itertools import pairwise

import pytest

from routilux import Flow, Routine
from routilux.event import mapped
from routilux.flow.checks import SEVERITIES, Finding, check_graph
from routilux.flow.graph import EventNode, FlowGraph, FlowNode, Line, SlotNode
from routilux.handlers import bind


def keep(data):
    pass


def routine(slots=None, events=()):
    """A routine with slots {name: handler} and events {name: output_params} or names."""
    made = Routine()
    for name, handler in (slots or {}).items():
        made.define_slot(name, handler)
    for name in events:
        made.define_event(name, events[name] if isinstance(events, dict) else None)
    return made


def flow_of(*lines, **routines):
    """A flow; each line is "a.event b.slot", or a tuple of that and a mapping."""
    flow = Flow("checked")
    for routine_id, each in routines.items():
        flow.add_routine(each, routine_id)
    for line in lines:
        text, mapping = line if isinstance(line, tuple) else (line, None)
        source, target = text.split()
        flow.connect(*source.split("."), *target.split("."), mapping)
    return flow


def told(flow):
    """The findings about the drawing alone, as (code, severity, where)."""
    return [(each.code, each.severity, each.where) for each in check_graph(flow.graph())]


def pipeline(handler, params=None, mapping=None, merge="override"):
    """A flow of two, whose only line has an event with these params, and a slot with this handler."""
    last = Routine()
    last.define_slot("input", handler, merge)
    return flow_of(("a.output b.input", mapping), a=routine({"trigger": keep}, {"output": params}), b=last)


def test_a_flow_that_is_as_it_should_be_has_no_finding():
    flow = flow_of("a.output b.input", a=routine({"trigger": keep}, ["output"]), b=routine({"input": keep}, ["output"]))
    assert told(flow) == []
    assert flow.validate() == []


def test_a_finding_is_a_value_that_reads_as_a_sentence_of_one_line():
    finding = Finding("unfed-slot", "warning", "b\n.input", "No event is there.", "Connect one.")
    assert str(finding) == "warning: 'b\\n.input': No event is there. Connect one. [unfed-slot]"
    assert finding == Finding(*finding)
    with pytest.raises(AttributeError):
        finding.code = "other"


def test_a_flow_without_a_trigger_cannot_be_executed():
    flow = flow_of("a.output b.input", a=routine({"begin": keep}, ["output"]), b=routine({"input": keep}))
    (finding,) = flow.validate()
    assert (finding.code, finding.severity, finding.where) == ("missing-trigger", "error", "checked")
    assert "perhaps 'a'" in finding.advice
    (finding,) = flow_of("a.output b.input", b=flow.routines["b"], a=flow.routines["a"]).validate()
    assert "perhaps 'a'" in finding.advice
    assert told(Flow("checked")) == [("missing-trigger", "error", "checked")]


def test_a_routine_that_no_line_leads_to_is_found_and_so_is_what_it_alone_leads_to():
    flow = flow_of(
        "b.output c.input",
        a=routine({"trigger": keep}),
        b=routine({"input": keep, "more": keep}, ["output"]),
        c=routine({"input": keep}),
    )
    assert told(flow) == [("unreachable-routine", "warning", "b"), ("unreachable-routine", "warning", "c")]
    assert "('input', 'more')" in check_graph(flow.graph())[0].advice


def test_a_routine_that_can_do_nothing_at_all_is_unreachable():
    assert told(flow_of(a=routine({"trigger": keep}), b=routine())) == [("unreachable-routine", "warning", "b")]


def test_a_routine_without_slots_is_made_to_emit_from_outside_and_what_hears_it_is_reached():
    flow = flow_of(
        "bell.rung b.input", a=routine({"trigger": keep}), bell=routine(events=["rung"]), b=routine({"input": keep})
    )
    assert told(flow) == []


def test_a_slot_that_nobody_feeds_is_found_where_the_routine_works_and_is_no_entry():
    flow = flow_of(
        "a.output b.left",
        a=routine({"trigger": keep, "other": keep}, ["output"]),
        b=routine({"left": keep, "right": keep}),
    )
    assert told(flow) == [("unfed-slot", "info", "a.other"), ("unfed-slot", "warning", "b.right")]


def test_an_event_that_nobody_hears_is_told_only_beside_others_that_are_heard():
    flow = flow_of(
        "a.found b.input", a=routine({"trigger": keep}, ["found", "lost"]), b=routine({"input": keep}, ["output"])
    )
    assert told(flow) == [("unheard-event", "info", "a.lost")]


def test_a_slot_without_a_handler_is_found_where_something_is_delivered():
    flow = flow_of(
        "a.output b.input", a=routine({"trigger": None}, ["output"]), b=routine({"input": None}), c=routine({"x": None})
    )
    codes = [each for each in told(flow) if each[0] == "slot-without-handler"]
    assert codes == [
        ("slot-without-handler", "warning", "a.trigger"),
        ("slot-without-handler", "warning", "b.input"),
    ]


LINE = "a.output -> b.input"


@pytest.mark.parametrize(
    ("handler", "params", "mapping", "expected"),
    [
        (lambda text, size: 0, ["text", "size"], None, []),
        (lambda text, size: 0, ["text"], None, ["unfilled-parameter"]),
        (lambda text, size=1: 0, ["text"], None, []),
        (lambda text, size: 0, None, None, []),  # any name may come
        (lambda **data: 0, ["text"], {"text": "words"}, []),
        (lambda text, **data: 0, ["text", "size"], {"size": "length"}, []),
        (lambda text, **data: 0, ["size"], None, ["unfilled-parameter"]),  # by keyword only, never the whole dict
        (lambda text, **data: 0, None, None, []),
        (lambda text: 0, ["size"], None, []),  # the whole dict
        (lambda data: 0, ["size"], None, []),
        (lambda: 0, ["size"], None, []),
        (lambda text, size=1: 0, ["other"], None, []),  # no name fits: the whole dict
        (lambda size=1, *, text: 0, ["size"], None, ["unfilled-parameter"]),
        (print, ["other"], None, []),
        (lambda text, size: 0, ["words", "size"], {"words": "text"}, []),
        (lambda text, size: 0, ["text", "size"], {"text": "words"}, ["unfilled-parameter", "unknown-target-name"]),
        (lambda text, size: 0, ["wrods", "size"], {"words": "text"}, ["unknown-source-name"]),
        (lambda text, size: 0, None, {"words": "txt"}, ["unknown-target-name"]),
        (lambda text, size=1: 0, None, {"words": "txt"}, []),  # the whole dict, if nothing else comes
        (lambda text, size=1: 0, None, {"a": "text", "words": "txt"}, ["unknown-target-name"]),
        (lambda data: 0, None, {"words": "txt"}, []),
        (lambda data: 0, None, {"words": "data", "size": "length"}, []),
        (lambda data: 0, ["left", "right"], {"left": "x", "right": "x"}, ["mapping-collision"]),
        (lambda data: 0, ["left", "right"], {"left": "right"}, ["mapping-collision"]),
        (lambda data: 0, ["left", "right"], {"left": "right", "right": "left"}, []),
        (lambda data: 0, ["left"], {"left": "left"}, []),
        (None, ["left"], {"left": "x"}, ["slot-without-handler"]),
    ],
)
def test_names_that_cannot_arrive_are_found(handler, params, mapping, expected):
    findings = told(pipeline(handler, params, mapping))
    assert [code for code, _, _ in findings] == expected
    assert {where for _, _, where in findings} <= {LINE, "b.input"}


HANDLERS = [
    lambda: 0,
    lambda a: 0,
    lambda data: 0,
    lambda a, b: 0,
    lambda a, b=1: 0,
    lambda a=1, b=2: 0,
    lambda a, b, c=3: 0,
    lambda a, /, b: 0,
    lambda a, /, b=1: 0,
    lambda a, *rest: 0,
    lambda a, b, *rest: 0,
    lambda *rest: 0,
    lambda *rest, a=1, b=2: 0,
    lambda **rest: 0,
    lambda a, **rest: 0,
    lambda a, b=1, **rest: 0,
    lambda a, /, **rest: 0,
    lambda a=1, /, **rest: 0,
    print,
]


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("mapping", [{}, {"a": "b"}, {"c": "a"}, {"a": "b", "b": "a"}, {"a": "d"}])
def test_what_is_told_of_an_event_and_a_handler_is_what_happens_when_it_carries_what_it_says(handler, mapping, capsys):
    call = bind(handler, "here")
    for params in (["a"], ["b"], ["c"], ["a", "b"], ["a", "c"], ["b", "c"], ["a", "b", "c"]):
        findings = told(pipeline(handler, params, {old: new for old, new in mapping.items() if old in params}))
        is_told = any(code in ("unfilled-parameter", "unusable-slot") for code, _, _ in findings)
        try:
            call(mapped(dict.fromkeys(params, 0), mapping))
        except TypeError:
            fails = True
        else:
            fails = False
        assert is_told == fails, params


def test_a_merge_function_may_bring_any_name():
    assert told(pipeline(lambda text, size: 0, ["text"], None, lambda old, new: {**old, **new})) == []
    assert told(pipeline(lambda text, size: 0, ["text"], None, "append")) == [("unfilled-parameter", "warning", LINE)]


def test_a_finding_about_names_says_which_there_are_and_the_nearest():
    (finding,) = check_graph(pipeline(lambda text, size: 0, ["texts", "size"]).graph())
    assert "needs 'text', and the event carries 'texts', 'size'. Did you mean 'texts'?" in finding.message
    (finding,) = check_graph(pipeline(keep, ["texts", "size"], {"text": "words"}).graph())
    assert "'text', which is not among the output_params of the event ('texts', 'size'). Did you" in finding.message


def positional(text, /, **rest):
    pass


@pytest.mark.parametrize("strategy", [lambda old: old, lambda a, b, c: a, lambda old, new, *, deep: old])
def test_a_slot_to_which_every_delivery_fails_is_an_error(strategy):
    assert told(pipeline(positional)) == [("unusable-slot", "error", "b.input")]
    assert told(pipeline(keep, merge=strategy)) == [("unusable-slot", "error", "b.input")]


@pytest.mark.parametrize("strategy", [max, lambda *both: {}, lambda old, new, deep=False: new, dict])
def test_a_merge_strategy_that_can_be_called_or_cannot_be_looked_into_is_none(strategy):
    assert told(pipeline(keep, merge=strategy)) == []


def test_a_broken_slot_that_nothing_is_delivered_to_is_no_error():
    slots = {"input": positional}
    flow = flow_of("b.output b.input", a=routine({"trigger": keep}), b=routine(slots, ["output", "done"]))
    assert told(flow) == [("unreachable-routine", "warning", "b"), ("unheard-event", "info", "b.done")]
    flow = flow_of(a=routine({"trigger": keep, **slots}))
    assert told(flow) == [("unfed-slot", "info", "a.input")]


def ring(**events):
    return {name: routine({"trigger": keep, "input": keep}, each) for name, each in events.items()}


def test_a_cycle_that_no_event_leads_out_of_is_told_and_is_no_warning():
    flow = flow_of("a.output b.input", "b.output a.input", **ring(a=["output"], b=["output"]))
    assert told(flow) == [("cycle-without-exit", "info", "a, b")]


def test_a_cycle_with_an_event_that_leads_out_or_that_nobody_hears_is_none():
    heard = flow_of(
        "a.output b.input", "b.output a.input", "b.done c.input", **ring(a=["output"], b=["output", "done"], c=[])
    )
    assert told(heard) == []
    same_event = flow_of(
        "a.output b.input", "b.output a.input", "b.output c.input", **ring(a=["output"], b=["output"], c=[])
    )
    assert told(same_event) == []
    unheard = flow_of("a.output b.input", "b.output a.input", **ring(a=["output"], b=["output", "done"]))
    assert told(unheard) == [("unheard-event", "info", "b.done")]


def test_a_line_to_a_routine_that_is_not_in_the_flow_is_told():
    flow = flow_of(a=routine({"trigger": keep}, ["output"]))
    outside = routine({"input": keep})
    outside._id = "outside"
    flow.routines["a"].get_event("output").connect(outside.get_slot("input"))
    assert told(flow) == [("line-out-of-flow", "info", "a.output -> outside.input")]


def test_a_line_out_of_the_flow_is_heard_and_leads_out_of_a_cycle():
    flow = flow_of("a.output a.input", a=ring(a=["output", "done"])["a"])
    flow.routines["a"].get_event("done").connect(routine({"input": keep}).get_slot("input"))
    assert [code for code, _, _ in told(flow)] == ["line-out-of-flow"]


def test_errors_stand_first_and_what_is_only_worth_knowing_last():
    flow = flow_of(
        "a.output b.input",
        a=routine({"trigger": keep, "other": keep}, ["output"]),
        b=routine({"input": positional}),
        c=routine({"input": keep}),
    )
    assert [each.severity for each in flow.validate()] == ["error", "warning", "info"]


def test_a_large_drawing_is_checked_without_looking_at_every_line_for_each_routine():
    count = 3000
    names = [str(number) for number in range(count)]
    slots = (SlotNode("trigger", "keep", "override"), SlotNode("input", "keep", "override"))
    nodes = [FlowNode(name, "Step", slots, (EventNode("output", ()),)) for name in names]
    arrows = [*pairwise(names), *((name, name) for name in names)]
    graph = FlowGraph("large", nodes, [Line(a, "output", b, "input", {}) for a, b in arrows])

    looked_at = 0

    class Counted(tuple):
        __slots__ = ()

        def __iter__(self):
            nonlocal looked_at
            looked_at += len(self)
            return super().__iter__()

    graph.lines = Counted(graph.lines)
    check_graph(graph)
    assert looked_at < 20 * len(graph.lines)


def test_every_severity_is_one_of_three():
    assert set(SEVERITIES.values()) == {"error", "warning", "info"}
