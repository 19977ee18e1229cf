"""The flow and its engine: the drawing, its runs, and the threads that drive them."""

from routilux.flow.code_change import ResumeCheck
from routilux.flow.flow import Flow
from routilux.flow.stream import RunStream
from routilux.flow.task import SlotActivationTask, TaskPriority

__all__ = ["Flow", "ResumeCheck", "RunStream", "SlotActivationTask", "TaskPriority"]
