"""What a SQLite file adds to the contract: its schema, its size, and what can be wrong with a file."""

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from routilux.errors import NewerStoreError, StoreBusyError, StoreUnavailableError
from routilux.stores import JournalRow, Write
from routilux.stores.sqlite import SQLiteStore
from tests.contract.backends import header, journal
from tests.contract.children import child, rest_of, said, tell
from tests.docs.markdown_pages import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, busy_seconds=0.1)
    yield store
    store.close()


def direct(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """What the statements find, over a connection that is not the store's."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return [row for statement in statements for row in connection.execute(statement).fetchall()]
    finally:
        connection.close()


# -- the schema


def test_a_newer_schema_is_refused_by_name_and_left_alone(path: Path, store: SQLiteStore) -> None:
    store.create(header("a"), journal(1, 1))
    store.close()
    direct(path, "UPDATE routilux_schema SET version = 99")
    for call in (store.list_runs, lambda: store.create(header("b"), []), lambda: store.find("a")):
        with pytest.raises(
            NewerStoreError, match=r"runs\.db has version 99 of the schema.* up to 1\. Upgrade routilux"
        ):
            call()
    assert direct(path, "SELECT job_id FROM routilux_runs") == [("a",)]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM routilux_schema",
        "UPDATE routilux_schema SET version = 'x'",
        "UPDATE routilux_schema SET version = 0",
    ],
)
def test_a_schema_without_a_version_is_told_by_name(path: Path, store: SQLiteStore, change: str) -> None:
    store.create(header("a"), journal(1, 1))
    store.close()
    try:
        direct(path, change)
    except sqlite3.IntegrityError:
        pytest.skip("the file itself refuses it")
    for call in (store.list_runs, lambda: store.create(header("b"), [])):
        with pytest.raises(StoreUnavailableError, match="routilux_schema says version"):
            call()


def test_a_file_of_the_first_version_is_read_and_written(path: Path, store: SQLiteStore) -> None:
    shutil.copy(ROOT / "tests" / "data" / "store_version_1.db", path)
    assert [run[:6] for run in store.list_runs()] == [
        ("second", "flow", "completed", 200.0, store.list_runs()[0].updated_at, "print"),
        ("first", "flow", "paused", 100.0, store.list_runs()[1].updated_at, "print"),
    ]
    assert store.rows("first") == journal(1, 3)
    assert store.snapshot("first") == (2, "state")
    assert [each[1:] for each in store.inputs("first")] == [("name", "data")]
    assert [run.job_id for run in store.claim("flow", "first")] == ["first"]
    store.write([Write("first", journal(4, 4))])
    assert store.rows("first") == journal(1, 4)
    assert store.prune() == 1
    newest = len(list((ROOT / "routilux" / "stores" / "sql" / "sqlite").glob("0*.sql")))
    assert direct(path, "SELECT version FROM routilux_schema") == [(newest,)]


def test_a_store_may_lie_in_the_file_of_an_application(path: Path, store: SQLiteStore) -> None:
    direct(path, "CREATE TABLE runs (id TEXT)", "INSERT INTO runs VALUES ('mine')", "PRAGMA user_version = 7")
    store.create(header("a"), journal(1, 1))
    assert direct(path, "SELECT id FROM runs", "PRAGMA user_version") == [("mine",), (7,)]


# -- what can be wrong with a file


def test_a_file_that_is_no_database_is_told_by_name(path: Path, store: SQLiteStore) -> None:
    path.write_text("This is not a database, and it is longer than the head of one. " * 20)
    with pytest.raises(StoreUnavailableError, match=r"runs\.db cannot be used: file is not a database\. Give the path"):
        store.list_runs()
    assert path.read_text().startswith("This is not")


@pytest.mark.parametrize(("name", "advice"), [("missing/runs.db", "Make sure that its"), (".", "It is a folder: give")])
def test_a_path_that_cannot_be_opened_is_told_by_name(tmp_path: Path, name: str, advice: str) -> None:
    store = SQLiteStore(tmp_path / name)
    with pytest.raises(StoreUnavailableError, match=rf"cannot be used: unable to open database file\. {advice}"):
        store.create(header("a"), [])


def test_a_damaged_file_is_told_by_name(path: Path, store: SQLiteStore) -> None:
    store.create(header("a"), journal(1, 100, "x" * 500))
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    with pytest.raises(StoreUnavailableError, match=r"runs\.db cannot be used"):
        store.rows("a")


READ_ONLY = """
store = opened()
store.create(header("a"), [JournalRow(1, "row 1")])
store.close()
os.chmod(place, 0o444)
os.chmod(os.path.dirname(place), 0o555)
if os.geteuid() == 0:  # whom no permission keeps out
    os.setuid(65534)
for call in (lambda: store.create(header("b"), []), store.renew, lambda: store.claim("flow")):
    try:
        call()
    except StoreUnavailableError as error:
        say(error)
"""


def test_a_file_that_may_not_be_written_is_told_by_name() -> None:
    folder = Path(tempfile.mkdtemp())  # not `tmp_path`, which only its owner may enter
    try:
        folder.chmod(0o755)
        with child(READ_ONLY, folder / "runs.db") as process:
            told = rest_of(process).splitlines()
        assert len(told) == 2
        assert all("runs.db cannot be used" in line and "may write" in line for line in told), told
        folder.chmod(0o755)
        (folder / "runs.db").chmod(0o644)
        store = SQLiteStore(folder / "runs.db")
        assert [run.job_id for run in store.list_runs()] == ["a"]
        store.close()
    finally:
        shutil.rmtree(folder)


FULL_DISK = """
import resource

store = opened()
store.create(header("a"), [])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
number = 0
try:
    while number < 5000:
        rows = [JournalRow(number + each, "x" * 1000) for each in range(1, 11)]
        store.write([Write("a", rows, snapshot=str(number + 10), snapshot_number=number + 10)])
        number += 10
except StoreUnavailableError as error:
    say(error)
found = len(store.rows("a"))
assert found == number, (found, number)
assert store.snapshot("a") == (number, str(number))
for _ in range(3):
    try:
        store.write([Write("a", rows)])
    except StoreUnavailableError:
        pass
    else:
        raise AssertionError("the disk is full")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.write([Write("a", rows)])
assert [row.number for row in store.rows("a")] == list(range(1, number + 11))
store.close()
"""


def test_a_full_disk_is_told_and_leaves_no_half_write_and_the_run_goes_on_when_there_is_room(path: Path) -> None:
    with child(FULL_DISK, path) as process:
        told = rest_of(process)
    assert "runs.db cannot be used" in told
    assert "room" in told
    assert direct(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_write_that_fails_in_the_middle_leaves_nothing(path: Path, store: SQLiteStore) -> None:
    store.create(header("a"), journal(1, 1))
    direct(
        path,
        "CREATE TRIGGER refusal BEFORE INSERT ON routilux_journal WHEN new.body = 'row 100' "
        "BEGIN SELECT raise(FAIL, 'the hundredth'); END",
    )
    with pytest.raises(StoreUnavailableError, match="the hundredth"):
        store.write([Write("a", journal(2, 120), status="completed", snapshot="text", snapshot_number=120)])
    with pytest.raises(StoreUnavailableError, match="the hundredth"):
        store.create(header("b"), journal(1, 100))
    direct(path, "DROP TRIGGER refusal")
    assert store.rows("a") == journal(1, 1)
    assert store.snapshot("a") is None
    assert [run.status for run in store.list_runs()] == ["running"]
    store.write([Write("a", journal(2, 120))])
    assert store.rows("a") == journal(1, 120)


def test_who_holds_the_file_for_too_long_makes_others_busy_and_readers_do_not_care(
    path: Path, store: SQLiteStore
) -> None:
    store.create(header("a"), journal(1, 1))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for call in (
        lambda: store.write([Write("a", journal(2, 2))]),
        lambda: store.create(header("b"), []),
        lambda: store.claim("flow"),
        store.renew,
        lambda: store.put_input("a", "name", "data"),
        lambda: store.delete("a"),
    ):
        with pytest.raises(StoreBusyError, match=r"runs\.db was held by another process for longer than 0\.1 s"):
            call()
    assert store.rows("a") == journal(1, 1)
    assert len(store.list_runs()) == 1
    holder.execute("ROLLBACK")
    holder.close()
    store.write([Write("a", journal(2, 2))])
    assert store.rows("a") == journal(1, 2)


class NotingRefusals(sqlite3.Connection):
    """A connection that says when a statement of it was refused at once."""

    refused = threading.Event()

    def execute(self, *args: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*args)
        except sqlite3.OperationalError:
            NotingRefusals.refused.set()
            raise


def test_a_new_file_that_somebody_writes_to_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = sqlite3.connect(path, isolation_level=None)  # without a write-ahead log, as a file is in the beginning
    holder.execute("BEGIN IMMEDIATE")
    connect = sqlite3.connect
    monkeypatch.setattr(
        "routilux.stores.sqlite.sqlite3.connect",
        lambda *args, **settings: connect(*args, factory=NotingRefusals, **settings),
    )
    store = SQLiteStore(path, busy_seconds=30.0)
    with ThreadPoolExecutor(1) as pool:
        creating = pool.submit(store.create, header("a"), [])
        assert NotingRefusals.refused.wait(10.0)
        holder.execute("ROLLBACK")
        assert creating.result(30.0)
    holder.close()
    store.close()


# -- levels and size


@pytest.mark.parametrize(("level", "synchronous"), [("group", 1), ("sync", 2)])
def test_a_level_says_what_is_brought_to_the_disk(
    path: Path, level: str, synchronous: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        "routilux.stores.sqlite.sqlite3.connect",
        lambda *args, **settings: connections.append(connect(*args, **settings)) or connections[-1],
    )
    store = SQLiteStore(path, level)
    store.create(header("a"), [])
    assert [connection.execute("PRAGMA synchronous").fetchone()[0] for connection in connections] == [synchronous]
    assert connections[0].execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()


def size_of(path: Path) -> int:
    """What the database takes while it is open."""
    return path.stat().st_size + path.with_name(path.name + "-wal").stat().st_size


def fill(store: SQLiteStore, first: int, last: int, group_size: int) -> None:
    for number in range(first, last + 1, group_size):
        group = range(number, min(number + group_size, last + 1))
        store.write([Write("a", [JournalRow(each, "x" * 1000) for each in group])])


@pytest.mark.parametrize("group_size", [64, 10, 1])
def test_400_rows_of_1000_bytes_take_less_than_900_kb_while_live(
    path: Path, store: SQLiteStore, group_size: int
) -> None:
    store.create(header("a"), [])
    fill(store, 1, 400, group_size)
    assert size_of(path) <= 900_000


def test_the_size_of_a_row_does_not_grow_with_the_run(path: Path, store: SQLiteStore) -> None:
    store.create(header("a"), [])
    fill(store, 1, 400, 64)
    per_row = size_of(path) / 400
    for first, last in ((401, 1000), (1001, 10_000), (10_001, 40_000)):
        fill(store, first, last, 64)
        assert size_of(path) / last <= 1.05 * per_row
    assert size_of(path) / 40_000 <= 1100


def test_the_log_does_not_grow_while_somebody_reads_again_and_again(path: Path, store: SQLiteStore) -> None:
    other = SQLiteStore(path)
    store.create(header("a"), [])
    for number in range(1, 2000, 64):
        fill(store, number, number + 63, 64)
        assert len(other.rows("a")) == number + 63
    assert path.with_name("runs.db-wal").stat().st_size <= 500_000
    other.close()


# -- several processes


CHECKPOINT_IN_TURNS = """
store = opened()
store.create(header(arguments[0]), [])
say("ready")
sys.stdin.readline()
for number in range(1, 400, 8):
    store.write([Write(arguments[0], [JournalRow(number + each, "x" * 1000) for each in range(8)])])
store.close()
"""


def test_processes_that_write_much_to_one_file_leave_it_whole(path: Path) -> None:
    with child(CHECKPOINT_IN_TURNS, path, "a") as first, child(CHECKPOINT_IN_TURNS, path, "b") as second:
        for process in (first, second):
            assert said(process) == "ready"
        for process in (first, second):
            tell(process)
        for process in (first, second):
            rest_of(process)
    assert direct(path, "PRAGMA integrity_check") == [("ok",)]
    assert direct(path, "SELECT count(*) FROM routilux_journal") == [(800,)]
