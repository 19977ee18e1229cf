"""The examples of the documents, as a user would type them."""

import re
import threading
from datetime import datetime
from typing import Any

import pytest

from routilux import ErrorHandler, ErrorStrategy, Flow, JobState, QueueOutputHandler, Routine
from routilux.flow.completion import ensure_event_loop_running
from routilux.job_state import JobState as JobStateOfTheModule
from routilux.routine import _current_job_state
from tests.drawings import in_thread

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class Sender(Routine):
    """An entry that sends what it was given, else a greeting."""

    def __init__(self) -> None:
        super().__init__()
        self.trigger_slot = self.define_slot("trigger", handler=self.send)
        self.output_event = self.define_event("output", ["data"])

    def send(self, **kwargs: Any) -> None:
        self.emit("output", data=kwargs.get("data", "hello"))


class Keeper(Routine):
    """Keeps what it received in the run's shared data."""

    def __init__(self) -> None:
        super().__init__()
        self.input_slot = self.define_slot("input", handler=self.process)

    def process(self, data: Any = None, **kwargs: Any) -> None:
        context = self.get_execution_context()
        if context:
            context.job_state.modify_shared_data("kept", lambda kept: [*kept, data], default=[])


def sending_flow(**options: Any) -> Flow:
    flow = Flow(**options)
    flow.add_routine(Sender(), "sender")
    flow.add_routine(Keeper(), "keeper")
    flow.connect("sender", "output", "keeper", "input")
    return flow


def test_a_run_tells_its_job_its_status_and_its_flow():
    flow = Flow(flow_id="my_flow")
    entry_id = flow.add_routine(Sender(), "sender")
    job_state = flow.execute(entry_id)
    assert entry_id == "sender"
    assert UUID.fullmatch(job_state.job_id)
    assert (job_state.status, job_state.flow_id) == ("completed", "my_flow")


def test_three_executions_are_three_records():
    with sending_flow() as flow:
        states = [flow.execute("sender", entry_params={"data": letter}) for letter in "ABC"]
    assert len({job_state.job_id for job_state in states}) == 3
    assert [job_state.get_shared_data("kept") for job_state in states] == [["A"], ["B"], ["C"]]
    assert [len(job_state.execution_history) for job_state in states] == [5, 5, 5]


def test_the_history_tells_the_start_the_emission_and_the_completion():
    flow = Flow()
    flow.add_routine(Sender(), "sender")
    job_state = flow.execute("sender")
    told = [(record.routine_id, record.event_name, record.data) for record in job_state.execution_history]
    assert told[0] == ("sender", "start", {})
    assert told[1] == ("sender", "output", {"data": "hello"})
    assert told[2][:2] == ("sender", "completed")
    assert len(job_state.get_execution_history("sender")) == 3
    assert all(isinstance(record.timestamp, datetime) for record in job_state.execution_history)


def test_routine_states_are_read_and_updated():
    flow = Flow()
    flow.add_routine(Sender(), "sender")
    job_state = flow.execute("sender")
    assert job_state.get_routine_state("sender")["status"] == "completed"
    job_state.update_routine_state("sender", {"status": "completed", "execution_time": 0.5, "custom_field": "value"})
    assert job_state.get_routine_state("sender")["custom_field"] == "value"


