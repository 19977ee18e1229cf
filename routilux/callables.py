"""Callables in saved data: written by name, and brought back only where that can do no harm.

serilux imports the module that the data name and takes what it finds there. Here nothing is imported and nothing is
called: a name is looked up in modules that are there already, and only functions that the application has had a hand
in are taken.
"""

import functools
import sys
import types
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakValueDictionary

from serilux import Serializable, SerializableRegistry
from serilux.exceptions import SeriluxError

from routilux.errors import CallableError, ExpressionError, InvalidDataError
from routilux.expressions import Expression
from routilux.plain import shortened
from routilux.registration import OwnFields, registered_class

__all__ = [
    "allow_callable",
    "describe_callable",
    "is_saved_callable",
    "names_of_module",
    "remember_callable",
    "restore_callable",
    "restore_part",
]

# The names of a module, by the slot of the module type itself. `vars(module)` would ask the module, and one that is
# loaded lazily would be executed by that.
_names_of = vars(types.ModuleType)["__dict__"].__get__

# Functions that the application has handed to the library in this process, by module and name.
_known: "WeakValueDictionary[tuple[str, str], types.FunctionType]" = WeakValueDictionary()


def names_of_module(name: str) -> dict[str, Any]:
    """What stands at the top level of a module that is imported already; nothing, where there is none."""
    module = sys.modules.get(name)
    return _names_of(module) if issubclass(type(module), types.ModuleType) else {}


def remember_callable(value: Any) -> None:
    """Note a function that the application uses itself, as a handler or a merge strategy: it may come back by name."""
    if isinstance(value, types.FunctionType) and "<" not in value.__qualname__:
        _known[value.__module__, value.__qualname__] = value


