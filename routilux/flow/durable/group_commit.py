"""GroupCommit: the rows of a flow's runs on their way into the store, many in one transaction.

A free-running writer thread would starve beside busy Python (sqlite3 gives up the interpreter lock once per row), and
what is not yet written would grow to the whole run. So there is none: the worker whose settlement makes the group 64
rows old, or finds it 20 ms old, writes it, while the others go on; when 128 rows or 50 ms are not written, they wait.
"""

import atexit
import contextlib
import logging
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from routilux.errors import LeaseLostError, StoreError
from routilux.interfaces import Clock
from routilux.status import JobStatus
from routilux.stores.base import JournalRow, Store, Write

if TYPE_CHECKING:  # whose rows they are
    from routilux.flow.durable.run import DurableRun

__all__ = ["FLUSH_NS", "GroupCommit", "fail_refused"]

logger = logging.getLogger(__name__)

# Whoever finds so many rows waiting, or one that has waited so long, writes them.
GROUP_ROWS = 64
FLUSH_NS = 20_000_000

# And so many that are not written, those included that are just being written, that everybody waits. While one waits,
# the handlers of the others end: with up to 32 workers there are never more than 128.
WAIT_ROWS = 96
WAIT_NS = 50_000_000

# Failed attempts to write are repeated after this, then after twice that, up to a second.
RETRY_FIRST_NS = 50_000_000
RETRY_MOST_NS = 1_000_000_000


# The groups of this process that have something to write: at its end there is nobody else who would remember them.
_unwritten: "set[GroupCommit]" = set()


class _Part:
    """What waits to be written of one run."""

    __slots__ = ("fingerprint", "release", "rows", "snapshot", "status")

    def __init__(self) -> None:
        self.rows: list[JournalRow] = []
        # The last row that it stands for, and its text.
        self.snapshot: tuple[int, str] | None = None
        self.status: str | None = None
        self.release = False
        self.fingerprint: str | None = None

    def as_write(self, job_id: str) -> Write:
        number, text = self.snapshot or (0, None)
        return Write(job_id, self.rows, self.status, text, number, self.fingerprint, self.release)


