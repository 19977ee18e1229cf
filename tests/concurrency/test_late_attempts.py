"""Attempts of plain handlers that take too long: given up by a timer, while their threads go on."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.errors import LateAttemptError
from routilux.flow import run, workers
from routilux.flow.timers import RunTimers, nanoseconds
from routilux.job_state import ledger_of
from routilux.stores.memory import MemoryStore
from routilux.testing import FakeClock
from tests.drawings import (
    DEADLINE,
    Act,
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
    reloaded,
    source,
    wait,
    wait_until,
)

LIMIT = 10.0


class Late:
    """A handler whose first attempts are held at gates, and then do something; later ones pass their data on."""

    def __init__(self, act: Act | None = None, held: int = 1) -> None:
        self.gates = [Gate() for _ in range(held)]
        self.errors: list[BaseException | None] = []
        self.ended = threading.Event()
        self._act = act
        self._count = iter(range(1000))

    def act(self, routine: Routine, data: dict[str, Any]) -> None:
        number = next(self._count)
        if number >= len(self.gates):
            routine.emit("output", **data)
            return
        self.gates[number].hold()
        try:
            if self._act is not None:
                self._act(routine, data)
            self.errors.append(None)
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            if len(self.errors) == len(self.gates):
                self.ended.set()

    def go_on(self) -> None:
        """In the test: let them all go on, and wait until they have done what they do."""
        for gate in self.gates:
            gate.open()
        passed(self.ended)


def limited(late: Late, policy: ErrorHandler | None = None, *, make: Callable[..., Routine] = node) -> Routine:
    routine = make(late.act, error_handler=policy)
    routine.set_limits(attempt_timeout=LIMIT)
    return routine


def recorded(job_state: JobState, event_name: str) -> list[dict[str, Any]]:
    return [record.data for record in job_state.execution_history if record.event_name == event_name]


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what nobody tells of."""
    ends_at = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < ends_at, "it never came true"
        threading.Event().wait(0.001)


def late_threads(flow: Flow) -> list[str]:
    return flow._engine.workers.late_names()  # noqa: SLF001 - what nobody tells otherwise


@contextmanager
def draw_late(late: Late, policy: ErrorHandler | None = None, **options: Any) -> Iterator[Any]:
    """A flow `a -> b -> c` whose `b` takes too long as soon as the clock is advanced."""
    clock, got = FakeClock(), []
    flow = Flow("late", clock=clock, **options)
    with draw("a -> b -> c", a=source(1), b=limited(late, policy), c=collector(got), flow=flow):
        yield flow, clock, got


def retry() -> ErrorHandler:
    return ErrorHandler("retry", max_retries=3, retry_delay=0.0)


# -- the policy decides


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_an_attempt_that_takes_too_long_is_given_up_and_retried_while_its_thread_goes_on(strategy):
    late = Late()
    with draw_late(late, retry()) as (flow, clock, got):
        flow.set_execution_strategy(strategy)
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        assert wait(flow, job_state).status == "completed"
        assert (items(got), late_threads(flow)) == ([1], ["b.input"])
        assert names(job_state, "b") == ["start", "error", "output", "completed"]
        assert [error["error_type"] for error in recorded(job_state, "error")] == ["AttemptTimeoutError"]
        late.go_on()


@pytest.mark.parametrize(
    ("strategy", "status", "words"),
    [
        ("stop", "failed", ["start", "error"]),
        ("continue", "completed", ["start", "error", "error_continued"]),
        ("skip", "completed", ["start", "error", "skipped"]),
    ],
)
def test_an_attempt_that_was_given_up_is_settled_as_the_policy_says(strategy, status, words):
    late = Late()
    with draw_late(late, ErrorHandler(strategy)) as (flow, clock, got):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        assert wait(flow, job_state).status == status
        assert (names(job_state, "b"), got) == (words, [])
        late.go_on()


