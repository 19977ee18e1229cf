"""DurableInputs: how a run of a store comes by its inputs, whichever process has sent them.

Every input is in the store first. While a run has asked for some, its driver looks for new ones; what it has found is
written into the journal with the number of the input, so that each is taken once. See also `stored_inputs.py`.
"""

import json
from abc import abstractmethod
from typing import TYPE_CHECKING

from routilux.errors import LeaseLostError, StoreError
from routilux.flow.lifecycle import OPEN
from routilux.flow.run import Run
from routilux.flow.run_inputs import is_due, waits_for_input
from routilux.stores.base import StoredInput

if TYPE_CHECKING:  # made by the engine
    from routilux.flow.durable.durability import Durability

__all__ = ["DurableInputs"]

# How often a run that has asked for inputs looks for what other processes have sent.
POLL_NS = 500_000_000


class DurableInputs(Run):
    """The side of a `DurableRun` that has to do with inputs."""

    __slots__ = ("_awaits_store", "_has_news", "_poll_number", "durability", "lost")

    durability: "Durability"
    lost: LeaseLostError | None
    _awaits_store: bool
    # Counted as outstanding until inputs that are in the store were taken: it is not paused for want of them.
    _has_news: bool
    _poll_number: int

    @abstractmethod
    def _cut(self) -> None:
        """With the lock held: end a row here."""

    @abstractmethod
    def _write_now(self) -> None:
        """With the lock held: write what waits."""

    # -- looking

    def watch_requests(self) -> None:
        """With the lock held: look for what other processes send."""
        super().watch_requests()
        if not self._poll_number and not self.over:
            self._poll_number = self.timers.schedule(self.now())  # the first look is for what was sent before

    def _poll(self) -> None:
        """On the loop's thread: look, and look again later."""
        self.fetch_inputs()
        with self.lock:
            if self._has_news:
                self._has_news = False
                self.outstanding -= 1
                self._end_if_over()
            if self.job_state.input_requests and not self.over and not self._poll_number:
                self._poll_number = self.timers.schedule(self.now() + POLL_NS)
            due = self._take_announcement()
        if due:
            self.engine.announce_elsewhere(self, due)

    def fetch_inputs(self) -> None:
        """Take what was sent since the last look."""
        found = self._new_inputs()
        given = 0
        with self.lock:
            if found and self._gate == OPEN and self.lost is None:
                for each in found:
                    if each.number > self.ledger.input_number:  # else another thread was quicker
                        given += self.take_input(each.name, json.loads(each.data), each.number)
                self._write_now()  # before a handler begins: a crash then does not hand it out a second time
        self.hand_out(given)

    def _new_inputs(self) -> list[StoredInput]:
        try:
            return self.durability.store.inputs(self.job_id, after=self.ledger.input_number)
        except StoreError:
            return []  # there will be another look, or somebody resumes the run when the store can be read again

    def _has_late_request(self) -> bool:
        return any(is_due(request, self.ledger.clock) for request in self.job_state.input_requests)

    def take_time_outs(self) -> int:
        """With the lock held: close the requests whose time is over; returns tokens to hand out."""
        given = super().take_time_outs()
        self._cut()
        return given

    # -- being paused meanwhile

    def _stop_for_input(self) -> None:
        """Be paused, unless something has come already, or the store cannot be written."""
        if not self._must_wait_for_input():
            return
        if self.durability.try_to_write():
            if self._new_inputs():
                # Another thread takes them, without this lock: then it is seen whether they are what it waits for.
                self._has_news = True
                self.outstanding += 1
                self._poll_number = self.timers.schedule(self.now())
                return
            super()._stop_for_input()
        elif self.lost is None:
            self._await_store()

    def _await_store(self) -> None:
        """With the lock held: count until the store can be written again, or the run is stopped."""
        if not self._awaits_store:
            self._awaits_store = True
            self.outstanding += 1

    def _look_again(self) -> None:
        """With the lock held: it is paused, and nobody's. What has come in the last moment lets it go on.

        That is an input, or the end of a request's time: whose timer has fired since this lock was taken found neither
        a run that goes on nor, in the store, one that is paused. It had looked at the clock before the pause was
        written, and here it is looked at after that, so one of the two sees that the time is over.
        """
        if waits_for_input(self.job_state) and (self._has_late_request() or self._new_inputs()):
            durability, job_id = self.durability, self.job_id
            self.workers.call(lambda: durability.wake(job_id), or_here=False)
