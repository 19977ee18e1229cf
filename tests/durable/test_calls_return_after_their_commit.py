"""What a caller does from outside is in the store when the call returns, whatever happens to the process then."""

import signal
from pathlib import Path
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.stores.sqlite import SQLiteStore
from tests.contract.children import child, said, tell
from tests.drawings import DEADLINE, entry, node

DRAWING = """
import threading
from routilux import Flow, JobState
from tests.drawings import entry, node

level, call = arguments
at_work, may_go = threading.Event(), threading.Event()


def waits(routine, data):
    at_work.set()
    may_go.wait()


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


flow = Flow("calls", store=place, store_level=level)
flow.add_routine(entry(lambda routine, data: routine.emit("output", **data)), "start")
flow.add_routine(node(waits), "step")
flow.connect("start", "output", "step", "input")
job_state = flow.execute("start", {"n": 1}, job_id="job")
"""


@pytest.mark.parametrize("level", ["group", "sync"])
@pytest.mark.parametrize("call", ["execute", "pause", "resume", "cancel"])
def test_the_store_knows_of_a_call_that_has_returned(call: str, level: str, tmp_path: Path) -> None:
    steps = {
        "execute": "",
        "pause": "at_work.wait()\nflow.pause(job_state, reason='look')",
        "resume": "at_work.wait()\nflow.pause(job_state)\nflow.resume(job_state)",
        "cancel": "at_work.wait()\nflow.cancel(job_state, reason='enough')",
    }
    status = {"execute": "running", "pause": "paused", "resume": "running", "cancel": "cancelled"}[call]
    place = tmp_path / "runs.db"
    no_grace = "import routilux.flow.controls as controls\ncontrols.GRACE_SECONDS = 0.0\n"  # for handlers at work
    with child(DRAWING + no_grace + steps[call] + "\ndies()\n", place, level, call) as process:
        assert process.wait(timeout=DEADLINE) == -signal.SIGKILL
    store = SQLiteStore(place)
    header = store.find("job")
    assert header is not None
    assert header.status == status
    store.close()


def drawn(place: Path, called: list[int]) -> Flow:
    flow = Flow("calls", store=place)

    def starts(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", n=data["n"])
        if data.get("pauses"):
            flow.pause(routine.get_execution_context().job_state)

    flow.add_routine(entry(starts), "start")
    flow.add_routine(node(lambda routine, data: called.append(data["n"])), "step")
    flow.connect("start", "output", "step", "input")
    return flow


def paused_in(place: Path) -> None:
    """A run that was paused before its second step, by a process that is gone."""
    with drawn(place, []) as flow:
        assert flow.execute("start", {"n": 1, "pauses": True}, job_id="job").status == "paused"


@pytest.mark.parametrize("call", ["cancel", "pause"])
def test_a_call_about_a_run_that_was_loaded_is_kept_as_well(call: str, tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    paused_in(place)
    called: list[int] = []
    with drawn(place, called) as flow:
        getattr(flow, call)(flow.load("job"), reason="seen")
    with drawn(place, called) as flow:
        loaded = flow.load("job")
        assert loaded.status == {"cancel": "cancelled", "pause": "paused"}[call]
        if call == "cancel":
            assert loaded.routine_states["_cancellation"] == {"reason": "seen"}
        else:
            assert loaded.pause_points[-1]["reason"] == "seen"
            flow.resume(loaded)
            assert JobState.wait_for_completion(flow, loaded, timeout=DEADLINE)
    assert called == ([] if call == "cancel" else [1])


def test_a_run_that_another_process_drives_is_not_cancelled_here(tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    script = DRAWING + "at_work.wait()\nsay('at work')\nsys.stdin.readline()\n" + "dies()\n"
    with child(script, place, "group", "") as process, drawn(place, []) as flow:
        assert said(process) == "at work"
        loaded = flow.load("job")
        with pytest.raises(RuntimeError, match="drive"):
            flow.cancel(loaded)
        assert loaded.status == "running"
        tell(process)
        process.wait(timeout=DEADLINE)
        flow.cancel(flow.load("job"))  # nobody drives it any more, and what it did last was kept after it was loaded
        assert flow.store.find("job").status == "cancelled"
