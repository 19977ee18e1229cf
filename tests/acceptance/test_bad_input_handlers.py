"""Handlers and merge functions that cannot work: refused when they are given, recorded when they fail."""

import logging
import threading
from typing import Any

import pytest

from routilux import ErrorHandler, JobState, Routine
from tests.decorators import hands_through, hands_through_later
from tests.drawings import collector, draw, entry, node, source, wait


async def asynchronous(**data: Any) -> None:
    raise AssertionError("this is never called")


async def asynchronous_generator(**data: Any) -> Any:
    yield data


def generator(**data: Any) -> Any:
    yield data


@pytest.mark.parametrize("handler", [generator, asynchronous_generator])
def test_a_generator_function_is_refused_as_none_of_its_lines_would_run(handler):
    with pytest.raises(TypeError, match="generator"):
        Routine().define_slot("input", handler=handler)


@pytest.mark.parametrize("handler", [5, "process", [], object(), {"a": 1}])
def test_a_handler_that_cannot_be_called_is_refused_with_its_slot(handler):
    routine = Routine()
    with pytest.raises(TypeError, match="'input'") as caught:
        routine.define_slot("input", handler=handler)
    assert repr(handler) in str(caught.value)
    assert routine.get_slot("input") is None


def test_a_handler_that_returns_a_coroutine_is_an_error_and_is_not_left_unawaited():
    def disguised(**data: Any) -> Any:
        return asynchronous(**data)

    routine = Routine()
    routine.define_slot("trigger", handler=disguised)
    job_state = draw(a=routine).run("a")
    assert job_state.status == "failed"
    assert "await" in job_state.errors[0].data["error"]


@pytest.mark.parametrize("function", [generator, asynchronous_generator])
@pytest.mark.parametrize("decorator", [hands_through, hands_through_later])
def test_a_decorator_that_hands_a_generator_through_is_an_error_when_it_is_called(decorator, function):
    routine = Routine()
    routine.define_slot("trigger", handler=decorator(function))
    with draw(a=routine) as flow:
        job_state = flow.run("a")
    assert job_state.status == "failed"
    assert "none of its lines have run" in job_state.errors[0].data["error"]
    assert job_state.errors[0].data["error_type"] == "HandlerTypeError"


# -- merging


def broken_merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError("cannot merge")


@pytest.mark.parametrize("strategy", [None, "stop", "continue", "skip", "retry"])
def test_a_merge_function_that_raises_follows_the_error_policy(strategy):
    seen: list[Any] = []
    handler = None if strategy is None else ErrorHandler(strategy, max_retries=1, retry_delay=0.001)
    flow = draw("a -> b", a=source(1), b=collector(seen, merge_strategy=broken_merge, error_handler=handler))
    job_state = flow.run("a")
    flow.shutdown()
    assert seen == []
    assert {record.data["error"] for record in job_state.errors} == {"cannot merge"}
    assert "broken_merge" in job_state.errors[0].data["traceback"]
    expected = {None: "error_continued", "continue": "error_continued", "skip": "skipped"}.get(strategy, "failed")
    assert job_state.get_routine_state("b")["status"] == expected
    assert job_state.status == ("failed" if expected == "failed" else "completed")


def test_a_merge_function_that_raises_once_is_retried_and_the_delivery_is_merged_once():
    calls: list[int] = []
    seen: list[Any] = []

    def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("once")
        return {"sum": old.get("sum", 0) + new["item"]}

    handler = ErrorHandler("retry", retry_delay=0.001)
    flow = draw("a -> b", a=source(2), b=collector(seen, merge_strategy=merge, error_handler=handler))
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert seen == [{"sum": 2}]


def test_a_merge_function_that_raises_leaves_what_was_merged_before():
    seen: list[Any] = []

    def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        if new["item"] == 2:
            raise ZeroDivisionError("not this one")
        return {"sum": old.get("sum", 0) + new["item"]}

    flow = draw("a -> b", a=source(1, 2, 3), b=collector(seen, merge_strategy=merge))
    flow.run("a")
    flow.shutdown()
    assert seen == [{"sum": 1}, {"sum": 4}]


