"""FlowGraph: what is drawn, as plain values; every check, picture and report of a flow reads it."""

import inspect
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from routilux.event import Event
from routilux.flow.wiring import Wiring
from routilux.slot import Slot

if TYPE_CHECKING:  # what is read
    from routilux.routine import Routine

__all__ = ["EventNode", "FlowGraph", "FlowNode", "Line", "SlotNode", "ports_of", "read_graph"]

# A routine that has it can be executed.
ENTRY_SLOT = "trigger"


class SlotNode(NamedTuple):
    """A slot: its name, its handler's name or None, and what the handler can be given.

    Attributes:
        merge_strategy: Its name, or that of a function.
        required: The parameters that the handler cannot do without.
        optional: Its others.
        takes_everything: Whether any data suit it: it has `**kwargs`, or at most one parameter.
        takes_keywords: Whether it has `**kwargs`: then it gets everything by keyword, and `required` must be there.
        merges_by_function: Whether the merge strategy is a function, which may bring any names.
        broken: Why every delivery is certain to fail; mostly "".
    """

    name: str
    handler: str | None
    merge_strategy: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    takes_everything: bool = True
    takes_keywords: bool = False
    merges_by_function: bool = False
    broken: str = ""


class EventNode(NamedTuple):
    """An event: its name, and the names that its author says it carries."""

    name: str
    output_params: tuple[str, ...]


class FlowNode(NamedTuple):
    """A routine as it stands in the flow."""

    id: str
    class_name: str
    slots: tuple[SlotNode, ...]
    events: tuple[EventNode, ...]

    @property
    def is_entry(self) -> bool:
        """Whether `Flow.execute` may begin here."""
        return any(slot.name == ENTRY_SLOT for slot in self.slots)


class Line(NamedTuple):
    """From an event to a slot, with the names that change on the way."""

    source_id: str
    event: str
    target_id: str
    slot: str
    param_mapping: dict[str, str]


class FlowGraph:
    """The routines of a flow and the lines between them, at one instant.

    It does not follow later changes of the flow. It keeps the order in which things were drawn.

    Attributes:
        flow_id: The flow's.
        nodes: By routine id.
        lines: From each event to each slot, as an emission would go: also slots that were connected without a
            Connection.
        lines_out: Those that an emission would go as well, and that end at a routine which the flow does not have.
    """

    def __init__(
        self, flow_id: str, nodes: Iterable[FlowNode], lines: Iterable[Line], lines_out: Iterable[Line] = ()
    ) -> None:
        self.flow_id = flow_id
        self.nodes = {node.id: node for node in nodes}
        self.lines = tuple(lines)
        self.lines_out = tuple(lines_out)
        # Dicts for sets that keep the order of drawing.
        self._after: dict[str, dict[str, None]] = {routine_id: {} for routine_id in self.nodes}
        self._before: dict[str, dict[str, None]] = {routine_id: {} for routine_id in self.nodes}
        self._lines_from: dict[str, list[Line]] = {routine_id: [] for routine_id in self.nodes}
        self._lines_to: dict[str, list[Line]] = {routine_id: [] for routine_id in self.nodes}
        for line in self.lines:
            self._after[line.source_id][line.target_id] = None
            self._before[line.target_id][line.source_id] = None
            self._lines_from[line.source_id].append(line)
            self._lines_to[line.target_id].append(line)

    @property
    def entry_points(self) -> list[str]:
        """The routines that `Flow.execute` may begin with."""
        return [node.id for node in self.nodes.values() if node.is_entry]

    def downstream(self, routine_id: str) -> list[str]:
        """Who hears a routine."""
        return list(self._after[routine_id])

    def upstream(self, routine_id: str) -> list[str]:
        """Whom a routine hears."""
        return list(self._before[routine_id])

    def lines_from(self, routine_id: str, event: str | None = None) -> list[Line]:
        """The lines that leave a routine, or one of its events."""
        return [line for line in self._lines_from.get(routine_id, ()) if event in (None, line.event)]

    def lines_to(self, routine_id: str, slot: str | None = None) -> list[Line]:
        """The lines that reach a routine, or one of its slots."""
        return [line for line in self._lines_to.get(routine_id, ()) if slot in (None, line.slot)]

    def reachable(self, start: Iterable[str] | None = None) -> set[str]:
        """What can be reached from some routines, themselves included; from the entry points by default."""
        waiting = list(self.entry_points if start is None else start)
        found = set(waiting)
        while waiting:
            for after in self._after[waiting.pop()]:
                if after not in found:
                    found.add(after)
                    waiting.append(after)
        return found

    def cycles(self) -> list[list[str]]:
        """The groups of routines that can reach themselves: its strongly connected components, in drawing order.

        Source: Tarjan, "Depth-first search and linear graph algorithms", 1972; with a stack of its own, because a
        chain may be longer than Python's.
        """
        order = {routine_id: index for index, routine_id in enumerate(self.nodes)}
        groups = [sorted(group, key=order.__getitem__) for group in self._components()]
        loops = [group for group in groups if len(group) > 1 or group[0] in self._after[group[0]]]
        return sorted(loops, key=lambda group: order[group[0]])

    def _components(self) -> Iterator[list[str]]:
        index: dict[str, int] = {}
        low: dict[str, int] = {}
        path: list[str] = []
        on_path: set[str] = set()
        for root in self.nodes:
            if root in index:
                continue
            visits = [(root, iter(self._after[root]))]
            index[root] = low[root] = len(index)
            path.append(root)
            on_path.add(root)
            while visits:
                here, rest = visits[-1]
                for after in rest:
                    if after not in index:
                        index[after] = low[after] = len(index)
                        path.append(after)
                        on_path.add(after)
                        visits.append((after, iter(self._after[after])))
                        break
                    if after in on_path:
                        low[here] = min(low[here], index[after])
                else:
                    visits.pop()
                    if visits:
                        parent = visits[-1][0]
                        low[parent] = min(low[parent], low[here])
                    if low[here] == index[here]:
                        yield _cut_off(path, here, on_path)


