"""routilux: workflows that you import. Draw a Flow out of Routines, execute it, get back a JobState."""

import logging
from typing import TYPE_CHECKING

from routilux.connection import Connection
from routilux.context import ExecutionContext
from routilux.error_handler import ErrorHandler, ErrorStrategy
from routilux.event import Event
from routilux.execution_tracker import ExecutionTracker
from routilux.flow.flow import Flow
from routilux.functions import FunctionRoutine
from routilux.job_state import ExecutionRecord, JobState
from routilux.output_handler import CallbackOutputHandler, NullOutputHandler, OutputHandler, QueueOutputHandler
from routilux.registration import BUILTIN_NAMES, load_builtins
from routilux.routine import Routine
from routilux.slot import Slot

if TYPE_CHECKING:  # they are imported when they are first asked for; see `__getattr__`
    from routilux.builtin_routines import (
        ConditionalRouter,
        DataFlattener,
        DataTransformer,
        DataValidator,
        ResultExtractor,
        TextClipper,
        TextRenderer,
        TimeProvider,
    )

__all__ = [
    "CallbackOutputHandler",
    "ConditionalRouter",
    "Connection",
    "DataFlattener",
    "DataTransformer",
    "DataValidator",
    "ErrorHandler",
    "ErrorStrategy",
    "Event",
    "ExecutionContext",
    "ExecutionRecord",
    "ExecutionTracker",
    "Flow",
    "FunctionRoutine",
    "JobState",
    "NullOutputHandler",
    "OutputHandler",
    "QueueOutputHandler",
    "ResultExtractor",
    "Routine",
    "Slot",
    "TextClipper",
    "TextRenderer",
    "TimeProvider",
    "__version__",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a type checker that sees it takes every name to exist

    def __getattr__(name):
        """A built-in routine, or their module, that nobody has asked for before (PEP 562)."""
        if name == "builtin_routines":
            return load_builtins()
        if name not in BUILTIN_NAMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(load_builtins(), name)
        return found


def __dir__() -> list[str]:
    """The names that are there, and those that come when they are asked for."""
    return sorted({*globals(), *__all__, "builtin_routines"})


# A library says nothing unless the application asks for it.
logging.getLogger(__name__).addHandler(logging.NullHandler())
