"""What an expression may call: a few functions, and the methods of str, dict, list and tuple that change nothing."""

import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from routilux.expressions.budget import BITS_MAX, CONTAINERS, Evaluation, kind_of, weight_of
from routilux.plain import shortened

__all__ = [
    "CLOSED_TYPES",
    "FLAT_TYPES",
    "FUNCTIONS",
    "METHODS",
    "ONE_ARGUMENT",
    "call_function",
    "call_method",
    "read_attribute",
]

# Comparisons of two characters that count as one that is produced: the slow searches are paid for as well.
_STEPS_PER_CHARACTER = 100

ONE_ARGUMENT = "str takes one argument"
FLAT_TYPES = "The second argument of isinstance must be a type or a flat tuple of types"

# Methods that change nothing.
# fmt: off
METHODS: Mapping[type, Collection[str]] = {
    str: frozenset({
        "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal",
        "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower", "lstrip", "partition",
        "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
        "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    }),
    dict: frozenset({"copy", "get", "items", "keys", "values"}),
    list: frozenset({"copy", "count", "index"}),
    tuple: frozenset({"count", "index"}),
}

# Those of them that produce nothing. The others copy what they are called on.
_LOOKING = frozenset({
    "count", "endswith", "find", "get", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "islower",
    "isnumeric", "isspace", "istitle", "isupper", "items", "keys", "rfind", "rindex", "startswith", "values",
})

# Those that may compare each character of a text with each of the argument; the searches from the left do not.
_SLOW = frozenset({"lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"})
# fmt: on

# Their attributes lead from data into the interpreter.
# fmt: off
CLOSED_TYPES = (
    type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.CodeType,
    types.FrameType, types.TracebackType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType,
)

def call_function(evaluation: Evaluation, name: str, given: list[Any], named: dict[str, Any]) -> Any:
    """Call what a name of `FUNCTIONS` means."""
    return _BOUNDED[name](evaluation, *given, **named) if name in _BOUNDED else FUNCTIONS[name](*given, **named)


def call_method(evaluation: Evaluation, owner: Any, name: str, given: list[Any], named: dict[str, Any]) -> Any:
    """Call a method.

    Raises:
        ExpressionError: It is not one of `METHODS`, or would produce too much.
    """
    if not any(isinstance(owner, kind) and name in methods for kind, methods in METHODS.items()):
        raise evaluation.refusal(
            f"{name!r} of {kind_of(owner)} may not be called (methods are called of str, dict, list and tuple only)"
        )
    if name in _GROWING:
        return _GROWING[name](evaluation, owner, *given, **named)
    if name not in _LOOKING:
        evaluation.charge(len(owner))
    if name in _SLOW:
        texts = [each for each in (*given, *named.values()) if isinstance(each, str) and each]
        evaluation.charge(sum(len(owner) * (len(text) - 1) // _STEPS_PER_CHARACTER for text in texts))
    result = getattr(owner, name)(*given, **named)
    if isinstance(owner, str) and isinstance(result, list):
        evaluation.charge(len(result))
    return result


def _replace(evaluation: Evaluation, text: str, old: str, new: str, count: int = -1) -> str:
    times = text.count(old) if count < 0 else min(count, text.count(old))
    evaluation.charge(len(text) + times * len(new))
    return text.replace(old, new, count)


def _join(evaluation: Evaluation, separator: str, parts: Any) -> str:
    texts = _list_of(evaluation, parts)
    evaluation.charge(sum(len(text) + len(separator) for text in texts if isinstance(text, str)))
    return separator.join(texts)


def read_attribute(evaluation: Evaluation, owner: Any, name: Any, *default: Any) -> Any:
    """As `getattr`.

    Raises:
        ExpressionError: An expression may not read it.
    """
    return getattr(_open(evaluation, owner, name), name, *default)


def _hasattr(evaluation: Evaluation, owner: Any, name: Any) -> bool:
    return hasattr(_open(evaluation, owner, name), name)


def _open(evaluation: Evaluation, owner: Any, name: Any) -> Any:
    """`owner`, if an expression may read this attribute of it."""
    if not isinstance(name, str) or name.startswith("_") or isinstance(owner, CLOSED_TYPES):
        told = shortened(name) if isinstance(name, str) else kind_of(name)
        raise evaluation.refusal(f"An expression may not read the attribute {told} of {kind_of(owner)}")
    return owner


def _isinstance(evaluation: Evaluation, value: Any, kinds: Any) -> bool:
    # Not deeper: a tuple of tuples of tuples is walked to its last leaf.
    for each in kinds if isinstance(kinds, tuple) else (kinds,):
        if not isinstance(each, type | types.UnionType):
            raise evaluation.refusal(FLAT_TYPES)
    return isinstance(value, kinds)


def _list_of(evaluation: Evaluation, *given: Any, **named: Any) -> list[Any]:
    evaluation.charge_sizes(given)
    return list(*given, **named)


def _dict_of(evaluation: Evaluation, *given: Any, **named: Any) -> dict[Any, Any]:
    evaluation.charge_sizes((*given, named))
    for pairs in given:
        if isinstance(pairs, Iterable) and not isinstance(pairs, Mapping):
            evaluation.charge_sizes(pairs)  # each of them is made a list
    return dict(*given, **named)


def _text_of(evaluation: Evaluation, *given: Any, **named: Any) -> str:
    if len(given) > 1 or named:
        # An encoding would be looked for, and imported, by its name.
        raise evaluation.refusal(ONE_ARGUMENT)
    if not given or type(given[0]) is str:
        return given[0] if given else ""
    if isinstance(given[0], CONTAINERS):
        weight = weight_of(given[0], evaluation.left, lambda other: len(repr(other)))
        if weight > evaluation.left:
            evaluation.charge(weight)
    evaluation.charge(len(text := str(given[0])))
    return text


def _whole_number(evaluation: Evaluation, *given: Any, **named: Any) -> int:
    number = int(*given, **named)
    if not any(number is each for each in given):
        evaluation.charge_bits(number.bit_length(), f"int would make a whole number of more than {BITS_MAX} bits")
    return number


# What a name means: as a value, the function or type itself, so that `isinstance(x, (int, str))` reads it.
FUNCTIONS: dict[str, Any] = {
    each.__name__: each for each in (isinstance, dict, list, str, int, float, bool, len, getattr, hasattr)
}

# What is called by that name, where it is not the function itself.
_BOUNDED: dict[str, Callable[..., Any]] = {
    "isinstance": _isinstance,
    "dict": _dict_of,
    "list": _list_of,
    "str": _text_of,
    "int": _whole_number,
    "getattr": read_attribute,
    "hasattr": _hasattr,
}

# Methods whose result may be much larger than what they are called with.
_GROWING: dict[str, Callable[..., str]] = {"replace": _replace, "join": _join}
