"""The default: a ThreadPoolExecutor per flow."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["ThreadPools"]


class ThreadPools:
    """Opens thread pools for flows. Their threads are named `ThreadPoolExecutor-…`, and drain at interpreter exit."""

    threaded = True

    def open_pool(self, max_workers: int) -> ThreadPoolExecutor:
        """A pool that starts its threads one by one, as they are needed."""
        return ThreadPoolExecutor(max_workers=max_workers)

    def watch_timers(self, fire_due: Callable[[], int | None]) -> None:
        """Not used: with threads, the event loop's own thread watches the timers."""

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Not used: threads run by themselves, and a wait sleeps on a condition."""

    def __repr__(self) -> str:
        return "ThreadPools()"
