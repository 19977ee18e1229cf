"""A callable in saved data comes back only where that can do no harm; nothing is imported and nothing is called."""

import collections
import functools
import importlib.util
import os
import subprocess
import sys
import types

import pytest

from routilux import Flow, Routine, Slot
from routilux.callables import allow_callable, describe_callable, names_of_module, restore_callable
from routilux.plain import shortened
from tests import registered
from tests.registered import Hopper, Part, Tally, double, newest_wins

assert subprocess  # it is imported, and yet no file may name what is in it


def of_no_registered_module(data):
    """This module defines no registered class."""


def allowed(data):
    """Allowed by a test."""


def handed_in(data):
    """Handed to the library by a test."""


def function(module, name):
    return {"_type": "callable", "callable_type": "function", "module": module, "name": name}


def method(class_name, name):
    return {"_type": "callable", "callable_type": "method", "class_name": class_name, "method_name": name}


HOSTILE = [
    function("os", "system"),
    function("os", "execv"),
    function("subprocess", "run"),
    function("subprocess", "Popen"),
    function("builtins", "eval"),
    function("antigravity", "geohash"),
    function("this_is_not.imported", "run"),
    function("tests.registered", "Hopper"),
    function("tests.registered", "register_serializable"),
    function("tests.registered", "no_such"),
    function("tests.registered", "Hopper.hop"),
    function("tests.registered", "EVENTS"),
    function("tests.registered", "__builtins__"),
    function("", ""),
    function(None, None),
    function(["os"], {"a": 1}),
    function("x" * 10**6, "y" * 10**6),
    {"_type": "callable", "callable_type": "builtin", "name": "eval"},
    {"_type": "callable", "callable_type": "builtin", "name": "len"},
    {"_type": "callable", "callable_type": "object", "class_name": "Part"},
    {"_type": "callable", "callable_type": ["function"]},
    {"_type": "callable"},
    {"_type": "lambda_expression", "expression": ["data"]},
    {"_type": "lambda_expression", "expression": "data", "parameters": "data"},
    {"_type": "lambda_expression", "expression": "data", "parameters": ["__data"]},
    {"_type": "lambda_expression"},
    {"_type": "function", "module": "os", "name": "system"},
    {"_type": "Hopper"},
    {},
    [],
    "os.system",
    5,
    method("Hopper", "no_such"),
    method("Hopper", "__class__"),
    method("Hopper", "_current_flow"),
    method("Hopper", "fields_to_serialize"),
    method("Tally", "emit"),
    method("Hopper", ["hop"]),
    method(None, None),
]


# -- as data


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (double, function("tests.registered", "double")),
        (lambda data: data, function(__name__, "<lambda>")),
        (len, {"_type": "callable", "callable_type": "builtin", "name": "len"}),
        (None, None),
    ],
)
def test_a_function_is_described_in_seriluxs_form(value, expected):
    assert describe_callable(value, Hopper(), "it") == expected


def test_a_method_of_the_routine_itself_is_described_by_class_and_name():
    hopper = Hopper()
    assert describe_callable(hopper.hop, hopper, "it") == {**method("Hopper", "hop"), "object_id": hopper._id}


def test_other_callables_are_described_for_readers():
    assert describe_callable(functools.partial(double), Hopper(), "it")["callable_type"] == "object"
    assert describe_callable([].append, Hopper(), "it")["callable_type"] == "builtin"
    assert describe_callable(collections.Counter().update, Hopper(), "it")["callable_type"] == "object"


def test_a_method_of_another_routine_cannot_be_saved():
    one, other = Hopper(), Hopper()
    with pytest.raises(ValueError, match=r"It is Hopper\.hop, a method of another routine"):
        describe_callable(other.hop, one, "It")


# -- and back


def test_a_method_of_the_restored_routine_comes_back_bound_to_it():
    hopper = Hopper()
    restored = restore_callable(method("Hopper", "hop"), hopper, "it")
    assert restored.__self__ is hopper
    assert restored.__func__ is Hopper.hop


def test_a_function_comes_back_when_its_module_defines_a_registered_class():
    assert restore_callable(function("tests.registered", "newest_wins"), Hopper(), "it") is newest_wins


def test_a_function_comes_back_when_the_application_has_handed_it_in():
    saved = function(__name__, "handed_in")
    with pytest.raises(ValueError, match="handed_in"):
        restore_callable(saved, None, "it")
    slot = Slot("input", handler=handed_in)
    assert restore_callable(saved, None, "it") is handed_in
    assert slot.handler is handed_in


