"""Checks: what cannot work in a drawing, or is not what its author can have meant, found before it runs."""

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Literal, NamedTuple

from routilux.flow.graph import ENTRY_SLOT, FlowGraph, FlowNode, Line, SlotNode

__all__ = ["SEVERITIES", "Finding", "Severity", "check_graph", "found", "sorted_findings"]

Severity = Literal["error", "warning", "info"]

# "error": certain to fail. "warning": it runs, and is hardly meant. "info": worth knowing, often meant.
SEVERITIES: dict[str, Severity] = {
    "missing-trigger": "error",
    "not-a-routine": "error",
    "unusable-slot": "error",
    "unreachable-routine": "warning",
    "unfed-slot": "warning",
    "slot-without-handler": "warning",
    "unknown-source-name": "warning",
    "unknown-target-name": "warning",
    "unfilled-parameter": "warning",
    "stray-connection": "warning",
    "unheard-event": "info",
    "cycle-without-exit": "info",
    "mapping-collision": "info",
    "line-out-of-flow": "info",
    "shadowed-id": "info",
    "unregistered-class": "info",
    "constructor-arguments": "info",
    "unsavable-handler": "info",
    "unsavable-config": "info",
}


class Finding(NamedTuple):
    """Something in a drawing that a check has found.

    Attributes:
        code: Which check; it stays the same from version to version.
        severity: "error": certain to fail. "warning": it runs, and is hardly meant. "info": worth knowing.
        where: The routine, "routine.slot" or "routine.event -> routine.slot".
        message: What is wrong there.
        advice: What to do.
    """

    code: str
    severity: Severity
    where: str
    message: str
    advice: str

    def __str__(self) -> str:
        where = self.where if self.where.isprintable() else repr(self.where)  # one line, whatever a routine is called
        return f"{self.severity}: {where}: {self.message} {self.advice} [{self.code}]"


def found(code: str, where: str, message: str, advice: str, severity: Severity | None = None) -> Finding:
    """A finding, with the severity of its code unless it is said."""
    return Finding(code, severity or SEVERITIES[code], where, message, advice)


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """The errors, then the warnings, then the rest."""
    order = ["error", "warning", "info"]
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def check_graph(graph: FlowGraph) -> list[Finding]:
    """What the graph alone can tell."""
    drawing = _Drawing(graph)
    return [finding for check in _CHECKS for finding in check(drawing)]


class _Drawing:
    """A graph, and what several checks ask of it."""

    def __init__(self, graph: FlowGraph) -> None:
        self.graph = graph
        self.nodes = list(graph.nodes.values())
        self.slots = {(node.id, slot.name): slot for node in self.nodes for slot in node.slots}
        self.params = {(node.id, event.name): event.output_params for node in self.nodes for event in node.events}
        self.fed = {(line.target_id, line.slot) for line in graph.lines}
        self.heard = {(line.source_id, line.event) for line in (*graph.lines, *graph.lines_out)}
        # A routine without slots can only be made to emit from outside: with its events, a flow begins as well.
        sources = {routine_id for routine_id, _ in self.heard}
        outside = [node.id for node in self.nodes if not node.slots and node.id in sources]
        self.reached = graph.reachable([*graph.entry_points, *outside])

    def receives(self, node: FlowNode, slot: SlotNode) -> bool:
        """Whether a run can deliver anything to a slot."""
        return node.id in self.reached and ((node.id, slot.name) in self.fed or slot.name == ENTRY_SLOT)

    def lines_with_slots(self) -> Iterator[tuple[Line, SlotNode]]:
        """The lines, each with the slot where it ends, as far as the routine still has it."""
        for line in self.graph.lines:
            slot = self.slots.get((line.target_id, line.slot))
            if slot is not None:
                yield line, slot


def _missing_trigger(drawing: _Drawing) -> Iterator[Finding]:
    graph = drawing.graph
    if graph.entry_points:
        return
    first = next((node.id for node in drawing.nodes if not graph.upstream(node.id)), None)
    whose = f"the routine where runs begin, perhaps {first!r}" if first is not None else "the routine where runs begin"
    yield found(
        "missing-trigger",
        graph.flow_id,
        "No routine has a slot 'trigger', so nothing can be executed.",
        f"Call define_slot('trigger', handler=...) on {whose}: execute(routine_id, params) delivers params there.",
    )


def _unreachable(drawing: _Drawing) -> Iterator[Finding]:
    if not drawing.graph.entry_points:
        return
    for node in drawing.nodes:
        if node.id in drawing.reached:
            continue
        if node.slots:
            slots = ", ".join(repr(slot.name) for slot in node.slots)
            advice = f"Connect an event to one of its slots ({slots}), or give it a slot 'trigger' to begin there."
        else:
            advice = "Give it a slot, and connect an event to that."
        yield found(
            "unreachable-routine", node.id, "No line leads to it from an entry point, so it never runs.", advice
        )


def _unfed(drawing: _Drawing) -> Iterator[Finding]:
    for node in drawing.nodes:
        for slot in node.slots:
            if slot.name == ENTRY_SLOT or node.id not in drawing.reached or (node.id, slot.name) in drawing.fed:
                continue
            # A routine that is executed directly may have slots for other flows, where it stands in the middle.
            yield found(
                "unfed-slot",
                f"{node.id}.{slot.name}",
                "No event is connected to this slot, so it never receives anything.",
                f"Connect it: connect(routine_id, event, {node.id!r}, {slot.name!r}).",
                "info" if node.is_entry else None,
            )


