"""Store: where runs are kept so that they outlive their process. This is the contract of every backend.

A store keeps, for each run, a header (which flow, which status, who drives it), a journal (numbered rows of text, of
which no backend reads a word) and at most one snapshot (the text that stands for all rows up to its number).

**Order.** The rows of a run are numbered from 1 without gaps, and are read back in that order.

**Atomicity.** `create` and `write` are one transaction each: after a crash at any instant, all of it is there or
nothing of it. When they have returned, it is there for every other process; whether it also survives the loss of
power is the level's matter ("group": perhaps not the last moments; "sync": yes).

**Idempotence.** Writing a row again that is there already changes nothing: whoever does not know whether a commit has
arrived, because the connection broke, writes the same again. That holds for a release as well: when all rows of it are
there, and the run is not this driver's any more, it has arrived.

**Ownership.** One *driver* (an open store of one process) drives a run at a time. It holds a lease, which it renews
while it has live runs; whoever finds a lease that has run out, or whose process is gone, may take its runs over. The
lease is looked at inside every transaction that writes: a driver that was stopped for too long, and whose runs go on
elsewhere, writes nothing any more. Whoever takes one run from it ends its lease, and so takes all; it gets
`LeaseLostError` for whatever it wants to drive, until it is closed. A lease that has run out and that nobody took goes
on with the next sign of life. One clock counts for all who share a store: the database's.

**Text.** What a store keeps has no NUL characters and no halves of surrogate pairs, which not every backend can hold:
`InvalidValueError`, and nothing has happened. A run with such a name is one that is not there. A `job_id` or
`flow_id` has 2,000 bytes as UTF-8 at most, for every backend.

**Threads.** Every method may be called from any thread. `write` is called by one at a time.

**Fork.** A forked child's store is another driver, over connections of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from routilux.job_state import ExecutionRecord, JobState
from routilux.stores.paging import HistoryPages
from routilux.stores.reading import find_run, loaded, records

__all__ = ["FINISHED", "JournalRow", "RunHeader", "Store", "StoredInput", "Write"]

# A run with one of these goes on only when somebody says so.
FINISHED = frozenset({"completed", "failed", "cancelled"})


class RunHeader(NamedTuple):
    """What a list of runs shows of each.

    Attributes:
        job_id: Names the run; unique in the store.
        flow_id: The flow that it belongs to.
        status: As `JobState.status`.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch, when its driver wrote something of it last, by the store's clock. Of a run
            that got rows and nothing else it may be a second old.
        fingerprint: The structure of the flow that has started it, as the engine describes it.
        driver: Who drives it, or None; a lease that has run out and that nobody took counts.
    """

    job_id: str
    flow_id: str
    status: str
    created_at: float
    updated_at: float
    fingerprint: str = ""
    driver: str | None = None


class JournalRow(NamedTuple):
    """One row of a run's journal."""

    number: int
    body: str


class Write(NamedTuple):
    """What a transaction does to one run.

    Attributes:
        job_id: The run, which this driver drives.
        rows: New rows.
        status: The new status; None: as it was.
        snapshot: The new snapshot, which takes the place of the earlier one; None: as it was.
        snapshot_number: The last row that the new snapshot stands for.
        fingerprint: The flow's structure from now on; None: as it was.
        release: Whether nobody drives the run afterwards.
    """

    job_id: str
    rows: Sequence[JournalRow] = ()
    status: str | None = None
    snapshot: str | None = None
    snapshot_number: int = 0
    fingerprint: str | None = None
    release: bool = False


class StoredInput(NamedTuple):
    """Data that somebody has sent to a run; `number` grows from input to input of the store."""

    number: int
    name: str
    data: str


