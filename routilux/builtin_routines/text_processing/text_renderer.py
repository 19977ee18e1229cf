"""TextRenderer: writes data as tagged text, for a reader or a language model."""

from collections.abc import Iterable
from typing import Any

from routilux.builtin_routines.any_value import text_of_value, value_received
from routilux.plain import pairs_of
from routilux.registration import registered
from routilux.routine import Routine

__all__ = ["TextRenderer"]

_INDENT = "  "

# Each level costs two frames of Python's stack, and as many characters of indent on each of its lines.
_DEPTH_MAX = 100

# Containers that share their parts may hold more values than there are atoms, without holding themselves.
_VALUES_MAX = 1_000_000


@registered
class TextRenderer(Routine):
    """Renders dicts and lists as text with tags, or as Markdown.

    Slot `input`: any value: `data`, else the only value, else all that came as a dict.

    Event `output`: `rendered_text`, `original_type` (the name of the value's type).

    A dict becomes a line `<key>value</key>` for each key, a list or tuple `<item_0>value</item_0>` and so on; in
    Markdown `**key**: value` and `- value`. A container inside, unless it is empty, stands on the lines below its tag,
    each with one more indent; in Markdown the first line of an item stands behind its dash. Other values are written by
    `str`, and nothing is escaped: the text is meant to be read, not to be parsed.

    A container that holds itself is "[Circular Reference]" there. Containers below 100 levels are "[Too Deep]", and
    after 1,000,000 values each further container is "[Too Large]". A value that `str` cannot write is `<Type>`.

    Config:
        tag_format: "xml" or "markdown"; anything else counts as "xml".
        indent: The text that is put before each line, once for each level; two spaces.
        include_type_hints: False; without effect.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_slot = self.define_slot("input", handler=self.render)
        self.output_event = self.define_event("output", ["rendered_text", "original_type"])
        self.set_config(tag_format="xml", indent="  ", include_type_hints=False)

    def render(self, /, **received: Any) -> None:
        """The handler of `input`."""
        value, config = value_received(self, received), self.config()
        indent = config.get("indent")
        rendering = _Rendering(config.get("tag_format") == "markdown", indent if isinstance(indent, str) else _INDENT)
        self.emit("output", rendered_text=rendering.text_of(value), original_type=type(value).__name__)


class _Rendering:
    """One rendering: how it looks, which containers it is inside of, and how many values it has seen."""

    def __init__(self, is_markdown: bool, indent: str) -> None:
        self._is_markdown = is_markdown
        self._indent = indent
        self._open: set[int] = set()
        self._value_count = 0

    def text_of(self, value: Any) -> str:
        """The text of a whole value."""
        rendered = self._rendered(value, 0)
        return rendered if isinstance(rendered, str) else "\n".join(rendered)

    def _rendered(self, value: Any, level: int) -> str | list[str]:
        """What stands behind a tag, or the lines below it."""
        self._value_count += 1
        if not isinstance(value, dict | list | tuple):
            return text_of_value(value)
        if id(value) in self._open:
            return "[Circular Reference]"
        if level >= _DEPTH_MAX:
            return "[Too Deep]"
        if self._value_count > _VALUES_MAX:
            return "[Too Large]"
        pairs = _pairs(value)
        if pairs is None:
            return text_of_value(value)
        self._open.add(id(value))
        lines: list[str] = []
        for key, item in pairs:
            name, rendered = text_of_value(key), self._rendered(item, level + 1)
            if not self._is_markdown:
                lines += self._tagged(name, rendered, self._indent * level)
            elif isinstance(value, dict):
                lines += self._bold(name, rendered, self._indent * level)
            else:
                lines += self._dashed(rendered, level)
        self._open.discard(id(value))
        return lines

    def _tagged(self, name: str, rendered: str | list[str], before: str) -> list[str]:
        if isinstance(rendered, str) or not rendered:
            return [f"{before}<{name}>{rendered or ''}</{name}>"]
        return [f"{before}<{name}>", *rendered, f"{before}</{name}>"]

    def _bold(self, name: str, rendered: str | list[str], before: str) -> list[str]:
        if isinstance(rendered, str) or not rendered:
            return [f"{before}**{name}**: {rendered or ''}"]
        return [f"{before}**{name}**:", *rendered]

    def _dashed(self, rendered: str | list[str], level: int) -> list[str]:
        before = self._indent * level
        if isinstance(rendered, str) or not rendered:
            return [f"{before}- {rendered or ''}"]
        first, *others = rendered
        return [f"{before}- {first[len(self._indent) * (level + 1) :]}", *others]


def _pairs(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Names and values in a container, as it is now; None where its class does not tell them."""
    try:
        if isinstance(value, dict):
            return pairs_of(value)
        return [(f"item_{index}", item) for index, item in enumerate(tuple(value))]
    except Exception:  # noqa: BLE001 - a subclass of the application may raise anything
        return None
