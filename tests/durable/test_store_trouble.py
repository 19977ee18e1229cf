"""While the store cannot be written nothing new starts and nothing counts as done; then runs go on, or are paused."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from routilux import ErrorHandler, Flow, JobState
from routilux.clock import SystemClock
from routilux.errors import StoreUnavailableError
from routilux.stores import JournalRow, RunHeader, Store, Write
from routilux.stores.memory import MemoryStore
from routilux.stores.opening import open_store
from routilux.stores.postgres import PostgresStore
from routilux.stores.relational import RelationalStore
from routilux.stores.sqlite import SQLiteStore
from routilux.stores.transactions import Transaction
from routilux.testing import FakeClock
from tests.asking import desk, handle
from tests.contract.backends import running_server
from tests.drawings import DEADLINE, Gate, entry, in_thread, node
from tests.durable.deadlines import until

STEPS = 30


class Frail(MemoryStore):
    """A store that fails at the n-th write, and so many times in all; or while it is `gone`."""

    def __init__(self, fails_at: int = 0, times: int = 1, level: str = "group") -> None:
        super().__init__("memory:", level)
        self.failures = 0
        self.fails_at = fails_at
        self.times = times
        self.write_count = 0
        self.gone = False

    def _perhaps_fail(self) -> None:
        self.write_count += 1
        if self.gone or (self.fails_at and self.write_count >= self.fails_at and self.failures < self.times):
            self.failures += 1
            raise StoreUnavailableError("the disk is gone")

    def create(self, header: RunHeader, rows: Sequence[JournalRow]) -> bool:
        self._perhaps_fail()
        return super().create(header, rows)

    def write(self, writes: Sequence[Write]) -> None:
        self._perhaps_fail()
        super().write(writes)


class FrailTransactions(RelationalStore):
    """Of a database: from the n-th transaction on, so many of them break off when all of their work is done."""

    def __init__(self, place: str, fails_at: int, times: int, level: str) -> None:
        super().__init__(place, level)
        self.failures = 0
        self.fails_at = fails_at
        self.times = times
        self.transaction_count = 0
        # What was in the store around each that broke off, as others see it.
        self.other = open_store(place)
        self.around: list[tuple[Any, Any]] = []

    def _append(self, fence: int, writes: Sequence[Write]) -> bool:
        return False

    def _change(self, work: Callable[[Transaction], Any], *, repeatable: bool = True) -> Any:
        def breaks_off(transaction: Transaction) -> Any:
            done = work(transaction)
            self.transaction_count += 1
            if self.transaction_count >= self.fails_at and self.failures < self.times:
                self.failures += 1
                raise StoreUnavailableError("the disk is gone")
            return done

        before, failures = self.seen(), self.failures
        try:
            return super()._change(breaks_off, repeatable=repeatable)
        finally:
            if self.failures > failures:
                self.around.append((before, self.seen()))

    def seen(self) -> Any:
        return self.other.find("job"), self.other.rows("job")

    def close(self) -> None:
        super().close()
        self.other.close()


class FrailSQLite(FrailTransactions, SQLiteStore):
    pass


class FrailPostgres(FrailTransactions, PostgresStore):
    pass


class Countdown:
    """A flow that counts down from STEPS; it may be held in the middle."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.called: list[int] = []
        self.at_work = threading.Event()
        self.may_go = threading.Event()
        self.holds_at = -1
        self.flow = Flow("countdown", store=store, **settings)
        self.flow.add_routine(entry(lambda routine, data: routine.emit("output", **data)), "start")
        self.flow.add_routine(node(self._step), "step")
        self.flow.connect("start", "output", "step", "input")
        self.flow.connect("step", "output", "step", "input")

    def _step(self, routine: Any, data: dict[str, Any]) -> None:
        n = data["n"]
        self.called.append(n)
        if n == self.holds_at:
            self.at_work.set()
            assert self.may_go.wait(DEADLINE)
        if n:
            routine.emit("output", n=n - 1)

    def started(self, job_id: str = "job") -> JobState:
        return self.flow.execute("start", {"n": STEPS}, job_id=job_id)

    def without_its_store_from(self, n: int) -> JobState:
        """A run whose store is gone before a step has returned."""
        self.holds_at = n
        job_state = self.started()
        assert self.at_work.wait(DEADLINE)
        assert isinstance(self.flow.store, Frail)
        self.flow.store.gone = True
        self.may_go.set()
        return job_state