def test_a_function_comes_back_when_it_was_allowed():
    saved = function(__name__, "allowed")
    with pytest.raises(ValueError, match=r"call routilux\.callables\.allow_callable\(function\)"):
        restore_callable(saved, None, "it")
    assert allow_callable(allowed) is allowed
    assert restore_callable(saved, None, "it") is allowed


@pytest.mark.parametrize("value", [lambda data: data, len, Hopper, Hopper().hop, functools.partial(double), None])
def test_only_a_function_with_a_name_of_its_own_can_be_allowed(value):
    with pytest.raises(ValueError, match="not a function at module level"):
        allow_callable(value)


def test_an_expression_comes_back_as_a_callable_that_walks_a_checked_syntax_tree():
    saved = {
        "_type": "lambda_expression",
        "expression": "data['n'] > config['limit']",
        "parameters": ["data", "config"],
    }
    restored = restore_callable(saved, None, "it")
    assert restored({"n": 3}, {"limit": 2}) is True
    assert describe_callable(restored, None, "it") == saved


def test_an_expression_that_goes_too_far_comes_back_and_is_an_error_when_it_is_called():
    restored = restore_callable(
        {"_type": "lambda_expression", "expression": "__import__('os').system('true')"}, None, "it"
    )
    with pytest.raises(ValueError, match="__import__"):
        restored({})


def test_a_slot_takes_expressions_as_handler_and_as_merge_strategy():
    merge = {
        "_type": "lambda_expression",
        "expression": "{'n': old.get('n', 0) + new['n']}",
        "parameters": ["old", "new"],
    }
    handler = {"_type": "lambda_expression", "expression": "data"}
    slot = Slot("input")
    slot.deserialize({"handler": handler, "merge_strategy": merge})
    slot.receive({"n": 2})
    slot.receive({"n": 3})
    assert slot._data == {"n": 5}
    assert (slot.serialize()["handler"], slot.serialize()["merge_strategy"]) == (handler, merge)


def test_nothing_is_nothing():
    assert restore_callable(None, Hopper(), "it") is None


@pytest.mark.parametrize("saved", HOSTILE, ids=shortened)
def test_what_may_not_come_back_is_an_error_that_says_where(saved):
    before = set(sys.modules)
    with pytest.raises(ValueError, match=r"^The handler of slot 'x' "):
        restore_callable(saved, Hopper(), "The handler of slot 'x'")
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    "saved", [function("os", "system"), function(__name__, "of_no_registered_module"), method("Hopper", "gone")]
)
def test_the_error_names_the_callable(saved):
    with pytest.raises(ValueError, match=saved.get("name") or saved["method_name"]):
        restore_callable(saved, Hopper(), "it")


def test_a_function_that_was_put_into_a_module_from_elsewhere_is_not_its_own(monkeypatch):
    monkeypatch.setattr(registered, "borrowed", os.path.join, raising=False)
    with pytest.raises(ValueError, match="borrowed"):
        restore_callable(function("tests.registered", "borrowed"), None, "it")


def test_a_property_of_the_routine_is_not_asked():
    asked = []

    class Curious(Routine):
        @property
        def secret(self):
            asked.append("secret")
            return print

        def __getattr__(self, name):
            asked.append(name)
            raise AttributeError(name)

    with pytest.raises(ValueError, match="secret"):
        restore_callable(method("Curious", "secret"), Curious(), "it")
    assert asked == []


def test_a_module_that_is_loaded_lazily_is_not_loaded(tmp_path, monkeypatch):
    (tmp_path / "late_module.py").write_text("def run(data): pass\nclass Error(Exception): pass\n")
    spec = importlib.util.spec_from_file_location("late_module", tmp_path / "late_module.py")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "late_module", module)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match="late_module"):
        restore_callable(function("late_module", "run"), None, "it")
    assert "run" not in names_of_module("late_module")
    assert type(module) is not types.ModuleType, "it is still to be loaded"
    assert module.run({}) is None


def test_what_stands_among_the_modules_and_is_none_has_no_names(monkeypatch):
    monkeypatch.setitem(sys.modules, "odd_module", types.SimpleNamespace(run=double))
    monkeypatch.setitem(sys.modules, "no_module", None)
    assert names_of_module("odd_module") == names_of_module("no_module") == {}


# -- in a routine


