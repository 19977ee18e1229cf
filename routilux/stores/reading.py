"""Reading a run back: its journal in pages, and what the pages add up to."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from routilux.errors import InvalidValueError, UnknownRunError
from routilux.execution_record import ExecutionRecord, restored_record
from routilux.job_state import JobState
from routilux.stores.journal import Replay, is_point, records_of, structure_changed

if TYPE_CHECKING:  # whose runs are read
    from routilux.stores.base import JournalRow, RunHeader, Store

__all__ = ["Reading", "find_run", "loaded", "records", "replayed", "replayed_until", "structure_before"]

# Of the journal, no more rows than these are held at once.
PAGE_ROWS = 500


class Reading(NamedTuple):
    """What rows add up to.

    Attributes:
        replay: The run.
        number: The last row.
        snapshot_number: The last row that the store's snapshot stands for; 0: there is none.
    """

    replay: Replay
    number: int
    snapshot_number: int = 0


def find_run(store: "Store", job_id: str) -> "RunHeader":
    """The header of a run.

    Raises:
        UnknownRunError: There is no such run.
    """
    header = store.find(job_id)
    if header is None:
        raise UnknownRunError(f"The store {store.url} has no run {job_id!r}. Its list_runs() shows those that it has.")
    return header


def loaded(store: "Store", job_id: str) -> JobState:
    """See `Store.load`."""
    header = find_run(store, job_id)
    reading = replayed(store, job_id)
    job_state = JobState()
    job_state.deserialize({**reading.replay.saved_form(header.status), "journal_row": reading.number})
    return job_state


def records(store: "Store", job_id: str, start: int = 0) -> Iterator[ExecutionRecord]:
    """See `Store.records`."""
    if isinstance(start, bool) or not isinstance(start, int) or start < 0:
        raise InvalidValueError(f"start is the number of a record, from 0, not {start!r}.")
    find_run(store, job_id)
    return _records(store, job_id, start)


def _records(store: "Store", job_id: str, start: int) -> Iterator[ExecutionRecord]:
    replay = Replay(only_records=True)
    for row in _rows(store, job_id):
        replay.apply(row.body)
        taken = replay.take_history()
        first = replay.record_count - len(taken)
        yield from map(restored_record, taken[max(0, start - first) :])


def replayed(store: "Store", job_id: str) -> Reading:
    """A run as its journal has it. Of a bounded one, only the newest records and the rows since its snapshot are read.

    Raises:
        InvalidDataError: The rows are no journal.
    """
    found = store.snapshot(job_id)
    replay = Replay()
    number = snapshot_number = 0
    if found is not None:
        snapshot_number, text = found
        replay.begin_from_snapshot(text)
        newest = _newest_records(store, job_id, snapshot_number, replay.history_limit() or 0)
        if newest is None:
            replay = Replay()
        else:
            replay.put_before(newest)
            number = snapshot_number
    for row in _rows(store, job_id, number):
        replay.apply(row.body)
        number = row.number
        if number % PAGE_ROWS == 0:
            replay.drop_surplus()
    replay.drop_surplus()
    replay.refuse_empty()
    return Reading(replay, number, snapshot_number)


def _newest_records(store: "Store", job_id: str, number: int, count: int) -> list[dict[str, Any]] | None:
    """The last records up to a row; None where its rows do not tell them without those before."""
    pages: list[list[dict[str, Any]]] = []
    found = 0
    while number and found < count:
        before = max(0, number - PAGE_ROWS)
        page: list[dict[str, Any]] = []
        for row in store.rows(job_id, before, number - before):
            told = records_of(row.body)
            if told is None:
                return None
            page += told
        pages.append(page)
        found += len(page)
        number = before
    newest = [record for page in reversed(pages) for record in page]
    return newest[max(0, len(newest) - count) :]


def replayed_until(store: "Store", job_id: str, at: int) -> Reading:
    """A run as it was at its last settlement that is not after a record.

    Args:
        store: Where it is kept.
        job_id: The run.
        at: The number of the record, from 0.

    Raises:
        InvalidValueError: There is no such record, or nothing before it to go on from.
    """
    row_number = count = 0
    counted = Replay(only_records=True)
    for row in _rows(store, job_id):
        counted.apply(row.body)
        counted.take_history()
        count = counted.record_count
        if row_number and count > at + 1:
            break
        if is_point(row.body):
            if count > at + 1:  # the first one: what came before was copied from elsewhere
                raise InvalidValueError(
                    f"Record {at} of run {job_id!r} is older than what the store can go back to: the run was kept from "
                    f"record {count - 1} on. Fork at that one or a later one, or fork the run that it came from."
                )
            row_number = row.number
    if at >= max(count, 1):
        raise InvalidValueError(f"Run {job_id!r} has no record {at}: the store has {count} of them, numbered from 0.")
    replay = Replay()
    for row in _rows(store, job_id):
        replay.apply(row.body)
        replay.drop_surplus()
        if row.number == row_number:
            break
    return Reading(replay, row_number)


def structure_before(store: "Store", job_id: str, number: int) -> str | None:
    """The structure of the flow that drove a run when it wrote a row; None: the one that its header says."""
    found = (structure_changed(row.body) for row in _rows(store, job_id, number))
    return next((structure for structure in found if structure is not None), None)


def _rows(store: "Store", job_id: str, after: int = 0) -> "Iterator[JournalRow]":
    """The rows of a run, a page at a time."""
    while True:
        page = store.rows(job_id, after, PAGE_ROWS)
        yield from page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1].number
