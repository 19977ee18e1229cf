"""Those who look on, and those who keep what must be durable, are told in order."""

import threading
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState
from routilux.executors import ThreadPools
from routilux.interfaces import Settlement
from routilux.testing import FakeClock, ManualExecutor
from tests.drawings import collector, draw, entry, fails, node, source


class Onlooker:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def activation_started(self, job_state: JobState, routine_id: str, slot: str) -> None:
        self.told.append(("started", routine_id, slot))

    def activation_ended(self, job_state: JobState, routine_id: str, slot: str, error: BaseException | None) -> None:
        self.told.append(("ended", routine_id, slot, error))

    def run_ended(self, job_state: JobState) -> None:
        self.told.append(("run ended", job_state.status))


class Keeper:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def started(self, job_id: str, entry_routine_id: str, params: dict[str, Any]) -> None:
        self.kept.append(("started", entry_routine_id, params))

    def settled(self, settlement: Settlement) -> None:
        self.kept.append((settlement.routine_id, settlement.slot, settlement.outcome, settlement.attempt))

    def ended(self, job_id: str, status: str) -> None:
        self.kept.append(("ended", status))


def test_an_onlooker_is_told_of_each_activation_and_of_the_end():
    hooks, error = Onlooker(), ValueError("no good")
    flow = draw("a -> b", flow=Flow(hooks=hooks), a=source(1), b=node(fails(error)))
    flow.run("a")
    flow.shutdown()
    assert hooks.told == [
        ("started", "a", "trigger"),
        ("ended", "a", "trigger", None),
        ("started", "b", "input"),
        ("ended", "b", "input", error),
        ("run ended", "completed"),
    ]


def test_an_onlooker_is_told_on_the_thread_where_it_happens():
    class Here(Onlooker):
        def activation_started(self, job_state: JobState, routine_id: str, slot: str) -> None:
            self.told.append(threading.current_thread())

    hooks = Here()
    flow = draw("a -> b", flow=Flow(hooks=hooks), a=source(1), b=collector([]))
    flow.run("a")
    flow.shutdown()
    first, second = [each for each in hooks.told if isinstance(each, threading.Thread)]
    assert first is threading.current_thread()
    assert second.name.startswith("ThreadPoolExecutor-")


@pytest.mark.parametrize("name", ["activation_started", "activation_ended", "run_ended"])
def test_what_an_onlooker_raises_is_logged_and_stops_nothing(name, caplog):
    hooks = Onlooker()

    def broken(*args: Any) -> None:
        raise LookupError("broken on purpose")

    setattr(hooks, name, broken)
    seen: list[Any] = []
    flow = draw("a -> b", flow=Flow(hooks=hooks), a=source(1), b=collector(seen))
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert seen == [{"item": 1}]
    assert "broken on purpose" in caplog.text


def test_a_journal_is_told_in_the_order_in_which_a_run_settles():
    journal = Keeper()
    clock, executor = FakeClock(), ManualExecutor()
    retried = node(fails(ValueError("once"), 1), error_handler=ErrorHandler("retry", retry_delay=0))
    flow = draw(
        "a -> b", "a -> c", "a -> d",
        flow=Flow(journal=journal, clock=clock, executor=executor),
        a=source(1), b=retried, c=node(fails(ValueError("x"))),
        d=node(fails(ValueError("x")), error_handler=ErrorHandler("skip")),
    )  # fmt: skip
    flow.execute("a", {"n": 1})
    executor.run_until_idle()
    settled = journal.kept[1:-1]
    assert journal.kept[0] == ("started", "a", {"n": 1})
    assert settled[0] == ("a", "trigger", "completed", 1)
    final = [each for each in settled if each[2] != "retry"]
    assert sorted(final[1:]) == [
        ("b", "input", "completed", 2), ("c", "input", "error_continued", 1), ("d", "input", "skipped", 1),
    ]  # fmt: skip
    assert journal.kept[-1] == ("ended", "completed")


def test_a_journal_is_told_of_a_run_that_fails():
    journal = Keeper()
    draw(flow=Flow(journal=journal), a=entry(lambda routine, data: 1 / 0)).execute("a")
    assert journal.kept == [("started", "a", {}), ("a", "trigger", "failed", 1), ("ended", "failed")]


def test_the_default_pools_are_thread_pools():
    pools = ThreadPools()
    assert pools.threaded is True
    pool = pools.open_pool(2)
    name = pool.submit(lambda: threading.current_thread().name).result(timeout=20)
    assert name.startswith("ThreadPoolExecutor-")
    pool.shutdown()
