"""Durability: what a flow with a store does to keep its runs, and to take them up again."""

import contextlib
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, TypeVar

from routilux.errors import (
    ForeignStateError,
    InvalidValueError,
    LeaseLostError,
    RunDrivenError,
    StoreError,
    UnknownRunError,
)
from routilux.flow.controls import while_nothing_resumes
from routilux.flow.durable.drawn_now import DrawnNow
from routilux.flow.durable.elsewhere import RunElsewhere, is_at_work, refuse_driven_elsewhere, want
from routilux.flow.durable.group_commit import GroupCommit, fail_refused
from routilux.flow.durable.recovery import Recovery
from routilux.flow.durable.renewals import Renewals
from routilux.flow.durable.retention import Retention
from routilux.flow.durable.run import DurableRun
from routilux.flow.durable.scribe import Scribe
from routilux.flow.durable.sharing import Sharers
from routilux.flow.durable.stored_inputs import send_through_store, wake
from routilux.flow.durable.time_travel import Changes, fork
from routilux.flow.lifecycle import RunExists
from routilux.flow.stops import note_pause, status_below
from routilux.job_state import JobState, ledger_of
from routilux.pending_data import saved_form
from routilux.plain import plain
from routilux.status import JobStatus
from routilux.stores.base import JournalRow, RunHeader, Store, Write
from routilux.stores.reading import Reading, find_run, replayed

if TYPE_CHECKING:  # whose runs are kept
    from routilux.flow.engine import Engine

