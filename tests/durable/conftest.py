"""Stores for the tests of durable runs, each in a place of its own."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from routilux.stores.memory import MemoryStore
from tests.contract.backends import running_server, url_of_new_schema


@pytest.fixture
def new_file(tmp_path: Path) -> Callable[[], str]:
    """Gives the path of a SQLite file that is not there yet, each time another one."""
    numbers = itertools.count()
    return lambda: str(tmp_path / f"runs-{next(numbers)}.db")


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with running_server() as server:
        yield str(server.get_uri())


@pytest.fixture
def new_schema(server_url: str) -> Callable[[], str]:
    """Gives the URL of a PostgreSQL store that is empty, each time another one."""
    return lambda: url_of_new_schema(server_url)


_numbers = itertools.count()


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a store that is empty, in memory and in a SQLite file."""
    if request.param == "sqlite":
        yield str(tmp_path / "runs.db")
        return
    name = f"memory:durable-{next(_numbers)}"
    keeper = MemoryStore(name)  # the memory ends with the last store of it
    yield name
    keeper.close()
