"""`python -m routilux runs ... --store URL`: runs in a store, for a person to look at and to decide about."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.cli import main
from routilux.stores import RunHeader, open_store
from tests.drawings import wait


class Fragile(Routine):
    """Fails until it is repaired."""

    broken = True

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.work)

    def work(self, n: int) -> None:
        if self.get_config("broken"):
            raise ValueError("broken")
        self.send_output("worked", n=n)


def draw(path: Path, broken: bool = True) -> Flow:
    flow = Flow("fragile", store=str(path))
    routine = Fragile()
    routine.set_config(broken=broken)
    flow.add_routine(routine, "fragile")
    return flow


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a run that has failed, and one that is completed."""
    path = tmp_path / "runs.db"
    with draw(path) as flow:
        wait(flow, flow.execute("fragile", {"n": 1}, job_id="failed-1"))
    with draw(path, broken=False) as flow:
        wait(flow, flow.execute("fragile", {"n": 2}, job_id="completed-2"))
    return path


def called(*words: Any) -> tuple[int, str]:
    out = io.StringIO()
    return main([str(word) for word in words], out), out.getvalue()


def test_list_shows_the_runs_of_a_store_newest_first(store: Path) -> None:
    status, text = called("runs", "list", "--store", store)

    assert status == 0
    assert [line.split()[:3] for line in text.splitlines()] == [
        ["completed-2", "fragile", "completed"],
        ["failed-1", "fragile", "failed"],
    ]


def test_list_shows_only_what_was_asked_for(store: Path) -> None:
    assert called("runs", "list", "--store", store, "--status", "failed")[1].split()[0] == "failed-1"
    assert called("runs", "list", "--store", store, "--flow", "other") == (0, "no runs\n")
    assert len(called("runs", "list", "--store", store, "--limit", 1)[1].splitlines()) == 1
    data = json.loads(called("runs", "list", "--store", store, "--json")[1])
    assert [header["job_id"] for header in data] == ["completed-2", "failed-1"]


@pytest.mark.parametrize("view", ["show", "history", "errors", "pending"])
def test_every_view_of_a_file_is_there_for_a_run_in_a_store(store: Path, tmp_path: Path, view: str) -> None:
    with draw(store) as flow:
        flow.load("failed-1").save(tmp_path / "run.json")

    assert called("runs", view, "failed-1", "--store", store) == called("runs", view, tmp_path / "run.json")


