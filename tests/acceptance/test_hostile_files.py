"""A file can do no harm: loading it opens nothing else, imports, compiles, builds and executes nothing."""

import copy
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routilux import Flow, JobState
from routilux.pending_data import saved_form
from tests import registered
from tests.hostile import BUILT, EDITS, TRICKS, edited, good_flow, good_state

assert registered  # the flow of the corpus has its routines

ROOT = Path(__file__).parents[2]

# What CPython reports for looking at a function's code or at the stack, and for an array: nothing comes of it.
HARMLESS = "object.__getattr__ sys._getframe builtins.id array.__new__"

# Loads everything of the corpus while an audit hook looks on, and prints what the hook has seen.
WATCHED = """
import importlib.util, json, logging, sys
from pathlib import Path
folder, kind, step, offset = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for name in ("hostile_module", "late_module"):
    (folder / f"{name}.py").write_text(
        f"open({str(folder / 'mark')!r}, 'w').close()\\ndef run(data): pass\\nclass Error(Exception): pass\\n"
    )
sys.path.insert(0, str(folder))
spec = importlib.util.spec_from_file_location("late_module", folder / "late_module.py")
spec.loader = importlib.util.LazyLoader(spec.loader)
late = sys.modules["late_module"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(late)

from routilux import Flow, JobState
from tests import hostile, registered
logging.disable()

seen, opened, watching = [], [], False
harmless = sys.argv[5].split()
def hook(event, args):
    if watching and event not in harmless:
        if event == "open" and str(args[0]) == str(path):
            opened.append(event)
        else:
            seen.append(f"{event} {args!r:.200}")
sys.addaudithook(hook)

corpus = hostile.state_corpus() if kind == "state" else hostile.flow_corpus()
path, problems, outcomes = folder / "file.json", [], {"loaded": 0, "refused": 0}
for number, (name, make) in enumerate(corpus):
    if number % step != offset:
        continue
    text = json.dumps(make())
    path.write_text(text)
    flow, modules = Flow(), set(sys.modules)
    hostile.BUILT.clear()
    watching = True
    try:
        if kind == "state":
            loaded = JobState.load(path)
        else:
            data = json.loads(path.read_text())
            flow.deserialize(data)
        outcome = "loaded"
    except (ValueError, TypeError):
        outcome = "refused"
    except BaseException as error:
        outcome = "refused"
        problems.append([name, f"{type(error).__name__}: {error!s:.200}"])
    watching = False
    outcomes[outcome] += 1
    if seen or set(sys.modules) != modules or len(opened) != 1:
        problems.append([name, seen[:3], sorted(set(sys.modules) - modules)[:3], len(opened)])
    if hostile.BUILT and (kind == "state" or not hostile.may_be_built(data)):
        problems.append([name, hostile.BUILT[:3]])
    seen.clear(), opened.clear()
print(json.dumps({"problems": problems[:10], "marked": (folder / "mark").exists(), **outcomes}))
"""


def watched(folder: Path, kind: str, step: int, offset: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(folder), kind, str(step), str(offset), HARMLESS],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", ["state", "flow"])
def test_loading_hostile_data_opens_imports_compiles_builds_and_executes_nothing(tmp_path, kind):
    found = watched(tmp_path, kind, 23)
    assert found["problems"] == []
    assert not found["marked"]
    assert found["loaded"] > 50
    assert found["refused"] > 50


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["state", "flow"])
def test_loading_any_hostile_data_opens_imports_compiles_builds_and_executes_nothing(tmp_path, kind):
    found = watched(tmp_path, kind, 1)
    assert (found["problems"], found["marked"]) == ([], False)


