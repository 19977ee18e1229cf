"""The flow and its engine: the drawing, its runs, and the threads that drive them."""

from typing import TYPE_CHECKING

from routilux.flow.flow import Flow
from routilux.flow.stream import AsyncRunStream, RunStream
from routilux.flow.task import SlotActivationTask, TaskPriority

if TYPE_CHECKING:  # imported when it is first asked for; see `__getattr__`
    from routilux.flow.code_change import ResumeCheck

__all__ = ["AsyncRunStream", "Flow", "ResumeCheck", "RunStream", "SlotActivationTask", "TaskPriority"]

if not TYPE_CHECKING:  # a type checker that sees it takes every name to exist

    def __getattr__(name):
        """What few programs need, when it is asked for first (PEP 562)."""
        if name != "ResumeCheck":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from routilux.flow.code_change import ResumeCheck  # noqa: PLC0415 - as told

        return ResumeCheck
