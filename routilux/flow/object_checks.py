"""Checks that look at the objects of a drawing: whether they belong to it, and whether it can be saved and restored.

No method of the application is called, and no attribute is read that it may have made a property: a check must not
change what it looks at, nor fail.
"""

import contextlib
import types
from collections.abc import Iterable, Iterator, Mapping

from serilux import Serializable, SerializableRegistry

from routilux.callables import describe_callable, restore_callable
from routilux.connection import Connection
from routilux.errors import CallableError, RoutiluxError
from routilux.expressions import Expression
from routilux.flow.checks import Finding, found
from routilux.flow.graph import ports_of
from routilux.flow.serialization import required_arguments
from routilux.functions import FunctionRoutine
from routilux.plain import DEPTH_MAX, INT_LIMIT, shortened
from routilux.routine import OWN_KEYS, Routine

__all__ = ["check_objects", "check_saving"]

_ATOMS = (str, float, type(None))


def check_objects(routines: Mapping[str, object], connections: Iterable[Connection]) -> list[Finding]:
    """What does not belong into a flow."""
    routines = dict(routines)
    return [*_not_routines(routines), *_shadowed(routines), *_strays(routines, list(connections))]


def check_saving(routines: Mapping[str, object]) -> list[Finding]:
    """What `Flow.serialize` would refuse, or `Flow.deserialize` could not bring back."""
    findings: list[Finding] = []
    for routine_id, routine in dict(routines).items():
        if isinstance(routine, Routine) and _is_initialised(routine):
            findings += _class(routine_id, type(routine))
            findings += _handlers(routine_id, routine)
            findings += _function(routine_id, routine)
            findings += _config(routine_id, routine)
            findings += _added_fields(routine_id, routine)
    return findings


def _not_routines(routines: dict[str, object]) -> Iterator[Finding]:
    for routine_id, routine in routines.items():
        name = type(routine).__name__
        if not isinstance(routine, Routine):
            yield found(
                "not-a-routine",
                routine_id,
                f"A {name} stands in the flow, which is not a Routine.",
                "Add routines with add_routine(routine, routine_id).",
            )
        elif not _is_initialised(routine):
            yield found(
                "not-a-routine",
                routine_id,
                f"It was never initialised: the constructor of {name} does not call the one of Routine.",
                f"Begin {name}.__init__ with super().__init__().",
            )


def _is_initialised(routine: Routine) -> bool:
    return {"_slots", "_events", "_config"} <= vars(routine).keys()


def _shadowed(routines: dict[str, object]) -> Iterator[Finding]:
    for routine_id, routine in routines.items():
        own = vars(routine).get("_id") if isinstance(routine, Routine) else None
        if isinstance(own, str) and routines.get(own, routine) is not routine:
            yield found(
                "shadowed-id",
                routine_id,
                f"Its own `_id` is {own!r}, under which another routine stands in the flow: messages that show it "
                "will be read as that one's.",
                "Give both the same id, or leave `_id` alone.",
            )


def _strays(routines: dict[str, object], connections: list[Connection]) -> Iterator[Finding]:
    drawn = [each for each in connections if isinstance(each, Connection)]
    events = dict.fromkeys(each.source_event for each in drawn if each.source_event is not None)
    connected = {link.connection for event in events for link in list(event.links)}
    # By the objects themselves: a routine may stand under several ids, and an event is found under each.
    events_there: set[tuple[str | None, int]] = set()
    for key, each in routines.items():
        for port in ports_of(each, "_events").values():
            events_there |= {(key, id(port)), (None, id(port))}
    slots_there = {id(slot) for each in routines.values() for slot in ports_of(each, "_slots").values()}
    for connection in drawn:
        event, slot = connection.source_event, connection.target_slot
        # One that was disconnected on purpose stays in the list, and does nothing.
        if connection not in connected or event is None or slot is None:
            continue
        where = f"{connection.source_id or '?'}.{event.name} -> {connection.target_id or '?'}.{slot.name}"
        advice = "Call its disconnect(), and connect what stands in the flow now."
        # What begins there goes by the id; where it ends, the engine finds the routine under whatever id it has.
        if (connection.source_id, id(event)) not in events_there:
            message = f"The event {event.name!r}, where it begins, is not in the flow: nothing goes along it."
            yield found("stray-connection", where, message, advice)
        if id(slot) not in slots_there:
            message = f"The slot {slot.name!r}, where it ends, is not in the flow: what is delivered leaves the flow."
            yield found("stray-connection", where, message, advice)


