"""Pending tasks as activations again: the other half of `pending.py`."""

from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from routilux.flow.task import Activation
from routilux.flow.timers import nanoseconds
from routilux.flow.wiring import Wired, Wiring
from routilux.job_state import JobState
from routilux.priority import TaskPriority

if TYPE_CHECKING:  # the run that they are for
    from routilux.flow.run import Run

__all__ = ["Revival", "go_on"]


def go_on(run: "Run", wiring: Wiring, timeout: float | None) -> None:
    """Take up everything that the state of a run keeps, and run again."""
    while True:
        # Prepared before the lock is taken: it asks routines for their events, and they are the user's.
        wired = {
            (event["routine_id"], event["event_name"]): wiring.wire(
                wiring.node(event["routine_id"]), event["event_name"]
            )
            for event in list(run.job_state.deferred_events)
        }
        given = _reopen_with(run, Revival(wiring, run.job_state), wired, timeout)
        if given is not None:
            run.hand_out(given)
            run.begin_hold()
            return


def _reopen_with(
    run: "Run", revival: "Revival", wired: "dict[tuple[str, str], Wired]", timeout: float | None
) -> int | None:
    """Reopen a run with what it has kept; returns the tokens to hand out.

    One critical section: a snapshot sees the state before it or the run after it. None, and nothing has changed, when
    a handler that was still at work has deferred an event that was not prepared.
    """
    job_state = run.job_state
    with run.lock:
        events = list(job_state.deferred_events)
        if any((event["routine_id"], event["event_name"]) not in wired for event in events):
            return None
        revived = [revival.activation(run, entry) for entry in job_state.pending_tasks]
        revived += [(task, 0.0) for task in revival.uncarried(run)]
        run.reopen(timeout)
        job_state.pending_tasks.clear()
        job_state.deferred_events.clear()
        for task, delay in revived:
            run.outstanding += 1
            if delay > 0:
                run.timers.add(task, run.now() + nanoseconds(delay))
            else:
                run.push(task)
        given = 0
        for number, event in enumerate(events):
            prepared = wired[event["routine_id"], event["event_name"]]
            # Out of what the file says, so that its deliveries have the same identity whenever it is resumed.
            identity = _identity(f"{run.job_id} {event.get('timestamp')} {number}")
            given += run.emit_deferred(prepared, dict(event.get("data") or {}), identity)
        return given + run.tokens_for(run.queue_size())


class Revival:
    """Makes activations out of what a state keeps. Everything that it names was looked up before."""

    def __init__(self, wiring: Wiring, job_state: JobState) -> None:
        self._wiring = wiring
        self._job_state = job_state

    def activation(self, run: "Run", entry: dict[str, Any]) -> tuple[Activation, float]:
        """One pending task as an activation, and the seconds until it is due."""
        node = self._wiring.node(entry["routine_id"])
        assert node.routine is not None  # noqa: S101 - for the type checker: nodes of ids have routines
        slot = node.routine.get_slot(entry["slot"])
        assert slot is not None  # noqa: S101 - as above: it was looked up before
        task = Activation(
            run,
            node.port(slot),
            dict(entry["data"]),
            self._connection(entry),
            TaskPriority.of(entry.get("priority", TaskPriority.NORMAL)),
            _identity(entry.get("id")),
            run.now(),
        )
        was_failed = entry.get("was") == "failed"
        # A failed activation is tried anew, with all its retries: somebody has repaired what was wrong.
        task.retry_count = 0 if was_failed else max(0, int(entry.get("attempt", 1)) - 1)
        task.merged = bool(entry.get("merged", False))
        task.is_entry = task.identity == run.entry_identity()
        released = entry.get("released") or {}
        if released or entry.get("was", "queued") != "queued":
            task.replay = {name: list(payloads) for name, payloads in released.items()}
        return task, 0.0 if was_failed else _seconds_until(entry.get("due_at"), run)

    def _connection(self, entry: dict[str, Any]) -> Any:
        source = entry.get("connection")
        if not isinstance(source, dict):
            return None
        try:
            wired = self._wiring.wired(self._wiring.node(source["routine_id"]), source["event"])
        except (KeyError, ValueError):
            return None  # by which line it came informs readers; the data are mapped already
        for delivery in wired.deliveries:
            if delivery.port.key == (entry["routine_id"], entry["slot"]):
                return delivery.connection
        return None

    def uncarried(self, run: "Run") -> list[Activation]:
        """Tasks for slot data of a file that no task carries: data that only a slot itself has kept."""
        carried = {(entry["routine_id"], entry["slot"]) for entry in self._job_state.pending_tasks}
        found = []
        for routine_id, routine in run.flow.routines.items():
            for slot in routine._slots.values():
                data = slot.take_restored_data()
                if data and (routine_id, slot.name) not in carried:
                    port = self._wiring.node(routine_id).port(slot)
                    task = Activation(run, port, data, identity=_identity("\0".join(port.key)), created_ns=run.now())
                    task.merged = True
                    found.append(task)
        return found


def _identity(text: Any) -> int:
    try:
        return int(text, 16)
    except (TypeError, ValueError):
        digest = blake2b(str(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big")


def _seconds_until(due_at: Any, run: "Run") -> float:
    if not isinstance(due_at, str):
        return 0.0
    try:
        due = datetime.fromisoformat(due_at)
    except ValueError:
        return 0.0
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return max(0.0, due.timestamp() - run.ledger.clock.time_ns() / 1e9)
