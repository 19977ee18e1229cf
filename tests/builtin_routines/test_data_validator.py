"""DataValidator: what it promises, for every kind of value."""

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.builtin_routines import DataValidator
from tests.decorators import hands_through, listed, run_by_asyncio
from tests.deliveries import (
    ODD_VALUES,
    heard,
    in_new_process,
    register_two_at_once,
    restored,
    run_restored,
    two_runs_at_once,
)
from tests.drawings import Gate


def validator(rules: Any = None, **config: Any) -> DataValidator:
    routine = DataValidator()
    routine.set_config(rules=rules or {}, **config)
    return routine


def errors(routine: DataValidator, value: Any) -> list[str]:
    """What it says against a value; nothing, where it emits `valid` with that very value."""
    ((event, data),) = heard(routine, {"data": value})
    if event == "valid":
        assert list(data) == ["validated_data"]
        assert data["validated_data"] is value
        return []
    assert event == "invalid"
    assert set(data) == {"errors", "data"}
    assert data["data"] is value
    found: list[str] = data["errors"]
    assert found
    return found


def is_even(value: Any) -> bool:
    return bool(value % 2 == 0)


# -- the contract


def test_the_defaults_are_in_the_config_and_slot_and_events_are_attributes():
    routine = DataValidator()
    assert routine.config() == {"rules": {}, "strict_mode": False, "required_fields": [], "allow_extra_fields": True}
    assert routine.input_slot is routine.get_slot("input")
    assert routine.valid_event is routine.get_event("valid")
    assert routine.invalid_event is routine.get_event("invalid")


NAN = float("nan")
BUILT_IN = [
    ("not_empty", ["x", [0], {"a": 1}, 0, False, 0.0], ["", [], {}, (), set()]),
    ("is_string", ["", "x"], [1, b"x", ["x"]]),
    ("is_int", [0, -5, 10**50], [True, 1.0, "1"]),
    ("is_float", [0.0, NAN], [1, "1.0"]),
    ("is_number", [0, 1.5, NAN], [False, "1", 1j]),
    ("is_dict", [{}], [[], "x"]),
    ("is_list", [[]], [(), {}]),
    ("is_positive", [1, 0.5, float("inf")], [0, -1, NAN, True, "1"]),
    ("is_non_negative", [0, 0.0, 1], [-1, NAN, False, "1"]),
]


@pytest.mark.parametrize(("name", "good", "bad"), BUILT_IN, ids=[name for name, _, _ in BUILT_IN])
def test_the_names_mean_what_they_say(name, good, bad):
    routine = validator({"items": name})
    assert errors(routine, good) == []
    bad = [*bad, None]
    assert errors(routine, bad) == [f"Field 'items[{index}]' failed validation" for index in range(len(bad))]


def test_without_rules_everything_is_valid():
    for value in ({}, {"a": 1}, [1], "x", 5):
        assert errors(validator(), value) == []


def test_a_dict_is_checked_for_required_fields_then_by_rules_then_for_other_fields():
    routine = validator(
        {"a": "is_int", "b": "is_string", "absent": "is_int"}, required_fields=["c", "d"], allow_extra_fields=False
    )
    assert errors(routine, {"z": 1, "a": "x", "d": None, "b": "x"}) == [
        "Required field 'c' is missing",
        "Field 'a' failed validation",
        "Unexpected field 'z'",
    ]
    assert errors(routine, {"a": 1, "c": 1, "d": 2}) == []


def test_required_fields_may_be_anything_that_can_be_listed_and_are_saved_as_a_list():
    for fields in (["a", "b"], ("a", "b"), {"a": 1, "b": 2}.keys(), (name for name in "ab")):
        routine = validator(required_fields=fields)
        assert errors(restored(routine), {}) == errors(routine, {}) == errors(routine, {})
        assert len(errors(routine, {})) == 2
    assert errors(validator(required_fields="ab"), {}) == ["Required field 'ab' is missing"]
    routine = validator({"a": "is_int"})
    with pytest.raises(TypeError, match="required_fields"):
        routine.set_config(required_fields=5, rules={})
    assert routine.get_config("rules") == {"a": "is_int"}


def test_a_rule_of_a_field_that_is_not_there_says_nothing():
    assert errors(validator({"a": "is_int"}), {"b": 1}) == []


