"""What handlers change in place, in shared values and in the data of slots, is kept as what they assign is."""

from threading import Event, Thread
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.stores.memory import MemoryStore
from tests.drawings import DEADLINE, Act, entry, node, wait_until


def run_of(routine: Routine) -> JobState:
    context = routine.get_execution_context()
    assert context is not None
    return context.job_state


def run_five(handler: Act, **options: Any) -> tuple[JobState, JobState]:
    """A run in which `handler` gets v=0 to 4, and the run as its store has it."""

    def starts(routine: Routine, _: dict[str, Any]) -> None:
        run_of(routine).update_shared_data("items", [])
        for v in range(5):
            routine.emit("output", v=v)

    flow = Flow("in-place", store=MemoryStore())
    flow.add_routine(entry(starts), "start")
    flow.add_routine(node(handler, **options), "worker")
    flow.connect("start", "output", "worker", "input")
    with flow:
        run = flow.run("start")
        return run, flow.store.load(run.job_id)


def _by_get(run: JobState) -> list[int]:
    return run.get_shared_data("items")  # type: ignore[no-any-return]


def _by_key(run: JobState) -> list[int]:
    return run.shared_data["items"]  # type: ignore[no-any-return]


def _by_items(run: JobState) -> list[int]:
    return dict(run.shared_data.items())["items"]  # type: ignore[no-any-return]


def _by_values(run: JobState) -> list[int]:
    return next(iter(run.shared_data.values()))  # type: ignore[no-any-return]


def _by_setdefault(run: JobState) -> list[int]:
    return run.shared_data.setdefault("items", [])  # type: ignore[no-any-return]


def _by_pieces(run: JobState) -> list[int]:
    return {**run.shared_data}["items"]  # type: ignore[no-any-return]


