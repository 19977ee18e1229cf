"""Handlers that await: where they run, how many at once, how they are stopped, and what their run makes of that."""

import asyncio
import contextlib
import functools
import itertools
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from routilux import CallbackOutputHandler, ErrorHandler, Flow, JobState, Routine, Slot
from routilux.context import current_activation
from routilux.errors import LateAttemptError, SelfWaitError
from routilux.flow.places import RunPlaces
from routilux.testing import FakeClock, ManualExecutor, activate
from tests.drawings import (
    DEADLINE,
    Gate,
    collector,
    draw,
    in_thread,
    items,
    names,
    node,
    passed,
    relay,
    reloaded,
    source,
    wait,
    wait_until,
)

Handler = Callable[..., Any]


class Awaits(Routine):
    """A routine whose one slot has an async handler `handle(routine, data)`."""

    def __init__(self, handle: Handler, slot: str = "input") -> None:
        super().__init__()
        self.define_event("output")

        async def handler(**data: Any) -> None:
            await handle(self, data)

        self.define_slot(slot, handler=handler)


async def for_ever(routine: Routine, data: dict[str, Any]) -> None:
    await asyncio.Event().wait()


async def relay_async(routine: Routine, data: dict[str, Any]) -> None:
    routine.emit("output", **data)


def begun(began: threading.Event, *, clean_up: Handler | None = None) -> Handler:
    """A handler that tells that it has begun, waits for ever, and cleans up."""

    async def handle(routine: Routine, data: dict[str, Any]) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            if clean_up is not None:
                clean_up(routine)

    return handle


