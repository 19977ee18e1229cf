"""Lists of a record to which callers may append: whoever keeps the record is told, in order."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Self, TypeVar

from routilux.ledger import Ledger

__all__ = ["KeptList", "SharedLog"]

T = TypeVar("T")


class KeptList(list[T]):
    """A list; what is appended to it, or added at its end, goes to who keeps the record, too.

    Other changes are made here, and told nobody. A copy is a plain list.
    """

    __slots__ = ("_ledger",)

    def __init__(self, values: Iterable[T], ledger: Ledger) -> None:
        super().__init__(values)
        self._ledger = ledger

    @abstractmethod
    def add(self, values: list[T]) -> None:
        """Without the lock: append values, and tell."""

    def append(self, value: T) -> None:
        """Append a value."""
        self.add([value])

    def extend(self, values: Iterable[T]) -> None:
        """Append values, in one step."""
        self.add(list(values))

    def __iadd__(self, values: Iterable[T]) -> Self:  # type: ignore[override,misc]  # narrower than list's
        self.add(list(values))
        return self

    def __reduce__(self) -> Any:
        return list, (list(self),)

    def __reduce_ex__(self, _: Any) -> Any:
        return self.__reduce__()


class SharedLog(KeptList[dict[str, Any]]):
    """The shared log of a run."""

    __slots__ = ()

    def add(self, values: list[dict[str, Any]]) -> None:
        """Append entries; a run that is kept refuses what is not JSON."""
        ledger = self._ledger
        if ledger.scribe is not None:
            ledger.scribe.check(values, "the shared log")
        with ledger.lock:
            list.extend(self, values)
            ledger.touched_ns = ledger.now()
            if ledger.scribe is not None:
                for entry in values:
                    ledger.scribe.logged(entry)
