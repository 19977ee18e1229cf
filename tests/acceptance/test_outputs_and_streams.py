"""What a run sends to its caller: outputs, the stream of everything, deferred events, the end."""

import contextvars
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from routilux import (
    CallbackOutputHandler,
    ErrorHandler,
    ExecutionRecord,
    JobState,
    NullOutputHandler,
    OutputHandler,
    QueueOutputHandler,
    Routine,
)
from tests.drawings import DEADLINE, Gate, collector, draw, entry, in_thread, names, node, own_run, passed, source

pytestmark = pytest.mark.usefixtures("handler_kind")


def reporting(routine: Routine, data: dict[str, Any]) -> None:
    routine.send_output("progress", percent=50)
    routine.send_output("result", value=data.get("item"))


def test_outputs_carry_the_job_and_the_routines_id_in_the_flow():
    handler = QueueOutputHandler()
    flow = draw("a -> reporter", a=source(1), reporter=node(reporting))
    job_state = flow.execute("a", output_handler=handler)
    flow.shutdown()
    first, second = handler.queue.get(timeout=DEADLINE), handler.queue.get(timeout=DEADLINE)
    assert (first["job_id"], first["routine_id"], first["output_type"], first["data"]) == (
        job_state.job_id, "reporter", "progress", {"percent": 50},
    )  # fmt: skip
    assert (second["output_type"], second["data"]) == ("result", {"value": 1})
    assert first["timestamp"] <= second["timestamp"]
    assert [output["data"] for output in job_state.outputs("result")] == [{"value": 1}]
    assert [output["output_type"] for output in job_state.output_log] == ["progress", "result"]


def test_any_key_may_be_sent_as_output():
    flow = draw(a=entry(lambda routine, data: routine.send_output("kind", routine_id=1, data=2, job_id=3, self_=4)))
    job_state = flow.run("a")
    assert job_state.outputs()[0]["data"] == {"routine_id": 1, "data": 2, "job_id": 3, "self_": 4}


@pytest.mark.parametrize("handler", [None, NullOutputHandler()])
def test_outputs_are_logged_whatever_the_handler(handler):
    flow = draw(a=entry(reporting))
    assert len(flow.execute("a", output_handler=handler).outputs()) == 2


def test_a_callback_gets_every_output_of_the_run():
    seen: list[Any] = []
    handler = CallbackOutputHandler(lambda job_id, routine_id, kind, data, timestamp: seen.append((kind, data)))
    flow = draw(a=entry(reporting))
    flow.execute("a", {"item": 5}, output_handler=handler)
    assert seen == [("progress", {"percent": 50}), ("result", {"value": 5})]


def test_a_handler_of_the_applications_own_is_called():
    class Kept(OutputHandler):
        def __init__(self) -> None:
            self.kinds: list[str] = []

        def handle(self, job_id, routine_id, output_type, data, timestamp=None) -> None:
            self.kinds.append(output_type)

    handler = Kept()
    draw(a=entry(reporting)).execute("a", output_handler=handler)
    assert handler.kinds == ["progress", "result"]


def test_outputs_of_two_runs_go_to_their_own_handlers():
    flow = draw(a=entry(reporting))
    handlers = [QueueOutputHandler(), QueueOutputHandler()]
    states = [flow.execute("a", {"item": n}, output_handler=handler) for n, handler in enumerate(handlers)]
    for job_state, handler in zip(states, handlers, strict=True):
        assert {handler.queue.get_nowait()["job_id"] for _ in range(2)} == {job_state.job_id}
        with pytest.raises(queue.Empty):
            handler.queue.get_nowait()


@pytest.mark.parametrize("place", ["entry", "task"])
def test_an_output_that_comes_while_those_of_a_retried_handler_are_sent_is_sent_after_them(place):
    contexts: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        contexts.append((contextvars.copy_context(), routine))
        routine.send_output("first")
        routine.send_output("second")

    class Slow(OutputHandler):
        def __init__(self) -> None:
            self.kinds: list[str] = []

        def handle(self, job_id, routine_id, output_type, data, timestamp=None) -> None:
            if output_type in ("first", "third"):
                context, routine = contexts[0]
                later = {"first": "third", "third": "fourth"}[output_type]
                in_thread(lambda: context.run(routine.send_output, later))()  # of a thread of the handler
            self.kinds.append(output_type)

    policy, slow = ErrorHandler("retry"), Slow()
    if place == "entry":
        flow = draw(a=entry(act, error_handler=policy))
    else:
        flow = draw("a -> b", a=source(1), b=node(act, error_handler=policy))
    job_state = flow.run("a", output_handler=slow)
    flow.shutdown()
    assert job_state.status == "completed"
    assert slow.kinds == ["first", "second", "third", "fourth"]
    assert [each["output_type"] for each in job_state.outputs()] == slow.kinds


def test_a_deferred_event_waits_in_the_state_until_the_activation_ends():
    seen: list[Any] = []

    def act(routine: Routine, data: Any) -> None:
        routine.emit_deferred_event("output", question="name?")
        seen.append(list(routine.get_execution_context().job_state.deferred_events))

    flow = draw("a -> b", a=entry(act), b=collector(seen))
    job_state = flow.run("a")
    flow.shutdown()
    assert seen == [[]]
    (event,) = job_state.deferred_events
    assert (event["routine_id"], event["event_name"], event["data"]) == ("a", "output", {"question": "name?"})


