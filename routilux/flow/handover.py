"""How async handlers run: on an asyncio loop, whose thread takes activations as a worker does, and drives them.

An activation whose handler awaits stays active, and holds no thread. Three things stand in for what a worker does:

- *The count.* It was counted when it was queued and is uncounted when its coroutine has ended, by the same settlement,
  under the same lock, on the loop's thread. So the run ends exactly once, whoever comes last.
- *The token.* One that is out is with a worker, or with the loop's thread as a `LoopTurn`, or in either's line. Who has
  it takes the next activation in the critical section in which it settles the last. The loop's thread looks in there
  what comes next, and where that is none for it, takes nothing and passes the token to the workers. A worker takes
  whatever comes: of an async handler it makes the coroutine and hands that over. In a concurrent run it keeps the
  token then, and so does the loop's thread when a handler awaits: as many may await as there is work. In a sequential
  run the token goes along with the activation, and who settles that goes on with it: nothing else of the run is at
  work in between.
- *The wake-up.* An emission that finds the tokens out hands out none. A token that goes along, or from one side to
  the other, counts as out all the while. It is taken back only where the queue is seen empty, in one critical section:
  so either the task is seen, or the emission sees that a token is missing.

To which side an emission gives tokens is a guess, made without the lock. It costs time where it is wrong, and nothing
else: who gets one looks again with the lock. Until a worker has handed over the first coroutine there is no loop, and
flows without async handlers never have one.

A cancellation closes the gate of the run first and posts an errand to the loop then. What the loop's thread has taken
itself it takes, begins, and knows as awaiting in one step of a task, and errands come between those: so the errand
finds it, or the closed gate has kept it from being taken. A coroutine that a worker has handed over is known from its
arrival on; and if it comes after the errand, it is begun with a look at the gate. So each that awaits is cancelled;
none is missed.
"""

import threading
from collections.abc import Coroutine, Iterable
from contextvars import Context
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from routilux.executors.opening import open_coroutines
from routilux.flow.activation import GivenUp
from routilux.flow.loop_turn import LoopTurn, OnEnd, driven, on_end_of
from routilux.flow.waiters import GRACE_SECONDS

if TYPE_CHECKING:  # driven for these
    from routilux.executors.coroutines import CoroutineLoop
    from routilux.flow.run import Run
    from routilux.flow.task import Activation

__all__ = ["Handover"]


class Handover:
    """The coroutine loop of one flow, made when the first coroutine is to be driven.

    `_lock` makes that happen once. It is taken alone.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: CoroutineLoop | None = None
        #: Whether a coroutine was ever handed to the loop's thread. Where workers are stepped by hand, none is.
        self.has_loop = False

    def __repr__(self) -> str:
        return f"Handover({self._loop!r})"

    def loop(self) -> "CoroutineLoop":
        """The loop that drives the coroutines of this flow."""
        with self._lock:
            if self._loop is None:
                self._loop = open_coroutines()()
            return self._loop

    def is_here(self) -> bool:
        """Whether the calling thread is the one that drives the coroutines."""
        return self._loop is not None and self._loop.is_here()

    def cancel(self, tasks: "Iterable[Activation]") -> None:
        """Let the handlers of these activations see a CancelledError where they await; those of threads do not."""
        if self._loop is not None:
            self._loop.cancel([task for task in tasks if task.port.slot.is_async])

    def let_go(self, tasks: "Iterable[Activation]") -> None:
        """These wait for a place, and were taken back by their run."""
        if self._loop is not None:
            self._loop.let_go(list(tasks))

    def close(self, wait: bool, seconds: float | None = None) -> None:
        """Let the loop's thread end, and wait for that at most so long; work that comes later starts another."""
        if self._loop is not None:
            self._loop.close(wait, seconds)

    def forget_threads(self) -> None:
        """In a forked child, where the loop's thread does not exist."""
        self._lock = Lock()
        self._loop = None
        self.has_loop = False

    # -- handing over

    def hand_over(
        self, task: "Activation", coroutine: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> None:
        """Have the loop drive a handler's coroutine and settle the activation.

        Args:
            task: The activation.
            coroutine: Its handler's.
            context: In which it runs; a copy of the calling one by default.

        Raises:
            RuntimeError: The loop's thread could not be started.
        """
        self._drive(task, coroutine, on_end_of(task, None), context)

    def give_tokens(self, run: "Run", tokens: int) -> bool:
        """Let the loop's thread take activations of a run itself, as a worker does; False where none can be had."""
        try:
            self.loop().do([LoopTurn(run) for _ in range(tokens)])
        except RuntimeError:  # out of threads, or the interpreter is going down
            return False
        return True

    def await_entry(self, entry: "Activation", coroutine: Coroutine[Any, Any, Any]) -> BaseException | None:
        """Wait until the loop has driven the entry's coroutine to its end; returns what it raised.

        That is a `GivenUp` where the run was stopped before its first line: then there is nothing to settle. Else the
        caller's thread settles it, as it does with a handler that it has called itself.
        """
        ended = threading.Event()
        outcome: list[BaseException | None] = []

        def note(error: BaseException | None) -> None:
            outcome.append(error)
            ended.set()

        self._drive(entry, coroutine, note, on_taken_back=note)
        try:
            ended.wait()
        except BaseException as interrupted:  # noqa: BLE001 - Ctrl-C, as it would hit a handler on this thread
            self.cancel([entry])
            ended.wait(GRACE_SECONDS)
            outcome = [interrupted]
        if not isinstance(outcome[0], GivenUp):
            entry.run.note_returned(entry, outcome[0])  # here: a hook may block
        return outcome[0]

    def _drive(
        self,
        task: "Activation",
        coroutine: Coroutine[Any, Any, Any],
        on_end: OnEnd,
        context: Context | None = None,
        on_taken_back: OnEnd | None = None,
    ) -> None:
        try:
            loop, run = self.loop(), task.run
            made = driven(loop, task, coroutine, on_end, context, on_taken_back)
            loop.drive(made, run.is_refusing if made.limit is None else partial(run.waits_in_vain, task))
            self.has_loop = True
        except BaseException:
            coroutine.close()
            raise

    def drive_here(self, task: "Activation", coroutine: Coroutine[Any, Any, Any]) -> BaseException | None:
        """Drive a coroutine to its end while the calling thread waits, where workers are stepped by hand."""
        outcome: list[BaseException | None] = []

        def note(error: BaseException | None) -> None:
            task.run.note_returned(task, error)
            outcome.append(error)

        loop = self.loop()
        loop.drive_here(driven(loop, task, coroutine, note))
        return outcome[0]
