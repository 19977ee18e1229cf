"""XML as data, with the standard library and without entities."""

from typing import Any
from xml.parsers import expat

__all__ = ["parsed_xml"]

_DEPTH_MAX = 100


def parsed_xml(text: str) -> dict[str, Any]:
    """The data that a text is in XML: `{name of the root: its content}`.

    The content of an element without attributes and children is its text. Of any other it is a dict: attributes as
    "@name", children by name (a list, where several have the same name), and its text, if it has some, as "#text".
    White space around text is left out.

    Entities are declared in a DOCTYPE, and a few lines of them stand for billions of characters, or for files of this
    machine. So text with a declaration of either kind is refused before it reaches the parser.

    Raises:
        ValueError: It is no XML, has a DOCTYPE or an ENTITY, or is nested more than 100 levels deep.
    """
    text = text.strip()
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("XML with a DOCTYPE or an ENTITY is not parsed: entities could expand without end.")
    reading = _Reading()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reading.begin
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.add_text
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {error}") from error
    return reading.root.children


class _Element:
    """An element that is being read; its children are content already."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.children: dict[str, Any] = {f"@{key}": value for key, value in attributes.items()}
        self.texts: list[str] = []
        self.repeated: set[str] = set()

    def add(self, name: str, content: Any) -> None:
        if name not in self.children:
            self.children[name] = content
        elif name in self.repeated:
            self.children[name].append(content)
        else:
            self.repeated.add(name)
            self.children[name] = [self.children[name], content]

    def content(self) -> Any:
        text = "".join(self.texts).strip()
        if not self.children:
            return text
        return {**self.children, "#text": text} if text else self.children


class _Reading:
    """What expat calls. It keeps the open elements itself, so that no depth can exhaust Python's stack."""

    def __init__(self) -> None:
        self.root = _Element("", {})
        self._open = [self.root]

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > _DEPTH_MAX:
            raise ValueError(f"XML that is nested more than {_DEPTH_MAX} levels deep is not parsed.")
        self._open.append(_Element(name, attributes))

    def end(self, _name: str) -> None:
        element = self._open.pop()
        self._open[-1].add(element.name, element.content())

    def add_text(self, text: str) -> None:
        self._open[-1].texts.append(text)
