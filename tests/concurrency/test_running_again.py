"""What is done is not done again: merges, emissions, deferred events of activations that run a second time."""

import threading
from collections import Counter
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from tests.drawings import (
    Gate,
    collector,
    draw,
    draw_stepped,
    entry,
    fails,
    in_thread,
    items,
    names,
    node,
    own_context,
    own_run,
    passed,
    relay,
    reloaded,
    source,
    wait,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def failing_once(error: Exception) -> Any:
    """Emits what it gets and then fails, the first time for each item."""
    seen: set[Any] = set()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", **data)
        if data["item"] not in seen:
            seen.add(data["item"])
            raise error

    return act


# -- retries and failures


def test_a_retry_goes_on_with_its_attempt_when_it_is_due() -> None:
    attempts: list[int] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = own_context(routine)
        attempts.append(context.attempt)
        if context.attempt < 4:
            raise OSError("down")

    policy = ErrorHandler("retry", max_retries=3, retry_delay=10, retry_backoff=1)
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=policy))
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.pause(job_state)
    job_state = reloaded(job_state)
    clock.advance(4)
    flow.resume(job_state)
    clock.advance(5)
    executor.run_until_idle()
    assert attempts == [1]
    clock.advance(1)
    executor.run_until_idle()
    assert attempts == [1, 2]
    for _ in range(2):
        clock.advance(10)
        executor.run_until_idle()
    assert attempts == [1, 2, 3, 4]
    assert job_state.status == "completed"
    assert names(job_state, "b") == ["start", "error", "error", "error", "completed"]


def test_retries_are_not_granted_again_by_a_pause() -> None:
    attempts: Counter[str] = Counter()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        attempts["all"] += 1
        raise OSError("down")

    policy = ErrorHandler("retry", max_retries=2, retry_delay=1, retry_backoff=1)
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=policy))
    job_state = flow.execute("a")
    for _ in range(3):
        executor.run_until_idle()
        flow.pause(job_state)
        clock.advance(1)
        job_state = flow.resume(reloaded(job_state))
        executor.run_until_idle()
        if job_state.status == "failed":
            break
    assert (attempts["all"], job_state.status) == (3, "failed")


def test_what_a_retried_attempt_held_back_is_released_once() -> None:
    got: list[Any] = []
    outputs: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = own_context(routine)
        routine.emit("output", item=context.attempt)
        routine.send_output("told", attempt=context.attempt)
        if context.attempt == 1:
            raise OSError("down")
        flow.pause(context.job_state)

    policy = ErrorHandler("retry", max_retries=2, retry_delay=0)
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(1), b=node(act, error_handler=policy), c=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert job_state.status == "paused"
    assert [(task["routine_id"], task["data"]) for task in job_state.pending_tasks] == [("c", {"item": 2})]
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    outputs = [output["data"]["attempt"] for output in job_state.outputs("told")]
    assert (items(got), outputs) == ([2], [2])


@pytest.mark.plain_only("it looks for a worker's thread, and async handlers have none")
def test_the_entrys_parked_retry_runs_on_the_pool() -> None:
    tried, threads = Gate(), []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        threads.append(threading.current_thread().name)
        tried.arrived.set()
        if len(threads) == 1:
            raise OSError("down")
        routine.emit("output", **data)

    got: list[Any] = []
    policy = ErrorHandler("retry", max_retries=1, retry_delay=3600)
    flow = draw("a -> b", a=entry(start, error_handler=policy), b=collector(got))
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: flow.execute("a", {"item": 1}, job_state=job_state))
    tried.await_arrival()
    wait_until(flow, job_state, lambda state: bool(state.errors))
    flow.pause(job_state)
    join()
    job_state.pending_tasks[0]["due_at"] = None  # an hour later
    wait(flow, flow.resume(job_state))
    assert job_state.status == "completed"
    assert items(got) == [1]
    assert "ThreadPoolExecutor-" in threads[1]
    assert names(job_state, "a") == ["start", "error", "output", "completed"]
    flow.shutdown()


