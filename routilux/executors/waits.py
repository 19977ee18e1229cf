"""How an application's own asyncio loop waits for a run, and never stands still meanwhile.

Imported through `opening.py` only, where somebody waits so: asyncio would be a third of our import.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

__all__ = ["GRACE_SECONDS", "give_turn", "in_thread", "until"]

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
