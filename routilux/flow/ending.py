"""How a run's end is told: to those who asked to hear of it, to those who wait for it, and to the tracker."""

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from routilux.context import current_activation
from routilux.execution_tracker import KEPT_COUNT, Sums
from routilux.executors.opening import asyncio_waits
from routilux.flow.waiters import Waiters
from routilux.flow.workers import place_given_away_here
from routilux.job_state import ExecutionRecord, JobState, ledger_of
from routilux.status import FINAL

if TYPE_CHECKING:  # the engine makes runs
    from routilux.flow.engine import Engine
    from routilux.flow.flow import Flow
    from routilux.flow.workers import Workers

__all__ = ["RunEnd", "ancestors_here"]

# Over all flows: a run of one flow may be started by a handler of another.
_keys = itertools.count(1)


def ancestors_here() -> frozenset[int]:
    """The runs that cannot end before the calling thread's handler does."""
    activation = current_activation.get()
    run = activation.run if activation is not None else None
    return frozenset() if run is None else run.ancestors | {run.key}


class RunEnd:
    """The side of a run that outlives its work: who drives which record, whether it is over, who has to be told.

    `lock` is the ledger's. Methods that say "with the lock held" are for the rooms of the engine.
    """

    __slots__ = (
        "__weakref__",
        "_announce_due",
        "_announced",
        "_end_number",
        "_left_behind",
        "_leg",
        "_tracked_by",
        "_tracked_count",
        "_waiters",
        "ancestors",
        "engine",
        "event_count",
        "flow",
        "hooks",
        "is_adopted",
        "is_anonymous",
        "job_id",
        "job_state",
        "journal",
        "key",
        "ledger",
        "lock",
        "now",
        "over",
        "tracked",
        "workers",
    )

    def __init__(self, engine: "Engine", job_state: JobState, ancestors: frozenset[int]) -> None:
        self.engine = engine
        self.flow: Flow = engine.flow
        self.workers: Workers = engine.workers
        self.hooks = engine.listeners.hooks
        self.journal = engine.journal
        self.job_state: JobState = job_state
        self.job_id = job_state.job_id
        self.ledger = ledger_of(job_state)
        self.lock = self.ledger.lock
        self.now = self.ledger.now
        self.key = next(_keys)
        # The keys of the runs whose handlers started this one: waiting for one of them would wait for oneself.
        self.ancestors = ancestors
        # Made from a hand-made JobState that tasks name: its record is written, its status is not ours.
        self.is_adopted = False
        # Made for tasks that belong to no run at all: their handlers see no context.
        self.is_anonymous = False
        self._waiters = Waiters(self.lock)
        self.over = False
        # From its start, or a resume, to its next stop or end.
        self._leg = 1
        self._announced = False
        # Counts the ends, and the resumes: an announcement that takes its time must not be taken for a later one.
        self._end_number = 0
        # The number of the end that is to be announced by whoever finds it here; 0: none.
        self._announce_due = 0
        # Whether its flow was shut down since it was paused: then nobody goes on waiting for a resume.
        self._left_behind = False
        self.tracked: dict[str, Sums] = {}
        self.event_count = 0
        # How many records were there when this leg began, or have been read since, by whom.
        self._tracked_count = 0
        self._tracked_by: tuple[object, int, int] | None = None

    def was_resumed(self) -> bool:
        """Whether it is not on its first leg, which `execute` begins."""
        return self._leg > 1

    @abstractmethod
    def is_stopped(self) -> bool:
        """Whether it was paused, failed or cancelled, rather than having come to its end."""

    @abstractmethod
    def is_parking(self) -> bool:
        """Whether it was paused or has failed, and what is emitted waits for a resume."""

    # -- telling

    def _become_final(self) -> None:
        # With the lock held. Those who asked for it are told outside the lock, by whoever finds `_announce_due`.
        self._end_number += 1
        self._announce_due = self._end_number if self.engine.listeners.want_ends() and not self.is_adopted else 0
        self._announced = not self._announce_due
        if self.engine.journal is not None and not self.is_adopted:
            self.engine.journal.ended(self.job_id, self.ledger.status)

    def _take_announcement(self) -> int:
        """With the lock held: the number of an end that the caller has to announce without it; 0: none."""
        due, self._announce_due = self._announce_due, 0
        return due

    def announce(self, number: int) -> None:
        """Call those who want to know of the run's end, then wake its waiters.

        Waiters come second, so that whoever returns from a wait finds the callbacks done. A callback may resume the
        run, or cancel it: then its waiters wait for another end. The thread that drives coroutines does not call them:
        a callback may wait for another run, whose handlers it drives.
        """
        if self.engine.handover.is_here():
            self.engine.announce_elsewhere(self, number)
            return
        try:
            self.engine.listeners.tell_end(self.job_state)
        finally:
            with self.lock:
                if self._end_number == number:
                    self._announced = True
                    self._detach()
                    self._waiters.notify()

    def _detach(self) -> None:
        # A paused run stays with its JobState: what a late thread of a handler emits still has to be parked.
        live: object = self.ledger.live
        if self.over and self._announced and live is self:
            self.ledger.live = None
            self.ledger.was_live = True

    # -- waiting

    def is_done_for_waiters(self) -> bool:
        """With the lock held: whether a wait may return."""
        if not self.over:
            return False
        return self._announced or self.ledger.status not in FINAL or self.engine.listeners.are_told_of(self.job_state)

    def block(self, seconds: float | None) -> bool:
        """Wait on this thread until the run is over for at most `seconds`; whether it is."""
        return self._waiters.block(self.is_done_for_waiters, self.is_stopped, seconds)

    async def block_async(self, seconds: float | None) -> bool:
        """As `block`, without keeping the calling thread: it runs an asyncio loop."""
        waits = asyncio_waits()
        with place_given_away_here():  # a plain handler's loop, made with asyncio.run, stands on a worker
            done = await waits.until(self._waiters, self.lock, self.is_done_for_waiters, seconds, self.is_stopped)
        return bool(done)

    def wait_for_change(self, timeout: float | None) -> None:
        """Until something was recorded, its status is another, or the run has ended, at most `timeout` seconds.

        That it is paused is a change only once, when it happens: a run may be paused for days.
        """
        before = self.job_state.record_total(), self.ledger.status

        def is_change() -> bool:
            return self._is_over_for_good() or (self.job_state.record_total(), self.ledger.status) != before

        self._waiters.watch(is_change, timeout)

    def wait_for_news(self, record_count: int, output_count: int) -> bool:
        """Wait until a reader who has seen so many records and outputs has something to do; see `LiveRun`."""
        with self.lock:
            outlook = self._outlook(record_count, output_count)
        if outlook is None:
            with place_given_away_here():
                self._waiters.watch(lambda: self._outlook(record_count, output_count) is not None, None)
        return self._is_worth_a_look(record_count, output_count)

    async def wait_for_news_async(self, record_count: int, output_count: int) -> bool:
        """As `wait_for_news`, without keeping the calling thread."""
        with place_given_away_here():
            await asyncio_waits().until(
                self._waiters,
                self.lock,
                lambda: self._outlook(record_count, output_count) is not None,
                None,
                None,
                is_watcher=True,
            )
        return self._is_worth_a_look(record_count, output_count)

    def _is_worth_a_look(self, record_count: int, output_count: int) -> bool:
        with self.lock:  # what has changed since the wait is a reason to look as well
            return self._outlook(record_count, output_count) is not False

    def _outlook(self, record_count: int, output_count: int) -> bool | None:
        """With the lock held, for a reader: True, there is something to look at; False, never more; None, not yet."""
        live: object = self.ledger.live
        if (
            self.job_state.record_total() > record_count
            or len(self.ledger.output_marks) != output_count
            or live is not self  # another run drives the record since, or it is over
        ):
            return True
        return False if self._is_over_for_good() or self._is_left_behind() else None

    def _is_over_for_good(self) -> bool:
        # With the lock held. A paused run stands still, and a resume may go on with it at any time.
        return not self.is_parking() and self.is_done_for_waiters()

    def _is_left_behind(self) -> bool:
        return self.over and self.is_parking() and (self._left_behind or self.engine.is_shut_down())

    def leave_behind(self) -> None:
        """Its flow was shut down: who reads it while it is paused has read it to its end.

        The flag, and not only that the flow is shut down: an `execute` right after the shutdown opens the flow again,
        perhaps before a reader that is woken here has looked.
        """
        with self.lock:
            self._left_behind = True
            self.poke()

    def tell_readers(self) -> None:
        """Its record is driven by another run from now on, or by none: let those look who wait here for news."""
        with self.lock:
            self.poke()

    def poke(self) -> None:
        """With the lock held: something was written that a watcher may wait for."""
        if self._waiters.watcher_count:
            self._waiters.notify()

    # -- for the tracker

    def unread_records(self, tracker: object) -> tuple[int, Callable[[], Iterable[ExecutionRecord]]]:
        """With the lock held: how many records a tracker has not read, and how to read them later."""
        return self.job_state.records_after(self._count_read_by(tracker), KEPT_COUNT * 3)

    def _count_read_by(self, tracker: object) -> int:
        """With the lock held: how many records it has read. One that takes another's place reads the whole leg."""
        by, leg, first = self._tracked_by or (None, 0, 0)
        if leg != self._leg:
            first = self._tracked_count
        elif by is not tracker:
            self._tracked_count = first
        self._tracked_by = tracker, self._leg, first
        return self._tracked_count

    def live_figures(self, tracker: object) -> tuple[dict[str, Sums], int, list[ExecutionRecord]] | None:
        """For a tracker: sums, number of events, and the records since its last call; None when the run is over.

        One critical section with the end of the run, which hands the rest over: so nothing is read twice.
        """
        with self.lock:
            if self.over:
                return None
            history, dropped = self.job_state.folded_history(), self.ledger.dropped
            new = history[max(0, self._count_read_by(tracker) - dropped) :]
            self._tracked_count = dropped + len(history)
            return {key: sums.copy() for key, sums in self.tracked.items()}, self.event_count, new
