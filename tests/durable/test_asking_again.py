"""Who asks for a run by its job_id again gets it, also when the process that had begun it is no more."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.flow.durable import elsewhere
from routilux.stores.memory import MemoryStore
from tests.contract.children import child, said, tell
from tests.drawings import DEADLINE, Gate, draw, entry, in_thread, node, wait

ORDER = "order-17"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> str:
    """The path or URL of a store of its own."""
    given: Callable[[], str] = request.getfixturevalue("new_file" if request.param == "sqlite" else "new_schema")
    return given()


@pytest.fixture
def memory() -> Iterator[str]:
    """The name of a memory, for stores that stand for those of several processes."""
    with closing(MemoryStore("memory:asking-again")) as keeper:
        yield keeper.url
        for header in keeper.list_runs():
            keeper.delete(header.job_id)


def drawn(store: Any, act: Callable[..., Any] | None = None) -> Flow:
    """A run of two handlers, the second of which may be held."""
    flow = Flow("orders", store=store, execution_timeout=float("inf"))
    return draw("order -> pack", flow=flow, order=entry(lambda routine, data: routine.emit("output")), pack=node(act))


DIES = """
from tests.durable.test_asking_again import drawn


def dies(routine, data):
    say("packing")
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)


flow = drawn(place, dies)
flow.run("order", job_id="order-17")
"""


def ask(flow: Flow, way: str) -> JobState:
    if way == "run_async":
        return asyncio.run(flow.run_async("order", job_id=ORDER))
    if way == "run":
        return flow.run("order", job_id=ORDER)
    return wait(flow, flow.execute("order", job_id=ORDER))


@pytest.mark.parametrize("way", ["run", "run_async", "execute"])
def test_a_run_whose_process_was_killed_goes_on_where_it_is_asked_for(place: str, way: str) -> None:
    with child(DIES, place) as process:
        assert said(process) == "packing"
        tell(process)
        assert process.wait(timeout=DEADLINE) == -signal.SIGKILL
    packed: list[str] = []
    with drawn(place, lambda routine, data: packed.append(way)) as flow:
        found = ask(flow, way)
        assert (found.job_id, found.status, packed) == (ORDER, "completed", [way])
        assert flow.load(ORDER) is found


class Stopped(MemoryStore):
    """The store of a process that gives no sign of life any more once it is `dead`."""

    def die(self) -> None:
        with self._memory.lock:
            self._memory.leases.pop(self.driver, None)


def begun(store: MemoryStore, gate: Gate) -> Flow:
    """A flow whose run is at work, and stays so."""
    flow = drawn(store, gate.act)
    flow.execute("order", job_id=ORDER)
    gate.await_arrival()
    return flow


def test_a_run_whose_process_dies_while_it_is_waited_for_goes_on_here(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "TAKE_UP_SECONDS", 0.0)
    gate, store, results = Gate(), Stopped(memory), []
    there = begun(store, gate)
    with drawn(memory) as here:
        waits = threading.Event()
        run = partial(here.run, "order", job_id=ORDER, progress_callback=lambda *_: waits.set())
        join = in_thread(lambda: results.append(run()))
        assert waits.wait(DEADLINE)
        store.die()
        join()
        assert [each.status for each in results] == ["completed"]
        assert here.load(ORDER) is results[0]
    gate.open()
    there.shutdown(wait=False)


@pytest.mark.parametrize("way", ["run", "run_async"])
def test_a_run_at_work_elsewhere_is_waited_for_as_long_as_the_caller_says(memory: str, way: str) -> None:
    gate = Gate()
    with begun(MemoryStore(memory), gate) as there, drawn(memory) as here:
        if way == "run":
            found = here.run("order", timeout=0.05, job_id=ORDER)
        else:
            found = asyncio.run(here.run_async("order", timeout=0.05, job_id=ORDER))
        assert found.status == "running"
        gate.open()
        assert wait(there, there.load(ORDER)).status == "completed"
        assert here.run("order", job_id=ORDER) is found
        assert found.status == "completed"


def test_who_only_looks_at_a_run_does_not_take_it_up(memory: str) -> None:
    gate, store = Gate(), Stopped(memory)
    there = begun(store, gate)
    with drawn(memory) as here:
        store.die()
        loaded = here.load(ORDER)
        assert not JobState.wait_for_completion(here, loaded, timeout=0.05)
        assert loaded.status == "running"
        assert here.store.find(ORDER).driver is None
        assert wait(here, here.execute("order", job_id=ORDER)) is loaded
        assert loaded.status == "completed"
    gate.open()
    there.shutdown(wait=False)


def test_a_run_that_is_taken_up_has_the_time_that_its_caller_says(memory: str) -> None:
    gate, store, held = Gate(), Stopped(memory), Gate()
    there = begun(store, gate)
    store.die()
    with drawn(memory, held.act) as here:
        here.on_run_end(lambda _: held.open())
        found = here.run("order", timeout=0.05, job_id=ORDER)
        assert found.status == "failed"
        assert "timeout" in [record.event_name for record in found.execution_history]
    gate.open()
    there.shutdown(wait=False)


def test_of_many_who_ask_for_a_run_of_nobody_one_takes_it_up(memory: str, hasty_switching: None) -> None:
    gate, store = Gate(), Stopped(memory)
    there = begun(store, gate)
    store.die()
    packed: list[int] = []
    flows = [drawn(memory, lambda routine, data: packed.append(1)) for _ in range(3)]
    ready, found = threading.Barrier(6), []

    def take(flow: Flow) -> None:
        ready.wait(DEADLINE)
        found.append(flow.run("order", job_id=ORDER))

    joins = [in_thread(lambda flow=flow: take(flow)) for flow in flows * 2]
    for join in joins:
        join()
    assert [each.status for each in found] == ["completed"] * 6
    assert packed == [1]
    for flow in flows:
        flow.shutdown()
    gate.open()
    there.shutdown(wait=False)
