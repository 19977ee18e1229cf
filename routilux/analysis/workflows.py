"""WorkflowAnalyzer: a flow as data, and as a D2 drawing."""

import functools
import inspect
import os
import types
from collections.abc import Iterable
from typing import Any

from routilux.analysis.d2 import WorkflowD2Formatter
from routilux.analysis.routine_files import RoutineAnalyzer
from routilux.analysis.shown import shown_value
from routilux.analysis.writing import JsonWriter, write_text
from routilux.errors import InvalidTypeError, InvalidValueError, SourceFileError, UnknownNameError
from routilux.flow.flow import Flow
from routilux.flow.graph import FlowGraph, FlowNode, SlotNode
from routilux.functions import FunctionRoutine
from routilux.plain import shortened
from routilux.routine import Routine

__all__ = ["WorkflowAnalyzer", "analyze_workflow"]

# What `to_d2_format` takes as mode, and the formatter's style for it.
STYLES = {"standard": "default", "ultimate": "ultimate"}

Described = dict[str, Any]


class WorkflowAnalyzer(JsonWriter):
    """Reads flows. They are not run, and not changed.

    Args:
        routine_analyzer: Reads the source files of the routines' classes; a RoutineAnalyzer by default.
    """

    def __init__(self, routine_analyzer: RoutineAnalyzer | None = None) -> None:
        self.routine_analyzer = routine_analyzer or RoutineAnalyzer()

    def analyze_flow(self, flow: Flow, include_source_analysis: bool = True) -> dict[str, Any]:
        """What is drawn at this instant, in the order of drawing.

        The keys:

        - `flow_id`, `execution_strategy`, `max_workers`, `execution_timeout`: the flow's
        - `routines`: dicts of `routine_id`, `class_name`, `docstring` of the class (of a function routine: of its
          function) or None, `slots` (`name`, `handler`,
          `merge_strategy`, and `required`, `optional`, `takes_everything` for what the handler can be given), `events`
          (`name`, `params`, also as `output_params`), `config`
        - `connections`: dicts of `source_routine_id`, `source_event`, `target_routine_id`, `target_slot`,
          `param_mapping`; slots that were connected without the flow included
        - `dependency_graph`: for each routine id the ids of those that it hears
        - `entry_points`: the ids of the routines with a slot "trigger"
        - `cycles`: lists of ids that can reach each other

        A config value that JSON cannot hold stands there as text: a function as its name, anything else as its `repr`.

        Args:
            flow: The flow.
            include_source_analysis: Give each routine a `source_analysis`: what `RoutineAnalyzer` finds of its class,
                with its `file_path`; None where there is no source, or the class is not found in it. For a function
                routine it tells where its function is, and has no slots, events and methods of its own.

        Raises:
            TypeError: Not a Flow.
        """
        if not isinstance(flow, Flow):
            raise InvalidTypeError(
                f"{flow!r} is not a Flow. analyze_flow reads a Flow object; for a file of source "
                "code there is RoutineAnalyzer."
            )
        graph = flow.graph()
        objects = dict(flow.routines)
        routines = [_routine(node, objects.get(node.id)) for node in graph.nodes.values()]
        if include_source_analysis:
            sources = _Sources(self.routine_analyzer)
            for described in routines:
                described["source_analysis"] = sources.of(objects.get(described["routine_id"]))
        return {
            "flow_id": flow.flow_id,
            "execution_strategy": flow.execution_strategy,
            "max_workers": flow.max_workers,
            "execution_timeout": flow.execution_timeout,
            "routines": routines,
            "connections": _connections(graph),
            "dependency_graph": {routine_id: graph.upstream(routine_id) for routine_id in graph.nodes},
            "entry_points": graph.entry_points,
            "cycles": graph.cycles(),
        }

    def to_d2_format(
        self,
        data: dict[str, Any],
        mode: str = "standard",
        routine_analysis: dict[str, Any] | Iterable[dict[str, Any]] | None = None,
    ) -> str:
        """A flow as a drawing in D2, the language of d2lang.com.

        Args:
            data: What `analyze_flow` returned, or the same from JSON.
            mode: "standard": routines and the lines between them. "ultimate": each routine with its slots, events,
                config and docstring; entry points and cycles are marked.
            routine_analysis: What `RoutineAnalyzer.analyze_file` returned, or several of them: for routines whose
                source was not analyzed with the flow. They are found by the name of the class.

        Raises:
            ValueError: An unknown mode, or data that `analyze_flow` has not made.
        """
        if mode not in STYLES:
            raise UnknownNameError("mode", mode, STYLES, "to_d2_format")
        formatter = WorkflowD2Formatter(STYLES[mode])
        if routine_analysis is None:
            return formatter.format(data)
        try:
            data = _with_sources(data, routine_analysis)
        except (AttributeError, KeyError, TypeError) as error:
            formatter.format(data)  # it says what is wrong, if it is with these
            raise InvalidValueError(
                "routine_analysis must be what RoutineAnalyzer.analyze_file returned, or several of them, not "
                f"{shortened(routine_analysis)}."
            ) from error
        return formatter.format(data)

    def save_d2(
        self,
        data: dict[str, Any],
        path: str | os.PathLike[str],
        mode: str = "standard",
        routine_analysis: dict[str, Any] | Iterable[dict[str, Any]] | None = None,
    ) -> None:
        """Write the drawing of `to_d2_format` into a file; folders are made."""
        write_text(path, self.to_d2_format(data, mode, routine_analysis))


