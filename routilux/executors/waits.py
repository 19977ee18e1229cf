"""How an application's own asyncio loop waits for a run, and never stands still meanwhile.

Imported through `opening.py` only, where somebody waits so: asyncio would be a third of our import.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

__all__ = ["GRACE_SECONDS", "give_turn", "in_thread", "in_thread_or_undone", "until"]

# As long as a thread that waits: for handlers that are still at work in a run that was stopped.
GRACE_SECONDS = 5.0


class Notified(Protocol):
    """What tells of changes; see `routilux.flow.waiters.Waiters`."""

    watcher_count: int

    def add_waker(self, wake: Callable[[], None]) -> None:
        """Have a function called at each notification."""

    def remove_waker(self, wake: Callable[[], None]) -> None:
        """Take that back."""


async def until(
    waiters: Notified,
    lock: Lock,
    is_done: Callable[[], Any],
    seconds: float | None,
    is_stopped: Callable[[], bool] | None,
    is_watcher: bool = False,
) -> bool:
    """Wait until `is_done()`, which is asked with the lock held after each notification; False at the timeout.

    No notification is lost: the question is asked, and the waker is there, in one critical section. The lock is held
    for microseconds, so taking it does not stop the loop.

    Args:
        waiters: Who notifies.
        lock: Theirs.
        is_done: The question.
        seconds: At most so long.
        is_stopped: Whether only handlers that are still at work are waited for: then the wait is over after
            `GRACE_SECONDS`, and is done.
        is_watcher: Whether to be notified of every change, not only of the end.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed while somebody waited on it: nobody does any more
            loop.call_soon_threadsafe(changed.set)

    ends_at = None if seconds is None else time.monotonic() + seconds
    grace_ends_at: float | None = None
    with lock:
        waiters.add_waker(wake)
        waiters.watcher_count += is_watcher
    try:
        while True:
            changed.clear()
            with lock:
                if is_done():
                    return True
                is_standing = is_stopped is not None and is_stopped()
            now = time.monotonic()
            if grace_ends_at is None and is_standing:
                grace_ends_at = now + GRACE_SECONDS
            if grace_ends_at is not None and now >= grace_ends_at:
                return True
            if ends_at is not None and now >= ends_at:
                return False
            ends = [end for end in (ends_at, grace_ends_at) if end is not None]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(ends) - now if ends else None):
                    await changed.wait()
    finally:
        with lock:
            waiters.remove_waker(wake)
            waiters.watcher_count -= is_watcher


async def give_turn() -> None:
    """Let the loop do what else there is, once."""
    await asyncio.sleep(0)


async def in_thread(function: Callable[[], Any]) -> Any:
    """Call a function that may wait, on a thread of the loop's default executor, in a copy of this context."""
    return await asyncio.to_thread(function)


async def in_thread_or_undone(function: Callable[[], Any], undo: Callable[[Any], Any]) -> Any:
    """As `in_thread`, but when the awaiting task is cancelled, what the function has come to is undone.

    A thread cannot be cancelled, so the function is always called to its end, and its result undone on that thread.
    The cancelled task goes on when that is so; one that is cancelled once more does not wait.

    Args:
        function: What is called.
        undo: Called on a thread with what it has returned.
    """
    call = _Call(function, undo)
    calling = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        if call.give_up():
            calling = asyncio.ensure_future(asyncio.to_thread(undo, call.result))
        calling.add_done_callback(_take_exception)
        await asyncio.wait([calling])
        raise


def _take_exception(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()  # nobody is there to be told of it


class _Call:
    """A call on a thread that may be given up.

    `_lock` decides what comes first, its end or that: so exactly one of both sides undoes it. It is taken alone.
    """

    def __init__(self, function: Callable[[], Any], undo: Callable[[Any], Any]) -> None:
        self._function = function
        self._undo = undo
        self._lock = Lock()
        self._has_ended = self._is_given_up = False
        self.result: Any = None

    def __call__(self) -> Any:
        result = self._function()
        with self._lock:
            self._has_ended, self.result = True, result
            is_given_up = self._is_given_up
        if is_given_up:
            self._undo(result)
        return result

    def give_up(self) -> bool:
        """Have the result undone by the thread; True when it has ended, and the caller is to do it."""
        with self._lock:
            self._is_given_up = True
            return self._has_ended
