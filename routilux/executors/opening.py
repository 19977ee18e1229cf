"""Opening what needs asyncio. It is imported when it is needed first."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # opened below
    from types import ModuleType

    from routilux.executors.coroutines import CoroutineLoop

__all__ = ["asyncio_waits", "drives_coroutines", "note_driving_thread", "open_coroutines"]

_here = threading.local()

# asyncio takes a third of the time of `import routilux`, and a program that awaits nothing needs none of it.


def open_coroutines() -> "type[CoroutineLoop]":
    """The loop that drives async handlers."""
    from routilux.executors import coroutines  # noqa: PLC0415 - as told above

    return coroutines.CoroutineLoop


def asyncio_waits() -> "ModuleType":
    """How an application's own loop waits."""
    from routilux.executors import waits  # noqa: PLC0415 - as told above

    return waits


def note_driving_thread() -> None:
    """The calling thread drives coroutines of some flow from now on."""
    _here.drives = True


def drives_coroutines() -> bool:
    """Whether the calling thread drives the coroutines of a flow, whichever: it must neither wait nor work for long."""
    return getattr(_here, "drives", False)
