"""A pause stops one run where it stands, keeps all of it, and waits for nobody who may be waiting for the pause."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from routilux import CallbackOutputHandler, ErrorHandler, Flow, JobState, Routine
from tests.drawings import (
    DEADLINE,
    Gate,
    collector,
    delayed,
    draw,
    draw_failing_beside,
    draw_stepped,
    entry,
    fails,
    in_thread,
    names,
    node,
    own_run,
    passed,
    relay,
    source,
    start_held,
    wait,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("handler_kind")

# -- what a pause keeps


def test_what_is_queued_waits_in_pending_tasks_and_nothing_new_starts() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2, 3), b=collector(got))
    job_state = flow.execute("a")
    executor.step()
    flow.pause(job_state)
    assert executor.run_until_idle() <= 1  # a worker may still come and find nothing
    assert job_state.status == "paused"
    assert got == [{"item": 1}]
    assert [task["data"] for task in job_state.pending_tasks] == [{"item": 2}, {"item": 3}]


def test_a_pending_task_says_everything_that_its_activation_is() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    (task,) = job_state.pending_tasks
    assert isinstance(task.pop("id"), str)
    assert task == {
        "routine_id": "b",
        "slot": "input",
        "data": {"item": 1},
        "connection": {"routine_id": "a", "event": "output"},
        "priority": 2,
        "attempt": 1,
        "due_at": None,
        "merged": False,
        "released": {},
        "was": "queued",
    }


def test_pending_tasks_are_json_once_the_run_is_serialized() -> None:
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(1, 2), b=relay(), c=node())
    job_state = flow.execute("a")
    executor.step()
    flow.pause(job_state)
    saved = json.loads(json.dumps(job_state.serialize()))
    assert [(task["routine_id"], task["data"]) for task in saved["pending_tasks"]] == [
        ("b", {"item": 2}),
        ("c", {"item": 1}),
    ]


def test_live_objects_may_be_paused_and_only_saving_them_is_an_error() -> None:
    got: list[Any] = []
    flow, _, _ = draw_stepped("a -> b", a=source(threading.Lock()), b=collector(got))
    job_state = flow.execute("a")
    flow.pause(job_state)
    with pytest.raises(TypeError, match="item"):
        job_state.serialize()
    wait(flow, flow.resume(job_state))
    assert len(got) == 1


def test_a_pause_point_tells_when_why_where_and_how_much() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2, 3), b=node())
    job_state = flow.execute("a")
    executor.step()
    flow.pause(job_state, reason="lunch", checkpoint={"step": 1})
    (point,) = job_state.pause_points
    assert datetime.fromisoformat(point["timestamp"])
    assert (point["reason"], point["checkpoint"], point["current_routine_id"]) == ("lunch", {"step": 1}, "b")
    assert (point["pending_tasks_count"], point["active_tasks_count"]) == (2, 0)
    assert job_state.checkpoint == {"step": 1}


def test_a_pause_point_counts_the_handlers_that_are_at_work() -> None:
    def stop(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(own_run(routine))

    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2), b=node(stop))
    job_state = flow.execute("a")
    executor.run_until_idle()
    (point,) = job_state.pause_points
    assert (point["pending_tasks_count"], point["active_tasks_count"]) == (1, 1)


def test_each_pause_adds_a_pause_point() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state, reason="first", checkpoint={"n": 1})
    flow.resume(job_state)
    flow.pause(job_state, reason="second", checkpoint={"n": 2})
    assert [point["reason"] for point in job_state.pause_points] == ["first", "second"]
    assert job_state.checkpoint == {"n": 2}


def test_what_a_late_handler_emits_is_parked_behind_what_was_queued() -> None:
    def act(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(own_run(routine))
        routine.emit("output", item="late")
        routine.emit_later("output", delay=7, data={"item": "later"})

    flow, executor, clock = draw_stepped("a -> b -> c", a=source(1, 2), b=node(act), c=node())
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert [(task["routine_id"], task["data"]["item"]) for task in job_state.pending_tasks] == [
        ("b", 2),
        ("c", "late"),
        ("c", "later"),
    ]
    due_at = datetime.fromisoformat(job_state.pending_tasks[2]["due_at"])
    assert due_at.timestamp() == pytest.approx(clock.time_ns() / 1e9 + 7)
    assert names(job_state, "b").count("output") == 2


def test_a_delay_is_parked_with_the_instant_at_which_it_is_due() -> None:
    flow, _, clock = draw_stepped("a -> b", a=delayed(60), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    (task,) = job_state.pending_tasks
    due_at = datetime.fromisoformat(task["due_at"])
    assert due_at.utcoffset() is not None
    assert due_at.timestamp() == pytest.approx(clock.time_ns() / 1e9 + 60)


def test_a_retry_is_parked_with_its_attempt_and_the_instant_at_which_it_is_due() -> None:
    policy = ErrorHandler("retry", max_retries=3, retry_delay=2, retry_backoff=3)
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(fails(OSError("down")), error_handler=policy))
    job_state = flow.execute("a")
    executor.run_until_idle()
    clock.advance(2)
    executor.run_until_idle()
    flow.pause(job_state)
    (task,) = job_state.pending_tasks
    assert (task["was"], task["attempt"], task["data"]) == ("retry", 3, {"item": 1})
    assert datetime.fromisoformat(task["due_at"]).timestamp() == pytest.approx(clock.time_ns() / 1e9 + 6)


def test_a_handler_that_fails_after_the_pause_is_parked_as_a_retry() -> None:
    def act(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(own_run(routine))
        raise OSError("down")

    flow, executor, _ = draw_stepped(
        "a -> b", a=source(1), b=node(act, error_handler=ErrorHandler("retry", 3, retry_delay=2))
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert job_state.status == "paused"
    assert [(task["was"], task["attempt"]) for task in job_state.pending_tasks] == [("retry", 2)]


def test_the_entrys_retry_is_parked_and_execute_returns() -> None:
    flow = draw(a=entry(fails(OSError("down")), error_handler=ErrorHandler("retry", 3, retry_delay=3600)))
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: flow.execute("a", job_state=job_state))
    wait_until(flow, job_state, lambda state: bool(state.errors))
    flow.pause(job_state)
    assert join() is job_state
    assert job_state.status == "paused"
    assert [(task["was"], task["attempt"]) for task in job_state.pending_tasks] == [("retry", 2)]
    flow.shutdown()


# -- whom it waits for


def test_handlers_that_are_at_work_finish_before_pause_returns() -> None:
    gate, finished = Gate(), threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        gate.hold()
        routine.emit("output", item="last")
        finished.set()

    flow = draw("a -> b -> c", a=source(1), b=node(act), c=node())
    job_state = flow.execute("a")
    gate.await_arrival()
    join = in_thread(lambda: (flow.pause(job_state), finished.is_set()))
    wait_until(flow, job_state, lambda state: state.status == "paused")
    gate.open()
    assert join() == (None, True)
    assert [task["data"] for task in job_state.pending_tasks] == [{"item": "last"}]
    flow.shutdown()


def test_a_second_pause_waits_for_the_handler_that_has_paused_its_own_run() -> None:
    gate, finished = Gate(), threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(own_run(routine))
        gate.hold()
        routine.emit("output", item="last")
        finished.set()

    flow = draw("a -> b -> c", a=source(1), b=node(act), c=node())
    job_state = flow.execute("a")
    gate.await_arrival()
    calling = threading.Event()
    join = in_thread(lambda: (calling.set(), flow.pause(job_state), finished.is_set()))
    passed(calling)
    gate.open()
    assert join()[2] is True
    assert job_state.status == "paused"
    assert [task["data"] for task in job_state.pending_tasks] == [{"item": "last"}]
    flow.shutdown()


@pytest.mark.slow
def test_a_handler_that_does_not_finish_is_waited_for_no_longer_than_five_seconds() -> None:
    gate = Gate()
    flow = draw("a -> b -> c", a=source(1), b=node(gate.act), c=node())
    runs = [flow.execute("a", execution_strategy="concurrent") for _ in range(2)]
    gate.await_arrival()
    began = time.monotonic()
    flow.pause()
    took = time.monotonic() - began
    assert 4.5 < took < 9
    assert [job_state.status for job_state in runs] == ["paused", "paused"]
    gate.open()
    for job_state in runs:
        wait(flow, job_state)
        assert [task["routine_id"] for task in job_state.pending_tasks] == ["c"]
    flow.shutdown()


def pause_from_a_handler(flow: Flow, job_state: JobState) -> None:
    other = draw(a=entry(lambda routine, data: flow.pause(job_state)))
    other.execute("a")


def pause_from_a_task(flow: Flow, job_state: JobState) -> None:
    with draw("a -> b", a=source(1), b=node(lambda routine, data: flow.pause(job_state))) as other:
        assert other.run("a").status == "completed"


def pause_from_an_output_handler_of_a_run(flow: Flow, job_state: JobState) -> None:
    with draw("a -> b", a=source(1), b=node(lambda routine, data: routine.send_output("news"))) as other:
        state = JobState(other.flow_id)
        state.set_output_handler(CallbackOutputHandler(lambda *_, **__: flow.pause(job_state)))
        wait(other, other.execute("a", job_state=state))


def pause_from_an_output_handler_of_the_application(flow: Flow, job_state: JobState) -> None:
    state = JobState("any")
    state.set_output_handler(CallbackOutputHandler(lambda *_, **__: flow.pause(job_state)))
    state.send_output("nobody", "news", {})


def pause_from_an_asyncio_loop(flow: Flow, job_state: JobState) -> None:
    async def main() -> None:
        flow.pause(job_state)

    asyncio.run(main())


@pytest.mark.parametrize(
    "pause",
    [
        pause_from_a_handler,
        pause_from_a_task,
        pause_from_an_output_handler_of_a_run,
        pause_from_an_output_handler_of_the_application,
        pause_from_an_asyncio_loop,
    ],
)
def test_a_pause_does_not_wait_where_somebody_may_be_waiting_for_it(pause: Callable[[Flow, JobState], None]) -> None:
    flow, job_state, gate = start_held()
    began = time.monotonic()
    in_thread(lambda: pause(flow, job_state))()
    assert time.monotonic() - began < 4.5  # the handler is still held: whoever waits for it waits five seconds
    assert job_state.status == "paused"
    assert job_state.serialize()["pending_tasks"][0]["was"] == "active"
    gate.open()
    wait(flow, job_state)
    flow.shutdown()


def test_a_handler_may_pause_its_own_run_and_is_over_when_the_wait_returns() -> None:
    gate, finished = Gate(), threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(own_run(routine))
        gate.hold()
        finished.set()

    flow = draw("a -> b", a=source(1, 2), b=node(act))
    job_state = flow.execute("a")
    gate.await_arrival()
    join = in_thread(lambda: (JobState.wait_for_completion(flow, job_state, timeout=DEADLINE), finished.is_set()))
    gate.open()
    assert join() == (True, True)
    assert [task["was"] for task in job_state.pending_tasks] == ["queued"]
    flow.shutdown()


def test_the_entry_handler_may_pause_its_own_run() -> None:
    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", item=1)
        flow.pause(own_run(routine))
        routine.emit("output", item=2)

    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=entry(start), b=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert (job_state.status, got) == ("paused", [])
    assert [task["data"]["item"] for task in job_state.pending_tasks] == [1, 2]
    wait(flow, flow.resume(job_state))
    assert (job_state.status, got) == ("completed", [{"item": 1}, {"item": 2}])


# -- the status


@pytest.mark.parametrize("ending", ["success", "tolerated", "failure"])
def test_no_settlement_overwrites_the_status_of_a_paused_run(ending: str) -> None:
    def act(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(own_run(routine))
        if ending != "success":
            raise ValueError("boom")

    policy = ErrorHandler("stop" if ending == "failure" else "continue")
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=policy))
    job_state = flow.execute("a", timeout=10)
    executor.run_until_idle()
    clock.advance(1000)
    executor.run_until_idle()
    assert job_state.status == "paused"
    assert [task["was"] for task in job_state.pending_tasks] == (["failed"] if ending == "failure" else [])
    assert JobState.wait_for_completion(flow, job_state, timeout=0.0)
    assert job_state.status == "paused"


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_a_finished_run_may_be_paused_and_the_pause_point_keeps_what_it_was(outcome: str) -> None:
    act = fails(ValueError("boom")) if outcome == "failed" else None
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=ErrorHandler("stop")))
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert job_state.status == outcome
    flow.pause(job_state, reason="for later", checkpoint={"kept": True})
    assert job_state.status == "paused"
    (point,) = job_state.pause_points
    assert outcome in point.values()
    assert (point["reason"], job_state.checkpoint) == ("for later", {"kept": True})
    assert len(job_state.pending_tasks) == (outcome == "failed")


def test_a_failed_run_may_be_paused_while_a_handler_of_it_is_at_work() -> None:
    executed = threading.Event()

    def pause_and_emit(routine: Routine, data: dict[str, Any]) -> None:
        passed(executed)  # the entry is over: this handler is the only one at work
        flow.pause(own_run(routine))
        routine.emit("output", item="late")

    flow = draw_failing_beside(pause_and_emit)
    job_state = flow.execute("a")
    executed.set()
    wait(flow, job_state)
    assert job_state.status == "paused"
    assert job_state.pause_points[-1]["active_tasks_count"] == 1
    assert sorted(task["routine_id"] for task in job_state.pending_tasks) == ["c", "fail"]
    flow.shutdown()


def test_the_timeout_stands_still_while_a_run_is_paused() -> None:
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a", timeout=5)
    flow.pause(job_state)
    clock.advance(100)
    executor.run_until_idle()
    assert job_state.status == "paused"
    assert "timeout" not in names(job_state, "")


# -- which runs


def test_without_a_job_state_every_live_run_of_the_flow_is_paused() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    over = flow.execute("a")
    executor.run_until_idle()
    runs = [flow.execute("a") for _ in range(3)]
    other, other_executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    elsewhere = other.execute("a")
    flow.pause(reason="all")
    assert [job_state.status for job_state in runs] == ["paused"] * 3
    assert all(job_state.pause_points[0]["reason"] == "all" for job_state in runs)
    assert (over.status, over.pause_points) == ("completed", [])
    other_executor.run_until_idle()
    assert elsewhere.status == "completed"


def test_a_pause_of_all_runs_stops_each_before_it_waits_for_any() -> None:
    gate = Gate()
    flow = draw("a -> b", "later -> c", a=source(1), b=node(gate.act), c=node(),
                later=delayed(3600))  # fmt: skip
    busy = flow.execute("a")
    gate.await_arrival()
    idle = flow.execute("later")
    join = in_thread(flow.pause)
    is_over = JobState.wait_for_completion(flow, idle, timeout=4)
    gate.open()
    join()
    assert is_over
    assert (busy.status, idle.status) == ("paused", "paused")
    flow.shutdown()


def test_a_pause_of_all_runs_leaves_those_alone_that_have_failed_or_are_paused() -> None:
    gate, failed = Gate(), threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == "pause":
            flow.pause(own_run(routine), reason="mine")
        gate.hold()

    def fail(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == "fail":
            gate.await_arrival()
            raise ValueError("boom")

    flow = draw("a -> slow", "a -> fail", a=source(), slow=node(act),
                fail=node(fail, error_handler=ErrorHandler("stop")))  # fmt: skip
    flow.set_execution_strategy("concurrent", 4)
    flow.on_run_end(lambda job_state: failed.set())
    failing = flow.execute("a", {"item": "fail"})
    passed(failed)
    gate.arrived.clear()
    pausing = flow.execute("a", {"item": "pause"})
    gate.await_arrival()
    flow.pause(reason="all")
    statuses = failing.status, pausing.status
    gate.open()
    wait(flow, failing)
    wait(flow, pausing)
    assert statuses == ("failed", "paused")
    assert (failing.pause_points, [point["reason"] for point in pausing.pause_points]) == ([], ["mine"])
    flow.shutdown()


def test_another_flows_run_is_not_paused() -> None:
    flow = draw(a=source())
    job_state = draw(flow=Flow("other"), a=source()).execute("a")
    with pytest.raises(ValueError, match="does not match"):
        flow.pause(job_state)
    assert (job_state.status, job_state.pause_points) == ("completed", [])


def test_the_other_runs_of_the_flow_go_on() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(), b=relay(), c=collector(got))
    runs = [flow.execute("a", {"run": number}) for number in range(3)]
    executor.step()
    flow.pause(runs[1])
    executor.run_until_idle()
    assert [job_state.status for job_state in runs] == ["completed", "paused", "completed"]
    assert sorted(data["run"] for data in got) == [0, 2]
    assert len(runs[1].pending_tasks) == 1
    assert all(task["data"]["run"] == 1 for task in runs[1].pending_tasks)


def test_the_flow_tells_whether_a_run_is_paused_and_shows_what_waits() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    assert flow._paused is False
    job_state = flow.execute("a")
    assert flow._paused is False
    flow.pause(job_state)
    assert flow._paused is True
    assert [task["data"] for task in flow._pending_tasks] == [{"item": 1}]
    wait(flow, flow.resume(job_state))
    assert flow._paused is False
    assert list(flow._pending_tasks) == []


@pytest.mark.parametrize("checkpoint", ["text", [1], 5])
def test_a_checkpoint_is_a_dict_and_is_kept_as_it_is_now(checkpoint: Any) -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    with pytest.raises(TypeError, match="checkpoint"):
        flow.pause(job_state, checkpoint=checkpoint)
    assert job_state.status == "running"
    step = {"step": 1}
    flow.pause(job_state, checkpoint=step)
    step["step"] = 2
    assert job_state.checkpoint == {"step": 1}


def test_the_errors_of_a_run_that_is_paused_say_what_to_do_instead() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    pending, paused = JobState(flow.flow_id), flow.execute("a")
    flow.pause(pending)
    with pytest.raises(ValueError, match=r"has not started\. Use execute\(\), with a new JobState"):
        flow.resume(pending)
    flow.pause(paused)
    with pytest.raises(ValueError, match="is paused in a flow of this process"):
        paused.deserialize({})
