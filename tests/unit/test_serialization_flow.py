"""A flow goes to data and back: its routines, and its connections as they were wired."""

import json
import logging
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serilux import Serializable

from routilux import Connection, ErrorHandler, Flow, JobState, Routine
from routilux.testing import FakeClock, ManualExecutor
from tests.drawings import in_thread
from tests.registered import EVENTS, Hopper, Part, Patient, Tally

SLOTS = ("trigger", "left", "right", "merged")


def restored(flow: Flow, **options: Any) -> Flow:
    other = Flow(**options)
    assert other.deserialize(json.loads(json.dumps(flow.serialize()))) is None
    return other


def stepped() -> dict[str, Any]:
    return {"executor": ManualExecutor(), "clock": FakeClock()}


def hoppers(*names: str, **options: Any) -> Flow:
    flow = Flow("f", **options)
    for name in names:
        flow.add_routine(Hopper(), name)
    return flow


def story(flow: Flow, entry: str = "a", **params: Any) -> list[Any]:
    """Everything that a run of the flow did, in its order."""
    job_state = flow.run(entry, params)
    records = [
        (record.routine_id, record.event_name, {k: v for k, v in record.data.items() if k != "execution_time"})
        for record in job_state.execution_history
    ]
    return [job_state.status, job_state.shared_log, records, list(job_state.routine_states)]


# -- what comes back


def test_a_flow_comes_back_with_its_settings():
    flow = hoppers("a", "b", execution_strategy="concurrent", max_workers=3, execution_timeout=12.5)
    flow.routines["a"].set_config(hop_count=5)
    flow.set_error_handler(ErrorHandler("skip"))
    other = restored(flow)
    assert (other.flow_id, other.execution_strategy, other.max_workers, other.execution_timeout) == (
        "f",
        "concurrent",
        3,
        12.5,
    )
    assert other.error_handler.strategy.value == "skip"
    assert {name: type(routine) for name, routine in other.routines.items()} == {"a": Hopper, "b": Hopper}
    assert other.routines["a"].get_config("hop_count") == 5
    assert other.routines["a"] is not flow.routines["a"]
    assert [routine._current_flow for routine in other.routines.values()] == [other, other]


def test_a_flow_without_a_timeout_comes_back_without_one():
    assert restored(Flow(execution_timeout=None)).execution_timeout is None


def test_a_restored_flow_executes():
    flow = hoppers("a", "b", **stepped())
    flow.connect("a", "out", "b", "left")
    expected = story(flow, value=1)
    assert expected[0] == "completed"
    assert len(expected[1]) == 2
    assert story(restored(flow, **stepped()), value=1) == expected


def test_a_flow_is_restored_in_place_and_what_was_there_is_replaced():
    flow, other = hoppers("a", "b"), hoppers("b", "c")
    flow.connect("a", "out", "b", "left")
    old = other.connect("b", "out", "c", "left")
    old_event = other.routines["b"].get_event("out")
    other.deserialize(flow.serialize())
    assert list(other.routines) == ["a", "b"]
    assert [repr(each) for each in other.connections] == ["Connection[a.out -> b.left]"]
    assert not old.is_connected
    assert old_event.connected_slots == []


def test_routines_alone_keep_the_connections_between_those_that_are_still_there(caplog):
    flow = hoppers("a", "b", "c", **stepped())
    flow.connect("a", "out", "b", "left", {"value": "text"})
    flow.connect("a", "back", "c", "left")
    expected = [each for each in story(flow)[1] if each["at"] != "c"]
    data = flow.serialize()
    del data["connections"], data["routines"]["c"]
    with caplog.at_level(logging.WARNING):
        flow.deserialize(data)
    assert [record.getMessage() for record in caplog.records] == [
        "Connection 1 (a.back -> c.left) is dropped: its ends do not exist any more"
    ]
    assert story(flow)[1] == expected


