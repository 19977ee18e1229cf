"""Renewals: when a process gives a sign of life for the runs of one flow, once for all of them."""

from threading import Lock

from routilux.flow.timers import nanoseconds
from routilux.interfaces import Clock

__all__ = ["Renewals"]


class Renewals:
    """The instant at which the lease is to be renewed next: a third of it after the last time.

    Each live run has a timer for it, since each may be the last one left. All of these are set to the same instant, and
    whose comes first renews for all.

    `_lock` protects the instant, and is taken last.
    """

    def __init__(self, lease_seconds: float, clock: Clock) -> None:
        self._third_ns = nanoseconds(lease_seconds / 3)
        self._clock = clock
        self._lock = Lock()
        self._due_ns = 0

    def due_ns(self) -> int:
        """When a run that is live now has to look."""
        now = self._clock.monotonic_ns()
        with self._lock:
            # Past: it was of runs that have ended. Who asks has just written, and so has two thirds of a lease left.
            if self._due_ns <= now:
                self._due_ns = now + self._third_ns
            return self._due_ns

    def take(self) -> bool:
        """Whether it is time, and nobody else has taken it: then the caller renews."""
        now = self._clock.monotonic_ns()
        with self._lock:
            if now < self._due_ns:
                return False
            self._due_ns = now + self._third_ns
            return True

    def forget_threads(self) -> None:
        """In a forked child, where the thread that held the lock does not exist."""
        self._lock = Lock()
