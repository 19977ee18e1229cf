"""What the settings of a flow and of a run may be."""

from datetime import timedelta
from typing import Any

from routilux.errors import InvalidTypeError, InvalidValueError

__all__ = [
    "checked_count",
    "checked_history_limit",
    "checked_retention",
    "checked_seconds",
    "checked_store_level",
    "checked_strategy",
    "checked_workers",
]

STRATEGIES = ("sequential", "concurrent")


def checked_strategy(strategy: str) -> str:
    """An execution strategy.

    Raises:
        ValueError: An unknown one.
    """
    if strategy not in STRATEGIES:
        raise InvalidValueError(f"Invalid execution strategy: {strategy!r}. Known: {', '.join(map(repr, STRATEGIES))}.")
    return strategy


def checked_workers(count: Any) -> int:
    """How many threads a flow may use.

    Raises:
        TypeError: Not a whole number.
        ValueError: Fewer than 1.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise InvalidTypeError(f"max_workers must be a whole number, not {count!r}.")
    if count < 1:
        raise InvalidValueError(f"max_workers must be at least 1, and {count} is not. One worker runs one handler.")
    return count


def checked_count(name: str, count: Any) -> int:
    """A whole number from 1.

    Raises:
        ValueError: It is none.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidValueError(f"{name} must be a whole number from 1, not {count!r}.")
    return count


def checked_seconds(name: str, seconds: Any) -> float:
    """Seconds from 0.

    Raises:
        ValueError: It is no such number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise InvalidValueError(f"{name} must be seconds from 0, not {seconds!r}.")
    return seconds


def checked_retention(keep_finished: Any, has_store: bool) -> None:
    """Raise unless something is how many finished runs are kept, or for how long.

    Raises:
        TypeError: Neither a number nor a timedelta.
        ValueError: A negative one, or there is nowhere to keep them.
    """
    if keep_finished is None:
        return
    if isinstance(keep_finished, bool) or not isinstance(keep_finished, int | timedelta):
        raise InvalidTypeError(
            f"keep_finished is a number of runs, or a timedelta for their age, not {keep_finished!r}."
        )
    if (keep_finished.total_seconds() if isinstance(keep_finished, timedelta) else keep_finished) < 0:
        raise InvalidValueError(f"keep_finished cannot be less than nothing, and is {keep_finished!r}.")
    if not has_store:
        raise InvalidValueError(
            "keep_finished is about the runs in a store: Flow('orders', store=..., keep_finished=100)."
        )


def checked_store_level(level: Any, has_store: bool) -> None:
    """Raise where somebody asks for safety that there is not: a level, and no store.

    Raises:
        ValueError: Another level than the default's, for runs that are kept nowhere.
    """
    if level != "group" and not has_store:
        raise InvalidValueError(
            f"store_level={level!r} is about a store, and this flow has none: "
            "Flow('orders', store='runs.db', store_level='sync')."
        )


def checked_history_limit(limit: Any) -> int | None:
    """How many records a run keeps, or None for all.

    Raises:
        ValueError: Not a whole number from 1.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InvalidValueError(f"history_limit must be a whole number from 1, or None for no limit, not {limit!r}.")
    return limit
