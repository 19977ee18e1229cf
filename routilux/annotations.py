"""What a function's annotations say about what it takes and what it returns.

Annotations may be text, which is evaluated here as Python itself would, in the function's own module. No class that may
stand in saved data is defined in this file: functions beside such a class can be named by a file.
"""

import inspect
import types
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["NOTHING", "UNKNOWN", "VALUE", "Meaning", "annotated_parameter", "annotated_return"]


class Meaning:
    """What an annotation says of the values that it stands for.

    Attributes:
        is_dict: They are dicts with names for keys.
        keys: These names, as far as the annotation lists them.
    """

    # Neither an enum nor a named tuple, which would cost half of this module's import.
    __slots__ = ("is_dict", "keys")

    def __init__(self, is_dict: bool = False, keys: tuple[str, ...] = ()) -> None:
        self.is_dict = is_dict
        self.keys = keys


#: Always None.
NOTHING = Meaning()
#: Never None and never a dict of names.
VALUE = Meaning()
#: There is no annotation, or it allows several of these.
UNKNOWN = Meaning()
_DICT = Meaning(is_dict=True)

# What is sent is what these yield.
_GENERATORS = (Generator, Iterator, AsyncGenerator, AsyncIterator)


def annotated_return(function: Callable[..., Any]) -> Meaning:
    """What a function returns; of one that returns a generator, what that yields."""
    return _read(function, "return", _sent)


def annotated_parameter(function: Callable[..., Any], name: str) -> Meaning:
    """What a function takes as one of its parameters."""
    return _read(function, name, lambda _function, hint: _meaning(hint))


def _read(function: Callable[..., Any], name: str, meaning: Callable[[Callable[..., Any], Any], Meaning]) -> Meaning:
    try:
        hint = getattr(function, "__annotations__", {}).get(name, Any)
        if isinstance(hint, str):
            # By itself: one annotation that cannot be evaluated must not hide the others.
            alone = types.SimpleNamespace(__annotations__={name: hint})
            module = getattr(inspect.unwrap(function), "__globals__", {})
            hint = get_type_hints(alone, globalns=module)[name]
        return meaning(function, hint)
    except Exception:  # noqa: BLE001 - annotations are the application's: a name that only type checkers see, for one
        return UNKNOWN


def _sent(function: Callable[..., Any], hint: Any) -> Meaning:
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return _sent(function, parts[0])
    if _is_union(origin):
        return _either(_sent(function, part) for part in parts)
    is_iterable_generated = (origin is Iterable and inspect.isgeneratorfunction(function)) or (
        origin is AsyncIterable and inspect.isasyncgenfunction(function)
    )
    if origin in _GENERATORS or is_iterable_generated:
        return _meaning(parts[0]) if parts else UNKNOWN
    return _meaning(hint)


def _meaning(hint: Any) -> Meaning:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _meaning(parts[0])
    if hint is None or hint is type(None):
        return NOTHING
    if _is_union(origin):
        return _either(map(_meaning, parts))
    if is_typeddict(hint):
        return Meaning(True, tuple(hint.__annotations__))
    cls = origin if origin is not None else hint
    if cls is dict:
        return _DICT if not parts or parts[0] in (str, Any) else UNKNOWN
    if cls is Any or not isinstance(cls, type):
        return UNKNOWN
    # Where one of dict's bases is promised, such as Mapping or object, a dict may come.
    return UNKNOWN if issubclass(dict, cls) else VALUE


def _is_union(origin: Any) -> bool:
    return origin is Union or origin is types.UnionType


def _either(meanings: Iterable[Meaning]) -> Meaning:
    # None emits nothing, so what is emitted is one of the others.
    others = {each for each in meanings if each is not NOTHING}
    return others.pop() if len(others) == 1 else UNKNOWN
