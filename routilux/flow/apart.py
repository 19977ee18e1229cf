"""Settlements that may block, and so must not be made on the thread that drives coroutines.

Hooks, policies of an own class, and output handlers of outputs that were held back are the application's code; and a
run that is kept may have to wait for its store. On the loop's thread all async handlers of the flow would wait with
them. So such a settlement stands in the workers' line, as an errand.
"""

from contextvars import Context
from typing import TYPE_CHECKING

from routilux.context import current_activation, current_job_state
from routilux.error_handler import ErrorHandler
from routilux.flow.activation import policy_of, settle
from routilux.flow.task import HeldOutput

if TYPE_CHECKING:  # whose settlements these are
    from routilux.flow.run import Run
    from routilux.flow.task import Activation
    from routilux.flow.workers import Workers

__all__ = ["may_block", "settle_apart", "settle_in_context"]


def may_block(task: "Activation", error: BaseException | None) -> bool:
    """Whether the settlement of an activation may have to wait: for a store, or for code of the application."""
    run = task.run
    if run.hooks is not None or run.is_durable:
        return True
    if error is not None:
        if not task.port.node.has_plain_policy:
            return True
        policy = policy_of(task)
        return policy is not None and type(policy) is not ErrorHandler
    if run.job_state.output_handler is None:
        return False
    return any(isinstance(effect, HeldOutput) for effect in task.effects or ())


def settle_apart(task: "Activation", error: BaseException | None, has_token: bool) -> None:
    """Have a worker settle an activation that has awaited, with its token if it has one."""
    task.run.workers.hand_out(_Errand(task, error, has_token))


def settle_in_context(task: "Activation", error: BaseException | None) -> None:
    """Settle an activation on a thread that has not called its handler: policies and hooks see its context."""
    run = task.run
    current_job_state.set(run.job_state)
    current_activation.set(task)
    run.note_returned(task, error)
    settle(task, error, None)


class _Errand:
    """One settlement in the line of the workers; see `InLine`."""

    __slots__ = ("_error", "_has_token", "_task")

    def __init__(self, task: "Activation", error: BaseException | None, has_token: bool) -> None:
        self._task = task
        self._error = error
        self._has_token = has_token

    def __repr__(self) -> str:
        return f"_Errand({self._task!r})"

    def drain(self, workers: "Workers") -> bool:
        """Settle it; there is nothing more."""
        run: Run = self._task.run
        Context().run(settle_in_context, self._task, self._error)
        if self._has_token:
            self._has_token = False
            if run.keeps_token():
                workers.hand_out(run)
        return False

    def abort(self, error: BaseException) -> None:
        """No worker could settle it: it is kept in pending_tasks, and the run cannot go on."""
        run = self._task.run
        run.give_back(self._task)
        run.abort(error)
        if self._has_token:
            run.take_token_back()
