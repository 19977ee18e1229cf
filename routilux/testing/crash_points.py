"""crash_points: kill a process at every durable moment of a run, recover, and compare with the run that nobody killed.

A child process drives the flow and is killed with SIGKILL: before and after the n-th transaction of the store, and at
the n-th settlement, for each n. Another child recovers the run. Then the journal is read: nothing may be missing,
nothing that was kept may have been done again, and what happened in all must be what happens without a crash.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from routilux.flow.flow import Flow
from routilux.flow.group_commit import GroupCommit
from routilux.job_state import JobState
from routilux.stores.base import JournalRow, Store
from routilux.stores.journal import Replay
from routilux.stores.opening import open_store

__all__ = ["CrashReport", "crash_points"]

# Where a process may be killed: when a settlement is added to the group, and around a transaction.
MOMENTS = ("settlement", "before a transaction", "after a transaction")

PATIENCE_SECONDS = 60.0


class CrashReport(NamedTuple):
    """What came out.

    Attributes:
        points: At how many points the process was killed.
        problems: What was not as it must be, a sentence each; empty when all is well.
    """

    points: int
    problems: list[str]


class _Plan(NamedTuple):
    """What one child does."""

    build: Callable[[Store], Flow]
    url: str
    level: str
    entry: str
    params: dict[str, Any]
    job_id: str
    moment: str = ""
    number: int = 0


def crash_points(
    build: Callable[[Store], Flow],
    entry: str,
    params: dict[str, Any],
    make_url: Callable[[], str],
    level: str = "group",
    moments: Iterable[str] = MOMENTS,
    every: int = 1,
) -> CrashReport:
    """Kill a process at every durable moment of a run in turn, and see that nothing is lost or done twice.

    Args:
        build: Draws the flow over a store; a function at module level, since child processes call it. Its handlers
            must be deterministic.
        entry: The routine to begin with.
        params: What its trigger gets.
        make_url: Gives a new, empty store each time.
        level: "group" or "sync".
        moments: "settlement", "before a transaction", "after a transaction".
        every: Take only each so many-th point.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, build.__module__])
    plan = _Plan(build, make_url(), level, entry, params, "uninterrupted")
    _run_child(context, plan, may_die=False)
    wanted = _history_of(plan)
    points, problems = 0, []
    for moment in moments:
        number = 1
        while True:
            killed = plan._replace(url=make_url(), job_id="killed", moment=moment, number=number)
            if not _run_child(context, killed, may_die=True):
                break  # the run was over before
            points += 1
            found = list(_problems_after(context, killed, wanted))
            problems += [f"killed at {moment} {number}: {problem}" for problem in found]
            number += every
    return CrashReport(points, problems)


def _run_child(context: Any, plan: _Plan, *, may_die: bool) -> bool:
    """Let a child drive the run; whether it was killed.

    Raises:
        RuntimeError: It ended in another way.
    """
    child = context.Process(target=_drive, args=(plan,))
    child.start()
    child.join(PATIENCE_SECONDS)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise RuntimeError(f"The child did not end within {PATIENCE_SECONDS:g} s: {plan}")
    if child.exitcode == -signal.SIGKILL and may_die:
        return True
    if child.exitcode:
        raise RuntimeError(f"The child ended with {child.exitcode}: {plan}. Its error stands above.")
    return False


def _drive(plan: _Plan) -> None:
    """What a child does: recover the run if it is there, else start it; and wait for its end."""
    store = open_store(plan.url, plan.level)
    if plan.moment:
        _kill_at(plan.moment, plan.number, store)
    with plan.build(store) as flow:
        found = flow.recover() or [flow.execute(plan.entry, plan.params, job_id=plan.job_id)]
        for job_state in found:
            if not JobState.wait_for_completion(flow, job_state, timeout=PATIENCE_SECONDS):
                sys.stderr.write(f"{job_state!r} is not over\n")
                os._exit(3)
    store.close()


def _kill_at(moment: str, number: int, store: Store) -> None:
    """Have this process killed at the n-th of such moments."""
    left = number

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

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


def _problems_after(context: Any, plan: _Plan, wanted: "Counter[str]") -> Iterator[str]:
    """Recover a run that was killed, and yield what is not as it must be."""
    store = open_store(plan.url, plan.level)
    before = store.rows(plan.job_id)
    store.close()
    _run_child(context, plan._replace(moment=""), may_die=False)
    store = open_store(plan.url, plan.level)
    rows, header = store.rows(plan.job_id), store.find(plan.job_id)
    store.close()
    if header is None or header.status != "completed":
        yield f"the run is {header.status if header else 'not there'}"
        return
    if rows[: len(before)] != before:
        yield "rows that were kept have changed"
    kept, later = _Deeds(before), _Deeds(rows[len(before) :])
    yield from (f"{each} was settled, and began again" for each in sorted(kept.settled & later.begun))
    every = _Deeds(rows)
    for name, keys in (("settled", every.all_settled), ("delivered", every.delivered), ("merged", every.merged)):
        yield from (f"{key} was {name} {count} times" for key, count in Counter(keys).items() if count > 1)
    unsettled = Replay().apply_all(row.body for row in rows).waiting()
    yield from (f"{key} was lost" for key in unsettled)
    found = _history_of(plan)
    yield from (f"{count} times too few: {record}" for record, count in (wanted - found).items())
    yield from (f"{count} times too many: {record}" for record, count in (found - wanted).items())


class _Deeds:
    """Which activations have begun, were settled, delivered and merged in some rows."""

    def __init__(self, rows: Iterable[JournalRow]) -> None:
        self.begun: set[str] = set()
        self.all_settled: list[str] = []
        self.delivered: list[str] = []
        self.merged: list[str] = []
        for row in rows:
            for code, *values in json.loads(row.body):
                if code == "b":
                    self.begun.add(values[0])
                    if values[3]:
                        self.merged.append(values[0])
                elif code == "m":
                    self.merged.append(values[0])
                elif code in ("c", "l"):
                    self.all_settled.append(values[0])
                elif code == "e":
                    self.delivered += [delivery[2] for delivery in values[5]]
        self.settled = set(self.all_settled)


def _history_of(plan: _Plan) -> "Counter[str]":
    """What has happened in a run, and what it has left, without the times."""
    store = open_store(plan.url, plan.level)
    replay = Replay().apply_all(row.body for row in store.rows(plan.job_id))
    store.close()
    saved = replay.saved_form("completed")
    found = Counter(_line(record) for record in replay.history())
    found.update(f"{name}: {json.dumps(saved.get(name), sort_keys=True)}" for name in ("shared_data", "slot_data"))
    found.update(f"output: {json.dumps(entry['data'], sort_keys=True)}" for entry in saved["output_log"])
    return found


def _line(record: dict[str, Any]) -> str:
    data = {key: value for key, value in record["data"].items() if key not in ("execution_time", "traceback")}
    return f"{record['routine_id']}.{record['event_name']} {json.dumps(data, sort_keys=True)}"
