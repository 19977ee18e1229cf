"""Blocks of code in Markdown text: ```json ... ``` and their like."""

import re
from typing import NamedTuple

__all__ = ["Block", "blocks_in"]

_FENCE = re.compile(r"^([ \t]*+)`{3,}|`{3,}", re.MULTILINE)
_REST_IS_BLANK = re.compile(r"[ \t\r]*+(?=\n|\Z)")
# The language behind an opening fence, also as ```{json}. Possessive quantifiers: nothing is tried twice.
_LANGUAGE = re.compile(r"[ \t]*+(?:\{[ \t]*+([\w+#.-]++)[ \t]*+\}|([\w+#.-]++)(?!\S))")


class Block(NamedTuple):
    """One block.

    Attributes:
        language: In lower case; empty where none is named.
        text: What stands in it, without the indent of its fence, and without blank lines before and behind it.
    """

    language: str
    text: str


class _Fence(NamedTuple):
    start: int
    end: int
    indent: str | None  # None where something stands before it on its line
    is_alone: bool  # nothing stands behind it on its line


def blocks_in(text: str) -> list[Block]:
    """The blocks of a text, in order. One that is not closed is none.

    A block that begins on a line of its own ends at the next fence that is alone on its line, so that the strings in
    it may have fences, unless another block begins before that. Otherwise it ends at the next fence. The time that it
    takes grows with the length of the text and not faster.
    """
    fences = _fences(text)
    closing = _closing(fences)
    blocks, index = [], 0
    while index + 1 < len(fences):
        opening = fences[index]
        named = _LANGUAGE.match(text, opening.end)
        language = (named[1] or named[2]).lower() if named else ""
        start = named.end() if named else opening.end
        end = closing[index + 1] if _REST_IS_BLANK.match(text, start) else index + 1
        blocks.append(Block(language, _trimmed(text[start : fences[end].start], opening.indent or "")))
        index = end + 1
    return blocks


def _fences(text: str) -> list[_Fence]:
    return [
        _Fence(found.start(), found.end(), found[1], _REST_IS_BLANK.match(text, found.end()) is not None)
        for found in _FENCE.finditer(text)
    ]


def _closing(fences: list[_Fence]) -> list[int]:
    """By the first fence behind an opening one: the fence that closes. Found from the end, each in one step."""
    closing = list(range(len(fences)))
    alone: int | None = None
    for index in range(len(fences) - 1, -1, -1):
        fence = fences[index]
        if fence.indent is not None:  # it begins its line: it closes, or opens another block
            alone = index if fence.is_alone else None
        closing[index] = index if alone is None else alone
    return closing


def _trimmed(text: str, indent: str) -> str:
    lines = text.split("\n")
    if indent:
        lines = [line.removeprefix(indent) for line in lines]
    if len(lines) == 1:
        return text.strip()
    filled = [index for index, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[filled[0] : filled[-1] + 1]).rstrip() if filled else ""