def allow_callable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let saved data name a module-level function that the application uses nowhere else. Usable as a decorator.

    Raises:
        CallableError: It is not a function at module level, and so has no name to be found by.
    """
    if not isinstance(function, types.FunctionType) or "<" in function.__qualname__:
        raise CallableError(f"{function!r} is not a function at module level: saved data could not name it.")
    remember_callable(function)
    return function


def is_saved_callable(value: Any) -> bool:
    """Whether something has the form that `describe_callable` writes."""
    return isinstance(value, dict) and value.get("_type") in ("callable", "lambda_expression")


def describe_callable(value: Any, owner: Any, where: str) -> dict[str, Any] | None:
    """A callable as data, in serilux's form.

    Args:
        value: A function, a lambda, a method of `owner`, or any other callable; None stays None.
        owner: The routine that is being saved.
        where: Where it stands, for messages.

    Raises:
        CallableError: It is a method of another routine, which the data of this one cannot bring back.
    """
    if value is None:
        return None
    if isinstance(value, Expression):
        return value.serialize()
    _refuse_method_of_another(value, owner, where)
    if isinstance(value, types.MethodType):
        target = value.__self__
        return {
            "_type": "callable",
            "callable_type": "method" if target is owner else "object",
            "class_name": type(target).__name__,
            "method_name": _method_name(value),
            "object_id": getattr(target, "_id", None),
        }
    if isinstance(value, types.FunctionType):
        return {
            "_type": "callable",
            "callable_type": "function",
            "module": value.__module__,
            "name": value.__qualname__,
        }
    if isinstance(value, types.BuiltinFunctionType):
        return {"_type": "callable", "callable_type": "builtin", "name": value.__name__}
    return {"_type": "callable", "callable_type": "object", "class_name": type(value).__name__}


def _refuse_method_of_another(value: Any, owner: Any, where: str) -> None:
    inner = value
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not isinstance(inner, types.MethodType):
        return
    target = inner.__self__
    if target is not owner and hasattr(target, "_slots"):
        raise CallableError(
            f"{where} is {type(target).__name__}.{_method_name(inner)}, a method of another routine, {target!r}. "
            "Give each routine handlers of its own, or use a function at module level."
        )


def _method_name(method: types.MethodType) -> str:
    """The name under which a method stands in its class: what a decorator has made may be called otherwise."""
    function, classes = method.__func__, type(method.__self__).__mro__
    names = (name for cls in classes for name, value in vars(cls).items() if value is function)
    return next(names, getattr(function, "__name__", ""))


def restore_callable(data: Any, owner: Any, where: str) -> Callable[..., Any] | None:
    """The callable that `describe_callable` wrote.

    Args:
        data: What it wrote; None stays None.
        owner: The routine that is being restored.
        where: Where it stands, for messages.

    Raises:
        CallableError: It is not there, or is none that saved data may bring back.
    """
    if data is None:
        return None
    if not is_saved_callable(data):
        raise CallableError(f"{where} is not a saved callable: {shortened(data)}")
    if data["_type"] == "lambda_expression":
        return _expression(data, where)
    if data.get("callable_type") == "method":
        return _own_method(data, owner, where)
    if data.get("callable_type") == "function":
        return _function(data.get("module"), data.get("name"), where)
    name = data.get("name") or data.get("class_name")
    raise CallableError(
        f"{where} was {shortened(name)} ({shortened(data.get('callable_type'))}), which saved data cannot bring back. "
        "Let the routine's constructor set it, or use a function at module level."
    )


def restore_part(part: Serializable, data: Any, where: str) -> None:
    """Restore an object of the application that serilux restores, without what serilux would import or evaluate.

    Args:
        part: The object, as a constructor made it.
        data: What its `serialize` wrote.
        where: Where it stands, for messages.

    Raises:
        CallableError: The data name a callable that they may not bring back, or hold an expression.
        InvalidDataError: serilux refuses them.
    """
    if not isinstance(data, dict):
        raise InvalidDataError(f"{where} must be the saved form of {type(part).__name__}, not {shortened(data)}.")
    if not isinstance(part, OwnFields):  # our own classes look after their data
        _refuse_callables(data, where)
    try:
        part.deserialize(data)
    except (SeriluxError, RecursionError) as error:
        raise InvalidDataError(f"{where} cannot be restored: {shortened(str(error), 500)}") from error


def _refuse_callables(data: dict[str, Any], where: str) -> None:
    # Not by the `_type` of the data themselves: what they are for is there already, whatever they call it.
    items: list[Any] = list(data.values())
    kinds: dict[Any, Any] = {}
    while items:
        item = items.pop()
        if isinstance(item, list):
            items += item
        if not isinstance(item, dict):
            continue
        kind = item.get("_type")
        if is_saved_callable(item):
            found = restore_callable(item, None, f"A callable in {where}")
            if isinstance(found, Expression):
                raise CallableError(f"A callable in {where} is an expression, which serilux would evaluate.")
            # serilux takes it from the module: it has to stand there under that name.
            if names_of_module(item["module"]).get(item["name"]) is not found:
                raise CallableError(f"{where} names {shortened(item['name'])}, which is not in its module.")
            continue
        # serilux finds an object by its id alone, and would give it the data of another class.
        if not isinstance(item.get("_id"), dict | list | None) and kinds.setdefault(item["_id"], kind) != kind:
            raise InvalidDataError(f"{where} has the id {shortened(item['_id'])} for objects of several classes.")
        # serilux asks its registry for it next: a built-in routine has to be there.
        known = registered_class(kind) if isinstance(kind, str) else None
        if not (isinstance(known, type) and issubclass(known, OwnFields)):
            items += item.values()


def _expression(data: dict[str, Any], where: str) -> Expression:
    parameters = data.get("parameters")
    if not isinstance(parameters, list | tuple | None):
        raise CallableError(f"{where} is an expression whose parameters are {shortened(parameters)}, not a list.")
    try:
        return Expression(data.get("expression"), parameters, checks_now=False)  # type: ignore[arg-type]  # it looks at them itself
    except ExpressionError as error:
        raise CallableError(f"{where} was an expression that cannot be: {error}") from None


def _own_method(data: dict[str, Any], owner: Any, where: str) -> Callable[..., Any]:
    name, class_name = data.get("method_name"), data.get("class_name")
    # Looked up in the classes and not on the object: a property of that name would run code.
    found = None
    if isinstance(name, str) and owner is not None and class_name == type(owner).__name__:
        found = next((vars(cls)[name] for cls in type(owner).__mro__ if name in vars(cls)), None)
    if type(found) is not types.FunctionType:
        raise CallableError(
            f"{where} was the method {shortened(name)} of {shortened(class_name)}, which {owner!r} does not have."
        )
    return types.MethodType(found, owner)


def _function(module_name: Any, name: Any, where: str) -> Callable[..., Any]:
    if not isinstance(module_name, str) or not isinstance(name, str):
        raise CallableError(f"{where} names no function: {shortened(name)} of module {shortened(module_name)}.")
    known = _known.get((module_name, name))
    if known is not None:
        return known
    found = names_of_module(module_name).get(name)
    # What a module has imported from elsewhere is not its own: `from os import system` is no offer.
    is_own = type(found) is types.FunctionType and (found.__module__, found.__qualname__) == (module_name, name)
    if is_own and _defines_registered_class(module_name):
        return cast("Callable[..., Any]", found)
    raise CallableError(
        f"{where} was the function {module_name[:200]}.{name[:200]}, which saved data may not bring back: its module "
        "is not imported, or defines no registered class, or the function is not at its top level. Import the module "
        "and call routilux.callables.allow_callable(function), or let the routine's constructor set it."
    )


def _defines_registered_class(module_name: str) -> bool:
    return any(cls.__module__ == module_name for cls in list(SerializableRegistry.registry.values()))
