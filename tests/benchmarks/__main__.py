"""`python -m tests.benchmarks`: measure, and print a table."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.cases import CASES
from tests.benchmarks.measure import Case, Sizes, measure

__all__ = ["main"]

DEFAULT_PAIRS = 7


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None) -> None:
    """Measure the cases that were asked for, and print a line for each as soon as it is known."""
    options = _options(arguments)
    print(report.heading(options.pairs), flush=True)
    results = []
    for case in _chosen(options.only):
        results.append(measure(case, sizes or Sizes(), options.pairs))
        print(report.row(results[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(results), indent=1) + "\n", encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(case.name for case in CASES)
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="What the engine costs, beside what the same work costs with a bare ThreadPoolExecutor. "
        "A ratio of 2 means twice the floor; of runs per second, more is better.",
        epilog=f"Benchmarks: {names}.",
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="a benchmark, or the beginning of several; may be repeated"
    )
    parser.add_argument(
        "--pairs", type=_count, default=DEFAULT_PAIRS, metavar="N", help="readings of each (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every reading there")
    options = parser.parse_args(arguments)
    if not _chosen(options.only):
        parser.error(f"no benchmark is called {', '.join(options.only)}. There are: {names}")
    return options


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"at least one pair, not {count}")
    return count


def _chosen(names: list[str] | None) -> list[Case]:
    return [case for case in CASES if names is None or case.name.startswith(tuple(names))]


if __name__ == "__main__":
    sys.exit(main())