def analyze_workflow(flow: Flow, include_source_analysis: bool = True) -> dict[str, Any]:
    """`WorkflowAnalyzer().analyze_flow(flow, include_source_analysis)`."""
    return WorkflowAnalyzer().analyze_flow(flow, include_source_analysis)


class _Sources:
    """The source analyses of routines' classes; each file is read once."""

    def __init__(self, analyzer: RoutineAnalyzer) -> None:
        self._analyzer = analyzer
        self._by_file: dict[str, list[Described]] = {}

    def of(self, routine: Routine | None) -> Described | None:
        if routine is None:
            return None
        if isinstance(routine, FunctionRoutine) and routine.function is not None:
            return _function_source(routine.function)
        kind = type(routine)
        path = _source_file(kind)
        if path is None:
            return None
        if path not in self._by_file:
            self._by_file[path] = self._read(path)
        # The last one of a name is the one that the module has in the end.
        found = [each for each in self._by_file[path] if each["qualified_name"] == kind.__qualname__]
        return {"file_path": path, **found[-1]} if found else None

    def _read(self, path: str) -> list[Described]:
        try:
            routines: list[Described] = self._analyzer.analyze_file(path)["routines"]
        except (OSError, SourceFileError):  # it is gone meanwhile, or is no Python: a page, a notebook
            return []
        return routines


def _function_source(function: Any) -> Described | None:
    function = _innermost(function)
    path = _source_file(function) if isinstance(function, types.FunctionType) else None
    if path is None:
        return None
    return {
        "file_path": path,
        "name": function.__name__,
        "qualified_name": function.__qualname__,
        "docstring": _docstring(function),
        "line_number": function.__code__.co_firstlineno,
        "slots": [],
        "events": [],
        "config": {},
        "dynamic_config": [],
        "methods": [],
    }


def _innermost(function: Any) -> Any:
    """What a partial, a bound method and decorators stand for."""
    while isinstance(function, functools.partial | types.MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    try:
        return inspect.unwrap(function)
    except ValueError:  # it is wrapped in itself
        return function


def _docstring(of: Any) -> str | None:
    docstring = getattr(of, "__doc__", None)
    return inspect.cleandoc(docstring) if isinstance(docstring, str) else None


def _source_file(kind: Any) -> str | None:
    try:
        return inspect.getsourcefile(kind)
    except (TypeError, OSError):  # typed into an interpreter, or made by one
        return None


def _routine(node: FlowNode, routine: Routine | None) -> Described:
    told: Any = type(routine)
    if isinstance(routine, FunctionRoutine) and routine.function is not None:
        told = _innermost(routine.function)
    return {
        "routine_id": node.id,
        "class_name": node.class_name,
        "docstring": None if routine is None else _docstring(told),
        "slots": [_slot(slot) for slot in node.slots],
        "events": [
            {"name": event.name, "params": list(event.output_params), "output_params": list(event.output_params)}
            for event in node.events
        ],
        "config": {} if routine is None else {str(k): shown_value(v) for k, v in routine.config().items()},
    }


def _slot(slot: SlotNode) -> Described:
    return {
        "name": slot.name,
        "handler": slot.handler,
        "merge_strategy": slot.merge_strategy,
        "required": list(slot.required),
        "optional": list(slot.optional),
        "takes_everything": slot.takes_everything,
    }


def _connections(graph: FlowGraph) -> list[Described]:
    return [
        {
            "source_routine_id": line.source_id,
            "source_event": line.event,
            "target_routine_id": line.target_id,
            "target_slot": line.slot,
            "param_mapping": dict(line.param_mapping),
        }
        for line in graph.lines
    ]


def _with_sources(data: Described, analyses: Described | Iterable[Described]) -> Described:
    """A copy in which routines without a source analysis have the one of their class."""
    by_class: dict[str, Described] = {}
    for analysis in [analyses] if isinstance(analyses, dict) else analyses:
        for found in analysis["routines"]:
            by_class[found["name"]] = {"file_path": analysis.get("file_path"), **found}
    routines = [
        each if each.get("source_analysis") else {**each, "source_analysis": by_class.get(each["class_name"])}
        for each in data.get("routines", [])
    ]
    return {**data, "routines": routines}
