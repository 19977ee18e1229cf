"""One asyncio loop on a thread of its own, which drives the coroutines of async handlers: thousands at a time.

Imported through `opening.py` only, where the first coroutine is to be driven: asyncio would be a third of our import.

An asyncio task for each handler would cost more than all the rest of a hop. So there is a *line* of work, and one
*driver*, which is a task, goes along it: it takes the first step of one handler after the other. A handler that ends
in its first step has cost no task. One that awaits keeps the task, which is its own from then on, and another driver
takes the line up. So `asyncio.current_task()`, time limits and task groups work in every handler, and no cancellation
reaches a handler that it was not meant for:

- a task that drives a handler which awaits, drives nothing else until that has ended;
- a task that somebody has cancelled, and nobody has uncancelled, drives nothing more: another takes its place.
"""

import asyncio
import contextlib
import logging
import threading
import types
from collections import deque
from collections.abc import Callable, Collection, Generator
from contextvars import Context
from functools import partial
from threading import Lock
from time import perf_counter
from typing import Any, Protocol

from routilux.context import note_driving_thread
from routilux.executors.driven import BLOCKING_SECONDS, CLEAN_UP_SECONDS, Driven, Limit, own_error, warn_blocking
from routilux.executors.places import Places

try:
    import uvloop
except ImportError:  # it makes sockets faster, and nothing here needs it
    uvloop = None

__all__ = ["IDLE_SECONDS", "TURN_SECONDS", "CoroutineLoop", "InLine"]

logger = logging.getLogger(__name__)

# The thread ends when there was nothing to drive for so long.
IDLE_SECONDS = 1.0

# For so long a driver goes on before it lets timers, sockets, cancellations and the handlers that await have a turn.
TURN_SECONDS = 0.001


class InLine(Protocol):
    """Work for the loop's thread."""

    def go_on(self, loop: "CoroutineLoop", cancelling: Callable[[], int]) -> Driven | None:
        """Work for one turn; returns a handler that awaits, and that the calling task is to drive on.

        Args:
            loop: For what is to come after this turn.
            cancelling: Whether the task was cancelled: then no handler may begin in it any more.
        """

    def fail(self, loop: "CoroutineLoop", error: BaseException) -> None:
        """The turn has raised this, which the engine did not expect: nobody is to wait for it for ever."""


class _Beginning:
    """A coroutine that a worker has made."""

    __slots__ = ("_driven", "_is_stopped")

    def __init__(self, driven: Driven, is_stopped: Callable[[], bool]) -> None:
        self._driven = driven
        self._is_stopped = is_stopped

    def go_on(self, loop: "CoroutineLoop", cancelling: Callable[[], int]) -> Driven | None:  # noqa: ARG002 - as all
        """Begin it, or let it wait until others of its group have ended."""
        driven = self._driven
        # Who is stopped needs no place to end at.
        if not self._is_stopped() and not loop.places.admits(driven, self):
            return None
        if driven.begin(self._is_stopped()):
            return driven
        loop.end(driven)
        return None

    def fail(self, loop: "CoroutineLoop", error: BaseException) -> None:
        """End the handler with the error."""
        self._driven.fail(error)
        loop.end(self._driven)


