"""Dead letters: the activations with which a run has failed. They are tried again, all of them or some."""

from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidTypeError, InvalidValueError
from routilux.flow.resuming import resume
from routilux.job_state import JobState, ledger_of

if TYPE_CHECKING:  # whose runs they are
    from routilux.flow.engine import Engine

__all__ = ["retry_failed"]


def retry_failed(
    engine: "Engine",
    job_state: JobState,
    routine_id: str | None,
    activation_id: str | None,
    timeout: float | None,
) -> JobState:
    """See `Flow.retry_failed`."""
    if not isinstance(job_state, JobState):
        raise InvalidTypeError(f"A JobState or a job_id is needed, not {job_state!r}.")
    # As pending tasks say it, which name no run.
    wanted_id = None if activation_id is None else activation_id.rpartition(":")[2]

    def is_wanted(entry: dict[str, Any]) -> bool:
        return (
            entry.get("was") == "failed"
            and routine_id in (None, entry.get("routine_id"))
            and wanted_id in (None, entry.get("id"))
        )

    live = ledger_of(job_state).live
    if live is not None and live.is_open():
        raise InvalidValueError(
            f"{job_state!r} is at work. Wait until it is over, or pause it, before its dead letters are tried again."
        )
    letters = [entry for entry in list(job_state.pending_tasks) if entry.get("was") == "failed"]
    if not any(map(is_wanted, letters)):
        what = "" if routine_id is None else f" of routine {routine_id!r}"
        what += "" if activation_id is None else f" with the id {activation_id!r}"
        there = ", ".join(f"{entry.get('routine_id')!r} (id {entry.get('id')!r})" for entry in letters)
        raise InvalidValueError(
            f"{job_state!r} has no dead letter{what}. " + (f"It has: {there}." if there else "It has none at all.")
        )
    return resume(engine, job_state, timeout, lambda entry: entry.get("was") == "failed" and not is_wanted(entry))
