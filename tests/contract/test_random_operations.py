"""Random operations of three drivers, held against a model in plain Python, over every backend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from routilux.errors import LeaseLostError, RunDrivenError, UnknownRunError
from routilux.stores import JournalRow, RunHeader, Store, Write
from tests.contract.backends import opener_of

JOBS = ["a", "b", "c"]
FLOWS = ["flow", "other"]
STATUSES = ["pending", "running", "paused", "completed", "failed"]
FRAIL = 2  # the driver whose lease runs out at once

drivers = st.integers(0, FRAIL)
jobs = st.sampled_from(JOBS)


class Kept:
    """A run, as it should be."""

    def __init__(self, order: int, header: RunHeader, rows: list[JournalRow], owner: int) -> None:
        self.order = order
        self.header = header
        self.rows = rows
        self.snapshot: tuple[int, str] | None = None
        self.inputs: list[tuple[int, str, str]] = []
        self.owner: int | None = owner


class Model:
    """What a store with three drivers has in it."""

    def __init__(self) -> None:
        self.runs: dict[str, Kept] = {}
        self.leases: set[int] = set()
        self.believed: list[set[str]] = [set(), set(), set()]  # the runs that each driver knows as its own
        self.created = 0
        self.last_input = 0

    def has_lost(self, driver: int) -> bool:
        return driver not in self.leases and bool(self.believed[driver])

    def is_free_for(self, run: Kept, driver: int) -> bool:
        return run.owner is None or (run.owner == FRAIL and driver != FRAIL)

    def take(self, run: Kept, driver: int) -> None:
        if run.owner is not None and run.owner != driver:
            self.end_lease(run.owner)
        run.owner = driver
        self.believed[driver].add(run.header.job_id)

    def end_lease(self, driver: int) -> None:
        self.leases.discard(driver)
        for run in self.runs.values():
            if run.owner == driver:
                run.owner = None

    def by_age(self) -> list[Kept]:
        return sorted(self.runs.values(), key=lambda run: (run.header.created_at, run.order))


class StoreMachine(RuleBasedStateMachine):
    """Each rule does the same to the store and to the model, and compares the answers."""

    opener: Callable[[], Callable[..., Store]]

    def __init__(self) -> None:
        super().__init__()
        opener = type(self).opener()
        self.stores = [opener(), opener(), opener(lease_seconds=1e-9)]
        self.model = Model()

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    @rule(driver=drivers, job=jobs, flow=st.sampled_from(FLOWS), status=st.sampled_from(STATUSES), at=st.integers(1, 3))
    def create(self, driver: int, job: str, flow: str, status: str, at: int) -> None:
        model = self.model
        header = RunHeader(job, flow, status, float(at), float(at), f"{self.model.created}")
        rows = [JournalRow(1, f"{job} {self.model.created}")]
        if model.has_lost(driver):
            with pytest.raises(LeaseLostError):
                self.stores[driver].create(header, rows)
            return
        model.leases.add(driver)
        is_new = self.stores[driver].create(header, rows)
        assert is_new == (job not in model.runs)
        if is_new:
            model.created += 1
            model.runs[job] = Kept(model.created, header, rows, driver)
            model.believed[driver].add(job)

    @rule(
        driver=drivers,
        job=jobs,
        count=st.integers(0, 3),
        repeated=st.integers(0, 2),
        status=st.none() | st.sampled_from(STATUSES),
        has_snapshot=st.booleans(),
        release=st.booleans(),
    )
    def write(
        self, driver: int, job: str, count: int, repeated: int, status: str | None, has_snapshot: bool, release: bool
    ) -> None:
        run = self.model.runs.get(job)
        there = run.rows if run is not None else []
        first = max(len(there) - repeated, 0)
        rows = there[first:] + [JournalRow(len(there) + 1 + each, f"{job} {driver}") for each in range(count)]
        write = Write(job, rows, status, f"{len(there)}" if has_snapshot else None, len(there), None, release)
        if driver not in self.model.leases or run is None or run.owner != driver:
            is_there = driver in self.model.leases and run is not None and count == 0
            if release and is_there:
                self.stores[driver].write([write])  # a release that was answered already
                self.model.believed[driver].discard(job)
            else:
                with pytest.raises(LeaseLostError):
                    self.stores[driver].write([write])
            return
        self.stores[driver].write([write])
        run.rows = there[:first] + rows
        run.header = run.header._replace(status=status or run.header.status)
        if has_snapshot:
            run.snapshot = (len(there), f"{len(there)}")
        if release:
            run.owner = None
            self.model.believed[driver].discard(job)

    @rule(driver=drivers, flow=st.sampled_from(FLOWS))
    def claim_all(self, driver: int, flow: str) -> None:
        model = self.model
        if model.has_lost(driver):
            with pytest.raises(LeaseLostError):
                self.stores[driver].claim(flow)
            return
        model.leases.add(driver)
        found = [
            run
            for run in model.by_age()
            if run.header.flow_id == flow
            and run.header.status in ("pending", "running")
            and model.is_free_for(run, driver)
        ]
        claimed = self.stores[driver].claim(flow)
        assert [each.job_id for each in claimed] == [run.header.job_id for run in found]
        assert all(each.driver == self.stores[driver].driver for each in claimed)
        for run in found:
            model.take(run, driver)

    @rule(driver=drivers, flow=st.sampled_from(FLOWS), job=jobs)
    def claim_one(self, driver: int, flow: str, job: str) -> None:
        model = self.model
        run = model.runs.get(job)
        refusal: type[Exception] | None = None
        if model.has_lost(driver):
            refusal = LeaseLostError
        elif run is None or run.header.flow_id != flow:
            refusal = UnknownRunError
        elif run.owner != driver and not model.is_free_for(run, driver):
            refusal = RunDrivenError
        if refusal is not None or run is None:
            with pytest.raises(refusal or Exception):
                self.stores[driver].claim(flow, job)
            return
        model.leases.add(driver)
        assert [each.job_id for each in self.stores[driver].claim(flow, job)] == [job]
        model.take(run, driver)

    @rule(driver=drivers)
    def renew(self, driver: int) -> None:
        if self.model.has_lost(driver):
            with pytest.raises(LeaseLostError):
                self.stores[driver].renew()
        else:
            self.stores[driver].renew()

    @rule(driver=drivers)
    def close(self, driver: int) -> None:
        self.stores[driver].close()
        self.model.end_lease(driver)
        self.model.believed[driver] = set()

    @rule(driver=drivers, job=jobs)
    def put_input(self, driver: int, job: str) -> None:
        run = self.model.runs.get(job)
        if run is None:
            with pytest.raises(UnknownRunError):
                self.stores[driver].put_input(job, "name", "data")
            return
        number = self.stores[driver].put_input(job, "name", f"{driver}")
        assert number > self.model.last_input
        self.model.last_input = number
        run.inputs.append((number, "name", f"{driver}"))

    @rule(driver=drivers, job=jobs)
    def delete(self, driver: int, job: str) -> None:
        run = self.model.runs.get(job)
        if run is None or run.owner in (0, 1):
            with pytest.raises(UnknownRunError if run is None else RunDrivenError):
                self.stores[driver].delete(job)
            return
        self.stores[driver].delete(job)
        self.forget(driver, job)

    @rule(driver=drivers, keep=st.none() | st.integers(0, 2), is_late=st.booleans())
    def prune(self, driver: int, keep: int | None, is_late: bool) -> None:
        finished = [run for run in reversed(self.model.by_age()) if run.header.status in ("completed", "failed")]
        gone = [run for run in finished[keep or 0 :] if run.owner not in (0, 1) and is_late]
        assert self.stores[driver].prune(older_than=1e12 if is_late else 0.0, keep=keep) == len(gone)
        for run in gone:
            self.forget(driver, run.header.job_id)

    def forget(self, driver: int, job: str) -> None:
        del self.model.runs[job]
        self.model.believed[driver].discard(job)

    @invariant()
    def everybody_sees_what_the_model_has(self) -> None:
        reader: Store = self.stores[self.model.created % 3]
        listed = [run.header.job_id for run in reversed(self.model.by_age())]
        assert [run.job_id for run in reader.list_runs()] == listed
        for job in JOBS:
            run = self.model.runs.get(job)
            assert reader.rows(job) == (run.rows if run is not None else [])
            assert reader.snapshot(job) == (run.snapshot if run is not None else None)
            assert reader.inputs(job) == (run.inputs if run is not None else [])
            found = reader.find(job)
            if run is None:
                assert found is None
            else:
                assert found is not None
                driver = None if run.owner is None else self.stores[run.owner].driver
                assert found._replace(updated_at=0.0) == run.header._replace(updated_at=0.0, driver=driver)


def machine_over(opener: Callable[[], Callable[..., Store]]) -> Any:
    return type("Machine", (StoreMachine,), {"opener": staticmethod(opener)})


def random_operations(
    backend: str, tmp_path: Path, server_url: Callable[[], str], example_count: int, step_count: int
) -> None:
    run_state_machine_as_test(
        machine_over(lambda: opener_of(backend, tmp_path, server_url)),
        settings=settings(
            max_examples=example_count,
            stateful_step_count=step_count,
            suppress_health_check=list(HealthCheck),
            deadline=None,
        ),
    )


def test_random_operations_have_the_effects_of_the_model(
    backend: str, tmp_path: Path, server_url: Callable[[], str]
) -> None:
    random_operations(backend, tmp_path, server_url, {"memory": 40, "sqlite": 20, "postgres": 3}[backend], 15)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_random_operations_have_the_effects_of_the_model(
    backend: str, tmp_path: Path, server_url: Callable[[], str]
) -> None:
    random_operations(backend, tmp_path, server_url, {"memory": 1000, "sqlite": 400, "postgres": 120}[backend], 30)
