"""The peers' work, done by LangGraph: a compiled StateGraph without a checkpointer, invoked."""

import gc
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

DISTRIBUTION = "langgraph"
Work = Callable[[], list[int]]


class Countdown(TypedDict):
    n: int


class Value(TypedDict):
    v: int


def _found(seen: list[int]) -> list[int]:
    found = [len(seen), sum(seen)]
    seen.clear()
    return found


def chain(size: int) -> Work:
    seen: list[int] = []

    def hop(state: Countdown) -> Countdown:
        seen.append(state["n"])
        return {"n": state["n"] - 1}

    builder = StateGraph(Countdown)
    builder.add_node("hop", hop)
    builder.add_edge(START, "hop")
    builder.add_conditional_edges("hop", lambda state: "hop" if state["n"] > 0 else END, ["hop", END])
    graph = builder.compile()

    def work() -> list[int]:
        # The default is 10,007 steps in this release and was 25 in others: the size is what is asked for.
        graph.invoke({"n": size}, {"recursion_limit": size + 1})
        return _found(seen)

    return work


def fan_out(size: int) -> Work:
    seen: list[int] = []

    def sink(message: Value) -> None:
        seen.append(message["v"])

    builder = StateGraph(Value)
    builder.add_node("source", lambda state: None)
    builder.add_node("sink", sink)
    builder.add_edge(START, "source")
    builder.add_conditional_edges("source", lambda state: [Send("sink", {"v": v}) for v in range(size)], ["sink"])
    builder.add_edge("sink", END)
    graph = builder.compile()

    def work() -> list[int]:
        graph.invoke({"v": 0})
        return _found(seen)

    return work


def trivial_run(size: int) -> Work:
    seen: list[int] = []

    def lone(state: Value) -> None:
        seen.append(state["v"])

    builder = StateGraph(Value)
    builder.add_node("lone", lone)
    builder.add_edge(START, "lone")
    builder.add_edge("lone", END)
    graph = builder.compile()

    def work() -> list[int]:
        for v in range(size):
            graph.invoke({"v": v})
        return _found(seen)

    return work


def many_runs(size: int) -> Work:
    """One after another: `batch` uses a pool of threads, and takes a tenth longer."""
    seen: list[int] = []

    def add(state: Value) -> Value:
        return {"v": state["v"] + 1}

    def take(state: Value) -> None:
        seen.append(state["v"])

    builder = StateGraph(Value)
    builder.add_node("first", add)
    builder.add_node("second", add)
    builder.add_node("third", take)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", "third")
    builder.add_edge("third", END)
    graph = builder.compile()

    def work() -> list[int]:
        for v in range(size):
            graph.invoke({"v": v})
        return _found(seen)

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
