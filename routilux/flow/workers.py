"""The workers of a flow: pool threads that take runs from a line, and empty each run's queue in turns.

A run with queued work has *tokens* in the line or in workers' hands, as many as activations of it may run at once.
Submitting every activation to an executor costs 15 to 57 us a hop; here an executor is used once per burst of work,
to start a worker, and the worker then empties queues at 2 to 4 us a hop until the line is empty.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Protocol

from routilux.errors import WorkerStartError
from routilux.interfaces import PoolFactory, WorkerPool

__all__ = [
    "TURN_LENGTH",
    "TURN_NS",
    "InLine",
    "Turn",
    "Workers",
    "is_pool_thread",
    "place_given_away_here",
    "workers_of_this_thread",
]

logger = logging.getLogger(__name__)

# While another run waits, a worker moves on after this many activations or nanoseconds.
TURN_LENGTH = 64
TURN_NS = 1_000_000

# So many places are given away by waiting workers before they rather go on helping the run that they wait for: a
# thousand handlers that wait for runs of their own must not become a thousand threads.
PLACES_GIVEN_AWAY_MAX = 16

# So many helps may stand on one thread's stack, each in a handler that the one before it has called. Each takes ten
# frames and what the handlers take, of a thousand; beyond it, a waiting worker gives its place away, and another one,
# whose stack is empty, goes on.
HELP_DEPTH_MAX = 8

# So many threads whose handlers were given up have places of their own; each beyond keeps that of its worker, so that
# handlers which never return do not become ever more threads.
LATE_PLACES_MAX = 16

# Workers in the places of others; each stands for a handler that waits.
EXTRA_THREADS_MAX = 1024

_here = threading.local()


class InLine(Protocol):
    """What may stand in the line: a run, or an errand for it."""

    def drain(self, workers: "Workers") -> bool:
        """Work for one turn; True when there is more, and it wants to stand in line again."""

    def abort(self, error: BaseException) -> None:
        """The worker could not go on with it."""


class Turn:
    """How long a worker stays with one run."""

    __slots__ = ("_length", "_workers", "again", "ends_ns", "left")

    def __init__(self, workers: "Workers", now_ns: int) -> None:
        self._workers = workers
        self._length = self.left = workers.turn_length
        self.ends_ns = now_ns + TURN_NS
        #: Set by the run when the turn ended with work left.
        self.again = False

    def is_over(self, now_ns: int) -> bool:
        """Called when nothing is `left` of it, or it has come to its end: whether the worker should move on."""
        # Looked at without the line's lock: whoever joins the line a moment later is seen one activation later.
        if self._workers.line or self._length == 1 or self._workers.is_crowded():
            return True
        self.left = self._length
        self.ends_ns = now_ns + TURN_NS
        return False


class _Start:
    """One worker that was asked for. A pool that raised may still run it later: it is then abandoned."""

    __slots__ = ("abandoned", "is_extra")

    def __init__(self, is_extra: bool) -> None:
        self.is_extra = is_extra
        self.abandoned = False


class Workers:
    """The line of runs that have work, and the pool threads that take from it.

    `_lock` protects everything here. It is taken after a run's lock or alone, and nothing is called while it is held.

    Why no wake-up is lost: a run is put into the line, and the number of workers is looked at, in one critical
    section; a worker sees the empty line and takes itself off that number in one critical section. So either the
    worker sees the run, or whoever put it there sees that a worker is missing and starts one.
    """

    def __init__(self, factory: PoolFactory, places: int) -> None:
        self._factory = factory
        self._lock = Lock()
        self.line: deque[InLine] = deque()
        self.turn_length = TURN_LENGTH if factory.threaded else 1
        self._places = places
        self._reserved: Counter[int] = Counter()
        self._most_reserved = 0
        self._given_away = 0
        # The handlers that were given up and whose threads are at work still, by what identifies each: its name.
        self._late: dict[object, str] = {}
        self._working = 0
        self._extra_working = 0
        self._pool: WorkerPool | None = None
        self._pool_size = 0
        self._extra_pool: WorkerPool | None = None
        self._retired: list[WorkerPool] = []

    def __repr__(self) -> str:
        return f"Workers({self._working} of {self._allowed()} working, {len(self.line)} runs in line)"

    # -- how many

    def _allowed(self) -> int:
        return max(self._places, self._most_reserved) + self._given_away + min(len(self._late), LATE_PLACES_MAX)

    def is_crowded(self) -> bool:
        """Whether a worker should go, because the one whose place it took has come back.

        Asked without the lock: the worker asks again with it before it goes.
        """
        return self._working > self._allowed()

    def set_places(self, places: int) -> None:
        """How many workers there may be from now on."""
        with self._lock:
            self._places = places

    def reserve(self, places: int) -> None:
        """Let there be at least so many workers until `release` is called with the same number."""
        with self._lock:
            self._reserved[places] += 1
            self._most_reserved = max(self._reserved)

    def release(self, places: int) -> None:
        """Take one reservation back."""
        with self._lock:
            self._reserved[places] -= 1
            if self._reserved[places] <= 0:
                del self._reserved[places]
            self._most_reserved = max(self._reserved, default=0)

    # -- handing out

    def hand_out(self, run: InLine, tokens: int = 1) -> None:
        """Put tokens of a run into the line and see that workers come for them."""
        with self._lock:
            for _ in range(tokens):
                self.line.append(run)
            starts = self._starts_needed(tokens)
        for start in starts:
            self._start(start)

    def _starts_needed(self, tokens: int) -> list[_Start]:
        starts = []
        for _ in range(min(tokens, self._allowed() - self._working)):
            is_extra = self._working - self._extra_working >= max(self._places, self._most_reserved)
            self._working += 1
            self._extra_working += is_extra
            starts.append(_Start(is_extra))
        return starts

    def _start(self, start: _Start) -> None:
        pool: WorkerPool | None = None
        while True:
            before, pool = pool, self._pool_for(start)
            try:
                pool.submit(lambda: self._work(start))
            except RuntimeError as error:
                if pool is before:
                    self._give_up(start, error)
                    return
                # The pool may just have been closed by a shutdown: a fresh one is worth a try.
            else:
                return

    def _give_up(self, start: _Start, error: RuntimeError) -> None:
        """A worker could not be started: out of threads, or the interpreter is going down."""
        start.abandoned = True
        with self._lock:
            self._leave(start)
            # Whoever works will empty the line. If nobody does, those who stand in it must not wait for ever.
            stranded = list(dict.fromkeys(self.line)) if self._working <= self._given_away else []
            if stranded:
                self.line.clear()
        if not stranded:
            # At interpreter exit this is no news: who works now empties the line, and then the process ends.
            level = logging.DEBUG if "shutdown" in str(error) else logging.WARNING
            logger.log(level, "A worker thread could not be started (%s); %d are working", error, self._working)
            return
        reason = WorkerStartError(
            f"No worker thread could be started ({error}). Nothing is lost: what was queued is kept in the run's "
            "pending_tasks. Free threads or lower max_workers, then resume the run."
        )
        reason.__cause__ = error
        for each in stranded:
            each.abort(reason)

    def _pool_for(self, start: _Start) -> WorkerPool:
        with self._lock:
            if start.is_extra:
                return self._extra()
            needed = max(self._places, self._most_reserved)
            if self._pool is None or self._pool_size < needed:
                if self._pool is not None:
                    self._retired.append(self._pool)
                self._pool, self._pool_size = self._factory.open_pool(needed), needed
            retired, self._retired = self._retired, []
            pool = self._pool
        for old in retired:
            old.shutdown(wait=False)  # its workers finish what they are at
        return pool

    def _extra(self) -> WorkerPool:
        # For workers that take the place of others, and for calls. It starts threads only as they are needed.
        if self._extra_pool is None:
            self._extra_pool = self._factory.open_pool(EXTRA_THREADS_MAX)
        return self._extra_pool

    def call(self, function: Callable[[], None], or_here: bool = True) -> None:
        """Have a thread of its own make a call, however busy the workers are.

        That thread is one of ours (`is_pool_thread`), but has no place: it takes none from the workers, so it has none
        to give away when it waits. Where no thread can be had, this one makes it; or nobody does, without `or_here`.
        """

        def call_there() -> None:
            _here.is_called = True
            try:
                function()
            finally:
                _here.is_called = False

        with self._lock:
            pool = self._extra()
        try:
            pool.submit(call_there)
        except RuntimeError:  # no thread to be had: better on this one than not at all
            if or_here:
                function()

    def _leave(self, start: _Start) -> None:
        self._working -= 1
        self._extra_working -= start.is_extra

    # -- working

    def _work(self, start: _Start) -> None:
        """What a pool thread runs: one turn after the other until the line is empty."""
        if start.abandoned:
            return
        run: InLine | None = None
        again = False
        _here.workers = self
        try:
            while True:
                with self._lock:
                    if again and run is not None:
                        self.line.append(run)
                    if not self.line or self._working > self._allowed():
                        self._leave(start)
                        return
                    run = self.line.popleft()
                again = self._drain(run)
                if not self._factory.threaded:
                    self._step_again(start, run if again else None)
                    return
        finally:
            _here.workers = None

    def _step_again(self, start: _Start, run: InLine | None) -> None:
        # A pool that is stepped by hand gets the worker back after each activation.
        with self._lock:
            if run is not None:
                self.line.append(run)
            if not self.line:
                self._leave(start)
                return
        self._start(start)

    def _drain(self, run: InLine) -> bool:
        try:
            return run.drain(self)
        except BaseException as error:
            logger.critical("The engine failed while it drove %r", run, exc_info=True)
            run.abort(error)
            return False

    # -- waiting inside a handler

    def help(self, run: InLine) -> None:
        """Work for a run that this worker waits for, while there is something and it is fair to the others.

        Not if the worker is deep in helping already; its stack ends somewhere.
        """
        depth: int = getattr(_here, "help_depth", 0)
        if depth >= HELP_DEPTH_MAX:
            return
        _here.help_depth = depth + 1
        try:
            self._help(run)
        finally:
            _here.help_depth = depth

    def _help(self, run: InLine) -> None:
        while True:
            with self._lock:
                if run not in self.line:
                    return
                self.line.remove(run)
                crowded = self._given_away >= PLACES_GIVEN_AWAY_MAX
            if self._drain(run):
                self.hand_out(run)
                if not crowded:
                    return

    @contextmanager
    def place_given_away(self) -> Iterator[None]:
        """While the calling worker waits, another one may work in its place."""
        with self._lock:
            self._given_away += 1
            starts = self._starts_needed(1) if self.line else []
        for start in starts:
            self._start(start)
        try:
            yield
        finally:
            with self._lock:
                self._given_away -= 1

    # -- handlers that were given up

    def note_late(self, key: object, name: str) -> None:
        """A worker is in a handler that was given up, until `came_back`: another may work in its place."""
        with self._lock:
            self._late[key] = name

    def came_back(self, key: object) -> None:
        """A handler that was given up has returned, and its worker is one like others again."""
        with self._lock:
            self._late.pop(key, None)

    def late_names(self) -> list[str]:
        """The handlers that were given up and have not returned, as routine and slot."""
        with self._lock:
            return list(self._late.values())

    def replace_late(self) -> None:
        """Have others take the places of workers that `note_late` told of; say so where there is no place left."""
        with self._lock:
            starts = self._starts_needed(len(self.line))
            kept = len(self._late) - LATE_PLACES_MAX
            places = max(self._places, self._most_reserved)
            named = Counter(self._late.values())
        for start in starts:
            self._start(start)
        if kept > 0:
            listed = ", ".join(f"{name} ({count})" for name, count in named.most_common(10))
            logger.log(
                logging.ERROR if kept >= places else logging.WARNING,
                "Handlers that were given up keep %d of %d workers, and go on: %s. %s Have them look at "
                "get_execution_context().cancelled, and return.",
                min(kept, places),
                places,
                listed,
                "Nothing more starts until one of them returns." if kept >= places else "Fewer are left to work.",
            )

    # -- the end

    def close(self, wait: bool) -> None:
        """Let the pools go. With `wait`, return when their threads have ended. Work that comes later opens new ones."""
        with self._lock:
            pools = [pool for pool in (self._pool, self._extra_pool, *self._retired) if pool is not None]
            self._pool = self._extra_pool = None
            self._pool_size = 0
            self._retired = []
        for pool in pools:
            pool.shutdown(wait=wait)

    def forget_threads(self) -> None:
        """In a forked child: the threads are the parent's, and so is what they were at."""
        _here.workers = None
        _here.is_called = False
        _here.help_depth = 0
        self._lock = Lock()
        self.line.clear()
        self._working = self._extra_working = self._given_away = 0
        self._late.clear()
        self._reserved.clear()
        self._most_reserved = 0
        self._pool = self._extra_pool = None
        self._pool_size = 0
        self._retired = []


def workers_of_this_thread() -> Workers | None:
    """Whose worker the calling thread is; None for a thread of the application."""
    found: Workers | None = getattr(_here, "workers", None)
    return found


def is_pool_thread() -> bool:
    """Whether a pool has the calling thread, be it a worker or one that makes a `Workers.call`: it cannot be joined."""
    return workers_of_this_thread() is not None or bool(getattr(_here, "is_called", False))


def place_given_away_here() -> AbstractContextManager[None]:
    """While the calling thread waits, another one may work in its place, if it has one."""
    workers = workers_of_this_thread()
    return nullcontext() if workers is None else workers.place_given_away()
