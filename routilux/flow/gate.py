"""Gate: what becomes of what is emitted into a run, by how the run stands."""

__all__ = ["Gate"]


class Gate:
    """What becomes of an emission. Plain integers: they are compared once per emission."""

    OPEN = 0  # it is queued
    PARKING = 1  # the run was paused, or failed: it is kept in pending_tasks
    REFUSING = 2  # the run was cancelled, or timed out: it is refused, and the refusal recorded
    ENDED = 3  # nothing was outstanding any more: it is an error of the caller
