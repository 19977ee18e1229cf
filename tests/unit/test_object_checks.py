"""Checks of the objects in a drawing: what does not belong there, and what cannot be saved or restored."""

import functools
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from serilux import register_serializable

from routilux import Connection, Flow, Routine
from routilux.builtin_routines import DataTransformer, DataValidator, ResultExtractor
from routilux.connection import Connection as ConnectionClass
from routilux.functions import FunctionRoutine


def at_module_level(data):
    pass


@register_serializable
class CheckedStep(Routine):
    def __init__(self):
        super().__init__()
        self.define_slot("trigger", self.work)
        self.define_slot("made", lambda **data: self.work(data))
        self.define_event("output")

    def work(self, data=None):
        pass


@register_serializable
class BareStep(Routine):
    def take(self, data):
        pass


class Unregistered(CheckedStep):
    pass


@register_serializable
class Demanding(CheckedStep):
    def __init__(self, path, size, depth=1):
        super().__init__()


class Uninitialised(Routine):
    def __init__(self):
        self.own = 1


def told(routine, key="a"):
    flow = Flow("saved")
    flow.add_routine(routine, key)
    # Whether it is drawn well is looked at elsewhere.
    return [(each.code, each.where) for each in flow.validate() if each.code in SAVING]


SAVING = {"unregistered-class", "constructor-arguments", "unsavable-handler", "unsavable-config"}


def restores(routine):
    flow, twin = Flow("saved"), Flow()
    flow.add_routine(routine, "a")
    try:
        twin.deserialize(flow.serialize())
    except (TypeError, ValueError):
        return False
    return True


def bare(handler=None, merge="override"):
    routine = BareStep()
    routine.define_slot("input", handler, merge)
    return routine


def own_method():
    routine = BareStep()
    routine.define_slot("input", routine.take)
    return routine


def with_slot(routine, handler):
    routine.define_slot("more", handler)
    return routine


class Pair(NamedTuple):
    one: Any
    other: Any


def nested(levels):
    return [nested(levels - 1)] if levels > 1 else ["x", 5]


def closure():
    number = 5
    return lambda data: data + number


def with_field(value):
    routine = CheckedStep()
    routine.thing = value
    routine.add_serializable_fields(["thing"])
    return routine


def with_config(routine, **config):
    routine.set_config(**config)
    return routine


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (CheckedStep, []),
        (own_method, []),
        (lambda: bare(at_module_level), []),
        (lambda: bare(None), []),
        (Unregistered, [("unregistered-class", "a")]),
        (lambda: Demanding("x", 1), [("constructor-arguments", "a")]),
        (lambda: bare(lambda data: 0), [("unsavable-handler", "a.input")]),
        (lambda: bare(functools.partial(at_module_level)), [("unsavable-handler", "a.input")]),
        (lambda: bare(at_module_level, lambda old, new: new), [("unsavable-handler", "a.input")]),
        (lambda: bare(CheckedStep().work), [("unsavable-handler", "a.input")]),
        (lambda: with_slot(CheckedStep(), BareStep().take), [("unsavable-handler", "a.more")]),
        (lambda: with_slot(CheckedStep(), at_module_level), []),
        (lambda: with_config(CheckedStep(), path="x", sizes=[1, 2.5, (None, True)], more={"a": {}}), []),
        (lambda: with_config(CheckedStep(), lock=threading.Lock()), [("unsavable-config", "a")]),
        (lambda: with_config(CheckedStep(), deep=[{"x": object()}]), [("unsavable-config", "a")]),
        (lambda: with_config(CheckedStep(), keys={1: 2}), [("unsavable-config", "a")]),
        (lambda: with_config(CheckedStep(), odd=OrderedDict(a=object())), [("unsavable-config", "a")]),
        (lambda: with_config(CheckedStep(), odd=[Pair(1, object())]), [("unsavable-config", "a")]),
        (lambda: with_config(CheckedStep(), odd=OrderedDict(a=Pair(1, "x"), b=True)), []),
        (lambda: with_config(CheckedStep(), odd={"a": 10**5000}), [("unsavable-config", "a")]),
        (lambda: with_config(CheckedStep(), odd=-(10**5000)), [("unsavable-config", "a")]),
        (lambda: with_config(CheckedStep(), odd=[10**4299, -(10**4299)]), []),
        (lambda: with_config(CheckedStep(), deep=nested(400)), []),
        (lambda: with_config(CheckedStep(), deep=nested(401)), [("unsavable-config", "a")]),
        (lambda: FunctionRoutine(at_module_level), []),
        (lambda: FunctionRoutine(lambda data: 0), [("unsavable-handler", "a")]),
        (lambda: FunctionRoutine(functools.partial(at_module_level)), [("unsavable-handler", "a")]),
        (lambda: FunctionRoutine(CheckedStep().work), [("unsavable-handler", "a")]),
        (lambda: FunctionRoutine(nested), []),
        (lambda: FunctionRoutine(closure()), [("unsavable-handler", "a")]),
        (lambda: FunctionRoutine(len), [("unsavable-handler", "a")]),
        (FunctionRoutine, []),
        (lambda: with_field(object()), [("unsavable-config", "a")]),
        (lambda: with_field({"x": [1, object()]}), [("unsavable-config", "a")]),
        (lambda: with_field({"x": [1, None]}), []),
        (lambda: with_field(at_module_level), []),
        (lambda: with_config(DataTransformer(), transformations=["strip"]), []),
        (lambda: with_config(DataTransformer(), transformations=[lambda x: x + 1]), []),
        (lambda: with_config(DataTransformer(), transformations=[lambda x: told(x, x)]), [("unsavable-config", "a")]),
    ],
)
def test_what_is_told_about_saving_is_what_saving_and_restoring_do(make, expected):
    assert told(make()) == expected
    assert restores(make()) == (not expected)


