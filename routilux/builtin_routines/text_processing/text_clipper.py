"""TextClipper: shortens text at the end of a line, and says how much is missing."""

import re
import string
from typing import Any

from routilux.builtin_routines.any_value import text_of_value, value_received
from routilux.plain import pairs_of
from routilux.registration import registered
from routilux.routine import Routine

__all__ = ["TextClipper"]

_LENGTH = 1000
_MESSAGE = "...(省略了{remaining}行)"

# Where a dict keeps its text, the first that is there.
_TEXT_KEYS = ("text", "content", "message", "data")

# How a message may ask for its number: width and grouping. `str.format` can also walk into attributes, and make
# gigabytes of padding; a message may come from a file that somebody else has written.
_SAFE_SPECIFICATION = re.compile(r"(.?[<>=^])?0?\d{0,2}[,_]?d?")


@registered
class TextClipper(Routine):
    """Clips long text to whole lines and adds how many lines it dropped.

    Slot `input`: `text`, else `data`, else the only value, else all that came as a dict; optionally `max_length`, which
    then counts instead of the configured one. Of a dict it takes the first of text, content, message and data that
    is a str, else its first str, else `str` of the dict. A value that `str` cannot write is `<Type>`.

    Event `output`: `clipped_text`, `was_clipped`, `original_length` (characters).

    Text that has at most `max_length` characters is left as it is. Of longer text the first lines stay, as long as
    they have, each with its newline, fewer than `max_length` characters; then follows the message on a line of its
    own, so that the result may be longer than `max_length`.

    Config:
        max_length: Characters, a whole number; 1000. Anything else counts as 1000, a negative one as 0.
        preserve_tracebacks: Leave text with the word Traceback as it is; True.
        truncation_message: `{remaining}` stands for the number of dropped lines. A message that asks for anything
            else stands as it is written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_slot = self.define_slot("input", handler=self.clip)
        self.output_event = self.define_event("output", ["clipped_text", "was_clipped", "original_length"])
        self.set_config(max_length=1000, preserve_tracebacks=True, truncation_message="...(省略了{remaining}行)")

    def clip(self, /, **received: Any) -> None:
        """The handler of `input`."""
        wanted = received.pop("max_length", None)
        text = _text_in(received["text"] if "text" in received else value_received(self, received))
        config = self.config()
        length = _length(wanted, _length(config.get("max_length"), _LENGTH))
        is_kept = bool(config.get("preserve_tracebacks", True)) and "Traceback" in text
        was_clipped = len(text) > length and not is_kept
        clipped = _clipped(text, length, config.get("truncation_message")) if was_clipped else text
        self.emit("output", clipped_text=clipped, was_clipped=was_clipped, original_length=len(text))


def _length(value: Any, default: int) -> int:
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else default


def _text_in(value: Any) -> str:
    if isinstance(value, dict):
        held = _copy(value)
        candidates = [*(held.get(key) for key in _TEXT_KEYS), *held.values()]
        value = next((each for each in candidates if isinstance(each, str)), value)
    return text_of_value(value)


def _copy(value: dict[Any, Any]) -> dict[Any, Any]:
    try:
        return dict(pairs_of(value))
    except Exception:  # noqa: BLE001 - a subclass of the application may raise anything, and then tells nothing
        return {}


def _clipped(text: str, length: int, message: Any) -> str:
    lines = text.split("\n")
    kept, size = 0, 0
    for line in lines:
        size += len(line) + 1
        if size >= length:
            break
        kept += 1
    said = _message(message if isinstance(message, str) else _MESSAGE, len(lines) - kept)
    return "\n".join(lines[:kept]) + "\n" + said


def _message(message: str, remaining: int) -> str:
    try:
        for _, name, specification, conversion in string.Formatter().parse(message):
            if name is not None and (
                name != "remaining" or conversion or not _SAFE_SPECIFICATION.fullmatch(specification or "")
            ):
                return message
        return message.format(remaining=remaining)
    except ValueError:  # a single brace
        return message
