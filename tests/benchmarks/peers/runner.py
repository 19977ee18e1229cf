"""The same work, done by a peer and by routilux in turn: check that both came to the same, then compare."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.measure import WorkNotDoneError, expect
from tests.benchmarks.peers import SHAPES, Peer, Shape
from tests.benchmarks.peers.programs import Program, ProgramFailedError, Reading, our_program

__all__ = ["IMPORT", "Comparison", "Lack", "as_json", "run"]

# A line of the table takes no further pair after this: the slowest peers need a minute for a few.
LINE_SECONDS = 60.0
# A process repeats work that takes less than this: most of its time is its start anyway, and a median is steadier.
SHORT_SECONDS = 0.2
REPEATS = 5
IMPORT_PAIRS = 5
IMPORT = Shape("import", "ms", (1,))

_WIDTHS = (15, 7, 30, 11, 10, 10, 8, 15, 5, 32)
_HEADS = ("benchmark", "size", "peer", "unit", "peer's", "ours", "ratio", "min..max", "pairs", "note")


@dataclass(frozen=True)
class Comparison:
    """What a line of the table came to. `pairs` holds the seconds of (peer, ours), in the order of taking them."""

    peer: Peer
    shape: Shape
    size: int
    pairs: tuple[tuple[float, float], ...]

    @property
    def theirs(self) -> float:
        """The peer's median figure."""
        return self.shape.figure(median(theirs for theirs, _ in self.pairs), self.size)

    @property
    def ours(self) -> float:
        """Our median figure."""
        return self.shape.figure(median(ours for _, ours in self.pairs), self.size)

    @property
    def ratios(self) -> list[float]:
        """How many times as long the peer takes, pair by pair."""
        return [theirs / ours for theirs, ours in self.pairs]

    @property
    def ratio(self) -> float:
        """The median of the ratios; not the ratio of the medians."""
        return median(self.ratios)


@dataclass(frozen=True)
class Lack:
    """A line without figures: a peer that cannot express a shape, or one that failed."""

    peer: Peer
    shape: Shape | None
    reason: str
    is_failure: bool


def run(
    peers: Sequence[Peer],
    pair_count: int,
    shapes: Collection[str],
    program_of: Callable[[Peer], Program],
) -> tuple[list[Comparison], list[Lack]]:
    """Compare with each peer, and print a line for each comparison as soon as it is known.

    Args:
        peers: Whom; one that fails is told in a line, and the others go on.
        pair_count: Readings of each; fewer of those that take too long.
        shapes: Names of those to compare.
        program_of: Makes a peer's environment, and raises ProgramFailedError if it cannot.

    Raises:
        WorkNotDoneError: Our own program failed.
    """
    print(_heading(pair_count), flush=True)
    comparisons: list[Comparison] = []
    lacks: list[Lack] = []
    for line in _lines(peers, pair_count, shapes, program_of):
        if isinstance(line, Comparison):
            comparisons.append(line)
            print(_row(line), flush=True)
        else:
            lacks.append(line)
            print(_row_without_figures(line), flush=True)
    return comparisons, lacks


def as_json(comparisons: Sequence[Comparison], lacks: Sequence[Lack]) -> dict[str, Any]:
    """Everything that was measured, and what was not."""
    return {
        "machine": report.machine(),
        "comparisons": [
            {
                "benchmark": found.shape.name,
                "size": found.size,
                "peer": found.peer.requirement,
                "unit": found.shape.unit,
                "peers": found.theirs,
                "ours": found.ours,
                "ratio": found.ratio,
                "seconds": [{"peer": theirs, "ours": ours} for theirs, ours in found.pairs],
            }
            for found in comparisons
        ],
        "without_figures": [
            {
                "benchmark": lack.shape and lack.shape.name,
                "peer": lack.peer.requirement,
                "reason": lack.reason,
                "is_failure": lack.is_failure,
            }
            for lack in lacks
        ],
    }


def _lines(
    peers: Sequence[Peer],
    pair_count: int,
    shapes: Collection[str],
    program_of: Callable[[Peer], Program],
) -> Iterator[Comparison | Lack]:
    programs: list[tuple[Peer, Program]] = []
    for peer in peers:
        try:
            programs.append((peer, program_of(peer)))
        except ProgramFailedError as error:
            yield Lack(peer, None, str(error), is_failure=True)
    for shape in (*SHAPES, IMPORT):
        if shape.name not in shapes:
            continue
        for peer, program in programs:
            yield from _lines_of(peer, program, shape, pair_count)


