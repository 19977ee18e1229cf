"""The end of the program: what is queued for async handlers is worked off, as a pool works off what is queued for it.

Python itself waits for the threads of a pool. The thread that drives coroutines is a daemon, and is waited for here.
"""

import atexit
import concurrent.futures.thread  # noqa: F401 - it registers itself as below, and has to be the first
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whose runs are worked off
    from weakref import WeakSet

    from routilux.flow.engine import Engine

__all__ = ["work_off_at_exit"]

# Between two looks, while the program ends.
LOOK_SECONDS = 0.005


def work_off_at_exit(engines: "WeakSet[Engine]") -> None:
    """Let the program end when the runs of flows with async handlers have nothing queued or at work any more.

    Args:
        engines: Those that are there when the program ends.
    """
    # Python calls these before it waits for the threads of pools, the last one first: so the workers are there still,
    # and take what async handlers leave to them. It is Python's own affair; where it is not there, `atexit` comes when
    # the pools have gone, and what is left to them then is kept as pending.
    getattr(threading, "_register_atexit", atexit.register)(partial(_work_off, engines))


def _work_off(engines: "WeakSet[Engine]") -> None:
    for engine in list(engines):
        while engine.threaded and _has_async_handlers(engine) and _is_at_work(engine):
            time.sleep(LOOK_SECONDS)


def _has_async_handlers(engine: "Engine") -> bool:
    routines = list(engine.flow.routines.values())
    return any(slot.is_async for routine in routines for slot in list(routine._slots.values()))


def _is_at_work(engine: "Engine") -> bool:
    # What only waits, for a delay or an input, is dropped or kept as ever. And whether the program waits for a thread
    # of its own, on which `execute` has called an entry, is said by that thread: it is a daemon, or not.
    return any(
        run.queue_size() or any(not (run.is_inline and task.is_entry) for task in run.active_tasks())
        for run in engine.loop.live_runs()
    )
