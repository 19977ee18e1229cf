"""The census finds what a plain loop finds, survives bad files and disks, and is readable."""

import errno
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAIN_LOOP = Path(__file__).with_name("plain_census.py")
STDLIB = Path(sysconfig.get_path("stdlib"))
TOP_COUNT = 10


@pytest.fixture
def stdlib_census(monkeypatch):
    """Return the example as a module."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("stdlib_census")


@pytest.fixture
def library(tmp_path):
    """Make a small library with a bit of everything, and return its folder."""
    root = tmp_path / "library"
    (root / "package" / "__pycache__").mkdir(parents=True)
    (root / "site-packages").mkdir()
    (root / "package" / "__init__.py").write_text('"""A package."""\n\nfrom . import inner\n')
    (root / "package" / "inner.py").write_text(
        "import os.path, sys\n"
        "from os import path\n"
        "\n"
        "class Outer:\n"
        '    """Has a docstring."""\n'
        "    def method(self):\n"
        "        async def nested():\n"
        "            pass\n"
        "        return lambda: nested\n"
        "\n"
        "if sys:\n"
        "    try:\n"
        "        import json\n"
        "    except ImportError:\n"
        "        def json():\n"
        "            pass\n"
    )
    (root / "empty.py").write_bytes(b"")
    (root / "broken.py").write_text("x = 1\nprint 'two'\n")
    (root / "latin.py").write_bytes(b"word = '\xe9'  # no encoding is declared\n")
    (root / "notes.txt").write_text("import this")
    (root / "package" / "__pycache__" / "left_over.py").write_text("import this")
    (root / "site-packages" / "foreign.py").write_text("import this")
    return root


def count_plainly(root, limit=None):
    arguments = [str(root)] if limit is None else [str(root), str(limit)]
    command = [sys.executable, PLAIN_LOOP, *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def assert_agrees(summary, plain):
    assert summary.file_count == plain["file_count"]
    assert summary.counts == Counter(plain["counts"])
    assert summary.imported_by == plain["imported_by"]
    assert [failure.path for failure in summary.failures] == plain["failed"]
    lengths = [line_count for line_count, _, _ in plain["longest"]]
    assert [function.line_count for function in summary.longest] == lengths[:TOP_COUNT]
    places = [[function.line_count, function.path, function.line] for function in summary.longest]
    assert all(place in plain["longest"] for place in places)


def assert_library_agrees(stdlib_census, limit=None):
    with ThreadPoolExecutor(max_workers=1) as beside:
        plain = beside.submit(count_plainly, STDLIB, limit)

        summary, job_state = stdlib_census.census(STDLIB, limit=limit, workers=4)

        assert job_state.status == "completed"
        assert summary.file_count > 500 if limit is None else summary.file_count == limit
        assert_agrees(summary, plain.result())


def test_the_census_of_a_part_of_the_standard_library_agrees_with_a_plain_loop(stdlib_census):
    assert_library_agrees(stdlib_census, limit=60)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_census_of_the_standard_library_agrees_with_a_plain_loop(stdlib_census):
    assert_library_agrees(stdlib_census)


@pytest.mark.parametrize("workers", [1, 2, 16])
def test_the_census_is_the_same_with_any_number_of_workers(stdlib_census, library, workers):
    summary, job_state = stdlib_census.census(library, workers=workers)

    assert job_state.status == "completed"
    assert summary.counts == {
        "files": 3,
        "lines": 19,
        "functions": 3,
        "classes": 1,
        "imports": 4,
        "definitions": 7,
        "docstrings": 2,
    }
    assert summary.imported_by == {"os": 1, "sys": 1, "json": 1}
    assert_agrees(summary, count_plainly(library))


def test_a_limit_takes_the_first_files_by_path(stdlib_census, library):
    summary, _ = stdlib_census.census(library, limit=2)

    assert summary.file_count == 2
    assert_agrees(summary, count_plainly(library, limit=2))


def test_an_empty_folder_has_a_census_and_a_report_too(stdlib_census, tmp_path):
    summary, job_state = stdlib_census.census(tmp_path)

    assert job_state.status == "completed"
    assert "0 files found, 0 measured, 0 failed" in list(stdlib_census.report(summary, job_state))


def test_a_file_that_does_not_parse_is_reported_with_its_reason_and_fails_nothing_else(stdlib_census, library):
    summary, job_state = stdlib_census.census(library)

    assert job_state.status == "completed"
    reasons = dict(summary.failures)
    assert reasons.keys() == {"broken.py", "latin.py"}
    assert reasons["broken.py"].startswith("line 2: Missing parentheses")
    assert {record.routine_id for record in job_state.errors} == {"parse"}


def test_a_read_that_fails_twice_is_retried_and_its_file_is_counted_once(stdlib_census, library, monkeypatch):
    attempts = Counter()

    def stumbling_read(path):
        attempts[path.name] += 1
        if path.name == "inner.py" and attempts[path.name] <= 2:
            raise OSError(errno.EIO, "Input/output error")
        return path.read_bytes()

    monkeypatch.setattr(stdlib_census, "read_file", stumbling_read)

    summary, job_state = stdlib_census.census(library)

    assert attempts["inner.py"] == 3
    assert attempts["empty.py"] == 1
    assert job_state.status == "completed"
    assert_agrees(summary, count_plainly(library))
    assert ("reads that were retried", "1") in stdlib_census.run_figures(summary, job_state)


def test_a_file_that_can_never_be_read_is_reported_and_fails_nothing_else(stdlib_census, library, monkeypatch):
    def failing_read(path):
        if path.name == "inner.py":
            raise PermissionError(errno.EACCES, "Permission denied")
        return path.read_bytes()

    monkeypatch.setattr(stdlib_census, "read_file", failing_read)

    summary, job_state = stdlib_census.census(library)

    assert job_state.status == "completed"
    assert ("package/inner.py", "Permission denied") in summary.failures
    assert summary.counts["files"] == 2
    assert ("reads that were retried", "1") in stdlib_census.run_figures(summary, job_state)


def test_a_link_to_nowhere_is_a_file_that_failed(stdlib_census, library):
    (library / "link.py").symlink_to(library / "nowhere.py")

    summary, _ = stdlib_census.census(library)

    assert ("link.py", "No such file or directory") in summary.failures


def test_a_folder_that_cannot_be_listed_is_reported_like_a_file_that_failed(stdlib_census, library, monkeypatch):
    scandir = os.scandir

    def guarded_scandir(folder):
        if Path(folder).name == "package":
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded_scandir)

    summary, job_state = stdlib_census.census(library)

    assert job_state.status == "completed"
    assert "package" in dict(summary.failures)
    assert summary.counts["files"] == 1


def test_what_the_run_remembers_is_small_enough_and_plain_enough_for_json(stdlib_census, library):
    _, job_state = stdlib_census.census(library)

    remembered = [record.data for record in job_state.execution_history]
    assert len(json.dumps([remembered, job_state.shared_data])) < 20_000


def test_a_begun_file_is_finished_before_the_next_one_so_that_few_trees_are_in_memory(
    stdlib_census, tmp_path, monkeypatch
):
    kept, peaks = set(), []

    class WatchedCloakroom(stdlib_census.Cloakroom):
        def put(self, thing):
            ticket = super().put(thing)
            kept.add(ticket)
            peaks.append(len(kept))
            return ticket

        def take(self, ticket):
            kept.discard(ticket)
            return super().take(ticket)

    for number in range(200):
        (tmp_path / f"module_{number}.py").write_text("import os\n")
    monkeypatch.setattr(stdlib_census, "Cloakroom", WatchedCloakroom)

    summary, _ = stdlib_census.census(tmp_path, workers=4)

    assert summary.counts["files"] == 200
    assert len(peaks) == 400
    assert max(peaks) <= 2 * 4
    assert kept == set()


def test_the_report_is_printed_in_aligned_columns(run_example):
    finished = run_example("stdlib_census", "--limit", "60")

    assert finished.returncode == 0
    assert re.search(r"^60 files found, \d+ measured, \d+ failed$", finished.stdout, re.MULTILINE)
    for title in (
        "Totals",
        "Most imported modules",
        "Longest functions",
        "Files that failed",
        "The run",
    ):
        assert re.search(rf"^{title}.*\n-+$", finished.stdout, re.MULTILINE), title
    assert re.search(r"^ +\d+  \w[\w.]*  +[\w/]+\.py:\d+$", finished.stdout, re.MULTILINE)
    assert re.search(r"^  status +completed$", finished.stdout, re.MULTILINE)
    figures = finished.stdout[finished.stdout.index("  routine ") :].splitlines()[:6]
    assert [line.split()[:2] for line in figures[1:4]] == [
        ["discover", "1"],
        ["read", "60"],
        ["parse", "60"],
    ]
    assert len({len(line) for line in figures}) == 1


def test_progress_is_shown_on_standard_error_up_to_the_last_file(run_example):
    finished = run_example("stdlib_census", "--limit", "120")

    assert finished.stderr.splitlines()[-1] == "120 of 120 files"


@pytest.fixture
def heard_control_c():
    """Children hear Ctrl-C, also where this process was started in the background and was told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone")
@pytest.mark.usefixtures("heard_control_c")
def test_control_c_ends_the_census_at_once_and_quietly(start_example):
    with start_example("stdlib_census") as running:
        first_line = running.stderr.readline()
        running.send_signal(signal.SIGINT)
        printed, complaints = running.communicate(timeout=30)

    assert "files" in first_line
    assert running.returncode == 130
    assert (printed, complaints) == ("", "")


def test_a_quiet_census_shows_no_progress(run_example):
    finished = run_example("stdlib_census", "--limit", "5", "--quiet")

    assert finished.stderr == ""
    assert finished.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--root", "nowhere"), "'nowhere' is not a folder"),
        (("--limit", "0"), "'0' is not a number from 1 up"),
        (("--workers", "none"), "'none' is not a number from 1 up"),
    ],
)
def test_a_wrong_option_is_refused_with_a_clear_message(run_example, arguments, message):
    finished = run_example("stdlib_census", *arguments)

    assert finished.returncode == 2
    assert message in finished.stderr
