"""A run asks the world outside for something: what becomes of it, and of what is sent. Here without a store."""

import gc
import threading
import weakref
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, Routine
from routilux.testing import FakeClock, ManualExecutor, activate
from tests.asking import Clerk, desk
from tests.drawings import Gate, draw, draw_stepped, entry, names, node, own_run, reloaded, wait

pytestmark = pytest.mark.usefixtures("handler_kind")


def stepped(**options: Any) -> tuple[Flow, Clerk, ManualExecutor, FakeClock]:
    executor, clock = ManualExecutor(), FakeClock()
    return *desk(executor=executor, clock=clock, **options), executor, clock


def test_a_run_with_nothing_else_to_do_is_paused_and_says_for_what():
    flow, _ = desk()
    job_state = flow.run("clerk", {"names": ["approval"]})
    assert job_state.status == "paused"
    assert job_state.pause_points[-1]["reason"] == "input: approval"
    assert [(each["name"], each["routine_id"], each["slot"]) for each in job_state.input_requests] == [
        ("approval", "clerk", "answer")
    ]
    flow.shutdown()


def test_a_paused_run_goes_on_by_itself_when_its_input_comes():
    flow, clerk = desk()
    job_state = flow.run("clerk", {"names": ["approval"]})
    flow.send_input(job_state.job_id, "approval", {"yes": True})
    assert wait(flow, job_state).status == "completed"
    assert clerk.got == [{"yes": True}]
    assert names(job_state, "clerk") == [
        *("start", "input_requested", "completed"),
        *("input_received", "start", "completed"),
    ]
    assert job_state.input_requests == []
    flow.shutdown()


def test_a_run_that_nobody_holds_is_found_by_its_job_id():
    flow, clerk = desk()
    job_id = flow.run("clerk", {"names": ["approval"]}).job_id
    flow.execution_tracker = None  # it keeps what it has not read
    gc.collect()
    flow.send_input(job_id, "approval", {"yes": True})
    flow.shutdown()
    assert clerk.got == [{"yes": True}]


def test_a_run_that_goes_on_or_is_cancelled_is_not_held_any_longer():
    flow, _ = desk()
    answered, cancelled = (flow.run("clerk", {"names": ["approval"]}) for _ in range(2))
    flow.send_input(answered.job_id, "approval")
    wait(flow, answered)
    flow.cancel(cancelled)
    records = [weakref.ref(answered), weakref.ref(cancelled)]
    flow.shutdown()
    del answered, cancelled
    gc.collect()
    assert [record() for record in records] == [None, None]


def test_a_flow_whose_run_waits_with_a_timeout_can_be_collected():
    flow, _ = desk()
    flow.run("clerk", {"names": ["approval"], "timeout": 1000.0})
    found = weakref.ref(flow)
    del flow, _
    gc.collect()
    assert found() is None


def test_an_input_that_comes_before_its_request_is_kept_for_it():
    flow, clerk = desk()
    job_state = flow.run("clerk", {"names": ["first"]})
    flow.send_input(job_state.job_id, "second", {"n": 2})
    assert job_state.status == "paused"  # it waits for another one
    assert job_state.kept_inputs == [{"name": "second", "data": {"n": 2}}]
    flow.send_input(job_state.job_id, "first", {"n": 1})
    assert wait(flow, job_state).status == "completed"
    assert clerk.got == [{"n": 1}]
    flow.shutdown()


def test_a_request_gets_at_once_what_was_sent_before():
    def ask(routine: Routine, data: dict[str, Any]) -> None:
        flow.send_input(own_run(routine).job_id, "approval", {"n": 1})
        routine.emit("output", names=["approval"])

    clerk = Clerk()
    flow = draw("a -> clerk.ask", a=entry(ask), clerk=clerk)
    job_state = flow.run("a")
    assert (job_state.status, job_state.pause_points) == ("completed", [])
    assert clerk.got == [{"n": 1}]
    flow.shutdown()


