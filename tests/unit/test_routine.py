"""A routine is drawn with slots and events, and configured without any flow."""

import threading
from typing import Any

import pytest

from routilux import ErrorHandler, ErrorStrategy, Event, Routine, Slot
from routilux.errors import UnknownNameError
from tests.drawings import Gate, collector, draw, draw_stepped, entry, node, passed, source


def test_a_routine_has_an_id_of_its_own_which_may_be_assigned():
    routine = Routine()
    assert routine._id == hex(id(routine))
    routine._id = "mine"
    assert routine._id == "mine"


def test_a_routine_is_shown_by_its_class_and_id():
    class Parser(Routine):
        pass

    parser = Parser()
    parser._id = "first"
    assert repr(parser) == "Parser[first]"


def test_defining_a_slot_gives_the_slot():
    routine = Routine()

    def handler(**data: Any) -> None:
        """Nothing."""

    slot = routine.define_slot("input", handler=handler, merge_strategy="append")
    assert isinstance(slot, Slot)
    assert (slot.name, slot.routine, slot.handler, slot.merge_strategy) == ("input", routine, handler, "append")
    assert routine.get_slot("input") is slot


def test_defining_an_event_gives_the_event():
    routine = Routine()
    event = routine.define_event("output", ["a"])
    assert isinstance(event, Event)
    assert (event.name, event.routine, event.output_params) == ("output", routine, ["a"])
    assert routine.get_event("output") is event


def test_a_slot_and_an_event_may_have_the_same_name():
    routine = Routine()
    slot, event = routine.define_slot("data"), routine.define_event("data")
    assert routine.get_slot("data") is slot
    assert routine.get_event("data") is event


def test_an_unknown_slot_or_event_is_none():
    assert Routine().get_slot("missing") is None
    assert Routine().get_event("missing") is None


def test_a_second_slot_or_event_of_one_name_is_refused_by_name():
    routine = Routine()
    routine.define_slot("input")
    routine.define_event("output")
    with pytest.raises(ValueError, match="'input'"):
        routine.define_slot("input")
    with pytest.raises(ValueError, match="'output'"):
        routine.define_event("output")


def test_two_routines_share_no_slots_events_or_config():
    one, other = Routine(), Routine()
    one.define_slot("input")
    one.define_event("output")
    one.set_config(a=1)
    assert other.get_slot("input") is None
    assert other.get_event("output") is None
    assert other.config() == {}


def test_config_is_set_and_read():
    routine = Routine()
    routine.set_config(a=1, b=2)
    routine.set_config(b=3)
    assert routine.get_config("a") == 1
    assert routine.get_config("b") == 3
    assert routine.get_config("missing") is None
    assert routine.get_config("missing", 7) == 7
    assert routine.config() == {"a": 1, "b": 3}
    assert routine._config == {"a": 1, "b": 3}


def test_self_may_be_the_name_of_a_value():
    def tell(routine: Routine, data: dict[str, Any]) -> None:
        routine.set_config(self=1)
        routine.send_output("kind", self=2)
        routine.emit_deferred_event("output", self=3)
        event = routine.get_event("output")
        assert event is not None
        event.emit(self=4)
        routine(self=5)

    got: list[Any] = []
    flow = draw("a -> b", a=entry(tell), b=collector(got))
    job_state = flow.run("a")
    flow.shutdown()
    assert job_state.status == "completed"
    assert flow.routines["a"].config() == {"self": 1}
    assert job_state.outputs()[0]["data"] == {"self": 2}
    assert job_state.deferred_events[0]["data"] == {"self": 3}
    assert got == [{"self": 4}]


def test_the_config_that_is_returned_is_a_copy():
    routine = Routine()
    routine.set_config(a=1)
    routine.config()["a"] = 2
    assert routine.get_config("a") == 1


