"""DurableRun: a run that is written down as it goes, so that it outlives its process.

What happens is written under the run's lock, in the order in which it happens, and a settlement ends a row (see
`scribe.py`); rows go into the store in groups (see `group_commit.py`). So the store holds a prefix of what has
happened: a process that dies loses the last moments of it, and what was lost is done again, in the same way.
"""

import contextlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from routilux.errors import LeaseLostError, NotPlainError, RunDrivenError, RunEndedError, StoreError
from routilux.flow.activation import settle
from routilux.flow.controls import while_nothing_resumes
from routilux.flow.durable.group_commit import FLUSH_NS
from routilux.flow.durable.handed_out import HandedOut
from routilux.flow.durable.scribe import Scribe, encoded
from routilux.flow.durable.snapshots import take_snapshot
from routilux.flow.error_policy import Decision
from routilux.flow.gate import Gate
from routilux.flow.lifecycle import OPEN
from routilux.flow.no_journal import NO_JOURNAL
from routilux.flow.pending import describe
from routilux.flow.stops import PARKED, write_pause_point
from routilux.flow.task import Activation, HeldEmission, HeldRequest
from routilux.flow.timers import nanoseconds
from routilux.flow.wiring import Wired
from routilux.flow.workers import Turn
from routilux.job_state import JobState
from routilux.plain import plain
from routilux.priority import TaskPriority
from routilux.status import FINAL, JobStatus

if TYPE_CHECKING:  # made by the engine
    from routilux.flow.durable.durability import Durability
    from routilux.flow.engine import Engine
    from routilux.routine import Routine
    from routilux.slot import Slot
    from routilux.waiting import Progress

__all__ = ["DurableRun"]


# After a crash, the beginnings of so many activations are written before their handlers are called.
CAREFUL_COUNT = 256


