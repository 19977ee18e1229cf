"""JobState <-> dict. The saved form is plain JSON; reading it imports, builds and runs nothing."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from routilux.errors import InvalidDataError, InvalidTypeError, NotPlainError
from routilux.plain import pairs_of, plain, shortened
from routilux.saved import Reader

__all__ = [
    "FORMAT_VERSION",
    "check_deferred",
    "check_pending",
    "check_request",
    "check_shapes",
    "checked_instant",
    "local_time",
    "read_instant",
    "read_state",
    "shallow",
    "shallow_slot_data",
]

# The version of the saved form. Files without one are the oldest form, which is this one without `slot_data`.
FORMAT_VERSION = 1

# Later times are reckoned from those of a state: it must go on for so long.
_CENTURY = timedelta(days=36525)
_LATEST = datetime.max - _CENTURY


def read_instant(reader: Reader, key: str) -> datetime:
    """A time: ISO text, or a datetime in data that have not been through JSON."""
    value = reader.raw(key)
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(reader.text(key))
        return _local(instant)
    except (ValueError, OverflowError, OSError):  # the system's clock library has bounds of its own
        raise reader.wrong(key, "a time in ISO form") from None


def _local(instant: datetime) -> datetime:
    if instant.tzinfo is not None:
        # Times in here are local and naive; one with a zone would not compare with the others.
        instant = instant.astimezone().replace(tzinfo=None)
    instant + _CENTURY
    return instant


def read_state(data: dict[str, Any]) -> dict[str, Any]:  # noqa: PLR0912 - one branch per key, and nothing else
    """The attributes of a JobState, read and checked; `data` are not changed.

    Raises:
        InvalidDataError: A value that cannot be, or a newer format.
    """
    reader = Reader(data, "a JobState")
    _check_version(reader)
    found: dict[str, Any] = {}
    for name in ("flow_id", "job_id", "status"):
        if name in reader:
            found[name] = reader.text(name)
    if "current_routine_id" in reader:
        found["current_routine_id"] = reader.text("current_routine_id") if reader.has("current_routine_id") else None
    if reader.has("execution_strategy"):
        found["execution_strategy"] = reader.text("execution_strategy")
        if found["execution_strategy"] not in ("sequential", "concurrent"):
            raise reader.wrong("execution_strategy", "'sequential' or 'concurrent'")
    if reader.has("history_limit"):
        found["history_limit"] = reader.raw("history_limit")
        if type(found["history_limit"]) is not int or found["history_limit"] < 1:
            raise reader.wrong("history_limit", "a whole number above 0")
    for name in ("journal_row", "input_number"):
        if reader.has(name):
            found[name] = reader.raw(name)
            if type(found[name]) is not int or found[name] < 0:
                raise reader.wrong(name, "a whole number")
    for name in ("created_at", "updated_at"):
        if name in reader:
            found[name] = read_instant(reader, name)
    for name in ("shared_data", "metadata", "routine_states"):
        if name in reader:
            reader.mapping(name)
            found[name] = reader.user_data(name)
    for name, check in _LISTS.items():
        if name in reader:
            found[name] = reader.dicts(name, check)
    if "shared_log" in reader:
        reader.items("shared_log")
        found["shared_log"] = reader.user_data("shared_log")  # it is a plain list: callers may append what they like
    if not all(isinstance(state, dict) for state in found.get("routine_states", {}).values()):
        raise reader.wrong("routine_states", "a dict of dicts")
    if "slot_data" in reader:
        found["slot_data"] = _read_slot_data(reader)
    if "execution_history" in reader:
        found["execution_history"] = reader.items("execution_history")
    return found


def _check_version(reader: Reader) -> None:
    version = reader.raw("format_version") if "format_version" in reader else 0
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise reader.wrong("format_version", "a whole number")
    if version > FORMAT_VERSION:
        raise InvalidDataError(
            f"The state has format version {shortened(version)}, and this routilux reads versions up to "
            f"{FORMAT_VERSION}. Update routilux to read it."
        )


def _read_slot_data(reader: Reader) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for routine_id, slots in reader.mapping("slot_data").items():
        if not isinstance(slots, dict):
            raise reader.wrong("slot_data", "a dict of routines' slots")
        for slot_name, held in slots.items():
            if not isinstance(slot_name, str) or not isinstance(held, dict):
                raise reader.wrong("slot_data", "a dict of routines' slots")
            found[routine_id, slot_name] = plain(held, f"slot_data[{routine_id!r}][{slot_name!r}]")
    return found


def _check_texts(*names: str) -> Callable[[dict[str, Any], str], None]:
    def check(item: dict[str, Any], where: str) -> None:
        for name in names:
            if not isinstance(item.get(name), str):
                raise InvalidDataError(f"{where}: {name!r} must be text, not {shortened(item.get(name))}.")

    return check


def check_pending(item: Any, where: str) -> None:
    """Raise unless something is a pending task.

    Raises:
        InvalidDataError: It is none.
    """
    if not isinstance(item, dict) or not isinstance(item.get("data"), dict):
        raise InvalidDataError(f"{where} must be a dict with the 'data' of a delivery, not {shortened(item)}.")
    _check_texts("routine_id", "slot")(item, where)
    expected: dict[str, tuple[type, ...]] = {
        "data": (dict,),
        "attempt": (int,),
        "revivals": (int,),
        "priority": (int,),
        "merged": (bool,),
        "released": (dict,),
        "id": (str,),
        "was": (str,),
        "due_at": (str, type(None)),
        "connection": (dict, type(None)),
    }
    for name, kinds in expected.items():
        if name in item and (not isinstance(item[name], kinds) or (kinds == (int,) and isinstance(item[name], bool))):
            raise InvalidDataError(f"{where}: {name!r} cannot be {shortened(item[name])}.")
    _check_due(item.get("due_at"), where)
    if item.get("priority", 2) not in (1, 2, 3):
        raise InvalidDataError(f"{where}: 'priority' must be 1, 2 or 3, not {item['priority']!r}.")
    if item.get("connection"):
        _check_texts("routine_id", "event")(item["connection"], f"{where}: connection")
    for payloads in item.get("released", {}).values():
        if not isinstance(payloads, list) or not all(isinstance(each, str | dict) for each in payloads):
            raise InvalidDataError(f"{where}: 'released' must list what was emitted, by event.")


def _check_due(value: str | None, where: str) -> None:
    try:
        if value is not None:
            datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidDataError(f"{where}: 'due_at' must be a time in ISO form, not {shortened(value)}.") from None


def check_deferred(item: Any, where: str) -> None:
    """Raise unless something is a deferred event.

    Raises:
        InvalidDataError: It is none.
    """
    if not isinstance(item, dict):
        raise InvalidDataError(f"{where} must be a dict, not {shortened(item)}.")
    _check_texts("routine_id", "event_name")(item, where)
    if not isinstance(item.get("data", {}), dict):
        raise InvalidDataError(f"{where}: 'data' must be a dict, not {shortened(item['data'])}.")


def check_request(item: Any, where: str) -> None:
    """Raise unless something is an input that is asked for.

    Raises:
        InvalidDataError: It is none.
    """
    if not isinstance(item, dict):
        raise InvalidDataError(f"{where} must be a dict, not {shortened(item)}.")
    _check_texts("id", "name", "routine_id", "slot")(item, where)
    if not isinstance(item.get("due_at"), str | None):
        raise InvalidDataError(f"{where}: 'due_at' cannot be {shortened(item['due_at'])}.")
    _check_due(item.get("due_at"), where)


def _check_kept(item: dict[str, Any], where: str) -> None:
    _check_texts("name")(item, where)
    if not isinstance(item.get("data"), dict):
        raise InvalidDataError(f"{where}: 'data' must be a dict, not {shortened(item.get('data'))}.")


_LISTS: dict[str, Callable[[dict[str, Any], str], None] | None] = {
    "pause_points": None,
    "pending_tasks": check_pending,
    "deferred_events": check_deferred,
    "input_requests": check_request,
    "kept_inputs": _check_kept,
    "output_log": _check_texts("routine_id", "output_type"),
}


def checked_instant(name: str, value: Any) -> datetime:
    """A time that somebody assigns, as local time.

    Raises:
        InvalidTypeError: It is no datetime.
    """
    if not isinstance(value, datetime):
        raise InvalidTypeError(f"{name} must be a datetime, not {value!r}. datetime.fromisoformat() reads text.")
    return local_time(value)


def local_time(value: datetime) -> datetime:
    """A time as those of a run are: local, without a zone. What is no time is left as it is, to be found when saved."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        return value
    return value.astimezone().replace(tzinfo=None)


