"""TaskPriority: which of a run's queued activations comes first."""

from enum import IntEnum
from typing import Any

from routilux.errors import UnknownNameError

__all__ = ["TaskPriority"]


class TaskPriority(IntEnum):
    """HIGH before NORMAL before LOW, first in first out within one."""

    HIGH = 1
    NORMAL = 2
    LOW = 3

    @classmethod
    def of(cls, value: Any) -> "TaskPriority":
        """The member for a value.

        Raises:
            ValueError: Unknown priority.
        """
        try:
            return cls(value)
        except ValueError:
            known = [f"{member.name} ({member.value})" for member in cls]
            raise UnknownNameError("priority", value, known) from None
