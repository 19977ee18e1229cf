"""What users can infer from the public names. Checked by `mypy --strict`, never run."""

from collections.abc import Callable, Iterator, Sized
from datetime import datetime
from typing import Any, Literal, assert_type

import routilux
from routilux import (
    CallbackOutputHandler,
    ConditionalRouter,
    Connection,
    DataFlattener,
    DataTransformer,
    DataValidator,
    ErrorHandler,
    ErrorStrategy,
    Event,
    ExecutionContext,
    ExecutionRecord,
    ExecutionTracker,
    Flow,
    FunctionRoutine,
    JobState,
    NullOutputHandler,
    OutputHandler,
    QueueOutputHandler,
    ResultExtractor,
    Routine,
    Slot,
    TextClipper,
    TextRenderer,
    TimeProvider,
)
from routilux.analysis import (
    BaseFormatter,
    FlowGraph,
    RoutineAnalyzer,
    RoutineMarkdownFormatter,
    WorkflowAnalyzer,
    WorkflowD2Formatter,
    analyze_routine_file,
    analyze_workflow,
)
from routilux.errors import RoutiluxError, UnknownNameError
from routilux.flow import ResumeCheck, SlotActivationTask, TaskPriority
from routilux.flow.completion import ensure_event_loop_running
from routilux.flow.event_loop import start_event_loop
from routilux.functions import routine
from routilux.routine import _current_job_state
from routilux.testing import Activation, FakeClock, ManualExecutor, activate


class Scaled(Routine):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.trigger = self.define_slot("trigger", handler=self.scale)
        self.output = self.define_event("output", ["n"])

    def scale(self, n: int) -> None:
        self.emit("output", n=n * self.factor)
        self.emit_later("output", delay=1.5, priority=TaskPriority.HIGH, data={"n": n})
        self.send_output("kind", n=n)
        self.emit_deferred_event("output", n=n)
        context = self.get_execution_context()
        assert_type(context, ExecutionContext | None)
        if context is not None:
            flow, job_state, routine_id = context
            unpacked: tuple[Flow, JobState, str] = (flow, job_state, routine_id)
            assert_type(unpacked, tuple[Flow, JobState, str])
            assert_type(context.flow, Flow)
            assert_type(context.job_state, JobState)
            assert_type(context.routine_id, str)
            assert_type(context.activation_id, str)
            assert_type(context.attempt, int)
            assert_type(context.cancelled, bool)


def drawing(routine: Scaled) -> None:
    assert_type(routine.trigger, Slot)
    assert_type(routine.output, Event)
    assert_type(routine.get_slot("trigger"), Slot | None)
    assert_type(routine.get_event("output"), Event | None)
    assert_type(routine.config(), dict[str, Any])
    assert_type(routine.get_error_handler(), ErrorHandler | None)
    assert_type(routine.output.connected_slots, list[Slot])
    assert_type(routine.trigger.connected_events, list[Event])
    routine.define_slot("merged", merge_strategy=lambda old, new: {**old, **new})
    routine.define_slot("collected", lambda **data: None, "append")
    routine.set_as_optional(ErrorStrategy.SKIP)
    routine.set_as_critical(max_retries=1)
    connection = Connection(routine.output, routine.trigger, {"n": "n"})
    assert_type(connection.source_event, Event | None)
    assert_type(connection.target_slot, Slot | None)
    assert_type(connection.param_mapping, dict[str, str])


