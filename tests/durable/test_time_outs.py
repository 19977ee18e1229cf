"""The timeout of a request is kept, whatever its run, its store and the wall clock are doing when the time is over."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routilux import Flow
from routilux.errors import StoreUnavailableError
from routilux.flow.durable.durability import Durability
from routilux.flow.durable.group_commit import GroupCommit
from routilux.flow.event_loop import EventLoop
from routilux.flow.run_inputs import RunInputs
from routilux.stores.memory import MemoryStore
from routilux.testing import FakeClock
from tests.asking import Clerk, desk
from tests.drawings import DEADLINE, Gate, draw, entry, node, wait, wait_until

ASKED = {"names": ["approval"], "timeout": 0.1}
TIMED_OUT = {"name": "approval", "timed_out": True}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a store that is empty."""
    if request.param == "sqlite":
        return str(tmp_path / "runs.db")
    new_schema: Callable[[], str] = request.getfixturevalue("new_schema")
    return new_schema()


class Looks:
    """Notes each look at a run whose request may be too late."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._done = threading.Semaphore(0)
        for owner, look in ((Durability, "wake"), (RunInputs, "expire_requests")):
            monkeypatch.setattr(owner, look, self._noted(getattr(owner, look)))

    def _noted(self, look: Callable[..., None]) -> Callable[..., None]:
        def noted(*args: Any) -> None:
            look(*args)
            self._done.release()

        return noted

    def await_one(self) -> None:
        assert self._done.acquire(timeout=DEADLINE)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """The timers of requests, which fire when the test calls them."""
    calls: list[Callable[[], None]] = []
    monkeypatch.setattr(EventLoop, "call_at", lambda loop, due_ns, call: calls.append(call))
    return calls


def test_a_request_whose_time_ends_while_its_run_is_being_paused_times_out(
    url: str, monkeypatch: pytest.MonkeyPatch, timers: list[Callable[[], None]]
) -> None:
    clock, looks = FakeClock(), Looks(monkeypatch)
    add = GroupCommit.add

    def ends_before(*args: Any, release: bool = False, **more: Any) -> None:
        if release and len(timers) == 1:  # it is paused here, and the store does not know that yet
            clock.advance(0.1)
            timers[0]()
            looks.await_one()
        add(*args, release=release, **more)

    monkeypatch.setattr(GroupCommit, "add", ends_before)
    flow, clerk = desk(store=url, clock=clock)
    with flow:
        job_state = flow.execute("clerk", ASKED)
        looks.await_one()
        assert wait(flow, job_state).status == "completed"
        assert clerk.got == [TIMED_OUT]


class FullWhenPaused(MemoryStore):
    """A store that cannot keep that a run is paused while it is `full`."""

    full = True

    def write(self, writes: Any) -> None:
        if self.full and any(each.status == "paused" for each in writes):
            raise StoreUnavailableError("The disk is full.")
        super().write(writes)


def test_a_request_times_out_when_its_store_could_not_keep_that_its_run_was_paused(
    monkeypatch: pytest.MonkeyPatch, timers: list[Callable[[], None]]
) -> None:
    clock, looks, store = FakeClock(), Looks(monkeypatch), FullWhenPaused()
    flow, clerk = desk(store=store, clock=clock)
    with flow:
        job_state = flow.execute("clerk", ASKED, job_id="order-17")
        found = store.find("order-17")
        assert found is not None
        assert (job_state.status, found.status) == ("paused", "running")
        clock.advance(0.1)
        for _ in range(2):  # one while it is full, one when it is not any more
            timers[-1]()
            looks.await_one()
            store.full = False
        timers[-1]()
        looks.await_one()
        assert wait(flow, job_state).status == "completed"
        assert clerk.got == [TIMED_OUT]


class SteppedClock(FakeClock):
    """A clock whose wall clock somebody sets back."""

    def __init__(self) -> None:
        super().__init__()
        self.set_back_ns = 0

    def time_ns(self) -> int:
        return super().time_ns() - self.set_back_ns


@pytest.mark.parametrize("is_recovered", [False, True])
def test_a_paused_run_times_out_by_the_wall_clock_however_often_that_is_set_back(
    url: str, monkeypatch: pytest.MonkeyPatch, is_recovered: bool
) -> None:
    clock, looks = SteppedClock(), Looks(monkeypatch)
    flow, clerk = desk(store=url, clock=clock)
    job_state = flow.execute("clerk", ASKED, job_id="order-17")
    if is_recovered:
        flow.shutdown()
        assert flow.recover() == []
    for seconds in (0.1, 0.04, 0.04):
        clock.set_back_ns += 40_000_000
        clock.advance(seconds)
        looks.await_one()
        assert (job_state.status, clerk.got) == ("paused", [])
    clock.advance(0.04)
    looks.await_one()
    assert wait(flow, job_state).status == "completed"
    assert clerk.got == [TIMED_OUT]
    flow.shutdown()


@pytest.mark.parametrize("store", [None, "memory:"])
def test_a_run_that_goes_on_times_out_by_the_wall_clock_however_often_that_is_set_back(
    store: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, looks, gate, clerk = SteppedClock(), Looks(monkeypatch), Gate(), Clerk()
    flow = draw(
        "a -> clerk.ask",
        "a -> slow",
        flow=Flow("busy", "concurrent", store=store, clock=clock),
        a=entry(lambda routine, data: routine.emit("output", **ASKED)),
        clerk=clerk,
        slow=node(lambda routine, data: gate.hold()),
    )
    with flow:
        job_state = flow.execute("a")
        gate.await_arrival()
        wait_until(flow, job_state, lambda state: bool(state.input_requests))
        for seconds in (0.1, 0.04, 0.04):
            clock.set_back_ns += 40_000_000
            clock.advance(seconds)
            looks.await_one()
            assert clerk.got == []
        clock.advance(0.04)
        wait_until(flow, job_state, lambda state: clerk.got == [TIMED_OUT])
        gate.open()
        assert wait(flow, job_state).status == "completed"
