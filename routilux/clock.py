"""The system's time behind the `Clock` protocol."""

import time
from threading import Condition

__all__ = ["SYSTEM_CLOCK", "SystemClock"]


class SystemClock:
    """Real time.

    `perf_counter_ns` rather than `monotonic_ns`: both are monotonic, and only the first promises the finest
    resolution of the platform (on Windows `monotonic_ns` ticks every 15 ms, and every execution would take 0).
    """

    monotonic_ns = staticmethod(time.perf_counter_ns)
    time_ns = staticmethod(time.time_ns)

    def wait(self, condition: Condition, timeout: float | None) -> None:
        """Wait on the condition for at most `timeout` seconds."""
        condition.wait(timeout)

    def __repr__(self) -> str:
        return "SystemClock()"


SYSTEM_CLOCK = SystemClock()
