"""A resume takes up everything that a state keeps, once, in order, and is the same run as before."""

import contextlib
import copy
import threading
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.flow import TaskPriority
from tests.drawings import (
    Gate,
    Watched,
    collector,
    delayed,
    draw,
    draw_stepped,
    entry,
    fails,
    in_thread,
    items,
    node,
    own_run,
    passed,
    relay,
    reloaded,
    source,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")

# -- what is returned, and when the run ends


def test_the_same_object_goes_on_under_the_same_job_id() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    job_id = job_state.job_id
    flow.pause(job_state)
    assert flow.resume(job_state) is job_state
    assert (job_state.job_id, job_state.status) == (job_id, "running")
    assert wait(flow, job_state).status == "completed"


def test_a_run_with_nothing_left_is_running_until_somebody_waits() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.pause(job_state)
    flow.resume(job_state)
    executor.run_until_idle()
    assert job_state.status == "running"
    assert wait(flow, job_state).status == "completed"


def test_a_run_with_nothing_left_ends_by_itself_after_a_moment() -> None:
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.resume(job_state)
    clock.advance(0.049)
    executor.run_until_idle()
    assert job_state.status == "running"
    clock.advance(0.001)
    executor.run_until_idle()
    assert job_state.status == "completed"


def test_nobody_has_to_wait_for_a_resumed_run() -> None:
    ended = threading.Event()
    flow = draw("a -> b", a=source(1), b=node())
    job_state = flow.run("a")
    flow.on_run_end(lambda job_state: ended.set())
    assert flow.resume(job_state).status == "running"
    passed(ended)
    assert job_state.status == "completed"
    flow.shutdown()


def test_a_run_that_is_live_is_returned_as_it_is() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2), b=collector(got))
    job_state = flow.execute("a")
    executor.step()
    assert flow.resume(job_state) is job_state
    flow.pause(job_state)
    assert flow.resume(flow.resume(job_state)) is job_state
    executor.run_until_idle()
    assert items(got) == [1, 2]
    assert wait(flow, job_state).status == "completed"


def test_two_callers_who_resume_at_once_resume_once() -> None:
    first_is_there, hold = Gate(), Gate()
    got: list[Any] = []

    def take(routine: Routine, data: dict[str, Any]) -> None:
        hold.hold()
        got.append(data["item"])

    def hold_the_first() -> None:
        target.on_get_slot = None
        first_is_there.hold()

    target = Watched(take)
    flow = draw("a -> b", a=entry(lambda routine, data: (routine.emit("output", item=1), flow.pause())), b=target)
    job_state = flow.execute("a")
    target.on_get_slot = hold_the_first
    join = in_thread(lambda: flow.resume(job_state))
    first_is_there.await_arrival()
    other = in_thread(lambda: flow.resume(job_state))
    first_is_there.open()
    assert (join(), other()) == (job_state, job_state)
    hold.await_arrival()
    # Longer than the moment after which a run with nothing left ends: an empty second run would end this state.
    assert JobState.wait_for_completion(flow, job_state, timeout=0.3) is False
    assert job_state.status == "running"
    hold.open()
    assert wait(flow, job_state).status == "completed"
    assert got == [1]
    flow.shutdown()


# -- which states


@pytest.mark.parametrize("kind", ["paused", "failed", "completed", "restored"])
def test_paused_failed_completed_and_restored_runs_go_on(kind: str) -> None:
    got: list[Any] = []
    policy = ErrorHandler("stop")
    act = fails(ValueError("boom"), 1 if kind == "failed" else 0)
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(1), b=node(act, error_handler=policy), c=collector(got))
    job_state = flow.execute("a")
    if kind == "paused":
        flow.pause(job_state)
    elif kind == "restored":
        original, job_state = job_state, reloaded(job_state)
        assert job_state.status == "running"
        flow.cancel(original)  # as if its process were gone
    else:
        executor.run_until_idle()
        assert job_state.status == kind
    assert flow.resume(job_state).status == "running"
    assert wait(flow, job_state).status == "completed"
    assert job_state.pending_tasks == []
    assert items(got) == [1]


def test_a_pending_run_cannot_be_resumed() -> None:
    flow = draw(a=source())
    job_state = JobState(flow.flow_id)
    with pytest.raises(ValueError, match="execute"):
        flow.resume(job_state)
    assert job_state.status == "pending"


def test_a_cancelled_run_cannot_be_resumed() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.cancel(job_state)
    with pytest.raises(ValueError, match="cancelled"):
        flow.resume(job_state)
    assert job_state.status == "cancelled"


def test_another_flows_run_cannot_be_resumed() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    other = draw("a -> b", flow=Flow("other"), a=source(1), b=node())
    with pytest.raises(ValueError, match="does not match"):
        other.resume(job_state)
    assert job_state.status == "paused"
    assert len(job_state.pending_tasks) == 1


