"""The peers' work, done by llama-index-workflows: typed events between steps, on one event loop."""

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from time import perf_counter
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

DISTRIBUTION = "llama-index-workflows"
Work = Callable[[], list[int]]

# The loop lives as long as the process: a loop for each run would be counted against the peer.
LOOP = asyncio.Runner()
SEEN: list[int] = []


class Countdown(Event):
    data: dict[str, int]


class Message(Event):
    v: int


class Second(Event):
    v: int


class Third(Event):
    v: int


class Chain(Workflow):
    @step
    async def begin(self, event: StartEvent) -> Countdown:
        return Countdown(data={"n": event.size})

    @step
    async def hop(self, event: Countdown) -> Countdown | StopEvent:
        n = event.data["n"]
        SEEN.append(n)
        return Countdown(data={"n": n - 1}) if n > 1 else StopEvent()


class FanOut(Workflow):
    @step
    async def source(self, context: Context, event: StartEvent) -> Message | None:
        self.count = event.size
        for v in range(event.size):
            context.send_event(Message(v=v))
        return None

    @step
    async def sink(self, event: Message) -> StopEvent | None:
        SEEN.append(event.v)
        # The run ends with the last message; `collect_events` would keep all of them and take longer.
        return StopEvent() if len(SEEN) == self.count else None


class Lone(Workflow):
    @step
    async def lone(self, event: StartEvent) -> StopEvent:
        SEEN.append(event.v)
        return StopEvent()


class Three(Workflow):
    @step
    async def first(self, event: StartEvent) -> Second:
        return Second(v=event.v + 1)

    @step
    async def second(self, event: Second) -> Third:
        return Third(v=event.v + 1)

    @step
    async def third(self, event: Third) -> StopEvent:
        SEEN.append(event.v)
        return StopEvent()


def _working(body: Callable[[], Coroutine[Any, Any, None]]) -> Work:
    def work() -> list[int]:
        LOOP.run(body())
        found = [len(SEEN), sum(SEEN)]
        SEEN.clear()
        return found

    return work


def chain(size: int) -> Work:
    workflow = Chain(timeout=None)

    async def body() -> None:
        await workflow.run(size=size)

    return _working(body)


def fan_out(size: int) -> Work:
    workflow = FanOut(timeout=None)

    async def body() -> None:
        await workflow.run(size=size)

    return _working(body)


def trivial_run(size: int) -> Work:
    workflow = Lone(timeout=None)

    async def body() -> None:
        for v in range(size):
            await workflow.run(v=v)

    return _working(body)


def many_runs(size: int) -> Work:
    """One after another: a thousand that are gathered take a fifth longer."""
    workflow = Three(timeout=None)

    async def body() -> None:
        for v in range(size):
            await workflow.run(v=v)

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
