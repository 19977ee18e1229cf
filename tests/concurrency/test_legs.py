"""Stops and resumes that meet: each leg of a run has its own end, its own order, and one who drives it."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine, waiting
from routilux.errors import RunError, SelfWaitError
from routilux.flow import controls
from routilux.job_state import ledger_of
from tests.drawings import (
    DEADLINE,
    Gate,
    collector,
    draw,
    draw_stepped,
    entry,
    in_thread,
    items,
    names,
    node,
    own_context,
    own_run,
    passed,
    relay,
    reloaded,
    source,
    start_held,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def pause_now(flow: Flow, job_state: JobState) -> None:
    """Pause without waiting for the handlers, as in an application's own event loop."""

    async def pause() -> None:
        flow.pause(job_state)

    asyncio.run(pause())


# -- a resume while handlers are at work


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_execute_returns_when_the_run_is_paused_and_resumed_before_its_entrys_attempt_fails(strategy: str) -> None:
    gate = Gate()

    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output")
        if own_context(routine).attempt == 1:
            gate.hold()
            raise OSError("down")

    policy = ErrorHandler("retry", max_retries=1, retry_delay=0.01)
    flow = draw("a -> b", flow=Flow("drawn", strategy), a=entry(start, error_handler=policy), b=node())
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: flow.execute("a", job_state=job_state))
    gate.await_arrival()
    pause_now(flow, job_state)
    flow.resume(job_state)
    gate.open()
    assert join() is job_state
    assert wait(flow, job_state).status == "completed"
    assert names(job_state, "b") == ["start", "completed"]
    flow.shutdown()


def test_a_snapshot_of_a_paused_run_goes_on_in_the_order_in_which_the_run_does() -> None:
    def order(job_state: JobState) -> list[str]:
        return [f"{r.routine_id}{r.data['item']}" for r in job_state.execution_history if r.is_emission][3:]

    gates = [Gate()]

    def relay_held(routine: Routine, data: dict[str, Any]) -> None:
        if gates and data["item"] == 1:
            gates.pop().hold()
        routine.emit("output", **data)

    flow = draw("a -> b -> c -> d", a=source(1, 2, 3), b=node(relay_held), c=relay(), d=node())
    gate = gates[0]
    job_state = flow.execute("a")
    gate.await_arrival()
    running = reloaded(job_state)
    pause_now(flow, job_state)
    paused = reloaded(job_state)
    gate.open()
    wait(flow, job_state)
    flow.resume(job_state)
    wait(flow, job_state)
    expected = order(job_state)
    assert expected == ["b1", "b2", "b3", "c1", "c2", "c3"]
    for copy in (running, paused):
        assert order(wait(flow, flow.resume(copy))) == expected
    flow.shutdown()


def test_what_is_active_stands_in_the_snapshot_in_the_order_in_which_it_began() -> None:
    gates = [Gate() for _ in range(4)]

    def hold(routine: Routine, data: dict[str, Any]) -> None:
        gates[data["item"]].hold()

    flow = draw("a -> b", flow=Flow("drawn", "concurrent", 4), a=entry(), b=node(hold))
    job_state = JobState(flow.flow_id)

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for item in (2, 0, 3, 1):
            routine.emit("output", item=item)
            gates[item].await_arrival()

    flow.routines["a"].get_slot("trigger").handler = lambda **data: start(flow.routines["a"], data)  # type: ignore[union-attr]
    flow.execute("a", job_state=job_state)
    saved = job_state.serialize()["pending_tasks"]
    for gate in gates:
        gate.open()
    wait(flow, job_state)
    assert [task["data"]["item"] for task in saved] == [2, 0, 3, 1]
    flow.shutdown()


# -- whose places, and whose ancestors


