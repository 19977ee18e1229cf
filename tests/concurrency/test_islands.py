"""Two runs of one flow never see each other, whatever happens in either."""

import contextvars
import threading
from functools import partial
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.job_state import ledger_of
from tests.drawings import (
    Gate,
    collector,
    draw,
    draw_stepped,
    entry,
    in_thread,
    names,
    node,
    own_run,
    passed,
    source,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")

CONCURRENT = {"execution_strategy": "concurrent", "max_workers": 4}


def items_of(data: dict[str, Any]) -> list[Any]:
    return list(data["item"])


@pytest.mark.parametrize("merge", ["append", lambda old, new: {"item": [*old.get("item", []), new["item"]]}])
def test_two_runs_never_see_each_others_slot_data(merge: Any) -> None:
    seen: dict[str, list[Any]] = {"one": [], "two": []}

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for number in range(5):
            routine.emit("output", item=f"{data['run']} {number}")

    def note(routine: Routine, data: dict[str, Any]) -> None:
        seen[own_run(routine).metadata["name"]].append(items_of(data))

    flow, executor, _ = draw_stepped("a -> b", options=CONCURRENT, a=entry(start), b=node(note, merge_strategy=merge))
    for name in seen:
        job_state = JobState(flow.flow_id)
        job_state.metadata["name"] = name
        flow.execute("a", {"run": name}, job_state=job_state)
    executor.run_until_idle()  # the manual executor takes the two runs in turns, activation by activation
    for name, received in seen.items():
        assert received[-1] == [f"{name} {number}" for number in range(5)]


def test_concurrent_deliveries_to_one_slot_of_one_run_merge_one_at_a_time() -> None:
    inside = threading.Lock()
    overlapped = threading.Event()

    def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        if not inside.acquire(blocking=False):
            overlapped.set()
            return new
        try:
            return {"sum": old.get("sum", 0) + new["item"], "count": old.get("count", 0) + 1}
        finally:
            inside.release()

    totals: list[dict[str, Any]] = []
    flow = draw(
        "a -> b", a=source(*range(300)), b=node(lambda routine, data: totals.append(data), merge_strategy=merge)
    )
    flow.set_execution_strategy("concurrent", 4)
    wait(flow, flow.execute("a"))
    assert not overlapped.is_set()
    assert max(totals, key=lambda total: total["count"]) == {"sum": sum(range(300)), "count": 300}
    flow.shutdown()


class WatchedLock:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self, waited_for: threading.Event) -> None:
        self._lock = threading.RLock()
        self._waited_for = waited_for

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._waited_for.set()
            self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()


def test_what_a_handler_receives_by_hand_and_a_delivery_are_merged_one_at_a_time() -> None:
    by_hand, delivered = threading.Event(), threading.Event()

    def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        if new["item"] == "by hand":
            by_hand.set()
            passed(delivered)  # the delivery is being merged too, or waits for this one
        else:
            delivered.set()
        return {"count": old.get("count", 0) + 1}

    receiver = node(merge_strategy=merge)
    slot = receiver.get_slot("input")
    assert slot is not None

    def act(routine: Routine, data: dict[str, Any]) -> None:
        live: Any = ledger_of(own_run(routine)).live
        live._merge_lock = WatchedLock(delivered)  # noqa: SLF001 - to see who waits
        receiving = in_thread(partial(contextvars.copy_context().run, slot.receive, {"item": "by hand"}))
        passed(by_hand)
        routine.emit("output", item=1)
        receiving()

    flow = draw("a -> b", a=entry(act), b=receiver)
    flow.set_execution_strategy("concurrent", 2)
    job_state = wait(flow, flow.execute("a"))
    assert job_state.status == "completed"
    assert job_state.serialize()["slot_data"]["b"]["input"] == {"count": 2}
    flow.shutdown()


def test_a_slot_does_not_receive_under_the_lock_of_the_shared_data(caplog: pytest.LogCaptureFixture) -> None:
    got: list[Any] = []
    receiver = collector(got)
    slot = receiver.get_slot("input")
    assert slot is not None

    def act(routine: Routine, data: dict[str, Any]) -> None:
        own_run(routine).modify_shared_data("key", lambda value: slot.receive({"item": value}))

    flow = draw(a=entry(act), b=receiver)
    job_state = wait(flow, flow.execute("a"))
    assert got == []
    assert "Return the new value, and receive afterwards" in job_state.errors[0].data["error"]


def test_a_handler_that_resets_its_slot_resets_it_for_its_own_run_only() -> None:
    seen: dict[str, list[Any]] = {"one": [], "two": []}

    def note(routine: Routine, data: dict[str, Any]) -> None:
        slot = routine.get_slot("input")
        assert slot is not None
        seen[data["run"][-1]].append(items_of(data))
        if data["run"][-1] == "one":
            slot._data = {}

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for number in range(3):
            routine.emit("output", run=data["run"], item=number)

    flow, executor, _ = draw_stepped("a -> b", a=entry(start), b=node(note, merge_strategy="append"))
    for name in seen:
        flow.execute("a", {"run": name})
    executor.run_until_idle()
    assert seen == {"one": [[0], [1], [2]], "two": [[0], [0, 1], [0, 1, 2]]}


def test_the_failure_of_one_run_is_not_the_failure_of_another() -> None:
    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == "bad":
            raise ValueError("boom")

    flow, executor, _ = draw_stepped(
        "a -> b",
        a=entry(lambda routine, data: routine.emit("output", **data)),
        b=node(act, error_handler=ErrorHandler("stop")),
    )
    runs = [flow.execute("a", {"item": item}) for item in ("good", "bad", "good")]
    executor.run_until_idle()
    assert [run.status for run in runs] == ["completed", "failed", "completed"]
    assert [run.get_routine_state("b")["status"] for run in runs] == ["completed", "failed", "completed"]  # type: ignore[index]


