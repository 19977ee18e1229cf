"""What every formatter has in common."""

import os
from abc import ABC, abstractmethod
from typing import Any

from routilux.analysis.writing import write_text

__all__ = ["BaseFormatter"]


class BaseFormatter(ABC):
    """Makes text of what an analyzer returned. A subclass defines `format`."""

    @abstractmethod
    def format(self, data: dict[str, Any]) -> str:
        """The text. `data` is left as it is."""

    def save(self, data: dict[str, Any], path: str | os.PathLike[str]) -> None:
        """Write the text into a file, in UTF-8; folders are made."""
        write_text(path, self.format(data))
