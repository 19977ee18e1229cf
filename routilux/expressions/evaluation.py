"""The walk through a checked tree: what each kind of node means."""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from typing import Any, cast

from routilux.expressions.budget import CONTAINERS, Evaluation, kind_of
from routilux.expressions.calls import CLOSED_TYPES, FUNCTIONS, call_function, call_method, read_attribute

__all__ = ["NO_FORMATTING", "OPERATORS", "RULES", "try_out", "value_of"]

NO_FORMATTING = "Formatting with % is not allowed (put texts together with + and str)"


def value_of(node: ast.AST, evaluation: Evaluation) -> Any:
    """The value of a node that was checked."""
    return RULES[type(node)](node, evaluation)


def try_out(constant: ast.AST, trial: Evaluation) -> None:
    """Evaluate a node that needs no argument, to see whether it stays within bounds.

    What it raises otherwise is not told: that is for an evaluation, which may never come there.

    Raises:
        ExpressionError: It goes beyond them.
    """
    try:
        value_of(constant, trial)
    except Exception:  # whatever the lambda itself would raise, such as ZeroDivisionError
        if trial.is_used_up:
            raise


def _pass_over(parts: Iterable[ast.expr], evaluation: Evaluation) -> None:
    """What is not evaluated, because `and`, `or`, `if` or a comparison is decided already; a trial looks at it."""
    if evaluation.is_trial:
        for part in parts:
            try_out(part, evaluation)


def _name(node: ast.Name, evaluation: Evaluation) -> Any:
    return evaluation.names[node.id] if node.id in evaluation.names else FUNCTIONS[node.id]


def _bool_op(node: ast.BoolOp, evaluation: Evaluation) -> Any:
    wanted = isinstance(node.op, ast.And)
    value: Any = wanted
    for index, part in enumerate(node.values):
        value = value_of(part, evaluation)
        if bool(value) is not wanted:
            _pass_over(node.values[index + 1 :], evaluation)
            break
    return value


def _unary_op(node: ast.UnaryOp, evaluation: Evaluation) -> Any:
    return _UNARY[type(node.op)](value_of(node.operand, evaluation))


def _bin_op(node: ast.BinOp, evaluation: Evaluation) -> Any:
    left, right = value_of(node.left, evaluation), value_of(node.right, evaluation)
    if isinstance(left, int) and isinstance(right, int):
        evaluation.charge_whole_numbers(node.op, left, right)
    elif isinstance(node.op, ast.Mod) and isinstance(left, str | bytes | bytearray):
        raise evaluation.refusal(NO_FORMATTING)
    elif isinstance(node.op, ast.Mult):
        evaluation.charge_repetition(left, right)
    elif isinstance(left, AbstractSet) or isinstance(right, AbstractSet):
        # Views of dicts take whatever can be walked for their partner.
        evaluation.charge_sizes((left, right))
    elif (isinstance(left, Sequence) and isinstance(right, Sequence)) or isinstance(left, Mapping):
        evaluation.charge(sum(len(each) for each in (left, right) if isinstance(each, Sized)))
    return OPERATORS[type(node.op)](left, right)


def _compare(node: ast.Compare, evaluation: Evaluation) -> Any:
    left = value_of(node.left, evaluation)
    result: Any = True
    for index, (kind, part) in enumerate(zip(node.ops, node.comparators, strict=True)):
        right = value_of(part, evaluation)
        if isinstance(kind, ast.In | ast.NotIn) and not isinstance(right, CONTAINERS):
            raise evaluation.refusal(
                f"'in' does not look into {kind_of(right)} (only into texts, bytes, lists, tuples, dicts, sets and "
                "views of dicts)"
            )
        result = _COMPARISONS[type(kind)](left, right)
        if not result:
            _pass_over(node.comparators[index + 1 :], evaluation)
            break
        left = right
    return result


def _if_exp(node: ast.IfExp, evaluation: Evaluation) -> Any:
    chosen, other = (node.body, node.orelse) if value_of(node.test, evaluation) else (node.orelse, node.body)
    _pass_over([other], evaluation)
    return value_of(chosen, evaluation)


def _subscript(node: ast.Subscript, evaluation: Evaluation) -> Any:
    held, key = value_of(node.value, evaluation), value_of(node.slice, evaluation)
    if isinstance(held, CLOSED_TYPES):
        raise evaluation.refusal(f"{kind_of(held)} has no items for an expression")
    if isinstance(held, dict) and hasattr(type(held), "__missing__") and key not in held:
        raise KeyError(key)  # a defaultdict would take it in
    if isinstance(key, slice) and isinstance(held, Sequence):
        evaluation.charge(len(range(*key.indices(len(held)))))
    return held[key]


def _slice(node: ast.Slice, evaluation: Evaluation) -> slice:
    parts = (node.lower, node.upper, node.step)
    return slice(*(None if part is None else value_of(part, evaluation) for part in parts))


def _attribute(node: ast.Attribute, evaluation: Evaluation) -> Any:
    return read_attribute(evaluation, value_of(node.value, evaluation), node.attr)


def _items(node: ast.List | ast.Tuple | ast.Set, evaluation: Evaluation) -> Any:
    kind: Any = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
    evaluation.charge(len(node.elts))
    return kind([value_of(each, evaluation) for each in node.elts])


def _dict(node: ast.Dict, evaluation: Evaluation) -> dict[Any, Any]:
    evaluation.charge(len(node.values))
    pairs = zip(cast("list[ast.expr]", node.keys), node.values, strict=True)  # None, which is `**`, was refused
    return {value_of(key, evaluation): value_of(value, evaluation) for key, value in pairs}


def _call(node: ast.Call, evaluation: Evaluation) -> Any:
    if isinstance(node.func, ast.Attribute):
        owner = value_of(node.func.value, evaluation)
        return call_method(evaluation, owner, node.func.attr, *_arguments(node, evaluation))
    return call_function(evaluation, cast("ast.Name", node.func).id, *_arguments(node, evaluation))


def _arguments(node: ast.Call, evaluation: Evaluation) -> tuple[list[Any], dict[str, Any]]:
    given = [value_of(each, evaluation) for each in node.args]
    return given, {each.arg or "": value_of(each.value, evaluation) for each in node.keywords}


# fmt: off
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
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

RULES: dict[type, Callable[[Any, Evaluation], Any]] = {
    ast.Constant: lambda node, _evaluation: node.value, ast.Name: _name, ast.BoolOp: _bool_op, ast.UnaryOp: _unary_op,
    ast.BinOp: _bin_op, ast.Compare: _compare, ast.IfExp: _if_exp, ast.Subscript: _subscript, ast.Attribute: _attribute,
    ast.Call: _call, ast.List: _items, ast.Tuple: _items, ast.Set: _items, ast.Dict: _dict, ast.Slice: _slice,
}
# fmt: on
