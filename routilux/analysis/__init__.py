"""Looking at routines and flows without running them: as data, as Markdown, as drawings.

    a source file ── RoutineAnalyzer ──> dict ── RoutineMarkdownFormatter ──> Markdown
    a Flow ───────── WorkflowAnalyzer ─> dict ── WorkflowD2Formatter ───────> D2

The dicts hold what JSON can hold. `flow.graph()` gives the same drawing as Python
values, and `flow.validate()` what is wrong with it.
"""

from routilux.analysis.d2 import WorkflowD2Formatter
from routilux.analysis.formatting import BaseFormatter
from routilux.analysis.markdown import RoutineMarkdownFormatter
from routilux.analysis.routine_files import RoutineAnalyzer, analyze_routine_file
from routilux.analysis.workflows import WorkflowAnalyzer, analyze_workflow
from routilux.flow.checks import Finding
from routilux.flow.graph import EventNode, FlowGraph, FlowNode, Line, SlotNode

__all__ = [
    "BaseFormatter",
    "EventNode",
    "Finding",
    "FlowGraph",
    "FlowNode",
    "Line",
    "RoutineAnalyzer",
    "RoutineMarkdownFormatter",
    "SlotNode",
    "WorkflowAnalyzer",
    "WorkflowD2Formatter",
    "analyze_routine_file",
    "analyze_workflow",
]
