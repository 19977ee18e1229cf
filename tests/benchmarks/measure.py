"""Readings in pairs: ours and its floor alternate in one process, and the ratio of each pair is what counts.

Absolute figures of a shared machine drift by half within an hour; the ratio of two readings that follow each other
holds. The median of the pairs is reported, with the smallest and the largest beside it.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

__all__ = ["Case", "Pair", "Result", "Sizes", "Target", "WorkNotDoneError", "expect", "measure"]


class WorkNotDoneError(RuntimeError):
    """A benchmark has not done the work that it times."""


def expect(what: str, found: object, wanted: object) -> None:
    """Fail a benchmark that did less, or more, than it says.

    Raises:
        WorkNotDoneError: `found` is not `wanted`.
    """
    if found != wanted:
        raise WorkNotDoneError(f"{what}: {found!r} instead of {wanted!r}. The figure would mean nothing.")


@dataclass(frozen=True)
class Sizes:
    """How much work each case does. `grown` is how much larger the larger of two sizes is."""

    hops: int = 1_000
    ring: int = 100
    messages: int = 10_000
    grown: int = 10
    repeats: int = 200
    runs: int = 1_000
    sleepers: int = 200
    sleep_seconds: float = 0.05
    sleeping_workers: int = 20
    queued: int = 100_000
    slow_handler_seconds: float = 0.02
    records: int = 100_000
    many_records: int = 1_000_000
    stored_steps: int = 400
    awaiting: int = 5_000
    await_seconds: float = 0.1


@dataclass(frozen=True)
class Target:
    """What a case is asked to reach: a limit of the ratio, or of our own figure."""

    limit: float
    of_ratio: bool = True
    at_least: bool = False

    def is_met(self, result: "Result") -> bool:
        """Whether the medians keep to it."""
        value = result.ratio if self.of_ratio else result.ours
        return value >= self.limit if self.at_least else value <= self.limit

    def text(self, unit: str) -> str:
        """For the table."""
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}x" if self.of_ratio else f"{sign} {self.limit:g} {unit}"


@dataclass(frozen=True)
class Pair:
    """Two functions that each do their work once, check it, and return one figure in the case's unit."""

    ours: Callable[[], float]
    floor: Callable[[], float]


@dataclass(frozen=True)
class Case:
    """One line of the table. `open` sets up what is not timed, and lets it go."""

    name: str
    unit: str
    floor_name: str
    targets: tuple[Target, ...]
    open: Callable[[Sizes], AbstractContextManager[Pair]]


@dataclass(frozen=True)
class Result:
    """What a case came to. `readings` holds (ours, floor) of each pair, in the order in which they were taken."""

    case: Case
    readings: tuple[tuple[float, float], ...]

    @property
    def ours(self) -> float:
        """Our median figure."""
        return median(ours for ours, _ in self.readings)

    @property
    def floor(self) -> float:
        """The floor's median figure."""
        return median(floor for _, floor in self.readings)

    @property
    def ratios(self) -> list[float]:
        """Ours through floor, pair by pair."""
        return [ours / floor for ours, floor in self.readings]

    @property
    def ratio(self) -> float:
        """The median of the ratios; not the ratio of the medians."""
        return median(self.ratios)


def measure(case: Case, sizes: Sizes, pair_count: int) -> Result:
    """Take so many pairs of readings, after one pair that only warms up."""
    with case.open(sizes) as pair:
        readings = list(_readings(pair, pair_count + 1))
    return Result(case, tuple(readings[1:]))


def _readings(pair: Pair, count: int) -> Iterator[tuple[float, float]]:
    for number in range(count):
        # Who comes first takes turns, so that neither always finds the caches and the pools as the other left them.
        if number % 2:
            floor = _reading(pair.floor)
            ours = _reading(pair.ours)
        else:
            ours = _reading(pair.ours)
            floor = _reading(pair.floor)
        yield ours, floor


def _reading(work: Callable[[], float]) -> float:
    # The collector stays on while the work is timed; what the reading before left behind is not this one's to sweep.
    gc.collect()
    gc.enable()
    return work()
