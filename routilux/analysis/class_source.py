"""What the source of one class tells of a routine: its slots, events, config and methods."""

import ast
from collections.abc import Iterator
from typing import Any

from routilux.plain import plain

__all__ = ["base_is_routine", "describe_class"]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def base_is_routine(node: ast.ClassDef) -> bool:
    """Whether a base is written as `Routine`, or as a name of a module with it: `routilux.Routine`."""
    return any(
        (isinstance(base, ast.Name) and base.id == "Routine")
        or (isinstance(base, ast.Attribute) and base.attr == "Routine")
        for base in node.bases
    )


def describe_class(node: ast.ClassDef, qualified_name: str) -> dict[str, Any]:
    """One entry of `routines`; see `RoutineAnalyzer.analyze_file`."""
    slots: dict[str, dict[str, Any]] = {}
    events: dict[str, dict[str, Any]] = {}
    config: dict[str, Any] = {}
    dynamic: dict[str, bool] = {}
    methods = [statement for statement in node.body if isinstance(statement, Function)]
    for method in methods:
        receiver = _receiver(method)
        for name, call in _own_calls(method, receiver):
            if name == "define_slot":
                # Of two with one name, as in the branches of an `if`, the first is shown.
                _add(slots, _slot(call, receiver))
            elif name == "define_event":
                _add(events, _event(call))
            elif name == "set_config" and method.name == "__init__":
                for key, value, is_dynamic in _settings(call):
                    config[key], dynamic[key] = value, is_dynamic
    return {
        "name": node.name,
        "qualified_name": qualified_name,
        "docstring": ast.get_docstring(node),
        "line_number": node.lineno,
        "slots": list(slots.values()),
        "events": list(events.values()),
        "config": config,
        "dynamic_config": [key for key, is_dynamic in dynamic.items() if is_dynamic],
        "methods": [_method(method) for method in methods],
    }


def _receiver(method: Function) -> str | None:
    """What the method calls its own object: `self` nearly always; None where it has none."""
    if any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in method.decorator_list):
        return None
    parameters = _parameters(method.args)
    return parameters[0] if parameters else None


def _parameters(arguments: ast.arguments) -> list[str]:
    return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _own_calls(method: Function, receiver: str | None) -> list[tuple[str, ast.Call]]:
    """The calls of methods of the object itself, `super()` included, in the order of the file."""
    found: list[tuple[str, ast.Call]] = []
    # With a stack of its own: an expression may be nested deeper than Python's.
    waiting: list[ast.AST] = list(method.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef) or (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and receiver in _parameters(node.args)
        ):
            continue  # another object's calls
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_own(node.func.value, receiver):
            found.append((node.func.attr, node))
        waiting.extend(ast.iter_child_nodes(node))
    return sorted(found, key=lambda pair: (pair[1].lineno, pair[1].col_offset))


def _is_own(node: ast.expr, receiver: str | None) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id == receiver


def _add(found: dict[str, dict[str, Any]], entry: dict[str, Any] | None) -> None:
    if entry is not None:
        found.setdefault(entry["name"], entry)


def _slot(call: ast.Call, receiver: str | None) -> dict[str, Any] | None:
    given = _given(call, ("name", "handler", "merge_strategy"))
    if "name" not in given:
        return None
    name, is_dynamic = _name(given["name"])
    merge = given.get("merge_strategy")
    return {
        "name": name,
        "dynamic": is_dynamic,
        "handler": _callable_name(given.get("handler"), receiver),
        "merge_strategy": "override" if merge is None else _callable_name(merge, receiver),
        "line_number": call.lineno,
    }


def _event(call: ast.Call) -> dict[str, Any] | None:
    given = _given(call, ("name", "output_params"))
    if "name" not in given:
        return None
    name, is_dynamic = _name(given["name"])
    params = _output_params(given.get("output_params"))
    return {
        "name": name,
        "dynamic": is_dynamic,
        "params": params,
        # The same under the name that `define_event` has for it.
        "output_params": list(params),
        "line_number": call.lineno,
    }


def _given(call: ast.Call, names: tuple[str, ...]) -> dict[str, ast.expr]:
    """The arguments by their names. What is unpacked (`*spec`, `**spec`) counts as the first that is not known."""
    given: dict[str, ast.expr] = {}
    for name, argument in zip(names, call.args, strict=False):
        given[name] = argument
        if isinstance(argument, ast.Starred):
            break
    for keyword in call.keywords:
        if keyword.arg is not None:
            given[keyword.arg] = keyword.value
        elif names[0] not in given:
            given[names[0]] = ast.Starred(ast.Starred(keyword.value))
    return given


def _name(node: ast.expr) -> tuple[str, bool]:
    """A name, and whether it is only known when the program runs; then it is the expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value, False
    return _text(node), True


def _callable_name(node: ast.expr | None, receiver: str | None) -> str | None:
    if node is None or (isinstance(node, ast.Constant) and node.value is None):
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Lambda):
        return "<lambda>"  # as Python names it
    if isinstance(node, ast.Attribute) and _is_own(node.value, receiver):
        return node.attr
    return _text(node)


def _output_params(node: ast.expr | None) -> list[str]:
    if node is None or (isinstance(node, ast.Constant) and node.value is None):
        return []
    if isinstance(node, ast.List | ast.Tuple):
        return [_name(element)[0] for element in node.elts]
    return [_text(ast.Starred(node))]


def _settings(call: ast.Call) -> Iterator[tuple[str, Any, bool]]:
    """Each key with its value, and whether that is only known when the program runs; then it is the expression."""
    for keyword in call.keywords:
        value, is_dynamic = _value(keyword.value)
        if keyword.arg is not None:
            yield keyword.arg, value, is_dynamic
        elif isinstance(value, dict):  # unpacked where it stands
            yield from ((key, item, False) for key, item in value.items())
        else:
            yield f"**{value}", value, True


def _value(node: ast.expr) -> tuple[Any, bool]:
    try:
        return plain(ast.literal_eval(node), "the value"), False
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        # No literal, or one that JSON cannot hold.

        return _text(node), True


def _method(method: Function) -> dict[str, Any]:
    returns = "" if method.returns is None else f" -> {_text(method.returns)}"
    return {
        "name": method.name,
        "signature": f"({_text(method.args)}){returns}",
        "docstring": ast.get_docstring(method),
        "is_async": isinstance(method, ast.AsyncFunctionDef),
        "decorators": [_text(each) for each in method.decorator_list],
        "line_number": method.lineno,
    }


def _text(node: ast.AST) -> str:
    """The source of an expression, on one line."""
    try:
        return ast.unparse(node)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        return "..."
