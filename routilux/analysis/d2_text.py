"""Writing D2 that is valid whatever the names are."""

import re
import unicodedata

__all__ = ["Block", "Keys", "quoted", "quoted_markdown"]

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "$": "\\$", "\t": "    "}

# Not to be shown: controls, half surrogate pairs, what no one has assigned, line ends of Unicode's own. Neither D2 nor
# the SVG that it makes can hold all of them.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Cn", "Co", "Zl", "Zp"})

# Characters that turn the reading direction of the text after them, and the byte order mark.
_TURNING = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF]))

# What may stand in a key. D2 hands keys to JavaScript inside backticks, so that `${...}` in one would be run there; and
# it refuses those that are much longer than this.
_KEY = re.compile(r"\w(?:[\w .:/-]{0,98}\w)?")

# Words that D2 reads as its own, some of them also between quotes.
_RESERVED = frozenset(
    {
        "class",
        "classes",
        "constraint",
        "desc",
        "direction",
        "filled",
        "height",
        "icon",
        "label",
        "layers",
        "left",
        "link",
        "near",
        "null",
        "scenarios",
        "shape",
        "source-arrowhead",
        "steps",
        "style",
        "target-arrowhead",
        "tooltip",
        "top",
        "vars",
        "width",
        "_",
    }
)


def quoted(text: str) -> str:
    """A text between double quotes. Characters that cannot be shown are written out, as Python writes them."""
    return '"' + "".join(_ESCAPES.get(c) or _shown(c) for c in text.replace("\r\n", "\n")) + '"'


def quoted_markdown(text: str) -> str:
    """`quoted` for a tooltip: D2 shows it as it is, but refuses it if it is Markdown with HTML that is not closed."""
    # A tag does not begin like this, and nobody sees it.
    return quoted(text.replace("<", "<\N{WORD JOINER}"))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN_CATEGORIES and character not in _TURNING:
        return character
    return "\\" + character.encode("unicode_escape").decode("ascii")


class Keys:
    """Keys for the shapes of one container: the names themselves, as far as D2 can tell them apart.

    D2 takes "Cart" and "cart" for the same, has words of its own, and not every character can stand in a key. Such a
    name gets a key like "routine 3"; the label of the shape shows the name.

    Args:
        kind: What is named.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._by_name: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        """The key of a name, quoted; the same one each time."""
        if name not in self._by_name:
            self._by_name[name] = self.another(name)
        return self._by_name[name]

    def another(self, name: str) -> str:
        """A key that nothing has, like this name where that is free."""
        number = len(self._by_name) + 1
        key = name if _KEY.fullmatch(name) and name.lower() not in _RESERVED else ""
        while not key or _folded(key) in self._taken:
            key = f"{self._kind} {number}"
            number += 1
        self._taken.add(_folded(key))
        return quoted(key)


def _folded(key: str) -> str:
    """The same for all keys that D2, or a person, could take for one another."""
    return unicodedata.normalize("NFKC", key.casefold())


class Block:
    """Lines of D2, indented by the braces that are open."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def add(self, line: str) -> None:
        """One line."""
        self._lines.append("  " * self._depth + line)

    def gap(self) -> None:
        """An empty line."""
        self._lines.append("")

    def open(self, head: str) -> None:
        """A line that opens a container."""
        self.add(f"{head} {{")
        self._depth += 1

    def close(self) -> None:
        """The end of the container that was opened last."""
        self._depth -= 1
        self.add("}")

    def text(self) -> str:
        """All of it."""
        return "\n".join(self._lines) + "\n"