@pytest.fixture
def countdown() -> Iterator[Callable[..., Countdown]]:
    made: list[Countdown] = []

    def make(*args: Any, **settings: Any) -> Countdown:
        made.append(Countdown(*args, **settings))
        return made[-1]

    yield make
    for each in made:
        each.may_go.set()
        each.flow.shutdown(wait=False)


def status_in(store: Store, job_id: str = "job") -> str | None:
    header = store.find(job_id)
    return header.status if header is not None else None


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("level", "fails_at"), [("group", 2), ("sync", 2), ("sync", 3), ("sync", 7)])
def test_a_run_goes_on_when_its_store_is_back_and_comes_to_the_same(
    fails_at: int, times: int, level: str, countdown: Callable[..., Countdown]
) -> None:
    store = Frail(fails_at, times, level)
    drawn = countdown(store)
    job_state = drawn.started()
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    assert store.failures == times
    assert (job_state.status, status_in(store)) == ("completed", "completed")
    assert drawn.called == list(range(STEPS, -1, -1))


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("level", "fails_at"), [("group", 2), ("sync", 2), ("sync", 3), ("sync", 7)])
@pytest.mark.parametrize("kind", [FrailSQLite, pytest.param(FrailPostgres, marks=pytest.mark.slow)])
def test_of_a_transaction_that_breaks_off_nothing_is_kept_and_the_run_comes_to_the_same(
    kind: type[FrailTransactions],
    fails_at: int,
    times: int,
    level: str,
    countdown: Callable[..., Countdown],
    request: pytest.FixtureRequest,
) -> None:
    place = request.getfixturevalue("new_file" if kind is FrailSQLite else "new_schema")()
    with closing(kind(place, fails_at, times, level)) as store:
        drawn = countdown(store)
        job_state = drawn.started()
        assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
        drawn.flow.shutdown()
        assert store.failures == times == len(store.around)
        assert all(before == after for before, after in store.around)
        assert drawn.called == list(range(STEPS, -1, -1))
    with closing(open_store(place)) as store:
        assert status_in(store) == "completed"
        found = countdown(store).flow.load("job")
        assert found.serialize() == job_state.serialize()


def test_no_new_activation_starts_while_the_store_is_gone(countdown: Callable[..., Countdown]) -> None:
    store = Frail(level="sync")
    drawn = countdown(store)
    job_state = drawn.without_its_store_from(20)
    until(lambda: store.failures >= 3)  # it is tried again and again
    assert drawn.called[-1] == 20
    assert job_state.status == "running"
    store.gone = False
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    assert drawn.called == list(range(STEPS, -1, -1))


class Retried:
    """A flow whose entry fails while the store goes away, and is tried again five seconds later."""

    def __init__(self, delay: float = 5.0, **settings: Any) -> None:
        self.store = Frail()
        self.clock = FakeClock()
        self.attempts: list[bool] = []
        settings = {"clock": self.clock, "execution_timeout": None, **settings}
        self.flow = Flow("retried", store=self.store, **settings)
        self.flow.add_routine(entry(self._attempt), "start")
        self.flow.routines["start"].set_error_handler(ErrorHandler("retry", retry_delay=delay))
        self.job_state = JobState("retried")

    def _attempt(self, routine: Any, data: dict[str, Any]) -> None:
        self.attempts.append(self.store.gone)
        if len(self.attempts) == 1:
            self.store.gone = True
            raise ValueError("once more, please")

    def executed(self) -> Callable[[], Any]:
        return in_thread(lambda: self.flow.execute("start", {}, job_state=self.job_state, job_id="job"))

    def until_due(self) -> None:
        """Until the store was tried again and again, which takes longer than the delay of the retry."""
        self.clock_goes_on_until(lambda: self.store.failures > 12)

    def clock_goes_on_until(self, condition: Callable[[], object]) -> None:
        def advanced() -> object:
            self.clock.advance(0.5)
            return condition()

        until(advanced)


