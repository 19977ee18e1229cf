"""What one run has written down, behind one lock: the engine's side of a JobState.

Three records a hop as objects cost 900 bytes and let the garbage collector stop everything for a quarter of a
second per million; as rows of one flat list (a shared key, an integer time, the data) they cost 56 bytes and next to
nothing. So a run writes rows, and they become ExecutionRecords when somebody reads the history. In the same way, that
a routine has completed is noted as one number, and becomes its state when somebody reads that.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from threading import Lock
from time import sleep
from typing import Any, NamedTuple, Protocol

from routilux.clock import SYSTEM_CLOCK
from routilux.interfaces import Clock
from routilux.routine_states import RoutineStates
from routilux.status import JobStatus

__all__ = ["Ledger", "LiveRun", "RecordKey", "Row", "Scribe", "stand_back"]

# How often a thread that finds a run's lock taken lets the others run before it queues up for it.
YIELDS_MAX = 100


_MICROSECOND = timedelta(microseconds=1)


class RecordKey(NamedTuple):
    """What the records of one place in the drawing have in common; one object for all of them.

    Attributes:
        routine_id: Whose record it is.
        event_name: An event's name, or one of the engine's words.
        unfold: Makes the record's dict out of what stands in the data column; None: it is that dict already.
        is_emission: Tells an event that is called "error" from the engine's word.
    """

    routine_id: str
    event_name: str
    unfold: Callable[[Any], dict[str, Any]] | None = None
    is_emission: bool = False


class Row(NamedTuple):
    """A record as it is read from the columns."""

    routine_id: str
    event_name: str
    data: dict[str, Any]
    timestamp: datetime
    is_emission: bool


class Scribe(Protocol):
    """Who writes down what happens in a durable run; see `routilux.flow.durable.scribe.Scribe`."""

    # Of the last row that was written.
    number: int

    def check(self, value: Any, path: str) -> None:
        """Without the lock: refuse what cannot be written down.

        Raises:
            NotPlainError: It is not JSON; the message names the path to it.
        """

    def check_text(self, what: str, text: str) -> None:
        """Refuse a text that no store can hold.

        Raises:
            InvalidValueError: It is one.
        """

    def record(self, key: "RecordKey", at_ns: int, data: Any) -> None:
        """With the lock held: a record was written."""

    def appended(self, record: Any) -> None:
        """With the lock held: a caller has appended an ExecutionRecord."""

    def output(self, entry: dict[str, Any]) -> None:
        """With the lock held: an output was sent."""

    def deferred(self, entries: list[dict[str, Any]]) -> None:
        """With the lock held: events were deferred."""

    def logged(self, entry: dict[str, Any]) -> None:
        """With the lock held: the shared log has an entry more."""

    def paused(self, point: dict[str, Any]) -> None:
        """With the lock held: there is a pause point more."""

    def requested(self, activation: Any, request: dict[str, Any], at_ns: int) -> None:
        """With the lock held: an activation has asked for an input."""

    def received(self, entry: dict[str, Any], number: int, at_ns: int) -> None:
        """With the lock held: an input has come."""

    def timed_out(self, request: dict[str, Any], at_ns: int) -> None:
        """With the lock held: an input has not come in time."""


class LiveRun(Protocol):
    """What a JobState knows of the run that is driving it (see `routilux.flow.run.Run`)."""

    def wait(self, timeout: float | None, progress: Any = None) -> bool:
        """Until the run is over; False at the timeout."""

    def wait_for_change(self, timeout: float | None) -> None:
        """Until something was recorded or the run is over, at most `timeout` seconds."""

    def wait_for_news(self, record_count: int, output_count: int) -> bool:
        """Wait until a reader who has seen so many records and outputs has something to do.

        True: look again, at the ledger's `live` too. False: this was all. A paused run is waited for, until it is
        resumed, by whomever, or is cancelled, or its flow is shut down.
        """

    def outstanding_tasks(self) -> list[dict[str, Any]]:
        """With the ledger's lock held: everything that is queued, active or on a timer, as pending tasks."""

    def snapshot_lock(self) -> Any:
        """Held around a snapshot, before the ledger's lock: no merge is half done then."""

    def poke(self) -> None:
        """With the ledger's lock held: something was written that a watcher may wait for."""

    def is_open(self) -> bool:
        """Whether it goes on, rather than being paused, stopped or over."""

    def queue_size(self) -> int:
        """Activations that wait to be started."""

    def active_count(self) -> int:
        """Handlers that are running."""


def stand_back(lock: Lock) -> None:
    """Take a lock that is held by somebody else, on the hot path.

    Who holds it is mostly a thread that lost the interpreter lock in the middle of its microsecond: it needs that one
    to go on, and nothing else. So let it run, a bounded number of times, before queueing up. A thread that queues up
    at once is given the lock while it has no interpreter, so that the other one must queue up in turn: each hop then
    costs a switch of threads (a lock convoy; Blasgen et al., 1979), and a fan-out twice its time.
    """
    for _ in range(YIELDS_MAX):
        sleep(0)  # gives up the interpreter lock, and does not sleep
        if lock.acquire(False):
            return
    lock.acquire()


