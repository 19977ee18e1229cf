"""Runs are taken up again: after a crash, or by another process."""

import logging
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from routilux.errors import InvalidDataError, LeaseLostError, RoutiluxError, RunDrivenError, StoreError, UnknownRunError
from routilux.flow.controls import while_nothing_resumes
from routilux.flow.durable.elsewhere import RunElsewhere, is_at_work
from routilux.flow.durable.stored_inputs import wake_those_that_can
from routilux.flow.resuming import resume
from routilux.job_state import JobState, ledger_of
from routilux.ledger import RecordKey
from routilux.status import FINAL, JobStatus, RoutineStatus
from routilux.stores.base import RunHeader, Write

if TYPE_CHECKING:  # whose runs they are
    from routilux.flow.durable.durability import Durability
    from routilux.flow.engine import Engine

__all__ = ["Recovery"]

logger = logging.getLogger(__name__)

# The statuses of runs that go on when somebody says so.
_AT_REST = frozenset({*FINAL, JobStatus.PAUSED})


class Recovery:
    """Takes up the runs of one flow that nobody drives.

    `_lock` lets one thread recover at a time. It is taken before every other lock, and protects `_untaken`.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # The runs that were claimed and do not go on yet. The store, which takes them for driven, names them once.
        self._untaken: dict[str, RunHeader] = {}

    def recover(self, engine: "Engine", durability: "Durability") -> list[JobState]:
        """See `Flow.recover`."""
        with self._lock:
            found = []
            for job_state in self._take_over(engine, durability):
                found.append(_go_on(engine, durability, job_state, engine.flow.execution_timeout))
                del self._untaken[job_state.job_id]
        go_on = partial(_go_on, engine, durability, timeout=engine.flow.execution_timeout)
        return [*found, *wake_those_that_can(engine, durability, go_on)]

    def take_up(self, engine: "Engine", durability: "Durability", job_id: str, timeout: float | None) -> None:
        """Go on with one run as a recovery does, if it has begun and no living process drives it.

        Args:
            engine: Of the flow.
            durability: Its durable side.
            job_id: The run.
            timeout: Seconds that it may take from now on.

        Raises:
            FlowShutDownError: The flow is shut down, or just being; the run is left to others.
            StoreError: The store cannot be read or written.
            LeaseLostError: This process's own lease was taken from it.
        """
        with self._lock:
            job_state = self._taken(engine, durability, job_id)
            if job_state is not None:
                _go_on(engine, durability, job_state, timeout)
                del self._untaken[job_id]

    def _taken(self, engine: "Engine", durability: "Durability", job_id: str) -> JobState | None:
        # What the header says must hold until its record is made: a resume in between might already have ended it.
        with while_nothing_resumes():
            if job_id not in self._untaken:
                header = durability.store.find(job_id)
                # Where this store drives it, it is another Flow object's, or one that is over and not yet written so.
                if header is None or header.status in _AT_REST or header.driver == durability.store.driver:
                    return None
                try:
                    (header,) = durability.store.claim(engine.flow.flow_id, job_id)
                except (RunDrivenError, UnknownRunError):
                    return None
                if header.status in _AT_REST or engine.is_closed():
                    durability.store.write([Write(job_id, release=True)])
                    engine.refuse_when_closed(is_execute=False)
                    return None  # somebody was quicker, and has let it go again
                self._untaken[job_id] = header
            job_state = _restored(durability, self._untaken[job_id])
            if job_state is None:
                del self._untaken[job_id]
            return job_state

    def _take_over(self, engine: "Engine", durability: "Durability") -> list[JobState]:
        """Drive every unfinished run that no living process drives, and those that an earlier recovery has left."""
        store = durability.store
        left = [store.find(job_id) for job_id in self._untaken]
        claimed = store.claim(engine.flow.flow_id)
        self._untaken = {
            header.job_id: header for header in (*left, *claimed) if header is not None and header.status not in FINAL
        }
        taken = []
        for header in list(self._untaken.values()):
            job_state = _restored(durability, header)
            if job_state is None:
                del self._untaken[header.job_id]
            else:
                taken.append(job_state)
        return taken


def _restored(durability: "Durability", header: RunHeader) -> JobState | None:
    """The record of a run that was claimed; None if it goes on already, or cannot be read."""
    with while_nothing_resumes():
        known = durability.known(header.job_id)
        if known is not None and is_at_work(known):
            return None  # somebody has resumed it meanwhile
        try:
            job_state = durability.restored(header, is_recovery=True)
        except InvalidDataError as error:
            logger.error(  # noqa: TRY400 - the message says it all
                "Run %s cannot be read, and is left as it is: %s. Look at it with the routilux that wrote it, or "
                "delete it.",
                header.job_id,
                error,
                extra={"job_id": header.job_id},
            )
            durability.let_go(header.job_id)
            return None
        # Until it goes on, a handler of one that already does may wait for it.
        ledger_of(job_state).live = RunElsewhere(durability, job_state)
        return job_state


def _go_on(engine: "Engine", durability: "Durability", job_state: JobState, timeout: float | None) -> JobState:
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
        resume(engine, job_state, timeout, is_recovery=True)
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
