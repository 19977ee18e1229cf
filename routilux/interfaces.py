"""The small protocols around the engine: time, threads, durability, observation.

Each has a default that costs nothing (the system's clock, a thread pool, no journal, no hooks). Whoever replaces
one implements the protocol here and hands it to `Flow(clock=..., executor=..., journal=..., hooks=...)`.
"""

from collections.abc import Callable, Sequence
from threading import Condition
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = ["Clock", "Hooks", "Journal", "PoolFactory", "Settlement", "WorkerPool"]


@runtime_checkable
class Clock(Protocol):
    """Where the engine takes its time from."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go backwards."""

    def time_ns(self) -> int:
        """Nanoseconds since the epoch, by the wall clock."""

    def wait(self, condition: Condition, timeout: float | None) -> None:
        """Wait on a condition that the caller holds, for at most `timeout` seconds of this clock's time.

        It may return early; callers look at their predicate again.
        """


@runtime_checkable
class WorkerPool(Protocol):
    """Threads that run worker loops. `concurrent.futures.Executor` has this shape."""

    def submit(self, fn: Callable[[], None], /) -> Any:
        """Run `fn` on some thread, soon.

        Raises:
            RuntimeError: When no thread can be had.
        """

    def shutdown(self, wait: bool = True) -> None:
        """Take no new work; with `wait`, return when what was submitted is over."""


class PoolFactory(Protocol):
    """Makes the pool of a flow: `Flow(executor=...)`."""

    # True: the engine's own thread watches the timers. False: whoever holds the pool fires them.
    threaded: bool

    def open_pool(self, max_workers: int) -> WorkerPool:
        """A pool of at most `max_workers` threads."""

    def watch_timers(self, fire_due: Callable[[], int | None]) -> None:
        """Called once per flow when `threaded` is False: `fire_due()` fires what is due by the clock.

        It returns the instant (monotonic nanoseconds) of the next timer, or None.
        """

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Called by a wait when `threaded` is False: step until `is_done()` or until nothing is left to step."""


class Settlement(NamedTuple):
    """One activation that is over: what a journal has to keep about it.

    Attributes:
        job_id: The run.
        activation_id: Stable when the activation runs again.
        routine_id: Whose handler ran.
        slot: The slot's name.
        outcome: "completed", "error_continued", "skipped", "retry" or "failed".
        attempt: 1 for the first.
        emissions: What it released: (event name, data, activation ids of the deliveries).
    """

    job_id: str
    activation_id: str
    routine_id: str
    slot: str
    outcome: str
    attempt: int
    emissions: Sequence[tuple[str, dict[str, Any], list[str]]] = ()


class Journal(Protocol):
    """What must be durable. Called under the run's lock, in the order in which the run settles.

    It must be quick, must not call back into the run, and must not raise.
    """

    def started(self, job_id: str, entry_routine_id: str, params: dict[str, Any]) -> None:
        """A run begins."""

    def settled(self, settlement: Settlement) -> None:
        """An activation is over, and everything it caused is counted."""

    def ended(self, job_id: str, status: str) -> None:
        """A run became final."""


class Hooks(Protocol):
    """What an observer sees, on the thread where it happens, outside every lock of the engine.

    What a hook raises is logged and stops nothing.
    """

    def activation_started(self, job_state: Any, routine_id: str, slot: str) -> None:
        """A handler is about to be called."""

    def activation_ended(self, job_state: Any, routine_id: str, slot: str, error: BaseException | None) -> None:
        """A handler has returned or raised; its effects are not settled yet."""

    def run_ended(self, job_state: Any) -> None:
        """A run became final."""
