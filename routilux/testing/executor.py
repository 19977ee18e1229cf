"""Workers that are stepped by hand: every interleaving of a flow's activations can be forced, in one thread."""

from collections import deque
from collections.abc import Callable

__all__ = ["ManualExecutor"]


class ManualExecutor:
    """Runs nothing until it is told to; for `Flow(executor=...)`.

    Handlers run on the thread that steps. A handler may itself call `step`, to let another activation happen in the
    middle of its own. `Flow.run` and the waits step for themselves, until the run is over or only timers are left.
    A retry of an entry is stepped like any other task, instead of being waited for by `execute`.
    """

    threaded = False

    def __init__(self) -> None:
        self._work: deque[Callable[[], None]] = deque()
        self._fire_due: list[Callable[[], int | None]] = []

    def __repr__(self) -> str:
        return f"ManualExecutor({len(self._work)} workers wait for a step)"

    # -- what a test does

    def step(self) -> bool:
        """Fire the timers that are due, then let one worker perform one activation; False when there was none."""
        self.fire_timers()
        if not self._work:
            return False
        self._work.popleft()()
        return True

    def run_until_idle(self) -> int:
        """Step until nothing is left but timers that are not due; returns the number of steps."""
        count = 0
        while self.step():
            count += 1
        return count

    def fire_timers(self) -> None:
        """Fire the timers that are due by the flow's clock."""
        for fire_due in self._fire_due:
            fire_due()

    # -- what the engine needs

    def open_pool(self, max_workers: int) -> "ManualExecutor":  # noqa: ARG002 - the protocol's
        """This executor serves every pool."""
        return self

    def submit(self, fn: Callable[[], None], /) -> None:
        """Keep work for a later step."""
        self._work.append(fn)

    def shutdown(self, wait: bool = True) -> None:
        """Nothing to let go of."""

    def watch_timers(self, fire_due: Callable[[], int | None]) -> None:
        """Remember whose timers to fire."""
        self._fire_due.append(fire_due)

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Step until `is_done()`, or until nothing is left but timers that are not due."""
        while not is_done() and self.step():
            pass
