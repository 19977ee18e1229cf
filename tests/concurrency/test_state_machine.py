"""Random schedules of several runs of one flow at once, against a model: every delivery is accounted for."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from routilux import ErrorHandler, JobState, Routine
from tests.drawings import HandlerKind, draw_stepped, entry, node, own_context, own_run

# What the middle routine does with an item, by its kind.
KINDS = ("pass", "twice", "fails once", "fails for good", "later", "stop")


class RunModel:
    """What one run should have done."""

    def __init__(self, job_state: JobState, kinds: list[str]) -> None:
        self.job_state = job_state
        self.kinds = kinds
        self.expected: Counter[tuple[int, int]] = Counter()
        for number, kind in enumerate(kinds):
            self.expected[number, 0] += kind != "stop"
            if kind == "fails for good":
                self.expected[number, 0] = 0
            if kind == "twice":
                self.expected[number, 1] += 1

    @property
    def is_doomed(self) -> bool:
        return "stop" in self.kinds


class Schedules(RuleBasedStateMachine):
    """Runs are started, stepped, and time passes, in any order."""

    @initialize(workers=st.integers(1, 3), concurrent=st.booleans())
    def draw(self, workers: int, concurrent: bool) -> None:
        self.runs: dict[str, RunModel] = {}
        self.delivered: dict[str, Counter[tuple[int, int]]] = {}
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.active: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        options: dict[str, Any] = {"execution_timeout": None}
        if concurrent:
            options |= {"execution_strategy": "concurrent", "max_workers": workers}
        self.flow, self.executor, self.clock = draw_stepped(
            "a -> b -> c",
            options=options,
            a=entry(self.start),
            b=node(self.work, error_handler=ErrorHandler("retry", 2, 1.0, 1.0, (OSError,))),
            c=node(self.note, error_handler=ErrorHandler("stop")),
        )
        self.flow.connect("b", "output", "c", "input")
        self.flow.on_run_end(lambda job_state: self.ended.update([job_state.job_id]))

    def start(self, routine: Routine, data: dict[str, Any]) -> None:
        for number, kind in enumerate(data["kinds"]):
            routine.emit("output", number=number, kind=kind)

    def work(self, routine: Routine, data: dict[str, Any]) -> None:
        context = own_context(routine)
        job_id, number, kind = context.job_state.job_id, data["number"], data["kind"]
        self.attempts[job_id, number] += 1
        assert context.attempt == self.attempts[job_id, number]
        if kind == "later":
            routine.emit_later("output", delay=1.0, data={"number": number, "copy": 0})
        else:
            routine.emit("output", number=number, copy=0)
        if kind == "twice":
            routine.emit("output", number=number, copy=1)
        if kind == "fails for good" or (kind == "fails once" and self.attempts[job_id, number] == 1):
            raise OSError("as planned")
        if kind == "stop":
            raise ValueError("not worth a retry")

    def note(self, routine: Routine, data: dict[str, Any]) -> None:
        self.delivered[own_run(routine).job_id][data["number"], data["copy"]] += 1

    @rule(kinds=st.lists(st.sampled_from(KINDS[:3]), max_size=4))
    def execute(self, kinds: list[str]) -> None:
        self.begin(kinds)

    @rule(kinds=st.lists(st.sampled_from(KINDS), max_size=4))
    def execute_with_trouble(self, kinds: list[str]) -> None:
        self.begin(kinds)

    def begin(self, kinds: list[str]) -> None:
        job_state = JobState(self.flow.flow_id)
        self.delivered[job_state.job_id] = Counter()
        self.runs[job_state.job_id] = RunModel(job_state, kinds)
        self.flow.execute("a", {"kinds": kinds}, job_state=job_state)

    @precondition(lambda self: self.runs)
    @rule()
    def step(self) -> None:
        self.executor.step()

    @precondition(lambda self: self.runs)
    @rule(seconds=st.sampled_from([0.5, 1.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def finish_everything(self) -> None:
        for _ in range(10):
            self.executor.run_until_idle()
            self.clock.advance(1.0)
        for job_id, model in self.runs.items():
            self.check_finished(job_id, model)

    def check_finished(self, job_id: str, model: RunModel) -> None:
        state, delivered = model.job_state, self.delivered[job_id]
        fails = model.is_doomed or "fails for good" in model.kinds
        assert state.status == ("failed" if fails else "completed"), state
        assert self.ended[job_id] == 1
        if not fails:
            assert +delivered == +model.expected
            assert state.pending_tasks == []
        # Nothing is delivered that the model does not know, nothing twice, and what is not delivered is kept.
        assert not delivered - model.expected
        kept = Counter(
            (task["data"]["number"], task["data"]["copy"]) for task in state.pending_tasks if task["routine_id"] == "c"
        )
        waiting = {task["data"]["number"] for task in state.pending_tasks if task["routine_id"] == "b"}
        for (number, copy), count in model.expected.items():
            if number not in waiting:
                assert delivered[number, copy] + kept[number, copy] == count, (number, copy, state)

    @invariant()
    def a_run_is_final_exactly_when_nothing_of_it_is_left(self) -> None:
        for job_id, model in getattr(self, "runs", {}).items():
            if model.job_state.status != "running":
                assert self.ended[job_id] == 1
            else:
                assert self.ended[job_id] == 0


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class AwaitedSchedules(Schedules):
    """The same, with handlers that await."""

    def __init__(self) -> None:
        HandlerKind.use("async")
        super().__init__()

    def teardown(self) -> None:
        HandlerKind.use("plain")
        super().teardown()


TestAwaitedSchedules = AwaitedSchedules.TestCase
TestAwaitedSchedules.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
