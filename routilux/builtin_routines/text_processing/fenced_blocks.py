"""Blocks of code in Markdown text: ```json ... ``` and their like."""

import re
from typing import NamedTuple

__all__ = ["Block", "blocks_in"]

_FENCE = re.compile(r"^([ \t]*+)`{3,}|`{3,}", re.MULTILINE)
_REST_IS_BLANK = re.compile(r"[ \t\r]*+(?=\n|\Z)")
# The language behind an opening fence, also as ```{json}. Possessive quantifiers: nothing is tried twice.
_LANGUAGE = re.compile(r"[ \t]*+(?:\{[ \t]*+([\w+#.-]++)[ \t]*+\}|([\w+#.-]++)(?!\S))")
# What may stand behind the language: words, and `key=value` or {1,3} or {key=value}, which make it attributes.
_ATTRIBUTES = re.compile(
    r"""(?:[ \t]++(?:[\w.#:-]++(?:=(?:"[^"`\n]*+"|'[^'`\n]*+'|[^\s"'`{}]++))?"""
    r"""|\{(?:[\w\s.,#:-]|=(?:"[^"`\n]*+"|'[^'`\n]*+')?)*+\}))++[ \t\r]*+(?=\n)"""
)
_SHORTEST = 3


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
    length: int
    indent: str | None  # None where something stands before it on its line
    is_alone: bool  # nothing stands behind it on its line


class _Following(NamedTuple):
    any: int  # the next fence
    alone: int  # the one that closes a block which begins on a line of its own


def blocks_in(text: str) -> list[Block]:
    """The blocks of a text, in order. One that is not closed is none.

    A block that begins on a line of its own ends at the next fence that is alone on its line, so that the strings in
    it may have fences, unless another block begins before that. Otherwise it ends at the next fence. Within a fence of
    four ticks and more, shorter ones are text. What stands behind the language on a line of its own is dropped if it
    is attributes, such as `title="a.py"`. The time that it takes grows with the length of the text and not faster.
    """
    fences = _fences(text)
    closing = _closing_by_length(fences)
    blocks, index = [], 0
    while index + 1 < len(fences):
        opening = fences[index]
        following = closing[opening.length].get(index) or closing[_SHORTEST][index]
        named = _LANGUAGE.match(text, opening.end)
        language = (named[1] or named[2]).lower() if named else ""
        start = named.end() if named else opening.end
        if _REST_IS_BLANK.match(text, start):
            end = following.alone
        elif opening.indent is not None and (line_end := _end_of_attributes(text, start, fences[following.alone])):
            start, end = line_end, following.alone
        else:
            end = following.any
        blocks.append(Block(language, _trimmed(text[start : fences[end].start], opening.indent or "")))
        index = end + 1
    return blocks


def _fences(text: str) -> list[_Fence]:
    return [
        _Fence(
            found.start(),
            found.end(),
            found.end() - (found.start() if found[1] is None else found.end(1)),
            found[1],
            _REST_IS_BLANK.match(text, found.end()) is not None,
        )
        for found in _FENCE.finditer(text)
    ]


def _end_of_attributes(text: str, start: int, closing: _Fence) -> int:
    """The end of the line, where attributes stand there and code behind them; else 0."""
    attributes = _ATTRIBUTES.match(text, start)
    if attributes is None or not any(mark in attributes[0] for mark in "={"):
        return 0  # words alone may be what the block says
    return attributes.end() if text[attributes.end() : closing.start].strip() else 0


def _closing_by_length(fences: list[_Fence]) -> dict[int, dict[int, _Following]]:
    """By the length of an opening fence and its index: what closes it, of the fences that are no shorter.

    A fence is looked at once for each length up to its own that occurs, so not more often than it has characters.
    """
    found: dict[int, dict[int, _Following]] = {}
    long_enough = list(range(len(fences)))
    for length in sorted({_SHORTEST, *(fence.length for fence in fences)}):
        long_enough = [index for index in long_enough if fences[index].length >= length]
        closing = _closing([fences[index] for index in long_enough])
        found[length] = {
            index: _Following(long_enough[place], long_enough[closing[place]])
            for place, index in enumerate(long_enough[:-1], 1)
        }
    return found


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
