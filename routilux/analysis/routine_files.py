"""RoutineAnalyzer: the routines that a source file defines, read without running it."""

import ast
import io
import os
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from routilux.analysis.class_source import base_is_routine, describe_class
from routilux.analysis.writing import JsonWriter
from routilux.errors import SourceFileError

__all__ = ["RoutineAnalyzer", "analyze_routine_file"]


# The warning filters are the process's: two threads that change them at once could leave them changed. Taken alone.
_filters_lock = Lock()


class RoutineAnalyzer(JsonWriter):
    """Reads source files. They are parsed, and neither imported nor run."""

    def analyze_file(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """The routines that a file defines, as `{"file_path": ..., "routines": [...]}`, in the order of the file.

        A class counts when one of its bases is written as `Routine` or ends in `.Routine`, nested classes as well.
        Whether that name means ours is not looked up, and a subclass of a subclass is not found.

        Each routine is a dict:

        - `name`, `qualified_name` (`"Outer.Inner"`), `docstring` or None, `line_number`
        - `slots`: dicts of `name`, `handler` (its name, or None), `merge_strategy`, `dynamic`, `line_number`; from the
          calls of `self.define_slot` in any method
        - `events`: dicts of `name`, `params` (also as `output_params`), `dynamic`, `line_number`; likewise
        - `config`: what the calls of `self.set_config` in `__init__` set
        - `dynamic_config`: those keys of it whose values are only known when the program runs
        - `methods`: dicts of `name`, `signature`, `docstring` or None, `is_async`, `decorators`, `line_number`

        What is only known when the program runs stands there as its source text: a slot's name `prefix + "_in"`, with
        `dynamic` True; a config value `os.sep`; `**DEFAULTS` as a key for the keys that it holds.

        Args:
            path: A Python file, in any encoding that it declares.

        Raises:
            FileNotFoundError: There is no such file.
            IsADirectoryError: It is a folder.
            ValueError: It is not Python; the message names the file and the line.
        """
        tree = _parsed(path)
        return {
            "file_path": os.fspath(path),
            "routines": [describe_class(node, name) for node, name in _classes(tree) if base_is_routine(node)],
        }


def analyze_routine_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """`RoutineAnalyzer().analyze_file(path)`."""
    return RoutineAnalyzer().analyze_file(path)


def _parsed(path: str | os.PathLike[str]) -> ast.Module:
    shown = os.fspath(path)
    if not os.path.exists(shown):  # noqa: PTH110 - a Path refuses some texts that a caller may have
        raise FileNotFoundError(f"There is no file {shown!r} to be analyzed.")
    if os.path.isdir(shown):  # noqa: PTH112 - as above
        raise IsADirectoryError(f"{shown!r} is a folder. Give a file to be analyzed, each of those in it by itself.")
    content = Path(path).read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
        # The warnings are for whoever runs the file. Raised as errors they would make it look broken.
        with _filters_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, filename=shown)
    except SyntaxError as error:
        # Without a number it is about the declared encoding, which stands at the head of the file.
        raise SourceFileError(shown, error.lineno or 1, error.msg) from error
    except UnicodeDecodeError as error:
        raise SourceFileError(shown, content.count(b"\n", 0, error.start) + 1, str(error)) from error
    except (RecursionError, MemoryError) as error:
        raise SourceFileError(shown, None, "it is nested too deeply") from error
    except (ValueError, LookupError) as error:  # NUL characters; a declared encoding that is not for text
        raise SourceFileError(shown, None, str(error)) from error


def _classes(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, str]]:
    """Every class with its qualified name, in the order of the file."""
    # With a stack of its own, because a file may be nested deeper than Python's.
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, prefix = waiting.pop()
        if isinstance(node, ast.ClassDef):
            yield node, f"{prefix}{node.name}"
            prefix = f"{prefix}{node.name}."
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            prefix = f"{prefix}{node.name}.<locals>."
        waiting.extend((child, prefix) for child in reversed(list(ast.iter_child_nodes(node))))
