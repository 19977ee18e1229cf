"""A chain of steps that is kept in a SQLite file: what that costs each library above the same chain in its memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.measure import WorkNotDoneError
from tests.benchmarks.peers import KEPT_CHAIN, Peer
from tests.benchmarks.peers.programs import Program, ProgramFailedError, Reading, our_program

__all__ = ["Cost", "Failure", "as_json", "run"]

# No further pair is taken after this: a slow disk makes a minute of a chain.
LINE_SECONDS = 120.0
OURS = "routilux"

_WIDTHS = (10, 7, 28, 9, 14, 14, 14, 22, 6)
_HEADS = ("benchmark", "steps", "library", "level", "in memory", "kept", "more", "min..max", "pairs")


@dataclass(frozen=True)
class Cost:
    """What one library paid at one level. `pairs` holds the seconds of (kept, in memory), in their order."""

    library: str
    level: str
    steps: int
    pairs: tuple[tuple[float, float], ...]
    stored_bytes: int

    @property
    def more(self) -> list[float]:
        """Microseconds a step above the chain in memory, pair by pair."""
        return [KEPT_CHAIN.figure(kept - in_memory, self.steps) for kept, in_memory in self.pairs]


@dataclass(frozen=True)
class Failure:
    """A peer that has no figures, and why."""

    library: str
    reason: str


def run(
    peers: Sequence[Peer],
    pair_count: int,
    program_of: Callable[[Peer], Program],
    steps: int = KEPT_CHAIN.sizes[0],
) -> tuple[list[Cost], list[Failure]]:
    """Measure ours at both levels and each peer at every step, and print a line for each as soon as it is known.

    What a run came to is read back from its file by a new connection, and has to be the same for everybody.

    Args:
        peers: Whom; one that fails is told in a line, and the others go on.
        pair_count: Readings of each; fewer of those that take too long.
        program_of: Makes a peer's environment, and raises ProgramFailedError if it cannot.
        steps: How many.

    Raises:
        WorkNotDoneError: Our own program failed.
    """
    print(_heading(pair_count), flush=True)
    our_own = our_program("routilux_sqlite.py")
    try:
        wanted = our_own.read("in-memory", steps, 1)
        costs = [_told(_cost(OURS, our_own, level, steps, pair_count, wanted)) for level in ("group", "sync")]
    except ProgramFailedError as error:
        raise WorkNotDoneError(f"our own {KEPT_CHAIN.name} failed: {error}") from error
    failures = []
    for peer in peers:
        try:
            found = _cost(peer.name, program_of(peer), "sync", steps, pair_count, wanted, peer.version)
            costs.append(_told(found))
        except ProgramFailedError as error:
            failures.append(Failure(f"{peer.name} {peer.version}", str(error)))
            print(f"{KEPT_CHAIN.name}  {failures[-1].library}  FAILED: {error}", flush=True)
    return costs, failures


def as_json(costs: Sequence[Cost], failures: Sequence[Failure]) -> dict[str, Any]:
    """Everything that was measured, and what was not."""
    return {
        "costs": [
            {
                "library": cost.library,
                "level": cost.level,
                "steps": cost.steps,
                "us_more": median(cost.more),
                "bytes": cost.stored_bytes,
                "seconds": [{"kept": kept, "in_memory": in_memory} for kept, in_memory in cost.pairs],
            }
            for cost in costs
        ],
        "failures": [{"library": each.library, "reason": each.reason} for each in failures],
    }


def _cost(
    name: str, program: Program, level: str, steps: int, pair_count: int, wanted: Reading, version: str | None = None
) -> Cost:
    stored: list[int] = []

    def seconds(case: str) -> float:
        reading = program.read(case, steps, 1)
        if version is not None and reading.version != version:
            raise ProgramFailedError(f"version {reading.version} instead of {version}")
        if reading.result != wanted.result:
            raise ProgramFailedError(f"result {reading.result!r} instead of {wanted.result!r}: not the same work")
        stored.append(reading.stored_bytes)
        return reading.seconds

    pairs = tuple(_pairs(lambda: seconds(level), lambda: seconds("in-memory"), pair_count))
    return Cost(f"{name} {version or wanted.version}", level, steps, pairs, max(stored))


def _pairs(kept: Callable[[], float], in_memory: Callable[[], float], pair_count: int) -> Iterator[tuple[float, float]]:
    began = perf_counter()
    for number in range(pair_count):
        if number and perf_counter() - began > LINE_SECONDS:
            return
        # Who comes first takes turns.
        if number % 2:
            floor = in_memory()
            yield kept(), floor
        else:
            yield kept(), in_memory()


def _heading(pair_count: int) -> str:
    here = report.machine()
    return "\n".join(
        (
            f"Python {here['python']}, {here['cpu_count']} processors, {here['at']}, load {here['load']}",
            f"medians of {pair_count} pairs, or of as many as fit into {LINE_SECONDS:g} s; us/step, and bytes of the",
            "file and its log while it is open; each step adds 1,000 bytes; results read back from the file, and equal",
            "",
            _line(_HEADS, "bytes"),
            _line(tuple("-" * width for width in _WIDTHS), "-" * 11),
        )
    )


def _told(cost: Cost) -> Cost:
    more = cost.more
    kept, in_memory = (
        report.figure(median(KEPT_CHAIN.figure(pair[which], cost.steps) for pair in cost.pairs)) for which in (0, 1)
    )
    spread = f"{report.figure(min(more))}..{report.figure(max(more))}"
    cells = (KEPT_CHAIN.name, f"{cost.steps:,}", cost.library, cost.level, in_memory, kept)
    print(_line((*cells, report.figure(median(more)), spread, str(len(more))), f"{cost.stored_bytes:,}"), flush=True)
    return cost


def _line(cells: tuple[str, ...], last: str) -> str:
    return "  ".join([*(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)), last])
