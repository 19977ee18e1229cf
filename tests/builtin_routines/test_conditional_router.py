"""ConditionalRouter: what it promises, for every kind of condition and value."""

import functools
import json
import sys
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Flow
from routilux.builtin_routines import ConditionalRouter
from routilux.job_state import register_serializable
from tests.deliveries import (
    ODD_VALUES,
    answer,
    circular,
    heard,
    in_new_process,
    restored,
    run_restored,
    two_runs_at_once,
)
from tests.drawings import Gate, draw, in_thread, node, source, wait


def router(*routes: Any, **config: Any) -> ConditionalRouter:
    routine = ConditionalRouter()
    routine.set_config(routes=list(routes), **config)
    return routine


def taken(routine: ConditionalRouter, value: Any) -> list[str]:
    """The routes that a value takes."""
    found = heard(routine, {"data": value})
    for event, data in found:
        assert set(data) == {"data", "route"}
        assert data["data"] is value
        assert event == ("output" if data["route"] == "unmatched" else data["route"])
    return [data["route"] for _, data in found]


def matches(condition: Any, value: Any, **config: Any) -> bool:
    return taken(router(("yes", condition), **config), value) == ["yes"]


def is_even(data: Any) -> bool:
    return bool(data["n"] % 2 == 0)


# -- the contract


def test_the_defaults_are_in_the_config_and_slot_and_event_are_attributes():
    routine = ConditionalRouter()
    assert routine.config() == {"routes": [], "default_route": None, "route_priority": "first_match"}
    assert routine.input_slot is routine.get_slot("input")
    assert routine.default_output is routine.get_event("output")


def test_the_first_route_whose_condition_holds_gets_the_data():
    routine = router(("small", "data['n'] < 5"), ("big", "data['n'] >= 5"), ("any", "True"))
    assert [taken(routine, {"n": number}) for number in (1, 9)] == [["small"], ["big"]]


def test_all_matches_emits_on_every_route_in_their_order():
    routine = router(("a", "data > 1"), ("b", "data > 5"), ("c", "data > 3"), route_priority="all_matches")
    assert [taken(routine, number) for number in (4, 9, 0)] == [["a", "c"], ["a", "b", "c"], ["unmatched"]]


def test_data_that_meet_no_condition_go_to_the_default_route_or_to_output_as_unmatched():
    assert taken(router(("a", "False")), 1) == ["unmatched"]
    assert taken(router(("a", "False"), default_route="rest"), 1) == ["rest"]
    assert taken(ConditionalRouter(), 1) == ["unmatched"]


def test_routes_may_be_tuples_or_lists():
    assert taken(router(["a", "data == 1"], ("b", "data == 2")), 2) == ["b"]


def test_a_text_reads_data_config_and_stats():
    assert matches("data['n'] > config['limit'] and stats == {}", {"n": 5}, limit=3)
    assert matches("isinstance(data, dict) and len(data.get('items', [])) > 1", {"items": [1, 2]})
    assert matches("hasattr(data, 'real') and getattr(data, 'real') == 5", 5)
    assert not matches("stats.get('count', 0) > 1", 1)


def test_a_function_gets_data_config_and_stats_as_its_parameters_ask():
    value: dict[str, Any] = {"n": 5}
    asked = []
    conditions = [
        lambda: asked.append("nothing"),
        lambda d: asked.append(d) or False,
        lambda d, config: asked.append((d, config["limit"])),
        lambda d, stats: asked.append((d, stats)),
        lambda d, c: asked.append((d, c["limit"])),
        lambda config, data: asked.append((data, config["limit"])),
        lambda stats, config, data: asked.append((data, config["limit"], stats)),
        lambda d, wanted=7: asked.append((d, wanted)),
        lambda d, config=None: asked.append((d, config["limit"])),
        lambda *given: asked.append(given),
        lambda **given: asked.append((given["data"], given["stats"])),
        lambda d, /, *, stats: asked.append((d, stats)),
        lambda data, /, config, *, stats: asked.append((data, config["limit"], stats)),
        lambda config, d: asked.append((d, config["limit"])),
        lambda stats, d: asked.append((d, stats)),
        lambda c, data: asked.append((data, c["limit"])),
    ]
    routine = router(*[(f"r{index}", each) for index, each in enumerate(conditions)], limit=3)
    assert taken(routine, value) == ["unmatched"]
    assert asked == [
        "nothing", value, (value, 3), (value, {}), (value, 3), (value, 3), (value, 3, {}), (value, 7), (value, 3),
        (value,), (value, {}), (value, {}), (value, 3, {}), (value, 3), (value, {}), (value, 3),
    ]  # fmt: skip


