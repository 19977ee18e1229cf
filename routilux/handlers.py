"""How a slot's handler is called: its signature is read once, here, when the slot is defined."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from routilux.errors import HandlerTypeError

__all__ = ["Caller", "bind", "kind_of_unusable", "refuse_async"]

# Takes the merged data of one activation and calls the handler with what it wants of them.
Caller = Callable[[dict[str, Any]], Any]

ASYNC = "`async def`"
GENERATOR = "a generator function"

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def bind(handler: Callable[..., Any], where: str) -> Caller:
    """A function that calls `handler` as its signature asks.

    With `**kwargs`: all the data as keywords. One parameter called `data`: the whole dict. One other parameter: the
    value of that name, or the whole dict when there is none. Several: those that are in the data, as keywords, or
    the whole dict when none is. No parameter at all: nothing. A signature that cannot be read: the whole dict.

    "The whole dict" is a copy: a handler may change what it gets, and its next attempt gets it as it was.

    Raises:
        HandlerTypeError: When it is not callable, or `async def`, or a generator function.
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
    """ASYNC or GENERATOR for a function whose call would run none of its lines; empty for any other."""
    inner = _innermost(function)
    called = [inner, getattr(type(inner), "__call__", None)]  # noqa: B004 - the method itself is wanted
    if any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in called):
        return ASYNC
    return GENERATOR if any(inspect.isgeneratorfunction(each) for each in called) else ""


def _innermost(function: Callable[..., Any]) -> Any:
    """What decorators and `functools.partial` have wrapped."""
    inner: Any = inspect.unwrap(function)
    # By their class: a mock has an attribute `func` as well, which has one, and so on.
    while isinstance(inner, functools.partial | functools.partialmethod):
        inner = inner.func
    return inner


def refuse_async(handler: Any, where: str) -> None:
    """Refuse what would be called and never awaited.

    Raises:
        HandlerTypeError: When it is not callable, or `async def`.
    """
    if not callable(handler):
        raise HandlerTypeError(
            f"The handler of {where} is {handler!r}, which cannot be called. Give a function or None."
        )
    if kind_of_unusable(handler) == ASYNC:
        raise HandlerTypeError(
            f"The handler of {where}, {_name_of(handler)}, is `async def`: it would be called and never awaited. "
            "Make it a plain function; asyncio.run(...) inside it can await what it needs."
        )


def _refuse_unusable(handler: Any, where: str) -> None:
    refuse_async(handler, where)
    if kind_of_unusable(handler) == GENERATOR:
        raise HandlerTypeError(
            f"The handler of {where}, {_name_of(handler)}, is a generator function: calling it would run none of its "
            "lines. Emit each item with self.emit(...) instead of `yield`."
        )


def _name_of(handler: Any) -> str:
    return str(getattr(_innermost(handler), "__qualname__", repr(handler)))
