"""A resume takes up everything that a state keeps, once, in order, and is the same run as before."""

import contextlib
import contextvars
import copy
import itertools
import pickle
import threading
from collections import Counter
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.flow import TaskPriority
from routilux.testing import FakeClock, ManualExecutor
from tests.drawings import (
    DEADLINE,
    Gate,
    collector,
    draw,
    draw_stepped,
    entry,
    fails,
    in_thread,
    names,
    node,
    relay,
    reloaded,
    source,
    wait,
)


def own_run(routine: Routine) -> JobState:
    context = routine.get_execution_context()
    assert context is not None
    return context.job_state


def items(got: list[dict[str, Any]]) -> list[Any]:
    return [data["item"] for data in got]


def failing_once(error: Exception) -> Any:
    """Emits what it gets and then fails, the first time for each item."""
    seen: set[Any] = set()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", **data)
        if data["item"] not in seen:
            seen.add(data["item"])
            raise error

    return act


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
    assert ended.wait(DEADLINE)
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
    looks = iter([first_is_there.hold])
    got: list[Any] = []

    class Target(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.is_watched = False
            self.define_slot("input", handler=self.take)

        def take(self, item: int) -> None:
            hold.hold()
            got.append(item)

        def get_slot(self, name: str) -> Any:
            if self.is_watched:
                next(looks, lambda: None)()
            return super().get_slot(name)

    target = Target()
    flow = draw("a -> b", a=entry(lambda routine, data: (routine.emit("output", item=1), flow.pause())), b=target)
    job_state = flow.execute("a")
    target.is_watched = True
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
    start = entry(lambda routine, data: routine.emit_later("output", delay=60, data={"item": 1}))
    flow, executor, clock = draw_stepped("a -> b", a=start, b=collector(got))
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
    start = entry(lambda routine, data: routine.emit_later("output", delay=60, data={"item": 1}))
    flow, executor, clock = draw_stepped("a -> b", a=start, b=collector(got))
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
    start = entry(lambda routine, data: routine.emit_later("output", delay=60, data={"item": 1}))
    flow, _, clock = draw_stepped("a -> b", a=start, b=collector(got))
    job_state = flow.execute("a")
    flow.pause(job_state)
    clock.advance(3600)
    wait(flow, flow.resume(reloaded(job_state)))
    assert items(got) == [1]


# -- retries and failures


def test_a_retry_goes_on_with_its_attempt_when_it_is_due() -> None:
    attempts: list[int] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        attempts.append(context.attempt)
        if context.attempt < 4:
            raise OSError("down")

    policy = ErrorHandler("retry", max_retries=3, retry_delay=10, retry_backoff=1)
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=policy))
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.pause(job_state)
    job_state = reloaded(job_state)
    clock.advance(4)
    flow.resume(job_state)
    clock.advance(5)
    executor.run_until_idle()
    assert attempts == [1]
    clock.advance(1)
    executor.run_until_idle()
    assert attempts == [1, 2]
    for _ in range(2):
        clock.advance(10)
        executor.run_until_idle()
    assert attempts == [1, 2, 3, 4]
    assert job_state.status == "completed"
    assert names(job_state, "b") == ["start", "error", "error", "error", "completed"]


def test_retries_are_not_granted_again_by_a_pause() -> None:
    attempts: Counter[str] = Counter()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        attempts["all"] += 1
        raise OSError("down")

    policy = ErrorHandler("retry", max_retries=2, retry_delay=1, retry_backoff=1)
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=policy))
    job_state = flow.execute("a")
    for _ in range(3):
        executor.run_until_idle()
        flow.pause(job_state)
        clock.advance(1)
        job_state = flow.resume(reloaded(job_state))
        executor.run_until_idle()
        if job_state.status == "failed":
            break
    assert (attempts["all"], job_state.status) == (3, "failed")


def test_what_a_retried_attempt_held_back_is_released_once() -> None:
    got: list[Any] = []
    outputs: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        routine.emit("output", item=context.attempt)
        routine.send_output("told", attempt=context.attempt)
        if context.attempt == 1:
            raise OSError("down")
        flow.pause(context.job_state)

    policy = ErrorHandler("retry", max_retries=2, retry_delay=0)
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(1), b=node(act, error_handler=policy), c=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert job_state.status == "paused"
    assert [(task["routine_id"], task["data"]) for task in job_state.pending_tasks] == [("c", {"item": 2})]
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    outputs = [output["data"]["attempt"] for output in job_state.outputs("told")]
    assert (items(got), outputs) == ([2], [2])


