"""A turn of the coroutine loop's thread with one run: as a worker's, but for handlers that are `async def`.

With `activation.py` and `run.py` this is the hot path of async handlers. How the tokens go stands in `handover.py`.
"""

import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from routilux.context import current_job_state
from routilux.errors import HandlerCancelledError, RunError
from routilux.flow.activation import GivenUp, Outcome, perform, settle
from routilux.flow.apart import may_block, settle_apart
from routilux.flow.workers import TURN_LENGTH, TURN_NS, Turn

if TYPE_CHECKING:  # what is driven here
    from routilux.executors.coroutines import CoroutineLoop
    from routilux.executors.driven import Driven
    from routilux.flow.run import Run
    from routilux.flow.task import Activation

__all__ = ["LoopTurn", "OnEnd", "driven", "on_end_of"]

logger = logging.getLogger(__name__)

# What settles an activation that has awaited; returns what the loop's thread does next.
OnEnd = Callable[[BaseException | None], Any]


class _Awaiting:
    """What the first step of a handler has left: its coroutine, and what that awaits."""

    __slots__ = ("coroutine", "found")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], found: Any) -> None:
        self.coroutine = coroutine
        self.found = found


class LoopTurn(Turn):
    """A token of a run in the hands of the loop's thread, and how long it stays with that run.

    It is asked after each activation whether the token should go elsewhere: to a worker, where the next handler is a
    plain one, or to the end of the loop's line.
    """

    __slots__ = ("_context", "_ends", "_now", "run")

    def __init__(self, run: "Run") -> None:
        self.run = run
        # What is the same for all of them is set once.
        self._context = Context()
        self._context.run(current_job_state.set, run.job_state)
        self._restart()

    def _restart(self) -> None:
        # When the last step has ended and the next has begun: what the engine does in between is too short to matter,
        # and to read a clock costs something.
        self._now = perf_counter()
        self._ends = self._now + TURN_NS / 1e9
        # Nothing is ever left of it, so that it is asked each time. How far it is below 0 are those it has done.
        self.left = self.ends_ns = 0
        self.again = False

    def is_over(self, now_ns: int) -> bool:  # noqa: ARG002 - it keeps real time, and a run's clock may stand still
        """With the run's lock held: whether the token should go elsewhere."""
        return not self.run.begins_on_loop() or self._now > self._ends or self.left <= -TURN_LENGTH

    def go_on(self, loop: "CoroutineLoop", cancelling: Callable[[], int]) -> "Driven | None":
        """Begin one activation after the other, until a handler awaits or the turn is over; see `InLine`."""
        self._restart()
        run, copied = self.run, self._context.copy
        task: Activation | None = None
        try:
            task = run.take_on_loop(self)
            while task is not None:
                routine = task.port.node.routine
                if routine is not None and routine._max_concurrency is not None:  # noqa: SLF001 - a marked name
                    task = self._begin_limited(task)
                    continue
                context = copied()  # of its own: no handler sees a variable that another has set
                outcome = context.run(_first_step, task, loop)
                began, self._now = self._now, perf_counter()
                if self._now - began > loop.blocking_seconds:
                    loop.warn_blocking(task.port.name, self._now - began)
                if cancelling():
                    self._take_nothing()
                if outcome is None and task.special is None:
                    task = run.settle(task, self)
                elif isinstance(outcome, _Awaiting):
                    return self._let_await(task, outcome, context, began, loop)
                elif may_block(task, outcome):
                    settle_apart(task, outcome, has_token=True)
                    return None
                else:
                    task = settle(task, outcome, self)
                    self._now = perf_counter()  # handlers of logging are the application's
        except BaseException as error:  # noqa: BLE001 - of the engine itself
            self._give_up(task, error)
            return None
        if self._stays():
            loop.put_in_line(self)
        return None

    def _begin_limited(self, task: "Activation") -> "Activation | None":
        """Let the loop begin a handler when there is room for it; returns the next activation."""
        context = Context()
        outcome = context.run(perform, task)
        if not isinstance(outcome, Coroutine):
            error = outcome or _no_coroutine(task)
            if not may_block(task, error):
                return settle(task, error, self)
            settle_apart(task, error, has_token=True)
            return None
        self.run.engine.handover.hand_over(task, outcome, context)
        return self.run.after_handover(self)

    def _let_await(
        self, task: "Activation", awaiting: _Awaiting, context: Context, began: float, loop: "CoroutineLoop"
    ) -> "Driven":
        run = self.run
        routine = task.port.node.routine
        timeout = None if routine is None else routine._attempt_timeout  # noqa: SLF001 - the marked names of a routine
        begun = loop.driven(task, task.port.name, awaiting.coroutine, on_end_of(task, self), None, timeout, context)
        begun.has_begun(awaiting.found, began)
        if not run.is_sequential:
            # The token stays, and who goes along the line next takes it on.
            self._take_nothing()
            run.after_handover(self)
            if self._stays():
                loop.put_in_line(self)
        return begun

    def settle_awaited(self, task: "Activation", error: BaseException | None) -> "LoopTurn | None":
        """Settle an activation of a sequential run that has awaited; returns itself if the token stays here."""
        self._restart()
        self._take_nothing()
        try:
            if may_block(task, error):
                settle_apart(task, error, has_token=True)
                return None
            settle(task, error, self)
        except BaseException as broken:  # noqa: BLE001 - of the engine itself
            self._give_up(task, broken)
            return None
        return self if self._stays() else None

    def _take_nothing(self) -> None:
        """Let the turn be over with the settlement that comes now.

        Because another task is to begin the next handler, in a later step of the loop: what is taken must begin in
        the same one, or a cancellation in between would neither find it nor keep it from beginning.
        """
        self._ends = 0.0

    def _stays(self) -> bool:
        """Whether the token stays with this thread. Else it is back, or with a worker from here on."""
        if not self.again:
            return False
        run = self.run
        with run.lock:
            begins_here = run.begins_on_loop()
        if not begins_here:
            run.workers.hand_out(run)
        return begins_here

    def fail(self, loop: "CoroutineLoop", error: BaseException) -> None:  # noqa: ARG002 - as all
        """What the loop does where the turn itself could not."""
        self._give_up(None, error)

    def _give_up(self, task: "Activation | None", error: BaseException) -> None:
        """What a worker does when the engine fails. The token goes back."""
        run = self.run
        logger.critical("The engine failed while it drove %r", run, exc_info=error)
        if task is not None:
            run.give_back(task)
        run.abort(error)
        run.take_token_back()


