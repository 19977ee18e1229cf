"""Fields that an application adds to our classes are saved and come back; data that are refused change nothing."""

import json

import pytest
from serilux import register_serializable

from routilux import (
    Connection,
    ErrorHandler,
    Event,
    ExecutionRecord,
    ExecutionTracker,
    Flow,
    JobState,
    Routine,
    Slot,
)
from tests.registered import Hopper, Part, Patient, double, newest_wins

CLASSES = [Connection, ErrorHandler, Event, ExecutionRecord, ExecutionTracker, Flow, JobState, Routine, Slot]
each_class = pytest.mark.parametrize("cls", CLASSES)

OS_SYSTEM = {"_type": "callable", "callable_type": "function", "module": "os", "name": "system"}


def extended(cls):
    class Extended(cls):
        def __init__(self):
            super().__init__()
            self.budget = 3
            self.note = None
            self.part = Part(1)
            self.choose = None
            self.add_serializable_fields(["budget", "note", "part", "choose"])

    return Extended


def through_json(data):
    return json.loads(json.dumps(data))


def as_text(part):
    return json.dumps(part.serialize(), sort_keys=True)


# -- additions


@each_class
def test_fields_that_a_subclass_adds_are_saved_and_come_back(cls):
    kind = extended(cls)
    original = kind()
    original.budget, original.part.size, original.choose = 7, 8, double
    original.note = {"_type": "Flow", "module": "os", "name": "system", "lambda_expression": "exit()", "at": [1, None]}
    data = through_json(original.serialize())
    restored = kind()
    part = restored.part
    restored.deserialize(data)
    assert (restored.budget, restored.note, restored.choose) == (7, original.note, double)
    assert restored.part is part
    assert part.size == 8
    assert as_text(restored) == as_text(original)


@each_class
@pytest.mark.usefixtures("forgotten_registrations")
def test_fields_that_a_registered_subclass_annotates_are_saved_and_come_back(cls):
    @register_serializable
    class Annotated(cls):
        budget: int = 3

    original, restored = Annotated(), Annotated()
    original.budget = 9
    restored.deserialize(through_json(original.serialize()))
    assert restored.budget == 9


@each_class
def test_a_field_that_one_object_adds_is_saved_with_it(cls):
    original, restored, other = cls(), cls(), cls()
    fields = list(cls.fields_to_serialize)
    for each in (original, restored):
        each.add_serializable_fields(["mine"])
    original.mine = [1]
    restored.deserialize(original.serialize())
    other.deserialize(original.serialize())
    assert restored.mine == [1]
    assert not hasattr(other, "mine")
    assert cls.fields_to_serialize == fields


@each_class
def test_a_missing_added_field_keeps_the_present_value(cls):
    kind = extended(cls)
    present = kind()
    present.budget = 12
    present.deserialize({"note": "new"})
    assert (present.budget, present.note, present.part.size) == (12, "new", 1)


@each_class
def test_what_a_class_saves_anyway_is_no_addition(cls):
    present = cls()
    before = as_text(present)
    present.add_serializable_fields([*json.loads(before), "fields_to_serialize"])
    assert as_text(present) == before
    restored = cls()
    restored.add_serializable_fields([*json.loads(before), "fields_to_serialize"])
    restored.deserialize(through_json(present.serialize()))
    assert type(restored).__name__ == cls.__name__


def test_a_flow_saves_no_run_even_where_it_is_told_to():
    flow = Flow()
    flow.job_state = JobState()
    flow.add_serializable_fields(["job_state"])
    assert "job_state" not in flow.serialize()


@each_class
def test_an_added_value_that_is_not_json_is_refused_with_its_path(cls):
    present = extended(cls)()
    present.note = {"x": [{1}]}
    with pytest.raises(TypeError, match=r"note of .*\['x'\]\[0\]"):
        present.serialize()


@pytest.mark.usefixtures("forgotten_registrations")
def test_a_policy_with_a_field_of_its_own_behaves_the_same_after_it_was_restored():
    @register_serializable
    class Budgeted(ErrorHandler):
        def __init__(self):
            super().__init__()
            self.budget = 0
            self.add_serializable_fields(["budget"])

        def handle_error(self, *args):
            return self.budget > 0

    flow, other = Flow("f"), Flow()
    hopper = Hopper()
    for holder in (flow, hopper):
        policy = Budgeted()
        policy.budget = 5
        holder.set_error_handler(policy)
    flow.add_routine(hopper, "a")
    other.deserialize(through_json(flow.serialize()))
    assert other.error_handler.handle_error()
    assert other.routines["a"].get_error_handler().handle_error()


def test_a_record_of_a_run_is_saved_with_the_fields_that_it_adds():
    state, record = JobState(), extended(ExecutionRecord)()
    state.execution_history.append(record)
    assert state.serialize()["execution_history"][0]["budget"] == 3


def test_a_slot_may_add_a_method_of_its_routine():
    def collector():
        routine = Hopper()
        slot = routine.get_slot("left")
        slot.add_serializable_fields(["check"])
        return routine, slot

    (routine, slot), (other, restored) = collector(), collector()
    slot.check = routine.hop
    restored.check = None
    other.deserialize(through_json(routine.serialize()))
    assert restored.check == other.hop


def test_a_part_that_a_flow_adds_must_be_one_that_can_be_built():
    class Demanding(Part):
        def __init__(self, needed):
            super().__init__()

    flow = Flow("f")
    flow.part = Demanding(1)
    flow.add_serializable_fields(["part"])
    with pytest.raises(TypeError, match=r"Flow 'f' cannot be restored: Demanding needs .* needed"):
        flow.serialize()


