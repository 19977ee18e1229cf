"""Expressions: conditions as text, evaluated by walking a checked syntax tree.

A flow file may hold a condition that was a lambda. Python's own `eval` would let whoever wrote the file do anything;
here the text is parsed, every node of it is looked at, and what is not in the list below is an error. There are no
loops, no comprehensions and no assignments in that list, so an evaluation takes as many steps as the text has nodes;
what one step may produce is bounded as well.
"""

import ast
import inspect
import operator
import types
from collections.abc import Callable, Collection, Mapping, Sized
from functools import cached_property
from threading import Lock
from typing import Any

from routilux.errors import ExpressionError
from routilux.plain import shortened

__all__ = ["Expression"]

TEXT_MAX = 4_000
DEPTH_MAX = 100

# What a step may produce: items or characters, and bits of a whole number (about 4,000 digits).
SIZE_MAX = 1_000_000
BITS_MAX = 14_000

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
# fmt: on

# Their attributes lead from data into the interpreter.
_CLOSED_TYPES = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
)

_SEQUENCES = (str, bytes, list, tuple)

_OLDER_NAMES = ("x", "item", "value", "obj")

# CPython 3.11 counts the depth of its tree builder over all threads, and says SystemError when two of them meet there.
_parsing = Lock()
_PARSE_ATTEMPTS = 10


class Expression:
    """What a lambda says, as text: a callable that imports nothing, changes nothing and comes to an end.

    The text is parsed when it is called or checked for the first time, so that loading a file parses nothing. Allowed
    are names (the parameters), constants, displays of lists, tuples, sets and dicts, comparisons, `and`, `or`, `not`,
    `a if b else c`, arithmetic, subscripts and slices, attributes without a leading underscore, calls of isinstance,
    dict, list, str, int, float, bool, len, getattr and hasattr, and of the methods of str, dict, list and tuple that
    change nothing.

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
        self._tree  # noqa: B018 - made by looking at it

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The value for these arguments.

        Raises:
            ExpressionError: What `check` raises; an attribute or a call that is not allowed; a value beyond all bounds.
            Exception: Whatever the lambda itself would raise, such as KeyError.
        """
        tree = self._tree
        names = self.__signature__.bind(*args, **kwargs).arguments
        for other in self._others:
            names[other] = names["data"]
        return _value(tree, names)

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.text) > TEXT_MAX:
            raise ExpressionError(f"The expression {shortened(self.text)} has more than {TEXT_MAX} characters.")
        tree = _parsed(self.text)
        _check(tree, {*self.parameters, *self._others}, self.text, 0)
        return tree


def _parsed(text: str) -> ast.expr:
    for attempt in range(_PARSE_ATTEMPTS):
        try:
            with _parsing:
                return ast.parse(text, mode="eval").body
        except SystemError:  # somebody else was parsing; see `_parsing`
            if attempt == _PARSE_ATTEMPTS - 1:
                raise
        except SyntaxError as error:
            raise ExpressionError(f"{shortened(text)} is not an expression: {error.msg}.") from None
        except (ValueError, MemoryError, RecursionError) as error:  # NUL characters; nested too deeply for the parser
            raise ExpressionError(f"{shortened(text)} cannot be parsed: {shortened(str(error))}.") from None
    raise AssertionError("unreachable")


# -- the check, once


