"""The names of a flow's inside that existing code looks at go on working."""

import contextlib
import logging
import queue
import re
import threading
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.flow import SlotActivationTask, TaskPriority
from routilux.flow.completion import ensure_event_loop_running
from routilux.flow.event_loop import start_event_loop
from tests.drawings import DEADLINE, Gate, collector, draw, draw_stepped, node, source, start_held, wait

pytestmark = pytest.mark.usefixtures("handler_kind")


def running(flow: Flow) -> JobState:
    job_state = JobState(flow.flow_id)
    job_state.status = "running"
    return job_state


def task_for(flow: Flow, routine_id: str, job_state: JobState | None = None, **data: Any) -> SlotActivationTask:
    return SlotActivationTask(flow.routines[routine_id].get_slot("input"), data, job_state=job_state)


def test_a_flow_at_rest_looks_like_this():
    flow = Flow()
    assert flow._running is False
    assert flow._paused is False
    assert flow._task_queue.empty() is True
    assert flow._task_queue.qsize() == 0
    assert list(flow._active_tasks) == []
    assert list(flow._pending_tasks) == []
    with flow._execution_lock:
        pass


def test_queue_and_active_tasks_show_what_waits_and_what_is_at_work():
    gate = Gate()
    flow = draw("a -> b", a=source(1, 2, 3), b=node(gate.act))
    flow.execute("a")
    gate.await_arrival()
    assert flow._task_queue.qsize() == 2
    assert flow._task_queue.empty() is False
    with flow._execution_lock:
        active = list(flow._active_tasks)
    assert [task.done() for task in active] == [False]
    assert flow._running is True
    assert flow._paused is False
    gate.open()
    flow.shutdown()
    assert flow._task_queue.empty()
    assert not [task for task in flow._active_tasks if not task.done()]
    assert [task.done() for task in active] == [True]


def test_paused_is_exactly_false_while_a_run_goes_on():
    flow, _, gate = start_held()
    assert flow._paused is False
    gate.open()
    flow.shutdown()


def test_a_task_that_is_put_waits_until_a_loop_runs():
    seen: list[Any] = []
    flow = draw(b=collector(seen))
    job_state = running(flow)
    flow._task_queue.put(task_for(flow, "b", job_state, n=1))
    assert flow._task_queue.qsize() == 1
    assert JobState.wait_for_completion(flow, job_state, timeout=0.05, check_interval=0.005) is False
    assert seen == []
    assert job_state.status == "running"
    assert ensure_event_loop_running(flow) is True
    assert wait(flow, job_state).status == "completed"
    flow.shutdown()
    assert seen == [{"n": 1}]
    assert [record.event_name for record in job_state.get_execution_history("b")] == ["start", "completed"]


@pytest.mark.parametrize("begin", ["execute", "start_event_loop", "ensure_event_loop_running"])
def test_a_loop_takes_up_what_was_put(begin):
    seen: list[Any] = []
    flow = draw(a=source(), b=collector(seen))
    job_state = running(flow)
    flow._task_queue.put(task_for(flow, "b", job_state, n=1))
    if begin == "execute":
        flow.execute("a")
    elif begin == "start_event_loop":
        start_event_loop(flow)
    else:
        ensure_event_loop_running(flow)
    wait(flow, job_state)
    flow.shutdown()
    assert seen == [{"n": 1}]


def test_a_task_that_is_put_counts_for_a_run_that_had_ended():
    seen: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=collector(seen))
    job_state = flow.run("a")
    flow._task_queue.put(task_for(flow, "b", job_state, n=2))
    assert JobState.wait_for_completion(flow, job_state, timeout=0.02, check_interval=0.005) is False
    ensure_event_loop_running(flow)
    executor.run_until_idle()
    assert JobState.wait_for_completion(flow, job_state, timeout=5, check_interval=0.005) is True
    assert seen == [{"item": 1}, {"n": 2}]
    assert job_state.status == "completed"


def test_a_task_that_is_put_into_a_live_run_is_waited_for_with_it():
    seen: list[Any] = []
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act), c=collector(seen))
    job_state = flow.execute("a")
    gate.await_arrival()
    flow._task_queue.put(task_for(flow, "c", job_state, n=1))
    gate.open()
    wait(flow, job_state)
    flow.shutdown()
    assert seen == [{"n": 1}]


def test_a_task_without_a_job_runs_too():
    seen: list[Any] = []
    flow = draw(b=collector(seen))
    flow._task_queue.put(task_for(flow, "b", n=1))
    ensure_event_loop_running(flow)
    flow.shutdown()
    assert seen == [{"n": 1}]


def test_a_task_whose_routine_is_in_no_flow_runs_under_the_routines_own_id():
    seen: list[Any] = []
    stranger = collector(seen)
    stranger._id = "stranger"
    flow = draw(a=source())
    job_state = running(flow)
    flow._task_queue.put(SlotActivationTask(stranger.get_slot("input"), {"n": 1}, job_state=job_state))
    ensure_event_loop_running(flow)
    wait(flow, job_state)
    flow.shutdown()
    assert seen == [{"n": 1}]
    assert job_state.get_routine_state("stranger")["status"] == "completed"


