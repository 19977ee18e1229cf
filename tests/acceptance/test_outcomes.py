"""How an activation may come out: the outcome table, for entries and tasks alike."""

import contextvars
import threading
from datetime import datetime
from typing import Any

import pytest

from routilux import CallbackOutputHandler, ErrorHandler, ErrorStrategy, Flow, JobState, Routine
from tests.drawings import (
    Act,
    collector,
    draw,
    draw_stepped,
    entry,
    fails,
    in_thread,
    names,
    node,
    passed,
    source,
    wait,
)

pytestmark = pytest.mark.usefixtures("handler_kind")

PLACES = ["entry", "task"]


def broken_flow(place: str, act: Act, handler: ErrorHandler | None = None) -> Flow:
    """A flow whose routine "it" acts: as the entry, or as the task of an entry."""
    if place == "entry":
        return draw(it=entry(act, error_handler=handler))
    return draw("first -> it", first=source(1), it=node(act, error_handler=handler))


def start(flow: Flow) -> JobState:
    job_state = flow.run("first" if "first" in flow.routines else "it")
    flow.shutdown()
    return job_state


def words(job_state: JobState) -> list[str]:
    return names(job_state, "it")


def quick(**options: Any) -> ErrorHandler:
    return ErrorHandler("retry", retry_delay=0.001, retry_backoff=1.0, **options)


@pytest.mark.parametrize("place", PLACES)
def test_success(place):
    job_state = start(broken_flow(place, lambda routine, data: routine.emit("output", n=1)))
    state = job_state.get_routine_state("it")
    assert state["status"] == "completed"
    assert state["execution_time"] > 0
    assert set(state) == {"status", "execution_time"}
    assert job_state.status == "completed"
    assert words(job_state) == ["start", "output", "completed"]
    assert job_state.get_execution_history("it")[1].data == {"n": 1}
    assert job_state.get_execution_history("it")[2].data["execution_time"] == state["execution_time"]
    assert job_state.errors == []


@pytest.mark.parametrize("place", PLACES)
def test_success_keeps_what_the_handler_wrote_itself(place):
    def act(routine: Routine, data: Any) -> None:
        context = routine.get_execution_context()
        context.job_state.update_routine_state("it", {"status": "processing", "processed": 3, "error": "mine"})

    state = start(broken_flow(place, act)).get_routine_state("it")
    assert (state["status"], state["processed"], state["error"]) == ("completed", 3, "mine")
    assert state["execution_time"] > 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("strategy", "word"), [("continue", "error_continued"), ("skip", "skipped")])
def test_a_tolerated_error(place, strategy, word):
    def act(routine: Routine, data: Any) -> None:
        routine.emit("output", n=1)
        raise ValueError("no good")

    job_state = start(broken_flow(place, act, ErrorHandler(strategy)))
    assert job_state.status == "completed"
    state = job_state.get_routine_state("it")
    assert (state["status"], state["error"]) == (word, "no good")
    expected = ["start", "output", word] if place == "entry" else ["start", "output", "error", word]
    assert words(job_state) == expected
    last = job_state.get_execution_history("it")[-1]
    assert (last.data["error"], last.data["error_type"]) == ("no good", "ValueError")
    if place == "task":
        noted = job_state.get_execution_history("it")[-2]
        assert (noted.data["slot"], noted.data["error"]) == ("input", "no good")
    assert [record.data["error"] for record in job_state.errors] == ["no good"]


@pytest.mark.parametrize("place", PLACES)
def test_a_retry_with_a_later_success(place):
    handler = quick()
    job_state = start(broken_flow(place, fails(ValueError("no good"), 2), handler))
    assert job_state.status == "completed"
    state = job_state.get_routine_state("it")
    assert (state["status"], state["retry_count"]) == ("completed", 2)
    assert state["execution_time"] > 0
    assert "error" not in state
    assert words(job_state) == ["start", "error", "error", "output", "completed"]
    completed = job_state.get_execution_history("it")[-1]
    assert completed.data == {"execution_time": state["execution_time"], "retried": True}
    assert handler.retry_count == 2


