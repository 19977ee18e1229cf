"""Calls of a handler without an engine: the context that it sees, and the record of its error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from routilux.context import current_activation, current_job_state
from routilux.errors import text_of

if TYPE_CHECKING:  # the vocabulary stands above this room
    from routilux.flow.flow import Flow
    from routilux.flow.task import Activation
    from routilux.job_state import JobState
    from routilux.slot import Slot

__all__ = ["DirectCall", "record_slot_error", "routine_id_in", "working_for"]


class DirectCall:
    """What stands in the context while a slot's handler is called directly: no run, but a flow and a job.

    Attributes:
        attempt: Its activation, where an engine calls the handler all the same, for an emission that belongs to no run.
    """

    __slots__ = ("attempt", "flow", "job_state", "routine")

    run = None
    is_late = False
    effects = None
    retry_count = 0
    activation_id = ""

    def __init__(
        self,
        routine: Any,
        job_state: "JobState | None",
        flow: "Flow | None",
        attempt: "Activation | None" = None,
    ) -> None:
        self.routine = routine
        self.job_state = job_state
        self.flow = flow
        self.attempt = attempt

    def holds(self, call: Callable[[], None]) -> bool:
        """Keep an emission until the attempt has succeeded; False where it is to be made at once."""
        return self.attempt is not None and self.attempt.run.hold_call(self.attempt, call)

    def refuse_late(self, part: object, what: str) -> None:
        """Never called: it has no attempts."""

    def routine_id_of(self, routine: Any) -> str:
        """The id of a routine in the flow."""
        return routine_id_in(self.flow, routine)


@contextmanager
def working_for(slot: "Slot", job_state: "JobState | None", flow: "Flow | None") -> Iterator[None]:
    """Let the handler of `slot` see a job and a flow; without a job it sees what its caller sees."""
    if job_state is None:
        yield
        return
    job_token = current_job_state.set(job_state)
    call: Any = DirectCall(slot.routine, job_state, flow or getattr(slot.routine, "_current_flow", None))
    activation_token = current_activation.set(call)
    try:
        yield
    finally:
        current_activation.reset(activation_token)
        current_job_state.reset(job_token)


def record_slot_error(slot: "Slot", error: BaseException, job_state: "JobState | None", flow: "Flow | None") -> None:
    """Put one `error` record into the job, the given one or the one that is current."""
    job = job_state if job_state is not None else current_job_state.get()
    if job is None:
        return
    routine_id = routine_id_in(flow or getattr(slot.routine, "_current_flow", None), slot.routine)
    job.record_execution(
        routine_id, "error", {"slot": slot.name, "error": text_of(error), "error_type": type(error).__name__}
    )


def routine_id_in(flow: "Flow | None", routine: Any) -> str:
    """The id of a routine in a flow, or its own `_id` where the flow does not have it."""
    found = flow.id_of(routine) if flow is not None and routine is not None else None
    return found if found is not None else str(getattr(routine, "_id", ""))