def test_calling_a_routine_does_nothing():
    assert Routine()() is None
    assert Routine()(a=1) is None


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((1,), {}, 1),
        ((), {"data": 2, "other": 3}, 2),
        ((), {"other": 3}, 3),
        ((), {"one": 1, "two": 2}, {"one": 1, "two": 2}),
        ((), {}, {}),
        ((0,), {"other": 3}, 0),
    ],
)
def test_input_data_are_the_data_else_the_only_value_else_everything(args, kwargs, expected):
    assert Routine()._extract_input_data(*args, **kwargs) == expected


def test_input_data_may_have_any_name():
    assert Routine()._extract_input_data(self=1) == 1


def test_emitting_without_a_flow_delivers_at_once():
    seen: list[Any] = []
    routine = Routine()
    routine.define_event("output").connect(Slot("input", handler=lambda **data: seen.append(data)))
    routine.emit("output", a=1)
    assert seen == [{"a": 1}]


def test_emitting_an_unknown_event_lists_those_that_exist():
    routine = Routine()
    routine.define_event("output")
    with pytest.raises(ValueError, match="'output'") as caught:
        routine.emit("outptu")
    assert isinstance(caught.value, UnknownNameError)
    assert caught.value.known == ["output"]
    assert "outptu" in str(caught.value)


def test_an_error_handler_is_set_and_read_and_taken_away():
    routine, handler = Routine(), ErrorHandler("continue")
    assert routine.get_error_handler() is None
    routine.set_error_handler(handler)
    assert routine.get_error_handler() is handler
    routine.set_error_handler(None)
    assert routine.get_error_handler() is None


def test_an_optional_routine_continues_by_default():
    routine = Routine()
    routine.set_as_optional()
    assert routine.get_error_handler().strategy is ErrorStrategy.CONTINUE
    routine.set_as_optional(ErrorStrategy.SKIP)
    assert routine.get_error_handler().strategy is ErrorStrategy.SKIP


def test_a_critical_routine_retries():
    routine = Routine()
    routine.set_as_critical()
    handler = routine.get_error_handler()
    assert handler.strategy is ErrorStrategy.RETRY
    assert (handler.max_retries, handler.retry_delay, handler.retry_backoff) == (3, 1.0, 2.0)
    assert handler.is_critical is True
    routine.set_as_critical(max_retries=1, retry_delay=0.5, retry_backoff=3.0)
    handler = routine.get_error_handler()
    assert (handler.max_retries, handler.retry_delay, handler.retry_backoff) == (1, 0.5, 3.0)


def test_outside_an_execution_there_is_no_context():
    routine = Routine()
    assert routine.get_execution_context() is None
    draw(a=routine)
    assert routine.get_execution_context() is None


def test_outside_an_execution_outputs_and_deferred_events_are_refused():
    routine = Routine()
    routine.define_event("output")
    with pytest.raises(RuntimeError, match="execution"):
        routine.send_output("kind", a=1)
    with pytest.raises(RuntimeError, match="execution"):
        routine.emit_deferred_event("output", a=1)


FREE_NAMES = [
    "name", "tracker", "result", "results", "process", "send", "handle", "validate", "format", "executed", "data",
    "status", "state", "flow", "job_state", "id", "run", "start", "stop", "queue", "lock", "logger", "context",
    "output", "outputs", "slots", "events", "count", "value", "handler", "timeout", "input",
]  # fmt: skip


@pytest.mark.parametrize("name", FREE_NAMES)
def test_users_may_have_attributes_of_any_plain_name(name):
    class Mine(Routine):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, 5)
            self.define_slot("trigger", handler=lambda **data: self.emit("output"))
            self.define_event("output")

    routine = Mine()
    flow = draw(a=routine)
    assert flow.run("a").status == "completed"
    assert getattr(routine, name) == 5
    flow.shutdown()
    assert not hasattr(Routine, name)