def _lines_of(peer: Peer, program: Program, shape: Shape, pair_count: int) -> Iterator[Comparison | Lack]:
    if shape.name in peer.lacks:
        yield Lack(peer, shape, peer.lacks[shape.name], is_failure=False)
        return
    if shape is not IMPORT and shape.name not in peer.shapes:
        return
    for size in peer.sizes.get(shape.name, shape.sizes):
        try:
            if shape is IMPORT:
                pairs = _import_pairs(program)
            else:
                pairs = _pairs_of_readings(peer, program, shape, size, pair_count)
        except ProgramFailedError as error:
            yield Lack(peer, shape, str(error), is_failure=True)
        else:
            yield Comparison(peer, shape, size, tuple(pairs))


def _pairs_of_readings(
    peer: Peer, program: Program, shape: Shape, size: int, pair_count: int
) -> list[tuple[float, float]]:
    our_own = our_program()
    # One reading of each is only looked at: what they come to, and how long it takes.
    wanted = _ours(our_own, shape, size, 1)
    repeats = REPEATS if _checked(peer, program.read(shape.name, size, 1), wanted).seconds < SHORT_SECONDS else 1

    def read_theirs() -> float:
        return _checked(peer, program.read(shape.name, size, repeats), wanted).seconds

    def read_ours() -> float:
        found = _ours(our_own, shape, size, REPEATS)
        expect(f"our result of {shape.name}", found.result, wanted.result)
        return found.seconds

    return _taken(read_theirs, read_ours, pair_count)


def _import_pairs(program: Program) -> list[tuple[float, float]]:
    our_own = our_program()
    # The first import may write bytecode.
    program.import_seconds()
    our_own.import_seconds()
    return _taken(program.import_seconds, our_own.import_seconds, IMPORT_PAIRS)


def _ours(our_own: Program, shape: Shape, size: int, repeats: int) -> Reading:
    try:
        return our_own.read(shape.name, size, repeats)
    except ProgramFailedError as error:
        raise WorkNotDoneError(f"our own {shape.name} failed: {error}") from error


def _checked(peer: Peer, reading: Reading, wanted: Reading) -> Reading:
    if reading.version != peer.version:
        raise ProgramFailedError(f"version {reading.version} instead of {peer.version}")
    if reading.result != wanted.result:
        raise ProgramFailedError(f"result {reading.result!r} instead of {wanted.result!r}: not the same work")
    return reading


def _taken(
    read_theirs: Callable[[], float], read_ours: Callable[[], float], pair_count: int
) -> list[tuple[float, float]]:
    began = perf_counter()
    pairs: list[tuple[float, float]] = []
    while len(pairs) < pair_count and (not pairs or perf_counter() - began < LINE_SECONDS):
        # Who comes first takes turns, as in the other benchmarks.
        if len(pairs) % 2:
            ours = read_ours()
            theirs = read_theirs()
        else:
            theirs = read_theirs()
            ours = read_ours()
        pairs.append((theirs, ours))
    return pairs


def _heading(pair_count: int) -> str:
    here = report.machine()
    return "\n".join(
        (
            f"Python {here['python']}, {here['cpu_count']} processors, {here['at']}, load {here['load']}",
            f"medians of {pair_count} pairs, or of as many as fit into {LINE_SECONDS:g} s",
            "peer and ours alternating, a process for each reading, results equal",
            "a ratio says how many times as long the peer takes: above 1 it is slower than routilux",
            "ours: a concurrent flow with 4 workers, full records on; the peers as they come, nothing saved or traced",
            "",
            _line(_HEADS),
            _line(tuple("-" * width for width in _WIDTHS)),
        )
    )


def _row(found: Comparison) -> str:
    ratios = found.ratios
    return _line(
        (
            found.shape.name,
            "" if found.shape is IMPORT else f"{found.size:,}",
            f"{found.peer.name} {found.peer.version}",
            found.shape.unit,
            report.figure(found.theirs),
            report.figure(found.ours),
            f"{report.figure(found.ratio)}x",
            f"{report.figure(min(ratios))}..{report.figure(max(ratios))}",
            str(len(found.pairs)),
            found.peer.notes.get(found.shape.name, ""),
        )
    )


def _row_without_figures(lack: Lack) -> str:
    what = "FAILED" if lack.is_failure else "not expressible"
    place = lack.shape.name if lack.shape else "every one"
    peer = f"{lack.peer.name} {lack.peer.version}"
    return f"{_line((place, '', peer), _WIDTHS[:3]).ljust(sum(_WIDTHS[:3]) + 4)}  {what}: {lack.reason}"


def _line(cells: tuple[str, ...], widths: tuple[int, ...] = _WIDTHS) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
