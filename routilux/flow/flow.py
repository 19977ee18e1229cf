"""Flow: the door to running a drawing."""

import contextlib
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from routilux.clock import SYSTEM_CLOCK
from routilux.errors import InvalidTypeError, InvalidValueError
from routilux.execution_tracker import ExecutionTracker
from routilux.executors.threads import ThreadPools
from routilux.flow.async_flow import AwaitedFlow
from routilux.flow.controls import cancel, pause
from routilux.flow.durable.opening import open_for_flow
from routilux.flow.engine import Engine
from routilux.flow.inputs import send
from routilux.flow.observed import ActiveTask, ObservedQueue
from routilux.flow.serialization import describe_flow, read_flow, restore_added_fields
from routilux.flow.settings import (
    checked_count,
    checked_history_limit,
    checked_retention,
    checked_seconds,
    checked_store_level,
    checked_strategy,
    checked_workers,
)
from routilux.flow.stream import RunStream
from routilux.flow.workers import place_given_away_here
from routilux.interfaces import Clock, Hooks, Journal, PoolFactory
from routilux.job_state import JobState
from routilux.output_handler import OutputHandler
from routilux.priority import TaskPriority
from routilux.registration import registered
from routilux.routine import Routine
from routilux.time_limits import check_wait, checked_timeout

if TYPE_CHECKING:  # named in a signature
    from routilux.flow.task import SlotActivationTask
    from routilux.stores.base import Store

__all__ = ["Flow"]

# Workers of a concurrent run on a flow that was drawn sequential.
CONCURRENT_WORKERS = 5


