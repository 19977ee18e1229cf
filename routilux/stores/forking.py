"""Forking: no connection and no held lock of a store comes into a forked child."""

import os
from threading import Lock
from typing import Protocol
from weakref import WeakSet

__all__ = ["watch_forks"]


class Forkable(Protocol):
    """What a store does around a fork, in the thread that forks."""

    def before_fork(self) -> None:
        """Take the locks, and close what must not exist twice."""

    def after_fork(self, in_child: bool) -> None:
        """Give the locks back."""


# Protects `_watched`; taken before the locks of any store. Held over a fork, so that both processes find it free.
_lock = Lock()
_watched: "WeakSet[Forkable]" = WeakSet()
_forking: list[Forkable] = []


def watch_forks(store: Forkable) -> None:
    """Call the store around each fork of this process from now on, as long as it exists."""
    with _lock:
        _watched.add(store)


def _before() -> None:
    _lock.acquire()
    _forking.extend(_watched)
    for store in _forking:
        store.before_fork()


def _after(in_child: bool) -> None:
    try:
        for store in _forking:
            store.after_fork(in_child)
    finally:
        _forking.clear()
        _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=lambda: _after(False), after_in_child=lambda: _after(True))
