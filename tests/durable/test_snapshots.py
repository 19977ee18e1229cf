"""A bounded run is loaded out of its newest snapshot and the rows since then, as out of all of its rows."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, Routine
from routilux.stores import JournalRow, Store, Write
from routilux.stores.journal import Replay
from routilux.stores.memory import MemoryStore
from routilux.stores.reading import replayed
from routilux.testing.crash_points import crash_points
from tests.drawings import Gate, draw, entry, node, own_run, source, wait


class Watched(MemoryStore):
    """Notes which snapshots are written, and which rows are read."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshots: list[tuple[int, str]] = []
        self.sizes: list[int] = []
        self.rows_read = 0

    def write(self, writes: Any) -> None:
        write: Write
        for write in writes:
            self.sizes += [len(row.body) for row in write.rows]
            if write.snapshot is not None:
                self.snapshots.append((write.snapshot_number, write.snapshot))
        super().write(writes)

    def rows(self, job_id: str, after: int = 0, limit: int | None = None) -> list[JournalRow]:
        found = super().rows(job_id, after, limit)
        self.rows_read += len(found)
        return found


def counts_down(routine: Routine, data: dict[str, Any]) -> None:
    """A step of a chain, with something of everything that a run keeps."""
    state, n = own_run(routine), data["n"]
    state.modify_shared_data("steps", lambda before: before + 1, 0)
    if n % 100 == 0:
        routine.send_output("line", n=n)
        state.append_to_shared_log({"n": n})
    if n:
        routine.emit("output", n=n - 1)


