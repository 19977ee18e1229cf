"""A function as a routine: what its slots take, what it emits, how it is saved."""

import asyncio
import functools
import inspect
import sys
import threading
import types
from collections import Counter
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, FunctionRoutine, JobState, Routine
from routilux.errors import CallableError, HandlerTypeError, InvalidTypeError
from routilux.functions import routine
from routilux.testing import ManualExecutor, activate
from tests.decorators import awaited_in_a_thread, hands_through, hands_through_later, listed, run_by_asyncio
from tests.deliveries import restored
from tests.drawings import Gate, collector, draw, wait, wait_until


def emitted(function: Any, slot_name: str = "input", **data: Any) -> list[dict[str, Any]]:
    """The data of what a function emits for one delivery."""
    activation = activate(routine(function), slot_name, **data)
    assert activation.error is None, activation.error
    return [data for _, data in activation.emitted("output")]


def double(n: int) -> int:
    """Twice as much."""
    return n * 2


def returns(value: Any) -> Any:
    return lambda: value


def test_a_function_is_called_from_both_slots_and_its_result_is_emitted():
    assert emitted(double, "input", n=2) == [{"result": 4}]
    assert emitted(double, "trigger", n=2) == [{"result": 4}]


def test_the_routine_can_be_called_as_the_function_and_looks_like_it():
    made = routine(double)
    assert made(4) == made(n=4) == 8
    assert (made._id, made.__name__, made.__doc__) == ("double", "double", "Twice as much.")
    assert list(inspect.signature(made._slots["input"].handler).parameters) == ["n"]
    assert made.function is double


def test_a_routine_without_a_function_says_so_when_it_is_called():
    assert FunctionRoutine().function is None
    with pytest.raises(HandlerTypeError, match="has no function"):
        FunctionRoutine()()
    assert "has no function" in activate(FunctionRoutine(), "input", n=1).error


def test_another_function_may_be_assigned():
    made = routine(double)
    made.function = str
    made.function = lambda m: m + 1
    assert activate(made, "input", m=2).emitted() == [("output", {"result": 3})]


@pytest.mark.parametrize("value", [0, "", False, [], (), [None], Counter("aa"), {1: "a"}, {"a": 1, 2: 3}])
def test_any_value_but_none_is_the_result(value):
    assert emitted(returns(value)) == [{"result": value}]


def test_a_dict_of_names_is_the_data():
    assert emitted(returns({"a": 1, "b": None})) == [{"a": 1, "b": None}]
    assert emitted(returns({})) == [{}]


def test_no_name_in_a_returned_dict_is_taken_out():
    data = {"flow": 1, "job_state": 2, "event_name": 3, "self": 4, "delay": 5, "data": 6}
    assert emitted(returns(data)) == [data]


def test_none_emits_nothing():
    assert emitted(returns(None)) == []


def test_a_generator_emits_each_item_but_none():
    def count(n: int) -> Any:
        for i in range(n):
            yield None
            yield i
            yield {"i": i}

    assert emitted(count, n=2) == [{"result": 0}, {"i": 0}, {"result": 1}, {"i": 1}]
    assert emitted(lambda n: (i for i in range(n)), n=2) == [{"result": 0}, {"result": 1}]


def test_an_iterator_that_is_no_generator_is_a_value():
    assert emitted(returns([1, 2])) == [{"result": [1, 2]}]
    assert emitted(returns(range(2))) == [{"result": range(2)}]


def test_items_of_a_generator_that_fails_later_stay():
    def count() -> Any:
        yield 1
        raise OSError("no more")

    activation = activate(routine(count), "input")
    assert (activation.emitted(), activation.error) == ([("output", {"result": 1})], "no more")


def test_under_retry_a_failed_attempt_of_a_generator_leaves_no_item():
    @routine(error_handler=ErrorHandler("retry", max_retries=1, retry_delay=5))
    def count() -> Any:
        attempt = count.get_execution_context().attempt
        yield attempt
        if attempt == 1:
            raise OSError("down for a moment")

    assert activate(count, "input").emitted() == [("output", {"result": 2})]


