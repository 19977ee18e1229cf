"""`python -m tests.benchmarks`: measure, and print a table. With `--peers`, beside other libraries."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.cases import CASES
from tests.benchmarks.measure import Case, Sizes, measure
from tests.benchmarks.peers import KEEPERS, KEPT_CHAIN, PEERS, SHAPES, Peer, keeping, runner
from tests.benchmarks.peers.programs import peer_program

__all__ = ["main"]

DEFAULT_PAIRS = 7


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None) -> int:
    """Measure the cases that were asked for, and print a line for each as soon as it is known.

    Returns:
        The exit status: 1 if a peer failed.
    """
    options = _options(arguments)
    if options.peers is not None:
        return _compare(options)
    print(report.heading(options.pairs), flush=True)
    results = []
    for case in _chosen(options.only):
        results.append(measure(case, sizes or Sizes(), options.pairs))
        print(report.row(results[-1]), flush=True)
    if options.json is not None:
        _write(options.json, report.as_json(results))
    return 0


def _compare(options: argparse.Namespace) -> int:
    peers, shapes = _chosen_peers(options.peers), _chosen_shapes(options.only)
    compared = [peer for peer in peers if peer in PEERS]
    found: dict[str, Any] = {}
    failed = False
    if compared and set(shapes) - {KEPT_CHAIN.name}:
        comparisons, lacks = runner.run(compared, options.pairs, shapes, peer_program)
        found |= runner.as_json(comparisons, lacks)
        failed = any(lack.is_failure for lack in lacks)
    keepers = [peer for peer in peers if peer in KEEPERS]
    if keepers and KEPT_CHAIN.name in shapes:
        costs, failures = keeping.run(keepers, options.pairs, peer_program)
        found |= {"machine": report.machine(), "kept": keeping.as_json(costs, failures)}
        failed = failed or bool(failures)
    if options.json is not None:
        _write(options.json, found)
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(case.name for case in CASES)
    shapes = ", ".join(_shapes())
    peers = ", ".join(peer.name for peer in (*PEERS, *KEEPERS))
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="What the engine costs, beside what the same work costs with a bare ThreadPoolExecutor. "
        "A ratio of 2 means twice the floor; of runs per second, more is better.",
        epilog=f"Benchmarks: {names}. With --peers: {shapes}. Peers: {peers}.",
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="a benchmark, or the beginning of several; may be repeated"
    )
    parser.add_argument(
        "--pairs", type=_count, default=DEFAULT_PAIRS, metavar="N", help="readings of each (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every reading there")
    parser.add_argument(
        "--peers",
        nargs="*",
        metavar="PEER",
        help="compare with other libraries instead: with these, or with all; each has an environment of its own",
    )
    options = parser.parse_args(arguments)
    if options.peers is None:
        if not _chosen(options.only):
            parser.error(f"no benchmark is called {', '.join(options.only)}. There are: {names}")
        return options
    unknown = set(options.peers) - {peer.name for peer in (*PEERS, *KEEPERS)}
    if unknown:
        parser.error(f"no peer is called {', '.join(sorted(unknown))}. There are: {peers}")
    if not _chosen_shapes(options.only):
        parser.error(f"no benchmark of peers is called {', '.join(options.only)}. There are: {shapes}")
    return options


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"at least one pair, not {count}")
    return count


def _chosen(names: list[str] | None) -> list[Case]:
    return [case for case in CASES if names is None or case.name.startswith(tuple(names))]


def _shapes() -> list[str]:
    return [shape.name for shape in (*SHAPES, runner.IMPORT, KEPT_CHAIN)]


def _chosen_shapes(names: list[str] | None) -> list[str]:
    return [name for name in _shapes() if names is None or name.startswith(tuple(names))]


def _chosen_peers(names: list[str]) -> list[Peer]:
    return [peer for peer in (*PEERS, *KEEPERS) if not names or peer.name in names]


def _write(file: Path, found: dict[str, Any]) -> None:
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
