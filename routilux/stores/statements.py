"""Statements: the SQL files of a backend."""

import os
import re
from functools import cache

__all__ = ["migrations", "statements"]

_FOLDER = os.path.join(os.path.dirname(__file__), "sql")
_COMMENT = re.compile(r"^--(?! name:).*\n", re.MULTILINE)
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MIGRATION = re.compile(r"^(\d{4})_\w+\.sql$")


@cache
def statements(backend: str) -> dict[str, str]:
    """The statements of a backend by their names.

    Args:
        backend: The folder of its files below `sql/`.
    """
    parts = _NAME.split(_COMMENT.sub("", _text_of(backend, "statements.sql")))
    return {name: text.strip().rstrip(";") for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def migrations(backend: str) -> list[list[str]]:
    """What makes a backend's schema, version by version, beginning with the first: the statements of each."""
    files = sorted(name for name in os.listdir(os.path.join(_FOLDER, backend)) if _MIGRATION.match(name))
    return [[part.strip() for part in _text_of(backend, name).split(";\n") if part.strip()] for name in files]


def _text_of(backend: str, name: str) -> str:
    # Not `importlib.resources`, whose import costs a fifth of ours.
    with open(os.path.join(_FOLDER, backend, name), encoding="utf-8") as file:
        return file.read()
