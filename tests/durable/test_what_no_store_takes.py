"""What no store can take is refused where it is given, and fails no other run than its own."""

from collections.abc import Sequence
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.errors import InvalidValueError, LeaseLostError
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


def test_an_input_by_whose_name_nobody_could_answer_is_refused_where_it_is_requested(url: str) -> None:
    def asks(routine: Routine, _: dict[str, Any]) -> None:
        with pytest.raises(InvalidValueError, match="name of the input"):
            routine.request_input("a\0", "trigger")

    with Flow("picky", store=url) as flow:
        flow.add_routine(entry(asks), "start")
        assert flow.run("start").status == "completed"


def test_a_flow_with_a_store_keeps_a_flow_id_whatever_saved_data_say(url: str) -> None:
    with Flow("picky", store=url) as flow:
        with pytest.raises(InvalidValueError, match="needs a flow_id"):
            flow.deserialize({**flow.serialize(), "flow_id": ""})
        assert flow.flow_id == "picky"


def test_who_waits_for_a_run_whose_store_was_closed_is_told_that_it_may_be_so(url: str) -> None:
    gate = Gate()
    flow = Flow("picky", store=url)
    flow.add_routine(entry(lambda routine, _: routine.emit("output")), "start")
    flow.add_routine(node(gate.act), "held")
    flow.connect("start", "output", "held", "input")
    run = flow.execute("start")
    gate.await_arrival()
    assert flow.store is not None
    flow.store.close()
    gate.open()
    with pytest.raises(LeaseLostError, match="or its store was closed under the run"):
        JobState.wait_for_completion(flow, run, timeout=DEADLINE)
    flow.shutdown()
