"""What goes wrong with the recovery of one run is not in the way of the others, nor of a second recovery."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from routilux import Flow
from routilux.errors import InvalidDataError, RunDrivenError, StoreUnavailableError
from routilux.flow.durable.durability import Durability
from routilux.flow.durable.elsewhere import RunElsewhere
from routilux.job_state import ledger_of
from routilux.stores import JournalRow, RunHeader, open_store
from routilux.stores.memory import MemoryStore
from routilux.testing import ManualExecutor
from tests.drawings import Gate, draw, entry, in_thread, node, wait

JOBS = ("first", "second", "third")


class Flawed(MemoryStore):
    """Fails when the rows of one run are read, so many times; or has nonsense in their place."""

    def __init__(self, url: str, job_id: str, failures: int = 0, nonsense: bool = False) -> None:
        super().__init__(url)
        self.job_id = job_id
        self.failures = failures
        self.nonsense = nonsense

    def rows(self, job_id: str, after: int = 0, limit: int | None = None) -> list[JournalRow]:
        if job_id == self.job_id and self.failures:
            self.failures -= 1
            raise StoreUnavailableError("the disk is gone")
        rows = super().rows(job_id, after, limit)
        return [row._replace(body="[[1]]") for row in rows] if job_id == self.job_id and self.nonsense else rows


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a memory with three runs whose process has died before the second step of each."""
    url = f"memory:{request.node.name}"
    keeper, dead = MemoryStore(url), MemoryStore(url)
    flow = drawn(dead, executor=ManualExecutor())
    for job_id in JOBS:
        flow.execute("a", job_id=job_id)
    dead.close()
    yield url
    keeper.close()


def drawn(store: MemoryStore, gate: Gate | None = None, **options: object) -> Flow:
    flow = Flow("drawn", store=store, **options)  # type: ignore[arg-type]
    act = None if gate is None else gate.act
    return draw("a -> b", flow=flow, a=entry(lambda routine, data: routine.emit("output")), b=node(act))


def test_a_run_whose_journal_cannot_be_read_does_not_keep_the_others_from_going_on(
    memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    with drawn(Flawed(memory, "second", nonsense=True)) as flow:
        found = flow.recover()
        assert sorted(each.job_id for each in found) == ["first", "third"]
        assert {wait(flow, each).status for each in found} == {"completed"}
        assert "Run second cannot be read" in caplog.text
        header = flow.store.find("second")
        assert (header.status, header.driver) == ("running", None)  # a newer routilux may read it


def test_a_recovery_that_the_store_has_broken_off_can_be_repeated(memory: str) -> None:
    with drawn(Flawed(memory, "second", failures=1)) as flow:
        with pytest.raises(StoreUnavailableError):
            flow.recover()
        for _ in range(2):
            flow.recover()
        for job_id in JOBS:
            assert wait(flow, flow.load(job_id)).status == "completed"


def test_a_run_that_is_resumed_while_it_is_being_recovered_is_driven_once(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    with drawn(MemoryStore(memory), gate) as flow:
        early = flow.load("first")
        restored = Durability.restored
        resumed = []

        def late(durability: Durability, *args: object, **options: object) -> object:
            monkeypatch.undo()
            resumed.append(in_thread(lambda: flow.resume(early)))
            gate.arrived.wait(0.1)
            return restored(durability, *args, **options)

        monkeypatch.setattr(Durability, "restored", late)
        found = flow.recover()
        with contextlib.suppress(RunDrivenError):  # the recovery was quicker
            resumed[0]()
        assert not isinstance(ledger_of(flow.load("first")).live, RunElsewhere)
        gate.open()
        for job_id in JOBS:
            assert wait(flow, flow.load(job_id)).status == "completed"
        assert len(found) in (2, 3)


@pytest.mark.parametrize("bodies", [[], ["[]"], ['[["k","key",1]]']])
def test_a_journal_that_says_nothing_is_told_by_name_and_left_alone_by_a_recovery(
    tmp_path: Path, bodies: list[str]
) -> None:
    place = str(tmp_path / "runs.db")
    maker = open_store(place)
    rows = [JournalRow(number, body) for number, body in enumerate(bodies, 1)]
    maker.create(RunHeader("empty", "flow", "running", 1.0, 1.0), rows)
    maker.close()
    with Flow("flow", store=place) as flow:
        flow.add_routine(entry(lambda _, __: None), "start")
        assert flow.recover() == []
        for load in (flow.load, flow.store.load):
            with pytest.raises(InvalidDataError, match="none of its rows says whose it is"):
                load("empty")
        assert flow.run("start").status == "completed"
        found = flow.store.find("empty")
        assert found is not None
        assert (found.status, found.driver) == ("running", None)
