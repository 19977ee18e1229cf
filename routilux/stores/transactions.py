"""Transactions: what is done in one, in terms of the statements that every SQL backend has.

The statements have the same names in every backend: `sql/<backend>/statements.sql`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from routilux.stores.base import FINISHED, JournalRow, RunHeader
from routilux.stores.checks import driven_run, unknown_run
from routilux.stores.processes import is_gone

__all__ = [
    "Ownership",
    "Transaction",
    "add_input",
    "add_run",
    "are_there",
    "end_if_dead",
    "forget_finished",
    "forget_run",
]


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


class Ownership(NamedTuple):
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


def add_run(transaction: Transaction, fence: int, header: RunHeader, rows: Sequence[JournalRow]) -> int | None:
    """The number of a new run, or of this driver's that is this very one; None if its job_id is taken."""
    is_new = transaction.change("add_run", fence=fence, **header._replace(driver=None)._asdict())
    rows_found = transaction.rows("run", job_id=header.job_id)
    if not rows_found:  # it was there, and somebody has forgotten it since
        return add_run(transaction, fence, header, rows)
    number, flow_id, created_at, driver = rows_found[0]
    if is_new:
        transaction.append([(number, row.number, row.body) for row in rows])
    elif (driver, flow_id, created_at) != (fence, header.flow_id, header.created_at) or not are_there(
        transaction, header.job_id, rows
    ):
        return None
    found: int = number
    return found


def are_there(transaction: Transaction, job_id: str, rows: Sequence[JournalRow]) -> bool:
    """Whether a run's journal has all of the rows."""
    if not rows:
        return True
    first = rows[0].number
    found = dict(transaction.rows("rows", job_id=job_id, after=first - 1, limit=rows[-1].number - first + 1))
    return all(found.get(row.number) == row.body for row in rows)


def end_if_dead(transaction: Transaction, run: Ownership) -> bool:
    """Whether a lease can be ended: if its driver goes on after all, it finds that out when it writes next."""
    if is_gone(run.process or ""):
        transaction.change("end_lease", fence=run.lease)
        return True
    return bool(run.has_expired and transaction.change("end_expired_lease", fence=run.lease))


def add_input(transaction: Transaction, job_id: str, name: str, data: str) -> int:
    """Keep data for a run; returns their number."""
    found = transaction.rows("lock_run", job_id=job_id)
    if not found:
        raise unknown_run(job_id)
    run = found[0][0]
    transaction.change("add_input", run=run, name=name, data=data)
    number: int = transaction.rows("last_input", run=run)[0][0]
    return number


def forget_run(transaction: Transaction, job_id: str) -> None:
    """Forget a run that no living driver drives."""
    transaction.be_alone()
    found = transaction.rows("ownership", job_id=job_id)
    if not found:
        raise unknown_run(job_id)
    run = Ownership(*found[0])
    if _is_driven(run):
        raise driven_run(run.job_id, run.driver_name)
    _forget(transaction, run.number)


def forget_finished(transaction: Transaction, jobs: Sequence[str]) -> int:
    """Forget those of the runs that are finished still; returns how many."""
    transaction.be_alone()
    forgotten = 0
    for job_id in jobs:
        for row in transaction.rows("ownership", job_id=job_id):
            run = Ownership(*row)
            if run.status in FINISHED and not _is_driven(run):
                _forget(transaction, run.number)
                forgotten += 1
    return forgotten


def _is_driven(run: Ownership) -> bool:
    return run.lease is not None and not run.has_expired and not is_gone(run.process or "")


def _forget(transaction: Transaction, run: int) -> None:
    for name in ("forget_run", "forget_rows", "forget_snapshot", "forget_inputs"):
        transaction.change(name, run=run)