def test_a_subclass_may_take_constructor_arguments_and_runs():
    class Scaled(Routine):
        def __init__(self, factor: int) -> None:
            super().__init__()
            self.factor = factor
            self.define_slot("trigger", handler=self.scale)
            self.define_event("output")

        def scale(self, n: int) -> None:
            self.emit("output", n=n * self.factor)

    seen: list[Any] = []
    flow = draw("a -> b", a=Scaled(3), b=collector(seen))
    assert flow.run("a", {"n": 2}).status == "completed"
    flow.shutdown()
    assert seen == [{"n": 6}]


def test_adding_a_routine_makes_the_flow_its_current_one():
    routine = Routine()
    assert routine._current_flow is None
    flow = draw(a=routine)
    assert routine._current_flow is flow
    other = draw(a=routine)
    assert routine._current_flow is other


def test_inside_a_handler_the_current_flow_is_the_runs():
    seen: list[Any] = []
    routine = entry(lambda routine, data: seen.append(routine._current_flow))
    first, second = draw(a=routine), draw(a=routine)
    first.run("a")
    second.run("a")
    first.run("a")
    first.shutdown()
    second.shutdown()
    assert seen == [first, second, first]


def test_the_context_unpacks_into_flow_job_and_id():
    seen: list[Any] = []
    flow = draw(named=entry(lambda routine, data: seen.append(routine.get_execution_context())))
    job_state = flow.run("named")
    flow.shutdown()
    (context,) = seen
    in_flow, in_job, routine_id = context
    assert (in_flow, in_job, routine_id) == (flow, job_state, "named")
    assert (context.flow, context.job_state, context.routine_id) == (flow, job_state, "named")


def test_the_context_knows_its_attempt_and_keeps_its_activation_id():
    seen: list[Any] = []

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        seen.append((context.attempt, context.activation_id))
        if context.attempt < 3:
            raise ValueError("again")

    handler = ErrorHandler("retry", retry_delay=0)
    flow, executor, _ = draw_stepped("a -> b", a=source(1, 2), b=node(act, error_handler=handler))
    flow.execute("a")
    executor.run_until_idle()
    assert [attempt for attempt, _ in sorted(seen, key=lambda each: each[1])] == [1, 2, 3, 1, 2, 3]
    assert len({activation_id for _, activation_id in seen}) == 2
    assert all(activation_id for _, activation_id in seen)


def test_the_context_tells_a_handler_that_its_run_has_failed():
    seen: list[bool] = []
    gate = Gate()

    def long_one(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        seen.append(context.cancelled)
        gate.hold()
        seen.append(context.cancelled)

    def begin(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output")
        gate.await_arrival()
        routine.emit("bad")

    broken = node(lambda routine, data: 1 / 0, error_handler=ErrorHandler("stop"))
    starter = entry(begin, events=("output", "bad"))
    flow = draw("a -> long", "a.bad -> broken", a=starter, long=node(long_one), broken=broken)
    flow.set_execution_strategy("concurrent", 2)
    failed = threading.Event()
    flow.on_run_end(lambda job_state: failed.set())
    job_state = flow.execute("a")
    passed(failed)
    gate.open()
    flow.shutdown()
    assert job_state.status == "failed"
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        ({"max_concurrency": 0}, ValueError),
        ({"max_concurrency": True}, ValueError),
        ({"max_concurrency": 1.5}, ValueError),
        ({"attempt_timeout": 0}, ValueError),
        ({"attempt_timeout": float("nan")}, ValueError),
        ({"attempt_timeout": True}, TypeError),
        ({"attempt_timeout": "5"}, TypeError),
    ],
)
def test_limits_that_cannot_be_are_refused_by_name_and_change_nothing(limits: dict[str, Any], kind: type) -> None:
    routine = Routine()
    routine.set_limits(max_concurrency=3, attempt_timeout=2.0)
    with pytest.raises(kind, match=next(iter(limits))):
        routine.set_limits(**limits)
    assert (routine._max_concurrency, routine._attempt_timeout) == (3, 2.0)  # noqa: SLF001 - the marked names
