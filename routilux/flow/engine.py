"""Engine: the live side of one Flow. It makes runs, and holds what they share: workers, timers, the wiring."""

import logging
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from routilux.context import current_activation, drives_coroutines
from routilux.errors import (
    FlowShutDownError,
    ForeignStateError,
    InvalidTypeError,
    InvalidValueError,
    NotPendingError,
    RoutiluxError,
    RunEndedError,
    WorkerStartError,
)
from routilux.execution_tracker import ExecutionTracker, RunFigures
from routilux.flow.ending import RunEnd, ancestors_here
from routilux.flow.entry import give_up_entry, run_entry
from routilux.flow.event_loop import EventLoop
from routilux.flow.handover import Handover
from routilux.flow.identity import new_identity
from routilux.flow.inputs import Inputs
from routilux.flow.leaving import work_off_at_exit
from routilux.flow.lifecycle import RunExists, RunLifecycle
from routilux.flow.listeners import Listeners
from routilux.flow.nested import nested_job_id
from routilux.flow.observed import check_task
from routilux.flow.run import Run
from routilux.flow.shutdown import shut_down
from routilux.flow.task import Activation, SlotActivationTask
from routilux.flow.waiters import runs_loop
from routilux.flow.wiring import Node, Port, Wiring
from routilux.flow.workers import Workers
from routilux.interfaces import Clock, Hooks, Journal, PoolFactory
from routilux.job_state import JobState, ledger_of
from routilux.output_handler import check_output_handler
from routilux.slot import Slot
from routilux.status import FINAL, JobStatus
from routilux.synchronous import DirectCall

if TYPE_CHECKING:  # the flow stands above its engine
    from collections.abc import Callable

    from routilux.flow.durable.durability import Durability
    from routilux.flow.flow import Flow
    from routilux.flow.migrations import Migration
    from routilux.output_handler import OutputHandler
    from routilux.priority import TaskPriority

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()
work_off_at_exit(_engines)


