"""Identities of activations: 64 bits that are the same when an activation runs again.

An activation's identity is the hash of (its parent's identity, the line that it came by, how many times the parent had
emitted that event). Python's hash of a tuple of integers is the same in every process; it is signed, and is shown to
the world as hex digits of the same 64 bits. A hash of our own would cost ten times as much, once per delivery.
"""

import os
from typing import Any

from routilux.digests import blake2b

__all__ = ["as_text", "from_text", "identity_of", "new_identity"]

_MASK = (1 << 64) - 1


def identity_of(text: str) -> int:
    """An identity that follows from a text."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def new_identity() -> int:
    """An identity that nobody else has."""
    return int.from_bytes(os.urandom(8), "big", signed=True)


def as_text(identity: int) -> str:
    """The identity for people and files: 16 hex digits."""
    return f"{identity & _MASK:016x}"


def from_text(text: Any) -> int:
    """What `as_text` has written; any other text has the identity that follows from it."""
    try:
        number = int(text, 16)
    except (TypeError, ValueError):
        return identity_of(str(text))
    return ((number & _MASK) ^ (1 << 63)) - (1 << 63)
