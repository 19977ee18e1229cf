"""Runs that a durable handler starts: found again by the same attempt after a crash, started anew by the next one."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Self

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.flow.task import Activation
from routilux.stores.memory import MemoryStore
from tests.drawings import Gate, draw, entry, node, wait
from tests.durable.deadlines import until

RETRIED = ErrorHandler("retry", max_retries=1, retry_delay=0.0)
STOPS = ErrorHandler("stop")


class Shop:
    """What the world outside knows: whether a card is refused, and which payments there were."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.payments: list[str] = []

    def pay(self, routine: Routine, data: dict[str, Any]) -> None:
        self.payments.append("refused" if self.refusals else "paid")
        if self.refusals:
            self.refusals -= 1
            raise ValueError("The card is refused.")


class Mortal(MemoryStore):
    """The store of a process that may die."""

    def die(self) -> None:
        with self._memory.lock:
            self._memory.leases.clear()


class Process:
    """Stands for one process: flows of its own over a store that others have too. It can die."""

    def __init__(self, shop: Shop, policy: ErrorHandler, dies_after: Callable[[JobState], bool]) -> None:
        self.gate = Gate()
        self.store = Mortal("memory:nested-runs")
        self.asked: list[tuple[str, str]] = []
        self.payments = Flow("payments", store=self.store)
        self.payments.set_error_handler(ErrorHandler("stop"))
        self.payments.add_routine(entry(shop.pay), "pay")

        def order(routine: Routine, data: dict[str, Any]) -> None:
            found = self.payments.run("pay")
            context = routine.get_execution_context()
            assert context is not None
            self.asked.append((found.job_id.removeprefix(context.activation_id), found.status))
            if dies_after(found):
                self.gate.hold()
            if found.status != "completed":
                raise RuntimeError("It is not paid.")

        relay = entry(lambda routine, data: routine.emit("output"))
        self.flow = draw("a -> b", flow=Flow("orders", store=self.store), a=relay, b=node(order, error_handler=policy))

    def die(self) -> None:
        """Give no sign of life any more, in the middle of a handler, when all before that is kept."""
        self.gate.await_arrival()
        attempt = int(self.asked[-1][0].split(".")[-2] or 1)
        until(lambda: self.store.load("order").pending_tasks[0]["attempt"] == attempt)
        self.store.die()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.open()
        self.flow.shutdown(wait=False)
        self.payments.shutdown(wait=False)


@pytest.fixture(autouse=True)
def store() -> Iterator[MemoryStore]:
    with closing(MemoryStore("memory:nested-runs")) as keeper:
        yield keeper
        for header in keeper.list_runs():
            keeper.delete(header.job_id)


def never(_: JobState) -> bool:
    return False


def paid(found: JobState) -> bool:
    return found.status == "completed"


def test_a_later_attempt_that_runs_again_after_a_crash_finds_its_own_run() -> None:
    shop = Shop(refusals=1)
    with Process(shop, RETRIED, dies_after=paid) as first, Process(shop, RETRIED, dies_after=never) as second:
        first.flow.execute("a", job_id="order")
        first.die()
        (job_state,) = second.flow.recover()
        assert wait(second.flow, job_state).status == "completed"
        assert first.asked == [(".1.1", "failed"), (".2.1", "completed")]
        assert second.asked == [(".2.1", "completed")]
        assert shop.payments == ["refused", "paid"]


def test_a_dead_letter_that_is_tried_again_starts_its_run_anew_and_finds_that_after_a_crash() -> None:
    shop = Shop(refusals=1)
    with (
        Process(shop, STOPS, dies_after=never) as first,
        Process(shop, STOPS, dies_after=paid) as second,
        Process(shop, STOPS, dies_after=never) as third,
    ):
        assert wait(first.flow, first.flow.execute("a", job_id="order")).status == "failed"
        second.flow.retry_failed("order")
        second.die()
        (job_state,) = third.flow.recover()
        assert wait(third.flow, job_state).status == "completed"
        assert first.asked == [(".1.1", "failed")]
        assert second.asked == third.asked == [(".1.1.1", "completed")]
        assert shop.payments == ["refused", "paid"]


def test_a_dead_letter_has_another_run_each_time_that_it_is_tried() -> None:
    shop = Shop(refusals=2)
    with Process(shop, STOPS, dies_after=never) as process:
        job_state = wait(process.flow, process.flow.execute("a", job_id="order"))
        for status in ("failed", "completed"):
            assert wait(process.flow, process.flow.retry_failed(job_state)).status == status
        assert [name for name, _ in process.asked] == [".1.1", ".1.1.1", ".2.1.1"]
        assert shop.payments == ["refused", "refused", "paid"]


def test_the_run_of_a_handler_is_found_that_the_routilux_of_before_has_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(refusals=0)
    with Process(shop, STOPS, dies_after=paid) as first, Process(shop, None, dies_after=never) as second:
        with monkeypatch.context() as before:
            before.setattr(Activation, "next_execute", lambda activation: (1, f"{activation.activation_id}.1"))
            first.flow.execute("a", job_id="order")
            first.die()
        (job_state,) = second.flow.recover()
        assert wait(second.flow, job_state).status == "completed"
        assert first.asked == second.asked == [(".1", "completed")]
        assert shop.payments == ["paid"]


def test_runs_in_runs_have_names_that_every_store_takes_however_deep_they_stand() -> None:
    names: list[str] = []
    flow = Flow("deep", store="memory:")

    def go_down(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        names.append(context.job_state.job_id)
        if len(names) < 40:
            assert flow.run("down").status == "completed"

    with flow:
        flow.add_routine(entry(go_down), "down")
        assert flow.run("down", job_id="top" * 600).status == "completed"
    assert len(set(names)) == 40
    assert max(map(len, names[1:])) <= 400
    assert all(name.startswith("toptop") for name in names)
