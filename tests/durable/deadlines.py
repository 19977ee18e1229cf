"""Looking again until something is so; for what tells nobody of a change."""

import threading
import time
from collections.abc import Callable

from tests.drawings import DEADLINE

__all__ = ["until"]


def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Look every hundredth of a second."""
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "it has not become so"
        threading.Event().wait(0.01)
