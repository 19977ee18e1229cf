"""Executing a flow: what a call takes, what stands when it returns, in which order and on which threads it runs."""

import threading
import uuid
from typing import Any

import pytest

from routilux import Flow, JobState, QueueOutputHandler, Routine
from routilux.flow import TaskPriority
from routilux.testing import FakeClock
from tests.drawings import (
    Gate,
    collector,
    draw,
    draw_stepped,
    entry,
    names,
    node,
    passed,
    relay,
    source,
    start_held,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def test_a_flow_has_an_id_of_its_own():
    assert Flow("mine").flow_id == "mine"
    assert uuid.UUID(Flow().flow_id).version == 4
    assert Flow().flow_id != Flow().flow_id


def test_a_flow_has_these_defaults():
    flow = Flow()
    assert (flow.execution_strategy, flow.max_workers, flow.execution_timeout) == ("sequential", 1, 300.0)
    assert (flow.routines, flow.connections) == ({}, [])
    assert (flow.error_handler, flow.execution_tracker) == (None, None)
    concurrent = Flow(execution_strategy="concurrent")
    assert (concurrent.execution_strategy, concurrent.max_workers) == ("concurrent", 5)
    assert Flow(execution_strategy="concurrent", max_workers=8).max_workers == 8
    assert Flow(execution_strategy="sequential", max_workers=8).max_workers == 1
    assert Flow(execution_timeout=None).execution_timeout is None


def test_the_strategy_may_be_changed():
    flow = Flow()
    flow.set_execution_strategy("concurrent")
    assert (flow.execution_strategy, flow.max_workers) == ("concurrent", 5)
    flow.set_execution_strategy("concurrent", max_workers=10)
    assert flow.max_workers == 10
    flow.set_execution_strategy("sequential", max_workers=10)
    assert (flow.execution_strategy, flow.max_workers) == ("sequential", 1)


def test_adding_a_routine_gives_its_id():
    flow, routine = Flow(), Routine()
    assert flow.add_routine(routine) == routine._id
    assert flow.add_routine(routine, "second") == "second"
    assert flow.routines == {routine._id: routine, "second": routine}


def test_connecting_gives_the_connection():
    flow = draw(a=source(), b=relay())
    connection = flow.connect(
        source_routine_id="a", source_event="output", target_routine_id="b", target_slot="input",
        param_mapping={"x": "y"},
    )  # fmt: skip
    assert flow.connections == [connection]
    assert connection.source_event is flow.routines["a"].get_event("output")
    assert connection.target_slot is flow.routines["b"].get_slot("input")
    assert connection.param_mapping == {"x": "y"}


def test_connecting_the_same_pair_again_replaces_the_mapping_and_delivers_once():
    seen: list[Any] = []
    flow = draw("a -> b", a=source(1), b=collector(seen))
    flow.connect("a", "output", "b", "input", {"item": "x"})
    flow.run("a")
    flow.shutdown()
    assert len(flow.connections) == 1
    assert seen == [{"x": 1}]


def test_routines_are_found_by_their_type():
    class Special(Routine):
        pass

    class MoreSpecial(Special):
        pass

    one, two = Special(), MoreSpecial()
    flow = draw(a=source(), one=one, two=two)
    assert flow.find_routines_by_type(Special) == [("one", one), ("two", two)]
    assert flow.find_routines_by_type(MoreSpecial) == [("two", two)]
    assert len(flow.find_routines_by_type(Routine)) == 3
    assert Flow().find_routines_by_type(Routine) == []


def test_a_run_has_a_state_of_its_own():
    flow = draw(a=source(1))
    first, second = flow.execute("a"), flow.execute("a")
    flow.shutdown()
    assert first is not second
    assert first.job_id != second.job_id
    assert (first.flow_id, second.flow_id) == (flow.flow_id, flow.flow_id)
    assert len(first.execution_history) == len(second.execution_history) == 3


def test_the_entry_gets_its_params_and_they_stand_in_the_start_record():
    seen: list[Any] = []
    flow = draw(a=entry(lambda routine, data: seen.append(data)))
    params = {"x": 1}
    job_state = flow.execute("a", params)
    flow.execute(entry_routine_id="a", entry_params=None)
    flow.shutdown()
    assert seen == [{"x": 1}, {}]
    assert job_state.execution_history[0].data == {"x": 1}
    assert params == {"x": 1}


def test_a_run_with_nothing_outstanding_is_final_when_execute_returns():
    assert draw(a=source(1)).execute("a").status == "completed"
    assert draw(a=entry(lambda routine, data: 1 / 0)).execute("a").status == "failed"


def test_a_run_with_work_outstanding_is_running_when_execute_returns_and_ends_without_a_waiter():
    gate, ended = Gate(), threading.Event()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    flow.on_run_end(lambda job_state: ended.set())
    job_state = flow.execute("a")
    assert job_state.status == "running"
    gate.open()
    passed(ended)
    assert job_state.status == "completed"
    flow.shutdown()


@pytest.mark.plain_only("it looks for a worker's thread, and async handlers have none")
def test_the_entry_runs_in_the_callers_thread_and_tasks_run_in_the_pool():
    seen: dict[str, str] = {}

    def note(name: str) -> Any:
        def act(routine: Routine, data: Any) -> None:
            seen[name] = threading.current_thread().name
            if name == "a":
                routine.emit("output")

        return act

    flow = draw("a -> b", a=entry(note("a")), b=node(note("b")))
    flow.run("a")
    flow.shutdown()
    assert seen["a"] == threading.current_thread().name
    assert seen["b"].startswith("ThreadPoolExecutor-")


def test_emitting_returns_before_the_handlers_have_run():
    gate = Gate()
    after: list[str] = []

    def act(routine: Routine, data: Any) -> None:
        routine.emit("output")
        after.append("after")

    flow = draw("a -> b", a=entry(act), b=node(gate.act))
    flow.execute("a")
    assert after == ["after"]
    gate.open()
    flow.shutdown()


def test_a_sequential_run_delivers_in_queue_order_and_connection_order():
    order: list[Any] = []

    def note(name: str) -> Routine:
        def act(routine: Routine, data: dict[str, Any]) -> None:
            order.append((name, data["item"]))
            routine.emit("output", item=data["item"])

        return node(act)

    flow = draw("a -> left -> end", "a -> right -> end", a=source(1, 2), left=note("l"), right=note("r"), end=note("e"))
    flow.run("a")
    flow.shutdown()
    assert order == [("l", 1), ("r", 1), ("l", 2), ("r", 2), ("e", 1), ("e", 1), ("e", 2), ("e", 2)]


def test_effects_never_stand_before_their_cause():
    flow = draw("a -> b -> c", a=source(*range(20)), b=relay(), c=collector([]))
    flow.set_execution_strategy("concurrent", 4)
    history = flow.run("a").execution_history
    flow.shutdown()
    times = [record.timestamp for record in history]
    assert times == sorted(times)
    emitted = started = 0
    for record in history:
        emitted += record.routine_id == "b" and record.event_name == "output"
        started += record.routine_id == "c" and record.event_name == "start"
        assert started <= emitted
    assert (emitted, started) == (20, 20)


def test_a_run_may_be_concurrent_on_a_sequential_flow():
    both = threading.Barrier(2)
    flow = draw("a -> b", a=source(1, 2), b=node(lambda routine, data: both.wait(20)))
    job_state = wait(flow, flow.execute("a", execution_strategy="concurrent"))
    flow.shutdown()
    assert job_state.status == "completed"
    assert (flow.execution_strategy, flow.max_workers) == ("sequential", 1)


def test_a_run_may_be_sequential_on_a_concurrent_flow():
    at_work: list[int] = []
    most: list[int] = []

    def act(routine: Routine, data: Any) -> None:
        at_work.append(1)
        most.append(len(at_work))
        at_work.pop()

    flow = draw("a -> b", flow=Flow(execution_strategy="concurrent", max_workers=4), a=source(*range(200)), b=node(act))
    wait(flow, flow.execute("a", execution_strategy="sequential"))
    flow.shutdown()
    assert set(most) == {1}
    assert len(most) == 200


def test_priorities_order_what_waits_in_a_run():
    order: list[str] = []

    def act(routine: Routine, data: Any) -> None:
        routine.emit_later("output", priority=TaskPriority.LOW, data={"item": "low"})
        routine.emit("output", item="normal")
        routine.emit_later("output", priority=TaskPriority.HIGH, data={"item": "high"})
        routine.emit_later("output", data={"item": "normal too"})

    flow = draw("a -> b", a=entry(act), b=node(lambda routine, data: order.append(data["item"])))
    flow.run("a")
    flow.shutdown()
    assert order == ["high", "normal", "normal too", "low"]


def test_a_prepared_state_an_output_handler_and_a_job_id_may_be_given():
    handler = QueueOutputHandler()
    flow = draw(a=entry(lambda routine, data: routine.send_output("kind", n=1)))
    prepared = JobState(flow.flow_id)
    prepared.update_shared_data("before", 1)
    prepared.metadata["mine"] = 1
    job_state = flow.execute("a", job_state=prepared, output_handler=handler, job_id="my-job")
    flow.shutdown()
    assert job_state is prepared
    assert job_state.job_id == "my-job"
    assert job_state.status == "completed"
    assert job_state.get_shared_data("before") == 1
    assert handler.queue.get_nowait()["job_id"] == "my-job"


def test_a_prepared_state_without_a_flow_id_gets_the_flows():
    flow = draw(a=source())
    assert flow.execute("a", job_state=JobState()).flow_id == flow.flow_id


def test_a_sequential_run_of_thousands_of_hops_does_not_grow_the_stack():
    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"]:
            routine.emit("output", item=data["item"] - 1)

    flow = draw("a -> b -> b", a=source(5000), b=node(act))
    job_state = flow.run("a")
    flow.shutdown()
    assert job_state.status == "completed"
    assert names(job_state, "b").count("completed") == 5001


def test_an_entry_that_is_connected_may_also_be_reached_as_a_task():
    seen: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        seen.append(data.get("n", 0))
        if len(seen) < 3:
            routine.emit("output", n=len(seen))

    flow = draw("a.output -> a.trigger", a=entry(act))
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert seen == [0, 1, 2]


# -- timeouts


@pytest.mark.plain_only("a timeout stops an async handler, which is kept as well")
def test_a_run_that_takes_too_long_fails_and_its_queued_work_is_kept():
    gate, ended, clock = Gate(), threading.Event(), FakeClock()
    flow = draw("a -> b", a=source(1, 2, 3), b=node(gate.act), flow=Flow(clock=clock))
    flow.on_run_end(lambda job_state: ended.set())
    job_state = flow.execute("a", timeout=5.0)
    gate.await_arrival()
    clock.advance(5.0)
    passed(ended)
    assert job_state.status == "failed"
    gate.open()
    flow.shutdown()
    (record,) = [record for record in job_state.execution_history if record.event_name == "timeout"]
    assert record.data["timeout"] == 5.0
    assert record in job_state.errors
    assert [entry["data"] for entry in job_state.pending_tasks] == [{"item": 2}, {"item": 3}]
    assert names(job_state, "b").count("start") == 1


@pytest.mark.plain_only("a timeout stops an async handler, which does not wait for its thread")
def test_what_a_timed_out_handler_still_emits_is_refused_and_recorded():
    gate, ended, seen, clock = Gate(), threading.Event(), [], FakeClock()
    flow = draw("a -> b -> c", a=source(1), b=node(gate.act), c=collector(seen), flow=Flow(clock=clock))
    flow.on_run_end(lambda job_state: ended.set())
    job_state = flow.execute("a", timeout=5.0)
    gate.await_arrival()
    clock.advance(5.0)
    passed(ended)
    gate.open()
    wait(flow, job_state)
    flow.shutdown()
    assert seen == []
    assert job_state.status == "failed"
    (refusal,) = [record for record in job_state.execution_history if record.event_name == "refused"]
    assert refusal.routine_id == "b"
    assert refusal.data["event"] == "output"
    assert "b.output" not in names(job_state)


def test_the_flows_timeout_holds_where_a_call_has_none():
    flow, _, clock = draw_stepped("a -> b", options={"execution_timeout": 10.0}, a=source(1), b=collector([]))
    job_state = flow.execute("a")
    longer = flow.execute("a", timeout=30.0)
    clock.advance(10.0)
    assert JobState.wait_for_completion(flow, job_state, timeout=5)
    assert job_state.status == "failed"
    assert wait(flow, longer).status == "completed"


def test_a_flow_without_a_timeout_waits_as_long_as_it_takes():
    flow, executor, clock = draw_stepped("a -> b", options={"execution_timeout": None}, a=source(1), b=collector([]))
    job_state = flow.execute("a")
    clock.advance(1e7)
    executor.run_until_idle()
    assert job_state.status == "completed"


def test_a_retry_does_not_outlive_the_timeout():
    from_retry = node(lambda routine, data: 1 / 0)
    from_retry.set_as_critical(retry_delay=100.0)
    flow, executor, clock = draw_stepped("a -> b", a=source(1), b=from_retry)
    job_state = flow.execute("a", timeout=50.0)
    executor.run_until_idle()
    clock.advance(50.0)
    executor.run_until_idle()
    assert job_state.status == "failed"
    (kept,) = job_state.pending_tasks
    assert (kept["routine_id"], kept["was"], kept["attempt"], kept["merged"]) == ("b", "retry", 2, True)
    assert kept["due_at"].endswith("+00:00")


# -- run, ends, shutdown


def test_run_waits_and_returns_the_state_of_a_run_that_is_over():
    flow = draw("a -> b", a=source(1), b=collector([]))
    assert flow.run("a").status == "completed"
    assert flow.run("a", {"n": 1}).status == "completed"
    assert flow.run(entry_routine_id="a", entry_params=None).status == "completed"
    flow.shutdown()


def test_the_timeout_of_run_is_the_runs():
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    opener = threading.Timer(0.2, gate.open)
    opener.start()
    job_state = flow.run("a", timeout=0.05)
    opener.join()
    flow.shutdown()
    assert job_state.status == "failed"
    assert "timeout" in [record.event_name for record in job_state.execution_history]


def test_run_calls_its_progress_callback():
    gate, calls = Gate(), []

    def progress(queue_size: int, active_count: int, status: str) -> None:
        calls.append((queue_size, active_count, status))
        gate.open()

    def act(routine: Routine, data: Any) -> None:
        gate.act(routine, data)

    flow = draw("a -> b", a=source(1, 2, 3), b=node(act))
    flow.run("a", progress_callback=progress)
    flow.shutdown()
    assert len(calls) == 1
    assert calls[0][2] == "running"
    assert calls[0][0] + calls[0][1] <= 3


def test_the_end_of_each_run_is_told_once():
    told: list[Any] = []
    flow = draw("a -> b", a=source(1), b=collector([]), bad=entry(lambda routine, data: 1 / 0))

    @flow.on_run_end
    def tell(job_state: JobState) -> None:
        told.append((job_state.job_id, job_state.status))

    states = [flow.run("a"), flow.run("bad")]
    flow.shutdown()
    assert told == [(states[0].job_id, "completed"), (states[1].job_id, "failed")]
    assert callable(tell)


def test_shutting_down_lets_live_runs_finish():
    seen: list[Any] = []
    flow = draw("a -> b -> c", a=source(*range(50)), b=relay(), c=collector(seen))
    job_state = flow.execute("a")
    flow.shutdown(wait=True)
    assert job_state.status == "completed"
    assert len(seen) == 50


def test_shutting_down_without_waiting_parks_what_is_left():
    gate = Gate()
    flow = draw("a -> b", a=source(1, 2, 3), b=node(gate.act))
    job_state = flow.execute("a")
    gate.await_arrival()
    flow.shutdown(wait=False)
    assert job_state.status == "paused"
    assert job_state.pause_points[-1]["reason"] == "shutdown"
    assert [entry["data"] for entry in job_state.pending_tasks] == [{"item": 2}, {"item": 3}]
    gate.open()
    wait(flow, job_state)
    assert job_state.status == "paused"


def test_shutting_down_with_a_timeout_parks_what_is_left_then():
    gate = Gate()
    flow = draw("a -> b", a=source(1, 2), b=node(gate.act))
    job_state = flow.execute("a")
    flow.shutdown(wait=True, timeout=0.05)
    assert job_state.status == "paused"
    assert len(job_state.pending_tasks) == 1
    gate.open()


def test_shutting_down_twice_changes_nothing_and_a_later_execute_starts_afresh():
    seen: list[Any] = []
    flow = draw("a -> b", a=source(1), b=collector(seen))
    flow.shutdown()
    flow.run("a")
    flow.shutdown()
    flow.shutdown(wait=False)
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert len(seen) == 2


def test_leaving_the_with_block_shuts_the_flow_down():
    seen: list[Any] = []
    with draw("a -> b", a=source(1), b=collector(seen)) as flow:
        job_state = flow.execute("a")
    assert job_state.status == "completed"
    assert seen == [{"item": 1}]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_leaving_the_with_block_by_an_exception_lets_it_through():
    gate = Gate()
    flow = draw("a -> b", a=source(1, 2), b=node(gate.act))

    def leave() -> None:
        with flow:
            flow.execute("a")
            raise LookupError("out")

    with pytest.raises(LookupError, match="out"):
        leave()
    gate.open()


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_a_handler_may_run_the_same_flow_and_wait(strategy):
    done: list[str] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["depth"]:
            done.append(flow.run("a", {"depth": data["depth"] - 1}).status)

    flow = draw("a -> b", flow=Flow(execution_strategy=strategy, max_workers=1), a=source(), b=node(act))
    assert flow.run("a", {"depth": 3}).status == "completed"
    flow.shutdown()
    assert done == ["completed"] * 3


def test_what_a_flow_is_doing_is_seen_in_its_repr():
    flow, job_state, gate = start_held()
    assert "1 live run" in repr(flow)
    assert "1 active" in repr(job_state)
    gate.open()
    flow.shutdown()
    assert "drawn" in repr(flow)
    assert "2 routines" in repr(flow)
    assert "1 connection" in repr(flow)
