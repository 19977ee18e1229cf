"""The timers of one run: its deadline, the retries of its activations, the delays that it has set itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from routilux.flow.event_loop import EventLoop

if TYPE_CHECKING:  # held, not called
    from routilux.flow.task import Activation

__all__ = ["RunTimers", "nanoseconds"]


class RunTimers:
    """What of a run is in the loop's heap. Every method is called with the run's lock held.

    Whoever takes a task out of here owns it: a pause, a failure or a shutdown that comes before the timer parks it,
    and the timer then finds nothing.
    """

    __slots__ = (
        "_deadline_number",
        "_left_ns",
        "_loop",
        "_run_key",
        "_waiting",
        "deadline_ns",
        "delayed_count",
        "heap_count",
    )

    def __init__(self, loop: EventLoop, run_key: int) -> None:
        self._loop = loop
        self._run_key = run_key
        self._waiting: dict[int, tuple[int, Activation]] = {}
        #: How many of them wait for a delay that the run has set itself.
        self.delayed_count = 0
        self.deadline_ns: int | None = None
        self._deadline_number: int | None = None
        self._left_ns: int | None = None
        #: Entries in the loop's heap, living and dead.
        self.heap_count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, task: "Activation", due_ns: int) -> None:
        """Give a task back when it is due. It stays counted meanwhile."""
        self._waiting[self.schedule(due_ns)] = (due_ns, task)
        if not task.retry_count:
            self.delayed_count += 1

    def waiting(self) -> "list[tuple[int, Activation]]":
        """Every task that waits here, with its due time."""
        return list(self._waiting.values())

    def schedule(self, due_ns: int) -> int:
        """Have the run's `on_timer(number)` called; returns the number."""
        self.heap_count += 1
        return self._loop.schedule(self._run_key, due_ns)

    def take(self, number: int, now: int) -> "Activation | None":
        """The task of a timer that fired; None when somebody else has taken it."""
        self.heap_count -= 1
        found = self._waiting.pop(number, None)
        if found is None:
            return None
        task = found[1]
        if not task.retry_count:
            self.delayed_count -= 1
            self.go_on(now)
        return task

    def take_all(self) -> "Iterator[tuple[int, Activation]]":
        """Every task that waits here, with its due time; they are the caller's from now on."""
        waiting, self._waiting = self._waiting, {}
        self.delayed_count = 0
        yield from waiting.values()

    # -- the deadline

    def set_deadline(self, now: int, left_ns: int) -> None:
        """Expire after `left_ns`."""
        self.deadline_ns = now + left_ns
        self._left_ns = None
        self._deadline_number = self.schedule(self.deadline_ns)

    def forget_deadline(self) -> None:
        """No deadline from now on; the entry in the heap finds nothing."""
        self.deadline_ns = self._deadline_number = self._left_ns = None

    def is_deadline(self, number: int) -> bool:
        """Whether a timer that fired was the deadline that is in force."""
        return number == self._deadline_number

    def seconds_left(self, now: int) -> float | None:
        """How long until the deadline; None without one."""
        left_ns = self._left_ns if self.deadline_ns is None else self.deadline_ns - now
        return None if left_ns is None else max(0.0, left_ns / 1e9)

    def stand_still(self, outstanding: int, now: int) -> None:
        """Stop the clock of the timeout while a run waits for nothing but delays that it has set itself."""
        if self.delayed_count and self.delayed_count == outstanding and self.deadline_ns is not None:
            self._left_ns = max(1, self.deadline_ns - now)
            self.deadline_ns = self._deadline_number = None

    def go_on(self, now: int) -> None:
        """Let the clock of the timeout run again, if it stands still: there is work."""
        if self._left_ns is not None:
            self.set_deadline(now, self._left_ns)


def nanoseconds(seconds: float) -> int:
    """Seconds as nanoseconds; a thousand years stand for everything beyond."""
    return round(min(seconds, 3e10) * 1e9)
