"""RoutineAnalyzer: what a source file says of its routines, without running it."""

import json
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Flow
from routilux.analysis import RoutineAnalyzer, analyze_routine_file
from routilux.builtin_routines import TextClipper
from routilux.errors import SourceFileError

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BUILTINS = sorted((ROOT / "routilux" / "builtin_routines").rglob("*.py"))


@pytest.fixture
def analyzed(tmp_path):
    def read(source):
        path = tmp_path / "routines.py"
        path.write_text(source, encoding="utf-8")
        return analyze_routine_file(path)["routines"]

    return read


def in_constructor(*lines):
    return "\n".join(["class Step(Routine):", "    def __init__(self):", *(f"        {line}" for line in lines)])


def test_a_routine_is_described_by_its_source(tmp_path):
    path = tmp_path / "prices.py"
    path.write_text(
        '"""Prices."""\n'
        "from routilux import Routine\n"
        "\n"
        "class Price(Routine):\n"
        '    """Looks up prices.\n'
        "\n"
        "    In a table.\n"
        '    """\n'
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.item_slot = self.define_slot('item', handler=self.look_up, merge_strategy='append')\n"
        "        self.define_event('priced', ['item', 'price'])\n"
        "        self.set_config(currency='EUR', limits=(1, 2.5))\n"
        "\n"
        "    def look_up(self, item: str, *, count=1) -> None:\n"
        '        """The handler."""\n'
    )

    assert RoutineAnalyzer().analyze_file(str(path)) == {
        "file_path": str(path),
        "routines": [
            {
                "name": "Price",
                "qualified_name": "Price",
                "docstring": "Looks up prices.\n\nIn a table.",
                "line_number": 4,
                "slots": [
                    {
                        "name": "item",
                        "dynamic": False,
                        "handler": "look_up",
                        "merge_strategy": "append",
                        "line_number": 11,
                    }
                ],
                "events": [
                    {
                        "name": "priced",
                        "dynamic": False,
                        "params": ["item", "price"],
                        "output_params": ["item", "price"],
                        "line_number": 12,
                    }
                ],
                "config": {"currency": "EUR", "limits": [1, 2.5]},
                "dynamic_config": [],
                "methods": [
                    {
                        "name": "__init__",
                        "signature": "(self)",
                        "docstring": None,
                        "is_async": False,
                        "decorators": [],
                        "line_number": 9,
                    },
                    {
                        "name": "look_up",
                        "signature": "(self, item: str, *, count=1) -> None",
                        "docstring": "The handler.",
                        "is_async": False,
                        "decorators": [],
                        "line_number": 15,
                    },
                ],
            }
        ],
    }


def test_classes_with_the_base_routine_are_found_wherever_they_stand(analyzed):
    routines = analyzed(
        "class A(Routine): pass\n"
        "class B(routilux.Routine): pass\n"
        "class C(Mixin, Routine, metaclass=M):\n"
        "    class Inner(Routine): pass\n"
        "def make():\n"
        "    class Local(Routine): pass\n"
        "if True:\n"
        "    class Conditional(Routine): pass\n"
        "class Other: pass\n"
        "class Child(A): pass\n"
        "class Routines(MyRoutine): pass\n"
        "Routine = 1\n"
    )

    assert [routine["qualified_name"] for routine in routines] == [
        "A",
        "B",
        "C",
        "C.Inner",
        "make.<locals>.Local",
        "Conditional",
    ]
    assert routines[3]["name"] == "Inner"


@pytest.mark.parametrize(
    ("call", "handler", "merge_strategy"),
    [
        ("self.define_slot('x')", None, "override"),
        ("self.define_slot('x', None)", None, "override"),
        ("self.define_slot('x', self.take)", "take", "override"),
        ("self.define_slot(name='x', merge_strategy='append', handler=self.take)", "take", "append"),
        ("self.define_slot('x', take, self.merge)", "take", "merge"),
        ("self.define_slot('x', handlers.take, lambda old, new: new)", "handlers.take", "<lambda>"),
        ("self.define_slot('x', partial(self.take, 1), merge_strategy=chosen())", "partial(self.take, 1)", "chosen()"),
        ("self.slot: Slot = self.define_slot('x', self.take)", "take", "override"),
        ("super().define_slot('x', self.take)", "take", "override"),
        ("if (slot := self.define_slot('x', self.take)): pass", "take", "override"),
    ],
)
def test_a_slot_is_read_from_any_form_of_the_call(analyzed, call, handler, merge_strategy):
    (slot,) = analyzed(in_constructor(call))[0]["slots"]

    assert (slot["name"], slot["handler"], slot["merge_strategy"]) == ("x", handler, merge_strategy)
    assert slot["dynamic"] is False


