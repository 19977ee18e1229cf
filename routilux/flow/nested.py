"""Nested: the name of a run that a durable handler starts, by which it is found when that handler runs again."""

from typing import TYPE_CHECKING

from routilux.context import current_activation
from routilux.digests import blake2b
from routilux.flow.task import Activation

if TYPE_CHECKING:  # where the run may be already
    from routilux.stores.base import Store

__all__ = ["nested_job_id"]

# A longer name keeps this much of its beginning, and a digest of the whole stands for the rest: stores bound names.
LENGTH_MAX = 400
BEGINNING_LENGTH = 100


def nested_job_id(store: "Store") -> str | None:
    """For a run that a durable handler starts: the same when that attempt runs again."""
    activation = current_activation.get()
    if not isinstance(activation, Activation) or not activation.run.is_durable:
        return None
    number, job_id = activation.next_execute()
    is_first_attempt = not activation.retry_count and not activation.revival_count
    if is_first_attempt and activation.run.was_resumed():
        # The routilux of before its process died may have been one that named the runs of all attempts like this.
        earlier = f"{activation.activation_id}.{number}"
        if store.find(earlier) is not None:
            return earlier
    return _bounded(job_id)


def _bounded(job_id: str) -> str:
    """A name that runs in runs in runs can have as well: each has that of the run above it as its beginning."""
    if len(job_id) <= LENGTH_MAX:
        return job_id
    digest = blake2b(job_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{job_id[:BEGINNING_LENGTH]}~{digest}"
