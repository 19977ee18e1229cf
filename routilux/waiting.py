"""The two waits. A live run is asked and wakes its waiters; any other state is polled."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Event
from typing import TYPE_CHECKING, Any

from routilux.context import refuse_standing_still
from routilux.errors import InvalidTypeError
from routilux.handlers import kind_of_unusable
from routilux.status import FINAL, JobStatus
from routilux.time_limits import check_wait

if TYPE_CHECKING:  # the record and the flow stand above this room
    from routilux.flow.flow import Flow
    from routilux.job_state import JobState

__all__ = ["PROGRESS_INTERVAL", "Looks", "Progress", "wait_for_completion", "wait_until_condition", "warn_of_timeout"]

logger = logging.getLogger(__name__)

PROGRESS_INTERVAL = 5.0

# How often a state that nobody drives is looked at, and how many looks in a row decide.
STABILITY_CHECKS, CHECK_INTERVAL, STABILITY_DELAY = 5, 0.1, 0.05

ProgressCallback = Callable[[int, int, str], None]


class Progress:
    """Calls a progress callback at the first unfinished look and then every five seconds."""

    def __init__(self, callback: ProgressCallback | None) -> None:
        self._callback = callback
        self._due_at = 0.0

    def seconds_left(self) -> float | None:
        """Until the next call; None when there is nobody to call."""
        return None if self._callback is None else max(0.0, self._due_at - time.monotonic())

    def report(self, queue_size: int, active_count: int, status: str) -> None:
        """Call it if it is due."""
        if self._callback is None or time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + PROGRESS_INTERVAL
        try:
            self._callback(queue_size, active_count, status)
        except Exception:  # application code: a progress display must not end the wait it illustrates
            logger.exception("The progress callback raised; the wait goes on")


def wait_for_completion(
    flow: "Flow",
    job_state: "JobState",
    timeout: float | None = None,
    stability_checks: int = STABILITY_CHECKS,
    check_interval: float = CHECK_INTERVAL,
    stability_delay: float = STABILITY_DELAY,
    progress_callback: ProgressCallback | None = None,
) -> bool:
    """Wait until a run is over; True when it is, False at the timeout.

    A run that is live in this process wakes its waiters at once. For a state without one (made by hand,
    restored), `flow`'s queue and active tasks are polled, and `stability_checks` looks in a row decide.

    Args:
        flow: The flow that runs it.
        job_state: The run.
        timeout: Seconds; None waits without end.
        stability_checks: Polling only: how many looks in a row must find nothing to do.
        check_interval: Polling only: seconds between rounds.
        stability_delay: Polling only: seconds between the looks of a round.
        progress_callback: Called with (queue size, active count, status) at the first look that finds the run
            unfinished, then every 5 seconds, on this thread.

    Raises:
        TypeError: `job_state` is no JobState, or `timeout` no number.
        SelfWaitError: When a handler waits for its own run, or for one that is waiting for it.
    """
    check_wait(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    progress = Progress(progress_callback)
    while True:
        live = _ledger(job_state).live
        is_timed_out = False
        if live is not None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if live.wait(left, progress):
                return True
            is_timed_out = True
        elif _has_ended_here(flow, job_state) or (
            _is_still(flow, job_state, max(1, stability_checks), stability_delay, deadline)
            and _settle_status(job_state)
        ):
            return True
        if is_timed_out or (deadline is not None and time.monotonic() >= deadline):
            warn_of_timeout(flow, job_state, timeout)
            return False
        progress.report(_queue_size(flow), _active_count(flow), job_state.status)
        _pause(flow, check_interval, deadline)


def wait_until_condition(
    flow: "Flow",
    job_state: "JobState",
    condition: Callable[["Flow", "JobState"], bool],
    timeout: float | None = None,
    check_interval: float = 0.1,
    progress_callback: ProgressCallback | None = None,
) -> bool:
    """Wait until `condition(flow, job_state)` is true; False at the timeout or when the run ends before.

    The condition is asked after each change of a live run and at least every `check_interval` seconds, also while the
    run is paused. What it raises is logged and counts as "not yet".

    Raises:
        TypeError: `job_state` is no JobState, `timeout` no number, or the condition no plain function.
    """
    _ledger(job_state)  # which says so
    check_wait(timeout)
    _check_condition(condition)
    deadline = None if timeout is None else time.monotonic() + timeout
    progress = Progress(progress_callback)
    while True:
        # The status is read before the condition: a run that ends in between gets its last look below.
        over = job_state.status in FINAL
        if _holds(condition, flow, job_state):
            return True
        if over:
            return False
        if deadline is not None and time.monotonic() >= deadline:
            logger.warning("The condition did not hold within %s seconds (status %r)", timeout, job_state.status)
            return False
        progress.report(_queue_size(flow), _active_count(flow), job_state.status)
        live = _ledger(job_state).live
        if live is not None:
            refuse_standing_still(f"a change of run {job_state.job_id}")
            with _place_given_away(flow):
                live.wait_for_change(_bounded(check_interval, deadline))
        elif job_state.status not in FINAL:  # else it has ended since the look above
            _pause(flow, check_interval, deadline)


def _check_condition(condition: object) -> None:
    kind = kind_of_unusable(condition) if callable(condition) else "nothing that can be called"
    if kind:
        raise InvalidTypeError(
            f"A condition is a plain function of (flow, job_state), and {condition!r} is {kind}: it would be true at "
            "once, or never."
        )


def warn_of_timeout(flow: Any, job_state: "JobState", timeout: float | None) -> None:
    """Say what a wait that has given up has left."""
    logger.warning(
        "Waiting for run %s ended after %s seconds: status %r, %d queued, %d active",
        job_state.job_id,
        timeout,
        job_state.status,
        _queue_size(flow),
        _active_count(flow),
    )


class Looks:
    """Looks at a state that no run of this process drives, for a wait that must not block: who waits pauses between.

    As `wait_for_completion` looks, with its defaults.
    """

    def __init__(self, flow: Any, job_state: "JobState") -> None:
        self._flow = flow
        self._job_state = job_state
        self._still_count = 0

    def find_it_over(self) -> bool:
        """Look once; True when enough looks in a row have found nothing to do, and the state is over."""
        if _has_ended_here(self._flow, self._job_state):
            return True
        self._still_count = self._still_count + 1 if _is_complete(self._flow, self._job_state) else 0
        if self._still_count < STABILITY_CHECKS:
            return False
        self._still_count = 0
        return _settle_status(self._job_state)

    def seconds_between(self) -> float:
        """How long to pause before the next one."""
        return STABILITY_DELAY if self._still_count else CHECK_INTERVAL


def _holds(condition: Callable[[Any, "JobState"], bool], flow: Any, job_state: "JobState") -> bool:
    try:
        return bool(condition(flow, job_state))
    except Exception:  # application code: a condition that cannot be asked yet is not an end of the wait
        logger.warning("The condition raised; waiting goes on", exc_info=True)
        return False


def _ledger(job_state: "JobState") -> Any:
    try:
        return job_state._ledger  # noqa: SLF001 - the one reader below the record's own room
    except AttributeError:
        raise InvalidTypeError(
            f"A wait takes the flow and then the JobState of the run, not {job_state!r}: "
            "JobState.wait_for_completion(flow, job_state)."
        ) from None


def _has_ended_here(flow: Any, job_state: "JobState") -> bool:
    """Whether a run was driven to its end in this process, and nothing was put into the flow's queue for it since."""
    # A status may be any text, which a handler has set; these two are the engine's, and say that it goes on.
    if not _ledger(job_state).was_live or job_state.status in (JobStatus.PENDING, JobStatus.RUNNING):
        return False
    has_tasks_for = getattr(flow, "has_tasks_for", None)
    return has_tasks_for is not None and not has_tasks_for(job_state)