@registered
class Flow(AwaitedFlow):
    """Routines and the connections between them. Each `execute` is a run of its own, with a JobState of its own.

    A flow may be used from any thread, and from inside its own handlers.

    Args:
        flow_id: Names the drawing; a uuid4 by default.
        execution_strategy: "sequential" (one activation of a run at a time, in order) or "concurrent".
        max_workers: Threads of a concurrent flow; a sequential one has 1.
        execution_timeout: Seconds that a run may take from start to end; None: no limit.
        history_limit: Records that a run keeps; None: all. The number of dropped ones stands in its metadata.
        clock: Where time comes from; for tests.
        executor: Where handlers run; threads by default.
        journal: What must be durable; nothing by default.
        hooks: Who looks on; nobody by default.
        store: Where runs are kept so that they outlive their process: a path or URL ("runs.db",
            "postgresql://...", "memory:"), or a `Store`. Such a flow needs a flow_id, and its routines ids.
        store_level: "group" (a process that dies loses at most the last moments, and does them again) or "sync" (what
            an activation has caused starts when its settlement is safe, also from a loss of power). A `Store` has its
            own.
        max_recoveries: How often the process of a run may die in one activation; then the run fails with it.
        store_patience: While the store cannot be written, nothing new starts, and the write is tried again; after so
            many seconds runs become "paused", and their pause point has the reason "store".
        keep_finished: How many finished runs of this flow the store keeps, or (a timedelta) for how long; None: all,
            for good. What is too much is forgotten now and then, when a run has ended: at most 64 more are there.

    Raises:
        ValueError: Unknown strategy, fewer than 1 worker, a timeout that is not positive, a store without a flow_id.

    Attributes:
        routines: The routines by their ids.
        connections: The connections, in the order in which they were drawn.
    """

    fields_to_serialize = [
        "flow_id",
        "execution_strategy",
        "max_workers",
        "execution_timeout",
        "error_handler",
        "routines",
        "connections",
    ]

    def __init__(
        self,
        flow_id: str | None = None,
        execution_strategy: str = "sequential",
        max_workers: int = 5,
        execution_timeout: float | None = 300.0,
        *,
        history_limit: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
        executor: PoolFactory | None = None,
        journal: Journal | None = None,
        hooks: Hooks | None = None,
        store: "Store | str | os.PathLike[str] | None" = None,
        store_level: str = "group",
        max_recoveries: int = 3,
        store_patience: float = 30.0,
        keep_finished: int | timedelta | None = None,
    ) -> None:
        if store is not None and not flow_id:
            raise InvalidValueError(
                "A flow with a store needs a flow_id of its own, by which its runs are found again: "
                "Flow('orders', store=...)."
            )
        checked_retention(keep_finished, store is not None)
        checked_store_level(store_level, store is not None)
        super().__init__(flow_id)
        make_durable = None
        if store is not None:
            self.store, make_durable = open_for_flow(store, store_level, keep_finished)
        self._tracker: ExecutionTracker | None = None
        self.execution_strategy = checked_strategy(execution_strategy)
        self.concurrent_workers = CONCURRENT_WORKERS
        self.max_workers = checked_workers(max_workers) if execution_strategy == "concurrent" else 1
        checked_workers(max_workers)
        self.execution_timeout = checked_timeout("execution_timeout", execution_timeout)
        self.history_limit = checked_history_limit(history_limit)
        self.max_recoveries = checked_count("max_recoveries", max_recoveries)
        self.store_patience = checked_seconds("store_patience", store_patience)
        self._engine = Engine(self, self._owner, clock, executor or ThreadPools(), journal, hooks, make_durable)
        self._show_inside()

    def __repr__(self) -> str:
        live = self._engine.loop.live_count()
        return (
            f"Flow[{self.flow_id}] ({len(self.routines)} routines, {len(self.connections)} connections, "
            f"{self.execution_strategy}, {live} live runs)"
        )

    # -- settings

    @property
    def execution_tracker(self) -> ExecutionTracker | None:
        """Adds up the runs; None before the first. One that is set follows the runs that are live, and all later ones.

        Raises:
            TypeError: Set to what is neither an ExecutionTracker nor None.
        """
        return self._tracker

    @execution_tracker.setter
    def execution_tracker(self, tracker: ExecutionTracker | None) -> None:
        if tracker is not None and not isinstance(tracker, ExecutionTracker):
            raise InvalidTypeError(
                f"{tracker!r} is not an ExecutionTracker. Use ExecutionTracker(flow.flow_id), or None."
            )
        self._engine.change_trackers(self._tracker, tracker)
        self._tracker = tracker

    def id_of(self, routine: Routine) -> str | None:
        """Under which id a routine stands in this flow; None where it does not."""
        return self._engine.wiring.id_of(routine)

    def set_execution_strategy(self, strategy: str, max_workers: int | None = None) -> None:
        """How later runs are executed. Runs that are alive go on as they began.

        Raises:
            ValueError: Unknown strategy, fewer than 1 worker.
        """
        checked_strategy(strategy)
        wanted = CONCURRENT_WORKERS if max_workers is None else checked_workers(max_workers)
        if strategy == "concurrent" and max_workers is None and self.execution_strategy == "concurrent":
            wanted = self.max_workers
        self.execution_strategy = strategy
        self.max_workers = wanted if strategy == "concurrent" else 1
        self._engine.workers.set_places(self.max_workers)

    # -- running

    def execute(
        self,
        entry_routine_id: str,
        entry_params: dict[str, Any] | None = None,
        execution_strategy: str | None = None,
        timeout: float | None = None,
        *,
        job_state: JobState | None = None,
        output_handler: OutputHandler | None = None,
        job_id: str | None = None,
        history_limit: int | None = None,
    ) -> JobState:
        """Start a run, and return its JobState when the entry handler is over.

        The entry's "trigger" slot is called on this thread, with its retries. What it emits runs on the flow's pool,
        and this call does not wait for that: use `run`, or `JobState.wait_for_completion`. An async entry is awaited
        on the flow's own loop while this thread waits; where this thread runs an asyncio loop, which must not
        stand still, it does not wait, and `run_async` is what you want. Called by an async handler, it waits for no
        entry at all, and a plain one runs on a worker too.

        Args:
            entry_routine_id: A routine with a slot called "trigger".
            entry_params: What the trigger gets.
            execution_strategy: For this run only; else the flow's.
            timeout: Seconds from start to end, for this run only; else the flow's `execution_timeout`. `float("inf")`
                is no limit.
            job_state: A pending JobState that the caller has prepared. In a handler of a durable run, give a `job_id`
                as well, made of `context.activation_id`: a prepared JobState names its run anew when the handler runs
                again after a crash, and then that starts a second run. Without one, the name follows from the handler.
            output_handler: Receives this run's outputs from the first on.
            job_id: Names the run; a uuid4 by default. Where the flow has a store and that a run of this id, nothing is
                started, and that run is returned; it goes on here if the process that drove it is no more.
            history_limit: Records that this run keeps; else the flow's.

        Raises:
            ValueError: Unknown entry, one without a trigger, an unknown strategy, a timeout that is not positive, or a
                drawing in which something is certain to fail; see `validate`.
            RuntimeError: The flow is shutting down, or no thread can be started.
        """
        return self._start(
            entry_routine_id,
            entry_params,
            execution_strategy,
            timeout,
            job_state=job_state,
            output_handler=output_handler,
            job_id=job_id,
            history_limit=history_limit,
        )

    def _start(
        self,
        entry_routine_id: str,
        entry_params: dict[str, Any] | None,
        execution_strategy: str | None = None,
        timeout: float | None = None,
        *,
        inline: bool = True,
        job_state: JobState | None = None,
        output_handler: OutputHandler | None = None,
        job_id: str | None = None,
        history_limit: int | None = None,
    ) -> JobState:
        if execution_strategy is not None:
            checked_strategy(execution_strategy)
        limit = checked_timeout("timeout", timeout) if timeout is not None else self.execution_timeout
        return self._engine.execute(
            entry_routine_id,
            entry_params,
            execution_strategy,
            limit,
            job_state,
            output_handler,
            job_id,
            checked_history_limit(history_limit),
            inline=inline,
        )

    def run(
        self,
        entry_routine_id: str,
        entry_params: dict[str, Any] | None = None,
        timeout: float | None = None,
        progress_callback: Callable[[int, int, str], None] | None = None,
        *,
        output_handler: OutputHandler | None = None,
        job_id: str | None = None,
    ) -> JobState:
        """Execute, wait, and return the JobState of a run that is over.

        It is not raised when the run failed: look at `status` and `errors`.

        Args:
            entry_routine_id: A routine with a slot called "trigger".
            entry_params: What the trigger gets.
            timeout: Seconds that the run may take; else the flow's `execution_timeout`. For one that another process
                drives: seconds to wait for it, after which it is returned as it is.
            progress_callback: Called with (queue size, active count, status) at once and then every 5 seconds.
            output_handler: Receives this run's outputs from the first on.
            job_id: As for `execute`.
        """
        job_state = self.execute(
            entry_routine_id, entry_params, timeout=timeout, output_handler=output_handler, job_id=job_id
        )
        patience = self._patience(job_state, timeout)
        JobState.wait_for_completion(self, job_state, patience, progress_callback=progress_callback)
        return job_state

    def stream(self, entry_routine_id: str, entry_params: dict[str, Any] | None = None) -> RunStream:
        """Start a run, and iterate over what happens in it, as it happens.

        Items are records (`ExecutionRecord`), and outputs as dicts (routine_id, output_type, data, timestamp), in the
        order in which they came about. The run starts with this call, and its entry handler runs on the pool. Leaving
        the loop detaches; the run goes on. The stream's `job_state` is the run's record.

        Raises:
            ValueError: Unknown entry, or one without a trigger.
        """
        return RunStream(self._start(entry_routine_id, entry_params, inline=False))

    def on_run_end(self, callback: Callable[[JobState], Any]) -> Callable[[JobState], Any]:
        """Call `callback(job_state)` whenever a run of this flow becomes completed, failed or cancelled.

        It is called when the status becomes final, and before the run's waiters return: once per run, and once more
        if the run is resumed or cancelled afterwards. In a run that failed, other handlers may be at work still. It
        runs on the thread that ended the run, or on one of its own for a timeout, outside the run's context. What it
        raises is logged. Returns the callback, so that this can decorate a function.

        Raises:
            TypeError: It cannot be called, or is `async def` or a generator function, which nobody would await.
        """
        self._engine.listeners.add(callback)
        return callback

    def wait_for_completion(self, timeout: float | None = None, job_state: JobState | None = None) -> bool:
        """Deprecated: `JobState.wait_for_completion(flow, job_state)`, or `flow.run(...)`.

        Without a job it waits for all live runs.

        Raises:
            TypeError: The timeout is no number.
        """
        check_wait(timeout)
        warnings.warn(
            "Flow.wait_for_completion is deprecated. Use JobState.wait_for_completion(flow, job_state), or flow.run().",
            DeprecationWarning,
            stacklevel=2,
        )
        if job_state is not None:
            return JobState.wait_for_completion(self, job_state, timeout)
        return self._engine.wait_for_all(timeout)

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:
        """Let go of the flow's threads, without losing anything. Tasks that async handlers have left are cancelled.

        Args:
            wait: Let live runs finish first, their retries and delays included.
            timeout: Seconds for that; None: as long as it takes. What is not done then, or without `wait`, is parked:
                its run becomes "paused" with the reason "shutdown", and can be resumed. Threads that async handlers
                have called and left are waited for no longer either; without a timeout, for five seconds.

        It may be called twice, and from inside a handler: it does not wait for that handler's own run. A later
        `execute` starts fresh threads.
        """
        self._engine.shutdown(wait, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An exception in the block: the caller wants out, and what is left is parked, not awaited.
        self.shutdown(wait=error is None)

    # -- stopping and going on

    def pause(
        self, job_state: JobState | None = None, reason: str = "", checkpoint: dict[str, Any] | None = None
    ) -> None:
        """Stop a run where it stands; `resume` goes on from there, here or in another process.

        Handlers that are at work finish (waited for up to 5 seconds, unless the caller is itself a handler or runs an
        asyncio loop); what they emit is kept. Nothing new starts. A finished run may be paused too.

        Args:
            job_state: The run; None: every live run of this flow.
            reason: For readers of the pause point.
            checkpoint: For the application; the pause point keeps it.

        Raises:
            ValueError: The state is of another flow.
            TypeError: The checkpoint is no dict; or the flow has a store, and it is not JSON, or the reason no text.
                Nothing has happened.
        """
        pause(self._engine, job_state, reason, checkpoint)

    def resume(self, job_state: JobState, timeout: float | None = None) -> JobState:
        """Go on with a run that was paused, has failed or completed, or was restored from a file; returns it.

        First what was parked, then what slots hold that no task carries, then the deferred events. It does not wait.

        Args:
            job_state: The run. One that is live in this flow is returned as it is.
            timeout: Seconds that it may take from now on; else the flow's `execution_timeout`.

        Raises:
            ValueError: The state is of another flow, pending or cancelled; it names something that is gone, or what
                waits in it does not fit the flow (`ResumeRefusedError`; see `check_resume`).
            RunDrivenError: The flow has a store, and another process drives the run.
        """
        from routilux.flow.resuming import resume  # noqa: PLC0415 - few programs need it

        limit = checked_timeout("timeout", timeout) if timeout is not None else self.execution_timeout
        return resume(self._engine, job_state, limit)

    def send_input(self, job_id: str, name: str, data: dict[str, Any] | None = None) -> None:
        """Give a run what one of its routines has asked for, or will; see `Routine.request_input`.

        It goes to the oldest open request of that name, as a new activation of the slot, and is kept until there is
        one. A run that was paused because it waited for this goes on by itself.

        With a store, the run may be at work in any process; when this returns, the input is kept there, and will be
        delivered once. The process that drives the run looks for it (every half second), and when nobody does, the run
        goes on in this process: let it, by waiting for it or leaving `with flow`. Without a store, it is a run of this
        Flow object.

        It may be called from any thread, and from a handler.

        Args:
            job_id: The run's.
            name: What was asked for.
            data: What the slot gets; JSON.

        Raises:
            ValueError: This flow has no such run.
            TypeError: The data are no dict, or not JSON; the message names the path.
            RuntimeError: The run has ended, was cancelled or has failed.
            StoreError: The store cannot be read or written, and the input was not kept.
        """
        send(self._engine, job_id, name, data)

    def cancel(self, job_state: JobState | None = None, reason: str = "") -> None:
        """End a run for good: what it has queued is dropped, and what its handlers still emit is refused.

        Args:
            job_state: The run; None: every live run of this flow.
            reason: Kept under `routine_states["_cancellation"]["reason"]`.

        Raises:
            ValueError: The state is of another flow.
            TypeError: The flow has a store, and the reason is no text. Nothing has happened.
        """
        cancel(self._engine, job_state, reason)

    # -- as data

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The drawing as data: settings, routines, connections. Runs are saved by their JobStates.

        Raises:
            TypeError: A routine's class cannot be built without arguments, or a value is not JSON.
            ValueError: A handler is a method of another routine.
        """
        return describe_flow(self, max_depth, _current_depth)

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Become what `serialize` wrote; a missing key keeps what the flow has.

        Routines are built from registered classes, without arguments. A connection whose ends do not exist any more
        is dropped with a warning.

        Raises:
            ValueError: A value that cannot be, or a class that is not registered; the flow is then as it was.
        """
        if self._engine.loop.live_count():
            raise InvalidValueError(f"{self!r} is at work. Restore into a new Flow(), or pause its runs first.")
        drawing = read_flow(self, data)
        values = drawing.values
        strategy = checked_strategy(values.get("execution_strategy", self.execution_strategy))
        workers = checked_workers(values.get("max_workers", self.max_workers))
        timeout = checked_timeout("execution_timeout", values.get("execution_timeout", self.execution_timeout))
        if self._engine.durability is not None and not values.get("flow_id", self.flow_id):
            raise InvalidValueError("A flow with a store needs a flow_id, by which its runs are found again: not ''.")
        with self._drawing_lock:
            restore_added_fields(self, data)
            self.flow_id = values.get("flow_id", self.flow_id)
            self.execution_timeout = timeout
            self.error_handler = values.get("error_handler", self.error_handler)
            self.set_execution_strategy(strategy, workers)
            if drawing.lines is not None:
                for connection in self.connections:
                    connection.disconnect()
                self.connections.clear()
                if drawing.routines is not None:
                    self.routines.clear()
                    for routine_id, routine in drawing.routines.items():
                        self.add_routine(routine, routine_id)
                for line in drawing.lines:
                    self.connect(*line)

    # -- for the rooms below and for those who look inside

    def emit_from_outside(
        self,
        routine: Routine,
        event_name: str,
        data: dict[str, Any],
        job_state: JobState | None,
        delay: float = 0.0,
        priority: TaskPriority = TaskPriority.NORMAL,
    ) -> None:
        """An emission that no handler of a run makes; `Routine.emit` comes here."""
        self._engine.emit_from_outside(routine, event_name, data, job_state, delay, priority)

    def start_event_loop(self) -> bool:
        """Start the event loop unless it runs, and take up what waits in `_task_queue`; True."""
        self._engine.loop.start()
        return True

    def is_loop_running(self) -> bool:
        """Whether the event loop runs."""
        return self._engine.loop.is_running()

    def place_given_away(self) -> AbstractContextManager[None]:
        """While a handler waits on the calling thread, another one may work in its place, whosever worker it is."""
        return place_given_away_here()

    def has_arrivals(self) -> bool:
        """Whether somebody put tasks into `_task_queue` that no loop has taken up."""
        if self._task_queue is self._observed_queue:
            return bool(self._engine.arrivals)
        return not self._task_queue.empty()

    def has_tasks_for(self, job_state: JobState) -> bool:
        """Whether tasks that somebody put into `_task_queue` for a job are still to be run."""
        return self._task_queue is not self._observed_queue or self._engine.has_tasks_for(job_state)

    def next_arrival(self) -> "SlotActivationTask | None":
        """The oldest task that waits in `_task_queue`."""
        if self._task_queue is self._observed_queue:
            return self._engine.take_arrival(for_run=True)
        with contextlib.suppress(Exception):  # a queue of the caller's making: whatever it raises when it is empty
            task: SlotActivationTask | None = None
            while task is None:  # one that was put there hides no task behind it
                task = self._task_queue.get_nowait()
            return task
        return None

    # ---- names of the specification that look into the engine; nothing in it reads them ------------------------

    def _show_inside(self) -> None:
        self._observed_queue = ObservedQueue(self._engine)
        self._task_queue: Any = self._observed_queue
        self._execution_lock: Any = RLock()
        self._assigned: dict[str, Any] = {}

    def _observed(self, name: str, value: Any) -> Any:
        return self._assigned.get(name, value)

    @property
    def _active_tasks(self) -> Any:
        found = [ActiveTask(task, run.active) for run in self._engine.loop.live_runs() for task in run.active_tasks()]
        return self._observed("_active_tasks", set(found))

    @_active_tasks.setter
    def _active_tasks(self, value: Any) -> None:
        self._assigned["_active_tasks"] = value

    @property
    def _running(self) -> bool:
        return bool(self._observed("_running", self._engine.has_executed and self._engine.loop.live_count() > 0))

    @_running.setter
    def _running(self, value: bool) -> None:
        self._assigned["_running"] = value

    @property
    def _paused(self) -> bool:
        return bool(self._observed("_paused", any(True for _ in self._engine.paused_runs())))

    @_paused.setter
    def _paused(self, value: bool) -> None:
        self._assigned["_paused"] = value

    @property
    def _pending_tasks(self) -> list[dict[str, Any]]:
        parked = [entry for run in self._engine.paused_runs() for entry in list(run.job_state.pending_tasks)]
        found: list[dict[str, Any]] = self._observed("_pending_tasks", parked)
        return found

    @_pending_tasks.setter
    def _pending_tasks(self, value: list[dict[str, Any]]) -> None:
        self._assigned["_pending_tasks"] = value
