"""A copy of a record is no second run: it may go on in place of one that stands still, and else is refused."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.errors import RunDrivenError
from routilux.testing import ManualExecutor
from tests.drawings import collector, draw, reloaded, source, wait


def pickled(job_state: JobState) -> JobState:
    found: JobState = pickle.loads(pickle.dumps(job_state))
    return found


COPIED_BY = pytest.mark.parametrize("copied_by", [copy.deepcopy, pickled, reloaded])


def stepped(got: list[dict[str, Any]]) -> tuple[Flow, ManualExecutor]:
    executor = ManualExecutor()
    flow = Flow("copied", store="memory:", executor=executor)
    return draw("a -> b", flow=flow, a=source(1, 2, 3), b=collector(got)), executor


@COPIED_BY
def test_a_copy_of_a_run_at_work_is_neither_cancelled_nor_resumed(copied_by: Callable[[JobState], JobState]) -> None:
    got: list[dict[str, Any]] = []
    flow, executor = stepped(got)
    job_state = flow.execute("a", job_id="run")
    executor.step()
    twin = copied_by(job_state)
    for act in (flow.cancel, flow.resume):
        with pytest.raises(RunDrivenError, match=r"is a copy: .* Take flow\.load\('run'\)"):
            act(twin)
    assert flow.load("run") is job_state
    assert wait(flow, job_state).status == "completed"
    assert len(got) == 3


@COPIED_BY
@pytest.mark.parametrize("is_paused", [True, False])
def test_a_copy_of_a_run_that_was_cancelled_since_does_not_go_on(
    copied_by: Callable[[JobState], JobState], is_paused: bool
) -> None:
    got: list[dict[str, Any]] = []
    flow, executor = stepped(got)
    job_state = flow.execute("a", job_id="run")
    executor.step()
    if is_paused:
        flow.pause(job_state)
    twin = copied_by(job_state)
    flow.cancel(job_state)
    done = len(got)
    with pytest.raises(ValueError, match="went on elsewhere since this record was made"):
        flow.resume(twin)
    executor.run_until_idle()
    assert len(got) == done
    assert flow.load("run").status == "cancelled"
    assert flow.store.find("run").driver is None


@COPIED_BY
def test_a_copy_of_a_run_that_stands_still_goes_on_in_its_place(copied_by: Callable[[JobState], JobState]) -> None:
    got: list[dict[str, Any]] = []
    flow, executor = stepped(got)
    job_state = flow.execute("a", job_id="run")
    executor.step()
    flow.pause(job_state)
    twin = copied_by(job_state)
    assert wait(flow, flow.resume(twin)).status == "completed"
    assert sorted(item for each in got for item in each.values()) == [1, 2, 3]
    assert flow.load("run").status == "completed"
    with pytest.raises(ValueError, match="went on elsewhere"):
        flow.resume(job_state)
