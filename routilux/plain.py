"""User data as JSON has them. They are never interpreted: checked, copied, and given back as they were."""

import contextlib
import math
from collections.abc import Collection, Iterable
from typing import Any

from routilux.errors import NotPlainError
from routilux.guarded import GuardedDict

__all__ = ["pairs_of", "plain", "plain_dict", "shortened"]

_ATOMS = frozenset({str, float, bool, type(None)})

# Deeper data cannot be read back by Python's own JSON reader.
DEPTH_MAX = 400

# A value that is more values than this, written out, is looked at for containers that stand in it again and again:
# lists of one list twice, fifty levels deep, would be copied for longer than anybody waits. It may be so many all the
# same, or so many times as many as it has in memory.
VALUES_UNSEEN = 1_000_000
VALUES_MAX = 10_000_000
TIMES_MAX = 100

# Python neither writes nor reads the digits of a greater number unless it is told to.
INT_LIMIT = 10**4300


def plain(value: Any, path: str, depth: int = 0) -> Any:
    """A copy of `value` made of dicts, lists, str, int, float, bool and None; tuples become lists.

    Args:
        value: Anything.
        path: Where it stands, for messages: `shared_data['a'][0]`.
        depth: How deep it stands.

    Raises:
        NotPlainError: Something in it is not JSON; the message names the path to it.
    """
    try:
        return _copy(value, path, depth, [VALUES_UNSEEN, value, path])
    except RecursionError:
        raise NotPlainError(f"{path} is nested too deeply to be copied from here. Save flatter data.") from None


def plain_dict(value: Any, path: str, depth: int = 0) -> dict[str, Any]:
    """`plain` for something that must be a dict.

    Raises:
        NotPlainError: It is none, or holds something that is not JSON.
    """
    if not isinstance(value, dict):
        raise NotPlainError(f"{path} must be a dict, not {shortened(value)}.")
    copy: dict[str, Any] = plain(value, path, depth)
    return copy


def shortened(value: Any, length: int = 80) -> str:
    """What to say of a value in a message, whatever it is."""
    if isinstance(value, str):
        value = value[:length]  # its `repr` is longer, and is cut below
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - nested too deeply, too many digits, or a `__repr__` of the application that fails
        text = f"<{type(value).__name__}>"
    return text if len(text) <= length else text[: length - 3] + "..."


def _copy(value: Any, path: str, depth: int, left: list[Any]) -> Any:
    """The copy; `left` is how many more values may come before a look at the whole, which it names with its path."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if depth > DEPTH_MAX:
        raise NotPlainError(
            f"{path[:160]}... is nested more than {DEPTH_MAX} levels deep, or holds itself. Save flatter data."
        )
    if left[0] < 0:
        left[0] = math.inf
        _refuse_endless_sharing(*left[1:])
    if isinstance(value, dict):
        pairs = pairs_of(value)
        left[0] -= len(pairs)
        copy = {}
        for key, item in pairs:
            if type(key) is not str:
                key = _text_key(key, path)  # noqa: PLW2901 - an enum's value, say
            kind = type(item)
            if kind in _ATOMS or (kind is int and -INT_LIMIT < item < INT_LIMIT):
                copy[key] = item
            else:
                copy[key] = _copy(item, f"{path}[{key[:80]!r}]", depth + 1, left)
        return copy
    if isinstance(value, list | tuple):
        left[0] -= len(value)
        items = []
        for index, item in enumerate(value):
            kind = type(item)
            if kind in _ATOMS or (kind is int and -INT_LIMIT < item < INT_LIMIT):
                items.append(item)
            else:
                items.append(_copy(item, f"{path}[{index}]", depth + 1, left))
        return items
    return _number_or_text(value, path)


def _sizes(root: Any) -> tuple[dict[int, int], int]:
    """How many values containers are, written out, by their ids; and how many values there are in memory."""
    written = {id(root): 1}
    in_memory = 1 + _length(root)
    # Without recursion: it is called where the stack may be used up by half.
    stack = [(root, iter(_values(root)))]
    while stack:
        holder, items = stack[-1]
        for item in items:
            found = written.get(id(item), 0) if isinstance(item, dict | list | tuple) else 1
            if not found:
                in_memory += 1 + _length(item)
                written[id(item)] = 1  # its own are added; what holds itself is refused when it is copied
                stack.append((item, iter(_values(item))))
                break
            written[id(holder)] += found
        else:
            stack.pop()
            if stack:
                written[id(stack[-1][0])] += written[id(holder)]
    return written, in_memory


def _length(held: Any) -> int:
    return dict.__len__(held) if isinstance(held, dict) else len(held)  # of the states of routines, without their lock


def _values(held: Any) -> Iterable[Any]:
    return [item for _, item in pairs_of(held)] if isinstance(held, dict) else held


def _refuse_endless_sharing(value: Any, path: str) -> None:
    """Raise where the same few containers stand in each other so often that nobody could wait for the copy."""
    written, in_memory = _sizes(value)
    if written[id(value)] <= max(VALUES_MAX, TIMES_MAX * in_memory):
        return
    while True:  # to the innermost part that is too large by itself
        pairs = pairs_of(value) if isinstance(value, dict) else enumerate(value)
        large = [pair for pair in pairs if written.get(id(pair[1]), 0) > VALUES_MAX]
        if not large:
            break
        key, value = large[0]
        path = f"{path}[{key!r}]"
    raise NotPlainError(
        f"{path if len(path) <= 160 else path[:160] + '...'} holds the same containers again and again: written out, "
        f"as JSON has it, that is more than {VALUES_MAX:,} values, and {TIMES_MAX} times what is in memory. Save each "
        "container once, and name it where it is meant."
    )


def pairs_of(held: dict[Any, Any]) -> Collection[tuple[Any, Any]]:
    """The pairs of a dict as it is now; a worker may add a key to it while they are read.

    A plain dict is copied in one step. A list of its pairs is not made in one: each pair is an object, the garbage
    collector may run when one is made, and other threads may run then.
    """
    if type(held) is dict:
        return held.copy().items()
    if isinstance(held, GuardedDict):
        return held.pairs_now()  # a durable run copies what is emitted, the states of routines too, under their lock
    for _ in range(100):
        with contextlib.suppress(RuntimeError):  # it has changed its size
            return list(held.items())
    return list(held.items())


def _text_key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise NotPlainError(
            f"A key of {path} is {shortened(key)} ({type(key).__name__}). JSON keys are text, and a silently "
            "changed key is worse than an error: use str keys."
        )
    return str.__str__(key)


def _number_or_text(value: Any, path: str) -> Any:
    if isinstance(value, int):
        if not -INT_LIMIT < value < INT_LIMIT:
            raise NotPlainError(f"{path} is a whole number of more than 4300 digits. Save it as text, in base 16.")
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value) if not math.isnan(value) else math.nan
    raise NotPlainError(
        f"{path} is {shortened(value)} ({type(value).__name__}), which JSON cannot hold. Save text, numbers, lists "
        "and dicts, and keep live objects outside the run."
    )
