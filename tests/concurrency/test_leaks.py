"""Runs that are over leave nothing behind: no thread, no timer, no task, no memory."""

import gc
import threading
import tracemalloc
import weakref

import pytest

from routilux import ErrorHandler, Flow
from tests.drawings import draw, draw_stepped, entry, fails, node, passed, source, wait


def small_flow() -> Flow:
    return draw("a -> b -> c", a=source(1), b=node(lambda routine, data: routine.emit("output")), c=node())


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("run_count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_short_runs_leave_no_thread_timer_task_or_memory_behind(run_count: int, closes: bool) -> None:
    threads_before = threading.active_count()
    flow = small_flow()
    tracemalloc.start()
    try:
        for _ in range(500):  # what the flow itself keeps, such as its tracker, is full after so many
            wait(flow, flow.execute("a"))
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(run_count):
            flow.execute("a")
            if len(flow._active_tasks) > 50:
                flow.run("a")
        while flow._running:
            wait(flow, flow.execute("a"))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000, "twenty bytes a run show in ten thousand runs"
    assert flow._task_queue.empty()
    assert flow._active_tasks == set()
    assert flow._engine.loop.timer_count() <= 200, (  # noqa: SLF001 - timers are seen nowhere else
        "deadlines of runs that are over must not pile up"
    )
    if closes:
        flow.shutdown()
        left = [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]
        assert len(left) <= threads_before
    else:
        del flow
        gc.collect()
        assert threads_are_down_to(threads_before)


def test_a_run_that_is_over_is_not_kept_by_its_deadline() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a", timeout=1_000_000)
    executor.run_until_idle()
    gone = weakref.ref(job_state)
    del job_state
    gc.collect()
    assert gone() is None


def test_the_live_side_of_a_run_is_freed_without_the_garbage_collector() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    gc.disable()
    try:
        job_state = flow.execute("a")
        run = weakref.ref(flow._engine.loop.live_runs()[0])  # noqa: SLF001 - the live side has no public name
        executor.run_until_idle()
        assert job_state.status == "completed"
        assert run() is None
    finally:
        gc.enable()


def test_a_flow_that_nobody_shuts_down_is_collected_and_its_threads_end() -> None:
    threads_before = threading.active_count()
    flow = small_flow()
    flow.run("a")
    gone = weakref.ref(flow)
    del flow
    gc.collect()
    assert gone() is None
    assert threads_are_down_to(threads_before)


def test_a_run_that_waits_for_a_timer_is_not_collected_with_its_flow() -> None:
    done = threading.Event()
    policy = ErrorHandler("retry", max_retries=1, retry_delay=0.1)
    recovers = fails(OSError("no"), times=1)

    def start() -> None:
        flow = draw(
            "a -> b -> c", a=source(1), b=node(recovers, error_handler=policy), c=node(lambda routine, data: done.set())
        )
        flow.execute("a")

    start()
    gc.collect()
    passed(done)


def test_a_shut_down_flow_has_no_pool_threads() -> None:
    threads_before = threading.active_count()
    flow = draw("a -> b", a=source(*range(50)), b=node())
    flow.set_execution_strategy("concurrent", 4)
    flow.run("a")
    flow.shutdown()
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")][threads_before:]
    flow.run("a")
    flow.shutdown()


def test_reading_results_does_not_need_the_flow() -> None:
    def make() -> object:
        flow = draw(a=entry(lambda routine, data: routine.emit("output", x=1)))
        return flow.run("a")

    job_state = make()
    gc.collect()
    assert job_state.status == "completed"  # type: ignore[attr-defined]


def threads_are_down_to(count: int) -> bool:
    """Whether the threads end soon; the event loop's goes after a second without runs."""
    tick = threading.Event()
    for _ in range(400):
        gc.collect()
        if threading.active_count() <= count:
            return True
        tick.wait(0.02)
    return False
