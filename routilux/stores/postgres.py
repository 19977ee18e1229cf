"""PostgreSQL: runs in a database on a server, by psycopg: the extra `postgres`."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from routilux.errors import InvalidValueError, StoreBusyError, StoreError, StoreUnavailableError
from routilux.stores.relational import RelationalStore
from routilux.stores.statements import migrations, statements
from routilux.stores.transactions import Transaction

__all__ = ["PostgresStore"]

T = TypeVar("T")

_Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

# How long a statement may take that does not wait for a lock: a run with many rows is long to read.
_STATEMENT_SECONDS = 60.0
# Without these a process would not notice for minutes, or hours, that the server's machine is gone.
_CONNECTION: dict[str, Any] = {
    "application_name": "routilux",
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

_BUSY = (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected, errors.SerializationFailure)


class PostgresStore(RelationalStore):
    """Runs in a PostgreSQL database, which processes of several machines may share.

    The tables, whose names begin with `routilux_`, are made when the store is used first, in the first schema of the
    connection's search path. A connection that breaks is opened again, once per call.

    Args:
        url: `postgresql://user@host:port/database`, with any parameters that libpq knows.
        level: "group" or "sync". Both wait for the server's disk: a driver outlives its server, and rows that were
            lost behind its back would be a gap in the journal.
        lease_seconds: How long the runs of a driver that gives no sign of life stay its own.
        busy_seconds: How long to wait for another process that holds a lock. A process that stops in a transaction for
            as long is thrown out by the server.
    """

    def __init__(self, url: str, level: str = "group", lease_seconds: float = 10.0, busy_seconds: float = 5.0) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error as error:
            # Without its cause: what libpq says quotes the URL, or the part of it that it does not understand.
            raise InvalidValueError(
                f"This is not the URL of a PostgreSQL database: {_without_quotations(_first_line(error))}. Give "
                "postgresql://user:password@host:port/database, with urllib.parse.quote(password, safe='') where the "
                "password has other characters than letters and digits."
            ) from None
        self.busy_seconds = busy_seconds
        self._conninfo = make_conninfo("", **{**_CONNECTION, **given})
        self._writer: _Connection | None = None
        self._reader: _Connection | None = None
        super().__init__(_shown_url(given), level, lease_seconds)

    _backend = "postgres"

    def __repr__(self) -> str:
        return f"PostgresStore({self.url!r}, level={self.level!r})"

    def _change(self, work: Callable[[Transaction], T], *, repeatable: bool = True) -> T:
        is_second = False
        while True:
            if self._writer is None:
                self._writer = self._open()
            is_committing = False
            try:
                self._writer.execute("BEGIN")
                result = work(_PostgresTransaction(self._writer))
                is_committing = True
                self._writer.execute("COMMIT")
                return result
            except BaseException as error:
                self._writer = _rolled_back(self._writer)
                if not isinstance(error, psycopg.Error):
                    raise
                # Before the commit nothing has happened; a commit without an answer may have.
                if is_second or self._writer is not None or (is_committing and not repeatable):
                    raise self._told(error, is_committing) from error
            is_second = True

    def _read(self, work: Callable[[Transaction], T]) -> T:
        is_second = False
        while True:
            if self._reader is None:
                self._reader = self._open()
            try:
                return work(_PostgresTransaction(self._reader))
            except psycopg.Error as error:
                self._reader = _rolled_back(self._reader)
                if is_second or self._reader is not None:
                    raise self._told(error) from error
            is_second = True

    def _disconnect(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.close()
        self._reader = self._writer = None

    def _open(self) -> _Connection:
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            raise self._told(error) from error
        try:
            self._prepare(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise self._told(error) from error
            raise
        return connection

    def _prepare(self, connection: _Connection) -> None:
        transaction = _PostgresTransaction(connection)
        transaction.rows(
            "settings",
            busy_ms=str(int(self.busy_seconds * 1000)),
            statement_ms=str(int((_STATEMENT_SECONDS + self.busy_seconds) * 1000)),
        )
        if self._version(transaction) < len(migrations(self._backend)):
            if self._only_looks and not transaction.rows("has_schema")[0][0]:
                raise self._no_store("is another database, or a new one")
            connection.execute("BEGIN")
            transaction.be_alone()
            self._migrate(transaction, connection)
            connection.execute("COMMIT")

    def _migrate(self, transaction: "_PostgresTransaction", connection: _Connection) -> None:
        steps = migrations(self._backend)
        version = self._version(transaction)  # once more: another process may have been quicker
        for step in steps[version:]:
            for statement in step:
                connection.execute(statement)
        if version == 0:
            transaction.change("first_version")
        transaction.change("set_version", version=len(steps))

    def _told(self, error: psycopg.Error, is_committing: bool = False) -> StoreError:
        if isinstance(error, _BUSY):
            return StoreBusyError(
                f"{self.url} was held by another process for longer than this one waits, {self.busy_seconds} s for a "
                f"lock: {_first_line(error)}. Try again."
            )
        lost = " Whether the last write has arrived is not known." if is_committing else ""
        return StoreUnavailableError(
            f"{self.url} cannot be used: {_first_line(error)}.{lost} Make sure that the server runs, and that the "
            "user may make and write tables in the first schema of its search path."
        )


class _PostgresTransaction:
    """Statements by their names, over a connection."""

    __slots__ = ("_connection", "_statements")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._statements: dict[str, Any] = dict(statements("postgres"))

    def rows(self, name: str, /, **values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(self._statements[name], values).fetchall()

    def change(self, name: str, /, **values: object) -> int:
        return self._connection.execute(self._statements[name], values).rowcount

    def change_each(self, name: str, values: Sequence[dict[str, object]]) -> int:
        with self._connection.cursor() as cursor:
            cursor.executemany(self._statements[name], values)
            return cursor.rowcount

    def append(self, rows: Sequence[tuple[int, int, str]]) -> None:
        if rows:
            runs, numbers, bodies = zip(*rows, strict=True)
            self.change("append", runs=list(runs), numbers=list(numbers), bodies=list(bodies))

    def be_alone(self) -> None:
        self.rows("be_alone")


def _rolled_back(
    connection: _Connection | None,
) -> _Connection | None:
    """The connection without a transaction; None when it is broken."""
    if connection is None:
        return None
    with suppress(psycopg.Error):
        if not connection.closed:
            connection.execute("ROLLBACK")
            return connection
        connection.close()
    return None


def _without_quotations(told: str) -> str:
    """What libpq says of a URL without what it quotes, which may be a password; names of parameters are none."""
    told = told.rstrip(".")
    before, quote, _ = told.partition('"')
    return told if not quote or before.endswith("query parameter: ") else f'{before}"..."'


def _shown_url(given: dict[str, Any]) -> str:
    user = f"{given['user']}@" if given.get("user") else ""
    port = f":{given['port']}" if given.get("port") else ""
    return f"postgresql://{user}{given.get('host') or ''}{port}/{given.get('dbname') or ''}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
