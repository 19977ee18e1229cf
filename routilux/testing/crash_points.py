"""crash_points: kill a process at every durable moment of a run, recover, and compare with the run that nobody killed.

A child process drives the flow and is killed with SIGKILL: before and after the n-th transaction of the store, and at
the n-th settlement, for each n. Another child recovers the run. Then the journal is read: nothing may be missing,
nothing that was kept may have been done again, and what happened in all must be what happens without a crash.

`random_kills` does the same with several runs at once, and with children that are killed at random moments one after
the other.
"""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from routilux.flow.durable.group_commit import GroupCommit
from routilux.flow.flow import Flow
from routilux.job_state import JobState
from routilux.stores.base import JournalRow, Store
from routilux.stores.opening import open_store
from routilux.testing.journal_checks import Life, problems_of, result_of

__all__ = ["CrashReport", "crash_points", "random_kills"]

# Where a process may be killed: when a settlement is added to the group, and around a transaction.
MOMENTS = ("settlement", "before a transaction", "after a transaction")

PATIENCE_SECONDS = 60.0

# What a run has come to, out of its saved form, for those whose order is not always the same.
Result = Callable[[dict[str, Any]], Any]


class CrashReport(NamedTuple):
    """What came out.

    Attributes:
        points: How many processes were killed.
        problems: What was not as it must be, a sentence each; empty when all is well.
    """

    points: int
    problems: list[str]


class _Plan(NamedTuple):
    """What one child does, and what it is compared by."""

    build: Callable[[Store], Flow]
    url: str
    level: str
    entry: str
    params: dict[str, Any]
    result: Result | None = None
    runs: int = 1
    moment: str = ""
    number: float = 0

    def job_ids(self) -> list[str]:
        return [f"run {number}" for number in range(self.runs)]


def crash_points(
    build: Callable[[Store], Flow],
    entry: str,
    params: dict[str, Any],
    make_url: Callable[[], str],
    level: str = "group",
    moments: Iterable[str] = MOMENTS,
    every: int = 1,
    result: Result | None = None,
) -> CrashReport:
    """Kill a process at every durable moment of a run in turn, and see that nothing is lost or done twice.

    Args:
        build: Draws the flow over a store; a function at module level, since child processes call it. Its handlers
            must be deterministic. The run may complete or fail.
        entry: The routine to begin with.
        params: What its trigger gets.
        make_url: Gives a new, empty store each time.
        level: "group" or "sync".
        moments: "settlement", "before a transaction", "after a transaction".
        every: Take only each so many-th point.
        result: What of a run must be as without a crash, out of what `JobState.serialize` gives; for flows whose
            activations come in another order each time. None: everything but the times.

    Raises:
        RuntimeError: The run cannot be driven to its end even if nobody is killed.
    """
    plan = _Plan(build, make_url(), level, entry, params, result)
    context = _context_for(plan)
    wanted = _results_without_a_crash(context, plan)
    points, problems = 0, []
    for moment in moments:
        number = 1
        while True:
            killed = plan._replace(url=make_url(), moment=moment, number=number)
            was_killed, life = _one_life(context, killed)
            if not was_killed:
                break  # the run was over before
            points += 1
            found = _problems_after(context, killed, [life], wanted)
            problems += [f"killed at {moment} {number}: {problem}" for problem in found]
            number += every
    return CrashReport(points, problems)


