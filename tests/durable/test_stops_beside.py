"""Stops of durable runs while other threads go on with them: what is kept is what has happened."""

from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.flow.durable.durability import Durability
from routilux.flow.lifecycle import RunLifecycle
from routilux.flow.revival import Revival
from routilux.job_state import ledger_of
from routilux.stores.memory import MemoryStore
from tests.drawings import Gate, draw, entry, in_thread, node, own_run, wait


def test_a_handler_that_begins_while_its_run_is_being_cancelled_leaves_a_journal_that_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = Gate(), Gate()
    gates = iter((first, second))
    store = MemoryStore()

    def starts(routine: Routine, data: dict[str, Any]) -> None:
        for n in range(3):
            routine.emit("output", n=n)

    def works(routine: Routine, data: dict[str, Any]) -> None:
        next(gates).act(routine, data)

    cancel = RunLifecycle.cancel

    def late(run: RunLifecycle, reason: str) -> bool:
        first.open()
        second.await_arrival()
        return cancel(run, reason)

    with draw("a -> b", flow=Flow("drawn", store=store), a=entry(starts), b=node(works)) as flow:
        job_state = flow.execute("a", job_id="job")
        first.await_arrival()
        monkeypatch.setattr(RunLifecycle, "cancel", late)
        flow.cancel(job_state, reason="enough")
        second.open()
        wait(flow, job_state)
    kept = store.load("job")
    assert kept.status == "cancelled"
    assert kept.pending_tasks == []
    assert [record.event_name for record in kept.execution_history] == [
        record.event_name for record in job_state.execution_history
    ]


def paused_with_work(store: Any, gate: Gate) -> tuple[Flow, JobState]:
    """A run that is paused, and nobody's, with a delivery for `b`, which will be held at the gate."""
    flow = Flow("drawn", store=store)

    def starts(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output")
        flow.pause(own_run(routine))

    draw("a -> b", flow=flow, a=entry(starts), b=node(gate.act))
    return flow, wait(flow, flow.execute("a", job_id="job"))


@pytest.mark.parametrize("stop", ["pause", "cancel"])
def test_a_stop_of_a_run_that_is_just_being_resumed_leaves_it_to_this_process(
    stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, store = Gate(), MemoryStore()
    flow, job_state = paused_with_work(store, gate)
    with flow:
        if stop == "cancel":  # one that stands still is cancelled in another way than a run that was live here
            ledger_of(job_state).live = None
        resumed: list[Any] = []
        keep_still = Durability.keep_still

        def resumed_before(durability: Durability, state: JobState) -> None:
            resumed.append(in_thread(lambda: flow.resume(job_state)))
            gate.arrived.wait(0.1)
            keep_still(durability, state)

        monkeypatch.setattr(Durability, "keep_still", resumed_before)
        getattr(flow, stop)(job_state, reason="look")
        if stop == "cancel":
            with pytest.raises(ValueError, match="cancelled for good"):
                resumed[0]()
            assert (job_state.status, store.load("job").status) == ("cancelled", "cancelled")
            return
        resumed[0]()
        gate.await_arrival()
        header = store.find("job")
        assert header is not None
        assert (header.status, header.driver) == ("running", store.driver)
        gate.open()
        assert wait(flow, job_state).status == "completed"


def test_an_emission_into_a_run_that_is_just_being_resumed_leaves_it_to_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, store = Gate(), MemoryStore()
    flow, job_state = paused_with_work(store, gate)
    with flow:
        resumed: list[Any] = []
        claim = Durability.claim

        def resumed_after(durability: Durability, state: JobState) -> None:
            monkeypatch.undo()
            claim(durability, state)
            resumed.append(in_thread(lambda: flow.resume(job_state)))
            gate.arrived.wait(0.1)

        monkeypatch.setattr(Durability, "claim", resumed_after)
        flow.routines["a"].emit("output", flow, job_state=job_state)
        resumed[0]()
        gate.await_arrival()
        header = store.find("job")
        assert header is not None
        assert (header.status, header.driver) == ("running", store.driver)
        gate.open()
        assert wait(flow, job_state).status == "completed"
        assert sum(task.event_name == "completed" for task in job_state.execution_history) == 3


def test_a_resume_that_finds_what_cannot_be_kept_leaves_the_run_as_it_was() -> None:
    gate, store = Gate(), MemoryStore()
    gate.open()
    flow, job_state = paused_with_work(store, gate)
    with flow:
        job_state.metadata["odd"] = {"a set"}
        for _ in range(2):
            with pytest.raises(TypeError, match=r"metadata\['odd'\]"):
                flow.resume(job_state)
            assert job_state.status == "paused"
        header = store.find("job")
        assert header is not None
        assert (header.status, header.driver) == ("paused", None)
        del job_state.metadata["odd"]
        assert wait(flow, flow.resume(job_state)).status == "completed"


@pytest.mark.parametrize("make_store", [None, MemoryStore])
def test_a_run_that_was_cancelled_while_a_resume_was_on_its_way_stays_cancelled(
    make_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, store = Gate(), None if make_store is None else make_store()
    flow, job_state = paused_with_work(store, gate)
    with flow:
        look_up = Revival.__init__

        def after_a_cancellation(revival: Revival, *args: Any) -> None:
            monkeypatch.undo()
            flow.cancel(job_state, reason="enough")
            look_up(revival, *args)

        monkeypatch.setattr(Revival, "__init__", after_a_cancellation)
        with pytest.raises(ValueError, match="cancelled for good"):
            flow.resume(job_state)
        assert job_state.status == "cancelled"
        assert not gate.arrived.is_set()
        if store is not None:
            header = store.find("job")
            assert (header.status, header.driver) == ("cancelled", None)


def test_what_is_emitted_into_a_run_that_was_loaded_is_kept() -> None:
    gate, keeper = Gate(), MemoryStore("memory:emitted")
    gate.open()
    flow, _ = paused_with_work(MemoryStore(keeper.url), gate)
    flow.shutdown()
    with drawn_again(keeper.url, gate) as flow:
        loaded = flow.load("job")
        flow.routines["a"].emit("output", flow, job_state=loaded)
        kept = keeper.load("job")
        assert len(kept.pending_tasks) == 2
        assert [record.event_name for record in kept.execution_history].count("output") == 2
        header = keeper.find("job")
        assert header is not None
        assert (header.status, header.driver) == ("paused", None)
        assert wait(flow, flow.resume(loaded)).status == "completed"
        assert keeper.load("job").serialize()["execution_history"] == loaded.serialize()["execution_history"]


def test_nothing_is_emitted_into_the_record_of_a_run_that_went_on_elsewhere() -> None:
    gate, keeper = Gate(), MemoryStore("memory:stale")
    gate.open()
    flow, stale = paused_with_work(MemoryStore(keeper.url), gate)
    with flow, drawn_again(keeper.url, gate) as there:
        there.pause(there.load("job"), reason="once more")
        rows = keeper.rows("job")
        with pytest.raises(ValueError, match="went on elsewhere"):
            flow.routines["a"].emit("output", flow, job_state=stale)
        assert keeper.rows("job") == rows
        assert wait(there, there.resume(there.load("job"))).status == "completed"


def drawn_again(url: str, gate: Gate) -> Flow:
    flow = Flow("drawn", store=MemoryStore(url))
    return draw("a -> b", flow=flow, a=entry(), b=node(gate.act))