def test_items_of_lists_and_tuples_are_checked_by_the_rule_items():
    routine = validator({"items": "is_int"}, required_fields=["a"], allow_extra_fields=False)
    assert errors(routine, [1, "x", 2, None]) == [
        "Field 'items[1]' failed validation",
        "Field 'items[3]' failed validation",
    ]
    assert errors(routine, (1, 2)) == []
    assert errors(validator({"value": "is_string"}), [1]) == []


def test_anything_else_is_checked_by_the_rule_value():
    assert errors(validator({"value": "is_int"}), "x") == ["Field 'value' failed validation"]
    assert errors(validator({"value": "is_int"}), 5) == []
    assert errors(validator({"items": "is_string"}), 5) == []


def test_a_function_answers_with_a_bool_or_with_a_bool_and_a_message():
    rules = {"a": is_even, "b": lambda value: (value > 5, "too small"), "c": lambda value: (True, "not told"),
             "d": lambda value: (value > 5, None)}  # fmt: skip
    assert errors(validator(rules), {"a": 1, "b": 1, "c": 1, "d": 1}) == [
        "Field 'a' failed validation",
        "Field 'b' failed validation: too small",
        "Field 'd' failed validation",
    ]
    assert errors(validator(rules), {"a": 2, "b": 6, "c": 1, "d": 6}) == []


def test_a_rule_may_be_a_list_of_validators():
    routine = validator({"a": ["is_int", is_even, "is_positive"]})
    assert errors(routine, {"a": -1}) == ["Field 'a' failed validation"] * 2
    assert errors(routine, {"a": 2}) == []


def test_registered_validators_are_known_and_come_before_the_built_in_ones():
    routine = validator({"a": "even", "b": "is_int"})
    routine.register_validator("even", is_even)
    routine.register_validator("is_int", lambda value: value == "int")
    assert errors(routine, {"a": 1, "b": "int"}) == ["Field 'a' failed validation"]
    assert errors(validator({"b": "is_int"}), {"b": 1}) == []


def test_strict_mode_stops_at_the_first_error_and_checks_no_further():
    asked = []
    rules = {"a": "is_int", "b": asked.append}
    routine = validator(rules, strict_mode=True, allow_extra_fields=False)
    assert errors(routine, {"a": "x", "b": 1, "z": 1}) == ["Field 'a' failed validation"]
    assert asked == []
    assert errors(validator({}, strict_mode=True), {"z": 1}) == []


# -- bad input


class Odd:
    def __eq__(self, other: object) -> bool:
        raise ValueError("no")

    def __hash__(self) -> int:
        return hash("a")

    def __str__(self) -> str:
        raise ValueError("mute")

    __repr__ = __str__
    __bool__ = __str__  # type: ignore[assignment]


