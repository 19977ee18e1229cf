"""How results are written: as JSON, and into files."""

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["JsonWriter", "write_text"]


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8, whatever the text, and make the folders that it needs."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name may hold half a surrogate pair, which UTF-8 has no bytes for.
    target.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


class JsonWriter:
    """Writes results as JSON."""

    def to_json(self, data: dict[str, Any], indent: int | None = 2) -> str:
        """A result as JSON, in ASCII.

        Args:
            data: What an analyzer returned.
            indent: Spaces per level; None for one line.
        """
        return json.dumps(data, indent=indent)

    def save_json(self, data: dict[str, Any], path: str | os.PathLike[str]) -> None:
        """Write a result as JSON into a file; folders are made."""
        write_text(path, self.to_json(data) + "\n")
