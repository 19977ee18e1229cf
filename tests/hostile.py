"""Saved data that mean harm: what they hold, where they hold it, and good data that were changed at random."""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from serilux import Serializable, register_serializable

from routilux import ErrorHandler, Routine, builtin_routines

__all__ = [
    "BUILT",
    "DATA",
    "EDITS",
    "TRICKS",
    "edited",
    "flow_corpus",
    "good_flow",
    "good_state",
    "may_be_built",
    "state_corpus",
]

DATA = Path(__file__).parent / "data"

assert builtin_routines  # the corpus has some of them

# The classes below write here that somebody has built one of them.
BUILT: list[str] = []


@register_serializable
class Bomb(Serializable):
    """A registered class of the application that does something when it is built or restored."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        BUILT.append("Bomb")

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:
        """Restore it."""
        BUILT.append("Bomb")


@register_serializable
class BombRoutine(Routine):
    """The same, as a routine."""

    def __init__(self) -> None:
        super().__init__()
        BUILT.append("BombRoutine")


@register_serializable
class BombPolicy(ErrorHandler):
    """The same, as an error handler."""

    def __init__(self) -> None:
        super().__init__()
        BUILT.append("BombPolicy")


def function(module: Any, name: Any) -> dict[str, Any]:
    """A function as serilux writes it."""
    return {"_type": "callable", "callable_type": "function", "module": module, "name": name}


# `hostile_module` and `late_module` leave a mark when they are executed; see the test.
TRICKS: dict[str, Any] = {
    "a module to import": function("hostile_module", "run"),
    "a module that is loaded lazily": function("late_module", "run"),
    "a function of the system": function("os", "system"),
    "a function to evaluate with": function("builtins", "eval"),
    "a builtin": {"_type": "callable", "callable_type": "builtin", "name": "eval"},
    "a method": {"_type": "callable", "callable_type": "method", "class_name": "Bomb", "method_name": "deserialize"},
    "a name of the older form": {"_type": "function", "module": "hostile_module", "name": "run"},
    "an expression": {"_type": "lambda_expression", "expression": "__import__('hostile_module')"},
    "a safe-looking expression": {"_type": "lambda_expression", "expression": "data.get('x') == 1"},
    "a class to build": {"_type": "Bomb", "_id": "x"},
    "classes in each other": {"_type": "Bomb", "a": [{"_type": "Bomb", "b": {"_type": "BombRoutine"}}]},
    "a routine to build": {"_type": "BombRoutine", "_slots": {}},
    "a policy to build": {"_type": "BombPolicy", "retryable_exceptions": ["hostile_module.Error"]},
    "a flow": {"_type": "Flow", "routines": {"x": {"_type": "BombRoutine"}}},
    "a state": {"_type": "JobState", "shared_data": {"_type": "Bomb"}},
    "a class that is not there": {"_type": "NoSuchClass"},
    "a type that is a list": {"_type": ["Bomb"]},
    "a type that is a dict": {"_type": {"_type": "Bomb"}},
    "a type that is null": {"_type": None},
    "other libraries' types": {"py/object": "hostile_module.run", "py/reduce": [], "__reduce__": "x", "$type": "x"},
    "names of Python": {"__class__": "Bomb", "__init__": 1, "__dict__": {}, "__getattr__": None},
    "a template": "{0.__class__.__init__.__globals__} %s ${jndi} {{7*7}}",
    "a path": "../../../../etc/passwd\0.json",
    "a huge key": {"k" * 1_000_000: 1},
    "many keys": {str(number): number for number in range(20_000)},
    "a huge number": 10**4000,
    "numbers that are none": [float("nan"), float("inf"), float("-inf"), 1e308, -0.0],
    "controls and halves": "\0\x1b[2J\ud800\udfff\u202e\ufeff",
}


def good_state() -> dict[str, Any]:
    """The data of a state, with something in every field."""
    found: dict[str, Any] = json.loads((DATA / "job_state_format_1.json").read_text())
    found["pending_tasks"][0]["released"] = {"out": ["0123456789abcdef01234567"]}
    found["pending_tasks"][0]["due_at"] = "2026-01-01T00:00:00+00:00"
    found["current_routine_id"] = "a"
    return found


def good_flow() -> dict[str, Any]:
    """The data of a flow, with something in every field."""
    found: dict[str, Any] = json.loads((DATA / "flow_format_1.json").read_text())
    found["routines"]["d"] = {
        "_type": "Tally",
        "_id": "tally",
        "_config": {},
        "_slots": {},
        "_events": {},
        "_error_handler": None,
        "total": 5,
        "part": {"_type": "Part", "size": 3, "items": [], "act": None},
        "choose": function("tests.registered", "double"),
    }
    return found


def flow_of_built_in_routines() -> dict[str, Any]:
    """The data of a flow whose routines have functions in their config."""
    condition = {"_type": "lambda_expression", "expression": "d['n'] > 5", "parameters": ["d"]}
    named = function("tests.registered", "double")
    routes = [["a", "data['n'] > 5"], ["b", condition], ["c", {"n": condition, "m": 1}], ["d", named]]
    return {
        "_type": "Flow",
        "flow_id": "built-in",
        "routines": {
            "router": {"_type": "ConditionalRouter", "_config": {"routes": routes, "default_route": "rest"}},
            "transformer": {
                "_type": "DataTransformer",
                "_config": {"transformations": ["strip", condition], "transformation_map": {"x": named}},
                "_registered": {"y": condition},
            },
            "validator": {"_type": "DataValidator", "_config": {"rules": {"a": ["is_int", condition]}}},
            "flattener": {"_type": "DataFlattener", "_config": {"separator": "/"}},
        },
        "connections": [],
    }


# -- good data that were changed

Place = tuple[Any, Any]  # a container, and a key or index in it


def places(data: Any) -> list[Place]:
    """Every place in the data."""
    found: list[Place] = []
    containers = [data]
    while containers:
        container = containers.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                containers.append(container[key])
    return found


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 5)
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=5)
    | st.sampled_from([[], {}, [[]], [{}], {"a": 1}, [1], "a", "b", "left", "out", "Hopper", "2026-01-01", 10**400])
    | st.sampled_from(list(TRICKS.values()))
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "replace", "replace", "delete", "rename", "double", "swap", "wrap"]),
        st.integers(0, 10_000),
        st.integers(0, 10_000),
        VALUES,
    ),
    min_size=1,
    max_size=4,
)


def edited(data: dict[str, Any], edits: list[Any]) -> dict[str, Any]:
    """The data with random changes; they stay what JSON can hold."""
    data = copy.deepcopy(data)
    for act, first, second, value in edits:
        found = places(data)
        if not found:
            break
        container, key = found[first % len(found)]
        other, other_key = found[second % len(found)]
        if act == "replace":
            container[key] = copy.deepcopy(value)
        elif act == "delete":
            del container[key]
        elif act == "rename" and isinstance(container, dict):
            container[str(value)[:20]] = container.pop(key)
        elif act == "double" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif act == "swap":
            container[key], other[other_key] = copy.deepcopy(other[other_key]), copy.deepcopy(container[key])
        elif act == "wrap":
            container[key] = [container[key]] if first % 2 else {"_type": "Bomb", "x": container[key]}
    return data


# -- the corpus


# One case: what it is, and a function that makes the data. Many are passed over, and copying takes the time.
Case = tuple[str, Callable[[], dict[str, Any]]]


def with_tricks(name: str, data: dict[str, Any]) -> Iterator[Case]:
    """The data with each trick in each place, and beside it."""
    found = places(data)
    # The big ones need not be everywhere.
    tricks = [(trick, value, 7 if len(str(value)) >= 5000 else 1) for trick, value in TRICKS.items()]
    for index, (_, key) in enumerate(found):
        for trick, value, every in tricks:
            if index % every == 0:
                yield f"{name}: {trick} at place {index} ({key!r})", partial(_placed, data, index, value)
    for trick, value in TRICKS.items():
        for index, (container, _) in enumerate(found):
            if index % 5 == 0 and isinstance(container, dict) and isinstance(value, dict) and len(value) < 10:
                yield f"{name}: {trick} merged at place {index}", partial(_merged, data, index, value)


def _placed(data: dict[str, Any], index: int, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    container, key = places(changed)[index]
    container[key] = value
    return changed


def _merged(data: dict[str, Any], index: int, value: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    places(changed)[index][0].update(value)
    return changed


def state_corpus() -> Iterator[Case]:
    """Named data of states."""
    yield from with_tricks("state", good_state())


def flow_corpus() -> Iterator[Case]:
    """Named data of flows."""
    yield from with_tricks("flow", good_flow())
    yield from with_tricks("built-in routines", flow_of_built_in_routines())


def may_be_built(flow_data: dict[str, Any]) -> bool:
    """Whether the data of a flow name one of the classes where a class has to stand: it is registered, after all."""
    routines = flow_data.get("routines")
    policies = [flow_data.get("error_handler")]
    parts: list[Any] = []
    for routine in routines.values() if isinstance(routines, dict) else ():
        if isinstance(routine, dict):
            parts += [routine.get("part")]
            policies += [routine.get("_error_handler"), routine if routine.get("_type") == "BombRoutine" else None]
    named = [policy.get("_type") for policy in policies if isinstance(policy, dict)]
    return any(name in ("BombPolicy", "BombRoutine") for name in named) or "Bomb" in json.dumps(parts)
