"""Opening: a store by its path or URL. Each backend is imported when it is asked for, and nothing else late."""

import os
import re

from routilux.errors import InvalidTypeError, InvalidValueError, MissingExtraError
from routilux.stores.base import Store
from routilux.stores.checks import checked_level

__all__ = ["open_store"]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_FORMS = "'runs.db' or 'sqlite:///runs.db', 'postgresql://user@host/database', 'memory:'"


def open_store(store: "str | os.PathLike[str] | Store", level: str = "group") -> Store:
    """A store by its path or URL. The database itself is opened when the store is used first.

    Args:
        store: A path or `sqlite:///PATH` for a SQLite file, `postgresql://...` for a PostgreSQL database (the extra
            `postgres`), `memory:` for runs that end with the process, `memory:NAME` for those that the process shares
            under a name, or a store, which is returned as it is.
        level: "group" or "sync", as `Store` tells; of no meaning for a store.

    Raises:
        MissingExtraError: psycopg, which PostgreSQL needs, is not installed.
        InvalidValueError: A URL or level that there is not.
    """
    if isinstance(store, Store):
        return store
    checked_level(level)
    if isinstance(store, os.PathLike):
        return _open_sqlite(os.fspath(store), level)
    if not isinstance(store, str):
        raise InvalidTypeError(
            f"A store is a path, a URL or a Store, not {type(store).__name__}. Give one of {_FORMS}."
        )
    if store.startswith("memory:"):
        return _open_memory(store, level)
    scheme = _SCHEME.match(store)
    if scheme is None:
        return _open_sqlite(store, level)
    if scheme[1] == "sqlite":
        return _open_sqlite(store.removeprefix("sqlite:///"), level)
    if scheme[1] in ("postgresql", "postgres"):
        return _open_postgres(store, level)
    raise InvalidValueError(f"There is no store for {scheme[1]}://. Give one of {_FORMS}.")


def _open_memory(url: str, level: str) -> Store:
    from routilux.stores.memory import MemoryStore  # noqa: PLC0415 - only where it is asked for

    return MemoryStore(url, level)


def _open_sqlite(path: str, level: str) -> Store:
    from routilux.stores.sqlite import SQLiteStore  # noqa: PLC0415 - only where it is asked for

    # Slips of a URL, which would otherwise make files of these names.
    if not path or path == "memory" or path.startswith((":memory:", "sqlite:", "postgres:", "postgresql:")):
        raise InvalidValueError(f"{path!r} is no path of a SQLite file. Give one of {_FORMS}.")
    return SQLiteStore(path, level)


def _open_postgres(url: str, level: str) -> Store:
    try:
        from routilux.stores.postgres import PostgresStore  # noqa: PLC0415 - only where it is asked for
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "psycopg":
            raise
        raise MissingExtraError(
            "A store in PostgreSQL needs psycopg, which is not installed: pip install 'psycopg[binary]', or the extra "
            "'postgres' where you install routilux itself."
        ) from error
    return PostgresStore(url, level)
