"""One coroutine of a handler, stepped in a context of its own, by whichever asyncio task awaits it.

Imported through `opening.py` only, as the loop is.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, NamedTuple

from routilux.errors import AttemptTimeoutError, AwaitCancelledError, HandlerCancelledError

__all__ = ["BLOCKING_SECONDS", "CLEAN_UP_SECONDS", "Driven", "Limit", "own_error", "warn_blocking"]

logger = logging.getLogger(__name__)

# A handler that keeps the loop's thread for longer, in one step, is named in a warning.
BLOCKING_SECONDS = 0.1

# A handler that has not ended so long after it was cancelled is named in a warning.
CLEAN_UP_SECONDS = 5.0

# Called on the loop's thread with what the coroutine raised, or None; returns what is to be done next, if anything.
OnEnd = Callable[[BaseException | None], Any]


class Limit(NamedTuple):
    """How many of a group may be driven at once.

    Attributes:
        group: Known by its identity.
        most: Asked when one would begin; None is no limit.
    """

    group: object
    most: Callable[[], int | None]


class Driven:
    """A coroutine as the loop sees it: each step is timed, and nothing that it raises comes through.

    The task that awaits it takes its steps. Each runs in the coroutine's own context, so a task may drive one after
    the other, and none sees a variable that another has set. The clock is read around each step instead of setting
    the loop's debug mode, which costs many times as much, and of a second thread that looks on. So a step that never
    ends is not told of.

    Args:
        key: Names it to who cancels it.
        name: For warnings.
        coroutine: What is driven.
        on_end: Called once, by `end`.
        limit: Of which group it is, and how many of that group may be driven at once.
        timeout: Seconds that it may take; then it is cancelled.
        context: In which it runs; a copy of the present one by default.
        claim: Asked once, before its first line; what it returns instead of None is what it ends with at once.
    """

    __slots__ = (
        "_began",
        "_claim",
        "_coroutine",
        "_error",
        "_found",
        "_is_cancelled",
        "_is_late",
        "_on_end",
        "_timers",
        "_was_thrown",
        "context",
        "has_place",
        "key",
        "limit",
        "name",
        "task",
        "timeout",
    )

    def __init__(
        self,
        key: Any,
        name: str,
        coroutine: Coroutine[Any, Any, Any],
        on_end: OnEnd,
        limit: Limit | None = None,
        timeout: float | None = None,
        context: Context | None = None,
        claim: Callable[[], BaseException | None] | None = None,
    ) -> None:
        self.key = key
        self.name = name
        self.context = copy_context() if context is None else context
        self.limit = limit
        self.timeout = timeout
        #: Whether it is counted among those of its group that are driven.
        self.has_place = False
        #: The task that drives it, while it awaits something.
        self.task: asyncio.Task[Any] | None = None
        self._coroutine = coroutine
        self._on_end = on_end
        self._claim = claim
        self._found: Any = None
        self._began = 0.0
        self._error: BaseException | None = None
        self._is_cancelled = self._was_thrown = self._is_late = False
        self._timers: list[asyncio.TimerHandle] | None = None

    def __repr__(self) -> str:
        return f"Driven({self.name})"

    # -- its steps, on the loop's thread

    def begin(self, is_stopped: bool) -> bool:
        """Take the first step; whether it awaits something now.

        Args:
            is_stopped: It is not to run any more: it is cancelled before its first line.
        """
        if self._claim is not None and self._is_refused():
            return False
        if is_stopped:
            self._is_cancelled = True
        self._began = time.perf_counter()
        if not self._is_cancelled:
            return self._step(self._coroutine.send, None)
        self._was_thrown = True
        return self._step(self._coroutine.throw, asyncio.CancelledError())

    def fail(self, error: BaseException) -> None:
        """Let it end with this, without one more of its lines."""
        if self._claim is None or not self._is_refused():
            self._coroutine.close()
            self._error = error

    def _is_refused(self) -> bool:
        claim, self._claim = self._claim, None
        self._error = claim() if claim is not None else None
        if self._error is not None:
            self._coroutine.close()
        return self._error is not None

    def has_begun(self, found: Any, began: float) -> None:
        """Take over a coroutine whose first step was taken elsewhere: it awaits what it has `found`."""
        self._found, self._began = found, began

    def drive_on(self, task: "asyncio.Task[Any]") -> "Driven":
        """Let `task`, which awaits this then, take the other steps. From now on it can be cancelled."""
        self.task = task
        if self.timeout is not None:
            left = self.timeout - (time.perf_counter() - self._began)
            self._timers = [task.get_loop().call_later(left, self._be_late)]
        return self

    def __await__(self) -> Generator[Any, Any, None]:
        while True:
            try:
                value = yield self._found
            except BaseException as thrown:  # noqa: BLE001 - whatever it is, it is the coroutine's
                self._was_thrown = True
                awaits = self._step(self._coroutine.throw, thrown)
            else:
                awaits = self._step(self._coroutine.send, value)
            if not awaits:
                return

    def _step(self, advance: Callable[[Any], Any], value: Any) -> bool:
        began = time.perf_counter()
        try:
            self._found = self.context.run(advance, value)
        except StopIteration:
            awaits = False
        except BaseException as raised:  # noqa: BLE001 - the handler is the user's, and the loop must outlive it
            self._error, awaits = raised, False
        else:
            awaits = True
        took = time.perf_counter() - began
        if took > BLOCKING_SECONDS:
            warn_blocking(self.name, took)
        return awaits

    def end(self) -> Any:
        """Tell what came of it; returns what is to be done next, if anything."""
        on_end, outcome = self._on_end, self._outcome(self._error)
        if self._timers is not None:
            for timer in self._timers:
                timer.cancel()
            self._timers = None
        # The task knows this, and the frames of the coroutine what it worked for: only the collector would end that.
        del self._on_end, self._coroutine, self._found, self._claim
        self.task = self._error = None
        try:
            return on_end(outcome)
        except BaseException:
            logger.critical("The engine failed when %s had ended", self.name, exc_info=True)
            return None

    def _outcome(self, error: BaseException | None) -> BaseException | None:
        """What its end means: an error by its own, the cancellation that it was given, or the time that was over."""
        has_swallowed = error is None and self._was_thrown
        if has_swallowed and (self._is_cancelled or self._is_late):
            logger.warning(
                "%s was cancelled, and has swallowed the CancelledError. Clean up in `finally`, or raise it again.",
                self.name,
            )
        found: BaseException | None = error
        if self._is_cancelled and isinstance(error, asyncio.CancelledError):
            found = HandlerCancelledError(f"{self.name} was cancelled while it awaited something.")
        elif self._is_late and not self._is_cancelled and (has_swallowed or isinstance(error, asyncio.CancelledError)):
            found = AttemptTimeoutError(f"{self.name} took longer than {self.timeout:g} s, and was cancelled.")
            found.seconds = self.timeout
        else:
            return own_error(self.name, error)
        if found is not error and found is not None:
            found.__cause__ = error
        return found

    # -- stopping it

    def cancel(self) -> None:
        """On the loop's thread: let it see a CancelledError where it awaits, or before its first line."""
        is_first, self._is_cancelled = not self._is_cancelled, True
        task = self.task
        if task is None:
            return
        if is_first:
            timer = task.get_loop().call_later(CLEAN_UP_SECONDS, self._warn_if_going_on)
            self._timers = [*(self._timers or ()), timer]
        task.cancel()

    def _be_late(self) -> None:
        if self.task is not None and not self._is_cancelled:
            self._is_late = True
            self.task.cancel()

    def _warn_if_going_on(self) -> None:
        if self.task is not None:
            logger.warning(
                "%s was cancelled %g s ago, and goes on. Let the CancelledError end it.", self.name, CLEAN_UP_SECONDS
            )


def own_error(name: str, error: BaseException | None) -> BaseException | None:
    """What a handler's error means that nobody has cancelled: a CancelledError is an `Exception` then.

    Somebody else has cancelled what it awaited. Policies see that, and it stops no program.
    """
    if not isinstance(error, asyncio.CancelledError):
        return error
    found = AwaitCancelledError(
        f"{name} has ended with a CancelledError, and neither was its run cancelled nor its time over: what it awaited "
        "was cancelled. Catch the CancelledError where that may happen."
    )
    found.__cause__ = error
    return found


def warn_blocking(name: str, seconds: float) -> None:
    """Name a handler that has kept the loop's thread."""
    logger.warning(
        "%s kept the loop's thread for %.0f ms, with what it calls (an output handler, for example), and all other "
        "async handlers of its flow waited. Await in between, or make it a plain function, which runs on a worker.",
        name,
        seconds * 1e3,
    )