def test_the_records_of_a_run_are_its_own() -> None:
    flow = draw("a -> b", a=entry(lambda routine, data: routine.emit("output", **data)), b=node())
    flow.set_execution_strategy("concurrent", 3)
    joins = [in_thread(lambda n=n: (n, wait(flow, flow.execute("a", {"item": n})))) for n in range(20)]  # type: ignore[misc]
    for join in joins:
        number, job_state = join()
        assert names(job_state) == ["a.start", "a.output", "a.completed", "b.start", "b.completed"] or sorted(
            names(job_state)
        ) == ["a.completed", "a.output", "a.start", "b.completed", "b.start"]
        assert [record.data for record in job_state.execution_history if record.event_name == "output"] == [
            {"item": number}
        ]
    flow.shutdown()


def test_one_routine_object_in_two_flows_runs_under_the_id_and_connections_of_each() -> None:
    shared = entry(lambda routine, data: routine.emit("output", ids=routine.get_execution_context().routine_id))  # type: ignore[union-attr]
    got: dict[str, list[Any]] = {"first": [], "second": []}
    first, second = Flow("first"), Flow("second")
    draw("a -> sink", flow=first, a=shared, sink=collector(got["first"]))
    draw("b -> sink", flow=second, b=shared, sink=collector(got["second"]))
    for flow, name in ((first, "a"), (second, "b"), (first, "a")):
        assert flow.run(name).status == "completed"
    assert got == {"first": [{"ids": "a"}, {"ids": "a"}], "second": [{"ids": "b"}]}
    first.shutdown()
    second.shutdown()


def test_a_handler_sees_its_own_run_in_the_context_on_every_thread() -> None:
    gate = threading.Barrier(2, timeout=20)
    mixed = threading.Event()

    def note(routine: Routine, data: dict[str, Any]) -> None:
        gate.wait()
        if own_run(routine).job_id != data["job_id"]:
            mixed.set()

    def start(routine: Routine, data: dict[str, Any]) -> None:
        for _ in range(20):
            routine.emit("output", job_id=own_run(routine).job_id)

    flow = draw("a -> b", a=entry(start), b=node(note))
    flow.set_execution_strategy("concurrent", 2)
    runs = [flow.execute("a") for _ in range(2)]
    for job_state in runs:
        assert wait(flow, job_state).errors == []
    assert not mixed.is_set()
    flow.shutdown()


def test_shutting_down_one_flow_leaves_another_with_the_same_routines_alone() -> None:
    gate = Gate()
    shared = node(gate.act)
    first, second = Flow("first"), Flow("second")
    draw("a -> b", flow=first, a=source(1), b=shared)
    draw("a -> b", flow=second, a=source(1), b=shared)
    running = second.execute("a")
    gate.await_arrival()
    first.shutdown()
    gate.open()
    assert wait(second, running).status == "completed"
    second.shutdown()


def test_the_engine_writes_nothing_on_the_drawing_while_a_run_runs() -> None:
    policy = ErrorHandler("continue")
    flow, executor, _ = draw_stepped(
        "a -> b",
        a=source(1, 2),
        b=node(lambda routine, data: routine.emit("output", x=1), merge_strategy="append", error_handler=policy),
    )
    drawn = [*flow.routines.values(), *flow.connections, policy]
    drawn += [
        port for routine in flow.routines.values() for port in (*routine._slots.values(), *routine._events.values())
    ]
    before = [dict(vars(each)) for each in drawn]
    flow.execute("a")
    executor.run_until_idle()
    assert [dict(vars(each)) for each in drawn] == before


def test_reading_a_run_while_workers_write_it_never_fails() -> None:
    stop, wrote = threading.Event(), threading.Event()
    states: list[JobState] = []

    def busy(routine: Routine, data: dict[str, Any]) -> None:
        state = own_run(routine)
        number = data.get("number", 0)
        state.update_shared_data(f"key {number}", number)
        state.modify_shared_data("sum", lambda value: value + 1, default=0)
        state.append_to_shared_log({"number": number})
        state.update_routine_state(f"made up {number}", {"status": "completed"})
        routine.send_output("progress", number=number)
        wrote.set()
        if number < 2000 and not stop.is_set():
            routine.emit("output", number=number + 1)

    flow = draw(a=entry(lambda routine, data: routine.emit("output")), b=node(busy))
    flow.connect("a", "output", "b", "input")
    flow.connect("b", "output", "b", "input")
    states.append(flow.execute("a"))
    passed(wrote)
    state = states[0]
    earlier: list[Any] = []
    for _ in range(300):
        history = state.execution_history
        assert history[: len(earlier)] == earlier
        earlier = list(history)
        for part in (state.routine_states, state.shared_data):
            assert all(key in part for key in list(part))
            assert dict(part.items()) is not None
        assert repr(state)
        assert repr(flow)
        assert len(state.outputs("progress")) <= len(state.outputs())
        assert len(state.get_shared_log()) >= 1
        assert state.updated_at >= state.created_at
        assert flow._task_queue.qsize() >= 0
        assert all(task.done() in (True, False) for task in flow._active_tasks)
    stop.set()
    wait(flow, state)
    times = [record.timestamp for record in state.execution_history]
    assert times == sorted(times)
    flow.shutdown()
