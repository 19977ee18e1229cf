"""Those who look on: callbacks about the ends of runs, and hooks."""

import logging
import threading
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from routilux.context import current_activation, current_job_state
from routilux.errors import InvalidTypeError
from routilux.handlers import ASYNC, kind_of_unusable
from routilux.interfaces import Hooks
from routilux.job_state import JobState

__all__ = ["Listeners"]

logger = logging.getLogger(__name__)


class Listeners:
    """Application code that the engine calls, and that changes nothing for it.

    `_lock` protects the list of callbacks. It is taken alone, and none of them is called while it is held.
    """

    def __init__(self, hooks: Hooks | None) -> None:
        self.hooks = hooks
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[JobState], Any]] = []
        # Which runs the callbacks on this thread are being told of.
        self._telling = threading.local()

    def add(self, callback: Callable[[JobState], Any]) -> None:
        """Call `callback(job_state)` whenever a run becomes final.

        Raises:
            TypeError: It cannot be called, or its call would run none of its lines.
        """
        if not callable(callback):
            raise InvalidTypeError(f"on_run_end takes a function of (job_state), not {callback!r}.")
        kind = kind_of_unusable(callback)
        if kind:
            raise InvalidTypeError(
                f"{callback!r} is {kind}, and nothing awaits it: an end is told on a thread without a loop. Give a "
                "plain function; it may start a coroutine on your loop with asyncio.run_coroutine_threadsafe."
                if kind == ASYNC
                else f"{callback!r} is {kind}: calling it would run none of its lines. Give a plain function."
            )
        with self._lock:
            self._callbacks.append(callback)

    def want_ends(self) -> bool:
        """Whether anybody wants to know of ends."""
        return bool(self._callbacks) or self.hooks is not None

    def tell_end(self, job_state: JobState) -> None:
        """Call those who want to know that a run is final; on the thread that ended it."""
        with self._lock:
            callbacks = list(self._callbacks)
        # They are not part of the run: they may wait for it, and what they start is not nested in it.
        job_token, activation_token = current_job_state.set(None), current_activation.set(None)
        before = getattr(self._telling, "of", ())
        self._telling.of = (*before, job_state)  # a callback may end another run, and is told of that in between
        try:
            for callback in callbacks:
                self.call(callback, job_state)
            if self.hooks is not None:
                self.call(self.hooks.run_ended, job_state)
        finally:
            self._telling.of = before
            current_activation.reset(activation_token)
            current_job_state.reset(job_token)

    def are_told_of(self, job_state: JobState) -> bool:
        """Whether the calling thread is inside a callback about this run: a wait there must not wait for itself."""
        return any(each is job_state for each in getattr(self._telling, "of", ()))

    def call(self, listener: Callable[..., Any], *args: Any) -> None:
        """Call one of them. What it raises is logged: it neither changes what it looks at nor ends the worker."""
        try:
            result = listener(*args)
            if result is not None and isinstance(result, CoroutineType):
                result.close()
                logger.error("%r returned a coroutine, which nobody awaits: none of its lines has run", listener)
        except BaseException:  # application code, on a worker's thread
            logger.exception("%r raised; the run goes on", listener)

    def forget_threads(self) -> None:
        """In a forked child, where the thread that held the lock does not exist."""
        self._lock = threading.Lock()
