"""User data as JSON has them. They are never interpreted: checked, copied, and given back as they were."""

import math
from typing import Any

from routilux.errors import NotPlainError

__all__ = ["plain", "plain_dict"]

_ATOMS = frozenset({str, int, float, bool, type(None)})

# Deeper data cannot be read back by Python's own JSON reader.
DEPTH_MAX = 400


def plain(value: Any, path: str, depth: int = 0) -> Any:
    """A copy of `value` made of dicts, lists, str, int, float, bool and None; tuples become lists.

    Args:
        value: Anything.
        path: Where it stands, for messages: `shared_data['a'][0]`.
        depth: How deep it stands.

    Raises:
        NotPlainError: Something in it is not JSON; the message names the path to it.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if depth > DEPTH_MAX:
        raise NotPlainError(f"{path} is nested more than {DEPTH_MAX} levels deep, or holds itself. Save flatter data.")
    if isinstance(value, dict):
        copy = {}
        for key, item in value.items():
            if type(key) is not str:
                if not isinstance(key, str):
                    raise NotPlainError(
                        f"A key of {path} is {key!r} ({type(key).__name__}). JSON keys are text, and a silently "
                        "changed key is worse than an error: use str keys."
                    )
                key = str.__str__(key)  # noqa: PLW2901 - an enum's value, say
            copy[key] = item if type(item) in _ATOMS else plain(item, f"{path}[{key!r}]", depth + 1)
        return copy
    if isinstance(value, list | tuple):
        return [
            item if type(item) in _ATOMS else plain(item, f"{path}[{index}]", depth + 1)
            for index, item in enumerate(value)
        ]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if not math.isnan(value) else math.nan
    raise NotPlainError(
        f"{path} is {_shortened(value)} ({kind.__name__}), which JSON cannot hold. Save text, numbers, lists and "
        "dicts, and keep live objects outside the run."
    )


def plain_dict(value: Any, path: str) -> dict[str, Any]:
    """`plain` for something that must be a dict.

    Raises:
        NotPlainError: It is none, or holds something that is not JSON.
    """
    if not isinstance(value, dict):
        raise NotPlainError(f"{path} must be a dict, not {_shortened(value)}.")
    copy: dict[str, Any] = plain(value, path)
    return copy


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
