"""What no store can take is refused where it is given, and fails no other run than its own."""

from collections.abc import Sequence
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.errors import InvalidValueError
from routilux.stores import Write
from routilux.stores.memory import MemoryStore
from tests.drawings import DEADLINE, Gate, entry, node, wait_until


class Picky(MemoryStore):
    """A store that takes nothing more of the run "bad" once it is there; "its text" tells what."""

    def __init__(self, takes_rows: bool) -> None:
        super().__init__()
        self.takes_rows = takes_rows

    def write(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if write.job_id == "bad" and (write.status == "odd" or not self.takes_rows):
                raise ValueError("no store takes its text")
        super().write(writes)


@pytest.mark.parametrize("status", ["a\0b", "\ud800"])
def test_a_status_that_no_store_can_hold_is_refused_where_it_is_assigned(url: str, status: str) -> None:
    def assigns(routine: Routine, _: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        with pytest.raises(InvalidValueError, match="status"):
            context.job_state.status = status

    with Flow("picky", store=url) as flow:
        flow.add_routine(entry(assigns), "start")
        assert flow.run("start", job_id="a").status == "completed"
        assert [run.status for run in flow.store.list_runs()] == ["completed"]


@pytest.mark.parametrize("takes_rows", [True, False])
def test_a_run_whose_rows_no_store_takes_fails_and_the_others_go_on(takes_rows: bool) -> None:
    gate = Gate()

    def starts(routine: Routine, _: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        if context.job_state.job_id == "bad":
            context.job_state.status = "odd"
            routine.emit("output")

    store = Picky(takes_rows)
    with Flow("picky", store=store) as flow:
        flow.add_routine(entry(starts), "start")
        flow.add_routine(node(gate.act), "held")
        flow.connect("start", "output", "held", "input")
        bad = flow.execute("start", job_id="bad")
        gate.await_arrival()
        good = [flow.run("start", job_id=f"good-{number}") for number in range(3)]
        assert [run.status for run in good] == ["completed"] * 3
        wait_until(flow, bad, lambda run: run.status == "failed")
        gate.open()
        assert JobState.wait_for_completion(flow, bad, timeout=DEADLINE)
        assert {"no store takes its text"} == {error.data["error"] for error in bad.errors}
        assert [header.status for header in store.list_runs() if header.job_id != "bad"] == ["completed"] * 3
        assert flow.run("start", job_id="later").status == "completed"
    found = store.find("bad")
    assert found is not None
    assert not takes_rows or (found.status, found.driver) == ("failed", None)
