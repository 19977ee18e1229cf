"""A state that is saved while it runs, at any instant, ends elsewhere as the run would have ended here."""

import json
import random
import threading
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.testing import FakeClock, ManualExecutor
from tests.drawings import (
    Gate,
    Watched,
    collector,
    draw,
    draw_stepped,
    entry,
    in_thread,
    items,
    node,
    own_run,
    passed,
    reloaded,
    source,
    wait,
)
from tests.moving import at_instants, draw_moving, finish, result

pytestmark = pytest.mark.usefixtures("handler_kind")


def stepped_moving() -> tuple[Flow, ManualExecutor, FakeClock]:
    executor, clock = ManualExecutor(), FakeClock()
    return draw_moving(executor=executor, clock=clock), executor, clock


def drive(executor: ManualExecutor, clock: FakeClock) -> None:
    """Step until nothing is left, retries included."""
    while executor.run_until_idle():
        clock.advance(0.01)


def moved(flow: Flow, saved: str, **options: Any) -> tuple[Flow, JobState]:
    """A flow and a run as another process would make them out of text."""
    other = Flow("another", **options)
    other.deserialize(json.loads(json.dumps(flow.serialize())))
    job_state = JobState()
    job_state.deserialize(json.loads(saved))
    return other, job_state


def uninterrupted() -> dict[str, Any]:
    flow, executor, clock = stepped_moving()
    job_state = flow.execute("source")
    drive(executor, clock)
    assert job_state.status == "completed"
    finish(flow, job_state, lambda: drive(executor, clock))
    found = result(job_state)
    assert found["status"] == "completed"
    assert {"joined", "total", "answered 0", "answered 1"} <= found["shared"].keys()
    return found


def test_a_snapshot_at_each_instant_of_a_run_ends_as_the_run_does() -> None:
    expected = uninterrupted()
    saved: list[str] = []
    flow, executor, clock = stepped_moving()
    job_state = JobState("moving")

    def look() -> None:
        saved.append(json.dumps(job_state.serialize()))

    at_instants(look)
    try:
        flow.execute("source", job_state=job_state)
        while True:
            look()
            if not executor.step():
                clock.advance(0.01)
                if not executor.step():
                    break
        finish(flow, job_state, lambda: drive(executor, clock))
    finally:
        at_instants(None)
    assert result(job_state) == expected
    assert len(saved) > 300
    for text in random.sample(saved, 100):
        executor, clock = ManualExecutor(), FakeClock()
        other, restored = moved(flow, text, executor=executor, clock=clock)
        finish(other, restored, lambda executor=executor, clock=clock: drive(executor, clock))  # type: ignore[misc]
        assert result(restored) == expected


def test_a_run_that_is_moved_at_each_step_ends_as_one_that_is_not() -> None:
    expected = uninterrupted()
    flow, executor, clock = stepped_moving()
    job_state = flow.execute("source")
    for _ in range(60):
        executor.step()
        text = json.dumps(job_state.serialize())
        flow.cancel(job_state)  # as if its process were gone
        executor, clock = ManualExecutor(), FakeClock()
        flow, job_state = moved(flow, text, executor=executor, clock=clock)
        flow.resume(job_state)
    finish_driven(flow, job_state, executor, clock)
    assert result(job_state) == expected


def finish_driven(flow: Flow, job_state: JobState, executor: ManualExecutor, clock: FakeClock) -> None:
    drive(executor, clock)
    wait(flow, job_state)
    if job_state.deferred_events:
        finish(flow, job_state, lambda: drive(executor, clock))


def test_a_hundred_snapshots_at_random_instants_end_as_the_run_does() -> None:
    expected = uninterrupted()
    saved: list[str] = []
    with draw_moving() as flow:
        while len(saved) < 100:
            job_state = JobState("moving")
            at_random = random.Random(len(saved))
            going = threading.Event()

            def watch(job_state: JobState = job_state, going: threading.Event = going) -> list[str]:
                taken = []
                while not going.is_set():
                    taken.append(json.dumps(job_state.serialize()))
                return taken

            join = in_thread(watch)
            flow.execute("source", job_state=job_state)
            wait(flow, job_state)
            going.set()
            usable = [text for text in join() if json.loads(text)["status"] not in ("pending", "completed")]
            saved += at_random.sample(usable, min(len(usable), 34))
            assert result(finish(flow, job_state)) == expected
        for text in saved[:100]:
            other, restored = moved(flow, text)
            with other:
                assert result(finish(other, restored)) == expected