__all__ = ["Durability"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_sharers = Sharers()


class Durability:
    """The durable side of an engine.

    `_lock` protects `_known` and `_starting`, and is taken alone.
    """

    def __init__(
        self, engine: "Engine", store: Store, owns_store: bool, keep_finished: int | timedelta | None = None
    ) -> None:
        self._engine = weakref.ref(engine)
        self.store = store
        self.owns_store = owns_store
        self.is_sync = store.level == "sync"
        self.group = GroupCommit(store, engine.clock, self._on_trouble, self._on_refused)
        self._lock = Lock()
        #: Gives the structure of the flow as it is drawn now.
        self.drawn = DrawnNow(engine.flow)
        # The records of this process, so that a job_id is one object here.
        self._deaths: dict[str, dict[str, int]] = {}
        self._known: weakref.WeakValueDictionary[str, JobState] = weakref.WeakValueDictionary()
        self.renewals = Renewals(store.lease_seconds, engine.clock)
        # Of the runs that are being started: set when that is done.
        self._starting: dict[str, Event] = {}
        self._recovery = Recovery()
        # One thread at a time sees to a lease that is gone; taken before the locks of runs.
        self._giving_up = Lock()
        self.retention = None if keep_finished is None else Retention(store, engine.flow.flow_id, keep_finished)
        _sharers.add(self)

    run_class = DurableRun
    refuse_driven_elsewhere = staticmethod(refuse_driven_elsewhere)
    want = staticmethod(want)

    def recover(self) -> list[JobState]:
        """See `Flow.recover`."""
        engine = self._engine()
        if engine is None:
            return []
        self._with_a_lease(self.group.write)  # a pause that could not be written: such a run is among those that go on
        self._go_on_if_trouble_is_over()
        return self._recovery.recover(engine, self)

    def take_up(self, job_id: str, timeout: float | None) -> None:
        """See `Recovery.take_up`."""
        engine = self._engine()
        if engine is not None:
            self._with_a_lease(lambda: self._recovery.take_up(engine, self, job_id, timeout))

    def send_input(self, job_id: str, name: str, data: dict[str, Any]) -> None:
        """See `Flow.send_input`."""
        engine = self._engine()
        if engine is not None:
            send_through_store(engine, self, job_id, name, data)

    def wake(self, job_id: str) -> None:
        """Go on with a run that is paused for input, if it has got what it waits for and nobody drives it."""
        engine = self._engine()
        if engine is not None:
            wake(engine, self, job_id)

    def fork(
        self, run: JobState | str, at: int, changes: Changes, job_id: str | None, timeout: float | None
    ) -> JobState:
        """See `Flow.fork`."""
        engine = self._engine()
        assert engine is not None  # noqa: S101 - for the type checker: its flow has called
        return fork(engine, self, run, at, changes, job_id, timeout)

    def scribe_of(self, job_state: JobState) -> Scribe:
        """Who writes a record down; one for all legs of its run."""
        ledger = ledger_of(job_state)
        if not isinstance(ledger.scribe, Scribe):
            self.attend(job_state, ledger.journal_row)
        assert isinstance(ledger.scribe, Scribe)  # noqa: S101 - for the type checker
        return ledger.scribe

    def attend(self, job_state: JobState, number: int, snapshot_number: int = 0, structure: str | None = None) -> None:
        """Write down what happens to a record from now on, after the row of this number."""
        ledger = ledger_of(job_state)
        with ledger.lock:
            ledger.scribe = Scribe(job_state, number, snapshot_number, structure)
            ledger.routine_states.changed = {}
        job_state.track_shared_data()

    # -- starting

    @contextmanager
    def only_one(self, job_state: JobState) -> Iterator[None]:
        """While a run is kept and started: who would start it as well waits until it is known what has come of that.

        Raises:
            RunExists: This process has it already.
        """
        job_id = job_state.job_id
        while True:
            with self._lock:
                starting = self._starting.get(job_id)
                present = self._known.get(job_id)
                if starting is None and present is None:
                    self._known[job_id] = job_state
                    done = self._starting[job_id] = Event()
                    break
            if starting is not None:
                starting.wait()
            elif present is not None:
                self._refer_to(present)
        try:
            yield
        finally:
            with self._lock:
                self._starting.pop(job_id, None)
            done.set()

    def _refer_to(self, present: JobState) -> None:
        """Raise RunExists with a run that this process knows; else it does not know it any more."""
        try:
            raise RunExists(self.load(present.job_id))
        except UnknownRunError:  # it was deleted, or could not be kept
            with self._lock:
                if self._known.get(present.job_id) is present:
                    del self._known[present.job_id]

    def create(self, run: "DurableRun", entry: dict[str, Any]) -> None:
        """Keep a new run with its entry.

        Raises:
            RunExists: The store has it already.
            StoreError: The store cannot be written.
        """
        try:
            is_new = self._with_a_lease(lambda: self._create(run.job_state, entry))
        except BaseException:
            with self._lock:
                self._known.pop(run.job_id, None)
            raise
        if not is_new:
            with self._lock:
                self._known.pop(run.job_id, None)
            raise RunExists(self.load(run.job_id))
        self._go_on_if_trouble_is_over()

    def _create(self, job_state: JobState, entry: dict[str, Any] | None) -> bool:
        scribe = self.scribe_of(job_state)
        # The data by the name that its caller gave them; the rest of an entry is plain.
        entries = [] if entry is None else [saved_form({**entry, "data": plain(entry["data"], "entry_params")}, "")]
        rows: list[JournalRow] = []

        def write_down(state: dict[str, Any]) -> None:
            state["pending_tasks"] = [*state["pending_tasks"], *entries]
            rows.extend(scribe.copy_history(job_state))
            scribe.begin_from(state)
            row = scribe.cut()
            assert row is not None  # noqa: S101 - it holds the state
            rows.append(row)

        job_state.write_live_form(write_down)
        at = job_state.created_at.timestamp()
        status = JobStatus.RUNNING.value if entry is not None else job_state.status
        if entry is not None or scribe.structure is None:  # else what it goes on with is of other code, as yet
            scribe.structure = self.drawn().text
        header = RunHeader(job_state.job_id, job_state.flow_id, status, at, at, scribe.structure)
        try:
            return self.store.create(header, rows)
        except BaseException:
            scribe.number = 0  # it may be executed once more
            raise

    def let_go(self, job_id: str) -> None:
        """A run that is kept could not be started: another process, or `recover`, may take it up."""
        with self._lock:
            self._known.pop(job_id, None)
        with contextlib.suppress(StoreError, LeaseLostError):  # else its lease will run out
            self.store.write([Write(job_id, release=True)])

    def keep_anew(self, run: "DurableRun", was_released: bool) -> None:
        """Keep everything that a resumed run goes on with.

        Raises:
            RunDrivenError: Another process was quicker.
            StoreError: The store cannot be written.
        """
        structure = self.drawn().text
        self.group.keep(run.job_id)
        if was_released:
            # Since the resume has claimed it, a handler that was at work may have ended and let it go: that was dropped
            # just now, or is written when this says so. From here on nobody lets it go.
            self.group.has_rows_of(run.job_id)
            self.store.claim(run.job_state.flow_id, run.job_id)

        def write_down(state: dict[str, Any]) -> None:
            if run.recoveries:
                state["recoveries"] = run.recoveries
            before, run.scribe.structure = run.scribe.structure, structure
            changed = structure if structure != before else None
            if changed is not None and before is not None:
                state["structure_before"] = before  # for forks of what was then
            run.scribe.begin_from(state)
            self.group.add(run.job_id, run.scribe.cut(), JobStatus.RUNNING.value, fingerprint=changed)

        run.job_state.write_live_form(write_down)
        self.group.write()
        self._go_on_if_trouble_is_over()

    # -- taking up

    def claim(self, job_state: JobState) -> None:
        """Drive a run from now on, as this record has it. A run that the store does not know is kept now.

        Raises:
            RunDrivenError: Another process drives it, or another Flow object of this one.
            InvalidValueError: It went on elsewhere since this record was made.
            NotPlainError: It holds what is not JSON; nothing has happened.
        """
        job_state.write_live_form(lambda _: None)  # what a resume will keep, before it has changed anything
        with self._lock:
            known = self._known.setdefault(job_state.job_id, job_state)
        live = ledger_of(known).live
        if known is not job_state and live is not None and (live.is_open() or live.active_count()):
            raise RunDrivenError(
                f"{job_state!r} is a copy: the run itself is at work in this process. Take flow.load("
                f"{job_state.job_id!r}), which is its own record."
            )
        _sharers.refuse_if_at_work(self, job_state.job_id)
        scribe = self.scribe_of(job_state)
        # What waits may be that nobody drives it any more: written later, it would end the leg that begins now.
        self._with_a_lease(self.group.write)
        before = self.store.find(job_state.job_id)
        if scribe.structure is None and before is not None:
            scribe.structure = before.fingerprint
        try:
            self._with_a_lease(lambda: self.store.claim(job_state.flow_id, job_state.job_id))
        except UnknownRunError:
            scribe.number = 0
            if self._create(job_state, None):
                return
            scribe.number = 0
            raise InvalidValueError(
                f"The store {self.store.url} has a run {job_state.job_id!r} already, which was made a moment ago. Take "
                f"flow.load({job_state.job_id!r}), or another job_id."
            ) from None
        last = self.store.rows(job_state.job_id, after=scribe.number)
        if last or not scribe.number:
            if before is not None and before.driver != self.store.driver:
                self.store.write([Write(job_state.job_id, release=True)])
            raise InvalidValueError(
                f"{job_state!r} is not how the run stands: it went on elsewhere since this record was made. "
                f"Take flow.load({job_state.job_id!r}) instead."
            )
        with self._lock:
            self._known[job_state.job_id] = job_state

    def give_up(self, job_state: JobState) -> None:
        """A run that was claimed does not go on after all: others may have it."""
        if not is_at_work(job_state) and not self.group.has_rows_of(job_state.job_id):
            with contextlib.suppress(StoreError, LeaseLostError):  # else its lease will run out
                self.store.write([Write(job_state.job_id, release=True)])

    def load(self, job_id: str) -> JobState:
        """A run as the store has it; the object of this process where there is one.

        Raises:
            UnknownRunError: The store has no such run.
        """
        # Else a record might be made anew while another thread is resuming it.
        with while_nothing_resumes():
            return self._load(job_id)

    def known(self, job_id: str) -> JobState | None:
        """The record of a run that this process has."""
        with self._lock:
            return self._known.get(job_id)

    def _load(self, job_id: str) -> JobState:
        known = self.known(job_id)
        if known is not None and is_at_work(known):
            return known
        try:
            header = find_run(self.store, job_id)
            if known is not None and self._is_up_to_date(known, header):
                return known
        except StoreError:
            if known is None or ledger_of(known).live is None:
                raise
            return known  # what this process knows is the best that there is
        engine = self._engine()
        if engine is not None and header.flow_id != engine.flow.flow_id:
            raise ForeignStateError(
                f"Run {job_id!r} of the store {self.store.url} belongs to flow {header.flow_id!r}, not to "
                f"{engine.flow.flow_id!r}. Use that flow, or another job_id."
            )
        before = None if known is None else ledger_of(known).live
        job_state = self.restored(header)
        ledger_of(job_state).was_live = True  # the store knows how it stands: a wait need not find out by looking on
        if header.status == JobStatus.RUNNING:
            ledger_of(job_state).live = RunElsewhere(self, job_state)
        if isinstance(before, DurableRun):
            before.tell_readers()
        return job_state

    def stand_in(self, job_state: JobState) -> DurableRun | None:
        """What keeps what is emitted into a run that is paused and was loaded; None for others."""
        with while_nothing_resumes():
            ledger, engine = ledger_of(job_state), self._engine()
            if engine is None or ledger.status != JobStatus.PAUSED or self.known(job_state.job_id) is not job_state:
                return None
            if status_below(job_state) == JobStatus.CANCELLED:
                return None  # it takes nothing
            if ledger.live is None:
                run = DurableRun(engine, job_state, engine.flow.max_workers)
                engine.withdraw(run)  # it has nothing to do before it is resumed
                run.stand_still()
            return ledger.live if isinstance(ledger.live, DurableRun) else None

    def refresh(self, job_state: JobState, header: RunHeader) -> None:
        """Let a record be what the store has: the run was driven elsewhere, and is over or paused."""
        self._become(job_state, header, replayed(self.store, header.job_id))

    def _become(self, job_state: JobState, header: RunHeader, reading: Reading) -> None:
        replay, number, snapshot_number = reading
        ledger = ledger_of(job_state)
        ledger.live = None
        job_state.deserialize(replay.saved_form(header.status))
        self.attend(job_state, number, snapshot_number, header.fingerprint)
        ledger.was_live = True

    def _is_up_to_date(self, job_state: JobState, header: RunHeader) -> bool:
        """Whether a run that stands still here is as the store has it: nobody has driven it since."""
        is_elsewhere = isinstance(ledger_of(job_state).live, RunElsewhere)
        if is_elsewhere != (header.status == JobStatus.RUNNING) and job_state.status != JobStatus.PENDING:
            # It is over elsewhere; or its pause is not written yet; or word was left that it shall go on, which is no
            # row. One that is pending is just being started.
            return self.group.has_rows_of(job_state.job_id)
        return not self.store.rows(job_state.job_id, after=self.scribe_of(job_state).number, limit=1)

    def restored(self, header: RunHeader, is_recovery: bool = False) -> JobState:
        """The record of a run that is not at work in this process, as the store has it; while nothing resumes.

        It is the object that this process knows, if there is one: whoever has it sees what becomes of the run.
        """
        reading = replayed(self.store, header.job_id)
        if is_recovery:
            # Those that were only waiting are not to blame, though one of them may have begun without that being kept:
            # from now on beginnings are kept before handlers are called, so it is found out if it kills again.
            before = reading.replay.deaths()
            with self._lock:
                self._deaths[header.job_id] = {key: before.get(key, 0) + 1 for key in reading.replay.begun()}
        with self._lock:
            present, is_starting = self._known.get(header.job_id), header.job_id in self._starting
        if present is not None and is_at_work(present):
            return present  # another thread was quicker, and goes on with it
        job_state = JobState() if present is None or is_starting else present
        self._become(job_state, header, reading)
        with self._lock:
            self._known[header.job_id] = job_state
        return job_state

    def keep_up(self, job_id: str) -> None:
        """If a run is live in this process, have in the store what it has done until now.

        Raises:
            StoreError: The store cannot be written.
        """
        for run in self._live_runs():
            if run.job_id == job_id:
                run.keep_up()

    def note_deaths(self, job_id: str, deaths: dict[str, int]) -> None:
        """For the resume that follows: it keeps them with the run."""
        with self._lock:
            self._deaths[job_id] = deaths

    def park(self, job_state: JobState, reason: str) -> None:
        """A run that cannot go on is paused, and nobody's."""
        with while_nothing_resumes():
            if note_pause(job_state, {"reason": reason, "checkpoint": {}}, 0):
                self.keep_still(job_state)

    def keep_still(self, job_state: JobState) -> None:
        """Keep a run that stands still as its record has it, and let others have it. Nobody may resume it meanwhile.

        Raises:
            StoreError: The store cannot be written.
        """
        scribe = self.scribe_of(job_state)

        def write_down(state: dict[str, Any]) -> None:
            earlier = scribe.cut()  # records, above all, which stand in no state
            scribe.begin_from(state)
            for row in (earlier, scribe.cut()):
                self.group.add(job_state.job_id, row, state["status"], release=True)

        job_state.write_live_form(write_down)
        self.group.write()

    def deaths_of(self, job_id: str) -> dict[str, int] | None:
        """How often the process of a run has died in an activation, by its id; None: it is not being recovered."""
        with self._lock:
            return self._deaths.pop(job_id, None)

    # -- writing

    def try_to_write(self) -> bool:
        """Write everything that waits; False, and the trouble is noted, when that cannot be done.

        It may be called with a run's lock held: what the trouble means for runs is seen to later, on the loop's thread.
        """
        if self.group.trouble is not None:
            return False
        try:
            self.group.write()
        except (StoreError, LeaseLostError) as error:
            self._on_trouble(error)
            return False
        return True

    def flush(self) -> None:
        """Write what nobody has written in time."""
        if self.group.trouble is None:
            self.try_to_write()
        else:
            self.retry()

    def renew(self) -> None:
        """Give a sign of life, unless another run has done so."""
        if not self.renewals.take():
            return
        try:
            self.store.renew()
        except LeaseLostError as error:
            self._on_trouble(error)
        except StoreError:
            logger.warning("The lease on %s could not be renewed", self.store.url, exc_info=True)

    def note_end(self) -> None:
        """With a run's lock held: one more has ended, and perhaps one is to be forgotten."""
        engine = self._engine()
        if self.retention is not None and engine is not None and self.retention.is_due():
            engine.workers.call(self.retention.prune, or_here=False)  # not under the run's lock

    # -- trouble

    def _on_trouble(self, error: StoreError | LeaseLostError) -> None:
        engine = self._engine()
        if engine is None or not self.group.note_trouble(error):
            return
        # On a thread of its own: the caller may hold a run's lock. Without one, the next flush of a run sees to it.
        engine.workers.call(self._see_to_trouble, or_here=False)

    def _on_refused(self, job_id: str, error: Exception) -> None:
        fail_refused(self._live_runs(), job_id, error)

    def _see_to_trouble(self) -> None:
        error = self.group.trouble
        if isinstance(error, LeaseLostError):
            self._give_up_runs(error, lambda: self.group.trouble is error)
        elif error is not None:
            self._retry_later()

    def _give_up_runs(self, error: LeaseLostError, is_news: Callable[[], bool]) -> None:
        """The lease is gone, and with it every run that was this driver's; new ones are those of another driver."""
        with self._giving_up:
            lost = self._lost_runs(error) if is_news() else []  # else another thread was quicker
        for run in lost:
            run.wake_waiters()  # now, since they may start new runs at once
        for run in self._live_runs():
            run.go_on_with_store()

    def _lost_runs(self, error: LeaseLostError) -> "list[DurableRun]":
        lost, waiting = self._live_runs(), self.group.job_ids()
        self.store.close()  # what comes later is another driver's, and stays
        for run in lost:
            run.lose(error)
        job_ids = {*waiting, *(run.job_id for run in lost if run.lost is not None)}
        for job_id in job_ids:
            with self._lock:
                known = self._known.pop(job_id, None)
            if known is not None:
                # Its last rows were not kept: others have those numbers, and this record is never gone on with.
                self.scribe_of(known).number = 0
        self.group.forget_all(job_ids)
        self.group.trouble = None
        return lost

    def _with_a_lease(self, call: Callable[[], T]) -> T:
        """What a call that drives a run returns, from another driver if this one's lease was taken from it."""
        driver = self.store.driver
        try:
            return call()
        except LeaseLostError as error:
            self._give_up_runs(error, lambda: self.store.driver == driver)
            return call()

    def _retry_later(self) -> None:
        delay_ns = self.group.next_retry_ns()
        for run in self._live_runs():
            run.retry_later(delay_ns)

    def retry(self) -> None:
        """Try once more to write what waits; runs that wait for it go on, or are paused when it takes too long."""
        if self.group.trouble is None:
            return
        try:
            self.group.write()
            self.store.renew()
        except LeaseLostError as error:
            self.group.note_trouble(error)
            self._see_to_trouble()
        except StoreError as error:
            self.group.note_trouble(error)
            engine = self._engine()
            if engine is not None and self.group.trouble_seconds() < engine.flow.store_patience:
                self._retry_later()
                return
            for run in self._live_runs():
                run.stop_for_store()
        else:
            self._go_on_if_trouble_is_over()

    def _go_on_if_trouble_is_over(self) -> None:
        # Runs give their tokens back under their locks when they see the trouble, and get them again under the same
        # locks after it was cleared: so no run is left without.
        if self.group.trouble is None or isinstance(self.group.trouble, LeaseLostError):
            return
        self.group.trouble = None
        for run in self._live_runs():
            run.go_on_with_store()

    def _live_runs(self) -> "list[DurableRun]":
        engine = self._engine()
        return [run for run in engine.loop.live_runs() if hasattr(run, "go_on_with_store")] if engine else []  # type: ignore[misc]

    def close(self) -> None:
        """Let go of the store, unless the application has opened it itself."""
        if self.owns_store:
            self.store.close()

    def forget_threads(self) -> None:
        """In a forked child: runs and what waits are the parent's."""
        self._lock = Lock()
        self._known = weakref.WeakValueDictionary()
        self._starting = {}
        self._recovery = Recovery()
        self._giving_up = Lock()
        self.group.forget_threads()
        self.renewals.forget_threads()
        if self.retention is not None:
            self.retention.forget_threads()