def test_a_dict_asks_for_all_of_its_fields_and_a_function_in_it_is_asked():
    condition = {"kind": "order", "n": lambda n: n > 5, "note": None}
    assert matches(condition, {"kind": "order", "n": 6, "note": None, "more": 1})
    assert not matches(condition, {"kind": "order", "n": 5, "note": None})
    assert not matches(condition, {"kind": "order", "n": 6})
    assert not matches(condition, {"kind": "offer", "n": 6, "note": None})
    assert not matches(condition, [("kind", "order")])


def test_a_condition_that_fails_does_not_hold():
    def fails(data: Any) -> bool:
        raise ValueError("no")

    bad = [("a", fails), ("b", "data['x'] > 1"), ("c", lambda d: d.n > 1), ("d", {"n": fails}), ("e", "1 / 0")]
    assert taken(router(*bad, ("good", "True")), {"n": 1}) == ["good"]


def test_add_route_appends_and_its_event_is_there():
    routine = router(("a", "data > 5"))
    routine.add_route("b", lambda data: data > 1)
    assert [name for name, _ in routine.get_config("routes")] == ["a", "b"]
    event = routine.get_event("b")
    assert event is not None
    assert event.output_params == ["data", "route"]
    assert [taken(routine, number) for number in (9, 2, 0)] == [["a"], ["b"], ["unmatched"]]


def test_setting_routes_makes_their_events_so_that_they_can_be_connected():
    got: list[Any] = []
    tested = router(("big", "data > 5"), default_route="rest")
    assert tested.get_event("rest") is not None
    flow = draw("a -> tested", "tested.big -> b", a=source(1, 9), tested=tested,
                b=node(lambda _, data: got.append(data)))  # fmt: skip
    with flow:
        wait(flow, flow.execute("a"))
    assert got == [{"data": 9, "route": "big"}]


def test_routes_that_were_put_straight_into_the_config_get_their_events_on_demand():
    routine = ConditionalRouter()
    routine._config["routes"] = [("a", "data > 1")]
    assert taken(routine, 2) == ["a"]
    routine._config["routes"].insert(0, ("b", "True"))
    assert taken(routine, 2) == ["b"]
    routine._config["routes"][0] = ("c", "True")
    assert taken(routine, 2) == ["c"]
    routine._config["routes"][:] = [("c", "False")]
    assert taken(routine, 2) == ["unmatched"]
    routine._config["routes"].append(("d", "True"))
    assert taken(routine, 2) == ["d"]


# -- what is refused, when it is set

