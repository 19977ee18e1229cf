"""The handlers of a function routine's slots: they call the function, and send what comes of it."""

import inspect
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing, closing
from time import perf_counter
from typing import Any

from routilux.context import current_activation
from routilux.handlers import kinds_of, may_await

__all__ = ["AsyncFunctionHandler", "FunctionHandler"]

# For so long an async generator is asked for items before other handlers, timers and cancellations have a turn.
TURN_SECONDS = 0.001


class _Handler:
    """Has the function's signature, for `bind` and for whoever draws the flow.

    Args:
        function: What is called.
        send: Takes what the function returned.
        send_item: Takes an item of an async generator.
    """

    def __init__(
        self, function: Callable[..., Any], send: Callable[[Any], None], send_item: Callable[[Any], None]
    ) -> None:
        self._function = function
        self._send = send
        self._send_item = send_item
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__signature__ = _signature_of(function)

    async def _send_generated(self, items: Any) -> None:
        if isinstance(items, types.GeneratorType):
            items = _as_asynchronous(items)
        activation = current_activation.get()
        run = activation.run if activation is not None else None
        until = perf_counter() + TURN_SECONDS
        async with aclosing(items):
            async for item in items:
                self._send_item(item)
                if run is not None and run.is_refusing():
                    # With the lock that its stop held, its cancellation is on the way. Taken here, and not in what the
                    # generator awaits to clean up. Where none comes any more, the generator is closed all the same.
                    with run.lock:
                        pass
                    await _others_turn()
                    return
                # A generator need not await anything, and the loop is not its own.
                if perf_counter() >= until:
                    await _others_turn()
                    until = perf_counter() + TURN_SECONDS


class FunctionHandler(_Handler):
    """The handler for a function that a worker calls."""

    def __init__(
        self, function: Callable[..., Any], send: Callable[[Any], None], send_item: Callable[[Any], None]
    ) -> None:
        super().__init__(function, send, send_item)
        # What a decorator of the function hands through is handed through here: the slot sees both as decorators.
        self.__wrapped__ = function
        self._may_await = may_await(kinds_of(function))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, None] | None:
        """Handle one delivery; returns the rest of it, where that is to be awaited."""
        result = self._function(*args, **kwargs)
        if self._may_await and isinstance(result, Coroutine | types.AsyncGeneratorType):
            return _Rest(result, self._send_awaited(result))
        self._send(result)
        return None

    async def _send_awaited(self, result: Any) -> None:
        if isinstance(result, Coroutine):
            result = await result
        if isinstance(result, types.GeneratorType | types.AsyncGeneratorType):
            await self._send_generated(result)
        else:
            self._send(result)


class AsyncFunctionHandler(_Handler):
    """The handler for a function that is `async def`, or an async generator."""

    async def __call__(self, /, *args: Any, **kwargs: Any) -> None:
        """Handle one delivery. Where the run is cancelled, it ends where it awaits, or between two items."""
        result = self._function(*args, **kwargs)
        if not isinstance(result, types.AsyncGeneratorType):
            result = await result
        if isinstance(result, types.GeneratorType | types.AsyncGeneratorType):
            await self._send_generated(result)
        else:
            self._send(result)


class _Rest(Coroutine[Any, Any, None]):
    """The rest of a delivery. Where it ends before it has begun, what it would have awaited is closed as well."""

    def __init__(self, awaited: Any, rest: Coroutine[Any, Any, None]) -> None:
        self._awaited = awaited
        self._rest = rest

    def __await__(self) -> Generator[Any, Any, None]:
        return self._rest.__await__()

    def send(self, value: Any) -> Any:
        self._awaited = None
        return self._rest.send(value)

    def throw(self, *error: Any) -> Any:
        self._close_awaited()
        return self._rest.throw(*error)

    def close(self) -> None:
        self._close_awaited()
        self._rest.close()

    def _close_awaited(self) -> None:
        awaited, self._awaited = self._awaited, None
        if isinstance(awaited, Coroutine):
            awaited.close()


async def _as_asynchronous(items: Generator[Any, Any, Any]) -> AsyncGenerator[Any, None]:
    with closing(items):
        for item in items:
            yield item


@types.coroutine
def _others_turn() -> Generator[None, None, None]:
    """Let the loop do what else there is, as `asyncio.sleep(0)` does, without asyncio."""
    yield


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some callables of C have none: they get the whole dict
        return inspect.Signature([inspect.Parameter("data", inspect.Parameter.POSITIONAL_ONLY)])
