"""One activation from start to end: merge, bind, call, decide. And a worker's turn of them.

This file and `run.py` are the hot path: everything that happens for one hop stands in them.
"""

import contextlib
import logging
from collections.abc import Awaitable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from routilux.context import current_activation, current_effects, current_job_state
from routilux.error_handler import ErrorHandler, ErrorStrategy
from routilux.errors import HandlerCancelledError, HandlerTypeError, text_of
from routilux.flow.error_policy import Decision, asks_application, decide
from routilux.flow.workers import Turn, Workers
from routilux.slot import refuse_unrun
from routilux.synchronous import DirectCall

if TYPE_CHECKING:  # what is driven here
    from routilux.flow.run import Run
    from routilux.flow.task import Activation

__all__ = ["GivenUp", "Outcome", "Ruling", "drain", "go_on", "perform", "policy_of", "rule", "settle"]

logger = logging.getLogger(__name__)

# What a handler raised, or the coroutine of an async one, none of whose lines has run; None: it has returned.
Outcome = BaseException | Coroutine[Any, Any, Any] | None


class GivenUp(BaseException):
    """Stands for what a handler has come to whose attempt was given up: nobody settles that any more.

    Attributes:
        error: What it raised; None: it has returned.
    """

    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error = error


def drain(run: "Run", workers: Workers) -> bool:
    """A worker's turn: perform activations of one run until its queue is empty or others should have the worker.

    Returns:
        True when there is work left: the worker still has the run's token and stands in line with it again.
    """
    turn = Turn(workers, run.now())
    job_before, activation_before = current_job_state.get(), current_activation.get()
    effects_before = current_effects.get()
    task = None
    try:
        task = run.take()
        while task is not None:
            outcome = perform(task)
            is_plain = outcome is None and task.special is None
            task = run.settle(task, turn) if is_plain else go_on(task, outcome, turn)
    except BaseException:
        if task is not None:
            run.give_back(task)  # an error of the engine itself; the worker reports it, and nothing is lost
        raise
    finally:
        current_effects.set(effects_before)
        current_activation.set(activation_before)
        current_job_state.set(job_before)
    return turn.again


def go_on(task: "Activation", outcome: Outcome, turn: Turn | None) -> "Activation | None":
    """What follows `perform` on a worker: settle, or hand a coroutine over; returns the worker's next task."""
    if isinstance(outcome, GivenUp):
        return None  # it was settled, and the token went on, when its time was over
    if outcome is None or isinstance(outcome, BaseException):
        return settle(task, outcome, turn)
    run = task.run
    if not run.engine.threaded:
        return settle(task, run.engine.handover.drive_here(task, outcome), turn)
    run.engine.handover.hand_over(task, outcome)
    return run.after_handover(turn)


def perform(task: "Activation", has_token: bool = True) -> Outcome:  # noqa: PLR0912 - the hot path: no call to part it
    """Call the handler of an activation; returns what it raised, or the coroutine of an async one.

    Args:
        task: The activation.
        has_token: Whether the calling thread has a token of its run; the caller of `execute` has none.
    """
    run = task.run
    if run.is_anonymous:
        # No run to be seen, but the flow: what the handler emits stays in the flow that it came through.
        current_job_state.set(None)
        current_activation.set(DirectCall(task.port.node.routine, None, run.flow, task))
    else:
        if current_job_state.get() is not run.job_state:  # it still is, unless this is the first of a turn
            current_job_state.set(run.job_state)
        current_activation.set(task)
    node, slot = task.port.node, task.port.slot
    hooks = run.hooks
    if hooks is not None:
        run.engine.listeners.call(hooks.activation_started, task.job_state, node.id, slot.name)
    error: BaseException | None = None
    try:
        # `policy_of`, where the routine's class has nothing of its own to say.
        policy = node.routine._error_handler if node.has_plain_policy else policy_of(task)  # type: ignore[union-attr]
        if policy is None:
            policy = run.flow._error_handler  # the property would be a call
        if policy is not None and policy.strategy is ErrorStrategy.RETRY:
            task.effects = []
            current_effects.set(task.effects)
        elif task.special is not None:
            task.special.effects = None  # the policy of its last attempt was another one
        if not slot.replaces and not task.merged:
            run.merge(task)
        caller = slot.caller
        if caller is not None:
            routine = node.routine
            if routine is None or routine._attempt_timeout is None or slot.is_purely_async or run.is_anonymous:  # noqa: SLF001 - the marked names of a routine
                result = caller(task.data)
            else:
                result = run.call_in_time(task, caller, routine._attempt_timeout, has_token)  # noqa: SLF001 - as above
            if result is not None:
                if slot.is_async and (type(result) is CoroutineType or isinstance(result, Coroutine)):
                    return result
                refuse_unrun(result, slot)
    except GivenUp as given_up:
        return given_up
    except BaseException as raised:  # noqa: BLE001 - the handler is the user's, and a worker must outlive it
        error = raised
    if hooks is not None:
        run.note_returned(task, error)
    return error