@pytest.mark.plain_only("it counts workers, and handlers that await need none")
@pytest.mark.parametrize("taken_up", [lambda job_state: job_state, reloaded], ids=["the run itself", "a copy"])
def test_a_concurrent_run_of_a_sequential_flow_is_concurrent_after_a_resume(taken_up: Callable[..., Any]) -> None:
    gate, meetings = Gate(), [threading.Barrier(6)]

    def meet(routine: Routine, data: dict[str, Any]) -> None:
        meetings[-1].wait(DEADLINE)
        gate.hold()

    flow = draw("a -> b", a=source(*range(10)), b=node(meet))
    job_state = flow.execute("a", execution_strategy="concurrent")
    meetings[0].wait(DEADLINE)
    pause_now(flow, job_state)
    meetings.append(threading.Barrier(5))
    gate.open()
    wait(flow, job_state)
    # Five meet again, or the barrier breaks and they fail.
    assert wait(flow, flow.resume(taken_up(job_state))).errors == []
    flow.shutdown()


def test_places_are_given_back_once_for_each_time_they_were_taken() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2), b=node())
    workers = flow._engine.workers  # noqa: SLF001 - the reservations are seen from outside as threads only
    one = flow.execute("a", execution_strategy="concurrent")
    flow.pause(one)
    other = flow.execute("a", execution_strategy="concurrent")
    assert " of 5 working" in repr(workers)
    flow.resume(one)
    flow.pause(one)
    assert " of 5 working" in repr(workers)
    executor.run_until_idle()
    wait(flow, other)
    assert " of 1 working" in repr(workers)


@pytest.mark.parametrize("taken_up", [lambda job_state: job_state, reloaded], ids=["the run itself", "a copy"])
def test_a_run_that_a_handler_resumes_may_not_wait_for_that_handlers_run(taken_up: Callable[..., Any]) -> None:
    runs: dict[str, JobState] = {}
    errors: list[BaseException] = []

    def resume_child(routine: Routine, data: dict[str, Any]) -> None:
        runs["parent"] = own_run(routine)
        flow.resume(runs["child"])
        wait(flow, runs["child"])

    def wait_for_parent(routine: Routine, data: dict[str, Any]) -> None:
        try:
            wait(flow, runs["parent"])
        except SelfWaitError as error:
            errors.append(error)

    flow = draw("a -> b", "x -> y", flow=Flow("drawn", "concurrent", 3), a=source(1), b=node(resume_child),
                x=source(1), y=node(wait_for_parent))  # fmt: skip
    child = JobState(flow.flow_id)
    gate = Gate()
    flow.routines["x"].get_slot("trigger").handler = lambda: (gate.hold(), flow.routines["x"].emit("output"))  # type: ignore[union-attr]
    join = in_thread(lambda: flow.execute("x", job_state=child))
    gate.await_arrival()
    pause_now(flow, child)
    gate.open()
    join()
    runs["child"] = taken_up(child)
    assert wait(flow, flow.execute("a")).status == "completed"
    assert len(errors) == 1
    flow.shutdown()


# -- two who decide about one run


def interrupted_by(monkeypatch: pytest.MonkeyPatch, name: str, action: Callable[[], Any]) -> None:
    """Have somebody else act between a control's look at a state and what it writes there."""
    original, left = getattr(controls, name), [action]

    def late(*args: Any) -> Any:
        if left:
            left.pop()()
        return original(*args)

    monkeypatch.setattr(controls, name, late)


@pytest.mark.parametrize(("control", "note", "status"), [("pause", "note_pause", "paused"),
                                                         ("cancel", "note_cancellation", "cancelled")])  # fmt: skip
@pytest.mark.parametrize("begins", ["resume", "execute"])
def test_a_pause_or_cancel_that_meets_a_beginning_stops_what_has_begun(
    monkeypatch: pytest.MonkeyPatch, control: str, note: str, status: str, begins: str
) -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2), b=collector(got))
    if begins == "resume":
        job_state = flow.execute("a")
        flow.pause(job_state)
        job_state = reloaded(job_state)
        interrupted_by(monkeypatch, note, lambda: flow.resume(job_state))
    else:
        job_state = JobState(flow.flow_id)
        interrupted_by(monkeypatch, note, lambda: flow.execute("a", job_state=job_state))
    getattr(flow, control)(job_state)
    executor.run_until_idle()
    assert (job_state.status, got) == (status, [])
    assert len(job_state.pending_tasks) == (2 if control == "pause" else 0)