def test_the_entrys_parked_retry_runs_on_the_pool() -> None:
    tried, threads = Gate(), []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        threads.append(threading.current_thread().name)
        tried.arrived.set()
        if len(threads) == 1:
            raise OSError("down")
        routine.emit("output", **data)

    got: list[Any] = []
    policy = ErrorHandler("retry", max_retries=1, retry_delay=3600)
    flow = draw("a -> b", a=entry(start, error_handler=policy), b=collector(got))
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: flow.execute("a", {"item": 1}, job_state=job_state))
    tried.await_arrival()
    assert JobState.wait_until_condition(flow, job_state, lambda *_: bool(job_state.errors), timeout=DEADLINE)
    flow.pause(job_state)
    join()
    job_state.pending_tasks[0]["due_at"] = None  # an hour later
    wait(flow, flow.resume(job_state))
    assert job_state.status == "completed"
    assert items(got) == [1]
    assert "ThreadPoolExecutor-" in threads[1]
    assert names(job_state, "a") == ["start", "error", "output", "completed"]
    flow.shutdown()


def test_the_entrys_retry_goes_on_when_another_handler_pauses_and_resumes_the_run() -> None:
    tried: list[Any] = []
    gate, first = Gate(), threading.Event()

    def start(routine: Routine, data: dict[str, Any]) -> None:
        tried.append(data)
        first.set()
        if len(tried) == 1:
            raise OSError("down")

    def again(routine: Routine, data: dict[str, Any]) -> None:
        gate.hold()
        flow.pause(job_state)
        flow.resume(job_state)

    policy = ErrorHandler("retry", max_retries=1, retry_delay=0.2)
    flow = draw("y -> z", flow=Flow("drawn", "concurrent", 2), a=entry(start, error_handler=policy),
                y=relay(), z=node(again))  # fmt: skip
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: flow.execute("a", job_state=job_state))
    assert first.wait(DEADLINE)
    flow.routines["y"].emit("output", flow=flow, job_state=job_state)
    gate.await_arrival()
    gate.open()
    assert join() is job_state
    assert wait(flow, job_state).status == "completed"
    assert len(tried) == 2
    flow.shutdown()


def test_an_entry_that_failed_runs_again_after_the_repair() -> None:
    seen: list[Any] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        seen.append(data)
        if len(seen) == 1:
            raise ValueError("boom")
        routine.emit("output", **data)

    got: list[Any] = []
    flow, _, _ = draw_stepped("a -> b", a=entry(start), b=collector(got))
    job_state = flow.execute("a", {"item": 1})
    assert job_state.status == "failed"
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    assert (job_state.status, seen, got) == ("completed", [{"item": 1}] * 2, [{"item": 1}])


def test_a_failed_run_goes_on_with_the_failed_task_and_those_behind_it() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped(
        "a -> b -> c",
        a=source(1, 2, 3),
        b=node(fails(ValueError("boom"), 1), error_handler=ErrorHandler("stop")),
        c=collector(got),
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert [(task["was"], task["data"]["item"]) for task in job_state.pending_tasks] == [
        ("failed", 1),
        ("queued", 2),
        ("queued", 3),
    ]
    flow.resume(job_state)
    assert "failed" not in {state.get("status") for state in job_state.routine_states.values()}
    wait(flow, job_state)
    assert (job_state.status, items(got)) == ("completed", [1, 2, 3])
    assert (job_state.get_routine_state("b") or {}).get("status") == "completed"


def test_a_run_whose_repair_does_not_help_fails_again_and_keeps_everything() -> None:
    flow, executor, _ = draw_stepped(
        "a -> b", a=source(1, 2), b=node(fails(ValueError("boom")), error_handler=ErrorHandler("stop"))
    )
    job_state = flow.execute("a")
    for _ in range(3):
        executor.run_until_idle()
        assert job_state.status == "failed"
        assert [task["data"]["item"] for task in job_state.pending_tasks] == [1, 2]
        flow.resume(job_state)


# -- what "again" means


def test_an_activation_keeps_its_id_when_it_runs_again() -> None:
    ids: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        ids.append(context.activation_id)
        if len(ids) < 4:
            raise ValueError("boom")

    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=ErrorHandler("stop")))
    job_state = flow.execute("a")
    for _ in range(3):
        executor.run_until_idle()
        job_state = flow.resume(reloaded(job_state))
    wait(flow, job_state)
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_different_activations_have_different_ids() -> None:
    ids: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        ids.append(context.activation_id)
        routine.emit("output", **data)

    flow, executor, _ = draw_stepped("a -> b -> c", "a -> c", a=source(1, 1, 1), b=node(act), c=node(act))
    job_state = flow.execute("a")
    executor.step()
    flow.pause(job_state)
    wait(flow, flow.resume(reloaded(job_state)))
    wait(flow, flow.execute("a"))
    assert len(ids) == len(set(ids)) == 18


