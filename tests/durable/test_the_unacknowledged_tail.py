"""What a crash can undo is bounded: workers wait for the store when too much of what they did is not kept."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from routilux import Flow
from routilux.flow.durable.group_commit import GroupCommit
from routilux.stores import JournalRow, Write
from routilux.stores.memory import MemoryStore
from tests.drawings import draw, entry, node

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
