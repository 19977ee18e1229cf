"""Attempts whose time is limited: of plain handlers, watched while they are at work, and given up when it is over.

A thread cannot be stopped. So the attempt is given up instead: a timer has it settled as failed, as the policy says,
and the thread goes on by itself. Who comes first, the handler's return or the timer, is decided once, under the run's
lock: both want to take the attempt out of `_watched`, and one of them finds it there.

The activation goes on in a successor, which takes its place among the active ones and is retried, parked or left. What
the late handler's context holds is the one that was given up: so what it still does is known as late, and refused.

The token goes on with the settlement, so the run does too. The place of the late thread's worker goes to another one,
as far as `workers.LATE_PLACES_MAX` goes.

An async handler is cancelled when its time is over, and settled when it has ended. What it has left at work, on a
thread or in a task, is late from then on in the same way.
"""

from collections.abc import Callable, Collection, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple

from routilux.errors import AttemptTimeoutError, LateAttemptError
from routilux.flow.activation import GivenUp
from routilux.flow.apart import settle_in_context
from routilux.flow.places import RunPlaces
from routilux.flow.task import Activation, LateAttempt
from routilux.flow.timers import nanoseconds
from routilux.ledger import RecordKey

__all__ = ["RunAttempts"]


class _Watch(NamedTuple):
    """An attempt that is at work: until when it may be, and whether its thread holds a token of the run."""

    due_ns: int
    seconds: float
    has_token: bool


class _Surrender(NamedTuple):
    """An attempt that was given up and is to be settled, by the activation that goes on in its place."""

    successor: Activation
    late: LateAttempt
    has_token: bool


