"""The event loop's thread: it keeps the timers (retries, delays, deadlines) and takes up what arrives from outside.

Handlers do not pass through it. A retry that becomes due, a delay that is over, a task that somebody put into
`flow._task_queue`: it puts them into their run's queue, and the workers do the rest.
"""

import heapq
import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any

from routilux.interfaces import Clock

if TYPE_CHECKING:  # the loop fires into runs; it does not make them
    from routilux.flow.flow import Flow
    from routilux.flow.lifecycle import RunLifecycle

__all__ = ["IDLE_SECONDS", "EventLoop", "start_event_loop"]

logger = logging.getLogger(__name__)

# The thread ends when there was no live run for so long.
IDLE_SECONDS = 1.0

# In place of a run's key, where a timer belongs to none.
NO_RUN = 0

# Dead entries of the heap are dropped when they are the half of it, and at least this many.
COMPACT_FROM = 64


class EventLoop:
    """Timers and live runs of one flow.

    `_lock`, which is that of `_changed` and `_ended`, protects everything here. It is taken after a run's lock or
    alone, and no run is called while it is held.

    Heap entries are (due, number, run id): ids, not runs, so that the deadline of a finished run does not keep it
    alive. Live runs are held here, and nowhere else in the loop: a run that waits for nothing but a timer must not be
    collected, even if the application dropped both its flow and its JobState. When no run is live, the thread holds
    nothing of the flow.
    """

    def __init__(self, clock: Clock, take_arrivals: Callable[[], None], threaded: bool) -> None:
        self._clock = clock
        self._take_arrivals = take_arrivals
        self._threaded = threaded
        self._make_locks()
        self._heap: list[tuple[int, int, int]] = []
        self._dead_count = 0
        self._numbers = itertools.count(1)
        self._live: dict[int, RunLifecycle] = {}
        # The live runs that cannot end before a shutdown does that one of their handlers has called.
        self._in_shutdown: Counter[int] = Counter()
        # What else is to be called, by the number of its timer, which stands in the heap without a run.
        self._calls: dict[int, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._arrived = False
        # When the thread, if it waits, will wake by itself.
        self._looks_up_ns = 0
        # Whether a run was adopted since the thread looked last.
        self._used = False
        # The thread that is in a timer's call; it may still use what the run had when that has ended meanwhile.
        self._firing: int | None = None

    def _make_locks(self) -> None:
        self._lock = Lock()
        self._changed = Condition(self._lock)
        # Apart from `_changed`, so that the end of a run wakes those who wait for it and not the loop's thread.
        self._ended = Condition(self._lock)

    def __repr__(self) -> str:
        state = "running" if self.is_running() else "not running"
        return f"EventLoop({state}, {len(self._live)} live runs, {len(self._heap)} timers)"

    # -- live runs

    def adopt(self, run: "RunLifecycle") -> None:
        """Hold a run until `retire`."""
        with self._lock:
            self._live[run.key] = run
            self._used = True

    def retire(self, key: int, timer_count: int) -> None:
        """Let a run go, with so many timers of it still in the heap."""
        with self._lock:
            self._live.pop(key, None)
            self._dead_count += timer_count
            if self._dead_count >= COMPACT_FROM and self._dead_count * 2 >= len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2] in self._live or entry[1] in self._calls]
                heapq.heapify(self._heap)
                self._dead_count = 0
            self._ended.notify_all()

    def live_runs(self) -> "list[RunLifecycle]":
        """The runs that are live now."""
        with self._lock:
            return list(self._live.values())

    def wait_until(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        """Until `is_done()`, which is asked whenever a run has ended; False at the timeout."""
        with self._lock:
            return self._ended.wait_for(is_done, timeout)

    @contextmanager
    def in_shutdown(self, keys: "set[int]") -> Iterator[None]:
        """While a handler of these runs shuts the flow down.

        `_lock` makes the entry here and the look of another shutdown at it one after the other, and whoever waits is
        woken: of two shutdowns that begin at once, the one that waits first sees the other's runs here when they come.
        So none waits for a run that waits for it.
        """
        with self._lock:
            self._in_shutdown.update(keys)
            self._ended.notify_all()
        try:
            yield
        finally:
            with self._lock:
                self._in_shutdown -= Counter(keys)

    def keys_in_shutdown(self) -> set[int]:
        """The keys of the runs of handlers that shut down. Needs the lock, which predicates hold."""
        return set(self._in_shutdown)

    def live_keys(self) -> set[int]:
        """The keys of the runs that are live. As above."""
        return set(self._live)

    def live_count(self) -> int:
        """How many runs are live. Needs no lock: it is asked by predicates that hold it."""
        return len(self._live)

    # -- timers

    def timer_count(self) -> int:
        """Entries in the heap, those of runs that are over included."""
        with self._lock:
            return len(self._heap)

    def schedule(self, key: int, due_ns: int) -> int:
        """Fire a run's `on_timer(number)` at an instant; returns the number.

        Raises:
            RuntimeError: The thread could not be started; nothing is scheduled.
        """
        with self._lock:
            return self._schedule(key, due_ns)

    def call_at(self, due_ns: int, call: Callable[[], None]) -> None:
        """Have something called at an instant that belongs to no live run, unless `forget_calls` comes first.

        The thread lives on until then, so `call` must not hold the flow.

        Raises:
            RuntimeError: The thread could not be started; nothing is scheduled.
        """
        with self._lock:
            self._calls[self._schedule(NO_RUN, due_ns)] = call

    def forget_calls(self) -> None:
        """Drop what `call_at` was given. Without a lock: a new dict in its place is one step, and a finalizer calls."""
        self._calls = {}

    def _schedule(self, key: int, due_ns: int) -> int:
        number = next(self._numbers)
        heapq.heappush(self._heap, (due_ns, number, key))
        if self._threaded:
            try:
                self._ensure_thread()
            except RuntimeError:
                self._heap.remove((due_ns, number, key))
                heapq.heapify(self._heap)
                raise
            if due_ns < self._looks_up_ns:
                # Only what is due before the thread looks up by itself is worth a wake-up, which costs a run of
                # 20 us another 8: each run pushes a deadline in five minutes.
                self._changed.notify_all()
        return number

    def fire_due(self) -> int | None:
        """Fire what is due by the clock, on this thread; returns the instant of the next timer, or None."""
        while True:
            with self._lock:
                self._drop_dead_head()
                if not self._heap:
                    return None
                if self._heap[0][0] > self._clock.monotonic_ns():
                    return self._heap[0][0]
                _, number, key = heapq.heappop(self._heap)
                run, call = self._live.get(key), self._calls.pop(number, None)
                self._firing = threading.get_ident()
            try:
                if run is not None:
                    run.on_timer(number)
                elif call is not None:
                    call()
            finally:
                with self._lock:
                    self._firing = None
                    self._ended.notify_all()

    def wait_until_fired(self, timeout: float | None) -> bool:
        """Until no timer is in its call, or at once on the thread that calls one; False at the timeout."""
        mine = threading.get_ident()
        with self._lock:
            return self._ended.wait_for(lambda: self._firing in (None, mine), timeout)

    def _drop_dead_head(self) -> None:
        while self._heap and self._heap[0][2] not in self._live and self._heap[0][1] not in self._calls:
            heapq.heappop(self._heap)
            self._dead_count = max(0, self._dead_count - 1)

    # -- the thread

    def is_running(self) -> bool:
        """Whether the loop's thread is there, or, stepped by hand, whether a run is live."""
        thread = self._thread
        return (thread is not None and thread.is_alive()) if self._threaded else bool(self._live)

    def wake(self) -> None:
        """Something arrived from outside; look at it if the thread is there."""
        with self._lock:
            self._arrived = True
            self._changed.notify_all()
            steps_by_hand = not self._threaded and bool(self._live)
        if steps_by_hand:
            self._take_arrivals()

    def start(self) -> None:
        """Start the thread unless it is there, and take up what has arrived.

        Raises:
            RuntimeError: No thread could be started.
        """
        self.ensure_thread()
        if self._threaded:
            self.wake()
        else:
            self._take_arrivals()

    def ensure_thread(self) -> None:
        """Start the thread unless it is there.

        Raises:
            RuntimeError: No thread could be started.
        """
        if self._threaded:
            with self._lock:
                self._ensure_thread()

    def _ensure_thread(self) -> None:
        if self._thread is not None:  # it says so itself when it ends
            return
        thread = threading.Thread(target=self._run, name="routilux-event-loop", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            raise

    def _run(self) -> None:
        try:
            self._loop()
        finally:  # whatever has ended it, the next run starts another
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _loop(self) -> None:
        while True:
            try:
                due_ns = self.fire_due()
                with self._lock:
                    arrived, self._arrived = self._arrived, False
                if arrived:
                    self._take_arrivals()
                elif not self._wait(due_ns):
                    return
            except Exception:  # a thread's outermost frame: one broken timer must not stop the others
                logger.exception("The event loop failed and goes on")

    def _wait(self, due_ns: int | None) -> bool:
        """Wait for the next timer or news; False when the thread should end.

        It looks up once a second at least: the end of a run does not wake it, and this is how it learns that there
        is nothing left to wait for. The decision to end and the departure of the thread are one critical section
        with `_ensure_thread`: whoever schedules after it starts a new thread.
        """
        with self._lock:
            if self._arrived or (self._heap and self._heap[0][0] != due_ns):
                return True
            self._used = False
            began_ns = self._clock.monotonic_ns()
            seconds = IDLE_SECONDS if due_ns is None else min(IDLE_SECONDS, max(0.0, (due_ns - began_ns) / 1e9))
            self._looks_up_ns = began_ns + round(seconds * 1e9)
            self._clock.wait(self._changed, seconds)
            idle_ns = self._clock.monotonic_ns() - began_ns
            if self._live or self._calls or self._used or self._arrived or idle_ns < IDLE_SECONDS * 0.9e9:
                return True
            self._thread = None
            return False

    def forget_threads(self) -> None:
        """In a forked child: the thread, the runs and their timers are the parent's."""
        self._make_locks()
        self._heap = []
        self._live = {}
        self._in_shutdown.clear()
        self._calls = {}
        self._dead_count = 0
        self._thread = None
        self._arrived = False
        self._firing = None


def start_event_loop(flow: "Flow") -> Any:
    """Start a flow's event loop unless it runs; what waits in `flow._task_queue` is taken up."""
    return flow.start_event_loop()
