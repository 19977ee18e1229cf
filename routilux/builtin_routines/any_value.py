"""Looking at values of any kind: what a class of the application raises on the way is told, and not raised."""

from typing import Any

from routilux.plain import pairs_of
from routilux.routine import Routine

__all__ = ["REPEATED_MAX", "is_repeated_too_often", "items_of", "text_of_value", "value_received"]

# Containers that share their parts may stand for more values than there are atoms, without holding themselves: so many
# are looked at a second time.
REPEATED_MAX = 1_000_000

_CONTAINERS = (dict, list, tuple, set, frozenset)


def value_received(routine: Routine, received: dict[str, Any]) -> Any:
    """The value of a delivery: `data`, else the only value, else all of them as a dict."""
    if "data" in received:
        return received["data"]  # also where it is None, which `_extract_input_data` cannot tell from nothing
    return routine._extract_input_data(**received)


def text_of_value(value: Any) -> str:
    """`str(value)`, or `<TypeName>` where that raises.

    That is so for a `__str__` that fails, for data that are nested more deeply than `str` can follow, for containers
    that share their parts without end in sight, and for whole numbers of more digits than Python writes.
    """
    if type(value) is str:
        return value
    try:
        if isinstance(value, _CONTAINERS) and is_repeated_too_often(value):
            return f"<{type(value).__name__}>"
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


def is_repeated_too_often(value: Any) -> bool:
    """Whether containers that stand in several places have more than `REPEATED_MAX` items in all of these places."""
    met: set[int] = set()
    inside: set[int] = set()
    repeated = 0
    waiting: list[tuple[Any, bool]] = [(value, False)]
    while waiting:
        each, is_left = waiting.pop()
        if is_left:
            inside.discard(id(each))
        elif type(each) in _CONTAINERS and id(each) not in inside:
            if id(each) in met:
                repeated += len(each)
                if repeated > REPEATED_MAX:
                    return True
            met.add(id(each))
            held = each.copy() if type(each) is dict else list(each)
            items = [*held, *held.values()] if type(held) is dict else held
            containers = [(item, False) for item in items if type(item) in _CONTAINERS]
            if containers:
                inside.add(id(each))
                waiting += [(each, True), *containers]
    return False
