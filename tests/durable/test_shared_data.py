"""What a handler has shared is kept with its settlement, whichever thread carries it to the journal."""

import json
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from routilux import Flow, JobState, Routine, Slot
from routilux.flow.durable.run import DurableRun
from routilux.guarded import GuardedDict
from routilux.stores.memory import MemoryStore
from tests.drawings import DEADLINE, draw, entry, in_thread, node, own_run, wait

# How long the thread that carries the change holds it back. A settlement that does not wait for it comes much sooner.
HELD_BACK_SECONDS = 0.2


def test_a_settlement_is_not_kept_before_what_its_handler_has_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    written, taken = Event(), Event()
    add = DurableRun._add_shared_changes  # noqa: SLF001 - to hold it back

    def held_back(run: DurableRun, changes: list[tuple[Any, ...]]) -> None:
        taken.set()
        Event().wait(HELD_BACK_SECONDS)
        add(run, changes)

    monkeypatch.setattr(DurableRun, "_add_shared_changes", held_back)

    def writes(routine: Routine, _: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        context.job_state.update_shared_data("key", "value")
        written.set()
        assert taken.wait(DEADLINE)

    def carries(_: Routine, __: dict[str, Any]) -> None:
        assert written.wait(DEADLINE)

    store = MemoryStore()
    with Flow("sharing", store=store, execution_strategy="concurrent", max_workers=2) as flow:
        flow.add_routine(entry(lambda routine, _: routine.emit("output")), "start")
        flow.add_routine(node(writes), "writes")
        flow.add_routine(node(carries), "carries")
        flow.connect("start", "output", "writes", "input")
        flow.connect("start", "output", "carries", "input")
        run = flow.execute("start")
        assert JobState.wait_for_completion(flow, run, timeout=DEADLINE)
        rows = [json.loads(row.body) for row in store.rows(run.job_id)]
    writer = next(task for row in rows for op in row if op[0] == "e" for name, _, task in op[6] if name == "writes")
    shared = next(number for number, row in enumerate(rows) if ["k", "key", "value"] in row)
    settled = next(number for number, row in enumerate(rows) if any(op[:2] == ["c", writer] for op in row))
    assert shared <= settled


def test_what_a_handler_sets_beside_a_merge_is_loaded_as_it_came_about(monkeypatch: pytest.MonkeyPatch) -> None:
    merging, at_work, was_set = Event(), Event(), Event()
    merge = Slot.merge

    def beside(slot: Slot, old: dict[str, Any], new: dict[str, Any]) -> Any:
        if new.get("n") == 2 and not merging.is_set():
            assert at_work.wait(DEADLINE)
            merging.set()
            assert was_set.wait(DEADLINE)
        return merge(slot, old, new)

    monkeypatch.setattr(Slot, "merge", beside)

    def resets(routine: Routine, data: dict[str, Any]) -> None:
        if data["n"] == [1]:
            at_work.set()
            assert merging.wait(DEADLINE)
            slot = routine.get_slot("input")
            assert slot is not None
            slot._data = {}
            was_set.set()

    def starts(routine: Routine, _: dict[str, Any]) -> None:
        routine.emit("output", n=1)
        assert at_work.wait(DEADLINE)
        routine.emit("output", n=2)

    store = MemoryStore()
    with Flow("sharing", store=store, execution_strategy="concurrent", max_workers=2) as flow:
        flow.add_routine(entry(starts), "start")
        flow.add_routine(node(resets, merge_strategy="append"), "resets")
        flow.connect("start", "output", "resets", "input")
        run = flow.execute("start")
        assert JobState.wait_for_completion(flow, run, timeout=DEADLINE)
        assert store.load(run.job_id).serialize()["slot_data"] == run.serialize()["slot_data"]


def test_a_value_that_is_taken_out_before_all_are_replaced_is_noted_as_gone() -> None:
    job_state = JobState("sharing")
    job_state.update_shared_data("key", "value")
    job_state.track_shared_data()
    del job_state.shared_data["key"]
    job_state.shared_data = {"other": 1}
    taken: list[Any] = []
    job_state.take_shared_changes(taken.append)
    assert taken == [[("key",), ("other", 1)]]


@pytest.mark.parametrize(
    "tell",
    [
        lambda routine, run: routine.emit("output", states=run.routine_states),
        lambda routine, run: routine.send_output("kind", states=run.routine_states),
        lambda routine, run: routine.emit_deferred_event("output", states=run.routine_states),
        lambda routine, run: run.record_execution("told", "states", {"states": run.routine_states}),
        lambda routine, run: run.append_to_shared_log({"states": run.routine_states}),
        lambda routine, run: run.metadata.update(states=run.routine_states),
        lambda routine, run: run.update_routine_state("told", {"states": run.routine_states}),
        lambda routine, run: run.update_shared_data("states", run.routine_states),
        lambda routine, run: setattr(routine.get_slot("trigger"), "_data", {"states": run.routine_states}),
    ],
)
def test_the_states_of_routines_may_stand_in_what_is_kept(tell: Callable[..., Any]) -> None:
    def handler(routine: Routine, data: dict[str, Any]) -> None:
        own_run(routine).update_routine_state("early", {"x": 1})
        tell(routine, own_run(routine))

    store = MemoryStore()
    flow = draw(flow=Flow("telling", store=store), start=entry(handler))
    run = in_thread(lambda: flow.execute("start"))()
    assert wait(flow, run).status == "completed"
    assert '"early": {"x": 1}' in json.dumps(store.load(run.job_id).serialize())


def test_a_state_that_cannot_be_kept_does_not_break_the_run() -> None:
    def handler(routine: Routine, data: dict[str, Any]) -> None:
        own_run(routine).routine_states["live"] = {"object": object()}

    store = MemoryStore()
    flow = draw(flow=Flow("telling", store=store), start=entry(handler))
    run = flow.execute("start")
    assert wait(flow, run).status == "completed"
    assert "live" not in store.load(run.job_id).routine_states


def test_shared_data_that_are_replaced_are_noted_before_anybody_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    job_state = JobState("sharing")
    job_state.track_shared_data()
    job_state.update_shared_data("key", "value")
    seen: list[Any] = []
    track = GuardedDict.track

    def looked_at(values: GuardedDict[str, Any], before: GuardedDict[str, Any]) -> None:
        seen.append(job_state._shared_data.changed)  # noqa: SLF001 - as a settlement looks, without the lock
        track(values, before)

    monkeypatch.setattr(GuardedDict, "track", looked_at)
    job_state.shared_data = {"other": 1}
    assert seen == [{"key": None}]
    job_state.take_shared_changes(seen.append)
    assert seen[1] == [("key",), ("other", 1)]
