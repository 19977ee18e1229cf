"""Activations whose coroutine waits for a place: the routine's limit is reached, and none of its lines has run.

They are active, as they have begun for the record. But nothing of theirs is at work that a pause would have to wait
for, and nothing new starts in a run that is paused or has failed. So such a stop takes them back.
"""

from typing import Any

from routilux.flow.gate import Gate
from routilux.flow.lifecycle import RunLifecycle
from routilux.flow.task import Activation

__all__ = ["RunPlaces"]


class RunPlaces(RunLifecycle):
    """What a run knows of those that wait for a place. All of it is under the run's lock.

    A stop and a first line both want to take the activation out of `_placeless`, and one of them finds it there: so it
    is kept in pending_tasks, or runs, and never both. That a resume is quicker than the loop's thread changes nothing:
    it goes on with another activation, and the one that was taken back stays out.
    """

    __slots__ = ("_placeless",)

    def __init__(self, *args: Any, **options: Any) -> None:
        # In the order in which they came; made for the first one.
        self._placeless: dict[Activation, None] | None = None
        super().__init__(*args, **options)  # last: others can see it from then on

    def await_place(self, task: Activation) -> None:
        """A coroutine is made whose first line may have to wait; in a run that was stopped it is taken back at once."""
        with self.lock:
            if self._placeless is None:
                self._placeless = {}
            self._placeless[task] = None
            if self._gate == Gate.PARKING:
                self._take_back()
                self._end_if_over()
                due = self._take_announcement()
            else:
                due = 0
        if due:
            self.announce(due)

    def leave_for_first_line(self, task: Activation) -> bool:
        """Whether it may begin now; False: it was taken back."""
        with self.lock:
            return self._placeless is not None and self._placeless.pop(task, task) is None

    def waits_in_vain(self, task: Activation) -> bool:
        """Whether it is not to begin any more. A guess: `leave_for_first_line` decides."""
        return self.is_refusing() or task not in (self._placeless or ())

    def _close(self, gate: int, status: str) -> None:
        if gate == Gate.PARKING and self._placeless:
            self._take_back()
        super()._close(gate, status)

    def _take_back(self) -> None:
        tasks, self._placeless = [task for task in self._placeless or () if task in self.active], None
        for task in tasks:
            if self.is_sequential and not (task.is_entry and self.is_inline):
                self.tokens -= 1  # it went along with the activation
            self.active.discard(task)
            self.outstanding -= 1
            # Its beginning stands in the record: a resume goes on with it, and begins with what has begun.
            self.park(task, "retry" if task.retry_count else "active")
        self.engine.handover.let_go(tasks)
