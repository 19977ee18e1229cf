"""Resume: to go on with a run that was paused, has ended, or came from a file or a store."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidValueError, ResumeRefusedError
from routilux.flow.code_change import ResumePlan
from routilux.flow.controls import check_flow, driver_of, while_nothing_resumes
from routilux.flow.lifecycle import RunLifecycle
from routilux.flow.resume_plans import is_up_to_date, plan_for, put_migrated
from routilux.flow.revival import cancelled_error, go_on
from routilux.flow.run import Run
from routilux.flow.stops import status_below
from routilux.job_state import JobState
from routilux.status import FINAL, JobStatus

if TYPE_CHECKING:  # driven by the flow that owns it
    from routilux.flow.engine import Engine

__all__ = ["resume"]


def resume(
    engine: "Engine",
    job_state: JobState,
    timeout: float | None,
    is_kept_back: Callable[[dict[str, Any]], bool] | None = None,
    is_recovery: bool = False,
) -> JobState:
    """See `Flow.resume`.

    Args:
        engine: What runs it.
        job_state: The run.
        timeout: Seconds that it may take.
        is_kept_back: Which pending tasks stay where they are; None: dead letters that were kept back before, unless the
            run is over.
        is_recovery: As `go_on` takes it.
    """
    check_flow(engine, job_state)
    plan = None
    while True:
        with while_nothing_resumes():
            live = _live_side(engine, job_state)
            if live is not None and live.is_open():
                return job_state
            status = _checked_status(job_state)
            if plan is not None and is_up_to_date(plan, job_state):
                if plan.migrates and live is not None and live.active_count():
                    raise InvalidValueError(
                        f"{job_state!r} has handlers at work, and what they leave would have to be migrated. Wait for "
                        "them first: JobState.wait_for_completion(flow, job_state)."
                    )
                kept_back = is_kept_back or (_takes_all if status in FINAL else _was_kept_back)
                _go_on(engine, job_state, live, plan, timeout, kept_back, is_recovery)
                return job_state
        # Without the lock: it calls the application's migrations.
        plan = plan_for(engine, job_state)
        if plan.refused:
            raise ResumeRefusedError(job_state.job_id, plan.refused)


def _live_side(engine: "Engine", job_state: JobState) -> RunLifecycle | None:
    live = driver_of(engine, job_state)
    if live is not None and live.is_adopted and live.is_open():
        return None  # its tasks came from outside, and go on beside what is resumed
    if live is not None and live.engine is not engine and (live.is_open() or live.active_count()):
        raise InvalidValueError(
            f"{job_state!r} is at work in another Flow object. Pause it there and wait for its handlers "
            "first, or resume a copy: save it, load it, resume that."
        )
    return live


def _go_on(
    engine: "Engine",
    job_state: JobState,
    live: RunLifecycle | None,
    plan: ResumePlan,
    timeout: float | None,
    is_kept_back: Callable[[dict[str, Any]], bool],
    is_recovery: bool,
) -> None:
    engine.refuse_when_closed(is_execute=True)
    if engine.durability is not None:
        engine.durability.claim(job_state)
    if isinstance(live, Run) and live.engine is engine:
        # The same run goes on: what its handlers, and threads of them, still emit finds its way.
        run = live
        engine.take_over(run)
        engine.loop.ensure_thread()
    else:
        run = engine.open_run(job_state)
    undo = put_migrated(job_state, plan)
    try:
        go_on(run, engine.wiring, timeout, is_kept_back, is_recovery)
    except BaseException:
        undo()
        if run is not live:
            engine.withdraw(run)
        if engine.durability is not None:
            engine.durability.give_up(job_state)
        raise


def _takes_all(entry: dict[str, Any]) -> bool:  # noqa: ARG001 - as `_was_kept_back`
    return False


def _was_kept_back(entry: dict[str, Any]) -> bool:
    return entry.get("kept_back") is True


def _checked_status(job_state: JobState) -> str:
    status = status_below(job_state)
    if status == JobStatus.CANCELLED:
        raise cancelled_error(job_state)
    if status == JobStatus.PENDING:
        raise InvalidValueError(
            f"{job_state!r} cannot be resumed: it has not started. Use execute(), with a new JobState if this one was "
            "paused."
        )
    return status