# -- where they run


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_async_handlers_share_one_thread_and_plain_ones_never_run_there(strategy):
    threads: dict[str, set[str]] = {"async": set(), "plain": set()}

    async def relay(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        threads["async"].add(threading.current_thread().name)
        routine.emit("output", **data)

    def end(routine: Routine, data: dict[str, Any]) -> None:
        threads["plain"].add(threading.current_thread().name)

    with draw("a -> b -> c -> d", a=source(*range(20)), b=Awaits(relay), c=Awaits(relay), d=node(end)) as flow:
        flow.set_execution_strategy(strategy)
        assert flow.run("a").status == "completed"
    assert len(threads["async"]) == 1
    assert not threads["async"] & threads["plain"]


def test_a_concurrent_runs_async_handlers_are_at_work_at_once_whatever_the_number_of_workers():
    at_work: list[int] = []
    everybody = asyncio.Event()

    async def meet(routine: Routine, data: dict[str, Any]) -> None:
        at_work.append(data["item"])
        if len(at_work) == 100:
            everybody.set()
        await asyncio.wait_for(everybody.wait(), DEADLINE)

    with draw("a -> b", a=source(*range(100)), b=Awaits(meet)) as flow:
        flow.set_execution_strategy("concurrent", 2)
        assert flow.run("a").errors == []


def test_a_sequential_run_has_one_handler_at_a_time_in_order():
    log: list[Any] = []

    async def slow(routine: Routine, data: dict[str, Any]) -> None:
        log.append(("begin", data["item"]))
        await asyncio.sleep(0.001)
        log.append(("end", data["item"]))
        routine.emit("output", **data)

    def plain(routine: Routine, data: dict[str, Any]) -> None:
        log.append(("plain", data["item"]))

    with draw("a -> b -> c", a=source(1, 2, 3), b=Awaits(slow), c=node(plain)) as flow:
        assert flow.run("a").status == "completed"
    expected = [(what, item) for item in (1, 2, 3) for what in ("begin", "end")]
    assert log == [*expected, ("plain", 1), ("plain", 2), ("plain", 3)]


def test_max_concurrency_counts_over_the_runs_of_a_flow_and_those_that_wait_have_their_turn():
    at_work, most = [0], [0]

    async def count(routine: Routine, data: dict[str, Any]) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        await asyncio.sleep(0.001)
        at_work[0] -= 1

    limited = Awaits(count)
    limited.set_limits(max_concurrency=3)
    with draw("a -> b", a=source(*range(10)), b=limited) as flow:
        flow.set_execution_strategy("concurrent", 4)
        for job_state in [flow.execute("a"), flow.execute("a")]:
            assert names(wait(flow, job_state), "b").count("completed") == 10
    assert most == [3]


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2"])
def test_a_limit_that_cannot_be_is_refused(value):
    with pytest.raises(ValueError, match="max_concurrency"):
        Routine().set_limits(max_concurrency=value)


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_an_async_handler_that_has_awaited_is_retried_without_a_delay(strategy):
    attempts: list[int] = []

    async def fail_once(routine: Routine, data: dict[str, Any]) -> None:
        attempts.append(len(attempts))
        await asyncio.sleep(0)
        if len(attempts) == 1:
            raise ValueError

    retried = Awaits(fail_once)
    retried.set_error_handler(ErrorHandler("retry", max_retries=1, retry_delay=0.0))
    with draw("a -> b", a=source(1), b=retried) as flow:
        flow.set_execution_strategy(strategy, 2)
        assert wait(flow, flow.execute("a")).status == "completed"
    assert len(attempts) == 2


@pytest.mark.parametrize("begins_on", ["the caller's thread", "the loop"])
@pytest.mark.parametrize("when", ["awaiting", "at once"])
@pytest.mark.parametrize("policy", ["stop", "continue", "skip", "retry"])
def test_a_cancellation_of_what_a_handler_awaits_goes_the_way_of_every_error(policy, when, begins_on):
    attempts: list[int] = []

    async def fetch(routine: Routine, data: dict[str, Any]) -> None:
        attempts.append(len(attempts))
        if when == "awaiting":
            request = asyncio.ensure_future(asyncio.Event().wait())
            await asyncio.sleep(0)
            request.cancel()  # the client library closes its connection
            await request
        raise asyncio.CancelledError

    on_loop = begins_on == "the loop"
    fetching = Awaits(fetch, "input" if on_loop else "trigger")
    fetching.set_error_handler(ErrorHandler(policy, max_retries=1, retry_delay=0.0))
    warm = Awaits(relay_async)
    flow = draw(b=fetching)
    if on_loop:
        draw("a -> warm -> b", flow=flow, a=source(1), warm=warm)
    with flow:
        job_state = wait(flow, flow.execute("a" if on_loop else "b"))
    assert job_state.status == ("completed" if policy in ("continue", "skip") else "failed")
    assert len(attempts) == (2 if policy == "retry" else 1)
    errors = [record.data for record in job_state.execution_history if "error_type" in record.data]
    assert {data["error_type"] for data in errors} == {"AwaitCancelledError"}


class LeavesAtWork(Routine):
    """A handler that awaits a thread or a task which goes on for long; `left` lets it do what it does then."""

    def __init__(self, kind: str, slot: str, policy: ErrorHandler) -> None:
        super().__init__()
        self.define_event("output")
        self.define_slot(slot, handler=self.handle)
        self.set_limits(attempt_timeout=0.02)
        self.set_error_handler(policy)
        self.kind = kind
        self.may_go_on = threading.Event()
        self.refused: list[str] = []
        self.has_tried = threading.Event()
        self.left: Any = None

    async def handle(self, **data: Any) -> None:
        attempt = self.get_execution_context().attempt
        if attempt > 1:
            await asyncio.to_thread(passed, self.has_tried)
            self.emit("output", item=attempt)
            return
        await asyncio.sleep(0)
        self.set_limits()  # the next attempt has time
        if self.kind == "thread":
            await asyncio.to_thread(self.act)
        else:
            self.left = asyncio.create_task(self.act_later())
            await asyncio.Event().wait()

    async def act_later(self) -> None:
        await asyncio.to_thread(passed, self.may_go_on)
        self.try_all()

    def act(self) -> None:
        passed(self.may_go_on)
        self.try_all()

    def try_all(self) -> None:
        job_state = self.get_execution_context().job_state
        for act in (
            lambda: self.emit("output", item="late"),
            lambda: self.send_output("late"),
            lambda: self.emit_deferred_event("output", item="late"),
            lambda: job_state.update_shared_data("late", True),
        ):
            try:
                act()
            except LateAttemptError as error:
                self.refused.append(str(error))
        self.has_tried.set()


@pytest.mark.parametrize("slot", ["trigger", "input"])
@pytest.mark.parametrize("kind", ["thread", "task"])
@pytest.mark.parametrize("strategy", ["retry", "continue"])
def test_what_an_async_attempt_whose_time_was_over_has_left_at_work_is_refused(strategy, kind, slot):
    limited = LeavesAtWork(kind, slot, ErrorHandler(strategy, max_retries=1, retry_delay=0.0))
    got: list[Any] = []
    flow = draw("a -> c", a=limited, c=collector(got))
    if slot == "input":
        draw("b -> a", flow=flow, b=source(1))
    with flow:
        flow.set_execution_strategy("concurrent", 2)
        job_state = JobState(flow.flow_id)
        running = in_thread(lambda: flow.execute("a" if slot == "trigger" else "b", job_state=job_state))
        wait_until(
            flow, job_state, lambda state: "error" in names(state, "a") or "error_continued" in names(state, "a")
        )
        limited.may_go_on.set()
        passed(limited.has_tried)
        running()
        wait(flow, job_state)
    assert len(limited.refused) == 4
    assert names(job_state, "a").count("late") == 1
    assert items(got) == ([2] if strategy == "retry" else [])
    assert (job_state.outputs(), job_state.deferred_events, job_state.get_shared_data("late")) == ([], [], None)
    assert job_state.status == "completed"


# -- the entry


def test_execute_returns_when_an_async_entry_has_ended():
    async def enter(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)
        routine.emit("output", item=1)

    got: list[Any] = []
    with draw("a -> b", a=Awaits(enter, "trigger"), b=collector(got)) as flow:
        job_state = flow.execute("a")
        assert names(job_state, "a") == ["start", "output", "completed"]
        wait(flow, job_state)
    assert items(got) == [1]


def test_what_an_async_entry_raises_to_stop_the_program_is_raised_by_execute():
    async def interrupted(routine: Routine, data: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with draw(a=Awaits(interrupted, "trigger")) as flow:
        job_state = JobState(flow.flow_id)
        with pytest.raises(KeyboardInterrupt):
            flow.execute("a", job_state=job_state)
        assert job_state.status == "failed"


def test_execute_does_not_block_an_applications_loop_for_an_async_entry():
    async def main() -> JobState:
        released = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def needs_the_callers_loop(routine: Routine, data: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(released.set)

        with draw(a=Awaits(needs_the_callers_loop, "trigger")) as flow:
            job_state = flow.execute("a")
            await asyncio.wait_for(released.wait(), DEADLINE)
            assert await flow.wait_async(job_state, DEADLINE)
        return job_state

    assert asyncio.run(main()).status == "completed"


# -- errors


def test_a_retried_async_handler_releases_what_it_emits_only_when_it_succeeds():
    attempts: list[int] = []
    got: list[Any] = []

    async def fails_twice(routine: Routine, data: dict[str, Any]) -> None:
        attempts.append(1)
        routine.emit("output", item=len(attempts))
        await asyncio.sleep(0)
        if len(attempts) < 3:
            raise OSError("not yet")

    retried = Awaits(fails_twice)
    retried.set_error_handler(ErrorHandler("retry", max_retries=3, retry_delay=0.001))
    with draw("a -> b -> c", a=source(1), b=retried, c=collector(got)) as flow:
        assert flow.run("a").status == "completed"
    assert items(got) == [3]


class OwnPolicy(ErrorHandler):
    """Its errors are settled by a worker: it is the application's, and may block."""


@pytest.mark.parametrize("policy", [ErrorHandler, OwnPolicy])
def test_a_retry_without_a_delay_begins_though_no_thread_has_a_token_of_its_run_any_more(policy):
    attempts: list[int] = []

    async def fails_once(routine: Routine, data: dict[str, Any]) -> None:
        attempts.append(1)
        activation = current_activation.get()
        assert activation is not None
        while activation.run.tokens:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
        if len(attempts) == 1:
            raise OSError("not yet")

    retried = Awaits(fails_once)
    retried.set_error_handler(policy("retry", retry_delay=0))
    flow = draw("a -> b", a=source(1), b=retried)
    flow.set_execution_strategy("concurrent", 2)
    with flow:
        assert wait(flow, flow.execute("a")).status == "completed"
    assert len(attempts) == 2


def test_an_attempt_that_takes_too_long_sees_a_cancellation_and_has_failed_with_a_timeout():
    seen: list[str] = []

    async def slow_at_first(routine: Routine, data: dict[str, Any]) -> None:
        if not seen:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
        seen.append("again")

    limited = Awaits(slow_at_first)
    limited.set_limits(attempt_timeout=0.02)
    limited.set_error_handler(ErrorHandler("retry", retry_delay=0.001))
    with draw("a -> b", a=source(1), b=limited) as flow:
        job_state = flow.run("a")
    assert (job_state.status, seen) == ("completed", ["cancelled", "again"])
    assert [record.data["error_type"] for record in job_state.errors] == ["AttemptTimeoutError"]


# -- stopping


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_a_cancelled_runs_handlers_see_it_clean_up_and_have_what_they_emit_refused(strategy):
    began, cleaned = threading.Event(), threading.Event()

    def clean_up(routine: Routine) -> None:
        routine.emit("output", item=1)
        cleaned.set()

    got: list[Any] = []
    with draw("a -> b -> c", a=source(1), b=Awaits(begun(began, clean_up=clean_up)), c=collector(got)) as flow:
        flow.set_execution_strategy(strategy)
        job_state = flow.execute("a")
        passed(began)
        flow.cancel(job_state)
        passed(cleaned)
        wait(flow, job_state)
    assert (job_state.status, got, job_state.pending_tasks) == ("cancelled", [], [])
    assert names(job_state, "b") == ["start", "refused", "cancelled"]


def test_a_run_that_takes_too_long_cancels_its_handlers_and_a_resume_runs_them_again():
    calls: list[int] = []
    began, clock = threading.Event(), FakeClock()

    async def slow_at_first(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(1)
        if len(calls) == 1:
            began.set()
            await asyncio.Event().wait()

    with draw("a -> b", a=source(1), b=Awaits(slow_at_first), flow=Flow(clock=clock)) as flow:
        job_state = flow.execute("a", timeout=5.0)
        passed(began)
        clock.advance(5.0)
        wait(flow, job_state)
        assert (job_state.status, names(job_state, "b")) == ("failed", ["start", "cancelled"])
        assert wait(flow, flow.resume(job_state)).status == "completed"
    assert len(calls) == 2


def test_a_resume_that_is_quicker_than_a_clean_up_runs_the_handler_again_when_that_has_ended():
    calls: list[int] = []
    gate = Gate()
    began, clock = threading.Event(), FakeClock()
    got: list[Any] = []

    async def slow_at_first(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(1)
        routine.emit("output", item=1)
        if len(calls) == 1:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.to_thread(gate.hold)

    parts = {"a": source(1), "b": Awaits(slow_at_first), "c": collector(got)}
    with draw("a -> b -> c", **parts, flow=Flow(clock=clock)) as flow:
        job_state = flow.execute("a", timeout=5.0)
        passed(began)
        clock.advance(5.0)
        gate.await_arrival()
        assert flow.resume(job_state).status == "running"
        gate.open()
        assert wait(flow, job_state).status == "completed"
    assert (len(calls), items(got)) == (2, [1])


def test_those_that_wait_for_their_turn_are_cancelled_too():
    began = threading.Event()
    limited = Awaits(begun(began))
    limited.set_limits(max_concurrency=1)
    with draw("a -> b", a=source(1, 2, 3), b=limited) as flow:
        flow.set_execution_strategy("concurrent", 3)
        job_state = flow.execute("a")
        passed(began)
        flow.cancel(job_state)
        wait(flow, job_state)
        # The routine's places are free again.
        again = threading.Event()
        limited.get_slot("input").handler = lambda item: again.set()
        assert flow.run("a").status == "completed"
    assert names(job_state, "b").count("cancelled") == names(job_state, "b").count("start")


class Places:
    """A routine with one place: who has it keeps it until it is let go, and whoever comes waits for it."""

    def __init__(self, slot: str = "input") -> None:
        self.begun: list[Any] = []
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.routine = Awaits(self._handle, slot)
        self.routine.set_limits(max_concurrency=1)

    async def _handle(self, routine: Routine, data: dict[str, Any]) -> None:
        self.begun.append(data.get("item"))
        self.has_begun.set()
        await asyncio.to_thread(passed, self.may_end)


def waiting_for_places(flow: Flow) -> int:
    """How many coroutines the loop keeps until they have a place."""
    loop = flow._engine.handover.loop()  # noqa: SLF001 - looked into
    return sum(map(len, loop.places._waiting.values()))  # noqa: SLF001 - as above


def until_waiting(flow: Flow, count: int) -> None:
    """Until so many wait for a place."""
    until = time.monotonic() + DEADLINE
    while waiting_for_places(flow) != count:
        assert time.monotonic() < until
        time.sleep(0)


@pytest.mark.parametrize("resumed_by", ["the same flow", "another flow", "the same flow, soon"])
@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_a_pause_takes_back_what_waits_for_a_place_and_a_resume_runs_each_once(strategy, resumed_by):
    places = Places()
    with draw("a -> b", a=source(1, 2, 3), b=places.routine) as flow:
        flow.set_execution_strategy(strategy, 2)
        first = flow.execute("a")
        passed(places.has_begun)
        job_state = flow.execute("a")  # its deliveries find the place taken
        until_waiting(flow, (2 if strategy == "concurrent" else 0) + (3 if strategy == "concurrent" else 1))
        flow.pause(job_state)
        assert [task["data"]["item"] for task in job_state.pending_tasks] == [1, 2, 3]
        assert not flow._engine.loop.live_count() > 1  # noqa: SLF001 - nothing of it is at work
        if resumed_by == "another flow":
            other = Places()
            other.may_end.set()
            with draw("a -> b", a=source(), b=other.routine) as copy:
                resumed = copy.resume(reloaded(job_state))
                assert wait(copy, resumed).status == "completed"
                assert (names(resumed, "b").count("start"), names(resumed, "b").count("completed")) == (3, 3)
            assert sorted(other.begun) == [1, 2, 3]
            places.may_end.set()
            wait(flow, first)
            assert sorted(places.begun) == [1, 2, 3]
            return
        if resumed_by == "the same flow, soon":
            flow.resume(job_state)
            places.may_end.set()
        else:
            places.may_end.set()
            wait(flow, first)
            flow.resume(job_state)
        assert wait(flow, first).status == "completed"
        assert wait(flow, job_state).status == "completed"
    assert sorted(places.begun) == [1, 1, 2, 2, 3, 3]
    assert names(job_state, "b").count("start") == names(job_state, "b").count("completed") == 3


def test_what_waits_for_a_place_does_not_begin_when_its_run_has_failed():
    begun: list[int] = []
    may_fail = threading.Event()

    async def fail(routine: Routine, data: dict[str, Any]) -> None:
        begun.append(data["item"])
        await asyncio.to_thread(passed, may_fail)
        raise ValueError(data["item"])

    limited = Awaits(fail)
    limited.set_limits(max_concurrency=1)
    limited.set_error_handler(ErrorHandler("stop"))
    with draw("a -> b", a=source(*range(9)), b=limited) as flow:
        flow.set_execution_strategy("concurrent", 4)
        job_state = flow.execute("a")
        until_waiting(flow, 8)
        may_fail.set()
        assert wait(flow, job_state).status == "failed"
        until_waiting(flow, 0)
        assert flow._engine.loop.live_count() == 0  # noqa: SLF001 - it is over
    assert begun == [0]
    assert sorted(task["data"]["item"] for task in job_state.pending_tasks) == list(range(9))


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_a_pause_in_the_moment_of_the_first_line_loses_nothing_and_doubles_nothing(strategy, monkeypatch):
    gate, claim = Gate(), RunPlaces.leave_for_first_line
    begun: list[int] = []

    def held(self: RunPlaces, task: Any) -> bool:
        if not gate.may_go.is_set():
            gate.hold()
        return claim(self, task)

    async def note(routine: Routine, data: dict[str, Any]) -> None:
        begun.append(data["item"])

    limited = Awaits(note)
    limited.set_limits(max_concurrency=1)
    monkeypatch.setattr(RunPlaces, "leave_for_first_line", held)
    with draw("a -> b", a=source(1, 2, 3), b=limited) as flow:
        flow.set_execution_strategy(strategy, 2)
        job_state = flow.execute("a")
        gate.await_arrival()
        flow.pause(job_state)
        assert len(job_state.pending_tasks) == 3
        flow.resume(job_state)
        gate.open()
        assert wait(flow, job_state).status == "completed"
    assert sorted(begun) == [1, 2, 3]
    assert names(job_state, "b").count("start") == 3


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_an_entry_that_waits_for_a_place_is_taken_back_and_execute_returns(strategy):
    places = Places("trigger")
    with draw(a=places.routine) as flow:
        flow.set_execution_strategy(strategy, 2)
        first = in_thread(lambda: flow.execute("a"))
        passed(places.has_begun)
        job_state = JobState(flow.flow_id)
        second = in_thread(lambda: flow.execute("a", job_state=job_state))
        until_waiting(flow, 1)
        flow.pause(job_state)
        assert second().status == "paused"
        assert places.begun == [None]
        places.may_end.set()
        assert wait(flow, first()).status == "completed"
        assert wait(flow, flow.resume(job_state)).status == "completed"
    assert names(job_state, "a") == ["start", "completed"]


def test_a_limit_that_is_changed_counts_for_those_that_wait_already():
    at_work: list[int] = []
    most = [0]
    may_end = [asyncio.Event() for _ in range(12)]
    loops: list[asyncio.AbstractEventLoop] = []
    arrived = threading.Semaphore(0)

    async def count(routine: Routine, data: dict[str, Any]) -> None:
        loops[:] = [asyncio.get_running_loop()]
        at_work.append(data["item"])
        most[0] = max(most[0], len(at_work))
        arrived.release()
        await may_end[data["item"]].wait()
        at_work.remove(data["item"])

    def arrivals(expected: int) -> None:
        for _ in range(expected):
            assert arrived.acquire(timeout=DEADLINE)

    def end(*ended: int) -> None:
        for item in ended:
            loops[0].call_soon_threadsafe(may_end[item].set)

    limited = Awaits(count)
    limited.set_limits(max_concurrency=3)
    with draw("a -> b", a=source(*range(12)), b=limited) as flow:
        flow.set_execution_strategy("concurrent", 1)
        job_state = flow.execute("a")
        arrivals(3)
        until_waiting(flow, 9)
        limited.set_limits(max_concurrency=1)
        most[0] = 0
        end(0, 1, 2)
        arrivals(1)
        assert most == [1]
        limited.set_limits(max_concurrency=8)
        end(3)
        arrivals(8)
        assert most == [8]
        end(*range(12))
        assert wait(flow, job_state).status == "completed"


def test_a_limited_routine_need_not_be_hashable():
    class Equal(Awaits):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        __hash__ = None  # type: ignore[assignment]

    async def note(routine: Routine, data: dict[str, Any]) -> None:
        began.append(routine)

    began: list[Any] = []
    one, two = Equal(note), Equal(note)
    one.set_limits(max_concurrency=1)
    two.set_limits(max_concurrency=1)
    with draw("a -> b", "a -> c", a=source(1, 2), b=one, c=two) as flow:
        flow.set_execution_strategy("concurrent", 2)
        assert flow.run("a").status == "completed"
    assert len(began) == 4


def test_an_engine_that_fails_before_a_handler_begins_ends_that_handler_and_lets_nobody_wait(monkeypatch):
    def broken(self: Any, *args: Any) -> bool:
        raise TypeError("the engine is broken")

    limited = Awaits(for_ever)
    limited.set_limits(max_concurrency=1)
    with draw("a -> b", a=source(1), b=limited) as flow:
        monkeypatch.setattr("routilux.executors.places.Places.admits", broken)
        job_state = wait(flow, flow.execute("a"))
    assert [record.data["error"] for record in job_state.errors] == ["the engine is broken"]


def test_a_shutdown_cancels_the_tasks_that_handlers_have_left_and_names_them(caplog):
    left: list[asyncio.Task[Any]] = []

    async def heartbeat() -> None:
        await asyncio.Event().wait()

    async def leave(routine: Routine, data: dict[str, Any]) -> None:
        left.append(asyncio.create_task(heartbeat()))

    flow = draw(a=Awaits(leave, "trigger"))
    assert flow.run("a").status == "completed"
    in_thread(flow.shutdown)()
    assert left[0].cancelled()
    assert any("heartbeat" in message for message in caplog.messages)


def test_a_shutdown_waits_for_threads_that_handlers_have_called_as_long_as_it_may_and_no_longer(caplog):
    gate = Gate()

    async def call(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.to_thread(gate.hold)

    flow = draw("a -> b", a=source(1), b=Awaits(call))
    job_state = flow.execute("a")
    gate.await_arrival()
    flow.cancel(job_state)
    in_thread(lambda: flow.shutdown(timeout=0.05))()
    assert any("to_thread" in message for message in caplog.messages)
    # Another thread drives what comes now, and the one that goes does not end it.
    again = draw("c -> d", flow=flow, c=source(1, 2, 3), d=Awaits(relay_async))
    assert wait(again, again.execute("c")).status == "completed"
    gate.open()
    assert wait(again, again.execute("c")).status == "completed"
    again.shutdown()


def test_a_handler_that_swallows_its_cancellation_is_named_in_a_warning(caplog):
    began = threading.Event()

    async def stubborn(routine: Routine, data: dict[str, Any]) -> None:
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    with caplog.at_level(logging.WARNING), draw("a -> b", a=source(1), b=Awaits(stubborn)) as flow:
        job_state = flow.execute("a")
        passed(began)
        flow.cancel(job_state)
        wait(flow, job_state)
    assert any("b.input" in message and "swallowed" in message for message in caplog.messages)


def test_a_pause_lets_async_handlers_finish_and_keeps_what_they_emit():
    gate = Gate()
    got: list[Any] = []

    async def held(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.to_thread(gate.hold)
        routine.emit("output", **data)

    with draw("a -> b -> c", a=source(1), b=Awaits(held), c=collector(got)) as flow:
        job_state = flow.execute("a")
        gate.await_arrival()
        threading.Timer(0.05, gate.open).start()
        flow.pause(job_state)
        assert names(job_state, "b")[-1] == "completed"
        assert [task["routine_id"] for task in job_state.pending_tasks] == ["c"]
        wait(flow, flow.resume(job_state))
    assert items(got) == [1]


class CountedAwaits:
    """Awaits a coroutine, counts its suspensions, whatever it awaits there, and calls something at one of them."""

    def __init__(self, coroutine: Any, stop_at: int, stop: Callable[[], None]) -> None:
        self.count = 0
        self._coroutine = coroutine
        self._stop_at = stop_at
        self._stop = stop

    def __await__(self) -> Any:
        send, value = self._coroutine.send, None
        while True:
            try:
                awaited = send(value)
            except StopIteration as ended:
                return ended.value
            self.count += 1
            if self.count == self._stop_at:
                self._stop()
            try:
                send, value = self._coroutine.send, (yield awaited)
            except BaseException as thrown:  # noqa: BLE001 - it goes where it was meant to go
                send, value = self._coroutine.throw, thrown


@contextlib.asynccontextmanager
async def opened(log: list[str]) -> Any:
    await asyncio.sleep(0)
    log.append("opened")
    try:
        yield
    finally:
        try:
            await asyncio.sleep(0)
        finally:
            log.append("closed")


async def counted(to: int) -> Any:
    for number in range(to):
        await asyncio.sleep(0)
        yield number


async def nested(routine: Routine, depth: int) -> None:
    await asyncio.sleep(0)
    if depth:
        await nested(routine, depth - 1)
    routine.emit("output", item="nested")


async def awaits_in_every_way(routine: Routine, log: list[str]) -> None:
    """What a handler may await in: a step of each, with emissions in between."""
    lock = asyncio.Lock()
    try:
        async with opened(log), lock:
            routine.emit("output", item="first")
            async for number in counted(2):
                routine.emit("output", item=number)
            async with asyncio.TaskGroup() as group:
                group.create_task(nested(routine, 1))
                group.create_task(nested(routine, 2))
            await nested(routine, 2)
            await asyncio.shield(asyncio.create_task(nested(routine, 1)))
            async with asyncio.timeout(DEADLINE):
                await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.0001))
            await asyncio.wait_for(asyncio.to_thread(log.append, "in a thread"), DEADLINE)
    finally:
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            log.append("cleaned up")


@pytest.mark.parametrize("store", [None, "memory:"])
@pytest.mark.parametrize("policy", [None, "retry", "continue"])
@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_a_cancellation_at_each_await_point_leaves_the_run_consistent(strategy, policy, store):
    ends: list[str] = []
    logs: list[list[str]] = []
    awaited: list[CountedAwaits] = []
    stop_at = 0

    async def handle(routine: Routine, data: dict[str, Any]) -> None:
        logs.append([])
        cancel = functools.partial(flow.cancel, routine.get_execution_context().job_state)
        awaited.append(CountedAwaits(awaits_in_every_way(routine, logs[-1]), stop_at, cancel))
        await awaited[-1]

    limited = Awaits(handle)
    limited.set_error_handler(None if policy is None else ErrorHandler(policy))
    flow = Flow("cancelled", strategy, 2, store=store)
    with draw("a -> b -> c", a=source(1), b=limited, c=node(), flow=flow):
        flow.on_run_end(lambda job_state: ends.append(job_state.status))
        while True:
            stop_at += 1
            job_state = wait(flow, flow.execute("a"))
            engine, history = flow._engine, names(job_state, "b")  # noqa: SLF001 - nothing of it may be left
            if job_state.status == "completed":
                break
            where = f"at await point {stop_at}"
            assert (job_state.status, job_state.pending_tasks, ends) == ("cancelled", [], ["cancelled"]), where
            assert (history.count("cancelled"), history.count("completed"), job_state.errors) == (1, 0, []), where
            assert "cleaned up" in logs[-1], where
            assert logs[-1].count("opened") == logs[-1].count("closed"), where
            assert (engine.loop.live_count(), engine.handover.loop()._driven) == (0, {}), where  # noqa: SLF001 - as above
            if store is not None:
                assert flow.load(job_state.job_id).status == "cancelled", where
            ends.clear()
        # It went through all of them, and the flow's token and workers are where they belong.
        assert stop_at == awaited[-1].count + 1 == 14
        assert history.count("completed") == 1


# -- what must not stand still


def test_a_handler_that_keeps_the_loops_thread_is_named_in_a_warning(caplog):
    async def blocks(routine: Routine, data: dict[str, Any]) -> None:
        until = time.perf_counter() + 0.12
        while time.perf_counter() < until:
            pass

    with caplog.at_level(logging.WARNING), draw("a -> b", a=source(1), b=Awaits(blocks)) as flow:
        flow.run("a")
    assert any("b.input" in message and "kept the loop" in message for message in caplog.messages)


class NotedHooks:
    """Hooks that note on which thread they are told of an end."""

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note

    def activation_started(self, job_state: JobState, routine_id: str, slot_name: str) -> None: ...

    def activation_ended(
        self, job_state: JobState, routine_id: str, slot_name: str, error: BaseException | None
    ) -> None:
        self._note()

    def run_ended(self, job_state: JobState) -> None: ...


class NotedPolicy(ErrorHandler):
    """A policy that notes on which thread it is asked, and in whose context."""

    def handle_error(self, error: Exception, routine: Any, routine_id: str, flow: Flow, *more: Any) -> bool:
        self.note()
        assert routine.get_execution_context().routine_id == "b"
        return True


@pytest.mark.parametrize("has_awaited", [True, False])
@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
@pytest.mark.parametrize("what", ["hook", "policy", "output handler"])
def test_what_the_application_adds_to_a_settlement_does_not_run_on_the_loops_thread(what, strategy, has_awaited):
    """The policy blocks until another async handler has run, which needs the loop's thread."""
    gate, loops, noted = Gate(), [], []

    def note() -> None:
        if threading.current_thread() not in noted:
            noted.append(threading.current_thread())

    async def handle(routine: Routine, data: dict[str, Any]) -> None:
        loops.append(threading.current_thread())
        if has_awaited:
            await asyncio.sleep(0)
        routine.send_output("said", item=1)
        if what == "policy" and data["item"] == 2:
            raise OSError("refused")
        routine.emit("output", **data)

    async def opens(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        gate.open()

    policy = NotedPolicy("continue") if what == "policy" else ErrorHandler("retry" if what != "hook" else "stop")
    policy.note = lambda: (note(), gate.hold())
    b = Awaits(handle)
    b.set_error_handler(policy)
    hooks = NotedHooks(note) if what == "hook" else None
    got: list[Any] = []
    flow = Flow(execution_strategy=strategy, hooks=hooks)
    parts = {"a": source(1, 2, 3), "b": b, "c": collector(got), "opens": Awaits(opens, "trigger")}
    with draw("a -> b -> c", **parts, flow=flow):
        job_state = JobState(flow.flow_id)
        if what == "output handler":
            job_state.set_output_handler(CallbackOutputHandler(lambda *args, **more: note()))
        flow.execute("a", job_state=job_state)
        if what == "policy":
            gate.await_arrival()
            # The loop's thread is free: another run's handler runs there, and lets the policy go on.
            assert flow.run("opens").status == "completed"
        assert wait(flow, job_state).status == "completed"
    assert noted
    assert not set(noted) & set(loops)
    assert sorted(items(got)) == ([1, 3] if what == "policy" else [1, 2, 3])


def test_a_handler_that_would_let_its_own_loop_stand_still_is_told_so():
    async def waits(routine: Routine, data: dict[str, Any]) -> None:
        routine.get_execution_context().flow.run("c")

    with draw("a -> b", a=source(1), b=Awaits(waits), c=Awaits(for_ever, "trigger")) as flow:
        job_state = flow.run("a")
        assert SelfWaitError.__name__ in [record.data["error_type"] for record in job_state.errors]
        flow.cancel()


@pytest.mark.parametrize("other_flow", [False, True])
def test_a_plain_entry_that_an_async_handler_executes_runs_on_a_worker(other_flow):
    threads: list[threading.Thread] = []
    job_states: list[JobState] = []

    def plain(routine: Routine, data: dict[str, Any]) -> None:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            raise ValueError

    async def parent(routine: Routine, data: dict[str, Any]) -> None:
        threads_of_loop.append(threading.current_thread())
        job_states.append(second.execute("plain"))

    threads_of_loop: list[threading.Thread] = []
    clock = FakeClock()  # nobody advances it while the loop would stand still for the retry
    retried = node(plain, slot="trigger")
    retried.set_error_handler(ErrorHandler("retry", max_retries=1, retry_delay=60.0))
    with Flow("one", clock=clock) as first, Flow("two", clock=clock) as beside:
        second = beside if other_flow else first
        draw(flow=first, parent=Awaits(parent, "trigger"))
        draw(flow=second, plain=retried)
        assert wait(first, first.execute("parent")).status == "completed"
        wait_until(second, job_states[0], lambda state: "error" in names(state, "plain"))
        clock.advance(60.0)
        assert wait(second, job_states[0]).status == "completed"
    assert len(threads) == 2
    assert not set(threads) & set(threads_of_loop)


@pytest.mark.parametrize("own_flow", [True, False])
@pytest.mark.parametrize("wait_kind", ["completion", "pending", "condition", "stream", "run"])
def test_every_blocking_wait_in_an_async_handler_says_what_to_do_instead(wait_kind, own_flow):
    may_end = threading.Event()

    def held(routine: Routine, data: dict[str, Any]) -> None:
        passed(may_end)

    waits: dict[str, Callable[[], Any]] = {
        "completion": lambda: JobState.wait_for_completion(second, second.execute("held")),
        "pending": lambda: JobState.wait_for_completion(second, JobState(second.flow_id)),
        "condition": lambda: JobState.wait_until_condition(second, second.execute("held"), lambda *_: False),
        "stream": lambda: list(second.stream("held")),
        "run": lambda: second.run("held"),
    }

    async def parent(routine: Routine, data: dict[str, Any]) -> None:
        with pytest.raises(SelfWaitError, match=r"wait_async|run_async"):
            waits[wait_kind]()

    other = draw(held=node(held, slot="trigger"))
    with other, draw(parent=Awaits(parent, "trigger"), held=node(held, slot="trigger")) as flow:
        second = flow if own_flow else other
        try:
            assert flow.run("parent").errors == []
        finally:
            may_end.set()


@pytest.mark.parametrize("count", [1, 3])
def test_a_plain_handler_with_a_loop_of_its_own_gives_its_place_away_while_that_awaits_runs(count):
    statuses: list[str] = []

    async def await_children() -> None:
        runs = await asyncio.gather(*[flow.run_async("child") for _ in range(count)])
        statuses.extend(run.status for run in runs)
        async for _ in flow.astream("child"):
            pass
        statuses.append("streamed")

    def plain(routine: Routine, data: dict[str, Any]) -> None:
        asyncio.run(await_children())

    with draw("a -> plain", a=source(1), plain=node(plain), child=source(1), flow=Flow("drawn", max_workers=1)) as flow:
        assert flow.run("a", timeout=DEADLINE).status == "completed"
        assert flow._engine.workers._given_away == 0  # noqa: SLF001 - it has its place again
    assert statuses == ["completed"] * count + ["streamed"]


def test_a_callback_of_a_runs_end_may_wait_for_another_run():
    statuses: list[str] = []

    async def short(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)

    with draw("a -> b", a=source(1), b=Awaits(short), c=Awaits(short, "trigger")) as flow:

        @flow.on_run_end
        def start_another(job_state: JobState) -> None:
            if not statuses:
                statuses.append("")
                statuses.append(flow.run("c").status)

        flow.run("a")
    assert statuses == ["", "completed"]


def test_a_handler_awaits_a_run_of_its_own_flow():
    async def starts(routine: Routine, data: dict[str, Any]) -> None:
        inner = await routine.get_execution_context().flow.run_async("c", {"item": 5})
        routine.emit("output", item=inner.status)

    got: list[Any] = []
    inner_got: list[Any] = []
    lines = ("a -> b -> d", "c -> e")
    with draw(*lines, a=source(1), b=Awaits(starts), c=source(), d=collector(got), e=collector(inner_got)) as flow:
        assert flow.run("a").status == "completed"
    assert (items(got), items(inner_got)) == (["completed"], [5])


# -- an application's own loops


def test_several_loops_in_one_process_await_runs_of_one_flow():
    async def short(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0.001)

    statuses: list[str] = []
    with draw("a -> b", a=source(*range(5)), b=Awaits(short)) as flow:

        async def main() -> None:
            found = await asyncio.gather(*(flow.run_async("a") for _ in range(5)))
            statuses.extend(job_state.status for job_state in found)

        threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert statuses == ["completed"] * 15


def test_run_async_and_wait_async_leave_the_applications_loop_free():
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))

    async def main() -> None:
        running = asyncio.create_task(flow.run_async("a"))
        await asyncio.to_thread(gate.await_arrival)
        assert not await flow.wait_async(flow._engine.loop.live_runs()[0].job_state, 0.01)  # noqa: SLF001 - no name
        assert not running.done()
        gate.open()
        assert (await running).status == "completed"

    asyncio.run(main())
    flow.shutdown()


def test_a_wait_for_a_state_that_nobody_drives_keeps_no_thread_and_ends_when_it_is_cancelled():
    async def wait_and_give_up() -> None:
        pool = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(pool)
        waits = [asyncio.create_task(flow.wait_async(JobState(flow.flow_id))) for _ in range(50)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: True)  # there is a thread
        for task in waits:
            task.cancel()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)

    with Flow("drawn") as flow:
        in_thread(lambda: asyncio.run(wait_and_give_up()))()


def test_a_wait_for_a_state_that_nobody_drives_ends_when_it_is_over_or_driven_or_its_time_is():
    began, may_end = threading.Event(), threading.Event()

    def hold(routine: Routine, data: dict[str, Any]) -> None:
        began.set()
        passed(may_end)

    async def wait_for_all() -> None:
        pending = JobState(flow.flow_id)
        assert not await flow.wait_async(pending, 0.0)
        paused = reloaded(JobState(flow.flow_id))
        paused.status = "paused"
        assert await flow.wait_async(paused)
        waiting = asyncio.create_task(flow.wait_async(pending))
        await asyncio.sleep(0)
        running = asyncio.create_task(asyncio.to_thread(flow.execute, "a", job_state=pending))
        await asyncio.to_thread(passed, began)
        may_end.set()
        assert await waiting
        await running
        assert pending.status == "completed"

    with draw(a=node(hold, slot="trigger")) as flow:
        in_thread(lambda: asyncio.run(wait_for_all()))()


def test_cancelling_run_async_cancels_the_run():
    began = threading.Event()
    flow = draw(a=Awaits(begun(began), "trigger"))
    ended: list[str] = []
    flow.on_run_end(lambda job_state: ended.append(job_state.status))

    async def main() -> None:
        running = asyncio.create_task(flow.run_async("a"))
        await asyncio.to_thread(passed, began)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    flow.shutdown()
    assert ended == ["cancelled"]


def test_astream_yields_what_stream_does():
    def say(routine: Routine, data: dict[str, Any]) -> None:
        routine.send_output("said", item=data["item"])

    def seen(item: Any) -> str:
        return item["output_type"] if isinstance(item, dict) else f"{item.routine_id}.{item.event_name}"

    async def main() -> list[str]:
        stream = flow.astream("a")
        assert stream.job_state.status == "pending"
        return [seen(item) async for item in stream]

    with draw("a -> b", a=source(1, 2), b=node(say)) as flow:
        assert asyncio.run(main()) == [seen(item) for item in flow.stream("a")]


# -- without threads, and without a flow


def test_a_stepped_flow_drives_a_coroutine_to_its_end():
    async def short(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0.001)
        routine.emit("output", **data)

    got: list[Any] = []
    executor = ManualExecutor()
    flow = draw("a -> b -> c", a=source(1), b=Awaits(short), c=collector(got), flow=Flow(executor=executor))
    job_state = flow.execute("a")
    assert executor.step()
    assert names(job_state, "b") == ["start", "output", "completed"]
    executor.run_until_idle()
    assert (job_state.status, items(got)) == ("completed", [1])


def test_activate_awaits_an_async_handler():
    async def short(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        routine.emit("output", item=data["item"] + 1)

    assert activate(Awaits(short), "input", item=1).emitted() == [("output", {"item": 2})]


def test_a_slot_that_receives_without_a_flow_says_that_nothing_awaits_its_handler():
    async def never(data: dict[str, Any]) -> None:
        raise AssertionError("this is never called")

    with pytest.raises(TypeError, match="Put its routine into a Flow"):
        Slot("input", handler=never).call_handler({}, propagate_exceptions=True)


def test_async_with_waits_for_the_runs_of_a_flow_and_leaves_the_loop_free():
    async def application() -> JobState:
        released = asyncio.Event()
        loop = asyncio.get_running_loop()

        def asks_the_loop(routine: Routine, data: dict[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result(DEADLINE)

        async with draw("a -> b", a=source(1), b=node(asks_the_loop)) as flow:
            job_state = flow.execute("a")
            loop.call_later(0.01, released.set)
        return job_state

    job_state = asyncio.run(application())
    assert (job_state.status, job_state.errors) == ("completed", [])


def test_an_exception_that_leaves_async_with_parks_the_runs():
    gate, runs = Gate(), []

    async def application() -> None:
        async with draw("a -> b -> c", a=source(1), b=node(gate.act), c=node()) as flow:
            runs.append(flow.execute("a"))
            await asyncio.to_thread(gate.await_arrival)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(application())
    assert (runs[0].status, runs[0].pause_points[-1]["reason"]) == ("paused", "shutdown")
    gate.open()


# -- with a store


def test_a_run_with_async_handlers_is_kept_and_an_interrupted_one_goes_on_from_the_store():
    async def relay(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        routine.emit("output", **data)

    got: list[Any] = []
    parts = {"a": source(1, 2), "b": Awaits(relay), "c": collector(got)}
    with draw("a -> b -> c", flow=Flow("kept", store="memory:"), **parts) as flow:
        job_state = flow.run("a")
        assert (job_state.status, items(got)) == ("completed", [1, 2])
        assert flow.load(job_state.job_id).status == "completed"


# -- many


def test_five_thousand_awaiting_handlers_occupy_no_worker_and_plain_ones_go_on_beside_them():
    count, begun = itertools.count(1), threading.Event()
    released: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def waits(routine: Routine, data: dict[str, Any]) -> None:
        if not released:
            released.append((asyncio.get_running_loop(), asyncio.Event()))
        if next(count) == 5000:
            begun.set()
        await released[0][1].wait()

    got: list[Any] = []
    other_got: list[Any] = []
    parts = {"p": source(*range(500)), "q": relay(), "r": collector(got)}
    with (
        draw("a -> b", "p -> q -> r", a=source(*range(5000)), b=Awaits(waits), **parts) as flow,
        draw("p -> r", p=source(*range(500)), r=collector(other_got)) as other,
    ):
        flow.set_execution_strategy("concurrent", 2)
        job_state = flow.execute("a")
        passed(begun)
        assert [flow.run("p").status, other.run("p").status] == ["completed", "completed"]
        assert (len(got), len(other_got)) == (500, 500)
        assert len([task for task in flow._active_tasks if not task.done()]) == 5000
        workers = flow._engine.workers  # noqa: SLF001 - nobody else tells how many are at work
        ends_at = time.monotonic() + DEADLINE
        while workers._working and time.monotonic() < ends_at:  # noqa: SLF001 - as above
            threading.Event().wait(0.001)
        assert workers._working == 0  # noqa: SLF001 - as above
        loop, event = released[0]
        loop.call_soon_threadsafe(event.set)
        assert wait(flow, job_state).status == "completed"


AWAIT_TOGETHER = """
import asyncio, resource
from routilux import Flow, Routine

begun = 0
all_begun = asyncio.Event()
source, waits = Routine(), Routine()
source.define_event("output")
source.define_slot("trigger", lambda: [source.emit("output", n=n) for n in range(5000)] and None)

async def short(n):
    global begun
    begun += 1
    if begun == 5000:
        all_begun.set()
    await all_begun.wait()

waits.define_slot("input", short)
flow = Flow(execution_strategy="concurrent", max_workers=2)
flow.add_routine(source, "source")
flow.add_routine(waits, "waits")
flow.connect("source", "output", "waits", "input")
before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with flow:
    assert flow.run("source", timeout=30.0).status == "completed"
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb)
"""


def test_five_thousand_handlers_await_together_in_less_than_150_megabytes():
    ended = subprocess.run([sys.executable, "-c", AWAIT_TOGETHER], check=True, capture_output=True, text=True)
    assert int(ended.stdout) < 150 * 1024


def test_the_import_does_without_asyncio():
    import_only = "import sys, routilux; assert 'asyncio' not in sys.modules, 'asyncio was imported'"
    subprocess.run([sys.executable, "-c", import_only], check=True)
