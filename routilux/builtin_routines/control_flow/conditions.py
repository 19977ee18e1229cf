"""Conditions of routes: what they may be, and whether data meet one.

They stand apart from the router: functions beside a registered class may be named by saved data, and these call what
they are given.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from routilux.builtin_routines.plain_functions import answer_of
from routilux.builtin_routines.saved_functions import checked_functions, saved_functions
from routilux.errors import ExpressionError, InvalidTypeError, InvalidValueError, NotPlainError, text_of
from routilux.expressions import Expression
from routilux.plain import pairs_of, plain, shortened

__all__ = ["LEVELS", "Matcher", "check_condition", "matcher_of", "read_condition", "saved_condition"]

logger = logging.getLogger(__name__)

# What a condition may ask for by name.
NAMES = ("data", "config", "stats")

# A condition is a function, or a dict with functions in it.
LEVELS = 1

# Where a condition stands in the data of its router: below the config, the list of routes and its pair.
_DEPTH = 3

Matcher = Callable[[Any, dict[str, Any], dict[str, Any]], bool]


def check_condition(condition: Any, owner: Any, place: str) -> None:
    """Refuse what is no condition, now and by name; functions in it may come back from saved data from now on.

    Raises:
        ExpressionError: A text that is no expression, or goes further than one may.
        InvalidTypeError: Not a text, dict or function; or a function that is `async def`, a generator function, or one
            whose parameters nothing is known for.
        InvalidValueError: It holds the saved form of a function.
    """
    read_condition(condition, owner, place)
    if isinstance(condition, str):
        try:
            Expression(condition, NAMES)
        except ExpressionError as error:
            raise ExpressionError(f"{place} of {owner!r} cannot be: {error}") from error
    checked_functions(condition, owner, place, LEVELS)
    if callable(condition):
        _check_parameters(condition, f"{place} of {owner!r}")


def _check_parameters(function: Callable[..., Any], where: str) -> None:
    """Refuse a function that could never be called: three parameters and more get what they are called."""
    try:
        asked = _asked(list(inspect.signature(function).parameters.values()))
    except (TypeError, ValueError):
        return
    unknown = [each.name for each in asked if each.name not in NAMES]
    if len(asked) > 2 and unknown:
        raise InvalidTypeError(
            f"{where} has {len(asked)} parameters, {', '.join(each.name for each in asked)}: where there are more than "
            f"two, each gets what it is called, and nothing is called {' or '.join(unknown)}. Name them data, config "
            "and stats, or give the others defaults."
        )


def read_condition(condition: Any, owner: Any, place: str) -> None:
    """Refuse what cannot be a condition, without parsing anything.

    Raises:
        InvalidTypeError: Not a text, dict or function.
    """
    if not isinstance(condition, str | dict) and not callable(condition):
        raise InvalidTypeError(
            f"{place} of {owner!r} must be a text, a dict or a function, not {shortened(condition)}."
        )


def saved_condition(condition: Any, owner: Any, place: str) -> Any:
    """A condition as data, which hold for the same values when they are restored.

    Raises:
        InvalidValueError: It cannot be saved; the message names the route, what it is and what to do.
    """
    saved = saved_functions(condition, owner, place, LEVELS)
    try:
        copy = plain(saved, "the condition", _DEPTH)
    except NotPlainError as error:
        raise InvalidValueError(f"{place} of {owner!r} cannot be saved: {error}") from error
    where = _tuple_in(saved, "the condition")
    if where:
        # Data with that tuple would meet the condition until it is saved, and no more when it is restored.
        raise InvalidValueError(
            f"{place} of {owner!r} cannot be saved: {where} is a tuple, which comes back as a list and is not equal "
            "to a tuple any more. Use a list if the data have one, or a function that compares."
        )
    return copy


def _tuple_in(value: Any, path: str) -> str:
    """Where the first tuple stands; empty where there is none. Not for data that hold themselves."""
    waiting, met = [(value, path)], set()
    while waiting:
        each, where = waiting.pop()
        if isinstance(each, tuple):
            return where
        if isinstance(each, dict | list) and id(each) not in met:
            met.add(id(each))
            items = pairs_of(each) if isinstance(each, dict) else enumerate(each)
            waiting += [(item, f"{where}[{shortened(key)}]") for key, item in items]
    return ""


# -- asking them


def matcher_of(condition: Any, where: str) -> Matcher:
    """A function of (data, config, stats) that says whether a condition holds. One that fails does not hold."""
    ask = _question(condition)

    def matches(data: Any, config: dict[str, Any], stats: dict[str, Any]) -> bool:
        try:
            # A result that is neither true nor false raises here, as an array of many does.
            return bool(answer_of(ask, data, config, stats))
        except ExpressionError as error:
            logger.warning("%s does not match: %s", where, text_of(error))
        except Exception as error:  # noqa: BLE001 - a condition of the application
            logger.debug("%s does not match: it raised %s: %s", where, type(error).__name__, text_of(error))
        return False

    return matches


def _question(condition: Any) -> Callable[[Any, dict[str, Any], dict[str, Any]], Any]:
    if isinstance(condition, str):
        return Expression(condition, NAMES, checks_now=False)  # checked where it was given
    if isinstance(condition, dict):
        return lambda data, _config, _stats: _has_fields(data, condition)
    return _question_by_signature(condition)


def _has_fields(data: Any, wanted: dict[Any, Any]) -> bool:
    if not isinstance(data, Mapping):
        return False
    for field, expected in pairs_of(wanted):
        if field not in data:
            return False
        value = data[field]
        if not (answer_of(expected, value) if callable(expected) else value is expected or value == expected):
            return False
    return True


def _question_by_signature(function: Callable[..., Any]) -> Callable[[Any, dict[str, Any], dict[str, Any]], Any]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some callables of C have none
        return lambda data, _config, _stats: function(data)
    takes_any_name = any(each.kind is each.VAR_KEYWORD for each in parameters)
    takes_any_number = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    asked = _asked(parameters)
    if not asked:
        if takes_any_number:
            return lambda data, _config, _stats: function(data)
        if takes_any_name:
            return lambda data, config, stats: function(data=data, config=config, stats=stats)
        if parameters:  # all of them have defaults: the first is for the data
            asked = parameters[:1]
        else:
            return lambda _data, _config, _stats: function()
    # Which of the three goes to which parameter, in the order of the parameters.
    given = [each.name for each in asked]
    if len(asked) == 1:
        given = ["data"]
    elif len(asked) == 2:
        # What has another name gets what is left, the data first.
        left = [name for name in NAMES if name not in given]
        given = [name if name in NAMES else left.pop(0) for name in given]
    by_position = [name for each, name in zip(asked, given, strict=True) if each.kind is each.POSITIONAL_ONLY]
    by_name = {
        each.name: name for each, name in zip(asked, given, strict=True) if each.kind is not each.POSITIONAL_ONLY
    }

    def ask(data: Any, config: dict[str, Any], stats: dict[str, Any]) -> Any:
        values = {"data": data, "config": config, "stats": stats}
        return function(
            *[values[name] for name in by_position], **{parameter: values[name] for parameter, name in by_name.items()}
        )

    return ask


def _asked(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Those that are given something."""
    # A default that nobody asked to replace is the function's own: `lambda data, limit=5: data > limit`.
    return [
        each
        for each in parameters
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        and (each.default is each.empty or each.name in NAMES)
    ]
