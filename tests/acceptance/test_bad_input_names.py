"""Names and numbers that cannot work: the error lists what exists, and nothing has changed."""

import asyncio
import re
from typing import Any

import pytest

from routilux import ErrorHandler, ErrorStrategy, Flow, JobState, Routine, Slot
from routilux.errors import InvalidTypeError
from tests.drawings import collector, draw, entry, relay, source


def drawing() -> Flow:
    return draw(alpha=source(1), beta=relay())


@pytest.mark.parametrize(
    ("arguments", "unknown", "known"),
    [
        (("alhpa", "output", "beta", "input"), "alhpa", ["alpha", "beta"]),
        (("alpha", "outptu", "beta", "input"), "outptu", ["output"]),
        (("alpha", "output", "gamma", "input"), "gamma", ["alpha", "beta"]),
        (("alpha", "output", "beta", "inptu"), "inptu", ["input"]),
    ],
)
def test_connecting_what_does_not_exist_lists_what_does(arguments, unknown, known):
    flow = drawing()
    with pytest.raises(ValueError, match=re.escape(repr(unknown))) as caught:
        flow.connect(*arguments)
    for name in known:
        assert repr(name) in str(caught.value)
    assert flow.connections == []
    assert flow.routines["beta"].get_slot("input").connected_events == []


def test_what_is_unknown_is_looked_for_from_source_to_target():
    flow = drawing()
    wrong = ["w-routine", "w-event", "w-target", "w-slot"]
    right = ["alpha", "output", "beta", "input"]
    for place in range(4):
        with pytest.raises(ValueError, match=wrong[place]):
            flow.connect(*right[:place], *wrong[place:])


def test_a_near_name_is_suggested():
    with pytest.raises(ValueError, match="Did you mean 'alpha'"):
        drawing().execute("alhpa")


def test_an_unknown_entry_lists_the_routines():
    flow = drawing()
    for call in (flow.execute, flow.run, flow.stream):
        with pytest.raises(ValueError, match="'nobody'") as caught:
            call("nobody")
        assert "'alpha'" in str(caught.value)
        assert "'beta'" in str(caught.value)
    assert flow.execution_tracker is None


def test_an_entry_of_an_empty_flow_says_that_there_is_none():
    with pytest.raises(ValueError, match="no routine there yet"):
        Flow().execute("a")


def test_a_routine_without_a_trigger_is_no_entry_and_the_entries_are_listed():
    flow = drawing()
    with pytest.raises(ValueError, match="trigger") as caught:
        flow.execute("beta")
    assert "'beta'" in str(caught.value)
    assert "'alpha'" in str(caught.value)


def test_where_no_routine_has_a_trigger_none_is_proposed():
    flow = draw(alpha=relay())
    with pytest.raises(ValueError, match=r"define_slot\('trigger', handler=\.\.\.\)\.$"):
        flow.execute("alpha")


def test_a_job_id_is_no_state_and_one_is_told_how_to_get_it():
    flow = drawing()
    for call in (flow.resume, flow.pause, flow.cancel):
        with pytest.raises(TypeError, match=r"flow\.load\(job_id\)"):
            call("order-17")


def test_a_store_level_without_a_store_is_refused():
    with pytest.raises(ValueError, match="this flow has none"):
        Flow("orders", store_level="sync")


def test_a_second_routine_under_one_id_is_refused():
    flow = drawing()
    before = dict(flow.routines)
    with pytest.raises(ValueError, match="'alpha'"):
        flow.add_routine(Routine(), "alpha")
    with pytest.raises(ValueError, match="alpha"):
        flow.add_routine(flow.routines["alpha"], "alpha")
    assert flow.routines == before


@pytest.mark.parametrize("routine", [Routine, "alpha", None, object()])
def test_what_is_no_routine_is_not_added(routine):
    with pytest.raises(TypeError, match="Routine"):
        Flow().add_routine(routine, "x")


@pytest.mark.parametrize("routine_id", ["", 5, ("a",)])
def test_an_id_is_a_text(routine_id):
    with pytest.raises(ValueError, match="routine id"):
        Flow().add_routine(Routine(), routine_id)


