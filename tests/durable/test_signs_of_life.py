"""One sign of life counts for all live runs of a flow."""

import itertools
from collections.abc import Iterator

import pytest

from routilux import Flow, Routine
from routilux.stores.memory import MemoryStore
from routilux.testing import FakeClock, ManualExecutor
from tests.drawings import draw, entry, node

LEASE = 9.0
THIRD = LEASE / 3


class Noting(MemoryStore):
    """Notes when its lease was renewed, by the clock of the flow."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("memory:", "group", LEASE)
        self.clock = clock
        self.renewed_at: list[float] = []

    def renew(self) -> None:
        self.renewed_at.append(self.clock.monotonic_ns() / 1e9)
        super().renew()


class Office:
    """A flow whose runs wait for a delay of so many seconds."""

    def __init__(self) -> None:
        def later(routine: Routine, data: dict[str, float]) -> None:
            routine.emit_later("output", delay=data["delay"])

        self.clock = FakeClock()
        self.store = Noting(self.clock)
        self.executor = ManualExecutor()
        flow = Flow("office", store=self.store, clock=self.clock, executor=self.executor, execution_timeout=None)
        self.flow = draw("a -> b", flow=flow, a=entry(later), b=node())

    def start(self, delay: float = 1000.0) -> None:
        assert self.flow.execute("a", {"delay": delay}).status == "running"

    def pass_seconds(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.executor.run_until_idle()

    def gaps(self, since: float) -> list[float]:
        instants = [since, *(at for at in self.store.renewed_at if at > since), self.clock.monotonic_ns() / 1e9]
        return [after - before for before, after in itertools.pairwise(instants)]


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.flow.shutdown(wait=False)


def test_a_hundred_live_runs_renew_their_lease_once_in_a_third_of_it(office):
    for _ in range(100):
        office.start()
        office.pass_seconds(0.1)
    office.store.renewed_at.clear()
    began_at = office.clock.monotonic_ns() / 1e9
    office.pass_seconds(10 * LEASE)
    assert 29 <= len(office.store.renewed_at) <= 31
    assert max(office.gaps(began_at)) <= THIRD + 0.2


def test_the_lease_is_renewed_as_long_as_one_run_is_live_whichever_it_is(office):
    began_at = office.clock.monotonic_ns() / 1e9
    for delay in (40.0, 10.0, 2.5, 4.0, 60.0):
        office.start(delay)
        office.pass_seconds(1.3)
    office.pass_seconds(50.0)
    assert [run.status for run in office.store.list_runs()].count("running") == 1
    assert max(office.gaps(began_at)) <= THIRD + 0.2


def test_runs_that_begin_after_a_rest_renew_a_third_of_a_lease_later(office):
    office.start(1.0)
    office.pass_seconds(100.0)
    before = len(office.store.renewed_at)
    began_at = office.clock.monotonic_ns() / 1e9
    office.start()
    office.pass_seconds(THIRD - 0.5)
    assert len(office.store.renewed_at) == before
    office.pass_seconds(4 * THIRD)
    assert max(office.gaps(began_at)) <= THIRD + 0.2
