"""How a slot's handler is called: its signature is read once, here, when the slot is defined."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from routilux.errors import HandlerTypeError

__all__ = [
    "ASYNC",
    "ASYNC_GENERATOR",
    "GENERATOR",
    "Caller",
    "bind",
    "kind_of_unusable",
    "kinds_of",
    "may_await",
]

# Takes the merged data of one activation and calls the handler with what it wants of them.
Caller = Callable[[dict[str, Any]], Any]

ASYNC = "`async def`"
GENERATOR = "a generator function"
ASYNC_GENERATOR = "an async generator function"

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def bind(handler: Callable[..., Any], where: str) -> Caller:
    """A function that calls `handler` as its signature asks.

    With `**kwargs`: all the data as keywords. One parameter called `data`: the whole dict. One other parameter: the
    value of that name, or the whole dict when there is none. Several: those that are in the data, as keywords, or
    the whole dict when none is. No parameter at all: nothing. A signature that cannot be read: the whole dict.

    "The whole dict" is a copy: a handler may change what it gets, and its next attempt gets it as it was.

    For an `async def` handler, it returns the coroutine, none of whose lines has run. A decorated handler is what its
    decorator has made of it: `async def`, or a plain function, whose coroutine is awaited if it hands one through. It
    has the signature of what it wraps.

    Raises:
        HandlerTypeError: When it is not callable, or a generator function, async or not.
    """
    _refuse_unusable(handler, where)
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):  # some callables of C have none
        return lambda data: handler(dict(data))
    kinds = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return lambda data: handler(**data)
    named = [parameter for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_POSITIONAL]
    if not parameters:
        return lambda _data: handler()
    if not named:
        return lambda data: handler(dict(data))
    if len(named) == 1:
        return _bind_one(handler, named[0])
    return _bind_several(handler, named)


def _bind_one(handler: Callable[..., Any], parameter: inspect.Parameter) -> Caller:
    name = parameter.name
    positional = parameter.kind in _POSITIONAL
    if name == "data":
        if positional:
            return lambda data: handler(dict(data))
        return lambda data: handler(data=dict(data))

    def call(data: dict[str, Any]) -> Any:
        value = data[name] if name in data else dict(data)
        return handler(value) if positional else handler(**{name: value})

    return call


def _bind_several(handler: Callable[..., Any], named: list[inspect.Parameter]) -> Caller:
    leading = [p.name for p in named if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    keywords = [p.name for p in named if p.kind is not inspect.Parameter.POSITIONAL_ONLY]

    def call(data: dict[str, Any]) -> Any:
        given = []
        for name in leading:
            if name not in data:
                break
            given.append(data[name])
        chosen = {name: data[name] for name in keywords if name in data}
        if not given and not chosen:
            return handler(dict(data))
        return handler(*given, **chosen)

    return call


def kind_of_unusable(function: Callable[..., Any]) -> str:
    """ASYNC, GENERATOR or ASYNC_GENERATOR: a call would run none of its lines; empty for any other function.

    A decorated function is what its decorator has made of it, whatever it was.
    """
    return _kind_of(_without_partial(function))


def kinds_of(function: Callable[..., Any]) -> list[str]:
    """Its kind, as of `kind_of_unusable`, and those of all that decorators have wrapped in it, inwards."""
    kinds: list[str] = []
    layer: Any = function
    for _ in range(sys.getrecursionlimit()):  # one may wrap itself
        called = _without_partial(layer)
        kinds.append(_kind_of(called))
        # A `partial` may be a decorator's wrapper, which knows what it wraps.
        layer = getattr(layer, "__wrapped__", getattr(called, "__wrapped__", None))
        if layer is None:
            break
    return kinds


def may_await(kinds: list[str]) -> bool:
    """Whether a call of a function of these `kinds_of` may give something to await: a decorator may hand it through."""
    return ASYNC in kinds or ASYNC_GENERATOR in kinds


def _kind_of(function: Any) -> str:
    for called in (function, getattr(type(function), "__call__", None)):  # noqa: B004 - the method itself is wanted
        if inspect.iscoroutinefunction(called):
            return ASYNC
        if inspect.isasyncgenfunction(called):
            return ASYNC_GENERATOR
        if inspect.isgeneratorfunction(called):
            return GENERATOR
    return ""


def _without_partial(function: Any) -> Any:
    # By its class: a mock has an attribute `func` as well, which has one, and so on.
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _refuse_uncallable(handler: Any, where: str) -> None:
    if not callable(handler):
        raise HandlerTypeError(
            f"The handler of {where} is {handler!r}, which cannot be called. Give a function or None."
        )


def _refuse_unusable(handler: Any, where: str) -> None:
    _refuse_uncallable(handler, where)
    kind = kind_of_unusable(handler)
    if kind in (GENERATOR, ASYNC_GENERATOR):
        raise HandlerTypeError(
            f"The handler of {where}, {_name_of(handler)}, is {kind}: calling it would run none of its lines. "
            "Emit each item with self.emit(...) instead of `yield`."
        )


def _name_of(handler: Any) -> str:
    return str(getattr(_without_partial(handler), "__qualname__", repr(handler)))
