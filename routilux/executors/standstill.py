"""A look-out for handlers that keep the thread which drives coroutines: names them while they do.

The thread itself can tell of a step only when that has ended. So another one looks now and then at what it is at: at
its frames, which costs it nothing. (To note each step somewhere would cost each hop.)
"""

import contextlib
import logging
import sys
import threading
from types import FrameType

__all__ = ["LOOK_SECONDS", "LookOut"]

logger = logging.getLogger(__name__)

# How often it looks. A handler that is found in the same step at two looks is named.
LOOK_SECONDS = 1.0


class LookOut:
    """Looks at one thread until `end` is called, or that is gone.

    Args:
        ident: Of the thread.
    """

    def __init__(self, ident: int) -> None:
        self._ident = ident
        self._ended = threading.Event()
        thread = threading.Thread(target=self._look_on, name="routilux-look-out", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # out of threads: handlers are more important than warnings
            logger.debug("No thread can look out for handlers that block", exc_info=True)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def _look_on(self) -> None:
        before = named = None
        while not self._ended.wait(LOOK_SECONDS):
            found = None
            with contextlib.suppress(Exception):  # a frame that is just being left
                found = step_of(sys._current_frames().get(self._ident))  # noqa: SLF001 - the documented way to look
            if found is not None and found == before and found != named:
                named = found
                logger.warning(
                    "%s keeps the loop's thread, for more than %g s by now, and all other async handlers of its flow "
                    "wait. Await in between, or make it a plain function, which runs on a worker.",
                    found[0],
                    LOOK_SECONDS,
                )
            before = found


def step_of(frame: FrameType | None) -> tuple[str, float] | None:
    """The step of a handler that a thread is in: its name and when that began, as the frames have it noted."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_step" and code.co_filename.endswith("driven.py"):
            found = frame.f_locals
            if "began" in found:
                return found["self"].name, found["began"]
        elif code.co_name == "go_on" and code.co_filename.endswith("loop_turn.py"):
            task, turn = frame.f_locals.get("task"), frame.f_locals["self"]
            if task is not None:
                return task.port.name, turn.step_began()
        frame = frame.f_back
    return None
