"""Where the operating system gives no thread: the error says so, and nothing is lost."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from tests.drawings import collector, draw, entry, names, node, source, wait

pytestmark = pytest.mark.usefixtures("handler_kind")


class ScarcePools:
    """Pools that start workers only while threads are to be had."""

    threaded = True

    def __init__(self) -> None:
        self.has_threads = True
        self.refused = 0

    def open_pool(self, max_workers: int) -> "ScarcePool":
        return ScarcePool(self, max_workers)

    def watch_timers(self, fire_due: Callable[[], int | None]) -> None:
        """Not used with threads."""

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Not used with threads."""


class ScarcePool:
    def __init__(self, pools: ScarcePools, max_workers: int) -> None:
        self.pools = pools
        self.threads = ThreadPoolExecutor(max_workers)

    def submit(self, fn: Callable[[], None], /) -> Any:
        if not self.pools.has_threads:
            self.pools.refused += 1
            raise RuntimeError("can't start new thread")
        return self.threads.submit(fn)

    def shutdown(self, wait: bool = True) -> None:
        self.threads.shutdown(wait=wait)


@pytest.mark.plain_only("async handlers need no worker, and a run of theirs comes to its end without one")
def test_a_run_without_a_worker_fails_and_keeps_what_was_queued():
    pools, seen = ScarcePools(), []
    flow = draw("a -> b", flow=Flow(executor=pools), a=source(1, 2), b=collector(seen))
    pools.has_threads = False
    job_state = flow.execute("a")
    assert job_state.status == "failed"
    assert pools.refused >= 1
    assert seen == []
    assert [kept["data"] for kept in job_state.pending_tasks] == [{"item": 1}, {"item": 2}]
    assert "can't start new thread" in job_state.errors[-1].data["error"]
    assert names(job_state, "a") == ["start", "output", "output", "completed"]
    assert JobState.wait_for_completion(flow, job_state, timeout=5) is True
    pools.has_threads = True
    assert flow.run("a").status == "completed"
    flow.shutdown()


@pytest.mark.plain_only("async handlers need no worker, and a run of theirs comes to its end without one")
def test_a_concurrent_run_without_a_worker_tells_it_and_keeps_what_was_queued():
    pools = ScarcePools()
    flow = draw(
        "a -> b",
        flow=Flow(executor=pools, execution_strategy="concurrent", max_workers=2),
        a=source(1, 2, 3),
        b=collector([]),
    )
    pools.has_threads = False
    job_state = JobState(flow.flow_id)
    flow.execute("a", job_state=job_state)
    assert job_state.status == "failed"
    assert [kept["data"] for kept in job_state.pending_tasks if kept["routine_id"] == "b"] == [
        {"item": 1}, {"item": 2}, {"item": 3},
    ]  # fmt: skip
    flow.shutdown()


@pytest.mark.plain_only("where a handler awaits, no worker is there when it emits")
def test_one_worker_that_is_there_does_the_work_of_those_that_cannot_start():
    pools = ScarcePools()
    seen: list[Any] = []

    def take_the_threads(routine: Routine, data: Any) -> None:
        pools.has_threads = False
        for n in range(20):
            routine.emit("output", n=n)

    flow = draw(
        "a -> b -> c",
        flow=Flow(executor=pools, execution_strategy="concurrent", max_workers=4),
        a=source(1),
        b=node(take_the_threads),
        c=collector(seen),
    )
    assert wait(flow, flow.execute("a")).status == "completed"
    assert sorted(each["n"] for each in seen) == list(range(20))
    flow.shutdown()


def test_a_stream_without_a_worker_comes_to_its_end():
    pools = ScarcePools()
    flow = draw("a -> b", flow=Flow(executor=pools), a=source(1), b=collector([]))
    pools.has_threads = False
    items = list(flow.stream("a"))
    assert [item.event_name for item in items][-1] == "error"
    flow.shutdown()


def test_an_emission_from_outside_without_a_worker_does_not_hang_a_shutdown():
    pools = ScarcePools()
    flow = draw("a -> b", flow=Flow(executor=pools), a=source(1), b=collector([]))
    pools.has_threads = False
    with pytest.raises(RuntimeError, match="thread"):
        flow.routines["a"].emit("output", flow=flow, n=1)
    flow.shutdown(timeout=5)


def test_a_flow_whose_loop_thread_cannot_start_refuses_to_execute_and_leaves_nothing(monkeypatch):
    calls: list[Any] = []
    flow = draw("a -> b", a=entry(lambda routine, data: calls.append(data)), b=collector([]))
    job_state = JobState(flow.flow_id)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="start new thread"):
            flow.execute("a", job_state=job_state)
    assert calls == []
    assert job_state.status == "pending"
    assert job_state.execution_history == []
    assert flow._running is False
    assert flow.execute("a", job_state=job_state).status == "completed"
    flow.shutdown()


def test_threads_that_run_out_in_the_middle_fail_the_run_and_not_the_process(monkeypatch):
    flow = draw("a -> b", a=entry(), b=collector([]))

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def act(routine: Routine, data: Any) -> None:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        routine.emit("output", n=1)

    flow.routines["a"].get_slot("trigger").handler = lambda **data: act(flow.routines["a"], data)
    job_state = flow.execute("a")
    monkeypatch.undo()
    assert job_state.status == "failed"
    assert [kept["data"] for kept in job_state.pending_tasks] == [{"n": 1}]
    flow.shutdown()