def test_a_handler_in_time_leaves_nothing_of_its_limit():
    with draw_late(Late(held=0)) as (flow, clock, got):
        job_state = flow.run("a")
        clock.advance(LIMIT)
        assert (job_state.status, items(got), job_state.errors) == ("completed", [1], [])


def test_a_sequential_run_goes_on_with_its_next_task_on_another_thread():
    late = Late()
    got: list[Any] = []
    clock = FakeClock()
    with draw("a -> b", "a -> c", a=source(1), b=limited(late), c=collector(got), flow=Flow(clock=clock)) as flow:
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        assert got == []
        clock.advance(LIMIT)
        assert (wait(flow, job_state).status, items(got)) == ("completed", [1])
        late.go_on()


# -- what a late handler still does


def emits(routine: Routine, data: dict[str, Any]) -> None:
    routine.emit("output", item="late")


def carries_its_context_into_a_thread(routine: Routine, data: dict[str, Any]) -> None:
    context = contextvars.copy_context()
    in_thread(lambda: context.run(emits, routine, data))()


def replaces_states(routine: Routine, data: dict[str, Any]) -> None:
    own_run(routine).routine_states = {}


DOES = {
    "emit": emits,
    "emit in a thread": carries_its_context_into_a_thread,
    "emit later": lambda routine, data: routine.emit_later("output", delay=1.0),
    "send an output": lambda routine, data: routine.send_output("kind", item=1),
    "send an output past the routine": lambda routine, data: own_run(routine).send_output("b", "kind", {}),
    "defer": lambda routine, data: routine.emit_deferred_event("output", item=1),
    "ask": lambda routine, data: routine.request_input("name", "input"),
    "share": lambda routine, data: own_run(routine).update_shared_data("key", 1),
    "share in the dict": lambda routine, data: own_run(routine).shared_data.update(key=1),
    "modify": lambda routine, data: own_run(routine).modify_shared_data("key", lambda old: 1),
    "log": lambda routine, data: own_run(routine).append_to_shared_log({"entry": 1}),
    "state": lambda routine, data: own_run(routine).update_routine_state("b", {"status": "failed"}),
    "state in the dict": lambda routine, data: own_run(routine).routine_states.update(b={"status": "failed"}),
    "states": replaces_states,
    "record": lambda routine, data: own_run(routine).record_execution("b", "word", {}),
    "slot data": lambda routine, data: setattr(routine.get_slot("input"), "_data", {"item": 5}),
}


@pytest.mark.parametrize("store", [None, "memory:"])
@pytest.mark.parametrize("policy", ["retry", "continue"])
@pytest.mark.parametrize("what", DOES)
def test_what_a_late_handler_does_is_refused_and_recorded_once(what, policy, store):
    def do_it_twice(routine: Routine, data: dict[str, Any]) -> None:
        with pytest.raises(LateAttemptError, match=r"attempt 1 of b\.input was given up after 10 s"):
            DOES[what](routine, data)
        DOES[what](routine, data)

    late = Late(do_it_twice)
    with draw_late(late, ErrorHandler(policy), store=store) as (flow, clock, got):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        wait_until(flow, job_state, lambda state: "error" in names(state, "b"))
        clock.advance(LIMIT)  # for the retry, whose delay is a second
        wait(flow, job_state)
        before = job_state.serialize()
        late.go_on()
        wait_until(flow, job_state, lambda state: "late" in names(state, "b"))
        after = job_state.serialize()
        (record,) = recorded(job_state, "late")
    assert isinstance(late.errors[0], LateAttemptError)
    assert (record["slot"], record["attempt"]) == ("input", 1)
    assert items(got) == ([1] if policy == "retry" else [])
    changed = {key for key in after if after[key] != before[key]}
    assert changed <= {"execution_history", "updated_at"}