def _settle_without_token(task: "Activation", error: BaseException | None) -> None:
    """On the loop's thread: settle an activation of a concurrent run that has awaited."""
    run = task.run
    if may_block(task, error):
        settle_apart(task, error, has_token=False)
        return
    try:
        settle(task, error, None)
    except BaseException:
        run.give_back(task)  # an error of the engine itself; the loop reports it, and nothing is lost
        raise


def on_end_of(task: "Activation", turn: LoopTurn | None) -> OnEnd:
    """What settles an activation that awaits. In a sequential run the token goes along with it."""
    if not task.run.is_sequential:
        return partial(_settle_without_token, task)
    return partial((turn or LoopTurn(task.run)).settle_awaited, task)


def driven(
    loop: "CoroutineLoop",
    task: "Activation",
    coroutine: Coroutine[Any, Any, Any],
    on_end: OnEnd,
    context: Context | None = None,
    on_taken_back: OnEnd | None = None,
) -> "Driven":
    """A handler's coroutine that has not begun, with the limits of its routine; see `places.py` for those."""
    routine, run = task.port.node.routine, task.run
    timeout = None if routine is None else routine._attempt_timeout  # noqa: SLF001 - the marked names of a routine
    if routine is None or routine._max_concurrency is None or not run.engine.threaded:  # noqa: SLF001 - as above
        return loop.driven(task, task.port.name, coroutine, on_end, None, timeout, context)
    run.await_place(task)
    limit = loop.limit(routine, partial(getattr, routine, "_max_concurrency"))
    end = partial(_end_unless_taken_back, task, on_end, on_taken_back)
    return loop.driven(task, task.port.name, coroutine, end, limit, timeout, context, partial(_claim, task))


def _claim(task: "Activation") -> BaseException | None:
    return None if task.run.leave_for_first_line(task) else GivenUp(None)


def _end_unless_taken_back(
    task: "Activation", on_end: OnEnd, on_taken_back: OnEnd | None, error: BaseException | None
) -> Any:
    if not isinstance(error, GivenUp):
        return on_end(error)
    run = task.run
    if run.hooks is not None:  # which were told of its beginning
        told = HandlerCancelledError(f"{task.port.name} was taken back before its first line.")
        run.engine.workers.call(partial(run.note_returned, task, told))
    return None if on_taken_back is None else on_taken_back(error)


def _first_step(task: "Activation", loop: "CoroutineLoop") -> "BaseException | _Awaiting | None":
    """In the context of the activation: make its coroutine, and take the first step of it."""
    outcome: Outcome = perform(task)
    if type(outcome) is not CoroutineType and not isinstance(outcome, Coroutine):
        return outcome or _no_coroutine(task)
    try:
        found = outcome.send(None)
    except StopIteration:
        return None
    except Exception as raised:  # noqa: BLE001 - the handler is the user's
        return raised
    except BaseException as raised:  # noqa: BLE001 - as above, and the loop must outlive it
        return loop.own_error(task.port.name, raised)
    return _Awaiting(outcome, found)


def _no_coroutine(task: "Activation") -> RunError:
    return RunError(f"The handler of {task!r} made no coroutine.")