class Store(ABC):
    """Where runs are kept. See the module for what every backend promises.

    Attributes:
        driver: The name under which it drives runs. Another one after `close`, and in a forked child.
        url: How it was opened, without passwords.
        level: "group" or "sync".
        lease_seconds: How long a driver that gives no sign of life keeps its runs.

    Every method may raise `StoreBusyError` (another process holds the store for longer than this one waits),
    `StoreUnavailableError` (it cannot be reached, read or written: a full disk, a connection that is gone, no
    permission) and `NewerStoreError` (a newer routilux has made it). Then nothing of the call has happened, but for
    a call whose answer was lost, with the connection: all but `put_input` may be repeated then. `prune` goes by parts.
    """

    driver: str
    url: str
    level: str
    lease_seconds: float

    _history_pages: HistoryPages

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """A store that remembers pages, whether or not its class calls this one's `__init__`, which is none."""
        store = super().__new__(cls)
        store._history_pages = HistoryPages()
        return store

    # -- driving runs

    @abstractmethod
    def create(self, header: RunHeader, rows: Sequence[JournalRow]) -> bool:
        """Keep a new run, driven by this driver; False, and nothing has happened, when its job_id is taken.

        A repetition of a `create` of this very driver, whose answer was lost, returns True: the same flow, instant and
        rows. The header's driver is not looked at.

        Raises:
            LeaseLostError: The driver's lease was taken from it.
        """

    @abstractmethod
    def write(self, writes: Sequence[Write]) -> None:
        """Write to runs that this driver drives, in one transaction.

        Raises:
            LeaseLostError: The driver's lease was taken from it, or a run is driven by another; nothing is written.
        """

    @abstractmethod
    def claim(self, flow_id: str, job_id: str | None = None) -> list[RunHeader]:
        """Drive runs from now on that no living driver drives; returns their headers, oldest first.

        Args:
            flow_id: Of which flow.
            job_id: This one run, whatever its status; None: all that are pending or running.

        Raises:
            RunDrivenError: The one run is driven by a living driver, which is not this one.
            UnknownRunError: There is no such run of this flow.
            LeaseLostError: This driver's own lease was taken from it.
        """

    @abstractmethod
    def renew(self) -> None:
        """Give a sign of life: the lease, if there is one, lasts `lease_seconds` from now on.

        Raises:
            LeaseLostError: It was taken from this driver.
        """

    # -- reading

    @abstractmethod
    def find(self, job_id: str) -> RunHeader | None:
        """The header of a run, or None."""

    @abstractmethod
    def list_runs(
        self,
        status: str | None = None,
        flow_id: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[RunHeader]:
        """The headers of runs, those that were created last first.

        Args:
            status: Only those with this status.
            flow_id: Only those of this flow.
            since: Only those created at this instant or later, in seconds since the epoch.
            limit: At most so many.

        Raises:
            ValueError: A status that no run ever has, or a limit that is no whole number from 0.
            TypeError: `since` is no number.
        """

    @abstractmethod
    def rows(self, job_id: str, after: int = 0, limit: int | None = None) -> list[JournalRow]:
        """The rows of a run with greater numbers than `after`, at most `limit`; none for a run that is not there."""

    @abstractmethod
    def last_row(self, job_id: str) -> JournalRow | None:
        """The row of a run with the greatest number, without a look at the others; None for a run that is not there."""

    @abstractmethod
    def snapshot(self, job_id: str) -> tuple[int, str] | None:
        """The number and text of a run's snapshot, or None."""

    # -- looking at runs; every backend has these

    def load(self, job_id: str) -> JobState:
        """A run as the store has it, to be looked at: nobody drives this object. `Flow.load` gives one to go on with.

        Raises:
            UnknownRunError: There is no such run.
        """
        return loaded(self, job_id)

    def history(self, job_id: str, start: int = 0, count: int = 100) -> list[ExecutionRecord]:
        """A page of what happened in a run, whatever it keeps in memory.

        Args:
            job_id: The run.
            start: The number of the first record, from 0. In a run that has forgotten the oldest in memory,
                `execution_history[0]` has the number `metadata["history_dropped"]`.
            count: At most so many.

        A page that follows one that this store was asked for goes on behind that: page after page, each row is read
        about once. Any other page reads the journal from its beginning, or from the run's snapshot if that is not too
        late. It holds no more of the journal than a page. For all of it, take `records`.

        Raises:
            UnknownRunError: There is no such run.
        """
        return self._history_pages.page(self, find_run(self, job_id), start, count)

    def records(self, job_id: str, start: int = 0) -> Iterator[ExecutionRecord]:
        """What happened in a run, from a record on, read as it is asked for.

        Raises:
            UnknownRunError: There is no such run.
        """
        return records(self, job_id, start)

    # -- what comes from outside

    @abstractmethod
    def put_input(self, job_id: str, name: str, data: str) -> int:
        """Keep data for a run, whoever drives it; returns their number. Those of a run arrive in their numbers' order.

        Raises:
            UnknownRunError: There is no such run.
        """

    @abstractmethod
    def inputs(self, job_id: str, after: int = 0) -> list[StoredInput]:
        """What was sent to a run, of greater numbers than `after`, oldest first."""

    # -- cleaning up

    @abstractmethod
    def delete(self, job_id: str) -> None:
        """Forget a run with everything of it.

        Raises:
            RunDrivenError: A living driver drives it.
            UnknownRunError: There is no such run.
        """

    @abstractmethod
    def prune(self, older_than: float | None = None, keep: int | None = None, flow_id: str | None = None) -> int:
        """Forget finished runs that no living driver drives; returns how many. All of them, if nothing else is said.

        Args:
            older_than: Only those that were written last before this instant, in seconds since the epoch.
            keep: All but so many of the newest finished ones.
            flow_id: Only those of this flow.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection, and of the lease: runs that are still this driver's may be taken over at once.

        It may be called twice. A later call of another method opens the store again, as another driver.
        """
