"""How a stop stands in the record: pause points, and the reason of a cancellation."""

from typing import Any

from routilux.job_state import JobState, ledger_of
from routilux.status import JobStatus

__all__ = [
    "PARKED",
    "is_parked",
    "note_cancellation",
    "note_pause",
    "status_below",
    "write_cancellation",
    "write_pause_point",
]


# In a pause point: nobody has asked for the pause, so a recovery of a kept run goes on with it.
PARKED: dict[str, Any] = {"checkpoint": {}, "parked": True}


def is_parked(job_state: JobState) -> bool:
    """Whether a run is paused because it could not go on, and not because somebody said so."""
    points = job_state.pause_points
    return job_state.status == JobStatus.PAUSED and bool(points) and bool(points[-1].get("parked"))


def status_below(job_state: JobState) -> str:
    """A run's status, or, if it stood still when it was paused, the one that it had then.

    A finished run may be paused, and keeps what it was: a pause is no way round a cancellation.
    """
    status = job_state.status
    if status == JobStatus.PAUSED and job_state.pause_points:
        status = job_state.pause_points[-1].get("previous_status", status)
    return status


def write_pause_point(job_state: JobState, point: dict[str, Any], active_count: int) -> None:
    """With the run's lock held: append a pause point.

    Args:
        job_state: The run.
        point: Its reason and checkpoint.
        active_count: How many handlers are still running.
    """
    ledger = ledger_of(job_state)
    now = ledger.touched_ns = ledger.now()
    entry = {
        "timestamp": ledger.instant(now).isoformat(),
        "current_routine_id": job_state.current_routine_id,
        **point,
        "pending_tasks_count": len(job_state.pending_tasks),
        "active_tasks_count": active_count,
    }
    job_state.pause_points.append(entry)
    if ledger.scribe is not None:
        ledger.scribe.paused(entry)


def write_cancellation(job_state: JobState, reason: str) -> None:
    """With the run's lock held: note why it was cancelled."""
    ledger = ledger_of(job_state)
    ledger.touched_ns = ledger.now()
    if reason:
        ledger.routine_states.merge("_cancellation", {"reason": reason})


def note_pause(job_state: JobState, point: dict[str, Any], active_count: int) -> bool:
    """A run that stands still is paused, and its pause point keeps its earlier status. False: it goes on after all."""
    ledger = ledger_of(job_state)
    with ledger.lock:
        if _goes_on(job_state):
            return False
        write_pause_point(job_state, {**point, "previous_status": status_below(job_state)}, active_count)
        ledger.status = JobStatus.PAUSED.value
        return True


def note_cancellation(job_state: JobState, reason: str) -> str | None:
    """A run that stands still is cancelled; returns its status before. None: it goes on after all."""
    ledger = ledger_of(job_state)
    with ledger.lock:
        if _goes_on(job_state):
            return None
        before = ledger.status
        if before == JobStatus.CANCELLED:
            return before
        ledger.status = JobStatus.CANCELLED.value
        ledger.refuses = True
        job_state.pending_tasks.clear()
        job_state.input_requests.clear()
        write_cancellation(job_state, reason)
        return before


def _goes_on(job_state: JobState) -> bool:
    """With the run's lock held: somebody has executed or resumed it since the caller looked."""
    live = ledger_of(job_state).live
    return live is not None and live.is_open()
