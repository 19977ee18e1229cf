"""Time limits, as callers give them."""

from typing import Any

from routilux.errors import InvalidTypeError, InvalidValueError

__all__ = ["checked_timeout"]


def checked_timeout(name: str, seconds: Any) -> float | None:
    """Seconds, or None for no limit.

    Raises:
        TypeError: Not a number.
        ValueError: Not more than 0.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidTypeError(f"{name} must be seconds, not {seconds!r}.")
    if not seconds > 0:
        no_limit = 'float("inf")' if name == "timeout" else "None"
        raise InvalidValueError(
            f"{name} must be more than 0 seconds, and {seconds!r} is not. Use {no_limit} for no limit."
        )
    return None if seconds == float("inf") else seconds