# -- saving


def _class(routine_id: str, cls: type[Routine]) -> Iterator[Finding]:
    known = SerializableRegistry.get_class(cls.__name__)
    if known is not cls:
        other = "" if known is None else f" (a class of {known.__module__} has its name)"
        yield found(
            "unregistered-class",
            routine_id,
            f"{cls.__name__} is not registered{other}: the flow can be saved, and not restored.",
            f"Decorate {cls.__name__} with routilux.job_state.register_serializable.",
        )
    try:
        required = required_arguments(cls)
    except (TypeError, ValueError):  # a metaclass that hides them: serialize asks again, and says so
        return
    if required:
        yield found(
            "constructor-arguments",
            routine_id,
            f"{cls.__name__} cannot be built without {', '.join(map(repr, required))}: the flow cannot be saved.",
            "Give them defaults, and put what they set into the config.",
        )


def _handlers(routine_id: str, routine: Routine) -> Iterator[Finding]:
    for name, slot in ports_of(routine, "_slots").items():
        for what, value in (("handler", slot.handler), ("merge strategy", slot.merge_strategy)):
            trouble = _function_trouble(value, routine) if value is not None else ""
            if trouble:
                yield found(
                    "unsavable-handler",
                    f"{routine_id}.{name}",
                    f"The {what} is {trouble}.",
                    "Use a method of the routine, or a function at module level.",
                )


def _function_trouble(value: object, routine: Routine) -> str:
    target = value.__self__ if isinstance(value, types.MethodType) else None
    if isinstance(target, Routine) and target is not routine:
        return f"a method of another routine, a {type(target).__name__}: the flow cannot be saved"
    if target is routine or isinstance(value, str | Expression) or type(routine).__init__ is not Routine.__init__:
        return ""  # a class with a constructor of its own sets its handlers there, whatever they are
    if isinstance(value, types.FunctionType):
        if "<" not in value.__qualname__:
            return ""
        return "a lambda or a nested function, which has no name to be found by: it is not restored"
    return f"a {type(value).__name__}, which has no name to be found by: it is not restored"


def _function(routine_id: str, routine: Routine) -> Iterator[Finding]:
    """For a function routine: its handlers are its own, and call the function."""
    function = vars(routine).get("_function") if isinstance(routine, FunctionRoutine) else None
    if function is None or not _is_ours(routine, "serialize"):
        return
    trouble = ""
    if not isinstance(function, types.FunctionType):
        trouble = f"a {type(function).__name__}, which has no name to be found by"
    else:
        try:
            known = restore_callable(describe_callable(function, None, ""), None, "")
        except CallableError:
            trouble = "a lambda or a nested function, which has no name to be found by"
        else:
            trouble = "" if known is function else "a function whose name is that of another one by now"
    if trouble:
        yield found(
            "unsavable-handler",
            routine_id,
            f"The function is {trouble}: the flow cannot be saved.",
            "Define it with `def` at the top level of a module, under a name of its own.",
        )


def _is_ours(routine: Routine, method: str) -> bool:
    """Whether a method is the library's. Where it is not, the application's own code decides what is saved."""
    writer = next(cls for cls in type(routine).__mro__ if method in vars(cls))
    return writer.__module__.partition(".")[0] == __name__.partition(".")[0]


