"""routilux: workflows that you import. Draw a Flow out of Routines, execute it, get back a JobState."""

import logging

from routilux.connection import Connection
from routilux.context import ExecutionContext
from routilux.error_handler import ErrorHandler, ErrorStrategy
from routilux.event import Event
from routilux.execution_tracker import ExecutionTracker
from routilux.flow.flow import Flow
from routilux.functions import FunctionRoutine
from routilux.job_state import ExecutionRecord, JobState
from routilux.output_handler import CallbackOutputHandler, NullOutputHandler, OutputHandler, QueueOutputHandler
from routilux.routine import Routine
from routilux.slot import Slot

__all__ = [
    "CallbackOutputHandler",
    "Connection",
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
    "Routine",
    "Slot",
    "__version__",
]

__version__ = "0.1.0"

# A library says nothing unless the application asks for it.
logging.getLogger(__name__).addHandler(logging.NullHandler())
