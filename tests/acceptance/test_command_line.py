"""`python -m routilux runs ...` shows a saved run to a person, and refuses what is none."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routilux import ErrorHandler, JobState
from tests.drawings import draw, fails, node, source, wait


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    flow = draw("a -> b", a=source(1, 2), b=node(fails(ValueError("no good")), error_handler=ErrorHandler("stop")))
    job_state = wait(flow, flow.execute("a", job_id="order-17"))
    flow.shutdown()
    job_state.save(tmp_path / "run.json")
    return tmp_path / "run.json"


def run_command(*words: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "routilux", "runs", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_show_says_what_a_run_is_and_how_it_stands(saved: Path) -> None:
    done = run_command("show", saved)
    assert done.returncode == 0
    assert "run       order-17" in done.stdout
    assert "status    failed" in done.stdout
    assert "b  failed  no good" in done.stdout


def test_history_errors_and_pending_are_told_line_by_line(saved: Path) -> None:
    assert "a.output" in run_command("history", saved).stdout
    errors = run_command("errors", saved).stdout
    assert "b.error" in errors
    assert "ValueError: no good" in errors
    pending = run_command("pending", saved).stdout.splitlines()
    assert [line.split()[:2] for line in pending] == [["failed", "b.input"], ["queued", "b.input"]]


@pytest.mark.parametrize("view", ["show", "history", "errors", "pending"])
def test_every_view_is_there_for_programs_too(saved: Path, view: str) -> None:
    done = run_command(view, saved, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)


def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"_type": "Other"}')
    for name in ("other.json", "missing.json"):
        done = run_command("show", tmp_path / name)
        assert done.returncode == 2
        assert done.stdout == ""
        assert name in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_what_a_file_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    job_state = JobState("flow\x1b[2J")
    job_state.record_execution("a\nb", "x", {"text": "\x1b]0;title\x07"})
    job_state.save(tmp_path / "run.json")
    for view in ("show", "history"):
        assert "\x1b" not in run_command(view, tmp_path / "run.json").stdout