def test_a_callback_that_resumes_the_run_leaves_the_next_leg_alone() -> None:
    tried: list[Any] = []

    def work(routine: Routine, data: dict[str, Any]) -> None:
        tried.append(data)
        if len(tried) == 1:
            raise OSError("down")
        context = own_context(routine)
        context.flow.pause(context.job_state)
        paused.set()

    paused = threading.Event()
    flow = draw("a -> b", flow=Flow("drawn", "concurrent", 2), a=source(1),
                b=node(work, error_handler=ErrorHandler("stop")))  # fmt: skip

    def resume(job_state: JobState) -> None:
        if job_state.status == "failed":
            flow.resume(job_state)
            passed(paused)

    flow.on_run_end(resume)
    job_state = flow.execute("a")
    passed(paused)
    flow.shutdown()
    # A paused run stays with its state: what comes later is parked, and not run.
    assert job_state.status == "paused"
    flow.routines["a"].emit("output", flow=flow, job_state=job_state, item=2)
    assert [task["data"] for task in job_state.pending_tasks] == [{"item": 2}]


def test_a_callback_that_ends_another_run_may_still_be_waited_for_by_the_next() -> None:
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    other = flow.execute("a")
    waited: list[bool] = []
    flow.on_run_end(lambda job_state: flow.cancel(other) if job_state is not other else None)
    flow.on_run_end(lambda job_state: waited.append(JobState.wait_for_completion(flow, job_state, timeout=0.0)))
    flow.execute("a")
    executor.run_until_idle()
    assert waited == [True, True]


# -- what comes from outside into a run that stands still


def test_what_is_emitted_into_a_restored_paused_run_is_kept_for_its_resume() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=collector(got))
    job_state = flow.execute("a")
    flow.pause(job_state)
    job_state = reloaded(job_state)
    flow.routines["a"].emit("output", flow=flow, job_state=job_state, item=2)
    executor.run_until_idle()
    assert (job_state.status, got, len(job_state.pending_tasks)) == ("paused", [], 2)
    wait(flow, flow.resume(job_state))
    assert (job_state.status, items(got)) == ("completed", [1, 2])


def test_what_is_emitted_into_a_run_that_was_cancelled_and_paused_is_refused() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=collector(got))
    job_state = flow.execute("a")
    flow.cancel(job_state)
    flow.pause(job_state)
    flow.routines["a"].emit("output", flow=flow, job_state=job_state, item=2)
    executor.run_until_idle()
    assert (job_state.status, got, job_state.pending_tasks) == ("paused", [], [])
    assert names(job_state)[-1] == "a.refused"


def test_what_a_late_thread_emits_into_a_run_that_another_flow_drives_is_refused_and_recorded() -> None:
    got: list[Any] = []
    late: list[Callable[[], Any]] = []
    gate = Gate()

    def start(routine: Routine, data: dict[str, Any]) -> None:
        context = own_context(routine)
        context.flow.pause(context.job_state)
        context_of_handler = contextvars.copy_context()
        late.append(in_thread(lambda: context_of_handler.run(emit_late, routine)))

    def emit_late(routine: Routine) -> None:
        gate.hold()
        routine.emit("output", item=1)

    def drawn() -> Flow:
        return draw("a -> b", a=entry(start), b=collector(got))

    job_state = drawn().execute("a")
    assert job_state.status == "paused"
    other = drawn()
    other.resume(job_state)
    gate.open()
    late[0]()
    wait(other, job_state)
    assert (job_state.status, got, job_state.pending_tasks) == ("completed", [], [])
    assert names(job_state, "a")[-1] == "refused"


