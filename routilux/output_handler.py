"""Where the outputs of a run go while it runs: a queue, a callback, nowhere."""

import contextlib
import logging
import queue as queues
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any

from routilux.context import delivering_output
from routilux.errors import HandlerTypeError, InvalidTypeError, repr_of, text_of
from routilux.handlers import kind_of_unusable

__all__ = ["CallbackOutputHandler", "NullOutputHandler", "OutputHandler", "QueueOutputHandler", "hand_over"]

logger = logging.getLogger(__name__)


class OutputHandler(ABC):
    """Receives what routines send with `send_output`, on the thread of the handler that sends it.

    Calls for one run may come from several threads at once. What `handle` raises becomes a `RuntimeWarning`
    and stops nothing; the output is in the run's `output_log` all the same.
    """

    @abstractmethod
    def handle(
        self,
        job_id: str,
        routine_id: str,
        output_type: str,
        data: dict[str, Any],
        timestamp: datetime | None = None,
    ) -> None:
        """Take one output."""


class QueueOutputHandler(OutputHandler):
    """Puts each output into a queue, as a dict.

    The dict has the keys job_id, routine_id, output_type, data and timestamp (a datetime).
    """

    def __init__(self, queue: "queues.Queue[dict[str, Any]] | None" = None) -> None:
        self.queue: queues.Queue[dict[str, Any]] = queues.Queue() if queue is None else queue

    def handle(
        self,
        job_id: str,
        routine_id: str,
        output_type: str,
        data: dict[str, Any],
        timestamp: datetime | None = None,
    ) -> None:
        """Put one output into the queue; a bounded queue that is full blocks the sending handler."""
        self.queue.put(
            {
                "job_id": job_id,
                "routine_id": routine_id,
                "output_type": output_type,
                "data": data,
                "timestamp": timestamp or datetime.now(),
            }
        )

    def __repr__(self) -> str:
        try:
            return f"QueueOutputHandler({self.queue.qsize()} waiting)"
        except (AttributeError, NotImplementedError):  # there are queues that cannot be counted
            return f"QueueOutputHandler({type(self.queue).__name__})"


class CallbackOutputHandler(OutputHandler):
    """Calls `callback(job_id, routine_id, output_type, data, timestamp)` for each output."""

    def __init__(self, callback: Callable[[str, str, str, dict[str, Any], datetime], Any]) -> None:
        if not callable(callback):
            raise HandlerTypeError(
                f"CallbackOutputHandler needs a callable, not {callback!r}. "
                "Give a function of (job_id, routine_id, output_type, data, timestamp)."
            )
        kind = kind_of_unusable(callback)
        if kind:
            raise HandlerTypeError(
                f"CallbackOutputHandler needs a plain function, and {callback!r} is {kind}: calling it would run none "
                "of its lines. A plain one may hand the output to your loop with loop.call_soon_threadsafe(...)."
            )
        self.callback = callback

    def handle(
        self,
        job_id: str,
        routine_id: str,
        output_type: str,
        data: dict[str, Any],
        timestamp: datetime | None = None,
    ) -> None:
        """Call the callback."""
        self.callback(job_id, routine_id, output_type, data, timestamp or datetime.now())

    def __repr__(self) -> str:
        return f"CallbackOutputHandler({getattr(self.callback, '__qualname__', self.callback)!s})"


class NullOutputHandler(OutputHandler):
    """Discards every output; the run's `output_log` keeps them still."""

    def handle(
        self,
        job_id: str,
        routine_id: str,
        output_type: str,
        data: dict[str, Any],
        timestamp: datetime | None = None,
    ) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return "NullOutputHandler()"


def check_output_handler(handler: Any) -> None:
    """Raise unless something can take outputs.

    Raises:
        InvalidTypeError: It has no `handle` method.
    """
    if handler is not None and not callable(getattr(handler, "handle", None)):
        raise InvalidTypeError(
            "An output handler needs a method handle(job_id, routine_id, output_type, data, timestamp); "
            f"{handler!r} has none. Subclass OutputHandler, or wrap a function in CallbackOutputHandler."
        )


def hand_over(handler: OutputHandler, **output: Any) -> None:
    """Hand an output to a handler on this thread. What it raises becomes a warning: it must not stop the run.

    Args:
        handler: The application's.
        **output: The arguments of `OutputHandler.handle`.
    """
    token = delivering_output.set(True)
    try:
        handler.handle(**output)
    except Exception as error:  # noqa: BLE001 - application code
        _warn(f"Output handler failed: {type(error).__name__}: {text_of(error)} ({repr_of(handler)})")
    finally:
        delivering_output.reset(token)


def _warn(message: str) -> None:
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=4)
    except Exception:  # noqa: BLE001 - an application may make warnings errors, and show them by code of its own
        with contextlib.suppress(Exception):  # filters and handlers of logging are the application's, too
            logger.warning("%s", message)
