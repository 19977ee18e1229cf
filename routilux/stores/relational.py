"""Relational: what the stores in SQL databases have in common, which is all but how a transaction is made.

Here a driver has its lease and its runs; `transactions` says what is done to the database.
"""

import contextlib
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from threading import Lock
from typing import Any, TypeVar

from routilux.errors import NewerStoreError, StoreError, StoreUnavailableError
from routilux.stores.base import JournalRow, RunHeader, Store, StoredInput, Write
from routilux.stores.checks import (
    NUMBER_MAX,
    checked_after,
    checked_instant,
    checked_lease,
    checked_level,
    checked_limit,
    checked_rows,
    checked_status,
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
from routilux.stores.transactions import (
    Ownership,
    Transaction,
    add_input,
    add_run,
    are_there,
    end_if_dead,
    forget_finished,
    forget_run,
)

__all__ = ["RelationalStore"]

T = TypeVar("T")

# Runs that `prune` forgets in one transaction: others want to write as well.
_PRUNED_AT_ONCE = 100
_BEGINNING = -1.0e300
# A run that gets rows and nothing else says so in its header no more often than this.
_TOUCH_SECONDS = 1.0


class _Driven:
    """A run that this driver drives: its number, and when its header was written last, in monotonic seconds."""

    __slots__ = ("number", "touched_at")

    def __init__(self, number: int) -> None:
        self.number = number
        self.touched_at = -inf  # by somebody else, or never


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
        self.lease_seconds = checked_lease(lease_seconds)
        self.driver = new_driver_name()
        # Each of the two connections has its lock, so that nobody who reads waits while this process writes, or while
        # another one holds the database. No method takes both but `close` and a fork: first `_lock`, then `_read_lock`.
        # `_lock` also protects the driver's lease and its runs, `_fence` and `_driving`.
        # Whether nothing is made in the database; see `only_look`.
        self._only_looks = False
        self._lock = Lock()
        self._read_lock = Lock()
        self._fence: int | None = None
        self._driving: dict[str, _Driven] = {}
        watch_forks(self)

    @abstractmethod
    def _change(self, work: Callable[[Transaction], T], *, repeatable: bool = True) -> T:
        """Do work in one transaction that writes, with `_lock` held.

        Args:
            work: What to do. It may be called again, when the connection broke.
            repeatable: Whether it may be done twice: then it is repeated also where it may have arrived.
        """

    def _append(self, fence: int, writes: Sequence[Write]) -> bool:  # noqa: ARG002 - for subclasses
        """Write rows of runs in `_driving`, in a way that is quicker than a transaction of several statements.

        Whether they are all new and all written. A backend need not have such a way: then, and whenever something is
        not as it should be, nothing has happened, or some of the rows are there, and `_change` follows.
        """
        return False

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
        found = transaction.rows("version")
        version: int = found[0][0] if len(found) == 1 else 0
        if type(version) is not int or version < 1:
            raise StoreUnavailableError(
                f"{self.url} cannot be used: its table routilux_schema says version {[row[0] for row in found]}, where "
                "one whole number from 1 belongs. Give another store, or bring this one back from a copy."
            )
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

    def only_look(self) -> None:
        """From now on make nothing in the database: one without runs of routilux is refused.

        To be called before the store is used. A database of an earlier version is brought up to date all the same.
        """
        self._only_looks = True

    def _no_store(self, holds: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self.url} {holds}: there are no runs of routilux in it, and to look for them makes no place for them. "
            "Give the store of a flow."
        )

    # -- driving runs

    def create(self, header: RunHeader, rows: Sequence[JournalRow]) -> bool:  # noqa: D102 - as Store says
        refuse_header(header)
        checked_rows(rows)
        with self._lock:
            number = self._drive(lambda transaction, fence: add_run(transaction, fence, header, rows))
            if number is None:
                return False
            self._driving[header.job_id] = _Driven(number)
            return True

    def write(self, writes: Sequence[Write]) -> None:  # noqa: D102
        refuse_writes(writes)
        with self._lock:
            now = time.monotonic()
            if self._fence is not None and self._are_only_rows(writes, now) and self._append(self._fence, writes):
                return
            try:
                self._change(lambda transaction: self._write_all(transaction, writes))
            except _NotOursError:
                self._change(lambda transaction: self._write_all(transaction, self._still_to_do(transaction, writes)))
            for write in writes:
                if write.release:
                    self._driving.pop(write.job_id, None)
                elif write.job_id in self._driving:
                    self._driving[write.job_id].touched_at = now

    def claim(self, flow_id: str, job_id: str | None = None) -> list[RunHeader]:  # noqa: D102
        if not (is_text("flow_id", flow_id) and (job_id is None or is_text("job_id", job_id))):
            if job_id is None:
                return []
            raise unknown_run(job_id, flow_id)
        with self._lock:
            taken = self._drive(lambda transaction, fence: self._take(transaction, fence, flow_id, job_id))
            self._driving.update((run.job_id, _Driven(run.number)) for run in taken)
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
        checked_status(status)
        instant = checked_instant("since", since)
        if not all(
            is_text(what, text) for what, text in (("status", status), ("flow_id", flow_id)) if text is not None
        ):
            return []
        after = _BEGINNING if instant is None else instant
        with self._read_lock:
            found = self._read(
                lambda transaction: transaction.rows(
                    "list_runs", status=status, flow_id=flow_id, since=after, limit=most
                )
            )
        return [RunHeader(*row) for row in found]

    def rows(self, job_id: str, after: int = 0, limit: int | None = None) -> list[JournalRow]:  # noqa: D102
        found = self._rows_of(job_id, "rows", after=checked_after(after, NUMBER_MAX), limit=checked_limit(limit))
        return [JournalRow(*row) for row in found]

    def last_row(self, job_id: str) -> JournalRow | None:  # noqa: D102
        found = self._rows_of(job_id, "last_row")
        return JournalRow(*found[0]) if found else None

    def snapshot(self, job_id: str) -> tuple[int, str] | None:  # noqa: D102
        found = self._rows_of(job_id, "snapshot")
        return (found[0][0], found[0][1]) if found else None

    # -- what comes from outside

    def put_input(self, job_id: str, name: str, data: str) -> int:  # noqa: D102
        checked_text("name", name)
        checked_text("data", data)
        if not is_text("job_id", job_id):
            raise unknown_run(job_id)
        with self._lock:
            # Not repeated where it may have arrived: the run would get it twice.
            return self._change(lambda transaction: add_input(transaction, job_id, name, data), repeatable=False)

    def inputs(self, job_id: str, after: int = 0) -> list[StoredInput]:  # noqa: D102
        return [StoredInput(*row) for row in self._rows_of(job_id, "inputs", after=checked_after(after))]

    # -- cleaning up

    def delete(self, job_id: str) -> None:  # noqa: D102
        if not is_text("job_id", job_id):
            raise unknown_run(job_id)
        with self._lock:
            self._change(lambda transaction: forget_run(transaction, job_id))
            self._driving.pop(job_id, None)

    def prune(self, older_than: float | None = None, keep: int | None = None, flow_id: str | None = None) -> int:  # noqa: D102
        spared = 0 if keep is None else checked_limit(keep)
        older_than = checked_instant("older_than", older_than)
        if flow_id is not None and not is_text("flow_id", flow_id):
            return 0
        with self._read_lock:
            finished = self._read(lambda transaction: transaction.rows("finished", flow_id=flow_id))
        jobs = [row[0] for row in finished[spared:] if older_than is None or row[1] < older_than]
        forgotten = 0
        for start in range(0, len(jobs), _PRUNED_AT_ONCE):
            some = jobs[start : start + _PRUNED_AT_ONCE]
            with self._lock:
                forgotten += self._change(partial(forget_finished, jobs=some))
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

    def _are_only_rows(self, writes: Sequence[Write], now: float) -> bool:
        """Whether there are rows to write and nothing else, to runs whose headers need not say so yet."""
        for write in writes:
            run = self._driving.get(write.job_id)
            if (
                run is None
                or now - run.touched_at > _TOUCH_SECONDS
                or write.release
                or not write.rows
                or not write.status is write.snapshot is write.fingerprint is None
            ):
                return False
        return True

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
                    "number": run.number,
                    "job_id": write.job_id,
                    "fence": fence,
                    "status": write.status,
                    "fingerprint": write.fingerprint,
                    "release": write.release,
                }
            )
            rows.extend([(run.number, number, body) for number, body in write.rows])
            if write.snapshot is not None:
                snapshots.append({"run": run.number, "number": write.snapshot_number, "body": write.snapshot})
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
            elif not (write.release and found and are_there(transaction, write.job_id, write.rows)):
                raise lost_lease(self, write.job_id)
        return remaining

    def _take(self, transaction: Transaction, fence: int, flow_id: str, job_id: str | None) -> list[Ownership]:
        transaction.be_alone()
        if job_id is None:
            found = [Ownership(*row) for row in transaction.rows("claimable", flow_id=flow_id)]
        else:
            found = [Ownership(*row) for row in transaction.rows("ownership", job_id=job_id)]
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
                alive[run.lease] = not end_if_dead(transaction, run)
            is_free = run.lease is None or not alive[run.lease]
            if is_free and transaction.change("take_run", fence=fence, number=run.number, before=run.driver):
                taken.append(run)
            elif job_id is not None:
                raise driven_run(run.job_id, run.driver_name)
        return taken

    def _rows_of(self, job_id: str, name: str, **values: object) -> list[tuple[Any, ...]]:
        if not is_text("job_id", job_id):
            return []
        with self._read_lock:
            return self._read(lambda transaction: transaction.rows(name, job_id=job_id, **values))