def test_each_input_goes_to_one_request_the_oldest_of_its_name():
    def ask(routine: Routine, data: dict[str, Any]) -> None:
        routine.request_input("letter", "one")
        routine.request_input("letter", "two")

    got = []
    asks = entry(ask)
    asks.define_slot("one", lambda **data: got.append(("one", data)))
    asks.define_slot("two", lambda **data: got.append(("two", data)))
    flow = draw(a=asks)
    job_state = flow.run("a")
    assert job_state.pause_points[-1]["reason"] == "input: letter"
    flow.send_input(job_state.job_id, "letter", {"n": 1})
    assert wait(flow, job_state).status == "paused"
    flow.send_input(job_state.job_id, "letter", {"n": 2})
    assert wait(flow, job_state).status == "completed"
    assert got == [("one", {"n": 1}), ("two", {"n": 2})]
    flow.shutdown()


def test_a_run_with_other_work_takes_an_input_without_being_paused():
    gate, clerk = Gate(), Clerk()
    flow = draw(
        "a -> clerk.ask",
        "a -> slow",
        a=entry(lambda routine, data: routine.emit("output", names=["approval"])),
        clerk=clerk,
        slow=node(lambda routine, data: gate.hold()),
    )
    job_state = flow.execute("a", execution_strategy="concurrent")
    gate.await_arrival()
    flow.send_input(job_state.job_id, "approval", {"yes": True})
    gate.open()
    assert wait(flow, job_state).status == "completed"
    assert (clerk.got, job_state.pause_points) == ([{"yes": True}], [])
    flow.shutdown()


def test_runs_are_islands_also_for_inputs():
    flow, clerk = desk()
    one, other = (flow.run("clerk", {"names": ["approval"]}) for _ in range(2))
    flow.send_input(other.job_id, "approval", {"for": "other"})
    assert wait(flow, other).status == "completed"
    assert one.status == "paused"
    assert clerk.got == [{"for": "other"}]
    flow.shutdown()


def test_a_run_that_nobody_knows_takes_no_input():
    flow, _ = desk()
    with pytest.raises(ValueError, match="no run 'nobody' that is live or paused"):
        flow.send_input("nobody", "approval")


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_a_run_that_is_over_takes_no_input(status):
    flow, clerk = desk()
    job_state = flow.run("clerk", {"names": ["approval"]})
    if status == "cancelled":
        flow.cancel(job_state)
    else:
        if status == "failed":
            clerk.take = None  # type: ignore[assignment]
            clerk.set_error_handler(ErrorHandler("stop"))
            clerk.get_slot("answer").handler = lambda: 1 / 0  # type: ignore[union-attr]
        flow.send_input(job_state.job_id, "approval")
        wait(flow, job_state)
    assert job_state.status == status
    with pytest.raises(RuntimeError, match=f"takes no input: its status is '{status}'"):
        flow.send_input(job_state.job_id, "approval")
    flow.shutdown()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [1, {2, 3}]}, r"the input 'approval'\['a'\]\[1\]"),
        ({1: "a"}, "the input 'approval'"),
        (["a"], "the input 'approval' must be a dict"),
    ],
)
def test_data_that_are_no_json_dict_are_refused_with_the_path(data, message):
    flow, clerk = desk()
    job_state = flow.run("clerk", {"names": ["approval"]})
    with pytest.raises(TypeError, match=message):
        flow.send_input(job_state.job_id, "approval", data)
    assert (job_state.status, clerk.got) == ("paused", [])
    flow.shutdown()


def test_what_the_sender_changes_afterwards_is_not_delivered():
    flow, _ = desk()
    job_state = flow.run("clerk", {"names": ["other"]})
    data = {"n": [1]}
    flow.send_input(job_state.job_id, "approval", data)
    data["n"].append(2)
    assert job_state.kept_inputs == [{"name": "approval", "data": {"n": [1]}}]
    flow.shutdown()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda clerk: clerk.request_input("approval", "answr"), "Unknown slot 'answr'.*Did you mean 'answer'"),
        (lambda clerk: clerk.request_input("approval", "answer", timeout=0), "timeout must be more than 0"),
        (lambda clerk: clerk.request_input("approval", "answer", timeout="1"), "timeout must be seconds"),
        (lambda clerk: clerk.request_input("approval", "answer", timeout=True), "timeout must be seconds"),
        (lambda clerk: clerk.request_input("", "answer"), "name of an input"),
    ],
)
def test_a_request_that_cannot_be_met_is_an_error_of_its_handler(call, error):
    found = []

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        with pytest.raises((ValueError, TypeError), match=error) as caught:
            call(routine)
        found.append(caught.value)

    asks = entry(ask)
    asks.define_slot("answer")
    flow = draw(a=asks)
    assert flow.run("a").status == "completed"
    assert len(found) == 1
    flow.shutdown()


