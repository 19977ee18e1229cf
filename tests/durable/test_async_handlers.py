"""Async handlers of runs that are kept."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.executors.waits import in_thread_or_undone
from routilux.functions import routine
from routilux.stores.base import Write
from routilux.stores.memory import MemoryStore
from tests.drawings import DEADLINE, Gate, passed


def entry(handle: Callable[..., Any]) -> Routine:
    """A routine whose trigger has this async handler."""
    made = Routine()
    made.define_slot("trigger", handle)
    return made


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
@pytest.mark.parametrize("level", ["group", "sync"])
@pytest.mark.parametrize("limit", [None, 2])
def test_the_thread_that_drives_coroutines_never_waits_for_the_store(
    level: str, strategy: str, limit: int | None
) -> None:
    writing: set[str] = set()
    driving: set[str] = set()

    class Watched(MemoryStore):
        def write(self, writes: Sequence[Write]) -> None:
            writing.add(threading.current_thread().name)
            super().write(writes)

    def emits_each(self: Routine) -> None:
        for number in range(200):
            self.emit("output", number=number)

    @routine
    async def awaits(number: int) -> dict[str, Any]:
        driving.add(threading.current_thread().name)
        if number % 3:
            await asyncio.sleep(0)
        if number % 50 == 49:
            raise ValueError(number)
        return {"number": number}

    @routine
    async def ends(number: int) -> None:
        driving.add(threading.current_thread().name)

    begin = Routine()
    begin.define_event("output")
    begin.define_slot("trigger", lambda: emits_each(begin))
    awaits.set_limits(max_concurrency=limit)
    store = Watched("memory:", level)
    with Flow("watched", store=store, execution_strategy=strategy) as flow:
        flow.add_routine(begin, "begin")
        flow.add_routine(awaits, "awaits")
        flow.add_routine(ends, "ends")
        flow.connect("begin", "output", "awaits", "input")
        flow.chain(awaits, ends)
        assert flow.run("begin").status == "completed"
    assert driving
    assert writing
    assert not driving & writing


def test_runs_that_a_durable_handler_starts_at_once_have_ids_in_the_order_of_the_calls(monkeypatch):
    others_started = threading.Semaphore(0)
    start = Flow._start  # noqa: SLF001 - held here

    def first_comes_last(self: Flow, entry_id: str, params: Any, *args: Any, **options: Any) -> JobState:
        if params == {"n": 0}:
            assert others_started.acquire(timeout=DEADLINE)
            assert others_started.acquire(timeout=DEADLINE)
        job_state = start(self, entry_id, params, *args, **options)
        if params is not None:
            others_started.release()
        return job_state

    monkeypatch.setattr(Flow, "_start", first_comes_last)
    found: list[list[str]] = []

    async def parent() -> None:
        runs = await asyncio.gather(*[flow.run_async("child", {"n": n}) for n in range(3)])
        found.append([run.job_id for run in runs])

    async def child(n: int) -> None: ...

    with Flow("family", store="memory:") as flow:
        flow.add_routine(entry(parent), "parent")
        flow.add_routine(entry(child), "child")
        assert flow.run("parent").errors == []
    assert found[0] == sorted(found[0])


def test_a_run_that_a_durable_handler_streams_is_named_after_it(url):
    streamed: list[tuple[str, list[Any]]] = []

    async def parent() -> None:
        for _ in range(2):
            stream = flow.astream("child")
            records = [item async for item in stream]
            streamed.append((stream.job_state.job_id, [item.event_name for item in records]))

    async def child() -> None: ...

    with Flow("family", store=url) as flow:
        flow.add_routine(entry(parent), "parent")
        flow.add_routine(entry(child), "child")
        job_state = flow.run("parent")
        assert job_state.errors == []
    assert [job_id.rpartition(":")[0] for job_id, _ in streamed] == [job_state.job_id] * 2
    assert [job_id.rpartition(".")[2] for job_id, _ in streamed] == ["1", "2"]
    assert [events for _, events in streamed] == [["start", "completed"]] * 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_run_async_that_is_cancelled_while_it_starts_cancels_what_it_has_started(moment, url, monkeypatch):
    gate, start = Gate(), Flow._start  # noqa: SLF001 - held here
    started: list[JobState] = []

    def held(self: Flow, *args: Any, **options: Any) -> JobState:
        if moment == "before":
            gate.hold()
        started.append(start(self, *args, **options))
        if moment == "after":
            gate.hold()
        return started[0]

    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def hang_up() -> None:
        task = asyncio.create_task(flow.run_async("a", job_id="order"))
        await asyncio.to_thread(gate.await_arrival)
        task.cancel()
        asyncio.get_running_loop().call_soon(gate.open)  # after the task has seen it
        with pytest.raises(asyncio.CancelledError):
            await task
        assert started[0].status == "cancelled"

    monkeypatch.setattr(Flow, "_start", held)
    with Flow("orders", store=url) as flow:
        flow.add_routine(entry(for_ever), "a")
        asyncio.run(hang_up())
        assert flow.load("order").status == "cancelled"


def test_what_a_thread_has_come_to_is_undone_when_the_cancellation_comes_just_after():
    undone: list[int] = []

    async def cancel_late() -> None:
        pool = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(pool)
        task = asyncio.create_task(in_thread_or_undone(lambda: 7, undone.append))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it has called the thread
        assert pool.submit(lambda: True).result(DEADLINE)  # which has ended, and the loop does not know it yet
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_late())
    assert undone == [7]


@pytest.mark.parametrize("moment", ["starting", "waiting"])
def test_a_caller_that_hangs_up_does_not_cancel_a_run_that_was_there_before(moment, url, monkeypatch):
    began, released = threading.Event(), threading.Event()
    is_waiting: list[asyncio.Event] = []

    async def held() -> None:
        began.set()
        await asyncio.to_thread(passed, released)

    async def tell(self: Flow, job_state: JobState, *args: Any) -> bool:
        if is_waiting:
            is_waiting[0].set()
        return await wait_async(self, job_state, *args)

    async def two_callers() -> str:
        one = asyncio.create_task(flow.run_async("a", job_id="order"))
        await asyncio.to_thread(passed, began)
        is_waiting.append(asyncio.Event())
        two = asyncio.create_task(flow.run_async("a", job_id="order"))
        await (is_waiting[0].wait() if moment == "waiting" else asyncio.sleep(0))
        two.cancel()
        with pytest.raises(asyncio.CancelledError):
            await two
        released.set()
        return (await one).status

    wait_async = Flow.wait_async
    monkeypatch.setattr(Flow, "wait_async", tell)
    with Flow("orders", store=url) as flow:
        flow.add_routine(entry(held), "a")
        assert asyncio.run(two_callers()) == "completed"
