"""Those who look on: callbacks about the ends of runs, and hooks."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from routilux.context import current_activation, current_job_state
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
        """Call `callback(job_state)` whenever a run becomes final."""
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
            listener(*args)
        except BaseException:  # application code, on a worker's thread
            logger.exception("%r raised; the run goes on", listener)

    def forget_threads(self) -> None:
        """In a forked child, where the thread that held the lock does not exist."""
        self._lock = threading.Lock()
