"""Flow <-> dict. Classes are the registered ones only, and nothing that the data name is imported or evaluated."""

import inspect
import logging
from typing import TYPE_CHECKING, Any

from serilux import Serializable

from routilux.connection import Connection
from routilux.error_handler import read_policy
from routilux.errors import InvalidDataError, InvalidTypeError
from routilux.event import Event, Link
from routilux.plain import shortened
from routilux.registration import registered_class
from routilux.restoration import added_values, restore_additions, saved_additions
from routilux.routine import Routine
from routilux.saved import Reader

if TYPE_CHECKING:  # the flow stands above this room
    from routilux.flow.flow import Flow

__all__ = ["Drawing", "describe_flow", "read_flow", "required_arguments", "restore_added_fields"]

logger = logging.getLogger(__name__)

# A run is saved by its JobState: `flow.job_state`, which some programs set, is never saved with the flow.
OWN_KEYS = (
    "flow_id",
    "execution_strategy",
    "max_workers",
    "execution_timeout",
    "error_handler",
    "routines",
    "connections",
    "job_state",
)


def describe_flow(flow: "Flow", max_depth: int, depth: int) -> dict[str, Any]:
    """The drawing as data; see `Flow.serialize`.

    Raises:
        TypeError: A class that cannot be built without arguments, or a value that is not JSON.
        ValueError: A handler that is a method of another routine.
    """
    routines = dict(flow.routines)
    for routine_id, routine in routines.items():
        _check_constructable(f"Routine {routine_id!r}", routine)
    for part in (flow.error_handler, *added_values(flow, OWN_KEYS)):
        if isinstance(part, Serializable):
            _check_constructable(f"Flow {flow.flow_id!r}", part)
    below: dict[str, Any] = {"max_depth": max_depth, "_current_depth": depth + 1}
    return {
        "_type": type(flow).__name__,
        "flow_id": flow.flow_id,
        "execution_strategy": flow.execution_strategy,
        "max_workers": flow.max_workers,
        "execution_timeout": flow.execution_timeout,
        "error_handler": flow.error_handler.serialize(**below) if flow.error_handler is not None else None,
        "routines": {routine_id: routine.serialize(**below) for routine_id, routine in routines.items()},
        "connections": describe_lines(flow),
        **saved_additions(flow, OWN_KEYS, f"flow {flow.flow_id!r}", below),
    }


def describe_lines(flow: "Flow") -> list[dict[str, Any]]:
    """Every line between two routines of a flow, so that drawing them in this order gives the order of deliveries.

    Besides the flow's own connections these are lines that were drawn without it, by `event.connect(slot)` or
    `Connection(event, slot)`: a run of the flow delivers along them as well.
    """
    drawn = _in_delivery_order(flow)
    lines: list[dict[str, Any]] = []
    told: set[Link] = set()

    def tell_foreign(event: Event, before: Connection | None) -> None:
        for link in list(event.links):
            if before is not None and link.connection is before:
                return
            is_foreign = link.connection is None or (link.connection.owner is None and link.connection not in drawn)
            if is_foreign and link not in told:
                told.add(link)
                lines.extend(_describe_foreign(flow, event, link))

    for connection in drawn:
        event = connection.source_event
        if event is not None:
            tell_foreign(event, before=connection)
        lines.append(_describe_connection(flow, connection))
    for routine in list(flow.routines.values()):
        for event in list(routine._events.values()):
            tell_foreign(event, before=None)
    return lines


def _describe_foreign(flow: "Flow", event: Event, link: Link) -> list[dict[str, Any]]:
    routine = link.slot.routine
    target_id = flow.id_of(routine) if routine is not None else None
    if target_id is None:
        logger.warning("The line from event %r to %r leads out of the flow: it is not saved", event.name, link.slot)
        return []
    mapping = link.mapping if link.connection is None else link.connection.param_mapping
    return [
        {
            "_type": Connection.__name__,
            "source_routine_id": routine_id,
            "source_event": event.name,
            "target_routine_id": target_id,
            "target_slot": link.slot.name,
            "param_mapping": dict(mapping or {}),
        }
        for routine_id, each in list(flow.routines.items())
        if each is event.routine
    ]


def _in_delivery_order(flow: "Flow") -> list[Connection]:
    """The connections that deliver. Those of one event stand in the order of its lines, which is that of delivery."""
    drawn = set(flow.connections)
    events = dict.fromkeys(each.source_event for each in flow.connections if each.source_event is not None)
    return [
        link.connection
        for event in events
        for link in event.links
        if link.connection is not None and link.connection in drawn
    ]


def _describe_connection(flow: "Flow", connection: Connection) -> dict[str, Any]:
    data = connection.serialize()
    event, slot = connection.source_event, connection.target_slot
    if connection.source_id is None and event is not None and event.routine is not None:
        data["source_routine_id"] = flow.id_of(event.routine)
    if connection.target_id is None and slot is not None and slot.routine is not None:
        data["target_routine_id"] = flow.id_of(slot.routine)
    return data


