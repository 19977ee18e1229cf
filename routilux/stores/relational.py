"""Relational: what the stores in SQL databases have in common, which is all but how a transaction is made.

The statements have the same names in every backend (`sql/<backend>/statements.sql`); this file says in which order
they are executed, and what their results mean.
"""

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, Protocol, TypeVar

from routilux.errors import NewerStoreError, StoreError
from routilux.stores.base import FINISHED, JournalRow, RunHeader, Store, StoredInput, Write
from routilux.stores.checks import (
    checked_level,
    checked_limit,
    checked_rows,
    checked_text,
    driven_run,
    is_text,
    lost_lease,
    refuse_header,
    refuse_writes,
    unknown_run,
)
from routilux.stores.forking import watch_forks
from routilux.stores.processes import is_gone, new_driver_name, this_process
from routilux.stores.statements import migrations

__all__ = ["RelationalStore", "Transaction"]

T = TypeVar("T")

# Runs that `prune` forgets in one transaction: others want to write as well.
_PRUNED_AT_ONCE = 100
_BEGINNING = -1.0e300


class Transaction(Protocol):
    """A transaction of a database that is open."""

    def rows(self, name: str, /, **values: object) -> list[tuple[Any, ...]]:
        """What a statement finds."""

    def change(self, name: str, /, **values: object) -> int:
        """How many rows a statement has changed."""

    def change_each(self, name: str, values: Sequence[dict[str, object]]) -> int:
        """How many rows a statement has changed, over all of the values."""

    def append(self, rows: Sequence[tuple[int, int, str]]) -> None:
        """Add to the journal, as (run, number, body), what is not there yet."""

    def be_alone(self) -> None:
        """Wait until no other transaction claims or forgets runs, and let none do so before this one's end."""


class _Ownership(NamedTuple):
    """A run and the lease that its driver has, if there is one."""

    job_id: str
    flow_id: str
    status: str
    created_at: float
    updated_at: float
    fingerprint: str
    number: int
    driver: int | None
    lease: int | None
    driver_name: str | None
    process: str | None
    has_expired: bool | None


class _NotOursError(Exception):
    """Some of the runs to be written are not this driver's."""


