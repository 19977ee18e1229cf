"""One asyncio loop on a thread of its own, which drives the coroutines of async handlers: thousands at a time.

Imported through `opening.py` only, where the first coroutine is to be driven: asyncio would be a third of our import.
"""

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from threading import Lock
from typing import Any

from routilux.errors import AttemptTimeoutError, HandlerCancelledError

try:
    import uvloop
except ImportError:  # it makes sockets faster, and nothing here needs it
    uvloop = None

__all__ = ["BLOCKING_SECONDS", "CLEAN_UP_SECONDS", "IDLE_SECONDS", "CoroutineLoop", "Driven"]

logger = logging.getLogger(__name__)

# A handler that keeps the loop's thread for longer, in one step, is named in a warning.
BLOCKING_SECONDS = 0.1

# A handler that has not ended so long after it was cancelled is named in a warning.
CLEAN_UP_SECONDS = 5.0

# The thread ends when there was nothing to drive for so long.
IDLE_SECONDS = 1.0

# Called on the loop's thread with what the coroutine raised, or None.
OnEnd = Callable[[BaseException | None], None]


class Driven(Coroutine[Any, Any, None]):
    """A coroutine as the loop's task sees it: each step is timed, and nothing that it raises comes through.

    The clock is read around each step instead of setting the loop's debug mode, which costs many times as much, and of
    a second thread that looks on. So a step that never ends is not told of.

    Args:
        key: Names it to who cancels it.
        name: For warnings.
        coroutine: What is driven.
        on_end: Called once, when it has ended, in the last step.
        limit: Of which group it is, and how many of that group may be driven at once.
        timeout: Seconds that it may take; then it is cancelled.
    """

    __slots__ = (
        "_coroutine",
        "_is_cancelled",
        "_is_late",
        "_on_end",
        "_timers",
        "_was_thrown",
        "context",
        "key",
        "limit",
        "name",
        "owner",
        "task",
        "timeout",
    )

    def __init__(
        self,
        key: Any,
        name: str,
        coroutine: Coroutine[Any, Any, Any],
        on_end: OnEnd,
        limit: tuple[Any, int] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.key = key
        self.name = name
        self.context = copy_context()
        self.limit = limit
        self.timeout = timeout
        self.owner: CoroutineLoop | None = None
        self._coroutine = coroutine
        self._on_end = on_end
        self.task: asyncio.Task[None] | None = None
        self._is_cancelled = self._was_thrown = self._is_late = False
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the loop's thread: make the task that drives it."""
        self.task = self.context.run(loop.create_task, self, name=self.name)
        if self.timeout is not None:
            self._timers.append(loop.call_later(self.timeout, self._be_late))

    def __repr__(self) -> str:
        return f"Driven({self.name})"

    def send(self, value: Any, /) -> Any:
        """One step, called by the loop's task."""
        began = time.perf_counter()
        try:
            found = self._coroutine.send(value)
        except StopIteration:
            self._end(None, began)
        except BaseException as raised:  # noqa: BLE001 - the handler is the user's, and the loop must outlive it
            self._end(raised, began)
        else:
            if time.perf_counter() - began > BLOCKING_SECONDS:
                self._warn_blocking(time.perf_counter() - began)
            return found
        raise StopIteration

    def throw(self, *error: Any) -> Any:
        """One step that begins with an exception, called by the loop's task: it was cancelled, as a rule."""
        self._was_thrown = True
        began = time.perf_counter()
        try:
            found = self._coroutine.throw(*error)
        except StopIteration:
            self._end(None, began)
        except BaseException as raised:  # noqa: BLE001 - as above
            self._end(raised, began)
        else:
            if time.perf_counter() - began > BLOCKING_SECONDS:
                self._warn_blocking(time.perf_counter() - began)
            return found
        raise StopIteration

    def close(self) -> None:
        """It is given up: nobody will drive it on."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, None, None]:
        raise TypeError(f"{self!r} is driven by a task of its own")

    def cancel(self) -> None:
        """On the loop's thread: let it see a CancelledError where it awaits."""
        task = self.task
        if task is None or task.done():
            return
        if not self._is_cancelled:
            self._is_cancelled = True
            self._timers.append(task.get_loop().call_later(CLEAN_UP_SECONDS, self._warn_if_going_on))
        task.cancel()

    def _be_late(self) -> None:
        if self.task is not None and not self._is_cancelled:
            self._is_late = True
            self.task.cancel()

    def _end(self, error: BaseException | None, began: float) -> None:
        took = time.perf_counter() - began
        if took > BLOCKING_SECONDS:
            self._warn_blocking(took)
        on_end, outcome = self._on_end, self._outcome(error)
        if self.owner is not None:
            self.owner.forget(self)
        for timer in self._timers:
            timer.cancel()
        # The task knows this, and the frames of the coroutine what it worked for: only the collector would end that.
        del self._on_end, self._coroutine
        self.task = None
        self._timers = []
        try:
            on_end(outcome)
        except BaseException:
            logger.critical("The engine failed when %s had ended", self.name, exc_info=True)

    def _outcome(self, error: BaseException | None) -> BaseException | None:
        """What its end means: an error by its own, the cancellation that it was given, or the time that was over."""
        has_swallowed = error is None and self._was_thrown
        if has_swallowed and (self._is_cancelled or self._is_late):
            logger.warning(
                "%s was cancelled, and has swallowed the CancelledError. Clean up in `finally`, or raise it again.",
                self.name,
            )
        found: BaseException | None = error
        if self._is_cancelled and isinstance(error, asyncio.CancelledError):
            found = HandlerCancelledError(f"{self.name} was cancelled while it awaited something.")
        elif self._is_late and not self._is_cancelled and (has_swallowed or isinstance(error, asyncio.CancelledError)):
            found = AttemptTimeoutError(f"{self.name} took longer than {self.timeout:g} s, and was cancelled.")
        if found is not error and found is not None:
            found.__cause__ = error
        return found

    def _warn_blocking(self, seconds: float) -> None:
        logger.warning(
            "%s kept the loop's thread for %.0f ms, and all other async handlers of its flow waited. Await in "
            "between, or make it a plain function, which runs on a worker.",
            self.name,
            seconds * 1e3,
        )

    def _warn_if_going_on(self) -> None:
        if self.task is not None and not self.task.done():
            logger.warning(
                "%s was cancelled %g s ago, and goes on. Let the CancelledError end it.", self.name, CLEAN_UP_SECONDS
            )


class CoroutineLoop:
    """Drives coroutines on one daemon thread, which is started when there are some and ends when there are none.

    `_lock` protects the errands and which thread there is. It is taken last, and of what it protects nothing is called
    while it is held. What is driven is touched on the loop's thread only.

    Why no wake-up is lost: an errand is put down, and the thread woken unless it was, in one critical section; the
    thread takes all errands, and is not woken any more, in one. It decides to end, and is not there any more, in one
    as well, and does so only when there is no errand.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._errands: deque[Callable[[], None]] = deque()
        self._is_woken = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._used = False
        self._driven: dict[Any, Driven] = {}
        # How many of each limited group are driven, and who waits for a turn.
        self._counts: Counter[Any] = Counter()
        self._held: dict[Any, deque[Driven]] = {}
        # In which errands are run: not that of whoever comes first, which would be kept.
        self._context = Context()
        # Those that `drive_here` drives: each by a loop of its own.
        self._stepped: dict[Any, Driven] = {}

    def __repr__(self) -> str:
        state = "running" if self._thread is not None else "not running"
        return f"CoroutineLoop({state}, {len(self._driven)} coroutines)"

    # -- from any thread

    def is_here(self) -> bool:
        """Whether the calling thread is the loop's."""
        return self._thread is threading.current_thread()

    def driven(self, *args: Any, **options: Any) -> Driven:
        """A coroutine, ready to be driven in a copy of the calling context; see `Driven`."""
        return Driven(*args, **options)

    def drive(self, driven: Driven, is_stopped: Callable[[], bool]) -> None:
        """Drive a coroutine to its end.

        Args:
            driven: The coroutine.
            is_stopped: Asked on the loop's thread when it is about to begin; True: it is cancelled at once. So one
                that is on its way here while its run is cancelled is not forgotten.

        Raises:
            RuntimeError: No thread could be started; nothing of the coroutine has run.
        """
        if self.is_here():
            self._begin(driven, is_stopped)
        else:
            self._do(partial(self._begin, driven, is_stopped))

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
        self._thread, self._loop, self._is_woken = thread, loop, False
        return loop

    def close(self, wait: bool) -> None:
        """Let the thread end as soon as nothing is driven; with `wait`, return when it has."""
        with self._lock:
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        self._do(self._end_soon)
        if wait:
            thread.join()

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

    # -- on the loop's thread

    def _run_errands(self) -> None:
        with self._lock:
            errands, self._errands = self._errands, deque()
            self._is_woken = False
        for errand in errands:
            try:
                errand()
            except Exception:  # a thread's outermost frame: one broken errand must not stop the others
                logger.exception("The coroutine loop failed and goes on")

    def _begin(self, driven: Driven, is_stopped: Callable[[], bool]) -> None:
        driven.owner = self
        self._driven[driven.key] = driven
        if driven.limit is not None and not is_stopped():
            group, most = driven.limit
            if self._counts[group] >= most:
                self._held.setdefault(group, deque()).append(driven)
                return
            self._counts[group] += 1
        else:
            driven.limit = None
        driven.begin(asyncio.get_running_loop())
        if is_stopped():
            driven.cancel()

    def forget(self, driven: Driven) -> None:
        """On the loop's thread: it has ended; the next of its group may begin."""
        del self._driven[driven.key]
        if driven.limit is None:
            return
        group = driven.limit[0]
        held = self._held.get(group)
        if held:
            held.popleft().begin(asyncio.get_running_loop())
            return
        self._counts[group] -= 1
        if not self._counts[group]:
            del self._counts[group]
            self._held.pop(group, None)

    def _cancel(self, keys: list[Any]) -> None:
        for key in keys:
            driven = self._driven.get(key)
            if driven is None:
                continue
            if driven.task is None and driven.limit is not None:
                # It waits for its turn: it ends now, without having begun, and without a place to give back.
                self._held[driven.limit[0]].remove(driven)
                driven.limit = None
                driven.begin(asyncio.get_running_loop())
            driven.cancel()

    def _end_soon(self) -> None:
        self._used = False
        self._end_if_idle()

    def _look_up(self) -> None:
        if not self._end_if_idle():
            asyncio.get_running_loop().call_later(IDLE_SECONDS, self._look_up)

    def _end_if_idle(self) -> bool:
        loop = asyncio.get_running_loop()
        is_empty = not self._driven and not asyncio.all_tasks(loop)  # a handler may have left a task of its own
        with self._lock:
            if self._errands or self._used or not is_empty:
                self._used = False
                return False
            self._thread = self._loop = None
        loop.stop()
        return True

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
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


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop for a thread of its own: uvloop's where it is installed."""
    return asyncio.new_event_loop() if uvloop is None else uvloop.new_event_loop()


def _run_alone(driven: Driven) -> None:
    loop = new_loop()
    try:
        driven.begin(loop)
        task = driven.task
        if task is not None:
            loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
