"""FlowGraph: what is drawn, as plain values; every check, picture and report of a flow reads it."""

import inspect
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from routilux.flow.wiring import Wiring

if TYPE_CHECKING:  # what is read
    from routilux.routine import Routine
    from routilux.slot import Slot

__all__ = ["EventNode", "FlowGraph", "FlowNode", "Line", "SlotNode", "read_graph"]

# A routine that has it can be executed.
ENTRY_SLOT = "trigger"


class SlotNode(NamedTuple):
    """A slot: its name, its handler's name or None, and what the handler can be given."""

    name: str
    handler: str | None
    merge_strategy: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    takes_everything: bool = True


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
    """

    def __init__(self, flow_id: str, nodes: Iterable[FlowNode], lines: Iterable[Line]) -> None:
        self.flow_id = flow_id
        self.nodes = {node.id: node for node in nodes}
        self.lines = tuple(lines)
        # Dicts for sets that keep the order of drawing.
        self._after: dict[str, dict[str, None]] = {routine_id: {} for routine_id in self.nodes}
        self._before: dict[str, dict[str, None]] = {routine_id: {} for routine_id in self.nodes}
        for line in self.lines:
            self._after[line.source_id][line.target_id] = None
            self._before[line.target_id][line.source_id] = None

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
        return [line for line in self.lines if line.source_id == routine_id and event in (None, line.event)]

    def lines_to(self, routine_id: str, slot: str | None = None) -> list[Line]:
        """The lines that reach a routine, or one of its slots."""
        return [line for line in self.lines if line.target_id == routine_id and slot in (None, line.slot)]

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
    """The graph of a flow, as it is drawn now. `owner` stands in the connections that the flow has drawn."""
    routines = dict(routines)
    return FlowGraph(
        flow_id,
        [_node(routine_id, routine) for routine_id, routine in routines.items()],
        # The engine's own reading of the drawing: a picture must not show what an emission would not do.
        _lines(Wiring(routines, owner), routines),
    )


def _lines(wiring: Wiring, routines: "dict[str, Routine]") -> Iterator[Line]:
    for routine_id, routine in routines.items():
        for event in list(routine._events):
            for delivery in wiring.wired(wiring.node(routine_id), event).deliveries:
                target = delivery.port.node.id
                if target in routines:
                    yield Line(routine_id, event, target, delivery.port.slot.name, dict(delivery.mapping or {}))


def _node(routine_id: str, routine: "Routine") -> FlowNode:
    slots = tuple(_slot(name, slot) for name, slot in list(routine._slots.items()))
    events = tuple(EventNode(name, tuple(event.output_params)) for name, event in list(routine._events.items()))
    return FlowNode(routine_id, type(routine).__name__, slots, events)


def _slot(name: str, slot: "Slot") -> SlotNode:
    merge = slot.merge_strategy
    strategy = merge if isinstance(merge, str) else getattr(merge, "__name__", repr(merge))
    if slot.handler is None:
        return SlotNode(name, None, strategy)
    return SlotNode(name, getattr(slot.handler, "__name__", repr(slot.handler)), strategy, *_wanted(slot.handler))


def _wanted(handler: object) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """The names that a handler needs, those that it may be given, and whether it can take all the data as they are."""
    if not callable(handler):
        return (), (), True
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):  # some callables of C have none
        return (), (), True
    kind = inspect.Parameter
    named = [p for p in parameters if p.kind not in (kind.VAR_POSITIONAL, kind.VAR_KEYWORD)]
    required = tuple(p.name for p in named if p.default is kind.empty)
    optional = tuple(p.name for p in named if p.default is not kind.empty)
    takes_keywords = any(p.kind is kind.VAR_KEYWORD for p in parameters)
    # One parameter gets the whole dict when its name is not in the data, and one called `data` always.
    return required, optional, takes_keywords or len(named) <= 1
