"""Page after page of a long history, each row of its journal is read about once."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from routilux import Flow, Routine
from routilux.stores import JournalRow, Store
from routilux.stores.journal import Replay
from routilux.stores.memory import MemoryStore
from tests.drawings import draw, entry, in_thread, node, own_run, wait

PAGE = 50


class Counting(MemoryStore):
    """Counts the rows that are read."""

    def __init__(self, url: str = "memory:") -> None:
        super().__init__(url)
        self.rows_read = 0
        self.meanwhile: Callable[[], None] | None = None

    def rows(self, job_id: str, after: int = 0, limit: int | None = None) -> list[JournalRow]:
        found = super().rows(job_id, after, limit)
        self.rows_read += len(found)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            in_thread(meanwhile)()
        return found


def counts_down(routine: Routine, data: dict[str, Any]) -> None:
    if data["n"]:
        routine.emit("output", n=data["n"] - 1)


def chain(store: Store, step: Callable[..., None] = counts_down, **settings: Any) -> Flow:
    return draw("a -> b -> b", flow=Flow("chain", store=store, **settings), a=entry(counts_down), b=node(step))


def kept(store: Store, steps: int = 1200, **settings: Any) -> str:
    """Leave a finished run of so many steps in the store."""
    with chain(store, **settings) as flow:
        job_state = wait(flow, flow.execute("a", {"n": steps}))
        assert job_state.status == "completed"
        return job_state.job_id


def every(store: Store, job_id: str) -> list[dict[str, Any]]:
    replay = Replay()
    return replay.apply_all(row.body for row in store.rows(job_id)).history()


def saved(records: Any) -> list[dict[str, Any]]:
    return [record.serialize() for record in records]


def all_pages(store: Store, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := store.history(job_id, len(found), PAGE):
        found += saved(page)
    return found


@pytest.mark.parametrize("limit", [None, 10])
def test_all_pages_of_a_long_run_read_each_row_about_once(limit):
    store = Counting()
    job_id = kept(store, history_limit=limit)
    expected, row_count = every(store, job_id), len(store.rows(job_id))
    store.rows_read = 0
    assert all_pages(store, job_id) == expected
    assert row_count <= store.rows_read < 1.5 * row_count


def test_several_who_page_through_one_run_do_not_spoil_it_for_each_other():
    store = Counting()
    job_id = kept(store, 600)
    expected, row_count = every(store, job_id), len(store.rows(job_id))
    store.rows_read = 0
    for start in range(0, len(expected), PAGE):
        for behind in (0, 5 * PAGE, 9 * PAGE):
            at = max(0, start - behind)
            assert saved(store.history(job_id, at, PAGE)) == expected[at : at + PAGE]
    assert store.rows_read < 6 * row_count


def test_two_threads_that_go_on_from_one_place_at_the_same_moment_have_the_same_page():
    store = Counting()
    job_id = kept(store, 100)
    expected, others = every(store, job_id), []
    store.history(job_id, 0, PAGE)
    store.meanwhile = lambda: others.extend(saved(store.history(job_id, PAGE, PAGE)))
    assert saved(store.history(job_id, PAGE, PAGE)) == others == expected[PAGE : 2 * PAGE]


def test_a_late_page_of_a_bounded_run_begins_at_its_snapshot():
    name = "memory:late-page"
    job_id = kept(keeper := Counting(name), 1200, history_limit=10)
    store = Counting(name)
    expected, found = every(keeper, job_id), store.snapshot(job_id)
    assert found is not None
    assert saved(store.history(job_id, len(expected) - 3, PAGE)) == expected[-3:]
    assert store.rows_read <= len(keeper.rows(job_id)) - found[0]


@pytest.mark.parametrize("limit", [None, 10])
def test_pages_in_any_order_are_parts_of_the_one_history(limit):
    store = Counting()
    job_id = kept(store, history_limit=limit)
    expected, dice = every(store, job_id), random.Random(7)
    for _ in range(60):
        start, count = dice.randrange(len(expected) + 5), dice.choice([0, 1, 2, 7, 100, 5000])
        assert saved(store.history(job_id, start, count)) == expected[start : start + count], (start, count)


def test_who_follows_a_run_that_goes_on_reads_only_what_is_new():
    store = Counting()

    def step(routine: Routine, data: dict[str, Any]) -> None:
        if data["n"] == 20:
            flow.pause(own_run(routine))
        counts_down(routine, data)

    with chain(store, step) as flow:
        job_state = wait(flow, flow.execute("a", {"n": 400}))
        before = all_pages(store, job_state.job_id)
        assert before == every(store, job_state.job_id)
        wait(flow, flow.resume(job_state))
        store.rows_read = 0
        after = saved(store.history(job_state.job_id, len(before), 1000))
        assert store.rows_read < 60
        assert before + after == every(store, job_state.job_id)


def test_another_run_of_the_same_job_id_is_another_history():
    store = Counting()
    with chain(store) as flow:
        for steps in (30, 20):
            wait(flow, flow.execute("a", {"n": steps}, job_id="job"))
            assert all_pages(store, "job") == every(store, "job")
            assert store.history("job", 3, 1)[0].serialize() == every(store, "job")[3]
            store.close()
            store.delete("job")


def test_a_page_has_no_negative_length():
    store = Counting()
    job_id = kept(store, 3)
    with pytest.raises(ValueError, match="how many records a page has"):
        store.history(job_id, 0, -1)
