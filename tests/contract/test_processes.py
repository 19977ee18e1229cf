"""Stores that several processes share: what one of them was doing when it was stopped or killed."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from routilux.errors import LeaseLostError, StoreBusyError
from routilux.stores import JournalRow, Store, Write
from routilux.stores.memory import MemoryStore
from routilux.stores.postgres import PostgresStore
from routilux.stores.sqlite import SQLiteStore
from tests.contract.backends import header, journal, url_of_new_schema
from tests.contract.children import child, rest_of, said, tell


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, server_url: Callable[[], str]) -> str:
    """The path or URL of a store of its own."""
    return str(tmp_path / "runs.db") if request.param == "sqlite" else url_of_new_schema(server_url())


def opened_at(place: str, **settings: float) -> Store:
    return PostgresStore(place, **settings) if "://" in place else SQLiteStore(place, **settings)


@pytest.fixture
def store(place: str) -> Store:
    return opened_at(place)


DRIVE_AND_WAIT = """
store = opened(lease_seconds=3600.0)
store.create(header("a"), [JournalRow(1, "row 1")])
say(store.driver)
sys.stdin.readline()
"""


def test_the_runs_of_a_killed_process_are_taken_over_at_once(store: Store, place: str) -> None:
    with child(DRIVE_AND_WAIT, place) as driving:
        driver = said(driving)
        assert store.claim("flow") == []
        driving.kill()
        driving.wait()
        assert [run.job_id for run in store.claim("flow")] == ["a"]
    found = store.find("a")
    assert found is not None
    assert found.driver == store.driver != driver
    store.write([Write("a", journal(2, 2))])
    store.close()


def test_a_killed_process_whose_parent_has_not_asked_for_it_is_gone_too(store: Store, place: str) -> None:
    with child(DRIVE_AND_WAIT, place) as driving:
        said(driving)
        driving.kill()
        os.waitid(os.P_PID, driving.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        assert [run.job_id for run in store.claim("flow")] == ["a"]
    store.close()


def test_a_process_that_is_only_stopped_keeps_its_runs(store: Store, place: str) -> None:
    with child(DRIVE_AND_WAIT, place) as driving:
        said(driving)
        driving.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, driving.pid, os.WSTOPPED)
        assert store.claim("flow") == []
        driving.send_signal(signal.SIGCONT)
        tell(driving)
        rest_of(driving)
    store.close()


STOP_BETWEEN_WRITES = """
store = opened(lease_seconds=0.2)
store.create(header("a"), [JournalRow(1, "row 1")])
store.create(header("b"), [JournalRow(1, "row 1")])
os.kill(os.getpid(), signal.SIGSTOP)
for write in ([Write("a", [JournalRow(2, "late")])], [Write("b", [JournalRow(2, "late")], status="failed")]):
    try:
        store.write(write)
    except LeaseLostError:
        say("lost")
store.close()
"""


def test_a_process_that_wakes_after_its_runs_were_taken_over_writes_nothing(store: Store, place: str) -> None:
    with child(STOP_BETWEEN_WRITES, place) as driving:
        os.waitid(os.P_PID, driving.pid, os.WSTOPPED)
        take_over(store, "a")
        store.write([Write("a", journal(2, 2))])
        driving.send_signal(signal.SIGCONT)
        assert rest_of(driving).split() == ["lost", "lost"]
    assert store.rows("a") == journal(1, 2)
    assert store.rows("b") == journal(1, 1)
    assert [run.job_id for run in store.claim("flow")] == ["b"]
    store.close()


def take_over(store: Store, job_id: str) -> None:
    deadline = time.monotonic() + 40.0
    while True:
        try:
            store.claim("flow", job_id)
            return
        except (RuntimeError, StoreBusyError):  # it is driven, or the store is held
            assert time.monotonic() < deadline


STOP_INSIDE_A_WRITE = """
store = opened(lease_seconds=0.2, busy_seconds=0.3)
store.create(header("a"), [JournalRow(1, "row 1")])
kept_lease = store._kept_lease


def stopped(transaction):
    fence = kept_lease(transaction)
    if not arguments:
        arguments.append("was stopped")
        os.kill(os.getpid(), signal.SIGSTOP)
    return fence


