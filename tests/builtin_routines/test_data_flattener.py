"""DataFlattener: what it promises, for every kind of value."""

import collections
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serilux import Serializable

from routilux.builtin_routines import DataFlattener
from tests.deliveries import (
    ODD_VALUES,
    answer,
    deliver,
    heard,
    one,
    run_restored,
    shared_without_end,
    two_runs_at_once,
)
from tests.drawings import Gate


def flattener(**config: Any) -> DataFlattener:
    routine = DataFlattener()
    routine.set_config(**config)
    return routine


def flat(value: Any, **config: Any) -> dict[str, Any]:
    found: dict[str, Any] = one(flattener(**config), value)["flattened_data"]
    return found


# -- the contract


def test_the_defaults_are_in_the_config_and_slot_and_event_are_attributes():
    routine = DataFlattener()
    assert routine.config() == {"separator": ".", "preserve_lists": True, "max_depth": 100}
    assert routine.input_slot is routine.get_slot("input")
    assert routine.output_event is routine.get_event("output")


def test_keys_and_indexes_become_parts_of_keys_in_their_order():
    data = {"a": {"b": [1, {"c": 2}], "d": "x"}, "e": None}
    assert list(flat(data).items()) == [("a.b.0", 1), ("a.b.1.c", 2), ("a.d", "x"), ("e", None)]
    assert flat([[1], {"a": 2}]) == {"0.0": 1, "1.a": 2}
    assert flat((1, (2,))) == {"0": 1, "1.0": 2}


def test_the_separator_is_the_configured_one():
    assert flat({"a": {"b": [1]}}, separator="/") == {"a/b/0": 1}


def test_without_preserve_lists_items_share_the_key_and_later_ones_overwrite():
    assert flat({"a": [1, 2], "b": [{"c": 1}, {"d": 2}, {"c": 3}]}, preserve_lists=False) == {
        "a": 2,
        "b.c": 3,
        "b.d": 2,
    }
    assert flat([1, 2], preserve_lists=False) == {"value": 2}


@pytest.mark.parametrize("value", [1, "x", 2.5, True, b"x", {1, 2}], ids=repr)
def test_a_value_that_is_no_container_stands_under_value(value):
    found = one(flattener(), value)
    assert found == {"flattened_data": {"value": value}, "original_type": type(value).__name__, "depth": 0}


@pytest.mark.parametrize("value", [{}, [], (), {"a": {}}, [[], {}]], ids=repr)
def test_empty_containers_vanish(value):
    assert one(flattener(), value)["flattened_data"] == {}


def test_the_original_type_is_dict_list_or_the_name_of_the_type():
    types = [one(flattener(), value)["original_type"] for value in ({"a": 1}, [1], (1,), collections.OrderedDict(a=1))]
    assert types == ["dict", "list", "tuple", "dict"]


def test_the_depth_is_the_number_of_containers_around_the_innermost_value():
    depths = [one(flattener(), value)["depth"] for value in (1, {}, {"a": 1}, {"a": [{"b": 1}], "c": 2}, {"a": {}})]
    assert depths == [0, 0, 1, 3, 0]


def test_a_container_inside_max_depth_others_becomes_its_text():
    data = {"a": {"b": {"c": 1}}, "d": 2}
    assert flat(data, max_depth=2) == {"a.b": "{'c': 1}", "d": 2}
    assert flat(data, max_depth=3) == {"a.b.c": 1, "d": 2}
    assert flat(data, max_depth=0) == {"value": str(data)}
    assert one(flattener(max_depth=2), data)["depth"] == 2


def test_a_container_that_holds_itself_is_marked_and_one_that_stands_twice_is_not():
    data: dict[str, Any] = {"a": 1}
    data["self"] = data
    items: list[Any] = [data]
    items.append(items)
    assert flat(items) == {"0.a": 1, "0.self": "[Circular Reference]", "1": "[Circular Reference]"}
    twice = {"x": 1}
    assert flat([twice, twice]) == {"0.x": 1, "1.x": 1}


class Saved(Serializable):
    def __init__(self, saved: Any) -> None:
        super().__init__()
        self.saved = saved

    def serialize(self, **_: Any) -> Any:
        if isinstance(self.saved, Exception):
            raise self.saved
        return self.saved


def test_a_serializable_is_flattened_as_it_is_saved():
    assert flat(Saved({"_type": "Saved", "n": [1]})) == {"_type": "Saved", "n.0": 1}
    assert one(flattener(), Saved({"a": 1}))["original_type"] == "Saved"
    assert flat({"x": [Saved({"a": 1})]}) == {"x.0.a": 1}


def test_a_serializable_that_holds_itself_is_marked():
    value = Saved({})
    value.saved = {"me": value}
    assert flat(value) == {"me": "[Circular Reference]"}


def test_the_input_is_data_or_the_only_value_or_everything():
    routine = flattener()
    heard_data = [data["flattened_data"] for _, data in heard(routine, {"x": {"a": 1}}, {"x": 1, "y": [2]}, {})]
    assert heard_data == [{"a": 1}, {"x": 1, "y.0": 2}, {}]
    assert heard(flattener(), {"self": 1, "other": 2})[0][1]["flattened_data"] == {"self": 1, "other": 2}


# -- bad input


class Mute:
    def __str__(self) -> str:
        raise ValueError("mute")

    __repr__ = __str__


