"""Where the outputs of a run go."""

import queue
from datetime import datetime
from typing import Any

import pytest

from routilux import CallbackOutputHandler, NullOutputHandler, OutputHandler, QueueOutputHandler

AT = datetime(2025, 1, 15, 10, 30)


def test_a_queue_handler_makes_its_own_queue():
    handler = QueueOutputHandler()
    assert isinstance(handler.queue, queue.Queue)
    assert QueueOutputHandler().queue is not handler.queue


def test_a_queue_handler_puts_one_dict_for_each_output():
    outputs: queue.Queue[dict[str, Any]] = queue.Queue()
    handler = QueueOutputHandler(outputs)
    assert handler.queue is outputs
    handler.handle("job", "routine", "kind", {"n": 1}, AT)
    assert outputs.get_nowait() == {
        "job_id": "job",
        "routine_id": "routine",
        "output_type": "kind",
        "data": {"n": 1},
        "timestamp": AT,
    }


def test_a_queue_that_is_empty_is_not_taken_for_none():
    class Sized(queue.Queue[dict[str, Any]]):
        def __len__(self) -> int:
            return self.qsize()

    outputs = Sized()
    assert not outputs
    assert QueueOutputHandler(outputs).queue is outputs


def test_a_callback_handler_calls_with_everything():
    seen: list[Any] = []
    CallbackOutputHandler(lambda *args: seen.append(args)).handle("job", "routine", "kind", {"n": 1}, AT)
    assert seen == [("job", "routine", "kind", {"n": 1}, AT)]


def test_a_time_is_filled_in_where_it_is_missing():
    seen: list[Any] = []
    CallbackOutputHandler(lambda *args: seen.append(args[-1])).handle("job", "routine", "kind", {})
    by_queue = QueueOutputHandler()
    by_queue.handle(job_id="job", routine_id="routine", output_type="kind", data={})
    assert isinstance(seen[0], datetime)
    assert isinstance(by_queue.queue.get_nowait()["timestamp"], datetime)


def test_a_null_handler_takes_everything_and_keeps_nothing():
    assert NullOutputHandler().handle("job", "routine", "kind", {}) is None


def test_what_cannot_be_called_is_no_callback():
    with pytest.raises(TypeError, match="callable"):
        CallbackOutputHandler("not a function")  # type: ignore[arg-type]


def test_an_output_handler_has_to_handle():
    class Unfinished(OutputHandler):
        pass

    with pytest.raises(TypeError, match="handle"):
        Unfinished()  # type: ignore[abstract]


@pytest.mark.parametrize("handler", [QueueOutputHandler(), NullOutputHandler(), CallbackOutputHandler(print)])
def test_an_output_handler_says_what_it_is(handler):
    assert type(handler).__name__ in repr(handler)


def test_a_queue_that_cannot_be_counted_is_named():
    class Uncounted:
        def put(self, item):
            raise ValueError

    assert "Uncounted" in repr(QueueOutputHandler(Uncounted()))  # type: ignore[arg-type]