class Curious(Routine):
    """Asks, and is answered in a slot."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", lambda: self.request_input("approval", slot="answered"))
        self.define_slot("answered", lambda data: None)


def test_a_run_that_waits_for_input_says_for_what(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Flow("curious", store=str(path)) as flow:
        flow.add_routine(Curious(), "curious")
        assert flow.run("curious", job_id="asking").status == "paused"

    for view in ("show", "pending"):
        assert "approval  for curious.answered" in called("runs", view, "asking", "--store", path)[1]
        data = json.loads(called("runs", view, "asking", "--store", path, "--json")[1])
        assert [request["name"] for request in data["input_requests"]] == ["approval"]


@pytest.mark.parametrize("decision", ["resume", "retry"])
def test_a_run_that_is_resumed_goes_on_when_the_application_recovers(store: Path, decision: str) -> None:
    status, text = called("runs", decision, "failed-1", "--store", store)

    assert (status, text) == (0, "failed-1 goes on when the application calls flow.recover()\n")
    with draw(store, broken=False) as flow:
        (job_state,) = flow.recover()
        assert JobState.wait_for_completion(flow, job_state, timeout=20)
    assert (job_state.job_id, job_state.status) == ("failed-1", "completed")
    assert [entry["data"] for entry in job_state.outputs("worked")] == [{"n": 1}]


def test_a_cancelled_run_stays_cancelled(store: Path) -> None:
    assert called("runs", "cancel", "failed-1", "--store", store) == (0, "failed-1 is cancelled\n")

    with draw(store, broken=False) as flow:
        assert flow.recover() == []
        job_state = flow.load("failed-1")
        assert (job_state.status, job_state.pending_tasks) == ("cancelled", [])
        with pytest.raises(ValueError, match="was cancelled for good"):
            flow.resume(job_state)


def test_a_deleted_run_is_gone(store: Path) -> None:
    assert called("runs", "delete", "failed-1", "--store", store) == (0, "failed-1 is deleted\n")

    assert "failed-1" not in called("runs", "list", "--store", store)[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("resume", "completed-2"), "only a run that is paused or has failed is resumed"),
        (("retry", "completed-2"), "only a run that has failed is tried again"),
        (("cancel", "completed-2"), "is completed already"),
        (("show", "nobody"), "has no run 'nobody'"),
        (("delete", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert called("runs", *words, "--store", store) == (2, "")

    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_run_that_a_living_process_drives_is_left_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with draw(store, broken=False) as flow:
        flow.execute("fragile", {"n": 3}, job_id="again-3")
        assert flow.store is not None
        flow.store.claim("fragile", "failed-1")

        assert called("runs", "delete", "failed-1", "--store", store) == (2, "")
        assert called("runs", "cancel", "failed-1", "--store", store) == (2, "")

    assert capsys.readouterr().err.count("driven") == 2


def test_looking_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("runs", "list", "--store", tmp_path / "none.db") == (2, "")

    assert "There is no store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_misspelled_status_is_an_error_and_not_an_empty_list(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("runs", "list", "--store", store, "--status", "faild") == (2, "")
    assert capsys.readouterr().err.endswith("Did you mean 'failed'?\n")


def test_a_missing_package_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "routilux.stores.postgres", raising=False)

    assert called("runs", "list", "--store", "postgresql://host/base") == (2, "")
    told = capsys.readouterr().err
    assert told.startswith("routilux: A store in PostgreSQL needs psycopg")
    assert told.count("\n") == 1


def test_a_url_that_is_nearly_one_is_told_the_right_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("runs", "list", "--store", "sqlite:/runs.db") == (2, "")
    assert "'sqlite:///runs.db'" in capsys.readouterr().err


def test_a_job_id_where_a_file_is_meant_is_told_of_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("runs", "show", "failed-1") == (2, "")
    assert "--store URL" in capsys.readouterr().err


@pytest.mark.parametrize("decision", ["resume", "retry"])
def test_who_wants_to_go_on_with_a_run_whose_process_died_is_told_who_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], decision: str
) -> None:
    path = tmp_path / "runs.db"
    store = open_store(path)
    store.create(RunHeader("crashed", "fragile", "running", 1.0, 1.0), [])
    store.close()

    assert called("runs", decision, "crashed", "--store", path) == (2, "")
    assert "flow.recover()" in capsys.readouterr().err


class Counts(Routine):
    """Emits ten numbers to itself, and fails at one of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.begin)
        self.define_slot("input", self.work)
        self.define_event("e")

    def begin(self) -> None:
        for v in range(10):
            self.emit("e", v=v)

    def work(self, v: int) -> None:
        if v == 1:
            raise ValueError("one")


def test_records_that_a_bounded_run_has_dropped_are_shown_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Flow("bounded", store=str(path), history_limit=4) as flow:
        flow.add_routine(Counts(), "r")
        flow.connect("r", "e", "r", "input")
        run = flow.run("r", job_id="j")
        assert len(run.execution_history) == 4
        assert run.errors == []
        record_count = len(list(flow.store.records("j")))

    assert len(called("runs", "history", "j", "--store", path)[1].splitlines()) == record_count
    assert len(json.loads(called("runs", "history", "j", "--store", path, "--json")[1])) == record_count
    assert "one" in called("runs", "errors", "j", "--store", path)[1]
    assert [
        error["data"]["error"] for error in json.loads(called("runs", "errors", "j", "--store", path, "--json")[1])
    ] == ["one"]
    shown = json.loads(called("runs", "show", "j", "--store", path, "--json")[1])
    assert (shown["record_count"], shown["error_count"]) == (record_count, 1)
    assert f"records   {record_count}\nerrors    1\n" in called("runs", "show", "j", "--store", path)[1]