def test_a_retry_of_an_entry_waits_on_its_callers_thread_for_the_store() -> None:
    retried = Retried()
    joined = retried.executed()
    retried.until_due()
    assert retried.attempts == [False]
    retried.store.gone = False
    retried.clock_goes_on_until(lambda: len(retried.attempts) == 2)
    joined()
    assert retried.attempts == [False, False]
    assert JobState.wait_for_completion(retried.flow, retried.job_state, timeout=DEADLINE)
    assert (retried.job_state.status, status_in(retried.store)) == ("completed", "completed")
    retried.flow.shutdown()


def test_a_retry_of_an_entry_goes_on_as_soon_as_the_store_is_back() -> None:
    retried = Retried(0.05, clock=SystemClock())
    joined = retried.executed()
    until(lambda: retried.store.failures >= 4)  # it is due since the second
    retried.store.gone = False
    joined()
    assert retried.attempts == [False, False]
    assert JobState.wait_for_completion(retried.flow, retried.job_state, timeout=DEADLINE)
    retried.flow.shutdown()


def test_a_retry_of_an_entry_whose_store_stays_away_is_paused_with_its_run() -> None:
    retried = Retried(store_patience=20.0)
    joined = retried.executed()
    retried.until_due()
    retried.clock_goes_on_until(lambda: retried.job_state.status == "paused")
    joined()
    assert retried.attempts == [False]
    assert retried.job_state.pause_points[-1]["reason"] == "store"
    assert [task["was"] for task in retried.job_state.pending_tasks] == ["retry"]
    retried.store.gone = False
    retried.flow.resume(retried.job_state)
    assert JobState.wait_for_completion(retried.flow, retried.job_state, timeout=DEADLINE)
    assert retried.attempts == [False, False]
    retried.flow.shutdown()


def test_an_end_that_is_not_kept_is_no_end(countdown: Callable[..., Countdown]) -> None:
    store = Frail()
    drawn = countdown(store)
    job_state = drawn.without_its_store_from(0)
    until(lambda: store.failures >= 2)
    assert not JobState.wait_for_completion(drawn.flow, job_state, timeout=0.05)
    assert (job_state.status, status_in(store)) == ("running", "running")
    store.gone = False
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    assert (job_state.status, status_in(store)) == ("completed", "completed")


@pytest.mark.parametrize("go_on", [Flow.resume, lambda flow, _: flow.recover()], ids=["resume", "recover"])
@pytest.mark.parametrize("holds_at", [20, 0])
def test_a_run_whose_store_stays_away_is_paused_and_can_be_resumed_or_recovered_later(
    holds_at: int, go_on: Callable[[Flow, JobState], Any], countdown: Callable[..., Countdown]
) -> None:
    store = Frail()
    drawn = countdown(store, store_patience=0.1)
    job_state = drawn.without_its_store_from(holds_at)
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    assert job_state.status == "paused"
    assert job_state.pause_points[-1]["reason"] == "store"
    with pytest.raises(StoreUnavailableError):
        drawn.flow.resume(job_state)
    assert job_state.status == "paused"
    store.gone = False
    go_on(drawn.flow, job_state)
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    assert (job_state.status, status_in(store)) == ("completed", "completed")
    assert drawn.called == list(range(STEPS, -1, -1))


def test_the_runs_beside_go_on_when_another_call_has_found_the_store_back(
    countdown: Callable[..., Countdown],
) -> None:
    store = Frail()
    drawn = countdown(store)
    job_state = drawn.without_its_store_from(20)
    until(lambda: store.failures >= 1)
    store.gone = False
    other = drawn.flow.execute("start", {"n": 1}, job_id="other")
    for each in (job_state, other):
        assert JobState.wait_for_completion(drawn.flow, each, timeout=DEADLINE)
        assert status_in(store, each.job_id) == "completed"


def test_an_execute_without_a_store_says_so_and_leaves_nothing(countdown: Callable[..., Countdown]) -> None:
    store = Frail()
    store.gone = True
    drawn = countdown(store)
    mine = JobState("countdown")
    with pytest.raises(StoreUnavailableError, match="the disk is gone"):
        drawn.flow.execute("start", {"n": STEPS}, job_state=mine, job_id="job")
    assert drawn.called == []
    assert mine.status == "pending"
    assert store.list_runs() == []
    store.gone = False
    drawn.flow.execute("start", {"n": STEPS}, job_state=mine, job_id="job")  # the same, once more
    assert JobState.wait_for_completion(drawn.flow, mine, timeout=DEADLINE)
    assert [row.number for row in store.rows("job")] == list(range(1, len(store.rows("job")) + 1))
    assert drawn.flow.load("job").serialize() == mine.serialize()


