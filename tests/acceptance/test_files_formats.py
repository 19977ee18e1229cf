"""Every format that was ever written still loads, and its runs go on. New formats add files to `tests/data`."""

import json
import math
from datetime import datetime
from pathlib import Path

import pytest

from routilux import Flow, JobState
from routilux.testing import FakeClock, ManualExecutor
from tests.registered import Hopper, Patient, newest_wins

DATA = Path(__file__).parents[1] / "data"

each_state = pytest.mark.parametrize("name", ["job_state_format_1.json", "job_state_oldest_form.json"])


def saved_flow():
    flow = Flow(executor=ManualExecutor(), clock=FakeClock())
    flow.deserialize(json.loads((DATA / "flow_format_1.json").read_text()))
    return flow


def test_there_is_a_test_for_every_file():
    # What is called `runs_*.db` is found by its test itself.
    names = {path.name for path in DATA.glob("*.json")} | {path.name for path in DATA.glob("store_*.db")}
    assert names == {
        "flow_format_1.json",
        "job_state_format_1.json",
        "job_state_oldest_form.json",
        "store_version_1.db",
    }


def test_a_flow_of_format_1_is_what_it_was():
    flow = saved_flow()
    assert (flow.flow_id, flow.execution_strategy, flow.max_workers, flow.execution_timeout) == (
        "saved-flow",
        "concurrent",
        3,
        60.0,
    )
    a, b, c = flow.routines.values()
    assert [routine._id for routine in (a, b, c)] == ["hopper-a", "hopper-b", "hopper-c"]
    assert {type(routine) for routine in (a, b, c)} == {Hopper}
    assert b.config() == {"emits": ["out"], "colour": "é", "_type": "callable"}
    assert type(b.get_error_handler()) is Patient
    assert (c.get_slot("extra").handler, c.get_slot("extra").merge_strategy) == (c.hop, newest_wins)
    assert c.get_event("later").output_params == ["when"]
    assert flow.error_handler.retryable_exceptions == (ValueError, OSError)
    assert [repr(each) for each in flow.connections] == [
        "Connection[a.out -> b.left]",
        "Connection[a.back -> c.right] {'value': 'said'}",
        "Connection[b.out -> c.right]",
        "Connection[b.out -> c.extra]",
        "Connection[c.back -> a.merged]",
    ]


@each_state
def test_a_state_is_what_it_was(name):
    state = JobState.load(DATA / name)
    assert (state.flow_id, state.job_id) == ("saved-flow", "5d0fb1d7-8d0f-4b57-9c5d-000000000001")
    assert (state.status, state.current_routine_id) == ("paused", "c")
    assert state.created_at <= datetime(2023, 11, 15, 22)
    assert state.shared_data == {"numbers": [1, 2.5, math.inf, None, True]}
    assert state.shared_log[0]["got"]["text"] == "\ud83d\0é"
    assert state.metadata == {"who": {"_type": "callable", "name": "eval"}}
    assert state.outputs("answer")[0]["data"] == {"_type": "Flow", "text": "out"}
    assert state.checkpoint == {"step": 3}
    assert [record.event_name for record in state.get_execution_history("a")] == ["start", "out", "back", "completed"]
    assert [(entry["routine_id"], entry["slot"]) for entry in state.pending_tasks] == [("c", "extra"), ("a", "merged")]
    assert state.deferred_events[0]["event_name"] == "later"


@each_state
def test_a_run_goes_on(name):
    flow, state = saved_flow(), JobState.load(DATA / name)
    flow.resume(state)
    assert JobState.wait_for_completion(flow, state, timeout=20)
    assert state.status == "completed"
    assert [(entry["at"], entry["got"]["value"]) for entry in state.shared_log[4:]] == [("c", "b.out"), ("a", "c.back")]
    assert [record.event_name for record in state.get_execution_history("c")].count("later") == 1
    assert (state.pending_tasks, state.deferred_events) == ([], [])


@each_state
def test_what_is_loaded_is_saved_in_the_newest_format(name, tmp_path):
    state = JobState.load(DATA / name)
    state.save(tmp_path / "state.json")
    saved = json.loads((tmp_path / "state.json").read_text())
    assert saved["format_version"] == 1
    before = json.loads((DATA / name).read_text())
    assert {key: saved[key] for key in before if key != "execution_history"} == {
        key: value for key, value in before.items() if key != "execution_history"
    }
    assert [{**record, "is_emission": True} for record in saved["execution_history"]] == [
        {**record, "is_emission": True} for record in before["execution_history"]
    ]
