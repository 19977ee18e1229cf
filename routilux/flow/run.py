"""Run: the live side of one JobState. It owns everything that changes while the run goes on.

An activation is counted before it can be seen in the queue, and its children are counted before it is uncounted; so
the count reaches zero once, when nothing is queued, active, or waiting for a timer. That moment ends the run, whether
anybody waits or not.

With `activation.py`, this is the hot path: `emit`, `_take`, `settle`.
"""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from threading import RLock
from typing import TYPE_CHECKING, Any

from routilux.context import current_activation
from routilux.errors import RunEndedError, SelfWaitError
from routilux.event import mapped
from routilux.execution_tracker import KEPT_COUNT, Sums
from routilux.flow.error_policy import Decision
from routilux.flow.failure import expire, fail_from_outside, settle_failed_attempt
from routilux.flow.pending import describe
from routilux.flow.task import HeldEmission, HeldOutput, SlotActivationTask
from routilux.flow.timers import RunTimers, nanoseconds
from routilux.flow.waiters import Waiters
from routilux.flow.wiring import Node, Wired
from routilux.flow.workers import Turn, Workers
from routilux.interfaces import Settlement
from routilux.job_state import ExecutionRecord, JobState, ledger_of
from routilux.priority import TaskPriority
from routilux.status import FAILED_ROUTINE, FINAL, JobStatus, RoutineStatus

if TYPE_CHECKING:  # the engine makes runs
    from routilux.flow.engine import Engine
    from routilux.flow.flow import Flow
    from routilux.slot import Slot
    from routilux.waiting import Progress

__all__ = ["Gate", "Run"]

logger = logging.getLogger(__name__)

# Over all flows: a run of one flow may be started by a handler of another.
_keys = itertools.count(1)


class Gate:
    """What becomes of an emission. Plain integers: they are compared once per emission."""

    OPEN = 0  # it is queued
    PARKING = 1  # the run was paused, or failed: it is kept in pending_tasks
    REFUSING = 2  # the run was cancelled, or timed out: it is refused, and the refusal recorded
    ENDED = 3  # nothing was outstanding any more: it is an error of the caller


