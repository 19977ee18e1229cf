"""The words for what a run and a routine are doing, and which may follow which."""

import itertools

from routilux.status import FAILED_ROUTINE, FINAL, TRANSITIONS, JobStatus, RoutineStatus

MAY = {
    ("pending", "running"),
    ("running", "paused"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("paused", "running"),
    ("paused", "cancelled"),
    ("completed", "running"),
    ("completed", "paused"),
    ("completed", "cancelled"),
    ("failed", "running"),
    ("failed", "paused"),
    ("failed", "cancelled"),
}


def test_a_status_is_a_plain_string_for_its_reader():
    assert JobStatus.RUNNING == "running"
    assert f"{RoutineStatus.ERROR_CONTINUED}" == "error_continued"


def test_exactly_these_changes_of_status_exist():
    for before, after in itertools.product(JobStatus, JobStatus):
        assert (after in TRANSITIONS[before]) == ((before.value, after.value) in MAY), (before, after)


def test_a_run_that_is_final_is_completed_failed_or_cancelled():
    assert {str(status) for status in FINAL} == {"completed", "failed", "cancelled"}


def test_a_tolerated_routine_does_not_fail_its_run():
    assert set(FAILED_ROUTINE) == {"failed", "error"}
