"""What a routine emits for a delivery, seen in the history of a run; flows that go through JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from routilux import Flow, Routine
from routilux.testing import activate
from tests.drawings import draw, wait

__all__ = ["heard", "heard_in", "in_new_process", "one", "restored"]

ROOT = Path(__file__).parents[1]


def heard_in(flow: Flow, routine_id: str = "tested") -> list[tuple[str, dict[str, Any]]]:
    """Run a flow from its `source`; what a routine of it emitted, as (event, data)."""
    job_state = wait(flow, flow.execute("source"))
    assert job_state.errors == [], job_state.errors[0].data
    records = job_state.execution_history
    return [(each.event_name, each.data) for each in records if each.is_emission and each.routine_id == routine_id]


def heard(routine: Routine, *deliveries: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What a routine emits when its slot `input` gets these deliveries, one after the other."""
    found = []
    for each in deliveries:
        seen = activate(routine, "input", **each)
        assert seen.error is None, seen.error
        found += seen.emitted()
    return found


def one(routine: Routine, value: Any) -> dict[str, Any]:
    """The data of the one emission for a value; the slot gets it as `data`."""
    ((_, data),) = heard(routine, {"data": value})
    return data


def restored(routine: Routine) -> Any:
    """The routine as it comes out of a saved flow: through JSON text, into a new Flow."""
    flow = draw(tested=routine)
    copy = Flow()
    copy.deserialize(json.loads(json.dumps(flow.serialize())))
    return copy.routines["tested"]


def in_new_process(program: str, given: Any) -> Any:
    """Run a program in a process of its own; it finds `given`, and what it puts into `result` comes back."""
    whole = f"import json, sys\ngiven = json.loads(sys.stdin.read())\n{program}\nprint(json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", whole],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
