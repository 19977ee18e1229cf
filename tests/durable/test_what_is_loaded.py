"""What is loaded from a store is what ran, whenever a run stands still; and any prefix of a journal can go on."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.priority import TaskPriority
from routilux.stores.journal import Replay
from tests.drawings import DEADLINE, entry, node

TARGETS = ("a", "b", "c")

ACTS = (
    "emit",
    "emit low",
    "emit late",
    "share",
    "unshare",
    "change",
    "send",
    "log",
    "record",
    "defer",
    "state",
    "fail",
    "tolerate",
    "pause",
    "cancel",
    "slot",
    "metadata",
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)

PLANS = st.recursive(
    st.lists(st.tuples(st.sampled_from(ACTS), VALUES, st.just([])), max_size=3),
    lambda inner: st.lists(st.tuples(st.sampled_from(ACTS), VALUES, inner), max_size=4),
    max_leaves=12,
)


def add_up(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {**new, "count": before.get("count", 0) + 1}


class Plan:
    """A flow whose handlers do what their payload says."""

    def __init__(self, policies: dict[str, ErrorHandler | None]) -> None:
        self.flow = Flow("planned", store="memory:", execution_timeout=None)
        for name, strategy in zip(TARGETS, ("override", "append", add_up), strict=True):
            routine = node(
                self.follow,
                events=("out", "late"),
                merge_strategy=strategy,
                error_handler=policies.get(name),
            )
            self.flow.add_routine(routine, name)
        self.flow.add_routine(entry(self.follow, events=("out", "late")), "start")
        for source, target in (("start", "a"), ("start", "b"), ("a", "b"), ("b", "c"), ("c", "a")):
            self.flow.connect(source, "out", target, "input")
            self.flow.connect(source, "late", target, "input")

    def follow(self, routine: Routine, data: dict[str, Any]) -> None:
        plan = data["plan"]
        if routine is self.flow.routines["b"]:  # which collects what it gets
            plan = plan[-1]
        context = routine.get_execution_context()
        assert context is not None
        for act, value, below in plan:
            self.do(routine, context.job_state, act, value, below)

    def do(self, routine: Routine, state: JobState, act: str, value: Any, below: Any) -> None:
        payload = {"plan": below, "value": value}
        acts: dict[str, Any] = {
            "emit": lambda: routine.emit("out", **payload),
            "emit low": lambda: routine.emit_later("out", delay=0, data=payload, priority=TaskPriority.LOW),
            "emit late": lambda: routine.emit_later("late", delay=0.001, data=payload),
            "share": lambda: state.update_shared_data("key", value),
            "unshare": lambda: state.shared_data.pop("key", None),
            "change": lambda: state.modify_shared_data("count", lambda before: before + 1, 0),
            "send": lambda: routine.send_output("line", value=value),
            "log": lambda: state.append_to_shared_log({"value": value}),
            "record": lambda: state.record_execution("a", "noted", {"value": value}),
            "defer": lambda: routine.emit_deferred_event("out", **payload),
            "state": lambda: state.update_routine_state("a", {"value": value}),
            "fail": lambda: fail(ValueError("as planned")),
            "tolerate": lambda: fail(KeyError("as planned")),
            "pause": lambda: self.flow.pause(state, checkpoint={"value": value}),
            "cancel": lambda: self.flow.cancel(state, reason="as planned"),
            "slot": lambda: (
                setattr(routine._slots["input"], "_data", {"value": value}) if "input" in routine._slots else None
            ),
            "metadata": lambda: state.metadata.update(value=value),
        }
        acts[act]()


def fail(error: Exception) -> None:
    raise error


POLICIES = st.dictionaries(
    st.sampled_from(TARGETS),
    st.sampled_from(["continue", "skip", "retry"]).map(
        lambda strategy: ErrorHandler(strategy, max_retries=1, retry_delay=0.0)
    ),
)


def as_saved(job_state: JobState) -> dict[str, Any]:
    saved = job_state.serialize()
    saved.pop("updated_at")  # a moment in which nothing is kept may move it
    saved.pop("journal_row", None)  # of the record of this process
    # A delayed task that comes due, or one that fails, while the run is being paused: where it stands among the others,
    # and whether it is still said to be due, is a matter of the instant. It starts when the others do.
    for task in saved["pending_tasks"]:
        del task["due_at"]
    saved["pending_tasks"].sort(key=lambda task: task["id"])
    return saved


def loaded_without_this_process(flow: Flow, job_id: str) -> JobState:
    """As another process would load it."""
    with_rows = JobState()
    header = flow.store.find(job_id)
    with_rows.deserialize(Replay().apply_all(row.body for row in flow.store.rows(job_id)).saved_form(header.status))
    return with_rows


@settings(max_examples=60)
@given(plan=PLANS, policies=POLICIES)
def test_what_is_loaded_is_what_ran_whenever_it_stands_still(plan: Any, policies: dict[str, ErrorHandler]) -> None:
    _check(plan, policies)


@pytest.mark.slow
@settings(max_examples=1500)
@given(plan=PLANS, policies=POLICIES)
def test_what_is_loaded_is_what_ran_for_many_flows(plan: Any, policies: dict[str, ErrorHandler]) -> None:
    _check(plan, policies)


def _check(plan: Any, policies: dict[str, ErrorHandler]) -> None:
    planned = Plan(policies)
    with planned.flow as flow:
        job_state = flow.execute("start", {"plan": plan}, job_id="job")
        for _ in range(40):  # each pause is one leg
            assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
            loaded = loaded_without_this_process(flow, "job")
            assert as_saved(loaded) == as_saved(job_state)
            previous = job_state.pause_points[-1].get("previous_status") if job_state.pause_points else None
            if job_state.status != "paused" or previous == "cancelled":
                break
            flow.resume(job_state)


@settings(max_examples=10)
@given(plan=PLANS)
def test_every_prefix_of_a_journal_can_be_gone_on_with(plan: Any) -> None:
    _check_prefixes(plan)


@pytest.mark.slow
@settings(max_examples=150)
@given(plan=PLANS)
def test_every_prefix_of_many_journals_can_be_gone_on_with(plan: Any) -> None:
    _check_prefixes(plan)


def _check_prefixes(plan: Any) -> None:
    with Plan({}).flow as flow:
        job_state = flow.execute("start", {"plan": plan}, job_id="job")
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        rows = flow.store.rows("job")
    for count in range(1, len(rows) + 1):
        replay = Replay().apply_all(row.body for row in rows[:count])
        prefix = JobState()
        prefix.deserialize(replay.saved_form("running"))
        prefix.job_id = "again"
        with Plan({}).flow as flow:
            flow.resume(prefix)
            assert JobState.wait_for_completion(flow, prefix, timeout=DEADLINE)
            assert prefix.status in ("completed", "failed", "paused", "cancelled")
            assert flow.store.find("again").status == prefix.status
