"""A chain that is kept, done by routilux: a flow of one routine over a SQLite file, at both levels, full records on."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from routilux import Flow, JobState, Routine

DISTRIBUTION = "routilux"
Case = tuple[Callable[[], None], Callable[[], list[int]]]


class Step(Routine):
    """Sends to itself; what it has sent stays in the records of the run."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.step)
        self.define_event("next", ["n", "text"])

    def step(self, n: int, text: str = "") -> None:
        if n:
            self.emit("next", n=n - 1, text=f"{n:04d}".ljust(1_000, "x"))


def _flow(store: str | None, level: str = "group") -> Flow:
    flow = Flow("chain", store=store, store_level=level, execution_strategy="concurrent", max_workers=4)
    flow.add_routine(Step(), "step")
    flow.connect("step", "next", "step", "trigger")
    return flow


def _found(job_state: JobState) -> list[int]:
    assert job_state.status == "completed", job_state.status
    texts = [record.data["text"] for record in job_state.execution_history if record.is_emission]
    return [len(texts), sum(int(text[:4]) for text in texts), sum(map(len, texts))]


@contextmanager
def in_memory(size: int, folder: Path) -> Iterator[Case]:
    ended: list[JobState] = []
    with _flow(None) as flow:
        yield lambda: ended.append(flow.run("step", {"n": size})), lambda: _found(ended[0])


@contextmanager
def kept(size: int, folder: Path, level: str) -> Iterator[Case]:
    file = str(folder / "runs.db")

    def found() -> list[int]:
        with _flow(file) as again:
            return _found(again.load("run"))

    with _flow(file, level) as flow:
        flow.recover()  # which makes the tables: the others do it before the clock starts, too

        def work() -> None:
            job_state = flow.execute("step", {"n": size}, job_id="run")
            assert JobState.wait_for_completion(flow, job_state), job_state.status

        yield work, found


CASES: dict[str, Callable[[int, Path], AbstractContextManager[Case]]] = {
    "in-memory": in_memory,
    "group": partial(kept, level="group"),
    "sync": partial(kept, level="sync"),
}


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