def _check_constructable(whose: str, root: Serializable) -> None:
    parts, seen = [root], set()
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        names = [*getattr(part, "fields_to_serialize", ()), *getattr(type(part), "__serilux_fields__", ())]
        values = [getattr(part, name, None) for name in names]
        parts += [value for value in values if isinstance(value, Serializable)]
        required = required_arguments(type(part))
        if required:
            raise InvalidTypeError(
                f"{whose} cannot be restored: {type(part).__name__} needs the constructor arguments "
                f"{', '.join(required)}. Give them defaults, and put what they set into the config."
            )


def required_arguments(cls: type) -> list[str]:
    """The arguments without which a class cannot be constructed: restoring has none to give."""
    return [
        parameter.name
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


class Drawing:
    """A drawing that was read, complete and checked, and not yet in any flow."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.routines: dict[str, Routine] | None = None
        self.lines: list[tuple[str, str, str, str, dict[str, str]]] | None = None


def read_flow(flow: "Flow", data: dict[str, Any]) -> Drawing:
    """Read saved data against the flow that they are for; the flow is not changed.

    Raises:
        ValueError: A value that cannot be, a class that is not registered, a connection that is ambiguous.
    """
    reader = Reader(data, f"flow {flow.flow_id!r}")
    drawing = Drawing()
    for name in ("flow_id", "execution_strategy"):
        if name in reader:
            drawing.values[name] = reader.text(name)
    if "max_workers" in reader:
        drawing.values["max_workers"] = workers = reader.raw("max_workers")
        if not isinstance(workers, int):
            raise reader.wrong("max_workers", "a whole number")
    if "execution_timeout" in reader:
        timeout = reader.raw("execution_timeout")
        drawing.values["execution_timeout"] = None if timeout is None else reader.number("execution_timeout")
    if "error_handler" in reader:
        drawing.values["error_handler"] = read_policy(reader.raw("error_handler"))[0]
    if "routines" in reader:
        drawing.routines = {
            routine_id: _read_routine(flow, routine_id, saved)
            for routine_id, saved in reader.mapping("routines").items()
        }
    if "connections" in reader or drawing.routines is not None:
        routines = drawing.routines if drawing.routines is not None else flow.routines
        items = reader.items("connections") if "connections" in reader else describe_lines(flow)
        lines = [_read_line(item, routines, number) for number, item in enumerate(items)]
        drawing.lines = [line for line in lines if line is not None]
    return drawing


def restore_added_fields(flow: "Flow", data: dict[str, Any]) -> None:
    """Restore what the application has added to a flow. Unlike a `Drawing`, it can be refused until it is done.

    Raises:
        TypeError: A value that is not JSON; the flow is then as it was.
        ValueError: A value that is refused; the flow is then as it was.
    """
    restore_additions(flow, OWN_KEYS, data, f"flow {flow.flow_id!r}")


def _read_routine(flow: "Flow", routine_id: str, saved: Any) -> Routine:
    reader = Reader(saved, f"routine {shortened(routine_id)}")
    if not routine_id:
        raise InvalidDataError("A routine id must be a text that is not empty.")
    name = reader.text("_type") if "_type" in reader else ""
    present = flow.routines.get(routine_id)
    cls = type(present) if type(present).__name__ == name else registered_class(name)
    if not (isinstance(cls, type) and issubclass(cls, Routine)):
        raise InvalidDataError(
            f"Routine {shortened(routine_id)} is of the class {shortened(name)}, which is not a registered Routine. "
            "Import the module that defines it, and register the class with register_serializable."
        )
    routine = cls()
    routine.deserialize(saved)
    return routine


def _read_line(
    item: Any, routines: dict[str, Routine], number: int
) -> "tuple[str, str, str, str, dict[str, str]] | None":
    reader = Reader(item, f"connection {number}")
    mapping = reader.mapping("param_mapping") if reader.has("param_mapping") else {}
    if not all(isinstance(name, str) for name in mapping.values()):
        raise reader.wrong("param_mapping", "a dict of names")
    event_name = reader.text("source_event" if reader.has("source_event") else "_source_event_name")
    slot_name = reader.text("target_slot" if reader.has("target_slot") else "_target_slot_name")
    source_id = _end(reader, "source_routine_id", routines, lambda routine: routine.get_event(event_name), event_name)
    target_id = _end(reader, "target_routine_id", routines, lambda routine: routine.get_slot(slot_name), slot_name)
    source, target = routines.get(source_id or ""), routines.get(target_id or "")
    if source is None or target is None or not source.get_event(event_name) or not target.get_slot(slot_name):
        logger.warning(
            "Connection %d (%s.%s -> %s.%s) is dropped: its ends do not exist any more",
            number,
            source_id,
            event_name,
            target_id,
            slot_name,
        )
        return None
    assert source_id is not None  # noqa: S101 - for the type checker: source was found under it
    assert target_id is not None  # noqa: S101 - as above
    return source_id, event_name, target_id, slot_name, dict(mapping)


def _end(reader: Reader, key: str, routines: dict[str, Routine], has: Any, name: str) -> str | None:
    """The routine at one end: by its id, or, in the older form, the only one with an event or slot of that name."""
    if reader.has(key):
        return reader.text(key)
    found = [routine_id for routine_id, routine in routines.items() if has(routine) is not None]
    if len(found) > 1:
        raise InvalidDataError(
            f"A connection of the older form names only {name!r}, which the routines {', '.join(found)} all have. "
            f"Add {key!r} to it."
        )
    return found[0] if found else None