def test_a_finding_about_saving_names_the_class_and_what_it_needs():
    flow = Flow()
    flow.add_routine(Demanding("x", 1), "a")
    flow.add_routine(with_config(CheckedStep(), deep=[{"x": object()}]), "b")
    messages = [each.message for each in flow.validate() if each.code in SAVING]
    assert messages == [
        "Demanding cannot be built without 'path', 'size': the flow cannot be saved.",
        "config['deep'][0]['x'] is an object of object, which JSON cannot hold: the flow cannot be saved.",
    ]


@register_serializable
class TriplingTransformer(DataTransformer):
    def __init__(self):
        super().__init__()
        self.register_transformation("more", closure())


def test_a_registered_function_that_the_config_names_and_that_is_left_out_is_told():
    transformer, validator, extractor = DataTransformer(), DataValidator(), ResultExtractor()
    transformer.register_transformation("more", closure())
    transformer.register_transformation("unused", closure())
    validator.register_validator("more", closure())
    extractor.register_extractor("more", lambda data, config: closure()(data))
    for each in (transformer, validator, extractor):
        assert told(each) == []
    transformer.set_config(transformations=["strip", "more"])
    validator.set_config(rules={"x": ["is_int", "more"]})
    extractor.set_config(extractor_priority="more")
    for each in (transformer, validator, extractor):
        assert told(each) == [("unsavable-config", "a")]
    assert told(with_config(DataTransformer(), transformations=["more"])) == []
    assert told(with_config(TriplingTransformer(), transformations=["more"])) == []  # its constructor registers it
    flow = Flow()
    flow.add_routine(transformer, "a")
    (finding,) = [each for each in flow.validate() if each.code in SAVING]
    assert finding.message.startswith("The config names the transformation 'more', which is left out")
    assert "uses 'number' from around it" in finding.advice
    transformer.register_transformation("more", lambda data: data + 5)
    assert told(transformer) == []


def test_running_a_flow_of_functions_that_nobody_saves_logs_nothing_about_saving(caplog):
    flow = Flow()
    flow.add_routine(FunctionRoutine(lambda: None), "a")
    with flow, caplog.at_level("DEBUG", logger="routilux.flow.drawing"):
        flow.run("a")
    assert caplog.records == []


def test_a_config_that_holds_itself_is_told_and_not_followed_for_ever():
    loop = []
    loop.append(loop)
    assert told(with_config(CheckedStep(), loop=loop)) == [("unsavable-config", "a")]


def test_a_config_of_containers_that_stand_in_each_other_without_end_is_looked_through_once():
    value = [1]
    for _ in range(50):
        value = [value, value]
    assert told(with_config(CheckedStep(), endless=value)) == []
    assert told(with_config(CheckedStep(), endless=[value, object()])) == [("unsavable-config", "a")]


def test_a_routine_that_was_never_initialised_and_what_is_no_routine_are_errors():
    flow = Flow()
    flow.add_routine(CheckedStep(), "fine")
    flow.add_routine(Uninitialised(), "raw")
    flow.routines["thing"] = object()
    errors = [each for each in flow.validate() if each.severity == "error"]
    assert [(each.code, each.where) for each in errors] == [("not-a-routine", "raw"), ("not-a-routine", "thing")]
    assert "super().__init__()" in errors[0].advice


