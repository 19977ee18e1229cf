"""The built-in routines beside each other in one flow: saved, restored, and in many runs at once."""

import json
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.builtin_routines import (
    ConditionalRouter,
    DataFlattener,
    DataTransformer,
    DataValidator,
    ResultExtractor,
    TextClipper,
    TextRenderer,
    TimeProvider,
)
from routilux.testing import FakeClock
from tests.deliveries import heard
from tests.drawings import draw, source, wait


def drawn() -> Flow:
    flow = draw(
        clip=TextClipper(), render=TextRenderer(), extract=ResultExtractor(), flatten=DataFlattener(),
        transform=DataTransformer(), validate=DataValidator(), route=ConditionalRouter(), tell=TimeProvider(),
    )  # fmt: skip
    flow.routines["clip"].set_config(max_length=10, truncation_message="{remaining} more")
    flow.routines["extract"].register_extractor("number", lambda data, config: (data["n"], "number", {}))
    flow.routines["extract"].set_config(extractor_priority=["number"])
    flow.routines["transform"].set_config(transformations=[lambda data: data["n"], "to_string"])
    flow.routines["validate"].set_config(rules={"n": lambda n: (n < 3, "large")})
    flow.routines["route"].set_config(routes=[("small", "data['n'] < 3")], default_route="large")
    return flow


def started(flow: Flow) -> Flow:
    """The flow with a source that sends all of them what it is given."""
    flow.routines["tell"].clock = FakeClock(0.0)
    flow.add_routine(source(), "start")
    for routine_id in flow.routines:
        if routine_id != "start":
            flow.connect("start", "output", routine_id, "request" if routine_id == "tell" else "input")
    return flow


def told(job_state: JobState) -> dict[str, Any]:
    """By routine: what it emitted in a run."""
    assert job_state.errors == []
    records = job_state.execution_history
    return {r.routine_id: (r.event_name, r.data) for r in records if r.is_emission and r.routine_id != "start"}


def test_a_flow_of_all_of_them_runs_the_same_after_it_was_saved():
    saved = json.loads(json.dumps(drawn().serialize()))
    restored = Flow()
    restored.deserialize(saved)
    assert json.loads(json.dumps(restored.serialize())) == saved
    with started(drawn()) as flow, started(restored) as copy:
        for value in ({"n": 1}, {"n": 5, "more": [1, {"deep": None}]}):
            expected = told(flow.run("start", {"data": value}))
            assert len(expected) == 8
            assert told(copy.run("start", {"data": value})) == expected


def test_many_runs_at_once_each_get_what_is_their_own():
    flow = started(drawn())
    flow.set_execution_strategy("concurrent", 4)
    with flow:
        runs = [flow.execute("start", {"data": {"n": number}}) for number in range(100)]
        for number, job_state in enumerate(runs):
            got = told(wait(flow, job_state))
            assert got["render"][1]["rendered_text"] == f"<n>{number}</n>"
            assert got["extract"][1]["extracted_result"] == number
            assert got["flatten"][1]["flattened_data"] == {"n": number}
            assert got["transform"][1]["transformed_data"] == str(number)
            assert got["validate"][0] == ("valid" if number < 3 else "invalid")
            assert got["route"][0] == ("small" if number < 3 else "large")


ANSWERS_TO_NOTHING = [
    (TextClipper, "clipped_text", "None"),
    (TextRenderer, "rendered_text", "None"),
    (ResultExtractor, "extracted_result", None),
    (DataFlattener, "flattened_data", {"value": None}),
    (DataTransformer, "transformed_data", None),
    (DataValidator, "validated_data", None),
    (ConditionalRouter, "data", None),
]


@pytest.mark.parametrize(
    ("kind", "key", "expected"), ANSWERS_TO_NOTHING, ids=lambda value: getattr(value, "__name__", "")
)
def test_data_that_are_none_are_the_value_also_beside_other_keys(kind: type[Routine], key: str, expected: Any):
    for received in ({"data": None}, {"data": None, "route": "x"}, {"route": "x", "more": 1, "data": None}):
        [(_, data)] = heard(kind(), received)
        assert data[key] == expected


@pytest.mark.parametrize(
    ("kind", "key", "expected"), ANSWERS_TO_NOTHING, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_record_that_is_none_goes_through_a_router_into_any_other(kind: type[Routine], key: str, expected: Any):
    router = ConditionalRouter()
    router.set_config(routes=[("nothing", "data is None")])
    flow = draw("a -> router", "router.nothing -> b", a=source(None), router=router, b=kind())
    with flow:
        emitted = [each for each in flow.run("a").execution_history if each.routine_id == "b" and each.is_emission]
    assert [each.data[key] for each in emitted] == [expected]
