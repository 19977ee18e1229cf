"""The activations with which a run has failed are tried again: all, or some, and the others stay."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.job_state import ledger_of
from routilux.stores import Write, open_store
from routilux.stores.memory import MemoryStore
from tests.drawings import Gate, collector, draw, fails, node, passed, reloaded, source, wait


@pytest.fixture(params=[None, "memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param is None:
        return None
    return open_store("memory:" if request.param == "memory" else tmp_path / "runs.db")


def letters(job_state: JobState) -> list[str]:
    return sorted(task["routine_id"] for task in job_state.pending_tasks if task["was"] == "failed")


def two_fail(store: Any, left_times: int | None = 1, right_times: int | None = 1, **routines: Routine) -> Flow:
    """A flow for a run from `a` in which `left` and `right` fail, both, so many times; each is sent to `c`."""
    together = threading.Barrier(2)
    first = {"left": True, "right": True}

    def failing(name: str, times: int | None) -> Any:
        act = fails(ValueError(f"{name} is broken"), times)

        def meet(routine: Routine, data: dict[str, Any]) -> None:
            if first[name]:
                first[name] = False
                together.wait(20)  # the run fails with both, and not with the quicker one alone
            act(routine, data)

        return meet

    handler = ErrorHandler("stop")
    flow = Flow("drawn", store=store)
    draw(
        "a -> left",
        "a -> right",
        flow=flow,
        a=source(1),
        left=node(failing("left", left_times), error_handler=handler),
        right=node(failing("right", right_times), error_handler=handler),
        **routines,
    )
    flow.set_execution_strategy("concurrent", 4)
    return flow


def run_to_failure(flow: Flow) -> JobState:
    job_state = wait(flow, flow.execute("a"))
    assert job_state.status == "failed"
    assert letters(job_state) == ["left", "right"]
    return job_state


def test_all_dead_letters_are_tried_again(store: Any) -> None:
    with two_fail(store) as flow:
        job_state = run_to_failure(flow)

        assert flow.retry_failed(job_state) is job_state
        assert wait(flow, job_state).status == "completed"
        assert job_state.pending_tasks == []


def test_one_is_tried_again_and_the_others_stay(store: Any) -> None:
    with two_fail(store) as flow:
        job_state = run_to_failure(flow)
        wait(flow, flow.retry_failed(job_state, "left"))

        assert job_state.status == "failed"
        assert letters(job_state) == ["right"]
        assert job_state.get_routine_state("left")["status"] == "completed"  # type: ignore[index]
        assert job_state.get_routine_state("right")["status"] == "failed"  # type: ignore[index]
        wait(flow, flow.retry_failed(job_state, "right"))
        assert job_state.status == "completed"


def test_one_of_a_routine_is_chosen_by_the_id_of_its_activation(store: Any) -> None:
    with two_fail(store) as flow:
        job_state = run_to_failure(flow)
        chosen = next(task["id"] for task in job_state.pending_tasks if task["routine_id"] == "right")
        wait(flow, flow.retry_failed(job_state, activation_id=f"{job_state.job_id}:{chosen}"))

        assert letters(job_state) == ["left"]


def test_one_that_fails_again_is_a_dead_letter_again_beside_the_others(store: Any) -> None:
    with two_fail(store, left_times=2) as flow:
        job_state = run_to_failure(flow)
        wait(flow, flow.retry_failed(job_state, "left"))

        assert letters(job_state) == ["left", "right"]
        assert wait(flow, flow.retry_failed(job_state)).status == "completed"


def test_a_resume_of_the_failed_run_tries_those_as_well_that_stayed(store: Any) -> None:
    with two_fail(store) as flow:
        job_state = run_to_failure(flow)
        wait(flow, flow.retry_failed(job_state, "left"))

        assert wait(flow, flow.resume(job_state)).status == "completed"


def test_what_else_is_pending_goes_on_as_well(store: Any) -> None:
    got: list[dict[str, Any]] = []
    flow = draw(
        "a -> b -> c",
        flow=Flow("drawn", store=store),
        a=source(1, 2, 3),
        b=node(fails(ValueError("no"), 1), error_handler=ErrorHandler("stop")),
        c=collector(got),
    )
    with flow:
        job_state = flow.run("a")
        assert got == []
        wait(flow, flow.retry_failed(job_state))

        assert sorted(data["item"] for data in got) == [1, 2, 3]


def test_a_dead_letter_gets_all_its_retries_again(store: Any) -> None:
    handler = ErrorHandler("retry", max_retries=2, retry_delay=0.0)
    with draw("a -> b", flow=Flow("drawn", store=store), a=source(1),
              b=node(fails(ValueError("no"), 5), error_handler=handler)) as flow:  # fmt: skip
        job_state = flow.run("a")
        assert job_state.status == "failed"

        assert wait(flow, flow.retry_failed(job_state)).status == "completed"


def test_those_that_stay_stay_through_a_pause(store: Any) -> None:
    gate = Gate()
    with two_fail(store, b=node(gate.act)) as flow:
        flow.connect("left", "output", "b", "input")
        job_state = run_to_failure(flow)
        flow.retry_failed(job_state, "left")
        gate.await_arrival()
        gate.open()
        flow.pause(job_state)
        if job_state.status == "paused":
            flow.resume(job_state)
        wait(flow, job_state)

        assert job_state.status == "failed"
        assert letters(job_state) == ["right"]


def test_a_run_paused_with_dead_letters_kept_back_goes_on_without_them_from_a_file() -> None:
    gate = Gate()
    with two_fail(None, b=node(gate.act), c=node()) as flow:
        flow.connect("left", "output", "b", "input")
        flow.connect("b", "output", "c", "input")
        job_state = run_to_failure(flow)
        flow.retry_failed(job_state, "left")
        gate.await_arrival()
        stopped = reloaded(job_state)
        gate.open()
        wait(flow, job_state)
        wait(flow, flow.resume(stopped))

        assert letters(stopped) == ["right"]
        assert stopped.status == "failed"


def test_a_run_is_named_by_its_job_id_where_there_is_a_store(tmp_path: Path) -> None:
    with two_fail(tmp_path / "runs.db") as flow:
        job_id = run_to_failure(flow).job_id
        found = wait(flow, flow.retry_failed(job_id, "left"))

        kept = flow.store.load(job_id)  # type: ignore[union-attr]
        assert (kept.status, letters(kept)) == ("failed", ["right"])
        assert letters(found) == ["right"]


def test_the_store_knows_of_the_retry_when_the_call_returns(tmp_path: Path) -> None:
    gate = Gate()
    with two_fail(tmp_path / "runs.db", b=node(gate.act)) as flow:
        flow.connect("left", "output", "b", "input")
        job_state = run_to_failure(flow)
        flow.retry_failed(job_state, "left")

        assert flow.store.find(job_state.job_id).status == "running"  # type: ignore[union-attr]
        passed(gate.arrived)
        gate.open()
        wait(flow, job_state)


def test_a_dead_letter_that_there_is_not_is_an_error_that_names_those_there_are(store: Any) -> None:
    with two_fail(store) as flow:
        job_state = run_to_failure(flow)
        with pytest.raises(
            ValueError, match=r"no dead letter of routine 'a'\. It has: '(left|right)' .*'(left|right)'"
        ):
            flow.retry_failed(job_state, "a")
        with pytest.raises(ValueError, match="with the id 'nothing'"):
            flow.retry_failed(job_state, activation_id="nothing")
        wait(flow, flow.retry_failed(job_state))
        with pytest.raises(ValueError, match="no dead letter"):
            flow.retry_failed(job_state)


def test_a_run_that_is_at_work_has_nothing_to_be_tried_again(store: Any) -> None:
    gate = Gate()
    with draw("a -> b", flow=Flow("drawn", store=store), a=source(1), b=node(gate.act)) as flow:
        job_state = flow.execute("a")
        gate.await_arrival()
        with pytest.raises(ValueError, match="is at work"):
            flow.retry_failed(job_state)
        gate.open()


def test_without_a_store_a_job_id_names_no_run() -> None:
    with two_fail(None) as flow, pytest.raises(ValueError, match="has no store"):
        flow.retry_failed("order-17")


def test_a_failed_run_is_kept_as_failed_before_a_wait_for_it_can_return() -> None:
    live_when_written: list[bool] = []
    job_state = JobState("drawn")

    class Watched(MemoryStore):
        def write(self, writes: Sequence[Write]) -> None:
            if any(write.status == "failed" for write in writes):
                live_when_written.append(ledger_of(job_state).live is not None)
            super().write(writes)

    broken = node(fails(ValueError("no")), error_handler=ErrorHandler("stop"))
    with draw("a -> b", flow=Flow("drawn", store=Watched()), a=source(1), b=broken) as flow:
        wait(flow, flow.execute("a", job_state=job_state))

    assert live_when_written == [True]


def test_a_dead_letter_that_a_retry_did_not_come_to_is_still_one(store: Any) -> None:
    begun: list[str] = []

    def breaks(routine: Routine, _: dict[str, Any]) -> None:
        begun.append(str(routine.get_config("name")))
        if len(begun) == 1:
            raise ValueError("broken still")

    with two_fail(store) as flow:
        job_state = run_to_failure(flow)
        if store is None:
            job_state = reloaded(job_state)
    with Flow("drawn", store=store) as again:  # one worker: of two, the first fails before the other has begun
        routines = {name: node(breaks, error_handler=ErrorHandler("stop")) for name in ("left", "right")}
        for name, routine in routines.items():
            routine.set_config(name=name)
        draw("a -> left", "a -> right", flow=again, a=source(1), **routines)
        if store is not None:
            job_state = again.load(job_state.job_id)

        wait(again, again.retry_failed(job_state))
        assert (job_state.status, len(begun), letters(job_state)) == ("failed", 1, ["left", "right"])
        if store is not None:
            assert letters(store.load(job_state.job_id)) == ["left", "right"]

        other = {"left": "right", "right": "left"}[begun[0]]
        wait(again, again.retry_failed(job_state, other))
        assert (begun[1:], job_state.status, letters(job_state)) == ([other], "failed", [begun[0]])
