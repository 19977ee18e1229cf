"""Inputs: what the world outside sends to runs, and how a run that waits for it goes on.

The runs of this flow that wait are held here, and are found by their job_id. Those of a flow with a store are held by
that: see `routilux.flow.durable.stored_inputs`.
"""

import weakref
from threading import Lock
from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidValueError, RunEndedError, UnknownRunError
from routilux.flow.lifecycle import RunLifecycle
from routilux.flow.pending import seconds_until
from routilux.flow.run import Run
from routilux.flow.run_inputs import RunInputs, has_work, waits_for_input
from routilux.flow.timers import nanoseconds
from routilux.job_state import JobState, ledger_of
from routilux.plain import plain_dict
from routilux.status import FINAL, JobStatus

if TYPE_CHECKING:  # whose runs they are
    from routilux.flow.engine import Engine

__all__ = ["Inputs", "ended_error", "go_on_with_input", "send"]


class Inputs:
    """The runs of one engine that have asked for inputs.

    `_lock` protects everything here; it is taken last, and nothing is called while it is held.
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = weakref.ref(engine)
        self._lock = Lock()
        self._known: weakref.WeakValueDictionary[str, JobState] = weakref.WeakValueDictionary()
        # Without a store: paused, and nobody else may have them.
        self._held: dict[str, JobState] = {}
        # The time-outs of paused runs for which this process looks, by job_id and instant.
        self._watched: set[str] = set()

    def forget_threads(self) -> None:
        """In a forked child: the thread that holds the lock is not there, and runs are the parent's."""
        self._lock = Lock()
        self._known = weakref.WeakValueDictionary()
        self._held = {}
        self._watched = set()

    def forget_time_outs(self) -> None:
        """At a shutdown: time-outs of runs that are paused are seen to by a resume, or by `recover`."""
        with self._lock:
            self._watched.clear()
        engine = self._engine()
        if engine is not None:
            engine.loop.forget_calls()

    def note(self, job_state: JobState) -> None:
        """A run has asked: it can be found from now on, as long as somebody has it."""
        with self._lock:
            self._known[job_state.job_id] = job_state

    def hold(self, job_state: JobState) -> None:
        """A run is paused until an input comes: keep it, unless a store does."""
        engine = self._engine()
        if engine is not None and engine.durability is None:
            with self._lock:
                self._held[job_state.job_id] = job_state

    def let_go(self, job_state: JobState) -> None:
        """It goes on, or was cancelled."""
        with self._lock:
            if self._held.get(job_state.job_id) is job_state:
                del self._held[job_state.job_id]

    def find(self, job_id: str) -> JobState | None:
        """The record of a run of this process that is live, or paused, or has asked for something."""
        engine = self._engine()
        if engine is None:
            return None
        for run in reversed(engine.loop.live_runs()):
            if run.job_id == job_id and not run.is_adopted:
                return run.job_state
        with self._lock:
            found = self._held.get(job_id) or self._known.get(job_id)
        if found is not None:
            return found
        return next((run.job_state for run in engine.paused_runs() if run.job_id == job_id), None)

    def expire_at(self, run: RunInputs, due_ns: int, due_at: str) -> None:
        """With the run's lock held: look at its requests at an instant, also when it is paused by then.

        Args:
            run: The run.
            due_ns: The instant, by the clock that timers go by.
            due_at: The same by the wall clock, as the request has it.
        """
        engine = self._engine()
        if engine is None:
            return
        # The loop's thread keeps neither the flow nor the run.
        here, found, job_id = weakref.ref(engine), weakref.ref(run), run.job_id

        def expire() -> None:
            owner = here()
            if owner is not None:
                _expire(owner, found(), job_id, due_at)

        engine.loop.call_at(due_ns, expire)

    def expire_later(self, job_state: JobState) -> None:
        """For a run that is paused and was restored: look at its requests when their time is over."""
        for request in job_state.input_requests:
            if request["due_at"] is not None:
                self.look_at(job_state.job_id, request["due_at"])

    def look_at(self, job_id: str, due_at: str) -> None:
        """Look at the requests of a run of the store at an instant."""
        engine, watched = self._engine(), f"{job_id} {due_at}"
        with self._lock:
            is_new = watched not in self._watched
            self._watched.add(watched)
        if engine is not None and is_new:
            self.wake_in(job_id, seconds_until(due_at, engine.clock), watched)

    def wake_in(self, job_id: str, seconds: float, watched: str = "") -> None:
        """Look at the requests of a run of the store after so many seconds.

        Args:
            job_id: The run.
            seconds: From now on.
            watched: What is forgotten then: it can be looked for anew, if the wall clock has been set back.
        """
        engine = self._engine()
        if engine is None:
            return
        here = weakref.ref(engine)

        def expire() -> None:
            owner = here()
            if owner is not None:
                owner.inputs.forget_time_out(watched)
                _expire(owner, None, job_id)

        engine.loop.call_at(engine.clock.monotonic_ns() + nanoseconds(seconds), expire)

    def forget_time_out(self, watched: str) -> None:
        """Nobody looks for this one any more."""
        with self._lock:
            self._watched.discard(watched)