@pytest.mark.parametrize("stops", ["once", "before it runs again", "while it runs again"])
def test_what_an_activation_has_emitted_is_not_emitted_again(stops: str) -> None:
    got: list[Any] = []
    states: list[JobState] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        states.append(own_run(routine))
        routine.emit("output", item=1)
        if len(states) == 2 and stops == "while it runs again":
            raise ValueError("again")
        routine.emit("output", item=2)
        routine.emit("other", item=3)
        if len(states) == 1:
            raise ValueError("boom")
        routine.emit("output", item=4)

    flow, executor, _ = draw_stepped(
        "a -> b -> c",
        "b.other -> c",
        a=source(0),
        b=node(act, events=("output", "other"), error_handler=ErrorHandler("stop")),
        c=collector(got),
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert job_state.status == "failed"
    if stops == "before it runs again":
        flow.resume(job_state)
        flow.pause(job_state)
        job_state = reloaded(job_state)
    if stops == "while it runs again":
        flow.resume(job_state)
        executor.run_until_idle()
        assert job_state.status == "failed"
        job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    assert job_state.status == "completed"
    assert items(got) == [1, 2, 3, 4]
    assert names(job_state, "b").count("output") == 3
    assert "replay_differs" not in names(job_state, "b")


def test_an_emission_that_differs_is_recorded_and_the_first_data_stand() -> None:
    got: list[Any] = []
    answers = iter(["first", "second", "third"])

    def act(routine: Routine, data: dict[str, Any]) -> None:
        answer = next(answers)
        routine.emit("output", item=answer)
        if answer != "third":
            raise ValueError("boom")

    flow, executor, _ = draw_stepped(
        "a -> b -> c", a=source(0), b=node(act, error_handler=ErrorHandler("stop")), c=collector(got)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.resume(job_state)
    executor.run_until_idle()
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    assert items(got) == ["first"]
    differing = [record.data for record in job_state.execution_history if record.event_name == "replay_differs"]
    assert [(data["event"], data["data"]) for data in differing] == [
        ("output", {"item": "second"}),
        ("output", {"item": "third"}),
    ]


def test_an_equal_emission_after_json_does_not_differ() -> None:
    payload = {"item": (1, 2), "nested": {"b": [None, 1.5], "a": "\udc80\x00"}}
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(), b=node(failing_once(ValueError("boom")),
                                     error_handler=ErrorHandler("stop")), c=node())  # fmt: skip
    job_state = flow.execute("a", payload)
    executor.run_until_idle()
    assert job_state.status == "failed"
    job_state = reloaded(job_state)
    flow.routines["b"].set_error_handler(ErrorHandler("continue"))
    wait(flow, flow.resume(job_state))
    assert "replay_differs" not in names(job_state, "b")


def appended(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {"item": [*old.get("item", []), new["item"]]}


@pytest.mark.parametrize("strategy", ["append", appended])
@pytest.mark.parametrize("through_json", [False, True])
def test_a_delivery_that_was_merged_is_not_merged_again(strategy: Any, through_json: bool) -> None:
    got: list[Any] = []
    failures = {2: 2, 3: 1}

    def act(routine: Routine, data: dict[str, Any]) -> None:
        newest = data["item"][-1]
        if failures.get(newest):
            failures[newest] -= 1
            raise ValueError("boom")
        got.append(data["item"])

    flow, executor, _ = draw_stepped(
        "a -> b", a=source(1, 2, 3), b=node(act, merge_strategy=strategy, error_handler=ErrorHandler("stop"))
    )
    job_state = flow.execute("a")
    for _ in range(3):
        executor.run_until_idle()
        assert job_state.status == "failed"
        flow.resume(job_state)
        flow.pause(job_state)
        job_state = flow.resume(reloaded(job_state) if through_json else job_state)
    wait(flow, job_state)
    assert job_state.status == "completed"
    assert got == [[1], [1, 2], [1, 2, 3]]


def test_a_retry_uses_the_arguments_that_its_first_attempt_merged() -> None:
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        if data["item"] == [1] and context.attempt == 1:
            raise OSError("down")
        got.append(list(data["item"]))

    policy = ErrorHandler("retry", max_retries=1, retry_delay=5)
    flow, executor, clock = draw_stepped(
        "a -> b", a=source(1, 2), b=node(act, merge_strategy="append", error_handler=policy)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.pause(job_state)
    clock.advance(5)
    wait(flow, flow.resume(reloaded(job_state)))
    assert got == [[1, 2], [1]]


def test_a_fan_in_that_was_interrupted_comes_together() -> None:
    got: list[Any] = []

    def join(routine: Routine, data: dict[str, Any]) -> None:
        if len(data["item"]) == 4:
            got.append(sorted(data["item"]))

    flow, executor, _ = draw_stepped(
        "a -> left -> join",
        "a -> right -> join",
        a=source(1, 2),
        left=relay(),
        right=node(lambda routine, data: routine.emit("output", item=data["item"] * 10)),
        join=node(join, merge_strategy="append"),
    )
    job_state = flow.execute("a")
    for _ in range(20):
        executor.step()
        flow.pause(job_state)
        job_state = flow.resume(reloaded(job_state))
    wait(flow, job_state)
    assert got == [[1, 2, 10, 20]]


def test_deferred_events_are_emitted_once_and_in_their_order() -> None:
    got: list[Any] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for item in range(3):
            routine.emit_deferred_event("output", item=item)

    flow, executor, _ = draw_stepped("a -> b", a=entry(start), b=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert got == []
    assert [event["data"]["item"] for event in job_state.deferred_events] == [0, 1, 2]
    flow.pause(job_state)
    job_state = reloaded(job_state)
    flow.resume(job_state)
    assert job_state.deferred_events == []
    flow.pause(job_state)
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    wait(flow, flow.resume(job_state))
    assert items(got) == [0, 1, 2]


def test_a_deferred_event_of_an_activation_that_runs_again_is_emitted_once() -> None:
    got: list[Any] = []
    calls: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(data)
        routine.emit_deferred_event("output", item="asked")
        if len(calls) == 1:
            raise ValueError("boom")

    flow, executor, _ = draw_stepped(
        "a -> b -> c", a=source(0), b=node(act, error_handler=ErrorHandler("stop")), c=collector(got)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    for _ in range(3):
        wait(flow, flow.resume(job_state))
    assert (len(calls), items(got)) == (2, ["asked"])


def test_deferred_events_of_a_failed_attempt_that_is_retried_are_dropped_with_it() -> None:
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        routine.emit_deferred_event("output", item=context.attempt)
        if context.attempt == 1:
            raise OSError("down")

    policy = ErrorHandler("retry", max_retries=1, retry_delay=0)
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(0), b=node(act, error_handler=policy), c=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    wait(flow, flow.resume(job_state))
    assert items(got) == [2]


# -- alive here and there


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
    assert JobState.wait_until_condition(flow, job_state, lambda *_: job_state.status == "paused", timeout=DEADLINE)
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

    class Asker(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.is_watched = False
            self.define_slot("trigger", handler=self.ask)
            self.define_event("asked")

        def ask(self) -> None:
            self.emit_deferred_event("asked", item="first")
            self.emit("asked", item="at once")

        def get_event(self, name: str) -> Any:
            # Somewhere in the resume: the handler that is still at work comes to its end just now.
            if self.is_watched and next(looks) == look:
                gate.open()
                for _ in range(20):
                    if len(job_state.deferred_events) != 1:
                        break
                    never.wait(0.01)
            return super().get_event(name)

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == "at once":
            flow.pause(own_run(routine))
            routine.emit_deferred_event("late", item="second")
            gate.hold()

    asker, b = Asker(), node(act, events=("late",))
    flow = draw("a.asked -> b", "a.asked -> c", "b.late -> c", a=asker, b=b, c=collector(got))
    flow.set_execution_strategy("concurrent", 2)
    job_state = flow.execute("a")
    gate.await_arrival()
    asker.is_watched = True
    flow.resume(job_state)
    asker.is_watched = False
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

    def act(routine: Routine, data: dict[str, Any]) -> None:
        kept.append((contextvars.copy_context(), routine))

    flow, executor, _ = draw_stepped("a -> b -> c", a=source(1, 2), b=node(act), c=collector(got))
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
    start = entry(lambda routine, data: routine.emit_later("output", delay=0.05, data={"item": 1}))
    flow = draw("a -> b", a=start, b=collector(got))
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