def test_the_queued_tasks_of_a_hand_made_state_are_dropped_by_a_cancel_and_kept_by_a_pause() -> None:
    for control, kept in (("cancel", 0), ("pause", 3)):
        got: list[Any] = []
        flow, executor, _ = draw_stepped("a -> b", a=source(), b=collector(got))
        job_state = JobState(flow.flow_id)
        for item in range(3):
            flow.routines["a"].emit("output", flow=flow, job_state=job_state, item=item)
        getattr(flow, control)(job_state)
        executor.run_until_idle()
        assert (got, len(job_state.pending_tasks)) == ([], kept)
        assert job_state.status == {"cancel": "cancelled", "pause": "paused"}[control]


# -- activations that run again


def replaying(first: Callable[[Routine], None], again: Callable[[Routine], None]) -> tuple[JobState, list[Any]]:
    """A run whose activation of `b` emits, fails, and is resumed."""
    got: list[Any] = []
    tried: list[Any] = []

    def work(routine: Routine, data: dict[str, Any]) -> None:
        tried.append(data)
        if len(tried) == 1:
            first(routine)
            raise OSError("down")
        again(routine)

    flow = draw("a -> b -> c", "helper -> c", a=source(1), b=node(work, error_handler=ErrorHandler("stop")),
                c=collector(got), helper=node())  # fmt: skip
    job_state = flow.run("a")
    assert job_state.status == "failed"
    wait(flow, flow.resume(job_state))
    flow.shutdown()
    return job_state, got


def test_events_of_one_name_of_two_routines_are_counted_apart_when_an_activation_runs_again() -> None:
    def helper_of(routine: Routine) -> Routine:
        return own_context(routine).flow.routines["helper"]

    def again(routine: Routine) -> None:
        helper_of(routine).emit("output", item="helper")
        routine.emit("output", item="own")

    job_state, got = replaying(lambda routine: routine.emit("output", item="own"), again)
    assert (job_state.status, sorted(items(got))) == ("completed", ["helper", "own"])


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_what_cannot_be_compared_is_emitted_by_an_activation_that_runs_again() -> None:
    def emit(routine: Routine) -> None:
        routine.emit("output", item=Incomparable())

    job_state, got = replaying(emit, emit)
    assert (job_state.status, len(got)) == ("completed", 1)


def test_payloads_are_compared_outside_the_locks_of_the_run() -> None:
    class Looking:
        def __init__(self, job_state: JobState) -> None:
            self.job_state = job_state

        def __eq__(self, other: object) -> bool:
            join = in_thread(lambda: self.job_state.updated_at)  # would wait for ever for one who holds the lock
            return join() is not None

        __hash__ = None  # type: ignore[assignment]

    def emit(routine: Routine) -> None:
        routine.emit("output", item=Looking(own_run(routine)))

    job_state, _ = replaying(emit, emit)
    assert job_state.status == "completed"
    assert "replay_differs" not in names(job_state, "b")


def test_a_payload_is_the_same_when_json_says_so() -> None:
    def emit(routine: Routine) -> None:
        routine.emit("output", item=[float("nan"), (1, 2)])

    job_state, _ = replaying(emit, lambda routine: routine.emit("output", item=[float("nan"), [1, 2]]))
    assert "replay_differs" not in names(job_state, "b")


def test_held_emissions_of_an_activation_that_runs_again_are_compared_as_well() -> None:
    got: list[Any] = []

    def work(routine: Routine, data: dict[str, Any]) -> None:
        for item in (1, 2, 3):
            routine.emit("output", item=item)

    policy = ErrorHandler("retry", max_retries=1)
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(0), b=node(work, error_handler=policy), c=collector(got))
    job_state = flow.execute("a")
    saved = reloaded(job_state)
    executor.run_until_idle()
    released = [{"item": 1}, {"item": "two"}]
    saved.pending_tasks[0].update(released={"output": released}, was="active")
    got.clear()
    wait(flow, flow.resume(saved))
    assert items(got) == [3]
    differing = [record.data for record in saved.execution_history if record.event_name == "replay_differs"]
    assert differing == [{"event": "output", "data": {"item": 2}}]


