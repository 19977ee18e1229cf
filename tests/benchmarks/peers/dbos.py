"""A chain that is kept, done by DBOS: a workflow that calls a step so many times, over a SQLite file."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from dbos import DBOS, SetWorkflowID

DISTRIBUTION = "dbos"
Case = tuple[Callable[[], None], Callable[[], list[int]]]


def text_of(n: int) -> str:
    return f"{n:04d}".ljust(1_000, "x")


@DBOS.step()
def step(n: int) -> str:
    return text_of(n)


@DBOS.workflow()
def chain(size: int) -> int:
    return len([step(n) for n in range(size, 0, -1)])


def _found(texts: list[str]) -> list[int]:
    return [len(texts), sum(int(text[:4]) for text in texts), sum(map(len, texts))]


@contextmanager
def in_memory(size: int, folder: Path) -> Iterator[Case]:
    """Plain calls: it runs no workflow without a database."""
    texts: list[str] = []
    yield lambda: texts.extend([text_of(n) for n in range(size, 0, -1)]), lambda: _found(texts)


@contextmanager
def sync(size: int, folder: Path) -> Iterator[Case]:
    DBOS(config={"name": "chain", "system_database_url": f"sqlite:///{folder}/chain.db", "run_admin_server": False})
    DBOS.launch()

    def work() -> None:
        with SetWorkflowID("run"):
            chain(size)

    yield work, lambda: _found([each["output"] for each in DBOS.list_workflow_steps("run")])
    DBOS.destroy()


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
