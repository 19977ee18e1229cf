"""An activation in which the process of its run dies again and again is a dead letter; the other runs go on."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.testing import ManualExecutor
from tests.contract.children import child
from tests.drawings import DEADLINE, entry, node

DIES = """
import threading
from routilux import Flow, JobState
from tests.drawings import entry, node


all_started = threading.Event()


def deadly(routine, data):
    all_started.wait()
    if data["n"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    routine.emit("output", n=data["n"])


flow = Flow("deadly", store=place, max_recoveries=int(arguments[0]))
flow.add_routine(entry(lambda routine, data: routine.emit("output", **data)), "start")
flow.add_routine(node(deadly), "step")
flow.add_routine(node(), "end")
flow.connect("start", "output", "step", "input")
flow.connect("step", "output", "end", "input")
found = flow.recover()
if not found:
    found = [flow.execute("start", {"n": n}, job_id=f"run {n}") for n in (1, 3, 5)]
all_started.set()
for each in found:
    JobState.wait_for_completion(flow, each, timeout=20.0)
flow.shutdown()
"""


@pytest.mark.parametrize("max_recoveries", [1, 3])
def test_a_run_whose_process_dies_in_one_activation_fails_with_it(max_recoveries: int, tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    ends = []
    while not ends or ends[-1] == -signal.SIGKILL:
        with child(DIES, place, max_recoveries) as process:
            ends.append(process.wait(timeout=DEADLINE))
    assert ends[-1] == 0
    # Perhaps once more: what is not kept of the first life may have been the beginning of that very activation.
    assert len(ends) - 1 in (max_recoveries, max_recoveries + 1)
    seen: list[int] = []
    with Flow("deadly", store=place) as flow:
        flow.add_routine(entry(lambda routine, data: None), "start")
        flow.add_routine(node(lambda routine, data: seen.append(data["n"])), "step")
        flow.add_routine(node(), "end")
        assert {header.job_id: header.status for header in flow.store.list_runs()} == {
            "run 1": "completed",
            "run 3": "failed",
            "run 5": "completed",
        }
        dead = flow.load("run 3")
        text = f"The process died {max_recoveries} times while this handler was at work"
        assert dead.routine_states["step"]["error"] == text
        assert [(task["routine_id"], task["was"], task["data"]) for task in dead.pending_tasks] == [
            ("step", "failed", {"n": 3})
        ]
        assert flow.recover() == []
        flow.resume(dead)  # the handler was repaired
        assert JobState.wait_for_completion(flow, dead, timeout=DEADLINE)
        assert (dead.status, seen) == ("completed", [3])


def test_after_a_crash_the_beginning_of_an_async_handler_is_kept_before_it_is_called(tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    kept: list[bool] = []

    def drawn(handler: Any, **options: Any) -> Flow:
        flow = Flow("deadly", store=place, execution_strategy="concurrent", max_workers=1, **options)
        step = Routine()
        step.define_slot("input", handler)
        flow.add_routine(entry(lambda routine, data: [routine.emit("output", n=n) for n in range(4)]), "start")
        flow.add_routine(step, "step")
        flow.connect("start", "output", "step", "input")
        return flow

    async def works(n: int) -> None:
        await asyncio.sleep(0)

    executor = ManualExecutor()
    flow = drawn(works, executor=executor)
    flow.execute("start", job_id="job")
    assert flow.store is not None
    flow.pause(flow.load("job"))
    flow.resume(flow.load("job"))
    flow.store.close()  # its process is no more

    async def looks(n: int) -> None:
        begun = [json.loads(row.body) for row in flow.store.rows("job")]
        kept.append(
            context().activation_id.rpartition(":")[2] in {op[1] for row in begun for op in row if op[0] == "b"}
        )

    def context() -> Any:
        found = flow.routines["step"].get_execution_context()
        assert found is not None
        return found

    with drawn(looks) as flow:
        (found,) = flow.recover()
        assert JobState.wait_for_completion(flow, found, timeout=DEADLINE)
    assert kept == [True] * 4
