"""DataTransformer: what it promises, for every kind of value."""

import functools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.builtin_routines import DataTransformer
from routilux.testing import activate
from tests.decorators import hands_through, listed, run_by_asyncio
from tests.deliveries import (
    ODD_VALUES,
    answer,
    heard,
    in_new_process,
    one,
    register_two_at_once,
    restored,
    run_restored,
    shared_without_end,
    two_runs_at_once,
)
from tests.drawings import Gate
from tests.registered import double


def transformer(*transformations: Any, **config: Any) -> DataTransformer:
    routine = DataTransformer()
    routine.set_config(transformations=list(transformations), **config)
    return routine


def halved(value: Any) -> Any:
    return value / 2


def thirded(value: Any) -> Any:
    return value / 3


# -- the contract


def test_the_defaults_are_in_the_config_and_slot_and_event_are_attributes():
    routine = DataTransformer()
    assert routine.config() == {"transformations": [], "transformation_map": {}, "chain_transformations": True}
    assert routine.input_slot is routine.get_slot("input")
    assert routine.output_event is routine.get_event("output")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("lowercase", "ABC", "abc"),
        ("uppercase", "abc", "ABC"),
        ("strip_whitespace", "  a b \n", "a b"),
        ("strip", "  a b \n", "a b"),
        ("to_string", 12, "12"),
        ("to_int", "12", 12),
        ("to_float", "1.5", 1.5),
        ("remove_none", {"a": None, "b": {"c": None}}, {"b": {"c": None}}),
        ("remove_none", [1, None, 0], [1, 0]),
        ("remove_none", (None, 1), (1,)),
        ("lowercase", 5, 5),
        ("uppercase", ["a"], ["a"]),
        ("strip", {"a": " b "}, {"a": " b "}),
        ("remove_none", "x", "x"),
    ],
)
def test_the_names_do_what_they_say_and_leave_other_kinds_of_values_alone(name, before, after):
    assert one(transformer(name), before) == {
        "transformed_data": after,
        "transformation_applied": [name],
        "errors": None,
    }


def test_transformations_apply_in_order_each_to_the_result_of_the_one_before():
    found = one(transformer("strip", "to_int", halved, lambda n: n + 1, "to_string"), " 8 ")
    assert found["transformed_data"] == "5.0"
    assert found["transformation_applied"] == ["strip", "to_int", "halved", "<lambda>", "to_string"]


def test_an_error_keeps_the_value_is_told_and_does_not_end_the_chain():
    found = one(transformer("uppercase", "to_int", "strip"), " a ")
    assert found["transformed_data"] == "A"
    assert found["transformation_applied"] == ["uppercase", "strip"]
    assert found["errors"] == ["Error applying to_int: invalid literal for int() with base 10: ' A '"]


def test_an_unknown_name_is_told_and_does_not_end_the_chain():
    found = one(transformer("louder", "uppercase"), "a")
    assert found == {
        "transformed_data": "A",
        "transformation_applied": ["uppercase"],
        "errors": ["Unknown transformation: louder"],
    }


def test_registered_names_and_those_of_the_map_are_known_and_come_before_the_built_in_ones():
    routine = transformer(
        "half", "twice", "strip", "same", transformation_map={"twice": lambda n: n * 2, "same": "half"}
    )
    routine.register_transformation("half", halved)
    routine.register_transformation("strip", lambda n: n + 100)
    assert one(routine, 8)["transformed_data"] == 54
    assert one(transformer("strip"), " a ")["transformed_data"] == "a"


def test_a_name_of_the_map_may_lead_to_another_name_of_the_map():
    names = {"a": "b", "b": "c", "c": "strip", "strip": "strip", "twice": "double", "double": lambda n: n * 2}
    assert one(transformer("a", "twice", transformation_map=names), " x ") == {
        "transformed_data": "xx",
        "transformation_applied": ["a", "twice"],
        "errors": None,
    }
    assert one(transformer("a", transformation_map={"a": "b", "b": "gone"}), 1)["errors"] == [
        "Unknown transformation: a"
    ]