def test_connections_alone_are_drawn_between_the_routines_that_are_there():
    flow, other = hoppers("a", "b", **stepped()), hoppers("a", "b", **stepped())
    flow.connect("a", "out", "b", "left")
    other.connect("a", "back", "b", "right")
    routines = dict(other.routines)
    other.deserialize({"connections": flow.serialize()["connections"]})
    assert other.routines == routines
    assert story(other) == story(flow)


def test_a_flow_that_cannot_be_restored_stays_as_it_was():
    flow = hoppers("a", "b")
    flow.connect("a", "out", "b", "left")
    before, routines, connections = flow.serialize(), dict(flow.routines), list(flow.connections)
    good = hoppers("c", "d").serialize()
    line = {"source_routine_id": "c", "source_event": "out", "target_routine_id": "d", "target_slot": "left"}
    for wrong in [
        {"max_workers": 0},
        {"max_workers": "3"},
        {"max_workers": None},
        {"execution_timeout": -1},
        {"execution_timeout": float("nan")},
        {"execution_timeout": 10**400},
        {"execution_strategy": "random"},
        {"execution_strategy": "random" * 10**6},
        {"error_handler": {"_type": "Hopper"}},
        {"error_handler": {"strategy": "x"}},
        {"error_handler": {"strategy": "x" * 10**7}},
        {"routines": []},
        {"routines": {"": good["routines"]["c"]}},
        {"routines": {"c": {}}},
        {"routines": {"c": None}},
        {"routines": {"c": {"_type": "NoSuchClass"}}},
        {"routines": {"c": {"_type": "Flow"}}},
        {"routines": {"c": {"_type": "ErrorHandler"}}},
        {"routines": {"c": {"_type": "Part"}}},
        {"routines": {"c": {"_type": ["Hopper"]}}},
        {"routines": {"c": {**good["routines"]["c"], "_config": [1]}}},
        {"connections": {}},
        {"connections": ["c"]},
        {"connections": [{}]},
        {"connections": [{**line, "source_event": None}]},
        {"connections": [{**line, "source_routine_id": 5}]},
        {"connections": [{**line, "param_mapping": {"a": 1}}]},
        {"connections": [{**line, "param_mapping": [1]}]},
    ]:
        with pytest.raises((ValueError, TypeError)):
            flow.deserialize({**good, **wrong})
        assert flow.serialize() == before, wrong
        assert flow.routines == routines
        assert flow.connections == connections


# -- connections as they were wired


def test_routines_that_share_every_name_are_wired_as_they_were():
    flow = hoppers("a", "b", "c", **stepped())
    flow.connect("a", "out", "c", "left")
    flow.connect("b", "out", "a", "left", {"value": "said"})
    flow.connect("c", "back", "b", "right")
    other = restored(flow, **stepped())
    assert [repr(each) for each in other.connections] == [repr(each) for each in flow.connections]
    assert story(other) == story(flow)


def test_a_self_loop_comes_back():
    flow = hoppers("a", **stepped())
    flow.connect("a", "out", "a", "left")
    expected = story(flow)
    assert [entry["at"] for entry in expected[1]] == ["a", "a", "a"]
    assert story(restored(flow, **stepped())) == expected


def test_double_connections_come_back():
    flow = hoppers("a", "b", **stepped())
    flow.connect("a", "out", "b", "left")
    flow.connect("a", "out", "b", "right")
    flow.connect("a", "back", "b", "left", {"value": "other"})
    flow.connect("a", "out", "b", "left", {"value": "again"})
    expected = story(flow)
    assert len(expected[1]) == 4
    assert story(restored(flow, **stepped())) == expected


def test_one_routine_under_two_ids_comes_back_under_two_ids():
    flow, shared = hoppers("a", **stepped()), Hopper()
    flow.add_routine(shared, "b")
    flow.add_routine(shared, "c")
    flow.connect("a", "out", "b", "left")
    flow.connect("a", "out", "c", "left")
    flow.connect("b", "out", "a", "right")
    flow.connect("c", "back", "b", "merged")
    assert story(restored(flow, **stepped())) == story(flow)


