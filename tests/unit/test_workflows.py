"""WorkflowAnalyzer: a flow as data."""

import functools
import importlib.util
import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Flow, Routine
from routilux.analysis import RoutineAnalyzer, WorkflowAnalyzer, analyze_workflow
from routilux.builtin_routines import ConditionalRouter


class Buy(Routine):
    """Begins.

    With a shopping list.
    """

    def __init__(self):
        super().__init__()
        self.define_slot("trigger", self.begin)
        self.define_event("item", ["name"])

    def begin(self):
        pass


class Price(Routine):
    def __init__(self):
        super().__init__()
        self.define_slot("item", self.look_up, merge_strategy="append")
        self.define_event("priced")
        self.set_config(currency="EUR")

    def look_up(self, name, unit, scale=1):
        """Looks it up."""


def weigh(item: str) -> int:
    """Weighs an item.

    In grams.
    """
    return len(item)


@functools.wraps(weigh)
def weigh_twice(item: str) -> int:
    return 2 * weigh(item)


def shop():
    flow = Flow("shop", "concurrent", max_workers=3, execution_timeout=60)
    flow.add_routine(Buy(), "buy")
    flow.add_routine(Price(), "price")
    flow.connect("buy", "item", "price", "item", {"name": "title"})
    return flow


def test_a_flow_is_described_as_it_is_drawn():
    assert analyze_workflow(shop(), include_source_analysis=False) == {
        "flow_id": "shop",
        "execution_strategy": "concurrent",
        "max_workers": 3,
        "execution_timeout": 60,
        "routines": [
            {
                "routine_id": "buy",
                "class_name": "Buy",
                "docstring": "Begins.\n\nWith a shopping list.",
                "slots": [
                    {
                        "name": "trigger",
                        "handler": "begin",
                        "merge_strategy": "override",
                        "required": [],
                        "optional": [],
                        "takes_everything": True,
                    }
                ],
                "events": [{"name": "item", "params": ["name"], "output_params": ["name"]}],
                "config": {},
            },
            {
                "routine_id": "price",
                "class_name": "Price",
                "docstring": None,
                "slots": [
                    {
                        "name": "item",
                        "handler": "look_up",
                        "merge_strategy": "append",
                        "required": ["name", "unit"],
                        "optional": ["scale"],
                        "takes_everything": False,
                    }
                ],
                "events": [{"name": "priced", "params": [], "output_params": []}],
                "config": {"currency": "EUR"},
            },
        ],
        "connections": [
            {
                "source_routine_id": "buy",
                "source_event": "item",
                "target_routine_id": "price",
                "target_slot": "item",
                "param_mapping": {"name": "title"},
            }
        ],
        "dependency_graph": {"buy": [], "price": ["buy"]},
        "entry_points": ["buy"],
        "cycles": [],
    }


def test_an_empty_flow_is_described():
    data = analyze_workflow(Flow("empty", execution_timeout=None))

    assert data["execution_timeout"] is None
    assert data["routines"] == data["connections"] == data["entry_points"] == []
    assert data["dependency_graph"] == {}


def test_cycles_and_slots_connected_without_the_flow_are_described():
    flow = shop()
    flow.add_routine(Price(), "again")
    flow.connect("price", "priced", "again", "item")
    flow.routines["again"].get_event("priced").connect(flow.routines["price"].get_slot("item"))

    data = analyze_workflow(flow)

    assert data["cycles"] == [["price", "again"]]
    assert data["dependency_graph"] == {"buy": [], "price": ["buy", "again"], "again": ["price"]}
    assert data["connections"][-1]["source_routine_id"] == "again"


def test_each_routine_gets_what_the_source_file_of_its_class_says():
    data = analyze_workflow(shop())

    source = data["routines"][1]["source_analysis"]
    (expected,) = [
        each for each in RoutineAnalyzer().analyze_file(__file__)["routines"] if each["qualified_name"] == "Price"
    ]
    assert source == {"file_path": __file__, **expected}
    assert source["methods"][1]["docstring"] == "Looks it up."


def test_a_nested_class_gets_its_own_source_and_not_that_of_a_namesake():
    class Price(Routine):
        """The nested one."""

    flow = Flow()
    flow.add_routine(Price(), "nested")

    (routine,) = analyze_workflow(flow)["routines"]

    assert routine["source_analysis"]["docstring"] == "The nested one."


def test_a_class_without_source_has_none():
    kind = type("Made", (Routine,), {"__module__": "nowhere"})
    flow = Flow()
    flow.add_routine(kind(), "made")
    flow.add_routine(type("Unknown", (Routine,), {})(), "unknown")

    assert [each["source_analysis"] for each in analyze_workflow(flow)["routines"]] == [None, None]