def test_names_that_lead_round_in_a_circle_are_an_error_that_names_it():
    names = {"start": "a", "a": "b", "b": "c", "c": "a"}
    assert one(transformer("start", "strip", transformation_map=names), " x ") == {
        "transformed_data": "x",
        "transformation_applied": ["strip"],
        "errors": ["Error applying start: transformation_map leads round in a circle, a -> b -> c -> a"],
    }


def test_the_input_may_name_other_transformations():
    routine = transformer("uppercase")
    found = [data["transformed_data"] for _, data in heard(
        routine, {"data": "aB", "transformations": ["lowercase"]}, {"data": "aB"}, {"data": "aB", "transformations": []}
    )]  # fmt: skip
    assert found == ["ab", "AB", "aB"]


def test_one_transformation_need_not_be_in_a_list():
    routine = DataTransformer()
    for alone in ("uppercase", str.upper):
        routine.set_config(transformations=alone)
        assert one(routine, "a")["transformed_data"] == "A"
    routine.set_config(transformations=None)
    assert one(routine, "a")["transformed_data"] == "a"


# -- bad input


class Mute:
    def __str__(self) -> str:
        raise ValueError("mute")

    __repr__ = __str__


class MuteError(Exception):
    __str__ = Mute.__str__


def test_what_is_no_transformation_is_unknown_whatever_it_is():
    found = one(transformer(5, None, ["strip"], Mute(), {"a": 1}), "x")
    assert found["errors"] == [
        f"Unknown transformation: {each}" for each in ("5", "None", "['strip']", "<Mute>", "{'a': 1}")
    ]


def test_values_that_fail_are_told_and_stay():
    def fail(value: Any) -> Any:
        raise MuteError

    mute = Mute()
    found = one(transformer("to_string", fail), mute)
    assert found["transformed_data"] is mute
    assert found["errors"] == [
        "Error applying to_string: mute",
        "Error applying fail: <no text: __str__ raised ValueError>",
    ]
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert "Error applying to_string" in one(transformer("to_string"), deep)["errors"][0]
    assert "Error applying to_string" in one(transformer("to_string"), shared_without_end())["errors"][0]
    assert "Error applying to_int" in one(transformer("to_int"), float("nan"))["errors"][0]


def test_a_name_or_function_that_cannot_be_is_refused_where_it_is_registered():
    for name in ("", 5, None):
        with pytest.raises(ValueError, match="Each transformation needs a name"):
            DataTransformer().register_transformation(name, halved)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be called"):
        DataTransformer().register_transformation("x", 5)  # type: ignore[arg-type]


async def later(value: Any) -> Any:
    return value


def each_in_turn(value: Any) -> Any:
    yield value