class Ledger:
    """The record of one run.

    `lock` protects everything in here and everything in the `Run` that writes it: one critical section per hop
    instead of two. It is a plain lock: no user code runs while it is held. Lock order: a run's merge lock, a JobState's
    shared-data lock, this lock, then the locks of the flow's workers and timers.
    """

    __slots__ = (
        "_origin",
        "_origin_epoch_ns",
        "clock",
        "dropped",
        "input_number",
        "journal_row",
        "limit",
        "live",
        "lock",
        "now",
        "origin_ns",
        "output_marks",
        "own_slot_data",
        "refuses",
        "routine_states",
        "rows",
        "scribe",
        "slot_data",
        "status",
        "strategy",
        "touched_ns",
        "traceback_count",
        "was_live",
    )

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.lock = Lock()
        self.status: str = JobStatus.PENDING.value
        self.routine_states = RoutineStates({}, self.lock)
        # Key, time, data; key, time, data. One `+=` for two records costs a sixth of six appends to three lists.
        self.rows: list[Any] = []
        self.limit: int | None = None
        self.dropped = 0
        # For each output: how many records had been written before it, so that a stream can merge the two.
        self.output_marks: list[int] = []
        self.live: LiveRun | None = None
        # True once a run of it has been driven in this process to its end: there is nothing to poll for.
        self.was_live = False
        # True once the run was cancelled or timed out: what is emitted into it is refused, not an error.
        self.refuses = False
        self.traceback_count = 0
        # What `execute` was told for this run; None: the flow's.
        self.strategy: str | None = None
        # Who writes down what happens, for a run that is durable.
        self.scribe: Scribe | None = None
        # For a record that was restored: the last row of the run's journal that it knows of.
        self.journal_row = 0
        # The last of the store's inputs that it has taken.
        self.input_number = 0
        # What the slots hold in this run, by (routine id, slot name). It outlives a leg of the run: a resume goes on.
        self.slot_data: dict[tuple[str, str], dict[str, Any]] = {}
        # Those of them that handlers have looked at or set, and may change in place; the others may be a delivery's.
        self.own_slot_data: dict[tuple[str, str], dict[str, Any]] = {}
        self.use_clock(clock)

    def use_clock(self, clock: Clock) -> None:
        """Take the time from `clock` from now on.

        A record's time is this origin plus a monotonic distance, so a wall clock that is set back, or daylight saving
        time that ends, does not make records run backwards.
        """
        self.clock = clock
        self.now: Callable[[], int] = clock.monotonic_ns
        self.origin_ns = self.touched_ns = self.now()
        self._origin_epoch_ns = clock.time_ns()
        self._origin: datetime | None = None  # a datetime costs more than the rest of this: made when it is asked for

    @property
    def origin(self) -> datetime:
        """The local wall-clock time at `origin_ns`."""
        if self._origin is None:
            self._origin = datetime.fromtimestamp(self._origin_epoch_ns / 1e9)
        return self._origin

    @origin.setter
    def origin(self, value: datetime) -> None:
        self._origin = value

    def use_new_lock(self) -> None:
        """In a forked child, where the thread that held the lock does not exist."""
        self.lock = Lock()
        self.routine_states.bring_up_to_date()
        self.routine_states = RoutineStates(dict(dict.items(self.routine_states)), self.lock)

    def instant(self, at_ns: int) -> datetime:
        """The local wall-clock time of a monotonic instant."""
        return self.origin + timedelta(microseconds=(at_ns - self.origin_ns + 500) // 1000)

    # Everything below is called with `lock` held.

    def restore(self, rows: list[Any]) -> None:
        """Take over records that were made elsewhere: key, local time, data; key, ... The origin stays from now on."""
        origin, origin_ns = self.origin, self.origin_ns
        rows[1::3] = [origin_ns + (instant - origin) // _MICROSECOND * 1000 for instant in rows[1::3]]
        self.rows[:0] = rows

    def write(self, key: RecordKey, at_ns: int, data: Any) -> None:
        """Append one record."""
        self.rows += (key, at_ns, data)
        if self.scribe is not None:
            self.scribe.record(key, at_ns, data)
        if self.limit is not None:
            self.keep_bound()

    def keep_bound(self) -> None:
        """Drop the oldest records of a history that is bounded."""
        # When they are half of it: dropping one at a time would move the whole list for each record.
        if self.limit is not None and len(self.rows) >= 6 * self.limit:
            count = len(self.rows) // 3 - self.limit
            del self.rows[: 3 * count]
            self.dropped += count

    def unread_count(self) -> int:
        """Records that nobody has read yet."""
        return len(self.rows) // 3

    def record_count(self) -> int:
        """Records written so far and not yet folded, the dropped ones included."""
        return self.dropped + len(self.rows) // 3

    def last_ns(self) -> int:
        """When something was last written."""
        return max(self.touched_ns, self.rows[-2]) if self.rows else self.touched_ns

    def peek(self, start: int) -> "tuple[int, Callable[[], list[Row]]]":
        """The unfolded records from position `start` on: how many, and a function that unfolds a copy of them."""
        rows = self.rows[3 * start :]
        return len(rows) // 3, lambda: list(self.unfolded(rows))

    def unfolded(self, rows: list[Any]) -> "Iterator[Row]":
        """Records, as they are read, out of rows."""
        entries = iter(rows)
        for key, at_ns, value in zip(entries, entries, entries, strict=True):
            data = value if key.unfold is None else key.unfold(value)
            yield Row(key.routine_id, key.event_name, data, self.instant(at_ns), key.is_emission)

    def take_records(self) -> list[Row]:
        """The records written since the last call, oldest first."""
        taken = list(self.unfolded(self.rows))
        self.touched_ns = self.last_ns()
        self.rows.clear()
        return taken

    def final_status(self) -> str:
        """What a run that has nothing left to do becomes."""
        return (JobStatus.FAILED if self.routine_states.failed() else JobStatus.COMPLETED).value
