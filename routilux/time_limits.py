"""Time limits, as callers give them."""

from typing import Any

from routilux.errors import InvalidTypeError, InvalidValueError

__all__ = ["check_wait", "checked_timeout"]


def checked_timeout(name: str, seconds: Any) -> float | None:
    """Seconds, or None for no limit.

    Raises:
        TypeError: Not a number.
        ValueError: Not more than 0.
    """
    if seconds is None:
        return None
    _refuse_no_number(name, seconds)
    if not seconds > 0:
        no_limit = 'float("inf")' if name == "timeout" else "None"
        raise InvalidValueError(
            f"{name} must be more than 0 seconds, and {seconds!r} is not. Use {no_limit} for no limit."
        )
    return None if seconds == float("inf") else seconds


def check_wait(seconds: Any) -> None:
    """Raise unless a wait may take so long: seconds, or None for as long as it takes. 0, or less, is one look.

    Raises:
        TypeError: Not a number.
    """
    if seconds is not None:
        _refuse_no_number("timeout", seconds)


def _refuse_no_number(name: str, seconds: Any) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidTypeError(f"{name} must be seconds, not {seconds!r}.")
