"""A run, its copies, its earlier handlers and its shutdowns, side by side in one process."""

import copy
import itertools
import pickle
import threading
from collections import Counter
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.testing import FakeClock, ManualExecutor
from tests.drawings import (
    Gate,
    Watched,
    collector,
    delayed,
    draw,
    draw_stepped,
    fails,
    in_thread,
    items,
    keeps_context,
    node,
    own_run,
    reloaded,
    source,
    wait,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def test_a_handler_that_is_still_at_work_here_is_not_started_again() -> None:
    gate = Gate()
    calls: list[Any] = []
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(data["item"])
        if data["item"] == 1:
            gate.hold()
        routine.emit("output", **data)

    flow = draw("a -> b -> c", a=source(1, 2), b=node(act), c=collector(got))
    job_state = flow.execute("a")
    gate.await_arrival()
    pausing = in_thread(lambda: flow.pause(job_state))
    wait_until(flow, job_state, lambda state: state.status == "paused")
    assert flow.resume(job_state) is job_state
    gate.open()
    pausing()
    wait(flow, job_state)
    assert (job_state.status, calls, items(got)) == ("completed", [1, 2], [1, 2])
    flow.shutdown()


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_handler_that_defers_an_event_while_its_run_is_resumed_loses_nothing(look: int) -> None:
    gate, never = Gate(), threading.Event()
    got: list[Any] = []
    looks = itertools.count(1)

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit_deferred_event("asked", item="first")
        routine.emit("asked", item="at once")

    def let_the_handler_end() -> None:
        # Somewhere in the resume: the handler that is still at work comes to its end just now.
        if next(looks) == look:
            gate.open()
            for _ in range(20):
                if len(job_state.deferred_events) != 1:
                    break
                never.wait(0.01)

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == "at once":
            flow.pause(own_run(routine))
            routine.emit_deferred_event("late", item="second")
            gate.hold()

    asker, b = Watched(ask, slot="trigger", events=("asked",)), node(act, events=("late",))
    flow = draw("a.asked -> b", "a.asked -> c", "b.late -> c", a=asker, b=b, c=collector(got))
    flow.set_execution_strategy("concurrent", 2)
    job_state = flow.execute("a")
    gate.await_arrival()
    asker.on_get_event = let_the_handler_end
    flow.resume(job_state)
    asker.on_get_event = None
    gate.open()
    wait(flow, job_state)
    if job_state.deferred_events:
        wait(flow, flow.resume(job_state))
    assert sorted(items(got)) == ["at once", "first", "second"]
    assert (job_state.status, job_state.pending_tasks) == ("completed", [])
    flow.shutdown()


def test_a_handler_that_is_at_work_in_a_restored_state_is_started_again() -> None:
    gate = Gate()
    calls: list[Any] = []
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(data["item"])
        routine.emit("output", **data)
        if len(calls) == 1:
            gate.hold()

    flow = draw("a -> b", a=source(1), b=node(act))
    job_state = flow.execute("a")
    gate.await_arrival()
    restored = reloaded(job_state)
    assert [(task["was"], task["routine_id"]) for task in restored.pending_tasks] == [("active", "b")]
    other, _, _ = draw_stepped("a -> b -> c", a=source(1), b=node(act), c=collector(got))
    wait(other, other.resume(restored))
    assert (restored.status, calls, got) == ("completed", [1, 1], [])
    gate.open()
    assert wait(flow, job_state).status == "completed"
    flow.shutdown()


def test_a_copy_goes_on_in_another_flow_while_the_original_is_alive() -> None:
    runs: dict[int, list[Any]] = {}
    gate = Gate()

    def note(routine: Routine, data: dict[str, Any]) -> None:
        state = own_run(routine)
        if data["item"] == 1 and not gate.may_go.is_set() and state is job_state:
            gate.hold()
        runs.setdefault(id(state), []).append(data["item"])
        state.update_shared_data(f"got {data['item']}", True)

    # The very same routine objects stand in both flows.
    a, b = source(1, 2, 3), node(note)
    flow, other = draw("a -> b", a=a, b=b), draw("a -> b", a=a, b=b)
    job_state = JobState(flow.flow_id)
    flow.execute("a", job_state=job_state)
    gate.await_arrival()
    moved = reloaded(job_state)
    assert other.resume(moved) is moved
    wait(other, moved)
    assert (moved.status, moved.job_id) == ("completed", job_state.job_id)
    assert job_state.status == "running"
    assert dict(job_state.shared_data) == {}
    gate.open()
    wait(flow, job_state)
    assert runs == {id(job_state): [1, 2, 3], id(moved): [1, 2, 3]}
    assert job_state.status == "completed"
    flow.shutdown()
    other.shutdown()


def test_a_copy_goes_on_in_the_same_flow_while_the_original_is_alive() -> None:
    got: Counter[tuple[int, int]] = Counter()
    flow, executor, _ = draw_stepped(
        "a -> b", a=source(1, 2), b=node(lambda routine, data: got.update([(id(own_run(routine)), data["item"])]))
    )
    job_state = flow.execute("a")
    moved = flow.resume(reloaded(job_state))
    executor.step()
    flow.pause(moved)
    executor.run_until_idle()
    assert (job_state.status, moved.status) == ("completed", "paused")
    wait(flow, flow.resume(moved))
    assert got == Counter({(id(state), item): 1 for state in (job_state, moved) for item in (1, 2)})


def test_what_a_thread_of_an_earlier_handler_emits_after_the_resume_is_delivered() -> None:
    kept: list[Any] = []
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(1, 2), b=node(keeps_context(kept)), c=collector(got))
    job_state = flow.execute("a")
    executor.step()
    context, routine = kept[0]
    flow.pause(job_state)
    context.run(routine.emit, "output", item="while it is paused")
    flow.resume(job_state)
    context.run(routine.emit, "output", item="after the resume")
    wait(flow, job_state)
    assert sorted(items(got)) == ["after the resume", "while it is paused"]
    assert (job_state.status, job_state.pending_tasks) == ("completed", [])