# -- refused data change nothing


@each_class
@pytest.mark.parametrize(
    "wrong", [{"choose": OS_SYSTEM}, {"part": 5}, {"part": {"size": 9, "act": OS_SYSTEM}}, {"note": {1: 2}}]
)
def test_an_addition_that_is_refused_changes_nothing(cls, wrong):
    original, present = extended(cls)(), extended(cls)()
    original.budget, original.part.size = 7, 8
    if isinstance(original, Slot | Event):
        original.name = "renamed"
    before = as_text(present)
    with pytest.raises((ValueError, TypeError)):
        present.deserialize({**original.serialize(), **wrong})
    assert as_text(present) == before


@each_class
def test_a_part_that_refuses_leaves_the_other_parts_as_they_were(cls):
    class Picky(Part):
        def deserialize(self, data, strict=False, registry=None):
            self.size = data["size"]
            raise ValueError("no")

    class Pair(extended(cls)):
        def __init__(self):
            super().__init__()
            self.second = Picky()
            self.add_serializable_fields(["second"])

    original, present = Pair(), Pair()
    original.budget, original.part.size, original.second.size = 7, 8, 9
    before = as_text(present)
    with pytest.raises(ValueError, match="no"):
        present.deserialize(original.serialize())
    assert as_text(present) == before


@each_class
def test_a_property_that_refuses_its_value_leaves_everything_as_it_was(cls):
    class Guarded(extended(cls)):
        def __init__(self):
            super().__init__()
            self._limit = 1
            self.add_serializable_fields(["limit"])

        @property
        def limit(self):
            return self._limit

        @limit.setter
        def limit(self, value):
            self._limit = value
            if value < 0:
                raise ValueError("a limit is not negative")

    original, present = Guarded(), Guarded()
    original.budget = 7
    before = as_text(present)
    with pytest.raises(ValueError, match="not negative"):
        present.deserialize({**original.serialize(), "limit": -1})
    assert as_text(present) == before
    present.deserialize({**original.serialize(), "limit": 6})
    assert (present.limit, present.budget) == (6, 7)


def test_no_property_is_asked_before_the_rest_of_the_data_was_read():
    asked = []

    class Watched(Routine):
        def __init__(self):
            super().__init__()
            self.add_serializable_fields(["watched"])

        @property
        def watched(self):
            asked.append("read")

        @watched.setter
        def watched(self, value):
            asked.append("written")

    with pytest.raises(ValueError, match="_events"):
        Watched().deserialize({"watched": 1, "_events": 5})
    assert asked == []


def furnished():
    hopper = Hopper()
    hopper.define_slot("open")
    hopper.set_error_handler(Patient("retry", max_retries=2))
    hopper.set_config(a=1)
    return hopper


REFUSED = {
    "_config": [[1], {"a": {2: 3}}],
    "_slots": [[], {"open": 5}, {"left": {"_data": {"x": 1}}, "open": {"handler": OS_SYSTEM}}, {"new": {"_data": 1}}],
    "_events": [[], {"out": 5}, {"out": {"output_params": ["a"]}, "new": {"output_params": [1]}}],
    "_error_handler": [5, {"_type": "Part"}, {"_type": "Patient", "max_retries": 9, "retry_delay": -1}],
}


@pytest.mark.parametrize(("key", "wrong"), [(key, wrong) for key, values in REFUSED.items() for wrong in values])
def test_a_routine_that_cannot_be_restored_stays_as_it_was(key, wrong):
    other = furnished()
    other._id = "other"
    other.set_config(a=2)
    other.define_slot("added", merge_strategy=newest_wins)
    other.define_event("added")
    other.get_slot("left")._data = {"x": 2}
    other.get_slot("open")._data = {"x": 3}
    other.get_event("out").output_params = ["x"]
    other.get_error_handler().max_retries = 8
    present = furnished()
    before, attributes = as_text(present), dict(vars(present))
    slots, events = dict(present._slots), dict(present._events)
    with pytest.raises((ValueError, TypeError)):
        present.deserialize({**other.serialize(), key: wrong})
    assert as_text(present) == before
    assert vars(present) == attributes
    assert (present._slots, present._events) == (slots, events)
    assert not any(slot.has_restored_data for slot in slots.values())


def test_a_policy_that_restores_itself_and_refuses_leaves_the_routine_as_it_was():
    class Stern(ErrorHandler):
        def deserialize(self, data, strict=False, registry=None):
            super().deserialize(data)
            self.mood = data["mood"]

    present = Hopper()
    present.set_error_handler(Stern("retry"))
    before = as_text(present)
    data = present.serialize()
    data["_error_handler"]["max_retries"] = 77
    with pytest.raises(KeyError):
        present.deserialize({**data, "_id": "other"})
    assert as_text(present) == before
    data["_error_handler"]["mood"] = "mild"
    policy = present.get_error_handler()
    present.deserialize(data)
    assert present.get_error_handler() is policy
    assert (policy.max_retries, policy.mood) == (77, "mild")


def never_iterated():
    """A handler that a slot does not take."""
    yield


@pytest.mark.usefixtures("forgotten_registrations")
def test_a_slot_that_is_given_a_handler_that_cannot_be_stays_as_it_was():
    register_serializable(type("OfThisModule", (Routine,), {"__module__": __name__}))
    slot = Slot("input")
    before = as_text(slot)
    generator = {"_type": "callable", "callable_type": "function", "module": __name__, "name": "never_iterated"}
    with pytest.raises(TypeError, match="never_iterated"):
        slot.deserialize({"name": "other", "_data": {"x": 1}, "handler": generator})
    assert as_text(slot) == before
    assert not slot.has_restored_data
