"""Looking at values of any kind: what a class of the application raises on the way is told, and not raised."""

from typing import Any

from routilux.plain import pairs_of

__all__ = ["items_of", "text_of_value"]


def text_of_value(value: Any) -> str:
    """`str(value)`, or `<TypeName>` where that raises.

    That is so for a `__str__` that fails, for data that are nested more deeply than `str` can follow, and for whole
    numbers of more digits than Python writes.
    """
    if type(value) is str:
        return value
    try:
        # `str` of bytes is the same text, and an error where Python was started with -bb. What `__str__` returns may be
        # of a subclass of str with methods of its own.
        return repr(value) if isinstance(value, bytes | bytearray) else str.__str__(str(value))
    except Exception:  # noqa: BLE001 - code of the application
        return f"<{type(value).__name__}>"


def items_of(container: Any) -> list[tuple[Any, Any]] | None:
    """The (key or index, value) pairs of a dict, list or tuple as it is now; None where reading it raises."""
    try:
        return list(pairs_of(container) if isinstance(container, dict) else enumerate(list(container)))
    except Exception:  # noqa: BLE001 - a subclass of the application may fail to be read
        return None
