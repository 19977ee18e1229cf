"""The peers' work, done by Haystack: components in a Pipeline."""

import gc
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter

from haystack import Pipeline, component
from haystack.core.component.types import GreedyVariadic

DISTRIBUTION = "haystack-ai"
Work = Callable[[], list[int]]

SEEN: list[int] = []


@component
class Hop:
    """One of many in a line."""

    @component.output_types(data=dict[str, int])
    def run(self, data: dict[str, int]) -> dict[str, dict[str, int]]:
        SEEN.append(data["n"])
        return {"data": {"n": data["n"] - 1}}


@component
class Turn:
    """One of two that feed each other: greedy, since it runs for whoever of its senders has spoken."""

    @component.output_types(data=dict[str, int], done=bool)
    def run(self, data: GreedyVariadic[dict[str, int]]) -> dict[str, dict[str, int] | bool]:
        n = data[0]["n"]
        SEEN.append(n)
        return {"data": {"n": n - 1}} if n > 1 else {"done": True}


@component
class Add:
    @component.output_types(v=int)
    def run(self, v: int) -> dict[str, int]:
        return {"v": v + 1}


@component
class Take:
    @component.output_types()
    def run(self, v: int) -> dict[str, int]:
        SEEN.append(v)
        return {}


def _found() -> list[int]:
    found = [len(SEEN), sum(SEEN)]
    SEEN.clear()
    return found


def chain(size: int) -> Work:
    """Two components in turn: one may not be connected to itself."""
    pipeline = Pipeline(max_runs_per_component=size)
    pipeline.add_component("one", Turn())
    pipeline.add_component("other", Turn())
    pipeline.connect("one.data", "other.data")
    pipeline.connect("other.data", "one.data")

    def work() -> list[int]:
        pipeline.run({"one": {"data": {"n": size}}})
        return _found()

    return work


def chain_of_nodes(size: int) -> Work:
    pipeline = Pipeline()
    for number in range(size):
        pipeline.add_component(f"hop{number}", Hop())
    for number in range(1, size):
        pipeline.connect(f"hop{number - 1}.data", f"hop{number}.data")

    def work() -> list[int]:
        pipeline.run({"hop0": {"data": {"n": size}}})
        return _found()

    return work


def trivial_run(size: int) -> Work:
    pipeline = Pipeline()
    pipeline.add_component("lone", Take())

    def work() -> list[int]:
        for v in range(size):
            pipeline.run({"lone": {"v": v}})
        return _found()

    return work


def many_runs(size: int) -> Work:
    """One after another: a run belongs to the thread that called it."""
    pipeline = Pipeline()
    pipeline.add_component("first", Add())
    pipeline.add_component("second", Add())
    pipeline.add_component("third", Take())
    pipeline.connect("first.v", "second.v")
    pipeline.connect("second.v", "third.v")

    def work() -> list[int]:
        for v in range(size):
            pipeline.run({"first": {"v": v}})
        return _found()

    return work


CASES = {"chain": chain, "chain-of-nodes": chain_of_nodes, "trivial-run": trivial_run, "many-runs": many_runs}


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
