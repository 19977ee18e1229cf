"""The names of a flow's inside that existing code looks at: `_task_queue`, `_active_tasks` and their like.

They show what the runs hold; nothing in the engine reads them. The one thing that goes the other way is a task that
somebody puts into the queue: it waits there until a loop runs, and then runs like any other.
"""

import queue
import time
from typing import TYPE_CHECKING, Any

from routilux.context import current_activation
from routilux.errors import InvalidTypeError
from routilux.flow.task import Activation, SlotActivationTask

if TYPE_CHECKING:  # the engine is shown, not driven
    from routilux.flow.engine import Engine

__all__ = ["ActiveTask", "ObservedQueue", "check_task"]


class ObservedQueue:
    """What waits in all runs of a flow, in the shape of a `queue.Queue`."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def qsize(self) -> int:
        """Activations that wait to be started, over all live runs."""
        return len(self._engine.arrivals) + sum(run.queue_size() for run in self._engine.loop.live_runs())

    def empty(self) -> bool:
        """Whether nothing waits."""
        return self.qsize() == 0

    def put(self, item: SlotActivationTask, *_how_to_wait: object, **_more: object) -> None:
        """Have a task run as soon as a loop runs. It never blocks, whatever `block` and `timeout` say.

        Raises:
            InvalidTypeError: It is no task; a None that shall end a loop is not needed here.
        """
        check_task(item)
        self._engine.arrive(item)

    put_nowait = put

    def get(self, block: bool = True, timeout: float | None = None) -> SlotActivationTask:
        """Take back a task that was put here and has not been taken up.

        Raises:
            queue.Empty: There is none (within `timeout` seconds).
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (task := self._engine.take_arrival()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if not block or (left is not None and left <= 0):
                raise queue.Empty
            self._engine.wait_for_arrival(left)
        return task

    def get_nowait(self) -> SlotActivationTask:
        """Take back a task at once; see `get`."""
        return self.get(block=False)

    def __repr__(self) -> str:
        return f"ObservedQueue({self.qsize()} waiting)"


def check_task(item: object) -> None:
    """Raise unless something is a task.

    Raises:
        InvalidTypeError: It is not.
    """
    if not isinstance(item, SlotActivationTask):
        raise InvalidTypeError(
            f"flow._task_queue takes SlotActivationTask objects, not {item!r}. Put SlotActivationTask(slot, data, "
            "job_state=job_state), or emit an event; a loop ends by itself, and flow.shutdown() ends it now."
        )


class ActiveTask:
    """A handler that is running, in the shape of a future."""

    __slots__ = ("_active", "_task")

    def __init__(self, task: Any, active: Any) -> None:
        self._task = task
        self._active = active

    def is_of_caller(self) -> bool:
        """Whether it cannot return before the calling handler does: it is that, or its run waits for that one's."""
        caller = current_activation.get()
        if not isinstance(caller, Activation):
            return False
        return self._task is caller or self._task.run.key in caller.run.ancestors

    def done(self) -> bool:
        """Whether the handler has returned."""
        return self._task not in self._active

    def __repr__(self) -> str:
        return f"ActiveTask({self._task!r})"
