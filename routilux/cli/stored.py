"""Runs in a store, as the command line sees them: it has no flow, so it looks, and leaves word for the application."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from routilux.cli.views import Lines, line
from routilux.errors import InvalidValueError, UnknownNameError, UnknownRunError
from routilux.job_state import ExecutionRecord, JobState
from routilux.status import JobStatus
from routilux.stores.base import JournalRow, RunHeader, Store, Write

__all__ = ["DECISIONS", "LIST_VIEW", "listed", "stored", "stored_records"]

_STATUSES = frozenset(each.value for each in JobStatus)

GOES_ON = "goes on when the application calls flow.recover()"


def listed(store: Store, status: str | None, flow_id: str | None, limit: int) -> list[RunHeader]:
    """The runs of a store.

    Raises:
        UnknownNameError: There are none with this status, and no run has it unless an application gives it.
    """
    found = store.list_runs(status, flow_id, limit=limit)
    if not found and status is not None and status not in _STATUSES and not store.list_runs(status, limit=1):
        raise UnknownNameError("status", status, _STATUSES)  # it looks as if all were well, and is a slip
    return found


def _lines(headers: list[RunHeader]) -> Lines:
    if not headers:
        yield "no runs"
    for header in headers:
        at = datetime.fromtimestamp(header.updated_at).isoformat(sep=" ", timespec="seconds")
        driven = f"  driven by {line(header.driver)}" if header.driver else ""
        yield f"{line(header.job_id)}  {line(header.flow_id)}  {line(header.status):9}  {at}{driven}"


def _list_data(headers: list[RunHeader]) -> list[dict[str, Any]]:
    return [header._asdict() for header in headers]


# For people, and for programs.
LIST_VIEW: tuple[Callable[[list[RunHeader]], Lines], Callable[[list[RunHeader]], Any]] = (_lines, _list_data)


def stored_records(store: Store, job_id: str) -> Iterator[ExecutionRecord]:
    """All records of a run of a store.

    Raises:
        UnknownRunError: The store has no such run.
    """
    _header(store, job_id)
    return store.records(job_id)


def stored(store: Store, job_id: str) -> JobState:
    """A run of a store.

    Raises:
        UnknownRunError: The store has no such run.
    """
    _header(store, job_id)
    return store.load(job_id)


def _header(store: Store, job_id: str) -> RunHeader:
    header = store.find(job_id)
    if header is None:
        raise UnknownRunError(
            f"The store {store.url} has no run {job_id!r}. `python -m routilux runs list --store ...` shows those that "
            "it has."
        )
    return header


def _resume(store: Store, job_id: str) -> str:
    header = _header(store, job_id)
    if header.status not in (JobStatus.PAUSED, JobStatus.FAILED):
        raise InvalidValueError(
            f"Run {job_id} is {header.status}: only a run that is paused or has failed is resumed.{_how_else(header)}"
        )
    return _let_go_on(store, header)


def _retry(store: Store, job_id: str) -> str:
    header = _header(store, job_id)
    if header.status != JobStatus.FAILED:
        raise InvalidValueError(
            f"Run {job_id} is {header.status}: only a run that has failed is tried again.{_how_else(header)}"
        )
    return _let_go_on(store, header)


def _how_else(header: RunHeader) -> str:
    if header.status in (JobStatus.PENDING, JobStatus.RUNNING):
        return " If its process is gone, the application goes on with it when it calls flow.recover()."
    return ""


def _let_go_on(store: Store, header: RunHeader) -> str:
    store.claim(header.flow_id, header.job_id)
    store.write([Write(header.job_id, status=JobStatus.RUNNING.value, release=True)])
    return f"{header.job_id} {GOES_ON}"


def _cancel(store: Store, job_id: str) -> str:
    header = _header(store, job_id)
    if header.status in (JobStatus.COMPLETED, JobStatus.CANCELLED):
        raise InvalidValueError(f"Run {job_id} is {header.status} already.")
    store.claim(header.flow_id, job_id)
    number = max((row.number for row in store.rows(job_id)), default=0) + 1
    row = JournalRow(number, json.dumps([["s", "_cancellation", {"reason": "from the command line"}]]))
    store.write([Write(job_id, [row], JobStatus.CANCELLED.value, release=True)])
    return f"{job_id} is cancelled"


def _delete(store: Store, job_id: str) -> str:
    store.delete(job_id)
    return f"{job_id} is deleted"


# What is decided about a run, and carried out here or by the application; each returns what to say.
DECISIONS: dict[str, Callable[[Store, str], str]] = {
    "resume": _resume,
    "retry": _retry,
    "cancel": _cancel,
    "delete": _delete,
}
