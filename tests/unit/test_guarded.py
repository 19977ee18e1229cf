"""A guarded dict is a dict that may be walked while it is written."""

import copy
import json
import pickle
import threading

from hypothesis import given
from hypothesis import strategies as st

from routilux.guarded import GuardedDict
from tests.drawings import in_thread

PAIRS = st.dictionaries(st.text(max_size=3), st.integers(), max_size=5)


@given(PAIRS, PAIRS, st.text(max_size=3))
def test_it_behaves_as_a_dict(before, more, key):
    plain, guarded = dict(before), GuardedDict(before)
    for each in (plain, guarded):
        each.update(more)
        each[key] = 1
        each.setdefault(key, 2)
        each.setdefault("new", 3)
        each.pop("new")
        each |= {"joined": 4}
    assert guarded == plain
    assert list(guarded) == list(plain)
    assert list(guarded.items()) == list(plain.items())
    assert list(guarded.values()) == list(plain.values())
    assert guarded.copy() == plain
    assert guarded.pop("absent", 7) == 7
    assert guarded.popitem() == plain.popitem()
    del guarded[key], plain[key]
    assert guarded == plain
    guarded.clear()
    assert guarded == {}


def test_a_walk_sees_the_moment_at_which_it_began():
    guarded = GuardedDict({"a": 1, "b": 2})
    seen = []
    for key in guarded:
        seen.append(key)
        guarded[key + "x"] = 0
    assert seen == ["a", "b"]
    for key in guarded.keys():  # noqa: SIM118 - the view is what is tested
        guarded.pop(key)
    assert guarded == {}


def test_writers_and_walkers_in_many_threads_do_not_disturb_each_other():
    guarded = GuardedDict({})
    stop = threading.Event()

    def write(name: str) -> None:
        for number in range(3000):
            guarded[f"{name}{number}"] = number

    def walk() -> int:
        count = 0
        while not stop.is_set():
            assert len(dict(guarded.items())) <= 6000
            assert all(isinstance(value, int) for value in guarded.values())
            assert all(key in guarded for key in guarded)
            count += 1
        return count

    walkers = [in_thread(walk) for _ in range(2)]
    writers = [in_thread(lambda name=name: write(name)) for name in "ab"]
    for join in writers:
        join()
    stop.set()
    for join in walkers:
        join()
    assert len(guarded) == 6000


def test_copies_are_plain_dicts():
    guarded = GuardedDict({"a": [1]})
    for twin in (copy.deepcopy(guarded), pickle.loads(pickle.dumps(guarded))):
        assert type(twin) is dict
        assert twin == {"a": [1]}
        assert twin["a"] is not guarded["a"]


def test_it_is_written_as_json_like_any_dict():
    assert json.loads(json.dumps(GuardedDict({"a": {"b": 1}}))) == {"a": {"b": 1}}
