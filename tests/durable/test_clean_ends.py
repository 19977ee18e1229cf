"""A program that ends without a shutdown leaves what its handlers have done as done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from routilux.stores import open_store
from tests.drawings import DEADLINE

PROGRAM = """
import os, sys, threading
from routilux import Flow, Routine

ending = threading.Event()
threading._register_atexit(ending.set)  # before the pools' threads are waited for, whose turn comes next

class Works(Routine):
    def __init__(self):
        super().__init__()
        self.define_event("e")
        self.define_slot("trigger", handler=self.begin)
        self.define_slot("input", handler=self.work)

    def begin(self):
        for v in range(3):
            self.emit("e", v=v)
        self.emit_later("e", delay=3600, data={"v": 99})

    def work(self, v):
        ending.wait()

def main():
    flow = Flow("f", store="runs.db")
    flow.add_routine(Works(), "r")
    flow.connect("r", "e", "r", "input")
    flow.execute("r", job_id="j")

main()
"""

FORKS = """
if os.fork() == 0:
    sys.exit()
os.wait()
"""


@pytest.mark.parametrize("ending", ["sys.exit()", FORKS])
def test_what_was_settled_while_the_program_ended_is_kept(tmp_path: Path, ending: str) -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM + ending],
        cwd=tmp_path,
        env=environment,
        timeout=DEADLINE,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    store = open_store(str(tmp_path / "runs.db"))
    run = store.load("j")
    store.close()
    assert run.status == "running"
    assert [record.event_name for record in run.execution_history].count("completed") == 4
    assert [(task["was"], task["data"]) for task in run.pending_tasks] == [("queued", {"v": 99})]