def test_the_watch_would_see_it():
    # The same hook, over serilux's own way of restoring: it imports, and it evaluates.
    program = """
import sys
import serilux
from tests.registered import Part
seen = []
sys.addaudithook(lambda event, args: seen.append(event))
Part().deserialize({"act": {"_type": "callable", "callable_type": "function", "module": "colorsys", "name": "x"}})
print({"open", "exec"} <= set(seen), "colorsys" in sys.modules)
seen.clear()
Part().deserialize({"act": {"_type": "lambda_expression", "expression": "data"}})
print("compile" in seen)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.split() == ["True", "True", "True"], done.stderr


# -- user data with tricks in them load, and are what they were


@pytest.mark.parametrize("trick", TRICKS.values(), ids=list(TRICKS))
def test_a_trick_in_user_data_is_just_data(trick, tmp_path):
    data = good_state()
    data["shared_data"]["x"] = data["metadata"]["x"] = data["shared_log"][0]["x"] = trick
    data["output_log"][0]["data"] = data["deferred_events"][0]["data"] = {"x": trick}
    data["execution_history"][0]["data"] = data["pending_tasks"][0]["data"] = {"x": trick}
    data["routine_states"]["a"] = data["pause_points"][0]["checkpoint"] = {"x": trick}
    data["slot_data"]["a"]["trigger"] = {"x": trick}
    (tmp_path / "state.json").write_text(json.dumps(data))
    BUILT.clear()
    saved = JobState.load(tmp_path / "state.json").serialize()
    assert json.dumps(saved, sort_keys=True) == json.dumps(data, sort_keys=True)
    assert BUILT == []


@pytest.mark.parametrize("trick", TRICKS.values(), ids=list(TRICKS))
def test_a_trick_in_a_config_or_in_a_slots_data_is_just_data(trick):
    data = good_flow()
    data["routines"]["a"]["_config"] = {"x": trick}
    data["routines"]["a"]["_slots"]["left"]["_data"] = {"x": trick}
    BUILT.clear()
    flow = Flow()
    flow.deserialize(data)
    assert json.dumps(flow.serialize(), sort_keys=True) == json.dumps(data, sort_keys=True)
    assert BUILT == []


# -- size and depth

STATE_TEXT_FIELDS = ["flow_id", "job_id", "status", "current_routine_id"]


def refused(cls: type, data: Any) -> bool:
    """Whether the data are refused as they should be; what is loaded can be saved."""
    loaded = cls()
    try:
        loaded.deserialize(data)
    except (ValueError, TypeError) as error:
        return len(str(error)) < 3000
    json.dumps(loaded.serialize())
    return False


def nested(depth: int, kind: type) -> Any:
    value: Any = kind()
    for _ in range(depth):
        value = {"a": value} if kind is dict else [value]
    return value


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("depth", [390, 500, 900, 10_000])
def test_ten_thousand_levels_are_refused_wherever_they_are_looked_at(kind, depth):
    deep = nested(depth, kind)
    for key in good_state():
        assert refused(JobState, {**good_state(), key: deep}) or depth < 400 or key == "_type", key
    # Policies, slots and events are dicts: what is unknown in them is not looked at.
    for key in good_flow():
        assert refused(Flow, {**good_flow(), key: deep}) or depth < 400 or key in ("_type", "error_handler"), key
    for key in good_flow()["routines"]["d"]:
        data = good_flow()
        data["routines"]["d"][key] = deep
        assert refused(Flow, data) or depth < 400 or key in ("_error_handler", "_slots", "_events"), key
    for key in good_flow()["routines"]["c"]["_slots"]["extra"]:
        data = good_flow()
        data["routines"]["c"]["_slots"]["extra"][key] = deep
        assert refused(Flow, data) or depth < 400 or key in ("_type", "name"), key


@pytest.mark.parametrize("text", ["[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000, "[" * 10**6])
def test_a_file_of_ten_thousand_levels_is_refused_by_name(tmp_path, text):
    path = tmp_path / "state.json"
    path.write_text('{"_type": "JobState", "shared_data": ' + text + "}")
    with pytest.raises(ValueError, match=r"state\.json is not a JobState"):
        JobState.load(path)


@pytest.mark.parametrize("length", [10**6, pytest.param(10**8, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_huge_text_is_taken_or_refused(tmp_path, length):
    text, path = "é" * length if length < 10**7 else "x" * length, tmp_path / "state.json"
    for key in STATE_TEXT_FIELDS:
        state = JobState()
        state.deserialize({key: text})
        assert getattr(state, key) == text
    state = JobState("f")
    state.shared_data = {"text": text}
    state.save(path)
    assert JobState.load(path).shared_data == {"text": text}
    path.write_text(f'{{"_type": "{text}"}}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"state\.json is not a JobState") as raised:
        JobState.load(path)
    assert len(str(raised.value)) < 1000
    for key in ("created_at", "routine_states", "execution_history", "pending_tasks", "format_version"):
        assert refused(JobState, {key: text}), key
    for key in ("error_handler", "routines", "connections", "max_workers", "execution_timeout"):
        assert refused(Flow, {key: text}), key
    good = good_flow()["routines"]["a"]
    callable_data = {"_type": "callable", "callable_type": "function", "module": text, "name": text}
    for wrong in (
        {"_type": text},
        {"_slots": {"new": {"merge_strategy": text}}},
        {"_slots": {"new": {"handler": callable_data}}},
        {"_error_handler": {"_type": text}},
        {"_error_handler": {"strategy": text[:1000]}},
        {"_error_handler": {"retryable_exceptions": [text]}},
        {"_error_handler": {"retryable_exceptions": ["." * length]}},
    ):
        assert refused(Flow, {"routines": {"a": {**good, **wrong}}})


def test_a_text_that_is_no_strategy_is_refused_however_long_it_is():
    for wrong in ({"execution_strategy": "x" * 10**7}, {"error_handler": {"strategy": "override" * 10**6}}):
        with pytest.raises(ValueError, match="strategy"):
            Flow().deserialize(wrong)


# -- changed at random


def normal_state(data: dict[str, Any]) -> dict[str, Any]:
    """Data of a state as they come back: the known keys, times as times, payloads as digests."""
    defaults = {**JobState().serialize(), "is_emission": False}
    known = {key: value for key, value in data.items() if key in defaults and key != "_type"}
    known.pop("format_version", None)
    for key in ("created_at", "updated_at"):
        if key in known:
            known[key] = normal_time(known[key])
    known["execution_history"] = [
        {
            key: normal_time(value) if key == "timestamp" else value
            for key, value in record.items()
            if key in ("routine_id", "event_name", "data", "timestamp") or (key == "is_emission" and value)
        }
        for record in known.get("execution_history", [])
    ]
    known["pending_tasks"] = [saved_form(entry, "x") for entry in known.get("pending_tasks", [])]
    known["slot_data"] = {routine_id: slots for routine_id, slots in known.get("slot_data", {}).items() if slots}
    return known


def normal_time(text: str) -> str:
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo is None else instant.astimezone().replace(tzinfo=None)).isoformat()


def check_state(data: dict[str, Any]) -> bool:
    """Whether data load. Asserts that they load to an equal state, or are refused and change nothing."""
    state = JobState("before")
    before, given_data = json.dumps(state.serialize()), copy.deepcopy(data)
    try:
        state.deserialize(data)
    except (ValueError, TypeError):
        assert json.dumps(state.serialize()) == before
        return False
    finally:
        assert repr(data) == repr(given_data)
    saved, expected = state.serialize(), normal_state(data)
    found = normal_state({key: saved[key] for key in saved if key in data})
    for key, value in expected.items():
        if key == "execution_history":
            pairs = zip(found[key], value, strict=True)
            found[key] = [{name: one[name] for name in other} for one, other in pairs]
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)
    assert len(repr(state)) > 0
    assert state.errors is not None
    assert state.checkpoint is not None or state.pause_points
    return True


def parts_of_flow(data: dict[str, Any]) -> dict[str, Any]:
    """What of the data of a flow has to come back, whatever the constructors of its routines do."""
    found = {key: data[key] for key in ("flow_id", "execution_strategy") if key in data}
    for routine_id, routine in data["routines"].items() if "routines" in data else ():
        found[f"config of {routine_id}"] = routine.get("_config", {})
        if "_id" in routine:
            found[f"id of {routine_id}"] = routine["_id"]
        for name, slot in routine.get("_slots", {}).items():
            found[f"data of {routine_id}.{name}"] = slot.get("_data", {})
    return found


def check_flow(data: dict[str, Any]) -> bool:
    """As `check_state`, for a flow."""
    flow = Flow("before")
    before, given_data = json.dumps(flow.serialize()), copy.deepcopy(data)
    try:
        flow.deserialize(data)
    except (ValueError, TypeError):
        assert json.dumps(flow.serialize()) == before
        return False
    finally:
        assert repr(data) == repr(given_data)
    saved = flow.serialize()
    again = Flow()
    again.deserialize(json.loads(json.dumps(saved)))
    assert json.dumps(normal_flow(again.serialize())) == json.dumps(normal_flow(saved))
    found, expected = parts_of_flow(saved), parts_of_flow(data)
    assert json.dumps({key: found[key] for key in expected}) == json.dumps(expected)
    assert len(repr(flow)) > 0
    return True


def normal_flow(data: dict[str, Any]) -> dict[str, Any]:
    """Without what a constructor makes anew each time: the id of a routine that the data did not name."""
    text = json.dumps(data)
    for routine in data["routines"].values():
        text = text.replace(json.dumps(routine["_id"]), '"an id"')
    found: dict[str, Any] = json.loads(text)
    return found


def test_what_was_not_changed_loads():
    # Without this, the tests below would pass where everything is refused.
    assert check_state(good_state())
    assert check_flow(good_flow())


FAST = settings(max_examples=300, suppress_health_check=list(HealthCheck))
THOROUGH = settings(max_examples=10_000, suppress_health_check=list(HealthCheck))


@FAST
@given(EDITS)
def test_a_changed_state_loads_to_an_equal_one_or_is_refused(edits):
    check_state(edited(good_state(), edits))


@FAST
@given(EDITS)
def test_a_changed_flow_loads_to_an_equal_one_or_is_refused(edits):
    check_flow(edited(good_flow(), edits))


@pytest.mark.slow
@pytest.mark.timeout(900)
@THOROUGH
@given(EDITS)
def test_ten_thousand_changed_states_load_to_equal_ones_or_are_refused(edits):
    check_state(edited(good_state(), edits))


@pytest.mark.slow
@pytest.mark.timeout(900)
@THOROUGH
@given(EDITS)
def test_ten_thousand_changed_flows_load_to_equal_ones_or_are_refused(edits):
    check_flow(edited(good_flow(), edits))


BYTES = st.lists(
    st.tuples(st.integers(0, 100_000), st.integers(0, 12), st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"]"])),
    min_size=1,
    max_size=3,
)


@FAST
@given(changes=BYTES)
def test_a_file_with_changed_bytes_loads_to_an_equal_state_or_is_refused(tmp_path_factory, changes):
    path, content = tmp_path_factory.getbasetemp() / "changed.json", json.dumps(good_state()).encode()
    for position, length, replacement in changes:
        start = position % len(content)
        content = content[:start] + replacement + content[start + length :]
    path.write_bytes(content)
    try:
        state = JobState.load(path)
    except ValueError as error:
        if "changed.json" in str(error):
            return
        raise
    assert check_state(json.loads(content.decode("utf-8-sig")))
    again = JobState()
    again.deserialize(state.serialize())
    assert json.dumps(again.serialize()) == json.dumps(state.serialize())
