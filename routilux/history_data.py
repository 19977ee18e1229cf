"""Records of a run as data, without making an object of each: a run may have a hundred thousand of them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from routilux.errors import NotPlainError
from routilux.ledger import Ledger, RecordKey
from routilux.plain import plain, shortened

__all__ = ["read_rows", "saved_rows"]

# Later times are reckoned from those of a record; years that have no century left are looked at by the slower way.
_LAST_YEAR = 9899


def saved_rows(ledger: Ledger, rows: list[Any], number: int) -> list[dict[str, Any]]:
    """The saved forms of the rows of a ledger, as `ExecutionRecord.saved_form` writes them.

    Args:
        ledger: Whose rows they are.
        rows: Key, time, data; key, time, data.
        number: How many records stand before them, for messages.

    Raises:
        NotPlainError: The data of a record are not JSON; the message names the path to the value.
    """
    text_of = _times_of(ledger)
    last_ns, timestamp = -1, ""
    saved: list[dict[str, Any]] = []
    entries = iter(rows)
    for key, at_ns, value in zip(entries, entries, entries, strict=True):
        if at_ns != last_ns:  # a settlement and what follows it are of one instant
            last_ns, timestamp = at_ns, text_of(at_ns)
        record = {
            "_type": "ExecutionRecord",
            "routine_id": key.routine_id,
            "event_name": key.event_name,
            "data": _data_of(key, value, number + len(saved)),
            "timestamp": timestamp,
        }
        if key.is_emission:
            record["is_emission"] = True
        saved.append(record)
    return saved


def _data_of(key: RecordKey, value: Any, number: int) -> dict[str, Any]:
    if key.unfold is not None and not isinstance(value, dict):
        return key.unfold(value)  # made here and now, by the engine
    if not (isinstance(value, dict) and isinstance(key.routine_id, str) and isinstance(key.event_name, str)):
        found = shortened((key.routine_id, key.event_name, value))
        raise NotPlainError(f"execution_history[{number}] is no record with texts and a dict: {found}.")
    try:
        copied: dict[str, Any] = plain(value, "")
    except NotPlainError:
        plain(value, f"execution_history[{number}].data")  # once more, for the message
        raise
    return copied


def _times_of(ledger: Ledger) -> Callable[[int], str]:
    """`ledger.instant(at_ns).isoformat()`, at a third of the price: the text of a second is made once."""
    origin, origin_ns = ledger.origin, ledger.origin_ns
    begin, begin_us = origin.replace(microsecond=0), origin.microsecond
    last_second, text = 0, begin.isoformat()

    def text_of(at_ns: int) -> str:
        nonlocal last_second, text
        second, microsecond = divmod(begin_us + (at_ns - origin_ns + 500) // 1000, 1_000_000)
        if second != last_second:
            last_second, text = second, (begin + timedelta(seconds=second)).isoformat()
        return f"{text}.{microsecond:06d}" if microsecond else text

    return text_of


def read_rows(saved: list[Any]) -> list[Any] | None:
    """The records of a saved history, checked and copied, for `Ledger.restore`: key, local time, data; key, ...

    None where one of them is not of the usual form. That says nothing of what is wrong, or whether anything is:
    `ExecutionRecord.deserialize` knows all forms.
    """
    keys: dict[tuple[str, str, bool], RecordKey] = {}
    found: list[Any] = []
    for record in saved:
        try:
            routine_id, event_name, data = record["routine_id"], record["event_name"], record["data"]
            timestamp = datetime.fromisoformat(record["timestamp"])
            is_emission = record.get("is_emission", False)
            name = routine_id, event_name, is_emission
            key = keys.get(name)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        if key is None:
            if type(routine_id) is not str or type(event_name) is not str:
                return None
            key = keys[name] = RecordKey(routine_id, event_name, None, is_emission)
        if type(data) is not dict or type(is_emission) is not bool:
            return None
        if timestamp.tzinfo is not None or timestamp.year > _LAST_YEAR:
            return None
        try:
            found += (key, timestamp, plain(data, ""))
        except NotPlainError:
            return None
    return found
