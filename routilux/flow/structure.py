"""Structure: what of a drawing the waiting tasks of a run depend on, small enough to be kept with each run.

For each routine: its slots, how each merges, and what each handler can be given. Not its class, its events, or the
lines: a task that waits is delivered already, and what it emits goes where the lines of the new drawing lead.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from routilux.digests import blake2b
from routilux.errors import InvalidDataError
from routilux.flow.graph import FlowGraph, FlowNode, SlotNode
from routilux.plain import shortened

__all__ = ["Drawn", "RoutineShape", "SlotShape", "Structure", "shapes_of", "structure_from", "structure_text"]

_FORMAT = 1

# A drawing of thousands of routines is kept as fingerprints only: what has changed is known then, and not in what.
_LONGEST = 32_768


class SlotShape(NamedTuple):
    """What a task that waits for a slot depends on.

    Attributes:
        merge: "override", "append" or "function".
        required: The parameters that the handler cannot do without.
        optional: Its others.
        handler: 0: there is none. 1: one without `**kwargs`. 2: one with.
    """

    merge: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    handler: int

    @property
    def named(self) -> tuple[str, ...]:
        """All parameters that have a name."""
        return (*self.required, *self.optional)

    @property
    def keeps_all(self) -> bool:
        """Whether whatever the data have reaches the handler."""
        return self.handler == 2 or self.named in ((), ("data",))

    def missing(self, data: Mapping[str, Any]) -> list[str]:
        """The parameters that these data leave without a value; empty too where the handler gets the whole dict."""
        if not self.handler:
            return []
        if self.handler != 2:
            is_whole = not any(name in data for name in self.named)
            if len(self.named) <= 1 or (is_whole and len(self.required) <= 1):
                return []
        return [name for name in self.required if name not in data]

    def dropped_since(self, before: "SlotShape", data: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Values that the handler was given before by name and is not any more, and parameters that came instead.

        Both empty unless there are both: a parameter that is only gone is not needed any more.
        """
        if before.handler != 1 or before.keeps_all or not self.handler or self.keeps_all:
            return [], []
        lost = [name for name in before.named if name in data and name not in self.named]
        new = [name for name in self.named if name not in before.named and name not in data]
        return (lost, new) if lost and new else ([], [])


class RoutineShape(NamedTuple):
    """A routine: its fingerprint, and its slots by name; None where only the fingerprint was kept."""

    fingerprint: str
    slots: dict[str, SlotShape] | None


# By routine id.
Structure = dict[str, RoutineShape]


class Drawn(NamedTuple):
    """The structure of a drawing that has not changed since it had this version, and how it is kept."""

    version: tuple[int, int]
    shapes: Structure
    text: str


def shapes_of(graph: FlowGraph) -> Structure:
    """The structure of a drawing."""
    return {node.id: _shape_of_node(node) for node in graph.nodes.values()}


def structure_text(structure: Structure) -> str:
    """What is kept with a run, for `structure_from`."""
    text = _dumps({"v": _FORMAT, "routines": {key: _saved(shape) for key, shape in structure.items()}})
    if len(text) <= _LONGEST:
        return text
    return _dumps({"v": _FORMAT, "routines": {key: shape.fingerprint for key, shape in structure.items()}})


def structure_from(text: str) -> Structure:
    """What was kept with a run.

    Raises:
        InvalidDataError: It is no structure, or a newer routilux has written it.
    """
    try:
        saved = json.loads(text)
        if saved["v"] != _FORMAT:
            raise InvalidDataError(
                f"The run was driven by a newer routilux, which has kept the structure of its flow in the form "
                f"{shortened(saved['v'])}; this one knows form {_FORMAT}. Upgrade routilux."
            )
        return {key: _restored(value) for key, value in saved["routines"].items()}
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise InvalidDataError(f"What is kept of the flow's structure is none: {shortened(text)}.") from error


def _shape_of_node(node: FlowNode) -> RoutineShape:
    return _shape({slot.name: _slot_shape(slot) for slot in node.slots})


def _slot_shape(slot: SlotNode) -> SlotShape:
    merge = "function" if slot.merges_by_function else slot.merge_strategy
    handler = 0 if slot.handler is None else 2 if slot.takes_keywords else 1
    # Sorted: values are given by name, so their order is nothing that a task depends on.
    return SlotShape(merge, tuple(sorted(slot.required)), tuple(sorted(slot.optional)), handler)


def _shape(slots: dict[str, SlotShape]) -> RoutineShape:
    text = json.dumps(slots, sort_keys=True)
    return RoutineShape(blake2b(text.encode(), digest_size=4).hexdigest(), slots)


def _saved(shape: RoutineShape) -> Any:
    return shape.fingerprint if shape.slots is None else shape.slots


def _restored(saved: Any) -> RoutineShape:
    if isinstance(saved, str):
        return RoutineShape(saved, None)
    return _shape({name: _restored_slot(*slot) for name, slot in saved.items()})


def _restored_slot(merge: str, required: list[str], optional: list[str], handler: int) -> SlotShape:
    return SlotShape(merge, tuple(required), tuple(optional), handler)


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