class Awaited:
    async def __call__(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize("bad", [later, each_in_turn, Awaited(), functools.partial(later, 1)], ids=repr)
def test_a_function_whose_call_would_run_nothing_is_refused_where_it_is_given(bad):
    routine = transformer("strip")
    for config in ({"transformations": ["strip", bad]}, {"transformations": bad}, {"transformation_map": {"x": bad}}):
        with pytest.raises(TypeError, match=r"transformation.* is (`async def`|a generator function)"):
            routine.set_config(**config)
    with pytest.raises(TypeError, match=r"transformation 'x' is (`async def`|a generator function)"):
        routine.register_transformation("x", bad)
    assert routine.config() == transformer("strip").config()
    (error,) = answer(routine, data=1, transformations=[bad])["errors"]
    assert re.search("`async def`|a generator function", error)


@pytest.mark.parametrize(("decorated", "expected"), [(run_by_asyncio(later), 1), (listed(each_in_turn), [1])])
def test_a_decorated_function_is_what_its_decorator_has_made_of_it(decorated, expected):
    found = one(transformer(decorated), 1)
    assert (found["transformed_data"], found["errors"]) == (expected, None)


def test_a_decorator_that_hands_a_generator_through_gives_no_result():
    found = one(transformer(hands_through(each_in_turn)), 1)
    assert found["transformed_data"] == 1
    assert "none of whose lines have run" in found["errors"][0]


def test_what_would_have_to_be_awaited_is_no_result():
    found = one(transformer(lambda value: later([value])), 1)
    assert found["transformed_data"] == 1
    assert "to await" in found["errors"][0]


def test_none_is_a_value_and_nothing_at_all_is_an_empty_dict():
    routine = transformer("to_string")
    assert answer(routine, data=None)["transformed_data"] == "None"
    assert answer(routine, data=None, transformations=["remove_none"])["transformed_data"] is None
    assert answer(routine)["transformed_data"] == "{}"


def test_values_of_every_kind_come_out_transformed_or_with_an_error():
    for value in ODD_VALUES.values():
        for name in FUNCTIONS:
            found = one(transformer(name), [value])
            assert (found["transformation_applied"] == [name]) is (found["errors"] is None)


@pytest.mark.parametrize(
    "wanted",
    [{"strip"}, (name for name in ["strip"]), 5, {"a": "strip"}, b"strip"],
    ids=lambda each: type(each).__name__,
)
def test_transformations_that_are_no_list_are_refused_and_nothing_is_set(wanted):
    routine = transformer("strip")
    with pytest.raises(TypeError, match=r"transformations of .* must be a list of names and functions, or one of them"):
        routine.set_config(transformations=wanted, transformation_map={"a": "b"})
    assert routine.config() == transformer("strip").config()


def test_a_map_that_is_none_and_saved_forms_are_refused_and_nothing_is_set():
    routine = transformer("strip")
    with pytest.raises(TypeError, match=r"transformation_map .* must be a dict"):
        routine.set_config(transformations=[], transformation_map=[1])
    with pytest.raises(ValueError, match="saved form"):
        routine.set_config(transformations=[{"_type": "callable"}], transformation_map={})
    assert routine.get_config("transformations") == ["strip"]


# -- saved, and at once


def test_functions_of_the_config_and_registered_ones_survive_json():
    routine = transformer(
        "strip", halved, lambda n: n + 1, "more", "mapped", transformation_map={"mapped": lambda n: -n}
    )
    routine.set_config(transformations=routine.get_config("transformations")[1:])
    routine.register_transformation("more", lambda n: n * 10)
    routine.register_transformation("half", halved)
    before, after = one(routine, 8), one(restored(routine), 8)
    assert before == after
    assert after["transformed_data"] == -50.0
    assert after["transformation_applied"] == ["halved", "<lambda>", "more", "mapped"]
    again = restored(restored(routine))
    assert again.serialize() == restored(routine).serialize()


def test_a_function_of_the_config_that_cannot_be_saved_is_refused_by_its_place():
    number = 3
    for bad in (lambda n: n + number, str.upper, int):
        routine = transformer("strip", bad)
        with pytest.raises(ValueError, match=r"transformations\[1\] of .* cannot be saved: .* Use a function"):
            routine.serialize()
    routine = transformer(transformation_map={"x": lambda n: n + number})
    with pytest.raises(ValueError, match=r"transformation_map\['x'\] of .* cannot be saved"):
        routine.serialize()


def test_a_registered_function_that_cannot_be_saved_is_left_out_and_then_unknown():
    routine, number = transformer("more"), 3
    routine.register_transformation("more", lambda n: n + number)
    assert one(routine, 1)["transformed_data"] == 4
    assert one(restored(routine), 1)["errors"] == ["Unknown transformation: more"]


def test_a_function_comes_back_by_name_because_the_config_has_held_it():
    # This module defines no registered class, and nothing else has handed the function to the library.
    assert one(restored(transformer(thirded)), 9)["transformed_data"] == 3


def test_what_a_constructor_has_registered_stays_whatever_the_data_say():
    routine = transformer("half")
    routine.register_transformation("half", halved)
    system = {"_type": "callable", "callable_type": "function", "module": "os", "name": "system"}
    routine.deserialize({"_registered": {"half": system}})
    assert one(routine, 8)["transformed_data"] == 4


def test_a_function_that_saved_data_may_not_bring_back_is_refused_and_nothing_changes():
    data = transformer("strip").serialize()
    system = {"_type": "callable", "callable_type": "function", "module": "os", "name": "system"}
    for change in (
        {"_config": {"transformations": [system]}},
        {"_config": {"transformation_map": {"x": system}}},
        {"_registered": {"x": system}},
        {"_registered": [1]},
        {"_registered": {"x": "strip"}},
        {"_config": {"transformations": [{"_type": "lambda_expression", "expression": 5}]}},
    ):
        routine = transformer("uppercase")
        before = routine.serialize()
        with pytest.raises(ValueError, match=r"system|saved callable|dict|text"):
            routine.deserialize({**data, **change})
        assert routine.serialize() == before


def test_a_saved_transformer_works_in_a_new_process():
    routine = transformer("strip", lambda text: text + "!", double)
    found = in_new_process(
        "import tests.registered, routilux.builtin_routines\n"
        "from tests.deliveries import one\n"
        "routine = routilux.builtin_routines.DataTransformer()\n"
        "routine.deserialize(given)\n"
        "result = one(routine, ' a ')",
        routine.serialize(),
    )
    assert found["transformed_data"] == "a!"
    assert found["transformation_applied"] == ["strip", "<lambda>"]
    assert found["errors"] is not None


def test_it_is_saved_and_restored_and_transforms_again():
    routine = transformer("strip", "half", lambda n: n + 1, "more", transformation_map={"half": halved})
    routine.register_transformation("more", lambda n: n * 10)
    deliveries = [{"data": 4}, {"data": 5, "transformations": ["more"]}, {"data": "a"}]
    found = run_restored(routine, *deliveries)
    assert found == heard(routine, *deliveries)
    assert [data["transformed_data"] for _, data in found] == [30.0, 50, "a" * 10]


def test_two_runs_at_once_do_not_see_each_other():
    gate = Gate()

    def slow(value: Any) -> Any:
        if value == "FIRST":
            gate.hold()
        return value

    one, other = two_runs_at_once(transformer("uppercase", slow, "to_int"), {"data": "first"}, {"data": "2"}, gate)
    assert (one["transformed_data"], one["transformation_applied"]) == ("FIRST", ["uppercase", "slow"])
    assert other == {"transformed_data": 2, "transformation_applied": ["uppercase", "slow", "to_int"], "errors": None}


def test_a_config_that_changes_while_a_value_is_transformed_counts_for_the_next_one():
    routine = transformer("change", "name", transformation_map={"name": "uppercase"})

    def change(value: Any) -> Any:
        routine.set_config(transformations=["name"], transformation_map={"name": "strip"})
        return value

    routine.register_transformation("change", change)
    assert one(routine, " a ")["transformed_data"] == " A "
    assert one(routine, " a ")["transformed_data"] == "a"


def test_of_two_transformations_that_are_registered_at_once_none_is_lost():
    routine = transformer("first", "second")
    register_two_at_once(routine.register_transformation, halved)
    assert one(routine, 8)["transformed_data"] == 2


# -- any value

FUNCTIONS: dict[str, Any] = {
    "lowercase": lambda v: v.lower() if type(v) is str else v,
    "uppercase": lambda v: v.upper() if type(v) is str else v,
    "strip": lambda v: v.strip() if type(v) is str else v,
    "strip_whitespace": lambda v: v.strip() if type(v) is str else v,
    "to_string": str,
    "to_int": int,
    "to_float": float,
    "remove_none": lambda v: [x for x in v if x is not None] if type(v) is list else v,
}


@given(
    st.none() | st.text() | st.integers() | st.floats(allow_nan=False) | st.lists(st.none() | st.integers()),
    st.lists(st.sampled_from([*FUNCTIONS, "unknown"]), max_size=5),
)
def test_any_value_comes_out_as_a_plain_loop_makes_it(value, wanted):
    routine = transformer(*wanted)
    given_data = {"it": value}
    seen = activate(routine, "input", **given_data)
    errors, applied = 0, []
    for name in wanted:
        try:
            value, applied = FUNCTIONS[name](value), [*applied, name]
        except (KeyError, ValueError, TypeError, OverflowError):
            errors += 1
    ((_, data),) = seen.emitted()
    assert data["transformed_data"] == value
    assert data["transformation_applied"] == applied
    assert len(data["errors"] or []) == errors
