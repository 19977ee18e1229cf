"""Pause and cancel: what callers do to runs from outside, or from inside their own handlers. See `resuming.py` too."""

import os
import time
from threading import RLock
from typing import TYPE_CHECKING, Any

from routilux.context import current_activation, delivering_output
from routilux.errors import ForeignStateError, InvalidTypeError
from routilux.flow.lifecycle import RunLifecycle
from routilux.flow.stops import note_cancellation, note_pause
from routilux.flow.waiters import GRACE_SECONDS, runs_loop
from routilux.flow.workers import workers_of_this_thread
from routilux.job_state import JobState, ledger_of
from routilux.plain import plain_dict, shortened
from routilux.status import FINAL, JobStatus

if TYPE_CHECKING:  # driven by the flow that owns it
    from routilux.flow.durable.durability import Durability
    from routilux.flow.engine import Engine

__all__ = ["cancel", "check_flow", "check_state", "driver_of", "pause", "while_nothing_resumes"]


# Makes deciding about a state and opening its run one step: of two who resume one state, the second finds it live.
# Taken before every other lock. Of user code, only a routine's own `get_slot` or `get_event` may run while it is held
# (`Revival` asks for them), and none under the lock of a run.
_resuming = RLock()


def _forget_threads() -> None:
    """In a forked child, where the thread that held the lock does not exist."""
    global _resuming  # noqa: PLW0603 - it is one for all flows, and a lock cannot be emptied
    _resuming = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def while_nothing_resumes() -> Any:
    """A lock, re-entrant: while it is held, no run is being resumed. Taken before every other one."""
    return _resuming


def pause(engine: "Engine", job_state: JobState | None, reason: str, checkpoint: dict[str, Any] | None) -> None:
    """See `Flow.pause`."""
    if not isinstance(checkpoint, dict | None):
        raise InvalidTypeError(f"The checkpoint of a pause is a dict or None, not {checkpoint!r}.")
    point: dict[str, Any] = {"reason": reason, "checkpoint": dict(checkpoint or {})}
    if engine.durability is not None:
        # Refused before anything has happened: a run whose stop cannot be kept is neither stopped nor going on.
        _refuse_unkept("pause", reason)
        point["checkpoint"] = plain_dict(point["checkpoint"], "the checkpoint of a pause", 2)  # so deep it is kept
    at_work = [_pause_one(engine, state, point) for state in _states(engine, job_state)]
    if _must_not_wait():
        return
    until = time.monotonic() + GRACE_SECONDS
    for run in at_work:
        if run is not None:
            run.block(max(0.0, until - time.monotonic()))


def _pause_one(engine: "Engine", state: JobState, point: dict[str, Any]) -> RunLifecycle | None:
    """Pause one run; returns the live side whose handlers may still be at work."""
    while True:
        run = driver_of(engine, state)
        if run is not None and run.pause(point):
            return run
        # One step: a resume in between would drive it, and what is kept here would let others have it.
        with _resuming:
            kept = _claim_if_kept(engine, state) if run is None or run.over else None
            # Unless it was executed or resumed since we looked: then there is something to pause after all.
            if note_pause(state, point, run.active_count() if run is not None else 0):
                if kept is not None:
                    kept.keep_still(state)
                elif run is not None:
                    run.keep_note()  # its handlers are still at work, so it is this process's
                return run


def cancel(engine: "Engine", job_state: JobState | None, reason: str) -> None:
    """See `Flow.cancel`."""
    if engine.durability is not None:
        _refuse_unkept("cancellation", reason)
    for state in _states(engine, job_state):
        _cancel_one(engine, state, reason)


def _refuse_unkept(what: str, reason: str) -> None:
    if not isinstance(reason, str):
        raise InvalidTypeError(f"The reason of a {what} is text, not {shortened(reason)}. Give str(...) of it.")


def _cancel_one(engine: "Engine", state: JobState, reason: str) -> None:
    while True:
        run, before = driver_of(engine, state), state.status
        if run is not None and run.cancel(reason):
            is_told = not run.is_adopted
            break
        with _resuming:  # as for a pause
            kept = _claim_if_kept(engine, state) if run is None or run.over else None
            found = note_cancellation(state, reason)
            if found is not None:  # else it was executed or resumed since we looked
                before, is_told = found, False
                if kept is not None:
                    kept.keep_still(state)
                elif run is not None:
                    run.keep_note()
                break
    if not is_told and before not in FINAL:
        engine.listeners.tell_end(state)


def _claim_if_kept(engine: "Engine", state: JobState) -> "Durability | None":
    """Drive a run that stands still, where the store has it; returns what keeps it."""
    durability = engine.durability
    if durability is None or state.status == JobStatus.PENDING or durability.store.find(state.job_id) is None:
        return None
    durability.claim(state)
    return durability


def driver_of(engine: "Engine", state: JobState) -> RunLifecycle | None:
    """The live side of a run, wherever in this process it is driven; None: it stands still."""
    live = ledger_of(state).live
    return live if isinstance(live, RunLifecycle) else engine.adopted(state)


def _states(engine: "Engine", job_state: JobState | None) -> list[JobState]:
    if job_state is not None:
        check_flow(engine, job_state)
        return [job_state]
    return [run.job_state for run in engine.loop.live_runs() if run.is_open() and not run.is_adopted]


def check_state(job_state: Any) -> None:
    """Raise unless something is a JobState."""
    if isinstance(job_state, str):
        raise InvalidTypeError(
            f"A JobState is needed, not {job_state!r}. With a store, flow.load(job_id) gives that of a job_id; "
            "JobState.load(path) that of a file."
        )
    if not isinstance(job_state, JobState):
        raise InvalidTypeError(f"A JobState is needed, not {job_state!r}.")


def check_flow(engine: "Engine", job_state: Any) -> None:
    """Raise unless something is a JobState of this flow."""
    check_state(job_state)
    if job_state.flow_id != engine.flow.flow_id:
        raise ForeignStateError(
            f"The state belongs to flow {job_state.flow_id!r} and does not match this one, {engine.flow.flow_id!r}. "
            "Use the flow that it was executed in, or one with the same flow_id."
        )


def _must_not_wait() -> bool:
    """Whether waiting for handlers could wait for the caller itself, or stop an application's event loop."""
    if current_activation.get() is not None or delivering_output.get() or workers_of_this_thread() is not None:
        return True
    return runs_loop()