def test_the_entrys_retry_goes_on_when_another_handler_pauses_and_resumes_the_run() -> None:
    tried: list[Any] = []
    gate, first = Gate(), threading.Event()

    def start(routine: Routine, data: dict[str, Any]) -> None:
        tried.append(data)
        first.set()
        if len(tried) == 1:
            raise OSError("down")

    def again(routine: Routine, data: dict[str, Any]) -> None:
        gate.hold()
        flow.pause(job_state)
        flow.resume(job_state)

    policy = ErrorHandler("retry", max_retries=1, retry_delay=0.2)
    flow = draw("y -> z", flow=Flow("drawn", "concurrent", 2), a=entry(start, error_handler=policy),
                y=relay(), z=node(again))  # fmt: skip
    job_state = JobState(flow.flow_id)
    join = in_thread(lambda: flow.execute("a", job_state=job_state))
    passed(first)
    flow.routines["y"].emit("output", flow=flow, job_state=job_state)
    gate.await_arrival()
    gate.open()
    assert join() is job_state
    assert wait(flow, job_state).status == "completed"
    assert len(tried) == 2
    flow.shutdown()


def test_an_entry_that_failed_runs_again_after_the_repair() -> None:
    seen: list[Any] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        seen.append(data)
        if len(seen) == 1:
            raise ValueError("boom")
        routine.emit("output", **data)

    got: list[Any] = []
    flow, _, _ = draw_stepped("a -> b", a=entry(start), b=collector(got))
    job_state = flow.execute("a", {"item": 1})
    assert job_state.status == "failed"
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    assert (job_state.status, seen, got) == ("completed", [{"item": 1}] * 2, [{"item": 1}])


