"""A database that an earlier version has left is read, its runs are taken up and come to their end.

`tests/data/make_runs_database.py` has made each with the version that the file is named after.
"""

import shutil
from pathlib import Path

import pytest

from routilux import JobState
from tests.data.make_runs_database import draw
from tests.drawings import DEADLINE

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(params=sorted(path.name for path in DATA.glob("runs_*.db")))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return shutil.copy(DATA / request.param, tmp_path / "runs.db")


def outputs(job_state: JobState, output_type: str) -> list[object]:
    return [entry["data"] for entry in job_state.outputs(output_type)]


def is_as_without_interruption(job_state: JobState) -> bool:
    return (
        outputs(job_state, "entered") == [{"numbers": numbers} for numbers in ([1], [1, 2], [1, 2, 3])]
        and outputs(job_state, "total") == [{"amount": amount} for amount in (10, 30, 60)]
        and job_state.shared_data == {f"seen {number}": {"by": "desk", "text": "\ud83d\0é"} for number in (1, 2, 3)}
        and [record.event_name for record in job_state.get_execution_history("desk")].count("bill") == 3
    )


def test_its_runs_are_listed(database: str) -> None:
    with draw(database) as flow:
        assert flow.store is not None
        assert {header.job_id: header.status for header in flow.store.list_runs(flow_id="orders")} == {
            "completed": "completed",
            "paused": "paused",
            "failed": "failed",
            "unfinished": "running",
        }


def test_what_is_over_is_read_as_it_was(database: str) -> None:
    with draw(database) as flow:
        job_state = flow.load("completed")
        assert (job_state.status, job_state.pending_tasks) == ("completed", [])
        assert is_as_without_interruption(job_state)


def test_recover_finishes_what_its_process_has_left(database: str) -> None:
    with draw(database) as flow:
        (job_state,) = flow.recover()
        assert job_state.job_id == "unfinished"
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        assert job_state.status == "completed"
        assert is_as_without_interruption(job_state)


@pytest.mark.parametrize("job_id", ["paused", "failed"])
def test_what_stands_still_goes_on(database: str, job_id: str) -> None:
    with draw(database) as flow:
        job_state = flow.load(job_id)
        assert job_state.status == job_id
        if job_id == "paused":
            assert job_state.checkpoint == {"back_at": "13:00"}
        else:
            assert "the bank is closed" in job_state.errors[-1].data["error"]
        assert {check.verdict for check in flow.check_resume(job_state)} == {"ok"}
        flow.resume(job_state)
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        assert job_state.status == "completed"
        assert is_as_without_interruption(job_state)
        assert outputs(job_state, "closed") == ([{"order": 9}] if job_id == "paused" else [])