store._kept_lease = stopped
try:
    store.write([Write("a", [JournalRow(2, "late")], status="running")])
except LeaseLostError:
    say("lost")
else:
    say("written")
"""


def test_a_process_that_stops_inside_a_write_is_thrown_out_by_postgresql(server_url: Callable[[], str]) -> None:
    url = url_of_new_schema(server_url())
    store = PostgresStore(url)
    with child(STOP_INSIDE_A_WRITE, url) as driving:
        os.waitid(os.P_PID, driving.pid, os.WSTOPPED)
        take_over(store, "a")
        store.write([Write("a", journal(2, 2))])
        driving.send_signal(signal.SIGCONT)
        assert rest_of(driving) == "lost"
    assert store.rows("a") == journal(1, 2)
    store.close()


def test_a_process_that_stops_inside_a_write_holds_a_sqlite_file_until_it_goes_on(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "runs.db", busy_seconds=0.1)
    with child(STOP_INSIDE_A_WRITE, store.path) as driving:
        os.waitid(os.P_PID, driving.pid, os.WSTOPPED)
        with pytest.raises(StoreBusyError, match=r"held by another process for longer than 0\.1 s"):
            store.claim("flow", "a")
        assert store.rows("a") == journal(1, 1)  # who only reads does not wait
        driving.send_signal(signal.SIGCONT)
        assert rest_of(driving) == "written"
    take_over(store, "a")
    assert store.rows("a") == [*journal(1, 1), JournalRow(2, "late")]
    store.close()


def test_a_process_that_is_killed_inside_a_write_has_written_nothing_and_holds_nothing(
    store: Store, place: str
) -> None:
    with child(STOP_INSIDE_A_WRITE, place) as driving:
        os.waitid(os.P_PID, driving.pid, os.WSTOPPED)
        driving.kill()
        driving.wait()
        take_over(store, "a")
    assert store.rows("a") == journal(1, 1)
    store.write([Write("a", journal(2, 2))])
    store.close()


WRITE_WITHOUT_END = """
store = opened(lease_seconds=3600.0)
for name in ("a", "b"):
    store.create(header(name), [])
say("begun")
number = 0
while True:
    rows = [JournalRow(number + each, f"row {number + each}") for each in range(1, 65)]
    number += 64
    if arguments[0] == "rows":
        store.write([Write("a", rows[:60]), Write("b", rows[:60])])
        store.write([Write("a", rows[60:]), Write("b", rows[60:])])
    else:
        store.write([Write("a", rows), Write("b", rows, snapshot=str(number), snapshot_number=number)])
    say(number)
"""


@pytest.mark.parametrize("kind", ["rows", "rows and snapshots"])
def test_of_a_write_that_was_cut_off_by_a_kill_all_is_there_or_nothing(store: Store, place: str, kind: str) -> None:
    with child(WRITE_WITHOUT_END, place, kind) as driving:
        assert said(driving) == "begun"
        while int(said(driving)) < 640:
            pass
        driving.kill()
        driving.wait()
        assert driving.stdout is not None
        acknowledged = max([640, *map(int, driving.stdout.read().split())])
    rows = store.rows("a")
    assert len(rows) >= acknowledged
    assert rows == journal(1, len(rows))
    assert store.rows("b") == rows
    if kind == "rows":
        assert len(rows) % 64 in (0, 60)
    else:
        assert len(rows) % 64 == 0
        assert store.snapshot("b") == (len(rows), str(len(rows)))
    assert len(store.claim("flow")) == 2
    store.close()


WORK_BESIDE_OTHERS = """
store = opened(busy_seconds=30.0)
name, count = arguments[0], int(arguments[1])
say("ready")
sys.stdin.readline()
for each in range(count):
    run = f"{name} {each}"
    assert store.create(header(run), [JournalRow(1, "row 1")])
    store.write([Write(run, [JournalRow(2, "row 2"), JournalRow(3, "row 3")])])
    store.put_input("shared", name, str(each))
    store.write([Write(run, status="completed", release=True)])
    store.list_runs(limit=2)