@pytest.mark.parametrize(
    ("act", "refused"),
    [(None, "return"), (lambda routine, data: 1 / 0, "raise ZeroDivisionError")],
)
def test_that_a_late_handler_ends_is_recorded_and_changes_nothing(act, refused):
    late = Late(act)
    with draw_late(late, ErrorHandler("continue")) as (flow, clock, _):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        wait(flow, job_state)
        late.go_on()
        wait_until(flow, job_state, lambda state: "late" in names(state, "b"))
        assert recorded(job_state, "late") == [{"slot": "input", "attempt": 1, "refused": refused}]
        assert (job_state.status, len(job_state.errors)) == ("completed", 1)


def test_a_late_handler_is_told_so_when_it_asks():
    told: list[bool] = []

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        told.append(own_context(routine).cancelled)

    late = Late(ask)
    with draw_late(late, ErrorHandler("continue")) as (flow, clock, _):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        wait(flow, job_state)
        late.go_on()
    assert told == [True]


def test_what_was_emitted_in_time_stays_and_what_comes_late_does_not():
    late = Late(emits)

    def emits_first(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", item="in time")
        late.act(routine, data)

    got: list[Any] = []
    clock = FakeClock()
    b = node(emits_first, error_handler=ErrorHandler("continue"))
    b.set_limits(attempt_timeout=LIMIT)
    with draw("a -> b -> c", a=source(1), b=b, c=collector(got), flow=Flow(clock=clock)) as flow:
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        wait(flow, job_state)
        late.go_on()
    assert items(got) == ["in time"]


def test_a_retry_emits_while_the_late_attempts_are_refused():
    """Three attempts are late, and go on while the fourth is at work."""
    late = Late(emits, held=3)
    with draw_late(late, retry()) as (flow, clock, got):
        job_state = flow.execute("a")
        for gate in late.gates:
            gate.await_arrival()
            clock.advance(LIMIT)
        assert wait(flow, job_state).status == "completed"
        late.go_on()
        wait_until(flow, job_state, lambda state: names(state, "b").count("late") == 3)
        assert sorted(record["attempt"] for record in recorded(job_state, "late")) == [1, 2, 3]
    assert items(got) == [1]


# -- forced orders


class HeldHooks:
    """Hooks that hold the thread which tells of the end of `b`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.ends: list[BaseException | None] = []

    def activation_started(self, job_state: JobState, routine_id: str, slot_name: str) -> None: ...

    def activation_ended(
        self, job_state: JobState, routine_id: str, slot_name: str, error: BaseException | None
    ) -> None:
        if routine_id == "b":
            self.ends.append(error)
            self._gate.hold()

    def run_ended(self, job_state: JobState) -> None: ...


def test_a_handler_that_returns_a_moment_before_the_timer_has_succeeded():
    late, told = Late(emits), Gate()
    hooks = HeldHooks(told)
    with draw_late(late, retry(), hooks=hooks) as (flow, clock, got):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        late.go_on()
        told.await_arrival()  # it has returned, and is not settled
        clock.advance(LIMIT)
        flow._engine.loop.fire_due()  # noqa: SLF001 - as its thread does
        told.open()
        assert wait(flow, job_state).status == "completed"
        assert (names(job_state, "b"), items(got)) == (["start", "output", "completed"], ["late"])
    assert hooks.ends == [None]


def test_a_handler_that_returns_a_moment_after_the_timer_has_not():
    late, told = Late(), Gate()
    hooks = HeldHooks(told)
    with draw_late(late, ErrorHandler("continue"), hooks=hooks) as (flow, clock, _):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        told.await_arrival()  # it was given up, and that is not settled
        assert names(job_state, "b") == ["start"]
        late.go_on()
        until(lambda: not late_threads(flow))
        assert names(job_state, "b") == ["start"]
        told.open()
        wait(flow, job_state)
        wait_until(flow, job_state, lambda state: "late" in names(state, "b"))
        assert names(job_state, "b") == ["start", "error", "error_continued", "late"]
    assert [type(error).__name__ for error in hooks.ends] == ["AttemptTimeoutError"]


def test_an_emission_that_waits_for_the_runs_lock_while_its_attempt_is_given_up_is_refused(monkeypatch):
    late, waiting, got, clock = Late(emits, held=2), Gate(), [], FakeClock()

    def stand_back(lock: Any) -> None:
        monkeypatch.undo()
        waiting.hold()
        lock.acquire()

    b = limited(late, ErrorHandler("continue"))
    with draw("a -> b -> c", a=source(1, 2), b=b, c=collector(got), flow=Flow(clock=clock)) as flow:
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        with ledger_of(job_state).lock:
            monkeypatch.setattr(run, "stand_back", stand_back)
            late.gates[0].open()
            waiting.await_arrival()
        clock.advance(LIMIT)
        late.gates[1].await_arrival()  # the run goes on, with the second item
        waiting.open()
        until(lambda: bool(late.errors))
        late.go_on()
        wait(flow, job_state)
    assert isinstance(late.errors[0], LateAttemptError)
    assert items(got) == ["late"]  # of the second, which is in time


def test_a_handler_that_lets_its_own_time_pass_is_late_step_by_step():
    refused: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if own_context(routine).attempt == 1:
            clock.advance(LIMIT)
            executor.fire_timers()
            with pytest.raises(LateAttemptError) as raised:
                routine.emit("output", item=1)
            refused.append(str(raised.value))
            while executor.step():  # the retry happens in the middle of it
                pass
        else:
            routine.emit("output", item=2)

    got: list[Any] = []
    b = node(act, error_handler=retry())
    b.set_limits(attempt_timeout=LIMIT)
    flow, executor, clock = draw_stepped("a -> b -> c", a=source(1), b=b, c=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert (job_state.status, items(got), len(refused)) == ("completed", [2], 1)
    assert names(job_state, "b") == ["start", "error", "late", "output", "completed"]


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_whoever_comes_first_each_attempt_is_settled_once(strategy):
    """Handlers that return just when their time is over: whatever happens, the count and the tokens are right."""
    clock = FakeClock()
    got: list[Any] = []
    both = threading.Barrier(2)

    def at_the_line(routine: Routine, data: dict[str, Any]) -> None:
        if own_context(routine).attempt == 1:
            both.wait(DEADLINE)
        routine.emit("output", **data)

    b = node(at_the_line, error_handler=retry())
    b.set_limits(attempt_timeout=LIMIT)
    with draw("a -> b -> c", a=source(1), b=b, c=collector(got), flow=Flow(clock=clock)) as flow:
        flow.set_execution_strategy(strategy)
        for number in range(1, 101):
            job_state = flow.execute("a")
            both.wait(DEADLINE)
            clock.advance(LIMIT)
            assert wait(flow, job_state).status == "completed"
            assert len(got) == number
            until(lambda: not late_threads(flow))
            history = names(job_state, "b")
            assert history.count("error") == history.count("late") <= 1
            assert (history.count("output"), history.count("completed")) == (1, 1)
        assert flow._engine.workers._working <= 1 + flow.max_workers  # noqa: SLF001 - no place may be lost or won


# -- stopping


@pytest.mark.parametrize("store", [None, "memory:"])
def test_a_cancelled_run_ends_when_the_time_of_its_handler_is_over(store):
    late = Late(emits)
    with draw_late(late, retry(), store=store) as (flow, clock, got):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        flow.cancel(job_state)
        clock.advance(LIMIT)
        wait(flow, job_state)
        until(lambda: not flow._engine.loop.live_count())  # noqa: SLF001 - it is over, and not only waited for in vain
        assert (job_state.status, job_state.pending_tasks, got) == ("cancelled", [], [])
        late.go_on()
        assert isinstance(late.errors[0], LateAttemptError)


@pytest.mark.parametrize("store", [None, "memory:"])
@pytest.mark.parametrize("is_late_first", [True, False])
def test_a_paused_runs_late_attempt_is_retried_when_it_is_resumed(is_late_first, store):
    late = Late(emits)
    with draw_late(late, ErrorHandler("retry", retry_delay=100.0), store=store) as (flow, clock, got):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        if is_late_first:
            clock.advance(LIMIT)
            wait_until(flow, job_state, lambda state: "error" in names(state, "b"))
            flow.pause(job_state)
        else:
            pausing = in_thread(lambda: flow.pause(job_state))
            wait_until(flow, job_state, lambda state: state.status == "paused")
            clock.advance(LIMIT)
            pausing()
        assert [(task["routine_id"], task["was"]) for task in job_state.pending_tasks] == [("b", "retry")]
        flow.resume(job_state)
        late.go_on()
        clock.advance(200.0)
        assert (wait(flow, job_state).status, items(got)) == ("completed", [1])


def test_a_snapshot_with_a_late_thread_goes_on_elsewhere():
    late = Late(emits)
    with draw_late(late, ErrorHandler("retry", retry_delay=100.0)) as (flow, clock, _):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        wait_until(flow, job_state, lambda state: "error" in names(state, "b"))
        flow.pause(job_state)
        saved = reloaded(job_state)
        late.go_on()
    with draw_late(Late(held=0), retry()) as (flow, clock, got):
        flow.resume(saved)
        clock.advance(200.0)
        assert (wait(flow, saved).status, items(got)) == ("completed", [1])


def test_a_shutdown_does_not_wait_for_late_threads_and_names_them(caplog):
    late = Late()
    with draw_late(late, ErrorHandler("continue")) as (flow, clock, _):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        wait(flow, job_state)
        with caplog.at_level(logging.WARNING):
            flow.shutdown()
        assert any("b.input" in message and "does not wait" in message for message in caplog.messages)
        # A fresh pool serves the flow, while the old one still has the late thread.
        assert flow.run("a").status == "completed"
        late.go_on()


def test_attempts_of_a_resumed_run_are_watched_anew():
    late = Late(held=2)
    clock, got = FakeClock(), []
    parts = {"a": source(1, 2), "b": limited(late, ErrorHandler("continue")), "c": collector(got)}
    with draw("a -> b -> c", **parts, flow=Flow(clock=clock)) as flow:
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        pausing = in_thread(lambda: flow.pause(job_state))
        wait_until(flow, job_state, lambda state: state.status == "paused")
        late.gates[0].open()
        pausing()
        flow._engine.loop.fire_due()  # noqa: SLF001 - as its thread does: the timer of a run that stands still is dropped
        flow.resume(job_state)
        late.gates[1].await_arrival()
        clock.advance(LIMIT)
        assert wait(flow, job_state).status == "completed"
        assert [error["error_type"] for error in recorded(job_state, "error")] == ["AttemptTimeoutError"]
        late.go_on()


# -- the entry


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_an_entry_on_its_callers_thread_is_given_up_and_retried_by_a_worker(strategy):
    late = Late(emits)
    clock, got = FakeClock(), []
    flow = Flow(clock=clock)
    flow.set_execution_strategy(strategy)
    with draw("a -> c", a=limited(late, retry(), make=entry), c=collector(got), flow=flow):
        job_state = JobState(flow.flow_id)
        executing = in_thread(lambda: flow.execute("a", {"item": 1}, job_state=job_state))
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        wait_until(flow, job_state, lambda state: "error" in names(state, "a"))
        clock.advance(LIMIT)  # a retry of an entry comes by a timer
        assert (wait(flow, job_state).status, items(got)) == ("completed", [1])
        late.go_on()
        with pytest.raises(LateAttemptError):
            raise late.errors[0]
        assert executing() is job_state
        assert names(job_state, "a") == ["start", "error", "output", "completed", "late"]


def test_what_a_late_entry_raises_to_stop_the_program_is_raised_by_execute():
    def interrupted(routine: Routine, data: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    late = Late(interrupted)
    clock = FakeClock()
    with draw(a=limited(late, ErrorHandler("continue"), make=entry), flow=Flow(clock=clock)) as flow:
        job_state = JobState(flow.flow_id)
        executing = in_thread(lambda: flow.execute("a", job_state=job_state))
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        wait(flow, job_state)
        late.go_on()
        with pytest.raises(KeyboardInterrupt):
            executing()
        assert job_state.status == "completed"


# -- places


def test_late_threads_have_places_of_their_own_up_to_a_bound_and_a_flow_without_a_worker_says_so(caplog, monkeypatch):
    monkeypatch.setattr(workers, "LATE_PLACES_MAX", 2)
    late = Late(held=3)
    with caplog.at_level(logging.WARNING), draw_late(late, retry()) as (flow, clock, got):
        flow.set_execution_strategy("sequential")
        job_state = flow.execute("a")
        for gate in late.gates:
            gate.await_arrival()
            clock.advance(LIMIT)
        until(lambda: any("Nothing more starts" in message for message in caplog.messages))
        assert (got, late_threads(flow)) == ([], ["b.input"] * 3)
        late.gates[1].open()  # one comes back, and the run goes on
        assert (wait(flow, job_state).status, items(got)) == ("completed", [1])
        late.go_on()
        until(lambda: not late_threads(flow))
        assert flow.run("a").status == "completed"


# -- with a store


def test_the_store_has_the_settlement_of_an_attempt_that_was_given_up_and_nothing_late():
    late = Late(emits)
    store = MemoryStore()
    with draw_late(late, ErrorHandler("stop"), store=store) as (flow, clock, got):
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        clock.advance(LIMIT)
        assert wait(flow, job_state).status == "failed"
        kept = flow.load(job_state.job_id)
        assert [(task["routine_id"], task["was"]) for task in kept.pending_tasks] == [("b", "failed")]
        assert names(kept, "b") == ["start", "error"]
        late.go_on()
        until(lambda: not late_threads(flow))
        assert "output" not in names(flow.load(job_state.job_id), "b")
        flow.resume(job_state)
        assert (wait(flow, job_state).status, items(got)) == ("completed", [1])
        kept = flow.load(job_state.job_id)
        assert names(kept, "b") == names(job_state, "b") == ["start", "error", "late", "output", "completed"]


def test_a_timer_that_fires_before_its_number_is_noted_is_not_missed(monkeypatch):
    # The loop's thread may come while the attempt is still being noted: it waits for the lock, and finds it then.
    schedule, firing = RunTimers.schedule, []

    def fires_at_once(timers: RunTimers, due_ns: int) -> int:
        (run,) = flow._engine.loop.live_runs()  # noqa: SLF001 - the only one
        number = schedule(timers, due_ns + nanoseconds(1000))  # in place of the loop's thread, another one fires it:
        if not firing and due_ns - run.now() == nanoseconds(LIMIT):
            clock.advance(LIMIT)
            firing.append(threading.Thread(target=run.on_timer, args=(number,)))
            firing[0].start()
            threading.Event().wait(0.05)  # as if this thread had lost the interpreter lock here
        return number

    late = Late()
    with draw_late(late, ErrorHandler("continue")) as (flow, clock, _):
        monkeypatch.setattr(RunTimers, "schedule", fires_at_once)
        job_state = flow.execute("a")
        late.gates[0].await_arrival()
        until(lambda: names(job_state, "b") == ["start", "error", "error_continued"])
        late.go_on()
        assert wait(flow, job_state).status == "completed"
        firing[0].join(DEADLINE)
        assert [each["error_type"] for each in recorded(job_state, "error")] == ["AttemptTimeoutError"]
