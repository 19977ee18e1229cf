"""How a run begins, stops and ends: its count, its gate, its tokens, its timers.

An activation is counted before it can be seen in the queue, and its children are counted before it is uncounted; so
the count reaches zero once, when nothing is queued, active, or waiting for a timer. That moment ends the run, whether
anybody waits or not.
"""

import contextlib
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Collection
from threading import RLock
from typing import TYPE_CHECKING, Any

from routilux.errors import NotPendingError
from routilux.flow.ending import RunEnd, ancestors_here
from routilux.flow.failure import error_text, expire, fail_from_outside
from routilux.flow.gate import Gate
from routilux.flow.identity import identity_of
from routilux.flow.pending import describe, describe_all
from routilux.flow.stops import write_cancellation, write_pause_point
from routilux.flow.task import Activation
from routilux.flow.timers import RunTimers, nanoseconds
from routilux.flow.waiters import Waiters
from routilux.flow.waits import refuse_self_wait, wait_for
from routilux.flow.workers import Workers
from routilux.job_state import JobState
from routilux.priority import TaskPriority
from routilux.status import FINAL, JobStatus

if TYPE_CHECKING:  # the engine makes runs
    from routilux.flow.engine import Engine
    from routilux.flow.wiring import Port
    from routilux.waiting import Progress

__all__ = ["RunExists", "RunLifecycle"]

logger = logging.getLogger(__name__)

# How long a resumed run with nothing left waits for somebody to wait for it.
RESUME_HOLD_NS = 50_000_000

# Looking a member up in its enum costs more than comparing it.
NORMAL, HIGH = TaskPriority.NORMAL, TaskPriority.HIGH
OPEN = Gate.OPEN


class RunExists(Exception):  # noqa: N818 - it is no error: `execute` returns the run that is there
    """A run of this job_id was kept before."""

    def __init__(self, job_state: JobState) -> None:
        super().__init__(job_state.job_id)
        self.job_state = job_state