class Engine:
    """What a Flow needs while runs of it are alive.

    `_lock` protects the arrivals, the adopted runs and the shut-down flags. It is taken after a run's
    lock or alone, and nothing is called while it is held.
    """

    def __init__(
        self,
        flow: "Flow",
        owner: object,
        clock: Clock,
        executor: PoolFactory,
        journal: Journal | None,
        hooks: Hooks | None,
        make_durable: "Callable[[Engine], Durability] | None" = None,
    ) -> None:
        self.flow = flow
        self.clock = clock
        self.executor = executor
        self.threaded = executor.threaded
        self.journal = journal
        self.listeners = Listeners(hooks)
        self.wiring = Wiring(flow.routines, owner)
        self.workers = Workers(executor, flow.max_workers)
        # The loop's thread must not keep the flow alive when no run is live, so it knows this engine weakly.
        take_arrivals = weakref.WeakMethod(self._take_arrivals)
        self.loop = EventLoop(clock, lambda: _call(take_arrivals), self.threaded)
        self.handover = Handover()
        weakref.finalize(self, self.loop.forget_calls).atexit = False
        self.inputs = Inputs(self)
        self._lock = threading.Lock()
        self.arrivals: deque[SlotActivationTask] = deque()
        self._in_hand: SlotActivationTask | None = None
        self._taking_lock = threading.RLock()
        self._adopted: dict[int, Run] = {}
        self.paused: weakref.WeakSet[RunLifecycle] = weakref.WeakSet()
        # What `Flow.migrate` has registered, by routine id and fingerprint.
        self.migrations: dict[tuple[str, str], Migration] = {}
        self._arrived = threading.Condition(self._lock)
        self._is_closing = False
        self._is_closed = False
        self.has_executed = False
        tracked = weakref.WeakMethod(self._tracked_runs)  # a tracker does not keep its flow alive
        self._live_tracked: Callable[[], list[RunLifecycle]] = lambda: _call(tracked) or []
        if not self.threaded:
            executor.watch_timers(self.loop.fire_due)
        self.durability = None if make_durable is None else make_durable(self)
        self._run_class: type[Run] = Run if self.durability is None else self.durability.run_class
        _engines.add(self)

    def durable_side(self) -> "Durability":
        """What keeps the runs of a flow that has a store."""
        assert self.durability is not None  # noqa: S101 - for the type checker: only durable runs ask
        return self.durability

    # -- executing

    def execute(
        self,
        entry_id: str,
        params: dict[str, Any] | None,
        strategy: str | None,
        timeout: float | None,
        job_state: JobState | None,
        output_handler: "OutputHandler | None",
        job_id: str | None,
        history_limit: int | None,
        *,
        inline: bool = True,
    ) -> JobState:
        """Start a run. With `inline` the entry handler runs here and now; else on the pool, as the first task."""
        port = self._entry_port(entry_id, params)
        if not self.flow.is_checked:
            self.flow.refuse_broken()
        self.refuse_when_closed(is_execute=True)
        if self.durability is not None and job_id is None and job_state is None:
            job_id = nested_job_id(self.durability.store)
        job_state = self._prepared(job_state, output_handler, job_id, history_limit)
        # An async entry, and a caller whose thread runs a loop: that one must not stand still for it, and where it is
        # the loop that would drive the entry, it would for ever. On a thread that drives handlers, no plain one runs.
        if self.threaded and (drives_coroutines() or (port.slot.is_async and runs_loop())):
            inline = False
        ledger_of(job_state).strategy = strategy  # it binds this run only, and all its legs
        strategy = strategy or self.flow.execution_strategy
        token_limit = self._token_limit(strategy)
        tokens = 0 if strategy == "sequential" and inline else token_limit
        run = self._run_class(self, job_state, tokens, timeout, ancestors_here())
        self.reserve_places(run)
        entry = Activation(run, port, dict(params or {}))
        entry.is_entry = True
        self._attach_tracker()
        try:
            self.loop.ensure_thread()
            run.start(entry, inline)
        except RunExists as found:
            self.withdraw(run)
            if self.durability is not None:
                self.durability.want(found.job_state, timeout)
            return found.job_state
        except RoutiluxError:  # it says what was wrong: with the state, with the store, with what the entry gets
            self.withdraw(run)
            raise
        except RuntimeError as error:
            self.withdraw(run)
            raise WorkerStartError(
                f"The thread of the event loop could not be started ({error}), and nothing has run. Free threads, "
                "then execute again."
            ) from error
        except BaseException as interrupted:  # Ctrl-C: a shutdown would wait for a run that never began, or never ends
            if ledger_of(job_state).live is not run:
                self.withdraw(run)
            elif inline:
                give_up_entry(run, entry, interrupted, token_limit)
            raise
        if self.flow.has_arrivals():
            self.loop.wake()
        if inline:
            run_entry(run, entry, token_limit)
        return job_state

    def _entry_port(self, entry_id: str, params: dict[str, Any] | None) -> Port:
        node = self.wiring.node(entry_id)
        if params is not None and not isinstance(params, dict):
            raise InvalidTypeError(f"entry_params must be a dict of what the trigger gets, not {params!r}.")
        routine = node.routine
        trigger = routine.get_slot("trigger") if routine is not None else None
        if trigger is None:
            entries = [key for key, each in list(self.flow.routines.items()) if each.get_slot("trigger") is not None]
            slots = ", ".join(map(repr, routine._slots)) if routine is not None else ""
            instead = f", or start at one of {sorted(entries)}" if entries else ""
            raise InvalidValueError(
                f"Routine {entry_id!r} has no slot 'trigger' (it has: {slots or 'none'}), so it cannot be an entry. "
                f"Define one with define_slot('trigger', handler=...){instead}."
            )
        return node.port(trigger)

    def _prepared(
        self,
        job_state: JobState | None,
        output_handler: "OutputHandler | None",
        job_id: str | None,
        history_limit: int | None,
    ) -> JobState:
        if job_id is not None and (not isinstance(job_id, str) or not job_id):
            raise InvalidValueError(f"job_id must be a text that is not empty, not {job_id!r}.")
        check_output_handler(output_handler)
        if job_state is None:
            job_state = JobState(self.flow.flow_id)
        elif not isinstance(job_state, JobState):
            raise InvalidTypeError(f"job_state must be a JobState, not {job_state!r}.")
        elif job_state.flow_id not in ("", self.flow.flow_id):
            raise ForeignStateError(
                f"The JobState belongs to flow {job_state.flow_id!r} and does not match this one, "
                f"{self.flow.flow_id!r}. Make it with JobState(flow.flow_id)."
            )
        ledger = ledger_of(job_state)
        if ledger.status != JobStatus.PENDING:
            raise NotPendingError(job_state.job_id, job_state.status)
        job_state.flow_id = self.flow.flow_id
        if job_id is not None:
            job_state.job_id = job_id
        if output_handler is not None:
            job_state.output_handler = output_handler
        if ledger.clock is not self.clock:
            ledger.use_clock(self.clock)
        ledger.limit = history_limit if history_limit is not None else self.flow.history_limit
        return job_state

    def _token_limit(self, strategy: str) -> int:
        if strategy == "sequential":
            return 1
        return self.flow.max_workers if self.flow.execution_strategy == "concurrent" else self.flow.concurrent_workers

    def withdraw(self, run: RunLifecycle) -> None:
        """The run could not even start: leave nothing of it."""
        self.loop.retire(run.key, 0)
        self._release_places(run)

    def reserve_places(self, run: RunLifecycle) -> None:
        """Let there be as many workers as a run may use, where it may use more than its flow has."""
        if run.token_limit > self.flow.max_workers and not run.reserved:
            run.reserved = run.token_limit
            self.workers.reserve(run.reserved)

    def _release_places(self, run: RunLifecycle) -> None:
        if run.reserved:
            self.workers.release(run.reserved)
            run.reserved = 0

    def open_run(self, job_state: JobState) -> Run:
        """A run for a state that goes on; it is closed until it is told to."""
        ledger = ledger_of(job_state)
        if ledger.clock is not self.clock:
            ledger.use_clock(self.clock)
        if ledger.limit is None:
            ledger.limit = self.flow.history_limit
        token_limit = self._token_limit(ledger.strategy or self.flow.execution_strategy)
        run = self._run_class(self, job_state, token_limit, None, ancestors_here())
        self._attach_tracker()
        try:
            self.loop.ensure_thread()
        except RuntimeError as error:
            self.withdraw(run)
            raise WorkerStartError(f"The thread of the event loop could not be started ({error}).") from error
        return run

    # -- emissions and tasks from outside a run

    def emit_from_outside(
        self,
        routine: Any,
        event_name: str,
        data: dict[str, Any],
        job_state: JobState | None,
        delay: float,
        priority: "TaskPriority",
    ) -> None:
        """An emission that no activation makes: by the application, or for a job that it names."""
        run = ledger_of(job_state).live if job_state is not None else None
        if self.durability is not None and job_state is not None:
            self.durability.refuse_driven_elsewhere(job_state)
            run = run or self.durability.stand_in(job_state)
        if isinstance(run, Run):
            run.emit(self.outsider(run), routine, event_name, data, delay, priority)
            run.keep_from_outside()
            return
        if job_state is not None:
            if self._refuse_ended(job_state, routine, event_name, data):
                return
            self.refuse_when_closed(is_execute=False)
            run = self._adopt(job_state)
        else:
            if not self._is_waited_for_here():
                self.refuse_when_closed(is_execute=False)
            run = self._anonymous()
        run.hold_open()
        try:
            run.emit(self.outsider(run), routine, event_name, data, delay, priority)
        finally:
            run.let_close()
        if run.aborted_by is not None:
            raise run.aborted_by

    def _is_waited_for_here(self) -> bool:
        """Whether a handler calls that belongs to no run: a shutdown waits for what it causes, as for a run's."""
        call = current_activation.get()
        if not isinstance(call, DirectCall) or call.job_state is not None or call.flow is not self.flow:
            return False
        return self.loop.live_count() > 0 and not self._is_closed

    def outsider(self, run: Run, identity: int | None = None) -> Activation:
        """What stands for an activation where something is emitted from outside."""
        return Activation(run, _OUTSIDE, {}, identity=new_identity() if identity is None else identity)

    def _refuse_ended(self, job_state: JobState, routine: Any, event_name: str, data: dict[str, Any]) -> bool:
        """Whether a run that is over has refused an emission.

        Raises:
            RunEndedError: The run ended by itself.
        """
        status = job_state.status
        routine_id = self.wiring.node_of(routine).id
        if _takes_nothing(job_state):
            job_state.record_execution(routine_id, "refused", {"event": event_name, "status": status, "data": data})
            return True
        if status in FINAL:
            raise RunEndedError(
                f"{routine_id!r} cannot emit {event_name!r}: run {job_state.job_id} has ended with status {status!r}. "
                "Emit from a handler while its run goes on, or start a new run with execute()."
            )
        return False

    def _adopt(self, job_state: JobState) -> Run:
        """A run for a JobState that was made by hand: its tasks are counted and recorded, its status is not ours.

        For one that is paused, its tasks are kept for the resume.
        """
        run = self.adopted(job_state)
        if run is not None:
            return run
        run = Run(self, job_state, self._token_limit(self.flow.execution_strategy))
        run.is_adopted = True
        if run.park_if_paused():
            return run
        with self._lock:
            present = self._adopted.get(id(run.ledger))
            if present is None or present.over:
                self._adopted[id(run.ledger)] = run
                return run
        self.withdraw(run)  # another thread was quicker
        return present

    def take_over(self, run: RunLifecycle) -> None:
        """A resume goes on with a run that was adopted, and has not come to its end: it is a run like others now."""
        with self._lock:
            self._adopted.pop(id(run.ledger), None)
        run.is_adopted = False

    def adopted(self, job_state: JobState) -> Run | None:
        """The run that drives the tasks of a JobState that was made by hand; None when there are none."""
        with self._lock:
            run = self._adopted.get(id(ledger_of(job_state)))
        return run if run is not None and not run.over else None

    def _anonymous(self) -> Run:
        job_state = JobState(self.flow.flow_id)
        ledger = ledger_of(job_state)
        if ledger.clock is not self.clock:
            ledger.use_clock(self.clock)
        run = Run(self, job_state, self._token_limit(self.flow.execution_strategy))
        run.is_adopted = run.is_anonymous = True
        return run

    def arrive(self, task: SlotActivationTask) -> None:
        """Somebody put a task into `flow._task_queue`: it waits there until a loop runs."""
        with self._lock:
            self.arrivals.append(task)
            self._arrived.notify()
        if self.loop.is_running():
            self.loop.wake()

    def take_arrival(self, for_run: bool = False) -> SlotActivationTask | None:
        """The oldest task that waits in `flow._task_queue`; `for_run` when it goes on into the queue of its run."""
        with self._lock:
            task = self.arrivals.popleft() if self.arrivals else None
            if for_run:
                # Seen until it is in its run's queue: a wait that looks meanwhile must not miss it.
                self._in_hand = task
            return task

    def has_tasks_for(self, job_state: JobState) -> bool:
        """Whether tasks that came from outside for a job are still to be run."""
        with self._lock:
            if any(task is not None and task.job_state is job_state for task in (self._in_hand, *self.arrivals)):
                return True
            return id(ledger_of(job_state)) in self._adopted

    def wait_for_arrival(self, timeout: float | None) -> None:
        """Until a task was put into `flow._task_queue`, at most `timeout` seconds."""
        with self._lock:
            self._arrived.wait_for(lambda: bool(self.arrivals), timeout)

    def _take_arrivals(self) -> None:
        # One thread at a time, the loop's or that of a shutdown: whoever comes second finds everything queued. Taken
        # before every other lock; re-entrant, since a handler that is stepped by hand may put a task.
        with self._taking_lock:
            while (task := self.flow.next_arrival()) is not None:
                try:
                    self._take(task)
                except Exception:  # what somebody has put there: it must not keep the others from being taken
                    logger.exception("%r in flow._task_queue is no task that can run, and is dropped", task)
                finally:
                    with self._lock:
                        self._in_hand = None

    def _take(self, task: SlotActivationTask) -> None:
        check_task(task)  # the queue may be one of the caller's, and takes whatever is put
        job_state = task.job_state
        live = ledger_of(job_state).live if job_state is not None else None
        # The run may end between this look and its answer; then the task runs for the record alone.
        if isinstance(live, Run) and live.enqueue(self._activation_of(task, live)):
            return
        is_queued = False
        while not is_queued:  # an adopted run may just have ended; the next one is new
            if job_state is not None and _takes_nothing(job_state):
                return  # the queued work of a cancelled run is dropped
            run = self._adopt(job_state) if job_state is not None else self._anonymous()
            run.hold_open()
            try:
                is_queued = run.enqueue(self._activation_of(task, run))
            finally:
                run.let_close()

    def _activation_of(self, task: SlotActivationTask, run: Run) -> Activation:
        port = self.wiring.node_of(task.slot.routine).port(task.slot)
        activation = Activation(run, port, task.data, task.connection, task.priority, new_identity(), run.now())
        activation.retry_count, activation.max_retries = task.retry_count, task.max_retries
        return activation

    # -- waiting

    def wait_for_all(self, timeout: float | None) -> bool:
        """Until no run is live; False at the timeout."""
        until = None if timeout is None else time.monotonic() + timeout
        for run in self.loop.live_runs():
            left = None if until is None else max(0.0, until - time.monotonic())
            if not run.wait(left):
                return False
        return True

    def paused_runs(self) -> list[RunLifecycle]:
        """The runs that are paused and still known to somebody."""
        return [run for run in list(self.paused) if run.ledger.status == JobStatus.PAUSED]

    # -- ends of runs

    def announce_elsewhere(self, run: RunEnd, number: int) -> None:
        """Have a thread of its own call the listeners: their code does not run on the loop's thread."""
        self.workers.call(lambda: run.announce(number))

    def absorb(self, run: RunLifecycle) -> None:
        """A run is over, and its lock is held: hand its figures to the tracker, and its places back."""
        self._release_places(run)
        if run.is_adopted:
            with self._lock:
                if self._adopted.get(id(run.ledger)) is run:
                    del self._adopted[id(run.ledger)]
        tracker = self.flow.execution_tracker
        if tracker is not None and not run.is_anonymous:
            tracker.hand_in(run.key, RunFigures(run.tracked, run.event_count, *run.unread_records(tracker)))
        if self._is_closed and not self.loop.live_count():
            self.workers.close(wait=False)  # a handler's own run outlived the shutdown that the handler called

    # -- the tracker

    def _attach_tracker(self) -> None:
        if self.has_executed:
            return
        self.has_executed = True
        if self.flow.execution_tracker is None:
            self.flow.execution_tracker = ExecutionTracker(self.flow.flow_id)

    def change_trackers(self, before: ExecutionTracker | None, after: ExecutionTracker | None) -> None:
        """Let another tracker follow the live runs, the one of the flow from now on.

        What a run that is live has done so far, in this leg, is the new one's: its figures go where it ends.
        """
        if before is not None:
            before.follow_no_more(self._live_tracked)
        if after is not None:
            after.follow(self._live_tracked)

    def _tracked_runs(self) -> list[RunLifecycle]:
        return [run for run in self.loop.live_runs() if not run.is_anonymous]

    # -- shutting down

    def refuse_when_closed(self, is_execute: bool) -> None:
        """Raise while the flow is shutting down; afterwards, an `execute` or a resume starts afresh."""
        with self._lock:
            if self._is_closing:
                raise FlowShutDownError(
                    f"Flow {self.flow.flow_id!r} is shutting down and takes no new work. "
                    "Call execute() after shutdown() has returned: it starts a fresh pool."
                )
            if self._is_closed and not is_execute:
                raise FlowShutDownError(
                    f"Flow {self.flow.flow_id!r} was shut down: nothing would take up what is emitted. "
                    "Emit before shutdown(), or from a run: execute() starts a fresh pool."
                )
            if is_execute:
                self._is_closed = False

    def is_closed(self) -> bool:
        """Whether the flow is shut down, or just being."""
        with self._lock:
            return self._is_closing or self._is_closed

    def shutdown(self, wait: bool, timeout: float | None) -> None:
        """End: see `Flow.shutdown`."""
        with self._lock:
            self._is_closing = True
        try:
            shut_down(self, wait, timeout)
        finally:
            with self._lock:
                self._is_closing = False
                self._is_closed = True
            for run in self.paused_runs():
                run.leave_behind()

    def is_shut_down(self) -> bool:
        """Whether nothing was started since a shutdown."""
        return self._is_closed

    def take_arrivals(self) -> None:
        """Take up what was put into `flow._task_queue`."""
        self._take_arrivals()

    def forget_threads(self) -> None:
        """In a forked child: it owns no live run and makes a pool of its own."""
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._taking_lock = threading.RLock()
        self._in_hand = None
        runs = list(self.loop._live.values())  # noqa: SLF001 - its lock may be held by a thread that is not here
        self.loop.forget_threads()
        self.workers.forget_threads()
        self.handover.forget_threads()
        self.wiring.forget_threads()
        self.flow.forget_threads()
        self.listeners.forget_threads()
        self.inputs.forget_threads()
        if self.durability is not None:
            self.durability.forget_threads()
        self._adopted.clear()
        self._is_closing = False
        for run in runs:
            run.abandon()


# Where an emission comes from that no slot's handler makes.
_OUTSIDE = Port(Node("", None), Slot())


def _takes_nothing(job_state: JobState) -> bool:
    """Whether a run that nobody drives was cancelled, or is over because its time was."""
    return job_state.status == JobStatus.CANCELLED or ledger_of(job_state).refuses


def _call(method: "weakref.WeakMethod[Any]", *args: Any) -> Any:
    function = method()
    return function(*args) if function is not None else None


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        engine.forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