def flows(flow: Flow) -> None:
    assert_type(flow.flow_id, str)
    assert_type(flow.routines, dict[str, Routine])
    assert_type(flow.connections, list[Connection])
    assert_type(flow.error_handler, ErrorHandler | None)
    assert_type(flow.execution_tracker, ExecutionTracker | None)
    assert_type(flow.execution_timeout, float | None)
    assert_type(flow.add_routine(Scaled(2), "scaled"), str)
    assert_type(flow.connect("a", "output", "b", "input"), Connection)
    assert_type(flow.find_routines_by_type(Scaled), list[tuple[str, Scaled]])
    assert_type(flow.get_routine_retry_count("a"), int | None)
    assert_type(flow.execute("a", {"n": 1}, timeout=1.0), JobState)
    assert_type(flow.execute("a", job_state=JobState(), output_handler=NullOutputHandler(), job_id="x"), JobState)
    assert_type(flow.fork("x", 3, {"n": 2}, job_id="y"), JobState)
    assert_type(flow.fork(JobState(), 3, lambda job_state: job_state.update_shared_data("n", 2)), JobState)
    assert_type(flow.retry_failed("x", "b", timeout=1.0), JobState)
    assert_type(flow.run("a", {"n": 1}, 1.0, lambda queue_size, active_count, status: None), JobState)
    items: Iterator[ExecutionRecord | dict[str, Any]] = flow.stream("a")
    for item in items:
        if isinstance(item, ExecutionRecord):
            assert_type(item.event_name, str)
        else:
            assert_type(item, dict[str, Any])
    with Flow(execution_timeout=None, execution_strategy="concurrent") as entered:
        assert_type(entered, Flow)

    @flow.on_run_end
    def told(job_state: JobState) -> None:
        assert_type(job_state.status, str)

    assert_type(ensure_event_loop_running(flow), bool)
    start_event_loop(flow)
    flow.shutdown(wait=True, timeout=1.0)


def shorthand(flow: Flow, a: Scaled, b: Routine) -> None:
    @flow.routine
    def fetch(url: str, retries: int = 3) -> list[str]:
        return [url] * retries

    @flow.routine(routine_id="measured", error_handler=ErrorHandler("skip"))
    def measure(line: str) -> int:
        return len(line)

    @routine
    def words(text: str) -> Iterator[str]:
        yield from text.split()

    @routine(routine_id="shown")
    def show(n: int) -> None:
        """Show it."""

    # The name still means the function, for whoever calls it.
    assert_type(fetch("url", retries=2), list[str])
    assert_type(measure("line"), int)
    assert_type(words(text="text"), Iterator[str])
    fetch(5)  # type: ignore[arg-type]  # and what it does not take is an error
    measure()  # type: ignore[call-arg]  # as here
    assert_type(routine(len), FunctionRoutine[[Sized], int])
    assert_type(flow.routine(len), FunctionRoutine[[Sized], int])
    assert_type(flow.chain(a, "measured", len, [words, b], (show,)), list[str])
    flow.chain(5)  # type: ignore[arg-type]  # no step
    assert_type(b >> a, Scaled)
    assert_type(a >> [words, words] >> b, Routine)
    assert_type([a, b] >> a, Scaled)
    a >> 5  # type: ignore[type-var]  # no routine


def records(flow: Flow, job_state: JobState) -> None:
    assert_type(job_state.status, str)
    job_state.status = "my own"
    assert_type(job_state.job_id, str)
    assert_type(job_state.created_at, datetime)
    assert_type(job_state.execution_history, list[ExecutionRecord])
    assert_type(job_state.get_execution_history("a"), list[ExecutionRecord])
    assert_type(job_state.errors, list[ExecutionRecord])
    assert_type(job_state.errors[0].data, dict[str, Any])
    assert_type(job_state.errors[0].timestamp, datetime)
    assert_type(job_state.routine_states, dict[str, dict[str, Any]])
    assert_type(job_state.get_routine_state("a"), dict[str, Any] | None)
    assert_type(job_state.outputs("kind"), list[dict[str, Any]])
    assert_type(job_state.shared_data, dict[str, Any])
    assert_type(job_state.metadata, dict[str, Any])
    assert_type(job_state.checkpoint, dict[str, Any])
    assert_type(job_state.get_shared_log(lambda entry: "n" in entry), list[dict[str, Any]])
    job_state.modify_shared_data("n", lambda n: n + 1, default=0)
    assert_type(JobState.wait_for_completion(flow, job_state, timeout=1.0), bool)
    assert_type(JobState.wait_until_condition(flow, job_state, lambda f, j: j.status == "failed"), bool)
    assert_type(_current_job_state.get(), JobState | None)


