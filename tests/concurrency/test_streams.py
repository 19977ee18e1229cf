"""Streams of runs that stand still: who reads one sleeps, hears of what comes, and of the end."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.flow.engine import Engine
from routilux.flow.stream import AsyncRunStream, Item, RunStream
from tests.asking import desk
from tests.drawings import (
    DEADLINE,
    Gate,
    await_reader,
    draw,
    in_thread,
    names,
    node,
    own_run,
    passed,
    source,
    wait,
    wait_until,
)

pytestmark = pytest.mark.parametrize("kind", ["stream", "astream"])


class Reader:
    """Reads a stream on a thread of its own, to its end."""

    def __init__(self, flow: Flow, entry_id: str, kind: str, params: dict[str, Any] | None = None) -> None:
        self._stream: RunStream | AsyncRunStream = getattr(flow, kind)(entry_id, params)
        self.job_state = self._stream.job_state
        self._names: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._join = in_thread(self._read if kind == "stream" else lambda: asyncio.run(self._read_async()))

    def _read(self) -> None:
        assert isinstance(self._stream, RunStream)
        for item in self._stream:
            self._names.put(name_of(item))

    async def _read_async(self) -> None:
        assert isinstance(self._stream, AsyncRunStream)
        async for item in self._stream:
            self._names.put(name_of(item))

    def read_until(self, name: str) -> list[str]:
        """What it reads, up to the first of this name."""
        found = [self._names.get(timeout=DEADLINE)]
        while found[-1] != name:
            found.append(self._names.get(timeout=DEADLINE))
        return found

    def rest(self) -> list[str]:
        """What it has read besides, when it has come to the end."""
        self._join()
        return [self._names.get() for _ in range(self._names.qsize())]


def name_of(item: Item) -> str:
    return item["output_type"] if isinstance(item, dict) else f"{item.routine_id}.{item.event_name}"


def pausing() -> Flow:
    """A run that pauses itself in `b`, with something left for `c`."""

    def act(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(own_run(routine))
        routine.emit("output", **data)

    flow = draw("a -> b -> c", a=source(1), b=node(act), c=node())
    return flow


def read_until_it_sleeps(flow: Flow, kind: str) -> tuple[Reader, list[str]]:
    reader = Reader(flow, "a", kind)
    seen = reader.read_until("b.completed")
    wait(flow, reader.job_state)
    await_reader(reader.job_state)
    assert reader.job_state.status == "paused"
    return reader, seen


@pytest.mark.parametrize("resumes", [lambda flow: flow, lambda flow: pausing()], ids=["same_flow", "another_flow"])
def test_a_stream_goes_on_when_its_paused_run_is_resumed(kind: str, resumes: Callable[[Flow], Flow]) -> None:
    flow = pausing()
    reader, seen = read_until_it_sleeps(flow, kind)
    other = resumes(flow)
    other.resume(reader.job_state)
    seen += reader.rest()
    assert wait(other, reader.job_state).status == "completed"
    assert seen == names(reader.job_state)
    assert seen[-2:] == ["c.start", "c.completed"]
    flow.shutdown()
    other.shutdown()


def test_a_stream_goes_on_through_several_pauses(kind: str) -> None:
    flow, _ = desk()
    reader = Reader(flow, "clerk", kind, {"names": ["first", "second"]})
    seen = reader.read_until("clerk.completed")
    for number, name in enumerate(("first", "second"), start=1):
        await_reader(reader.job_state)
        flow.send_input(reader.job_state.job_id, name, {"number": number})
        if number == 1:
            seen += reader.read_until("clerk.completed")
            wait_until(flow, reader.job_state, lambda state: state.status == "paused")
    seen += reader.rest()
    assert reader.job_state.status == "completed"
    assert seen == names(reader.job_state)
    flow.shutdown()


@pytest.mark.parametrize("is_told", [False, True])
def test_a_stream_ends_when_its_paused_run_is_cancelled(kind: str, is_told: bool) -> None:
    flow = pausing()
    if is_told:
        flow.on_run_end(lambda job_state: None)
    reader, _ = read_until_it_sleeps(flow, kind)
    flow.cancel(reader.job_state)
    assert reader.rest() == []
    assert reader.job_state.status == "cancelled"
    flow.shutdown()


@pytest.mark.parametrize("waits", [True, False])
def test_a_stream_of_a_paused_run_ends_with_the_shutdown_of_its_flow(kind: str, waits: bool) -> None:
    flow = pausing()
    reader, _ = read_until_it_sleeps(flow, kind)
    flow.shutdown(wait=waits)
    assert reader.rest() == []
    assert reader.job_state.status == "paused"


def test_a_stream_ends_with_the_shutdown_though_the_flow_be_used_again_before_it_has_looked(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = pausing()
    reader, _ = read_until_it_sleeps(flow, kind)
    monkeypatch.setattr(Engine, "is_shut_down", lambda engine: False)  # so it is when the reader comes to look
    flow.shutdown(wait=False)
    assert reader.rest() == []


def test_a_stream_of_a_run_that_a_shutdown_parks_ends(kind: str) -> None:
    gate = Gate()
    flow = draw("a -> b -> c", a=source(1), b=node(gate.act), c=node())
    reader = Reader(flow, "a", kind)
    gate.await_arrival()
    flow.shutdown(wait=False)
    gate.open()
    reader.rest()
    assert reader.job_state.status == "paused"
    assert [task["routine_id"] for task in reader.job_state.pending_tasks] == ["c"]


def test_who_reads_a_paused_run_looks_only_when_something_has_come(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, spins = [0], threading.Event()
    outputs = JobState.outputs

    def look(job_state: JobState, output_type: str | None = None) -> list[dict[str, Any]]:
        looks[0] += 1
        if looks[0] > 1000:
            spins.set()
        return outputs(job_state, output_type)

    monkeypatch.setattr(JobState, "outputs", look)
    flow = pausing()
    reader, _ = read_until_it_sleeps(flow, kind)
    assert not spins.wait(0.05)  # nothing is waited for: a reader that spins looks so often in no time
    flow.cancel(reader.job_state)
    reader.rest()
    assert looks[0] <= 20
    flow.shutdown()


def test_a_callback_may_read_the_stream_of_the_run_that_it_is_told_of_to_its_end(kind: str) -> None:
    gate, told = Gate(), threading.Event()
    seen: list[str] = []
    flow = draw("a -> b", a=source(1), b=node(gate.act, events=()))
    stream = getattr(flow, kind)("a")

    async def first() -> Item:
        return await anext(stream)

    async def rest() -> list[Item]:
        return [item async for item in stream]

    def done(job_state: JobState) -> None:
        seen.extend(map(name_of, stream if kind == "stream" else asyncio.run(rest())))
        told.set()

    flow.on_run_end(done)
    seen.append(name_of(next(stream) if kind == "stream" else asyncio.run(first())))
    gate.open()
    passed(told)
    assert seen == ["a.start", "a.output", "a.completed", "b.start", "b.completed"]
    flow.shutdown()


def test_a_reader_who_is_slower_than_the_run_lets_the_loop_have_its_turns(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, turns = threading.Semaphore(0), []
    outputs = JobState.outputs

    def look(job_state: JobState, output_type: str | None = None) -> list[dict[str, Any]]:
        """Slow: whenever the reader looks, there is something new."""
        before = len(outputs(job_state))
        may_go_on.release()
        while len(outputs(job_state)) == before < 50:
            threading.Event().wait(0.0005)
        return outputs(job_state, output_type)

    def act(routine: Routine, data: dict[str, Any]) -> None:
        assert may_go_on.acquire(timeout=DEADLINE)
        routine.send_output(str(data["item"]))

    async def count_turns() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def main() -> list[Item]:
        counting = asyncio.create_task(count_turns())
        found = [item async for item in flow.astream("a")]
        counting.cancel()
        return found

    monkeypatch.setattr(JobState, "outputs", look)
    flow = draw("a -> b", a=source(*range(50)), b=node(act))
    found = list(flow.stream("a")) if kind == "stream" else asyncio.run(main())
    assert [name_of(item) for item in found if isinstance(item, dict)] == [str(number) for number in range(50)]
    assert kind == "stream" or len(turns) >= 50
    flow.shutdown()
