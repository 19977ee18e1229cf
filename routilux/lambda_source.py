"""The source of a function as an expression: how a lambda gets into saved data.

A lambda has no name to be found by, so what it says is saved. Its source is looked up where Python looks for the lines
of a traceback, each function in it that could be meant is compiled again, and the one with the same code at the same
place is taken. That happens at `serialize` and with the application's own source; loading compiles nothing.
"""

import __future__

import ast
import builtins
import inspect
import linecache
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from routilux.callables import describe_callable, names_of_module
from routilux.errors import CallableError, ExpressionError
from routilux.expressions import Expression
from routilux.plain import shortened

__all__ = ["describe_function", "expression_of"]

_Candidate = ast.Lambda | ast.FunctionDef

# `from __future__ import ...` of the module changes the flags of every code object in it.
_FUTURE_FLAGS = [getattr(__future__, name).compiler_flag for name in __future__.all_feature_names]

_NOT_PLAIN = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


def describe_function(value: Callable[..., Any], owner: Any, where: str) -> dict[str, Any]:
    """A callable as data that can be restored: by its name, or as the expression that it is.

    Args:
        value: A function at module level, a lambda, a nested function of one `return`, an Expression, or a method of
            `owner`.
        owner: The routine that is being saved.
        where: What it is, for messages.

    Raises:
        CallableError: It is something else, or cannot be an expression; the message says why and what to do.
    """
    if isinstance(value, types.FunctionType) and not _is_at_module_level(value):
        value = _expression_for(value, where)
    is_own = isinstance(value, types.MethodType) and value.__self__ is owner
    saved = describe_callable(value, owner, where) if is_own or isinstance(value, _BY_NAME) else None
    if saved is None:
        raise CallableError(
            f"{where} cannot be saved: {shortened(value)} is a {type(value).__name__} and has no source of its own. "
            "Use a function at module level, or a lambda that calls it."
        )
    return saved


_BY_NAME = (types.FunctionType, Expression)


def _is_at_module_level(function: types.FunctionType) -> bool:
    """Whether its name leads to itself: a function that was replaced would come back as another one."""
    return names_of_module(function.__module__).get(function.__qualname__) is function


def _expression_for(function: types.FunctionType, where: str) -> Expression:
    try:
        return expression_of(function)
    except CallableError as error:
        raise CallableError(
            f"{where} cannot be saved: {error} Use a function at module level, or a lambda that uses nothing but its "
            "parameters."
        ) from error


def expression_of(function: types.FunctionType) -> Expression:
    """What a lambda, or a function whose body is one `return`, says.

    Raises:
        CallableError: Its source is not there, is no longer the one that was compiled, or is not within what an
            Expression allows; it uses variables from around it; it has defaults, `*args`, `**kwargs` or parameters
            that are positional or keywords only.
    """
    code = function.__code__
    name = f"{function.__module__}.{function.__qualname__}"
    if code.co_freevars:
        raise CallableError(f"{name} uses {', '.join(map(repr, code.co_freevars))} from around it.")
    if function.__defaults__ or code.co_posonlyargcount or code.co_kwonlyargcount or code.co_flags & _NOT_PLAIN:
        raise CallableError(f"{name} has other parameters than plain ones without defaults, or is no plain function.")
    node = _node_of(function, name)
    body = _returned(node)
    if body is None:
        raise CallableError(f"The body of {name} is more than one `return`.")
    parameters = [each.arg for each in node.args.args]
    for used in ast.walk(body):
        if isinstance(used, ast.Name) and used.id not in parameters:
            _check_builtin(used.id, function, name)
    try:
        text = ast.unparse(body)
        if ast.dump(ast.parse(text, mode="eval").body) != ast.dump(body):
            raise CallableError(f"{name} cannot be written as one line.")
        expression = Expression(text, parameters)
    except ExpressionError as error:
        raise CallableError(f"{name} is not within what an expression may do. {error}") from error
    except (RecursionError, ValueError, SyntaxError, MemoryError) as error:
        if isinstance(error, CallableError):
            raise
        raise CallableError(f"{name} cannot be written as text: {shortened(str(error))}.") from error
    return expression


def _check_builtin(used: str, function: types.FunctionType, name: str) -> None:
    if used in function.__globals__ and function.__globals__[used] is not getattr(builtins, used, None):
        raise CallableError(f"{name} uses the global name {used!r}.")


def _returned(node: _Candidate) -> ast.expr | None:
    if isinstance(node, ast.Lambda):
        return node.body
    statements = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    if len(statements) == 1 and isinstance(statements[0], ast.Return):
        return statements[0].value
    return None


# -- finding it in its source


def _node_of(function: types.FunctionType, name: str) -> _Candidate:
    code = function.__code__
    source = "".join(linecache.getlines(code.co_filename, function.__globals__))
    if not source:
        raise CallableError(f"The source of {name} is not there ({shortened(code.co_filename)}).")
    try:
        nodes = _functions_in(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CallableError(f"The source of {name} cannot be read: {shortened(str(error))}.") from error
    # The first line alone rules out almost everything; comparing code does the rest.
    same = [
        (node, twin)
        for node in nodes.get(code.co_firstlineno, ())
        if (twin := _compiled(node, code)) is not None and _stripped(twin) == _stripped(code)
    ]
    # Two lambdas of one line that do the same stand at different columns. Without columns (-X no_debug_ranges) they
    # are equally good as long as they read the same.
    exact = [node for node, twin in same if list(twin.co_positions()) == list(code.co_positions())]
    found = exact or [node for node, _ in same]
    if not found:
        raise CallableError(f"The source of {name} is not the one that was compiled, or has changed since.")
    if len({ast.dump(node) for node in found}) > 1:
        raise CallableError(f"{name} cannot be told from another function of its line {code.co_firstlineno}.")
    return found[0]


@lru_cache(maxsize=4)
def _functions_in(source: str) -> dict[int, list[_Candidate]]:
    """Every lambda and function of a source, by its first line."""
    found: dict[int, list[_Candidate]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Lambda | ast.FunctionDef):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            found.setdefault(min([node.lineno, *(each.lineno for each in decorators)]), []).append(node)
    return found


def _compiled(node: _Candidate, code: types.CodeType) -> types.CodeType | None:
    """The code of a function, compiled alone as it was compiled in its module."""
    flags = sum(flag for flag in {*_FUTURE_FLAGS} if code.co_flags & flag and flag != inspect.CO_NESTED)
    try:
        if isinstance(node, ast.Lambda):
            whole = compile(ast.Expression(node), code.co_filename, "eval", flags, dont_inherit=True)
        else:
            whole = compile(ast.Module([node], []), code.co_filename, "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # it stands alone here, and may need what was around it: then it is no expression
    alike = (each for each in _codes_in(whole) if each.co_name == code.co_name)
    return next((each for each in alike if each.co_firstlineno == code.co_firstlineno), None)


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code objects directly in a code object, then those in them."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    yield from inner
    for each in inner:
        yield from _codes_in(each)


def _stripped(code: types.CodeType) -> types.CodeType:
    """The code without what depends on where it stands."""
    return code.replace(co_linetable=b"", co_qualname=code.co_name, co_flags=code.co_flags & ~inspect.CO_NESTED)
