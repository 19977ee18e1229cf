"""Values of a program as JSON can hold them, for readers."""

import re
from typing import Any

from routilux.errors import NotPlainError
from routilux.plain import pairs_of, plain, shortened

__all__ = ["shown_value"]

# Deeper than this, a value that JSON cannot hold as a whole is shown as one text.
_DEPTH_MAX = 6

_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def shown_value(value: Any, depth: int = 0) -> Any:
    """The value itself where JSON can hold it; else a text in its place, as far inside as there is need."""
    try:
        return plain(value, "the value")
    except NotPlainError:
        pass
    if depth < _DEPTH_MAX:
        if isinstance(value, dict):
            return {
                key if isinstance(key, str) else shortened(key): shown_value(item, depth + 1)
                for key, item in pairs_of(value)
            }
        if isinstance(value, list | tuple):
            return [shown_value(item, depth + 1) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    # With its address, each drawing of the same flow would be another one.
    return _ADDRESS.sub("", shortened(value))
