"""Those who wait for a run: for its end, for any change, for the next record."""

from collections.abc import Callable
from threading import Condition
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # asked, with its lock held
    from routilux.flow.run import Run

__all__ = ["GRACE_SECONDS", "Waiters"]

# How long a wait goes on for handlers that are still at work in a run that is paused, failed or cancelled.
GRACE_SECONDS = 5.0


class Waiters:
    """The condition of one run, made when somebody waits first.

    It shares the run's lock: a waiter looks at the run and goes to sleep in one critical section, and whoever changes
    the run notifies in the one in which it does.
    """

    __slots__ = ("_condition", "_run", "watcher_count")

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._condition: Condition | None = None
        #: How many want to be woken by every change, not only by the end.
        self.watcher_count = 0

    def condition(self) -> Condition:
        """With the lock held: the condition."""
        if self._condition is None:
            self._condition = Condition(self._run.lock)
        return self._condition

    def notify(self) -> None:
        """With the lock held: wake everybody."""
        if self._condition is not None:
            self._condition.notify_all()

    def block(self, seconds: float | None) -> bool:
        """Wait until the run is over for at most `seconds`; whether it is.

        In a run that was stopped, handlers may be at work still: they get `GRACE_SECONDS`, and then it counts as over.
        """
        run, clock = self._run, self._run.ledger.clock
        with run.lock:
            until = None if seconds is None else clock.monotonic_ns() + round(seconds * 1e9)
            grace_until: int | None = None
            while not run.is_done_for_waiters():
                now = clock.monotonic_ns()
                if run.is_stopped() and grace_until is None:
                    grace_until = now + round(GRACE_SECONDS * 1e9)
                if grace_until is not None and now >= grace_until:
                    return True
                if until is not None and now >= until:
                    return False
                ends = [end for end in (until, grace_until) if end is not None]
                clock.wait(self.condition(), (min(ends) - now) / 1e9 if ends else None)
            return True

    def watch(self, is_news: Callable[[], Any], timeout: float | None) -> None:
        """Until `is_news()`, which is asked with the lock held after each change, or until the run is over."""
        run = self._run
        with run.lock:
            self.watcher_count += 1
            try:
                self.condition().wait_for(lambda: run.is_done_for_waiters() or is_news(), timeout)
            finally:
                self.watcher_count -= 1