def settle(
    task: "Activation", error: BaseException | None, turn: Turn | None, ruling: "Ruling | None" = None
) -> "Activation | None":
    """Settle what `perform` did; returns the worker's next task.

    Args:
        task: The activation.
        error: What its handler raised.
        turn: The worker's; None: the calling thread has no token.
        ruling: What follows from the error, where the caller knows it already.
    """
    run = task.run
    if error is None:
        if task.retry_count or task.effects is not None:
            with contextlib.suppress(Exception):  # the policy is the application's, and this is for people only
                _report_retries(policy_of(task), task.retry_count)
        return run.settle(task, turn)
    decision, delay, _ = ruling or rule(task, error)
    with contextlib.suppress(Exception):  # filters and handlers of logging are the application's
        _log(task, error, decision, delay)
    return run.settle_failure(task, error, decision, delay, turn)


def policy_of(task: "Activation") -> ErrorHandler | None:
    """The policy for an activation's errors: its routine's, else its flow's."""
    routine = task.port.node.routine
    own = None if routine is None else routine.get_error_handler()
    return own if own is not None else task.run.flow.error_handler


class Ruling(NamedTuple):
    """What follows from the error of a handler.

    Attributes:
        decision: What happens to the activation.
        delay: Seconds before its retry.
        interruption: What the policy raised that is no error, but wants the thread to end.
    """

    decision: Decision
    delay: float = 0.0
    interruption: BaseException | None = None


def rule(task: "Activation", error: BaseException) -> Ruling:
    """Ask the policy what follows from the error of a handler.

    The policy may be the application's, and may raise. That is no reason to tolerate the handler's error, which stays
    the one that is recorded: the run fails with it.
    """
    if isinstance(error, HandlerCancelledError):
        return Ruling(Decision.STOP)
    try:
        policy = policy_of(task)
        decision = _decide(task, policy, error)
        if decision is not Decision.RETRY or policy is None:
            return Ruling(decision)
        delay = float(policy.delay_before(task.retry_count + 1))
        task.max_retries = policy.max_retries
        _report_retries(policy, task.retry_count + 1)
        return Ruling(decision, delay if delay > 0 else 0.0)  # also where it is no number
    except BaseException as broken:  # application code, on a worker's thread
        with contextlib.suppress(Exception):  # filters and handlers of logging are the application's
            logger.exception(
                "The error policy of %s raised; the error that it was asked about counts as not tolerated",
                task.port.name,
                extra={"job_id": task.run.job_id, "routine_id": task.port.node.id},
            )
        return Ruling(Decision.FAIL, 0.0, None if isinstance(broken, Exception) else broken)


def _decide(task: "Activation", policy: ErrorHandler | None, error: BaseException) -> Decision:
    verdict: bool | None = None
    if policy is not None and isinstance(error, Exception) and asks_application(policy):
        # A subclass may count on `retry_count`, as the base class does.
        _report_retries(policy, task.retry_count)
        port: Any = task.port
        answer: Any = policy.handle_error(error, port.node.routine, port.node.id, task.flow, task.job_state)
        if isinstance(answer, Awaitable):
            if isinstance(answer, Coroutine):
                answer.close()
            raise HandlerTypeError(
                f"{type(policy).__name__}.handle_error returned {type(answer).__name__}, and nothing awaits it: a "
                "policy decides on a worker's thread. Make it a plain method that returns True or False."
            )
        verdict = bool(answer)
    return decide(policy, task.retry_count, error, task.is_entry, verdict)


def _report_retries(policy: ErrorHandler | None, count: int) -> None:
    # For people who look at the policy. Runs share it, so nothing in here reads it back.
    if policy is not None and policy.retry_count != count:
        policy.retry_count = count


def _log(task: "Activation", error: BaseException, decision: Decision, delay: float) -> None:
    routine_id = task.port.node.id
    what_next = {
        Decision.RETRY: f"retry {task.retry_count + 1} of {task.max_retries} in {delay:g} s",
        Decision.FAIL: "the run fails" if not task.run.is_anonymous else "given up; it belongs to no run",
        Decision.CONTINUE: "tolerated",
        Decision.SKIP: "skipped",
        Decision.NOTE: "noted; the run goes on",
        Decision.STOP: "stopped with its run",
    }[decision]
    logger.log(
        logging.ERROR if decision in (Decision.FAIL, Decision.NOTE) else logging.WARNING,
        "%s.%s raised %s: %s (%s)",
        routine_id,
        task.slot.name,
        type(error).__name__,
        text_of(error),
        what_next,
        exc_info=error if decision in (Decision.FAIL, Decision.NOTE) else None,
        extra={"job_id": task.run.job_id, "routine_id": routine_id},
    )