@pytest.mark.parametrize("trouble", ["deleted", "not python"])
def test_a_class_whose_source_file_cannot_be_read_has_none(tmp_path, monkeypatch, trouble):
    path = tmp_path / "short_lived.py"
    path.write_text("from routilux import Routine\nclass Step(Routine): pass\n")
    spec = importlib.util.spec_from_file_location("short_lived", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "short_lived", module)
    spec.loader.exec_module(module)
    flow = Flow()
    flow.add_routine(module.Step(), "step")
    assert analyze_workflow(flow)["routines"][0]["source_analysis"]["name"] == "Step"
    if trouble == "deleted":
        path.unlink()
    else:
        path.write_text("class Step(Routine:\n")

    assert analyze_workflow(flow)["routines"][0]["source_analysis"] is None


def test_a_source_file_is_read_once_by_the_analyzer_that_was_given():
    class Counting(RoutineAnalyzer):
        def __init__(self):
            self.paths = []

        def analyze_file(self, path):
            self.paths.append(path)
            return super().analyze_file(path)

    counting = Counting()
    flow = shop()
    flow.add_routine(Price(), "again")

    WorkflowAnalyzer(counting).analyze_flow(flow)

    assert counting.paths == [__file__]


class Opaque:
    pass


def test_config_values_that_json_cannot_hold_stand_there_as_text():
    step = Routine()
    itself = []
    itself.append(itself)
    step.set_config(
        function=math.sqrt,
        method=step.emit,
        kind=Opaque,
        thing=Opaque(),
        partial=functools.partial(math.pow, 2),
        mixed=[1, {"a": {2}, 3: (4,)}],
        itself=itself,
        plain={"a": [1, (2,)]},
    )
    flow = Flow()
    flow.add_routine(step, "step")

    config = analyze_workflow(flow)["routines"][0]["config"]

    assert config["function"] == "math.sqrt"
    assert config["method"] == "routilux.routine.Routine.emit"
    assert config["kind"] == f"{__name__}.Opaque"
    assert config["thing"] == f"<{__name__}.Opaque object>"
    assert config["partial"] == "functools.partial(<built-in function pow>, 2)"
    assert config["mixed"] == [1, {"a": "{2}", "3": [4]}]
    assert config["plain"] == {"a": [1, [2]]}
    json.dumps(config)


def test_a_route_with_a_lambda_can_be_described():
    router = ConditionalRouter()
    router.add_route("long", lambda data: len(data) > 3)
    flow = Flow()
    flow.add_routine(router, "router")

    (routine,) = analyze_workflow(flow)["routines"]

    assert routine["config"]["routes"][0][0] == "long"
    assert routine["config"]["routes"][0][1].endswith("<lambda>")


def test_something_else_than_a_flow_is_refused():
    with pytest.raises(TypeError, match="not a Flow"):
        analyze_workflow(Buy())


names = st.text(st.characters(exclude_categories=[]), min_size=1)


@given(names, names, names, names, st.dictionaries(names, names))
def test_any_names_survive_json(flow_id, routine_id, slot, event, mapping):
    step = Routine()
    step.define_slot(slot)
    step.define_event(event, list(mapping))
    flow = Flow(flow_id)
    flow.add_routine(step, routine_id)
    flow.connect(routine_id, event, routine_id, slot, mapping)
    analyzer = WorkflowAnalyzer()

    data = analyzer.analyze_flow(flow)

    assert json.loads(analyzer.to_json(data)) == data
    assert data["connections"][0]["param_mapping"] == mapping
    assert data["cycles"] == [[routine_id]]


def test_the_flow_is_left_as_it_was():
    flow = shop()
    before = flow.serialize()

    data = analyze_workflow(flow)
    data["routines"][1]["config"]["currency"] = "changed"
    data["connections"][0]["param_mapping"].clear()

    assert flow.serialize() == before


def test_json_is_saved_with_the_folders_that_it_needs(tmp_path):
    analyzer = WorkflowAnalyzer()
    data = analyzer.analyze_flow(shop())
    path = tmp_path / "a" / "shop.json"

    analyzer.save_json(data, path)

    assert json.loads(path.read_bytes()) == data


@pytest.mark.parametrize(
    "function", [weigh, weigh_twice, functools.partial(weigh, "x")], ids=["plain", "wrapped", "partial"]
)
def test_a_function_routine_is_described_as_its_function(function):
    flow = Flow()
    flow.routine(function, routine_id="weigh")
    data = analyze_workflow(flow)
    (routine,) = data["routines"]
    assert (routine["class_name"], routine["docstring"]) == ("FunctionRoutine", "Weighs an item.\n\nIn grams.")
    source = routine["source_analysis"]
    assert (source["file_path"], source["name"], source["docstring"]) == (__file__, "weigh", routine["docstring"])
    assert source["line_number"] == weigh.__code__.co_firstlineno
    assert "test_workflows.py:" in WorkflowAnalyzer().to_d2_format(data, "ultimate")
    json.dumps(data)


@pytest.mark.parametrize(
    "function", [len, int, functools.partial(len), lambda x: x], ids=lambda each: type(each).__name__
)
def test_a_function_without_a_docstring_or_source_has_none_of_the_class(function):
    flow = Flow()
    flow.routine(function, routine_id="a")
    (routine,) = analyze_workflow(flow)["routines"]
    assert "A function as a routine" not in str(routine)
    assert (routine["source_analysis"] is None) == (getattr(function, "__name__", "") != "<lambda>")
