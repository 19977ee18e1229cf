"""User data are copied as JSON has them, or refused with the path to what JSON cannot hold."""

import json
import math
import sys
import threading
from collections import OrderedDict, defaultdict
from enum import Enum, IntEnum, StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.plain import DEPTH_MAX, plain, plain_dict, shortened
from tests.drawings import in_thread

ANY_TEXT = st.text(st.characters(exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Kind(Enum):
    OLD = "old"


class Temperature(float):
    __slots__ = ()


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("no words")


def nested(depth, container):
    value = container()
    for _ in range(depth):
        value = [value] if container is list else {"a": value}
    return value


@given(JSON)
def test_whatever_json_can_hold_comes_back_equal(value):
    copy = plain(value, "value")
    assert json.dumps(copy) == json.dumps(value)
    assert json.dumps(json.loads(json.dumps(copy))) == json.dumps(value)


@given(JSON)
def test_a_copy_shares_nothing_that_can_change(value):
    def containers(item):
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        own = [id(item)] if isinstance(item, dict | list) else []
        return own + [each for part in inner for each in containers(part)]

    assert not set(containers(value)) & set(containers(plain(value, "value")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Temperature(1.5), 1.5),
        ({Colour.RED: 1}, {"red": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (True, True),
    ],
)
def test_relatives_of_json_types_become_json_types(value, expected):
    def kinds(item):
        inner = [*item, *item.values()] if isinstance(item, dict) else item if isinstance(item, list) else []
        return {type(item)}.union(*map(kinds, inner))

    copy = plain(value, "value")
    assert copy == expected
    assert kinds(copy) <= {dict, list, str, int, float, bool}


def test_numbers_that_are_none_are_kept():
    copy = plain([math.nan, math.inf, -math.inf, Temperature("nan")], "value")
    assert math.isnan(copy[0])
    assert copy[1:3] == [math.inf, -math.inf]
    assert math.isnan(copy[3])


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": {1, 2}}]}, "data['a'][1]['b']"),
        ({"a": b"bytes"}, "data['a']"),
        ({"a": (0, object())}, "data['a'][1]"),
        ({"a": Kind.OLD}, "data['a']"),
        ({"a": Unspeakable()}, "data['a']"),
        (len, "data"),
        ({"a": 1j}, "data['a']"),
        ({"a": {"b": 10**5000}}, "data['a']['b']"),
        ([-(10**5000)], "data[0]"),
    ],
    ids=shortened,
)
def test_what_json_cannot_hold_is_refused_with_the_path_to_it(value, path):
    with pytest.raises(TypeError) as raised:
        plain(value, "data")
    assert str(raised.value).startswith(f"{path} is ")


@pytest.mark.parametrize("key", [1, None, 1.5, True, ("a", "b"), b"a", Level.HIGH])
def test_a_key_that_is_not_text_is_refused_with_the_path_to_its_dict(key):
    with pytest.raises(TypeError, match=r"A key of data\['a'\]\[0\] is .*use str keys"):
        plain({"a": [{key: 1}]}, "data")


@pytest.mark.parametrize("container", [list, dict])
def test_data_are_copied_down_to_the_greatest_depth_and_no_deeper(container):
    deepest = nested(DEPTH_MAX, container)
    assert json.loads(json.dumps(plain(deepest, "data"))) == deepest
    with pytest.raises(TypeError, match="400 levels"):
        plain(nested(DEPTH_MAX + 1, container), "data")


@pytest.fixture
def soon_looked_at(monkeypatch):
    """So that a test need not copy a million values first."""
    monkeypatch.setattr("routilux.plain.VALUES_UNSEEN", 5_000)


def doubled(times, value, container):
    for _ in range(times):
        value = [value, value] if container is list else {"a": value, "b": value}
    return value


@pytest.mark.parametrize("container", [list, dict])
@pytest.mark.usefixtures("soon_looked_at")
def test_containers_that_stand_in_each_other_without_end_are_refused_with_the_path_to_them(container):
    inside = doubled(50, [1], container)
    with pytest.raises(TypeError, match=r"^data\['few'\]\[1\]\[.*holds the same containers again and again"):
        plain({"many": [[n] for n in range(20_000)], "few": [0, inside]}, "data")


@pytest.mark.usefixtures("soon_looked_at")
def test_a_wide_table_whose_rows_are_one_row_is_refused_before_it_is_written_out():
    row = [0] * 20_000
    with pytest.raises(TypeError, match=r"^data\['rows'\] holds the same containers"):
        plain({"rows": [row] * 20_000}, "data")


@pytest.mark.usefixtures("soon_looked_at")
@pytest.mark.parametrize("value", [doubled(12, [1], list), [list(range(100))] * 101])
def test_many_values_may_stand_in_few_containers(value):
    assert plain(value, "data") == value


@pytest.mark.usefixtures("soon_looked_at")
def test_any_number_of_values_that_are_there_may_be_copied(monkeypatch):
    monkeypatch.setattr("routilux.plain.VALUES_MAX", 5_000)
    value = [[n] * 10 for n in range(1_000)]
    assert plain(value, "data") == value


@pytest.mark.usefixtures("soon_looked_at")
def test_containers_that_hold_each_other_without_end_beside_a_knot_are_refused():
    knot = []
    knot.append(knot)
    with pytest.raises(TypeError, match=r"again and again|holds itself"):
        plain([doubled(50, [1], list), knot], "data")


def test_data_that_hold_themselves_are_refused():
    knot = {}
    knot["again"] = [knot]
    with pytest.raises(TypeError, match="holds itself"):
        plain(knot, "data")


def test_where_the_stack_ends_before_the_depth_does_the_error_is_the_same_kind():
    def from_far_below(frames):
        return from_far_below(frames - 1) if frames else plain(nested(300, list), "data")

    with pytest.raises(TypeError, match="data is nested too deeply"):
        from_far_below(sys.getrecursionlimit() - 300)


@pytest.mark.usefixtures("hasty_switching")
def test_a_dict_may_grow_while_it_is_copied():
    growing, stop = {}, threading.Event()
    copies = []

    def grow():
        while not stop.is_set():
            for number in range(200):
                growing[str(number)] = [number]
            growing.clear()

    join = in_thread(grow)
    try:
        while len(copies) < 300 or len({len(copy) for copy in copies}) < 20:
            copies.append(plain({"growing": growing}, "data")["growing"])
    finally:
        stop.set()
        join()
    for copy in copies:
        assert copy == {str(number): [number] for number in range(len(copy))}


def test_only_a_dict_is_a_plain_dict():
    assert plain_dict({"a": (1,)}, "data") == {"a": [1]}
    with pytest.raises(TypeError, match="data must be a dict, not \\[1\\]"):
        plain_dict([1], "data")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("abc", "'abc'"),
        ("x" * 10**6, "'" + "x" * 76 + "..."),
        (nested(5000, list), "<list>"),
        (10**5000, "<int>"),
        (Unspeakable(), "<Unspeakable>"),
    ],
    ids=shortened,
)
def test_anything_can_be_named_in_a_message(value, text):
    assert shortened(value) == text
