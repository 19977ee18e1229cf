"""Fork: a new run from a point in the history of another one."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from routilux.errors import ForeignStateError, InvalidTypeError, InvalidValueError, ResumeRefusedError
from routilux.flow.identity import as_text, identity_of
from routilux.flow.resuming import resume
from routilux.ids import new_id
from routilux.job_state import JobState, ledger_of
from routilux.status import JobStatus
from routilux.stores.reading import Reading, find_run, replayed_until, structure_before

if TYPE_CHECKING:  # whose runs they are
    from routilux.flow.durable.durability import Durability
    from routilux.flow.engine import Engine
    from routilux.stores.base import RunHeader

__all__ = ["Changes", "fork"]

# What is different in a fork: shared values by their keys, or a function that is given the new record.
Changes = Mapping[str, Any] | Callable[[JobState], Any] | None


def fork(
    engine: "Engine",
    durability: "Durability",
    run: JobState | str,
    at: int,
    changes: Changes,
    job_id: str | None,
    timeout: float | None,
) -> JobState:
    """See `Flow.fork`."""
    if isinstance(at, bool) or not isinstance(at, int) or at < 0:
        raise InvalidValueError(f"at is the number of a record in the history, from 0, not {at!r}.")
    if job_id is not None and (not isinstance(job_id, str) or not job_id):
        raise InvalidValueError(f"job_id must be a text that is not empty, not {job_id!r}.")
    if not (changes is None or callable(changes) or isinstance(changes, Mapping)):
        raise InvalidTypeError(
            f"changes is a dict of shared values, or a function that is given the new JobState, not {changes!r}."
        )
    header = _origin(engine, durability, run)
    origin = header.job_id
    if job_id is not None and durability.store.find(job_id) is not None:
        raise InvalidValueError(f"The store has a run {job_id!r} already. Give the fork another job_id, or none.")
    reading = replayed_until(durability.store, origin, at)
    job_state = _forked(reading, origin, job_id or new_id())
    # It is a run of now, whenever its history began: by that the store tells the newest runs, and which to keep.
    job_state.created_at = datetime.fromtimestamp(engine.clock.time_ns() / 1e9)
    _change(job_state, changes)
    # By that, a resume sees what today's code cannot take, and migrates it.
    structure = structure_before(durability.store, origin, reading.number)
    durability.attend(job_state, 0, structure=header.fingerprint if structure is None else structure)
    try:
        return resume(engine, job_state, timeout)
    except ResumeRefusedError as error:
        raise ResumeRefusedError(origin, error.checks) from None  # the fork has a name that nobody knows


def _origin(engine: "Engine", durability: "Durability", run: JobState | str) -> "RunHeader":
    """The header of a run of this flow; what it has done here until now is in the store."""
    if not isinstance(run, JobState | str):
        raise InvalidTypeError(f"A JobState or a job_id is needed, not {run!r}.")
    job_id = run if isinstance(run, str) else run.job_id
    header = find_run(durability.store, job_id)
    if header.flow_id != engine.flow.flow_id:
        raise ForeignStateError(
            f"Run {job_id!r} belongs to flow {header.flow_id!r}, not to this one, {engine.flow.flow_id!r}."
        )
    durability.keep_up(job_id)
    return header


def _forked(reading: Reading, origin: str, job_id: str) -> JobState:
    replay = reading.replay
    saved = replay.saved_form(JobStatus.RUNNING.value)
    for name in ("journal_row", "recoveries", "structure_before"):
        saved.pop(name, None)
    # The entry is known by its identity, which follows from the job_id. All others follow from its, and from each
    # other: they are told apart from the old run's by the job_id that stands before them.
    entry, new_entry = (as_text(identity_of(each)) for each in (origin, job_id))
    for task in saved["pending_tasks"]:
        if task["id"] == entry:
            task["id"] = new_entry
    job_state = JobState()
    job_state.deserialize(saved)
    job_state.job_id = job_id
    job_state.metadata["forked_from"] = {"job_id": origin, "record_count": replay.record_count}
    return job_state


def _change(job_state: JobState, changes: Changes) -> None:
    job_id = job_state.job_id
    if isinstance(changes, Mapping):
        for key, value in changes.items():
            job_state.update_shared_data(key, value)
    elif changes is not None:
        changes(job_state)
    if job_state.job_id != job_id or ledger_of(job_state).live is not None:
        raise InvalidValueError(
            "The function given to fork may change what the run has, but neither rename nor start it. "
            "fork(..., job_id=...) names it, and starts it when the function has returned."
        )