class RelationalStore(Store):
    """A store in a SQL database.

    Subclasses make the transactions: `_change` one that writes, `_read` one that does not. They name the folder of
    their SQL, `_backend`, and say how to close what they have opened, `_disconnect`.
    """

    _backend: str

    def __init__(self, url: str, level: str, lease_seconds: float) -> None:
        self.url = url
        self.level = checked_level(level)
        self.lease_seconds = lease_seconds
        self.driver = new_driver_name()
        # Each of the two connections has its lock, so that nobody who reads waits while this process writes, or while
        # another one holds the database. No method takes both but `close` and a fork: first `_lock`, then `_read_lock`.
        # `_lock` also protects the driver's lease and its runs, `_fence` and `_driving`.
        self._lock = Lock()
        self._read_lock = Lock()
        self._fence: int | None = None
        self._driving: dict[str, int] = {}  # the runs' numbers
        watch_forks(self)

    @abstractmethod
    def _change(self, work: Callable[[Transaction], T], *, repeatable: bool = True) -> T:
        """Do work in one transaction that writes, with `_lock` held.

        Args:
            work: What to do. It may be called again, when the connection broke.
            repeatable: Whether it may be done twice: then it is repeated also where it may have arrived.
        """

    @abstractmethod
    def _read(self, work: Callable[[Transaction], T]) -> T:
        """Do work that only reads, with `_read_lock` held."""

    def _version(self, transaction: Transaction) -> int:
        """The version of the database's schema; 0 when it has none.

        Raises:
            NewerStoreError: It is newer than this library.
        """
        if not transaction.rows("has_schema")[0][0]:
            return 0
        version: int = transaction.rows("version")[0][0]
        known = len(migrations(self._backend))
        if version > known:
            raise NewerStoreError(
                f"{self.url} has version {version} of the schema, which a newer routilux has made; this one knows the "
                f"versions up to {known}. Upgrade routilux, or give another store."
            )
        return version

    @abstractmethod
    def _disconnect(self) -> None:
        """Close both connections, with both locks held; they are opened again when they are needed."""

    # -- driving runs

    def create(self, header: RunHeader, rows: Sequence[JournalRow]) -> bool:  # noqa: D102 - as Store says
        refuse_header(header)
        checked_rows(rows)
        with self._lock:
            number = self._drive(lambda transaction, fence: _add_run(transaction, fence, header, rows))
            if number is None:
                return False
            self._driving[header.job_id] = number
            return True

    def write(self, writes: Sequence[Write]) -> None:  # noqa: D102
        refuse_writes(writes)
        with self._lock:
            try:
                self._change(lambda transaction: self._write_all(transaction, writes))
            except _NotOursError:
                self._change(lambda transaction: self._write_all(transaction, self._still_to_do(transaction, writes)))
            for write in writes:
                if write.release:
                    self._driving.pop(write.job_id, None)

    def claim(self, flow_id: str, job_id: str | None = None) -> list[RunHeader]:  # noqa: D102
        if not is_text(flow_id + (job_id or "")):
            if job_id is None:
                return []
            raise unknown_run(job_id, flow_id)
        with self._lock:
            taken = self._drive(lambda transaction, fence: self._take(transaction, fence, flow_id, job_id))
            self._driving.update((run.job_id, run.number) for run in taken)
            return [RunHeader(*run[:6], self.driver) for run in taken]

    def renew(self) -> None:  # noqa: D102
        with self._lock:
            if self._fence is None:
                return
            values = {"fence": self._fence, "seconds": self.lease_seconds}
            if not self._change(lambda transaction: transaction.change("renew_lease", **values)):
                if self._driving:
                    raise lost_lease(self)
                self._fence = None

    # -- reading

    def find(self, job_id: str) -> RunHeader | None:  # noqa: D102
        found = self._rows_of(job_id, "find")
        return RunHeader(*found[0]) if found else None

    def list_runs(  # noqa: D102
        self,
        status: str | None = None,
        flow_id: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[RunHeader]:
        most = checked_limit(limit)
        if not (is_text(status or "") and is_text(flow_id or "")):
            return []
        after = _BEGINNING if since is None else float(since)
        with self._read_lock:
            found = self._read(
                lambda transaction: transaction.rows(
                    "list_runs", status=status, flow_id=flow_id, since=after, limit=most
                )
            )
        return [RunHeader(*row) for row in found]

    def rows(self, job_id: str, after: int = 0, limit: int | None = None) -> list[JournalRow]:  # noqa: D102
        found = self._rows_of(job_id, "rows", after=max(after, 0), limit=checked_limit(limit))
        return [JournalRow(*row) for row in found]

    def snapshot(self, job_id: str) -> tuple[int, str] | None:  # noqa: D102
        found = self._rows_of(job_id, "snapshot")
        return (found[0][0], found[0][1]) if found else None

    # -- what comes from outside

    def put_input(self, job_id: str, name: str, data: str) -> int:  # noqa: D102
        checked_text("name", name)
        checked_text("data", data)
        if not is_text(job_id):
            raise unknown_run(job_id)
        with self._lock:
            # Not repeated where it may have arrived: the run would get it twice.
            return self._change(lambda transaction: _add_input(transaction, job_id, name, data), repeatable=False)

    def inputs(self, job_id: str, after: int = 0) -> list[StoredInput]:  # noqa: D102
        return [StoredInput(*row) for row in self._rows_of(job_id, "inputs", after=after)]

    # -- cleaning up

    def delete(self, job_id: str) -> None:  # noqa: D102
        if not is_text(job_id):
            raise unknown_run(job_id)
        with self._lock:
            self._change(lambda transaction: _forget_one(transaction, job_id))
            self._driving.pop(job_id, None)

    def prune(self, older_than: float | None = None, keep: int | None = None) -> int:  # noqa: D102
        spared = 0 if keep is None else checked_limit(keep)
        with self._read_lock:
            finished = self._read(lambda transaction: transaction.rows("finished"))
        jobs = [row[0] for row in finished[spared:] if older_than is None or row[1] < older_than]
        forgotten = 0
        for start in range(0, len(jobs), _PRUNED_AT_ONCE):
            some = jobs[start : start + _PRUNED_AT_ONCE]
            with self._lock:
                forgotten += self._change(partial(_forget_finished, jobs=some))
        return forgotten

    def close(self) -> None:  # noqa: D102
        with self._lock:
            fence = self._fence
            if fence is not None:
                with contextlib.suppress(StoreError):  # it runs out by itself as well
                    self._change(lambda transaction: transaction.change("end_lease", fence=fence))
            self._become_another_driver()
            with self._read_lock:
                self._disconnect()

    # -- around a fork

    def before_fork(self) -> None:
        """Close the connections: two processes that use one, or only close it, destroy each other's."""
        self._lock.acquire()
        self._read_lock.acquire()
        self._disconnect()

    def after_fork(self, in_child: bool) -> None:
        """In the child, the runs remain the parent's."""
        if in_child:
            self._become_another_driver()
        self._read_lock.release()
        self._lock.release()

    # -- inside, with `_lock` held

    def _become_another_driver(self) -> None:
        self.driver = new_driver_name()
        self._fence = None
        self._driving = {}

    def _drive(self, work: Callable[[Transaction, int], T]) -> T:
        """Do work that needs a lease, in one transaction, and get a lease first if there is none."""

        def whole(transaction: Transaction) -> tuple[int, T]:
            fence = self._kept_lease(transaction)
            return fence, work(transaction, fence)

        self._fence, result = self._change(whole)
        return result

    def _kept_lease(self, transaction: Transaction) -> int:
        """The fence of this driver's lease, which lasts for two thirds of its time at least."""
        if self._fence is not None:
            left = transaction.rows("lease_left", fence=self._fence)
            if left:
                if not self.lease_seconds * 2 / 3 < left[0][0] <= self.lease_seconds:  # greater: the clock was set back
                    transaction.change("renew_lease", fence=self._fence, seconds=self.lease_seconds)
                return self._fence
            if self._driving:
                raise lost_lease(self)
        for fence, process, is_old in transaction.rows("leases"):
            if is_old or is_gone(process):
                transaction.change("end_lease", fence=fence)
        transaction.change("add_lease", driver=self.driver, process=this_process(), seconds=self.lease_seconds)
        found: int = transaction.rows("fence_of", driver=self.driver)[0][0]
        return found

    def _write_all(self, transaction: Transaction, writes: Sequence[Write]) -> None:
        if self._fence is None:
            raise lost_lease(self)
        fence = self._kept_lease(transaction)
        touched = []
        rows: list[tuple[int, int, str]] = []
        snapshots: list[dict[str, object]] = []
        for write in writes:
            run = self._driving.get(write.job_id)
            if run is None:
                raise _NotOursError
            touched.append(
                {
                    "number": run,
                    "job_id": write.job_id,
                    "fence": fence,
                    "status": write.status,
                    "fingerprint": write.fingerprint,
                    "release": write.release,
                }
            )
            rows.extend([(run, number, body) for number, body in write.rows])
            if write.snapshot is not None:
                snapshots.append({"run": run, "number": write.snapshot_number, "body": write.snapshot})
        if touched and transaction.change_each("touch_run", touched) != len(touched):
            raise _NotOursError
        if rows:
            transaction.append(rows)
        if snapshots:
            transaction.change_each("put_snapshot", snapshots)

    def _still_to_do(self, transaction: Transaction, writes: Sequence[Write]) -> list[Write]:
        """The writes to runs that are this driver's, when all others are there already.

        A driver with a lease loses a run only by releasing it. So a release of a run that is not its own, all of whose
        rows are there, is one whose answer was lost.
        """
        remaining = []
        for write in writes:
            found = transaction.rows("run", job_id=write.job_id)
            if found and found[0][3] == self._fence and write.job_id in self._driving:
                remaining.append(write)
            elif not (write.release and found and _are_there(transaction, write.job_id, write.rows)):
                raise lost_lease(self, write.job_id)
        return remaining

    def _take(self, transaction: Transaction, fence: int, flow_id: str, job_id: str | None) -> list[_Ownership]:
        transaction.be_alone()
        if job_id is None:
            found = [_Ownership(*row) for row in transaction.rows("claimable", flow_id=flow_id)]
        else:
            found = [_Ownership(*row) for row in transaction.rows("ownership", job_id=job_id)]
            if not found or found[0].flow_id != flow_id:
                raise unknown_run(job_id, flow_id)
        alive: dict[int, bool] = {}
        taken = []
        for run in found:
            if run.lease == fence:
                # Its own, of which it does not know: it was claimed in a transaction whose answer was lost.
                if job_id is not None or run.job_id not in self._driving:
                    taken.append(run)
                continue
            if run.lease is not None and run.lease not in alive:
                alive[run.lease] = not _end_if_dead(transaction, run)
            is_free = run.lease is None or not alive[run.lease]
            if is_free and transaction.change("take_run", fence=fence, number=run.number, before=run.driver):
                taken.append(run)
            elif job_id is not None:
                raise driven_run(run.job_id, run.driver_name)
        return taken

    def _rows_of(self, job_id: str, name: str, **values: object) -> list[tuple[Any, ...]]:
        if not is_text(job_id):
            return []
        with self._read_lock:
            return self._read(lambda transaction: transaction.rows(name, job_id=job_id, **values))


def _add_run(transaction: Transaction, fence: int, header: RunHeader, rows: Sequence[JournalRow]) -> int | None:
    """The number of a new run, or of this driver's that is this very one; None if its job_id is taken."""
    is_new = transaction.change("add_run", fence=fence, **header._replace(driver=None)._asdict())
    number, flow_id, created_at, driver = transaction.rows("run", job_id=header.job_id)[0]
    if is_new:
        transaction.append([(number, row.number, row.body) for row in rows])
    elif (driver, flow_id, created_at) != (fence, header.flow_id, header.created_at) or not _are_there(
        transaction, header.job_id, rows
    ):
        return None
    found: int = number
    return found


def _are_there(transaction: Transaction, job_id: str, rows: Sequence[JournalRow]) -> bool:
    """Whether a run's journal has all of the rows."""
    if not rows:
        return True
    first = rows[0].number
    found = dict(transaction.rows("rows", job_id=job_id, after=first - 1, limit=rows[-1].number - first + 1))
    return all(found.get(row.number) == row.body for row in rows)


def _end_if_dead(transaction: Transaction, run: _Ownership) -> bool:
    """Whether a lease can be ended: if its driver goes on after all, it finds that out when it writes next."""
    if is_gone(run.process or ""):
        transaction.change("end_lease", fence=run.lease)
        return True
    return bool(run.has_expired and transaction.change("end_expired_lease", fence=run.lease))


def _add_input(transaction: Transaction, job_id: str, name: str, data: str) -> int:
    found = transaction.rows("lock_run", job_id=job_id)
    if not found:
        raise unknown_run(job_id)
    run = found[0][0]
    transaction.change("add_input", run=run, name=name, data=data)
    number: int = transaction.rows("last_input", run=run)[0][0]
    return number


def _forget_one(transaction: Transaction, job_id: str) -> None:
    transaction.be_alone()
    found = transaction.rows("ownership", job_id=job_id)
    if not found:
        raise unknown_run(job_id)
    run = _Ownership(*found[0])
    if _is_driven(run):
        raise driven_run(run.job_id, run.driver_name)
    _forget(transaction, run.number)


def _forget_finished(transaction: Transaction, jobs: Sequence[str]) -> int:
    """Forget those of the runs that are finished still; returns how many."""
    transaction.be_alone()
    forgotten = 0
    for job_id in jobs:
        for row in transaction.rows("ownership", job_id=job_id):
            run = _Ownership(*row)
            if run.status in FINISHED and not _is_driven(run):
                _forget(transaction, run.number)
                forgotten += 1
    return forgotten


def _is_driven(run: _Ownership) -> bool:
    return run.lease is not None and not run.has_expired and not is_gone(run.process or "")


def _forget(transaction: Transaction, run: int) -> None:
    for name in ("forget_run", "forget_rows", "forget_snapshot", "forget_inputs"):
        transaction.change(name, run=run)