class Unreadable(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise ValueError("unreadable")

    def keys(self) -> Any:
        raise ValueError("unreadable")


class Spoilt(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise ValueError("spoilt")


def test_a_validator_that_raises_or_answers_neither_true_nor_false_is_an_error_of_its_field():
    rules = {
        "a": lambda value: value["x"],
        "b": lambda value: Odd(),
        "c": lambda value: (True, "a", "b"),
        "d": lambda value: None,
        "e": lambda value: (False, Odd()),
    }
    assert errors(validator(rules), dict.fromkeys("abcde", 1)) == [
        "Field 'a' failed validation: TypeError: 'int' object is not subscriptable",
        "Field 'b' failed validation: ValueError: mute",
        "Field 'c' failed validation: ValueError: too many values to unpack (expected 2)",
        "Field 'd' failed validation",
        "Field 'e' failed validation: <Odd>",
    ]


def test_what_is_no_validator_is_an_error_of_its_field():
    assert errors(validator({"a": "is_odd", "b": 5, "c": [{"x": 1}]}), {"a": 1, "b": 1, "c": 1}) == [
        "Field 'a' failed validation: unknown validator 'is_odd'",
        "Field 'b' failed validation: unknown validator 5",
        "Field 'c' failed validation: unknown validator {'x': 1}",
    ]


def test_keys_and_fields_of_any_kind_are_compared_or_are_not_there():
    odd = Odd()
    routine = validator({1: "is_int", None: "is_int"}, required_fields=["a", ["x"], 2], allow_extra_fields=False)
    assert errors(routine, {odd: 1, 1: "x", None: 1}) == [
        "Required field 'a' is missing",
        "Required field '['x']' is missing",
        "Required field '2' is missing",
        "Field '1' failed validation",
        "Unexpected field '<Odd>'",
    ]
    assert errors(validator(required_fields="name"), {"n": 1}) == ["Required field 'name' is missing"]


def test_data_that_cannot_be_read_are_invalid():
    (error,) = errors(validator({"a": "is_int"}), Spoilt([1]))
    assert "cannot be read" in error
    assert errors(validator({"items": "not_empty"}), [Spoilt([1])]) == []
    assert errors(validator({"a": "is_int"}), Unreadable(a="x"))


def test_data_that_hold_themselves_or_are_nested_deeply_are_just_data():
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["a"] = circle
    assert errors(validator({"items": "is_list"}), deep) == []
    assert errors(validator({"a": "is_dict"}), circle) == []


async def later(value: Any) -> bool:
    return False


def each_in_turn(value: Any) -> Any:
    yield False


class Awaited:
    async def __call__(self, value: Any) -> bool:
        return False


@pytest.mark.parametrize("bad", [later, each_in_turn, Awaited(), functools.partial(later, 1)], ids=repr)
def test_a_validator_whose_call_would_run_nothing_is_refused_where_it_is_given(bad):
    routine = validator({"a": "is_int"})
    for rules in ({"a": bad}, {"a": ["is_int", bad]}):
        with pytest.raises(TypeError, match=r"rules\['a'\].* is (`async def`|a generator function)"):
            routine.set_config(rules=rules)
    with pytest.raises(TypeError, match=r"validator 'x' is (`async def`|a generator function)"):
        routine.register_validator("x", bad)
    assert routine.get_config("rules") == {"a": "is_int"}


@pytest.mark.parametrize("decorated", [run_by_asyncio(later), listed(each_in_turn)])
def test_a_decorated_validator_is_what_its_decorator_has_made_of_it(decorated):
    routine = validator({"value": decorated})
    routine.register_validator("x", decorated)
    assert len(errors(routine, 1)) == (decorated(1) is False)


def test_a_decorator_that_hands_a_generator_through_does_not_pass():
    (error,) = errors(validator({"value": hands_through(each_in_turn)}), 1)
    assert "none of whose lines have run" in error


def test_what_would_have_to_be_awaited_does_not_pass():
    (error,) = errors(validator({"value": lambda value: later([value])}), 1)
    assert "to await" in error


def test_none_is_a_value_and_nothing_at_all_is_an_empty_dict():
    routine = validator({"value": "not_empty"}, required_fields=["a"])
    assert heard(routine, {"data": None}, {}) == [
        ("invalid", {"errors": ["Field 'value' failed validation"], "data": None}),
        ("invalid", {"errors": ["Required field 'a' is missing"], "data": {}}),
    ]


def test_values_of_every_kind_are_valid_or_not():
    for value in ODD_VALUES.values():
        for name, _, _ in BUILT_IN:
            errors(validator({"value": name, "items": name, "a": name}), value)


def test_rules_that_are_no_dict_are_refused_and_nothing_is_set():
    routine = validator({"a": "is_int"})
    with pytest.raises(TypeError, match=r"rules .* must be a dict"):
        routine.set_config(strict_mode=True, rules=["is_int"])
    assert routine.get_config("strict_mode") is False
    with pytest.raises(ValueError, match="saved form"):
        routine.set_config(rules={"a": {"_type": "lambda_expression", "expression": "1"}})


# -- saved, and at once


def test_functions_of_the_rules_and_registered_ones_survive_json():
    rules = {"a": is_even, "b": ["is_int", lambda n: (n > 5, "small")], "c": "even", "d": "positive"}
    routine = validator(rules, required_fields=["x"])
    routine.register_validator("even", is_even)
    routine.register_validator("positive", lambda n: n > 0)
    value = {"a": 1, "b": 2, "c": 3, "d": -4}
    copy = restored(routine)
    assert errors(copy, value) == errors(routine, value)
    assert len(errors(copy, value)) == 5
    assert restored(copy).serialize() == copy.serialize()


def test_a_function_of_the_rules_that_cannot_be_saved_is_refused_by_its_place():
    limit = 3
    routine = validator({"a": ["is_int", lambda n: n > limit]})
    with pytest.raises(ValueError, match=r"rules\['a'\]\[1\] of .* cannot be saved"):
        routine.serialize()


def test_a_registered_function_that_cannot_be_saved_is_left_out_and_then_unknown():
    limit = 3
    routine = validator({"a": "big"})
    routine.register_validator("big", lambda n: n > limit)
    assert errors(restored(routine), {"a": 5}) == ["Field 'a' failed validation: unknown validator 'big'"]


def test_a_function_that_saved_data_may_not_bring_back_is_refused_by_its_place():
    system = {"_type": "callable", "callable_type": "function", "module": "os", "name": "system"}
    for rules in ({"a": system}, {"a": ["is_int", system]}):
        with pytest.raises(ValueError, match=r"rules\['a'\].* os\.system"):
            DataValidator().deserialize({"_config": {"rules": rules}})


def test_a_saved_validator_works_in_a_new_process():
    found = in_new_process(
        "import routilux.builtin_routines\n"
        "from tests.deliveries import heard\n"
        "routine = routilux.builtin_routines.DataValidator()\n"
        "routine.deserialize(given)\n"
        "result = heard(routine, {'data': {'n': 1}}, {'data': {'n': 9}})",
        validator({"n": lambda count: (count > 5, "small")}).serialize(),
    )
    assert [event for event, _ in found] == ["invalid", "valid"]
    assert found[0][1]["errors"] == ["Field 'n' failed validation: small"]


def test_it_is_saved_and_restored_and_validates_again():
    routine = validator({"n": ["is_int", is_even, "small"], "items": "is_int"}, required_fields=["n"])
    routine.register_validator("small", lambda n: (n < 10, "large"))
    deliveries = [{"data": value} for value in ({"n": 2}, {"n": 11}, {}, [1, "x"])]
    found = run_restored(routine, *deliveries)
    assert found == heard(routine, *deliveries)
    assert [event for event, _ in found] == ["valid", "invalid", "invalid", "invalid"]


def test_two_runs_at_once_do_not_see_each_other():
    gate = Gate()

    def slow(value: Any) -> bool:
        if value == "first":
            gate.hold()
        return bool(value == 2)

    routine = validator({"value": [slow, "is_int"]})
    first, second = two_runs_at_once(routine, {"data": "first"}, {"data": 2}, gate)
    assert first == {"errors": ["Field 'value' failed validation"] * 2, "data": "first"}
    assert second == {"validated_data": 2}


def test_a_config_that_changes_while_a_value_is_checked_counts_for_the_next_one():
    routine = validator(allow_extra_fields=False)

    def change(value: Any) -> bool:
        routine.set_config(strict_mode=True, required_fields=["z"], allow_extra_fields=True, rules={})
        return False

    routine.set_config(rules={"a": change})
    assert errors(routine, {"a": 1, "b": 1}) == ["Field 'a' failed validation", "Unexpected field 'b'"]
    assert errors(routine, {"a": 1, "b": 1}) == ["Required field 'z' is missing"]


def test_of_two_validators_that_are_registered_at_once_none_is_lost():
    routine = validator({"value": ["first", "second"]})
    register_two_at_once(routine.register_validator, is_even)
    assert errors(routine, 5) == ["Field 'value' failed validation"] * 2


# -- any value

NAMES = st.sampled_from(["a", "b", "c", "d"])
KINDS: dict[str, Any] = {"is_string": str, "is_list": list, "is_dict": dict, "is_float": float}


@given(
    st.dictionaries(NAMES, st.none() | st.text() | st.floats() | st.just([]) | st.just({})),
    st.dictionaries(NAMES, st.sampled_from(list(KINDS))),
    st.lists(NAMES, unique=True),
    st.booleans(),
    st.booleans(),
)
def test_any_dict_is_judged_as_plain_loops_judge_it(value, rules, required, is_open, is_strict):
    expected = [f"Required field '{each}' is missing" for each in required if each not in value]
    for field, name in rules.items():
        if field in value and type(value[field]) is not KINDS[name]:
            expected.append(f"Field '{field}' failed validation")
    if not is_open:
        expected += [f"Unexpected field '{each}'" for each in value if each not in rules and each not in required]
    routine = validator(rules, required_fields=required, allow_extra_fields=is_open, strict_mode=is_strict)
    assert errors(routine, value) == (expected[:1] if is_strict else expected)
