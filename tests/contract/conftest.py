"""The stores that the contract is held against."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from routilux.stores import Store
from tests.contract.backends import BACKENDS, Opener, closing, opener_of, running_server


@pytest.fixture(scope="session")
def server_url() -> Iterator[Callable[[], str]]:
    """The URL of a PostgreSQL server, which is started when somebody asks for it first."""
    running = []

    def url() -> str:
        if not running:
            context = running_server()
            running.append((context, context.__enter__()))
        return str(running[0][1].get_uri())

    yield url
    for context, _ in running:
        context.__exit__(None, None, None)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(backend: str, tmp_path: Path, server_url: Callable[[], str]) -> Iterator[Opener]:
    """Opens drivers of one store that is empty in the beginning; they are closed after the test."""
    stores: list[Store] = []
    yield closing(opener_of(backend, tmp_path, server_url), stores)
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opener) -> Store:
    return opened()


@pytest.fixture
def other(opened: Opener) -> Store:
    """Another driver of the same store."""
    return opened()


@pytest.fixture
def frail(opened: Opener) -> Store:
    """A driver of the same store whose lease runs out at once: anybody may take its runs over."""
    return opened(lease_seconds=1e-9)
