"""Runs are taken up again: after a crash, or by another process."""

import logging
from typing import TYPE_CHECKING

from routilux.errors import LeaseLostError, RoutiluxError, RunDrivenError, StoreError
from routilux.flow.controls import resume, while_nothing_resumes
from routilux.flow.durable.stored_inputs import wake_those_that_can
from routilux.job_state import JobState, ledger_of
from routilux.ledger import RecordKey
from routilux.status import JobStatus, RoutineStatus

if TYPE_CHECKING:  # whose runs they are
    from routilux.flow.durable.durability import Durability
    from routilux.flow.engine import Engine

__all__ = ["recover"]

logger = logging.getLogger(__name__)


def recover(engine: "Engine", durability: "Durability") -> list[JobState]:
    """See `Flow.recover`."""
    found = []
    for job_state in durability.take_over():
        found.append(_go_on(engine, durability, job_state))
        durability.is_taken_over(job_state.job_id)
    return [*found, *wake_those_that_can(engine, durability)]


def _go_on(engine: "Engine", durability: "Durability", job_state: JobState) -> JobState:
    deaths = durability.deaths_of(job_state.job_id) or {}
    deadly = [key for key, count in deaths.items() if count >= engine.flow.max_recoveries]
    if deadly:
        with while_nothing_resumes():
            live = ledger_of(job_state).live
            if live is None or not live.is_open():  # else somebody was quicker
                _fail(durability, job_state, set(deadly), engine.flow.max_recoveries)
        return job_state
    durability.note_deaths(job_state.job_id, deaths)
    try:
        resume(engine, job_state, engine.flow.execution_timeout, is_recovery=True)
    except (StoreError, LeaseLostError):
        raise  # it is taken up by the next recovery
    except RunDrivenError:
        return durability.load(job_state.job_id)  # somebody was quicker
    except RoutiluxError as error:
        # The drawing has changed, perhaps: the others go on, and this one waits for somebody who looks at it.
        logger.error(  # noqa: TRY400 - the message says it all, and names what to do
            "Run %s cannot go on, and is paused: %s", job_state.job_id, error, extra={"job_id": job_state.job_id}
        )
        durability.park(job_state, f"cannot go on: {error}")
    return job_state


def _fail(durability: "Durability", job_state: JobState, deadly: set[str], count: int) -> None:
    """The activations that kill the process are not tried again: the run fails with them, and can be looked at."""
    ledger = ledger_of(job_state)
    for entry in job_state.pending_tasks:
        if entry["id"] not in deadly:
            continue
        entry["was"] = "failed"
        routine_id, slot = entry["routine_id"], entry["slot"]
        text = f"The process died {count} times while this handler was at work"
        with ledger.lock:
            data = {"slot": slot, "error": text, "error_type": "ProcessDied"}
            ledger.write(RecordKey(routine_id, "error"), ledger.now(), data)
            changes = {"status": RoutineStatus.FAILED.value, "error": text}
            ledger.routine_states.merge(routine_id, changes)
    with ledger.lock:
        ledger.status = JobStatus.FAILED.value
    durability.keep_still(job_state)
