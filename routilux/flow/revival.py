"""Pending tasks as activations again: the other half of `pending.py`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidValueError, UnknownNameError
from routilux.flow.identity import from_text, identity_of
from routilux.flow.pending import seconds_until
from routilux.flow.task import Activation
from routilux.flow.timers import nanoseconds
from routilux.flow.wiring import Port, Wired, Wiring
from routilux.job_state import JobState
from routilux.priority import TaskPriority
from routilux.status import JobStatus

if TYPE_CHECKING:  # the run that they are for
    from routilux.flow.run import Run

__all__ = ["Revival", "cancelled_error", "go_on"]


def cancelled_error(job_state: JobState) -> InvalidValueError:
    """What to raise for a resume of a run that was cancelled."""
    return InvalidValueError(
        f"{job_state!r} cannot be resumed: it was cancelled for good. Start a new run with execute()."
    )


def go_on(
    run: "Run",
    wiring: Wiring,
    timeout: float | None,
    is_kept_back: Callable[[dict[str, Any]], bool],
    is_recovery: bool = False,
) -> None:
    """Take up what the state of a run keeps, but for what is kept back, and run again.

    Args:
        run: The run, with the state that it goes on with.
        wiring: The flow's.
        timeout: For the leg that begins.
        is_kept_back: Which pending tasks stay where they are.
        is_recovery: Nobody has stopped it: it goes on as if its process had not died, so what waits for a resume
            still waits, and a routine that had failed has failed.

    Raises:
        InvalidValueError: It was cancelled meanwhile.
    """
    while True:
        if run.ledger.status == JobStatus.CANCELLED:  # a cancellation does not wait for a resume that is on its way
            raise cancelled_error(run.job_state)
        revival = Revival(wiring, run.job_state)
        given = _reopen_with(run, revival, timeout, is_kept_back, is_recovery)
        if given is not None:
            try:
                run.reopened()
            except BaseException:
                with run.lock:
                    run.tokens -= given  # nobody will bring them back, and a later resume needs them
                raise
            run.hand_out(given)
            run.begin_hold()
            return


def _reopen_with(
    run: "Run",
    revival: "Revival",
    timeout: float | None,
    is_kept_back: Callable[[dict[str, Any]], bool],
    is_recovery: bool,
) -> int | None:
    """Reopen a run with what it has kept; returns the tokens to hand out.

    One critical section: a snapshot sees the state before it or the run after it. None, and nothing has changed, when
    a handler that was still at work has left something there that was not looked up, or when it was cancelled.
    """
    job_state = run.job_state
    with run.lock:
        events = [] if is_recovery else list(job_state.deferred_events)
        if run.ledger.status == JobStatus.CANCELLED:
            return None
        if not revival.knows([*job_state.pending_tasks, *job_state.input_requests], events):
            return None
        run.input_ports.update(revival.ports)
        kept_back = [{**entry, "kept_back": True} for entry in job_state.pending_tasks if is_kept_back(entry)]
        revived = [revival.activation(run, entry) for entry in job_state.pending_tasks if not is_kept_back(entry)]
        revived += [(task, 0.0) for task in revival.uncarried(run)]
        still_failed = {entry["routine_id"] for entry in kept_back}
        if is_recovery:
            tried_again = {entry["routine_id"] for entry in job_state.pending_tasks if entry.get("was") == "failed"}
            still_failed |= dict.keys(run.ledger.routine_states) - tried_again
        run.reopen(timeout, still_failed)
        job_state.pending_tasks[:] = kept_back
        if not is_recovery:
            job_state.deferred_events.clear()
        for task, delay in revived:
            run.outstanding += 1
            if delay > 0:
                run.timers.add(task, run.now() + nanoseconds(delay))
            else:
                run.push(task)
        given = 0
        for number, event in enumerate(events):
            # Out of what the file says, so that its deliveries have the same identity whenever it is resumed.
            identity = identity_of(f"{run.job_id} {event.get('timestamp')} {number}")
            given += run.emit_deferred(revival.wired(event), dict(event.get("data") or {}), identity)
        return given + run.tokens_for(run.queue_size())


class Revival:
    """Makes activations out of what a state keeps.

    Attributes:
        ports: Where their data, and the answers to its requests, go.

    What the entries name is looked up when this is made, without the run's lock: it asks routines for their slots and
    events, and those may be the user's own methods.
    """

    def __init__(self, wiring: Wiring, job_state: JobState) -> None:
        self._wiring = wiring
        self._job_state = job_state
        self.ports: dict[tuple[str, str], Port] = {}
        self._wired: dict[tuple[str, str], Wired | None] = {}
        for entry in [*job_state.pending_tasks, *job_state.input_requests]:
            if _port_key(entry) not in self.ports:
                self.ports[_port_key(entry)] = self._port(*_port_key(entry))
            source = _source_key(entry)
            if source is not None and source not in self._wired:
                self._wired[source] = self._wired_or_none(*source)
        for event in list(job_state.deferred_events):
            routine_id, event_name = event["routine_id"], event["event_name"]
            self._wired[routine_id, event_name] = wiring.wired(wiring.node(routine_id), event_name)

    def _port(self, routine_id: str, slot_name: str) -> Port:
        node = self._wiring.node(routine_id)
        slot = node.routine.get_slot(slot_name) if node.routine is not None else None
        if slot is None:  # it was there when the resume looked
            raise UnknownNameError("slot", slot_name, (), f"routine {routine_id!r}")
        return node.port(slot)

    def _wired_or_none(self, routine_id: str, event_name: str) -> Wired | None:
        try:
            return self._wiring.wired(self._wiring.node(routine_id), event_name)
        except ValueError:
            return None  # by which line it came informs readers; the data are mapped already

    def knows(self, pending: list[dict[str, Any]], events: list[dict[str, Any]]) -> bool:
        """Whether everything that these entries name was looked up."""
        sources = [_source_key(entry) for entry in pending]
        return (
            all(_port_key(entry) in self.ports for entry in pending)
            and all(source is None or source in self._wired for source in sources)
            and all(self._wired.get((event["routine_id"], event["event_name"])) is not None for event in events)
        )

    def wired(self, event: dict[str, Any]) -> Wired:
        """What the emission of a deferred event does."""
        wired = self._wired[event["routine_id"], event["event_name"]]
        assert wired is not None  # noqa: S101 - for the type checker: `knows` has looked
        return wired

    def activation(self, run: "Run", entry: dict[str, Any]) -> tuple[Activation, float]:
        """One pending task as an activation, and the seconds until it is due."""
        task = Activation(
            run,
            self.ports[_port_key(entry)],
            dict(entry["data"]),
            self._connection(entry),
            TaskPriority.of(entry.get("priority", TaskPriority.NORMAL)),
            from_text(entry.get("id")),
            run.now(),
        )
        was_failed = entry.get("was") == "failed"
        # A failed activation is tried anew, with all its retries: somebody has repaired what was wrong.
        task.retry_count = 0 if was_failed else max(0, int(entry.get("attempt", 1)) - 1)
        revivals = int(entry.get("revivals", 0)) + was_failed
        if revivals:
            task.revival_count = revivals
        task.merged = bool(entry.get("merged", False))
        task.is_entry = task.identity == run.entry_identity()
        if was_failed and task.special is not None:
            task.special.was_failed = True
        released = entry.get("released") or {}
        if released or entry.get("was", "queued") != "queued":
            task.replay = {name: list(payloads) for name, payloads in released.items()}
        return task, 0.0 if was_failed else _due_in(entry, run)

    def _connection(self, entry: dict[str, Any]) -> Any:
        source = _source_key(entry)
        wired = self._wired.get(source) if source is not None else None
        if wired is None:
            return None
        return next((each.connection for each in wired.deliveries if each.port.key == _port_key(entry)), None)

    def uncarried(self, run: "Run") -> list[Activation]:
        """Tasks for slot data of a file that no task carries: data that only a slot itself has kept."""
        carried = {(entry["routine_id"], entry["slot"]) for entry in self._job_state.pending_tasks}
        found = []
        for routine_id, routine in run.flow.routines.items():
            for slot in routine._slots.values():
                data = slot.take_restored_data()
                if data and (routine_id, slot.name) not in carried:
                    port = self._wiring.node(routine_id).port(slot)
                    task = Activation(run, port, data, identity=identity_of("\0".join(port.key)), created_ns=run.now())
                    task.merged = True
                    found.append(task)
        return found


def _port_key(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["routine_id"], entry["slot"]


def _source_key(entry: dict[str, Any]) -> tuple[str, str] | None:
    source = entry.get("connection")
    return (source.get("routine_id", ""), source.get("event", "")) if isinstance(source, dict) else None


def _due_in(entry: dict[str, Any], run: "Run") -> float:
    due_at = entry.get("due_at")
    return seconds_until(due_at, run.ledger.clock) if isinstance(due_at, str) else 0.0