@pytest.mark.parametrize("workers", [1, 4])
def test_a_run_that_is_paused_and_moved_again_and_again_ends_as_one_that_is_not(workers: int) -> None:
    expected = uninterrupted()
    at_random = random.Random(workers)
    flow = draw_moving()
    flow.set_execution_strategy("concurrent", workers)
    job_state = JobState("moving")
    moves = 0
    flow.execute("source", job_state=job_state)
    while job_state.status != "completed":
        for _ in range(at_random.randrange(40)):
            job_state.serialize()  # takes about as long as some activations
        flow.pause(job_state)
        text = json.dumps(job_state.serialize())
        flow.shutdown()
        flow, job_state = moved(flow, text)
        flow.resume(job_state)
        moves += 1
        if not job_state.pending_tasks and JobState.wait_for_completion(flow, job_state, timeout=0.001):
            break
    wait(flow, job_state)
    if job_state.deferred_events:
        finish(flow, job_state)
    flow.shutdown()
    assert moves
    assert result(job_state) == expected


# -- single instants


def test_a_snapshot_says_what_is_queued_active_and_waiting_for_a_timer() -> None:
    saved: list[dict[str, Any]] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == 1:
            raise OSError("down")
        saved.append(own_run(routine).serialize())

    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit_later("output", delay=60, data={"item": 4})
        for item in (1, 2, 3):
            routine.emit("output", item=item)

    flow, executor, _ = draw_stepped(
        "a -> b", a=entry(start), b=node(act, error_handler=ErrorHandler("retry", retry_delay=5))
    )
    flow.execute("a")
    executor.step()
    executor.step()
    found = {task["data"]["item"]: task for task in saved[0]["pending_tasks"]}
    assert {item: task["was"] for item, task in found.items()} == {1: "retry", 2: "active", 3: "queued", 4: "queued"}
    assert {item: task["attempt"] for item, task in found.items()} == {1: 2, 2: 1, 3: 1, 4: 1}
    assert {item for item, task in found.items() if task["due_at"]} == {1, 4}
    assert saved[0]["status"] == "running"


def test_a_snapshot_changes_nothing() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2, 3), b=collector(got, merge_strategy="append"))
    job_state = flow.execute("a")
    executor.step()
    first, second = job_state.serialize(), job_state.serialize()
    assert first == second
    assert job_state.pending_tasks == []
    executor.run_until_idle()
    assert (job_state.status, got[-1]) == ("completed", {"item": [1, 2, 3]})


