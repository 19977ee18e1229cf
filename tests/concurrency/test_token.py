"""A run's queue is emptied by as many workers as it may have, and never by none."""

import contextvars
import itertools
import threading
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.flow import TaskPriority
from tests.drawings import DEADLINE, Gate, draw, draw_stepped, entry, in_thread, node, passed, source, start_held, wait

pytestmark = pytest.mark.usefixtures("handler_kind")


def test_a_sequential_run_has_one_activation_at_a_time_even_when_workers_are_free() -> None:
    order: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        order.append(f"begin {data['item']}")
        assert not executor.step()
        order.append(f"end {data['item']}")

    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2), b=node(act))
    flow.set_execution_strategy("concurrent", 4)
    flow.execute("a", execution_strategy="sequential")
    executor.run_until_idle()
    assert order == ["begin 1", "end 1", "begin 2", "end 2"]


def test_the_tasks_of_a_sequential_run_start_when_its_entry_handler_has_returned() -> None:
    order: list[str] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output")
        assert not executor.step()
        order.append("entry")

    flow, executor, _ = draw_stepped("a -> b", a=entry(start), b=node(lambda routine, data: order.append("task")))
    flow.execute("a")
    executor.run_until_idle()
    assert order == ["entry", "task"]


def test_the_tasks_of_a_concurrent_run_start_while_its_entry_handler_is_at_work() -> None:
    order: list[str] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output")
        assert executor.step()
        order.append("entry")

    flow, executor, _ = draw_stepped(
        "a -> b",
        options={"execution_strategy": "concurrent"},
        a=entry(start),
        b=node(lambda routine, data: order.append("task")),
    )
    flow.execute("a")
    assert order == ["task", "entry"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_concurrent_run_has_at_most_max_workers_activations_at_a_time(workers: int) -> None:
    depth = 0
    deepest = 0

    def act(routine: Routine, data: dict[str, Any]) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        executor.step()  # as long as a worker is free, another activation begins inside this one
        depth -= 1

    flow, executor, _ = draw_stepped(
        "a -> b",
        options={"execution_strategy": "concurrent", "max_workers": workers},
        a=source(*range(10)),
        b=node(act),
    )
    flow.execute("a")
    executor.run_until_idle()
    assert deepest == workers


def test_a_concurrent_run_of_a_sequential_flow_uses_five_workers() -> None:
    arrived = threading.Barrier(6, timeout=DEADLINE)
    flow = draw("a -> b", a=source(*range(5)), b=node(lambda routine, data: arrived.wait()))
    job_state = flow.execute("a", execution_strategy="concurrent")
    arrived.wait()
    assert wait(flow, job_state).status == "completed"
    assert flow.max_workers == 1
    flow.shutdown()


def test_runs_take_turns_after_sixty_four_activations() -> None:
    order: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        order.append(data["run"])

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for _ in range(200):
            routine.emit("output", run=data["run"])

    gate = Gate()
    flow = draw("a -> b", "c -> blocker", a=entry(start), b=node(act), c=source(1), blocker=node(gate.act))
    # One worker, held by a first run, so that both others stand in line before either begins.
    first = flow.execute("c")
    gate.await_arrival()
    runs = [flow.execute("a", {"run": name}) for name in ("one", "two")]
    gate.open()
    for job_state in (first, *runs):
        wait(flow, job_state)
    switches = sum(1 for before, after in itertools.pairwise(order) if before != after)
    assert len(order) == 400
    assert switches >= 3, "each run should have had to let the other one go first"
    flow.shutdown()


def test_a_short_run_is_not_held_up_by_a_long_one() -> None:
    gate = Gate()
    flow = draw("a -> b", "c -> d", a=source(1), b=node(gate.act), c=source(1), d=node())
    flow.set_execution_strategy("concurrent", 2)
    long_run = flow.execute("a")
    gate.await_arrival()
    assert wait(flow, flow.execute("c")).status == "completed"
    assert long_run.status == "running"
    gate.open()
    wait(flow, long_run)
    flow.shutdown()


@pytest.mark.usefixtures("hasty_switching")
@pytest.mark.parametrize("workers", [1, 4])
def test_no_wake_up_is_lost_between_a_worker_that_goes_and_a_task_that_comes(workers: int) -> None:
    # A worker that finds the queue empty gives its token back at the very moment in which the next run's task is
    # put there: 300 times in each of three threads, each run as short as can be.
    flow = draw("a -> b -> c", a=source(1), b=node(lambda routine, data: routine.emit("output")), c=node())
    flow.set_execution_strategy("concurrent", workers)

    def many() -> int:
        return sum(wait(flow, flow.execute("a")).status == "completed" for _ in range(300))

    joins = [in_thread(many) for _ in range(3)]
    assert [join() for join in joins] == [300] * 3
    flow.shutdown()


@pytest.mark.usefixtures("hasty_switching")
def test_every_message_of_a_wide_and_deep_run_is_delivered_exactly_once() -> None:
    lock = threading.Lock()
    seen: list[tuple[int, int]] = []

    def spread(routine: Routine, data: dict[str, Any]) -> None:
        for branch in range(20):
            routine.emit("output", item=data["item"], branch=branch)

    def note(routine: Routine, data: dict[str, Any]) -> None:
        with lock:
            seen.append((data["item"], data["branch"]))

    flow = draw("a -> b -> c", a=source(*range(50)), b=node(spread), c=node(note))
    flow.set_execution_strategy("concurrent", 4)
    job_state = wait(flow, flow.execute("a"))
    assert job_state.status == "completed"
    assert sorted(seen) == [(item, branch) for item in range(50) for branch in range(20)]
    flow.shutdown()


def test_emissions_from_threads_of_a_handler_all_arrive() -> None:
    got: list[int] = []
    lock = threading.Lock()

    def start(routine: Routine, data: dict[str, Any]) -> None:
        def emit(number: int) -> None:
            for item in range(100):
                routine.emit("output", item=number * 100 + item)

        contexts = [contextvars.copy_context() for _ in range(4)]
        joins = [in_thread(lambda c=c, n=n: c.run(emit, n)) for n, c in enumerate(contexts)]  # type: ignore[misc]
        for join in joins:
            join()

    def note(routine: Routine, data: dict[str, Any]) -> None:
        with lock:
            got.append(data["item"])

    flow = draw("a -> b", a=entry(start), b=node(note))
    flow.set_execution_strategy("concurrent", 3)
    wait(flow, flow.execute("a"))
    assert sorted(got) == list(range(400))
    flow.shutdown()


def test_priorities_order_a_run_and_first_in_is_first_out_within_one() -> None:
    got: list[str] = []

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for name, priority in [
            ("low 1", TaskPriority.LOW),
            ("normal 1", TaskPriority.NORMAL),
            ("high 1", TaskPriority.HIGH),
            ("low 2", TaskPriority.LOW),
            ("high 2", TaskPriority.HIGH),
            ("normal 2", TaskPriority.NORMAL),
        ]:
            routine.emit_later("output", priority=priority, data={"name": name})

    flow = draw("a -> b", a=entry(start), b=node(lambda routine, data: got.append(data["name"])))
    wait(flow, flow.execute("a"))
    assert got == ["high 1", "high 2", "normal 1", "normal 2", "low 1", "low 2"]
    flow.shutdown()


def test_two_flows_do_not_share_workers() -> None:
    gate = Gate()
    first = draw("a -> b", a=source(1), b=node(gate.act))
    second = draw("a -> b", a=source(1), b=node())
    held = first.execute("a")
    gate.await_arrival()
    assert wait(second, second.execute("a")).status == "completed"
    gate.open()
    wait(first, held)
    first.shutdown()
    second.shutdown()


def test_a_wait_with_a_timeout_returns_false_and_leaves_the_run_alone() -> None:
    flow, job_state, gate = start_held()
    assert JobState.wait_for_completion(flow, job_state, timeout=0.01) is False
    assert job_state.status == "running"
    gate.open()
    assert wait(flow, job_state).status == "completed"
    flow.shutdown()


def test_setting_the_strategy_counts_for_later_runs_only() -> None:
    gate, arrived = Gate(), threading.Event()
    active: set[int] = set()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        active.add(data["item"])
        if len(active) == 2:
            arrived.set()
        gate.hold()

    flow = Flow("strategy")
    draw("a -> b", flow=flow, a=source(1, 2), b=node(act))
    first = flow.execute("a")
    gate.await_arrival()
    flow.set_execution_strategy("concurrent", 4)
    assert active == {1}
    second = flow.execute("a")
    passed(arrived)
    gate.open()
    wait(flow, first)
    wait(flow, second)
    flow.shutdown()
