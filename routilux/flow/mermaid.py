"""Mermaid: a flow as a flowchart in text, which many Markdown viewers show as a picture."""

from collections.abc import Iterator

from routilux.errors import UnknownNameError
from routilux.flow.graph import FlowGraph, Line

__all__ = ["mermaid_of"]

DIRECTIONS = ("LR", "RL", "TB", "TD", "BT")

# What an event is called that needs no name in the picture.
PLAIN_EVENT = "output"


def mermaid_of(graph: FlowGraph, direction: str = "LR") -> str:
    """The text of a flowchart, without a newline at its end.

    Each routine is a box with its id and its class; entry points have round ends and a thick border. A line says
    "event → slot {name → new name}", without what goes without saying: a slot that is the routine's only one or is
    called as the event, and an event called "output" that is the routine's only one.

    Order and names of the boxes are those of drawing. Names may be any text: all but letters, digits, and single
    spaces, hyphens and underscores between them are written as character codes.

    Raises:
        ValueError: Another direction than LR, RL, TB, TD or BT.
    """
    if direction not in DIRECTIONS:
        raise UnknownNameError("direction", direction, DIRECTIONS)
    return "\n".join([f"flowchart {direction}", *(f"    {line}" for line in _statements(graph))])


def _statements(graph: FlowGraph) -> Iterator[str]:
    # Not the routines' ids: a word such as `end` or `graph` would be read as Mermaid's.
    keys = {routine_id: f"n{number}" for number, routine_id in enumerate(graph.nodes, 1)}
    for node in graph.nodes.values():
        label = f'"{_escaped(node.id)}<br/>{_escaped(node.class_name)}"'
        yield f"{keys[node.id]}([{label}])" if node.is_entry else f"{keys[node.id]}[{label}]"
    for line in graph.lines:
        label = _label(graph, line)
        arrow = f'-->|"{label}"|' if label else "-->"
        yield f"{keys[line.source_id]} {arrow} {keys[line.target_id]}"
    entries = [keys[routine_id] for routine_id in graph.entry_points]
    if entries:
        yield "classDef entry stroke-width:3px"
        yield f"class {','.join(entries)} entry"


def _label(graph: FlowGraph, line: Line) -> str:
    is_slot_plain = line.slot == line.event or len(graph.nodes[line.target_id].slots) == 1
    is_event_plain = line.event == PLAIN_EVENT and len(graph.nodes[line.source_id].events) == 1
    mapping = ", ".join(f"{_escaped(old)} → {_escaped(new)}" for old, new in line.param_mapping.items())
    if is_slot_plain and is_event_plain and not mapping:
        return ""
    slot = "" if is_slot_plain else f" → {_escaped(line.slot)}"
    return f"{_escaped(line.event)}{slot}" + (f" {{{mapping}}}" if mapping else "")


def _escaped(text: object) -> str:
    """A name that Mermaid shows as it is: nothing in it is syntax, HTML, Markdown, a link, a formula or an icon.

    A character code ends with a semicolon and is read by Mermaid before anything else. Spaces, hyphens and underscores
    between letters and digits are harmless, and make the text readable; elsewhere they could be a list or an emphasis.
    """
    name = f" {text} "
    codes = (
        char if char.isalnum() or (char in " -_" and before.isalnum() and after.isalnum()) else _code(char)
        for before, char, after in zip(name, name[1:], name[2:], strict=False)
    )
    # Mermaid 11 takes a whole line away in which `direction TB` stands, between quotes or not.
    return "".join(codes).replace("direction ", "direction#32;")


def _code(char: str) -> str:
    # Once the codes are read, Mermaid looks for `$$formula$$`, `fa:icon` and `\\n`: a space of no width breaks them.
    return f"#{ord(char)};#8203;" if char in "$:\\" else f"#{ord(char)};"
