"""A recovery reads the last rows of paused runs, and the journals of those only that go on."""

import json
from typing import Any

import pytest

from routilux import Flow
from routilux.stores import JournalRow
from routilux.stores.journal import pause_told_by
from routilux.stores.memory import MemoryStore
from tests.asking import Clerk, desk
from tests.drawings import wait
from tests.durable.deadlines import until

RUNS = 20


class Counting(MemoryStore):
    """Counts the rows that are read; and may have rows as an older routilux has written them."""

    is_old = False

    def __init__(self) -> None:
        super().__init__()
        self.rows_read = 0
        self.read: set[str] = set()

    def rows(self, job_id: str, after: int = 0, limit: int | None = None) -> list[JournalRow]:
        found = super().rows(job_id, after, limit)
        self.rows_read += len(found)
        self.read.add(job_id)
        return found

    def last_row(self, job_id: str) -> JournalRow | None:
        row = super().last_row(job_id)
        self.rows_read += 1
        if row is None or not self.is_old:
            return row
        operations = json.loads(row.body)
        for code, *values in operations:
            if code == "z":
                values[0].pop("due_at", None), values[0].pop("input_number", None)
        return JournalRow(row.number, json.dumps(operations))


@pytest.fixture
def store() -> Counting:
    return Counting()


def left_waiting(store: Counting, paused_by_hand: bool = False, **params: Any) -> None:
    """Leave runs in the store that wait for an approval, or that somebody has paused."""
    flow, _ = desk(store=store)
    with flow:
        for number in range(RUNS):
            job_state = flow.execute("clerk", {"names": ["approval", "other"], **params}, job_id=f"run-{number}")
            assert job_state.status == "paused"
            if paused_by_hand:
                flow.pause(job_state, reason="lunch")
    store.rows_read = 0
    store.read.clear()


def recovering(store: Counting) -> tuple[Flow, Clerk]:
    store.close()  # as another process
    return desk(store=store)


@pytest.mark.parametrize("paused_by_hand", [False, True])
def test_of_paused_runs_that_stay_paused_one_row_is_read(store: Counting, paused_by_hand: bool) -> None:
    left_waiting(store, paused_by_hand, timeout=1000.0)
    flow, _ = recovering(store)
    with flow:
        assert flow.recover() == []
        assert flow.recover() == []
        assert (store.rows_read, store.read) == (2 * RUNS, set())
        assert flow.load("run-3").pause_points[-1]["reason"] == (
            "lunch" if paused_by_hand else "input: approval, other"
        )


def test_only_the_run_that_has_got_its_input_is_read_and_goes_on(store: Counting) -> None:
    left_waiting(store)
    store.put_input("run-3", "approval", '{"n":1}')
    store.put_input("run-4", "something", '{"n":2}')
    flow, clerk = recovering(store)
    with flow:
        assert [wait(flow, job_state).job_id for job_state in flow.recover()] == ["run-3"]
        assert (clerk.got, store.read) == ([{"n": 1}], {"run-3"})
        store.read.clear()
        assert flow.recover() == []  # what was taken is no news
        assert store.read == set()


def test_a_run_whose_request_times_out_later_goes_on_then(store: Counting) -> None:
    left_waiting(store, timeout=0.4)
    flow, clerk = recovering(store)
    with flow:
        flow.recover()
        until(lambda: len(clerk.got) == 2 * RUNS)
        until(lambda: {header.status for header in store.list_runs()} == {"completed"})
    assert all(answer["timed_out"] for answer in clerk.got)


def test_what_came_from_outside_since_the_pause_goes_on(store: Counting) -> None:
    flow, clerk = desk(store=store)
    clerk.define_event("more")
    flow.connect("clerk", "more", "clerk", "answer")
    with flow:
        job_state = flow.execute("clerk", {"names": ["approval"]}, job_id="run")
        clerk.emit("more", flow=flow, job_state=job_state, n=7)
    flow, clerk = recovering(store)
    with flow:
        for job_state in flow.recover():
            wait(flow, job_state)
    assert clerk.got == [{"n": 7}]


def test_a_pause_of_an_older_routilux_is_looked_at_as_a_whole(store: Counting) -> None:
    left_waiting(store)
    store.put_input("run-3", "approval", '{"n":1}')
    store.is_old = True
    flow, clerk = recovering(store)
    with flow:
        assert [wait(flow, job_state).job_id for job_state in flow.recover()] == ["run-3"]
        assert (clerk.got, len(store.read)) == ([{"n": 1}], RUNS)


@pytest.mark.parametrize(
    ("after", "is_told"),
    [([], True), ([["t", {}]], True), ([["s", "a", {}], ["g", {}]], True), ([["w"]], False), ([["z", {"n": 2}]], True)],
)
def test_a_row_tells_the_pause_that_nothing_has_followed(after: list[Any], is_told: bool) -> None:
    last = {"n": 2} if after and after[-1][0] == "z" else {"n": 1}
    told = pause_told_by(json.dumps([["b", "id", 1, 1, 0], ["z", {"n": 1}], *after]))
    assert told == (last if is_told else None)


def test_a_row_with_a_whole_state_tells_its_last_pause() -> None:
    assert pause_told_by('[["S", {"pause_points": [{"n": 1}, {"n": 2}]}]]') == {"n": 2}
    assert pause_told_by('[["S", {}]]') is None