def test_an_endless_generator_is_closed_when_its_run_is_cancelled():
    taken, closed, got = [], [], []

    def items() -> Any:
        try:
            while len(taken) < 1000:
                taken.append(len(taken))
                if len(taken) == 3:
                    flow.cancel()
                yield len(taken)
        finally:
            closed.append(True)

    endless = items()  # held here: it is not closed by being forgotten
    flow = draw(sink=collector(got))
    flow.chain(routine(lambda: endless, routine_id="count"), "sink")
    flow.execute("count")
    assert (len(taken), closed, got) == (3, [True], [])


def test_the_items_that_a_paused_run_still_takes_are_kept():
    got = []

    def count() -> Any:
        yield 1
        flow.pause()
        yield 2
        yield 3

    flow = draw(sink=collector(got), flow=Flow(executor=ManualExecutor()))
    flow.chain(routine(count), "sink")
    job_state = flow.execute("count")
    assert (job_state.status, got) == ("paused", [])
    assert [entry["data"] for entry in job_state.pending_tasks] == [{"result": n} for n in (1, 2, 3)]
    JobState.wait_for_completion(flow, flow.resume(job_state), timeout=5)
    assert got == [{"result": n} for n in (1, 2, 3)]


def test_a_generator_goes_on_in_a_run_that_has_failed_until_that_is_cancelled():
    gate, taken, kept, closed = Gate(), [], [], []

    def count() -> Any:
        try:
            while len(taken) < 1000:
                taken.append(len(taken))
                if len(taken) == 2:
                    gate.hold()
                if len(taken) == 4:
                    kept.extend(entry["data"] for entry in job_state.pending_tasks)
                    flow.cancel(job_state)
                yield len(taken)
        finally:
            closed.append(True)

    def fail(n: int) -> None:
        raise ValueError(n)

    with Flow(execution_strategy="concurrent", max_workers=2) as flow:
        start = routine(lambda: 1, routine_id="start")
        flow.chain(start, routine(count), routine(fail, error_handler=ErrorHandler("stop")))
        job_state = flow.execute("start")
        wait_until(flow, job_state, lambda state: state.status == "failed")
        gate.open()
        wait(flow, job_state)
    assert (len(taken), closed) == (4, [True])
    assert {"n": 3} in kept


async def asynchronous(x: int = 0) -> int:
    return x + 1


async def asynchronous_items(x: int = 0) -> Any:
    yield x
    yield None
    yield {"y": x}


@pytest.mark.parametrize(
    ("function", "emitted"),
    [
        (asynchronous, [{"result": 3}]),
        (functools.partial(asynchronous), [{"result": 3}]),
        (asynchronous_items, [{"result": 2}, {"y": 2}]),
    ],
)
def test_an_async_function_is_awaited_and_an_async_generator_emits_each_item(function, emitted):
    activation = activate(routine(function), "input", x=2)
    assert activation.error is None
    assert activation.emitted() == [("output", data) for data in emitted]


def plain(x: int = 0) -> int:
    return x + 1


def plain_items(x: int = 0) -> Any:
    yield from [x, None, {"y": x}]


ITEMS = [{"result": 2}, {"y": 2}]


@pytest.mark.parametrize(
    ("decorator", "function", "emitted"),
    [
        (run_by_asyncio, asynchronous, [{"result": 3}]),
        (hands_through, asynchronous, [{"result": 3}]),
        (hands_through, asynchronous_items, ITEMS),
        (hands_through, plain_items, ITEMS),
        (listed, plain_items, [{"result": [2, None, {"y": 2}]}]),
        (awaited_in_a_thread, plain, [{"result": 3}]),
        (awaited_in_a_thread, plain_items, ITEMS),
        (hands_through_later, asynchronous_items, ITEMS),
        (lambda function: hands_through(awaited_in_a_thread(function)), plain, [{"result": 3}]),
        (lambda function: functools.partial(hands_through(function)), asynchronous, [{"result": 3}]),
        (lambda function: functools.wraps(function)(functools.partial(function)), asynchronous, [{"result": 3}]),
    ],
)
def test_a_decorated_function_is_what_its_decorator_has_made_of_it(decorator, function, emitted):
    activation = activate(routine(decorator(function), routine_id="it"), "input", x=2)
    assert activation.error is None
    assert activation.emitted() == [("output", data) for data in emitted]