def test_a_slot_that_stands_only_in_the_data_gets_its_method_back():
    hopper = Hopper()
    hopper.define_slot("extra", handler=hopper.hop, merge_strategy=newest_wins)
    restored = Hopper()
    restored.deserialize(hopper.serialize())
    assert restored.get_slot("extra").handler == restored.hop
    assert restored.get_slot("extra").merge_strategy is newest_wins


def test_a_lambda_is_saved_and_only_the_constructor_can_bring_it_back():
    routine = Routine()
    routine.define_slot("input", handler=lambda data: data)
    data = routine.serialize()
    assert data["_slots"]["input"]["handler"]["name"].endswith("<lambda>")
    with pytest.raises(ValueError, match=r"handler of slot 'input' was the function .*<lambda>"):
        Routine().deserialize(data)
    routine.deserialize(data)  # it has the slot already


def test_a_function_as_an_attribute_of_a_routine_is_saved_by_name_and_comes_back():
    tally = Tally()
    tally.choose = newest_wins
    data = tally.serialize()
    assert data["choose"] == function("tests.registered", "newest_wins")
    restored = Tally()
    restored.deserialize(data)
    assert restored.choose is newest_wins


def test_a_lambda_as_an_attribute_stays_where_the_constructor_made_the_same():
    tally = Tally()
    tally.choose = lambda data: data
    data = tally.serialize()
    before = tally.choose
    tally.deserialize(data)
    assert tally.choose is before
    with pytest.raises(ValueError, match="choose of Tally"):
        Tally().deserialize(data)


# -- in an object of the application that serilux restores


@pytest.mark.parametrize("place", ["act", "items"])
@pytest.mark.parametrize("saved", [each for each in HOSTILE if isinstance(each, dict) and "call" in str(each)])
def test_a_part_of_a_routine_is_not_restored_with_a_callable_that_may_not_come_back(place, saved):
    data = Tally().serialize()
    data["part"][place] = saved if place == "act" else [{"deep": [saved]}]
    before = set(sys.modules)
    with pytest.raises(ValueError, match="callable in part of Tally"):
        Tally().deserialize(data)
    assert set(sys.modules) == before


def test_a_part_that_is_called_by_the_name_of_one_of_our_classes_is_looked_through_all_the_same():
    data = Tally().serialize()
    data["part"] = {"_type": "ErrorHandler", "act": function("colorsys", "rgb_to_hsv")}
    with pytest.raises(ValueError, match="callable in part of Tally"):
        Tally().deserialize(data)
    assert "colorsys" not in sys.modules


def test_objects_of_several_classes_with_one_id_are_refused():
    data = Tally().serialize()
    data["part"]["items"] = [
        {"_type": "Part", "_id": "x"},
        {"_type": "Hopper", "_id": "x", "act": function("colorsys", "rgb_to_hsv")},
    ]
    with pytest.raises(ValueError, match="the id 'x' for objects of several classes"):
        Tally().deserialize(data)
    assert "colorsys" not in sys.modules


def test_a_part_of_a_routine_is_never_restored_with_an_expression():
    data = Tally().serialize()
    data["part"]["act"] = {"_type": "lambda_expression", "expression": "data"}
    with pytest.raises(ValueError, match="callable in part of Tally"):
        Tally().deserialize(data)


def test_a_part_of_a_routine_comes_back_with_a_function_that_may_come_back():
    tally = Tally()
    tally.part.act, tally.part.items, tally.part.size = double, [Part(3)], 7
    restored = Tally()
    part = restored.part
    restored.deserialize(tally.serialize())
    assert restored.part is part
    assert (part.act, part.size, part.items[0].size) == (double, 7, 3)


@pytest.mark.parametrize("saved", [[], "text", 5, {"items": {"_type": "NoSuchClass"}}, {"items": {"_type": ["x"]}}])
def test_a_part_that_cannot_be_restored_is_a_value_error(saved):
    with pytest.raises((ValueError, TypeError)):
        Tally().deserialize({"part": saved})


def test_hostile_handlers_are_refused_by_a_flow_as_well():
    flow = Flow()
    flow.add_routine(Routine(), "a")
    data = flow.serialize()
    slot = {"name": "trigger", "_data": {}, "merge_strategy": "override"}
    for saved in HOSTILE:
        data["routines"]["a"]["_slots"] = {"trigger": {**slot, "handler": saved}}
        with pytest.raises(ValueError, match="trigger"):
            Flow().deserialize(data)
