"""Checks: what every store refuses, and the words for it, so that a run can move from one backend to another."""

import math
from collections.abc import Sequence

from routilux.errors import (
    InvalidTypeError,
    InvalidValueError,
    LeaseLostError,
    RunDrivenError,
    UnknownRunError,
)
from routilux.plain import shortened
from routilux.stores.base import JournalRow, RunHeader, Store, Write

__all__ = [
    "NUMBER_MAX",
    "checked_after",
    "checked_instant",
    "checked_lease",
    "checked_level",
    "checked_limit",
    "checked_name",
    "checked_rows",
    "checked_status",
    "checked_text",
    "driven_run",
    "is_text",
    "lost_lease",
    "refuse_header",
    "refuse_writes",
    "unknown_run",
]

NUMBER_MAX = 2**32 - 1
_LIMIT_MAX = 2**62
_LEASE_MAX = 10_000_000

# PostgreSQL has no index with longer ones.
NAME_BYTES = 2000


def is_text(what: str, text: str) -> bool:
    """Whether every backend can hold a text: PostgreSQL has no NUL in one, and half a surrogate pair has no UTF-8.

    Raises:
        InvalidTypeError: It is no text.
    """
    if not isinstance(text, str):
        raise InvalidTypeError(f"{what} is a text, not {shortened(text)} ({type(text).__name__}).")
    if "\0" in text:
        return False
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def checked_text(what: str, text: str) -> str:
    """The text.

    Raises:
        InvalidValueError: It holds what a store cannot.
        InvalidTypeError: It is no text.
    """
    if not is_text(what, text):
        shown = repr(text if len(text) <= 80 else text[:80] + "...")
        raise InvalidValueError(
            f"The {what} {shown} cannot be stored: it holds a NUL character or half a surrogate pair. "
            "Use a text without."
        )
    return text


def checked_name(what: str, text: str) -> str:
    """A name.

    Raises:
        InvalidValueError: It holds what a store cannot, or is too long for one.
    """
    size = len(checked_text(what, text).encode())
    if size > NAME_BYTES:
        raise InvalidValueError(
            f"The {what} {text[:80] + '...'!r} cannot be stored: it has {size} bytes as UTF-8, and a store takes "
            f"{NAME_BYTES} at most. Use a shorter one."
        )
    return text


def refuse_header(header: RunHeader) -> None:
    """Raise InvalidValueError for a header that cannot be stored."""
    checked_name("job_id", header.job_id)
    checked_name("flow_id", header.flow_id)
    checked_text("status", header.status)
    checked_text("fingerprint", header.fingerprint)


def refuse_writes(writes: Sequence[Write]) -> None:
    """Raise InvalidValueError for writes that cannot be stored."""
    for write in writes:
        checked_rows(write.rows)
        for what in ("status", "fingerprint", "snapshot"):
            text = getattr(write, what)
            if text is not None:
                checked_text(what, text)


def checked_rows(rows: Sequence[JournalRow]) -> Sequence[JournalRow]:
    """The rows.

    Raises:
        InvalidValueError: One of them has a number that is none, or a text that cannot be stored.
    """
    for number, body in rows:
        if not 0 < number <= NUMBER_MAX:
            raise InvalidValueError(f"A run has no row {number}: rows are numbered from 1 to {NUMBER_MAX}.")
        checked_text("row", body)
    return rows


def checked_limit(limit: int | None) -> int:
    """A limit as a number; the greatest there is for None.

    Raises:
        InvalidValueError: It is no whole number, or below 0.
    """
    if limit is None:
        return _LIMIT_MAX
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise InvalidValueError(f"limit is {limit!r}: give a whole number from 0, or None for all.")
    if limit < 0:
        raise InvalidValueError(f"limit is {limit}: give 0 or more, or None for all.")
    return min(limit, _LIMIT_MAX)


def checked_after(after: int, most: int = _LIMIT_MAX) -> int:
    """The number after which something is read, within what every backend takes.

    Raises:
        InvalidTypeError: It is no whole number.
    """
    if isinstance(after, bool) or not isinstance(after, int):
        raise InvalidTypeError(f"after is the number of the last one that is not meant, not {shortened(after)}.")
    return min(max(after, 0), most)


def checked_lease(seconds: float) -> float:
    """How long a lease lasts.

    Raises:
        InvalidTypeError: It is no number.
        InvalidValueError: It is not more than 0, or has no end.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidTypeError(f"lease_seconds is how long a lease lasts, in seconds, not {shortened(seconds)}.")
    if not 0 < seconds <= _LEASE_MAX:
        raise InvalidValueError(f"lease_seconds is {seconds!r}: give more than 0, and {_LEASE_MAX:,} at most.")
    return seconds


def checked_status(status: str | None) -> str | None:
    """The status of runs that are looked for: any text, since an application may give its runs words of its own.

    Raises:
        InvalidTypeError: It is no text.
    """
    if status is not None:
        is_text("status", status)
    return status


def checked_instant(name: str, instant: float | None) -> float | None:
    """An instant in seconds since the epoch, or None.

    Raises:
        InvalidTypeError: It is no number.
        InvalidValueError: It is `nan`.
    """
    if instant is None:
        return None
    if isinstance(instant, bool) or not isinstance(instant, int | float):
        raise InvalidTypeError(
            f"{name} is an instant in seconds since the epoch, as time.time() or datetime.timestamp() give it, "
            f"not {instant!r}."
        )
    try:
        seconds = float(instant)
    except OverflowError:
        return math.inf if instant > 0 else -math.inf
    if math.isnan(seconds):
        raise InvalidValueError(f"{name} is {instant!r}, which is before and after nothing. Give an instant.")
    return seconds


def checked_level(level: str) -> str:
    """The level.

    Raises:
        InvalidValueError: There is no such level.
    """
    if level not in ("group", "sync"):
        raise InvalidValueError(f"The level {level!r} does not exist. Known: 'group', 'sync'.")
    return level


def lost_lease(store: Store, job_id: str | None = None) -> LeaseLostError:
    """What a driver gets that has lost its lease, or a run."""
    what = "its lease is gone" if job_id is None else f"{job_id!r} is not its run any more"
    return LeaseLostError(
        f"{store.driver} writes nothing more to {store.url}: {what}. It gave no sign of life for "
        f"{store.lease_seconds} s, has let go, or was closed under its runs, which may go on elsewhere. "
        "Close the store, and claim runs anew."
    )


def unknown_run(job_id: str, flow_id: str | None = None) -> UnknownRunError:
    """What a caller gets who names a run that is not there."""
    where = "" if flow_id is None else f"of the flow {flow_id!r} "
    return UnknownRunError(f"There is no run {job_id!r} {where}in the store. list_runs() shows those that there are.")


def driven_run(job_id: str, driver: str | None) -> RunDrivenError:
    """What a caller gets who wants a run that somebody drives."""
    return RunDrivenError(f"The run {job_id!r} is driven by {driver}, which is alive. Wait until it has let go of it.")
