"""The peers' work, done by dask's threaded scheduler: a graph is a dictionary of tasks, drawn before the run."""

import gc
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter
from typing import Any

from dask.threaded import get

DISTRIBUTION = "dask"
Work = Callable[[], list[int]]

SEEN: list[int] = []


def hop(data: dict[str, int]) -> dict[str, int]:
    SEEN.append(data["n"])
    return {"n": data["n"] - 1}


def add(v: int) -> int:
    return v + 1


def take(v: int) -> None:
    SEEN.append(v)


def take_one(values: list[int], number: int) -> None:
    SEEN.append(values[number])


def source(count: int) -> list[int]:
    return list(range(count))


def _found() -> list[int]:
    found = [len(SEEN), sum(SEEN)]
    SEEN.clear()
    return found


def chain_of_nodes(size: int) -> Work:
    graph: dict[str, Any] = {"hop0": (hop, {"n": size})}
    for number in range(1, size):
        graph[f"hop{number}"] = (hop, f"hop{number - 1}")

    def work() -> list[int]:
        get(graph, f"hop{size - 1}")
        return _found()

    return work


def fan_out(size: int) -> Work:
    sinks = [f"sink{number}" for number in range(size)]
    graph: dict[str, Any] = {"source": (source, size)}
    graph |= {name: (take_one, "source", number) for number, name in enumerate(sinks)}

    def work() -> list[int]:
        get(graph, sinks)
        return _found()

    return work


def trivial_run(size: int) -> Work:
    def work() -> list[int]:
        for v in range(size):
            get({"lone": (take, v)}, "lone")
        return _found()

    return work


def many_runs(size: int) -> Work:
    """One after another: `get` holds its thread until the graph is done."""

    def work() -> list[int]:
        for v in range(size):
            get({"first": (add, v), "second": (add, "first"), "third": (take, "second")}, "third")
        return _found()

    return work


CASES = {"chain-of-nodes": chain_of_nodes, "fan-out": fan_out, "trivial-run": trivial_run, "many-runs": many_runs}


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
