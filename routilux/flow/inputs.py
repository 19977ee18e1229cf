"""Inputs: what the world outside sends to runs, and how a run that waits for it goes on.

Without a store, the runs of this flow that wait are held here, and are found by their job_id. With one, an input is
kept in the store first, under a growing number, by whichever process; the driver of a run looks there for what is new
(`DurableRun`), and a run that nobody drives is taken up by the process that has sent the input, or by `recover`.

No input is missed between the two: who sends, keeps the input and then looks at the run; who pauses a run for want of
input, lets it go and then looks at the inputs. Whoever comes second sees what the other has done.
"""

import logging
import weakref
from threading import Lock
from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidValueError, RoutiluxError, RunDrivenError, RunEndedError, StoreError, UnknownRunError
from routilux.flow.controls import resume
from routilux.flow.durability import Durability
from routilux.flow.durable_run import DurableRun
from routilux.flow.lifecycle import RunLifecycle
from routilux.flow.pending import seconds_until
from routilux.flow.run import Run
from routilux.flow.run_inputs import RunInputs, waits_for_input
from routilux.flow.scribe import dumps
from routilux.flow.timers import nanoseconds
from routilux.job_state import JobState, ledger_of
from routilux.plain import plain_dict
from routilux.status import FINAL, JobStatus

if TYPE_CHECKING:  # whose runs they are
    from routilux.flow.engine import Engine

__all__ = ["Inputs", "send", "wake_those_that_can"]

logger = logging.getLogger(__name__)


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
        # The requests of paused runs for whose time-outs this process looks, by their ids.
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

    def expire_at(self, run: RunInputs, due_ns: int) -> None:
        """With the run's lock held: look at its requests at an instant, also when it is paused by then."""
        engine = self._engine()
        if engine is None:
            return
        # The loop's thread keeps neither the flow nor the run.
        here, found, job_id = weakref.ref(engine), weakref.ref(run), run.job_id

        def expire() -> None:
            owner = here()
            if owner is not None:
                _expire(owner, found(), job_id)

        engine.loop.call_at(due_ns, expire)

    def expire_later(self, job_state: JobState) -> None:
        """For a run that is paused and was restored: look at its requests when their time is over."""
        engine = self._engine()
        for request in job_state.input_requests:
            with self._lock:
                is_new = request["due_at"] is not None and request["id"] not in self._watched
                if is_new:
                    self._watched.add(request["id"])
            if engine is not None and is_new:
                self._wake_in(engine, job_state.job_id, seconds_until(request["due_at"], engine.clock))

    def _wake_in(self, engine: "Engine", job_id: str, seconds: float) -> None:
        here = weakref.ref(engine)

        def expire() -> None:
            owner = here()
            if owner is not None:
                _expire(owner, None, job_id)

        engine.loop.call_at(engine.clock.monotonic_ns() + nanoseconds(seconds), expire)

    def wake(self, job_id: str) -> None:
        """On a thread of its own: go on with a run of the store that is paused for input, if it can."""
        engine = self._engine()
        if engine is None or engine.durability is None:
            return
        try:
            _wake_stored(engine, engine.durability, job_id)
        except StoreError:
            logger.warning("The store could not be asked about run %s; once more in a second", job_id, exc_info=True)
            self._wake_in(engine, job_id, 1.0)


def _expire(engine: "Engine", run: RunInputs | None, job_id: str) -> None:
    """On the loop's thread: the time of a request is over, unless it was answered."""
    if run is not None and run.is_open():
        run.expire_requests()
    elif engine.durability is not None:
        engine.workers.call(lambda: engine.inputs.wake(job_id))
    elif run is not None and waits_for_input(run.job_state):
        engine.workers.call(lambda: _go_on(engine, run.job_state))


def send(engine: "Engine", job_id: str, name: str, data: dict[str, Any] | None) -> None:
    """See `Flow.send_input`."""
    for what, text in (("job_id", job_id), ("The name of an input", name)):
        if not isinstance(text, str) or not text:
            raise InvalidValueError(f"{what} must be a text that is not empty, not {text!r}.")
    content = plain_dict({} if data is None else data, f"the input {name!r}")
    if engine.durability is None:
        _send_here(engine, job_id, name, content)
    else:
        _send_through_store(engine, engine.durability, job_id, name, content)


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
            raise _ended(job_id, ledger.status)
        given = run.take_input(name, data)
        has_work = waits_for_input(job_state) and bool(job_state.pending_tasks)
    run.hand_out(given)
    if has_work:
        _go_on(engine, job_state)


