"""Functions of the application: plain ones, whose call is the answer."""

import types
from collections.abc import Callable
from typing import Any

from routilux.errors import InvalidTypeError
from routilux.handlers import kind_of_unusable, kinds_of
from routilux.plain import shortened

__all__ = ["answer_of", "check_function"]


def check_function(function: Any, where: str) -> None:
    """Refuse what cannot be called, or gives no answer when it is.

    Raises:
        InvalidTypeError: It is no callable, `async def` or a generator function.
    """
    if not callable(function):
        raise InvalidTypeError(f"{where} is {shortened(function)}, which cannot be called. Give a function.")
    kind = kind_of_unusable(function)
    if kind:
        raise InvalidTypeError(
            f"{where} is {kind}: a call would run none of its lines, and nobody would wait for them. Give a plain "
            "function; asyncio.run(...) inside it can await what it needs."
        )


def answer_of(function: Callable[..., Any], *given: Any) -> Any:
    """What a function of the application answers.

    Raises:
        InvalidTypeError: An object to await, which nobody would: every one of them counts as true. Or a generator that
            a decorator has handed through.
        Exception: What the function raises.
    """
    answer = function(*given)
    if hasattr(type(answer), "__await__"):
        close = getattr(answer, "close", None)
        if close is not None:
            close()
        raise InvalidTypeError("it returned something to await; use a plain function, or asyncio.run(...) inside it")
    if isinstance(answer, types.GeneratorType | types.AsyncGeneratorType) and any(kinds_of(function)):
        raise InvalidTypeError("it returned a generator, none of whose lines have run; let its decorator return a list")
    return answer
