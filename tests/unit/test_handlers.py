"""How a handler is called follows from its signature, which is read once."""

# ruff: noqa: PLW0108 - the name of a lambda's parameter is what is tested

import asyncio
import functools
import inspect
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Flow, Routine, Slot
from tests.decorators import awaited_in_a_thread, hands_through, listed, run_by_asyncio

MERGED = {"alpha": 1, "beta": 2}


def call(handler: Any, data: dict[str, Any]) -> None:
    Slot("input", handler=handler).call_handler(data, propagate_exceptions=True)


def test_a_handler_that_takes_any_keyword_gets_every_value_by_name():
    seen: list[Any] = []
    call(lambda **kwargs: seen.append(kwargs), MERGED)
    assert seen == [MERGED]


def test_named_parameters_beside_any_keyword_are_filled_by_name():
    seen: list[Any] = []

    def handler(alpha: int, data: Any = None, **others: int) -> None:
        seen.append((alpha, data, others))

    call(handler, MERGED)
    assert seen == [(1, None, {"beta": 2})]


def test_one_parameter_called_data_gets_the_whole_dict():
    seen: list[Any] = []
    call(lambda data: seen.append(data), {"data": 5, "other": 6})
    assert seen == [{"data": 5, "other": 6}]


def test_one_keyword_only_parameter_called_data_gets_the_whole_dict():
    seen: list[Any] = []

    def handler(*, data: Any) -> None:
        seen.append(data)

    call(handler, {"data": 5})
    assert seen == [{"data": 5}]


def test_one_parameter_gets_the_value_of_its_name():
    seen: list[Any] = []
    call(lambda alpha: seen.append(alpha), MERGED)
    assert seen == [1]


def test_one_parameter_whose_name_is_missing_gets_the_whole_dict():
    seen: list[Any] = []
    call(lambda gamma: seen.append(gamma), MERGED)
    assert seen == [MERGED]


def test_one_parameter_with_a_default_counts_as_one_parameter():
    seen: list[Any] = []

    def handler(alpha: Any = "default") -> None:
        seen.append(alpha)

    call(handler, MERGED)
    call(handler, {"other": 0})
    assert seen == [1, {"other": 0}]


def test_several_parameters_get_those_that_are_there():
    seen: list[Any] = []

    def handler(alpha: int, beta: int, gamma: int = 9) -> None:
        seen.append((alpha, beta, gamma))

    call(handler, {**MERGED, "unknown": 4})
    assert seen == [(1, 2, 9)]


def test_several_parameters_of_which_none_matches_get_the_whole_dict_as_the_first():
    seen: list[Any] = []

    def handler(gamma: Any, delta: Any = None) -> None:
        seen.append((gamma, delta))

    call(handler, MERGED)
    assert seen == [(MERGED, None)]


def test_a_falsy_value_is_a_value_that_is_there():
    seen: list[Any] = []
    call(lambda alpha: seen.append(alpha), {"alpha": None})
    call(lambda alpha: seen.append(alpha), {"alpha": 0})
    assert seen == [None, 0]


def test_data_among_several_parameters_is_a_name_like_any_other():
    seen: list[Any] = []

    def handler(data: Any = None, limit: int = 3) -> None:
        seen.append((data, limit))

    call(handler, {"data": "text", "limit": 7})
    assert seen == [("text", 7)]


def test_keyword_only_parameters_are_filled_by_name():
    seen: list[Any] = []

    def handler(*, alpha: int, beta: int) -> None:
        seen.append((alpha, beta))

    call(handler, MERGED)
    assert seen == [(1, 2)]


def test_one_keyword_only_parameter_gets_its_value():
    seen: list[Any] = []

    def handler(*, alpha: int) -> None:
        seen.append(alpha)

    call(handler, MERGED)
    assert seen == [1]


def test_positional_only_parameters_are_filled_by_their_names():
    seen: list[Any] = []

    def handler(alpha: int, beta: int, /) -> None:
        seen.append((alpha, beta))

    def single(alpha: int, /) -> None:
        seen.append(alpha)

    call(handler, MERGED)
    call(single, MERGED)
    assert seen == [(1, 2), 1]


def test_a_handler_of_any_positionals_gets_the_whole_dict():
    seen: list[Any] = []
    call(lambda *args: seen.append(args), MERGED)
    assert seen == [(MERGED,)]


def test_any_positionals_and_keywords_get_keywords():
    seen: list[Any] = []
    call(lambda *args, **kwargs: seen.append((args, kwargs)), MERGED)
    assert seen == [((), MERGED)]


def test_a_handler_without_parameters_is_called_with_nothing():
    seen: list[Any] = []
    call(lambda: seen.append("called"), MERGED)
    assert seen == ["called"]


def test_a_partial_is_called_with_what_it_leaves_open():
    seen: list[Any] = []

    def handler(target: list[Any], alpha: int) -> None:
        target.append(alpha)

    call(functools.partial(handler, seen), MERGED)
    assert seen == [1]


def test_a_mock_may_be_a_handler_and_is_called_with_every_value_by_name():
    handler = Mock(return_value=None)
    Slot("input", handler=handler).receive({"a": 1, "b": 2})
    handler.assert_called_once_with(a=1, b=2)