def test_an_error_is_asked_what_it_says_outside_the_locks_of_the_run() -> None:
    class LookingError(Exception):
        def __str__(self) -> str:
            return in_thread(lambda: job_state.status)()

    def work(routine: Routine, data: dict[str, Any]) -> None:
        raise LookingError

    flow = draw("a -> b", a=source(1), b=node(work))
    job_state = JobState(flow.flow_id)
    flow.execute("a", job_state=job_state)
    wait(flow, job_state)
    assert job_state.errors[0].data["error"] == "running"
    flow.shutdown()


# -- locks


def test_the_function_that_modifies_shared_data_may_not_save_the_run_that_it_modifies() -> None:
    flow, job_state, gate = start_held()
    with pytest.raises(RunError, match="save afterwards"):
        job_state.modify_shared_data("key", lambda value: job_state.serialize())
    gate.open()
    wait(flow, job_state)
    assert job_state.modify_shared_data("key", lambda value: len(job_state.serialize())) > 10
    flow.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_during_a_resume_can_resume() -> None:
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=node())
    job_state = flow.execute("a")
    flow.pause(job_state)
    gate = Gate()

    def held() -> None:
        with controls._resuming:  # noqa: SLF001 - as a resume does
            gate.hold()

    join = in_thread(held)
    gate.await_arrival()
    pid = os.fork()
    if pid == 0:
        free = controls._resuming.acquire(timeout=1)  # noqa: SLF001 - as above
        os._exit(0 if free else 1)
    gate.open()
    join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_refused_resume_leaves_a_flow_that_was_shut_down_as_it_is() -> None:
    flow = draw("a -> b", a=source(1), b=node())
    job_state = flow.run("a")
    job_state.pending_tasks.append({"routine_id": "gone", "slot": "input", "data": {}})
    flow.shutdown()
    with pytest.raises(ValueError, match="gone"):
        flow.resume(job_state)
    with pytest.raises(RuntimeError, match="was shut down"):
        flow.routines["a"].emit("output", flow=flow)