def _is_still(flow: Any, job_state: "JobState", checks: int, delay: float, deadline: float | None) -> bool:
    """Several looks in a row: a task may be on its way from the queue to a worker during one of them."""
    for look in range(checks):
        if not _is_complete(flow, job_state):
            return False
        if look + 1 < checks:
            _pause(flow, delay, deadline)
    return True


def _is_complete(flow: Any, job_state: "JobState") -> bool:
    status = job_state.status
    if status in (JobStatus.PAUSED, JobStatus.CANCELLED, JobStatus.FAILED):
        return True
    if status not in (JobStatus.RUNNING, JobStatus.COMPLETED):
        return False
    return bool(flow._task_queue.empty()) and _active_count(flow) == 0


def _settle_status(job_state: "JobState") -> bool:
    """Let a state that nobody drives be over; False when somebody has resumed it meanwhile."""
    ledger = _ledger(job_state)
    with ledger.lock:
        if ledger.live is not None:
            return False
        if ledger.status == JobStatus.RUNNING:
            ledger.status = ledger.final_status()
        return True


def _queue_size(flow: Any) -> int:
    queue = getattr(flow, "_task_queue", None)
    return 0 if queue is None else int(queue.qsize())


def _active_count(flow: Any) -> int:
    lock = getattr(flow, "_execution_lock", None)
    if lock is None:
        return 0
    with lock:
        return sum(1 for task in list(flow._active_tasks) if not task.done() and not _is_of_caller(task))


def _is_of_caller(task: Any) -> bool:
    """Whether it is the handler that waits here, or one of a run that waits for that: it ends after the wait."""
    is_of_caller = getattr(task, "is_of_caller", None)
    return is_of_caller is not None and is_of_caller()


def _bounded(seconds: float, deadline: float | None) -> float:
    return seconds if deadline is None else max(0.0, min(seconds, deadline - time.monotonic()))


def _pause(flow: Any, seconds: float, deadline: float | None) -> None:
    refuse_standing_still("a run")
    # Nobody can wake this wait: the states that are polled have no run that could. It is the polling that the
    # specification asks for, not a substitute for a condition.
    with _place_given_away(flow):
        Event().wait(_bounded(max(0.001, seconds), deadline))


def _place_given_away(flow: Any) -> AbstractContextManager[None]:
    # In a handler: what it waits for may need the very worker that it keeps.
    give_away = getattr(flow, "place_given_away", None)
    return nullcontext() if give_away is None else give_away()