def paused_with_everything() -> JobState:
    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", item=1)
        routine.emit_deferred_event("asked", item=2)

    flow, _, _ = draw_stepped("a -> b", a=entry(start, events=("output", "asked")), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    return job_state


@pytest.mark.parametrize(
    ("gone", "named"),
    [("routine", "'b'"), ("slot", "'input'"), ("event", "'asked'"), ("deferring routine", "'a'"), ("current", "'x'")],
)
def test_what_is_gone_is_named_and_nothing_is_dropped(gone: str, named: str) -> None:
    job_state = paused_with_everything()
    if gone == "current":
        job_state.current_routine_id = "x"
    if gone == "deferring routine":
        job_state.current_routine_id = "b"
    before = job_state.serialize()
    flow = Flow("drawn")
    if gone != "deferring routine":
        flow.add_routine(entry(events=("output",) if gone == "event" else ("output", "asked")), "a")
    if gone != "routine":
        flow.add_routine(node(slot="other" if gone == "slot" else "input"), "b")
    with pytest.raises(ValueError, match=named):
        flow.resume(job_state)
    assert job_state.serialize() == before
    assert job_state.status == "paused"

    got: list[Any] = []
    repaired = draw("a -> b", "a.asked -> b", a=entry(events=("output", "asked")), b=collector(got))
    job_state.current_routine_id = "a"
    wait(repaired, repaired.resume(job_state))
    assert items(got) == [1, 2]
    repaired.shutdown()


@pytest.mark.parametrize(
    ("kind", "entry_or_change"),
    [
        ("pending", "none"),
        ("pending", {"routine_id": "b"}),
        ("change", {"priority": 9}),
        ("change", {"attempt": "x"}),
        ("change", {"released": [1]}),
        ("change", {"released": {"output": 5}}),
        ("change", {"data": None}),
        ("change", {"connection": {"routine_id": ["a"], "event": "output"}}),
        ("deferred", 5),
        ("deferred", {"routine_id": "a"}),
        ("deferred", {"routine_id": "a", "event_name": "output", "data": 5}),
    ],
)
def test_an_entry_that_is_none_is_an_error_and_nothing_is_dropped(kind: str, entry_or_change: Any) -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1, 2), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    if kind == "pending":
        job_state.pending_tasks.append(entry_or_change)
    elif kind == "deferred":
        job_state.deferred_events.append(entry_or_change)
    else:
        job_state.pending_tasks[1].update(entry_or_change)
    before = copy.deepcopy((job_state.pending_tasks, job_state.deferred_events))
    with pytest.raises((ValueError, TypeError)):
        flow.resume(job_state)
    assert job_state.status == "paused"
    assert (job_state.pending_tasks, job_state.deferred_events) == before


# -- in which order


def test_parked_tasks_come_first_then_slot_data_then_deferred_events_in_their_order() -> None:
    order: list[Any] = []

    def note(name: str) -> Any:
        return lambda routine, data: order.append((name, data["item"]))

    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit_deferred_event("asked", item=1)
        routine.emit_deferred_event("asked", item=2)
        routine.emit("output", item=1)
        routine.emit("output", item=2)

    def drawn() -> Flow:
        return draw_stepped(
            "a -> b",
            "a.asked -> d",
            a=entry(start, events=("output", "asked")),
            b=node(note("parked")),
            c=node(note("slot data")),
            d=node(note("deferred")),
        ).flow

    flow = drawn()
    job_state = flow.execute("a")
    flow.pause(job_state)
    other = drawn()
    slot = other.routines["c"].get_slot("input")
    assert slot is not None
    slot.deserialize({"_data": {"item": 1}})
    wait(other, other.resume(reloaded(job_state)))
    assert order == [("parked", 1), ("parked", 2), ("slot data", 1), ("deferred", 1), ("deferred", 2)]


def test_slot_data_that_a_parked_task_carries_are_not_delivered_a_second_time() -> None:
    got: list[Any] = []
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=collector(got))
    job_state = flow.execute("a")
    flow.pause(job_state)
    other, _, _ = draw_stepped("a -> b", a=source(1), b=collector(got))
    slot = other.routines["b"].get_slot("input")
    assert slot is not None
    slot.deserialize({"_data": {"item": 1}})
    wait(other, other.resume(reloaded(job_state)))
    assert items(got) == [1]


def test_priorities_are_kept() -> None:
    def start(routine: Routine, data: dict[str, Any]) -> None:
        for name in ("LOW", "NORMAL", "HIGH"):
            for number in range(2):
                routine.emit_later("output", priority=TaskPriority[name], data={"item": f"{name} {number}"})

    got: list[Any] = []
    flow, _, _ = draw_stepped("a -> b", a=entry(start), b=collector(got))
    job_state = flow.execute("a")
    flow.pause(job_state)
    wait(flow, flow.resume(reloaded(job_state)))
    assert items(got) == ["HIGH 0", "HIGH 1", "NORMAL 0", "NORMAL 1", "LOW 0", "LOW 1"]