def test_a_handler_notes_its_progress_in_the_state_the_data_and_the_outputs():
    class Worker(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.define_slot("trigger", handler=self.process)

        def process(self, data: Any = None, **kwargs: Any) -> None:
            context = self.get_execution_context()
            if context:
                context.job_state.update_routine_state(context.routine_id, {"processed": True})
                context.job_state.update_shared_data("last_item", data)
                context.job_state.append_to_shared_log({"action": "process", "data": data})
                self.send_output("user_data", message="Processed", value=data)

    flow = Flow()
    flow.add_routine(Worker(), "worker")
    job_state = flow.execute("worker", {"data": 5})
    state = job_state.get_routine_state("worker")
    assert (state["processed"], state["status"]) == (True, "completed")
    assert job_state.get_shared_data("last_item") == 5
    assert [entry["action"] for entry in job_state.get_shared_log()] == ["process"]
    assert job_state.output_log[0]["data"] == {"message": "Processed", "value": 5}


def test_an_output_handler_is_set_on_a_state_that_execute_is_given():
    class Worker(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.define_slot("trigger", handler=self.process)

        def process(self, **kwargs: Any) -> None:
            self.send_output("status", progress=50, status="in_progress")

    flow = Flow(flow_id="my_flow")
    flow.add_routine(Worker(), "worker")
    handler = QueueOutputHandler()
    job_state = JobState(flow_id="my_flow")
    job_state.set_output_handler(handler)
    flow.execute("worker", job_state=job_state)
    assert handler.queue.get_nowait()["data"] == {"progress": 50, "status": "in_progress"}


def test_a_routine_names_itself_and_finds_its_job_in_the_context_variable():
    seen: list[Any] = []

    class Aware(Routine):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name
            self.trigger_slot = self.define_slot("trigger", handler=self.process)

        def process(self, **kwargs: Any) -> None:
            job_state = _current_job_state.get(None)
            if job_state:
                seen.append((self.name, threading.current_thread().name))
                job_state.record_execution(self._id, "process", {"thread": threading.current_thread().name})

    flow = Flow(flow_id="thread_demo", execution_strategy="concurrent", max_workers=2)
    entry_id = flow.add_routine(Aware("Processor"), "processor")
    job_state = flow.execute(entry_id)
    assert JobStateOfTheModule.wait_for_completion(flow, job_state, timeout=2.0)
    assert seen == [("Processor", threading.current_thread().name)]
    assert "process" in [record.event_name for record in job_state.execution_history]


def test_five_threads_that_execute_one_flow_have_five_jobs():
    flow = sending_flow(execution_strategy="concurrent", max_workers=3)

    def run(letter: str) -> JobState:
        job_state = flow.execute("sender", entry_params={"data": letter})
        assert JobState.wait_for_completion(flow, job_state, timeout=20)
        return job_state

    states = [join() for join in [in_thread(lambda letter=letter: run(letter)) for letter in "ABCDE"]]
    flow.shutdown(wait=True)
    assert len({job_state.job_id for job_state in states}) == 5
    assert [job_state.get_shared_data("kept") for job_state in states] == [["A"], ["B"], ["C"], ["D"], ["E"]]


def test_two_executions_on_one_worker_do_not_mix():
    flow = Flow(flow_id="isolation", execution_strategy="concurrent", max_workers=1)
    for number in ("1", "2"):
        flow.add_routine(Sender(), f"s{number}")
        flow.add_routine(Keeper(), f"k{number}")
        flow.connect(f"s{number}", "output", f"k{number}", "input")
    states = []
    for entry_id in ("s1", "s2"):
        job_state = flow.execute(entry_id)
        JobState.wait_for_completion(flow, job_state, timeout=2.0)
        states.append(job_state)
    flow.shutdown()
    assert [{record.routine_id for record in job_state.execution_history} for job_state in states] == [
        {"s1", "k1"}, {"s2", "k2"},
    ]  # fmt: skip


def test_ten_executions_are_waited_for_one_by_one():
    flow = sending_flow()
    executions = {number: flow.execute("sender", {"data": number}) for number in range(10)}
    for job_state in executions.values():
        assert JobState.wait_for_completion(flow, job_state, timeout=5.0)
    flow.shutdown()
    assert {number: job_state.get_shared_data("kept") for number, job_state in executions.items()} == {
        number: [number] for number in range(10)
    }


def test_a_loop_that_watches_the_status_comes_to_its_end():
    flow = sending_flow()
    job_state = flow.execute("sender")
    tick = threading.Event()
    for _ in range(5000):
        if job_state.status != "running":
            break
        tick.wait(0.001)
    assert job_state.status == "completed"
    flow.shutdown()


def test_a_flow_does_not_know_its_jobs():
    with pytest.raises(AttributeError):
        sending_flow().job_state.status  # noqa: B018 - reading it is the mistake


def test_after_a_wait_the_failed_routine_is_found_in_the_states():
    class Failing(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.define_slot("input", handler=self.process)
            self.set_error_handler(ErrorHandler(strategy=ErrorStrategy.STOP))

        def process(self, data: Any = None) -> None:
            raise ConnectionError("Connection timeout")

    flow = sending_flow()
    flow.add_routine(Failing(), "failing")
    flow.connect("sender", "output", "failing", "input")
    job_state = flow.execute("sender")
    assert JobState.wait_for_completion(flow, job_state, timeout=60.0)
    flow.shutdown()
    assert job_state.status == "failed"
    found = {
        routine_id: state.get("error")
        for routine_id, state in job_state.routine_states.items()
        if state.get("status") == "failed"
    }
    assert found == {"failing": "Connection timeout"}
    assert [record for record in job_state.get_execution_history() if "error" in record.event_name]


def test_an_aggregator_sees_every_message_of_one_execution_and_none_of_another():
    class ManySources(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.define_slot("trigger", handler=self._handle_trigger)
            self.define_event("output", ["data"])

        def _handle_trigger(self, **kwargs: Any) -> None:
            for data in ["A", "B", "C"]:
                self.emit("output", data=data)

    class Aggregator(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.define_slot("input", handler=self._collect, merge_strategy="append")
            self.define_event("result")

        def _collect(self, data: list[str], **others: Any) -> None:
            if len(data) == 3:
                self.emit("result", everything=data)

    flow = Flow()
    flow.add_routine(ManySources(), "sources")
    flow.add_routine(Aggregator(), "aggregator")
    flow.connect("sources", "output", "aggregator", "input")
    states = [flow.run("sources"), flow.run("sources")]
    flow.shutdown()
    for job_state in states:
        results = [record.data for record in job_state.execution_history if record.event_name == "result"]
        assert results == [{"everything": ["A", "B", "C"]}]


def test_the_flow_may_be_handed_to_emit_as_older_code_does():
    seen: list[Any] = []

    class Old(Sender):
        def send(self, **kwargs: Any) -> None:
            flow = getattr(self, "_current_flow", None)
            seen.append(flow)
            self.emit("output", flow=flow, data="value")

    flow = Flow()
    flow.add_routine(Old(), "sender")
    flow.add_routine(Keeper(), "keeper")
    flow.connect(source_routine_id="sender", source_event="output", target_routine_id="keeper", target_slot="input")
    job_state = flow.run("sender")
    flow.shutdown()
    assert seen == [flow]
    assert job_state.get_shared_data("kept") == ["value"]


def test_a_parameter_mapping_renames_for_the_target():
    class Doubler(Routine):
        def __init__(self) -> None:
            super().__init__()
            self.define_slot("input", handler=self.double)
            self.define_event("result")

        def double(self, number: int) -> None:
            self.emit("result", number=number * 2)

    flow = Flow()
    flow.add_routine(Sender(), "sender")
    flow.add_routine(Doubler(), "doubler")
    flow.connect("sender", "output", "doubler", "input", param_mapping={"data": "number"})
    job_state = flow.run("sender", {"data": 21})
    flow.shutdown()
    (result,) = [record.data for record in job_state.execution_history if record.event_name == "result"]
    assert result == {"number": 42}


def test_the_completion_api_is_called_as_the_page_shows_it():
    flow = sending_flow()
    told: list[Any] = []

    def progress_callback(queue_size: int, active_count: int, status: str) -> None:
        told.append((queue_size, active_count, status))

    job_state = flow.execute(entry_routine_id="sender")
    assert JobState.wait_for_completion(
        flow=flow, job_state=job_state, timeout=300.0, progress_callback=progress_callback
    )
    flow.shutdown()
    assert job_state.status == "completed"
    assert all(isinstance(queue_size, int) and isinstance(status, str) for queue_size, _, status in told)


def test_the_event_loop_can_be_made_sure_of():
    flow = sending_flow()
    flow.execute("sender")
    assert ensure_event_loop_running(flow)
    flow.shutdown()


def test_a_strategy_is_set_and_a_flow_is_shut_down_in_a_finally():
    flow = Flow(flow_id="my_flow", execution_strategy="concurrent", max_workers=5)
    flow.add_routine(Sender(), "sender")
    flow.set_error_handler(ErrorHandler(strategy=ErrorStrategy.RETRY, max_retries=3))
    try:
        job_state = flow.execute("sender", execution_strategy="concurrent", timeout=600.0)
        assert JobState.wait_for_completion(flow, job_state, timeout=10.0)
    finally:
        flow.shutdown(wait=True)
    assert job_state.status == "completed"


def test_without_a_flow_emit_calls_the_slots_directly():
    seen: list[Any] = []
    sender = Sender()
    receiver = Routine()
    sender.get_event("output").connect(receiver.define_slot("input", handler=lambda data: seen.append(data)))  # noqa: PLW0108
    sender.emit("output", data="value")
    assert seen == [{"data": "value"}]
