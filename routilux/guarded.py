"""A dict that may be read while other threads write it."""

import contextlib
from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from threading import Lock
from typing import Any, TypeVar

from routilux.context import refuse_late

__all__ = ["GuardedDict", "LockLike", "taken_from"]

K = TypeVar("K")
V = TypeVar("V")

# threading.RLock is a function before Python 3.13, so it cannot stand in an annotation.
LockLike = Any


def taken_from(source: Any = (), /, **more: Any) -> dict[Any, Any]:
    """A plain dict out of what a caller gives: a dict, pairs, or what makes them.

    It is made before a lock is taken, never under one: what is walked here is the caller's. A generator may read the
    very dict that is to be written, and a guarded dict has a lock of its own, which another thread may hold that
    waits for ours.
    """
    return dict(source.copy() if isinstance(source, GuardedDict) else source, **more)


class GuardedDict(dict[K, V]):
    """A dict whose writes take a lock and whose iteration sees a copy of the moment.

    A reader who walks a plain dict while a worker adds a key gets "dictionary changed size during iteration".
    The views that this class returns are real dict views, of a copy: complete, and still while they are walked.
    Single reads (`d[k]`, `get`, `in`, `len`) need no lock: they see either the old or the new value. Under the lock
    nothing of a caller is walked: see `taken_from`.
    """

    __slots__ = ("_lock", "changed")

    #: What a write is, where it is refused.
    WHAT = "write shared data"

    def __init__(self, values: dict[K, V] | None = None, lock: LockLike = None) -> None:
        super().__init__(values or {})
        self._lock = lock if lock is not None else Lock()
        #: The keys that were written since somebody emptied it, in their order; None: nobody wants to know.
        self.changed: dict[K, None] | None = None

    def bring_up_to_date(self) -> None:
        """With the lock held, before every access: for subclasses that put something off."""

    def taken(self, value: V) -> V:
        """Without the lock: what is put in for a value that a caller gives."""
        return value

    def track(self, before: "GuardedDict[K, V]") -> None:
        """With the lock held: take the place of another; where its changes are noted, so are these."""
        if before.changed is not None:
            # The noted ones as well: a key that was removed just before stands in neither.
            self.changed = dict.fromkeys([*before.changed, *dict.keys(before), *dict.keys(self)])

    def _note(self, keys: Iterable[K]) -> None:
        # With the lock held.
        if self.changed is not None:
            self.changed.update(dict.fromkeys(keys))

    def copy(self) -> dict[K, V]:
        """A plain dict with the content of this moment."""
        # Not `dict.copy(self)`: for a class that overrides `__iter__` it calls `keys()`, and so this method again.
        with self._lock:
            self.bring_up_to_date()
            return dict(dict.items(self))

    def pairs_now(self) -> list[tuple[K, V]]:
        """The pairs as they stand, without the lock: for who copies data in which this dict stands, and may hold it."""
        for _ in range(100):
            with contextlib.suppress(RuntimeError):  # it has changed its size
                return list(dict.items(self))
        return list(dict.items(self))

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
        refuse_late(self, self.WHAT)
        value = self.taken(value)
        with self._lock:
            self.bring_up_to_date()
            super().__setitem__(key, value)
            self._note((key,))

    def __delitem__(self, key: K) -> None:
        refuse_late(self, self.WHAT)
        with self._lock:
            self.bring_up_to_date()
            super().__delitem__(key)
            self._note((key,))

    def __ior__(self, other: Any) -> "GuardedDict[K, V]":  # type: ignore[override,misc]  # narrower than dict's
        self.update(other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take over pairs, all at once for other threads."""
        refuse_late(self, self.WHAT)
        pairs = {key: self.taken(value) for key, value in taken_from(*args, **kwargs).items()}
        with self._lock:
            self.bring_up_to_date()
            super().update(pairs)
            self._note(pairs)

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value of a key, which is set first if it is missing."""
        refuse_late(self, self.WHAT)
        default = self.taken(default)
        with self._lock:
            self.bring_up_to_date()
            value = super().setdefault(key, default)
            self._note((key,))
            return value

    def pop(self, *args: Any) -> Any:
        """Remove a key and return its value."""
        refuse_late(self, self.WHAT)
        with self._lock:
            self.bring_up_to_date()
            value = super().pop(*args)
            self._note(args[:1])
            return value

    def popitem(self) -> tuple[K, V]:
        """Remove and return the newest pair."""
        refuse_late(self, self.WHAT)
        with self._lock:
            self.bring_up_to_date()
            pair = super().popitem()
            self._note(pair[:1])
            return pair

    def clear(self) -> None:
        """Remove every pair."""
        refuse_late(self, self.WHAT)
        with self._lock:
            self.bring_up_to_date()
            self._note(dict.keys(self))
            super().clear()

    def __reduce__(self) -> Any:
        # A copy (pickle, deepcopy) is a plain dict: the lock belongs to the run that this one serves.
        return dict, (self.copy(),)
