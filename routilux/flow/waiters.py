"""Those who wait for a run: for its end, for any change, for the next record."""

import sys
import time
from collections.abc import Callable
from threading import Condition, Lock
from typing import Any

__all__ = ["GRACE_SECONDS", "Waiters", "runs_loop"]

# How long a wait goes on for handlers that are still at work in a run that is paused, failed or cancelled.
GRACE_SECONDS = 5.0


class Waiters:
    """The condition of one run, made when somebody waits first.

    It shares the run's lock: a waiter looks at the run and goes to sleep in one critical section, and whoever changes
    the run notifies in the one in which it does. It knows the lock and not the run, or each run would be a cycle that
    only the garbage collector ends. A caller's patience is real time, whatever clock the engine has.
    """

    __slots__ = ("_condition", "_lock", "_wakers", "watcher_count")

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._condition: Condition | None = None
        #: How many want to be woken by every change, not only by the end.
        self.watcher_count = 0
        # Called at each notification: how an asyncio loop is told, whose thread must not wait here.
        self._wakers: list[Callable[[], None]] | None = None

    def condition(self) -> Condition:
        """With the lock held: the condition."""
        if self._condition is None:
            self._condition = Condition(self._lock)
        return self._condition

    def has_any(self) -> bool:
        """Whether somebody has ever waited."""
        return self._condition is not None or bool(self._wakers)

    def notify(self) -> None:
        """With the lock held: wake everybody."""
        if self._condition is not None:
            self._condition.notify_all()
        if self._wakers:
            for wake in self._wakers:
                wake()

    def add_waker(self, wake: Callable[[], None]) -> None:
        """With the lock held: have a function called at each notification. It must not wait, nor raise."""
        self._wakers = [*(self._wakers or ()), wake]

    def remove_waker(self, wake: Callable[[], None]) -> None:
        """With the lock held: take `add_waker` back."""
        self._wakers = [each for each in self._wakers or () if each is not wake]

    def block(self, is_done: Callable[[], bool], is_stopped: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until a run is over for at most `seconds`; whether it is. Both questions are asked with the lock held.

        In a run that was stopped, handlers may be at work still: they get `GRACE_SECONDS`, and then it counts as over.
        """
        with self._lock:
            until = None if seconds is None else time.monotonic() + seconds
            grace_until: float | None = None
            while not is_done():
                now = time.monotonic()
                if grace_until is None and is_stopped():
                    grace_until = now + GRACE_SECONDS
                if grace_until is not None and now >= grace_until:
                    return True
                if until is not None and now >= until:
                    return False
                ends = [end for end in (until, grace_until) if end is not None]
                self.condition().wait(min(ends) - now if ends else None)
            return True

    def watch(self, is_news: Callable[[], Any], timeout: float | None) -> None:
        """Until `is_news()`, which is asked with the lock held after each change."""
        with self._lock:
            self.watcher_count += 1
            try:
                self.condition().wait_for(is_news, timeout)
            finally:
                self.watcher_count -= 1


def runs_loop() -> bool:
    """Whether the calling thread runs an asyncio loop, which must not stand still."""
    # Where nobody has imported asyncio, no loop of it runs; importing it here would be a third of our import's time.
    events = sys.modules.get("asyncio.events")
    try:
        return events is not None and events.get_running_loop() is not None
    except RuntimeError:
        return False