def add_up(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {"n": new["n"], "sum": before.get("sum", 0) + new["n"]}


def chain(store: Store, history_limit: int | None = 10) -> Flow:
    flow = Flow("drawn", store=store, history_limit=history_limit)
    draw("a -> b", flow=flow, a=entry(counts_down), b=node(counts_down, merge_strategy=add_up))
    flow.connect("b", "output", "b", "input")
    return flow


def from_all_rows(store: Store, job_id: str, limit: int) -> dict[str, Any]:
    header = store.find(job_id)
    assert header is not None
    replay = Replay(limit).apply_all(row.body for row in store.rows(job_id))
    return replay.saved_form(header.status)


def from_the_snapshot(store: Store, job_id: str) -> dict[str, Any]:
    header = store.find(job_id)
    assert header is not None
    return replayed(store, job_id).replay.saved_form(header.status)


def without_what_nobody_reads(saved: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in saved.items() if name not in ("journal_row", "updated_at")}


def test_a_run_read_from_its_snapshot_is_the_run_read_from_all_rows() -> None:
    store = Watched()
    with chain(store) as flow:
        job_state = flow.run("a", {"n": 2600})
        job_id = job_state.job_id

        assert [number >= 1000 for number, _ in store.snapshots] == [True, True]
        wanted = without_what_nobody_reads(from_all_rows(store, job_id, 10))
        assert without_what_nobody_reads(from_the_snapshot(store, job_id)) == wanted
        assert wanted["shared_data"] == {"steps": 2601}
        assert len(wanted["output_log"]) == 27
        assert store.load(job_id).get_shared_data("steps") == job_state.get_shared_data("steps")


@pytest.mark.parametrize("limit", [1, 700, 2900, 100_000])
def test_the_newest_records_come_from_the_rows_before_the_snapshot_as_well(limit: int) -> None:
    store = Watched()
    with chain(store, limit) as flow:
        job_id = flow.run("a", {"n": 1010}).job_id
        found = from_the_snapshot(store, job_id)["execution_history"]

        assert len(store.snapshots) == 1
        assert found == from_all_rows(store, job_id, limit)["execution_history"]
        assert len(found) == min(limit, 3 * 1011 - 1)


def test_only_the_rows_since_the_snapshot_are_read() -> None:
    store = Watched()
    with chain(store) as flow:
        job_id = flow.run("a", {"n": 4100}).job_id
        number, _ = store.snapshots[-1]
        last = store.rows(job_id)[-1].number
        store.rows_read = 0
        store.load(job_id)

        assert number >= 4000
        assert store.rows_read <= last - number + 500


def test_snapshots_are_taken_when_the_journal_has_doubled_and_only_the_newest_is_kept() -> None:
    store = Watched()
    with chain(store) as flow:
        job_id = flow.run("a", {"n": 8200}).job_id
        numbers = [number for number, _ in store.snapshots]

        assert len(numbers) == 4
        assert all(2 * before <= number <= 2 * before + 128 for before, number in itertools.pairwise(numbers))
        assert store.snapshot(job_id) == store.snapshots[-1]


def test_a_snapshot_has_no_history() -> None:
    store = Watched()
    with chain(store, 500) as flow:
        flow.run("a", {"n": 4100})

        assert max(len(text) for _, text in store.snapshots) < 20_000
        assert '"event_name":"start"' not in store.snapshots[-1][1]


def test_what_is_collected_in_slots_is_written_again_only_as_often_as_the_journal_doubles() -> None:
    store = Watched()
    flow = Flow("drawn", store=store, history_limit=10)
    with draw("a -> b", flow=flow, a=source(*range(4000)), b=node(merge_strategy="append")):
        flow.run("a")

        assert store.snapshots
        assert sum(len(text) for _, text in store.snapshots) < 3 * sum(store.sizes)


def test_a_run_that_keeps_all_of_its_records_has_no_snapshot() -> None:
    store = Watched()
    with chain(store, None) as flow:
        job_id = flow.run("a", {"n": 2100}).job_id

        assert store.snapshots == []
        assert len(store.load(job_id).execution_history) == 3 * 2101 - 1


def test_a_short_run_has_no_snapshot() -> None:
    store = Watched()
    with chain(store) as flow:
        flow.run("a", {"n": 900})

        assert store.snapshots == []


def test_a_snapshot_that_is_larger_than_the_journal_is_not_kept() -> None:
    # One payload waits for many routines: it stands once in the journal, and would stand once for each in here.
    store = Watched()
    gate = Gate()
    many = {f"r{number}": node() for number in range(200)}

    def fans_out(routine: Routine, data: dict[str, Any]) -> None:
        for _ in range(7):
            routine.emit("output", pad="x" * 20_000)
        gate.act(routine, {})

    flow = Flow("drawn", store=store, history_limit=10)
    draw(*(f"a -> {name}" for name in many), flow=flow, a=entry(fans_out), **many)
    gate.open()
    with flow:
        job_id = flow.run("a").job_id

        assert store.rows(job_id)[-1].number > 1000
        assert store.snapshots == []


def test_metadata_that_are_not_json_cost_the_snapshot_and_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    def marks(routine: Routine, data: dict[str, Any]) -> None:
        own_run(routine).metadata["odd"] = {"a set"}
        counts_down(routine, data)

    store = Watched()
    flow = Flow("drawn", store=store, history_limit=10)
    draw("a -> b", flow=flow, a=entry(marks), b=node(counts_down))
    flow.connect("b", "output", "b", "input")
    with flow:
        job_state = flow.run("a", {"n": 1100})

        assert job_state.status == "completed"
        assert store.snapshots == []
    assert "No snapshot of run" in caplog.text
    assert "metadata['odd'] is {'a set'}" in caplog.text


def test_a_failed_run_goes_on_from_its_snapshot_in_another_flow(tmp_path: Path) -> None:
    def stops(routine: Routine, data: dict[str, Any]) -> None:
        if data["n"] == 50:
            raise ValueError("no")
        counts_down(routine, data)

    def drawn(act: Any) -> Flow:
        flow = Flow("drawn", store=tmp_path / "runs.db", history_limit=10)
        draw("a -> b", flow=flow, a=entry(counts_down), b=node(act, error_handler=ErrorHandler("stop")))
        flow.connect("b", "output", "b", "input")
        return flow

    with drawn(stops) as flow:
        job_id = flow.run("a", {"n": 1500}).job_id
    with drawn(counts_down) as flow:
        assert flow.store is not None
        assert flow.store.snapshot(job_id) is not None
        job_state = wait(flow, flow.resume(flow.load(job_id)))

        assert job_state.status == "completed"
        assert job_state.get_shared_data("steps") == 1501
        assert [entry["data"]["n"] for entry in job_state.output_log] == list(range(1500, -1, -100))


def build_chain(store: Store) -> Flow:
    return chain(store)


@pytest.mark.slow
def test_a_process_that_is_killed_after_its_snapshot_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    urls = iter(range(1000))
    report = crash_points(
        build_chain, "a", {"n": 1300}, lambda: str(tmp_path / f"{next(urls)}.db"), moments=["settlement"], every=430
    )

    assert report.points >= 3
    assert report.problems == []