@pytest.mark.parametrize("result", [None, [1], "text"])
def test_a_merge_function_that_returns_no_dict_is_named(result):
    flow = draw("a -> b", a=source(1), b=node(merge_strategy=lambda old, new: result))
    job_state = flow.run("a")
    flow.shutdown()
    (error,) = job_state.errors
    assert error.data["error_type"] == "MergeResultError"
    assert "b" in error.data["error"]
    assert "dict" in error.data["error"]


# -- handlers that want the process to end


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_entry_that_wants_out_fails_its_run_and_gets_out_of_execute(error):
    def act(routine: Routine, data: Any) -> None:
        routine.emit("output", n=1)
        raise error

    seen: list[Any] = []
    flow = draw("a -> b", a=entry(act), b=collector(seen))
    job_state = JobState(flow.flow_id)
    with pytest.raises(type(error)) as caught:
        flow.execute("a", job_state=job_state)
    assert caught.value is error
    assert job_state.status == "failed"
    assert job_state.errors[0].data["error_type"] == type(error).__name__
    assert seen == []
    assert [kept["routine_id"] for kept in job_state.pending_tasks if kept["was"] == "queued"] == ["b"]
    flow.shutdown()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_task_that_wants_out_fails_its_run_and_the_worker_goes_on(error):
    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == "out":
            raise error

    flow = draw("a -> b", a=source(), b=node(act))
    first = wait(flow, flow.execute("a", {"item": "out"}))
    second = wait(flow, flow.execute("a", {"item": "in"}))
    flow.shutdown()
    assert (first.status, second.status) == ("failed", "completed")
    assert first.errors[0].data["error_type"] == type(error).__name__


def test_a_handler_that_raises_something_strange_does_no_harm():
    class Mute(Exception):  # noqa: N818 - its name is of no interest here
        def __str__(self) -> str:
            raise RuntimeError("I have no text")

    def act(routine: Routine, data: Any) -> None:
        raise Mute

    flow = draw("a -> b", a=source(1), b=node(act))
    job_state = flow.run("a")
    assert job_state.status == "completed"
    assert job_state.errors[0].data["error_type"] == "Mute"
    assert flow.run("a").status == "completed"
    flow.shutdown()


def test_a_handler_that_ends_its_thread_with_an_own_base_exception_fails_the_run():
    class Out(BaseException):
        pass

    def act(routine: Routine, data: Any) -> None:
        raise Out("bye")

    flow = draw("a -> b", a=source(1), b=node(act))
    assert flow.run("a").status == "failed"
    flow.shutdown()


def test_a_handler_that_is_missing_an_argument_says_which():
    def act(needed: int, other: int = 0) -> None:
        """Never entered."""

    routine = Routine()
    routine.define_slot("trigger", handler=act)
    job_state = draw(a=routine).run("a")
    job_state = draw(a=routine).execute("a", {"other": 1})
    assert job_state.status == "failed"
    assert "needed" in job_state.errors[0].data["error"]


def test_an_error_is_logged_with_job_and_routine(caplog):
    flow = draw("a -> b", a=source(1), b=node(lambda routine, data: 1 / 0))
    with caplog.at_level(logging.ERROR, "routilux"):
        job_state = flow.run("a")
    flow.shutdown()
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert (record.job_id, record.routine_id) == (job_state.job_id, "b")
    assert "division" in record.getMessage()


def test_a_failing_handler_in_a_thread_of_the_applications_own_does_not_touch_the_run():
    errors: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        def target() -> None:
            try:
                routine.send_output("kind")
            except RuntimeError as error:
                errors.append(error)

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    assert draw(a=entry(act)).run("a").status == "completed"
    assert "copy_context" in str(errors[0])
