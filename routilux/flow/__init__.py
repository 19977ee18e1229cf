"""The flow and its engine: the drawing, its runs, and the threads that drive them."""

from routilux.flow.code_change import ResumeCheck
from routilux.flow.flow import Flow
from routilux.flow.stream import AsyncRunStream, RunStream
from routilux.flow.task import SlotActivationTask, TaskPriority

__all__ = ["AsyncRunStream", "Flow", "ResumeCheck", "RunStream", "SlotActivationTask", "TaskPriority"]