def test_a_deferred_event_that_does_not_exist_is_refused_with_those_that_do():
    flow = draw(a=entry(lambda routine, data: routine.emit_deferred_event("outptu")))
    job_state = flow.run("a")
    assert job_state.status == "failed"
    assert "'output'" in job_state.errors[0].data["error"]


# -- the stream


def test_a_stream_yields_records_and_outputs_in_the_order_in_which_they_came():
    def act(routine: Routine, data: dict[str, Any]) -> None:
        routine.send_output("before", n=data["item"])
        routine.emit("output", n=data["item"])
        routine.send_output("after", n=data["item"])

    flow = draw("a -> b", a=source(1), b=node(act))
    seen = [item.event_name if isinstance(item, ExecutionRecord) else item["output_type"] for item in flow.stream("a")]
    flow.shutdown()
    assert seen == ["start", "output", "completed", "start", "before", "output", "after", "completed"]


def test_a_stream_hands_out_the_entry_params():
    flow = draw(a=source())
    items = list(flow.stream("a", {"n": 1}))
    flow.shutdown()
    assert items[0].data == {"n": 1}


def test_a_stream_yields_while_the_run_goes_on():
    gate = Gate()
    flow = draw("a -> b", a=source(1), b=node(gate.act, events=()))
    stream = flow.stream("a")
    names = [next(stream).event_name for _ in range(4)]
    assert names == ["start", "output", "completed", "start"]
    gate.open()
    assert [item.event_name for item in stream] == ["completed"]
    flow.shutdown()


def test_leaving_a_stream_lets_the_run_go_on():
    gate, runs = Gate(), queue.SimpleQueue()
    flow = draw("a -> b", a=source(1), b=node(gate.act))
    flow.on_run_end(runs.put)
    for _ in flow.stream("a"):
        break
    gate.open()
    job_state = runs.get(timeout=DEADLINE)
    assert job_state.status == "completed"
    assert names(job_state, "b") == ["start", "output", "completed"]
    flow.shutdown()


def test_a_stream_of_a_run_that_fails_comes_to_its_end():
    flow = draw(a=entry(lambda routine, data: 1 / 0))
    assert [item.event_name for item in flow.stream("a")] == ["start", "error"]
    flow.shutdown()


def test_a_stream_is_an_iterator_that_knows_its_run():
    flow = draw(a=source(1))
    stream = flow.stream("a")
    assert isinstance(stream, Iterator)
    list(stream)
    assert stream.job_state.status == "completed"
    flow.shutdown()


def test_a_stream_starts_with_the_call():
    seen: list[Any] = []
    done = threading.Event()
    flow = draw(a=entry(lambda routine, data: seen.append(data)))
    flow.on_run_end(lambda job_state: done.set())
    flow.stream("a")
    passed(done)
    assert seen == [{}]
    flow.shutdown()


def test_a_stream_yields_what_was_put_into_the_output_log_as_well():
    def act(routine: Routine, data: dict[str, Any]) -> None:
        log = own_run(routine).output_log
        log.append({"routine_id": "a", "output_type": "mine", "data": {}})
        routine.send_output("ours")
        log.append({"routine_id": "a", "output_type": "mine too", "data": {}})

    flow = draw(a=entry(act))
    seen = [item["output_type"] if isinstance(item, dict) else item.event_name for item in flow.stream("a")]
    assert [each for each in seen if each not in ("start", "completed")] == ["mine", "ours", "mine too"]
    assert seen.index("ours") < seen.index("completed")
    flow.shutdown()


def test_a_stream_whose_output_log_is_emptied_sleeps_and_ends_all_the_same():
    gate = Gate()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        routine.send_output("before")
        gate.hold()
        own_run(routine).output_log.clear()
        routine.send_output("after")

    flow = draw("a -> b", a=source(1), b=node(act, events=()))
    stream = flow.stream("a")
    while not isinstance(next(stream), dict):
        pass
    gate.open()
    assert [item.event_name for item in stream if isinstance(item, ExecutionRecord)] == ["completed"]
    flow.shutdown()


@pytest.mark.parametrize("name", ["missing", "sink"])
def test_a_stream_of_what_is_no_entry_is_refused_at_once(name):
    with pytest.raises(ValueError, match=name):
        draw(a=source(1), sink=collector([])).stream(name)


def test_shared_data_are_modified_one_at_a_time():
    def act(routine: Routine, data: Any) -> None:
        job_state = routine.get_execution_context().job_state
        job_state.modify_shared_data("count", lambda count: count + 1, default=0)
        job_state.append_to_shared_log({"item": data["item"]})

    flow = draw("a -> b", a=source(*range(500)), b=node(act))
    flow.set_execution_strategy("concurrent", 4)
    job_state: JobState = flow.run("a")
    flow.shutdown()
    assert job_state.get_shared_data("count") == 500
    assert sorted(each["item"] for each in job_state.get_shared_log()) == list(range(500))
