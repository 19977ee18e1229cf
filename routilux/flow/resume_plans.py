"""What stands between a record and its resume: whether it fits the flow as it is drawn now, and what is migrated."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from routilux.flow.code_change import ResumeCheck, ResumePlan, Waiting, plan_resume
from routilux.flow.migrations import Migrations
from routilux.flow.structure import Structure, shapes_of, structure_from
from routilux.job_state import JobState, ledger_of
from routilux.state_data import shallow_slot_data

if TYPE_CHECKING:  # whose runs they are
    from routilux.flow.engine import Engine

__all__ = ["check_resume", "is_up_to_date", "plan_for", "put_migrated"]

logger = logging.getLogger(__name__)


def check_resume(engine: "Engine", job_state: JobState) -> list[ResumeCheck]:
    """See `Flow.check_resume`."""
    return plan_for(engine, job_state).checks


def plan_for(engine: "Engine", job_state: JobState) -> ResumePlan:
    """What a resume of this record would do, now. It calls the application's migrations, and changes nothing.

    Raises:
        InvalidDataError: An entry of what waits is none.
        StoreError: The store cannot be read.
    """
    before, now = _structures(engine, job_state)
    return plan_resume(_waiting(job_state), before, now, dict(engine.flow.routines), Migrations(engine.migrations))


def is_up_to_date(plan: ResumePlan, job_state: JobState) -> bool:
    """Whether the record still has exactly what the plan has looked at."""
    waiting = plan.waiting
    return (
        waiting.current == job_state.current_routine_id
        and _same(waiting.pending, list(job_state.pending_tasks))
        and _same(waiting.deferred, list(job_state.deferred_events))
    )


def put_migrated(job_state: JobState, plan: ResumePlan) -> Callable[[], None]:
    """Let a record have what the migrations have made; returns what takes that back, if nobody has gone on with it."""
    if not plan.migrates:
        return lambda: None
    ledger = ledger_of(job_state)
    with ledger.lock:
        before = list(job_state.pending_tasks), dict(ledger.slot_data)
        structure = _structure(job_state)
        job_state.pending_tasks[:] = plan.pending
        ledger.slot_data = dict(plan.slot_data)
    migrated = [check.routine_id for check in plan.checks if check.verdict == "migrate"]
    logger.info("Run %s was migrated in %s", job_state.job_id, migrated, extra={"job_id": job_state.job_id})

    def undo() -> None:
        with ledger.lock:
            # Else a leg of the run has begun with it, and the store will have it as it is now.
            if _structure(job_state) == structure and _same(plan.pending, job_state.pending_tasks):
                job_state.pending_tasks[:], ledger.slot_data = before

    return undo


def _waiting(job_state: JobState) -> Waiting:
    ledger = ledger_of(job_state)
    live = ledger.live
    with ledger.lock:
        outstanding = live.outstanding_tasks() if live is not None and live.is_open() else []
        return Waiting(
            [*outstanding, *job_state.pending_tasks],
            list(job_state.deferred_events),
            shallow_slot_data(ledger.slot_data),
            job_state.current_routine_id,
            list(job_state.input_requests),
        )


def _structures(engine: "Engine", job_state: JobState) -> tuple[Structure | None, Structure]:
    """That of the flow which has driven a run, None where it is unknown; and that of today's."""
    if engine.durability is None:
        live = ledger_of(job_state).live
        if live is not None and getattr(live, "engine", None) is engine:
            return None, {}  # driven by this very flow: nothing has been deployed since
        return None, shapes_of(engine.flow.graph())
    drawn = engine.durability.drawn()
    text = _structure(job_state)
    if text is None:
        header = engine.durability.store.find(job_state.job_id)
        text = header.fingerprint if header is not None else ""
    if text == drawn.text:
        return drawn.shapes, drawn.shapes
    return (structure_from(text) if text else None), drawn.shapes


def _structure(job_state: JobState) -> str | None:
    # By name: what makes runs durable is not imported where no flow has a store.
    structure: str | None = getattr(ledger_of(job_state).scribe, "structure", None)
    return structure


def _same(before: list[dict[str, object]], now: list[dict[str, object]]) -> bool:
    return len(before) == len(now) and all(each is other for each, other in zip(before, now, strict=True))
