"""What annotations say about the values that a function takes and returns."""

import typing
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Annotated, Any, Literal, TypedDict, TypeVar

import pytest

from routilux.annotations import NOTHING, UNKNOWN, VALUE, annotated_parameter, annotated_return

if typing.TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")


class Priced(TypedDict):
    item: str
    price: int


def returning(hint: Any, function: Callable[..., Any] | None = None) -> Any:
    """What an annotation says as the return annotation of a function."""
    function = function or (lambda: None)
    function.__annotations__["return"] = hint
    return annotated_return(function)


def generator_function() -> Any:
    yield


async def async_generator_function() -> Any:
    yield


@pytest.mark.parametrize(
    "hint",
    [int, str, "int", list[int], tuple, Counter[str], int | str, None | int, Annotated[int, "m"]],
)
def test_what_is_no_dict_is_a_value(hint):
    assert returning(hint) is VALUE


@pytest.mark.parametrize("hint", [dict, dict[str, int], dict[str, Any], dict | None, "dict[str, int]"])
def test_a_dict_has_names_that_nobody_lists(hint):
    assert (returning(hint).is_dict, returning(hint).keys) == (True, ())


@pytest.mark.parametrize("hint", [Priced, "Priced", Priced | None, Annotated[Priced, "at noon"]])
def test_a_typed_dict_lists_its_names(hint):
    assert (returning(hint).is_dict, returning(hint).keys) == (True, ("item", "price"))


@pytest.mark.parametrize("hint", [None, type(None), "None"])
def test_none_is_nothing(hint):
    assert returning(hint) is NOTHING


@pytest.mark.parametrize(
    "hint",
    [
        Any,
        object,
        Mapping[str, int],
        T,
        dict[int, str],
        "Decimal",
        "no python",
        Literal[1],
        dict | int,
        Priced | int,
        5,
    ],
)
def test_what_may_be_a_dict_or_not_says_nothing(hint):
    assert returning(hint) is UNKNOWN


def test_a_function_without_annotations_says_nothing():
    assert annotated_return(lambda: 1) is UNKNOWN
    assert annotated_return(max) is UNKNOWN
    assert annotated_parameter(lambda n: n, "n") is UNKNOWN


@pytest.mark.parametrize(
    "hint",
    [
        Iterator[int],
        Generator[int, None, None],
        typing.Iterator[int],
        AsyncIterator[int],
        AsyncGenerator[int, None],
        typing.AsyncIterator[int],
        Annotated[Iterator[int], "m"],
        Iterator[int] | None,
        Annotated[AsyncIterator[int] | None, "m"],
        Iterator[Annotated[int, "m"]],
        Iterator[int | None],
        Iterator[int] | Iterator[str],
        Iterator[int] | str,
        "typing.AsyncIterator[int]",
    ],
)
def test_of_a_generator_the_items_count(hint):
    assert returning(hint) is VALUE
    assert returning(hint, generator_function) is VALUE


@pytest.mark.parametrize(
    "hint",
    [Iterator[Priced], AsyncIterator[Priced], AsyncGenerator[Priced, None], Annotated[Iterator[Priced] | None, "m"]],
)
def test_the_items_of_a_generator_may_have_names(hint):
    assert returning(hint).keys == ("item", "price")


@pytest.mark.parametrize("hint", [Iterator, AsyncIterator, Iterator[int] | dict, AsyncIterator[dict] | int])
def test_of_a_generator_whose_items_may_be_anything_nothing_is_known(hint):
    assert returning(hint) is UNKNOWN


def test_items_that_are_generators_themselves_are_values():
    assert returning(Iterator[Iterator[Priced]]) is VALUE


@pytest.mark.parametrize(
    ("origin", "function"), [(Iterable, generator_function), (AsyncIterable, async_generator_function)]
)
def test_an_iterable_is_a_generator_where_the_function_is_one(origin, function):
    assert returning(origin[Priced], function).keys == ("item", "price")
    assert returning(Annotated[origin[Priced], "m"] | None, function).keys == ("item", "price")


def test_an_iterable_that_a_plain_function_returns_is_what_it_is():
    assert returning(Iterable[Priced]) is UNKNOWN
    assert returning(AsyncIterable[Priced]) is VALUE


def test_one_annotation_that_cannot_be_evaluated_hides_no_other():
    def function(amount: "Decimal", count: "int") -> "int": ...

    assert annotated_parameter(function, "amount") is UNKNOWN
    assert annotated_parameter(function, "count") is VALUE
    assert annotated_return(function) is VALUE