def test_outside_an_execution_nothing_can_be_requested():
    _, clerk = desk()
    with pytest.raises(RuntimeError, match="inside an execution only"):
        clerk.request_input("approval", "answer")


# -- time


def test_a_request_whose_time_is_over_delivers_that_instead():
    flow, clerk, executor, clock = stepped()
    job_state = flow.execute("clerk", {"names": ["approval"], "timeout": 60.0})
    executor.run_until_idle()
    assert job_state.status == "paused"
    clock.advance(59.0)
    executor.run_until_idle()
    assert clerk.got == []
    clock.advance(1.0)
    executor.run_until_idle()
    assert clerk.got == [{"name": "approval", "timed_out": True}]
    assert wait(flow, job_state).status == "completed"
    assert "clerk.input_timed_out" in names(job_state)


def test_a_request_that_was_answered_in_time_does_not_time_out():
    flow, clerk, executor, clock = stepped()
    job_state = flow.execute("clerk", {"names": ["approval", "other"], "timeout": 60.0})
    clock.advance(30.0)
    flow.send_input(job_state.job_id, "approval", {"n": 1})
    executor.run_until_idle()
    clock.advance(31.0)
    executor.run_until_idle()
    assert clerk.got == [{"n": 1}, {"name": "other", "timed_out": True}]


def test_an_input_that_comes_too_late_is_kept_for_the_next_request():
    def ask(routine: Routine, data: dict[str, Any]) -> None:
        routine.request_input("approval", "answer", timeout=5.0)
        routine.request_input("other", "answer")

    got: list[dict[str, Any]] = []
    asks = entry(ask)
    asks.define_slot("answer", lambda **data: got.append(data))
    flow, executor, clock = draw_stepped(a=asks)
    job_state = flow.execute("a")
    clock.advance(6.0)
    executor.run_until_idle()
    flow.send_input(job_state.job_id, "approval", {"late": True})
    executor.run_until_idle()
    assert got == [{"name": "approval", "timed_out": True}]
    assert job_state.pause_points[-1]["reason"] == "input: other"
    assert job_state.kept_inputs == [{"name": "approval", "data": {"late": True}}]


def test_the_timeout_of_the_run_stands_still_while_it_waits_for_input():
    flow, _, executor, clock = stepped(execution_timeout=10.0)
    job_state = flow.execute("clerk", {"names": ["approval", "second"]})
    clock.advance(1000.0)
    flow.send_input(job_state.job_id, "approval")
    executor.run_until_idle()
    clock.advance(1000.0)
    flow.send_input(job_state.job_id, "second")
    executor.run_until_idle()
    assert wait(flow, job_state).status == "completed"


def test_the_time_before_a_wait_for_input_counts_afterwards():
    def ask(routine: Routine, data: dict[str, Any]) -> None:
        stepped_flow.clock.advance(6.0)
        routine.request_input("approval", "answer")

    def take(**data: Any) -> None:
        stepped_flow.clock.advance(6.0)
        asks.emit("output")

    asks = entry(ask)
    asks.define_slot("answer", take)
    stepped_flow = draw_stepped("a -> b", options={"execution_timeout": 10.0}, a=asks, b=node())
    flow, executor, clock = stepped_flow
    job_state = flow.execute("a")
    assert job_state.pause_points[-1]["seconds_left"] == pytest.approx(4.0)
    clock.advance(1000.0)
    flow.send_input(job_state.job_id, "approval")
    executor.run_until_idle()
    assert job_state.status == "failed"
    assert job_state.errors[-1].data["error"] == "The run took longer than 10 s"


# -- pause, resume, save


def test_a_resume_without_an_input_is_allowed_and_pauses_again():
    flow, clerk = desk()
    job_state = flow.run("clerk", {"names": ["approval"]})
    assert wait(flow, flow.resume(job_state)).status == "paused"
    assert [point["reason"] for point in job_state.pause_points] == ["input: approval"] * 2
    flow.send_input(job_state.job_id, "approval", {"n": 1})
    assert wait(flow, job_state).status == "completed"
    assert clerk.got == [{"n": 1}]
    flow.shutdown()