def random_kills(
    build: Callable[[Store], Flow],
    entry: str,
    params: dict[str, Any],
    make_url: Callable[[], str],
    level: str = "group",
    runs: int = 4,
    kills: int = 5,
    seed: int = 0,
    result: Result | None = None,
) -> CrashReport:
    """Drive several runs at once, kill their process at random moments again and again, and see the same of each run.

    Each process is killed after a random number of settlements, or of milliseconds; the next one recovers the runs,
    and starts those that were never started. Give the flow a `max_recoveries` that is greater than `kills`.

    Args:
        build: As `crash_points` takes it.
        entry: The routine to begin with.
        params: What its trigger gets.
        make_url: Gives a new, empty store each time.
        level: "group" or "sync".
        runs: How many at once.
        kills: How many processes to kill at most; the last one may go on to the end.
        seed: For the random numbers.
        result: As `crash_points` takes it.

    Raises:
        RuntimeError: The runs cannot be driven to their end even if nobody is killed.
    """
    chance = random.Random(seed)  # noqa: S311 - chance is no secret here
    plan = _Plan(build, make_url(), level, entry, params, result, runs)
    context = _context_for(plan)
    settlements = [0]
    began = time.monotonic()
    wanted = _results_without_a_crash(context, plan, settlements)
    most_ms = (time.monotonic() - began) * 1000
    plan = plan._replace(url=make_url())
    lives: list[dict[str, Life]] = []
    while len(lives) < kills:
        moment = chance.choice(("settlement", "milliseconds"))
        number = chance.randint(1, max(1, settlements[0] // kills)) if moment == "settlement" else chance.random()
        if moment == "milliseconds":
            number *= most_ms
        was_killed, life = _one_life(context, plan._replace(moment=moment, number=number))
        if not was_killed:
            break
        lives.append(life)
    found = _problems_after(context, plan, lives, wanted)
    return CrashReport(len(lives), [f"killed {len(lives)} times (seed {seed}): {problem}" for problem in found])


def _context_for(plan: _Plan) -> Any:
    context = multiprocessing.get_context("forkserver")
    # A child that has to import its store's driver takes three times as long; one that is not installed is passed over.
    stores = ("routilux.stores.sqlite", "routilux.stores.postgres")
    context.set_forkserver_preload([__name__, plan.build.__module__, *stores])
    return context


def _results_without_a_crash(context: Any, plan: _Plan, settlements: list[int] | None = None) -> dict[str, Any]:
    """What the runs come to when nobody is killed; how many settlements that takes is added to the list's number."""
    ended_well = _run_child(context, plan, may_die=False)
    assert not ended_well  # noqa: S101 - it was not killed
    lives = _lives_of(plan)
    if settlements is not None:
        settlements[0] += sum(life.settlement_count() for life in lives.values())
    return {job_id: result_of(life, plan.result) for job_id, life in lives.items()}


def _one_life(context: Any, plan: _Plan) -> tuple[bool, dict[str, Life]]:
    """Let a child drive the runs and be killed; whether it was, and what the store had then."""
    return _run_child(context, plan, may_die=True), _lives_of(plan)


def _problems_after(context: Any, plan: _Plan, lives: list[dict[str, Life]], wanted: dict[str, Any]) -> Iterator[str]:
    """Recover the runs of processes that were killed, and yield what is not as it must be."""
    try:
        _run_child(context, plan._replace(moment=""), may_die=False)
    except RuntimeError as error:
        yield f"it could not be recovered: {error}"
        return
    every = [*lives, _lives_of(plan)]
    yield from (f"{job_id} should not be there" for job_id in every[-1].keys() - wanted.keys())
    for job_id, wanted_of_run in wanted.items():
        of_run = [life.get(job_id) or Life(None, ()) for life in every]
        yield from (f"{job_id}: {problem}" for problem in problems_of(of_run, wanted_of_run, plan.result))


def _lives_of(plan: _Plan) -> dict[str, Life]:
    """What the store has of each run, those included that handlers have started."""
    store = open_store(plan.url, plan.level)
    try:
        return {header.job_id: Life(header, store.rows(header.job_id)) for header in store.list_runs()}
    finally:
        store.close()


def _run_child(context: Any, plan: _Plan, *, may_die: bool) -> bool:
    """Let a child drive the runs; whether it was killed.

    Raises:
        RuntimeError: It ended in another way.
    """
    child = context.Process(target=_drive, args=(plan,))
    child.start()
    child.join(PATIENCE_SECONDS)
    try:
        if child.exitcode is None:
            child.kill()
            child.join()
            raise RuntimeError(f"The child did not end within {PATIENCE_SECONDS:g} s: {plan}")
        if child.exitcode == -signal.SIGKILL and may_die:
            return True
        if child.exitcode:
            raise RuntimeError(f"The child ended with {child.exitcode}: {plan}. Its error stands above.")
        return False
    finally:
        child.close()


def _drive(plan: _Plan) -> None:
    """What a child does: recover the runs that are there, start the others, and wait for their end."""
    store = open_store(plan.url, plan.level)
    if plan.moment:
        _kill_at(plan.moment, plan.number, store)
    with plan.build(store) as flow:
        found = flow.recover()
        for job_id in plan.job_ids():
            if store.find(job_id) is None:
                found.append(flow.execute(plan.entry, plan.params, job_id=job_id))
        for job_state in found:
            if not JobState.wait_for_completion(flow, job_state, timeout=PATIENCE_SECONDS):
                sys.stderr.write(f"{job_state!r} is not over\n")
                os._exit(3)
    store.close()


def _kill_at(moment: str, number: float, store: Store) -> None:
    """Have this process killed at the n-th of such moments."""
    left = number
    lock = threading.Lock()

    def count() -> None:
        nonlocal left
        with lock:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if moment == "milliseconds":
        timer = threading.Timer(number / 1000, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
        return
    if moment == "settlement":
        add = GroupCommit.add

        def counted_add(group: GroupCommit, job_id: str, row: JournalRow | None, *rest: Any, **more: Any) -> None:
            add(group, job_id, row, *rest, **more)
            count()

        GroupCommit.add = counted_add  # type: ignore[assignment,method-assign]  # in a child process, for its short life
        return
    for name in ("create", "write"):
        method = getattr(store, name)

        def counted(*args: Any, method: Callable[..., Any] = method) -> Any:
            if moment == "before a transaction":
                count()
            result = method(*args)
            if moment == "after a transaction":
                count()
            return result

        setattr(store, name, counted)
