"""The words that a run and a routine may be in, and which may follow which."""

from enum import StrEnum

__all__ = ["FAILED_ROUTINE", "FINAL", "TRANSITIONS", "JobStatus", "RoutineStatus", "says_failed", "word_of"]


class JobStatus(StrEnum):
    """What a run is doing. `JobState.status` holds the plain string."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RoutineStatus(StrEnum):
    """How a routine's last activation in a run came out."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    ERROR_CONTINUED = "error_continued"
    SKIPPED = "skipped"


# A run in one of these starts nothing more unless it is resumed.
FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})

# A routine state with one of these makes its run "failed". Handlers may write "error" themselves.
FAILED_ROUTINE = ("failed", "error")


def word_of(status: object) -> str:
    """The status in a routine's state as plain text; empty for what is no text: a handler may have put anything there.

    States are looked at under the lock of their run, and what stands there may have an `==` or a hash of its own, which
    would be code of the application that runs under it.
    """
    return str.__str__(status) if isinstance(status, str) else ""


def says_failed(status: object) -> bool:
    """Whether this is the status of a routine that failed."""
    return word_of(status) in FAILED_ROUTINE


# What the engine itself may do to a status; callers may assign any string. A finished run may be paused or
# cancelled as well (it then keeps its earlier status in the pause point), and every run but a pending or a
# cancelled one may be resumed.
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PENDING: frozenset({JobStatus.RUNNING}),
    JobStatus.RUNNING: frozenset({JobStatus.PAUSED, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.PAUSED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.COMPLETED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLED}),
    JobStatus.FAILED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLED}),
    JobStatus.CANCELLED: frozenset(),
}
