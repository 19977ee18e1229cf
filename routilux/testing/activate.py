"""One activation of one slot, for tests of a routine by itself."""

from typing import Any

from routilux.errors import UnknownNameError
from routilux.flow.flow import Flow
from routilux.flow.task import SlotActivationTask
from routilux.job_state import JobState
from routilux.routine import Routine
from routilux.testing.clock import FakeClock
from routilux.testing.executor import ManualExecutor

__all__ = ["Activation", "activate"]


class Activation:
    """What a handler did with one delivery.

    Attributes:
        job_state: The record: shared data, history, errors, deferred events.
    """

    def __init__(self, job_state: JobState, events: set[str]) -> None:
        self.job_state = job_state
        self._events = events

    def __repr__(self) -> str:
        return f"Activation(emitted {self.emitted()}, error {self.error})"

    def emitted(self, event_name: str | None = None) -> list[tuple[str, dict[str, Any]]]:
        """What was emitted, as (event name, data), in order; of one event or of all.

        Raises:
            UnknownNameError: The routine has no such event.
        """
        if event_name is not None and event_name not in self._events:
            raise UnknownNameError("event", event_name, self._events, "the routine")
        wanted = self._events if event_name is None else {event_name}
        return [
            (r.event_name, r.data) for r in self.job_state.execution_history if r.is_emission and r.event_name in wanted
        ]

    @property
    def outputs(self) -> list[tuple[str, dict[str, Any]]]:
        """What was sent with `send_output`, as (type, data)."""
        return [(entry["output_type"], entry["data"]) for entry in self.job_state.outputs()]

    @property
    def error(self) -> str | None:
        """The text of what the handler's last attempt raised, or None when that succeeded."""
        errors = [record for record in self.job_state.errors if "retry_in" not in record.data]
        return str(errors[-1].data["error"]) if errors else None


def activate(routine: Routine, slot_name: str, /, job_state: JobState | None = None, **data: Any) -> Activation:
    """Deliver data to a slot of a routine that stands in no flow, and see what its handler does.

    The handler runs on this thread, in an execution context of its own, with the routine's error handler; delays
    between retries take no time. Nothing that it emits goes anywhere.

    Args:
        routine: The routine under test.
        slot_name: One of its slots.
        job_state: Prepared shared data, or an earlier activation's `job_state`, whose shared data and history go on.
            What a slot has merged does not: each call begins with empty slots.
        **data: What is delivered.

    Raises:
        UnknownNameError: The routine has no such slot.
    """
    slot = routine.get_slot(slot_name)
    if slot is None:
        raise UnknownNameError("slot", slot_name, routine._slots, repr(routine))
    flow_before = routine._current_flow
    clock, executor = FakeClock(), ManualExecutor()
    flow = Flow("activate", clock=clock, executor=executor)
    flow.add_routine(routine, "routine")
    job_state = JobState(flow.flow_id) if job_state is None else job_state
    flow._task_queue.put(SlotActivationTask(slot, dict(data), job_state=job_state))
    flow.start_event_loop()
    while executor.run_until_idle():
        clock.advance(1e6)
    routine._current_flow = flow_before
    states = job_state.routine_states.values()
    job_state.status = "failed" if any(state.get("status") == "failed" for state in states) else "completed"
    return Activation(job_state, set(routine._events))
