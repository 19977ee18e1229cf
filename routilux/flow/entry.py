"""The entry of a run on its caller's thread: called there, or awaited there, with its retries."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from routilux.context import current_activation, current_effects, current_job_state
from routilux.flow.activation import GivenUp, perform, rule, settle
from routilux.flow.workers import workers_of_this_thread

if TYPE_CHECKING:  # what it is the entry of
    from routilux.flow.run import Run
    from routilux.flow.task import Activation

__all__ = ["give_up_entry", "run_entry"]


def run_entry(run: "Run", entry: "Activation", token_limit: int) -> None:
    """Perform the entry here and now, then open the run to as many workers as it may use.

    Raises:
        BaseException: What the handler raised, if it is no `Exception`: a KeyboardInterrupt, for example. Or what has
            hit this thread beside the handler, or an error of the engine itself: with that, the run has failed.
    """
    job_token = current_job_state.set(run.job_state)
    activation_token = current_activation.set(entry)
    effects_token = current_effects.set(None)
    try:
        is_settled, error = _perform_here(run, entry)
        if is_settled and (run.token_limit < token_limit or not run.tokens):
            run.open_for_tasks(token_limit)
    except BaseException as broken:
        give_up_entry(run, entry, broken, token_limit)
        raise
    finally:
        current_effects.reset(effects_token)
        current_activation.reset(activation_token)
        current_job_state.reset(job_token)
    if error is not None and not isinstance(error, Exception):
        raise error


def give_up_entry(run: "Run", entry: "Activation", error: BaseException, token_limit: int) -> None:
    """Let a run fail whose caller cannot go on with its entry: nobody else drives it, and it would never end.

    It is as if the entry's handler had raised. Where somebody else has the entry (a worker, since a resume; or whoever
    settles an attempt that was given up), the run goes on without its caller.
    """
    if run.give_back(entry.present) or (run.is_inline and run.is_open()):
        run.abort(error, entry.port.node.id)
    else:
        run.open_for_tasks(token_limit)


def _perform_here(run: "Run", entry: "Activation") -> tuple[bool, BaseException | None]:
    """The entry and its retries; returns whether the last attempt was settled here, and what `execute` may raise."""
    while True:
        outcome = perform(entry, has_token=False)
        if isinstance(outcome, GivenUp):
            return False, outcome.error  # the run has gone on without it
        error = _await(run, entry, outcome) if isinstance(outcome, Coroutine) else outcome
        if isinstance(error, GivenUp):
            return True, None  # taken back before its first line: it waits for a resume
        ruling = None if error is None else rule(entry, error)
        retries = entry.retry_count
        settle(entry, error, None, ruling)
        entry = entry.present
        is_retried = entry.retry_count > retries
        if not is_retried or not run.engine.threaded or not _wait_for_retry(run, entry):
            return True, error if ruling is None else ruling.interruption or error


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
