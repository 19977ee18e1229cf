"""Paging: pages of a run's history, each of which goes on where an earlier one ended.

Where a record stands in the journal, no row says: what a row means follows from those before it, and to write more
would cost every settlement. So it is whoever reads that remembers.
"""

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidValueError
from routilux.execution_record import ExecutionRecord, restored_record
from routilux.stores.forking import watch_forks
from routilux.stores.journal import Replay

if TYPE_CHECKING:  # whose runs are read
    from routilux.stores.base import RunHeader, Store

__all__ = ["HistoryPages"]

# So many places are remembered; each holds what its run had at work and waiting there, and the records of one row.
PLACES = 8

# An activation leaves a row, and most leave three records: its start, an emission, its end. So many rows are fetched as
# a page will need by that, and some more; what was fetched and not needed is read again.
RECORDS_OF_ROW = 3
SOME_ROWS = 4
ROWS_MOST = 500


class _Place:
    """A place in the journal of a run: the row that was read last."""

    __slots__ = ("_first", "_records", "_replay", "_row_number")

    def __init__(self) -> None:
        self._replay = Replay(only_records=True)
        self._row_number = 0
        # Those of that row, of which a page may have taken a part, and the number of the first.
        self._records: list[dict[str, Any]] = []
        self._first = 0

    @property
    def first(self) -> int:
        """The first record that can be read from here."""
        return self._first

    def begin_from_snapshot(self, store: "Store", job_id: str, start: int) -> "_Place":
        """Skip what a snapshot stands for; returns itself, or another one where `start` is part of that."""
        found = store.snapshot(job_id) if start else None
        if found is not None:
            self._row_number, text = found
            self._replay.begin_from_snapshot(text)
            self._first = self._replay.record_count
        return self if self._first <= start else _Place()

    def read(self, store: "Store", job_id: str, start: int, count: int) -> list[dict[str, Any]]:
        """The saved forms of records from `start` on, at most `count`; the place is behind them then."""
        page = self._records[max(0, start - self._first) :][:count]
        while len(page) < count:
            distance = start + count - self._replay.record_count
            limit = min(distance // RECORDS_OF_ROW + SOME_ROWS, ROWS_MOST)
            rows = store.rows(job_id, self._row_number, limit)
            for row in rows:
                self._replay.apply(row.body)
                self._row_number = row.number
                self._records = self._replay.take_history()
                self._first = self._replay.record_count - len(self._records)
                page += self._records[max(0, start - self._first) :][: count - len(page)]
                if len(page) == count:
                    break
            if len(rows) < limit:
                break
        return page


class HistoryPages:
    """What one store remembers of the pages that were asked for.

    `_lock` protects the places. No other lock is taken while it is held, and nothing is read: whoever reads a page has
    taken its place out.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # By a number that grows, the one that was used last at the end; with the run's job_id and age, since another
        # run may have its job_id when it was deleted.
        self._places: OrderedDict[int, tuple[tuple[str, float], _Place]] = OrderedDict()
        self._number = 0
        watch_forks(self)

    def page(self, store: "Store", header: "RunHeader", start: int, count: int) -> list[ExecutionRecord]:
        """See `Store.history`."""
        if isinstance(start, bool) or not isinstance(start, int) or start < 0:
            raise InvalidValueError(f"start is the number of a record, from 0, not {start!r}.")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InvalidValueError(f"count is how many records a page has at most, 0 or more, not {count!r}.")
        run = header.job_id, header.created_at
        place = self._take(run, start)
        if place is None:
            place = _Place().begin_from_snapshot(store, header.job_id, start)
        records = place.read(store, header.job_id, start, count)
        self._keep(run, place)
        return [restored_record(each) for each in records]

    def _take(self, run: tuple[str, float], start: int) -> _Place | None:
        """The nearest place before a record, which is the caller's until it is kept again."""
        with self._lock:
            fit = [
                (place.first, number)
                for number, (whose, place) in self._places.items()
                if whose == run and place.first <= start
            ]
            return self._places.pop(max(fit)[1])[1] if fit else None

    def _keep(self, run: tuple[str, float], place: _Place) -> None:
        with self._lock:
            self._number += 1
            self._places[self._number] = run, place
            while len(self._places) > PLACES:
                self._places.popitem(last=False)

    def before_fork(self) -> None:
        """No fork comes while a place is looked for."""
        self._lock.acquire()

    def after_fork(self, in_child: bool) -> None:  # noqa: ARG002 - the runs are the same there
        """Pages may be asked for again."""
        self._lock.release()
