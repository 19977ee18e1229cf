"""The peers' work, done by Burr: an application for each run, without a tracker."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from time import perf_counter
from typing import Any

from burr.core import Application, ApplicationBuilder, ApplicationContext, GraphBuilder, State, action, expr
from burr.core.graph import Graph
from burr.core.parallelism import MapStates

DISTRIBUTION = "apache-burr"
Work = Callable[[], list[int]]

SEEN: list[int] = []


@action(reads=["n"], writes=["n"])
def hop(state: State) -> State:
    SEEN.append(state["n"])
    return state.update(n=state["n"] - 1)


@action(reads=["v"], writes=["v"])
def add(state: State) -> State:
    return state.update(v=state["v"] + 1)


@action(reads=["v"], writes=[])
def take(state: State) -> State:
    SEEN.append(state["v"])
    return state


@action(reads=[], writes=[])
def end(state: State) -> State:
    return state


class FanOut(MapStates):
    """Runs `take` over so many states, each in an application of its own: Burr's way to fan out."""

    def action(self, state: State, inputs: dict[str, Any]) -> Any:
        return take

    def states(self, state: State, context: ApplicationContext, inputs: dict[str, Any]) -> Iterator[State]:
        for v in range(state["count"]):
            yield state.update(v=v)

    def reduce(self, state: State, states: Iterator[State]) -> State:
        for _ in states:
            pass
        return state

    @property
    def reads(self) -> list[str]:
        return ["count"]

    @property
    def writes(self) -> list[str]:
        return []


def _application(graph: Graph, entry: str, **state: int) -> Application:
    return ApplicationBuilder().with_graph(graph).with_entrypoint(entry).with_state(**state).build()


def _found() -> list[int]:
    found = [len(SEEN), sum(SEEN)]
    SEEN.clear()
    return found


def chain(size: int) -> Work:
    graph = (
        GraphBuilder()
        .with_actions(hop=hop, end=end)
        .with_transitions(("hop", "hop", expr("n > 0")), ("hop", "end"))
        .build()
    )

    def work() -> list[int]:
        _application(graph, "hop", n=size).run(halt_before=["end"])
        return _found()

    return work


def fan_out(size: int) -> Work:
    graph = GraphBuilder().with_actions(source=FanOut(), end=end).with_transitions(("source", "end")).build()

    def work() -> list[int]:
        _application(graph, "source", count=size).run(halt_after=["source"])
        return _found()

    return work


def trivial_run(size: int) -> Work:
    graph = GraphBuilder().with_actions(lone=take).build()

    def work() -> list[int]:
        for v in range(size):
            _application(graph, "lone", v=v).run(halt_after=["lone"])
        return _found()

    return work


def many_runs(size: int) -> Work:
    """One after another: a run belongs to the thread that called it."""
    graph = (
        GraphBuilder()
        .with_actions(first=add, second=add, third=take)
        .with_transitions(("first", "second"), ("second", "third"))
        .build()
    )

    def work() -> list[int]:
        for v in range(size):
            _application(graph, "first", v=v).run(halt_after=["third"])
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