@pytest.mark.parametrize("place", PLACES)
def test_retries_that_are_used_up(place):
    calls: list[int] = []

    def act(routine: Routine, data: Any) -> None:
        calls.append(1)
        raise ValueError(f"no good {len(calls)}")

    handler = quick(max_retries=3)
    flow = broken_flow(place, act, handler)
    job_state = start(flow)
    assert len(calls) == 4
    assert job_state.status == "failed"
    state = job_state.get_routine_state("it")
    assert (state["status"], state["error"]) == ("failed", "no good 4")
    datetime.fromisoformat(str(state["error_time"]))
    assert words(job_state) == ["start"] + ["error"] * 4
    assert [record.data["error"] for record in job_state.errors] == [f"no good {n}" for n in (1, 2, 3, 4)]
    assert handler.retry_count == 3
    assert flow.get_routine_retry_count("it") == 3


@pytest.mark.parametrize("place", PLACES)
def test_an_error_that_is_not_retryable(place):
    job_state = start(broken_flow(place, fails(KeyError("k")), quick(retryable_exceptions=(ConnectionError,))))
    assert job_state.status == "failed"
    assert job_state.get_routine_state("it")["status"] == "failed"
    assert words(job_state) == ["start", "error"]


@pytest.mark.parametrize("place", PLACES)
def test_an_error_that_stops_the_run(place):
    job_state = start(broken_flow(place, fails(ValueError("no good")), ErrorHandler("stop")))
    assert job_state.status == "failed"
    state = job_state.get_routine_state("it")
    assert (state["status"], state["error"]) == ("failed", "no good")
    datetime.fromisoformat(str(state["error_time"]))
    assert words(job_state) == ["start", "error"]
    (error,) = job_state.errors
    assert (error.data["error"], error.data["error_type"]) == ("no good", "ValueError")


def test_an_entry_without_a_policy_stops_the_run():
    job_state = start(broken_flow("entry", fails(ValueError("no good"))))
    assert job_state.status == "failed"
    assert job_state.get_routine_state("it")["status"] == "failed"
    assert words(job_state) == ["start", "error"]


def test_a_task_without_a_policy_is_tolerated():
    job_state = start(broken_flow("task", fails(ValueError("no good"))))
    assert job_state.status == "completed"
    state = job_state.get_routine_state("it")
    assert (state["status"], state["error"]) == ("error_continued", "no good")
    assert words(job_state) == ["start", "error"]
    (error,) = job_state.errors
    assert (error.data["slot"], error.data["error"], error.data["error_type"]) == ("input", "no good", "ValueError")


@pytest.mark.parametrize("place", PLACES)
def test_the_flows_policy_holds_where_the_routine_has_none(place):
    flow = broken_flow(place, fails(ValueError("no good")))
    flow.set_error_handler(ErrorHandler(ErrorStrategy.SKIP))
    assert flow.get_routine_retry_count("it") == 0
    assert start(flow).get_routine_state("it")["status"] == "skipped"


@pytest.mark.parametrize("place", PLACES)
def test_the_routines_policy_goes_before_the_flows(place):
    flow = broken_flow(place, fails(ValueError("no good")), ErrorHandler("continue"))
    flow.set_error_handler(ErrorHandler("stop"))
    assert start(flow).get_routine_state("it")["status"] == "error_continued"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("strategy", ["stop", "continue", "skip"])
@pytest.mark.parametrize("tolerates", [True, False])
def test_a_policy_of_the_applications_own_is_asked(place, strategy, tolerates):
    asked: list[Any] = []

    class Own(ErrorHandler):
        def handle_error(self, error, routine, routine_id, flow, job_state=None):
            asked.append((str(error), routine, routine_id, flow, job_state))
            return tolerates

    flow = broken_flow(place, fails(ValueError("no good")), Own(strategy))
    job_state = start(flow)
    assert asked == [("no good", flow.routines["it"], "it", flow, job_state)]
    assert job_state.status == ("completed" if tolerates else "failed")


