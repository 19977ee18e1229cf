"""`python -m routilux runs ...` shows a saved run to a person, and refuses what is none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState
from tests.drawings import DEADLINE, draw, fails, node, source, wait

POSIX_PIPES = pytest.mark.skipif(os.name != "posix", reason="closed pipes as POSIX has them")
VIEWS = ["show", "history", "errors", "pending"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    flow = draw("a -> b", a=source(1, 2), b=node(fails(ValueError("no good")), error_handler=ErrorHandler("stop")))
    job_state = wait(flow, flow.execute("a", job_id="order-17"))
    flow.shutdown()
    job_state.save(tmp_path / "run.json")
    return tmp_path / "run.json"


def command(*words: Any) -> list[str]:
    return [sys.executable, "-m", "routilux", "runs", *map(str, words)]


def run_command(*words: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    return subprocess.run(command(*words), capture_output=True, text=True, check=False, env=variables)


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


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_there_for_programs_too(saved: Path, view: str) -> None:
    done = run_command(view, saved, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)


OTHERS = {
    "another type": '{"_type": "Other"}',
    "a flow": json.dumps(Flow("f").serialize()),
    "no type": '{"job_id": "order-17", "status": "paused"}',
    "a list": "[]",
    "a wrong value": '{"_type": "Remembering", "format_version": 1, "status": 5}',
    "newer": '{"_type": "Remembering", "format_version": 7}',
}


def assert_refused(path: Path) -> None:
    done = run_command("show", path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("other", OTHERS)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, other: str) -> None:
    (tmp_path / "other.json").write_text(OTHERS[other])
    assert_refused(tmp_path / "other.json")


def test_a_path_without_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing.json")
    assert_refused(tmp_path)


@pytest.mark.parametrize("other", ["another type", "a flow"])
def test_the_refusal_says_what_a_saved_run_would_have(tmp_path: Path, other: str) -> None:
    (tmp_path / "other.json").write_text(OTHERS[other])
    assert "neither a format_version nor a job_id and a status" in run_command("show", tmp_path / "other.json").stderr


class Remembering(JobState):
    """A state of an application, whose code the command line does not have."""


@pytest.mark.parametrize(
    ("view", "line"),
    [
        ("show", "flow      post office"),
        ("history", "clerk.stamped"),
        ("errors", "no errors"),
        ("pending", "nothing is pending"),
    ],
)
def test_a_state_of_the_applications_own_class_is_shown_without_its_code(tmp_path: Path, view: str, line: str) -> None:
    job_state = Remembering("post office")
    job_state.record_execution("clerk", "stamped", {"count": 3})
    job_state.save(tmp_path / "run.json")
    assert '"Remembering"' in (tmp_path / "run.json").read_text()
    done = run_command(view, tmp_path / "run.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert line in done.stdout


def test_the_oldest_form_of_an_applications_own_class_is_shown_too(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"_type": "Remembering", "job_id": "order-17", "status": "paused"}')
    assert "order-17" in run_command("show", tmp_path / "run.json").stdout


def test_what_a_file_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    job_state = JobState("flow\x1b[2J")
    job_state.record_execution("a\nb", "x", {"text": "\x1b]0;title\x07"})
    job_state.save(tmp_path / "run.json")
    for view in ("show", "history"):
        assert "\x1b" not in run_command(view, tmp_path / "run.json").stdout


def test_what_the_terminal_has_no_characters_for_is_escaped(tmp_path: Path) -> None:
    job_state = JobState("naïve 😀")
    job_state.save(tmp_path / "run.json")
    done = run_command("show", tmp_path / "run.json", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "flow      na\\xefve \\U0001f600\n" in done.stdout


@POSIX_PIPES
def test_a_reader_that_has_read_enough_ends_the_program_quietly(tmp_path: Path) -> None:
    job_state = JobState("post office")
    for number in range(3000):  # more than a pipe holds
        job_state.record_execution("clerk", "stamped", {"number": number, "address": "Rome" * 10})
    job_state.save(tmp_path / "run.json")
    words = command("history", tmp_path / "run.json")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert "clerk.stamped" in program.stdout.readline()
        program.stdout.close()
        assert program.stderr.read() == ""
        assert program.wait(DEADLINE) == 128 + 13  # what a shell reports for a program that SIGPIPE has ended


@POSIX_PIPES
@pytest.mark.parametrize("words", [["show"], ["show", "--json"], ["errors"], ["--help"]], ids=" ".join)
def test_a_reader_that_is_gone_before_the_first_line_ends_the_program_quietly(saved: Path, words: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # the pipe is then found closed at the end, and not at a write
    with os.fdopen(write_end) as pipe:
        done = subprocess.run(
            command(*words, saved),
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=buffered,
            timeout=DEADLINE,
        )
    assert (done.returncode, done.stderr) == (128 + 13, "")
