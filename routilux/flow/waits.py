"""Waiting for a run on a thread: whichever thread it is, and whatever waits for it."""

import time
from typing import TYPE_CHECKING

from routilux.context import current_activation
from routilux.errors import RunError, SelfWaitError
from routilux.flow.workers import workers_of_this_thread

if TYPE_CHECKING:  # what is waited for
    from routilux.flow.lifecycle import RunLifecycle
    from routilux.waiting import Progress

__all__ = ["refuse_self_wait", "wait_for"]


def refuse_self_wait(run: "RunLifecycle") -> None:
    """Raise when the calling handler would wait for itself.

    Raises:
        SelfWaitError: Called by a handler of this run, or of one that this run's handlers wait for.
    """
    activation = current_activation.get()
    own = activation.run if activation is not None else None
    if own is not None and (own is run or run.key in own.ancestors):
        relation = "its own run" if own is run else "a run that waits for it"
        raise SelfWaitError(
            f"A handler of run {own.job_id} waits for {relation} ({run.job_id}), which cannot end before the "
            "handler does. Let the handler return; wait outside, or use flow.on_run_end(callback)."
        )


def wait_for(run: "RunLifecycle", timeout: float | None, progress: "Progress | None") -> bool:
    """Wait for a run on the calling thread; see `RunLifecycle.wait`."""
    engine = run.engine
    until = None if timeout is None else time.monotonic() + timeout
    if not engine.threaded:
        engine.executor.run_until(lambda: run.over)
        if timeout is None and not run.block(0.0):
            raise RunError(
                f"Nothing is left to step, and run {run.job_id} is not over: {run!r}. "
                "Advance the clock for what is on timers, or wait with a timeout."
            )
        return run.block(0.0)
    if engine.handover.is_here() and not run.block(0.0):
        raise SelfWaitError(
            f"An async handler waits for run {run.job_id} and lets the loop stand still, which drives its own "
            "coroutine and perhaps that run's. Use `await flow.wait_async(job_state)` or `flow.run_async(...)`."
        )
    workers = workers_of_this_thread()
    if workers is None:
        return _block(run, until, progress)
    # Not with a timeout: the handlers that it would call here end when they like, and the timeout has to hold.
    if workers is engine.workers and timeout is None:
        workers.help(run)
        if run.block(0.0):
            return True
    with workers.place_given_away():
        return _block(run, until, progress)


def _block(run: "RunLifecycle", until: float | None, progress: "Progress | None") -> bool:
    """Wait for a run, and call its progress callback now and then."""
    while True:
        left = None if until is None else max(0.0, until - time.monotonic())
        next_report = progress.seconds_left() if progress is not None else None
        if progress is not None and next_report is not None and next_report <= 0:
            if run.block(0.0):
                return True
            progress.report(run.queue_size(), run.active_count(), run.ledger.status)
            next_report = progress.seconds_left()
        limits = [limit for limit in (left, next_report) if limit is not None]
        if run.block(min(limits) if limits else None):
            return True
        if left is not None and left <= 0:
            return False