@pytest.mark.parametrize("place", PLACES)
def test_a_policy_of_the_applications_own_that_raises_tolerates_nothing(place):
    class Broken(ErrorHandler):
        def handle_error(self, *args, **kwargs):
            raise RuntimeError("broken policy")

    job_state = start(broken_flow(place, fails(ValueError("no good")), Broken("continue")))
    assert job_state.status == "failed"
    assert job_state.get_routine_state("it")["error"] == "no good"


def raises_in(method: str, error: BaseException) -> ErrorHandler:
    """A policy that retries, and one method of which raises."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise error

    return type("Broken", (ErrorHandler,), {method: broken})("retry", retry_delay=0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["handle_error", "is_retryable", "delay_before"])
def test_a_policy_that_raises_fails_the_run_with_the_handlers_own_error(place, method, caplog):
    flow = broken_flow(place, fails(ValueError("no good")), raises_in(method, RuntimeError("broken policy")))
    flow.execution_timeout = None
    job_state = start(flow)
    assert job_state.status == "failed"
    assert [error.data["error"] for error in job_state.errors] == ["no good"]
    assert job_state.get_routine_state("it")["error"] == "no good"
    assert [(kept["routine_id"], kept["was"]) for kept in job_state.pending_tasks] == [("it", "failed")]
    assert "broken policy" in caplog.text


@pytest.mark.parametrize("place", PLACES)
def test_a_delay_that_is_no_number_fails_the_run_with_the_handlers_own_error(place):
    class Broken(ErrorHandler):
        def delay_before(self, retry):
            return None

    job_state = start(broken_flow(place, fails(ValueError("no good")), Broken("retry")))
    assert job_state.status == "failed"
    assert [error.data["error"] for error in job_state.errors] == ["no good"]
    assert [kept["was"] for kept in job_state.pending_tasks] == ["failed"]


@pytest.mark.parametrize("delay", [float("nan"), -1.0])
def test_a_delay_that_is_no_time_is_none(delay):
    policy = type("Odd", (ErrorHandler,), {"delay_before": lambda self, retry: delay})("retry")
    assert start(broken_flow("task", fails(ValueError("no good"), times=1), policy)).status == "completed"


@pytest.mark.parametrize("method", ["handle_error", "is_retryable", "delay_before"])
def test_a_policy_that_wants_the_process_to_end_fails_the_run(method):
    policy = raises_in(method, KeyboardInterrupt())
    flow = broken_flow("entry", fails(ValueError("no good")), policy)
    job_state = JobState(flow.flow_id)
    with pytest.raises(KeyboardInterrupt):
        flow.execute("it", job_state=job_state, timeout=None)
    assert wait(flow, job_state).status == "failed"
    assert [error.data["error"] for error in job_state.errors] == ["no good"]
    assert start(broken_flow("task", fails(ValueError("no good")), policy)).status == "failed"


def test_an_output_handler_that_wants_the_process_to_end_fails_the_run_of_a_retried_entry():
    def leave(*args: Any) -> None:
        raise SystemExit(3)

    flow = draw(a=entry(lambda routine, data: routine.send_output("kind"), error_handler=quick()))
    flow.execution_timeout = None
    job_state = JobState(flow.flow_id)
    with pytest.raises(SystemExit):
        flow.execute("a", job_state=job_state, output_handler=CallbackOutputHandler(leave))
    assert wait(flow, job_state).status == "failed"
    assert [error.data["error_type"] for error in job_state.errors] == ["SystemExit"]
    assert [kept["was"] for kept in job_state.pending_tasks] == ["failed"]


@pytest.mark.parametrize("word", ["failed", "error"])
@pytest.mark.parametrize("place", PLACES)
def test_a_failure_that_a_handler_writes_itself_is_kept_and_fails_the_run_at_its_end(place, word):
    def act(routine: Routine, data: Any) -> None:
        context = routine.get_execution_context()
        context.job_state.update_routine_state(context.routine_id, {"status": word, "error": "I say so"})

    job_state = start(broken_flow(place, act))
    assert job_state.status == "failed"
    state = job_state.get_routine_state("it")
    assert (state["status"], state["error"]) == (word, "I say so")


def test_a_later_success_does_not_hide_an_earlier_failure_of_the_same_run():
    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == 1:
            context = routine.get_execution_context()
            context.job_state.update_routine_state(context.routine_id, {"status": "failed"})

    flow = draw("a -> it", a=source(1, 2), it=node(act))
    job_state = flow.run("a")
    flow.shutdown()
    assert job_state.status == "failed"
    assert job_state.get_routine_state("it")["status"] == "failed"


@pytest.mark.parametrize("strategy", [None, "continue", "skip"])
def test_a_later_tolerated_error_does_not_hide_an_earlier_failure_of_the_same_run(strategy):
    def act(routine: Routine, data: dict[str, Any]) -> None:
        if data["item"] == 2:
            raise ValueError("tolerated")
        context = routine.get_execution_context()
        context.job_state.update_routine_state(context.routine_id, {"status": "failed", "error": "mine"})

    handler = None if strategy is None else ErrorHandler(strategy)
    flow = draw("a -> it", a=source(1, 2), it=node(act, error_handler=handler))
    job_state = flow.run("a")
    flow.shutdown()
    assert job_state.status == "failed"
    assert job_state.get_routine_state("it")["status"] == "failed"


def test_a_thread_that_outlives_a_failed_run_is_told_so():
    contexts: list[contextvars.Context] = []

    def act(routine: Routine, data: Any) -> None:
        contexts.append(contextvars.copy_context())
        raise ValueError("no good")

    flow = broken_flow("task", act, ErrorHandler("stop"))
    job_state = flow.run("first")
    kept = list(job_state.pending_tasks)
    with pytest.raises(RuntimeError, match="failed"):
        contexts[0].run(lambda: flow.routines["it"].emit("output"))
    flow.shutdown()
    assert job_state.pending_tasks == kept


def test_no_execution_takes_no_time_at_all():
    flow, _, _ = draw_stepped("first -> it", first=source(1), it=collector([]))
    job_state = flow.run("first")
    assert all(state["execution_time"] > 0 for state in job_state.routine_states.values())
    assert flow.execution_tracker.get_routine_performance("it")["min_execution_time"] > 0


def test_a_later_success_replaces_a_tolerated_error():
    flow = draw("a -> it", a=source(1, 2), it=node(fails(ValueError("no good"), 1)))
    job_state = flow.run("a")
    flow.shutdown()
    state = job_state.get_routine_state("it")
    assert state["status"] == "completed"
    assert "error" not in state


def test_when_a_run_fails_what_was_not_delivered_is_kept():
    flow, executor, _ = draw_stepped(
        "a -> b", "a -> it", "a -> c",
        a=source(1), b=collector([]), c=collector([]), it=node(fails(ValueError("x")), error_handler=ErrorHandler()),
    )  # fmt: skip
    job_state = flow.execute("a")
    executor.run_until_idle()
    assert job_state.status == "failed"
    kept = {(entry["routine_id"], entry["slot"], entry["was"]) for entry in job_state.pending_tasks}
    assert kept == {("it", "input", "failed"), ("c", "input", "queued")}
    assert all(entry["data"] == {"item": 1} for entry in job_state.pending_tasks)
    assert job_state.get_routine_state("c") is None


def test_the_failure_of_a_concurrent_run_leaves_what_a_late_handler_emits_in_pending_tasks():
    may_go, failed = threading.Event(), threading.Event()
    seen: list[Any] = []

    def late(routine: Routine, data: Any) -> None:
        passed(may_go)
        routine.emit("output", item="late")

    def break_it(routine: Routine, data: Any) -> None:
        raise ValueError("no good")

    flow = draw(
        "a -> late -> sink", "a -> it",
        a=source(1), late=node(late), sink=collector(seen), it=node(break_it, error_handler=ErrorHandler()),
    )  # fmt: skip
    flow.set_execution_strategy("concurrent", 2)
    flow.on_run_end(lambda job_state: failed.set())
    job_state = flow.execute("a")
    passed(failed)
    assert job_state.status == "failed"
    may_go.set()
    wait(flow, job_state)
    flow.shutdown()
    assert seen == []
    assert "sink" in [entry["routine_id"] for entry in job_state.pending_tasks]


def test_an_error_stops_neither_the_loop_nor_another_run():
    flow = draw("a -> it", a=source(1), it=node(fails(ValueError("x"), 1), error_handler=ErrorHandler()))
    first, second = flow.run("a"), flow.run("a")
    flow.shutdown()
    assert (first.status, second.status) == ("failed", "completed")


@pytest.mark.parametrize("place", PLACES)
def test_under_retry_a_failed_attempt_leaves_nothing_behind(place):
    calls: list[int] = []

    def act(routine: Routine, data: Any) -> None:
        calls.append(1)
        routine.emit("output", attempt=len(calls))
        routine.send_output("progress", attempt=len(calls))
        routine.emit_deferred_event("output", attempt=len(calls))
        if len(calls) < 3:
            raise ValueError("again")

    seen: list[Any] = []
    flow = broken_flow(place, act, quick())
    draw("it -> sink", flow=flow, sink=collector(seen))
    job_state = start(flow)
    assert seen == [{"attempt": 3}]
    assert [record.data for record in job_state.get_execution_history("it") if record.event_name == "output"] == seen
    assert [output["data"] for output in job_state.outputs()] == [{"attempt": 3}]
    assert [event["data"] for event in job_state.deferred_events] == [{"attempt": 3}]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("moment", ["between the attempts", "in the next attempt"])
def test_under_retry_a_thread_that_outlives_its_failed_attempt_leaves_nothing_behind(place, moment):
    contexts: list[Any] = []
    seen: list[Any] = []

    def leave_traces(routine: Routine, attempt: int) -> None:
        routine.emit("output", attempt=attempt)
        routine.send_output("kind", attempt=attempt)
        routine.emit_deferred_event("output", attempt=attempt)
        routine.request_input(f"asked in {attempt}", "input" if place == "task" else "trigger")

    def late(routine: Routine) -> None:
        in_thread(lambda: contexts[0].run(leave_traces, routine, 1))()

    def act(routine: Routine, data: Any) -> None:
        contexts.append(contextvars.copy_context())
        if len(contexts) == 1:
            raise ValueError("no good")
        if moment == "in the next attempt":
            late(routine)
        leave_traces(routine, 2)

    policy = ErrorHandler("retry", retry_delay=10)
    it = entry(act, error_handler=policy) if place == "entry" else node(act, error_handler=policy)
    flow, executor, clock = draw_stepped("it -> last", it=it, last=collector(seen))
    if place == "task":
        draw("first -> it", flow=flow, first=source(1))
    job_state = flow.execute("it" if place == "entry" else "first")
    executor.run_until_idle()
    assert len(contexts) == 1
    if moment == "between the attempts":
        late(flow.routines["it"])
    clock.advance(10)
    executor.run_until_idle()
    assert seen == [{"attempt": 2}]
    assert [each["data"] for each in job_state.outputs()] == [{"attempt": 2}]
    assert [each["data"] for each in job_state.deferred_events] == [{"attempt": 2}]
    assert [each["name"] for each in job_state.input_requests] == ["asked in 2"]
    flow.cancel(job_state)
    flow.shutdown()


@pytest.mark.parametrize("strategy", ["stop", "continue", "skip", None])
def test_under_every_other_policy_what_was_done_before_the_error_stays(strategy):
    def act(routine: Routine, data: Any) -> None:
        routine.emit("output", n=1)
        routine.send_output("progress", n=1)
        raise ValueError("no good")

    handler = None if strategy is None else ErrorHandler(strategy)
    flow = draw("a -> it", a=source(1), it=node(act, error_handler=handler))
    job_state = flow.run("a")
    flow.shutdown()
    assert "it.output" in names(job_state)
    assert len(job_state.outputs()) == 1


def test_under_retry_a_run_that_fails_has_released_nothing():
    def act(routine: Routine, data: Any) -> None:
        routine.emit("output", n=1)
        raise ValueError("no good")

    seen: list[Any] = []
    flow = draw("a -> it -> sink", a=source(1), it=node(act, error_handler=quick(max_retries=1)), sink=collector(seen))
    job_state = flow.run("a")
    flow.shutdown()
    assert (job_state.status, seen) == ("failed", [])
    assert "it.output" not in names(job_state)


def test_a_retry_gets_the_arguments_of_the_first_attempt_and_merges_nothing_twice():
    seen: dict[str, list[Any]] = {}

    def act(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        seen.setdefault(context.activation_id, []).append(dict(data))
        data.clear()
        if context.attempt == 1:
            raise ValueError("again")

    flow = draw("a -> it", a=source(1, 2), it=node(act, merge_strategy="append", error_handler=quick()))
    flow.run("a")
    flow.shutdown()
    assert list(seen.values()) == [[{"item": [1]}, {"item": [1]}], [{"item": [1, 2]}, {"item": [1, 2]}]]


def test_error_records_have_a_bounded_traceback():
    def deep(n: int) -> None:
        if not n:
            raise ValueError("at the bottom " + "x" * 20)
        deep(n - 1)

    job_state = start(broken_flow("task", lambda routine, data: deep(200)))
    (error,) = job_state.errors
    assert "deep" in error.data["traceback"]
    assert "at the bottom" in error.data["traceback"]
    assert len(error.data["traceback"]) < 10_000


def test_the_retry_count_of_a_routine_without_a_policy_is_none():
    flow = draw(a=source())
    assert flow.get_routine_retry_count("a") is None
    assert flow.get_routine_retry_count("nobody") is None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("policy", [None, "continue", "skip", "retry"])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_handler_that_wants_out_fails_the_run_under_any_policy(place, policy, error):
    calls: list[int] = []

    def act(routine: Routine, data: Any) -> None:
        calls.append(1)
        raise error

    flow = broken_flow(place, act, None if policy is None else ErrorHandler(policy, retry_delay=0))
    job_state = JobState(flow.flow_id)
    if place == "entry":
        with pytest.raises(type(error)) as caught:
            flow.execute("it", job_state=job_state)
        assert caught.value is error
    else:
        flow.execute("first", job_state=job_state)
    wait(flow, job_state)
    assert len(calls) == 1
    assert job_state.status == "failed"
    assert job_state.get_routine_state("it")["status"] == "failed"
    assert [record.data["error_type"] for record in job_state.errors] == [type(error).__name__]
    assert broken_flow("task", lambda routine, data: None).run("first").status == "completed"
    flow.routines["it"].get_slot("trigger" if place == "entry" else "input").handler = None
    assert flow.run("it" if place == "entry" else "first").status == "completed"
    flow.shutdown()


def test_two_runs_count_their_retries_apart_though_they_share_a_policy():
    attempts: dict[Any, int] = {}

    def act(routine: Routine, data: dict[str, Any]) -> None:
        attempts[data["item"]] = attempts.get(data["item"], 0) + 1
        raise ValueError("no good")

    flow, executor, _ = draw_stepped("a -> it", a=source(), it=node(act, error_handler=ErrorHandler("retry", 2, 0)))
    states = [flow.execute("a", {"item": n}) for n in range(3)]
    executor.run_until_idle()
    assert [job_state.status for job_state in states] == ["failed"] * 3
    assert attempts == {0: 3, 1: 3, 2: 3}
