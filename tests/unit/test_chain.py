"""`flow.chain` and `a >> b`: which event, which slot, which flow, and which names change on the way."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from typing import Any, TypedDict, get_origin

import pytest

from routilux import Flow, Routine
from routilux.errors import DuplicateNameError, InvalidTypeError, InvalidValueError, UnknownNameError
from routilux.functions import routine
from tests.drawings import draw, node, relay, source


def ports(*slots: str, events: tuple[str, ...] = ()) -> Routine:
    """A routine with these slots and events."""
    made = Routine()
    for name in slots:
        made.define_slot(name, handler=lambda **data: None)
    for name in events:
        made.define_event(name, [name])
    return made


def lines(flow: Flow) -> list[str]:
    """What is drawn, as texts."""
    return [f"{line.source_id}.{line.event} -> {line.target_id}.{line.slot}" for line in flow.graph().lines]


def mapping(source_function: Any, target: Any, **routines: Routine) -> dict[str, str]:
    """How names change between two steps of a chain."""
    flow = draw(**routines)
    flow.chain(source_function, target)
    (connection,) = flow.connections
    return connection.param_mapping


def test_a_chain_connects_each_step_to_the_next_and_returns_their_ids():
    flow = draw(a=source(), b=relay(), c=relay())
    assert flow.chain("a", "b", "c") == ["a", "b", "c"]
    assert lines(flow) == ["a.output -> b.input", "b.output -> c.input"]


def test_routines_that_are_not_in_the_flow_are_added_under_their_own_id():
    flow, a, c = draw(b=(b := relay())), source(), relay()
    c._id = "c"
    assert flow.chain(a, b, c) == [a._id, "b", "c"]
    assert (flow.routines[a._id], flow.routines["c"]) == (a, c)


def test_functions_are_added_under_their_names_and_known_again():
    def one() -> int: ...
    def two(n: int) -> int: ...
    def three(n: int) -> int: ...

    flow = Flow()
    assert flow.chain(one, two) == ["one", "two"]
    assert flow.chain(one, three, two) == ["one", "three", "two"]
    assert sorted(flow.routines) == ["one", "three", "two"]
    assert len(flow.connections) == 3


def test_a_function_that_is_a_routine_of_the_flow_is_that_routine():
    def one() -> int: ...

    flow = Flow()
    flow.routine(one, routine_id="first")
    assert flow.chain(one, relay())[0] == "first"


def test_a_list_stands_for_all_of_its_members():
    flow = draw(a=source(), b=relay(), c=relay(), d=relay())
    assert flow.chain("a", ["b", "c"], ("d",)) == ["a", "b", "c", "d"]
    assert lines(flow) == ["a.output -> b.input", "a.output -> c.input", "b.output -> d.input", "c.output -> d.input"]


def test_a_chain_of_one_step_adds_it_and_one_of_none_does_nothing():
    flow, a = Flow(), relay()
    assert flow.chain(a) == [a._id]
    assert flow.chain() == []
    assert (list(flow.routines), flow.connections) == ([a._id], [])


def test_a_chain_may_come_back_to_where_it_was():
    flow, a, b = Flow(), relay(), relay()
    assert flow.chain(a, b, a) == [a._id, b._id, a._id]
    assert len(flow.connections) == 2


def test_drawing_a_chain_again_changes_nothing():
    flow, a, b = Flow(), relay(), relay()
    flow.chain(a, b)
    before = list(flow.connections)
    flow.chain(a, b)
    assert flow.connections == before


# -- the obvious event and slot


@pytest.mark.parametrize(
    ("events", "expected"), [(("done",), "done"), (("error", "output"), "output"), (("output",), "output")]
)
def test_the_obvious_event_is_the_only_one_or_output(events, expected):
    flow = draw(a=ports(events=events), b=relay())
    flow.chain("a", "b")
    assert lines(flow) == [f"a.{expected} -> b.input"]


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (("order",), "order"),
        (("trigger",), "trigger"),
        (("trigger", "order"), "order"),
        (("left", "input", "trigger"), "input"),
    ],
)
def test_the_obvious_slot_is_the_only_one_besides_trigger_or_input(slots, expected):
    flow = draw(a=relay(), b=ports(*slots))
    flow.chain("a", "b")
    assert lines(flow) == [f"a.output -> b.{expected}"]


@pytest.mark.parametrize(
    ("events", "slots", "words"),
    [
        ((), ("input",), ["'a' has no event", "'b'"]),
        (("valid", "invalid"), ("input",), ["'a' has the events 'valid' and 'invalid'", "flow.connect('a', 'valid'"]),
        (("output",), (), ["'b' has no slot", "'a'"]),
        (
            ("output",),
            ("left", "right", "trigger"),
            ["'b' has the slots 'left' and 'right' and 'trigger'", "flow.connect('a', 'output', 'b', 'left')"],
        ),
    ],
)
def test_what_is_not_obvious_is_an_error_that_names_the_choices(events, slots, words):
    flow = draw(a=ports(events=events), b=ports(*slots))
    with pytest.raises(InvalidValueError) as caught:
        flow.chain("a", "b")
    assert [word for word in words if word not in str(caught.value)] == []


# -- what is no step


@pytest.mark.parametrize("step", [5, None, Routine, {"a"}, [5], [["a"]]])
def test_what_is_no_step_is_refused(step):
    with pytest.raises(InvalidTypeError, match="is no step of a chain"):
        draw(a=relay()).chain("a", step)


def test_an_unknown_id_is_an_error_that_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="Did you mean 'reader'"):
        draw(reader=relay()).chain("raeder")


def test_an_empty_list_is_refused():
    with pytest.raises(InvalidValueError, match="empty list"):
        draw(a=relay()).chain("a", [])


def test_an_id_that_is_taken_is_refused():
    taken = relay()
    taken._id = "a"
    with pytest.raises(DuplicateNameError, match="'a' is taken"):
        draw(a=relay()).chain("a", taken)


def test_an_id_that_is_none_is_refused():
    flow, unnamed = Flow(), relay()
    unnamed._id = ""
    with pytest.raises(InvalidValueError, match="not empty"):
        flow.chain(relay(), unnamed)
    assert flow.routines == {}


def test_a_routine_that_stands_in_the_flow_twice_must_be_named():
    shared = relay()
    with pytest.raises(InvalidValueError, match="stands in the flow as 'one' and 'two'"):
        draw(one=shared, two=shared).chain(source(), shared)


def test_a_function_that_stands_in_the_flow_twice_must_be_named():
    def act() -> int: ...

    flow = draw(one=routine(act), two=routine(act))
    with pytest.raises(InvalidValueError, match="stands in the flow as 'one' and 'two'"):
        flow.chain(act, relay())


@pytest.mark.parametrize("step", [5, "nobody", Routine(), ports("left", "right")])
def test_a_chain_that_is_refused_draws_nothing(step):
    flow = draw(a=relay())
    before = lines(flow), list(flow.routines)
    with pytest.raises((ValueError, TypeError)):
        flow.chain(relay(), "a", relay(), step, relay())
    assert (lines(flow), list(flow.routines)) == before


@pytest.mark.parametrize("last", [lambda y: y, ports("input")])
def test_a_chain_whose_last_id_is_refused_draws_nothing(last):
    with Flow("kept", store="memory:") as flow:
        with pytest.raises(ValueError, match="the same in the next process"):
            flow.chain(takes_nothing, takes, last)
        assert (flow.routines, flow.connections) == ({}, [])


# -- names


class Item(TypedDict):
    item: str


class Priced(TypedDict):
    item: str
    price: int


def value() -> int: ...
def untyped(): ...
def as_dict() -> dict: ...
def one_name() -> Item: ...
def two_names() -> Priced: ...
def nothing() -> None: ...
def takes(n: int) -> int: ...
def takes_first(n: int, m: int = 2) -> int: ...
def takes_default(n: int = 0) -> int: ...
def takes_result(result: int, m: int = 2) -> int: ...
def takes_item(item: str) -> int: ...
def takes_all(**data: int) -> int: ...
def takes_nothing() -> int: ...
def takes_data(data) -> int: ...
def takes_dict(data: dict) -> int: ...


@pytest.mark.parametrize(
    ("sender", "taker", "expected"),
    [
        (value, takes, {"result": "n"}),
        (value, takes_first, {"result": "n"}),
        (value, takes_default, {"result": "n"}),
        (value, takes_result, {}),
        (value, takes_all, {}),
        (value, takes_nothing, {}),
        (value, takes_data, {}),
        (value, takes_dict, {}),
        (untyped, takes, {"result": "n"}),
        (as_dict, takes, {}),
        (one_name, takes, {"item": "n"}),
        (one_name, takes_item, {}),
        (two_names, takes, {}),
    ],
)
def test_one_name_that_is_sent_becomes_the_one_parameter_that_is_wanted(sender, taker, expected):
    assert mapping(sender, taker) == expected


@pytest.mark.parametrize(
    "hint",
    [Iterator[Priced], AsyncIterator[Priced], AsyncGenerator[Priced, None], AsyncIterator[dict], AsyncIterable[Priced]],
)
def test_a_generator_is_connected_by_what_its_items_are(hint):
    def plain():
        yield {"item": "tea", "price": 3}

    async def asynchronous():
        yield {"item": "tea", "price": 3}

    got = []

    def taken(item: str, price: int) -> None:
        got.append((item, price))

    function = plain if get_origin(hint) is Iterator else asynchronous
    function.__annotations__["return"] = hint
    with Flow() as flow:
        flow.chain(function, taken)
        assert [str(each) for each in flow.validate() if each.severity != "info"] == []
        assert flow.run(function.__name__).status == "completed"
    assert got == [("tea", 3)]


def test_between_a_function_and_a_routine_one_name_becomes_the_one_parameter():
    shown = Routine()
    shown.define_slot("input", handler=takes)
    assert mapping(value, shown) == {"result": "n"}
    assert mapping(ports(events=("item",)), takes) == {"item": "n"}
    assert mapping(ports(events=("n",)), takes) == {}


def test_between_two_routines_names_stay():
    shown = Routine()
    shown.define_slot("input", handler=takes)
    assert mapping(ports(events=("item",)), shown) == {}


def test_a_slot_without_a_handler_takes_what_comes():
    assert mapping(value, node(None)) == {}


def takes_two(a: int, b: int) -> int: ...
def takes_two_defaults(a: int = 1, b: int = 2) -> int: ...
def takes_result_and_more(result: int, b: int) -> int: ...
def takes_data_value(data: int) -> int: ...


@pytest.mark.parametrize(
    ("sender", "taker", "words"),
    [
        (value, takes_two, ["'takes_two' takes 'a' and 'b'", "'value' sends one value", "{'result': 'a'}"]),
        (value, takes_two_defaults, ["'takes_two_defaults' takes 'a' and 'b'"]),
        (value, takes_result_and_more, ["'takes_result_and_more' takes 'result' and 'b'"]),
        (value, takes_data_value, ["`data`", "another name"]),
        (nothing, takes, ["'nothing' returns None"]),
    ],
)
def test_what_can_certainly_not_be_taken_is_an_error(sender, taker, words):
    with pytest.raises(InvalidValueError) as caught:
        Flow().chain(sender, taker)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("sender", [untyped, as_dict, two_names])
def test_what_may_be_taken_is_drawn(sender):
    assert mapping(sender, takes_two) == {}


# -- arrows


def test_an_arrow_draws_in_the_flow_that_both_stand_in():
    flow = draw(a=(a := source()), b=(b := relay()), c=(c := relay()))
    assert a >> b >> c is c
    assert lines(flow) == ["a.output -> b.input", "b.output -> c.input"]


def test_an_arrow_adds_what_stands_in_no_flow():
    flow, a, c = draw(b=(b := relay())), relay(), relay()
    a >> b >> c
    assert list(flow.routines) == ["b", a._id, c._id]
    assert len(flow.connections) == 2


def test_an_arrow_goes_to_several_and_comes_from_several():
    flow = draw(a=(a := source()), b=(b := relay()), c=(c := relay()), d=(d := relay()))
    a >> [b, c] >> d
    assert lines(flow) == ["a.output -> b.input", "a.output -> c.input", "b.output -> d.input", "c.output -> d.input"]


def test_an_arrow_outside_any_flow_is_an_error():
    with pytest.raises(InvalidValueError, match=r"stand in no flow.*flow\.chain"):
        relay() >> relay()


def test_an_arrow_between_two_flows_is_an_error_that_names_them():
    Flow("one").add_routine(a := relay())
    Flow("two").add_routine(b := relay())
    with pytest.raises(InvalidValueError, match=r"different flows, 'one' and 'two'.*flow\.chain"):
        a >> b


def test_an_arrow_of_shared_routines_draws_in_the_flow_that_both_were_added_to_last():
    one, two, a, b = Flow("one"), Flow("two"), relay(), relay()
    for flow in (one, two):
        flow.add_routine(a, "a")
        flow.add_routine(b, "b")
    a >> b
    assert (lines(one), lines(two)) == ([], ["a.output -> b.input"])


def test_an_arrow_of_a_shared_routine_is_an_error_where_another_flow_may_be_meant():
    one, two, a, b = Flow("one"), Flow("two"), relay(), relay()
    one.chain(a, b)
    two.add_routine(a)
    with pytest.raises(InvalidValueError, match="different flows, 'two' and 'one'"):
        a >> b
    assert (len(one.connections), two.connections) == (1, [])


def test_a_routine_that_was_taken_out_of_its_flow_stands_in_none():
    flow = draw(a=(a := relay()))
    flow.routines.clear()
    with pytest.raises(InvalidValueError, match="stand in no flow"):
        a >> relay()


@pytest.mark.parametrize("other", ["b", takes, ["b", takes], Routine])
def test_an_arrow_to_what_only_a_chain_takes_is_an_error_that_says_so(other):
    flow = draw(a=(a := relay()))
    with pytest.raises(TypeError, match=r"is no routine.*flow\.chain\(\.\.\.\)"):
        a >> other
    with pytest.raises(TypeError, match=r"is no routine.*flow\.chain\(\.\.\.\)"):
        other >> a
    assert (list(flow.routines), flow.connections) == (["a"], [])


@pytest.mark.parametrize("other", [5, None, [5], ["b", 5]])
def test_an_arrow_to_something_else_is_python_s_own_error(other):
    draw(a=(a := relay()))
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for >>"):
        a >> other
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for >>"):
        other >> a


class Asked:
    """Callable, and knows what `>>` means to itself."""

    def __call__(self) -> None: ...

    def __rrshift__(self, other: Any) -> str:
        return "its own"


def test_an_arrow_to_an_object_that_has_arrows_of_its_own_is_its_own():
    assert relay() >> Asked() == "its own"


# -- the decorator


def test_a_function_is_added_by_the_decorator_and_stands_for_its_routine():
    flow = Flow()

    @flow.routine
    def one() -> int:
        return 1

    @flow.routine(routine_id="second")
    def two(n: int) -> int:
        return n

    one >> two
    assert flow.routines == {"one": one, "second": two}
    assert lines(flow) == ["one.output -> second.input"]
    assert (one(), two(3)) == (1, 3)


def test_a_name_that_is_taken_is_an_error():
    flow = Flow()
    flow.routine(value)
    with pytest.raises(DuplicateNameError, match="'value' is taken"):
        flow.routine(value)


def test_a_lambda_in_a_flow_with_a_store_is_told_how_to_get_an_id():
    flow = Flow("kept", store="memory:")
    with pytest.raises(InvalidValueError, match=r"routine\(function, routine_id='\.\.\.'\)"):
        flow.chain(lambda n: n, lambda n: None)
    assert flow.routines == {}
    assert flow.chain(routine(lambda n: n, routine_id="first")) == ["first"]