def _unheard(drawing: _Drawing) -> Iterator[Finding]:
    for node in drawing.nodes:
        names = [event.name for event in node.events]
        unheard = [name for name in names if (node.id, name) not in drawing.heard]
        # A routine of which nothing is heard stands at an end of the flow, and it has to end somewhere.
        if len(unheard) < len(names):
            for name in unheard:
                yield found(
                    "unheard-event",
                    f"{node.id}.{name}",
                    "No slot is connected to this event, while others of the routine are heard: its data go nowhere.",
                    f"If somebody needs them: connect({node.id!r}, {name!r}, routine_id, slot).",
                )


def _unusable(drawing: _Drawing) -> Iterator[Finding]:
    for node in drawing.nodes:
        for slot in node.slots:
            if not drawing.receives(node, slot):
                continue
            where = f"{node.id}.{slot.name}"
            if slot.broken:
                advice = "Every delivery would fail. Change its parameters."
                yield found("unusable-slot", where, slot.broken, advice)
            if slot.handler is None:
                yield found(
                    "slot-without-handler",
                    where,
                    "It has no handler: what is delivered there is kept, and nothing is called.",
                    "Set it with define_slot(name, handler=...), or `slot.handler = ...`.",
                )


def _mapped_names(drawing: _Drawing) -> Iterator[Finding]:
    for line in drawing.graph.lines:
        params = drawing.params.get((line.source_id, line.event), ())
        sources: dict[str, str] = {}
        for source, target in line.param_mapping.items():
            if params and source not in params:
                yield found(
                    "unknown-source-name",
                    place_of(line),
                    f"The mapping renames {source!r}, which is not among the output_params of the event "
                    f"({_listed(params)}).{_hint(source, params)}",
                    "Correct the name, or add it to the output_params.",
                )
            rival = sources.setdefault(target, source)
            if rival == source and target in params and target not in line.param_mapping:
                rival = target
            if rival != source:
                yield found(
                    "mapping-collision",
                    place_of(line),
                    f"Both {rival!r} and {source!r} arrive as {target!r}: when an emission has both, one is lost.",
                    "Give them names of their own.",
                )


def _arriving_names(drawing: _Drawing) -> Iterator[Finding]:
    for line, slot in drawing.lines_with_slots():
        # With at most one parameter, and no `**kwargs` beside it, a handler gets the whole dict if need be.
        if slot.merges_by_function or (slot.takes_everything and not slot.takes_keywords):
            continue
        wanted = (*slot.required, *slot.optional)
        params = drawing.params.get((line.source_id, line.event), ())
        arriving = {line.param_mapping.get(name, name) for name in params} | set(line.param_mapping.values())
        fits = [name for name in wanted if name in arriving]
        # When none of the names fits, the handler gets the whole dict, and one parameter can take that.
        takes_whole = not fits and len(slot.required) <= 1 and not slot.takes_keywords
        missing = [name for name in slot.required if name not in arriving]
        if params and missing and not takes_whole:
            yield found(
                "unfilled-parameter",
                place_of(line),
                f"The handler {slot.handler!r} needs {_listed(missing)}, and the event carries {_listed(params)}."
                f"{_hint(missing[0], [name for name in params if name not in wanted])}",
                "Emit it and add it to the output_params, map a name to it, or give the parameter a default.",
            )
        for source, target in line.param_mapping.items():
            if target not in wanted and not takes_whole and not slot.takes_keywords:
                yield found(
                    "unknown-target-name",
                    place_of(line),
                    f"The mapping renames {source!r} to {target!r}, and the handler {slot.handler!r} takes only "
                    f"{_listed(wanted)}: the value is dropped.{_hint(target, wanted)}",
                    "Map it to a parameter of the handler, or give the handler **kwargs.",
                )


def _endless(drawing: _Drawing) -> Iterator[Finding]:
    graph = drawing.graph
    out = {line.source_id for line in graph.lines_out}
    for group in graph.cycles():
        inside = set(group)
        events = [(routine_id, event.name) for routine_id in group for event in graph.nodes[routine_id].events]
        lines = [line for routine_id in group for line in graph.lines_from(routine_id)]
        leaves = not out.isdisjoint(inside) or any(line.target_id not in inside for line in lines)
        if leaves or any(event not in drawing.heard for event in events):
            continue
        yield found(
            "cycle-without-exit",
            ", ".join(group),
            "No event leads out of this cycle: it ends when a handler in it emits nothing.",
            "Let one of the handlers decide that, or give the run a timeout.",
        )


def _outward(drawing: _Drawing) -> Iterator[Finding]:
    for line in drawing.graph.lines_out:
        yield found(
            "line-out-of-flow",
            place_of(line),
            "The line ends at a routine that is not in this flow. Data are delivered there, and the line is not saved.",
            "Add the routine to the flow, or disconnect the slot.",
        )


def place_of(line: Line) -> str:
    """Where a line is, for a reader."""
    return f"{line.source_id}.{line.event} -> {line.target_id}.{line.slot}"


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(repr, names))


def _hint(name: object, known: Iterable[str]) -> str:
    near = get_close_matches(name[:200], list(known), n=1) if isinstance(name, str) else []
    return f" Did you mean {near[0]!r}?" if near else ""


_CHECKS: tuple[Callable[[_Drawing], Iterator[Finding]], ...] = (
    _missing_trigger,
    _unreachable,
    _unfed,
    _unheard,
    _unusable,
    _mapped_names,
    _arriving_names,
    _endless,
    _outward,
)
