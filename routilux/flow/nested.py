"""Nested: the name of a run that a durable handler starts, by which it is found when that handler runs again."""

from typing import TYPE_CHECKING

from routilux.context import current_activation
from routilux.flow.task import Activation

if TYPE_CHECKING:  # where the run may be already
    from routilux.stores.base import Store

__all__ = ["nested_job_id"]


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
    return job_id