def test_a_failed_run_goes_on_with_the_failed_task_and_those_behind_it() -> None:
    got: list[Any] = []
    flow, executor, _ = draw_stepped(
        "a -> b -> c",
        a=source(1, 2, 3),
        b=node(fails(ValueError("boom"), 1), error_handler=ErrorHandler("stop")),
        c=collector(got),
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert [(task["was"], task["data"]["item"]) for task in job_state.pending_tasks] == [
        ("failed", 1),
        ("queued", 2),
        ("queued", 3),
    ]
    flow.resume(job_state)
    assert "failed" not in {state.get("status") for state in job_state.routine_states.values()}
    wait(flow, job_state)
    assert (job_state.status, items(got)) == ("completed", [1, 2, 3])
    assert (job_state.get_routine_state("b") or {}).get("status") == "completed"


def test_a_run_whose_repair_does_not_help_fails_again_and_keeps_everything() -> None:
    flow, executor, _ = draw_stepped(
        "a -> b", a=source(1, 2), b=node(fails(ValueError("boom")), error_handler=ErrorHandler("stop"))
    )
    job_state = flow.execute("a")
    for _ in range(3):
        executor.run_until_idle()
        assert job_state.status == "failed"
        assert [task["data"]["item"] for task in job_state.pending_tasks] == [1, 2]
        flow.resume(job_state)


# -- what "again" means


def test_an_activation_keeps_its_id_when_it_runs_again() -> None:
    ids: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        ids.append(own_context(routine).activation_id)
        if len(ids) < 4:
            raise ValueError("boom")

    flow, executor, _ = draw_stepped("a -> b", a=source(1), b=node(act, error_handler=ErrorHandler("stop")))
    job_state = flow.execute("a")
    for _ in range(3):
        executor.run_until_idle()
        job_state = flow.resume(reloaded(job_state))
    wait(flow, job_state)
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_different_activations_have_different_ids() -> None:
    ids: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        ids.append(own_context(routine).activation_id)
        routine.emit("output", **data)

    flow, executor, _ = draw_stepped("a -> b -> c", "a -> c", a=source(1, 1, 1), b=node(act), c=node(act))
    job_state = flow.execute("a")
    executor.step()
    flow.pause(job_state)
    wait(flow, flow.resume(reloaded(job_state)))
    wait(flow, flow.execute("a"))
    assert len(ids) == len(set(ids)) == 18


@pytest.mark.parametrize("stops", ["once", "before it runs again", "while it runs again"])
def test_what_an_activation_has_emitted_is_not_emitted_again(stops: str) -> None:
    got: list[Any] = []
    states: list[JobState] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        states.append(own_run(routine))
        routine.emit("output", item=1)
        if len(states) == 2 and stops == "while it runs again":
            raise ValueError("again")
        routine.emit("output", item=2)
        routine.emit("other", item=3)
        if len(states) == 1:
            raise ValueError("boom")
        routine.emit("output", item=4)

    flow, executor, _ = draw_stepped(
        "a -> b -> c",
        "b.other -> c",
        a=source(0),
        b=node(act, events=("output", "other"), error_handler=ErrorHandler("stop")),
        c=collector(got),
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert job_state.status == "failed"
    if stops == "before it runs again":
        flow.resume(job_state)
        flow.pause(job_state)
        job_state = reloaded(job_state)
    if stops == "while it runs again":
        flow.resume(job_state)
        executor.run_until_idle()
        assert job_state.status == "failed"
        job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    assert job_state.status == "completed"
    assert items(got) == [1, 2, 3, 4]
    assert names(job_state, "b").count("output") == 3
    assert "replay_differs" not in names(job_state, "b")


def test_an_emission_that_differs_is_recorded_and_the_first_data_stand() -> None:
    got: list[Any] = []
    answers = iter(["first", "second", "third"])

    def act(routine: Routine, data: dict[str, Any]) -> None:
        answer = next(answers)
        routine.emit("output", item=answer)
        if answer != "third":
            raise ValueError("boom")

    flow, executor, _ = draw_stepped(
        "a -> b -> c", a=source(0), b=node(act, error_handler=ErrorHandler("stop")), c=collector(got)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.resume(job_state)
    executor.run_until_idle()
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    assert items(got) == ["first"]
    differing = [record.data for record in job_state.execution_history if record.event_name == "replay_differs"]
    assert [(data["event"], data["data"]) for data in differing] == [
        ("output", {"item": "second"}),
        ("output", {"item": "third"}),
    ]


def test_an_equal_emission_after_json_does_not_differ() -> None:
    payload = {"item": (1, 2), "nested": {"b": [None, 1.5], "a": "\udc80\x00"}}
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(), b=node(failing_once(ValueError("boom")),
                                     error_handler=ErrorHandler("stop")), c=node())  # fmt: skip
    job_state = flow.execute("a", payload)
    executor.run_until_idle()
    assert job_state.status == "failed"
    job_state = reloaded(job_state)
    flow.routines["b"].set_error_handler(ErrorHandler("continue"))
    wait(flow, flow.resume(job_state))
    assert "replay_differs" not in names(job_state, "b")


def appended(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {"item": [*old.get("item", []), new["item"]]}


@pytest.mark.parametrize("strategy", ["append", appended])
@pytest.mark.parametrize("through_json", [False, True])
def test_a_delivery_that_was_merged_is_not_merged_again(strategy: Any, through_json: bool) -> None:
    got: list[Any] = []
    failures = {2: 2, 3: 1}

    def act(routine: Routine, data: dict[str, Any]) -> None:
        newest = data["item"][-1]
        if failures.get(newest):
            failures[newest] -= 1
            raise ValueError("boom")
        got.append(data["item"])

    flow, executor, _ = draw_stepped(
        "a -> b", a=source(1, 2, 3), b=node(act, merge_strategy=strategy, error_handler=ErrorHandler("stop"))
    )
    job_state = flow.execute("a")
    for _ in range(3):
        executor.run_until_idle()
        assert job_state.status == "failed"
        flow.resume(job_state)
        flow.pause(job_state)
        job_state = flow.resume(reloaded(job_state) if through_json else job_state)
    wait(flow, job_state)
    assert job_state.status == "completed"
    assert got == [[1], [1, 2], [1, 2, 3]]


def test_a_retry_uses_the_arguments_that_its_first_attempt_merged() -> None:
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == [1] and own_context(routine).attempt == 1:
            raise OSError("down")
        got.append(list(data["item"]))

    policy = ErrorHandler("retry", max_retries=1, retry_delay=5)
    flow, executor, clock = draw_stepped(
        "a -> b", a=source(1, 2), b=node(act, merge_strategy="append", error_handler=policy)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    flow.pause(job_state)
    clock.advance(5)
    wait(flow, flow.resume(reloaded(job_state)))
    assert got == [[1, 2], [1]]


def changed_in_place(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    old.update(new)
    return old


@pytest.mark.parametrize("through_json", [False, True])
def test_a_retry_uses_its_arguments_though_the_merge_function_changes_them_in_place(through_json: bool) -> None:
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        attempt = own_context(routine).attempt
        got.append((data["item"], attempt))
        if data["item"] == 1 and attempt == 1:
            raise OSError("down")

    policy = ErrorHandler("retry", max_retries=1, retry_delay=5)
    flow, executor, clock = draw_stepped(
        "a -> b", a=source(1, 2), b=node(act, merge_strategy=changed_in_place, error_handler=policy)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    if through_json:
        flow.pause(job_state)
        job_state = flow.resume(reloaded(job_state))
    clock.advance(5)
    wait(flow, job_state)
    assert got == [(1, 1), (2, 1), (1, 2)]


def test_a_merge_function_that_changes_in_place_and_raises_has_merged_nothing() -> None:
    got: list[Any] = []
    failures = [OSError("down")]

    def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        old["count"] = old.get("count", 0) + new.pop("item")
        if failures:
            raise failures.pop()
        return old

    policy = ErrorHandler("retry", max_retries=1, retry_delay=5)
    flow, executor, clock = draw_stepped(
        "a -> b",
        a=source(1),
        b=node(lambda routine, data: got.append(data), merge_strategy=merge, error_handler=policy),
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    clock.advance(5)
    assert wait(flow, job_state).status == "completed"
    assert got == [{"count": 1}]


def test_a_handler_that_empties_its_slots_data_leaves_its_retry_and_the_record_as_they_were() -> None:
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        got.append(dict(data))
        slot = next(iter(routine._slots.values()))
        slot._data.clear()
        slot._data["mine"] = 1
        assert slot._data == {"mine": 1}
        if own_context(routine).attempt == 1:
            raise OSError("down")
        routine.emit("output", **data)

    def policy() -> ErrorHandler:
        return ErrorHandler("retry", max_retries=1, retry_delay=0)

    flow = draw("a -> b", a=entry(act, error_handler=policy()), b=node(act, error_handler=policy()))
    job_state = wait(flow, flow.execute("a", {"item": 1}))
    assert job_state.status == "completed"
    assert got == [{"item": 1}] * 4
    starts = [record.data for record in job_state.execution_history if record.event_name == "start"]
    assert starts == [{"item": 1}, {"slot": "input"}]


def test_a_fan_in_that_was_interrupted_comes_together() -> None:
    got: list[Any] = []

    def join(routine: Routine, data: dict[str, Any]) -> None:
        if len(data["item"]) == 4:
            got.append(sorted(data["item"]))

    flow, executor, _ = draw_stepped(
        "a -> left -> join",
        "a -> right -> join",
        a=source(1, 2),
        left=relay(),
        right=node(lambda routine, data: routine.emit("output", item=data["item"] * 10)),
        join=node(join, merge_strategy="append"),
    )
    job_state = flow.execute("a")
    for _ in range(20):
        executor.step()
        flow.pause(job_state)
        job_state = flow.resume(reloaded(job_state))
    wait(flow, job_state)
    assert got == [[1, 2, 10, 20]]


def test_deferred_events_are_emitted_once_and_in_their_order() -> None:
    got: list[Any] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for item in range(3):
            routine.emit_deferred_event("output", item=item)

    flow, executor, _ = draw_stepped("a -> b", a=entry(start), b=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert got == []
    assert [event["data"]["item"] for event in job_state.deferred_events] == [0, 1, 2]
    flow.pause(job_state)
    job_state = reloaded(job_state)
    flow.resume(job_state)
    assert job_state.deferred_events == []
    flow.pause(job_state)
    job_state = reloaded(job_state)
    wait(flow, flow.resume(job_state))
    wait(flow, flow.resume(job_state))
    assert items(got) == [0, 1, 2]


def test_a_deferred_event_of_an_activation_that_runs_again_is_emitted_once() -> None:
    got: list[Any] = []
    calls: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(data)
        routine.emit_deferred_event("output", item="asked")
        if len(calls) == 1:
            raise ValueError("boom")

    flow, executor, _ = draw_stepped(
        "a -> b -> c", a=source(0), b=node(act, error_handler=ErrorHandler("stop")), c=collector(got)
    )
    job_state = flow.execute("a")
    executor.run_until_idle()
    for _ in range(3):
        wait(flow, flow.resume(job_state))
    assert (len(calls), items(got)) == (2, ["asked"])


def test_deferred_events_of_a_failed_attempt_that_is_retried_are_dropped_with_it() -> None:
    got: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = own_context(routine)
        routine.emit_deferred_event("output", item=context.attempt)
        if context.attempt == 1:
            raise OSError("down")

    policy = ErrorHandler("retry", max_retries=1, retry_delay=0)
    flow, executor, _ = draw_stepped("a -> b -> c", a=source(0), b=node(act, error_handler=policy), c=collector(got))
    job_state = flow.execute("a")
    executor.run_until_idle()
    wait(flow, flow.resume(job_state))
    assert items(got) == [2]