def test_an_input_does_not_undo_the_pause_of_a_person():
    flow, clerk = desk()
    job_state = flow.run("clerk", {"names": ["approval"]})
    flow.pause(job_state, reason="lunch")
    flow.send_input(job_state.job_id, "approval", {"n": 1})
    assert (job_state.status, clerk.got) == ("paused", [])
    assert wait(flow, flow.resume(job_state)).status == "completed"
    assert clerk.got == [{"n": 1}]
    flow.shutdown()


def test_a_saved_run_knows_what_it_waits_for_and_what_it_was_sent():
    flow, _ = desk()
    job_state = flow.run("clerk", {"names": ["approval"]})
    flow.send_input(job_state.job_id, "other", {"n": 2})
    copy = reloaded(job_state)
    flow.shutdown()
    assert (copy.input_requests, copy.kept_inputs) == (job_state.input_requests, job_state.kept_inputs)
    later, clerk = desk()
    assert wait(later, later.resume(copy)).status == "paused"
    later.send_input(copy.job_id, "approval", {"n": 1})
    assert wait(later, copy).status == "completed"
    assert clerk.got == [{"n": 1}]
    later.shutdown()


def test_a_state_whose_request_names_a_slot_that_is_gone_is_not_resumed():
    flow, _ = desk()
    copy = reloaded(flow.run("clerk", {"names": ["approval"]}))
    flow.shutdown()
    copy.input_requests[0]["slot"] = "gone"
    later, _ = desk()
    with pytest.raises(ValueError, match=r"There is no slot 'gone' any more, where the input 'approval' would go"):
        later.resume(copy)


# -- what runs again


def test_a_failed_attempt_under_retry_has_asked_for_nothing():
    attempts = []

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        attempts.append(list(own_run(routine).input_requests))
        routine.request_input("approval", "answer")
        if len(attempts) < 3:
            raise OSError("not yet")

    asks = entry(ask, error_handler=ErrorHandler("retry", max_retries=5, retry_delay=0.0))
    asks.define_slot("answer")
    flow = draw(a=asks)
    job_state = flow.run("a")
    assert attempts == [[], [], []]
    assert [each["name"] for each in job_state.input_requests] == ["approval"]
    flow.shutdown()


def test_an_activation_that_runs_again_does_not_ask_again():
    calls = []

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        calls.append(1)
        routine.request_input("approval", "answer")
        if len(calls) == 1:
            raise OSError("once")
        routine.request_input("second", "answer")

    asks = entry(ask)
    asks.define_slot("answer")
    flow = draw(a=asks)
    job_state = flow.run("a")
    assert job_state.status == "failed"
    first = list(job_state.input_requests)
    copy = reloaded(job_state)
    assert wait(flow, flow.resume(copy)).status == "paused"
    assert len(calls) == 2
    assert copy.input_requests[:1] == first
    assert [each["name"] for each in copy.input_requests] == ["approval", "second"]
    flow.shutdown()


# -- who sends


def test_many_threads_send_and_each_input_is_delivered_once():
    count = 24
    flow, clerk = desk()
    job_state = flow.run("clerk", {"names": ["letter"] * count})
    threads = [
        threading.Thread(target=flow.send_input, args=(job_state.job_id, "letter", {"n": number}))
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flow.shutdown()
    assert job_state.status == "completed"
    assert sorted(data["n"] for data in clerk.got) == list(range(count))


def test_a_slot_that_only_requests_feed_is_not_reported():
    clerk = Clerk()
    flow = draw("a -> clerk.ask", a=entry(), clerk=clerk)
    assert [each.where for each in flow.validate() if each.code == "unfed-slot"] == []


def test_a_test_of_a_routine_sees_what_its_handler_has_asked_for():
    clerk = Clerk()
    seen = activate(clerk, "trigger", names=["approval"], timeout=60.0)
    assert [(each["name"], each["slot"]) for each in seen.job_state.input_requests] == [("approval", "answer")]
    assert clerk.got == []  # and no time-out is delivered
