"""A reader looks at every value before it is used."""

import math

import pytest

from routilux.plain import shortened
from routilux.saved import Reader


def reader(**data):
    return Reader(data, "a thing")


def deep():
    value = []
    for _ in range(20_000):
        value = [value]
    return value


@pytest.mark.parametrize("data", [None, [], "text", 5, deep(), [("a", 1)]], ids=shortened)
def test_only_a_dict_is_read(data):
    with pytest.raises(ValueError, match="saved form of a thing must be a dict"):
        Reader(data, "a thing")


@pytest.mark.parametrize("method", ["raw", "text", "number", "flag", "mapping", "items", "user_data", "dicts"])
def test_a_missing_value_is_named(method):
    with pytest.raises(ValueError, match="a thing: 'size' is missing"):
        getattr(reader(other=1), method)("size")


@pytest.mark.parametrize(
    ("method", "good", "bad"),
    [
        ("text", ["", "a", "\ud800\0"], [None, 1, b"a", ["a"], deep()]),
        ("number", [0, -1.5, math.inf, 10**300], [None, "1", True, [1], 10**400, deep()]),
        ("flag", [True, False], [None, 0, 1, "true", deep()]),
        ("mapping", [{}, {"a": deep}], [None, [], {1: 2}, {"a": 1, None: 2}, deep()]),
        ("items", [[], [deep], (1, 2)], [None, {}, "ab", 1]),
        ("dicts", [[], [{}], [{"a": [1]}]], [None, {}, [1], [{}, []]]),
    ],
    ids=shortened,
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(method, good, bad):
    for value in good:
        assert getattr(reader(size=value), method)("size") == (list(value) if isinstance(value, tuple) else value)
    for value in bad:
        with pytest.raises(ValueError, match="a thing: 'size' must be"):
            getattr(reader(size=value), method)("size")


def test_user_data_are_copied_and_never_interpreted():
    data = {"_type": "callable", "items": ({"_type": "JobState"},)}
    copy = reader(held=data).user_data("held")
    assert copy == {"_type": "callable", "items": [{"_type": "JobState"}]}
    assert copy is not data


def test_a_check_is_told_where_each_dict_stands():
    seen = []
    reader(parts=[{"a": 1}, {"a": 2}]).dicts("parts", lambda item, where: seen.append((item["a"], where)))
    assert seen == [(1, "a thing: parts[0]"), (2, "a thing: parts[1]")]


def test_what_is_there_and_not_none_is_had():
    found = reader(a=1, b=None)
    assert ["a" in found, "b" in found, "c" in found] == [True, True, False]
    assert [found.has("a"), found.has("b"), found.has("c")] == [True, False, False]