@pytest.mark.parametrize("words", [("list",), ("show", "x"), ("history", "x"), ("resume", "x"), ("delete", "x")])
def test_a_database_of_an_application_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    path, empty = tmp_path / "accounts.db", tmp_path / "empty.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE accounts (name)")
    database.close()
    empty.touch()
    before = path.read_bytes()

    assert called("runs", *words, "--store", path) == (2, "")
    assert called("runs", *words, "--store", empty) == (2, "")

    error = capsys.readouterr().err
    assert "accounts.db is a database of something else, with the tables ['accounts']" in error
    assert "empty.db is empty" in error
    assert path.read_bytes() == before
    assert empty.read_bytes() == b""
    assert sorted(each.name for each in tmp_path.iterdir()) == ["accounts.db", "empty.db"]


def test_a_store_of_a_flow_that_has_ended_is_looked_at_without_a_change(store: Path) -> None:
    before = store.read_bytes()

    assert called("runs", "list", "--store", store)[0] == 0

    assert store.read_bytes() == before


def test_a_store_is_looked_at_while_its_flow_is_at_work(store: Path) -> None:
    with draw(store, broken=False) as flow:
        flow.run("fragile", {"n": 3}, job_id="third-3")
        assert called("runs", "list", "--store", store)[1].split()[0] == "third-3"


def test_a_store_that_may_only_be_read_is_looked_at(tmp_path: Path) -> None:
    """By a user without rights, since root may write anywhere."""
    if os.geteuid() != 0:
        pytest.skip("takes root, to become nobody")
    folder = Path(tempfile.mkdtemp())
    try:
        with draw(folder / "runs.db", broken=False) as flow:
            flow.run("fragile", {"n": 1}, job_id="one")
        (folder / "runs.db").chmod(0o444)
        folder.chmod(0o555)
        looked = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(folder / "runs.db")], check=False, capture_output=True, text=True
        )
        assert looked.stdout.split()[:3] == ["one", "fragile", "completed"], looked.stderr
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


AS_NOBODY = """
import os, sys
from routilux.cli import main
import routilux.stores.sqlite
main(["runs", "list", "--store", "memory:"])  # what it imports late
os.setuid(65534)
sys.exit(main(["runs", "list", "--store", sys.argv[1]]))
"""


def test_a_limit_beyond_all_runs_shows_all(store: Path) -> None:
    assert called("runs", "list", "--store", store, "--limit", "9" * 20)[1].count("\n") == 2


def test_a_status_of_an_application_is_found(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    flow = Flow("asking", store=str(path))

    @flow.routine
    def asks() -> None:
        context = asks.get_execution_context()
        assert context is not None
        context.job_state.status = "waiting for Bob"

    flow.execute("asks", job_id="j")
    flow.shutdown()
    assert called("runs", "list", "--store", path, "--status", "waiting for Bob")[1].split()[0] == "j"


@pytest.mark.parametrize("close_stderr", ["", " 2>&-"])
def test_a_process_without_standard_output_is_told_in_one_line(store: Path, close_stderr: str) -> None:
    command = f"{sys.executable} -m routilux runs list --store {store} >&-{close_stderr}"
    ended = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True)
    told = "" if close_stderr else "routilux: there is no standard output to write to\n"
    assert (ended.returncode, ended.stderr) == (2, told)


def test_a_job_id_with_characters_that_a_terminal_obeys_is_shown_without(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "red\x1b[31m"
    assert called("runs", "delete", bad, "--store", store) == (2, "")
    assert called("runs", "show", bad, "--store", store) == (2, "")
    with draw(store, broken=False) as flow:
        flow.run("fragile", {"n": 1}, job_id=bad)
    assert called("runs", "cancel", bad, "--store", store) == (2, "")
    assert called("runs", "delete", bad, "--store", store) == (0, "red\\x1b[31m is deleted\n")
    assert "\x1b" not in capsys.readouterr().err
