"""The floors: the same work with nothing but a ThreadPoolExecutor, checked and timed like ours."""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from threading import Event
from time import perf_counter_ns, sleep
from typing import Any

from tests.benchmarks.measure import expect

__all__ = [
    "copied",
    "last_word",
    "one_task_per_run",
    "payloads",
    "recreating",
    "resubmitting",
    "submitting_each",
    "submitting_one",
    "take_a_moment",
]

# A floor that takes longer than this has lost its work.
LOST_SECONDS = 120.0


def resubmitting(pool: ThreadPoolExecutor, hops: int) -> float:
    """A task that submits itself again with a small dict; microseconds per hop."""
    done = Event()
    calls = itertools.count(1)

    def hop(data: dict[str, Any]) -> None:
        next(calls)
        n = data["n"]
        if n > 1:
            pool.submit(hop, {"n": n - 1})
        else:
            done.set()

    began = perf_counter_ns()
    pool.submit(hop, {"n": hops})
    is_done = done.wait(LOST_SECONDS)
    elapsed = perf_counter_ns() - began
    expect("hops of the executor", (is_done, next(calls) - 1), (True, hops))
    return elapsed / hops / 1e3


def recreating(hops: int) -> float:
    """A coroutine that makes a task of itself again; microseconds per hop."""
    calls = itertools.count(1)

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        task: Any = None

        async def hop(data: dict[str, Any]) -> None:
            nonlocal task
            next(calls)
            n = data["n"]
            if n > 1:
                task = loop.create_task(hop({"n": n - 1}))
            else:
                done.set()

        task = loop.create_task(hop({"n": hops}))
        await done.wait()

    began = perf_counter_ns()
    asyncio.run(main())
    elapsed = perf_counter_ns() - began
    expect("hops of the tasks", next(calls) - 1, hops)
    return elapsed / hops / 1e3


def submitting_each(pool: ThreadPoolExecutor, messages: int) -> float:
    """One `submit` per message, from the calling thread; microseconds per message."""
    done = Event()
    calls = itertools.count(1)

    def sink(data: dict[str, Any]) -> None:
        if next(calls) == messages:
            done.set()

    began = perf_counter_ns()
    for v in range(messages):
        pool.submit(sink, {"v": v})
    is_done = done.wait(LOST_SECONDS)
    elapsed = perf_counter_ns() - began
    expect("messages of the executor", (is_done, next(calls) - 1), (True, messages))
    return elapsed / messages / 1e3


def submitting_one(pool: ThreadPoolExecutor, repeats: int) -> float:
    """`submit().result()` of a task that does nothing; the median in microseconds."""
    calls = itertools.count(1)

    def nothing(data: dict[str, Any]) -> None:
        next(calls)

    times = []
    for v in range(repeats):
        began = perf_counter_ns()
        pool.submit(nothing, {"v": v}).result()
        times.append(perf_counter_ns() - began)
    expect("tasks of the executor", next(calls) - 1, repeats)
    return median(times) / 1e3


def last_word(pool: ThreadPoolExecutor, repeats: int, work: Callable[[], None]) -> float:
    """From the end of a task that takes a moment to the return of its `result()`; the median in microseconds."""

    def task() -> int:
        work()
        return perf_counter_ns()

    times = []
    for _ in range(repeats):
        ended = pool.submit(task).result()
        times.append(perf_counter_ns() - ended)
    return median(times) / 1e3


def one_task_per_run(pool: ThreadPoolExecutor, runs: int) -> float:
    """One task per run, which calls three functions one after the other; runs per second."""
    calls = itertools.count(1)

    def node(data: dict[str, Any]) -> dict[str, Any]:
        next(calls)
        return {"n": data["n"] - 1}

    def run(data: dict[str, Any]) -> None:
        node(node(node(data)))

    began = perf_counter_ns()
    futures = [pool.submit(run, {"n": 2}) for _ in range(runs)]
    for future in futures:
        future.result()
    elapsed = perf_counter_ns() - began
    expect("nodes called", next(calls) - 1, 3 * runs)
    return runs / elapsed * 1e9


def payloads(messages: int) -> list[dict[str, Any]]:
    """What the messages carry, and nothing else."""
    return [{"v": v} for v in range(messages)]


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """The snapshot of one who keeps a history in plain dicts: a copy of each record, since the run goes on."""
    return {**state, "execution_history": [{**each, "data": dict(each["data"])} for each in state["execution_history"]]}


def take_a_moment() -> None:
    """Long enough for the caller to be asleep in its wait."""
    sleep(0.001)
