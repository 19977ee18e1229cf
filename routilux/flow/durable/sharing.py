"""Sharing: several Flow objects of one process may be given one Store object, which drives all their runs by one name.

So the store cannot tell whose a run is: it would let each of them have it. What is asked here is who has it at work.
"""

import os
import weakref
from threading import Lock
from typing import TYPE_CHECKING

from routilux.errors import RunDrivenError
from routilux.flow.durable.elsewhere import is_at_work

if TYPE_CHECKING:  # who shares
    from routilux.flow.durable.durability import Durability

__all__ = ["Sharers"]


class Sharers:
    """Those who keep runs in this process.

    `_lock` protects them. It is taken last, and nothing is called while it is held.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._all: weakref.WeakSet[Durability] = weakref.WeakSet()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_threads)

    def _forget_threads(self) -> None:
        self._lock = Lock()  # the thread that holds it may not exist here

    def add(self, durability: "Durability") -> None:
        """One more."""
        with self._lock:
            self._all.add(durability)

    def refuse_if_at_work(self, durability: "Durability", job_id: str) -> None:
        """Raise for a run that another Flow object has at work over the same Store object.

        Whoever resumes asks this while nobody else does, so that no other takes the run up in between.

        Raises:
            RunDrivenError: One has.
        """
        with self._lock:
            others = [each for each in self._all if each is not durability and each.store is durability.store]
        if any(_has_at_work(each, job_id) for each in others):
            raise RunDrivenError(
                f"Run {job_id} is at work in another Flow object of this process, over the same store object. Use that "
                "one, or wait until the run is over, or paused."
            )


def _has_at_work(durability: "Durability", job_id: str) -> bool:
    """Whether a run goes on there, or the store does not know yet that it does not."""
    known = durability.known(job_id)
    return (known is not None and is_at_work(known)) or durability.group.has_rows_of(job_id)
