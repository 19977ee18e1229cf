"""Expression: what a lambda says, as text, and a callable."""

import ast
import inspect
from collections.abc import Collection
from typing import Any

from routilux.errors import ExpressionError
from routilux.expressions.budget import Evaluation
from routilux.expressions.calls import FUNCTIONS
from routilux.expressions.evaluation import value_of
from routilux.expressions.syntax import checked_tree
from routilux.plain import shortened

__all__ = ["Expression"]

_OLDER_NAMES = ("x", "item", "value", "obj")


class Expression:
    """What a lambda says, as text: a callable that imports nothing, changes nothing and comes to an end.

    Allowed are names (the parameters), constants, displays of lists, tuples, sets and dicts, comparisons, `and`, `or`,
    `not`, `a if b else c`, arithmetic, subscripts and slices, attributes without a leading underscore, calls of
    isinstance, dict, list, str, int, float, bool, len, getattr and hasattr, and of the methods of str, dict, list and
    tuple that change nothing.

    They mean what they mean in Python, but for this: `%` formats no text, `str` takes one argument, the second argument
    of `isinstance` is a type or a flat tuple of types, `in` looks into texts, bytes, lists, tuples, dicts, sets and
    views of dicts only, and a key that a dict does not have is a KeyError, whatever its `__missing__` would make of it.

    An evaluation produces at most 1,000,000 characters and items, and no whole number of more than 14,000 bits. What
    the constants of the text would produce beyond that, all of them together, is an error before any evaluation. The
    arguments may be larger: they can be read, compared and searched, which takes time in proportion to their size and
    to the length of the text. What other classes do in their properties and operators is not bounded.

    Args:
        text: The expression, without `lambda` and parameters.
        parameters: The names of its arguments, which may begin with an underscore, as nothing else may. None: one
            argument, called `data`, and in the text also x, item, value or obj, as serilux does for data without names.
        checks_now: False for a text out of a file: it is parsed when the expression is called or checked for the first
            time, so that loading parses nothing.

    Raises:
        ExpressionError: It is no expression, or has something that is not allowed in one, or a parameter is no name.
    """

    def __init__(self, text: str, parameters: Collection[str] | None = None, checks_now: bool = True) -> None:
        if not isinstance(text, str) or not all(isinstance(name, str) for name in parameters or ()):
            raise ExpressionError(f"An expression and its parameters are text, not {shortened((text, parameters))}.")
        for name in parameters or ():
            _check_parameter(name, text)
        self.text = text.strip()
        self.parameters = ("data",) if parameters is None else tuple(parameters)
        self._others = _OLDER_NAMES if parameters is None else ()
        self._tree: ast.expr | None = None  # two threads that need it at once both make it, and it is the same
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        try:
            self.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in self.parameters])
        except ValueError as error:  # the same name twice, or a keyword
            raise ExpressionError(f"The parameters of {shortened(text)} cannot be: {error}.") from None
        if checks_now:
            self.check()

    def __repr__(self) -> str:
        return f"Expression(lambda {', '.join(self.parameters)}: {self.text})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[Any, ...]:
        return self.text, self.parameters, self._others

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.text, None if self._others else self.parameters, False)

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

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The value for these arguments.

        Raises:
            ExpressionError: What `check` raises; an attribute or a call that is not allowed; more than may be produced.
            Exception: Whatever the lambda itself would raise, such as KeyError.
        """
        tree = self._checked()
        names = self.__signature__.bind(*args, **kwargs).arguments
        for other in self._others:
            names[other] = names["data"]
        return value_of(tree, Evaluation(self.text, names))

    def _checked(self) -> ast.expr:
        if self._tree is not None:
            return self._tree
        self._tree = tree = checked_tree(self.text, {*self.parameters, *self._others})
        return tree


def _check_parameter(name: str, text: str) -> None:
    if name in FUNCTIONS:
        raise ExpressionError(
            f"{shortened(name)} cannot be a parameter of {shortened(text)}: it is the name of a function that "
            "expressions call. Rename the parameter."
        )
    # A parameter means its argument and nothing else, whatever it is called; `__class__` would only look like more.
    is_reserved = name.startswith("__") and name.strip("_")
    if not name.isidentifier() or is_reserved:
        raise ExpressionError(f"{shortened(name)} cannot be a parameter of {shortened(text)}.")