store.close()
"""


def work_beside_others(store: Store, place: str, process_count: int, run_count: int) -> None:
    store.create(header("shared"), [])
    with ExitStack() as stack:
        working = [
            stack.enter_context(child(WORK_BESIDE_OTHERS, place, f"process {number}", run_count))
            for number in range(process_count)
        ]
        for each in working:
            assert said(each) == "ready"
        for each in working:
            tell(each)
        for each in working:
            rest_of(each)
    assert len(store.list_runs(status="completed")) == process_count * run_count
    assert all(store.rows(run.job_id) == journal(1, 3) for run in store.list_runs(status="completed"))
    inputs = store.inputs("shared")
    for number in range(process_count):
        sent = [int(each.data) for each in inputs if each.name == f"process {number}"]
        assert sent == list(range(run_count))
    assert [each.number for each in inputs] == sorted({each.number for each in inputs})
    store.close()


def test_several_processes_write_to_one_store_without_getting_in_each_others_way(store: Store, place: str) -> None:
    work_beside_others(store, place, process_count=2, run_count=10)


@pytest.mark.slow
def test_many_processes_write_to_one_store_without_getting_in_each_others_way(store: Store, place: str) -> None:
    work_beside_others(store, place, process_count=6, run_count=60)


OPEN_AT_ONCE = """
say("ready")
sys.stdin.readline()
store = opened(busy_seconds=30.0)
store.create(header(arguments[0]), [JournalRow(1, "row 1")])
store.close()
"""


def test_several_processes_may_open_a_new_store_at_once(store: Store, place: str) -> None:
    with ExitStack() as stack:
        opening = [stack.enter_context(child(OPEN_AT_ONCE, place, number)) for number in range(4)]
        for each in opening:
            assert said(each) == "ready"
        for each in opening:
            tell(each)
        for each in opening:
            rest_of(each)
    assert sorted(run.job_id for run in store.list_runs()) == ["0", "1", "2", "3"]
    store.close()


CLAIM = """
store = opened(busy_seconds=30.0)
say("ready")
sys.stdin.readline()
say(" ".join(run.job_id for run in store.claim("flow")))
sys.stdin.readline()
"""


def test_of_two_processes_that_claim_at_once_each_run_goes_to_one(store: Store, place: str) -> None:
    names = [str(number) for number in range(30)]
    for name in names:
        store.create(header(name), [])
    store.close()
    with ExitStack() as stack:
        rivals = [stack.enter_context(child(CLAIM, place)) for _ in range(2)]
        for rival in rivals:
            assert said(rival) == "ready"
        for rival in rivals:
            tell(rival)
        claims = [said_or_nothing(rival) for rival in rivals]
        assert sorted(name for claim in claims for name in claim) == sorted(names)
    store.close()


def said_or_nothing(process) -> list[str]:  # type: ignore[no-untyped-def]  # a line that may be empty
    return process.stdout.readline().split()


def test_a_forked_child_is_another_driver_and_leaves_its_parents_connection_alone(store: Store) -> None:
    store.create(header("a"), journal(1, 1))
    store.rows("a")
    driver = store.driver
    child_id = os.fork()
    if child_id == 0:
        status = 1
        try:
            assert store.driver != driver
            assert not any(vars(store)[name] for name in ("_reader", "_writer"))  # using or closing it would harm
            store.claim("flow")
            store.create(header("b"), journal(1, 1))
            try:
                store.write([Write("a", journal(2, 2, "child"))])
            except LeaseLostError:
                status = 0 if store.rows("b") == journal(1, 1) else 2
            store.close()
        finally:
            os._exit(status)
    store.write([Write("a", journal(2, 2))])
    assert os.waitstatus_to_exitcode(os.waitpid(child_id, 0)[1]) == 0
    store.write([Write("a", journal(3, 3))])
    assert store.driver == driver
    assert store.rows("a") == journal(1, 3)
    store.close()


def test_a_forked_child_has_a_copy_of_a_memory_in_which_nobody_drives() -> None:
    store = MemoryStore("memory:shared by a parent and its child")
    store.create(header("a"), journal(1, 1))
    child_id = os.fork()
    if child_id == 0:
        status = 1
        try:
            other = MemoryStore(store.url)
            assert [run.job_id for run in other.claim("flow")] == ["a"]
            other.write([Write("a", journal(2, 2, "child"))])
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child_id, 0)[1]) == 0
    store.write([Write("a", journal(2, 2))])
    assert store.rows("a") == journal(1, 2)
