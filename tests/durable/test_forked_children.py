"""A forked child owns none of its parent's runs, and shares no connection with it."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from routilux import Flow, JobState
from tests.drawings import DEADLINE, entry, node


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("level", ["group", "sync"])
def test_a_forked_child_leaves_its_parents_runs_alone_and_has_runs_of_its_own(level: str, tmp_path: Path) -> None:
    at_work, may_go = threading.Event(), threading.Event()
    seen: list[int] = []

    def waits(routine: Any, data: dict[str, Any]) -> None:
        seen.append(data["n"])
        if data["n"] == 5:
            at_work.set()
            assert may_go.wait(DEADLINE)
        if data["n"]:
            routine.emit("output", n=data["n"] - 1)

    flow = Flow("forking", store=tmp_path / "runs.db", store_level=level)
    flow.add_routine(entry(lambda routine, data: routine.emit("output", **data)), "start")
    flow.add_routine(node(waits), "step")
    flow.connect("start", "output", "step", "input")
    flow.connect("step", "output", "step", "input")
    with flow:
        job_state = flow.execute("start", {"n": 5}, job_id="parent's")
        assert at_work.wait(DEADLINE)
        driver = flow.store.driver
        child = os.fork()
        if child == 0:
            os._exit(_found_in_child(flow, job_state, driver))
        status = os.waitpid(child, 0)[1]
        may_go.set()
        assert os.waitstatus_to_exitcode(status) == 0
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        assert seen == [5, 4, 3, 2, 1, 0]
        assert flow.store.driver == driver
        assert flow.store.find("child's").status == "completed"
        assert flow.load("parent's").serialize() == job_state.serialize()


def _found_in_child(flow: Flow, job_state: JobState, driver: str) -> int:
    """0, or the number of what was not as it must be."""
    if flow.store.driver == driver:
        return 1
    if flow.recover():
        return 2
    try:
        flow.resume(job_state)
    except RuntimeError:
        pass
    else:
        return 3
    mine = flow.execute("start", {"n": 2}, job_id="child's")
    if not JobState.wait_for_completion(flow, mine, timeout=DEADLINE) or mine.status != "completed":
        return 4
    flow.shutdown()
    return 0