def test_a_plain_decorator_of_an_async_function_runs_on_a_worker():
    threads = []

    def kept(function: Any) -> Any:
        @functools.wraps(function)
        def keep(x: int) -> Any:
            threads.append(threading.current_thread().name)
            return function(x)

        return keep

    with Flow() as flow:
        flow.chain(routine(lambda: 1, routine_id="start"), routine(kept(asynchronous), routine_id="kept"))
        assert flow.run("start").status == "completed"
    assert "coroutines" not in threads[0]


def test_what_a_decorator_has_handed_through_is_closed_where_it_does_not_begin(recwarn):
    made, rest = [], []

    @functools.wraps(asynchronous)
    def keep(x: int) -> Any:
        made.append(asynchronous(x))
        return made[-1]

    handler = routine(keep).get_slot("input").handler
    rest.append(handler(x=1))
    rest[0].close()
    rest.append(handler(x=1))
    with pytest.raises(KeyboardInterrupt):
        rest[1].throw(KeyboardInterrupt())
    assert [inspect.getcoroutinestate(each) for each in made] == [inspect.CORO_CLOSED] * 2
    del made[:], rest[:]
    assert [str(warning.message) for warning in recwarn] == []


def test_an_async_generator_that_nobody_knew_of_fails():
    activation = activate(routine(lambda x: asynchronous_items(x), routine_id="it"), "input", x=1)  # noqa: PLW0108
    assert "nobody iterates over" in activation.error
    assert activation.emitted() == []


def test_a_function_that_returns_something_to_await_fails():
    activation = activate(routine(returns(asynchronous())), "input")
    assert "nobody awaits" in activation.error
    assert activation.emitted() == []


@pytest.mark.parametrize("what", [5, "text", {}])
def test_what_cannot_be_called_is_refused(what):
    with pytest.raises(InvalidTypeError, match="cannot be called"):
        routine(what)


@pytest.mark.parametrize("what", [Routine(), Routine, FunctionRoutine(double)])
def test_a_routine_is_refused(what):
    with pytest.raises(InvalidTypeError, match="a routine already"):
        routine(what)


def test_a_handler_that_is_no_policy_is_refused():
    with pytest.raises(InvalidTypeError, match="not an ErrorHandler"):
        routine(double, error_handler="retry")


@pytest.mark.parametrize(
    ("function", "data", "expected"),
    [
        (lambda n: n, {"n": 1, "m": 2}, 1),
        (lambda n: n["m"], {"m": 2}, 2),
        (lambda data: data["data"], {"data": 3}, 3),
        (lambda **every: sorted(every), {"b": 1, "a": 2}, ["a", "b"]),
        (lambda a, b=5: (a, b), {"a": 1, "c": 2}, (1, 5)),
        (lambda: "called", {"a": 1}, "called"),
        (lambda n, /: n, {"n": 1}, 1),
        (functools.partial(lambda a, b: a - b, b=1), {"a": 3, "b": 1}, 2),
    ],
)
def test_the_data_become_arguments_as_for_any_handler(function, data, expected):
    assert emitted(function, **data) == [{"result": expected}]


async def awaited_names(**data: int) -> list[str]:
    return sorted(data)


@pytest.mark.parametrize(
    "function", [lambda **data: sorted(data), lambda self, n: sorted(["self", "n"]), awaited_names]
)
def test_the_name_self_is_a_name_like_any_other(function):
    assert emitted(function, self=1, n=2) == [{"result": ["n", "self"]}]
    called = routine(function, routine_id="it")(self=1, n=2)
    assert (asyncio.run(called) if inspect.iscoroutine(called) else called) == ["n", "self"]