class GroupCommit:
    """Collects rows under the locks of their runs, and writes them outside of these where it can.

    `_lock` protects what waits; it is taken last. `_writing` is held by whoever writes, so that rows reach the store
    in the order in which they were added: it is taken after a run's lock or alone, and no run's lock is taken while
    it is held.

    Args:
        store: Where rows go.
        clock: For the age of what waits.
        on_trouble: Called without a lock of this class when the store could not be written, with the error.
        on_refused: Called with `_writing` held, perhaps with a run's lock as well, when the store can be written but
            takes what one run has to say in no case: with its job_id and the error.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_trouble: Callable[[StoreError | LeaseLostError], None],
        on_refused: Callable[[str, Exception], None],
    ) -> None:
        self.store = store
        self._clock = clock
        self._on_trouble = on_trouble
        self._on_refused = on_refused
        self._make_locks()
        self._parts: dict[str, _Part] = {}
        self._row_count = 0
        self._since_ns = 0
        # What is just being written: how many rows, and since when the oldest waits.
        self._writing_count = 0
        self._writing_since_ns = 0
        #: Why the store cannot be written; None while it can. Runs start nothing new while it is set. A write that
        #: succeeds does not end it: whoever ends it has to see to the runs that wait for it.
        self.trouble: StoreError | LeaseLostError | None = None
        self._trouble_since_ns = 0
        self._retry_ns = RETRY_FIRST_NS

    def _make_locks(self) -> None:
        self._lock = Lock()
        self._writing = Lock()

    def add(
        self,
        job_id: str,
        row: JournalRow | None,
        status: str | None = None,
        release: bool = False,
        snapshot: tuple[int, str] | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """With the run's lock held: have something written, soon."""
        with self._lock:
            part = self._parts.get(job_id)
            if part is None:
                part = self._parts[job_id] = _Part()
            if row is not None:
                part.rows.append(row)
            if status is not None:
                part.status = status
            if fingerprint is not None:
                part.fingerprint = fingerprint
            part.release = release or part.release
            part.snapshot = snapshot or part.snapshot
            if not self._row_count:
                self._since_ns = self._clock.monotonic_ns()
                _unwritten.add(self)
            self._row_count += 1

    def has_rows_of(self, job_id: str) -> bool:
        """Whether something of a run waits, or is just being written."""
        with self._writing, self._lock:
            return job_id in self._parts

    def keep(self, job_id: str) -> None:
        """A run that was to be let go goes on after all, before that was written."""
        with self._lock:
            part = self._parts.get(job_id)
            if part is not None:
                part.release = False

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._row_count

    def write_if_due(self) -> None:
        """After a settlement, without the run's lock: write the group if it is large or old enough."""
        count = self._row_count
        if not count or self.trouble is not None:
            return
        now, since_ns, writing_count = self._clock.monotonic_ns(), self._since_ns, self._writing_count
        oldest_ns = self._writing_since_ns if writing_count else since_ns
        must_wait = count + writing_count >= WAIT_ROWS or now - oldest_ns >= WAIT_NS
        if count < GROUP_ROWS and now - since_ns < FLUSH_NS and not must_wait:
            return
        if self._writing.acquire(must_wait):
            error = None
            try:
                self._write()
            except (StoreError, LeaseLostError) as found:
                error = found
            finally:
                self._writing.release()
            if error is not None:
                self._on_trouble(error)

    def write(self) -> None:
        """Write everything that waits, now.

        Raises:
            StoreError: The store cannot be written; what waits still waits.
            LeaseLostError: Another process has taken the runs over.
        """
        with self._writing:
            self._write()

    def _write(self) -> None:
        with self._lock:
            parts, self._parts = self._parts, {}
            count, self._row_count = self._row_count, 0
            self._writing_count, self._writing_since_ns = count, self._since_ns
        try:
            if parts:
                self._write_parts(parts)
        except BaseException:
            self._put_back(parts, count)
            raise
        finally:
            self._writing_count = 0
            with self._lock:
                if not self._parts:
                    _unwritten.discard(self)

    def _write_parts(self, parts: dict[str, _Part]) -> None:
        """Write parts; each that is written, or never will be, is taken out where they cannot be written together."""
        try:
            self.store.write([part.as_write(job_id) for job_id, part in parts.items()])
        except (StoreError, LeaseLostError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a store says to what it cannot take
            if len(parts) == 1:
                ((job_id, part),) = parts.items()
                self._write_rest(job_id, part, error)
                return
            for job_id in list(parts):  # one run's trouble is not that of the others
                self._write_parts({job_id: parts[job_id]})
                del parts[job_id]

    def _write_rest(self, job_id: str, part: _Part, error: Exception) -> None:
        """Of what the store does not take, write what it does: the run fails."""
        status = None if part.status is None else JobStatus.FAILED.value
        with contextlib.suppress(ValueError, TypeError):
            self.store.write([Write(job_id, part.rows, status, release=part.release)])
        self._on_refused(job_id, error)

    def _put_back(self, parts: dict[str, _Part], count: int) -> None:
        # In front of what has come meanwhile. Nobody has written that: the caller holds `_writing`.
        with self._lock:
            for job_id, part in self._parts.items():
                earlier = parts.setdefault(job_id, _Part())
                earlier.rows += part.rows
                earlier.status = part.status or earlier.status
                earlier.fingerprint = part.fingerprint or earlier.fingerprint
                earlier.release = part.release or earlier.release
                earlier.snapshot = part.snapshot or earlier.snapshot
            self._parts = parts
            self._row_count += count

    def forget(self, job_id: str) -> None:
        """What waits of a run is not this process's to write any more."""
        with self._lock:
            self._parts.pop(job_id, None)
            if not self._parts:
                self._row_count = 0

    def job_ids(self) -> set[str]:
        """The runs of which something waits, once nobody is writing."""
        with self._writing, self._lock:
            return set(self._parts)

    def forget_all(self, job_ids: Iterable[str]) -> None:
        """As `forget`, also for what a write in another thread has just put back."""
        with self._writing:
            for job_id in job_ids:
                self.forget(job_id)

    # -- trouble

    def note_trouble(self, error: StoreError | LeaseLostError) -> bool:
        """The store could not be written; whether that is news."""
        is_news = self.trouble is None
        self.trouble = error
        if is_news:
            self._trouble_since_ns = self._clock.monotonic_ns()
            self._retry_ns = RETRY_FIRST_NS
            logger.warning("The store %s cannot be written, and no new activation starts: %s", self.store.url, error)
        return is_news

    def next_retry_ns(self) -> int:
        """How long until the next attempt; longer each time."""
        delay_ns, self._retry_ns = self._retry_ns, min(2 * self._retry_ns, RETRY_MOST_NS)
        return delay_ns

    def trouble_seconds(self) -> float:
        """For how long the store could not be written."""
        return 0.0 if self.trouble is None else (self._clock.monotonic_ns() - self._trouble_since_ns) / 1e9

    def forget_threads(self) -> None:
        """In a forked child: what waits is the parent's, and so are the threads that hold locks."""
        _unwritten.discard(self)
        self._make_locks()
        self._parts = {}
        self._row_count = self._writing_count = 0
        self.trouble = None


@atexit.register
def _write_at_exit() -> None:
    """Write what is left when the program ends without a shutdown.

    The threads of pools have been waited for by then, so what they have settled last is in here. It was settled before
    the end of the process, and need not be done again.
    """
    for group in list(_unwritten):
        try:
            group.write()
        except Exception as error:  # noqa: BLE001 - nobody is there to see it any more, and other stores may be well
            logger.warning("At the end of the process, %s could not be written: %s", group.store.url, error)


def fail_refused(runs: "Iterable[DurableRun]", job_id: str, error: Exception) -> None:
    """Have a run fail whose rows no store takes: on a thread of its own, since the caller may hold the run's lock."""
    for run in runs:
        if run.job_id == job_id and run.is_open():
            run.engine.workers.call(partial(run.abort, error), or_here=False)
