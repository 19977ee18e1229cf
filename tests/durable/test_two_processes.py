"""Several processes on one store: each run is driven by one at a time, and who has lost a run writes nothing more."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from routilux import Flow
from routilux.stores.opening import open_store
from routilux.testing.journal_checks import Life, problems_of, result_of
from tests.contract.children import child, rest_of, said, tell
from tests.drawings import DEADLINE, entry, node
from tests.durable.deadlines import until

pytestmark = pytest.mark.timeout(120)

# Handlers hold a lock of the system on a file of their run's name while they are at work; it ends with the process.
COMPETING = """
import fcntl
import threading
from routilux import Flow, JobState
from tests.drawings import entry, node

folder, name, mode = arguments
started = threading.Event()


def alone(routine, data):
    job_id = routine.get_execution_context().job_state.job_id
    with open(f"{folder}/{job_id}", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if mode == "begins":
            started.set()
            threading.Event().wait()
        if data["n"]:
            routine.emit("output", n=data["n"] - 1)


flow = Flow("competing", store=place)
flow.add_routine(entry(lambda routine, data: routine.emit("output", **data)), "start")
flow.add_routine(node(alone), "step")
flow.connect("start", "output", "step", "input")
flow.connect("step", "output", "step", "input")
"""

BEGINS = (
    COMPETING
    + """
for number in range(100):
    flow.execute("start", {"n": 5}, job_id=f"old {number}")
started.wait()
say("begun")
os.kill(os.getpid(), signal.SIGKILL)
"""
)

COMPETES = (
    COMPETING
    + """
say("ready")
sys.stdin.readline()
found = flow.recover()
for number in range(100):
    found.append(flow.execute("start", {"n": 5}, job_id=f"new {number}"))
    if number == 50:
        say("at work")
say("started")
while flow.store.list_runs(status="running", flow_id="competing"):
    for job_state in flow.recover():
        JobState.wait_for_completion(flow, job_state, timeout=50.0)
    threading.Event().wait(0.01)
say("nothing is left")
os._exit(0)  # whoever is killed does not tidy up, and whoever goes on has nothing to tidy up
"""
)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> str:
    """The path or URL of a store of its own."""
    given: Callable[[], str] = request.getfixturevalue("new_file" if request.param == "sqlite" else "new_schema")
    return given()


def test_two_processes_compete_for_two_hundred_runs_and_one_is_killed(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    folder.mkdir()
    with child(BEGINS, place, folder, "first", "begins") as first:
        assert said(first) == "begun"
        assert first.wait(timeout=DEADLINE) == -signal.SIGKILL
    with child(COMPETES, place, folder, "a", "works") as one, child(COMPETES, place, folder, "b", "works") as other:
        for process in (one, other):
            assert said(process) == "ready"
        for process in (one, other):
            tell(process)
        assert said(one) == "at work"
        one.kill()
        one.wait(timeout=DEADLINE)
        assert rest_of(other).splitlines()[-1] == "nothing is left"
    with closing(open_store(place)) as store:
        runs = store.list_runs()
        assert len(runs) == 200
        lives = {header.job_id: Life(header, store.rows(header.job_id)) for header in runs}
    assert {life.status for life in lives.values()} == {"completed"}
    wanted = {name: result_of(lives[f"{name} 99"], None) for name in ("old", "new")}
    for job_id, life in lives.items():
        assert list(problems_of([life], wanted[job_id.split()[0]])) == [], job_id


STOPS = """
import threading
from routilux import Flow, JobState
from tests.drawings import entry, node

outside = threading.RLock()


class Stoppable(Backend):
    def _change(self, *args, **more):
        with outside:
            return super()._change(*args, **more)

    def _append(self, *args):
        with outside:
            return super()._append(*args)


called = []


def stops(routine, data):
    called.append(data["n"])
    if data["n"] > -5:
        routine.emit("output", n=data["n"] - 1)
        routine.emit("output", n=data["n"] - 2)
    if data["n"] == 5:
        with outside:  # no transaction of this process is open
            os.kill(os.getpid(), signal.SIGSTOP)
            threading.Event().wait(0.1)  # the signal may come a moment later


flow = Flow("stopped", store=Stoppable(place, level=arguments[0], lease_seconds=0.3), execution_timeout=None)
flow.add_routine(entry(lambda routine, data: routine.emit("output", **data)), "start")
flow.add_routine(node(stops), "step")
flow.connect("start", "output", "step", "input")
flow.connect("step", "output", "step", "input")
job_state = flow.execute("start", {"n": 5}, job_id="job")
try:
    JobState.wait_for_completion(flow, job_state, timeout=30.0)
    say("no error")
except LeaseLostError as error:
    say(str(error))
say(called)
fresh = flow.execute("start", {"n": -1}, job_id="fresh")
flow.cancel(fresh)
say(fresh.status)
loaded = flow.load("job")
say(loaded.status)
"""


@pytest.mark.parametrize("level", ["group", "sync"])
def test_a_process_that_was_stopped_past_its_lease_writes_nothing_and_starts_afresh(level: str, place: str) -> None:
    seen: list[int] = []

    def counts_down(routine: object, data: dict[str, int]) -> None:
        seen.append(data["n"])
        if data["n"] > 4:
            routine.emit("output", n=data["n"] - 1)  # type: ignore[attr-defined]
            routine.emit("output", n=data["n"] - 2)  # type: ignore[attr-defined]

    flow = Flow("stopped", store=place)
    flow.add_routine(entry(lambda routine, data: routine.emit("output", **data)), "start")
    flow.add_routine(node(counts_down), "step")
    flow.connect("start", "output", "step", "input")
    flow.connect("step", "output", "step", "input")
    with child(STOPS, place, level) as process, flow:
        assert os.WIFSTOPPED(_status_of(process))
        found = []
        until(lambda: found.extend(flow.recover()) or found)  # as soon as its lease has run out
        until(lambda: found[0].status == "completed")
        assert seen == [5, 4, 3]
        rows = flow.store.rows("job")
        process.send_signal(signal.SIGCONT)
        assert "may go on in another process" in said(process)
        # It finds out with the next group that it writes; what it had queued by then is dropped.
        assert len(said(process).split(",")) < 128 + 10
        assert said(process) == "cancelled"  # a new run of its own
        assert said(process) == "completed"  # as the other process has left it
        assert flow.store.rows("job") == rows
        rest_of(process)


def _status_of(process: "subprocess.Popen[str]") -> int:
    """Wait until a process has stopped itself."""
    found: list[int] = []
    waiter = threading.Thread(target=lambda: found.append(os.waitpid(process.pid, os.WUNTRACED)[1]), daemon=True)
    waiter.start()
    waiter.join(DEADLINE)
    assert found, "it has not stopped"
    return found[0]
