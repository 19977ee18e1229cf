"""What a run has forgotten in memory is read back from the store, page by page."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from routilux import ErrorHandler, Flow, Routine
from routilux.stores import Store, open_store
from tests.drawings import draw, fails, node, own_run, relay, source, wait


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store("memory:" if request.param == "memory" else tmp_path / "runs.db")
    yield opened
    opened.close()


def many_kinds(store: Store, **options: object) -> Flow:
    """A flow for a run with records of every kind: merges, retries, errors, outputs."""

    def sends(routine: Routine, data: dict[str, list[int]]) -> None:
        routine.send_output("line", count=len(data["item"]))
        own_run(routine).append_to_shared_log({"seen": len(data["item"])})

    return draw(
        "a -> b -> c",
        "a -> d",
        flow=Flow("drawn", store=store, **options),  # type: ignore[arg-type]
        a=source(1, 2, 3),
        b=relay(),
        c=node(sends, merge_strategy="append"),
        d=node(fails(ValueError("no"), 2), error_handler=ErrorHandler("retry", retry_delay=0.0)),
    )


def saved(records: object) -> list[dict[str, object]]:
    return [record.serialize() for record in records]  # type: ignore[attr-defined]


def test_all_pages_together_are_the_history(store: Store) -> None:
    with many_kinds(store) as flow:
        job_state = flow.run("a")
        count = len(job_state.execution_history)
        pages = [store.history(job_state.job_id, start, 4) for start in range(0, count + 4, 4)]

        assert [len(page) for page in pages[:-2]] == [4] * (len(pages) - 2)
        assert saved(record for page in pages for record in page) == saved(job_state.execution_history)
        assert saved(store.records(job_state.job_id)) == saved(job_state.execution_history)


def test_a_bounded_run_has_its_newest_records_in_memory_and_all_in_the_store(store: Store) -> None:
    with many_kinds(store) as flow:
        unbounded = [(each.routine_id, each.event_name) for each in flow.run("a").execution_history]
    with many_kinds(store, history_limit=5) as flow:
        job_state = flow.run("a")
        newest = job_state.execution_history
        dropped = job_state.metadata["history_dropped"]
        every = store.history(job_state.job_id)

        assert len(newest) == 5
        assert dropped + 5 == len(every)
        assert saved(every[dropped:]) == saved(newest)
        assert [(each.routine_id, each.event_name) for each in every] == unbounded


def test_a_loaded_bounded_run_has_the_newest_records_and_says_how_many_there_were(store: Store) -> None:
    with many_kinds(store, history_limit=5) as flow:
        job_id = flow.run("a").job_id
    with many_kinds(store, history_limit=5) as flow:
        for job_state in (store.load(job_id), flow.load(job_id)):
            every = store.history(job_id)
            assert saved(job_state.execution_history) == saved(every[-5:])
            assert job_state.metadata["history_dropped"] == len(every) - 5


def test_a_bounded_run_that_is_resumed_counts_on(store: Store) -> None:
    flow = draw(
        "a -> b",
        flow=Flow("drawn", store=store, history_limit=2),
        a=source(1, 2, 3),
        b=node(fails(ValueError("no"), 1), error_handler=ErrorHandler("stop")),
    )
    with flow:
        job_id = flow.run("a").job_id
    mended = draw("a -> b", flow=Flow("drawn", store=store, history_limit=2), a=source(), b=relay())
    with mended:
        job_state = wait(mended, mended.resume(mended.load(job_id)))
        newest, every = job_state.execution_history, store.history(job_id)

        assert saved(every[-2:]) == saved(newest)
        assert job_state.metadata["history_dropped"] == len(every) - 2


def test_to_load_a_bounded_run_does_not_take_the_memory_of_its_history(tmp_path: Path) -> None:
    def counts_down(routine: Routine, data: dict[str, int]) -> None:
        if data["item"]:
            routine.emit("output", item=data["item"] - 1, pad=f"{data['item']:05}" * 40)

    def peak(limit: int | None) -> int:
        store = open_store(tmp_path / f"runs-{limit}.db")
        flow = draw("a -> b -> b", flow=Flow("drawn", store=store, history_limit=limit), a=source(3950),
                    b=node(counts_down))  # fmt: skip
        with flow:
            job_id = flow.run("a").job_id
        tracemalloc.start()
        store.load(job_id)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        store.close()
        return found

    assert peak(10) < peak(None) / 4


def test_a_run_to_be_looked_at_is_driven_by_nobody(store: Store) -> None:
    with many_kinds(store) as flow:
        job_state = flow.run("a")
        looked_at = store.load(job_state.job_id)
        looked_at.update_shared_data("mine", 1)

        assert looked_at is not job_state
        assert flow.load(job_state.job_id).get_shared_data("mine") is None
        assert saved(looked_at.execution_history) == saved(job_state.execution_history)
        assert looked_at.output_log == job_state.output_log
        assert looked_at.shared_log == job_state.shared_log


def test_a_run_that_was_looked_at_can_be_resumed(store: Store) -> None:
    flow = draw("a -> b", flow=Flow("drawn", store=store), a=source(1),
                b=node(fails(ValueError("no"), 1), error_handler=ErrorHandler("stop")))  # fmt: skip
    with flow:
        looked_at = store.load(flow.run("a").job_id)

        assert wait(flow, flow.resume(looked_at)).status == "completed"


def test_pages_begin_at_a_record_that_there_can_be_and_belong_to_a_run(store: Store) -> None:
    with many_kinds(store) as flow:
        job_id = flow.run("a").job_id

        assert store.history(job_id, 1000) == []
        with pytest.raises(ValueError, match="number of a record"):
            store.history(job_id, -1)
        for read in (store.history, store.records, store.load):
            with pytest.raises(ValueError, match="no run 'nowhere'"):
                read("nowhere")