class Interrupted(MemoryStore):
    """A store that is waited for, until somebody presses Ctrl-C."""

    def create(self, header: RunHeader, rows: Sequence[JournalRow]) -> bool:
        raise KeyboardInterrupt


def test_an_execute_that_is_interrupted_while_it_waits_for_the_store_leaves_nothing() -> None:
    flow = Countdown(Interrupted("memory:")).flow
    job_state = JobState("countdown")
    with pytest.raises(KeyboardInterrupt):
        flow.execute("start", {"n": 3}, job_state=job_state)
    assert job_state.status == "pending"
    assert "0 live runs" in repr(flow)
    flow.shutdown(timeout=DEADLINE)


def test_a_pause_that_cannot_be_kept_says_so(countdown: Callable[..., Countdown]) -> None:
    store = Frail()
    drawn = countdown(store)
    drawn.holds_at = 20
    job_state = drawn.started()
    assert drawn.at_work.wait(DEADLINE)
    store.gone = True
    with pytest.raises(StoreUnavailableError):
        drawn.flow.pause(job_state)
    assert status_in(store) == "running"
    drawn.may_go.set()
    store.gone = False
    drawn.flow.resume(job_state)
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    assert (job_state.status, status_in(store)) == ("completed", "completed")


class FullDisk(SQLiteStore):
    """A file that must not grow beyond what it has now, while it is full."""

    pages = 1_000_000

    def limit(self, pages: int) -> None:
        with self._lock:
            self.pages = pages
            if self._writer is not None:  # else the store has let go of it after an error, and opens another
                self._writer.execute(f"PRAGMA max_page_count = {pages}")

    def _open(self) -> Any:
        connection = super()._open()
        connection.execute(f"PRAGMA max_page_count = {self.pages}")
        return connection


def test_a_full_disk_stops_a_run_and_room_lets_it_go_on(tmp_path: Path, countdown: Callable[..., Countdown]) -> None:
    store = FullDisk(tmp_path / "runs.db")
    drawn = countdown(store)
    drawn.holds_at = 20
    job_state = drawn.started()
    assert drawn.at_work.wait(DEADLINE)
    store.limit(1)
    big = threading.Event()

    def fills(routine: Any, data: dict[str, Any]) -> None:
        big.set()
        routine.emit("output", text="x" * 100_000)

    drawn.flow.add_routine(entry(fills), "fill")
    drawn.may_go.set()
    with pytest.raises(StoreUnavailableError, match="Make room on the disk"):
        drawn.flow.execute("start", {"n": 1, "text": "x" * 100_000}, job_id="other")
    assert not big.is_set()
    assert store.find("other") is None
    store.limit(1_000_000)
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    assert status_in(store) == "completed"
    assert drawn.called == list(range(STEPS, -1, -1))
    store.close()


def test_a_file_that_may_only_be_read_is_told_of_at_once(tmp_path: Path, countdown: Callable[..., Countdown]) -> None:
    path = tmp_path / "runs.db"
    with countdown(SQLiteStore(path)).flow as flow:
        assert JobState.wait_for_completion(flow, flow.execute("start", {"n": 1}, job_id="first"), timeout=DEADLINE)
    store = ReadOnly(path)
    drawn = countdown(store)
    with pytest.raises(StoreUnavailableError, match="may write the file"):
        drawn.started()
    assert store.find("job") is None
    assert drawn.flow.load("first").status == "completed"
    store.close()


class ReadOnly(SQLiteStore):
    """A file that this process may not write; root may write every file, so SQLite is told."""

    def _open(self) -> Any:
        connection = super()._open()
        connection.execute("PRAGMA query_only = ON")
        return connection


