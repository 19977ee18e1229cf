"""Records and log entries that callers append to the lists of a run are kept, in their order."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from routilux import ExecutionRecord, Flow, JobState, Routine
from tests.drawings import entry, node


def appends(record: JobState) -> None:
    record.execution_history.append(ExecutionRecord("app", "one", {"n": 1}))
    record.execution_history.extend([ExecutionRecord("app", "two")])
    record.execution_history += [ExecutionRecord("app", "three")]
    record.shared_log.append({"n": 1})
    record.append_to_shared_log({"n": 2, "timestamp": "then"})
    record.shared_log += [{"n": 3}]


def run_appending(url: str, act: Callable[[JobState], None]) -> tuple[Flow, JobState]:
    def starts(routine: Routine, _: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        routine.emit("output", v=0)
        act(context.job_state)
        for v in (1, 2, 3):
            routine.emit("output", v=v)

    flow = Flow("appending", store=url)
    flow.add_routine(entry(starts), "start")
    flow.add_routine(node(lambda _, __: None), "end")
    flow.connect("start", "output", "end", "input")
    return flow, flow.run("start")


def words(record: JobState) -> list[str]:
    return [each.event_name for each in record.execution_history]


def test_what_callers_append_is_kept_where_it_stands(url: str) -> None:
    flow, run = run_appending(url, appends)
    kept = flow.store.load(run.job_id)
    assert words(run)[:7] == ["start", "output", "one", "two", "three", "output", "output"]
    assert words(kept) == words(run)
    assert kept.execution_history[2].serialize() == run.execution_history[2].serialize()
    assert kept.shared_log == run.shared_log == [{"n": 1}, {"n": 2, "timestamp": "then"}, {"n": 3}]
    at = [number for number, word in enumerate(words(run)) if word == "completed"][2]
    found: list[list[str]] = []
    flow.fork(run.job_id, at=at, changes=lambda forked: found.append(words(forked)))
    flow.shutdown()
    assert found == [words(run)[: at + 1]]


def test_what_is_not_json_is_refused_where_it_is_appended(url: str) -> None:
    def gives(record: JobState) -> None:
        with pytest.raises(TypeError, match="'app'"):
            record.execution_history.append(ExecutionRecord("app", "one", {"lock": object()}))
        with pytest.raises(TypeError, match="shared log"):
            record.shared_log.append({"lock": object()})

    flow, run = run_appending(url, gives)
    flow.shutdown()
    assert (run.status, run.shared_log, "one" in words(run)) == ("completed", [], False)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda found: pickle.loads(pickle.dumps(found))])
def test_a_copy_of_such_a_list_is_a_plain_list(copied: Callable[[Any], Any]) -> None:
    record = JobState("appending")
    appends(record)
    for found in (record.execution_history, record.shared_log):
        assert type(copied(found)) is list
        assert [str(each) for each in copied(found)] == [str(each) for each in found]
