"""Where an emission goes: into which run, under which id, with which data."""

import contextvars
import itertools
import threading
from functools import partial
from typing import Any

import pytest

from routilux import Connection, ErrorHandler, Flow, JobState, Routine, Slot
from routilux.errors import FlowShutDownError
from routilux.flow import TaskPriority
from routilux.routine import _current_job_state
from tests.drawings import (
    Act,
    Gate,
    collector,
    draw,
    draw_stepped,
    entry,
    in_thread,
    items,
    names,
    node,
    relay,
    source,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")


def test_each_delivery_has_a_dict_of_its_own_and_the_record_keeps_the_emissions():
    seen: list[Any] = []

    def spoil(data: dict[str, Any]) -> None:
        data["spoiled"] = True
        seen.append(data)

    first, second = Routine(), Routine()
    first.define_slot("input", handler=spoil)
    second.define_slot("input", handler=spoil)
    flow = draw("a -> b", "a -> c", a=source(1), b=first, c=second)
    job_state = flow.run("a")
    flow.shutdown()
    (emitted,) = [record for record in job_state.execution_history if record.event_name == "output"]
    assert emitted.data == {"item": 1}
    assert seen == [{"item": 1, "spoiled": True}] * 2
    assert seen[0] is not seen[1]


def test_nested_values_are_shared():
    seen: list[Any] = []
    value = [1, 2]
    flow = draw("a -> b", a=source(value), b=collector(seen))
    flow.run("a")
    flow.shutdown()
    assert seen[0]["item"] is value


def test_only_flow_and_job_state_are_taken_out_of_the_data():
    seen: list[Any] = []
    data = {"event_name": 1, "self": 2, "data": 3, "delay": 4, "priority": 5, "routine_id": 6, "run": 7}

    def act(routine: Routine, given: Any) -> None:
        routine.emit("output", flow=None, job_state=None, **data)

    flow = draw("a -> b", a=entry(act), b=collector(seen))
    flow.run("a")
    flow.shutdown()
    assert seen == [data]


def test_emitting_later_loses_no_key():
    seen: list[Any] = []
    data = {"flow": 1, "job_state": 2, "delay": 3, "priority": 4, "event_name": 5, "data": 6}
    flow = draw("a -> b", a=entry(lambda routine, _: routine.emit_later("output", data=data)), b=collector(seen))
    flow.run("a")
    flow.shutdown()
    assert seen == [data]


def test_emitting_later_is_recorded_now_and_delivered_then():
    seen: list[Any] = []
    flow, executor, clock = draw_stepped(
        "a -> b",
        a=entry(lambda routine, _: routine.emit_later("output", delay=2.5, data={"n": 1})),
        b=collector(seen),
    )
    job_state = flow.execute("a")
    assert names(job_state) == ["a.start", "a.output", "a.completed"]
    clock.advance(2.4)
    executor.run_until_idle()
    assert (seen, job_state.status) == ([], "running")
    clock.advance(0.1)
    executor.run_until_idle()
    assert (seen, job_state.status) == ([{"n": 1}], "completed")


def test_emitting_later_in_real_time():
    seen: list[Any] = []
    flow = draw(
        "a -> b", a=entry(lambda routine, _: routine.emit_later("output", 0.01, TaskPriority.LOW)), b=collector(seen)
    )
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert seen == [{}]


def test_an_event_that_nobody_hears_is_recorded():
    job_state = draw(a=source(1)).run("a")
    assert names(job_state) == ["a.start", "a.output", "a.completed"]


def test_a_slot_connected_without_a_connection_gets_tasks_unmapped():
    seen: list[Any] = []
    flow = draw(a=source(1), b=collector(seen))
    flow.routines["a"].get_event("output").connect(flow.routines["b"].get_slot("input"))
    job_state = flow.run("a")
    flow.shutdown()
    assert seen == [{"item": 1}]
    assert names(job_state, "b") == ["start", "completed"]
    assert flow.connections == []


def test_a_mapped_connection_renames_for_its_own_target_only():
    left: list[Any] = []
    right: list[Any] = []
    flow = draw("a -> right", a=source(1), left=collector(left), right=collector(right))
    flow.connect("a", "output", "left", "input", {"item": "value", "missing": "other"})
    flow.run("a")
    flow.shutdown()
    assert (left, right) == ([{"value": 1}], [{"item": 1}])


def test_a_slot_of_a_routine_in_no_flow_is_delivered_to():
    seen: list[Any] = []
    stranger = collector(seen)
    stranger._id = "stranger"
    flow = draw(a=source(1))
    Connection(flow.routines["a"].get_event("output"), stranger.get_slot("input"))
    job_state = flow.run("a")
    flow.shutdown()
    assert seen == [{"item": 1}]
    assert names(job_state, "stranger") == ["start", "completed"]


@pytest.mark.plain_only("it looks for a worker's thread, and async handlers have none")
def test_emitting_from_outside_with_a_flow_runs_on_the_pool_without_a_record():
    seen: list[Any] = []
    ran = threading.Event()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        seen.append((data, routine.get_execution_context(), _current_job_state.get(), threading.current_thread().name))
        ran.set()

    flow = draw("a -> b", a=source(), b=node(act))
    flow.routines["a"].emit("output", flow=flow, n=1)
    assert ran.wait(20)
    flow.shutdown()
    ((data, context, job_state, thread_name),) = seen
    assert (data, context, job_state) == ({"n": 1}, None, None)
    assert thread_name.startswith("ThreadPoolExecutor-")


def test_the_last_flow_is_the_fallback_and_none_means_not_given():
    seen: list[Any] = []
    flow = draw("a -> b", a=source(), b=collector(seen))
    flow.routines["a"].emit("output", n=1)
    flow.routines["a"].emit("output", flow=None, n=2)
    flow.shutdown()
    assert seen == [{"n": 1}, {"n": 2}]


def test_a_shutdown_waits_for_what_was_emitted_from_outside_and_for_what_that_causes():
    gate, seen = Gate(), []
    first = source()
    flow = draw("a -> b -> c", a=first, b=node(gate.act), c=collector(seen))
    first.emit("output", flow=flow, n=1)
    gate.await_arrival()
    shutting_down = in_thread(flow.shutdown)
    while not flow._engine._is_closing:  # noqa: SLF001 - nobody tells of it
        threading.Event().wait(0.001)
    gate.open()
    shutting_down()
    assert seen == [{"n": 1}]


def emits_and_fails(times: int, delayed: bool = False) -> Act:
    """An act that emits the number of its attempt and what a thread of its emits, and raises the first few times."""
    numbers = itertools.count(1)

    def act(routine: Routine, data: Any) -> None:
        number = next(numbers)
        if delayed:
            routine.emit_later("output", data={"item": number})
        else:
            routine.emit("output", item=number)
        in_thread(partial(contextvars.copy_context().run, routine.emit, "output", item=-number))()
        if number <= times:
            raise ValueError("no good")

    return act


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize(
    ("policy", "times", "expected"),
    [("retry", 2, [-3, 3]), ("retry", 9, []), ("continue", 9, [-1, 1]), ("stop", 9, [-1, 1])],
)
def test_under_retry_a_failed_attempt_leaves_nothing_outside_a_run_either(policy, times, expected, delayed):
    got: list[Any] = []
    worker = node(
        emits_and_fails(times, delayed),
        error_handler=ErrorHandler(policy, max_retries=2, retry_delay=0),
    )
    flow = draw("a -> b -> c", a=source(1), b=worker, c=collector(got))
    flow.routines["a"].emit("output", flow=flow)
    flow.shutdown()
    assert sorted(items(got)) == expected


def test_a_thread_that_outlives_its_failed_attempt_outside_a_run_leaves_nothing():
    got: list[Any] = []
    contexts: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        contexts.append(contextvars.copy_context())
        if len(contexts) == 1:
            raise ValueError("no good")
        in_thread(lambda: contexts[0].run(routine.emit, "output", item=1))()
        routine.emit("output", item=2)

    policy = ErrorHandler("retry", retry_delay=10)
    flow, executor, clock = draw_stepped(
        "a -> b -> c", a=source(1), b=node(act, error_handler=policy), c=collector(got)
    )
    flow.routines["a"].emit("output", flow=flow)
    executor.run_until_idle()
    contexts[0].run(flow.routines["b"].emit, "output", item=1)
    clock.advance(10)
    executor.run_until_idle()
    flow.shutdown()
    assert items(got) == [2]


def test_an_emission_outside_a_run_that_cannot_be_made_when_its_attempt_has_succeeded_is_logged(caplog, monkeypatch):
    def refuse(*args: Any) -> None:
        raise FlowShutDownError("too late")

    def act(routine: Routine, data: Any) -> None:
        monkeypatch.setattr(Flow, "emit_from_outside", refuse)
        routine.emit("output")

    flow = draw("a -> b -> c", a=source(1), b=node(act, error_handler=ErrorHandler("retry")), c=node())
    flow.routines["a"].emit("output", flow=flow)
    flow.shutdown()
    assert "too late" in caplog.text
    assert "The engine failed" not in caplog.text


@pytest.mark.parametrize("error", [ValueError("no good"), SystemExit(3)])
@pytest.mark.parametrize("policy", ["stop", "retry", "continue", None])
@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_deliveries_outside_a_run_do_not_fail_each_other(strategy, policy, error):
    got: list[str] = []

    def act(routine: Routine, data: Any) -> None:
        got.append(own_id[routine])
        raise error

    flow = draw(a=source(1))
    flow.set_execution_strategy(strategy, 2)
    own_id: dict[Routine, str] = {}
    for name in "bcd":
        each = node(act, error_handler=policy and ErrorHandler(policy, max_retries=1, retry_delay=0))
        own_id[each] = name
        draw(f"a -> {name}", flow=flow, **{name: each})
    flow.routines["a"].emit("output", flow=flow)
    flow.shutdown()
    calls = 2 if policy == "retry" and isinstance(error, Exception) else 1
    assert sorted(got) == sorted("bcd" * calls)


def test_emitting_from_outside_stays_in_the_flow_that_was_named():
    seen: dict[str, list[Any]] = {"one": [], "other": []}
    first, middle = source(), relay()
    one = draw("a -> m -> one", a=first, m=middle, one=collector(seen["one"]))
    other = draw("a -> m -> other", a=first, m=middle, other=collector(seen["other"]))
    first.emit("output", flow=one, n=1)
    one.shutdown()
    other.shutdown()
    assert seen == {"one": [{"n": 1}], "other": []}


def test_emitting_for_a_job_that_is_named_goes_into_its_run():
    gate, seen = Gate(), []
    flow = draw("a -> b -> c", a=source(1), b=node(gate.act), c=collector(seen))
    job_state = flow.execute("a")
    gate.await_arrival()
    flow.routines["b"].emit("output", job_state=job_state, item="from outside")
    gate.open()
    wait(flow, job_state)
    flow.shutdown()
    assert sorted(each["item"] for each in seen if isinstance(each["item"], str)) == ["from outside"]
    assert names(job_state, "b").count("output") == 2


def test_the_jobs_own_flow_wins_over_the_argument():
    seen: dict[str, list[Any]] = {"one": [], "other": []}
    shared = entry(lambda routine, data: routine.emit("output", flow=other, item=1))
    one = draw("a -> b", a=shared, b=collector(seen["one"]))
    other = draw("a -> b", a=shared, b=collector(seen["other"]))
    one.connect("a", "output", "b", "input", {"item": "mapped"})
    job_state = one.run("a")
    one.shutdown()
    other.shutdown()
    assert seen == {"one": [{"mapped": 1}], "other": []}
    assert names(job_state, "b") == ["start", "completed"]


def test_emitting_for_a_job_made_by_hand_is_recorded_there():
    seen: list[Any] = []
    flow = draw("a -> b", a=source(), b=collector(seen))
    job_state = JobState(flow.flow_id)
    job_state.status = "running"
    flow.routines["a"].emit("output", flow=flow, job_state=job_state, n=1)
    wait(flow, job_state)
    flow.shutdown()
    assert seen == [{"n": 1}]
    assert "a.output" in names(job_state)


# -- threads of a handler


def test_a_copied_context_carries_the_run_into_a_thread_of_the_handlers():
    seen: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        def in_the_thread() -> None:
            context = routine.get_execution_context()
            routine.emit("output", item=context.routine_id)
            routine.send_output("kind", n=1)

        context = contextvars.copy_context()
        in_thread(lambda: context.run(in_the_thread))()

    flow = draw("a -> b", a=entry(act), b=collector(seen))
    job_state = flow.run("a")
    flow.shutdown()
    assert seen == [{"item": "a"}]
    assert names(job_state, "a") == ["start", "output", "completed"]
    assert len(job_state.outputs("kind")) == 1


def test_a_thread_without_the_context_emits_outside_the_run():
    seen: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        def in_the_thread() -> None:
            assert routine.get_execution_context() is None
            routine.emit("output", item=1)

        in_thread(in_the_thread)()

    flow = draw("a -> b", a=entry(act), b=collector(seen))
    job_state = flow.run("a")
    flow.shutdown()
    assert seen == [{"item": 1}]
    assert names(job_state) == ["a.start", "a.completed"]


def test_the_current_job_is_set_around_every_handler_and_restored():
    seen: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        seen.append(_current_job_state.get())
        if routine.get_execution_context().attempt == 1:
            raise ValueError("again")
        if routine.get_event("output") is not None:
            routine.emit("output")

    first, second = entry(act), node(act, events=())
    first.set_as_critical(retry_delay=0.001)
    second.set_as_critical(retry_delay=0.001)
    flow = draw("a -> b", a=first, b=second)
    job_state = flow.run("a")
    assert seen == [job_state] * 4
    assert _current_job_state.get() is None
    mine = JobState()
    token = _current_job_state.set(mine)
    try:
        flow.run("a")
        assert _current_job_state.get() is mine
    finally:
        _current_job_state.reset(token)
    flow.shutdown()


# -- one routine in several places


def test_one_routine_in_several_flows_runs_under_the_flow_and_id_of_the_run():
    seen: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        context = routine.get_execution_context()
        seen.append((context.flow.flow_id, context.routine_id))
        routine.emit("output")

    shared = entry(act)
    one, other = Flow("one"), Flow("other")
    draw("x -> sink", flow=one, x=shared, sink=collector([]))
    draw("y -> sink", flow=other, y=shared, sink=collector([]))
    states = [one.run("x"), other.run("y"), one.run("x")]
    one.shutdown()
    other.shutdown()
    assert seen == [("one", "x"), ("other", "y"), ("one", "x")]
    assert [set(job_state.routine_states) for job_state in states] == [{"x", "sink"}, {"y", "sink"}, {"x", "sink"}]


def test_one_routine_under_two_ids_of_one_flow_is_two_nodes():
    left: list[Any] = []
    right: list[Any] = []
    shared = source(1)
    flow = draw("one -> left", "two -> right", one=shared, two=shared, left=collector(left), right=collector(right))
    first = flow.run("one")
    assert (left, right) == ([{"item": 1}], [])
    second = flow.run("two")
    flow.shutdown()
    assert (left, right) == ([{"item": 1}], [{"item": 1}])
    assert set(first.routine_states) == {"one", "left"}
    assert set(second.routine_states) == {"two", "right"}


def test_one_routine_under_two_ids_in_a_chain_passes_from_one_to_the_other():
    seen: list[Any] = []
    shared = relay()
    flow = draw("a -> one -> two -> sink", a=source(1), one=shared, two=shared, sink=collector(seen))
    job_state = flow.run("a")
    flow.shutdown()
    assert seen == [{"item": 1}]
    assert names(job_state) == [
        "a.start", "a.output", "a.completed", "one.start", "one.output", "one.completed",
        "two.start", "two.output", "two.completed", "sink.start", "sink.completed",
    ]  # fmt: skip


def test_one_slot_under_two_ids_holds_data_for_each():
    seen: list[Any] = []
    shared = node(
        lambda routine, data: seen.append((routine.get_execution_context().routine_id, data)), merge_strategy="append"
    )
    flow = draw("a -> one", "a -> two", a=source(1, 2), one=shared, two=shared)
    flow.run("a")
    flow.shutdown()
    assert seen == [
        ("one", {"item": [1]}), ("two", {"item": [1]}), ("one", {"item": [1, 2]}), ("two", {"item": [1, 2]}),
    ]  # fmt: skip


@pytest.mark.plain_only("without a flow nothing awaits a handler, and it is refused")
def test_without_a_flow_a_slot_that_several_flows_connect_receives_once():
    seen: list[Any] = []
    first, sink = source(), collector(seen)
    for _ in range(2):
        draw("a -> b", a=first, b=sink)
    first._current_flow = None
    first.emit("output", n=1)
    assert seen == [{"n": 1}]


# -- into a run that is over


def test_emitting_into_a_run_that_ended_is_an_error_that_names_run_and_status():
    flow = draw("a -> b", a=source(1), b=collector([]))
    job_state = flow.run("a")
    with pytest.raises(RuntimeError, match="completed") as caught:
        flow.routines["a"].emit("output", job_state=job_state)
    assert job_state.job_id in str(caught.value)
    flow.shutdown()


def test_a_thread_that_outlives_its_run_cannot_emit_into_it():
    contexts: list[contextvars.Context] = []
    flow = draw("a -> b", a=entry(lambda routine, data: contexts.append(contextvars.copy_context())), b=collector([]))
    flow.run("a")
    with pytest.raises(RuntimeError, match="ended"):
        contexts[0].run(lambda: flow.routines["a"].emit("output"))
    flow.shutdown()


def test_emitting_into_a_run_that_failed_is_an_error():
    flow = draw(a=entry(lambda routine, data: 1 / 0), b=collector([]))
    job_state = flow.run("a")
    with pytest.raises(RuntimeError, match="failed"):
        flow.routines["a"].emit("output", job_state=job_state)
    flow.shutdown()


def test_emitting_into_a_run_that_timed_out_is_refused_and_recorded():
    gate, ended = Gate(), threading.Event()
    flow = draw("a -> b", a=source(1), b=node(gate.act, events=()))
    flow.on_run_end(lambda job_state: ended.set())
    job_state = flow.execute("a", timeout=0.02)
    assert ended.wait(20)
    gate.open()
    wait(flow, job_state)
    flow.routines["a"].emit("output", job_state=job_state, n=1)
    flow.shutdown()
    assert job_state.execution_history[-1].event_name == "refused"
    assert job_state.execution_history[-1].data["data"] == {"n": 1}


def test_emitting_in_a_flow_that_was_shut_down_is_an_error():
    flow = draw("a -> b", a=source(1), b=collector([]))
    flow.run("a")
    flow.shutdown()
    with pytest.raises(RuntimeError, match="shut down") as caught:
        flow.routines["a"].emit("output", flow=flow, n=1)
    assert flow.flow_id in str(caught.value)


def test_a_slot_may_be_reached_by_many_events_and_an_event_by_many_slots():
    seen: list[Any] = []
    flow = draw("a -> c", "a -> d", "b -> c", a=source(1), b=source(2), c=collector(seen), d=collector(seen))
    flow.run("a")
    flow.run("b")
    flow.shutdown()
    assert seen == [{"item": 1}, {"item": 1}, {"item": 2}]


def test_a_slot_without_a_handler_takes_deliveries_and_completes():
    silent = Routine()
    silent.define_slot("input")
    flow = draw("a -> b", a=source(1), b=silent)
    job_state = flow.run("a")
    flow.shutdown()
    assert job_state.get_routine_state("b")["status"] == "completed"


def test_a_slot_without_a_routine_is_delivered_to():
    seen: list[Any] = []
    flow = draw(a=source(1))
    flow.routines["a"].get_event("output").connect(Slot("alone", handler=lambda **data: seen.append(data)))
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert seen == [{"item": 1}]