def seams() -> None:
    def callback(job_id: str, routine_id: str, output_type: str, data: dict[str, Any], timestamp: datetime) -> None:
        """Take one output."""

    handlers: list[OutputHandler] = [QueueOutputHandler(), CallbackOutputHandler(callback), NullOutputHandler()]
    assert_type(QueueOutputHandler().queue.get(), dict[str, Any])
    assert_type(handlers[0].handle("job", "routine", "kind", {}), None)
    assert_type(ErrorHandler("retry").strategy, ErrorStrategy)
    ErrorHandler(ErrorStrategy.RETRY, retryable_exceptions=(ConnectionError, TimeoutError))
    tracker = ExecutionTracker("flow")
    assert_type(tracker.get_routine_performance("a"), dict[str, Any] | None)
    assert_type(tracker.get_flow_performance(), dict[str, Any])
    assert_type(tracker.event_flow, list[dict[str, Any]])
    slot = Slot("input")
    assert_type(slot.handler, Callable[..., Any] | None)
    task = SlotActivationTask(slot, {}, priority=TaskPriority.LOW, created_at=datetime.now())
    assert_type(task.priority, TaskPriority)
    assert_type(task < SlotActivationTask(slot, {}), bool)
    clock, executor = FakeClock(), ManualExecutor()
    Flow(clock=clock, executor=executor)
    assert_type(executor.step(), bool)
    assert_type(executor.run_until_idle(), int)
    activation = activate(Scaled(2), "trigger", n=1)
    assert_type(activation, Activation)
    assert_type(activation.emitted("output"), list[tuple[str, dict[str, Any]]])
    assert_type(activation.error, str | None)
    flow = Flow("kept", store="memory:")
    assert_type(flow.check_resume("run"), list[ResumeCheck])
    assert_type(flow.check_resume(JobState())[0].verdict, Literal["ok", "migrate", "refuse"])
    flow.migrate("a", "0badcafe", lambda slot, data: {**data, slot: 1}, held=lambda slot, data: ("other", data))
    assert_type(routilux.__version__, str)
    try:
        Flow().execute("a")
    except UnknownNameError as error:
        assert_type(error.known, list[str])
        caught: list[RoutiluxError] = [error]
        caught_by_built_in: list[ValueError] = [error]
        assert_type(len(caught) + len(caught_by_built_in), int)


def analysis() -> None:
    assert_type(analyze_routine_file("routines.py"), dict[str, Any])
    assert_type(analyze_workflow(Flow(), include_source_analysis=False), dict[str, Any])
    analyzer = WorkflowAnalyzer(RoutineAnalyzer())
    data = analyzer.analyze_flow(Flow())
    assert_type(analyzer.to_json(data, indent=None), str)
    assert_type(analyzer.to_d2_format(data, mode="ultimate", routine_analysis=[data]), str)
    formatters: list[BaseFormatter] = [RoutineMarkdownFormatter(), WorkflowD2Formatter(style="default")]
    assert_type(formatters[0].format(data), str)
    assert_type(formatters[0].save(data, "routines.md"), None)
    assert_type(Flow().graph(), FlowGraph)


def names_of_first_use() -> None:
    texts: list[Routine] = [TextClipper(), TextRenderer(), ResultExtractor(), TimeProvider()]
    data: list[Routine] = [DataFlattener(), DataTransformer(), DataValidator(), ConditionalRouter()]
    assert_type(len(texts) + len(data), int)
    assert_type(routilux.TextClipper(), TextClipper)
    assert_type(routilux.builtin_routines.TextClipper(), TextClipper)
    # Names that come when they are asked for do not make every name exist.
    routilux.TextCliper  # type: ignore[attr-defined]  # noqa: B018 - the error is what is tested
