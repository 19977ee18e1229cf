"""A job_id names one run of a store: who executes it again gets the run that is there."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.testing.crash_points import crash_points
from tests.contract.children import child, rest_of, said, tell
from tests.drawings import DEADLINE, entry
from tests.durable.crash_flows import nested

ORDER = "order-17"


def drawn(store: Any, called: list[int]) -> Flow:
    flow = Flow("orders", "concurrent", store=store)
    flow.add_routine(entry(lambda routine, data: called.append(data["n"])), "order")
    return flow


def test_executing_a_run_twice_starts_it_once() -> None:
    called: list[int] = []
    with drawn("memory:", called) as flow:
        first = flow.execute("order", {"n": 1}, job_id=ORDER)
        second = flow.execute("order", {"n": 2}, job_id=ORDER)
        for each in (first, second):
            assert JobState.wait_for_completion(flow, each, timeout=DEADLINE)
            assert (each.job_id, each.status) == (ORDER, "completed")
        assert len(flow.store.list_runs()) == 1
    assert called == [1]


def test_run_starts_it_once_and_waits_for_it() -> None:
    called: list[int] = []
    with drawn("memory:", called) as flow:
        for n in (1, 2):
            found = flow.run("order", {"n": n}, job_id=ORDER)
            assert (found.job_id, found.status) == (ORDER, "completed")
    assert called == [1]


def test_executing_a_run_in_the_next_process_does_not_start_it_again(tmp_path: Path) -> None:
    called: list[int] = []
    for n in (1, 2):
        with drawn(tmp_path / "runs.db", called) as flow:
            found = flow.execute("order", {"n": n}, job_id=ORDER)
            assert JobState.wait_for_completion(flow, found, timeout=DEADLINE)
            assert found.status == "completed"
    assert called == [1]


def test_of_many_threads_that_execute_one_run_at_once_one_starts_it(hasty_switching: None) -> None:
    called: list[int] = []
    with drawn("memory:", called) as flow:
        for number in range(20):
            ready = threading.Barrier(4)
            found: list[JobState] = []

            def execute(job_id: str, ready: threading.Barrier, found: list[JobState]) -> None:
                ready.wait(DEADLINE)
                found.append(flow.execute("order", {"n": 1}, job_id=job_id))

            threads = [threading.Thread(target=execute, args=(f"{ORDER}-{number}", ready, found)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
            assert len(found) == 4
            for each in found:
                assert JobState.wait_for_completion(flow, each, timeout=DEADLINE)
                assert each.status == "completed"
            assert len(called) == number + 1


EXECUTES = """
from routilux import Flow, JobState
from tests.drawings import entry

called = []
flow = Flow("orders", store=place)
flow.add_routine(entry(lambda routine, data: called.append(data["n"])), "order")
flow.store.list_runs()
say("ready")
sys.stdin.readline()
for number in range(30):
    found = flow.execute("order", {"n": number}, job_id=f"order-{number}")
    assert JobState.wait_for_completion(flow, found, timeout=20.0)
    assert found.status == "completed", found
flow.shutdown()
print(*called)
"""


def test_of_two_processes_that_execute_one_run_at_once_one_starts_it(tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    with child(EXECUTES, place) as one, child(EXECUTES, place) as other:
        for process in (one, other):
            assert said(process) == "ready"
        for process in (one, other):
            tell(process)
        called = [int(number) for process in (one, other) for number in rest_of(process).split()]
    assert sorted(called) == list(range(30))


def test_a_handler_that_runs_again_finds_the_run_that_it_had_started(new_file: Callable[[], str]) -> None:
    report = crash_points(nested, "start", {"n": 2}, new_file, "sync", ["before a transaction"], every=3)
    assert report.points >= 3
    assert report.problems == []


def test_a_run_of_another_flow_is_not_taken_for_ones_own() -> None:
    with drawn("memory:once", []) as flow:
        flow.execute("order", {"n": 1}, job_id=ORDER)
        with Flow("invoices", store="memory:once") as other:
            other.add_routine(entry(lambda routine, data: None), "order")
            with pytest.raises(ValueError, match="belongs to flow 'orders'"):
                other.execute("order", {"n": 1}, job_id=ORDER)
