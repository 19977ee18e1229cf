"""`keep_finished`: a flow's finished runs are forgotten when there are too many, or when they are too old."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from routilux import ErrorHandler, Flow
from routilux.flow.durable.retention import ENDS_BETWEEN
from routilux.stores import Store, open_store
from routilux.stores.memory import MemoryStore
from tests.drawings import Gate, draw, fails, in_thread, node, source, wait_until


class Pruned(MemoryStore):
    """Notes how often it was looked through."""

    prune_count = 0

    def prune(self, older_than: float | None = None, keep: int | None = None, flow_id: str | None = None) -> int:
        self.prune_count += 1
        return super().prune(older_than, keep, flow_id)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store("memory:" if request.param == "memory" else tmp_path / "runs.db")
    yield opened
    opened.close()


def short(store: Store, keep_finished: int | timedelta | None, flow_id: str = "drawn") -> Flow:
    flow = Flow(flow_id, store=store, keep_finished=keep_finished)
    return draw("a -> b", flow=flow, a=source(1), b=node())


def run_many(flow: Flow, count: int) -> list[str]:
    with flow:
        return [flow.run("a").job_id for _ in range(count)]


def kept(store: Store, flow_id: str = "drawn") -> list[str]:
    return [header.job_id for header in store.list_runs(flow_id=flow_id)]


def test_of_many_finished_runs_the_newest_are_kept(store: Store) -> None:
    done = run_many(short(store, 5), 2 * ENDS_BETWEEN)

    assert 5 <= len(kept(store)) <= 5 + ENDS_BETWEEN
    assert kept(store) == done[: -len(kept(store)) - 1 : -1]


def test_finished_runs_that_are_too_old_are_forgotten(store: Store) -> None:
    run_many(short(store, None), 3)
    newest = run_many(short(store, timedelta(0)), 1)

    assert set(kept(store)) <= set(newest)


def test_finished_runs_that_are_young_enough_are_kept(store: Store) -> None:
    done = run_many(short(store, timedelta(days=1)), 4)

    assert sorted(kept(store)) == sorted(done)


def test_without_retention_all_are_kept(store: Store) -> None:
    assert len(run_many(short(store, None), 70)) == len(kept(store))


def test_runs_of_other_flows_are_not_counted_and_not_forgotten(store: Store) -> None:
    others = run_many(short(store, None, "other"), 3)
    run_many(short(store, 0), 2)

    assert sorted(kept(store, "other")) == sorted(others)


def test_runs_that_are_paused_are_not_forgotten(store: Store) -> None:
    gate = Gate()
    with draw("a -> b", flow=Flow("drawn", store=store, keep_finished=0), a=source(1), b=node(gate.act)) as flow:
        paused = flow.execute("a")
        gate.await_arrival()
        stopping = in_thread(lambda: flow.pause(paused))
        wait_until(flow, paused, lambda job_state: job_state.status == "paused")
        gate.open()
        stopping()
    run_many(short(store, 0), 2)

    assert paused.job_id in kept(store)


def test_runs_that_have_failed_are_finished(store: Store) -> None:
    failing = node(fails(ValueError("no")), error_handler=ErrorHandler("stop"))
    with draw("a -> b", flow=Flow("drawn", store=store), a=source(1), b=failing) as flow:
        failed = flow.run("a")
    assert failed.status == "failed"
    run_many(short(store, 0), 1)

    assert failed.job_id not in kept(store)


def test_the_store_is_looked_through_once_for_many_ends() -> None:
    store = Pruned()
    run_many(short(store, 5), 1 + 2 * ENDS_BETWEEN)

    assert store.prune_count == 3


def test_a_run_that_fails_is_an_end_as_well() -> None:
    store = Pruned()
    failing = node(fails(ValueError("no")), error_handler=ErrorHandler("stop"))
    with draw("a -> b", flow=Flow("drawn", store=store, keep_finished=5), a=source(1), b=failing) as flow:
        assert flow.run("a").status == "failed"

    assert store.prune_count == 1


@pytest.mark.parametrize("wrong", [True, 1.5, "5"])
def test_what_is_neither_a_number_nor_an_age_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="a number of runs, or a timedelta"):
        Flow("drawn", store="memory:", keep_finished=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, timedelta(seconds=-1)])
def test_less_than_nothing_cannot_be_kept(wrong: int | timedelta) -> None:
    with pytest.raises(ValueError, match="less than nothing"):
        Flow("drawn", store="memory:", keep_finished=wrong)


def test_without_a_store_there_is_nothing_to_keep() -> None:
    with pytest.raises(ValueError, match=r"store=\.\.\."):
        Flow("drawn", keep_finished=5)
