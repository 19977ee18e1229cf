"""What a failed attempt leaves behind: records, the routine's state, a retry on a timer, or a run that fails."""

import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from routilux.errors import text_of
from routilux.flow.error_policy import Decision
from routilux.flow.timers import nanoseconds
from routilux.ledger import RecordKey
from routilux.status import JobStatus, RoutineStatus, says_failed

if TYPE_CHECKING:  # settled into, with its lock held
    from routilux.flow.lifecycle import RunLifecycle
    from routilux.flow.run import Run
    from routilux.flow.task import Activation

__all__ = ["TRACEBACKS_MAX", "ErrorText", "error_text", "expire", "fail_from_outside", "settle_failed_attempt"]

# Tracebacks kept per run. The first ones tell most; a run may fail a million times.
TRACEBACKS_MAX = 100

# The end of a longer one is kept: that is where the error was raised.
TRACEBACK_CHARACTERS = 8000


class ErrorText(NamedTuple):
    """What an error says, as texts: to ask it would run its own code, which must not be done under a run's lock."""

    error: str
    error_type: str
    traceback: str | None


def error_text(error: BaseException, with_traceback: bool = False) -> ErrorText:
    """Ask an error what it says."""
    return ErrorText(text_of(error), type(error).__name__, _traceback_text(error) if with_traceback else None)


def settle_failed_attempt(
    run: "Run", task: "Activation", text: ErrorText, decision: Decision, delay: float, now: int
) -> None:
    """With the run's lock held: settle an attempt whose handler raised."""
    node = task.port.node
    is_retried = decision is Decision.RETRY and not run.is_refusing()
    if task.effects is not None:
        # Under RETRY a failed attempt leaves nothing, and neither do threads that go on after it: until the next one
        # begins, what they do is held back where nobody takes it.
        task.effects = [] if is_retried else None
        task.deferred = None
    if decision is Decision.STOP:
        _stop(run, task, now)
        return
    _record(run, task, text, decision, delay if is_retried else None, now)
    if is_retried:
        _retry_later(run, task, delay, now)
        return
    run.count_failure(node, now - task.started_ns or 1)
    if run.is_anonymous and decision in (Decision.RETRY, Decision.FAIL):
        run.leave(task, "failed")  # there is no run to fail, nor one to resume: the other deliveries are independent
        return
    if decision in (Decision.RETRY, Decision.FAIL):
        at = run.ledger.instant(now).isoformat()
        changes = {"status": RoutineStatus.FAILED.value, "error": text.error, "error_time": at}
        run.ledger.routine_states.merge(node.id, changes)
        task.deferred = None  # it is not over: it runs again after a resume, and defers them again
        run.leave(task, "failed")
        run.park(task, "failed")
        run.fail()
        return
    state = run.ledger.routine_states.of(node.id)
    if not says_failed(state.get("status")):  # an earlier failure of this run is not hidden by a tolerated error
        status = RoutineStatus.SKIPPED if decision is Decision.SKIP else RoutineStatus.ERROR_CONTINUED
        run.ledger.routine_states.merge(node.id, {"status": status.value, "error": text.error})
    run.leave(task, "skipped" if decision is Decision.SKIP else "error_continued")


def _record(
    run: "Run", task: "Activation", text: ErrorText, decision: Decision, retry_in: float | None, now: int
) -> None:
    ledger, routine_id = run.ledger, task.port.node.id
    description = {"error": text.error, "error_type": text.error_type}
    is_tolerated = decision in (Decision.CONTINUE, Decision.SKIP)
    if not (is_tolerated and task.is_entry):
        data: dict[str, Any] = dict(description) if task.is_entry else {"slot": task.port.slot.name, **description}
        if retry_in is not None:
            data["retry_in"] = retry_in
        if text.traceback is not None and ledger.traceback_count < TRACEBACKS_MAX:
            ledger.traceback_count += 1
            data["traceback"] = text.traceback
        ledger.write(RecordKey(routine_id, "error"), now, data)
    if is_tolerated:
        ledger.write(RecordKey(routine_id, decision.value), now, description)


def _stop(run: "Run", task: "Activation", now: int) -> None:
    """An async handler was cancelled with its run: it was not over, so it is kept for a run that may go on."""
    run.ledger.write(RecordKey(task.port.node.id, "cancelled"), now, {"slot": task.port.slot.name})
    task.deferred = None
    if run.is_open():
        # A resume was quicker than its clean-up: it runs again, and what it had emitted is not emitted again.
        run.active.discard(task)
        task.replay, task.emitted = task.released(), None
        task.merged = True
        run.timers.add(task, now)
        return
    run.leave(task, "failed")
    run.park(task, "failed")


def _retry_later(run: "Run", task: "Activation", delay: float, now: int) -> None:
    """Give up the thread and come back later: the task stays counted, and waits for a timer instead of being active."""
    run.active.discard(task)
    task.retry_count += 1
    due_ns = now + nanoseconds(delay)
    run.note_retry(task, due_ns if delay > 0 or task.is_entry else None)
    if not run.is_open():
        run.outstanding -= 1
        run.park(task, "retry", due_ns)
    elif delay > 0 or task.is_entry:
        run.timers.add(task, due_ns)
    else:
        run.push(task)


def fail_from_outside(run: "RunLifecycle", text: ErrorText, routine_id: str) -> None:
    """With the run's lock held: the engine itself cannot go on with it."""
    data = {"error": text.error, "error_type": text.error_type}
    run.ledger.write(RecordKey(routine_id, "error"), run.now(), data)
    run.fail()


def expire(run: "RunLifecycle") -> None:
    """With the run's lock held: its time is over."""
    text = f"The run took longer than {run.timeout:g} s"
    data = {"timeout": run.timeout, "error": text, "error_type": "TimeoutError"}
    run.ledger.write(RecordKey("", "timeout"), run.now(), data)
    run.refuse_from_now_on(JobStatus.FAILED.value)


def _traceback_text(error: BaseException) -> str:
    """A traceback as text, the end of it where it is long: that is where the error was raised."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as inner:  # noqa: BLE001 - the exception is the application's, and may not even be printed
        return f"<no traceback: {type(inner).__name__} while it was formatted>"
    return text if len(text) <= TRACEBACK_CHARACTERS else "…" + text[-TRACEBACK_CHARACTERS:]
