"""DataFlattener: nested data as one flat dict."""

from collections.abc import Iterator
from typing import Any

from serilux import Serializable

from routilux.builtin_routines.any_value import REPEATED_MAX, items_of, text_of_value, value_received
from routilux.errors import InvalidTypeError, InvalidValueError
from routilux.plain import shortened
from routilux.registration import registered
from routilux.routine import Routine

__all__ = ["DataFlattener"]

CIRCULAR = "[Circular Reference]"

# The key of data that have no keys.
BARE_KEY = "value"


@registered
class DataFlattener(Routine):
    """Makes nested dicts and lists one flat dict, whose keys are the joined keys and indexes of what was nested.

    Slot `input`: anything. Event `output`: `flattened_data`, `original_type` ("dict", "list" or the name of the type)
    and `depth`, the number of containers around the innermost value that stands in the result.

    Empty containers have no place in the result. A container that holds itself becomes "[Circular Reference]", and one
    that stands inside `max_depth` others becomes its text. What cannot be read, because a class of the application
    raises, becomes `<TypeName>`. Where two keys come out the same, the later one wins.

    The result has a key for every way to a value. A container that stands in several places is written in each of them,
    and a few that share their parts may so stand for more values than there are atoms: when more than 1,000,000 values
    would be written again, it is a ValueError, and nothing is emitted.

    Config:
        separator: Between the parts of a key (".").
        preserve_lists: Whether indexes are parts of keys (True). Without, the items of a list have the key of the
            list, and the last one wins.
        max_depth: How many containers may stand in each other (100).
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_config(separator=".", preserve_lists=True, max_depth=100)
        self.input_slot = self.define_slot("input", handler=self._flatten_input)
        self.output_event = self.define_event("output", ["flattened_data", "original_type", "depth"])

    def _flatten_input(self, /, **received: Any) -> None:
        value, config = value_received(self, received), self.config()
        max_depth = config.get("max_depth", 100)
        if not isinstance(max_depth, int):
            raise InvalidTypeError(f"max_depth of {self!r} must be a whole number, not {shortened(max_depth)}.")
        walk = _Walk(text_of_value(config.get("separator", ".")), bool(config.get("preserve_lists", True)), max_depth)
        walk.flatten(value)
        self.emit("output", flattened_data=walk.flat, original_type=_type_name(value), depth=walk.depth)


def _type_name(value: Any) -> str:
    kinds = (kind for kind in (dict, list) if isinstance(value, kind))
    return next(kinds, type(value)).__name__


class _Level:
    """A container on the way to where the walk is."""

    __slots__ = ("has_keys", "identities", "pairs")

    def __init__(self, pairs: Iterator[tuple[Any, Any]], has_keys: bool, identities: tuple[int, ...]) -> None:
        self.pairs = pairs
        self.has_keys = has_keys
        self.identities = identities


class _Walk:
    """One flattening. It goes down by a list of its own: data may be nested deeper than Python's calls."""

    def __init__(self, separator: str, keeps_indexes: bool, max_depth: int) -> None:
        self.flat: dict[str, Any] = {}
        self.depth = 0
        self._separator = separator
        self._keeps_indexes = keeps_indexes
        self._max_depth = max_depth
        self._levels: list[_Level] = []
        self._parts: list[str] = []
        # The containers that the walk is in; a value that is met twice beside each other is no circle.
        self._open: set[int] = set()
        # The containers that were met anywhere, and how many values were met in them again.
        self._met: set[int] = set()
        self._repeated_count = 0
        # What `serialize` made lives until the end: its id must not become another's.
        self._made: list[Any] = []

    def flatten(self, value: Any) -> None:
        self._enter(value)
        while self._levels:
            level = self._levels[-1]
            pair = next(level.pairs, None)
            if pair is None:
                self._levels.pop()
                self._open.difference_update(level.identities)
                if self._levels and self._levels[-1].has_keys:
                    self._parts.pop()
                continue
            if level.has_keys:
                self._parts.append(text_of_value(pair[0]))
            entered = self._enter(pair[1])
            if level.has_keys and not entered:
                self._parts.pop()

    def _enter(self, value: Any) -> bool:
        """Go into a container, or note a value; whether it was gone into."""
        container = value
        identities: tuple[int, ...] = (id(value),)
        if id(value) in self._open:
            return self._note(CIRCULAR)
        if isinstance(value, Serializable):
            if len(self._levels) >= self._max_depth:
                return self._note(text_of_value(value))
            container = self._serialized(value)
            identities = (id(value), id(container))
        if not isinstance(container, dict | list | tuple):
            return self._note(container)
        pairs = items_of(container)
        if pairs is None:
            return self._note(text_of_value(value))
        if not pairs:
            return False
        if len(self._levels) >= self._max_depth:
            return self._note(text_of_value(value))
        if id(value) in self._met:
            self._repeated_count += len(pairs)
            if self._repeated_count > REPEATED_MAX:
                raise InvalidValueError(
                    f"The data are too large when they are flat: more than {REPEATED_MAX} values stand in containers "
                    "that they hold in several places, and each place has keys of its own. Flatten the shared "
                    "containers by themselves, or lower max_depth."
                )
        self._met.add(id(value))
        self._open.update(identities)
        self._levels.append(_Level(iter(pairs), isinstance(container, dict) or self._keeps_indexes, identities))
        return True

    def _serialized(self, value: Serializable) -> Any:
        try:
            made = value.serialize()
        except Exception:  # noqa: BLE001 - code of the application
            return f"<{type(value).__name__}>"
        self._made.append(made)
        return made

    def _note(self, value: Any) -> bool:
        self.depth = max(self.depth, len(self._levels))
        self.flat[self._separator.join(self._parts) if self._parts else BARE_KEY] = value
        return False