def test_what_has_no_signature_gets_all_the_data():
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(max)
    assert emitted(max, b=1, a=2) == [{"result": "b"}]


def test_a_function_without_a_name_has_an_id_nevertheless():
    one, other = routine(lambda: 1), routine(lambda: 2)
    assert one._id != other._id
    assert routine(functools.partial(double, n=1))._id.startswith("0x")
    assert routine(lambda: 1, routine_id="one")._id == "one"


def test_the_event_lists_the_names_that_the_annotation_lists():
    def untyped():
        return {"a": 1}

    assert routine(double).get_event("output").output_params == ["result"]
    assert routine(untyped).get_event("output").output_params == []


# -- saved and restored


def test_a_function_at_module_level_is_saved_and_restored():
    made = routine(double, error_handler=ErrorHandler("skip"), routine_id="twice")
    made.set_config(unit="m")
    copy = restored(made)
    assert (type(copy), copy.function, copy._id, copy.config()) == (FunctionRoutine, double, "twice", {"unit": "m"})
    assert copy.get_error_handler().strategy.value == "skip"
    assert copy.serialize() == made.serialize()
    assert activate(copy, "input", n=2).emitted() == [("output", {"result": 4})]


@routine
def decorated(n: int) -> int:
    return n + 1


def test_a_function_whose_name_means_the_routine_is_saved_and_restored():
    assert restored(decorated).function is decorated.function
    assert restored(decorated) is not decorated


def test_a_routine_without_a_function_is_saved_and_restored():
    assert restored(FunctionRoutine()).function is None


def nested() -> Any:
    def inner() -> int:
        return 1

    return inner


class Service:
    def fetch(self) -> int:
        return 1


@pytest.mark.parametrize(
    "function",
    [
        lambda: 1,
        nested(),
        functools.partial(double),
        Service,
        Service().fetch,
        Routine().set_as_optional,
        max,
        functools.cache(double),
    ],
)
def test_what_is_not_at_module_level_runs_and_says_so_when_it_is_saved(function):
    flow = Flow()
    flow.routine(function, routine_id="it")
    with pytest.raises(CallableError, match=r"FunctionRoutine\[it\] cannot be saved: .* module level"):
        flow.serialize()


def test_a_function_that_another_one_has_replaced_says_so_when_it_is_saved(monkeypatch):
    module = types.ModuleType("replacing")
    monkeypatch.setitem(sys.modules, "replacing", module)
    exec("def act(): return 1", vars(module))  # noqa: S102 - as a notebook does that runs a cell again
    first = routine(module.act)
    exec("def act(): return 2", vars(module))  # noqa: S102 - the same
    second = routine(module.act)
    with pytest.raises(CallableError, match=r"replacing\.act is the name of another function by now"):
        first.serialize()
    assert restored(second).function is second.function


def test_a_function_that_nobody_has_handed_over_is_not_restored():
    saved = routine(double).serialize()
    saved["function"].update(module="os", name="system")
    made = FunctionRoutine(double)
    with pytest.raises(CallableError, match=r"os\.system"):
        made.deserialize(saved)
    assert made.function is double


@pytest.mark.parametrize("what", ["text", 5, {"a": 1}])
def test_data_whose_function_is_none_are_refused(what):
    saved = routine(double).serialize()
    saved["function"] = what
    made = routine(lambda n: n)
    with pytest.raises((ValueError, TypeError)):
        made.deserialize(saved)
    assert activate(made, "input", n=3).emitted() == [("output", {"result": 3})]


def test_data_without_a_function_keep_the_present_one():
    made = routine(double)
    made.deserialize({"_type": "FunctionRoutine", "_config": {"a": 1}})
    assert (made.function, made.config()) == (double, {"a": 1})


def test_serilux_restores_one_inside_another_object():
    part = FunctionRoutine(function=routine(double).serialize()["function"])
    part.deserialize(routine(double).serialize())
    assert part.function is double