class RunAttempts(RunPlaces):
    """What a run does about attempts of plain handlers that take too long. Everything here is under the run's lock."""

    __slots__ = ("_look_due_ns", "_look_number", "_watched")

    def __init__(self, *args: Any, **options: Any) -> None:
        self._watched: dict[Activation, _Watch] = {}
        # The timer that looks at them next, and when; one at a time, since most attempts are over before it is due.
        self._look_number = self._look_due_ns = 0
        super().__init__(*args, **options)  # last: others can see it from then on

    # -- on the handler's thread

    def call_in_time(
        self, task: Activation, caller: Callable[[dict[str, Any]], Any], seconds: float, has_token: bool
    ) -> Any:
        """Call a handler that may take so long; returns what it returns, or raises what it raises.

        Raises:
            GivenUp: Its time was over before, and the attempt is not this thread's to settle any more.
        """
        with self.lock:
            watch = _Watch(self.now() + nanoseconds(seconds), seconds, has_token)
            self._watched[task] = watch
            if not self._look_number or watch.due_ns < self._look_due_ns:
                self._look_at(watch.due_ns)
        error: BaseException | None = None
        result = None
        try:
            result = caller(task.data)
        except BaseException as raised:  # noqa: BLE001 - the handler is the user's; raised again below
            error = raised
        with self.lock:
            is_late = self._watched.pop(task, None) is None
            if is_late:
                self._note_late(task, "return" if error is None else f"raise {type(error).__name__}")
        if is_late:
            if isinstance(result, Coroutine):
                result.close()
            if task.special is not None and task.special.late is not None:
                self.workers.came_back(task.special.late)
            raise GivenUp(error)
        if error is None:
            return result
        try:
            raise error
        finally:
            error = None  # its traceback holds this frame, which must not hold it

    def refuse_late(self, task: Activation, what: str) -> None:
        """Refuse what a handler does whose attempt was given up.

        Raises:
            LateAttemptError: Always.
        """
        with self.lock:
            error = self.late_error(task, what)
        raise error

    def late_error(self, task: Activation, what: str) -> LateAttemptError:
        """With the lock held: note in the history what is refused, once per attempt; returns what to raise."""
        late = self._note_late(task, what)
        routine_id, slot_name = task.port.key
        return LateAttemptError(
            f"{routine_id!r} cannot {what} any more: attempt {task.retry_count + 1} of {routine_id}.{slot_name} was "
            f"given up after {late.seconds:g} s (attempt_timeout), and what its handler does since is refused. Look "
            "at get_execution_context().cancelled now and then, and return, or allow more time."
        )

    def _note_late(self, task: Activation, what: str) -> LateAttempt:
        special = task.special
        late = special.late if special is not None else None
        assert late is not None  # noqa: S101 - for the type checker: only what was given up is late
        if late.first_refused is None:
            late.first_refused = what
            if late.is_settled:
                self._record_late(task, what)
        return late

    def _record_late(self, task: Activation, what: str) -> None:
        routine_id, slot_name = task.port.key
        data = {"slot": slot_name, "attempt": task.retry_count + 1, "refused": what}
        self.ledger.write(RecordKey(routine_id, "late"), self.now(), data)
        self.poke()

    # -- where an async handler's attempt is settled

    def give_up_awaited(self, task: Activation, seconds: float) -> Activation:
        """With the lock held: an async handler's attempt failed since its time was over; returns what goes on for it.

        The handler has ended, and what it has started may not have: a thread that it awaited, a task. What that does
        from now on is refused, as it is of a plain handler.
        """
        late = LateAttempt(seconds)
        late.is_settled = True  # in this critical section
        successor = task.give_up(late)
        self.active.discard(task)
        self.active.add(successor)
        return successor

    # -- on the event loop's thread

    def _look_at(self, due_ns: int) -> None:
        self._look_number, self._look_due_ns = self.timers.schedule(due_ns), due_ns

    def on_timer(self, number: int) -> None:
        """Called by the loop: attempts may be overdue, or what every run has."""
        with self.lock:  # with which its number is noted: a timer that fires at once is known by then
            is_look = number == self._look_number
            surrenders = self._give_up_overdue() if is_look else []
        if not is_look:
            super().on_timer(number)
        for task, surrender in surrenders:
            # Not here: policies and hooks are the application's, and this thread has other timers.
            self.engine.workers.call(partial(Context().run, self._settle_surrender, task, surrender))

    def _give_up_overdue(self) -> list[tuple[Activation, _Surrender]]:
        self.timers.heap_count -= 1
        self._look_number = 0
        now = self.now()
        overdue = [task for task, watch in self._watched.items() if watch.due_ns <= now]
        surrenders = [(task, self._give_up(task)) for task in overdue]
        self._look_later()
        return surrenders

    def _look_later(self) -> None:
        if self._watched:
            self._look_at(min(watch.due_ns for watch in self._watched.values()))

    def reopen(self, timeout: float | None, still_failed: Collection[str] = ()) -> None:
        """With the lock held: as every run. A timer from before it stood still may have been dropped."""
        super().reopen(timeout, still_failed)
        self._look_number = 0
        self._look_later()

    def _give_up(self, task: Activation) -> _Surrender:
        watch = self._watched.pop(task)
        late = LateAttempt(watch.seconds)
        successor = task.give_up(late)
        self.active.discard(task)
        self.active.add(successor)
        if watch.has_token:
            self.workers.note_late(late, ".".join(task.port.key))
        else:
            self.is_inline = False  # the caller of `execute` is still in the handler: a retry goes to the workers
        return _Surrender(successor, late, watch.has_token)

    # -- on a thread of its own

    def _settle_surrender(self, given_up: Activation, surrender: _Surrender) -> None:
        task, late = surrender.successor, surrender.late
        error = AttemptTimeoutError(
            f"{'.'.join(task.port.key)} took longer than {late.seconds:g} s, and was given up; its thread goes on."
        )
        try:
            settle_in_context(task, error)
        except BaseException as broken:  # noqa: BLE001 - an error of the engine itself: as a worker does
            self.give_back(task)
            self.abort(broken)
        finally:
            self._go_on_without(given_up, surrender)

    def _go_on_without(self, given_up: Activation, surrender: _Surrender) -> None:
        late = surrender.late
        with self.lock:
            late.is_settled = True
            if late.first_refused is not None:
                self._record_late(given_up, late.first_refused)
            limit = 1 if self.is_sequential else self.token_limit
        if not surrender.has_token:
            self.open_for_tasks(limit)
        elif self.keeps_token():
            self.workers.hand_out(self)
        self.workers.replace_late()

    def keeps_token(self) -> bool:
        """Whether a token that was at work has more to do, and goes to the workers; else it is back."""
        with self.lock:  # the token is taken back in one critical section with the look at the queue, as a worker does
            if self.queue_size():
                return True
            self.tokens -= 1
            return False