def test_a_resume_that_fails_in_the_middle_leaves_no_live_run() -> None:
    class Failing(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.looks = 0
            self.define_event("asked")

        def get_event(self, name: str) -> Any:
            self.looks += 1
            if self.looks > 1:
                raise OSError("no events today")
            return super().get_event(name)

    flow = draw(a=source(), failing=Failing())
    job_state = reloaded(flow.run("a"))
    job_state.add_deferred_event("failing", "asked", {})
    with pytest.raises(OSError, match="no events today"):
        flow.resume(job_state)
    assert ledger_of(job_state).live is None
    assert "0 live runs" in repr(flow)
    flow.shutdown()


# -- a state that goes on in another way than it began


def test_a_run_of_a_hand_made_state_that_its_handler_pauses_goes_on_with_what_that_handler_emits() -> None:
    got: list[Any] = []
    gate = Gate()

    def work(routine: Routine, data: dict[str, Any]) -> None:
        flow.pause(job_state)
        gate.hold()
        routine.emit("output", item=1)

    flow = draw("a -> b -> c", a=source(), b=node(work), c=collector(got))
    job_state = JobState(flow.flow_id)
    flow.routines["a"].emit("output", flow=flow, job_state=job_state, item=0)
    gate.await_arrival()
    flow.resume(job_state)
    gate.open()
    wait(flow, job_state)
    assert (job_state.status, got, job_state.pending_tasks) == ("completed", [{"item": 1}], [])
    flow.shutdown()


def test_a_wait_for_a_restored_run_that_is_resumed_meanwhile_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    job_state = flow.execute("a")
    gate.await_arrival()
    copy = reloaded(job_state)
    gate.open()
    wait(flow, job_state)
    gate.arrived.clear()
    gate.may_go.clear()
    assert copy.status == "running"
    looked = waiting._is_still  # noqa: SLF001 - between the last look and what it decides

    def resumed_meanwhile(*args: Any) -> bool:
        is_still = looked(*args)
        flow.resume(copy)
        gate.await_arrival()
        return is_still

    monkeypatch.setattr(waiting, "_is_still", resumed_meanwhile)
    join = in_thread(lambda: JobState.wait_for_completion(flow, copy, check_interval=0.001, stability_delay=0.001))
    gate.await_arrival()
    assert copy.status == "running"
    gate.open()
    assert join() is True
    assert (copy.status, copy.pending_tasks) == ("completed", [])
    flow.shutdown()


def test_a_routine_may_look_at_the_run_when_a_resume_asks_it_for_its_slots() -> None:
    class Looking(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.define_slot("input", handler=lambda **data: None)

        def get_slot(self, name: str) -> Any:
            if copies:
                in_thread(lambda: copies[0].execution_history)()  # would wait for ever for one who holds the lock
            return super().get_slot(name)

    copies: list[JobState] = []
    flow, _, _ = draw_stepped("a -> b", a=source(1), b=Looking())
    job_state = flow.execute("a")
    flow.pause(job_state)
    copies.append(reloaded(job_state))
    assert wait(flow, flow.resume(copies[0])).status == "completed"


def test_what_a_late_thread_emits_after_its_ended_run_was_resumed_is_refused_and_recorded() -> None:
    late: list[Callable[[], Any]] = []
    gate, second = Gate(), Gate()

    def start(routine: Routine, data: dict[str, Any]) -> None:
        if late:
            second.hold()
            return
        context_of_handler = contextvars.copy_context()
        late.append(in_thread(lambda: context_of_handler.run(emit_late, routine)))
        raise OSError("down")

    def emit_late(routine: Routine) -> None:
        gate.hold()
        routine.emit("output", item=1)

    flow = draw("a -> b", a=entry(start), b=node())
    job_state = flow.run("a")
    assert job_state.status == "failed"
    flow.resume(job_state)
    second.await_arrival()
    gate.open()
    late[0]()
    second.open()
    wait(flow, job_state)
    assert job_state.status == "completed"
    assert "refused" in names(job_state, "a")
    flow.shutdown()


def test_of_two_who_adopt_one_hand_made_state_at_once_the_second_finds_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(), b=collector(got))
    job_state = JobState(flow.flow_id)
    engine = flow._engine  # noqa: SLF001 - between its look and its entry
    left, look = [True], engine.adopted

    def late(state: JobState) -> Any:
        found = look(state)
        if left:
            left.clear()
            flow.routines["a"].emit("output", flow=flow, job_state=job_state, item=1)
        return found

    monkeypatch.setattr(engine, "adopted", late)
    flow.routines["a"].emit("output", flow=flow, job_state=job_state, item=2)
    while len(got) < 2:
        assert engine.has_tasks_for(job_state)  # until the last of them has run
        executor.step()
    executor.run_until_idle()
    assert sorted(items(got)) == [1, 2]
    assert not engine.has_tasks_for(job_state)
    assert "0 live runs" in repr(flow)


def test_a_callback_may_wait_for_a_run_whose_end_an_outer_callback_is_being_told_of() -> None:
    waited: list[bool] = []

    def told(job_state: JobState) -> None:
        if job_state is other:
            waited.append(JobState.wait_for_completion(flow, first[0], timeout=DEADLINE))
        else:
            first.append(job_state)
            flow.cancel(other)

    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node())
    first: list[JobState] = []
    other = flow.execute("a")
    flow.pause(other)
    flow.on_run_end(told)
    flow.execute("a")
    executor.run_until_idle()
    assert waited == [True]