def test_a_sequential_run_stays_sequential_on_a_concurrent_flow() -> None:
    lock, at_work, most = threading.Lock(), [0], [0]
    both = threading.Barrier(2)

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for item in range(4):
            routine.emit("output", item=item)
        flow.pause(own_run(routine))

    def act(routine: Routine, data: dict[str, Any]) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.1)  # two that are at work at once meet here; one alone breaks it, and the others pass
        with lock:
            at_work[0] -= 1

    flow = draw("a -> b", flow=Flow("drawn", "concurrent", 4), a=entry(start), b=node(act))
    job_state = flow.execute("a", execution_strategy="sequential")
    wait(flow, flow.resume(job_state))
    assert most == [1]
    flow.shutdown()


# -- time


def test_a_resume_starts_a_fresh_timeout() -> None:
    flow, executor, clock = draw_stepped("a -> b -> c", a=source(1), b=relay(), c=node())
    job_state = flow.execute("a", timeout=5)
    clock.advance(4)
    flow.pause(job_state)
    clock.advance(100)
    flow.resume(job_state, timeout=5)
    clock.advance(4)
    executor.run_until_idle()
    assert wait(flow, job_state).status == "completed"


def test_the_fresh_timeout_is_the_flows_unless_another_is_given() -> None:
    options = {"execution_timeout": 10}
    for timeout, status in ((None, "failed"), (20, "completed"), (float("inf"), "completed")):
        flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(), options=options)
        job_state = flow.execute("a")
        flow.pause(job_state)
        flow.resume(job_state, timeout=timeout)
        clock.advance(11)
        executor.run_until_idle()
        clock.advance(1)
        executor.run_until_idle()
        assert (timeout, job_state.status) == (timeout, status)


def test_an_earlier_timeout_is_forgotten() -> None:
    def again(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(own_run(routine))
        flow.resume(own_run(routine))
        routine.emit("output")

    flow, executor, clock = draw_stepped(
        "a -> b -> c", a=source(1), b=node(again), c=node(), options={"execution_timeout": None}
    )
    job_state = flow.execute("a", timeout=5)
    executor.step()
    clock.advance(100)
    executor.run_until_idle()
    assert wait(flow, job_state).status == "completed"


def test_the_fresh_timeout_ends_the_run_like_the_first() -> None:
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    flow.resume(job_state, timeout=5)
    clock.advance(5)
    executor.run_until_idle()
    assert job_state.status == "failed"
    assert job_state.errors[-1].data["timeout"] == 5
    assert len(job_state.pending_tasks) == 1
    wait(flow, flow.resume(job_state))
    assert job_state.status == "completed"


def test_the_fresh_timeout_stands_still_while_only_delays_are_left() -> None:
    got: list[Any] = []
    flow, executor, clock = draw_stepped("a -> b", a=delayed(60), b=collector(got))
    job_state = flow.execute("a")
    flow.pause(job_state)
    flow.resume(job_state, timeout=10)
    clock.advance(30)
    executor.run_until_idle()
    assert job_state.status == "running"
    clock.advance(30)
    executor.run_until_idle()
    assert (job_state.status, items(got)) == ("completed", [1])


def test_a_delay_goes_on_while_the_run_is_paused() -> None:
    got: list[Any] = []
    flow, executor, clock = draw_stepped("a -> b", a=delayed(60), b=collector(got))
    job_state = flow.execute("a")
    clock.advance(10)
    flow.pause(job_state)
    clock.advance(40)
    flow.resume(job_state)
    clock.advance(9)
    executor.run_until_idle()
    assert got == []
    clock.advance(1)
    executor.run_until_idle()
    assert items(got) == [1]
    assert job_state.status == "completed"


def test_a_delay_that_was_over_meanwhile_is_delivered_at_once() -> None:
    got: list[Any] = []
    flow, _, clock = draw_stepped("a -> b", a=delayed(60), b=collector(got))
    job_state = flow.execute("a")
    flow.pause(job_state)
    clock.advance(3600)
    wait(flow, flow.resume(reloaded(job_state)))
    assert items(got) == [1]


def test_a_resume_prepares_each_event_once_however_much_it_has_kept() -> None:
    asked: list[str] = []

    class Asked(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.define_event("output")
            self.define_slot("trigger", handler=self.emit_all)

        def emit_all(self) -> None:
            for item in range(20):
                self.emit("output", item=item)

        def get_event(self, name: str) -> Any:
            asked.append(name)
            return super().get_event(name)

    flow, _, _ = draw_stepped("a -> b", "a -> c", a=Asked(), b=node(), c=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    assert len(job_state.pending_tasks) == 40
    other, _, _ = draw_stepped("a -> b", "a -> c", a=Asked(), b=node(), c=node())
    asked.clear()
    wait(other, other.resume(reloaded(job_state)))
    assert len(asked) == 1
