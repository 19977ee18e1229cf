"""Inputs of runs that a store keeps: in the store first, then with whoever drives the run, or comes to drive it.

No input is missed between the two: who sends, keeps the input and then looks at the run; who pauses a run for want of
input, lets it go and then looks at the inputs, and at the clock. Whoever comes second sees what the other has done.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from routilux.errors import RoutiluxError, RunDrivenError, StoreError, UnknownRunError
from routilux.flow.durable.run import DurableRun
from routilux.flow.durable.scribe import dumps
from routilux.flow.inputs import ended_error, go_on_with_input
from routilux.flow.pending import seconds_until
from routilux.flow.run_inputs import EARLY_SECONDS, has_work, is_due, waits_for_input
from routilux.flow.stops import is_parked
from routilux.job_state import JobState, ledger_of
from routilux.status import FINAL, JobStatus
from routilux.stores.base import RunHeader
from routilux.stores.journal import pause_told_by

if TYPE_CHECKING:  # whose runs they are
    from routilux.flow.durable.durability import Durability
    from routilux.flow.engine import Engine

__all__ = ["send_through_store", "wake", "wake_those_that_can"]

logger = logging.getLogger(__name__)


def send_through_store(
    engine: "Engine", durability: "Durability", job_id: str, name: str, data: dict[str, Any]
) -> None:
    """See `Flow.send_input`."""
    header = durability.store.find(job_id)
    if header is None or header.flow_id != engine.flow.flow_id:
        whose = "" if header is None else f" It is one of flow {header.flow_id!r}: send the input with that flow."
        raise UnknownRunError(
            f"The store {durability.store.url} has no run {job_id!r} of flow {engine.flow.flow_id!r}.{whose}"
        )
    if header.status in FINAL:
        raise ended_error(job_id, header.status)
    durability.store.put_input(job_id, name, dumps(data))
    # From here on it is kept, and nothing that goes wrong is the caller's: who sent it again would send it twice.
    try:
        _deliver_stored(engine, durability, job_id)
    except StoreError:
        logger.warning(
            "An input for run %s is kept, and will be delivered later", job_id, exc_info=True, extra={"job_id": job_id}
        )


def _deliver_stored(engine: "Engine", durability: "Durability", job_id: str) -> None:
    job_state = engine.inputs.find(job_id)
    run = ledger_of(job_state).live if job_state is not None else None
    if isinstance(run, DurableRun) and run.is_open():
        run.fetch_inputs()
    else:
        _wake_stored(engine, durability, job_id)


def wake(engine: "Engine", durability: "Durability", job_id: str) -> None:
    """On a thread of its own: go on with a run of the store that is paused for input, if it can."""
    try:
        waiting = _wake_stored(engine, durability, job_id)
    except StoreError:
        logger.warning("The store could not be asked about run %s; once more in a second", job_id, exc_info=True)
        engine.inputs.wake_in(job_id, 1.0)
    else:
        if waiting is not None:
            # Its timer has fired, by a clock that only goes forward; but somebody has set the wall clock back.
            engine.inputs.expire_later(waiting)


def _wake_stored(engine: "Engine", durability: "Durability", job_id: str) -> JobState | None:
    """Go on with a run of the store that is paused for input, if it can and nobody drives it.

    Returns:
        Its record, if it has to wait longer.
    """
    header = durability.store.find(job_id)
    if header is None or header.flow_id != engine.flow.flow_id:
        return None
    if _is_being_stopped(durability, header):
        # If it is not being told just now, the store was in trouble, and nobody else may look again.
        durability.flush()
        engine.inputs.wake_in(job_id, 1.0)
        return None
    if header.status != JobStatus.PAUSED:
        return None
    job_state = durability.load(job_id)
    if not waits_for_input(job_state):
        return None
    if not _can_go_on_with_input(durability, job_state):
        return job_state
    _go_on_stored(engine, durability, job_state)
    return None


def _is_being_stopped(durability: "Durability", header: RunHeader) -> bool:
    """Whether this process has stopped a run of which the store still says that it goes on here."""
    if header.status != JobStatus.RUNNING or header.driver != durability.store.driver:
        return False
    job_state = durability.known(header.job_id)
    if job_state is None:
        return durability.group.has_rows_of(header.job_id)  # it has said so, and nobody has it any more
    run = ledger_of(job_state).live
    return isinstance(run, DurableRun) and not run.is_open()


def _go_on_stored(engine: "Engine", durability: "Durability", job_state: JobState) -> bool:
    """Drive it, unless somebody was quicker: whoever resumes a run takes its new inputs as well."""
    job_id = job_state.job_id
    try:
        go_on_with_input(engine, job_state)
    except StoreError:
        raise
    except RoutiluxError as error:
        now = durability.store.find(job_id)
        if now is not None and now.status == JobStatus.PAUSED and not isinstance(error, RunDrivenError):
            logger.error(  # noqa: TRY400 - the message says it all, and names what to do
                "Run %s has its input, and cannot go on here: %s", job_id, error, extra={"job_id": job_id}
            )
        return False
    return True


def _can_go_on_with_input(durability: "Durability", job_state: JobState) -> bool:
    """Whether a run that waits has got what it waits for, or has waited for too long."""
    asked = {request["name"] for request in job_state.input_requests}
    new = durability.store.inputs(job_state.job_id, after=ledger_of(job_state).input_number)
    if has_work(job_state) or any(each.name in asked for each in new):
        return True
    clock = ledger_of(job_state).clock
    return any(is_due(request, clock) for request in job_state.input_requests)


def _may_go_on(engine: "Engine", durability: "Durability", job_id: str, point: dict[str, Any]) -> bool:
    """Whether a run may have got what it waits for, by its pause point."""
    if "waits_for" not in point:
        return False  # somebody has said so
    if "due_at" not in point or "input_number" not in point:
        return True  # of an older routilux
    new = durability.store.inputs(job_id, after=point["input_number"])
    if any(each.name in point["waits_for"] for each in new):
        return True
    if point["due_at"] is None:
        return False
    if seconds_until(point["due_at"], engine.clock) <= EARLY_SECONDS:
        return True
    engine.inputs.look_at(job_id, point["due_at"])
    return False


def wake_those_that_can(
    engine: "Engine", durability: "Durability", go_on: Callable[[JobState], JobState]
) -> list[JobState]:
    """Go on with the paused runs of the store that nobody has asked to stand still; returns their records.

    These are those that have got what they waited for, and those that were parked. This process looks at the others
    when the time of their requests is over.

    Args:
        engine: Of the flow.
        durability: Its durable side.
        go_on: Goes on with one that was parked, and returns its record.
    """
    found = []
    for header in durability.store.list_runs(status=JobStatus.PAUSED.value, flow_id=engine.flow.flow_id):
        # By the last row, first: to read whole journals would take a recovery too long.
        row = durability.store.last_row(header.job_id)
        point = None if row is None else pause_told_by(row.body)
        if point is not None and not point.get("parked") and not _may_go_on(engine, durability, header.job_id, point):
            continue
        job_state = durability.load(header.job_id)
        if is_parked(job_state):
            found.append(go_on(job_state))
        elif waits_for_input(job_state):
            if not _can_go_on_with_input(durability, job_state):
                engine.inputs.expire_later(job_state)
            elif _go_on_stored(engine, durability, job_state):
                found.append(job_state)
    return found
