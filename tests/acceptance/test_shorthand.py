"""The shorthand draws the same flow as `add_routine` and `connect`: it runs, is saved and restored like that one."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import Flow, Routine
from routilux.errors import CallableError
from tests.deliveries import in_new_process
from tests.drawings import wait
from tests.registered import Hopper
from tests.word_functions import draw_words, keeper, measure, words

TEXT = "the quick brown fox"
KEPT = [("the", 3), ("quick", 5), ("brown", 5), ("fox", 3)]


def kept(flow: Flow) -> list[tuple[str, int]]:
    """What a run of the flow of words has kept."""
    job_state = wait(flow, flow.execute("words", {"text": TEXT}))
    assert (job_state.status, job_state.errors) == ("completed", [])
    return [(entry["word"], entry["length"]) for entry in job_state.get_shared_log()]


def words_by_hand() -> Flow:
    flow = Flow("words")
    for routine in (words, measure, keeper):
        flow.add_routine(routine)
    flow.connect("words", "output", "measure", "input", {"result": "word"})
    flow.connect("measure", "output", "keep", "input")
    return flow


def test_functions_run_as_a_flow():
    assert kept(draw_words()) == KEPT
    assert kept(words_by_hand()) == KEPT


def test_a_chain_is_saved_as_what_connect_draws():
    saved = draw_words().serialize()
    assert saved == words_by_hand().serialize()
    assert json.loads(json.dumps(saved)) == saved


def test_arrows_are_saved_as_what_connect_draws():
    flow = Flow("words")
    for routine in (words, measure, keeper):
        flow.add_routine(routine)
    words >> measure >> keeper
    assert flow.serialize() == words_by_hand().serialize()


def test_a_restored_chain_runs_and_is_saved_as_it_was():
    saved = json.loads(json.dumps(draw_words().serialize()))
    flow = Flow()
    flow.deserialize(saved)
    assert flow.serialize() == saved
    assert kept(flow) == KEPT


RESTORES = """
{imports}
from routilux import Flow
flow = Flow()
try:
    flow.deserialize(given)
except ValueError as error:
    result = str(error)
else:
    job_state = flow.run("words", {{"text": "a fox"}})
    result = [job_state.status, [entry["word"] for entry in job_state.get_shared_log()]]
"""


def test_another_process_restores_a_flow_of_functions_whose_module_it_has_imported():
    program = RESTORES.format(imports="import tests.word_functions")
    status, found = in_new_process(program, draw_words().serialize())
    # `keep` finds the run by the routine of its own module, which is not the restored one.
    assert (status, found) == ("completed", ["a", "fox"])


def test_another_process_imports_nothing_for_it():
    message = in_new_process(RESTORES.format(imports=""), draw_words().serialize())
    assert "tests.word_functions.words" in message
    assert "Import the module" in message


def test_one_routine_of_a_chain_that_cannot_be_saved_is_named():
    flow = draw_words()
    flow.chain("measure", flow.routine(lambda word, length: length, routine_id="lengths"))
    assert kept(flow) == KEPT
    with pytest.raises(CallableError, match=r"FunctionRoutine\[lengths\] cannot be saved"):
        flow.serialize()


def double(n: int) -> int:
    return n * 2


def add(n: int, m: int = 1) -> int:
    return n + m


def both(n: int) -> dict[str, int]:
    return {"n": n, "m": n}


FUNCTIONS: list[Any] = [double, add, both]


class Relay(Hopper):
    """A routine with one obvious event and slot; `Hopper` has neither."""

    def __init__(self) -> None:
        Routine.__init__(self)
        self.define_slot("trigger", handler=self.hop)
        self.define_slot("input", handler=self.hop)
        self.define_event("output")


def draw_by_chains(chains: list[list[list[int]]], mixed: list[Any], how: list[int]) -> Flow:
    """The chains over routines that are named by number: as objects, ids or functions, by `how`."""
    flow, turns = Flow("drawn"), itertools.cycle(how or [0])
    placed: dict[int, Routine] = {}

    def step(number: int) -> Any:
        routine = placed.get(number)
        if routine is None:
            made = mixed[number]
            placed[number] = routine = made if isinstance(made, Routine) else flow.routine(made)
            routine._id = flow.id_of(routine) or f"routine {number}"
            return routine
        choices = [routine, routine._id, getattr(routine, "function", routine)]
        return choices[next(turns) % len(choices)]

    for chain in chains:
        flow.chain(*[[step(number) for number in group] for group in chain])
    return flow


def draw_by_hand(chains: list[list[list[int]]], mixed: list[Any]) -> Flow:
    """The same lines with `add_routine` and `connect`; names change where a value meets a function."""
    flow = Flow("drawn")
    numbers = dict.fromkeys(itertools.chain.from_iterable(itertools.chain.from_iterable(chains)))
    ids: dict[int, str] = {}
    for number in numbers:
        made = mixed[number]
        if isinstance(made, Routine):
            made._id = f"routine {number}"
            ids[number] = flow.add_routine(made)
        else:
            ids[number] = flow.routine(made)._id
    for chain in chains:
        for sources, targets in itertools.pairwise(chain):
            for source, target in itertools.product(sources, targets):
                is_value = mixed[source] in (double, add)
                is_function = not isinstance(mixed[target], Routine)
                mapping = {"result": "n"} if is_value and is_function else None
                flow.connect(ids[source], "output", ids[target], "input", mapping)
    return flow


groups = st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True)


@given(
    chains=st.lists(st.lists(groups, min_size=1, max_size=4), min_size=1, max_size=4),
    how=st.lists(st.integers(0, 2), max_size=8),
)
def test_chains_draw_what_connect_draws(chains, how):
    saved = [
        draw(chains, [double, Relay(), add, Relay(), both], *more).serialize()
        for draw, more in ((draw_by_chains, [how]), (draw_by_hand, []))
    ]
    assert saved[0] == saved[1]
    assert json.loads(json.dumps(saved[0])) == saved[0]
