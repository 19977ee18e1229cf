"""A chain that is kept, done by LangGraph: a StateGraph with its SQLite checkpointer, each step before the next."""

import gc
import json
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

DISTRIBUTION = "langgraph"
Case = tuple[Callable[[], None], Callable[[], list[int]]]


class Steps(TypedDict):
    n: int
    texts: Annotated[list[str], operator.add]


def _step(state: Steps) -> dict[str, Any]:
    return {"n": state["n"] - 1, "texts": [f"{state['n']:04d}".ljust(1_000, "x")]}


def _builder() -> Any:
    builder = StateGraph(Steps)
    builder.add_node("step", _step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: "step" if state["n"] > 0 else END, ["step", END])
    return builder


def _found(texts: list[str]) -> list[int]:
    return [len(texts), sum(int(text[:4]) for text in texts), sum(map(len, texts))]


@contextmanager
def in_memory(size: int, folder: Path) -> Iterator[Case]:
    graph = _builder().compile()
    ended: list[Any] = []

    def work() -> None:
        ended.append(graph.invoke({"n": size, "texts": []}, {"recursion_limit": size + 1}))

    yield work, lambda: _found(ended[0]["texts"])


@contextmanager
def sync(size: int, folder: Path) -> Iterator[Case]:
    file = str(folder / "checkpoints.db")
    config: Any = {"recursion_limit": size + 1, "configurable": {"thread_id": "run"}}

    def found() -> list[int]:
        with SqliteSaver.from_conn_string(file) as again:
            return _found(_builder().compile(checkpointer=again).get_state(config).values["texts"])

    with SqliteSaver.from_conn_string(file) as saver:
        saver.setup()
        graph = _builder().compile(checkpointer=saver)
        yield lambda: graph.invoke({"n": size, "texts": []}, config, durability="sync"), found


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
