"""Expressions: conditions as text, evaluated by walking a checked syntax tree.

A flow file may hold a condition that was a lambda. Python's own `eval` would let whoever wrote the file do anything;
here the text is parsed, every node of it is looked at, and what is not in the list below is an error. There are no
loops, no comprehensions and no assignments in that list, so an evaluation takes as many steps as the text has nodes;
what all of them together may produce is bounded as well.
"""

import ast
import inspect
import operator
import os
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from threading import RLock
from typing import Any, SupportsIndex, cast

from routilux.errors import ExpressionError
from routilux.plain import shortened

__all__ = ["Expression"]

TEXT_MAX = 4_000
DEPTH_MAX = 100

# What an evaluation may produce: characters and items, all steps together; and bits of a whole number (about 4,000
# digits), each.
SIZE_MAX = 1_000_000
BITS_MAX = 14_000

# Comparisons of two characters that count as one that is produced: the slow searches are paid for as well.
_STEPS_PER_CHARACTER = 100

# What an object of another kind counts where it is repeated: it is not looked into. So it is repeated no more often
# than a text of 4,000 characters could name it.
_OTHER_WEIGHT = 1_000

# Methods that change nothing.
# fmt: off
_METHODS: Mapping[type, Collection[str]] = {
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
_CLOSED_TYPES = (
    type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.CodeType,
    types.FrameType, types.TracebackType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType,
)

# What ends when it is walked, changes nothing by it, and is looked into where it is counted.
_CONTAINERS: tuple[type[Any], ...] = (
    str, bytes, list, tuple, dict, set, frozenset, type({}.keys()), type({}.values()), type({}.items()),
)
# fmt: on

_OLDER_NAMES = ("x", "item", "value", "obj")

# CPython 3.11 counts the depth of its tree builder over all threads, and says SystemError when two of them meet there.
# Re-entrant: a signal handler may evaluate an expression while its own thread parses one.
_parsing = RLock()
_PARSE_ATTEMPTS = 10


def _forget_threads() -> None:
    """In a forked child, where the thread that held the lock does not exist."""
    global _parsing  # noqa: PLW0603 - it is one for all expressions, and a lock cannot be emptied
    _parsing = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


class Expression:
    """What a lambda says, as text: a callable that imports nothing, changes nothing and comes to an end.

    The text is parsed when it is called or checked for the first time, so that loading a file parses nothing. Allowed
    are names (the parameters), constants, displays of lists, tuples, sets and dicts, comparisons, `and`, `or`, `not`,
    `a if b else c`, arithmetic, subscripts and slices, attributes without a leading underscore, calls of isinstance,
    dict, list, str, int, float, bool, len, getattr and hasattr, and of the methods of str, dict, list and tuple that
    change nothing.

    They mean what they mean in Python, but for this: `%` formats no text, `str` takes one argument, the second argument
    of `isinstance` is a type or a flat tuple of types, `in` looks into texts, bytes, lists, tuples, dicts, sets and
    views of dicts only, and a key that a dict does not have is a KeyError, whatever its `__missing__` would make of it.

    An evaluation produces at most 1,000,000 characters and items, and no whole number of more than 14,000 bits. The
    arguments may be larger: they can be read, compared and searched, which takes time in proportion to their size and
    to the length of the text. What other classes do in their properties and operators is not bounded.

    Args:
        text: The expression, without `lambda` and parameters.
        parameters: The names of its arguments. None: one argument, called `data`, and in the text also x, item, value
            or obj, as serilux does for data that name none.

    Raises:
        ExpressionError: A parameter that is no name.
    """

    def __init__(self, text: str, parameters: Collection[str] | None = None) -> None:
        if not isinstance(text, str) or not all(isinstance(name, str) for name in parameters or ()):
            raise ExpressionError(f"An expression and its parameters are text, not {shortened((text, parameters))}.")
        for name in parameters or ():
            if not name.isidentifier() or name.startswith("_") or name in _FUNCTIONS:
                raise ExpressionError(f"{shortened(name)} cannot be a parameter of {shortened(text)}.")
        self.text = text.strip()
        self.parameters = ("data",) if parameters is None else tuple(parameters)
        self._others = _OLDER_NAMES if parameters is None else ()
        self._tree: ast.expr | None = None  # two threads that need it at once both make it, and it is the same
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        try:
            self.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in self.parameters])
        except ValueError as error:  # the same name twice, or a keyword
            raise ExpressionError(f"The parameters of {shortened(text)} cannot be: {error}.") from None

    def __repr__(self) -> str:
        return f"Expression(lambda {', '.join(self.parameters)}: {self.text})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        return self.text, self.parameters, self._others

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.text, None if self._others else self.parameters)

    def serialize(self) -> dict[str, Any]:
        """The expression as data, in serilux's form."""
        saved: dict[str, Any] = {"_type": "lambda_expression", "expression": self.text}
        return saved if self._others else {**saved, "parameters": list(self.parameters)}

    def check(self) -> None:
        """Parse the text now.

        Raises:
            ExpressionError: It is no expression, or has something that is not allowed in one; the message names it.
        """
        self._checked()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The value for these arguments.

        Raises:
            ExpressionError: What `check` raises; an attribute or a call that is not allowed; more than may be produced.
            Exception: Whatever the lambda itself would raise, such as KeyError.
        """
        tree = self._checked()
        names = self.__signature__.bind(*args, **kwargs).arguments
        for other in self._others:
            names[other] = names["data"]
        return _value(tree, _Evaluation(self.text, names))

    def _checked(self) -> ast.expr:
        if self._tree is not None:
            return self._tree
        if len(self.text) > TEXT_MAX:
            raise ExpressionError(f"The expression {shortened(self.text)} has more than {TEXT_MAX} characters.")
        tree = _parsed(self.text)
        _check(tree, {*self.parameters, *self._others}, self.text, 0)
        self._tree = tree
        return tree


def _parsed(text: str) -> ast.expr:
    attempts = _PARSE_ATTEMPTS
    while True:
        try:
            with _parsing:
                return ast.parse(text, mode="eval").body
        except SystemError:  # somebody else was parsing; see `_parsing`
            attempts -= 1
            if not attempts:
                raise
        except SyntaxError as error:
            raise ExpressionError(f"{shortened(text)} is not an expression: {error.msg}.") from None
        except (ValueError, MemoryError, RecursionError) as error:  # NUL characters; nested too deeply for the parser
            raise ExpressionError(f"{shortened(text)} cannot be parsed: {shortened(str(error))}.") from None


# -- the check, once


def _check(node: ast.AST, names: Collection[str], text: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise ExpressionError(f"The expression {shortened(text)} is nested more than {DEPTH_MAX} levels deep.")
    problem = _problem(node, names)
    if problem:
        raise _refusal(problem, text)
    for child in _children(node):
        _check(child, names, text, depth + 1)


def _refusal(problem: str, text: str) -> ExpressionError:
    return ExpressionError(
        f"{problem}, in the expression {shortened(text)}. Use a function at module level for what an expression "
        "cannot say."
    )


def _children(node: ast.AST) -> list[ast.AST]:
    unread = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
    children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, unread)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        children[0] = node.func.value  # a method is called by its name
    return children


def _problem(node: ast.AST, names: Collection[str]) -> str:
    """What is wrong with a node itself; empty when nothing is."""
    if isinstance(node, ast.Slice | ast.keyword):
        return "** is not allowed" if isinstance(node, ast.keyword) and node.arg is None else ""
    if type(node) not in _RULES:
        return f"{type(node).__name__} is not allowed"
    if isinstance(node, ast.Name) and node.id not in names and node.id not in _FUNCTIONS:
        return f"{shortened(node.id)} is not known (known are {', '.join(sorted({*names, *_FUNCTIONS}))})"
    if isinstance(node, ast.Constant) and type(node.value) not in (str, int, float, bool, type(None)):
        return f"{shortened(node.value)} is not allowed"
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        return f"The attribute {shortened(node.attr)} is not allowed"
    if isinstance(node, ast.BinOp) and type(node.op) not in _OPERATORS:
        return f"{type(node.op).__name__} is not allowed"
    if isinstance(node, ast.Dict) and None in node.keys:
        return "** is not allowed"
    if isinstance(node, ast.Call):
        return _problem_of_call(node.func)
    return ""


def _problem_of_call(called: ast.expr) -> str:
    if isinstance(called, ast.Attribute):
        known = any(called.attr in methods for methods in _METHODS.values())
        return "" if known else f"The method {shortened(called.attr)} is not allowed"
    if isinstance(called, ast.Name) and called.id in _FUNCTIONS:
        return ""
    return f"A call of anything but {', '.join(_FUNCTIONS)} and plain methods is not allowed"


# -- the walk, each time


class _Evaluation:
    """One evaluation: what its names mean, and how much it may still produce.

    A step charges what it is about to produce, before it does. Nothing has a name but the arguments, so what was
    produced stands in one place of whatever it becomes a part of, and lists, sums and copies charge their own items
    alone. Only a repetition puts it into many places: there each thing is charged as often as it will stand there. So
    whatever walks a value (`==`, `hash`, `repr`) finds no more in it than was charged, and the arguments as often as
    the text names them.
    """

    __slots__ = ("left", "names", "text")

    def __init__(self, text: str, names: dict[str, Any]) -> None:
        self.text = text
        self.names = names
        self.left = SIZE_MAX

    def charge(self, size: int) -> None:
        """Take this much of what is left.

        Raises:
            ExpressionError: It is more than that.
        """
        self.left -= size
        if self.left < 0:
            raise self.refusal(f"More than {SIZE_MAX} characters and items would be made")

    def refusal(self, problem: str) -> ExpressionError:
        """The error for something that is not allowed. It tells kinds and no values: those may be large."""
        return _refusal(problem, self.text)


def _kind(value: Any) -> str:
    return f"{value.__name__!r}" if isinstance(value, type) else f"a value of type {type(value).__name__!r}"


def _weight(value: Any, most: int, weigh_other: Callable[[Any], int]) -> int:
    """How much stands in a value, each thing as often as it stands there; the count ends beyond `most`."""
    weight, waiting = 0, [value]
    while waiting and weight <= most:
        each = waiting.pop()
        if isinstance(each, str | bytes):
            weight += max(1, len(each))
        elif isinstance(each, int):
            weight += 1 + each.bit_length() // 3  # its digits
        elif isinstance(each, float | None):
            weight += 1
        elif not isinstance(each, _CONTAINERS):
            weight += weigh_other(each)
        elif weight + len(each) > most:
            return weight + len(each)
        else:
            weight += 1
            waiting.extend(each)
            if isinstance(each, dict):
                waiting.extend(each.values())
    return weight


def _value(node: ast.AST, evaluation: _Evaluation) -> Any:
    return _RULES[type(node)](node, evaluation)


def _name(node: ast.Name, evaluation: _Evaluation) -> Any:
    return evaluation.names[node.id] if node.id in evaluation.names else _FUNCTIONS[node.id]


def _bool_op(node: ast.BoolOp, evaluation: _Evaluation) -> Any:
    wanted = isinstance(node.op, ast.And)
    value: Any = wanted
    for part in node.values:
        value = _value(part, evaluation)
        if bool(value) is not wanted:
            break
    return value


def _unary_op(node: ast.UnaryOp, evaluation: _Evaluation) -> Any:
    return _UNARY[type(node.op)](_value(node.operand, evaluation))


def _bin_op(node: ast.BinOp, evaluation: _Evaluation) -> Any:
    left, right = _value(node.left, evaluation), _value(node.right, evaluation)
    if isinstance(left, int) and isinstance(right, int):
        _check_whole_numbers(node.op, left, right, evaluation)
    elif isinstance(node.op, ast.Mod) and isinstance(left, str | bytes | bytearray):
        raise evaluation.refusal("Formatting with % is not allowed (put texts together with + and str)")
    elif isinstance(node.op, ast.Mult):
        _charge_repetition(left, right, evaluation)
    elif isinstance(left, AbstractSet) or isinstance(right, AbstractSet):
        # Views of dicts take whatever can be walked for their partner.
        _charge_sizes((left, right), evaluation)
    elif (isinstance(left, Sequence) and isinstance(right, Sequence)) or isinstance(left, Mapping):
        evaluation.charge(sum(len(each) for each in (left, right) if isinstance(each, Sized)))
    return _OPERATORS[type(node.op)](left, right)


def _check_whole_numbers(kind: ast.operator, left: int, right: int, evaluation: _Evaluation) -> None:
    bits = 0
    if isinstance(kind, ast.Pow) and abs(left) > 1:
        bits = (abs(left) - 1).bit_length() * right
    elif isinstance(kind, ast.Mult) and abs(left) > 1 and abs(right) > 1:
        bits = left.bit_length() + right.bit_length()
    elif isinstance(kind, ast.FloorDiv | ast.Mod):
        bits = right.bit_length()  # it takes that many steps for each bit of the other
    if bits > BITS_MAX:
        raise evaluation.refusal(f"A whole number of more than {BITS_MAX} bits is too large for *, **, // and %")


def _charge_repetition(left: Any, right: Any, evaluation: _Evaluation) -> None:
    repeated, number = (left, right) if isinstance(left, Sequence) else (right, left)
    if not isinstance(repeated, Sequence) or not isinstance(number, SupportsIndex):
        return
    try:
        times = max(0, operator.index(number))
    except TypeError:  # an array, which multiplies each item
        return
    weight = len(repeated)
    if times and isinstance(repeated, list | tuple):
        weight = _weight(repeated, evaluation.left // times + 1, lambda _other: _OTHER_WEIGHT) - 1
    evaluation.charge(weight * times)


def _charge_sizes(given: Iterable[Any], evaluation: _Evaluation) -> None:
    """Charge what is about to be walked and copied, but for what Python itself will refuse to walk."""
    for each in given:
        if isinstance(each, Sized):
            evaluation.charge(len(each))
        elif isinstance(each, Iterable):
            raise evaluation.refusal(f"{_kind(each)} may have no end and is not walked")


def _compare(node: ast.Compare, evaluation: _Evaluation) -> Any:
    left = _value(node.left, evaluation)
    result: Any = True
    for kind, part in zip(node.ops, node.comparators, strict=True):
        right = _value(part, evaluation)
        if isinstance(kind, ast.In | ast.NotIn) and not isinstance(right, _CONTAINERS):
            raise evaluation.refusal(
                f"'in' does not look into {_kind(right)} (only into texts, bytes, lists, tuples, dicts, sets and "
                "views of dicts)"
            )
        result = _COMPARISONS[type(kind)](left, right)
        if not result:
            break
        left = right
    return result


def _if_exp(node: ast.IfExp, evaluation: _Evaluation) -> Any:
    return _value(node.body if _value(node.test, evaluation) else node.orelse, evaluation)


def _subscript(node: ast.Subscript, evaluation: _Evaluation) -> Any:
    held, key = _value(node.value, evaluation), _value_or_slice(node.slice, evaluation)
    if isinstance(held, _CLOSED_TYPES):
        raise evaluation.refusal(f"{_kind(held)} has no items for an expression")
    if isinstance(held, dict) and hasattr(type(held), "__missing__") and key not in held:
        raise KeyError(key)  # a defaultdict would take it in
    if isinstance(key, slice) and isinstance(held, Sequence):
        evaluation.charge(len(range(*key.indices(len(held)))))
    return held[key]


def _value_or_slice(node: ast.expr, evaluation: _Evaluation) -> Any:
    if not isinstance(node, ast.Slice):
        return _value(node, evaluation)
    parts = (node.lower, node.upper, node.step)
    return slice(*(None if part is None else _value(part, evaluation) for part in parts))


def _attribute(node: ast.Attribute, evaluation: _Evaluation) -> Any:
    return _getattr(evaluation, _value(node.value, evaluation), node.attr)


def _items(node: ast.List | ast.Tuple | ast.Set, evaluation: _Evaluation) -> Any:
    kind: Any = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
    evaluation.charge(len(node.elts))
    return kind([_value(each, evaluation) for each in node.elts])


def _dict(node: ast.Dict, evaluation: _Evaluation) -> dict[Any, Any]:
    evaluation.charge(len(node.values))
    pairs = zip(cast("list[ast.expr]", node.keys), node.values, strict=True)  # None, which is `**`, was refused
    return {_value(key, evaluation): _value(value, evaluation) for key, value in pairs}


# -- calls


def _call(node: ast.Call, evaluation: _Evaluation) -> Any:
    if isinstance(node.func, ast.Attribute):
        owner, name = _value(node.func.value, evaluation), node.func.attr
        if not any(isinstance(owner, kind) and name in methods for kind, methods in _METHODS.items()):
            raise evaluation.refusal(
                f"{name!r} of {_kind(owner)} may not be called (methods are called of str, dict, list and tuple only)"
            )
        return _call_method(owner, name, *_arguments(node, evaluation), evaluation)
    name = cast("ast.Name", node.func).id
    given, named = _arguments(node, evaluation)
    return _BOUNDED[name](evaluation, *given, **named) if name in _BOUNDED else _FUNCTIONS[name](*given, **named)


def _arguments(node: ast.Call, evaluation: _Evaluation) -> tuple[list[Any], dict[str, Any]]:
    given = [_value(each, evaluation) for each in node.args]
    return given, {each.arg or "": _value(each.value, evaluation) for each in node.keywords}


def _call_method(owner: Any, name: str, given: list[Any], named: dict[str, Any], evaluation: _Evaluation) -> Any:
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


def _replace(evaluation: _Evaluation, text: str, old: str, new: str, count: int = -1) -> str:
    times = text.count(old) if count < 0 else min(count, text.count(old))
    evaluation.charge(len(text) + times * len(new))
    return text.replace(old, new, count)


def _join(evaluation: _Evaluation, separator: str, parts: Any) -> str:
    texts = _list_of(evaluation, parts)
    evaluation.charge(sum(len(text) + len(separator) for text in texts if isinstance(text, str)))
    return separator.join(texts)


def _getattr(evaluation: _Evaluation, owner: Any, name: Any, *default: Any) -> Any:
    return getattr(_open(evaluation, owner, name), name, *default)


def _hasattr(evaluation: _Evaluation, owner: Any, name: Any) -> bool:
    return hasattr(_open(evaluation, owner, name), name)


def _open(evaluation: _Evaluation, owner: Any, name: Any) -> Any:
    """`owner`, if an expression may read this attribute of it."""
    if not isinstance(name, str) or name.startswith("_") or isinstance(owner, _CLOSED_TYPES):
        told = shortened(name) if isinstance(name, str) else _kind(name)
        raise evaluation.refusal(f"An expression may not read the attribute {told} of {_kind(owner)}")
    return owner


def _isinstance(evaluation: _Evaluation, value: Any, kinds: Any) -> bool:
    # Not deeper: a tuple of tuples of tuples is walked to its last leaf.
    for each in kinds if isinstance(kinds, tuple) else (kinds,):
        if not isinstance(each, type | types.UnionType):
            raise evaluation.refusal("The second argument of isinstance must be a type or a flat tuple of types")
    return isinstance(value, kinds)


def _list_of(evaluation: _Evaluation, *given: Any, **named: Any) -> list[Any]:
    _charge_sizes(given, evaluation)
    return list(*given, **named)


def _dict_of(evaluation: _Evaluation, *given: Any, **named: Any) -> dict[Any, Any]:
    _charge_sizes((*given, named), evaluation)
    for pairs in given:
        if isinstance(pairs, Iterable) and not isinstance(pairs, Mapping):
            _charge_sizes(pairs, evaluation)  # each of them is made a list
    return dict(*given, **named)


def _text_of(evaluation: _Evaluation, *given: Any, **named: Any) -> str:
    if len(given) > 1 or named:
        # An encoding would be looked for, and imported, by its name.
        raise evaluation.refusal("str takes one argument")
    if not given or type(given[0]) is str:
        return given[0] if given else ""
    if isinstance(given[0], _CONTAINERS):
        weight = _weight(given[0], evaluation.left, lambda other: len(repr(other)))
        if weight > evaluation.left:
            evaluation.charge(weight)
    evaluation.charge(len(text := str(given[0])))
    return text


def _whole_number(evaluation: _Evaluation, *given: Any, **named: Any) -> int:
    number = int(*given, **named)
    if number.bit_length() > BITS_MAX and not any(number is each for each in given):
        raise evaluation.refusal(f"int would make a whole number of more than {BITS_MAX} bits")
    return number


# What a name means: as a value, the function or type itself, so that `isinstance(x, (int, str))` reads it.
_FUNCTIONS: dict[str, Any] = {
    each.__name__: each for each in (isinstance, dict, list, str, int, float, bool, len, getattr, hasattr)
}

# What is called by that name, where it is not the function itself.
_BOUNDED: dict[str, Callable[..., Any]] = {
    "isinstance": _isinstance,
    "dict": _dict_of,
    "list": _list_of,
    "str": _text_of,
    "int": _whole_number,
    "getattr": _getattr,
    "hasattr": _hasattr,
}

# Methods whose result may be much larger than what they are called with.
_GROWING: dict[str, Callable[..., str]] = {"replace": _replace, "join": _join}

# fmt: off
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}

_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert,
}

_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right, ast.NotIn: lambda left, right: left not in right,
}

_RULES: dict[type, Callable[[Any, _Evaluation], Any]] = {
    ast.Constant: lambda node, _evaluation: node.value, ast.Name: _name, ast.BoolOp: _bool_op, ast.UnaryOp: _unary_op,
    ast.BinOp: _bin_op, ast.Compare: _compare, ast.IfExp: _if_exp, ast.Subscript: _subscript, ast.Attribute: _attribute,
    ast.Call: _call, ast.List: _items, ast.Tuple: _items, ast.Set: _items, ast.Dict: _dict,
}
# fmt: on
