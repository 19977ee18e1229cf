"""In one process a run is one JobState, whoever starts, loads, resumes or waits for it at the same moment."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.errors import StoreUnavailableError, UnknownRunError
from routilux.flow.durable.durability import Durability
from routilux.stores import JournalRow, RunHeader, Write
from routilux.stores.memory import MemoryStore
from tests.asking import desk
from tests.drawings import DEADLINE, Gate, draw, entry, in_thread, node, passed, wait, wait_until
from tests.durable.deadlines import until


@pytest.fixture
def memory() -> Iterator[str]:
    """The name of a memory, for stores that stand for those of several processes."""
    keeper = MemoryStore("memory:one-record")
    yield keeper.url
    for header in keeper.list_runs():
        keeper.delete(header.job_id)
    keeper.close()


def drawn(store: Any, b: Gate | None = None, c: Gate | None = None) -> Flow:
    """A chain of three, the last two of which may be held."""
    acts = {name: node(gate.act if gate is not None else None) for name, gate in (("b", b), ("c", c))}
    relays = {"a": entry(lambda routine, data: routine.emit("output"))}
    return draw("a -> b -> c", flow=Flow("drawn", store=store), **relays, **acts)


def test_a_run_that_was_loaded_goes_on_as_the_record_that_was_loaded(memory: str) -> None:
    flow, _ = desk(store=memory)
    with flow:
        wait(flow, flow.execute("clerk", {"names": ["approval"]}, job_id="order-17"))
    flow, clerk = desk(store=memory)
    with flow:
        loaded = flow.load("order-17")
        flow.send_input("order-17", "approval", {"yes": True})
        assert flow.load("order-17") is loaded
        assert wait(flow, loaded).status == "completed"
        assert clerk.got == [{"yes": True}]


def test_a_run_that_another_process_drives_is_loaded_as_it_is_now(memory: str) -> None:
    gate = Gate()
    with drawn(memory, gate) as here, drawn(memory) as there:
        job_state = here.execute("a", job_id="job")
        gate.await_arrival()
        early = there.load("job")
        assert early.status == "running"
        gate.open()
        wait(here, job_state)
        assert there.load("job") is early
        assert early.status == "completed"
        assert len(early.execution_history) == len(job_state.execution_history)


class Slow(MemoryStore):
    """Its next answer to `find` is held back once."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.holds = False
        self.found, self.may_answer = threading.Event(), threading.Event()

    def find(self, job_id: str) -> RunHeader | None:
        header = super().find(job_id)
        if self.holds:
            self.holds = False
            self.found.set()
            passed(self.may_answer)
        return header


def test_a_wait_that_comes_late_leaves_a_run_alone_that_was_resumed_meanwhile(memory: str) -> None:
    gate, second = Gate(), Gate()
    store = Slow(memory)
    with drawn(memory, b=gate) as here, drawn(store, c=second) as there:
        job_state = here.execute("a", job_id="job")
        gate.await_arrival()
        taken_up = there.load("job")
        paused = in_thread(lambda: here.pause(job_state, reason="seen"))
        wait_until(here, job_state, lambda each: each.status == "paused")
        gate.open()
        paused()
        store.holds = True
        waits = in_thread(lambda: JobState.wait_for_completion(there, taken_up, timeout=DEADLINE))
        passed(store.found)
        there.resume(there.load("job"))
        second.await_arrival()
        store.may_answer.set()
        threading.Event().wait(0.1)  # for what it must not do
        second.open()
        assert waits() is True
        assert wait(there, taken_up).status == "completed"
        assert store.load("job").status == "completed"