class Unreadable(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise ValueError("unreadable")


def test_nesting_beyond_every_limit_is_no_recursion_error():
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    found = flat(deep)
    assert list(found) == [".".join(["0"] * 100)]
    assert isinstance(found[".".join(["0"] * 100)], str)
    assert flat(deep, max_depth=10**9) == {".".join(["0"] * 100_000): 1}


def test_keys_of_any_kind_become_text_and_the_later_of_two_that_come_out_the_same_wins():
    mute = Mute()
    assert flat({1: "a", None: "b", (1, 2): "c", math.nan: "d", mute: "e"}) == {
        "1": "a",
        "None": "b",
        "(1, 2)": "c",
        "nan": "d",
        "<Mute>": "e",
    }
    assert flat({1: "a", "1": "b", "": {"": 3}}) == {"1": "b", ".": 3}


def test_what_cannot_be_read_becomes_the_name_of_its_type():
    assert flat({"a": Unreadable(a=1), "b": Saved(ValueError("no"))}) == {"a": "{'a': 1}", "b": "<Saved>"}
    assert flat({"a": [Mute()]}, max_depth=1) == {"a": "<list>"}
    mute = Mute()
    assert flat([mute]) == {"0": mute}


@pytest.mark.parametrize("max_depth", ["deep", None, 2.5])
def test_a_max_depth_that_is_no_whole_number_is_an_error_that_says_so(max_depth):
    with pytest.raises(TypeError, match="max_depth"):
        deliver(flattener(max_depth=max_depth), data=1)


@pytest.mark.parametrize("preserve_lists", [True, False])
def test_containers_that_share_their_parts_are_an_error_before_they_take_all_memory(monkeypatch, preserve_lists):
    monkeypatch.setattr("routilux.builtin_routines.data_processing.data_flattener.REPEATED_MAX", 10_000)
    with pytest.raises(ValueError, match="in several places"):
        deliver(flattener(preserve_lists=preserve_lists), data=shared_without_end())
    shared = dict.fromkeys(range(100), 0)
    assert len(flat([shared] * 101)) == 10_100
    with pytest.raises(ValueError, match="in several places"):
        deliver(flattener(), data=[shared] * 102)
    assert len(flat([dict(shared) for _ in range(200)])) == 20_000


def test_the_text_of_what_is_too_deep_does_not_take_all_memory():
    assert flat({"a": [shared_without_end()]}, max_depth=2) == {"a.0": "<list>"}


def test_none_is_a_value_and_nothing_at_all_is_an_empty_dict():
    assert answer(flattener(), data=None) == {
        "flattened_data": {"value": None},
        "original_type": "NoneType",
        "depth": 0,
    }
    assert answer(flattener()) == {"flattened_data": {}, "original_type": "dict", "depth": 0}


def test_values_of_every_kind_are_flattened():
    for value in ODD_VALUES.values():
        assert isinstance(flat([value]), dict)
        assert isinstance(flat({"a": value}), dict)


# -- saved, and at once


def test_it_is_saved_and_restored_and_flattens_again():
    routine, value = flattener(separator="/", preserve_lists=False), {"a": {"b": [1, 2]}}
    ((_, got),) = run_restored(routine, {"data": value})
    assert got["flattened_data"] == {"a/b": 2}
    assert got == one(routine, value)


def test_two_runs_at_once_do_not_see_each_other():
    gate = Gate()

    class Held(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            gate.hold()
            return super().items()

    routine, shared = flattener(), [2]
    first, second = two_runs_at_once(routine, {"data": Held(x=shared, y=[3])}, {"data": [[shared]]}, gate)
    assert (first["flattened_data"], first["depth"]) == ({"x.0": 2, "y.0": 3}, 2)
    assert (second["flattened_data"], second["depth"]) == ({"0.0.0": 2}, 3)


def test_a_config_that_changes_while_a_delivery_is_flattened_counts_for_the_next_one():
    routine = flattener()

    class Changing(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            routine.set_config(separator="/", preserve_lists=False, max_depth=0)
            return super().items()

    assert one(routine, Changing(a=[[1]]))["flattened_data"] == {"a.0.0": 1}
    assert one(routine, [1])["flattened_data"] == {"value": "[1]"}


# -- any value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner),
    max_leaves=15,
)


def model(value: Any, separator: str, keeps: bool, limit: int) -> tuple[dict[str, Any], int]:
    """The same, by recursion."""
    found: dict[str, Any] = {}
    depths = [0]

    def visit(value: Any, parts: list[str], depth: int) -> None:
        if isinstance(value, dict | list) and not value:
            return
        if isinstance(value, dict | list) and depth < limit:
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                is_part = isinstance(value, dict) or keeps
                visit(item, [*parts, str(key)] if is_part else parts, depth + 1)
            return
        depths.append(depth)
        found[separator.join(parts) if parts else "value"] = str(value) if isinstance(value, dict | list) else value

    visit(value, [], 0)
    return found, max(depths)


@given(VALUES, st.sampled_from([".", "", "::"]), st.booleans(), st.integers(0, 5))
def test_any_value_is_flattened_as_a_plain_recursion_does_it(value, separator, keeps, limit):
    found = one(flattener(separator=separator, preserve_lists=keeps, max_depth=limit), [value])
    flat_data, depth = model([value], separator, keeps, limit)
    assert list(found["flattened_data"].items()) == list(flat_data.items())
    assert found["depth"] == depth
