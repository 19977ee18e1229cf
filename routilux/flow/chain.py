"""A chain of routines, read before it is drawn: which event, which slot, and which names change on the way.

The obvious event is the only one, or the one called "output". The obvious slot is the only one besides "trigger", or
the one called "input"; or "trigger", where there is no other.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from routilux.annotations import NOTHING, VALUE, annotated_parameter, annotated_return
from routilux.errors import DuplicateNameError, InvalidTypeError, InvalidValueError, UnknownNameError
from routilux.event import Event
from routilux.functions import OUTPUT, RESULT, FunctionRoutine
from routilux.routine import Routine
from routilux.slot import Slot

__all__ = ["Chain", "Step"]

#: A routine, the id of one, or a function that becomes one.
Step = Routine | str | Callable[..., Any]


class _End:
    __slots__ = ("id", "routine")

    def __init__(self, routine_id: str, routine: Routine) -> None:
        self.id = routine_id
        self.routine = routine


# The arguments for `Drawing.connect`.
Line = tuple[str, str, str, str, dict[str, str] | None]


class Chain:
    """What has to be drawn for some steps, read against the routines that a flow has. Nothing is changed.

    Args:
        routines: The flow's.
        steps: Each is connected to the next one.

    Raises:
        TypeError: A step is none.
        ValueError: A step, an event or a slot is unknown or not obvious, or an id is taken.

    Attributes:
        added: The routines that are new, by their ids.
        lines: The arguments for `connect`.
        ids: All that is named, in the order of the steps.
    """

    def __init__(self, routines: dict[str, Routine], steps: Iterable[Step | Sequence[Step]]) -> None:
        self._routines = dict(routines)
        self._ids: dict[int, list[str]] | None = None
        self.added: dict[str, Routine] = {}
        groups = [self._ends(step) for step in steps]
        self.ids = [end.id for group in groups for end in group]
        self.lines = [
            _line(source, target) for sources, targets in pairwise(groups) for source in sources for target in targets
        ]

    def _ends(self, step: Step | Sequence[Step]) -> list[_End]:
        """What one step of a chain names; a list stands for all that is in it."""
        if not isinstance(step, list | tuple):
            return [self._end(step)]
        if not step:
            raise InvalidValueError("An empty list is no step of a chain: nothing would be connected to it.")
        return [self._end(each) for each in step]

    def _end(self, step: Any) -> _End:
        if isinstance(step, str):
            if step not in self._routines:
                raise UnknownNameError("routine", step, self._routines, "the flow")
            return _End(step, self._routines[step])
        if isinstance(step, Routine):
            return self._only(self._ids_of(step), step) or self._add(step)
        if callable(step) and not (isinstance(step, type) and issubclass(step, Routine)):
            # Again the same function means the same routine, so that chains can branch at it.
            items = self._routines.items()
            found = [key for key, each in items if isinstance(each, FunctionRoutine) and each.function == step]
            return self._only(found, step) or self._add(FunctionRoutine(step))
        raise InvalidTypeError(
            f"{step!r} is no step of a chain. Give routines (objects, not classes), their ids, functions, or lists of "
            "these."
        )

    def _only(self, ids: list[str], step: Any) -> _End | None:
        if len(ids) > 1:
            raise InvalidValueError(
                f"{step!r} stands in the flow as {_listed(ids)}. Say which one by its id: flow.chain({ids[0]!r}, ...)."
            )
        return _End(ids[0], self._routines[ids[0]]) if ids else None

    def _ids_of(self, routine: Routine) -> list[str]:
        if self._routines.get(routine._id) is routine:
            return [routine._id]
        if self._ids is None:  # once per chain, and only for one that needs it: it takes as long as the flow is big
            self._ids = {}
            for key, each in self._routines.items():
                self._ids.setdefault(id(each), []).append(key)
        return self._ids.get(id(routine), [])

    def _add(self, routine: Routine) -> _End:
        key = routine._id
        if not isinstance(key, str) or not key:  # here, before anything is drawn
            raise InvalidValueError(f"A routine id must be a text that is not empty, not the {key!r} of {routine!r}.")
        if key in self._routines:
            raise DuplicateNameError(
                f"Routine id {key!r} is taken by {self._routines[key]!r}. Choose another: "
                "flow.add_routine(routine, routine_id='...')."
            )
        self._routines[key] = self.added[key] = routine
        return _End(key, routine)


def _line(source: _End, target: _End) -> Line:
    event = _obvious_event(source, target)
    slot = _obvious_slot(source, event, target)
    return source.id, event.name, target.id, slot.name, _renamed(source, event, target, slot)


def _obvious_event(source: _End, target: _End) -> Event:
    events = source.routine._events
    if len(events) == 1:
        return next(iter(events.values()))
    if OUTPUT in events:
        return events[OUTPUT]
    if not events:
        raise InvalidValueError(f"{source.id!r} has no event, so nothing goes from it to {target.id!r}.")
    raise InvalidValueError(
        f"{source.id!r} has the events {_listed(events)}, and none is called 'output': draw this line with "
        f"flow.connect({source.id!r}, {next(iter(events))!r}, {target.id!r}, ...), with the event that you mean."
    )


def _obvious_slot(source: _End, event: Event, target: _End) -> Slot:
    slots = target.routine._slots
    others = [slot for name, slot in slots.items() if name != "trigger"]
    if len(others) == 1 or (slots and not others):
        return others[0] if others else slots["trigger"]
    if "input" in slots:
        return slots["input"]
    if not slots:
        raise InvalidValueError(f"{target.id!r} has no slot, so nothing goes to it from {source.id!r}.")
    raise InvalidValueError(
        f"{target.id!r} has the slots {_listed(slots)}, and none is called 'input': draw this line with "
        f"flow.connect({source.id!r}, {event.name!r}, {target.id!r}, {others[0].name!r}), with the slot that you mean."
    )


def _renamed(source: _End, event: Event, target: _End, slot: Slot) -> dict[str, str] | None:
    """The mapping of a line at which a function stands; between other routines names are as their authors chose them.

    Raises:
        ValueError: What the source sends can certainly not be what the target takes.
    """
    sender = source.routine.function if isinstance(source.routine, FunctionRoutine) else None
    taker = target.routine.function if isinstance(target.routine, FunctionRoutine) else None
    if slot.handler is None or (sender is None and taker is None):
        return None
    sent = _sent_name(source, target, event, sender)
    parameters = _parameters(slot.handler)
    if sent is None or not parameters:
        return None
    is_value = sender is not None and annotated_return(sender) is VALUE
    names = [parameter.name for parameter in parameters]
    if names == ["data"]:
        if is_value and taker is not None and annotated_parameter(taker, "data") is VALUE:
            raise InvalidValueError(
                f"{target.id!r} has one parameter, `data`: it always gets all the data as a dict, and {source.id!r} "
                "sends one value. Give the parameter another name."
            )
        return None
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    wanted = required or names
    if sent not in names and len(wanted) == 1:
        return {sent: wanted[0]}
    if is_value and taker is not None and (sent not in names or set(required) - {sent}):
        raise InvalidValueError(
            f"{target.id!r} takes {_listed(wanted)}, and {source.id!r} sends one value. Let it return a dict with "
            f"these names, or say which one is meant: flow.connect({source.id!r}, {event.name!r}, {target.id!r}, "
            f"{slot.name!r}, {{{sent!r}: {wanted[0]!r}}})."
        )
    return None


def _sent_name(source: _End, target: _End, event: Event, sender: Callable[..., Any] | None) -> str | None:
    """The one name under which everything is sent that an event carries; None where there may be several."""
    if sender is None or event.name != OUTPUT:
        return event.output_params[0] if len(event.output_params) == 1 else None
    returned = annotated_return(sender)
    if returned is NOTHING:
        raise InvalidValueError(
            f"{source.id!r} returns None, so nothing goes from it to {target.id!r}. Let it return what it should send."
        )
    if returned.is_dict:
        return returned.keys[0] if len(returned.keys) == 1 else None
    return RESULT


def _parameters(handler: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that data are looked up for; none, where the handler takes all of them."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):  # some callables of C have none
        return []
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return []
    return [parameter for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]


def _listed(names: Iterable[str]) -> str:
    return " and ".join(repr(name) for name in names)
