"""The table that people read, and the same as JSON for those who compare two of them."""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks.measure import Case, Result

__all__ = ["as_json", "figure", "heading", "machine", "row"]

_WIDTHS = (16, 14, 22, 10, 10, 7, 13, 30)
_HEADS = ("benchmark", "unit", "floor", "floor's", "ours", "ratio", "min..max", "target")


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu_count": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def heading(pair_count: int) -> str:
    """What stands above the rows."""
    here = machine()
    facts = f"Python {here['python']}, {here['cpu_count']} processors, {here['at']}, load {here['load']}"
    what = f"medians of {pair_count} pairs, ours and the floor alternating, collector on, full records on"
    return f"{facts}\n{what}\n\n{_line(_HEADS)}\n{_line(tuple('-' * width for width in _WIDTHS))}"


def row(result: Result) -> str:
    """One line of the table."""
    case = result.case
    ratios = result.ratios
    return _line(
        (
            case.name,
            case.unit,
            case.floor_name,
            figure(result.floor),
            figure(result.ours),
            f"{result.ratio:.2f}x",
            f"{min(ratios):.2f}..{max(ratios):.2f}",
            ", ".join(f"{text} {'met' if is_met else 'MISSED'}" for text, is_met in _verdicts(case, result)),
        )
    )


def as_json(results: Iterable[Result]) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "machine": machine(),
        "benchmarks": {
            result.case.name: {
                "unit": result.case.unit,
                "floor_name": result.case.floor_name,
                "ours": result.ours,
                "floor": result.floor,
                "ratio": result.ratio,
                "readings": [{"ours": ours, "floor": floor} for ours, floor in result.readings],
                "targets": dict(_verdicts(result.case, result)),
            }
            for result in results
        },
    }


def figure(value: float) -> str:
    """A number of the table: three digits, or whole."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _verdicts(case: Case, result: Result) -> list[tuple[str, bool]]:
    return [(target.text(case.unit), target.is_met(result)) for target in case.targets]


def _line(cells: tuple[str, ...]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
