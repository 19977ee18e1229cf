"""OwnTimers: what a run of a store has on the loop besides retries and delays."""

from routilux.flow.durable.inputs import DurableInputs

__all__ = ["OwnTimers"]

# Where the numbers of a run's own timers stand; 0: it has none.
_OWN_TIMERS = ("_flush_number", "_renew_number", "_poll_number", "_retry_number")


class OwnTimers(DurableInputs):
    """The side of a `DurableRun` that is called by the loop: to write, to give a sign of life, to look for inputs."""

    __slots__ = ("_flush_number", "_renew_number", "_retry_number")

    _flush_number: int
    _renew_number: int
    _retry_number: int

    def on_timer(self, number: int) -> None:
        """Called by the loop: a flush, a sign of life, another attempt to write, or what every run has."""
        name = self._take_own_timer(number)
        if name == "_flush_number":
            with self.lock:
                self._cut()
            self.durability.flush()
        elif name == "_renew_number":
            self.durability.renew()
            self._renew_later()
        elif name == "_poll_number":
            self._poll()
        elif name == "_retry_number":
            self.durability.retry()
        else:
            super().on_timer(number)

    def _take_own_timer(self, number: int) -> str | None:
        # With the lock, with which a timer is set and its number is noted: one that fires at once is known by then.
        with self.lock:
            for name in _OWN_TIMERS:
                if getattr(self, name) == number:
                    self.timers.heap_count -= 1
                    setattr(self, name, 0)
                    return name
        return None

    def _renew_later(self) -> None:
        with self.lock:
            if not self.over:
                self._renew_number = self.timers.schedule(self.durability.renewals.due_ns())

    def retry_later(self, delay_ns: int) -> None:
        """Have `Durability.retry` called."""
        with self.lock:
            if not self.over and not self._retry_number:
                self._retry_number = self.timers.schedule(self.now() + delay_ns)
