"""The peers' work, done by huey: tasks of a MemoryHuey, taken by its consumer's thread in the same process."""

import gc
import json
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from threading import Event
from time import perf_counter

from huey import MemoryHuey

DISTRIBUTION = "huey"
Work = Callable[[], list[int]]

# An idle consumer looks for tasks every 0.1 s and then less and less often; a result's waiter every 0.05 s. With that
# the figures would be naps. So the consumer looks every millisecond, and the last task tells its waiter.
POLLING_SECONDS = 0.001

HUEY = MemoryHuey(immediate=False, results=False)
SEEN: list[int] = []
DONE = Event()
AWAITED = [0]


def taken(v: int) -> None:
    SEEN.append(v)
    if len(SEEN) == AWAITED[0]:
        DONE.set()


@HUEY.task()
def hop(data: dict[str, int]) -> None:
    if data["n"] > 1:
        hop({"n": data["n"] - 1})
    taken(data["n"])


@HUEY.task()
def source(count: int) -> None:
    for v in range(count):
        take(v)


@HUEY.task()
def take(v: int) -> None:
    taken(v)


@HUEY.task()
def add(v: int) -> int:
    return v + 1


def _awaiting(count: int, begin: Callable[[], object]) -> None:
    AWAITED[0] = len(SEEN) + count
    DONE.clear()
    begin()
    DONE.wait()


def _found() -> list[int]:
    found = [len(SEEN), sum(SEEN)]
    SEEN.clear()
    return found


def _consume() -> None:
    # `start` and not `run`: that one would be the process's main thread and take its signals.
    HUEY.create_consumer(workers=1, periodic=False, initial_delay=POLLING_SECONDS, max_delay=POLLING_SECONDS).start()


def chain(size: int) -> Work:
    _consume()

    def work() -> list[int]:
        _awaiting(size, partial(hop, {"n": size}))
        return _found()

    return work


def fan_out(size: int) -> Work:
    _consume()

    def work() -> list[int]:
        _awaiting(size, partial(source, size))
        return _found()

    return work


def trivial_run(size: int) -> Work:
    _consume()

    def work() -> list[int]:
        for v in range(size):
            _awaiting(1, partial(take, v))
        return _found()

    return work


def many_runs(size: int) -> Work:
    _consume()

    def begin() -> None:
        for v in range(size):
            HUEY.enqueue(add.s(v).then(add).then(take))

    def work() -> list[int]:
        _awaiting(size, begin)
        return _found()

    return work


CASES = {"chain": chain, "fan-out": fan_out, "trivial-run": trivial_run, "many-runs": many_runs}


def main(case: str, size: int, repeats: int) -> None:
    """Do the work once to warm up, and then so many times by the clock."""
    work = CASES[case](size)
    results = [work()]
    seconds = []
    for _ in range(repeats):
        gc.collect()
        began = perf_counter()
        results.append(work())
        seconds.append(perf_counter() - began)
    differing = [result for result in results if result != results[0]]
    print(json.dumps({"result": differing or results[0], "seconds": seconds, "version": version(DISTRIBUTION)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
