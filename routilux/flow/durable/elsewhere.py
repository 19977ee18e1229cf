"""RunElsewhere: what a record of this process knows of a run that another process drives, or that nobody does."""

import time
from contextlib import nullcontext, suppress
from threading import Event
from typing import TYPE_CHECKING, Any

from routilux.errors import LeaseLostError, RunDrivenError, StoreError
from routilux.flow.controls import while_nothing_resumes
from routilux.flow.workers import place_given_away_here
from routilux.job_state import JobState, ledger_of
from routilux.status import JobStatus

if TYPE_CHECKING:  # asked for news
    from routilux.flow.durable.durability import Durability
    from routilux.waiting import Progress

__all__ = ["RunElsewhere", "is_at_work", "refuse_driven_elsewhere", "want"]

# How often a wait asks the store: soon at first, since most runs are short.
FIRST_SECONDS = 0.01
MOST_SECONDS = 0.5
# And how often one that may take the run up looks whether its driver is gone.
TAKE_UP_SECONDS = 1.0


def is_at_work(job_state: JobState) -> bool:
    """Whether this process goes on with a run, or has handlers of it that do."""
    live = ledger_of(job_state).live
    return live is not None and (live.is_open() or live.active_count() > 0)


def refuse_driven_elsewhere(job_state: JobState) -> None:
    """Raise for a run that does not go on in this process.

    Raises:
        RunDrivenError: It does not.
    """
    if isinstance(ledger_of(job_state).live, RunElsewhere):
        raise RunDrivenError(
            f"Run {job_state.job_id} does not go on in this process, so nothing can be emitted into it here. Emit "
            "where it runs, or take it up first, with flow.recover() or flow.resume(job_state)."
        )


def want(job_state: JobState, timeout: float | None) -> None:
    """This process was asked to execute a run that is there: see `RunElsewhere.want`."""
    live = ledger_of(job_state).live
    if isinstance(live, RunElsewhere):
        live.want(timeout)


class RunElsewhere:
    """In the place of a live run: waits ask the store, because another process can wake nobody here."""

    def __init__(self, durability: "Durability", job_state: JobState) -> None:
        self._durability = durability
        self._job_state = job_state
        # This process was asked to execute it: seconds that it may take here, once nobody drives it.
        self._wanted: tuple[float | None] | None = None

    def want(self, timeout: float | None) -> None:
        """This process was asked to execute the run: it goes on here, now or during a wait, if its driver is gone.

        Args:
            timeout: Seconds that it may take then.

        Raises:
            FlowShutDownError: Its driver is gone, and the flow is shut down.
            StoreError: The store cannot be read or written.
        """
        self._wanted = (timeout,)
        self._durability.take_up(self._job_state.job_id, timeout)

    def wait(self, timeout: float | None, progress: "Progress | None" = None) -> bool:
        """Until the store says that the run is over, or paused; the record then is what the store has."""
        until = None if timeout is None else time.monotonic() + timeout
        pause, look_at = FIRST_SECONDS, time.monotonic()
        while not self._is_over():
            if self._wanted is not None and time.monotonic() >= look_at:
                look_at = time.monotonic() + TAKE_UP_SECONDS
                with suppress(StoreError, LeaseLostError):  # there will be another look
                    self.want(*self._wanted)
                pause = FIRST_SECONDS  # it may go on here now
            left = MOST_SECONDS if until is None else until - time.monotonic()
            if left <= 0:
                return False
            if progress is not None:
                progress.report(0, 0, self._job_state.status)
            with place_given_away_here():
                Event().wait(min(pause, left))
            pause = min(2 * pause, MOST_SECONDS)
        with while_nothing_resumes():
            live = ledger_of(self._job_state).live
        if live is None:
            return True
        if isinstance(live, RunElsewhere):
            live._wanted = live._wanted or self._wanted  # noqa: SLF001 - one of its own class
        # It was resumed here meanwhile, or recovered, and is not over at all.
        return live.wait(None if until is None else max(0.0, until - time.monotonic()), progress)

    def _is_over(self) -> bool:
        ledger = ledger_of(self._job_state)
        if ledger.live is not self:
            return True  # it was resumed here meanwhile, or another wait was quicker
        try:
            header = self._durability.store.find(self._job_state.job_id)
        except StoreError:
            return False  # as long as nobody can say, it is not over
        if header is not None and header.status == JobStatus.RUNNING:
            return False
        # What was read may be old by now: a run that was resumed here meanwhile must not become what it was before.
        with while_nothing_resumes():
            if ledger.live is self:
                if header is not None:
                    self._durability.refresh(self._job_state, header)
                else:  # it was deleted
                    ledger.live = None
        return True

    def wait_for_change(self, timeout: float | None) -> None:
        """At most `timeout` seconds: nothing here can tell of a change."""
        Event().wait(MOST_SECONDS if timeout is None else min(timeout, MOST_SECONDS))

    def wait_for_news(self, record_count: int, output_count: int) -> bool:  # noqa: ARG002 - a live run's
        """A moment; then the record is what the store has, if the run is over or paused by now."""
        with place_given_away_here():
            self.wait_for_change(None)
            self._is_over()
        return True

    # -- nothing of it is here: what it has left to do stands in the record itself

    def outstanding_tasks(self) -> list[dict[str, Any]]:
        """None besides the record's own."""
        return []

    def snapshot_lock(self) -> Any:
        """None: nothing is merged here."""
        return nullcontext()

    def poke(self) -> None:
        """Nobody waits for what is written here."""

    def is_open(self) -> bool:
        """It does not go on in this process."""
        return False

    def queue_size(self) -> int:
        """None that is known of."""
        return 0

    def active_count(self) -> int:
        """None that is known of."""
        return 0
