"""Stores for the tests of durable runs."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from routilux.stores.memory import MemoryStore

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
