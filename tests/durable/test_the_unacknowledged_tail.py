"""What a crash can undo is bounded: workers wait for the store when too much of what they did is not kept."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from routilux import Flow
from routilux.flow.durable.group_commit import GroupCommit
from routilux.stores import JournalRow, Write
from routilux.stores.memory import MemoryStore
from routilux.testing import FakeClock
from tests.drawings import DEADLINE, draw, entry, node, passed

WORKERS = 16
MOST = 128


class Tail(MemoryStore):
    """A store on a slow disk. It knows how many rows were added to the group and are not written yet, at the most."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.added = self.written = self.most = 0

    def note_added(self) -> None:
        with self.lock:
            self.added += 1
            self.most = max(self.most, self.added - self.written)

    def write(self, writes: Sequence[Write]) -> None:
        threading.Event().wait(0.01)
        super().write(writes)
        with self.lock:
            self.written += sum(len(write.rows) for write in writes)


def test_never_more_than_128_settlements_are_done_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Tail()
    add = GroupCommit.add

    def counted(group: GroupCommit, job_id: str, row: JournalRow | None, *rest: Any, **more: Any) -> None:
        if row is not None:
            store.note_added()
        add(group, job_id, row, *rest, **more)

    monkeypatch.setattr(GroupCommit, "add", counted)

    def starts(routine: Any, _: dict[str, Any]) -> None:
        for n in range(1500):
            routine.emit("output", n=n)

    flow = Flow("tail", store=store, execution_strategy="concurrent", max_workers=WORKERS)
    with draw("a -> b", flow=flow, a=entry(starts), b=node(lambda routine, data: None)):
        job_state = flow.run("a")
    assert job_state.status == "completed"
    assert store.written == store.added >= 1500
    assert store.most <= MOST


class Slow(MemoryStore):
    """A store whose first write takes until it may end."""

    def __init__(self) -> None:
        super().__init__()
        self.writing, self.may_end = threading.Event(), threading.Event()
        self.counts: list[int] = []

    def write(self, writes: Sequence[Write]) -> None:
        self.counts.append(sum(len(write.rows) for write in writes))
        if len(self.counts) == 1:
            self.writing.set()
            passed(self.may_end)


def grouped() -> tuple[Slow, GroupCommit, FakeClock]:
    store, clock = Slow(), FakeClock()
    return store, GroupCommit(store, clock, lambda error: None, lambda job_id, error: None), clock


def test_a_settlement_is_written_by_whoever_finds_it_20_milliseconds_old() -> None:
    store, group, clock = grouped()
    store.may_end.set()
    group.add("run", JournalRow(1, "[]"))
    clock.advance(0.019)
    group.write_if_due()
    assert store.counts == []
    clock.advance(0.001)
    group.write_if_due()
    assert store.counts == [1]


def test_nobody_goes_on_while_a_settlement_that_is_50_milliseconds_old_is_not_written() -> None:
    store, group, clock = grouped()
    group.add("run", JournalRow(1, "[]"))
    clock.advance(0.02)
    writer = threading.Thread(target=group.write_if_due)
    writer.start()
    passed(store.writing)
    group.add("run", JournalRow(2, "[]"))
    clock.advance(0.029)
    group.write_if_due()  # the older one has waited for 49: this thread goes on
    clock.advance(0.001)
    waiting = threading.Thread(target=group.write_if_due)
    waiting.start()
    waiting.join(0.05)  # it never comes back before the older one is written
    assert waiting.is_alive()
    store.may_end.set()
    for thread in (writer, waiting):
        thread.join(DEADLINE)
    assert store.counts == [1, 1]


@pytest.mark.parametrize(("level", "is_kept"), [("sync", True), ("group", False)])
def test_what_an_activation_emits_starts_after_its_commit_at_the_level_sync(level: str, is_kept: bool) -> None:
    store = MemoryStore(level=level)
    missing: list[int] = []

    def counts_down(routine: Any, data: dict[str, Any]) -> None:
        settled = sum(operation[0] == "c" for row in store.rows("run") for operation in json.loads(row.body))
        missing.append(10 - data["n"] + 1 - settled)  # of the entry, and of the steps before this one
        if data["n"]:
            routine.emit("output", n=data["n"] - 1)

    flow = Flow("order", store=store, clock=FakeClock())
    parts = {"a": entry(lambda a, _: a.emit("output", n=10)), "b": node(counts_down)}
    with draw("a -> b", "b -> b", flow=flow, **parts):
        flow.run("a", job_id="run")
    assert len(missing) == 11
    assert (max(missing) == 0) is is_kept
