"""Engines that are broken, each in one way: child processes draw flows by these functions, and are broken then."""

# ruff: noqa: SLF001 - a defect is planted inside

import json
from collections.abc import Callable
from typing import Any

from routilux import Flow
from routilux.flow.durable.group_commit import GroupCommit
from routilux.flow.durable.run import DurableRun
from routilux.flow.revival import Revival
from routilux.flow.task import Activation
from routilux.stores import JournalRow, Store, Write
from tests.durable.crash_flows import many_kinds, merging

__all__ = ["DEFECTS"]


def drops_settlements(store: Store) -> Flow:
    """Every third row has lost the settlement in it."""
    add = GroupCommit.add

    def forgetful(group: GroupCommit, job_id: str, row: JournalRow | None, *rest: Any, **more: Any) -> None:
        if row is not None and row.number % 3 == 0:
            row = JournalRow(row.number, json.dumps([each for each in json.loads(row.body) if each[0] != "c"]))
        add(group, job_id, row, *rest, **more)

    GroupCommit.add = forgetful
    return merging(store)


def delivers_twice(store: Store) -> Flow:
    """What a recovered run had queued is queued twice."""
    reopened = DurableRun.reopened

    def doubling(run: DurableRun) -> None:
        reopened(run)
        with run.lock:
            for task in list(run._normal):
                run.outstanding += 1
                run.push(task)

    DurableRun.reopened = doubling
    return merging(store)


def _after_revival(store: Store, spoil: Callable[[Activation], None]) -> Flow:
    activation = Revival.activation

    def spoiled(*args: Any) -> tuple[Activation, float]:
        task, delay = activation(*args)
        spoil(task)
        return task, delay

    Revival.activation = spoiled
    return many_kinds(store)  # there, something is kept of handlers that are at work


def merges_twice(store: Store) -> Flow:
    """An activation that runs again is merged again."""

    def forget(task: Activation) -> None:
        task.merged = False

    return _after_revival(store, forget)


def forgets_the_replay(store: Store) -> Flow:
    """An activation that runs again does not know what it had emitted."""

    def forget(task: Activation) -> None:
        task.replay = None

    return _after_revival(store, forget)


def commits_out_of_order(store: Store) -> Flow:
    """The later rows of a group are written before the first one."""

    def write(group: GroupCommit) -> None:
        with group._lock:
            parts, group._parts = group._parts, {}
            group._row_count = 0
        later = [Write(job_id, part.rows[1:], part.status) for job_id, part in parts.items()]
        first = [Write(job_id, part.rows[:1], release=part.release) for job_id, part in parts.items()]
        if parts:
            store.write(later)
            store.write(first)

    GroupCommit._write = write
    return merging(store)


def loses_a_task(store: Store) -> Flow:
    """The last of the tasks that a recovered run should go on with is forgotten."""
    reopened = DurableRun.reopened

    def forgetting(run: DurableRun) -> None:
        reopened(run)
        with run.lock:
            if run._normal:
                run._normal.pop()
                run.outstanding -= 1

    DurableRun.reopened = forgetting
    return merging(store)


DEFECTS = (
    drops_settlements,
    delivers_twice,
    merges_twice,
    forgets_the_replay,
    commits_out_of_order,
    loses_a_task,
)