def test_a_snapshot_of_the_entry_at_work_begins_with_the_entry() -> None:
    saved: list[JobState] = []
    got: list[Any] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", item=1)
        if not saved:
            saved.append(reloaded(own_run(routine)))
        routine.emit("output", item=2)

    flow, executor, _ = draw_stepped("a -> b", a=entry(start), b=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert (job_state.status, got) == ("completed", [{"item": 1}, {"item": 2}])
    got.clear()
    wait(flow, flow.resume(saved[0]))
    assert saved[0].status == "completed"
    assert sorted(data["item"] for data in got) == [1, 2]


class Camera:
    """A hook that takes a snapshot when an activation is active, and its delivery is not merged yet."""

    def __init__(self) -> None:
        self.taken: list[JobState] = []

    def activation_started(self, job_state: JobState, routine_id: str, slot: str) -> None:
        if routine_id == "b":
            self.taken.append(reloaded(job_state))

    def activation_ended(self, job_state: JobState, routine_id: str, slot: str, error: Any) -> None: ...

    def run_ended(self, job_state: JobState) -> None: ...


def test_an_activation_that_was_taken_and_not_merged_starts_and_is_merged_once() -> None:
    camera, got = Camera(), list[Any]()
    flow, executor, _ = draw_stepped(
        "a -> b", options={"hooks": camera}, a=source(1, 2), b=collector(got, merge_strategy="append")
    )
    flow.execute("a")
    executor.run_until_idle()
    assert [entry["merged"] for entry in camera.taken[0].pending_tasks] == [False, False]
    # Once more before it comes to its turn: what is queued again has begun all the same.
    resumed = [flow.resume(camera.taken[0]), flow.resume(reloaded(camera.taken[0]))]
    executor.run_until_idle()
    for job_state in resumed:
        wait(flow, job_state)
        words = [record.event_name for record in job_state.execution_history if record.routine_id == "b"]
        assert sorted(words) == ["completed", "completed", "start", "start"]
    assert sorted(map(len, (data["item"] for data in got))) == [1, 1, 1, 2, 2, 2]


def test_a_snapshot_waits_for_a_merge_and_a_merge_may_use_the_shared_data() -> None:
    gate = Gate()
    got: list[Any] = []

    def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        gate.hold()
        job_state.update_shared_data("merged", job_state.get_shared_data("merged", 0) + 1)
        job_state.append_to_shared_log({"merged": new["item"]})
        return {"item": old.get("item", 0) + new["item"]}

    flow = draw("a -> b", a=source(1, 2), b=collector(got, merge_strategy=merge))
    job_state = JobState(flow.flow_id)
    flow.execute("a", job_state=job_state)
    gate.await_arrival()
    calling = threading.Event()
    join = in_thread(lambda: (calling.set(), job_state.serialize())[1])
    passed(calling)
    gate.open()
    saved = join()
    wait(flow, job_state)
    flow.shutdown()
    assert items(got) == [1, 3]
    # What the slot holds and which deliveries are still to be merged are of one instant.
    waiting = sum(task["data"]["item"] for task in saved["pending_tasks"] if not task["merged"])
    assert saved["slot_data"]["b"]["input"]["item"] + waiting == 3


def test_a_snapshot_in_the_middle_of_a_resume_has_every_deferred_event_once() -> None:
    joins: list[Any] = []
    got: list[Any] = []

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        for item in range(3):
            routine.emit_deferred_event("asked", item=item)

    asker = Watched(ask, slot="trigger", events=("asked",))
    flow, _, _ = draw_stepped("a.asked -> b", a=asker, b=collector(got))
    job_state = flow.execute("a")
    # Asked by an emission that has to be wired, which is in the middle of the resume.
    asker.on_get_event = lambda: joins.append(in_thread(job_state.serialize))
    flow.resume(job_state)
    asker.on_get_event = None
    wait(flow, job_state)
    assert items(got) == [0, 1, 2]
    assert joins
    for each in [join() for join in joins]:
        kept = [event["data"]["item"] for event in each["deferred_events"]]
        kept += [task["data"]["item"] for task in each["pending_tasks"] if task["routine_id"] == "b"]
        done = [record for record in each["execution_history"] if record["routine_id"] == "b"]
        ended = sum(record["event_name"] == "completed" for record in done)
        assert len(set(kept)) == len(kept) == 3 - ended


@pytest.mark.usefixtures("hasty_switching")
def test_a_snapshot_may_be_taken_while_handlers_change_what_they_share_in_place() -> None:
    stop = threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        shared = job_state.shared_data["counted"]
        number = 0
        while not stop.is_set():
            number += 1
            shared[str(number % 1000)] = {"number": number}
            if number % 1000 == 0:
                shared.clear()

    flow = draw("a -> b", a=source(1), b=node(act))
    job_state = JobState(flow.flow_id)
    job_state.update_shared_data("counted", {})
    flow.execute("a", job_state=job_state)
    snapshots: list[dict[str, Any]] = []
    try:
        while len(snapshots) < 200 or len({len(counted) for counted in snapshots}) < 20:
            saved = json.loads(json.dumps(job_state.serialize()))
            snapshots.append(saved["shared_data"]["counted"])
    finally:
        stop.set()
    assert wait(flow, job_state).status == "completed"
    flow.shutdown()
    for counted in snapshots:
        # As it was at one instant: what was written since it was cleared, in that order.
        numbers = [row["number"] for row in counted.values()]
        assert list(counted) == [str(number % 1000) for number in numbers]
        first = numbers[0] if numbers else 0
        assert numbers == list(range(first, first + len(numbers)))
