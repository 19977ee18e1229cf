"""A process may be killed at any moment: nothing is lost, nothing that was kept is done again, nothing comes twice."""

from collections.abc import Callable

import pytest

from routilux import Flow
from routilux.stores import Store
from routilux.testing.crash_points import crash_points, random_kills
from tests.durable.crash_flows import FLOWS
from tests.durable.planted_defects import DEFECTS, forgets_the_replay

# More than one process is waited for, many times.
pytestmark = pytest.mark.timeout(300)

EVERY_FLOW = pytest.mark.parametrize("name", FLOWS)
LEVELS = pytest.mark.parametrize("level", ["group", "sync"])
LOADED = pytest.mark.parametrize("name", ["chain", "merging", "nested", "concurrent", "retrying"])


def test_a_killed_process_loses_and_doubles_nothing(new_file: Callable[[], str]) -> None:
    report = crash_points(FLOWS["merging"][0], "start", {"n": 2}, new_file, every=3)
    assert report.points >= 4
    assert report.problems == []


def test_a_planted_defect_is_noticed(new_file: Callable[[], str]) -> None:
    report = crash_points(forgets_the_replay, "start", {"n": 2}, new_file, "sync", ["after a transaction"])
    assert report.problems


@pytest.mark.slow
@pytest.mark.parametrize("broken", DEFECTS, ids=lambda broken: broken.__name__)
def test_every_planted_defect_is_noticed(broken: Callable[[Store], Flow], new_file: Callable[[], str]) -> None:
    problems: list[str] = []
    for level in ("group", "sync"):
        problems += crash_points(broken, "start", {"n": 2}, new_file, level, ["after a transaction"]).problems
    assert problems


@pytest.mark.slow
@LEVELS
@EVERY_FLOW
def test_nothing_is_lost_or_doubled_at_any_crash_point(name: str, level: str, new_file: Callable[[], str]) -> None:
    build, n, result = FLOWS[name]
    report = crash_points(build, "start", {"n": n}, new_file, level, result=result)
    assert report.points >= 5
    assert report.problems == []


# How much each flow has to do where every one of its crash points is taken: enough to merge, to queue and to fail.
SMALL = {
    "chain": 4,
    "merging": 2,
    "retrying": 2,
    "tolerant": 2,
    "many kinds": 2,
    "nested": 1,
    "concurrent": 2,
    "failing": 5,
    "in place": 3,
    "awaiting": 2,
    "awaiting together": 2,
    "overdue": 2,
}


@pytest.mark.slow
@LEVELS
@EVERY_FLOW
def test_nothing_is_lost_or_doubled_at_any_crash_point_on_postgresql(
    name: str, level: str, new_schema: Callable[[], str]
) -> None:
    build, _, result = FLOWS[name]
    report = crash_points(build, "start", {"n": SMALL[name]}, new_schema, level, result=result)
    assert report.points >= 8
    assert report.problems == []


@pytest.mark.slow
@LEVELS
@LOADED
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_doubled_when_processes_die_at_random_moments_under_load(
    name: str, level: str, seed: int, new_file: Callable[[], str]
) -> None:
    build, _, result = FLOWS[name]
    report = random_kills(build, "start", {"n": 25}, new_file, level, runs=4, kills=6, seed=seed, result=result)
    assert report.points >= 1
    assert report.problems == []


@pytest.mark.slow
@LEVELS
@LOADED
def test_nothing_is_lost_or_doubled_on_postgresql_when_processes_die_at_random_moments_under_load(
    name: str, level: str, new_schema: Callable[[], str]
) -> None:
    build, _, result = FLOWS[name]
    report = random_kills(build, "start", {"n": 25}, new_schema, level, runs=4, kills=6, seed=1, result=result)
    assert report.points >= 1
    assert report.problems == []
