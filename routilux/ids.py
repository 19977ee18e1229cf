"""Ids of flows and runs."""

import os
import random

__all__ = ["new_id"]

# `uuid4` asks the kernel each time, and gives up the interpreter lock for it, which costs a third of a
# short run where others are at work. Seeded by the kernel, once per process; nobody else's `random.seed` reaches it.
_random = random.Random()  # noqa: S311 - an id is no secret
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def new_id() -> str:
    """A UUID of version 4, as `str(uuid.uuid4())` writes it, at a fifth of the price."""
    digits = f"{_random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