class DurableRun(HandedOut):
    """A run of a flow that has a store. Everything but the writing down stands in its bases."""

    __slots__ = (
        "_careful_count",
        "_has_metadata",
        "_is_ending",
        "_is_released",
        "_is_reopening",
        "_status",
        "_unstaged_tokens",
        "recoveries",
    )

    is_durable = True

    def __init__(
        self,
        engine: "Engine",
        job_state: JobState,
        token_limit: int,
        timeout: float | None = None,
        ancestors: frozenset[int] = frozenset(),
    ) -> None:
        self.durability: Durability = engine.durable_side()
        self.scribe: Scribe = self.durability.scribe_of(job_state)
        # What the store says of its status.
        self._status = ""
        # Whether another process may drive it.
        self._is_released = False
        # Between a resume and the state that it writes, nothing else is written: half of a resume is none.
        self._is_reopening = False
        # Counted as outstanding while its end, or its pause for input, cannot be written.
        self._awaits_store = False
        # That is its end, which the store may have got: nothing can be added to it any more.
        self._is_ending = False
        # After a crash, so many beginnings are still written before their handlers are called: to know which kills it.
        self._careful_count = 0
        # How often the process of this run has died in an activation, by its id.
        self.recoveries: dict[str, int] = {}
        self._flush_number = self._renew_number = self._retry_number = self._poll_number = 0
        self._has_news = False
        self._unstaged_tokens = 0
        self.hand_out_nothing()
        self._has_metadata = False
        #: Why it is not this process's any more.
        self.lost: LeaseLostError | None = None
        super().__init__(engine, job_state, token_limit, timeout, ancestors)  # last: others can see it from then on
        self.journal = self.journal or NO_JOURNAL

    # -- starting

    def start(self, entry: Activation, inline: bool) -> None:
        """Keep the run, then start it."""
        entry.identity = self.entry_identity()
        with self.durability.only_one(self.job_state):
            self.durability.create(self, describe(entry, "queued", None, self.ledger.clock))
            self._status = JobStatus.RUNNING.value
            try:
                super().start(entry, inline)
            except BaseException:
                self.durability.let_go(self.job_id)
                raise
        self._renew_later()

    def stand_still(self) -> None:
        """Be as if it had been paused in this process: it was loaded, and nobody drives it."""
        with self.lock:
            self._gate, self.over, self._is_released = Gate.PARKING, True, True
            self.ledger.live = self

    def reopen(self, timeout: float | None, still_failed: Collection[str] = ()) -> None:
        """With the lock held: as every run."""
        self._is_reopening = True
        super().reopen(timeout, still_failed)

    def reopened(self) -> None:
        """Keep what a resume goes on with, before anything of it starts."""
        was_released, self._is_released, self.lost = self._is_released, False, None
        self._awaits_store = self._is_ending = False
        # A timer that was set before the run stood still is not waited for: it was dropped, or will find nothing.
        self._flush_number = self._renew_number = self._retry_number = self._poll_number = 0
        self._has_news = False
        deaths = self.durability.deaths_of(self.job_id)
        self.recoveries = deaths or {}
        self._careful_count = 0 if deaths is None else CAREFUL_COUNT
        try:
            self.durability.keep_anew(self, was_released)
        except (StoreError, LeaseLostError, RunDrivenError) as error:
            self._is_released = isinstance(error, RunDrivenError)
            self._is_reopening = False
            self.stop_for_store()
            raise
        self._is_reopening = False
        self._status = JobStatus.RUNNING.value
        self._renew_later()
        self.fetch_inputs()
        super().reopened()

    # -- what happens, with the lock held

    def _begin(self, task: Activation, now: int) -> None:
        has_merged, retried, replayed = task.merged, task.retry_count, task.replay is not None
        super()._begin(task, now)
        record = 0 if retried or replayed else 2 if task.is_entry else 1
        merges = task.port.slot.replaces and not has_merged and not retried
        self.scribe.begin(task, now, record, merges)
        if self.durability.is_sync:
            task.staged = []

    def _release(
        self,
        activation: Activation,
        wired: Wired,
        data: dict[str, Any],
        delay: float,
        priority: TaskPriority,
        differs: bool = False,
    ) -> int:
        if self._is_ending:
            self._refuse_when_ending(str(wired))
        text = encoded(data, wired)  # refused before anything has happened
        before = self.event_count
        given = super()._release(activation, wired, data, delay, priority, differs)
        if self.event_count == before:
            return given  # refused, or released in an earlier life
        now = self.ledger.rows[-2]
        nth = len(activation.released()[wired.name_in(activation.port.node)]) - 1
        due_ns = now + nanoseconds(delay) if delay > 0 else None
        self.scribe.emission(activation, wired, text, now, nth, priority, due_ns)
        if self.durability.is_sync and (activation.staged is None or due_ns is not None):
            self._write_now()  # it does not wait for the settlement, so it is kept before
        return given

    def _refuse_when_ending(self, what: str) -> None:
        raise RunEndedError(
            f"Run {self.job_id} has nothing left to do, and ends as soon as its store can be written: it does not "
            f"take {what} any more. Emit from a handler while its run goes on, or start a new run with execute()."
        )

    def request_input(
        self, activation: Activation, routine: "Routine", slot: "Slot", name: str, timeout: float | None
    ) -> None:
        """As every run; a name by which no store could take an answer is refused."""
        self.scribe.check_text("name of the input", name)
        super().request_input(activation, routine, slot, name, timeout)

    def ask(self, activation: Activation, request: HeldRequest) -> int:
        """With the lock held: as every run."""
        if self._is_ending:
            self._refuse_when_ending(f"the request of {request.port.node.id!r} for {request.name!r}")
        return super().ask(activation, request)

    def held(self, emission: HeldEmission) -> HeldEmission:
        """What is kept of an emission: what its handler changes afterwards must not make it unfit for the store."""
        emission.data = plain(emission.data, str(emission.wired))
        return emission

    def defer(self, activation: Activation, event: tuple[str, str, dict[str, Any]]) -> None:
        """As every run; data that cannot be kept are refused now, and not when the activation ends."""
        routine_id, event_name, data = event
        what = f"what {routine_id!r} defers as {event_name!r}"
        super().defer(activation, (routine_id, event_name, plain(data, what)))

    def keep_from_outside(self) -> None:
        """Keep now what no settlement will keep."""
        if self._is_released and self.lost is None:  # into a run that is paused, and that nobody drives
            with while_nothing_resumes():  # else it would be taken from who resumes it
                self._keep_while_paused()
        else:
            with self.lock:
                self._cut()
            self.durability.try_to_write()

    def _keep_while_paused(self) -> None:
        was_released = self._is_released
        if was_released:
            self.durability.claim(self.job_state)
        with self.lock:
            if was_released:
                self._is_released = False
            self._cut()
            if was_released:
                self._release_ownership()
        self.durability.try_to_write()

    def note_retry(self, task: Activation, due_ns: int | None) -> None:
        """An attempt has failed, and there will be another."""
        self._note_shared()
        self.scribe.retry(task, due_ns)
        self._cut()

    def _note_left(self, task: Activation, outcome: str) -> None:
        super()._note_left(task, outcome)
        self._note_shared()
        if outcome == "failed":
            self.scribe.fail(task)
        elif outcome == "completed" and not task.retry_count:
            rows = self.ledger.rows
            self.scribe.complete(task, rows[-2], rows[-1])
        else:
            self.scribe.leave(task)
        self._cut()
        if task.staged is not None:
            self._unstage(task)

    def _unstage(self, task: Activation) -> None:
        """At the level "sync": what an activation has caused starts when its settlement is kept."""
        staged, task.staged = task.staged or [], None
        self._write_now()
        for each in staged:
            if self._gate == OPEN:
                self.push(each)
            else:
                self.outstanding -= 1
                self.park(each, "queued")
        if staged:
            self._unstaged_tokens += self.tokens_for(len(staged))

    def _cut(self) -> None:
        if self.lost is not None or self._is_released or self._is_reopening:
            return  # not this process's to write; what is told meanwhile stands in the row of the next resume
        self._note_metadata()
        status = self.ledger.status
        if self._is_ending and status == JobStatus.RUNNING:
            status = self._status  # its end is on its way
        changed = status if status != self._status else None
        row = self.scribe.cut()
        if row is None and changed is None:
            return
        self._status = status
        self.durability.group.add(self.job_id, row, changed)
        if not self._flush_number and not self.over:
            self._flush_number = self.timers.schedule(self.now() + FLUSH_NS)

    def _note_metadata(self) -> None:
        metadata = self.job_state.metadata
        if metadata or self._has_metadata:
            self._has_metadata = True
            with contextlib.suppress(NotPlainError):  # for the application; saving the run will tell
                self.scribe.metadata(metadata)

    def _write_now(self) -> None:
        """With the lock held, which only this run's threads and readers want: write, or note that it cannot be done."""
        self._cut()
        self.durability.try_to_write()

    # -- what happens, without the lock

    def settle(self, task: Activation, turn: Turn | None) -> Activation | None:
        """Settle an activation, with what it has shared; returns the worker's next task."""
        try:
            self.note_changes(task)
        except NotPlainError as error:
            return settle(task, error, turn)
        return self._after_settlement(super().settle(task, turn))

    def settle_failure(
        self, task: Activation, error: BaseException, decision: Decision, delay: float, turn: Turn | None
    ) -> Activation | None:
        """Settle an attempt that failed; returns what `settle` returns."""
        while True:
            try:
                self.note_changes(task)
                break
            except NotPlainError:
                continue  # one error is enough
        return self._after_settlement(super().settle_failure(task, error, decision, delay, turn))

    def _after_settlement(self, following: Activation | None) -> Activation | None:
        if self.scribe.number >= self.scribe.snapshot_due:
            take_snapshot(self)
        if self._unstaged_tokens:
            with self.lock:
                given, self._unstaged_tokens = self._unstaged_tokens, 0
            self.hand_out(given)
        if self._careful_count and following is not None:
            self._begin_carefully()
        else:
            self.durability.group.write_if_due()
        return following

    def _begin_carefully(self) -> None:
        with self.lock:
            self._careful_count -= 1
            self._write_now()

    def take(self) -> Activation | None:
        """The first task of a worker's turn."""
        task = super().take()
        if self._careful_count and task is not None:
            self._begin_carefully()
        return task

    def after_handover(self, turn: Turn | None) -> Activation | None:
        """A worker has handed a coroutine over: its next task."""
        following = super().after_handover(turn)
        if self._careful_count and following is not None:
            self._begin_carefully()
        return following

    def _take(self, now: int) -> Activation | None:
        if self.durability.group.trouble is not None:
            self.tokens -= 1  # given out again when the store can be written
            return None
        return super()._take(now)

    def _may_begin(self) -> bool:
        return self.durability.group.trouble is None

    def tokens_for(self, task_count: int) -> int:
        """With the lock held: tokens for new tasks; none while the store cannot be written."""
        return super().tokens_for(task_count) if self.durability.group.trouble is None else 0

    def outstanding_tasks(self) -> list[dict[str, Any]]:
        """With the lock held: everything that is active, on a timer, queued, or staged."""
        staged = [each for task in self.active for each in task.staged or ()]
        return [*super().outstanding_tasks(), *(describe(each, "queued", None, self.ledger.clock) for each in staged)]

    def enqueue(self, task: Activation) -> bool:
        """Count a task that comes from outside, and keep it."""
        with self.lock:
            if self._is_ending:
                return False
            if self._gate < Gate.REFUSING:
                self.scribe.arrival(describe(task, "queued", None, self.ledger.clock), None)
                self._cut()
        return super().enqueue(task)

    # -- stopping

    def _close(self, gate: int, status: str) -> None:
        self._is_ending = False
        self._await_no_more()
        super()._close(gate, status)
        self._cut()

    def _end_if_kept(self) -> None:
        """An end that has just been written cannot be taken back by a stop."""
        with self.lock:
            if self._end_is_kept():
                self._await_no_more()
                self._end_if_over()

    def pause(self, point: dict[str, Any]) -> bool:
        """Park everything that is not active, and keep that.

        Raises:
            StoreError: It is paused, and the store does not know it yet.
        """
        self._end_if_kept()
        self.note_changes_from_outside()
        if not super().pause(point):
            return False
        self._keep_stop()
        return True

    def cancel(self, reason: str) -> bool:
        """Drop everything that is not active, for good, and keep that.

        Raises:
            StoreError: It is cancelled, and the store does not know it yet.
            RunDrivenError: Another process drives it meanwhile; nothing has happened.
        """
        if self._is_released and self._gate == Gate.PARKING:
            self.durability.claim(self.job_state)
            self._is_released = False
        self._end_if_kept()
        if not super().cancel(reason):
            return False
        self._keep_stop()
        return True

    def drop_pending(self) -> None:
        """As every run, and written down: in one step with the stop, since what was dropped cannot begin any more."""
        super().drop_pending()
        self.scribe.dropped()

    def keep_note(self) -> None:
        """Keep what its record was told of another stop."""
        self._keep_stop()

    def _keep_stop(self) -> None:
        with self.lock:
            self._cut()
            if self.over:
                self._release_ownership()
        self.durability.group.write()

    def stop_for_store(self) -> None:
        """The store cannot be written for too long: be paused, in memory."""
        with self.lock:
            if self._end_is_kept():
                return  # it ends when the store can be written again
            if self._gate != OPEN:
                return
            self._close(Gate.PARKING, JobStatus.PAUSED.value)
            write_pause_point(self.job_state, {"reason": "store", **PARKED}, len(self.active))
            self._cut()
            self.engine.paused.add(self)
            self._end_if_over()

    def lose(self, error: LeaseLostError) -> None:
        """Another process has taken it over: drop what is queued, and do nothing more."""
        with self.lock:
            # One that is not kept yet is nobody else's; if it was just being kept, its first write finds out.
            if self.lost is not None or self._gate == Gate.ENDED or not self._status:
                return
            self.lost = error
            self.ledger.refuses = True
            self._gate = Gate.REFUSING
            for queue in (self._urgent, self._normal, self._low):
                if queue:
                    queue.clear()
            for _ in self.timers.take_all():
                pass
            self.durability.group.forget(self.job_id)
            self.cancel_awaiting()
            self.over = True
            self.engine.loop.retire(self.key, self.timers.heap_count)
            self.engine.absorb(self)

    def wake_waiters(self) -> None:
        """After `lose`."""
        with self.lock:
            self._waiters.notify()

    def wait(self, timeout: float | None, progress: "Progress | None" = None) -> bool:
        """Until the run is over; False at the timeout.

        Raises:
            LeaseLostError: Another process has taken the run over.
        """
        done = super().wait(timeout, progress)
        if self.lost is not None:
            raise LeaseLostError(
                f"Run {self.job_id} is not this process's any more, and may go on in another process: this one gave no "
                f"sign of life for {self.durability.store.lease_seconds:g} s, or its store was closed under the run. "
                f"Look at it with store.load({self.job_id!r})."
            ) from self.lost
        return done

    # -- the end

    def _end_if_over(self) -> None:
        if self.over:
            return
        if self.job_state.input_requests:
            self._stop_for_input()
        is_end = self._gate == OPEN and not self.outstanding
        if not is_end and (self._gate == OPEN or self.active):
            return
        if is_end and not self._keep_end():
            return
        if not is_end:
            # Before it is over: who waits must not come back while the store says that it runs.
            self._cut()
            self._release_ownership()
            if self.durability.try_to_write() and self.ledger.status in FINAL:
                self.durability.note_end()
        super()._end_if_over()
        if not is_end:
            self._look_again()

    def _keep_end(self) -> bool:
        """Keep the end before anybody is told of it; False while that cannot be done."""
        if self._end_is_kept():
            self._is_ending, self._is_released = False, True
            return True
        self._cut()
        if self.ledger.status == JobStatus.RUNNING:
            self._status = self.ledger.final_status()
        self.durability.group.add(self.job_id, None, self._status, release=True)
        if self.durability.try_to_write():
            self._is_ending, self._is_released = False, True
            self.durability.note_end()
            return True
        if self.lost is None:
            self._is_ending = True
            self._await_store()
        return False

    def _end_is_kept(self) -> bool:
        """With the lock held: whether somebody has written the end that could not be written at first."""
        return self._is_ending and not self.durability.group.has_rows_of(self.job_id)

    def _await_no_more(self) -> None:
        """With the lock held: what could not be written is tried anew, or given up."""
        if self._awaits_store:
            self._awaits_store = False
            self.outstanding -= 1

    def _release_ownership(self) -> None:
        if not self._is_released and self.lost is None:
            self._is_released = True
            self.durability.group.add(self.job_id, None, None, release=True)

    def go_on_with_store(self) -> None:
        """The store can be written again."""
        with self.lock:
            self._waiters.notify()  # the caller whose entry is to be tried again
            if self._awaits_store:
                self._await_no_more()
                self._end_if_over()
                due = self._take_announcement()
            else:
                due = 0
            given = self.tokens_for(self.queue_size()) if not self.over else 0
        self.hand_out(given)
        if due:
            self.announce(due)

    def keep_up(self) -> None:
        """Have in the store what has happened until now.

        Raises:
            StoreError: The store cannot be written.
        """
        with self.lock:
            self._cut()
        self.durability.group.write()