class Run:
    """One run while it is alive.

    `lock` is the ledger's: it protects the queue, the counts and the record alike, so that a hop takes it twice, once
    to emit and once to settle and take the next. No user code runs while it is held. Merges have a lock of their own
    (`merge_lock`, taken before it), because a merge function is the user's. Methods that say "with the lock held"
    are for the rooms of the engine.
    """

    __slots__ = (
        "__weakref__",
        "_gate",
        "_low",
        "_merge_lock",
        "_normal",
        "_announce_due",
        "_announced",
        "_entry_ready",
        "_slot_data",
        "_tracked_count",
        "_urgent",
        "_waiters",
        "active",
        "ancestors",
        "engine",
        "event_count",
        "flow",
        "is_adopted",
        "is_anonymous",
        "job_id",
        "job_state",
        "key",
        "ledger",
        "lock",
        "now",
        "outstanding",
        "over",
        "reserved",
        "timeout",
        "timers",
        "token_limit",
        "tokens",
        "tracked",
        "workers",
    )

    def __init__(
        self,
        engine: "Engine",
        job_state: JobState,
        token_limit: int,
        timeout: float | None = None,
        ancestors: frozenset[int] = frozenset(),
    ) -> None:
        self.engine = engine
        self.flow: Flow = engine.flow
        self.workers: Workers = engine.workers
        self.job_state = job_state
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
        self.timeout = timeout
        self.timers = RunTimers(engine.loop, self.key)
        self._merge_lock = RLock()
        self._waiters = Waiters(self)
        self._gate = Gate.OPEN
        self.over = False
        self._announced = False
        self._announce_due = False
        # Activations that are not settled: queued, active, or waiting for a timer.
        self.outstanding = 0
        self.active: set[SlotActivationTask] = set()
        self._normal: deque[SlotActivationTask] = deque()
        self._urgent: deque[SlotActivationTask] = deque()
        self._low: deque[SlotActivationTask] = deque()
        self._entry_ready: SlotActivationTask | None = None
        # How many workers may have this run at once, and how many tokens for it are out.
        self.token_limit = token_limit
        self.tokens = 0
        self.reserved = 0
        self._slot_data: dict[tuple[str, str], dict[str, Any]] = {}
        self.tracked: dict[str, Sums] = {}
        self.event_count = 0
        self._tracked_count = 0
        engine.loop.adopt(self)

    def __repr__(self) -> str:
        return (
            f"Run[{self.job_id}:{self.ledger.status}] ({self.queue_size()} queued, {len(self.active)} active, "
            f"{len(self.timers)} on timers, {self.tokens} of {self.token_limit} tokens out)"
        )

    # -- looking

    def queue_size(self) -> int:
        """Activations that wait to be started."""
        return len(self._normal) + len(self._urgent) + len(self._low)

    def active_count(self) -> int:
        """Handlers that are running."""
        return len(self.active)

    def active_tasks(self) -> list[SlotActivationTask]:
        """The activations whose handlers are running."""
        with self.lock:
            return list(self.active)

    def is_open(self) -> bool:
        """Whether what is emitted is queued."""
        return self._gate == Gate.OPEN

    def is_refusing(self) -> bool:
        """Whether what is emitted is refused."""
        return self._gate == Gate.REFUSING

    def is_stopped(self) -> bool:
        """Whether it was paused, failed or cancelled, rather than having come to its end."""
        return self._gate in (Gate.PARKING, Gate.REFUSING)

    def is_cancelled(self) -> bool:
        """Whether what its handlers still do is in vain."""
        return self._gate == Gate.REFUSING or self.ledger.status in (JobStatus.FAILED, JobStatus.CANCELLED)

    # -- starting

    def start(self, entry: SlotActivationTask, inline: bool) -> None:
        """Start the clock, and count the entry: as active when its caller runs it, else as the first in the queue.

        Raises:
            RuntimeError: No thread could be started for the timers.
        """
        digest = blake2b(self.job_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        entry.identity = int.from_bytes(digest, "big")
        with self.lock:
            now = self.now()
            if self.timeout is not None:
                self.timers.set_deadline(now, nanoseconds(self.timeout))
            self.ledger.status = JobStatus.RUNNING.value
            self.ledger.live = self
            if self.engine.journal is not None:
                assert entry.port is not None
                self.engine.journal.started(self.job_id, entry.port.node.id, entry.data)
            self.outstanding += 1
            if inline:
                self._begin(entry, now)
                return
            self.push(entry)
            given = self._tokens_for(1)
        self._hand_out(given)

    def enqueue(self, task: SlotActivationTask) -> None:
        """Count a task that comes from outside, and queue it."""
        with self.lock:
            self.outstanding += 1
            self.push(task)
            given = self._tokens_for(1)
        self._hand_out(given)

    def open_for_tasks(self, token_limit: int) -> None:
        """Let workers at the queue: the entry handler of a sequential run has returned."""
        with self.lock:
            self.token_limit = token_limit
            given = self._tokens_for(self.queue_size())
        self._hand_out(given)

    def hold_open(self) -> None:
        """Count something that is about to emit, so that the run does not end before it has."""
        with self.lock:
            self.outstanding += 1

    def let_close(self) -> None:
        """Take `hold_open` back."""
        with self.lock:
            self.outstanding -= 1
            self._end_if_over()

    def _tokens_for(self, task_count: int) -> int:
        # With the lock held. A token counts as out from here on, though it is put into the line without the lock.
        given = min(self.token_limit - self.tokens, task_count)
        if given <= 0 or self._gate != Gate.OPEN:
            return 0
        self.tokens += given
        return given

    def _hand_out(self, tokens: int) -> None:
        if not tokens:
            return
        try:
            self.workers.hand_out(self, tokens)
        except RuntimeError as error:
            logger.error("Run %s cannot go on: %s", self.job_id, error, extra={"job_id": self.job_id})
            self.abort(error)

    # -- emitting

    def emit(
        self,
        activation: SlotActivationTask,
        routine: Any,
        event_name: str,
        data: dict[str, Any],
        delay: float = 0.0,
        priority: TaskPriority = TaskPriority.NORMAL,
    ) -> None:
        """Release an emission of an activation, or hold it back until the activation succeeds.

        Raises:
            UnknownNameError: The routine has no such event.
            RunEndedError: The run has ended.
        """
        port = activation.port
        node = port.node if port is not None and port.node.routine is routine else self.engine.wiring.node_of(routine)
        wired = node.wired.get(event_name)
        if wired is None or wired.version != wired.event.version:
            wired = self.engine.wiring.wire(node, event_name)
        with self.lock:
            if activation.effects is not None:
                activation.effects.append(HeldEmission(wired, data, delay, priority))
                return
            given = self._release(activation, wired, data, delay, priority)
        if given:
            self._hand_out(given)

    def _release(
        self, activation: SlotActivationTask, wired: Wired, data: dict[str, Any], delay: float, priority: TaskPriority
    ) -> int:
        """With the lock held: record an emission and queue its deliveries; returns the tokens to hand out."""
        if self._gate >= Gate.REFUSING:
            self._refuse(wired, data)
            return 0
        now = self.now()
        self.ledger.write(wired.record_key, now, data)
        self.event_count += 1
        event_name = wired.record_key[1]
        if activation.released is None:
            nth = 0
            activation.released = {event_name: 1}
        else:
            nth = activation.released.get(event_name, 0)
            activation.released[event_name] = nth + 1
        tasks = [
            SlotActivationTask(
                delivery.port.slot,
                data.copy() if delivery.mapping is None else mapped(data, delivery.mapping),
                delivery.connection,
                priority,
                0,
                0,
                now,
                self.job_state,
                self,
                delivery.port,
                hash((activation.identity, delivery.salt, nth)),
            )
            for delivery in wired.deliveries
        ]
        if self._waiters.watcher_count:
            self._waiters.notify()
        if not tasks:
            return 0
        if self._gate == Gate.PARKING:
            for task in tasks:
                self.park(task, "queued")
            return 0
        self.outstanding += len(tasks)
        if delay > 0:
            for task in tasks:
                self.timers.add(task, now + nanoseconds(delay))
            return 0
        self._queue(priority).extend(tasks)
        return self._tokens_for(len(tasks)) if self.tokens < self.token_limit else 0

    def _refuse(self, wired: Wired, data: dict[str, Any]) -> None:
        routine_id, event_name, _ = wired.record_key
        status = self.ledger.status
        if self._gate == Gate.ENDED:
            raise RunEndedError(
                f"{routine_id!r} cannot emit {event_name!r}: run {self.job_id} has ended with status {status!r}. "
                "Emit from a handler while its run goes on, or start a new run with execute()."
            )
        refusal = {"event": event_name, "status": status, "data": data}
        self.ledger.write((routine_id, "refused", None), self.now(), refusal)

    def _queue(self, priority: int) -> deque[SlotActivationTask]:
        if priority == TaskPriority.NORMAL:
            return self._normal
        return self._urgent if priority == TaskPriority.HIGH else self._low

    def push(self, task: SlotActivationTask) -> None:
        """With the lock held: put a task that is counted into the queue."""
        self._queue(task.priority).append(task)

    def hold_output(self, activation: SlotActivationTask, output: HeldOutput) -> None:
        """Keep an output with the attempt, or send it if the attempt is over."""
        with self.lock:
            if activation.effects is not None:
                activation.effects.append(output)
                return
        self.job_state.send_output(output.routine_id, output.output_type, output.data)

    def defer(self, activation: SlotActivationTask, event: tuple[str, str, dict[str, Any]]) -> None:
        """Keep a deferred event with the activation, or enter it if the activation is over."""
        with self.lock:
            if activation in self.active:
                activation.deferred = [*(activation.deferred or ()), event]
                return
        self.job_state.add_deferred_event(*event)

    # -- taking and settling

    def take(self) -> SlotActivationTask | None:
        """The first task of a worker's turn."""
        with self.lock:
            return self._take(self.now())

    def _take(self, now: int) -> SlotActivationTask | None:
        """With the lock held: the next task, which is then active; or None, and the worker's token is back.

        The queue is seen empty and the token taken back in one critical section, and an emission counts and looks at
        the tokens in one: so either this worker sees the task or the emission sees that a token is missing.
        """
        queue = self._urgent or self._normal or self._low
        if not queue:
            self.tokens -= 1
            return None
        task = queue.popleft()
        self._begin(task, now)
        return task

    def _begin(self, task: SlotActivationTask, now: int) -> None:
        self.active.add(task)
        task.started_ns = now
        port = task.port
        assert port is not None
        self.job_state.current_routine_id = port.node.id
        if not task.merged and not task.retry_count:
            self.ledger.write(port.start_key, now, task.data if task.is_entry else None)
            if port.slot.replaces:
                self._slot_data[port.key] = task.data
                task.merged = True

    def settle(self, task: SlotActivationTask, turn: Turn | None) -> SlotActivationTask | None:
        """Settle an activation that succeeded; returns the worker's next task, or None when its turn is over."""
        if task.effects:
            self._send_held_outputs(task.effects)
        given = 0
        with self.lock:
            now = self.now()
            if task.effects is not None:
                given = self._release_held(task)
            self._complete(task, now)
            following = self._after(now, turn)
            announce, self._announce_due = self._announce_due, False
        if given:
            self._hand_out(given)
        if announce:
            self.announce()
        return following

    def settle_failure(
        self, task: SlotActivationTask, error: BaseException, decision: Decision, delay: float, turn: Turn | None
    ) -> SlotActivationTask | None:
        """Settle an attempt that failed; returns what `settle` returns."""
        with self.lock:
            now = self.now()
            settle_failed_attempt(self, task, error, decision, delay, now)
            following = self._after(now, turn)
            announce, self._announce_due = self._announce_due, False
        if announce:
            self.announce()
        return following

    def _after(self, now: int, turn: Turn | None) -> SlotActivationTask | None:
        """With the lock held: what follows a settlement, which is the end, the end of the turn, or the next task."""
        if self._waiters.watcher_count:
            self._waiters.notify()
        if self.timers:
            self.timers.stand_still(self.outstanding, now)
        if not self.outstanding or self._gate != Gate.OPEN:
            self._end_if_over()
        if turn is None:
            return None  # the entry: its thread is the caller's and holds no token
        if turn.is_over(now) and (self._normal or self._urgent or self._low):
            turn.again = True
            return None
        return self._take(now)

    def _complete(self, task: SlotActivationTask, now: int) -> None:
        duration_ns = now - task.started_ns or 1  # two readings of a coarse clock may be equal; no duration is 0
        assert task.port is not None
        node = task.port.node
        seconds = duration_ns / 1e9
        if task.retry_count:
            data = {"execution_time": seconds, "retried": True}
            self.ledger.write((node.id, "completed", None), now, data)
            self._note_success(node.id, {"execution_time": seconds, "retry_count": task.retry_count})
        else:
            self.ledger.write(node.completed_key, now, duration_ns)
            states = self.ledger.routine_states
            state = states.get(node.id)
            if state is None or (len(state) == 2 and state.get("status") == "completed" and "execution_time" in state):
                # Nothing to keep of it: the common case, at a third of the price of `_note_success`.
                dict.__setitem__(states, node.id, {"status": "completed", "execution_time": seconds})
            else:
                self._note_success(node.id, {"execution_time": seconds})
        self.count(node, duration_ns, True)
        self.leave(task, "completed")

    def _note_success(self, routine_id: str, changes: dict[str, Any]) -> None:
        status = (self.ledger.routine_states.get(routine_id) or {}).get("status")
        if status in FAILED_ROUTINE:
            # Written by the handler, or by an earlier failure of this run, which a success does not hide.
            self.ledger.merge_routine_state(routine_id, changes)
            return
        tolerated = status in (RoutineStatus.ERROR_CONTINUED, RoutineStatus.SKIPPED)
        changes = {**changes, "status": RoutineStatus.COMPLETED.value}
        self.ledger.merge_routine_state(routine_id, changes, ("error",) if tolerated else ())

    def count(self, node: Node, duration_ns: int, succeeded: bool) -> None:
        """With the lock held: add an execution to the run's sums."""
        sums = self.tracked.get(node.id)
        if sums is None:
            sums = self.tracked[node.id] = Sums()
        sums.add(duration_ns, succeeded)

    def leave(self, task: SlotActivationTask, outcome: str) -> None:
        """With the lock held: uncount an activation. Everything that it caused is counted by now."""
        self.active.discard(task)
        self.outstanding -= 1
        if task.deferred:
            self._enter_deferred(task.deferred)
            task.deferred = None
        journal = self.engine.journal
        if journal is not None and task.port is not None:
            routine_id, slot_name = task.port.key
            journal.settled(
                Settlement(self.job_id, task.activation_id, routine_id, slot_name, outcome, task.retry_count + 1)
            )

    def _enter_deferred(self, events: list[tuple[str, str, dict[str, Any]]]) -> None:
        timestamp = self.ledger.instant(self.now()).isoformat()
        self.job_state.deferred_events.extend(
            {"routine_id": routine_id, "event_name": event_name, "data": data, "timestamp": timestamp}
            for routine_id, event_name, data in events
        )

    def _release_held(self, task: SlotActivationTask) -> int:
        """With the lock held: let the emissions of a successful attempt go.

        From here on, what threads of the handler still emit goes at once.
        """
        held, task.effects = task.effects, None
        return sum(
            self._release(task, effect.wired, effect.data, effect.delay, effect.priority)
            for effect in held or ()
            if isinstance(effect, HeldEmission)
        )

    def _send_held_outputs(self, effects: list[HeldEmission | HeldOutput]) -> None:
        # Before the settlement and without the lock: the output handler is the user's, and a run that is over has
        # sent all its outputs.
        for effect in list(effects):
            if isinstance(effect, HeldOutput):
                self.job_state.send_output(effect.routine_id, effect.output_type, effect.data)

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

    def _close(self, gate: int, status: str) -> None:
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

    def park(self, task: SlotActivationTask, was: str, due_ns: int | None = None) -> None:
        """With the lock held: keep a task in pending_tasks."""
        self.job_state.pending_tasks.append(describe(task, was, due_ns, self.ledger.clock))

    def abort(self, error: BaseException) -> None:
        """The engine cannot go on with this run: fail it, with everything that is not active in pending_tasks."""
        with self.lock:
            fail_from_outside(self, error)
            self._end_if_over()
            announce, self._announce_due = self._announce_due, False
        if announce:
            self.announce()

    def pause(self, reason: str, checkpoint: dict[str, Any]) -> bool:
        """Park everything that is not active; False when the run was stopped or over already."""
        with self.lock:
            if self._gate != Gate.OPEN:
                return False
            self._close(Gate.PARKING, JobStatus.PAUSED.value)
            point = {
                "timestamp": self.ledger.instant(self.now()).isoformat(),
                "reason": reason,
                "current_routine_id": self.job_state.current_routine_id,
                "checkpoint": checkpoint,
                "pending_tasks_count": len(self.job_state.pending_tasks),
                "active_tasks_count": len(self.active),
            }
            self.job_state.pause_points.append(point)
            self.engine.paused.add(self)
            self._end_if_over()
            return True

    # -- timers

    def on_timer(self, number: int) -> None:
        """Called by the loop: a retry or a delay is due, or the deadline."""
        given = 0
        with self.lock:
            if self.timers.is_deadline(number):
                self.timers.heap_count -= 1
                if self._gate == Gate.OPEN:
                    expire(self)
                    self._end_if_over()
            else:
                task = self.timers.take(number, self.now())
                given = self._come_back(task) if task is not None else 0
            announce, self._announce_due = self._announce_due, False
        self._hand_out(given)
        if announce:
            self.engine.announce_elsewhere(self)

    def _come_back(self, task: SlotActivationTask) -> int:
        if task.is_entry and self.engine.threaded and task.retry_count:
            self._entry_ready = task  # its caller waits for it
            self._waiters.notify()
            return 0
        self.push(task)
        return self._tokens_for(1)

    def wait_for_entry_retry(self, task: SlotActivationTask) -> bool:
        """The caller of `execute` waits for its entry's next attempt; False when the run was stopped meanwhile."""
        with self.lock:
            while self._entry_ready is not task:
                if self._gate != Gate.OPEN:
                    return False
                self.ledger.clock.wait(self._waiters.condition(), None)
            self._entry_ready = None
            self._begin(task, self.now())
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
        self._detach()
        self._waiters.notify()

    def _become_final(self) -> None:
        # With the lock held. Those who asked for it are told outside the lock, by whoever finds `_announce_due`.
        self._announce_due = self.engine.has_listeners() and not self.is_adopted
        self._announced = not self._announce_due
        if self.engine.journal is not None and not self.is_adopted:
            self.engine.journal.ended(self.job_id, self.ledger.status)

    def announce(self) -> None:
        """Call those who want to know of the run's end, then wake its waiters.

        Waiters come second, so that whoever returns from a wait finds the callbacks done.
        """
        self.engine.tell_listeners(self)
        with self.lock:
            self._announced = True
            self._detach()
            self._waiters.notify()

    def _detach(self) -> None:
        # A paused run stays with its JobState: what a late thread of a handler emits still has to be parked.
        if self.over and self._announced and self.ledger.live is self:
            self.ledger.live = None

    # -- waiting

    def is_done_for_waiters(self) -> bool:
        """With the lock held: whether a wait may return."""
        if not self.over:
            return False
        return self._announced or self.ledger.status not in FINAL or self.engine.is_announcing(self)

    def wait(self, timeout: float | None, progress: "Progress | None" = None) -> bool:
        """Until the run is over; False at the timeout.

        A worker that waits helps this run for a turn, then gives its place to another worker: so a flow with one
        worker whose handlers wait for runs of their own comes to its end.

        Raises:
            SelfWaitError: Called by a handler of this run, or of one that this run's handlers wait for.
        """
        activation = current_activation.get()
        run = activation.run if activation is not None else None
        if run is not None and (run is self or self.key in run.ancestors):
            relation = "its own run" if run is self else "a run that waits for it"
            raise SelfWaitError(
                f"A handler of run {run.job_id} waits for {relation} ({self.job_id}), which cannot end before the "
                "handler does. Let the handler return; wait outside, or use flow.on_run_end(callback)."
            )
        return self.engine.wait_for(self, timeout, progress)

    def block(self, seconds: float | None) -> bool:
        """Wait on this thread until the run is over for at most `seconds`; whether it is."""
        return self._waiters.block(seconds)

    def wait_for_change(self, timeout: float | None) -> None:
        """Until something was recorded or the run is over, at most `timeout` seconds."""
        before = self.job_state.record_total()
        self._waiters.watch(lambda: self.job_state.record_total() != before, timeout)

    def wait_for_news(self, record_count: int, output_count: int) -> None:
        """Until there are more records or outputs than these, or the run is over."""
        marks = self.ledger.output_marks
        self._waiters.watch(
            lambda: self.job_state.record_total() > record_count or len(marks) > output_count, None
        )

    def poke(self) -> None:
        """With the lock held: something was written that a watcher may wait for."""
        if self._waiters.watcher_count:
            self._waiters.notify()

    # -- slot data

    def slot_data_of(self, slot: "Slot", activation: SlotActivationTask) -> dict[str, Any]:
        """What a slot holds in this run."""
        key = (activation.routine_id_of(slot.routine), slot.name)
        with self.lock:
            return self._slot_data.setdefault(key, {})

    def set_slot_data(self, slot: "Slot", activation: SlotActivationTask, data: dict[str, Any]) -> None:
        """Replace what a slot holds in this run."""
        key = (activation.routine_id_of(slot.routine), slot.name)
        with self.lock:
            self._slot_data[key] = data

    def merge(self, task: SlotActivationTask) -> None:
        """Merge a delivery into what its slot holds; once, at the first attempt."""
        port = task.port
        assert port is not None
        with self._merge_lock:
            with self.lock:
                old = self._slot_data.get(port.key, {})
            held, task.data = port.slot.merge(old, task.data)
            with self.lock:
                self._slot_data[port.key] = held
            task.merged = True

    # -- for the rooms around

    def drain(self, workers: Workers) -> bool:
        """Work for one turn; see `routilux.flow.activation.drain`."""
        return self.engine.drain(self, workers)

    def unread_records(self) -> tuple[int, Callable[[], Iterable[ExecutionRecord]]]:
        """With the lock held: how many records the tracker has not read, and how to read them later."""
        return self.job_state.records_after(self._tracked_count, KEPT_COUNT * 3)

    def new_records(self) -> list[ExecutionRecord]:
        """The records since the last call. Called by the tracker only, with its lock held."""
        history = self.job_state.execution_history
        dropped = self.ledger.dropped
        new = history[max(0, self._tracked_count - dropped) :]
        self._tracked_count = dropped + len(history)
        return new

    def abandon(self) -> None:
        """In a forked child: the run is the parent's, and so are the threads that may hold its lock."""
        self.ledger.use_new_lock()
        self.ledger.live = None
