"""ExecutionRecord: one thing that happened in a run."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from routilux.kept_lists import KeptList
from routilux.ledger import Row
from routilux.plain import plain
from routilux.registration import OwnFields, registered
from routilux.restoration import restore_additions, saved_additions
from routilux.saved import Reader
from routilux.state_data import local_time, read_instant

__all__ = ["ExecutionRecord", "History", "errors_of", "record_of", "restored_record"]

FIELDS = ["routine_id", "event_name", "data", "timestamp"]

OWN_KEYS = (*FIELDS, "is_emission")

ERROR_EVENTS = frozenset({"error", "error_continued", "skipped", "timeout"})


@registered
class ExecutionRecord(OwnFields):
    """One thing that happened in a run.

    `event_name` is the name of an emitted event, or one of the engine's words: start, completed, error,
    error_continued, skipped, timeout, refused, late, replay_differs.

    Args:
        routine_id: Whose record it is.
        event_name: What happened.
        data: What belongs to it; None: an empty dict.
        timestamp: When; now by default. A time with a zone is kept as local time without one, as all times of a run.
    """

    fields_to_serialize = FIELDS

    #: True for an event that a routine emitted, whatever its name: it may be called "error". Saved where it is true.
    is_emission = False

    def __init__(
        self,
        routine_id: str = "",
        event_name: str = "",
        data: dict[str, Any] | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        # serilux's own constructor would give every record a list of field names of its own.
        self.routine_id = routine_id
        self.event_name = event_name
        self.data: dict[str, Any] = {} if data is None else data
        self.timestamp = datetime.now() if timestamp is None else local_time(timestamp)

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:  # noqa: ARG002 - serilux's
        """The record as data, with the fields that an application has added.

        Raises:
            TypeError: Its data are not JSON; the message names the path to the value.
        """
        return self.saved_form("data of an ExecutionRecord")

    def saved_form(self, path: str) -> dict[str, Any]:
        """The record as data; `path` is where its data stand, for messages."""
        saved: dict[str, Any] = {
            "_type": type(self).__name__,
            "routine_id": self.routine_id,
            "event_name": self.event_name,
            "data": plain(self.data, path),
            "timestamp": self.timestamp.isoformat(),
        }
        if self.is_emission:
            saved["is_emission"] = True
        # A run has a hundred thousand of these: only one that can have additions is asked for them.
        if self.fields_to_serialize is not FIELDS or type(self) is not ExecutionRecord:
            saved |= saved_additions(self, OWN_KEYS, "an ExecutionRecord")
        return saved

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Take over what `serialize` wrote; a missing key keeps the present value.

        Raises:
            ValueError: A value that cannot be; the record is then as it was.
        """
        reader = Reader(data, "an ExecutionRecord")
        routine_id = reader.text("routine_id") if "routine_id" in reader else self.routine_id
        event_name = reader.text("event_name") if "event_name" in reader else self.event_name
        payload = reader.user_data("data") if "data" in reader else self.data
        if not isinstance(payload, dict):
            raise reader.wrong("data", "a dict")
        timestamp = read_instant(reader, "timestamp") if "timestamp" in reader else self.timestamp
        is_emission = reader.flag("is_emission") if "is_emission" in reader else self.is_emission
        if self.fields_to_serialize is not FIELDS or type(self) is not ExecutionRecord:
            restore_additions(self, OWN_KEYS, data, "an ExecutionRecord")
        self.routine_id, self.event_name, self.data, self.timestamp = routine_id, event_name, payload, timestamp
        if is_emission != self.is_emission:
            self.is_emission = is_emission

    def __repr__(self) -> str:
        return f"ExecutionRecord[{self.routine_id}.{self.event_name}@{self.timestamp}]"


def restored_record(saved: Any) -> ExecutionRecord:
    """A record out of its saved form."""
    if isinstance(saved, ExecutionRecord):
        return saved
    record = ExecutionRecord()
    record.deserialize(saved)
    return record


def record_of(row: Row) -> ExecutionRecord:
    """A record out of the columns."""
    record = ExecutionRecord(row.routine_id, row.event_name, row.data, row.timestamp)
    if row.is_emission:
        record.is_emission = True
    return record


def errors_of(records: Iterable[ExecutionRecord]) -> Iterator[ExecutionRecord]:
    """Of records, those of everything that went wrong; each error once."""
    last = None
    for record in records:
        if record.is_emission or record.event_name not in ERROR_EVENTS or "error" not in record.data:
            continue
        if (
            record.event_name in ("error_continued", "skipped")
            and last is not None
            and last.event_name == "error"
            and last.routine_id == record.routine_id
            and last.timestamp == record.timestamp
        ):
            continue  # tolerated: it stands before this one, with its traceback
        last = record
        yield record


class History(KeptList[ExecutionRecord]):
    """The records of a run that are objects by now; what is newer stands in the ledger's rows."""

    __slots__ = ()

    def fold(self) -> None:
        """With the lock held: make objects of what was written since."""
        if self._ledger.rows:
            list.extend(self, map(record_of, self._ledger.take_records()))

    def add(self, values: list[ExecutionRecord]) -> None:
        """Append records, after everything that was written until now; a run that is kept refuses what is not JSON."""
        ledger = self._ledger
        if ledger.scribe is not None:
            for record in values:
                record.saved_form(f"the data of a record of {record.routine_id!r}")
        with ledger.lock:
            self.fold()
            list.extend(self, values)
            if ledger.scribe is not None:
                for record in values:
                    ledger.scribe.appended(record)
            if ledger.live is not None:
                ledger.live.poke()