def _send_through_store(engine: "Engine", durability: Durability, job_id: str, name: str, data: dict[str, Any]) -> None:
    header = durability.store.find(job_id)
    if header is None or header.flow_id != engine.flow.flow_id:
        whose = "" if header is None else f" It is one of flow {header.flow_id!r}: send the input with that flow."
        raise UnknownRunError(
            f"The store {durability.store.url} has no run {job_id!r} of flow {engine.flow.flow_id!r}.{whose}"
        )
    if header.status in FINAL:
        raise _ended(job_id, header.status)
    durability.store.put_input(job_id, name, dumps(data))
    # From here on it is kept, and nothing that goes wrong is the caller's: who sent it again would send it twice.
    try:
        _deliver_stored(engine, durability, job_id)
    except StoreError:
        logger.warning(
            "An input for run %s is kept, and will be delivered later", job_id, exc_info=True, extra={"job_id": job_id}
        )


def _deliver_stored(engine: "Engine", durability: Durability, job_id: str) -> None:
    job_state = engine.inputs.find(job_id)
    run = ledger_of(job_state).live if job_state is not None else None
    if isinstance(run, DurableRun) and run.is_open():
        run.fetch_inputs()
    else:
        _wake_stored(engine, durability, job_id)


def _ended(job_id: str, status: str) -> RunEndedError:
    advice = {
        JobStatus.FAILED.value: "Repair what was wrong and resume it; then it takes inputs again.",
        JobStatus.PENDING.value: "Execute it first.",
    }.get(status, "Start a new run with execute().")
    return RunEndedError(f"Run {job_id} takes no input: its status is {status!r}. {advice}")


# -- going on


def _go_on(engine: "Engine", job_state: JobState) -> None:
    """Resume a run that waits for input, with what is left of its time."""
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


def _wake_stored(engine: "Engine", durability: Durability, job_id: str) -> None:
    """Go on with a run of the store that is paused for input, if it can and nobody drives it."""
    header = durability.store.find(job_id)
    if header is None or header.status != JobStatus.PAUSED or header.flow_id != engine.flow.flow_id:
        return
    job_state = durability.load(job_id)
    if waits_for_input(job_state) and _can_go_on(durability, job_state):
        _go_on_stored(engine, durability, job_state)


def _go_on_stored(engine: "Engine", durability: Durability, job_state: JobState) -> bool:
    """Drive it, unless somebody was quicker: whoever resumes a run takes its new inputs as well."""
    job_id = job_state.job_id
    try:
        _go_on(engine, job_state)
    except StoreError:
        raise
    except RoutiluxError as error:
        now = durability.store.find(job_id)
        if now is not None and now.status == JobStatus.PAUSED and not isinstance(error, RunDrivenError):
            logger.error(  # noqa: TRY400 - the message says it all, and names what to do
                "Run %s has its input, and cannot go on here: %s", job_id, error, extra={"job_id": job_id}
            )
        return False
    return True


def _can_go_on(durability: Durability, job_state: JobState) -> bool:
    """Whether a run that waits has got what it waits for, or has waited for too long."""
    asked = {request["name"] for request in job_state.input_requests}
    new = durability.store.inputs(job_state.job_id, after=ledger_of(job_state).input_number)
    if job_state.pending_tasks or any(each.name in asked for each in new):
        return True
    dues = [request["due_at"] for request in job_state.input_requests]
    return any(due_at is not None and seconds_until(due_at, ledger_of(job_state).clock) <= 0.001 for due_at in dues)


def wake_those_that_can(engine: "Engine", durability: Durability) -> list[JobState]:
    """Go on with the runs of the store that have got what they waited for; returns their records.

    For the others, this process looks when the time of their requests is over.
    """
    found = []
    for header in durability.store.list_runs(status=JobStatus.PAUSED.value, flow_id=engine.flow.flow_id):
        job_state = durability.load(header.job_id)
        if not waits_for_input(job_state):
            continue
        if not _can_go_on(durability, job_state):
            engine.inputs.expire_later(job_state)
        elif _go_on_stored(engine, durability, job_state):
            found.append(job_state)
    return found