def test_a_line_that_was_drawn_without_the_flow_comes_back_in_its_place():
    flow = hoppers("a", "b", "c", **stepped())
    a, b, c = flow.routines.values()
    flow.connect("a", "out", "b", "left")
    a.get_event("out").connect(c.get_slot("left"))
    Connection(a.get_event("out"), c.get_slot("right"), {"value": "mapped"})
    flow.connect("a", "out", "b", "right")
    b.get_event("back").connect(a.get_slot("left"))
    expected = story(flow)
    assert [entry["at"] for entry in expected[1]][:5] == ["a", "b", "c", "c", "b"]
    assert story(restored(flow, **stepped())) == expected


def test_a_line_of_another_flow_is_not_saved_with_this_one():
    flow, other = hoppers("a", "b"), Flow("g")
    for name, routine in flow.routines.items():
        other.add_routine(routine, name)
    other.connect("a", "out", "b", "left")
    assert flow.serialize()["connections"] == []
    assert len(other.serialize()["connections"]) == 1


def test_a_line_that_leads_out_of_the_flow_is_left_out_with_a_warning(caplog):
    flow, outside = hoppers("a"), Hopper()
    flow.routines["a"].get_event("out").connect(outside.get_slot("left"))
    assert flow.serialize()["connections"] == []
    assert "leads out of the flow" in caplog.text