@pytest.mark.parametrize("strategy", ["parallel", "", None, 5, "Sequential"])
def test_an_unknown_execution_strategy_lists_the_known_ones(strategy):
    flow = drawing()
    calls: list[Any] = [
        lambda: Flow(execution_strategy=strategy),
        lambda: flow.set_execution_strategy(strategy),
    ]
    if strategy is not None:
        calls.append(lambda: flow.execute("alpha", execution_strategy=strategy))
    for call in calls:
        with pytest.raises(ValueError, match="Invalid execution strategy") as caught:
            call()
        assert "'sequential'" in str(caught.value)
        assert "'concurrent'" in str(caught.value)
    assert flow.execution_strategy == "sequential"


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_worker_is_refused(count):
    flow = Flow(execution_strategy="concurrent", max_workers=3)
    calls = [
        lambda: Flow(max_workers=count),
        lambda: Flow(execution_strategy="concurrent", max_workers=count),
        lambda: flow.set_execution_strategy("concurrent", max_workers=count),
        lambda: flow.set_execution_strategy("sequential", max_workers=count),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="max_workers"):
            call()
    assert (flow.execution_strategy, flow.max_workers) == ("concurrent", 3)


@pytest.mark.parametrize("count", ["3", 2.5, True])
def test_workers_that_are_no_whole_number_are_refused(count):
    with pytest.raises(TypeError, match="max_workers"):
        Flow(execution_strategy="concurrent", max_workers=count)


@pytest.mark.parametrize("timeout", [0, -1, -0.5, float("nan"), float("-inf")])
def test_a_timeout_that_is_not_positive_is_refused(timeout):
    flow = drawing()
    with pytest.raises(ValueError, match="execution_timeout"):
        Flow(execution_timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        flow.execute("alpha", timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        flow.run("alpha", timeout=timeout)
    assert flow.execution_tracker is None


@pytest.mark.parametrize("timeout", ["5", True, [1]])
def test_a_timeout_that_is_no_number_is_refused(timeout):
    with pytest.raises(TypeError, match="timeout"):
        Flow(execution_timeout=timeout)


def test_a_wait_takes_seconds():
    flow = draw(a=source())
    with pytest.raises(InvalidTypeError, match="timeout must be seconds, not 'x'"):
        flow.wait_for_completion(timeout="x")
    with pytest.raises(InvalidTypeError, match="timeout must be seconds, not 'x'"):
        asyncio.run(flow.wait_async(flow.run("a"), timeout="x"))
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        assert flow.wait_for_completion(timeout=0)
    flow.shutdown()


def test_routines_are_found_by_a_class():
    flow = draw(a=source())
    with pytest.raises(InvalidTypeError, match="takes a class, not 'x'"):
        flow.find_routines_by_type("x")
    assert [key for key, _ in flow.find_routines_by_type(Routine)] == ["a"]


@pytest.mark.parametrize("path", [None, 3])
def test_a_file_is_named_by_a_path(path):
    with pytest.raises(InvalidTypeError, match="named by a path"):
        JobState.load(path)
    with pytest.raises(InvalidTypeError, match="named by a path"):
        JobState().save(path)


@pytest.mark.parametrize("status", ["running", "completed", "failed", "paused", "cancelled", "my own"])
def test_only_a_pending_state_may_be_executed(status):
    flow = drawing()
    job_state = JobState(flow.flow_id)
    job_state.status = status
    with pytest.raises(ValueError, match="pending"):
        flow.execute("alpha", job_state=job_state)
    assert job_state.status == status
    assert job_state.execution_history == []


def test_a_state_of_another_flow_is_refused():
    flow = drawing()
    job_state = JobState("another")
    with pytest.raises(ValueError, match="does not match") as caught:
        flow.execute("alpha", job_state=job_state)
    assert "another" in str(caught.value)
    assert job_state.status == "pending"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"job_state": {"flow_id": "drawn"}}, TypeError),
        ({"job_id": ""}, ValueError),
        ({"job_id": 5}, ValueError),
        ({"output_handler": print}, TypeError),
        ({"entry_params": [("a", 1)]}, TypeError),
        ({"entry_params": "data"}, TypeError),
    ],
)
def test_other_arguments_that_cannot_work_are_refused_and_no_run_begins(options, error):
    calls: list[Any] = []
    flow = draw(alpha=entry(lambda routine, data: calls.append(data)))
    with pytest.raises(error, match=next(iter(options)).replace("_", ".")):
        flow.execute("alpha", **options)
    assert calls == []
    assert flow._running is False


def test_what_a_refused_call_was_given_is_unchanged():
    flow = drawing()
    job_state = JobState()
    with pytest.raises(TypeError):
        flow.execute("alpha", job_state=job_state, job_id="mine", output_handler=print)  # type: ignore[arg-type]
    assert (job_state.status, job_state.flow_id, job_state.output_handler) == ("pending", "", None)
    assert job_state.job_id != "mine"


