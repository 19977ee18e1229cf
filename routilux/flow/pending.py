"""Activations as data: the entries of `JobState.pending_tasks`."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # read by shape
    from routilux.flow.task import Activation
    from routilux.interfaces import Clock

__all__ = ["describe", "describe_all", "seconds_until", "wall_clock"]


def describe(task: "Activation", was: str, due_ns: int | None, clock: "Clock") -> dict[str, Any]:
    """One activation that waits to be resumed.

    Args:
        task: The activation.
        was: "queued", "active", "retry" or "failed".
        due_ns: When its timer would have fired, by the monotonic clock; None where it has none.
        clock: For the wall-clock time of that.
    """
    port, connection = task.port, task.connection
    source = None
    if connection is not None and connection.source_event is not None:
        event = connection.source_event
        source = {"routine_id": connection.source_id or getattr(event.routine, "_id", ""), "event": event.name}
    entry = {
        "id": task.activation_id.rpartition(":")[2],
        "routine_id": port.node.id,
        "slot": port.slot.name,
        "data": task.data,
        "connection": source,
        "priority": int(task.priority),
        "attempt": task.retry_count + 1,
        "due_at": None if due_ns is None else wall_clock(due_ns, clock),
        "merged": task.merged,
        "released": _released(task),
        "was": _was(task) if was == "queued" else was,
    }
    # One that is a dead letter still has not been revived: that is counted when it is taken up the next time.
    revivals = task.revival_count - (was == "queued" and entry["was"] == "failed")
    if revivals > 0:
        entry["revivals"] = revivals
    return entry


def describe_all(
    active: Collection["Activation"], waiting: Sequence[tuple[int | None, "Activation"]], clock: "Clock"
) -> list[dict[str, Any]]:
    """All that a run has to do, as pending tasks.

    What is active comes first, and of that what has begun first: so a sequential run goes on in its order.

    Args:
        active: What has begun.
        waiting: What waits in a queue or, with its due time, for a timer.
        clock: The run's.
    """
    begun = sorted(active, key=lambda task: task.started_ns)
    return [
        *(describe(task, "active", None, clock) for task in begun),
        *(describe(task, "retry" if task.retry_count else "queued", due_ns, clock) for due_ns, task in waiting),
    ]


def _was(task: "Activation") -> str:
    """Of one that has not begun: what it was when the run was stopped before, if it has not come to it again."""
    if task.special is not None and task.special.was_failed and task.started_ns < 0:
        return "failed"
    return "active" if task.replay is not None else "queued"


def _released(task: "Activation") -> dict[str, list[Any]]:
    """What it has emitted, and what it had emitted in an earlier life and has not come to again."""
    found = {name: list(payloads) for name, payloads in task.released().items()}
    for name, payloads in (task.replay or {}).items():
        found[name] = [*found.get(name, ()), *payloads[len(found.get(name, ())) :]]
    return found


def wall_clock(at_ns: int, clock: "Clock") -> str:
    """A monotonic instant as it stands in files: UTC, in ISO form."""
    epoch_ns = clock.time_ns() + (at_ns - clock.monotonic_ns())
    return datetime.fromtimestamp(epoch_ns / 1e9, UTC).isoformat()


def seconds_until(due_at: str, clock: "Clock") -> float:
    """How long until an instant as it stands in files; 0.0 when it has passed, or is no time."""
    try:
        due = datetime.fromisoformat(due_at)
    except ValueError:
        return 0.0
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return max(0.0, due.timestamp() - clock.time_ns() / 1e9)