class RunLifecycle(RunEnd):
    """One run while it is alive, but for its hot path, which stands in `Run`.

    `lock` is the ledger's: it protects the queue, the counts and the record alike, so that a hop takes it twice, once
    to emit and once to settle and take the next. No user code runs while it is held. Merges have a lock of their own
    (`merge_lock`, taken before it), because a merge function is the user's. Methods that say "with the lock held"
    are for the rooms of the engine.
    """

    __slots__ = (
        "_entry_ready",
        "_gate",
        "_held_by_resume",
        "_hold_number",
        "_low",
        "_merge_lock",
        "_normal",
        "_urgent",
        "aborted_by",
        "active",
        "input_ports",
        "is_inline",
        "is_sequential",
        "outstanding",
        "reserved",
        "timeout",
        "timers",
        "token_limit",
        "tokens",
    )

    def __init__(
        self,
        engine: "Engine",
        job_state: JobState,
        token_limit: int,
        timeout: float | None = None,
        ancestors: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(engine, job_state, ancestors)
        # Whether the caller of `execute` runs the entry, and waits for its retries.
        self.is_inline = False
        # Whether it has one activation at a time, those that await included.
        self.is_sequential = (self.ledger.strategy or engine.flow.execution_strategy) == "sequential"
        self.timeout = timeout
        # Where the answers to its requests go, by (routine id, slot name).
        self.input_ports: dict[tuple[str, str], Port] = {}
        self.timers = RunTimers(engine.loop, self.key)
        self._merge_lock = RLock()
        self._gate = Gate.OPEN
        self.aborted_by: BaseException | None = None
        # Counted as outstanding from a resume on, until somebody waits or a timer fires: a run that has nothing left
        # must not end before its resume has returned.
        self._held_by_resume = False
        self._hold_number = 0
        # Activations that are not settled: queued, active, or waiting for a timer.
        self.outstanding = 0
        self.active: set[Activation] = set()
        self._normal: deque[Activation] = deque()
        # Made when something is queued there: few runs have priorities.
        self._urgent: deque[Activation] | None = None
        self._low: deque[Activation] | None = None
        self._entry_ready: Activation | None = None
        # How many workers may have this run at once, and how many tokens for it are out.
        self.token_limit = token_limit
        self.tokens = self.reserved = 0
        engine.loop.adopt(self)

    def __repr__(self) -> str:
        return (
            f"Run[{self.job_id}:{self.ledger.status}] ({self.queue_size()} queued, {len(self.active)} active, "
            f"{len(self.timers)} on timers, {self.tokens} of {self.token_limit} tokens out)"
        )

    # -- looking

    def queue_size(self) -> int:
        """Activations that wait to be started."""
        return len(self._normal) + len(self._urgent or ()) + len(self._low or ())

    def active_count(self) -> int:
        """Handlers that are running."""
        return len(self.active)

    def active_tasks(self) -> list[Activation]:
        """The activations whose handlers are running."""
        with self.lock:
            return list(self.active)

    def is_open(self) -> bool:
        """Whether it goes on, rather than being paused, stopped or over."""
        return self._gate == Gate.OPEN

    def is_refusing(self) -> bool:
        """Whether what is emitted is refused."""
        return self._gate == Gate.REFUSING

    def is_stopped(self) -> bool:
        """Whether it was paused, failed or cancelled, rather than having come to its end."""
        return self._gate in (Gate.PARKING, Gate.REFUSING)

    def is_parking(self) -> bool:
        """Whether it was paused or has failed, and what is emitted waits for a resume."""
        return self._gate == Gate.PARKING

    def is_cancelled(self) -> bool:
        """Whether what its handlers still do is in vain."""
        return self._gate == Gate.REFUSING or self.ledger.status in (JobStatus.FAILED, JobStatus.CANCELLED)

    # -- starting

    def start(self, entry: Activation, inline: bool) -> None:
        """Start the clock, and count the entry: as active when its caller runs it, else as the first in the queue.

        Raises:
            InvalidValueError: The state is not pending any more.
            RuntimeError: No thread could be started for the timers.
        """
        entry.identity = self.entry_identity()
        with self.lock:
            if self.ledger.status != JobStatus.PENDING:
                raise NotPendingError(
                    self.job_state.job_id, self.job_state.status
                )  # another caller was quicker with the same JobState
            now = self.now()
            if self.timeout is not None:
                self.timers.set_deadline(now, nanoseconds(self.timeout))
            # One step with the entry's being counted: a snapshot sees a run that has not begun, or one with its entry.
            self.ledger.status = JobStatus.RUNNING.value
            self.ledger.live = self
            if self.engine.journal is not None:
                self.engine.journal.started(self.job_id, entry.port.node.id, entry.data)
            self.outstanding += 1
            self.is_inline = inline
            if inline:
                self._begin(entry, now)
                return
            self.push(entry)
            given = self.tokens_for(1)
        self.hand_out(given)

    def entry_identity(self) -> int:
        """The identity of this run's entry: it derives from the job_id alone."""
        return identity_of(self.job_id)

    def enqueue(self, task: Activation) -> bool:
        """Count a task that comes from outside, and queue it, or park it; False when the run takes nothing any more."""
        with self.lock:
            if self._gate >= Gate.REFUSING:
                return False
            if self._gate == Gate.PARKING:
                self.park(task, "queued")
                return True
            self.outstanding += 1
            self.push(task)
            given = self.tokens_for(1)
        self.hand_out(given)
        return True

    def park_if_paused(self) -> bool:
        """Be for a state that is paused, if it is: what it is given then waits in pending_tasks."""
        with self.lock:
            if self.ledger.status == JobStatus.PAUSED:
                self._gate = Gate.PARKING
            return self._gate == Gate.PARKING

    def open_for_tasks(self, token_limit: int) -> None:
        """Let workers at the queue: the entry handler of a sequential run has returned."""
        with self.lock:
            self.token_limit = token_limit
            given = self.tokens_for(self.queue_size())
        self.hand_out(given)

    def hold_open(self) -> None:
        """Count something that is about to emit, so that the run does not end before it has."""
        with self.lock:
            self.outstanding += 1

    def let_close(self) -> None:
        """Take `hold_open` back."""
        with self.lock:
            self.outstanding -= 1
            self._end_if_over()

    def tokens_for(self, task_count: int) -> int:
        """With the lock held: tokens for new tasks. They count as out from here on, and are put into the line later."""
        given = min(self.token_limit - self.tokens, task_count)
        if given <= 0 or self._gate != Gate.OPEN:
            return 0
        self.tokens += given
        return given

    def hand_out(self, tokens: int) -> None:
        """Without the lock: put tokens that count as out into the line."""
        if tokens:
            self.workers.hand_out(self, tokens)

    def take_token_back(self) -> None:
        """The engine has failed with a token in its hands."""
        with self.lock:
            self.tokens = max(0, self.tokens - 1)

    def _queue(self, priority: int) -> deque[Activation]:
        if priority == NORMAL:
            return self._normal
        if priority == HIGH:
            if self._urgent is None:
                self._urgent = deque()
            return self._urgent
        if self._low is None:
            self._low = deque()
        return self._low

    def push(self, task: Activation) -> None:
        """With the lock held: put a task that is counted into the queue."""
        self._queue(task.priority).append(task)

    def _begin(self, task: Activation, now: int) -> None:
        self.active.add(task)
        port = task.port
        self.job_state.current_routine_id = port.node.id
        if task.special is not None:
            self._begin_special(task, now)
            return
        task.started_ns = now
        ledger = self.ledger
        ledger.rows += (port.start_key, now, None)
        if ledger.limit is not None:
            ledger.keep_bound()
        if port.slot.replaces:
            ledger.slot_data[port.key] = task.data

    def _begin_special(self, task: Activation, now: int) -> None:
        port, is_merged = task.port, task.merged
        task.started_ns = now
        if task.retry_count:
            return
        if task.replay is None:
            self.ledger.write(port.start_key, now, task.data if task.is_entry else None)
        if port.slot.replaces and not is_merged:
            self.ledger.slot_data[port.key] = task.data

    # -- stopping

    def fail(self) -> None:
        """With the lock held: nothing new starts, and what is queued waits in pending_tasks for a resume."""
        if self._gate == Gate.OPEN:
            self._close(Gate.PARKING, JobStatus.FAILED.value)

    def refuse_from_now_on(self, status: str) -> None:
        """With the lock held: as `fail`, but what is emitted from now on is refused."""
        if self._gate == Gate.OPEN:
            self._close(Gate.REFUSING, status)
            self.ledger.refuses = True
            self.cancel_awaiting()

    def cancel_awaiting(self) -> None:
        """With the lock held, and the gate refusing: let the handlers that await see a CancelledError."""
        if self.active:
            self.engine.handover.cancel(self.active)

    def _close(self, gate: int, status: str) -> None:
        if self._held_by_resume:
            self._held_by_resume = False
            self.outstanding -= 1
        for queue in (self._urgent, self._normal, self._low):
            while queue:
                task = queue.popleft()
                self.park(task, "retry" if task.retry_count else "queued")
                self.outstanding -= 1
        for due_ns, task in self.timers.take_all():
            self.park(task, "retry" if task.retry_count else "queued", due_ns)
            self.outstanding -= 1
        if self._entry_ready is not None:
            self.park(self._entry_ready, "retry")
            self._entry_ready = None
            self.outstanding -= 1
        self._gate = gate
        if not self.is_adopted:
            self.ledger.status = status
            if status in FINAL:
                self._become_final()
        self._waiters.notify()

    def park(self, task: Activation, was: str, due_ns: int | None = None) -> None:
        """With the lock held: keep a task in pending_tasks."""
        if self.ledger.status != JobStatus.CANCELLED:  # what a cancelled run has left is dropped
            self.job_state.pending_tasks.append(describe(task, was, due_ns, self.ledger.clock))

    def give_back(self, task: Activation) -> bool:
        """A thread could not go on with an activation: it is kept in pending_tasks; False when it was not active."""
        with self.lock:
            if task not in self.active:
                return False
            self.active.discard(task)
            self.outstanding -= 1
            self.park(task, "failed")
            return True

    def abort(self, error: BaseException, routine_id: str = "") -> None:
        """The engine cannot go on with this run: fail it, with everything that is not active in pending_tasks.

        The error is recorded as that of `routine_id`, and as nobody's by default.
        """
        with contextlib.suppress(Exception):  # filters and handlers of logging are the application's
            logger.error("Run %s cannot go on: %s", self.job_id, error, extra={"job_id": self.job_id})
        self.aborted_by = error
        text = error_text(error)
        with self.lock:
            fail_from_outside(self, text, routine_id)
            self._end_if_over()
            due = self._take_announcement()
        if due:
            self.announce(due)

    def pause(self, point: dict[str, Any]) -> bool:
        """Park everything that is not active; False when the run was stopped or over already.

        Args:
            point: reason and checkpoint of the pause point.
        """
        with self.lock:
            if self._gate != Gate.OPEN:
                return False
            self._close(Gate.PARKING, JobStatus.PAUSED.value)
            self.ledger.status = JobStatus.PAUSED.value  # also of a run that was adopted
            write_pause_point(self.job_state, point, len(self.active))
            self.engine.paused.add(self)
            self._end_if_over()
            return True

    def cancel(self, reason: str) -> bool:
        """Drop everything that is not active, for good; False when the run had been cancelled or had ended."""
        with self.lock:
            if self._gate not in (Gate.OPEN, Gate.PARKING):
                return False
            was_final = self.ledger.status in FINAL
            self.ledger.status = JobStatus.CANCELLED.value
            if self._gate == Gate.OPEN:
                self._close(Gate.REFUSING, JobStatus.CANCELLED.value)
            else:
                self._gate = Gate.REFUSING
                if not was_final:
                    self._become_final()
            self.ledger.refuses = True
            self.drop_pending()
            self.engine.inputs.let_go(self.job_state)
            write_cancellation(self.job_state, reason)
            self.cancel_awaiting()
            self._end_if_over()
            self._detach()
            self._waiters.notify()  # it may have been over before, paused; those who read it know now that it ends
            due = self._take_announcement()
        if due:
            self.announce(due)
        return True

    def drop_pending(self) -> None:
        """With the lock held: a cancelled run does nothing of what it had left."""
        self.job_state.pending_tasks.clear()
        self.job_state.input_requests.clear()

    def keep_note(self) -> None:
        """Called when its record was told of another stop: for runs that outlive their process."""

    def reopen(self, timeout: float | None, still_failed: Collection[str] = ()) -> None:
        """With the lock held: be as a run that has begun, closed to workers until `open_for_tasks`.

        Args:
            timeout: Seconds until the run expires.
            still_failed: Routines whose failures are not tried again, so that the run fails when it ends.
        """
        now = self.now()
        self._gate, self.over, self._announced = Gate.OPEN, False, False
        self._leg += 1
        self._end_number += 1
        self._hold_number = 0
        self.ancestors = ancestors_here()
        self.engine.reserve_places(self)
        self.is_inline = False  # whoever waited for the entry's retry has gone: a resumed entry runs on the pool
        self._tracked_count = self.job_state.record_total()
        self.ledger.refuses = False
        self.ledger.status = JobStatus.RUNNING.value
        before, self.ledger.live = self.ledger.live, self
        self._left_behind = False
        if before is not None:
            before.poke()  # who waits for news of the record looks who drives it now
        self.ledger.routine_states.forget_failures(still_failed)
        self.engine.loop.adopt(self)
        self.timeout = timeout
        self.timers.forget_deadline()
        if timeout is not None:
            self.timers.set_deadline(now, nanoseconds(timeout))
        self.outstanding = len(self.active) + 1
        self._held_by_resume = True

    def reopened(self) -> None:
        """Called by a resume when the run has everything that it goes on with, and before workers come for it."""

    def begin_hold(self) -> None:
        """The last thing that a resume does: from now on the run may end, soon by itself or at once for a waiter."""
        with self.lock:
            if self._held_by_resume:
                self._hold_number = self.timers.schedule(self.now() + RESUME_HOLD_NS)

    def release_hold(self) -> None:
        """Somebody waits: a resumed run that has nothing left may end now, if its resume has done all that it does."""
        if not self._held_by_resume or not self._hold_number:
            return  # `begin_hold` comes, and soon after it the run ends by itself
        with self.lock:
            self._release_hold()
            due = self._take_announcement()
        if due:
            self.announce(due)

    def _release_hold(self) -> None:
        if self._held_by_resume:
            self._held_by_resume = False
            self.outstanding -= 1
            self.timers.stand_still(self.outstanding, self.now())
            self._end_if_over()

    def outstanding_tasks(self) -> list[dict[str, Any]]:
        """With the lock held: everything that is active, on a timer or queued, as pending tasks."""
        ready = [] if self._entry_ready is None else [self._entry_ready]
        queued = [(None, task) for queue in (self._urgent, self._normal, self._low, ready) for task in queue or ()]
        return describe_all(self.active, [*self.timers.waiting(), *queued], self.ledger.clock)

    def snapshot_lock(self) -> Any:
        """Held around a snapshot, before `lock`: no merge is half done then."""
        return self._merge_lock

    # -- timers

    def on_timer(self, number: int) -> None:
        """Called by the loop: a retry or a delay is due, or the deadline."""
        given = 0
        with self.lock:
            if number == self._hold_number:
                self.timers.heap_count -= 1
                self._release_hold()
            elif self.timers.is_deadline(number):
                self.timers.heap_count -= 1
                if self._gate == Gate.OPEN:
                    expire(self)
                    self._end_if_over()
            else:
                task = self.timers.take(number, self.now())
                given = self._come_back(task) if task is not None else 0
            due = self._take_announcement()
        self.hand_out(given)
        if due:
            self.engine.announce_elsewhere(self, due)

    def _come_back(self, task: Activation) -> int:
        if task.is_entry and task.retry_count and self.is_inline and self.engine.threaded:
            self._entry_ready = task  # its caller waits for it
            self._waiters.notify()
            return 0
        self.push(task)
        return self.tokens_for(1)

    def wait_for_entry_retry(self, task: Activation) -> bool:
        """The caller of `execute` waits for its entry's next attempt; False when the run was stopped meanwhile."""
        with self.lock:
            leg = self._leg
            while self._entry_ready is not task or not self._may_begin():
                # A resume in between has given the retry to the pool.
                if self._gate != Gate.OPEN or self._leg != leg or not self.is_inline:
                    return False
                self.ledger.clock.wait(self._waiters.condition(), None)
            self._entry_ready = None
            self._begin(task, self.now())
            return True

    def _may_begin(self) -> bool:
        """With the lock held: whether an activation may begin now. When it may again, waiters are notified."""
        return True

    # -- the end

    def _end_if_over(self) -> None:
        """With the lock held: end the run if nothing of it is left, or let it go if it was stopped and stands still."""
        if self.over:
            return
        if self._gate == Gate.OPEN:
            if self.outstanding:
                return
            self._gate = Gate.ENDED
            if not self.is_adopted and self.ledger.status == JobStatus.RUNNING:
                self.ledger.status = self.ledger.final_status()
            self._become_final()
        elif self.active:
            return
        elif self._gate == Gate.PARKING and self.ledger.status in FINAL:
            self._gate = Gate.ENDED
        self.over = True
        self.engine.loop.retire(self.key, self.timers.heap_count)
        self.engine.absorb(self)
        self.tracked, self.event_count = {}, 0  # handed in; a resume begins to count anew
        self._detach()
        self._waiters.notify()

    # -- waiting: the rest of it stands in `RunEnd`

    def wait(self, timeout: float | None, progress: "Progress | None" = None) -> bool:
        """Until the run is over; False at the timeout.

        A worker that waits helps this run for a turn, then gives its place to another worker: so a flow with one
        worker whose handlers wait for runs of their own comes to its end.

        Raises:
            SelfWaitError: Called by a handler of this run, or of one that this run's handlers wait for.
        """
        refuse_self_wait(self)
        self.release_hold()
        return wait_for(self, timeout, progress)

    async def wait_async(self, seconds: float | None) -> bool:
        """As `wait`, for a thread that runs an asyncio loop.

        Raises:
            SelfWaitError: As above.
        """
        refuse_self_wait(self)
        self.release_hold()
        return await self.block_async(seconds)

    # -- for the rooms around

    @abstractmethod
    def drain(self, workers: Workers) -> bool:
        """Work for one turn; see `routilux.flow.activation.drain`."""

    def abandon(self) -> None:
        """In a forked child: the run is the parent's, and so are the threads that may hold its locks."""
        self.job_state.use_new_locks()
        self.lock = self.ledger.lock
        self._merge_lock = RLock()
        self._waiters = Waiters(self.lock)
        self._gate = Gate.ENDED
        self.over = self._announced = True
        self.ledger.live = None