def _expire(engine: "Engine", run: RunInputs | None, job_id: str, due_at: str = "") -> None:
    """On the loop's thread: the time of a request is over, unless it was answered."""
    if run is not None and run.is_open():
        run.expire_requests(due_at)
    elif engine.durability is not None:
        durability = engine.durability
        engine.workers.call(lambda: durability.wake(job_id))
    elif run is not None and waits_for_input(run.job_state):
        engine.workers.call(lambda: go_on_with_input(engine, run.job_state))


def send(engine: "Engine", job_id: str, name: str, data: dict[str, Any] | None) -> None:
    """See `Flow.send_input`."""
    for what, text in (("job_id", job_id), ("The name of an input", name)):
        if not isinstance(text, str) or not text:
            raise InvalidValueError(f"{what} must be a text that is not empty, not {text!r}.")
    content = plain_dict({} if data is None else data, f"the input {name!r}")
    if engine.durability is None:
        _send_here(engine, job_id, name, content)
    else:
        engine.durability.send_input(job_id, name, content)


def _send_here(engine: "Engine", job_id: str, name: str, data: dict[str, Any]) -> None:
    engine.refuse_when_closed(is_execute=True)
    job_state = engine.inputs.find(job_id)
    if job_state is None:
        raise UnknownRunError(
            f"Flow {engine.flow.flow_id!r} has no run {job_id!r} that is live or paused in this process. It may have "
            "ended. One from a file must be resumed first: flow.resume(job_state); one that shall be found from other "
            "processes needs a store: Flow(flow_id, store='runs.db')."
        )
    ledger = ledger_of(job_state)
    with ledger.lock:
        run = ledger.live
        if ledger.status in FINAL or not isinstance(run, Run) or not (run.is_open() or run.is_stopped()):
            raise ended_error(job_id, ledger.status)
        given = run.take_input(name, data)
        goes_on = waits_for_input(job_state) and has_work(job_state)
    run.hand_out(given)
    if goes_on:
        go_on_with_input(engine, job_state)


def ended_error(job_id: str, status: str) -> RunEndedError:
    """What to raise for a run that takes no input, by its status."""
    advice = {
        JobStatus.FAILED.value: "Repair what was wrong and resume it; then it takes inputs again.",
        JobStatus.PENDING.value: "Execute it first.",
    }.get(status, "Start a new run with execute().")
    return RunEndedError(f"Run {job_id} takes no input: its status is {status!r}. {advice}")


# -- going on


def go_on_with_input(engine: "Engine", job_state: JobState) -> None:
    """Resume a run that waits for input, with what is left of its time."""
    from routilux.flow.resuming import resume  # noqa: PLC0415 - few programs need it

    if not waits_for_input(job_state):
        return
    point = job_state.pause_points[-1]
    left = point.get("seconds_left")
    resume(engine, job_state, None if left is None else max(0.001, left))
    run = ledger_of(job_state).live
    if isinstance(run, RunLifecycle):
        if left is not None:
            run.timeout = point.get("timeout", left)  # what a time-out says
        run.release_hold()  # nobody asked for this resume, so nobody counts on "running": its clock must not go on