def _by_union(run: JobState) -> list[int]:
    return (run.shared_data | {})["items"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("taken", [_by_get, _by_key, _by_items, _by_values, _by_setdefault, _by_pieces, _by_union])
def test_what_is_appended_to_a_shared_list_is_kept_however_it_was_got(taken: Any) -> None:
    run, kept = run_five(lambda routine, data: taken(run_of(routine)).append(data["v"]))
    assert run.shared_data == {"items": [0, 1, 2, 3, 4]}
    assert kept.shared_data == run.shared_data


def test_what_was_assigned_and_is_changed_after_another_settlement_is_kept() -> None:
    assigned, settled = Event(), Event()

    def starts(routine: Routine, _: dict[str, Any]) -> None:
        routine.emit("output", v=0)
        routine.emit("output", v=1)

    def works(routine: Routine, data: dict[str, Any]) -> None:
        run = run_of(routine)
        if data["v"] == 1:
            assert assigned.wait(DEADLINE)
            return
        mine: list[int] = []
        run.update_shared_data("items", mine)
        assigned.set()
        wait_until(
            flow, run, lambda state: [record.event_name for record in state.execution_history].count("completed") == 2
        )
        mine.append(1)
        settled.set()

    with Flow("in-place", store=MemoryStore(), execution_strategy="concurrent", max_workers=2) as flow:
        flow.add_routine(entry(starts), "start")
        flow.add_routine(node(works), "worker")
        flow.connect("start", "output", "worker", "input")
        run = flow.run("start")
        assert settled.is_set()
        assert flow.store.load(run.job_id).shared_data == {"items": [1]}


def test_what_is_changed_back_is_kept_too() -> None:
    def works(routine: Routine, data: dict[str, Any]) -> None:
        items = _by_get(run_of(routine))
        items.append(0) if data["v"] % 2 == 0 else items.clear()

    run, kept = run_five(works)
    assert kept.shared_data == run.shared_data == {"items": [0]}


def test_a_value_that_is_only_read_is_written_once() -> None:
    with Flow("in-place", store=MemoryStore()) as flow:

        def starts(routine: Routine, _: dict[str, Any]) -> None:
            run_of(routine).update_shared_data("config", {"much": ["to", "read"]})
            for v in range(5):
                routine.emit("output", v=v)

        flow.add_routine(entry(starts), "start")
        flow.add_routine(node(lambda routine, _: run_of(routine).get_shared_data("config")), "worker")
        flow.connect("start", "output", "worker", "input")
        run = flow.run("start")
        assert "".join(row.body for row in flow.store.rows(run.job_id)).count('["k","config"') == 1


def test_a_shared_list_that_cannot_be_kept_any_more_fails_its_handler() -> None:
    run, kept = run_five(lambda routine, _: _by_get(run_of(routine)).append(object()))  # type: ignore[arg-type]
    assert len(run.errors) == len(kept.errors) == 5
    assert "shared_data['items'][0]" in str(run.errors[0].data["error"])
    assert kept.shared_data == {"items": []}


def test_what_a_caller_changes_in_place_is_kept_at_the_end_at_the_latest() -> None:
    taken, begun, changed = Event(), Event(), Event()

    def works(routine: Routine, _: dict[str, Any]) -> None:
        run_of(routine).update_shared_data("items", [])
        routine.emit("output")

    def waits(routine: Routine, _: dict[str, Any]) -> None:
        assert taken.wait(DEADLINE)
        routine.emit("output")

    def waits_longer(_: Routine, __: dict[str, Any]) -> None:
        begun.set()  # a settlement has been between the hand-out and the change
        assert changed.wait(DEADLINE)

    with Flow("in-place", store=MemoryStore()) as flow:
        flow.add_routine(entry(works), "start")
        flow.add_routine(node(waits), "waits")
        flow.add_routine(node(waits_longer), "waits-longer")
        flow.connect("start", "output", "waits", "input")
        flow.connect("waits", "output", "waits-longer", "input")
        run = flow.execute("start")
        items = run.shared_data["items"]
        taken.set()
        assert begun.wait(DEADLINE)
        items.append("mine")
        changed.set()
        assert JobState.wait_for_completion(flow, run, timeout=DEADLINE)
        assert flow.store.load(run.job_id).shared_data == {"items": ["mine"]}


def test_what_a_caller_changes_in_place_before_a_pause_is_kept_with_it() -> None:
    with Flow("in-place", store=MemoryStore()) as flow:

        def asks(routine: Routine, _: dict[str, Any]) -> None:
            run_of(routine).update_shared_data("items", [])
            routine.emit_later("output", delay=3600)

        flow.add_routine(entry(asks), "start")
        flow.add_routine(node(lambda routine, _: None), "worker")
        flow.connect("start", "output", "worker", "input")
        run = flow.execute("start")
        run.shared_data["items"].append("mine")
        flow.pause(run)
        assert flow.store.load(run.job_id).shared_data == {"items": ["mine"]}
        flow.cancel(run)


def test_a_thread_of_a_handler_that_changes_what_it_got_after_the_settlement_is_kept_with_the_next_toucher() -> None:
    kept: list[list[int]] = []

    def works(routine: Routine, data: dict[str, Any]) -> None:
        kept.append(_by_get(run_of(routine)))
        if data["v"] == 3:  # between two settlements, by nobody's leave
            changes = Thread(target=lambda: kept[0].append(7))
            changes.start()
            changes.join()

    _, stored = run_five(works)
    assert stored.shared_data == {"items": [7]}


def _clears(data: dict[str, Any]) -> None:
    data.clear()


def _pops(data: dict[str, Any]) -> None:
    data.pop("v")


def _sets(data: dict[str, Any]) -> None:
    data["v"] = []


@pytest.mark.parametrize("changes", [_clears, _pops, _sets])
def test_the_data_of_a_slot_that_its_handler_changes_in_place_are_kept(changes: Any) -> None:
    batches: list[list[int]] = []

    def collects(routine: Routine, data: dict[str, Any]) -> None:
        if len(data["v"]) == 2:
            batches.append(data["v"])
            slot = routine.get_slot("input")
            assert slot is not None
            changes(slot._data)

    run, kept = run_five(collects, merge_strategy="append")
    assert batches == [[0, 1], [2, 3]]
    assert kept.serialize()["slot_data"] == run.serialize()["slot_data"]
    assert kept.serialize()["slot_data"]["worker"]["input"] == {"v": [4]}


def test_a_delivery_that_is_merged_into_what_a_handler_has_just_changed_is_loaded_as_it_came_about() -> None:
    changed, merged = Event(), Event()
    seen: list[list[int]] = []

    def collects(routine: Routine, data: dict[str, Any]) -> None:
        seen.append(data["v"])
        slot = routine.get_slot("input")
        assert slot is not None
        if data["v"] == [0]:
            slot._data.clear()
            changed.set()
            assert merged.wait(DEADLINE)
        else:
            merged.set()

    def starts(routine: Routine, _: dict[str, Any]) -> None:
        routine.emit("output", v=0)
        assert changed.wait(DEADLINE)
        routine.emit("output", v=1)

    with Flow("in-place", store=MemoryStore(), execution_strategy="concurrent", max_workers=2) as flow:
        flow.add_routine(entry(starts), "start")
        flow.add_routine(node(collects, merge_strategy="append"), "worker")
        flow.connect("start", "output", "worker", "input")
        run = flow.run("start")
        assert seen == [[0], [1]]
        rows = "".join(row.body for row in flow.store.rows(run.job_id))
        assert '{"v":[1]}' in rows  # what the second got is in its merge, and not left to follow from the deliveries
        assert flow.store.load(run.job_id).serialize()["slot_data"] == run.serialize()["slot_data"]


def test_a_shared_value_that_is_not_json_is_refused_where_it_is_given_from_outside_too() -> None:
    go_on = Event()
    with Flow("in-place", store=MemoryStore()) as flow:
        flow.add_routine(entry(lambda routine, _: routine.emit("output")), "start")
        flow.add_routine(node(lambda _, __: go_on.wait(DEADLINE)), "innocent")
        flow.connect("start", "output", "innocent", "input")
        run = flow.execute("start")
        for write in (
            lambda: run.update_shared_data("lock", object()),
            lambda: run.shared_data.update(lock=object()),
            lambda: run.shared_data.setdefault("lock", object()),
            lambda: run.modify_shared_data("lock", lambda _: object()),
            lambda: setattr(run, "shared_data", {"lock": object()}),
            lambda: run.shared_data.__setitem__(5, 1),  # type: ignore[call-overload]
        ):
            with pytest.raises(TypeError, match="shared_data"):
                write()
        go_on.set()
        assert JobState.wait_for_completion(flow, run, timeout=DEADLINE)
        assert run.status == "completed"
        assert run.shared_data == {}
