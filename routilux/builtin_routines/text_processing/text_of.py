"""Any value as text."""

from typing import Any

__all__ = ["text_of"]


def text_of(value: Any) -> str:
    """What `str` makes of a value; where it makes nothing of it, the type in angle brackets: `<Socket>`.

    That is so for a `__str__` that raises, for data that are nested more deeply than `str` can follow, and for whole
    numbers of more digits than Python writes.
    """
    if type(value) is str:
        return value
    try:
        # `str` of bytes is the same text, and an error where Python was started with -bb.
        return repr(value) if isinstance(value, bytes | bytearray) else str(value)
    except Exception:  # noqa: BLE001 - `__str__` of the application may raise anything
        return f"<{type(value).__name__}>"