@pytest.mark.slow
@pytest.mark.parametrize("level", ["group", "sync"])
def test_a_server_that_is_gone_in_the_middle_and_back_changes_nothing(
    level: str, countdown: Callable[..., Countdown]
) -> None:
    with running_server() as server:
        store = PostgresStore(server.get_uri(), level)
        drawn = countdown(store)
        drawn.holds_at = 20
        job_state = drawn.started()
        assert drawn.at_work.wait(DEADLINE)
        server.stop()
        drawn.may_go.set()
        with pytest.raises(StoreUnavailableError):
            drawn.started("other")
        assert not JobState.wait_for_completion(drawn.flow, job_state, timeout=0.2)
        server.ensure_postgres_running()
        assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
        assert (job_state.status, status_in(store)) == ("completed", "completed")
        assert drawn.called == list(range(STEPS, -1, -1))
        store.close()


def test_a_run_that_waited_for_input_through_trouble_counts_its_handlers_in_the_next_trouble() -> None:
    store = Frail()
    flow, clerk = desk(store=store)
    ask, gate = clerk.ask, Gate()

    def asks(names: list[str]) -> None:
        ask(names)
        store.gone = True

    def takes(**data: Any) -> None:
        store.gone = True
        gate.hold()

    with flow:
        handle(clerk, trigger=asks, answer=takes)
        job_state = flow.execute("clerk", {"names": ["approval"]}, job_id="job")
        until(lambda: store.failures >= 1)
        store.gone = False
        until(lambda: job_state.status == "paused")
        before = store.failures
        flow.send_input("job", "approval")
        gate.await_arrival()
        until(lambda: store.failures > before)
        store.gone = False
        last = len(store.rows("job"))
        until(lambda: len(store.rows("job")) > last or not flow._engine.durability.group.trouble)  # noqa: SLF001
        assert (job_state.status, status_in(store)) == ("running", "running")
        gate.open()
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        assert (job_state.status, status_in(store)) == ("completed", "completed")


def test_a_run_whose_end_is_on_its_way_to_the_store_takes_nothing_more(countdown: Callable[..., Countdown]) -> None:
    store = Frail()
    drawn = countdown(store)
    job_state = drawn.without_its_store_from(0)
    until(lambda: store.failures >= 2)
    with pytest.raises(RuntimeError, match="has nothing left to do"):
        drawn.flow.routines["start"].emit("output", drawn.flow, job_state=job_state, n=0)
    store.gone = False
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    assert (job_state.status, status_in(store)) == ("completed", "completed")
    again = drawn.started("again")
    assert JobState.wait_for_completion(drawn.flow, again, timeout=DEADLINE)
    assert store.load("job").serialize()["execution_history"] == job_state.serialize()["execution_history"]


@pytest.mark.parametrize("stop", ["pause", "cancel"])
def test_a_run_is_stopped_while_its_end_is_on_its_way_to_the_store(
    stop: str, countdown: Callable[..., Countdown]
) -> None:
    store = Frail()
    drawn = countdown(store)
    job_state = drawn.without_its_store_from(0)
    until(lambda: store.failures >= 2)
    with pytest.raises(StoreUnavailableError):
        getattr(drawn.flow, stop)(job_state)
    store.gone = False
    if stop == "pause":
        assert job_state.status == "paused"
        drawn.flow.resume(job_state)
    assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
    again = drawn.started("again")
    assert JobState.wait_for_completion(drawn.flow, again, timeout=DEADLINE)
    status = {"pause": "completed", "cancel": "cancelled"}[stop]
    until(lambda: (job_state.status, status_in(store)) == (status, status))


@pytest.mark.slow
def test_a_run_whose_server_stays_away_is_paused_and_can_be_resumed_later(countdown: Callable[..., Countdown]) -> None:
    with running_server() as server, closing(PostgresStore(server.get_uri())) as store:
        drawn = countdown(store, store_patience=0.1)
        drawn.holds_at = 20
        job_state = drawn.started()
        assert drawn.at_work.wait(DEADLINE)
        server.stop()
        drawn.may_go.set()
        assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
        assert (job_state.status, job_state.pause_points[-1]["reason"]) == ("paused", "store")
        with pytest.raises(StoreUnavailableError):
            drawn.flow.resume(job_state)
        server.ensure_postgres_running()
        assert status_in(store) == "running"  # what it has kept until then, and nothing half
        drawn.flow.resume(job_state)
        assert JobState.wait_for_completion(drawn.flow, job_state, timeout=DEADLINE)
        assert (job_state.status, status_in(store)) == ("completed", "completed")
        assert drawn.called == list(range(STEPS, -1, -1))
        drawn.flow.shutdown()
