"""Ids of flows and runs."""

import os
from threading import Lock

__all__ = ["new_id"]

_ID_BYTES = 16
_IDS_AT_ONCE = 256

# `uuid4` asks the kernel each time, and gives up the interpreter lock for it, which costs a third of a short run where
# others are at work. Asked for many at once, the kernel costs next to nothing. `_lock` protects `_random`.
_lock = Lock()
_random = bytearray()


def _forget_bytes() -> None:
    """In a forked child: its ids are its own, and the thread that may hold the lock does not exist."""
    global _lock  # noqa: PLW0603 - it is one for all threads, and a lock cannot be emptied
    _lock = Lock()
    _random.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_bytes)


def new_id() -> str:
    """A UUID of version 4, as `str(uuid.uuid4())` writes it, at a fifth of the price."""
    with _lock:
        if not _random:
            _random.extend(os.urandom(_ID_BYTES * _IDS_AT_ONCE))
        digits = _random[-_ID_BYTES:].hex()
        del _random[-_ID_BYTES:]
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