def _cut_off(path: list[str], first: str, on_path: set[str]) -> list[str]:
    group: list[str] = []
    while not group or group[-1] != first:
        group.append(path.pop())
    on_path.difference_update(group)
    return group


def read_graph(flow_id: str, routines: "dict[str, Routine]", owner: object) -> FlowGraph:
    """The graph of a flow, as it is drawn now. `owner` stands in the connections that the flow has drawn.

    No method of a routine is called: subclasses may override them all.
    """
    routines = dict(routines)
    # The engine's own reading of the drawing: a picture must not show what an emission would not do.
    lines = list(_lines(Wiring(routines, owner), routines))
    return FlowGraph(
        flow_id,
        [_node(routine_id, routine) for routine_id, routine in routines.items()],
        [line for line in lines if line.target_id in routines],
        [line for line in lines if line.target_id not in routines],
    )


def _lines(wiring: Wiring, routines: "dict[str, Routine]") -> Iterator[Line]:
    for routine_id, routine in routines.items():
        node = wiring.node(routine_id)
        for name, event in ports_of(routine, "_events").items():
            for delivery in wiring.deliveries(node, name, event):
                port = delivery.port
                yield Line(routine_id, name, port.node.id, port.slot.name, dict(delivery.mapping or {}))


def ports_of(routine: object, kind: str) -> dict[str, Any]:
    """A copy of the `_slots` or `_events` of a routine; empty where it has none, because it was never initialised."""
    found = getattr(routine, "__dict__", {}).get(kind)
    ports = found.copy() if isinstance(found, dict) else {}
    return {name: port for name, port in ports.items() if isinstance(port, Slot | Event)}


def _node(routine_id: str, routine: object) -> FlowNode:
    slots = tuple(_slot(name, slot) for name, slot in ports_of(routine, "_slots").items())
    events = tuple(EventNode(name, _names(event)) for name, event in ports_of(routine, "_events").items())
    return FlowNode(routine_id, type(routine).__name__, slots, events)


def _names(event: Event) -> tuple[str, ...]:
    params: object = event.output_params  # the application may have assigned anything
    return tuple(each for each in params if isinstance(each, str)) if isinstance(params, list | tuple) else ()


def _slot(name: str, slot: Slot) -> SlotNode:
    merge, handler = slot.merge_strategy, slot.handler
    is_function = not isinstance(merge, str)
    node = SlotNode(name, None, _name_of(merge), merges_by_function=is_function, broken=_broken_merge(merge))
    if handler is None:
        return node
    parameters = _parameters(handler)
    required, optional, takes_keywords = _wanted(parameters)
    return node._replace(
        handler=_name_of(handler),
        required=required,
        optional=optional,
        # One parameter gets the whole dict when its name is not in the data, and one called `data` always.
        takes_everything=takes_keywords or len(required) + len(optional) <= 1,
        takes_keywords=takes_keywords,
        broken=_broken_handler(_name_of(handler), parameters) or node.broken,
    )


def _name_of(value: object) -> str:
    # Not its `repr`, which is the application's code.
    return value if isinstance(value, str) else str(getattr(value, "__name__", type(value).__name__))


def _parameters(handler: object) -> list[inspect.Parameter]:
    """The parameters of a callable; those of `*args` where they cannot be read."""
    try:
        return list(inspect.signature(handler).parameters.values())  # type: ignore[arg-type]  # or else a TypeError
    except Exception:  # noqa: BLE001 - some callables of C have none, and `__signature__` is the application's code
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]


def _wanted(parameters: list[inspect.Parameter]) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """The names that a handler needs, those that it may be given besides, and whether it has `**kwargs`."""
    kind = inspect.Parameter
    named = [p for p in parameters if p.kind not in (kind.VAR_POSITIONAL, kind.VAR_KEYWORD)]
    required = tuple(p.name for p in named if p.default is kind.empty)
    optional = tuple(p.name for p in named if p.default is not kind.empty)
    return required, optional, any(p.kind is kind.VAR_KEYWORD for p in parameters)


def _broken_handler(name: str, parameters: list[inspect.Parameter]) -> str:
    kind = inspect.Parameter
    leading = [p.name for p in parameters if p.kind is kind.POSITIONAL_ONLY and p.default is kind.empty]
    if leading and any(p.kind is kind.VAR_KEYWORD for p in parameters):
        return (
            f"The handler {name!r} has **kwargs and so is given everything by keyword, but takes "
            f"{', '.join(map(repr, leading))} by position only."
        )
    return ""


def _broken_merge(merge: object) -> str:
    if isinstance(merge, str):
        return ""
    kind = inspect.Parameter
    parameters = _parameters(merge)
    positional = [p for p in parameters if p.kind in (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD)]
    takes_more = any(p.kind is kind.VAR_POSITIONAL for p in parameters)
    needed = [p for p in positional if p.default is kind.empty]
    needs_keyword = any(p.kind is kind.KEYWORD_ONLY and p.default is kind.empty for p in parameters)
    if len(needed) > 2 or needs_keyword or (len(positional) < 2 and not takes_more):
        return f"The merge strategy {_name_of(merge)!r} cannot be called with two arguments, (old, new)."
    return ""