@pytest.mark.parametrize(
    ("call", "params"),
    [
        ("self.define_event('x')", []),
        ("self.define_event('x', None)", []),
        ("self.define_event(output_params=('a', 'b'), name='x')", ["a", "b"]),
        ("self.define_event('x', [*COMMON, 'a', key])", ["*COMMON", "a", "key"]),
        ("self.define_event('x', PARAMETERS)", ["*PARAMETERS"]),
    ],
)
def test_an_event_is_read_from_any_form_of_the_call(analyzed, call, params):
    (event,) = analyzed(in_constructor(call))[0]["events"]

    assert (event["name"], event["params"], event["output_params"]) == ("x", params, params)


@pytest.mark.parametrize(
    ("arguments", "name"), [("prefix + '_in'", "prefix + '_in'"), ("*spec", "*spec"), ("**spec", "**spec"), ("5", "5")]
)
def test_a_name_that_only_the_running_program_knows_is_shown_as_its_source(analyzed, arguments, name):
    routine = analyzed(in_constructor(f"self.define_slot({arguments})", f"self.define_event({arguments})"))[0]

    assert [(slot["name"], slot["dynamic"]) for slot in routine["slots"]] == [(name, True)]
    assert [(event["name"], event["dynamic"]) for event in routine["events"]] == [(name, True)]


def test_a_call_without_a_name_defines_nothing(analyzed):
    routine = analyzed(in_constructor("self.define_slot()", "self.define_event(output_params=['a'])"))[0]

    assert routine["slots"] == routine["events"] == []


def test_config_comes_from_the_constructor_and_the_last_value_counts(analyzed):
    (routine,) = analyzed(
        in_constructor(
            "self.set_config(a=1, b=[True, None], path=os.sep, text='os.sep', raw=b'x')",
            "self.set_config(**{'c': -2}, **DEFAULTS)",
            "self.set_config(a={'deep': (1,)}, path='here')",
            "other.set_config(no=1)",
        )
        + "\n    def later(self):\n        self.set_config(late=1)\n"
    )

    assert routine["config"] == {
        "a": {"deep": [1]},
        "b": [True, None],
        "path": "here",
        "text": "os.sep",
        "raw": "b'x'",
        "c": -2,
        "**DEFAULTS": "DEFAULTS",
    }
    assert routine["dynamic_config"] == ["raw", "**DEFAULTS"]


def test_calls_of_other_objects_are_not_taken_for_the_routines_own(analyzed):
    (routine,) = analyzed(
        "class Step(Routine):\n"
        "    def __init__(me, other):\n"
        "        me.define_slot('own')\n"
        "        other.define_slot('foreign')\n"
        "        self.define_slot('unknown')\n"
        "        def nested():\n"
        "            me.define_slot('closed over')\n"
        "        def another(me):\n"
        "            me.define_slot('shadowed')\n"
        "        class Inner:\n"
        "            def __init__(me):\n"
        "                me.define_slot('inner')\n"
        "            def ports(it):\n"
        "                super().define_slot('inner, by super')\n"
        "    @staticmethod\n"
        "    def make(me):\n"
        "        me.define_slot('static')\n"
        "    def ports(self):\n"
        "        self.define_slot('on demand')\n"
    )

    assert [slot["name"] for slot in routine["slots"]] == ["own", "closed over", "on demand"]


def test_of_two_branches_that_define_one_slot_the_first_is_shown(analyzed):
    (routine,) = analyzed(
        in_constructor("if fast:", "    self.define_slot('x', self.a)", "else:", "    self.define_slot('x', self.b)")
    )

    assert [slot["handler"] for slot in routine["slots"]] == ["a"]


def test_a_class_without_constructor_and_with_async_methods_is_described(analyzed):
    (routine,) = analyzed("class Step(Routine):\n    @cached\n    async def work(self, /, *a, **k): ...\n")

    assert routine["slots"] == routine["events"] == []
    assert routine["config"] == {}
    assert routine["docstring"] is None
    (method,) = routine["methods"]
    assert (method["is_async"], method["decorators"], method["signature"]) == (True, ["cached"], "(self, /, *a, **k)")


def test_nothing_of_a_file_is_run(tmp_path):
    marker = tmp_path / "marker"
    write = f"__import__('pathlib').Path({str(marker)!r}).write_text('ran')"
    path = tmp_path / "hostile_routines.py"
    path.write_text(
        f"{write}\n"
        f"import routilux_module_that_does_not_exist\n"
        f"class Step(Routine, metaclass={write}):\n"
        f"    '''Hostile.'''\n"
        f"    {write}\n"
        f"    @{write}\n"
        f"    def __init__(self, a={write}) -> {write}:\n"
        f"        self.define_slot({write}, {write}, {write})\n"
        f"        self.define_event({write}, [{write}])\n"
        f"        self.set_config(a={write}, **{{'b': {write}}})\n"
    )
    modules = set(sys.modules)

    (routine,) = analyze_routine_file(path)["routines"]

    assert not marker.exists()
    assert set(sys.modules) == modules
    assert routine["docstring"] == "Hostile."
    assert routine["config"]["a"] == write