def draw():
    flow = Flow()
    flow.add_routine(CheckedStep(), "a")
    flow.add_routine(CheckedStep(), "b")
    return flow, flow.connect("a", "output", "b", "made")


def strays(flow):
    return [(each.where, each.message) for each in flow.validate() if each.code == "stray-connection"]


def test_a_connection_whose_end_was_taken_out_of_the_flow_is_told():
    flow, _ = draw()
    assert strays(flow) == []
    removed = flow.routines.pop("b")
    ((where, message),) = strays(flow)
    assert where == "a.output -> b.made"
    assert "The slot 'made', where it ends, is not in the flow" in message

    flow.routines["b"] = removed
    del flow.routines["a"]
    ((where, message),) = strays(flow)
    assert "The event 'output', where it begins" in message


def test_a_connection_to_another_object_under_the_same_id_is_told():
    flow, _ = draw()
    flow.routines["b"] = CheckedStep()
    assert len(strays(flow)) == 1


def test_a_routine_that_stands_under_another_id_than_it_was_connected_under_hears_and_is_not_heard():
    flow, _ = draw()
    flow.routines["c"] = flow.routines.pop("b")
    assert strays(flow) == []
    flow.routines["d"] = flow.routines.pop("a")
    assert [where for where, _ in strays(flow)] == ["a.output -> b.made"]


def test_a_connection_that_was_disconnected_on_purpose_is_no_finding():
    flow, connection = draw()
    del flow.routines["b"]
    connection.disconnect()
    assert strays(flow) == []


def test_a_connection_that_was_made_by_hand_between_routines_of_the_flow_is_no_finding():
    flow, _ = draw()
    a, b = flow.routines.values()
    flow.connections.append(Connection(a.get_event("output"), b.get_slot("trigger")))
    flow.connections.append(ConnectionClass())
    assert strays(flow) == []


def test_an_id_that_a_routine_gives_itself_and_another_has_in_the_flow_is_told():
    flow, _ = draw()
    flow.routines["a"]._id = "b"
    assert [each.where for each in flow.validate() if each.code == "shadowed-id"] == ["a"]
    flow.routines["b"]._id = "c"
    assert [each.where for each in flow.validate() if each.code == "shadowed-id"] == ["a"]


class Hostile(Routine):
    """Whatever is asked of it raises, but what a routine keeps itself."""

    def get_slot(self, name):
        raise OSError(name)

    get_event = get_error_handler = config = serialize = get_slot

    def _config_to_save(self):
        raise OSError

    def __repr__(self):
        raise OSError

    def __eq__(self, other):
        raise OSError

    __hash__ = Routine.__hash__


class HostileValue:
    def __repr__(self):
        raise OSError

    def __eq__(self, other):
        raise OSError

    __hash__ = None

    @property
    def __signature__(self):
        raise OSError

    def __call__(self, data):
        raise OSError


class HostileDict(dict):
    def items(self):
        raise OSError

    __iter__ = keys = values = copy = __len__ = __getitem__ = items


def test_nothing_of_the_application_is_called_and_nothing_is_raised_whatever_stands_in_a_flow():
    flow = Flow()
    hostile = Hostile()
    hostile.define_event("output", ["x"]).output_params = None
    hostile.define_event("other", ["x"]).output_params = [HostileValue(), "x", 5]
    hostile.define_slot("input", HostileValue.__call__)
    hostile._slots["input"]._handler = HostileValue()  # noqa: SLF001 - what was a function when it was set may change
    hostile._slots["odd"] = hostile._events["odd"] = HostileValue()
    flow.add_routine(hostile, "hostile")
    step = with_config(CheckedStep(), value=HostileDict(x=HostileValue()), values={"x": [HostileValue()]})
    step.add_serializable_fields(["thing", "computed"])
    step.thing = HostileDict(x=HostileValue())
    step._slots["made"]._merge_strategy = HostileValue()  # noqa: SLF001 - as above
    flow.add_routine(step, "step")
    flow.add_routine(Uninitialised(), "raw")
    flow.routines["thing"] = HostileValue()
    flow.connections.append("none")
    hostile._events["output"].connect(step._slots["made"], {"x": 5, 7: "y"})

    codes = {each.code for each in flow.validate()}
    assert {"not-a-routine", "unsavable-config", "unregistered-class"} <= codes
    assert all(str(each) for each in flow.validate())
    assert flow.to_mermaid().startswith("flowchart")
