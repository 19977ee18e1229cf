"""Drawings in D2: valid whatever the names are, and with everything that was drawn."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routilux import Flow, Routine
from routilux.analysis import WorkflowAnalyzer, WorkflowD2Formatter, analyze_routine_file, analyze_workflow

STYLES = ["default", "ultimate"]

# D2's double quoted text: escapes begin with a backslash, and a bare `$` may begin a substitution.
TEXT = r'"(?:[^"\\\n$]|\\[\\"n$])*"'
KEY = re.compile(rf"{TEXT}(?:\.{TEXT})?")
SHAPE = re.compile(rf"(?P<key>{TEXT}): (?P<label>{TEXT})(?: (?P<rest>\{{.*))?")
EDGE = re.compile(
    rf"(?P<source>{KEY.pattern}) -> (?P<target>{KEY.pattern}):(?: (?P<label>{TEXT}))?(?: \{{class: .*\}})?"
)
FIELD = re.compile(rf"direction: right|class: [\w; \[\]]+|tooltip: {TEXT}")


def unquoted(text):
    return re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), text[1:-1])


def read_d2(text):
    """The shapes by their paths as D2 compares them, with their labels; the edges; and the fields by path."""
    shapes, edges, fields, path = {}, [], {}, []
    body = re.sub(r"(?ms)^classes: \{$.*?^\}$\n", "", text)
    for line in filter(None, map(str.strip, body.split("\n"))):
        if line == "}":
            path.pop()
        elif edge := EDGE.fullmatch(line):
            assert not path
            ends = [".".join(KEY_PART.findall(edge[end])).lower() for end in ("source", "target")]
            edges.append((*ends, unquoted(edge["label"] or '""'), "cycle" in line.rpartition("{")[2]))
        elif shape := SHAPE.fullmatch(line):
            key = ".".join([*path, shape["key"]]).lower()
            assert key not in shapes, "D2 would take the two for one"
            shapes[key] = unquoted(shape["label"])
            if shape["rest"] == "{":
                path.append(shape["key"])
        else:
            assert FIELD.fullmatch(line), line
            fields.setdefault(".".join(path).lower(), []).append(line)
    assert path == []
    assert {end for edge in edges for end in edge[:2]} <= set(shapes)
    return shapes, edges, fields


KEY_PART = re.compile(TEXT)


class Buy(Routine):
    """Begins.

    With what was <asked> for.
    """

    def __init__(self):
        super().__init__()
        self.define_slot("trigger", self.begin)
        self.define_event("item", ["name", "count"])

    def begin(self, name, count=1):
        """Asks for the price."""


class Price(Routine):
    def __init__(self):
        super().__init__()
        self.define_slot("item", self.look_up, merge_strategy="append")
        self.define_event("item")
        self.set_config(currency="EUR", table=list(range(100)))

    def look_up(self, data):
        pass


def shop():
    flow = Flow("shop", execution_timeout=None)
    flow.add_routine(Buy(), "buy")
    flow.add_routine(Price(), "price")
    flow.connect("buy", "item", "price", "item", {"name": "title"})
    flow.connect("price", "item", "price", "item")
    return analyze_workflow(flow)


def test_the_standard_drawing_has_routines_and_labelled_lines():
    assert WorkflowAnalyzer().to_d2_format(shop()) == (
        "direction: right\n"
        "\n"
        '"buy": "buy\\nBuy"\n'
        '"price": "price\\nPrice"\n'
        "\n"
        '"buy" -> "price": "item → item\\nname = title"\n'
        '"price" -> "price": "item → item"\n'
    )


def test_the_ultimate_drawing_has_slots_events_config_and_docstrings():
    shapes, edges, fields = read_d2(WorkflowAnalyzer().to_d2_format(shop(), mode="ultimate"))

    assert shapes == {
        '"buy"': "buy\nBuy",
        '"buy"."about"': "Begins.",
        '"buy"."slot trigger"': "trigger\nbegin()",
        '"buy"."event item"': "item\nname\ncount",
        '"price"': "price\nPrice",
        '"price"."slot item"': "item\nlook_up()\nmerge: append",
        '"price"."event item"': "item",
        '"price"."config"': shapes['"price"."config"'],
        '"flow"': "shop\nsequential, max_workers 1, no timeout",
    }
    assert shapes['"price"."config"'].startswith('currency: "EUR"\ntable: [0, 1, 2')
    assert shapes['"price"."config"'].endswith("…")
    assert edges == [
        ('"buy"."event item"', '"price"."slot item"', "name = title", False),
        ('"price"."event item"', '"price"."slot item"', "", True),
    ]
    assert fields['"buy"'][0] == "class: [routine; entry]"
    assert "With what was <\N{WORD JOINER}asked>" in fields['"buy"'][1]
    assert re.search(r"test_d2\.py:\d+", fields['"buy"'][1])
    assert fields['"buy"."slot trigger"'] == [
        "class: slot",
        'tooltip: "Asks for the price.\\n\\nneeds name\\n\\nmay be given count"',
    ]
    assert fields['"price"'][0] == "class: routine"


def test_source_analyses_may_come_later():
    analyzer = WorkflowAnalyzer()
    flow = Flow()
    flow.add_routine(Buy(), "buy")
    data = analyzer.analyze_flow(flow, include_source_analysis=False)
    data["routines"][0]["docstring"] = None
    without = analyzer.to_d2_format(data, "ultimate")
    analysis = analyze_routine_file(__file__)

    drawn = analyzer.to_d2_format(data, "ultimate", routine_analysis=analysis)

    assert "Asks for the price." in drawn
    assert read_d2(drawn)[0]['"buy"."about"'] == "Begins."
    assert analyzer.to_d2_format(data, "ultimate", [analysis]) == drawn
    assert analyzer.to_d2_format(data, "ultimate") == without != drawn


@pytest.mark.parametrize(
    ("style", "mode"), [("default", "standard"), ("standard", "standard"), ("ultimate", "ultimate")]
)
def test_the_formatter_draws_what_the_analyzer_draws(tmp_path, style, mode):
    analyzer = WorkflowAnalyzer()
    data = shop()
    analyzer.save_d2(data, tmp_path / "a" / "one.d2", mode)
    WorkflowD2Formatter(style).save(data, tmp_path / "b" / "other.d2")

    drawn = (tmp_path / "a" / "one.d2").read_text(encoding="utf-8")
    assert (tmp_path / "b" / "other.d2").read_text(encoding="utf-8") == drawn == analyzer.to_d2_format(data, mode)


def test_an_unknown_mode_or_style_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"'ultimat'.*Did you mean 'ultimate'"):
        WorkflowAnalyzer().to_d2_format(shop(), mode="ultimat")
    with pytest.raises(ValueError, match=r"'nice'.*'default'"):
        WorkflowD2Formatter("nice")


def test_data_that_are_no_flow_are_refused():
    with pytest.raises(ValueError, match="'connections'"):
        WorkflowD2Formatter().format(analyze_routine_file(__file__))


def spoilt(data):
    """The data, each time with another key taken out, or something else in its place."""
    for place in (data, *data["routines"], *data["connections"], *data["routines"][0]["slots"]):
        for key in list(place):
            kept = place.pop(key)
            yield data
            for odd in (5, "x", [5], {"x": 5}, None):
                place[key] = odd
                yield data
            place[key] = kept


@pytest.mark.parametrize("mode", ["standard", "ultimate"])
def test_data_that_are_not_whole_are_drawn_as_they_are_or_refused_with_what_is_wanted(mode):
    refused = 0
    for data in spoilt(shop()):
        try:
            WorkflowAnalyzer().to_d2_format(data, mode)
        except ValueError as error:
            refused += "is made of what WorkflowAnalyzer.analyze_flow returns" in str(error)
    assert refused > 20
    for nothing in (None, 5, [], "x"):
        with pytest.raises(ValueError, match=r"is made of what WorkflowAnalyzer\.analyze_flow returns"):
            WorkflowAnalyzer().to_d2_format(nothing, mode)
    with pytest.raises(ValueError, match="A part of the data has no 'routine_id'"):
        WorkflowAnalyzer().to_d2_format({"routines": [{"class_name": "X"}], "connections": []}, mode)


@pytest.mark.parametrize("analysis", [5, [5], {"file_path": "x"}, {"routines": [{}]}], ids=repr)
def test_an_analysis_that_is_none_is_refused(analysis):
    with pytest.raises(ValueError, match=r"routine_analysis must be what RoutineAnalyzer\.analyze_file returned"):
        WorkflowAnalyzer().to_d2_format(shop(), routine_analysis=analysis)


@pytest.mark.parametrize("style", STYLES)
def test_ids_that_d2_would_take_for_one_are_two_shapes(style):
    ids = [
        "Cart",
        "cart",
        "routine 2",
        "flow",
        "steps",
        "Layers",
        "a.b",
        "`${1}`",
        "x" * 2000,
        "",
        " a",
        "a",
        "\u017f",
        "s",
    ]
    routines = [{"routine_id": each, "class_name": "Step"} for each in ids]

    shapes, _, _ = read_d2(WorkflowD2Formatter(style).format({"routines": routines, "connections": []}))

    assert sorted(label.split("\n")[0] for label in shapes.values()) == sorted(
        [*ids, ""] if style == "ultimate" else ids
    )
    # Words that D2 reads as its own even between quotes, and what it would hand to JavaScript as a template.
    assert not {'"steps"', '"layers"'} & set(shapes)
    assert not any("$" in key or "`" in key for key in shapes)


nasty = st.text(st.characters(exclude_categories=[]) | st.sampled_from('"\\${}\n|;#<'), min_size=1, max_size=8)


@example('"', "${x}", "\\", "\\n", {"\n": '";x -> y;"'})
@example("*", "_", "&a", "...@x", {"|md": "\x00\ud800\u202e\u2028"})
@given(nasty, nasty, nasty, nasty, st.dictionaries(nasty, nasty, max_size=2))
def test_any_names_make_a_drawing_that_can_be_read(first, second, slot, event, mapping):
    flow = Flow(second)
    for routine_id in dict.fromkeys([first, second]):
        step = Routine()
        step.define_slot(slot)
        step.define_event(event, list(mapping))
        step.set_config(**mapping)
        flow.add_routine(step, routine_id)
    flow.connect(first, event, second, slot, mapping)
    data = analyze_workflow(flow)

    for style in STYLES:
        text = WorkflowD2Formatter(style).format(data)
        text.encode()
        shapes, edges, _ = read_d2(text)
        assert len(edges) == 1
        assert len([key for key in shapes if '"."' not in key]) == len(flow.routines) + (style == "ultimate")
    ports = [key for key in shapes if '"."' in key]
    # The base class's docstring, a slot and an event, and where there is one the config.
    assert len(ports) == len(flow.routines) * (3 + bool(mapping))


def test_a_line_to_what_is_not_among_the_routines_is_still_valid():
    line = {"source_routine_id": "a", "source_event": "e", "target_routine_id": "b", "target_slot": "s"}

    for style in STYLES:
        text = WorkflowD2Formatter(style).format({"routines": [], "connections": [line]})
        assert any(EDGE.fullmatch(each) for each in text.split("\n"))
