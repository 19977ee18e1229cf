"""The flows that are measured, and what a run of each must have recorded."""

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

from routilux import Flow, JobState, Routine
from tests.benchmarks.measure import expect

__all__ = ["Calls", "async_ring", "fan_out", "lone", "recorded", "ring", "run_fan_out", "run_ring", "side_by_side"]


class Calls:
    """Counts the calls of handlers, from any number of threads."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def add(self) -> None:
        """One more. A C call: it cannot be interrupted, and costs a thirtieth of a microsecond."""
        next(self._numbers)

    def total(self) -> int:
        """How many since the last look."""
        found = next(self._numbers)
        self._numbers = itertools.count()
        return found


class Starter(Routine):
    """Begins a countdown."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.begin)
        self.define_event("next", ["n"])

    def begin(self, n: int) -> None:
        self.emit("next", n=n)


class Step(Routine):
    """One hop of a countdown: the smallest work that goes on."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls
        self.define_slot("in", self.hop)
        self.define_event("next", ["n"])

    def hop(self, n: int) -> None:
        self.calls.add()
        if n > 1:
            self.emit("next", n=n - 1)


class AsyncStep(Step):
    """As `Step`, with a handler that is `async def`."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self.get_slot("in").handler = self.async_hop

    async def async_hop(self, n: int) -> None:
        self.calls.add()
        if n > 1:
            self.emit("next", n=n - 1)


class Source(Routine):
    """Emits so many messages at once."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.begin)
        self.define_event("out", ["v"])

    def begin(self, count: int) -> None:
        for v in range(count):
            self.emit("out", v=v)


class Sink(Routine):
    """Receives them."""

    def __init__(self, handler: Callable[[int], None]) -> None:
        super().__init__()
        self.define_slot("in", handler)


class Lone(Routine):
    """An entry that does nothing and tells nobody."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls
        self.define_slot("trigger", self.begin)

    def begin(self) -> None:
        self.calls.add()


def ring(size: int, workers: int, calls: Calls) -> Flow:
    """`size` routines in a circle, and a starter; with as many hops as routines each of them is used once."""
    flow = Flow(execution_strategy="concurrent", max_workers=workers)
    flow.add_routine(Starter(), "start")
    for number in range(size):
        flow.add_routine(Step(calls), str(number))
    flow.connect("start", "next", "0", "in")
    for number in range(size):
        flow.connect(str(number), "next", str((number + 1) % size), "in")
    return flow


def async_ring(calls: Calls) -> Flow:
    """A sequential flow of one routine whose handler is `async def` and feeds itself, and a starter."""
    flow = Flow()
    flow.add_routine(Starter(), "start")
    flow.add_routine(AsyncStep(calls), "0")
    flow.connect("start", "next", "0", "in")
    flow.connect("0", "next", "0", "in")
    return flow


def fan_out(workers: int, handler: Callable[[int], None]) -> Flow:
    """A source, and a sink with this handler."""
    flow = Flow(execution_strategy="concurrent", max_workers=workers)
    flow.add_routine(Source(), "source")
    flow.add_routine(Sink(handler), "sink")
    flow.connect("source", "out", "sink", "in")
    return flow


def side_by_side(calls: Calls, handler: Callable[[int], None]) -> Flow:
    """A countdown, and a source with a sink whose queue may be long. One worker: the hardest case for the countdown."""
    flow = ring(1, 1, calls)
    flow.add_routine(Source(), "source")
    flow.add_routine(Sink(handler), "sink")
    flow.connect("source", "out", "sink", "in")
    return flow


def lone(calls: Calls) -> Flow:
    """A flow of one routine."""
    flow = Flow(execution_strategy="concurrent", max_workers=1)
    flow.add_routine(Lone(calls), "lone")
    return flow


def run_ring(flow: Flow, hops: int) -> JobState:
    """Count down from `hops`; returns when the run is over."""
    return flow.run("start", {"n": hops})


def run_fan_out(flow: Flow, messages: int) -> JobState:
    """Emit `messages` messages; returns when the last of them was handled."""
    return flow.run("source", {"count": messages})


def recorded(job_state: JobState, calls: int, tasks: int, **emitted: int) -> None:
    """Check that a run did its work and wrote all of it down.

    Args:
        job_state: The run, which is over.
        calls: How often handlers counted themselves.
        tasks: How often they should have; the entry is not among them.
        **emitted: How many emissions of each event there should be on record.

    Raises:
        WorkNotDoneError: It did not.
    """
    expect("handlers called", calls, tasks)
    expect("status of the run", job_state.status, "completed")
    found: dict[str, Any] = Counter(record.event_name for record in job_state.execution_history)
    expect("records of the run", dict(found), {"start": tasks + 1, "completed": tasks + 1, **emitted})
