"""Which run, and which of its activations, the present thread is working for.

Context variables, set around every call of a handler. A thread that a handler starts begins with an empty
context; `contextvars.copy_context().run(...)` carries the run into it.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # named in annotations only: the context knows of the rooms above it, it does not need them
    from routilux.flow.flow import Flow
    from routilux.flow.task import Activation
    from routilux.job_state import JobState
    from routilux.synchronous import DirectCall

__all__ = [
    "ExecutionContext",
    "current_activation",
    "current_effects",
    "current_job_state",
    "delivering_output",
    "refuse_late",
]

current_job_state: "ContextVar[JobState | None]" = ContextVar("routilux_job_state", default=None)
# A DirectCall while a slot is called without an engine: it has no run, but the same attributes otherwise.
current_activation: "ContextVar[Activation | DirectCall | None]" = ContextVar("routilux_activation", default=None)

# Where the attempt that this thread works for holds back its effects (policy RETRY). The activation is the same in all
# its attempts: by this, a thread that has outlived a failed one is told from the one that is at work.
current_effects: "ContextVar[object]" = ContextVar("routilux_effects", default=None)

# True while an output handler is called: it must not wait for the handlers that send outputs.
delivering_output: "ContextVar[bool]" = ContextVar("routilux_delivering_output", default=False)


def refuse_late(part: object, what: str) -> None:
    """Refuse what a handler does to the record of its run after its attempt was given up.

    Asked before a write, not under its lock: what had begun when the time was over is done.

    Args:
        part: The record, or the dict in it, that is about to be written.
        what: What is refused, for the message and the run's history.

    Raises:
        LateAttemptError: The calling handler's attempt was given up, and this belongs to its run.
    """
    activation = current_activation.get()
    if activation is not None and activation.is_late:
        activation.refuse_late(part, what)


class _Parts(NamedTuple):
    flow: Any
    job_state: Any
    routine_id: Any


class ExecutionContext(_Parts):
    """Where a handler is running; unpacks as `(flow, job_state, routine_id)`.

    Attributes:
        flow: The flow.
        job_state: The record of this run.
        routine_id: The id under which the routine runs in the flow.
    """

    flow: "Flow"
    job_state: "JobState"
    routine_id: str
    _activation: "Activation | DirectCall | None" = None

    @classmethod
    def of(cls, activation: "Activation | DirectCall", routine_id: str) -> "ExecutionContext":
        """The context of an activation."""
        context = cls(activation.flow, activation.job_state, routine_id)
        context._activation = activation
        return context

    @property
    def activation_id(self) -> str:
        """Names this activation, the same when it runs again: an idempotency key for the world outside."""
        return self._activation.activation_id if self._activation is not None else ""

    @property
    def attempt(self) -> int:
        """1 for the first call of the handler, 2 for the first retry."""
        return self._activation.retry_count + 1 if self._activation is not None else 1

    @property
    def cancelled(self) -> bool:
        """True once the run was cancelled, failed or timed out, or this attempt was given up.

        Long handlers may look at it now and then.
        """
        if self._activation is not None and self._activation.is_late:
            return True
        run = self._activation.run if self._activation is not None else None
        return run is not None and run.is_cancelled()

    def __repr__(self) -> str:
        return (
            f"ExecutionContext(flow={getattr(self.flow, 'flow_id', None)!r}, job_state={self.job_state!r}, "
            f"routine_id={self.routine_id!r}, attempt={self.attempt})"
        )
