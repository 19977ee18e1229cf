"""The Mermaid picture: what is drawn can be read back from it, whatever it is called."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Flow, Routine
from routilux.flow.graph import EventNode, FlowGraph, FlowNode, Line, SlotNode
from routilux.flow.mermaid import mermaid_of

BOX = re.compile(r'    (n\d+)(\(?)\["([^"]*)"\](\)?)')
ARROW = re.compile(r'    (n\d+) -->(?:\|"([^"]*)"\|)? (n\d+)')
LABEL = re.compile(r"(?P<event>[^→{]+?)(?: → (?P<slot>[^→{]+?))?(?: \{(?P<mapping>.*)\})?")


def unescaped(text):
    """What Mermaid reads: its codes, and a space of no width that parts them from what follows."""
    text = re.sub(r"#(36|58|92);#8203;", r"#\1;", text)
    return re.sub(r"#(\d+);", lambda code: chr(int(code[1])), text)


def read(text):
    """A picture, read back: the boxes as (id, class, is entry), and the arrows as (from, label, to)."""
    head, *rows = text.split("\n")
    assert re.fullmatch("flowchart (LR|RL|TB|TD|BT)", head)
    names, boxes, arrows, entries = {}, [], [], []
    for row in rows:
        if match := BOX.fullmatch(row):
            key, opened, label, closed = match.groups()
            routine_id, class_name = map(unescaped, label.split("<br/>"))
            assert key not in names
            assert (opened, closed) in [("", ""), ("(", ")")]
            names[key] = routine_id
            boxes.append((routine_id, class_name, bool(opened)))
        elif match := ARROW.fullmatch(row):
            arrows.append((names[match[1]], match[2] or "", names[match[3]]))
        elif row.startswith("    class "):
            entries = [names[key] for key in row.removeprefix("    class ").removesuffix(" entry").split(",")]
        else:
            assert row == "    classDef entry stroke-width:3px"
    assert entries == [routine_id for routine_id, _, is_entry in boxes if is_entry]
    return boxes, arrows


def line_of(graph, arrow):
    """The line that an arrow stands for: what is not said is the only thing that it could be."""
    source, label, target = arrow
    slots = [slot.name for slot in graph.nodes[target].slots]
    if not label:
        ((event,), (slot,)) = ([each.name for each in graph.nodes[source].events], slots[:1])
        return Line(source, event, target, event if event in slots else slot, {})
    parts = LABEL.fullmatch(label)
    event = unescaped(parts["event"])
    plain = slots[0] if len(slots) == 1 else event
    pairs = [pair.split(" → ") for pair in parts["mapping"].split(", ")] if parts["mapping"] else []
    mapping = {unescaped(old): unescaped(new) for old, new in pairs}
    return Line(source, event, target, unescaped(parts["slot"]) if parts["slot"] else plain, mapping)


WORDS = [
    *(
        "end",
        "graph",
        "output",
        "input",
        "trigger",
        "direction",
        "direction TB",
        "my direction LR x",
        "style: #35;",
        "www.x.org",
    ),
    *("a_b-c d", "_a_", "1. x", "- x", " ", "  x  ", 'a"b', "a`b", "[x]", "{x}", "(x)", "a|b", "-->", "%%", "::"),
    *("<br/>", "<script>", "#35;", "&amp;", "$$x$$", "fa:fa-car", "\\n", "a\nb", "\u200b", "$\u200b"),
    *("→", ", ", "日本語", "\ud800", "\0"),
]
names = st.one_of(st.sampled_from(WORDS), st.text(min_size=1, max_size=12))


@st.composite
def graphs(draw):
    nodes = []
    for routine_id in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        slots = draw(st.lists(names, min_size=1, max_size=3, unique=True))
        events = draw(st.lists(names, min_size=1, max_size=3, unique=True))
        nodes.append(
            FlowNode(
                routine_id,
                draw(names),
                tuple(SlotNode(name, None, "override") for name in slots),
                tuple(EventNode(name, ()) for name in events),
            )
        )
    lines = []
    for _ in range(draw(st.integers(0, 6))):
        source, target = draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))
        event, slot = draw(st.sampled_from(source.events)), draw(st.sampled_from(target.slots))
        mapping = draw(st.dictionaries(names, names, max_size=2))
        lines.append(Line(source.id, event.name, target.id, slot.name, mapping))
    return FlowGraph("drawn", nodes, lines)


@given(graphs())
def test_what_is_drawn_can_be_read_back_whatever_it_is_called(graph):
    text = mermaid_of(graph)
    boxes, arrows = read(text)
    assert boxes == [(node.id, node.class_name, node.is_entry) for node in graph.nodes.values()]
    by_source = [line for node_id in graph.nodes for line in graph.lines_from(node_id)]
    assert sorted(map(repr, by_source)) == sorted(map(repr, graph.lines))
    assert [line_of(graph, arrow) for arrow in arrows] == list(graph.lines)


@given(graphs())
def test_a_name_brings_no_syntax_of_its_own(graph):
    text = mermaid_of(graph)
    text.encode("utf-8")
    assert not re.search(r"direction\s+(TB|TD|BT|RL|LR)", text)  # Mermaid would drop the line
    inside = "".join(re.findall(r'"([^"]*)"', text)).replace("<br/>", "")
    assert all(char.isalnum() or char in " -_#;→{}," for char in inside)


def test_the_same_drawing_gives_the_same_text():
    assert flow_of_three().to_mermaid() == flow_of_three().to_mermaid()


class Step(Routine):
    def __init__(self, slots, events):
        super().__init__()
        for name in slots:
            self.define_slot(name)
        for name in events:
            self.define_event(name)


def flow_of_three():
    flow = Flow("drawn")
    flow.add_routine(Step(["trigger"], ["output"]), "first")
    flow.add_routine(Step(["input"], ["done", "failed"]), "the second")
    flow.add_routine(Step(["done", "other"], []), "end")
    flow.connect("first", "output", "the second", "input")
    flow.connect("the second", "done", "end", "done")
    flow.connect("the second", "failed", "end", "other", {"error": "why", "id": "n_1"})
    return flow


def test_a_picture_says_what_does_not_go_without_saying():
    assert flow_of_three().to_mermaid("TB").split("\n") == [
        "flowchart TB",
        '    n1(["first<br/>Step"])',
        '    n2["the second<br/>Step"]',
        '    n3["end<br/>Step"]',
        "    n1 --> n2",
        '    n2 -->|"done"| n3',
        '    n2 -->|"failed → other {error → why, id → n_1}"| n3',
        "    classDef entry stroke-width:3px",
        "    class n1 entry",
    ]


def test_a_mapping_is_shown_where_the_rest_goes_without_saying():
    flow = flow_of_three()
    flow.connect("first", "output", "the second", "input", {"a": "b"})
    assert '    n1 -->|"output {a → b}"| n2' in flow.to_mermaid().split("\n")


def test_an_event_called_output_is_named_where_it_is_not_the_only_one():
    flow = flow_of_three()
    flow.routines["first"].define_event("other")
    assert '    n1 -->|"output"| n2' in flow.to_mermaid().split("\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a_b-c d", "a_b-c d"),
        ("naïve 日本", "naïve 日本"),
        ("_a", "#95;a"),
        ("a_", "a#95;"),
        ("- x", "#45;#32;x"),
        ("a--b", "a#45;#45;b"),
        ("    x", "#32;#32;#32;#32;x"),
        ("1. x", "1#46;#32;x"),
        ("fa:fa-car", "fa#58;#8203;fa-car"),
    ],
)
def test_what_could_be_markdown_is_written_as_a_code_and_the_rest_stays_readable(name, shown):
    flow = Flow()
    flow.add_routine(Routine(), name)
    assert flow.to_mermaid().split("\n")[1] == f'    n1["{shown}<br/>Routine"]'


def test_an_empty_flow_is_an_empty_picture():
    assert Flow().to_mermaid() == "flowchart LR"


@pytest.mark.parametrize("direction", ["lr", "", "LR\n", None, 1])
def test_another_direction_is_refused_and_the_known_ones_are_named(direction):
    with pytest.raises(ValueError, match="'BT', 'LR', 'RL', 'TB', 'TD'"):
        Flow().to_mermaid(direction)
