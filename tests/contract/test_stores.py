"""What every store promises, sentence by sentence, over every backend."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from routilux.errors import InvalidTypeError, InvalidValueError, LeaseLostError, RunDrivenError, UnknownRunError
from routilux.stores import JournalRow, RunHeader, Store, Write
from routilux.stores.memory import MemoryStore
from routilux.stores.sqlite import SQLiteStore
from tests.contract.backends import header, journal

# -- order


def test_rows_come_back_in_the_order_of_their_numbers_in_however_many_writes_they_came(store: Store) -> None:
    store.create(header("a"), journal(1, 2))
    store.write([Write("a", journal(3, 150))])
    store.write([Write("a", journal(151, 151)), Write("a", journal(152, 160))])
    assert store.rows("a") == journal(1, 160)


def test_the_rows_of_runs_that_are_written_in_turns_stay_apart(store: Store) -> None:
    store.create(header("a"), journal(1, 1, "a"))
    store.create(header("b"), journal(1, 1, "b"))
    for number in range(2, 30):
        store.write([Write("b", journal(number, number, "b")), Write("a", journal(number, number, "a"))])
    assert store.rows("a") == journal(1, 29, "a")
    assert store.rows("b") == journal(1, 29, "b")


def test_rows_are_read_after_a_number_and_up_to_a_limit(store: Store) -> None:
    store.create(header("a"), journal(1, 9))
    store.create(header("b"), journal(1, 3, "b"))
    assert store.rows("a", after=4) == journal(5, 9)
    assert store.rows("a", after=4, limit=2) == journal(5, 6)
    assert store.rows("a", after=9) == []
    assert store.rows("a", limit=0) == []
    assert store.rows("a", after=-3, limit=1) == journal(1, 1)


def test_a_run_that_is_not_there_has_no_rows_no_snapshot_and_no_inputs(store: Store) -> None:
    assert store.find("a") is None
    assert store.rows("a") == []
    assert store.last_row("a") is None
    assert store.snapshot("a") is None
    assert store.inputs("a") == []


def test_a_text_comes_back_to_the_letter(store: Store) -> None:
    body = '{"b": 1,  "a": "\\u0000 \\ud800", "a": 1e400}' + "x" * 100_000 + " 中文 \n\t\x01'\"\\%s:name?"
    store.create(RunHeader(" a'b ", "流程", "running", 0.1, 1e9 + 0.1, body), [JournalRow(1, body)])
    store.write([Write(" a'b ", snapshot=body, snapshot_number=1)])
    store.put_input(" a'b ", "näme", body)
    found = store.find(" a'b ")
    assert found is not None
    assert found[:6] == (" a'b ", "流程", "running", 0.1, found.updated_at, body)
    assert store.rows(" a'b ") == [(1, body)]
    assert store.snapshot(" a'b ") == (1, body)
    assert store.inputs(" a'b ")[0][1:] == ("näme", body)


@pytest.mark.parametrize("text", ["nul \0", "half \ud800"])
def test_what_some_backend_could_not_hold_every_backend_refuses(store: Store, text: str) -> None:
    for bad in (
        header(text),
        header("a", flow_id=text),
        header("a", status=text),
        header("a")._replace(fingerprint=text),
    ):
        with pytest.raises(InvalidValueError, match="cannot be stored"):
            store.create(bad, [])
    with pytest.raises(InvalidValueError, match="cannot be stored"):
        store.create(header("a"), [JournalRow(1, text)])
    store.create(header("a"), [])
    for write in (Write("a", [JournalRow(1, text)]), Write("a", snapshot=text), Write("a", status=text)):
        with pytest.raises(InvalidValueError, match="cannot be stored"):
            store.write([write])
    with pytest.raises(InvalidValueError, match="cannot be stored"):
        store.put_input("a", text, "data")
    with pytest.raises(InvalidValueError, match="cannot be stored"):
        store.put_input("a", "name", text)
    assert store.rows("a") == []


@pytest.mark.parametrize(("text", "fits"), [("x" * 2000, True), ("ü" * 1001, False), ("x" * 10_000, False)])
def test_names_have_two_thousand_bytes_at_most_for_every_backend(store: Store, text: str, fits: bool) -> None:
    if fits:
        assert store.create(header(text, flow_id=text), [])
        assert store.find(text) is not None
        return
    for bad, what in ((header(text), "job_id"), (header("a", flow_id=text), "flow_id")):
        with pytest.raises(InvalidValueError, match=f"{what} .* 2000 at most"):
            store.create(bad, [])
    assert store.find(text) is None


@pytest.mark.parametrize("text", ["nul \0", "half \ud800"])
def test_a_run_whose_name_cannot_be_stored_is_one_that_is_not_there(store: Store, text: str) -> None:
    assert store.find(text) is None
    assert store.rows(text) == []
    assert store.snapshot(text) is None
    assert store.inputs(text) == []
    assert store.list_runs(flow_id=text) == []
    assert store.claim(text) == []
    for asked in (store.delete, lambda name: store.put_input(name, "n", "d"), lambda name: store.claim("flow", name)):
        with pytest.raises(UnknownRunError):
            asked(text)


@pytest.mark.parametrize("number", [0, -1, 2**32])
def test_a_row_without_a_number_of_its_run_is_refused(store: Store, number: int) -> None:
    store.create(header("a"), [])
    with pytest.raises(InvalidValueError, match="numbered from 1"):
        store.write([Write("a", [JournalRow(number, "row")])])
    with pytest.raises(InvalidValueError, match="numbered from 1"):
        store.create(header("b"), [JournalRow(number, "row")])
    assert store.find("b") is None


# -- atomicity


def test_of_a_write_to_two_runs_one_of_which_is_not_ours_nothing_is_there(store: Store, other: Store) -> None:
    store.create(header("a"), journal(1, 1))
    other.create(header("b"), journal(1, 1))
    before = store.find("a")
    with pytest.raises(LeaseLostError):
        store.write(
            [Write("a", journal(2, 2), "completed", "snapshot", 2, "new", release=True), Write("b", journal(2, 2))]
        )
    assert store.find("a") == before
    assert store.rows("a") == journal(1, 1)
    assert store.snapshot("a") is None
    assert store.rows("b") == journal(1, 1)
    store.write([Write("a", journal(2, 2))])  # and it goes on


def test_what_was_written_is_there_for_everybody_at_once(store: Store, other: Store) -> None:
    store.create(header("a"), journal(1, 1))
    assert other.rows("a") == journal(1, 1)
    store.write([Write("a", journal(2, 3), status="paused", snapshot="text", snapshot_number=2, fingerprint="new")])
    found = other.find("a")
    assert found is not None
    assert (found.status, found.fingerprint) == ("paused", "new")
    assert other.rows("a") == journal(1, 3)
    assert other.snapshot("a") == (2, "text")


def test_what_was_written_is_there_after_closing_and_opening_again(store: Store) -> None:
    store.create(header("a"), journal(1, 1))
    store.write([Write("a", journal(2, 3), snapshot="text", snapshot_number=2)])
    store.put_input("a", "name", "data")
    store.close()
    store.close()
    assert store.rows("a") == journal(1, 3)
    assert store.snapshot("a") == (2, "text")
    assert [each.data for each in store.inputs("a")] == ["data"]


# -- idempotence


def test_writing_the_same_again_changes_nothing(store: Store) -> None:
    store.create(header("a"), journal(1, 1))
    writes = [Write("a", journal(2, 3), status="paused", snapshot="text", snapshot_number=2)]
    store.write(writes)
    store.write(writes)
    store.write([Write("a", journal(1, 4))])
    assert store.rows("a") == journal(1, 4)
    assert store.snapshot("a") == (2, "text")


def test_a_row_that_is_there_is_not_replaced(store: Store) -> None:
    store.create(header("a"), journal(1, 1))
    store.write([Write("a", journal(1, 2, "another"))])
    assert store.rows("a") == [JournalRow(1, "row 1"), JournalRow(2, "another 2")]


def test_creating_the_same_run_again_says_yes_to_its_driver_only(store: Store, other: Store) -> None:
    assert store.create(header("a"), journal(1, 2))
    assert store.create(header("a"), journal(1, 2))
    assert not other.create(header("a"), journal(1, 2))
    assert store.rows("a") == journal(1, 2)


@pytest.mark.parametrize(
    ("another", "rows"),
    [
        (header("a", created_at=101.0), journal(1, 2)),
        (header("a", flow_id="other"), journal(1, 2)),
        (header("a"), journal(1, 2, "another")),
        (header("a"), journal(1, 3)),
    ],
)
def test_a_taken_name_is_refused_and_nothing_has_happened(
    store: Store, another: RunHeader, rows: list[JournalRow]
) -> None:
    store.create(header("a"), journal(1, 2))
    before = store.find("a")
    assert not store.create(another, rows)
    assert store.find("a") == before
    assert store.rows("a") == journal(1, 2)


def test_a_release_whose_answer_was_lost_may_be_repeated(store: Store, other: Store) -> None:
    store.create(header("a"), journal(1, 1))
    store.create(header("b"), journal(1, 1))
    ending = [Write("a", journal(2, 2), status="completed", release=True), Write("b", journal(2, 2))]
    store.write(ending)
    store.write(ending)
    other.claim("flow", "a")  # somebody else may have taken it up in the meantime
    store.write(ending)
    assert store.rows("a") == journal(1, 2)
    assert store.rows("b") == journal(1, 2)
    found = store.find("a")
    assert found is not None
    assert found.driver == other.driver


def test_a_release_of_a_run_that_goes_on_elsewhere_does_not_pass_for_a_repetition(store: Store, other: Store) -> None:
    store.create(header("a"), journal(1, 1))
    other.create(header("b"), [])
    with pytest.raises(LeaseLostError):
        other.write([Write("a", journal(2, 2), release=True)])
    assert store.rows("a") == journal(1, 1)


# -- headers


def test_a_header_shows_what_was_given_and_who_drives(store: Store) -> None:
    store.create(RunHeader("a", "flow", "pending", 12.5, 13.5, "print", "somebody"), [])
    assert store.find("a") == ("a", "flow", "pending", 12.5, 13.5, "print", store.driver)


def test_a_write_says_when_it_was_and_leaves_as_it_was_what_it_does_not_name(store: Store) -> None:
    store.create(RunHeader("a", "flow", "running", 12.5, 13.5, "print"), [])
    store.write([Write("a", journal(1, 1))])
    found = store.find("a")
    assert found is not None
    assert found._replace(updated_at=0.0) == ("a", "flow", "running", 12.5, 0.0, "print", store.driver)
    assert found.updated_at > 1e9
    store.write([Write("a", status="paused", snapshot="text", snapshot_number=1)])
    store.write([Write("a", journal(2, 2))])
    assert store.snapshot("a") == (1, "text")


def test_the_last_row_of_a_run_is_its_own(store: Store) -> None:
    for job_id in ("a", "b", "c"):
        store.create(header(job_id), [])
    store.write([Write("a", journal(1, 3)), Write("c", journal(1, 12))])
    assert store.last_row("a") == journal(3, 3)[0]
    assert store.last_row("b") is None
    assert store.last_row("c") == journal(12, 12)[0]
    store.write([Write("a", journal(4, 5))])
    assert store.last_row("a") == journal(5, 5)[0]


def test_only_the_newest_snapshot_is_kept(store: Store) -> None:
    store.create(header("a"), journal(1, 9))
    store.write([Write("a", snapshot="first", snapshot_number=3)])
    store.write([Write("a", snapshot="second", snapshot_number=9)])
    assert store.snapshot("a") == (9, "second")


def test_nobody_drives_a_run_that_was_released(store: Store) -> None:
    store.create(header("a"), [])
    store.write([Write("a", release=True)])
    found = store.find("a")
    assert found is not None
    assert found.driver is None


# -- lists


def test_a_list_is_newest_first_and_filtered(store: Store) -> None:
    store.create(header("a", created_at=1.0), [])
    store.create(header("b", created_at=3.0, status="failed"), [])
    store.create(header("c", created_at=2.0, flow_id="other"), [])
    store.create(header("d", created_at=3.0), [])
    assert [run.job_id for run in store.list_runs()] == ["d", "b", "c", "a"]
    assert [run.job_id for run in store.list_runs(status="running")] == ["d", "c", "a"]
    assert [run.job_id for run in store.list_runs(flow_id="flow")] == ["d", "b", "a"]
    assert [run.job_id for run in store.list_runs(since=2.0)] == ["d", "b", "c"]
    assert [run.job_id for run in store.list_runs(limit=2)] == ["d", "b"]
    assert store.list_runs(limit=0) == []
    assert [run.job_id for run in store.list_runs("running", "flow", 2.0, 5)] == ["d"]
    assert store.list_runs(status="completed") == []
    assert store.list_runs()[0] == store.find("d")


@pytest.mark.parametrize("limit", [-1, "2", True])
def test_a_limit_that_is_no_number_from_0_is_refused(store: Store, limit: Any) -> None:
    for call in (
        lambda: store.list_runs(limit=limit),
        lambda: store.rows("a", limit=limit),
        lambda: store.prune(keep=limit),
    ):
        with pytest.raises(InvalidValueError, match=repr(limit)):
            call()


def test_a_status_of_an_application_is_looked_for_as_any_other(store: Store) -> None:
    store.create(header("a", status="waiting for Bob"), [])
    store.create(header("b"), [])
    assert [run.job_id for run in store.list_runs(status="waiting for Bob")] == ["a"]
    assert store.list_runs(status="waiting for Alice") == store.list_runs(status="nul \0") == []


def test_numbers_beyond_those_of_any_run_are_taken_as_the_greatest(store: Store) -> None:
    store.create(header("a"), journal(1, 2))
    store.put_input("a", "name", "data")
    for great in (2**63, 10**30):
        assert len(store.list_runs(limit=great)) == 1
        assert store.rows("a", limit=great) == journal(1, 2)
        assert store.rows("a", after=great) == store.inputs("a", after=great) == []
        assert len(store.rows("a", after=-great)) == 2
        assert len(store.inputs("a", after=-great)) == 1
    for at in (10**400, float("inf")):
        assert store.list_runs(since=at) == []
        assert len(store.list_runs(since=-at)) == 1
        assert store.prune(older_than=-at) == 0
    with pytest.raises(InvalidValueError, match="nan"):
        store.list_runs(since=float("nan"))


@pytest.mark.parametrize("wrong", [5, None, ["a"], b"a"])
def test_a_name_that_is_no_text_is_refused_by_name(store: Store, wrong: Any) -> None:
    calls: list[Callable[[Any], Any]] = [
        store.find,
        store.load,
        store.delete,
        store.rows,
        store.last_row,
        store.snapshot,
        store.inputs,
        lambda name: store.claim("flow", name) if name is not None else store.find(name),
        lambda name: store.put_input(name, "name", "data"),
    ]
    for call in calls:
        with pytest.raises(InvalidTypeError, match="job_id is a text"):
            call(wrong)
    with pytest.raises(InvalidTypeError, match="flow_id is a text"):
        store.claim(wrong)
    if wrong is not None:
        for call in (lambda name: store.list_runs(flow_id=name), lambda name: store.prune(flow_id=name)):
            with pytest.raises(InvalidTypeError, match="flow_id is a text"):
                call(wrong)
        with pytest.raises(InvalidTypeError, match="status is a text"):
            store.list_runs(status=wrong)
    with pytest.raises(InvalidTypeError, match="name is a text"):
        store.put_input("a", wrong, "data")


def test_an_instant_that_is_no_number_is_refused(store: Store) -> None:
    for call in (lambda at: store.list_runs(since=at), lambda at: store.prune(older_than=at)):
        with pytest.raises(InvalidTypeError, match=r"datetime\.timestamp\(\)"):
            call(datetime(2026, 1, 1))


# -- what comes from outside


def test_inputs_arrive_in_order_whoever_sends_them(store: Store, other: Store) -> None:
    store.create(header("a"), [])
    store.create(header("b"), [])
    numbers = [
        store.put_input("a", "first", "1"),
        other.put_input("b", "elsewhere", "2"),
        other.put_input("a", "second", "3"),
    ]
    assert numbers == sorted(set(numbers))
    assert store.inputs("a") == [(numbers[0], "first", "1"), (numbers[2], "second", "3")]
    assert store.inputs("a", after=numbers[0]) == [(numbers[2], "second", "3")]
    assert store.inputs("a", after=numbers[2]) == []


def test_the_number_of_an_input_is_not_used_again(store: Store) -> None:
    store.create(header("a"), [])
    store.create(header("b"), [])
    number = store.put_input("a", "name", "data")
    store.write([Write("a", release=True)])
    store.delete("a")
    assert store.put_input("b", "name", "data") > number


def test_a_run_that_is_not_there_gets_no_input(store: Store) -> None:
    with pytest.raises(UnknownRunError, match="no run 'a'"):
        store.put_input("a", "name", "data")


# -- cleaning up


def test_of_a_forgotten_run_nothing_remains(store: Store, other: Store) -> None:
    for name in ("a", "b"):
        store.create(header(name), journal(1, 70, name))
        store.write([Write(name, snapshot=name, snapshot_number=1, release=True)])
        store.put_input(name, "name", name)
    other.delete("a")
    assert store.find("a") is None
    assert store.rows("a") == []
    assert store.snapshot("a") is None
    assert store.inputs("a") == []
    assert store.rows("b") == journal(1, 70, "b")
    assert store.snapshot("b") == (1, "b")
    assert [each.data for each in store.inputs("b")] == ["b"]
    assert store.create(header("a"), [])
    assert store.rows("a") == []
    assert store.snapshot("a") is None
    assert store.inputs("a") == []


def test_a_run_that_is_driven_is_not_forgotten(store: Store, other: Store, frail: Store) -> None:
    store.create(header("a"), [])
    for each in (store, other):
        with pytest.raises(RunDrivenError, match="'a' is driven"):
            each.delete("a")
    frail.create(header("b"), [])
    other.delete("b")
    with pytest.raises(LeaseLostError):
        frail.write([Write("b", journal(1, 1))])
    assert other.rows("b") == []
    with pytest.raises(UnknownRunError, match="no run 'c'"):
        other.delete("c")


def finish_four(store: Store) -> None:
    for created_at, (name, status) in enumerate(
        [("a", "completed"), ("b", "failed"), ("c", "cancelled"), ("d", "completed")], start=1
    ):
        store.create(header(name, created_at=float(created_at)), journal(1, 1))
        store.write([Write(name, status=status, release=True)])
    for name, status in [("e", "running"), ("f", "paused"), ("g", "pending")]:
        store.create(header(name, status=status, created_at=9.0), [])
        store.write([Write(name, release=True)])


def test_pruning_forgets_finished_runs_only(store: Store) -> None:
    finish_four(store)
    assert store.prune() == 4
    assert sorted(run.job_id for run in store.list_runs()) == ["e", "f", "g"]
    assert store.rows("a") == []
    assert store.prune() == 0


def test_pruning_may_keep_the_newest(store: Store) -> None:
    finish_four(store)
    assert store.prune(keep=3) == 1
    assert store.find("a") is None
    assert store.prune(keep=9) == 0
    assert store.prune(keep=0) == 3


def test_pruning_goes_by_the_last_write(store: Store) -> None:
    finish_four(store)
    last = store.find("b")
    assert last is not None
    assert store.prune(older_than=1000.0) == 0
    gone = store.prune(older_than=last.updated_at)
    assert store.find("b") == last
    assert gone == (store.find("a") is None)
    assert store.prune(older_than=last.updated_at + 1000.0, keep=2) == 2 - gone
    assert sorted(run.job_id for run in store.list_runs()) == ["c", "d", "e", "f", "g"]


def test_pruning_spares_what_is_driven(store: Store, other: Store, frail: Store) -> None:
    store.create(header("a"), [])
    store.write([Write("a", status="completed")])
    frail.create(header("b"), [])
    frail.write([Write("b", status="completed")])
    assert other.prune() == 1
    assert [run.job_id for run in other.list_runs()] == ["a"]


def test_pruning_forgets_any_number_of_runs(store: Store) -> None:
    for number in range(250):
        store.create(header(str(number), created_at=float(number)), [])
    store.write([Write(str(number), status="completed", release=True) for number in range(250)])
    assert store.prune(keep=10) == 240
    assert [run.job_id for run in store.list_runs()] == [str(number) for number in range(249, 239, -1)]


# -- threads


def test_every_method_may_be_called_from_any_thread(store: Store) -> None:
    def work(name: str) -> None:
        assert store.create(header(name), journal(1, 1, name))
        for number in range(10):
            store.put_input(name, "name", str(number))
            assert [each.data for each in store.inputs(name)] == [str(each) for each in range(number + 1)]
            assert len(store.list_runs(flow_id="flow", limit=3)) <= 3
            store.renew()
        assert store.rows(name) == journal(1, 1, name)

    store.create(header("written"), [])
    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work, f"run {number}") for number in range(4)]
        for number in range(1, 60):
            store.write([Write("written", journal(number, number))])
        for each in working:
            each.result(30.0)
    assert store.rows("written") == journal(1, 59)


def test_prune_forgets_the_finished_runs_of_one_flow(store: Store) -> None:
    for number, flow_id in enumerate(["one", "other", "one", "other"]):
        assert store.create(header(f"job {number}", flow_id, "completed", 100.0 + number), journal(1, 1))
        store.write([Write(f"job {number}", release=True)])

    assert store.prune(keep=1, flow_id="one") == 1
    assert store.prune(flow_id="nobody's") == store.prune(flow_id="no\0text") == 0
    assert {run.job_id for run in store.list_runs()} == {"job 1", "job 2", "job 3"}


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), "x", 0, -1, None, True])
def test_a_lease_that_is_none_is_refused(seconds: Any, tmp_path: Path) -> None:
    for make in (SQLiteStore, MemoryStore):
        with pytest.raises((InvalidValueError, InvalidTypeError), match="lease_seconds is"):
            make(tmp_path / "runs.db" if make is SQLiteStore else "memory:", lease_seconds=seconds)
