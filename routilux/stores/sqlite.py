"""SQLite: runs in a file, by the `sqlite3` of the standard library."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar
from urllib.parse import quote

from routilux.errors import StoreBusyError, StoreError, StoreUnavailableError
from routilux.stores.base import Write
from routilux.stores.relational import RelationalStore
from routilux.stores.statements import migrations, statements
from routilux.stores.transactions import Transaction

__all__ = ["SQLiteStore"]

T = TypeVar("T")

# A write-ahead log of so many pages of 4 KiB is put into the file. A longer one costs less time, and more room: it is
# as large as all that was written since, each page anew at each commit.
_LOG_PAGES = 32
# Rows of the journal in one statement. `sqlite3` gives up the interpreter lock once per execution, and beside a busy
# thread it waits for it each time.
_ROWS_AT_ONCE = 128
# Runs in one statement.
_RUNS_AT_ONCE = 16

# Of a file with a log, where none can be made.
_UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)

_ADVICE = {
    sqlite3.SQLITE_FULL: "Make room on the disk.",
    sqlite3.SQLITE_IOERR: "Make sure that the disk is there and has room.",
    sqlite3.SQLITE_READONLY: "Make sure that this process may write the file and its folder.",
    sqlite3.SQLITE_PERM: "Make sure that this process may write the file and its folder.",
    sqlite3.SQLITE_CANTOPEN: "Make sure that its folder is there, and that this process may write in it.",
    sqlite3.SQLITE_NOTADB: "Give the path of a SQLite file, or of one that is not there yet.",
}


class SQLiteStore(RelationalStore):
    """Runs in a SQLite file, which several processes of one machine may share.

    The file is opened, and made if it is not there, when the store is used first. Beside it lies its write-ahead log
    (`-wal`, `-shm`) as long as a process has it open. It does not belong on a network's file system.

    Args:
        path: Where the file is.
        level: "group": what was written survives the end of the process at any instant, and perhaps not its last
            moments if the machine loses power. "sync": all of it survives that as well.
        lease_seconds: How long the runs of a driver that gives no sign of life stay its own.
        busy_seconds: How long to wait for another process that is writing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        level: str = "group",
        lease_seconds: float = 10.0,
        busy_seconds: float = 5.0,
    ) -> None:
        # Absolute: an application may go to another folder between two openings.
        self.path = os.path.abspath(path)
        self.busy_seconds = busy_seconds
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        super().__init__(f"sqlite:///{self.path}", level, lease_seconds)

    _backend = "sqlite"

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path!r}, level={self.level!r})"

    def _change(self, work: Callable[[Transaction], T], *, repeatable: bool = True) -> T:  # noqa: ARG002 - commits here are answered
        with self._told_errors():
            if self._writer is None:
                self._writer = self._open()
            connection = self._writer
            try:
                # At once the lock for writing: who reads first and asks for it later may be refused at any time.
                connection.execute("BEGIN IMMEDIATE")
                result = work(_SQLiteTransaction(connection))
                connection.execute("COMMIT")
            except BaseException as error:
                self._writer = _rolled_back(connection, error)
                raise
            return result

    def _append(self, fence: int, writes: Sequence[Write]) -> bool:
        # One statement, which is a transaction, where the other way has five: beside busy threads each of them waits
        # for the interpreter lock, 5 ms at a time, and the others wait for the file.
        values: list[object] = []
        for write in writes:
            first = self._driving[write.job_id].number << 32
            for number, body in write.rows:
                values += (first + number, body)
        row_count = len(values) // 2
        if row_count > _ROWS_AT_ONCE or len(writes) > _RUNS_AT_ONCE:
            return False
        values += (fence, self.lease_seconds * 2 / 3, self.lease_seconds)
        for write in writes:
            values += (self._driving[write.job_id].number, write.job_id, fence)
        with self._told_errors():
            if self._writer is None:
                return False
            try:
                return self._writer.execute(_appending_alone(row_count, len(writes)), values).rowcount == row_count
            except BaseException as error:
                self._writer = _rolled_back(self._writer, error)
                raise

    def _read(self, work: Callable[[Transaction], T]) -> T:
        with self._told_errors():
            if self._reader is None:
                self._reader = self._open()
            try:
                return work(_SQLiteTransaction(self._reader))
            except sqlite3.Error as error:
                self._reader = _rolled_back(self._reader, error)
                raise

    def _disconnect(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
        self._reader = self._writer = None

    def _open(self) -> sqlite3.Connection:
        if self._only_looks:
            connection = self._open_to_look()
            if connection is not None:
                return connection
        connection = sqlite3.connect(
            self.path, timeout=self.busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            self._use_log(connection)
            connection.execute(f"PRAGMA synchronous = {'FULL' if self.level == 'sync' else 'NORMAL'}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            self._bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_to_look(self) -> sqlite3.Connection | None:
        """A connection that cannot write; None for a store of an earlier version.

        Raises:
            StoreUnavailableError: It is no store.
        """
        place = f"file:{quote(self.path)}?mode=ro"
        connection = self._connect_to_look(place)
        try:
            version = self._version(_SQLiteTransaction(connection))
        except sqlite3.OperationalError as error:
            connection.close()
            # Who reads a file with a log writes beside it. Where that may not be done, nobody else writes there either.
            log = self.path + "-wal"
            if _code_of(error) not in _UNWRITABLE or (os.path.exists(log) and os.path.getsize(log)):
                raise
            connection = self._connect_to_look(f"{place}&immutable=1")
            version = self._version(_SQLiteTransaction(connection))
        if version == len(migrations("sqlite")):
            return connection
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 5")]
        connection.close()
        if version == 0:
            raise self._no_store(f"is a database of something else, with the tables {tables}" if tables else "is empty")
        return None

    def _connect_to_look(self, place: str) -> sqlite3.Connection:
        return sqlite3.connect(
            place, uri=True, timeout=self.busy_seconds, isolation_level=None, check_same_thread=False
        )

    def _use_log(self, connection: sqlite3.Connection) -> None:
        """Let the database have a write-ahead log: those who read it and who write it do not wait for each other."""
        deadline = time.monotonic() + self.busy_seconds
        while True:
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                # This one statement does not wait for others by itself. An exclusive transaction does.
                if _code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("ROLLBACK")
                continue
            if mode != "wal":
                raise StoreUnavailableError(
                    f"{self.path} cannot have a write-ahead log: its journal mode stays {mode!r}. "
                    "Give a path on a local disk."
                )
            return

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        steps = migrations("sqlite")
        transaction = _SQLiteTransaction(connection)
        if self._version(transaction) == len(steps):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = self._version(transaction)  # once more: another process may have been quicker
            for step in steps[version:]:
                for statement in step:
                    connection.execute(statement)
            if version == 0:
                transaction.change("first_version")
            transaction.change("set_version", version=len(steps))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _told_errors(self) -> Iterator[None]:
        """Errors of `sqlite3` as those of stores."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _told(self, error: sqlite3.Error) -> StoreError:
        code = _code_of(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreBusyError(
                f"{self.path} was held by another process for longer than {self.busy_seconds} s. Try again: if it "
                "stays so, a process has stopped in the middle of a write, and goes on or has to be ended."
            )
        advice = _ADVICE.get(code, "Make sure that it is a file of routilux, and whole.")
        if os.path.isdir(self.path):
            advice = "It is a folder: give the path of a file in it."
        return StoreUnavailableError(f"{self.path} cannot be used: {error}. {advice}")


class _SQLiteTransaction:
    """Statements by their names, over a connection."""

    __slots__ = ("_connection", "_statements")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._statements = statements("sqlite")

    def rows(self, name: str, /, **values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(self._statements[name], values).fetchall()

    def change(self, name: str, /, **values: object) -> int:
        return self._connection.execute(self._statements[name], values).rowcount

    def change_each(self, name: str, values: Sequence[dict[str, object]]) -> int:
        return self._connection.executemany(self._statements[name], values).rowcount

    def append(self, rows: Sequence[tuple[int, int, str]]) -> None:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            values: list[object] = []
            for run, number, body in rows[start : start + _ROWS_AT_ONCE]:
                values += ((run << 32) + number, body)
            self._connection.execute(_appending(len(values) // 2), values)

    def be_alone(self) -> None:
        """There is one transaction that writes at a time."""


@cache
def _appending(count: int) -> str:
    return (
        f"INSERT INTO routilux_journal (id, body) VALUES {', '.join(['(?, ?)'] * count)} "  # noqa: S608 - no values
        "ON CONFLICT (id) DO NOTHING"
    )


@cache
def _appending_alone(row_count: int, run_count: int) -> str:
    """Rows, if the lease is fresh and the runs are its driver's."""
    return (
        "INSERT INTO routilux_journal (id, body) "  # noqa: S608 - no values
        f"SELECT * FROM (VALUES {', '.join(['(?, ?)'] * row_count)}) "
        "WHERE EXISTS (SELECT 1 FROM routilux_leases WHERE fence = ? "
        "AND expires_at - (julianday('now') - 2440587.5) * 86400.0 BETWEEN ? AND ?) "
        + "AND EXISTS (SELECT 1 FROM routilux_runs WHERE number = ? AND job_id = ? AND driver = ?) " * run_count
        + "ON CONFLICT (id) DO NOTHING"
    )


def _code_of(error: BaseException) -> int:
    """The primary result code of SQLite, whose extended codes say more in their upper bits."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _rolled_back(connection: sqlite3.Connection, error: BaseException) -> sqlite3.Connection | None:
    """The connection without a transaction; None, and it is closed, when it cannot be trusted any more."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if not isinstance(error, sqlite3.Error) or _code_of(error) == sqlite3.SQLITE_BUSY:
            return connection
    except sqlite3.Error:
        pass
    with suppress(sqlite3.Error):
        connection.close()
    return None
