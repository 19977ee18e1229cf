"""Async generators as routines, and what they leave to the others on the flow's coroutine loop."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.functions import routine
from routilux.testing import FakeClock
from tests.drawings import Gate, collector, draw, in_thread, names, passed, wait

# A generator that nothing stops ends here, and its test fails.
MOST = 5000

# What stops a run from outside.
Stop = Callable[[Flow, FakeClock, JobState], Any]

STOPS: dict[str, Stop] = {
    "cancelled": lambda flow, clock, job_state: flow.cancel(job_state),
    "failed": lambda flow, clock, job_state: clock.advance(5.0),
}


class Endless:
    """Functions that give one item after the other and await nothing in between, held at a gate at the third."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.job_states: list[JobState] = []
        self.taken: list[int] = []
        self.closed: list[str] = []

    def _take(self, number: int) -> int:
        self.taken.append(number)
        if number == 3:
            context = self.routine.get_execution_context()
            self.job_states.append(context.job_state)
            self.gate.hold()
        return number

    def asynchronous(self) -> Any:
        async def numbers(item: int = 0) -> Any:
            try:
                for number in range(1, MOST):
                    yield self._take(number)
            finally:
                self.closed.append("began")
                await asyncio.sleep(0)
                self.closed.append("ended")

        return numbers

    def awaited(self) -> Any:
        def plain() -> Any:
            try:
                for number in range(1, MOST):
                    yield self._take(number)
            finally:
                self.closed += ["began", "ended"]

        async def numbers(item: int = 0) -> Any:
            return plain()

        return numbers

    def draw(self, kind: str, clock: FakeClock, got: list[Any]) -> Flow:
        """A flow of `start`, the function as `numbers`, and `sink`."""
        self.routine = routine(getattr(self, kind)(), routine_id="numbers")
        flow = draw(sink=collector(got), flow=Flow(clock=clock))
        flow.chain(routine(lambda: 1, routine_id="start"), self.routine, "sink")
        return flow


@pytest.mark.parametrize("kind", ["asynchronous", "awaited"])
@pytest.mark.parametrize("entry", ["start", "numbers"])
@pytest.mark.parametrize("status", list(STOPS))
def test_an_endless_async_generator_is_closed_when_its_run_is_stopped(status, entry, kind):
    endless, clock, got = Endless(), FakeClock(), []
    with endless.draw(kind, clock, got) as flow:
        executed = in_thread(lambda: flow.execute(entry, timeout=5.0))
        endless.gate.await_arrival()
        job_state = endless.job_states[0]
        STOPS[status](flow, clock, job_state)
        assert JobState.wait_until_condition(flow, job_state, lambda _, state: state.status == status, timeout=5)
        endless.gate.open()
        assert executed() is job_state
        wait(flow, job_state)
    assert (endless.taken, endless.closed, got) == ([1, 2, 3], ["began", "ended"], [])
    assert names(job_state, "numbers").count("refused") == 1


def test_an_async_generator_that_cancels_its_own_run_is_closed():
    endless, got = Endless(), []
    flow = endless.draw("asynchronous", FakeClock(), got)
    endless.gate.hold = flow.cancel
    with flow:
        assert wait(flow, flow.execute("start")).status == "cancelled"
    assert (endless.taken, endless.closed, got) == ([1, 2, 3], ["began", "ended"], [])


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_generator_that_awaits_nothing_leaves_the_loop_to_other_runs(is_awaited):
    begins, began = threading.Event(), threading.Event()
    counts: list[int] = []

    async def numbers() -> Any:
        for each in plain():
            yield each

    async def awaited() -> Any:
        return plain()

    def plain() -> Any:
        begins.set()
        for number in itertools.count():
            yield None
            if began.wait(0.001) or number == MOST:
                counts.append(number)
                return

    async def other() -> None:
        began.set()

    with Flow() as flow:
        flow.routine(awaited if is_awaited else numbers, routine_id="numbers")
        flow.routine(other)
        counting = in_thread(lambda: flow.run("numbers"))
        passed(begins)
        assert flow.run("other").status == "completed"
        assert counting().status == "completed"
    assert counts[0] < MOST


def test_a_generator_that_awaits_nothing_is_cancelled_when_its_attempt_takes_too_long():
    never = threading.Event()
    closed: list[int] = []

    async def numbers() -> Any:
        number = 0
        try:
            while number < MOST:
                never.wait(0.001)
                number += 1
                yield None
        finally:
            closed.append(number)

    with Flow() as flow:
        flow.routine(numbers).set_limits(attempt_timeout=0.02)
        assert flow.run("numbers").status == "failed"
    assert len(closed) == 1
    assert closed[0] < MOST