@pytest.mark.parametrize("wrong", ["garbage", None, 3])
def test_what_is_no_task_cannot_be_put(wrong: Any):
    flow = draw(a=source(1))
    flow.run("a")
    with pytest.raises(TypeError, match="SlotActivationTask objects, not " + re.escape(repr(wrong))):
        flow._task_queue.put(wrong)
    assert flow.run("a").status == "completed"
    flow.shutdown()


@pytest.mark.parametrize("wrong", ["garbage", None])
def test_what_is_no_task_in_a_queue_of_the_callers_keeps_no_task_from_running(wrong: Any, caplog: Any):
    got: list[Any] = []
    flow = draw(a=source(1), b=collector(got))
    flow._task_queue = queue.Queue()
    flow._task_queue.put(wrong)
    flow._task_queue.put(SlotActivationTask(flow.routines["b"].get_slot("input"), {"item": 1}))
    with caplog.at_level(logging.CRITICAL):
        assert flow.run("a").status == "completed"
        assert JobState.wait_for_completion(flow, flow.execute("a"), timeout=DEADLINE)
        flow.shutdown()
    assert got == [{"item": 1}]


def test_a_task_that_cannot_run_keeps_no_wait_from_its_answer(caplog: Any):
    flow = draw(a=source(1))
    job_state = running(flow)
    with caplog.at_level(logging.CRITICAL):
        flow._task_queue.put(SlotActivationTask("no slot", {}, job_state=job_state))
        assert flow.run("a").status == "completed"
        flow.shutdown()
    assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
    assert not flow.has_tasks_for(job_state)


def test_tasks_that_are_put_run_in_the_order_of_their_priority():
    seen: list[Any] = []
    flow, executor, _ = draw_stepped(b=collector(seen))
    job_state = running(flow)
    for n, priority in enumerate((TaskPriority.LOW, TaskPriority.NORMAL, TaskPriority.HIGH)):
        slot = flow.routines["b"].get_slot("input")
        flow._task_queue.put(SlotActivationTask(slot, {"n": n}, priority=priority, job_state=job_state))
    ensure_event_loop_running(flow)
    executor.run_until_idle()
    assert [each["n"] for each in seen] == [2, 1, 0]


def test_a_task_that_was_put_can_be_taken_back():
    flow = draw(b=collector([]))
    task = task_for(flow, "b")
    flow._task_queue.put(task)
    assert flow._task_queue.get(timeout=1) is task
    assert flow._task_queue.empty()
    with pytest.raises(queue.Empty):
        flow._task_queue.get(block=False)
    with pytest.raises(queue.Empty):
        flow._task_queue.get(timeout=0.01)
    with pytest.raises(queue.Empty):
        flow._task_queue.get_nowait()


def test_the_loop_that_nothing_waits_for_need_not_run():
    flow = Flow()
    assert ensure_event_loop_running(flow) in (True, False)
    assert flow._running is False


@pytest.mark.parametrize("lock", [threading.Lock(), threading.RLock(), contextlib.nullcontext()])
def test_these_names_may_be_assigned_and_a_wait_still_answers(lock):
    flow = draw("a -> b", a=source(1), b=collector([]))
    flow._task_queue = queue.Queue()
    flow._active_tasks = set()
    flow._execution_lock = lock
    flow._running = True
    flow._paused = False
    flow._pending_tasks = []
    job_state = running(flow)
    assert JobState.wait_for_completion(flow, job_state, timeout=5, stability_delay=0.001) is True
    assert job_state.status == "completed"
    assert flow._running is True
    assert flow._pending_tasks == []


def test_an_assigned_queue_and_future_decide_a_wait_on_a_state_made_by_hand():
    class Future:
        finished = False

        def done(self) -> bool:
            return self.finished

    flow = Flow()
    flow._task_queue = queue.Queue()
    future = Future()
    flow._active_tasks = {future}
    job_state = running(flow)
    assert JobState.wait_for_completion(flow, job_state, timeout=0.02, check_interval=0.005) is False
    future.finished = True
    flow._task_queue.put("anything")
    assert JobState.wait_for_completion(flow, job_state, timeout=0.02, check_interval=0.005) is False
    flow._task_queue.get()
    assert JobState.wait_for_completion(flow, job_state, timeout=5, stability_delay=0.001) is True


def test_a_flow_still_executes_with_a_queue_of_the_callers():
    seen: list[Any] = []
    flow = draw("a -> b", a=source(1), b=collector(seen))
    flow._task_queue = queue.Queue()
    flow._task_queue.put(task_for(flow, "b", n=0))
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert {"item": 1} in seen
    assert {"n": 0} in seen


def test_progress_reports_the_sizes_of_an_assigned_queue():
    calls: list[Any] = []
    flow = Flow()
    flow._task_queue = queue.Queue()
    flow._task_queue.put("anything")
    JobState.wait_for_completion(
        flow, running(flow), timeout=0.02, check_interval=0.005, progress_callback=lambda *args: calls.append(args)
    )
    assert calls == [(1, 0, "running")]