HOSTILE = [
    "__import__('os').system('true')",
    "data.__class__",
    "open('x')",
    "(lambda: 1)()",
    "data[",
    "x > 1",
    "[x for x in data]",
    "data > 9 ** 9 ** 9",
    "'x' * 10 ** 10 == data",
    "data and len([0] * 10 ** 12) > 1",
    "hasattr(data, '__len__')",
    "str(data, 'ascii') == 'x'",
    "isinstance(data, (int, (str, bytes)))",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_that_is_no_condition_is_refused_by_the_name_of_its_route_and_nothing_is_set(text):
    routine = router(("a", "True"))
    before = routine.config()
    with pytest.raises(ValueError, match="condition of route 'evil'"):
        routine.set_config(routes=[("b", "True"), ("evil", text)], default_route="x")
    with pytest.raises(ValueError, match="condition of route 'evil'"):
        routine.add_route("evil", text)
    assert routine.config() == before
    assert routine.get_event("b") is None


async def later(data: Any) -> bool:
    return True


def each_in_turn(data: Any) -> Any:
    yield True


class Awaited:
    async def __call__(self, data: Any) -> bool:
        return True


@pytest.mark.parametrize("condition", [5, None, True, ["data"], object()], ids=repr)
def test_what_is_neither_text_nor_function_nor_dict_is_refused_by_the_name_of_its_route(condition):
    with pytest.raises(TypeError, match="condition of route 'bad'"):
        router(("bad", condition))


@pytest.mark.parametrize("bad", [later, each_in_turn, Awaited(), functools.partial(later, 1)], ids=repr)
def test_a_function_whose_call_would_run_nothing_is_refused_by_the_name_of_its_route(bad):
    for condition in (bad, {"field": bad}):
        with pytest.raises(TypeError, match=r"condition of route 'bad'.* is (`async def`|a generator function)"):
            router(("bad", condition))
        routine = router(("good", "True"))
        with pytest.raises(TypeError, match="condition of route 'bad'"):
            routine.add_route("bad", condition)
        assert routine.get_event("bad") is None


UNKNOWN_PARAMETERS = [
    (lambda d, c, s: True, "nothing is called d or c or s"),
    (lambda data, config, statistics: True, "nothing is called statistics"),
    (lambda data, config, stats, more: True, "nothing is called more"),
    (functools.partial(lambda a, b, c, d: True, 1), "nothing is called b or c or d"),
]


@pytest.mark.parametrize(("function", "why"), UNKNOWN_PARAMETERS, ids=[why for _, why in UNKNOWN_PARAMETERS])
def test_a_function_whose_parameters_could_never_be_given_is_refused_by_the_name_of_its_route(function, why):
    routine = router(("good", "True"))
    for give in (lambda: routine.add_route("bad", function), lambda: routine.set_config(routes=[("bad", function)])):
        with pytest.raises(TypeError, match=f"condition of route 'bad' .*{why}.* Name them data, config and stats"):
            give()
    assert [name for name, _ in routine.get_config("routes")] == ["good"]


def test_an_answer_that_would_have_to_be_awaited_does_not_hold():
    assert not matches(lambda data: later([data]), 1)
    assert not matches({"n": lambda n: later([n])}, {"n": 1})


def test_none_is_a_value_and_nothing_at_all_is_an_empty_dict():
    routine = router(("none", "data is None"), ("empty", "data == {}"))
    assert heard(routine, {"data": None}, {}) == [
        ("none", {"data": None, "route": "none"}),
        ("empty", {"data": {}, "route": "empty"}),
    ]


@pytest.mark.parametrize("routes", [5, "ab", {"a": "True"}, [("a",)], [5], ["ab"], [("a", "True", 1)]], ids=repr)
def test_routes_that_are_no_pairs_are_refused(routes):
    with pytest.raises(TypeError, match="pair"):
        ConditionalRouter().set_config(routes=routes)


def test_names_and_priorities_that_cannot_be_are_refused():
    for name in ("", 5, None):
        with pytest.raises(ValueError, match="name of a route"):
            router((name, "True"))
    with pytest.raises(ValueError, match="default_route"):
        router(default_route=5)
    with pytest.raises(ValueError, match="first_match"):
        router(route_priority="last_match")
    with pytest.raises(ValueError, match=r"route 'a'.* saved form"):
        router(("a", {"_type": "callable", "callable_type": "function"}))
    with pytest.raises(ValueError, match=r"route 'a'.* saved form"):
        router(("a", {"field": {"_type": "lambda_expression", "expression": "True"}}))


# -- bad input


class Odd:
    def __eq__(self, other: object) -> bool:
        raise ValueError("no")

    def __hash__(self) -> int:
        return hash("n")

    def __str__(self) -> str:
        raise ValueError("mute")

    __repr__ = __str__
    __bool__ = __str__  # type: ignore[assignment]


class Many:
    """As an array of numbers: a comparison gives many answers, and they are neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


def test_values_of_every_kind_take_the_default_route_and_raise_nothing():
    deep: Any = {}
    for _ in range(100_000):
        deep = {"n": deep}
    circle: dict[str, Any] = {}
    circle["n"] = circle
    routine = router(("a", "data['n'] == 1"), ("b", {"n": 1}), ("c", lambda d: d["n"] == 1), ("d", lambda d: Many()))
    for value in (
        Odd(),
        Many(),
        deep,
        circle,
        float("nan"),
        {Odd(): 1},
        {1: 2, None: 3},
        {"n": Many()},
        {"n": Odd()},
        *ODD_VALUES.values(),
    ):
        assert taken(routine, value) == ["unmatched"]


def test_nan_is_equal_to_nothing_but_itself():
    nan = float("nan")
    assert matches({"n": nan}, {"n": nan})
    assert not matches({"n": float("nan")}, {"n": nan})


# -- saved


def test_conditions_of_every_kind_survive_json_and_the_restored_flow_runs():
    tested = router(
        ("text", "data['n'] == config['wanted']"), ("function", is_even),
        ("lambda", lambda given: given["n"] == 3), ("dict", {"n": lambda n: n > 6, "m": 1}), ("last", lambda d, config:
            d["n"] == config["wanted"] + 2),
        wanted=1, default_route="rest",
    )  # fmt: skip
    data = json.loads(json.dumps(draw(tested=tested).serialize()))
    saved = data["routines"]["tested"]["_config"]["routes"]
    assert saved[0] == ["text", "data['n'] == config['wanted']"]
    assert (saved[1][1]["_type"], saved[1][1]["name"]) == ("callable", "is_even")
    assert saved[2][1] == {"_type": "lambda_expression", "expression": "given['n'] == 3", "parameters": ["given"]}
    assert saved[3][1]["m"] == 1
    assert saved[4][1]["parameters"] == ["d", "config"]
    loaded = Flow()
    loaded.deserialize(data)
    copy = loaded.routines["tested"]
    assert isinstance(copy, ConditionalRouter)
    values = [{"n": number, "m": 1} for number in range(10)]
    for value in values:
        assert taken(copy, value) == taken(tested, value)
    found = run_restored(tested, *[{"data": value} for value in values])
    assert [data["route"] for _, data in found] == [taken(tested, value)[0] for value in values]
    assert {"text", "function", "lambda", "dict", "last", "rest", "output"} <= set(copy._events)
    assert restored(copy).serialize() == copy.serialize()


def test_a_function_comes_back_by_name_because_it_was_a_condition():
    # Their module defines no registered class, and nothing else hands them to the library.
    copy = restored(router(("a", answer), ("b", {"n": in_new_process})))
    assert copy.get_config("routes") == [["a", answer], ["b", {"n": in_new_process}]]


def test_events_are_there_after_restore_also_where_the_data_name_only_routes():
    routine = ConditionalRouter()
    routine.deserialize({"_config": {"routes": [["a", "True"]], "default_route": "rest"}})
    assert set(routine._events) == {"output", "a", "rest"}
    assert taken(routine, 1) == ["a"]


def test_connections_of_routes_survive():
    got: list[Any] = []
    flow = draw("a.big -> b", a=router(("big", lambda n: n > 5)), b=router())
    loaded = Flow()
    loaded.deserialize(json.loads(json.dumps(flow.serialize())))
    loaded.add_routine(source(3, 9), "source")
    loaded.connect("source", "output", "a", "input")
    loaded.add_routine(node(lambda _, data: got.append(data)), "end")
    loaded.connect("b", "output", "end", "input")
    with loaded:
        wait(loaded, loaded.execute("source"))
    assert [data["data"] for data in got] == [9]


class Callee:
    def __call__(self, data: Any) -> bool:
        return True


def test_a_condition_that_cannot_be_saved_is_refused_by_the_name_of_its_route_with_advice():
    limit = 5

    def nested(data: Any) -> bool:
        found = data > limit
        return bool(found)

    for condition in (lambda d: d > limit, nested, Callee(), str.isdigit, bool, {"n": lambda n: n > limit}):
        routine = router(("good", "False"), ("bad", condition))
        heard(routine, {"data": 9})
        with pytest.raises(ValueError, match=r"(?s)route 'bad'.* cannot be saved: .*Use a function at module level"):
            routine.serialize()
        with pytest.raises(ValueError, match="route 'bad'"):
            draw(tested=routine).serialize()


UNSAVABLE = [
    ({"day": date(2024, 1, 1)}, r"the condition\['day'\] is datetime.date"),
    ({"a": {"b": is_even}}, r"the condition\['a'\]\['b'\] is <function is_even"),
    ({1: 2}, "A key of the condition is 1"),
    ({"k": (1, 2)}, r"the condition\['k'\] is a tuple"),
    ({"k": {"deep": [0, (1, 2)]}}, r"the condition\['k'\]\['deep'\]\[1\] is a tuple"),
    ({"k": circular()}, "nested more than 400 levels deep"),
]


@pytest.mark.parametrize(("condition", "why"), UNSAVABLE, ids=[why for _, why in UNSAVABLE])
def test_a_dict_that_does_not_come_back_as_it_is_works_and_is_refused_when_it_is_saved(condition, why):
    routine = router(("good", "False"), ("bad", condition))
    assert taken(routine, condition) == ["bad"]
    for whole in (routine, draw(tested=routine)):
        with pytest.raises(ValueError, match=rf"condition of route 'bad' .* cannot be saved: .*{why}"):
            whole.serialize()


REFUSED_LAMBDAS = [
    lambda d: hasattr(d, "__len__"),
    lambda d: str(d, "ascii") == "x",
    lambda d: isinstance(d, (int, (str, bytes))),
]


@pytest.mark.parametrize("condition", REFUSED_LAMBDAS)
def test_a_lambda_that_would_hold_for_nothing_once_restored_is_refused_when_it_is_saved(condition):
    routine = router(("bad", condition))
    assert taken(routine, b"x") == ["bad"]
    with pytest.raises(ValueError, match=r"(?s)route 'bad'.* cannot be saved: "):
        routine.serialize()


def test_restored_lambdas_may_have_parameters_that_begin_with_an_underscore():
    tested = router(
        ("big", lambda data, _config: data > 9), ("even", lambda _data, config: _data % config["by"] == 0),
        ("rest", lambda _: True), by=2,
    )  # fmt: skip
    copy = restored(tested)
    for number in (11, 4, 3):
        assert taken(copy, number) == taken(tested, number)
    assert [taken(copy, number) for number in (11, 4, 3)] == [["big"], ["even"], ["rest"]]


class Grid:
    def __getitem__(self, key: Any) -> Any:
        return key[1]


def test_a_restored_lambda_that_slices_beside_another_key_still_holds():
    tested = router(("big", lambda grid: grid[0:1, 5] > 3))
    assert taken(tested, Grid()) == taken(restored(tested), Grid()) == ["big"]


@register_serializable
class OwnRouter(ConditionalRouter):
    """A router whose condition is a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.set_config(routes=[("own", self.is_mine)])

    def is_mine(self, data: Any) -> bool:
        """Whether."""
        return data == "mine"


def test_a_method_of_the_router_itself_survives():
    copy = restored(OwnRouter())
    assert taken(copy, "mine") == ["own"]
    assert copy.get_config("routes")[0][1].__self__ is copy


SYSTEM = {"_type": "callable", "callable_type": "function", "module": "os", "name": "system"}


@pytest.mark.parametrize(
    "config",
    [
        {"routes": [["a", SYSTEM]]},
        {"routes": [["a", {"n": SYSTEM}]]},
        {"routes": [["a", {"_type": "lambda_expression", "expression": 5}]]},
        {"routes": [["a", 5]]},
        {"routes": [["a"]]},
        {"routes": "True"},
        {"routes": [[5, "True"]]},
        {"default_route": ""},
        {"route_priority": "x"},
    ],
    ids=repr,
)
def test_data_that_cannot_be_restored_are_a_value_error_and_nothing_changes(config):
    routine = router(("before", "True"))
    before = routine.serialize()
    with pytest.raises(ValueError, match=r"route"):
        routine.deserialize({"_config": config})
    assert routine.serialize() == before


def test_a_hostile_text_in_a_file_never_holds(caplog):
    for text in HOSTILE:
        routine = ConditionalRouter()
        routine.deserialize({"_config": {"routes": [["evil", text]]}})
        assert taken(routine, {"x": 1}) == ["unmatched"]
        routine.deserialize({"_config": {"routes": [["evil", {"_type": "lambda_expression", "expression": text}]]}})
        assert text == "x > 1" or taken(routine, {"x": 1}) == ["unmatched"]
    assert "route 'evil'" in caplog.text


def test_a_broken_route_in_a_file_keeps_no_other_from_being_added():
    routine = ConditionalRouter()
    routine.deserialize({"_config": {"routes": [["broken", "data =="], ["y", "data > 1"]]}})
    routine.add_route("z", "data > -9")
    assert [taken(routine, number) for number in (5, 0)] == [["y"], ["z"]]
    with pytest.raises(ValueError, match="condition of route 'broken'"):
        routine.set_config(routes=routine.get_config("routes"))


def test_a_saved_router_routes_in_a_new_process():
    tested = router(("big", lambda order: order["n"] > 5), ("small", "data['n'] < 2"), ("m", {"n": lambda n: n == 3}))
    found = in_new_process(
        "from routilux import Flow\n"
        "import routilux.builtin_routines\n"
        "from tests.deliveries import heard\n"
        "flow = Flow()\n"
        "flow.deserialize(given)\n"
        "result = heard(flow.routines['tested'], *[{'data': {'n': n}} for n in (1, 9, 3, 4)])",
        draw(tested=tested).serialize(),
    )
    assert [data["route"] for _, data in found] == ["small", "big", "m", "unmatched"]


# -- at once


def test_two_runs_at_once_do_not_see_each_other():
    gate = Gate()

    def slow(data: Any) -> bool:
        if data == "first":
            gate.hold()
        return bool(data == "first")

    routine = router(("a", slow), ("b", "data == 'second'"))
    taken(routine, "second")  # what is made for the routes when they are first used stays with them
    first, second = two_runs_at_once(routine, {"data": "first"}, {"data": "second"}, gate)
    assert first == {"data": "first", "route": "a"}
    assert second == {"data": "second", "route": "b"}


def test_a_config_that_changes_while_data_are_routed_counts_for_the_next_ones():
    def change(data: Any) -> bool:
        routine.set_config(routes=[("c", "True")], default_route="other", route_priority="first_match", limit=0)
        return True

    routine = router(("a", change), ("b", "config['limit'] == 5"), route_priority="all_matches", limit=5)
    assert taken(routine, 1) == ["a", "b"]
    assert taken(routine, 1) == ["c"]


def added_at_once(routine: ConditionalRouter, names: list[str]) -> None:
    """Add a route for each name, by four threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        turns = [
            in_thread(lambda own=names[start::4]: [routine.add_route(name, lambda data: True) for name in own])  # type: ignore[misc]
            for start in range(4)
        ]
        for join in turns:
            join()
    finally:
        sys.setswitchinterval(interval)


def test_of_routes_that_are_added_at_once_none_is_lost():
    routine, names = router(route_priority="all_matches"), [f"r{number:03}" for number in range(400)]
    added_at_once(routine, names)
    assert sorted(name for name, _ in routine.get_config("routes")) == names
    assert sorted(taken(routine, 1)) == names


def test_two_threads_may_add_the_same_route():
    routine, names = router(route_priority="all_matches"), [f"r{number // 4:03}" for number in range(400)]
    added_at_once(routine, names)
    assert sorted(taken(routine, 1)) == names


# -- any routes

CONDITIONS: list[tuple[Any, Any]] = [
    ("data['a'] > 2", lambda v: v.get("a", 0) > 2),
    (lambda d: d["b"] < 2, lambda v: v.get("b", 9) < 2),
    ({"a": 1}, lambda v: v.get("a") == 1),
    ({"a": lambda n: n > 1, "b": 2}, lambda v: v.get("a", 0) > 1 and v.get("b") == 2),
    ("len(data) == config['size']", lambda v: len(v) == 1),
    ("data['zz']", lambda v: False),
]


@given(
    st.lists(st.integers(0, len(CONDITIONS) - 1), max_size=5),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 4)),
    st.booleans(),
    st.booleans(),
)
def test_any_data_take_the_routes_that_a_plain_loop_takes(wanted, value, is_all, has_default):
    expected = [f"r{index}" for index in wanted if CONDITIONS[index][1](value)]
    expected = (expected if is_all else expected[:1]) or ["rest" if has_default else "unmatched"]
    routes = [(f"r{index}", CONDITIONS[index][0]) for index in wanted]
    priority = "all_matches" if is_all else "first_match"
    tested = router(*routes, size=1, route_priority=priority, default_route="rest" if has_default else None)
    assert taken(tested, value) == expected
    assert taken(restored(tested), value) == expected
