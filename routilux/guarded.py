"""A dict that may be read while other threads write it."""

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from threading import Lock
from typing import Any, TypeVar

__all__ = ["GuardedDict", "LockLike"]

K = TypeVar("K")
V = TypeVar("V")

# threading.RLock is a function before Python 3.13, so it cannot stand in an annotation.
LockLike = Any


class GuardedDict(dict[K, V]):
    """A dict whose writes take a lock and whose iteration sees a copy of the moment.

    A reader who walks a plain dict while a worker adds a key gets "dictionary changed size during iteration".
    The views that this class returns are real dict views, of a copy: complete, and still while they are walked.
    Single reads (`d[k]`, `get`, `in`, `len`) need no lock: they see either the old or the new value.
    """

    __slots__ = ("_lock",)

    def __init__(self, values: dict[K, V] | None = None, lock: LockLike = None) -> None:
        super().__init__(values or {})
        self._lock = lock if lock is not None else Lock()

    def bring_up_to_date(self) -> None:
        """With the lock held, before every access: for subclasses that put something off."""

    def copy(self) -> dict[K, V]:
        """A plain dict with the content of this moment."""
        # Not `dict.copy(self)`: for a class that overrides `__iter__` it calls `keys()`, and so this method again.
        with self._lock:
            self.bring_up_to_date()
            return dict(dict.items(self))

    def __iter__(self) -> Iterator[K]:
        return iter(self.copy())

    def keys(self) -> KeysView[K]:  # type: ignore[override]  # dict_keys is a KeysView in all but name
        """The keys of this moment."""
        return self.copy().keys()

    def values(self) -> ValuesView[V]:  # type: ignore[override]  # as above
        """The values of this moment."""
        return self.copy().values()

    def items(self) -> ItemsView[K, V]:  # type: ignore[override]  # as above
        """The pairs of this moment."""
        return self.copy().items()

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            self.bring_up_to_date()
            super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        with self._lock:
            self.bring_up_to_date()
            super().__delitem__(key)

    def __ior__(self, other: Any) -> "GuardedDict[K, V]":  # type: ignore[override,misc]  # narrower than dict's
        self.update(other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take over pairs, all at once for other threads."""
        with self._lock:
            self.bring_up_to_date()
            super().update(*args, **kwargs)

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value of a key, which is set first if it is missing."""
        with self._lock:
            self.bring_up_to_date()
            return super().setdefault(key, default)

    def pop(self, *args: Any) -> Any:
        """Remove a key and return its value."""
        with self._lock:
            self.bring_up_to_date()
            return super().pop(*args)

    def popitem(self) -> tuple[K, V]:
        """Remove and return the newest pair."""
        with self._lock:
            self.bring_up_to_date()
            return super().popitem()

    def clear(self) -> None:
        """Remove every pair."""
        with self._lock:
            self.bring_up_to_date()
            super().clear()

    def __reduce__(self) -> Any:
        # A copy (pickle, deepcopy) is a plain dict: the lock belongs to the run that this one serves.
        return dict, (self.copy(),)