def test_a_missing_file_is_told_by_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        analyze_routine_file(tmp_path / "nowhere.py")


def test_a_folder_is_told_to_be_one(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a folder\. Give a file"):
        analyze_routine_file(tmp_path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"x = 1\nclass Step(Routine:\n", 2),
        (b"# caf\xe9\nx = 1\n", 1),
        (b"x = 1\n\ny = '\xff'\n", 3),
        (b"# coding: no-such-encoding\n", 1),
        (b"# coding: base64\nx = 1\n", None),
        (b"x = '\0'\n", None),
        (b"x = " + b"(" * 300 + b")" * 300, None),
        (b"x = " + b"-" * 100_000 + b"1", None),
    ],
)
def test_a_file_that_is_not_python_is_refused_with_its_name_and_line(tmp_path, content, line):
    path = tmp_path / "broken.py"
    path.write_bytes(content)

    with pytest.raises(SourceFileError, match=r"broken\.py") as caught:
        analyze_routine_file(path)

    assert isinstance(caught.value, ValueError)
    assert caught.value.path == str(path)
    if line is not None:
        assert caught.value.line == line
        assert f"line {line}" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "# coding: latin-1\nclass Étape(Routine):\n    'café'\n".encode("latin-1"),
        "\ufeffclass Étape(Routine):\r\n    'café'\r\n".encode(),
    ],
)
def test_the_encoding_that_a_file_declares_is_used(tmp_path, content):
    path = tmp_path / "encoded.py"
    path.write_bytes(content)

    (routine,) = analyze_routine_file(path)["routines"]

    assert (routine["name"], routine["docstring"]) == ("Étape", "café")


def test_a_file_that_python_would_warn_of_is_read_in_silence(tmp_path):
    path = tmp_path / "warns.py"
    path.write_text("class Step(Routine):\n    x = '\\d' is 1\n")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(analyze_routine_file(path)["routines"]) == 1


def test_an_expression_nested_deeper_than_the_stack_is_shown_short(analyzed):
    deep = "+".join(["a"] * 900)
    (routine,) = analyzed(in_constructor(f"self.set_config(x={deep}, y=0x{'f' * 5000})"))

    assert routine["dynamic_config"] == ["x", "y"]
    assert routine["config"]["y"] == "..."


@given(st.text(st.characters(exclude_categories=[])), st.text(), st.text())
def test_any_literal_name_is_read_as_python_reads_it(tmp_path_factory, slot, event, key):
    path = tmp_path_factory.getbasetemp() / "any_name.py"
    path.write_text(
        in_constructor(
            f"self.define_slot({slot!a})",
            f"self.define_event({event!a}, [{key!a}])",
            f"self.set_config(**{{{key!a}: {event!a}}})",
        )
    )

    (routine,) = analyze_routine_file(path)["routines"]

    assert routine["slots"][0]["name"] == slot
    assert (routine["events"][0]["name"], routine["events"][0]["params"]) == (event, [key])
    assert routine["config"] == {key: event}
    assert json.loads(RoutineAnalyzer().to_json({"routines": [routine]})) == {"routines": [routine]}


@pytest.mark.parametrize("path", [*EXAMPLES, *BUILTINS], ids=lambda path: path.stem)
def test_every_routine_of_this_repository_is_found(path):
    expected = path.read_text(encoding="utf-8").count("(Routine):") + path.read_text(encoding="utf-8").count(
        ", Routine):"
    )

    assert len(analyze_routine_file(path)["routines"]) == expected


def test_the_source_of_a_built_in_routine_tells_what_the_object_has():
    import_path = ROOT / "routilux" / "builtin_routines" / "text_processing" / "text_clipper.py"
    (source,) = analyze_routine_file(import_path)["routines"]
    flow = Flow()
    flow.add_routine(TextClipper(), "clipper")
    node = flow.graph().nodes["clipper"]

    assert [(slot["name"], slot["handler"]) for slot in source["slots"]] == [(s.name, s.handler) for s in node.slots]
    assert [(e["name"], tuple(e["params"])) for e in source["events"]] == [tuple(event) for event in node.events]
    assert source["config"] == flow.routines["clipper"].config()


def test_json_is_written_with_the_folders_that_it_needs(tmp_path):
    analyzer = RoutineAnalyzer()
    data = analyzer.analyze_file(EXAMPLES[0])
    path = tmp_path / "a" / "b" / "routines.json"

    analyzer.save_json(data, path)

    assert json.loads(path.read_bytes()) == data
    assert analyzer.to_json({"é": 1}) == '{\n  "\\u00e9": 1\n}'
    assert analyzer.to_json({"a": 1}, indent=None) == '{"a": 1}'