def test_a_bound_method_is_called_without_its_self():
    class Keeper(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Any] = []
            self.define_slot("input", handler=self.take)

        def take(self, alpha: int) -> None:
            self.seen.append(alpha)

    keeper = Keeper()
    slot = keeper.get_slot("input")
    assert slot is not None
    slot.receive(MERGED)
    assert keeper.seen == [1]


def test_a_callable_object_is_called_as_its_call_method_asks():
    class Keeper:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def __call__(self, beta: int) -> None:
            self.seen.append(beta)

    keeper = Keeper()
    call(keeper, MERGED)
    assert keeper.seen == [2]


def test_a_builtin_gets_the_whole_dict():
    seen: list[Any] = []
    call(seen.append, MERGED)
    assert seen == [MERGED]


def test_a_class_may_be_a_handler():
    made: list[Any] = []

    class Kept:
        def __init__(self, alpha: int) -> None:
            made.append(alpha)

    call(Kept, MERGED)
    assert made == [1]


def test_a_decorated_handler_is_called_as_the_function_that_it_wraps():
    seen: list[Any] = []

    def handler(alpha: int) -> None:
        seen.append(alpha)

    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        handler(*args, **kwargs)

    call(wrapper, MERGED)
    assert seen == [1]


async def asynchronous(alpha: int, seen: Any = None) -> None:
    await asyncio.sleep(0)
    seen.append(alpha)


def plain(alpha: int, seen: Any = None) -> None:
    seen.append(alpha)


def generates(alpha: int, seen: Any = None) -> Any:
    seen.append(alpha)
    yield alpha


@pytest.mark.parametrize(
    ("decorator", "function"),
    [
        (run_by_asyncio, asynchronous),
        (hands_through, asynchronous),
        (awaited_in_a_thread, plain),
        (listed, generates),
        (lambda function: awaited_in_a_thread(listed(function)), generates),
    ],
)
def test_a_decorated_handler_is_what_its_decorator_has_made_of_it(decorator, function):
    seen: list[Any] = []
    routine = Routine()
    routine.define_slot("trigger", handler=decorator(function))
    with Flow() as flow:
        flow.add_routine(routine, "it")
        job_state = flow.run("it", {"alpha": 1, "seen": seen})
    assert (job_state.status, job_state.errors, seen) == ("completed", [], [1])


def test_a_handler_that_runs_a_coroutine_itself_needs_no_flow():
    seen: list[Any] = []
    call(run_by_asyncio(asynchronous), {"alpha": 1, "seen": seen})
    assert seen == [1]


def test_a_handler_that_hands_a_coroutine_through_says_without_a_flow_that_nothing_awaits_it():
    with pytest.raises(TypeError, match="Put its routine into a Flow"):
        call(hands_through(asynchronous), MERGED)


def test_a_handler_that_runs_a_coroutine_itself_may_be_entered_from_an_applications_loop():
    seen: list[Any] = []
    routine = Routine()
    routine.define_slot("trigger", handler=run_by_asyncio(asynchronous))

    async def main() -> None:
        async with Flow() as flow:
            flow.add_routine(routine, "it")
            await flow.wait_async(flow.execute("it", {"alpha": 1, "seen": seen}))

    asyncio.run(main())
    assert seen == [1]


def test_a_wrapper_that_wraps_itself_is_called_like_any_other():
    seen: list[Any] = []

    def handler(data: Any) -> None:
        seen.append(data)

    handler.__wrapped__ = handler
    call(handler, MERGED)
    assert seen == [MERGED]


def test_the_signature_is_read_when_the_slot_is_defined_and_not_when_it_is_called(monkeypatch):
    seen: list[Any] = []
    slot = Slot("input", handler=lambda alpha: seen.append(alpha))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a signature was read during a call")

    monkeypatch.setattr(inspect, "signature", refuse)
    for _ in range(3):
        slot.call_handler(MERGED, propagate_exceptions=True)
    assert seen == [1, 1, 1]


def test_a_handler_may_change_the_dict_that_it_gets():
    data = {"alpha": 1}
    call(lambda data: data.clear(), data)
    assert data == {"alpha": 1}


NAMES = st.sampled_from(["data", "alpha", "beta", "gamma", "delta"])


@given(
    named=st.lists(NAMES, unique=True, max_size=4),
    with_keywords=st.booleans(),
    merged=st.dictionaries(NAMES, st.integers(), max_size=5),
)
def test_any_signature_is_served_by_the_first_rule_that_fits(named, with_keywords, merged):
    seen: list[Any] = []
    missing = object()
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=missing) for n in named]
    if with_keywords:
        parameters.append(inspect.Parameter("others", inspect.Parameter.VAR_KEYWORD))

    class Handler:
        __signature__ = inspect.Signature(parameters)

        def __call__(self, *args: Any, **kwargs: Any) -> None:
            bound = self.__signature__.bind(*args, **kwargs)
            seen.append({k: v for k, v in bound.arguments.items() if k != "others"} | bound.arguments.get("others", {}))

    call(Handler(), merged)
    if with_keywords:
        expected = merged
    elif not named:
        expected = {}
    elif named == ["data"]:
        expected = {"data": merged}
    elif len(named) == 1:
        expected = {named[0]: merged.get(named[0], merged)}
    else:
        present = {name: merged[name] for name in named if name in merged}
        expected = present or {named[0]: merged}
    assert seen == [expected]
