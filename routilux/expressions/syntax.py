"""The text of an expression becomes a tree in which every node was looked at."""

import ast
import os
from collections.abc import Collection
from threading import RLock

from routilux.errors import ExpressionError
from routilux.expressions.budget import Evaluation, refusal
from routilux.expressions.calls import FLAT_TYPES, FUNCTIONS, METHODS, ONE_ARGUMENT
from routilux.expressions.evaluation import NO_FORMATTING, OPERATORS, RULES, try_out
from routilux.plain import shortened

__all__ = ["checked_tree"]

TEXT_MAX = 4_000
DEPTH_MAX = 100

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


def checked_tree(text: str, names: Collection[str]) -> ast.expr:
    """The tree of a text that may use these names.

    Its constants are tried out as well: what they alone would produce beyond the bounds of an evaluation is an error
    here, whether an evaluation would come there or not.

    Raises:
        ExpressionError: It is no expression, or has something that is not allowed in one; the message names it.
    """
    if len(text) > TEXT_MAX:
        raise ExpressionError(f"The expression {shortened(text)} has more than {TEXT_MAX} characters.")
    tree = _parsed(text)
    check = _Check(text, names)
    constants = [tree] if check.is_constant(tree, 0) else check.constants
    trial = Evaluation(text, {}, is_trial=True)
    for constant in constants:
        try_out(constant, trial)
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


class _Check:
    """One look at every node of a tree.

    Attributes:
        constants: The largest parts of what was looked at that have no argument in them, but for the whole.
    """

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.constants: list[ast.AST] = []
        self._text = text
        self._names = names

    def is_constant(self, node: ast.AST, depth: int) -> bool:
        """Look at a node and everything in it; whether no argument is in it.

        Raises:
            ExpressionError: Something that is not allowed.
        """
        if depth > DEPTH_MAX:
            raise ExpressionError(
                f"The expression {shortened(self._text)} is nested more than {DEPTH_MAX} levels deep."
            )
        problem = _problem(node, self._names)
        if problem:
            raise refusal(problem, self._text)
        children = _children(node)
        constants = [child for child in children if self.is_constant(child, depth + 1)]
        if len(constants) == len(children) and not (isinstance(node, ast.Name) and node.id in self._names):
            return True
        for child in constants:
            # A keyword has no value of its own.
            self.constants += [child] if type(child) in RULES else _children(child)
        return False


def _children(node: ast.AST) -> list[ast.AST]:
    unread = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
    children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, unread)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        children[0] = node.func.value  # a method is called by its name
    return children


def _problem(node: ast.AST, names: Collection[str]) -> str:
    """What is wrong with a node itself; empty when nothing is."""
    if isinstance(node, ast.keyword):
        return "** is not allowed" if node.arg is None else ""
    if type(node) not in RULES:
        return f"{type(node).__name__} is not allowed"
    if isinstance(node, ast.Name) and node.id not in names and node.id not in FUNCTIONS:
        return f"{shortened(node.id)} is not known (known are {', '.join(sorted({*names, *FUNCTIONS}))})"
    if isinstance(node, ast.Constant) and type(node.value) not in (str, int, float, bool, type(None)):
        return f"{shortened(node.value)} is not allowed"
    if isinstance(node, ast.Attribute) and (node.attr.startswith("_") or _is_function(node.value)):
        return f"The attribute {shortened(node.attr)} is not allowed"
    if isinstance(node, ast.BinOp):
        return _problem_of_operation(node)
    if isinstance(node, ast.Dict) and None in node.keys:
        return "** is not allowed"
    if isinstance(node, ast.Call):
        return _problem_of_call(node)
    return ""


def _problem_of_operation(node: ast.BinOp) -> str:
    if type(node.op) not in OPERATORS:
        return f"{type(node.op).__name__} is not allowed"
    is_text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
    return NO_FORMATTING if is_text and isinstance(node.op, ast.Mod) else ""


def _problem_of_call(node: ast.Call) -> str:
    called = node.func
    if isinstance(called, ast.Attribute):
        if _is_function(called.value):
            return f"{shortened(ast.unparse(called))} is not allowed (a method is called of its value)"
        known = any(called.attr in methods for methods in METHODS.values())
        return "" if known else f"The method {shortened(called.attr)} is not allowed"
    if isinstance(called, ast.Name) and called.id in FUNCTIONS:
        return _problem_of_arguments(called.id, node)
    return f"A call of anything but {', '.join(FUNCTIONS)} and plain methods is not allowed"


def _problem_of_arguments(function: str, node: ast.Call) -> str:
    """What an evaluation would refuse whatever the arguments are: said at once, and not when a condition is used."""
    second = node.args[1] if len(node.args) > 1 else None
    if function == "str" and (second is not None or node.keywords):
        return ONE_ARGUMENT
    if function in ("getattr", "hasattr") and isinstance(second, ast.Constant):
        is_closed = isinstance(second.value, str) and second.value.startswith("_")
        return f"The attribute {shortened(second.value)} is not allowed" if is_closed else ""
    if function == "isinstance" and isinstance(second, ast.Tuple):
        return FLAT_TYPES if any(isinstance(each, ast.Tuple) for each in second.elts) else ""
    return ""


def _is_function(node: ast.expr) -> bool:
    # No parameter has such a name.
    return isinstance(node, ast.Name) and node.id in FUNCTIONS
