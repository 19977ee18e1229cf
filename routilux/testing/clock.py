"""A clock that goes on only when a test says so."""

from threading import Condition, Lock

__all__ = ["FakeClock"]


class FakeClock:
    """Time under a test's control; for `Flow(clock=...)`. May be used from any thread.

    Args:
        start: Seconds since the epoch at which it begins.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start_ns = round(start * 1e9)
        self._elapsed_ns = 0
        # Protects the two attributes below. Taken last; nothing is called while it is held.
        self._lock = Lock()
        self._waiting: list[Condition] = []

    def __repr__(self) -> str:
        return f"FakeClock(+{self._elapsed_ns / 1e9:g} s)"

    def monotonic_ns(self) -> int:
        """Nanoseconds since it was made."""
        with self._lock:
            return self._elapsed_ns

    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self._start_ns + self.monotonic_ns()

    def wait(self, condition: Condition, timeout: float | None) -> None:
        """Wait on the condition until it is notified, or the clock is advanced."""
        if timeout is not None and timeout <= 0:
            return
        with self._lock:
            self._waiting.append(condition)
        try:
            # `advance` needs the condition's lock to notify it, and the caller holds that until it sleeps here.
            condition.wait()
        finally:
            with self._lock:
                self._waiting.remove(condition)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake everybody who waits by this clock."""
        if not seconds >= 0:
            raise ValueError(f"Time does not go back: advance({seconds!r}).")
        with self._lock:
            self._elapsed_ns += round(seconds * 1e9)
            waiting = list(self._waiting)
        for condition in waiting:
            with condition:
                condition.notify_all()
