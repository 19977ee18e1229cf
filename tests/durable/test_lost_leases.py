"""A driver that has lost its lease: its runs go on elsewhere, and the process goes on as another driver."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.errors import LeaseLostError, StoreUnavailableError
from routilux.stores import Write
from routilux.stores.memory import MemoryStore
from tests.drawings import Gate, draw, entry, in_thread, node, wait
from tests.durable.deadlines import until


class Lent(MemoryStore):
    """A store whose lease may be taken from it, that may be gone, and that may be slow to close."""

    gone = False
    when_closed: Callable[[], Any] | None = None

    def lose_lease(self) -> None:
        with self._memory.lock:
            self._memory.leases.pop(self.driver, None)

    def write(self, writes: Sequence[Write]) -> None:
        if self.gone:
            raise StoreUnavailableError("the disk is gone")
        super().write(writes)

    def close(self) -> None:
        super().close()
        call, self.when_closed = self.when_closed, None
        if call is not None:
            call()


def drawn(store: MemoryStore, gate: Gate | None = None, **options: Any) -> Flow:
    flow = Flow("drawn", store=store, **options)

    def act(routine: Any, data: dict[str, Any]) -> None:
        if gate is not None and data.get("waits"):
            gate.hold()
        routine.emit("output", **data)

    return draw(
        "a -> b -> c", flow=flow, a=entry(lambda routine, data: routine.emit("output", **data)), b=node(act), c=node()
    )


def test_a_run_that_starts_while_others_are_being_given_up_is_kept_whole() -> None:
    gate, store = Gate(), Lent("memory:lost-1")
    with drawn(store, gate) as flow:
        lost = flow.execute("a", {"waits": True}, job_id="lost")
        gate.await_arrival()
        fresh: list[JobState] = []

        def starts() -> None:
            fresh.append(in_thread(lambda: flow.execute("a", job_id="fresh"))())

        store.when_closed = starts
        store.lose_lease()
        gate.open()
        with pytest.raises(LeaseLostError):
            wait(flow, lost)
        until(lambda: bool(fresh))
        assert wait(flow, fresh[0]).status == "completed"
        kept = store.load("fresh")
        assert kept.status == "completed"
        assert len(kept.execution_history) == len(fresh[0].execution_history)


def test_a_process_whose_paused_runs_were_taken_over_can_start_new_ones() -> None:
    gate, store = Gate(), Lent("memory:lost-2")
    with drawn(store, gate, store_patience=0.05) as flow:
        first = flow.execute("a", {"waits": True}, job_id="first")
        gate.await_arrival()
        store.gone = True
        gate.open()
        assert wait(flow, first).status == "paused"  # for the store
        store.gone = False
        store.lose_lease()
        with drawn(MemoryStore("memory:lost-2")) as there:
            (taken,) = there.recover()
            assert wait(there, taken).status == "completed"
        second = flow.execute("a", job_id="second")
        assert wait(flow, second).status == "completed"
        assert store.load("second").status == "completed"
        with pytest.raises(ValueError, match="went on elsewhere"):
            flow.resume(first)
        assert flow.load("first").status == "completed"


def test_a_record_that_has_lost_its_run_is_not_gone_on_with() -> None:
    gate, store = Gate(), Lent("memory:lost-3")
    with drawn(store, gate) as flow:
        job_state = flow.execute("a", {"waits": True}, job_id="job")
        gate.await_arrival()
        until(lambda: len(store.rows("job")) >= 2)
        store.lose_lease()
        with drawn(MemoryStore("memory:lost-3")) as there:
            there.pause(there.load("job"), reason="look")  # one row more
            rows = len(store.rows("job"))
            gate.open()
            with pytest.raises(LeaseLostError):
                wait(flow, job_state)
            with pytest.raises(ValueError, match="went on elsewhere"):
                flow.resume(job_state)
            assert [row.number for row in store.rows("job")] == list(range(1, rows + 1))
            assert wait(there, there.resume(there.load("job"))).status == "completed"
