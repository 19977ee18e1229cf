"""The flow and its engine: the drawing, its runs, and the threads that drive them."""

from routilux.flow.flow import Flow
from routilux.flow.task import SlotActivationTask, TaskPriority

__all__ = ["Flow", "SlotActivationTask", "TaskPriority"]
