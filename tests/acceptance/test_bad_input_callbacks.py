"""Application code that only looks on may raise what it likes: it is logged or warned of, and stops nothing."""

import functools
import logging
import threading
import warnings
from typing import Any

import pytest

from routilux import CallbackOutputHandler, ErrorHandler, JobState, OutputHandler, Routine
from tests.drawings import Gate, collector, draw, entry, node, source, wait

pytestmark = pytest.mark.usefixtures("handler_kind")


def broken(*args: Any, **kwargs: Any) -> None:
    raise LookupError("broken on purpose")


def sends(routine: Routine, data: dict[str, Any]) -> None:
    routine.send_output("kind", n=1)
    routine.emit("output", n=1)


def test_an_output_handler_that_raises_warns_and_stops_nothing():
    seen: list[Any] = []
    flow = draw("a -> b", a=entry(sends), b=collector(seen))
    with pytest.warns(RuntimeWarning, match="broken on purpose"):
        job_state = flow.execute("a", output_handler=CallbackOutputHandler(broken))
    wait(flow, job_state)
    flow.shutdown()
    assert job_state.status == "completed"
    assert seen == [{"n": 1}]
    assert len(job_state.output_log) == 1


def test_an_output_callback_that_nobody_awaits_is_refused():
    async def tell(*args: Any) -> None: ...

    with pytest.raises(TypeError, match=r"plain function, and .* is `async def`"):
        CallbackOutputHandler(tell)


def test_an_output_handler_that_raises_in_a_worker_stops_nothing():
    flow = draw("a -> b", a=source(1), b=node(sends))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        job_state = wait(flow, flow.execute("a", output_handler=CallbackOutputHandler(broken)))
        flow.shutdown()
    assert job_state.status == "completed"
    assert [str(each.message) for each in caught if "broken on purpose" in str(each.message)]


def test_an_output_handler_that_raises_stops_nothing_where_warnings_are_errors(caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job_state = draw(a=entry(sends)).execute("a", output_handler=CallbackOutputHandler(broken))
    assert job_state.status == "completed"
    assert "broken on purpose" in caplog.text


def test_the_outputs_of_a_retried_attempt_survive_a_broken_output_handler():
    worker = entry(sends)
    worker.set_as_critical()
    with pytest.warns(RuntimeWarning, match="broken on purpose"):
        job_state = draw(a=worker).execute("a", output_handler=CallbackOutputHandler(broken))
    assert job_state.status == "completed"
    assert len(job_state.outputs()) == 1


@pytest.mark.parametrize("policy", [None, "retry"])
def test_an_output_handler_of_which_nothing_can_be_said_stops_nothing(policy):
    class Mute(Exception):  # noqa: N818 - its name is of no interest here
        __str__ = broken

    class Unspeakable(OutputHandler):
        __repr__ = broken

        def handle(self, *args: Any, **kwargs: Any) -> None:
            raise Mute

    worker = entry(sends, error_handler=None if policy is None else ErrorHandler(policy))
    with pytest.warns(RuntimeWarning, match="Unspeakable"):
        job_state = draw(a=worker).execute("a", output_handler=Unspeakable())
    assert job_state.status == "completed"
    assert len(job_state.outputs()) == 1


def test_a_progress_callback_that_raises_does_not_end_the_wait(caplog):
    gate = Gate()
    called = threading.Event()

    def progress(*args: Any) -> None:
        gate.open()
        called.set()
        broken()

    flow = draw("a -> b", a=source(1), b=node(gate.act))
    with caplog.at_level(logging.ERROR, "routilux"):
        job_state = flow.run("a", progress_callback=progress)
    flow.shutdown()
    assert called.is_set()
    assert job_state.status == "completed"
    assert "broken on purpose" in caplog.text


def test_a_progress_callback_that_raises_does_not_end_a_polled_wait(caplog):
    flow = draw()
    job_state = JobState(flow.flow_id)
    job_state.status = "pending"
    done = JobState.wait_for_completion(flow, job_state, timeout=0.02, check_interval=0.005, progress_callback=broken)
    assert done is False
    assert "broken on purpose" in caplog.text


def test_an_end_callback_that_raises_stops_neither_the_others_nor_the_wait(caplog):
    told: list[str] = []
    flow = draw("a -> b", a=source(1), b=collector([]))
    flow.on_run_end(broken)
    flow.on_run_end(lambda job_state: told.append(job_state.status))
    job_state = wait(flow, flow.execute("a"))
    assert job_state.status == "completed"
    assert told == ["completed"]
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert "broken on purpose" in caplog.text


async def awaited(job_state: JobState) -> None:
    raise AssertionError("nobody awaits it")


def yielding(job_state: JobState) -> Any:
    yield job_state


@pytest.mark.parametrize(
    ("callback", "advice"),
    [
        (3, "takes a function of \\(job_state\\), not 3"),
        (awaited, "run_coroutine_threadsafe"),
        (functools.partial(awaited), "run_coroutine_threadsafe"),
        (yielding, "a generator function: calling it would run none of its lines"),
    ],
)
def test_an_end_callback_that_nobody_could_call_or_await_is_refused(callback, advice):
    flow = draw("a -> b", a=source(1), b=collector([]))
    with pytest.raises(TypeError, match=advice):
        flow.on_run_end(callback)
    assert flow.run("a").status == "completed"
    flow.shutdown()


def test_an_end_callback_that_returns_a_coroutine_is_told_of(caplog):
    flow = draw("a -> b", a=source(1), b=collector([]))
    flow.on_run_end(lambda job_state: awaited(job_state))  # noqa: PLW0108 - what hides that it is async
    assert flow.run("a").status == "completed"
    flow.shutdown()
    assert "returned a coroutine, which nobody awaits" in caplog.text


def test_an_end_callback_that_wants_the_process_to_end_does_not_take_the_worker_along(caplog):
    def leave(job_state: JobState) -> None:
        raise SystemExit(3)

    flow = draw("a -> b", a=source(1), b=collector([]))
    flow.on_run_end(leave)
    first = wait(flow, flow.execute("a"))
    second = wait(flow, flow.execute("a"))
    flow.shutdown()
    assert (first.status, second.status) == ("completed", "completed")


def test_a_condition_that_raises_for_ever_ends_with_the_run(caplog):
    flow = draw("a -> b", a=source(1), b=collector([]))
    job_state = flow.execute("a")
    assert JobState.wait_until_condition(flow, job_state, broken, timeout=20) is False
    flow.shutdown()
    assert "The condition" in caplog.text
