"""RoutineMarkdownFormatter: routines described in Markdown."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from routilux.analysis.formatting import BaseFormatter
from routilux.errors import InvalidValueError

__all__ = ["RoutineMarkdownFormatter"]

# What is markup anywhere; an underscore only at the edge of a word. Then what is markup only where a line begins.
_MARKUP = re.compile(r"([\\`*\[\]<|~&$#]|(?<![^\W_])_|_(?![^\W_])|^[-+>=])")
_NUMBERED = re.compile(r"^(\d+)([.)])")


Described = dict[str, Any]
Lines = Iterator[str]


class RoutineMarkdownFormatter(BaseFormatter):
    """Describes the routines of a source file: for each one its docstring, slots, events, config and methods.

    The text is GitHub's Markdown. What the source holds is shown as it stands there: none of it becomes markup.
    """

    def format(self, data: dict[str, Any]) -> str:
        """The page.

        Args:
            data: What `RoutineAnalyzer.analyze_file` returned.

        Raises:
            ValueError: Data that `analyze_file` has not made.
        """
        if "routines" not in data:
            raise InvalidValueError("The data have no 'routines': a page is made of what analyze_file returns.")
        return "\n".join(_page(data)) + "\n"


def _page(data: Described) -> Lines:
    yield f"# Routines of {_code(str(data.get('file_path', '')))}"
    if not data["routines"]:
        yield from ("", "This file defines no routine.")
    for routine in data["routines"]:
        yield from ("", f"## {_escaped(routine['name'])}", "")
        yield f"Line {routine['line_number']}"
        yield from _docstring(routine.get("docstring"))
        yield from _section("Slots", ("name", "handler", "merge strategy"), map(_slot_row, routine["slots"]))
        yield from _section("Events", ("name", "params"), map(_event_row, routine["events"]))
        yield from _section("Config", ("key", "value"), _config_rows(routine))
        yield from _section("Methods", ("name", "line", "about"), map(_method_row, routine["methods"]))


def _docstring(text: str | None) -> Lines:
    if not text or not text.strip():
        return
    summary, _, rest = text.strip().partition("\n\n")
    yield from ("", _escaped(summary))
    if rest.strip():
        # Its indented sections would be code or quotes in Markdown.
        fence = "`" * max(3, _longest_ticks(rest) + 1)
        yield from ("", f"{fence}text", rest.strip("\n"), fence)


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    rows = list(rows)
    if not rows:
        return
    yield from ("", f"### {title}", "", _row(head), _row(["---"] * len(head)))
    yield from map(_row, rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _slot_row(slot: Described) -> list[str]:
    return [_name_cell(slot), _code_cell(slot["handler"] or ""), _code_cell(slot["merge_strategy"] or "")]


def _event_row(event: Described) -> list[str]:
    return [_name_cell(event), ", ".join(map(_code_cell, event["params"]))]


def _name_cell(port: Described) -> str:
    return _code_cell(port["name"]) + (" (computed)" if port["dynamic"] else "")


def _config_rows(routine: Described) -> Iterator[list[str]]:
    dynamic = set(routine["dynamic_config"])
    for key, value in routine["config"].items():
        # An expression as it stands in the source; a value as JSON, so that the two look different.
        shown = str(value) if key in dynamic else json.dumps(value, ensure_ascii=False)
        yield [_code_cell(key), _code_cell(shown)]


def _method_row(method: Described) -> list[str]:
    head = "async " if method["is_async"] else ""
    about = (method["docstring"] or "").strip().split("\n\n")[0]
    return [_code_cell(f"{head}{method['name']}{method['signature']}"), str(method["line_number"]), _escaped(about)]


def _escaped(text: str) -> str:
    """A text on one line in which nothing is markup."""
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", " ".join(text.split())))


def _code(text: str) -> str:
    """A text on one line as code."""
    text = " ".join(text.splitlines())
    if not text.strip():
        return ""
    ticks = "`" * (_longest_ticks(text) + 1)
    # The spaces keep a backtick at the edge from joining the others; a reader takes one away at each side.
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _code_cell(text: str) -> str:
    # A table is cut at its pipes before its code is looked at.
    return _code(text).replace("|", "\\|")


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