def test_a_connection_that_was_taken_away_is_not_saved():
    flow = hoppers("a", "b")
    flow.connect("a", "out", "b", "left").disconnect()
    assert flow.serialize()["connections"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"source_routine_id": "gone"},
        {"target_routine_id": "gone"},
        {"source_event": "gone"},
        {"target_slot": "gone"},
    ],
)
def test_a_connection_whose_ends_are_gone_is_dropped_with_a_warning(wrong, caplog):
    flow = hoppers("a", "b")
    flow.connect("a", "out", "b", "left")
    flow.connect("a", "back", "b", "left")
    data = flow.serialize()
    data["connections"][0].update(wrong)
    other = Flow()
    other.deserialize(data)
    assert [repr(each) for each in other.connections] == ["Connection[a.back -> b.left]"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "gone" in caplog.text


# -- the older form of a connection


def older(event: str, slot: str, **more: Any) -> dict[str, Any]:
    return {"_type": "Connection", "_source_event_name": event, "_target_slot_name": slot, "param_mapping": {}, **more}


def test_the_older_form_of_a_connection_is_read_where_one_routine_only_has_the_names():
    flow = hoppers("a", "b", **stepped())
    flow.routines["a"].define_event("only_a")
    flow.routines["b"].define_slot("only_b", handler=flow.routines["b"].hop)
    flow.connect("a", "only_a", "b", "only_b", {"x": "y"})
    flow.routines["a"].set_config(emits=["only_a"])
    data = json.loads(json.dumps(flow.serialize()))
    data["connections"] = [older("only_a", "only_b", param_mapping={"x": "y"})]
    other = Flow(**stepped())
    other.deserialize(data)
    assert [repr(each) for each in other.connections] == [repr(each) for each in flow.connections]
    assert story(other) == story(flow)


def test_the_older_form_may_name_one_end_by_its_id():
    flow = hoppers("a", "b")
    flow.routines["a"].define_event("only_a")
    data = {**flow.serialize(), "connections": [older("only_a", "left", target_routine_id="b")]}
    other = Flow()
    other.deserialize(data)
    assert [repr(each) for each in other.connections] == ["Connection[a.only_a -> b.left]"]


@pytest.mark.parametrize(("event", "slot", "missing"), [("out", "left", "source"), ("only_a", "left", "target")])
def test_the_older_form_is_refused_where_it_could_mean_several(event, slot, missing):
    flow = hoppers("a", "b")
    flow.routines["a"].define_event("only_a")
    data = {**flow.serialize(), "connections": [older(event, slot)]}
    with pytest.raises(ValueError, match=f"routines a, b all have. Add '{missing}_routine_id'"):
        Flow().deserialize(data)


def test_the_older_form_that_names_nothing_that_is_there_is_dropped_with_a_warning(caplog):
    flow = hoppers("a")
    flow.deserialize({"connections": [older("gone", "left")]})
    assert flow.connections == []
    assert "gone" in caplog.text


# -- what cannot be saved


class Demanding(Routine):
    def __init__(self, path, *, mode, colour="red", **rest):
        super().__init__()
        self.define_slot("trigger", handler=lambda: None)


def test_a_routine_that_needs_arguments_runs_but_cannot_be_saved_in_a_flow():
    flow = Flow(**stepped())
    flow.add_routine(Demanding("x", mode=1), "a")
    assert flow.run("a").status == "completed"
    with pytest.raises(TypeError, match=r"Routine 'a' cannot be restored: Demanding needs .* path, mode\."):
        flow.serialize()
    assert flow.routines["a"].serialize()["_type"] == "Demanding"


class DemandingPolicy(ErrorHandler):
    def __init__(self, limit):
        super().__init__()


def test_an_error_handler_that_needs_arguments_cannot_be_saved_in_a_flow():
    flow = hoppers("a")
    flow.routines["a"].set_error_handler(DemandingPolicy(3))
    with pytest.raises(TypeError, match=r"Routine 'a' cannot be restored: DemandingPolicy needs .* limit"):
        flow.serialize()
    flow = hoppers("a")
    flow.set_error_handler(DemandingPolicy(3))
    with pytest.raises(TypeError, match=r"Flow 'f' cannot be restored: DemandingPolicy needs .* limit"):
        flow.serialize()


class DemandingPart(Serializable):
    def __init__(self, size):
        super().__init__()


def test_a_part_that_needs_arguments_cannot_be_saved_in_a_flow_however_deep_it_is():
    flow, tally = Flow("f"), Tally()
    flow.add_routine(tally, "a")
    tally.part.act = DemandingPart(3)
    with pytest.raises(TypeError, match=r"Routine 'a' cannot be restored: DemandingPart needs .* size"):
        flow.serialize()
    tally.part.act = tally.part.items = Part()
    tally.part.items.act = tally.part  # a ring of parts ends the search, not the process
    tally.add_serializable_fields(["part"])
    tally.part.act = None
    tally.part.items = []
    assert flow.serialize()["routines"]["a"]["part"]["size"] == 0


def test_a_flow_that_needs_arguments_itself_is_still_saved():
    class Special(Flow):
        def __init__(self, needed):
            super().__init__("f")

    flow = Special(1)
    flow.add_routine(Hopper(), "a")
    data = flow.serialize()
    assert data["_type"] == "Special"
    other = Special(2)
    other.deserialize(data)
    assert list(other.routines) == ["a"]


@pytest.mark.parametrize("wrapped", [lambda method: method, partial, lambda method: partial(partial(method))])
def test_a_handler_of_another_routine_cannot_be_saved(wrapped):
    flow = hoppers("a", "b")
    flow.routines["a"].define_slot("extra", handler=wrapped(flow.routines["b"].hop))
    with pytest.raises(ValueError, match=r"handler of slot .* is Hopper\.hop, a method of another routine"):
        flow.serialize()


def test_a_merge_strategy_of_another_routine_cannot_be_saved():
    one, other = Hopper(), Hopper()
    one.define_slot("extra", merge_strategy=other.config)
    with pytest.raises(ValueError, match=r"merge strategy of slot .* a method of another routine"):
        one.serialize()


def test_a_routine_of_an_unregistered_class_is_saved_and_refused_by_name_when_it_is_restored():
    class Unknown(Routine):
        pass

    flow = Flow("f")
    flow.add_routine(Unknown(), "a")
    data = flow.serialize()
    with pytest.raises(ValueError, match="Routine 'a' is of the class 'Unknown', which is not a registered Routine"):
        Flow().deserialize(data)
    flow.deserialize(data)  # a flow that has the routine knows its class
    assert type(flow.routines["a"]) is Unknown


def test_a_policy_of_the_application_comes_back_with_the_flow():
    flow = Flow("f")
    flow.set_error_handler(Patient("retry", max_retries=9))
    other = restored(flow)
    assert type(other.error_handler) is Patient
    assert other.error_handler.max_retries == 9


def test_a_flow_may_be_saved_while_it_runs():
    flow = hoppers("a", "b", execution_strategy="concurrent")
    flow.connect("a", "out", "b", "right")
    flow.connect("b", "out", "a", "merged")
    flow.routines["a"].set_config(hop_count=200)
    flow.routines["b"].set_config(hop_count=200)
    expected = flow.serialize()
    with flow:
        join = in_thread(lambda: flow.run("a"))
        while flow.serialize() == expected and not flow.execution_tracker:
            pass
        assert all(flow.serialize() == expected for _ in range(50))
        join()


# -- random flows


@st.composite
def drawings(draw: Any) -> Flow:
    flow = Flow("random", **stepped())
    names = [f"r{number}" for number in range(draw(st.integers(1, 4)))]
    for name in names:
        is_shared = flow.routines and draw(st.integers(0, 4)) == 0
        routine = draw(st.sampled_from(list(flow.routines.values()))) if is_shared else Hopper()
        flow.add_routine(routine, name)
        routine.set_config(hop_count=draw(st.integers(1, 3)), emits=draw(st.permutations(EVENTS) | st.just(["out"])))
        policy = draw(st.sampled_from([None, "skip", "retry"]))
        routine.set_error_handler(policy and ErrorHandler(policy, max_retries=1))
    ends = st.tuples(st.sampled_from(names), st.sampled_from(EVENTS), st.sampled_from(names), st.sampled_from(SLOTS))
    mappings = st.dictionaries(st.sampled_from(["value", "x"]), st.sampled_from(["value", "y", "z"]), max_size=2)
    for source, event, target, slot in draw(st.lists(ends, min_size=2, max_size=8)):
        kind = draw(st.integers(0, 5))
        one, other = flow.routines[source].get_event(event), flow.routines[target].get_slot(slot)
        if kind == 0:
            one.connect(other)
        elif kind == 1:
            Connection(one, other, draw(mappings))
        else:
            flow.connect(source, event, target, slot, draw(mappings))
    return flow


@settings(max_examples=80)
@given(flow=drawings())
def test_a_random_flow_behaves_the_same_after_it_went_through_json(flow):
    other = restored(flow, **stepped())
    assert story(other, "r0", value="start") == story(flow, "r0", value="start")
    assert restored(other).serialize() == other.serialize()


@settings(max_examples=60)
@given(flow=drawings(), steps=st.integers(0, 6))
def test_a_run_of_a_random_flow_goes_on_elsewhere_as_it_would_have_gone_on_here(flow, steps):
    expected = story(restored(flow, **stepped()), "r0")[:2]
    executor = ManualExecutor()
    job_state = restored(flow, executor=executor, clock=FakeClock()).execute("r0")
    for _ in range(steps):
        executor.step()
    there, moved = restored(flow, **stepped()), JobState()
    moved.deserialize(json.loads(json.dumps(job_state.serialize())))
    if moved.status == "running":
        there.resume(moved)
        JobState.wait_for_completion(there, moved, timeout=20)
    assert [moved.status, sorted(map(str, moved.shared_log))] == [expected[0], sorted(map(str, expected[1]))]