def test_a_handler_may_resume_another_run() -> None:
    got: list[Any] = []
    flow = draw(
        "a -> b",
        "boss -> c",
        a=source(),
        b=collector(got),
        boss=source(),
        c=node(lambda routine, data: wait(flow, flow.resume(paused))),
    )
    paused = JobState(flow.flow_id)
    flow.execute("a", {"item": 1}, job_state=paused, execution_strategy="sequential")
    wait(flow, paused)
    flow.pause(paused)
    assert flow.run("boss").status == "completed"
    assert paused.status == "completed"
    flow.shutdown()


def test_a_resumed_run_tells_its_end_again() -> None:
    told: list[str] = []
    flow, executor, _ = draw_stepped(
        "a -> b", a=source(1), b=node(fails(ValueError("boom"), 1), error_handler=ErrorHandler("stop"))
    )
    flow.on_run_end(lambda job_state: told.append(job_state.status))
    job_state = flow.execute("a")
    executor.run_until_idle()
    wait(flow, flow.resume(job_state))
    assert told == ["failed", "completed"]


def test_a_run_that_a_shutdown_has_parked_goes_on() -> None:
    got: list[Any] = []
    flow = draw("a -> b", a=delayed(0.05), b=collector(got))
    job_state = flow.execute("a")
    flow.shutdown(wait=False)
    assert (job_state.status, job_state.pause_points[-1]["reason"]) == ("paused", "shutdown")
    wait(flow, flow.resume(job_state))
    assert (job_state.status, items(got)) == ("completed", [1])
    flow.shutdown()


def test_the_history_limit_of_the_flow_bounds_a_restored_run_too() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(*range(50)), b=node(), options={"history_limit": 10})
    job_state = flow.execute("a")
    flow.pause(job_state)
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    assert len(job_state.execution_history) == 10
    assert job_state.metadata["history_dropped"] > 0


def test_the_clock_of_a_restored_run_is_the_new_flows() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    clock, executor = FakeClock(2_000_000_000.0), ManualExecutor()
    later = draw("a -> b", flow=Flow("drawn", clock=clock, executor=executor), a=source(1), b=node())
    job_state = reloaded(job_state)
    wait(later, later.resume(job_state))
    times = [record.timestamp for record in job_state.execution_history]
    assert times == sorted(times)
    assert times[-1].year == 2033


def test_the_tracker_counts_what_ran_before_the_pause_and_after() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2, 3), b=node())
    job_state = flow.execute("a")
    executor.step()
    flow.pause(job_state)
    wait(flow, flow.resume(job_state))
    tracker = flow.execution_tracker
    assert tracker is not None
    assert (tracker.get_routine_performance("b") or {})["total_executions"] == 3
    assert tracker.get_flow_performance()["total_events"] == 3


@pytest.mark.parametrize("copied_by", [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
@pytest.mark.parametrize("is_paused", [True, False])
def test_a_deep_copy_goes_on_like_the_original(copied_by: Any, is_paused: bool) -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2, 3), b=collector(got, merge_strategy="append"))
    job_state = flow.execute("a")
    executor.step()
    if is_paused:
        flow.pause(job_state)
    twin = copied_by(job_state)
    flow.cancel(job_state)
    got.clear()
    wait(flow, flow.resume(twin))
    assert (twin.status, items(got)) == ("completed", [[1, 2], [1, 2, 3]])


def test_what_a_handler_has_reset_in_its_slot_stays_reset() -> None:
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        got.append(data["item"])
        slot = routine.get_slot("input")
        assert slot is not None
        if len(data["item"]) == 2:
            slot._data = {}

    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2, 3, 4), b=node(act, merge_strategy="append"))
    job_state = flow.execute("a")
    for _ in range(4):
        executor.step()
        flow.pause(job_state)
        job_state = flow.resume(reloaded(job_state))
    wait(flow, job_state)
    assert got == [[1], [1, 2], [3], [3, 4]]


def test_a_handler_that_waits_for_a_run_goes_on_when_that_run_is_paused() -> None:
    got: list[str] = []
    inner = draw(
        "a -> b", "a -> c", flow=Flow("inner"), a=source(1), b=node(lambda routine, data: inner.pause()), c=node()
    )
    flow = draw("a -> b", a=source(1), b=node(lambda routine, data: got.append(inner.run("a").status)))
    assert flow.run("a").status == "completed"
    assert got == ["paused"]
    inner.shutdown()
    flow.shutdown()