class CoroutineLoop:
    """Drives coroutines on one daemon thread, which is started when there are some and ends when there are none.

    `_lock` protects the errands and which thread there is. It is taken last, and of what it protects nothing is called
    while it is held. The line and what is driven are touched on the loop's thread only.

    Why no wake-up is lost: an errand is put down, and the thread woken unless it was, in one critical section; the
    thread takes all errands, and is not woken any more, in one. It decides to end, and is not there any more, in one
    as well, and does so only when there is no errand. Work is put into the line on the loop's thread alone, and
    a driver is called then unless there is one; a driver leaves the line in the step in which it has found it empty.
    """

    #: A step that takes longer is warned of.
    blocking_seconds = BLOCKING_SECONDS
    warn_blocking = staticmethod(warn_blocking)
    #: Makes a coroutine ready to be driven.
    driven = Driven
    limit = Limit
    #: What the error of a handler means that nobody has cancelled.
    own_error = staticmethod(own_error)

    def __init__(self) -> None:
        self._lock = Lock()
        self._errands: deque[Callable[[], None]] = deque()
        self._is_woken = False
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._used = False
        # Work that waits for a driver, and whether one is at it or on its way.
        self._line: deque[InLine] = deque()
        self._has_driver = False
        # Whether the thread is to end as soon as it has nothing to do.
        self._ends_soon = False
        self._driver: asyncio.Task[None] | None = None
        # What has come from workers and has not ended, and what awaits something.
        self._driven: dict[Any, Driven] = {}
        #: How many of each limited group are driven, and who waits for a place.
        self.places = Places(self.put_in_line)
        # In which errands and drivers run: not that of whoever comes first, which would be kept.
        self._context = Context()
        # Those that `drive_here` drives: each by a loop of its own.
        self._stepped: dict[Any, Driven] = {}

    def __repr__(self) -> str:
        state = "running" if self._thread is not None else "not running"
        return f"CoroutineLoop({state}, {len(self._driven)} coroutines, {len(self._line)} in line)"

    # -- from any thread

    def is_here(self) -> bool:
        """Whether the calling thread is the loop's."""
        return self._ident == threading.get_ident()

    def drive(self, driven: Driven, is_stopped: Callable[[], bool]) -> None:
        """Drive a coroutine to its end.

        Args:
            driven: The coroutine.
            is_stopped: Asked on the loop's thread when it is about to begin; True: it is cancelled at once. So one
                that is on its way here while its run is cancelled is not forgotten.

        Raises:
            RuntimeError: No thread could be started; nothing of the coroutine has run.
        """
        beginning = _Beginning(driven, is_stopped)
        if self.is_here():
            self._receive(driven, beginning)
        else:
            self._do(partial(self._receive, driven, beginning))

    def do(self, work: Collection[InLine]) -> None:
        """Put work into the line.

        Raises:
            RuntimeError: No thread could be started.
        """
        if self.is_here():
            for each in work:
                self.put_in_line(each)
        else:
            self._do(partial(self._put_in_line, work))

    def cancel(self, keys: Collection[Any]) -> None:
        """Cancel what is driven under these keys; what is not there has ended."""
        with self._lock:
            stepped = [self._stepped[key] for key in keys if key in self._stepped]
            is_running = self._thread is not None
        for driven in stepped:
            if driven.task is not None:
                driven.task.get_loop().call_soon_threadsafe(driven.cancel)
        if is_running:
            self._do(partial(self._cancel, list(keys)))

    def let_go(self, keys: Collection[Any]) -> None:
        """Let those of these end that wait for a place: they are not to begin any more."""
        with self._lock:
            is_running = self._thread is not None
        if is_running:
            self._do(partial(self._let_go, list(keys)))

    def _do(self, errand: Callable[[], None]) -> None:
        with self._lock:
            loop = self._loop if self._loop is not None else self._start()
            self._errands.append(errand)
            self._used = True
            if not self._is_woken:
                self._is_woken = True
                loop.call_soon_threadsafe(self._run_errands, context=self._context)

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = new_loop()
        thread = threading.Thread(target=self._run, args=(loop,), name="routilux-coroutines", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        self._thread, self._ident, self._loop, self._is_woken = thread, thread.ident, loop, False
        return loop

    def close(self, wait: bool, seconds: float | None = None) -> None:
        """Let the thread end as soon as nothing is driven: tasks that handlers have left are cancelled then.

        Args:
            wait: Return when it has ended.
            seconds: Wait at most so long; `CLEAN_UP_SECONDS` by default. What keeps it is not what was driven, but
                threads that handlers have called, or tasks that swallow their cancellation.
        """
        with self._lock:
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        self._do(self._end_soon)
        if not wait:
            return
        thread.join(CLEAN_UP_SECONDS if seconds is None else seconds)
        if thread.is_alive():
            logger.warning(
                "The thread of the async handlers is not waited for any longer. What they have left keeps it: a thread "
                "of asyncio.to_thread, or a task that swallows its CancelledError."
            )

    def drive_here(self, driven: Driven) -> None:
        """Drive a coroutine to its end while the calling thread waits.

        A thread of its own does it: the calling one may run a loop already, and loops do not nest.
        """
        with self._lock:
            self._stepped[driven.key] = driven
        try:
            thread = threading.Thread(target=_run_alone, args=(driven,), name="routilux-stepped", daemon=True)
            thread.start()
            thread.join()
        finally:
            with self._lock:
                del self._stepped[driven.key]

    # -- on the loop's thread: the line

    def _run_errands(self) -> None:
        with self._lock:
            errands, self._errands = self._errands, deque()
            self._is_woken = False
        for errand in errands:
            try:
                errand()
            except Exception:  # a thread's outermost frame: one broken errand must not stop the others
                logger.exception("The coroutine loop failed and goes on")

    def put_in_line(self, work: InLine) -> None:
        """Have a driver do this work, after what is in the line."""
        self._line.append(work)
        if not self._has_driver:
            self._call_driver()

    def _call_driver(self) -> None:
        self._has_driver = True
        loop = asyncio.get_running_loop()
        self._driver = loop.create_task(self._go_along(), name="routilux-driver", context=self._context)

    async def _go_along(self) -> None:
        """A driver: what one task does, from the first work that it takes until it is not fit for more."""
        task: Any = asyncio.current_task()
        until = perf_counter() + TURN_SECONDS
        while self._line:
            work = self._line.popleft()
            try:
                driven = work.go_on(self, task.cancelling)
            except BaseException as error:  # noqa: BLE001 - of the engine itself, and the loop must outlive it
                driven = None
                self._fail(work, error)
            if driven is not None:
                self._leave_line()
                self._driven[driven.key] = driven
                task.set_name(driven.name)
                await driven.drive_on(task)
                self.end(driven)
                break
            if perf_counter() >= until:
                await _others_turn()
                until = perf_counter() + TURN_SECONDS
            if task.cancelling():
                self._leave_line()
                break
        else:
            self._has_driver = False
        if self._ends_soon:
            task.get_loop().call_soon(self._end_soon)  # after this task's end

    def _fail(self, work: InLine, error: BaseException) -> None:
        logger.critical("The engine failed in %r", work, exc_info=error)
        try:
            work.fail(self, error)
        except BaseException:  # the driver must outlive it, or all others would wait for ever
            logger.critical("The engine failed once more", exc_info=True)

    def _leave_line(self) -> None:
        """The present driver has something else to do; who comes next finds another, and so does what is in line."""
        if self._line:
            self._call_driver()
        else:
            self._has_driver = False

    def end(self, driven: Driven) -> None:
        """A coroutine has ended: make room for the next of its group, and put into the line what comes after it."""
        self._driven.pop(driven.key, None)
        self.places.give_back(driven)
        following = driven.end()
        if following is not None:
            self.put_in_line(following)

    # -- on the loop's thread: what comes from workers, or has a limit

    def _put_in_line(self, work: Collection[InLine]) -> None:
        self._ends_soon = False
        for each in work:
            self.put_in_line(each)

    def _receive(self, driven: Driven, beginning: InLine) -> None:
        # Known from here on, and not from its beginning: a cancellation may come in between.
        self._driven[driven.key] = driven
        self._ends_soon = False
        self.put_in_line(beginning)

    def _cancel(self, keys: list[Any]) -> None:
        found = [self._driven[key] for key in keys if key in self._driven]
        for driven in found:
            driven.cancel()
        self.places.let_go(found)

    def _let_go(self, keys: list[Any]) -> None:
        self.places.let_go([self._driven[key] for key in keys if key in self._driven])

    # -- the end

    def _end_soon(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            return  # it has ended, and waits for its executor; another thread may drive meanwhile
        self._used = False
        if not self._driven and not self._line:
            self._cancel_left()
        self._ends_soon = not self._end_if_idle()

    def _cancel_left(self) -> None:
        """Cancel tasks that handlers have left: their runs are over, and nothing else would end them."""
        loop = asyncio.get_running_loop()
        left = [task for task in asyncio.all_tasks(loop) if task is not self._driver and not task.cancelling()]
        for task in left:
            task.cancel()
            task.add_done_callback(self._look_again)
        if left:
            logger.warning(
                "Async handlers have left tasks, which are cancelled now: %s. Await or cancel what a handler starts "
                "before it ends.",
                ", ".join(sorted(f"{task.get_name()} ({task.get_coro()!r})" for task in left)),
            )

    def _look_again(self, task: "asyncio.Task[Any]") -> None:
        if self._ends_soon:
            task.get_loop().call_soon(self._end_soon)

    def _look_up(self) -> None:
        with self._lock:  # which whoever starts the thread holds until it is known
            has_ended = self._loop is not asyncio.get_running_loop()
        if has_ended:
            return  # as above
        if self._has_driver and self._driver is not None and self._driver.done():
            self._leave_line()  # a handler has cancelled all tasks of the loop, and one had not begun
        if not self._end_if_idle():
            asyncio.get_running_loop().call_later(IDLE_SECONDS, self._look_up)

    def _end_if_idle(self) -> bool:
        loop = asyncio.get_running_loop()
        # A driver is at work or on its way; a handler may have left a task of its own.
        is_empty = not self._driven and not self._line and not asyncio.all_tasks(loop)
        with self._lock:
            if self._errands or self._used or not is_empty:
                self._used = False
                return False
            self._thread = self._loop = self._ident = None
        loop.stop()
        return True

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        note_driving_thread()
        loop.call_soon(self._look_up)
        while True:
            try:
                loop.run_forever()
            except BaseException:  # a task that a handler has left raised SystemExit: the others go on
                logger.exception("A task on the coroutine loop stopped it; it goes on")
            with self._lock:
                if self._loop is not loop:
                    break  # else a handler has stopped the loop, which is not its to stop
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


@types.coroutine
def _others_turn() -> Generator[None, None, None]:
    """Let the loop do what else there is. A cancellation is not raised: no handler is at work that it could mean."""
    with contextlib.suppress(asyncio.CancelledError):
        yield


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop for a thread of its own: uvloop's where it is installed."""
    return asyncio.new_event_loop() if uvloop is None else uvloop.new_event_loop()


def _run_alone(driven: Driven) -> None:
    async def drive() -> None:
        task: Any = asyncio.current_task()
        if driven.begin(False):
            await driven.drive_on(task)
        driven.end()

    loop = new_loop()
    try:
        loop.run_until_complete(driven.context.copy().run(loop.create_task, drive(), name=driven.name))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
