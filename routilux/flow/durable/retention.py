"""Retention: how many finished runs of a flow its store keeps, or for how long."""

import logging
import time
from datetime import timedelta
from threading import Lock

from routilux.errors import StoreError
from routilux.stores.base import Store

__all__ = ["Retention"]

logger = logging.getLogger(__name__)

# The store is looked through when so many runs have ended: the price of that is shared among them.
ENDS_BETWEEN = 64


class Retention:
    """Forgets finished runs now and then. There is no thread for it: a flow that rests keeps what it has.

    `_lock` protects the count, and is taken last.
    """

    def __init__(self, store: Store, flow_id: str, keep_finished: int | timedelta) -> None:
        self._store = store
        self._flow_id = flow_id
        self._keep_finished = keep_finished
        self._lock = Lock()
        self._left = 1  # the first end: a process may see no more than one

    def is_due(self) -> bool:
        """One more run has ended; whether it is time to prune."""
        with self._lock:
            self._left -= 1
            if self._left:
                return False
            self._left = ENDS_BETWEEN
            return True

    def prune(self) -> None:
        """Forget what is too much. A store that cannot be written now is asked again later."""
        kept = self._keep_finished
        try:
            if isinstance(kept, timedelta):
                self._store.prune(older_than=time.time() - kept.total_seconds(), flow_id=self._flow_id)
            else:
                self._store.prune(keep=kept, flow_id=self._flow_id)
        except StoreError as error:
            logger.warning("Finished runs could not be forgotten in %s: %s", self._store.url, error)

    def forget_threads(self) -> None:
        """In a forked child, where the thread that held the lock does not exist."""
        self._lock = Lock()