def test_an_unknown_event_lists_those_of_the_routine_wherever_it_is_emitted():
    def act(routine: Routine, data: Any) -> None:
        routine.emit("outptu", n=1)

    job_state = draw(a=entry(act)).run("a")
    assert job_state.status == "failed"
    (error,) = job_state.errors
    assert "'outptu'" in error.data["error"]
    assert "'output'" in error.data["error"]
    outside = draw(a=entry())
    with pytest.raises(ValueError, match="'output'"):
        outside.routines["a"].emit("outptu", flow=outside)
    with pytest.raises(ValueError, match="'output'"):
        outside.routines["a"].emit_later("outptu")


@pytest.mark.parametrize("delay", [-1, -0.001, float("nan")])
def test_a_negative_delay_is_refused(delay):
    routine = relay()
    draw(a=routine)
    with pytest.raises(ValueError, match="delay"):
        routine.emit_later("output", delay=delay)


@pytest.mark.parametrize("delay", ["x", None, True])
def test_a_delay_that_is_no_number_is_refused(delay):
    routine = entry()
    with pytest.raises(TypeError, match="delay must be a number"):
        routine.emit_later("output", delay=delay)


@pytest.mark.parametrize("name", ["flow", "job_state"])
@pytest.mark.parametrize("value", ["LHR", "", {"id": 1}, 0])
@pytest.mark.parametrize("where", ["in a handler", "outside", "without a flow"])
def test_a_payload_that_is_called_like_an_argument_of_emit_is_refused_and_one_is_told_how_to_send_it(
    name, value, where
):
    told: list[str] = []
    seen: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        with pytest.raises(TypeError, match=f"{name}= of emit") as caught:
            routine.emit("output", **{name: value})
        told.append(str(caught.value))
        routine.emit_later("output", data={name: value})

    if where == "without a flow":
        act(entry(), {})
    else:
        flow = draw("a -> b", a=entry(act), b=collector(seen))
        if where == "in a handler":
            assert flow.run("a").errors == []
        else:
            act(flow.routines["a"], {})
        flow.shutdown()
        assert seen == [{name: value}]
    assert repr(value) in told[0]
    assert f"emit_later(event_name, data={{{name!r}: ...}})" in told[0]


def test_an_unknown_priority_is_refused():
    routine = relay()
    draw(a=routine)
    with pytest.raises(ValueError, match="HIGH"):
        routine.emit_later("output", priority=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", ["ignore", "", None, 5])
def test_an_unknown_error_strategy_lists_the_known_ones(strategy):
    routine = Routine()
    for call in (lambda: ErrorHandler(strategy), lambda: routine.set_as_optional(strategy)):
        with pytest.raises(ValueError, match="strategy") as caught:
            call()
        for member in ErrorStrategy:
            assert member.value in str(caught.value)
    assert routine.get_error_handler() is None


@pytest.mark.parametrize("handler", ["retry", ErrorStrategy.RETRY, ErrorHandler, 5])
def test_what_is_no_error_handler_is_refused(handler):
    routine, flow = Routine(), Flow()
    with pytest.raises(TypeError, match="ErrorHandler"):
        routine.set_error_handler(handler)
    with pytest.raises(TypeError, match="ErrorHandler"):
        flow.set_error_handler(handler)
    assert (routine.get_error_handler(), flow.error_handler) == (None, None)


@pytest.mark.parametrize("strategy", ["merge", "", None, 5, ["append"]])
def test_an_unknown_merge_strategy_lists_the_known_ones(strategy):
    routine = Routine()
    with pytest.raises(ValueError, match="merge strategy") as caught:
        routine.define_slot("input", merge_strategy=strategy)
    assert "'append'" in str(caught.value)
    assert "'override'" in str(caught.value)
    assert routine.get_slot("input") is None


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_slot_or_event_needs_a_name(name):
    with pytest.raises(ValueError, match="name"):
        Routine().define_slot(name)
    with pytest.raises(ValueError, match="name"):
        Routine().define_event(name)


@pytest.mark.parametrize("data", [[1], None, "text"])
def test_the_data_of_a_slot_are_a_dict(data):
    slot = Slot("input")
    with pytest.raises(ValueError, match="dict"):
        slot._data = data
    assert slot._data == {}


def test_a_refused_connection_leaves_an_earlier_one_alone():
    seen: list[Any] = []
    flow = draw("a -> b", a=source(1), b=collector(seen))
    with pytest.raises(TypeError, match="param_mapping"):
        flow.connect("a", "output", "b", "input", ["item"])  # type: ignore[arg-type]
    flow.run("a")
    flow.shutdown()
    assert seen == [{"item": 1}]
