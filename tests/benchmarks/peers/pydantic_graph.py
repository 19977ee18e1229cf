"""The peers' work, done by pydantic-graph: nodes that return the next node, steps and a map, on one event loop."""

from __future__ import annotations  # a node's return type names the node itself

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib.metadata import version
from time import perf_counter
from typing import Any

from pydantic_graph import BaseNode, End, Graph, GraphBuilder, GraphRunContext, StepContext, reduce_null

DISTRIBUTION = "pydantic-graph"
Work = Callable[[], list[int]]

# The loop lives as long as the process: a loop for each run would be counted against the peer.
LOOP = asyncio.Runner()
SEEN: list[int] = []


@dataclass
class Hop(BaseNode[None, None, None]):
    data: dict[str, int]

    async def run(self, context: GraphRunContext[None, None]) -> Hop | End[None]:
        n = self.data["n"]
        SEEN.append(n)
        return Hop({"n": n - 1}) if n > 1 else End(None)


@dataclass
class Lone(BaseNode[None, None, None]):
    v: int

    async def run(self, context: GraphRunContext[None, None]) -> End[None]:
        SEEN.append(self.v)
        return End(None)


@dataclass
class First(BaseNode[None, None, None]):
    v: int

    async def run(self, context: GraphRunContext[None, None]) -> Second:
        return Second(self.v + 1)


@dataclass
class Second(BaseNode[None, None, None]):
    v: int

    async def run(self, context: GraphRunContext[None, None]) -> Third:
        return Third(self.v + 1)


@dataclass
class Third(BaseNode[None, None, None]):
    v: int

    async def run(self, context: GraphRunContext[None, None]) -> End[None]:
        SEEN.append(self.v)
        return End(None)


def _graph(*nodes: type[BaseNode[None, None, None]]) -> Graph[None, None, Any, None]:
    # Spans are tracing, and tracing is off for everybody.
    builder = GraphBuilder(input_type=nodes[0], output_type=type(None), auto_instrument=False)
    builder.add(builder.edge_from(builder.start_node).to(nodes[0]), *(builder.node(node) for node in nodes))
    return builder.build()


def _working(body: Callable[[], Coroutine[Any, Any, None]]) -> Work:
    def work() -> list[int]:
        LOOP.run(body())
        found = [len(SEEN), sum(SEEN)]
        SEEN.clear()
        return found

    return work


def chain(size: int) -> Work:
    graph = _graph(Hop)

    async def body() -> None:
        await graph.run(inputs=Hop({"n": size}))

    return _working(body)


def fan_out(size: int) -> Work:
    builder = GraphBuilder(input_type=int, output_type=type(None), auto_instrument=False)

    @builder.step
    async def source(context: StepContext[None, None, int]) -> list[int]:
        return list(range(context.inputs))

    @builder.step
    async def sink(context: StepContext[None, None, int]) -> None:
        SEEN.append(context.inputs)

    gathered = builder.join(reduce_null, initial=None)
    builder.add(
        builder.edge_from(builder.start_node).to(source),
        builder.edge_from(source).map().to(sink),
        builder.edge_from(sink).to(gathered),
        builder.edge_from(gathered).to(builder.end_node),
    )
    graph = builder.build()

    async def body() -> None:
        await graph.run(inputs=size)

    return _working(body)


def trivial_run(size: int) -> Work:
    graph = _graph(Lone)

    async def body() -> None:
        for v in range(size):
            await graph.run(inputs=Lone(v))

    return _working(body)


def many_runs(size: int) -> Work:
    """One after another: a thousand that are gathered take as long, or longer."""
    graph = _graph(First, Second, Third)

    async def body() -> None:
        for v in range(size):
            await graph.run(inputs=First(v))

    return _working(body)


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
