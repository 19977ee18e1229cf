"""A chain that is kept, done by Burr: an application with its SQLite persister, which saves after every step."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from burr.core import ApplicationBuilder, State, action, expr
from burr.core.persistence import SQLitePersister

DISTRIBUTION = "apache-burr"
Case = tuple[Callable[[], None], Callable[[], list[int]]]


@action(reads=["n", "texts"], writes=["n", "texts"])
def step(state: State) -> State:
    return state.update(n=state["n"] - 1).append(texts=f"{state['n']:04d}".ljust(1_000, "x"))


@action(reads=[], writes=[])
def end(state: State) -> State:
    return state


def _builder(size: int) -> Any:
    return (
        ApplicationBuilder()
        .with_actions(step=step, end=end)
        .with_transitions(("step", "step", expr("n > 0")), ("step", "end"))
        .with_entrypoint("step")
        .with_state(n=size, texts=[])
        .with_identifiers(app_id="run")
    )


def _found(texts: list[str]) -> list[int]:
    return [len(texts), sum(int(text[:4]) for text in texts), sum(map(len, texts))]


@contextmanager
def in_memory(size: int, folder: Path) -> Iterator[Case]:
    application = _builder(size).build()
    yield lambda: application.run(halt_before=["end"]), lambda: _found(application.state["texts"])


@contextmanager
def sync(size: int, folder: Path) -> Iterator[Case]:
    file = str(folder / "applications.db")

    def found() -> list[int]:
        with SQLitePersister.from_values(db_path=file) as again:
            return _found(again.load("", "run")["state"]["texts"])

    with SQLitePersister.from_values(db_path=file) as persister:
        persister.initialize()
        application = _builder(size).with_state_persister(persister).build()
        yield lambda: application.run(halt_before=["end"]), found


CASES = {"in-memory": in_memory, "sync": sync}


def main(case: str, size: int, repeats: int) -> None:
    """Do the work once to warm up, and then so many times by the clock, each time with files of its own."""
    results, seconds, sizes = [], [], []
    for _ in range(repeats + 1):
        with TemporaryDirectory() as folder, CASES[case](size, Path(folder)) as (work, found):
            gc.collect()
            began = perf_counter()
            work()
            seconds.append(perf_counter() - began)
            sizes.append(sum(file.stat().st_size for file in Path(folder).iterdir() if not file.name.endswith("-shm")))
            results.append(found())
    differing = [result for result in results if result != results[0]]
    reading = {"seconds": seconds[1:], "bytes": max(sizes), "version": version(DISTRIBUTION)}
    print(json.dumps({"result": differing or results[0]} | reading))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
