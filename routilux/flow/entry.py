"""The entry of a run on its caller's thread: called there, or awaited there, with its retries."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from routilux.context import current_activation, current_job_state
from routilux.flow.activation import GivenUp, perform, settle
from routilux.flow.workers import workers_of_this_thread

if TYPE_CHECKING:  # what it is the entry of
    from routilux.flow.run import Run
    from routilux.flow.task import Activation

__all__ = ["run_entry"]


def run_entry(run: "Run", entry: "Activation", token_limit: int) -> None:
    """Perform the entry here and now, then open the run to as many workers as it may use.

    Raises:
        BaseException: What the handler raised, if it is no `Exception`: a KeyboardInterrupt, for example.
    """
    job_token = current_job_state.set(run.job_state)
    activation_token = current_activation.set(entry)
    try:
        while True:
            outcome = perform(entry, has_token=False)
            if isinstance(outcome, GivenUp):
                _raise_unless_error(outcome.error)  # the run has gone on without it
                return
            error = _await(run, entry, outcome) if isinstance(outcome, Coroutine) else outcome
            if isinstance(error, GivenUp):
                run.open_for_tasks(token_limit)
                return  # taken back before its first line: it waits for a resume
            retries = entry.retry_count
            settle(entry, error, None)
            is_retried = entry.retry_count > retries
            if not is_retried or not run.engine.threaded or not _wait_for_retry(run, entry):
                break
    finally:
        current_activation.reset(activation_token)
        current_job_state.reset(job_token)
    if run.token_limit < token_limit or not run.tokens:
        run.open_for_tasks(token_limit)
    _raise_unless_error(error)


def _raise_unless_error(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, Exception):
        raise error


def _await(run: "Run", entry: "Activation", coroutine: Coroutine[Any, Any, Any]) -> BaseException | None:
    """Have the coroutine of an async entry driven to its end, while the caller of `execute` waits."""
    handover = run.engine.handover
    if not run.engine.threaded:
        return handover.drive_here(entry, coroutine)
    workers = workers_of_this_thread()
    if workers is None:
        return handover.await_entry(entry, coroutine)
    with workers.place_given_away():
        return handover.await_entry(entry, coroutine)


def _wait_for_retry(run: "Run", entry: "Activation") -> bool:
    workers = workers_of_this_thread()
    if workers is None:
        return run.wait_for_entry_retry(entry)
    with workers.place_given_away():
        return run.wait_for_entry_retry(entry)
