"""Stops of durable runs while other threads go on with them: what is kept is what has happened."""

from typing import Any

import pytest

from routilux import Flow, Routine
from routilux.flow.lifecycle import RunLifecycle
from routilux.stores.memory import MemoryStore
from tests.drawings import Gate, draw, entry, node, wait


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