def _check(node: ast.AST, names: Collection[str], text: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise ExpressionError(f"The expression {shortened(text)} is nested more than {DEPTH_MAX} levels deep.")
    problem = _problem(node, names)
    if problem:
        raise ExpressionError(
            f"{problem}, in the expression {shortened(text)}. Use a function at module level for what an expression "
            "cannot say."
        )
    for child in _children(node):
        _check(child, names, text, depth + 1)


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


def _value(node: ast.AST, names: dict[str, Any]) -> Any:
    return _RULES[type(node)](node, names)


def _name(node: ast.Name, names: dict[str, Any]) -> Any:
    return names[node.id] if node.id in names else _FUNCTIONS[node.id]


def _bool_op(node: ast.BoolOp, names: dict[str, Any]) -> Any:
    wanted = isinstance(node.op, ast.And)
    value: Any = wanted
    for part in node.values:
        value = _value(part, names)
        if bool(value) is not wanted:
            break
    return value


def _unary_op(node: ast.UnaryOp, names: dict[str, Any]) -> Any:
    return _UNARY[type(node.op)](_value(node.operand, names))


def _bin_op(node: ast.BinOp, names: dict[str, Any]) -> Any:
    left, right = _value(node.left, names), _value(node.right, names)
    if _would_be_huge(node.op, left, right):
        raise ExpressionError(
            f"{ast.unparse(node)[:80]} is larger than an expression may make it. "
            f"Its parts are {shortened(left)} and {shortened(right)}."
        )
    return _OPERATORS[type(node.op)](left, right)


def _would_be_huge(kind: ast.operator, left: Any, right: Any) -> bool:
    if isinstance(left, int) and isinstance(right, int):
        if isinstance(kind, ast.Pow):
            return right > 0 and left.bit_length() * right > BITS_MAX
        return isinstance(kind, ast.Mult) and left.bit_length() + right.bit_length() > BITS_MAX
    if isinstance(kind, ast.Mod):
        return isinstance(left, str | bytes)  # "%1000000000d"
    if isinstance(kind, ast.Mult):
        repeated, times = (left, right) if isinstance(left, _SEQUENCES) else (right, left)
        return isinstance(repeated, _SEQUENCES) and isinstance(times, int) and len(repeated) * times > SIZE_MAX
    if isinstance(kind, ast.Add) and isinstance(left, _SEQUENCES) and isinstance(right, _SEQUENCES):
        return len(left) + len(right) > SIZE_MAX
    return False


def _compare(node: ast.Compare, names: dict[str, Any]) -> Any:
    left = _value(node.left, names)
    result: Any = True
    for kind, part in zip(node.ops, node.comparators, strict=True):
        right = _value(part, names)
        result = _COMPARISONS[type(kind)](left, right)
        if not result:
            break
        left = right
    return result


def _if_exp(node: ast.IfExp, names: dict[str, Any]) -> Any:
    return _value(node.body if _value(node.test, names) else node.orelse, names)


def _subscript(node: ast.Subscript, names: dict[str, Any]) -> Any:
    held, key = _value(node.value, names), _value_or_slice(node.slice, names)
    if isinstance(held, _CLOSED_TYPES):
        raise ExpressionError(f"{shortened(ast.unparse(node))}: {shortened(held)} has no items for an expression.")
    return held[key]


def _value_or_slice(node: ast.expr, names: dict[str, Any]) -> Any:
    if not isinstance(node, ast.Slice):
        return _value(node, names)
    return slice(*(None if part is None else _value(part, names) for part in (node.lower, node.upper, node.step)))


def _attribute(node: ast.Attribute, names: dict[str, Any]) -> Any:
    return getattr(_open(_value(node.value, names), node.attr), node.attr)


def _open(owner: Any, name: Any) -> Any:
    """`owner`, if an expression may read this attribute of it."""
    if not isinstance(name, str) or name.startswith("_") or isinstance(owner, _CLOSED_TYPES):
        raise ExpressionError(f"An expression may not read the attribute {shortened(name)} of {shortened(owner)}.")
    return owner


def _call(node: ast.Call, names: dict[str, Any]) -> Any:
    if isinstance(node.func, ast.Attribute):
        function = _method(_value(node.func.value, names), node.func.attr)
    else:
        function = _CALLS[node.func.id] if isinstance(node.func, ast.Name) else _refuse_call
    given = [_value(each, names) for each in node.args]
    named = {each.arg or "": _value(each.value, names) for each in node.keywords}
    result = function(*given, **named)
    if isinstance(result, int) and result.bit_length() > BITS_MAX:
        raise ExpressionError(f"{shortened(ast.unparse(node))} is too large a number.")
    return result


def _method(owner: Any, name: str) -> Callable[..., Any]:
    if not any(isinstance(owner, kind) and name in methods for kind, methods in _METHODS.items()):
        raise ExpressionError(
            f"An expression may not call {name!r} of {shortened(owner)}: only of plain str, dict, list and tuple."
        )
    if isinstance(owner, str) and name in _GROWING:
        return lambda *given: _GROWING[name](owner, *given)
    method: Callable[..., Any] = getattr(owner, name)
    return method


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    times = text.count(old) if count < 0 else min(count, text.count(old))
    if len(text) + times * len(new) > SIZE_MAX:
        raise ExpressionError(f"{shortened(text)}.replace({shortened(old)}, {shortened(new)}) is too large.")
    return text.replace(old, new, count)


def _join(separator: str, parts: Any) -> str:
    texts = _CALLS["list"](parts)
    if sum(len(text) + len(separator) for text in texts) > SIZE_MAX:
        raise ExpressionError(f"{shortened(separator)}.join({shortened(texts)}) is too large.")
    return separator.join(texts)


# Methods whose result may be much larger than what they are called with.
_GROWING: dict[str, Callable[..., str]] = {"replace": _replace, "join": _join}


def _refuse_call(*_given: Any, **_named: Any) -> Any:
    raise ExpressionError("An expression may call functions by their names only.")


def _getattr(owner: Any, name: Any, *default: Any) -> Any:
    return getattr(_open(owner, name), name, *default)


def _hasattr(owner: Any, name: Any) -> bool:
    return hasattr(_open(owner, name), name)


def _sized(kind: Callable[..., Any]) -> Callable[..., Any]:
    def make(*given: Any, **named: Any) -> Any:
        for each in given:
            if not isinstance(each, Sized):
                raise ExpressionError(f"{shortened(each)} may have no end: an expression makes no list or dict of it.")
        return kind(*given, **named)

    return make


def _items(node: ast.List | ast.Tuple | ast.Set, names: dict[str, Any]) -> Any:
    kind: Any = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
    return kind([_value(each, names) for each in node.elts])


def _dict(node: ast.Dict, names: dict[str, Any]) -> dict[Any, Any]:
    pairs = zip(node.keys, node.values, strict=True)
    return {_value(key, names): _value(value, names) for key, value in pairs if key is not None}


def _contains(left: Any, right: Any) -> bool:
    return left in right


# What a name means: as a value, the function or type itself, so that `isinstance(x, (int, str))` reads it.
_FUNCTIONS: dict[str, Any] = {
    "isinstance": isinstance,
    "dict": dict,
    "list": list,
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "len": len,
    "getattr": getattr,
    "hasattr": hasattr,
}

# What is called by that name.
_CALLS: dict[str, Callable[..., Any]] = {
    **_FUNCTIONS,
    "dict": _sized(dict),
    "list": _sized(list),
    "getattr": _getattr,
    "hasattr": _hasattr,
}

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}

_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}

_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: _contains,
    ast.NotIn: lambda left, right: not _contains(left, right),
}

_RULES: dict[type, Callable[[Any, dict[str, Any]], Any]] = {
    ast.Constant: lambda node, _names: node.value,
    ast.Name: _name,
    ast.BoolOp: _bool_op,
    ast.UnaryOp: _unary_op,
    ast.BinOp: _bin_op,
    ast.Compare: _compare,
    ast.IfExp: _if_exp,
    ast.Subscript: _subscript,
    ast.Attribute: _attribute,
    ast.Call: _call,
    ast.List: _items,
    ast.Tuple: _items,
    ast.Set: _items,
    ast.Dict: _dict,
}