class Stuck(MemoryStore):
    """Holds its first `create`, which then fails or not."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fails = fails
        self.gate: Gate | None = Gate()

    def create(self, header: RunHeader, rows: Sequence[JournalRow]) -> bool:
        gate, self.gate = self.gate, None
        if gate is not None:
            gate.hold()
            if self.fails:
                raise StoreUnavailableError("the disk is gone")
        return super().create(header, rows)


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_is_just_being_started_is_returned_when_it_is_kept(fails: bool) -> None:
    store = Stuck(fails)
    gate = store.gate
    assert gate is not None
    with drawn(store) as flow:
        first = in_thread(lambda: flow.execute("a", job_id="job"))
        gate.await_arrival()
        ended = threading.Event()

        def executes() -> JobState:
            found = flow.execute("a", job_id="job")
            ended.set()
            return found

        second = in_thread(executes)
        assert not ended.wait(0.1)  # the store does not know of it yet
        gate.open()
        if fails:
            with pytest.raises(StoreUnavailableError):
                first()
        found = second()
        assert wait(flow, found).status == "completed"
        assert fails or first() is found
        assert store.load("job").status == "completed"


def test_a_run_that_was_deleted_may_be_started_anew() -> None:
    store = MemoryStore()
    with drawn(store) as flow:
        first = wait(flow, flow.execute("a", job_id="job"))
        store.delete("job")
        second = wait(flow, flow.execute("a", job_id="job"))
        assert second is not first
        assert store.load("job").status == "completed"


def test_an_execute_of_a_run_that_went_on_elsewhere_returns_it_as_it_is_now(memory: str) -> None:
    flow, _ = desk(store=memory)
    there, _ = desk(store=memory)
    with flow, there:
        here = wait(flow, flow.execute("clerk", {"names": ["approval"]}, job_id="order-17"))
        there.send_input("order-17", "approval")
        assert wait(there, there.load("order-17")).status == "completed"
        assert flow.execute("clerk", {"names": ["approval"]}, job_id="order-17") is here
        assert here.status == "completed"


class Blind(MemoryStore):
    """Does not find a run, as if it had been made a moment later."""

    hidden = ""

    def find(self, job_id: str) -> RunHeader | None:
        return None if job_id == self.hidden else super().find(job_id)

    def claim(self, flow_id: str, job_id: str | None = None) -> list[RunHeader]:
        if job_id == self.hidden:
            raise UnknownRunError("not yet")
        return super().claim(flow_id, job_id)


def test_of_two_forks_of_one_name_the_second_is_refused_and_takes_nothing_with_it() -> None:
    gate, store = Gate(), Blind("memory:forks")
    with drawn(store, b=gate) as flow, drawn(MemoryStore(store.url)) as other:
        at_work = flow.execute("a", job_id="job")
        gate.await_arrival()
        wait(other, other.execute("a", job_id="taken"))
        store.hidden = "taken"
        with pytest.raises(ValueError, match="has a run 'taken' already"):
            flow.fork(at_work, at=0, job_id="taken")
        gate.open()
        assert wait(flow, at_work).status == "completed"


def pause_held(flow: Flow, job_state: JobState, gate: Gate) -> None:
    """Pause a run whose handler is held, and let that end."""
    join = in_thread(lambda: flow.pause(job_state))
    wait_until(flow, job_state, lambda state: state.status == "paused")
    gate.open()
    join()


def left_word(store: str) -> None:
    """As `routilux runs resume` does: the run shall go on."""
    with closing(MemoryStore(store)) as command_line:
        command_line.claim("drawn", "job")
        command_line.write([Write("job", status="running", release=True)])


@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_run_that_shall_go_on_by_the_command_line_does_so_as_the_record_that_is_here(
    memory: str, is_loaded: bool
) -> None:
    gate = Gate()
    with drawn(memory, gate) as flow:
        job_state = flow.execute("a", job_id="job")
        gate.await_arrival()
        pause_held(flow, job_state, gate)
        left_word(memory)
        if is_loaded:
            assert flow.load("job") is job_state
            assert job_state.status == "running"
        assert flow.recover() == [job_state]
        assert wait(flow, job_state).status == "completed"


def test_a_record_that_was_loaded_goes_on_by_a_recovery(memory: str) -> None:
    gate = Gate()
    with drawn(memory, gate) as there:
        job_state = there.execute("a", job_id="job")
        gate.await_arrival()
        pause_held(there, job_state, gate)
    with drawn(memory) as here:
        loaded = here.load("job")
        left_word(memory)
        assert here.recover() == [loaded]
        assert wait(here, loaded).status == "completed"


def test_a_handler_that_ends_while_its_paused_run_is_being_resumed_does_not_let_it_go(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, claim = Gate(), Durability.claim

    def ends_after(durability: Durability, job_state: JobState) -> None:
        claim(durability, job_state)
        if not gate.may_go.is_set():
            gate.open()
            until(lambda: durability.store.find("job").driver is None)

    with drawn(memory, gate) as flow:
        job_state = flow.execute("a", job_id="job")
        gate.await_arrival()
        join = in_thread(lambda: flow.pause(job_state))
        wait_until(flow, job_state, lambda state: state.status == "paused")
        monkeypatch.setattr(Durability, "claim", ends_after)
        assert wait(flow, flow.resume(job_state)).status == "completed"
        join()