def _config(routine_id: str, routine: Routine) -> Iterator[Finding]:
    if not _is_ours(routine, "_config_to_save"):
        return
    try:
        config = routine._config_to_save()  # noqa: SLF001 - the library's own, as it was just made sure
    except RoutiluxError as error:
        yield found("unsavable-config", routine_id, "The flow cannot be saved, because its config cannot.", str(error))
        return
    trouble = _unplain(config, "config")
    if trouble:
        yield found(
            "unsavable-config",
            routine_id,
            f"{trouble}, which JSON cannot hold: the flow cannot be saved.",
            "Put text, numbers, lists and dicts into the config, and what they describe into the routine.",
        )
    # A constructor of the application may register them again.
    if _is_ours(routine, "__init__") and _is_ours(routine, "_named_and_not_saved"):
        for what, why in routine._named_and_not_saved():  # noqa: SLF001 - the library's own, as it was just made sure
            yield found(
                "unsavable-config",
                routine_id,
                f"The config names {what}, which is left out when the flow is saved: a restored flow does not have it.",
                f"Register it again on the restored flow, or in the constructor of a subclass. {why}",
            )


def _added_fields(routine_id: str, routine: Routine) -> Iterator[Finding]:
    """What `add_serializable_fields` or annotations name, as far as it can be seen without asking a property."""
    if not _is_ours(routine, "serialize"):
        return
    named = [_held(routine, "fields_to_serialize"), _held(routine, "__serilux_fields__")]
    names = dict.fromkeys(name for each in named if type(each) in (list, tuple, dict) for name in each)  # type: ignore[attr-defined]  # one of these
    for name in names:
        if not isinstance(name, str) or name in OWN_KEYS or name in ("_type", "fields_to_serialize"):
            continue
        value = _held(routine, name)
        if issubclass(type(value), Serializable) or callable(value):
            continue  # written by itself, or by its name
        trouble = _unplain(value, name)
        if trouble:
            yield found(
                "unsavable-config",
                routine_id,
                f"The added field {trouble}, which JSON cannot hold: the flow cannot be saved.",
                "Put text, numbers, lists and dicts into it, or an object of a registered class.",
            )


def _held(routine: Routine, name: str) -> object:
    """An attribute as it stands in the object or its class; None where it would be computed, or is not there."""
    held = next((vars(cls)[name] for cls in type(routine).__mro__ if name in vars(cls)), None)
    if hasattr(type(held), "__set__"):
        return None
    own = vars(routine)
    return own[name] if name in own else None if hasattr(type(held), "__get__") else held


def _unplain(value: object, path: str, depth: int = 0, seen: set[int] | None = None) -> str:
    """Where a value has something that JSON cannot hold, and what it is; "" when it has not."""
    kind = type(value)
    if issubclass(kind, int):
        is_written = int.__lt__(-INT_LIMIT, value) and int.__gt__(INT_LIMIT, value)  # type: ignore[operator]  # an int
        return "" if is_written else f"{path} is a whole number of more than 4300 digits"
    if issubclass(kind, _ATOMS):
        return ""
    if not issubclass(kind, dict | list | tuple):
        return f"{path} is an object of {kind.__name__}"
    seen = set() if seen is None else seen
    if id(value) in seen:  # a container that stands there a second time
        return ""
    if depth > DEPTH_MAX:
        return f"{path[:80]}... is nested too deeply"
    for key, item in _items_of(value):
        if issubclass(kind, dict) and not isinstance(key, str):
            return f"{path} has a key of {type(key).__name__}"
        told = shortened(str.__str__(key) if isinstance(key, str) else key)  # as its own class would not tell it
        trouble = _unplain(item, f"{path}[{told}]", depth + 1, seen)
        if trouble:
            return trouble
    seen.add(id(value))
    return ""


def _items_of(container: object) -> Iterable[tuple[object, object]]:
    """As the built-in class has them: a subclass of the application may have methods of its own."""
    if type(container) is dict:
        return container.copy().items()  # in one step, whoever adds to it meanwhile
    if isinstance(container, dict):
        for _ in range(100):
            with contextlib.suppress(RuntimeError):  # it has changed its size
                return list(dict.items(container))
        return []
    kind = list if isinstance(container, list) else tuple
    return enumerate(list(kind.__iter__(container)))  # type: ignore[arg-type]  # of this kind