def shallow(value: Any) -> Any:
    """A copy of a list or dict; what is neither, though it should be, is found out when it is checked."""
    return value.copy() if isinstance(value, list | dict) else value


def shallow_slot_data(slot_data: dict[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The slots' data at this instant: what "append" collects grows in place."""
    return {
        key: {name: list(value) if isinstance(value, list) else value for name, value in pairs_of(held)}
        for key, held in slot_data.items()
    }


def _check_instant(value: Any, where: str) -> None:
    """Raise unless something is a time that `read_instant` takes.

    Raises:
        NotPlainError: It is no datetime.
        InvalidDataError: It is beyond what can be reckoned with.
    """
    if not isinstance(value, datetime):
        raise NotPlainError(f"{where} must be a datetime, not {shortened(value)}. datetime.fromisoformat() reads text.")
    try:
        _local(value)
    except (ValueError, OverflowError, OSError):
        raise InvalidDataError(
            f"{where} is {shortened(value)}, which could not be loaded: a time stands a century or more before the end "
            "of the calendar."
        ) from None


def check_shapes(taken: dict[str, Any], history: list[Any], pending: list[Any], record_class: type) -> None:
    """Raise where something that callers may write to is not what it must be to be read again.

    Args:
        taken: The attributes of a JobState, but for these:
        history: Its records.
        pending: Its pending tasks.
        record_class: What a record is.

    Raises:
        NotPlainError: Something is of another kind.
        InvalidDataError: An entry lacks what it must have, or has a time that could not be read.
    """
    for name in ("created_at", "updated_at"):
        _check_instant(taken[name], name)
    for name, kinds in _KINDS.items():
        if not isinstance(taken[name], kinds):
            raise NotPlainError(f"{name} must be {kinds[0].__name__}, not {shortened(taken[name])}.")
    for routine_id, state in taken["routine_states"].items():
        if not isinstance(state, dict):
            raise NotPlainError(f"routine_states[{shortened(routine_id)}] must be a dict, not {shortened(state)}.")
    for name, check in _LISTS.items():
        for number, entry in enumerate(pending if name == "pending_tasks" else taken[name]):
            where = f"{name}[{number}]"
            if not isinstance(entry, dict):
                raise NotPlainError(f"{where} must be a dict, not {shortened(entry)}.")
            if check is not None:
                check(entry, where)
    _check_records(history, record_class)


def _check_records(history: list[Any], record_class: type) -> None:
    for number, record in enumerate(history):
        if not isinstance(record, record_class):
            raise NotPlainError(
                f"execution_history[{number}] must be an {record_class.__name__}, not {shortened(record)}."
            )
        found = (getattr(record, name, None) for name in ("routine_id", "event_name", "data"))
        if not all(map(isinstance, found, (str, str, dict))):
            raise NotPlainError(f"execution_history[{number}] is no record with texts and a dict: {shortened(record)}.")
        at = getattr(record, "timestamp", None)
        if type(at) is not datetime or at.tzinfo is not None or at > _LATEST:  # a run has a hundred thousand of these
            _check_instant(at, f"execution_history[{number}].timestamp")


_KINDS: dict[str, tuple[type, ...]] = {
    "flow_id": (str,),
    "job_id": (str,),
    "status": (str,),
    "current_routine_id": (str, type(None)),
    "pause_points": (list,),
    "deferred_events": (list,),
    "input_requests": (list,),
    "kept_inputs": (list,),
    "shared_log": (list,),
    "output_log": (list,),
    "metadata": (dict,),
}
