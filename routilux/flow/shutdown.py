"""How a flow is shut down: its runs end, or are parked, and its threads go."""

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from routilux.context import current_activation
from routilux.errors import LeaseLostError, SelfWaitError, StoreError
from routilux.flow.lifecycle import RunLifecycle
from routilux.flow.stops import PARKED
from routilux.flow.workers import is_pool_thread, place_given_away_here

if TYPE_CHECKING:  # what is shut down
    from routilux.flow.engine import Engine

__all__ = ["shut_down"]

logger = logging.getLogger(__name__)

# A look into a store whose server does not answer may take longer; nobody waits for that.
_LAST_LOOK_SECONDS = 5.0


def shut_down(engine: "Engine", wait: bool, timeout: float | None) -> None:
    """See `Flow.shutdown`; nothing new begins meanwhile."""
    if wait and engine.handover.is_here():
        raise SelfWaitError(
            "An async handler waits for a shutdown and lets the loop stand still that drives it. "
            "Use `await asyncio.to_thread(flow.shutdown)`, or shutdown(wait=False)."
        )
    until = None if timeout is None else time.monotonic() + timeout
    mine = _runs_of_this_thread(engine)
    if engine.loop.is_running():
        engine.take_arrivals()  # what was put into the queue in time is waited for like anything else
    with engine.loop.in_shutdown({run.key for run in mine} if wait else set()):
        # As at the last look of the wait: another shutdown may have returned since, and its run goes on to its end.
        spared = _wait_for_live_runs(engine, until, is_handlers=bool(mine)) if wait else set()
        for run in engine.loop.live_runs():
            if not (run.key in spared and run.is_open()):
                with contextlib.suppress(StoreError, LeaseLostError):  # it is paused; the store knows it as unfinished
                    run.pause({"reason": "shutdown", **PARKED})
    engine.inputs.forget_time_outs()
    may_join = wait and not is_pool_thread()  # a thread cannot wait for its own end
    everything_over = engine.loop.live_count() == 0
    late = engine.workers.late_names()
    if late:
        logger.warning(
            "Handlers that were given up are at work still, and the shutdown does not wait for their threads: %s. "
            "The process ends when they have returned.",
            ", ".join(sorted(set(late))),
        )
    engine.workers.close(wait=may_join and everything_over and not late)
    engine.handover.close(may_join and everything_over, _seconds_left(until, None))
    if engine.durability is not None and everything_over:
        if wait:
            # The loop may look into the store for a run that has ended meanwhile, and would open it again.
            engine.loop.wait_until_fired(_seconds_left(until, _LAST_LOOK_SECONDS))
        engine.durability.close()


def _wait_for_live_runs(engine: "Engine", until: float | None, is_handlers: bool) -> set[int]:
    """Wait until the runs are over; returns the keys of those that cannot be over before this shutdown is.

    For a handler, these are its own run, with those that wait for it, and the same of each other handler that is
    shutting the flow down: it would wait for our run as we would for its.
    """
    spared: set[int] = set()

    def all_over() -> bool:
        if is_handlers:
            spared.clear()
            spared.update(engine.loop.keys_in_shutdown())
        return engine.loop.live_keys() <= spared

    if not engine.threaded:
        engine.executor.run_until(all_over)
        return spared
    with place_given_away_here():
        engine.loop.wait_until(all_over, _seconds_left(until, None))
    return spared


def _seconds_left(until: float | None, most: float | None) -> float | None:
    left = None if until is None else max(0.0, until - time.monotonic())
    return left if most is None else most if left is None else min(left, most)


def _runs_of_this_thread(engine: "Engine") -> set[RunLifecycle]:
    """The runs that cannot end before the calling handler does."""
    activation = current_activation.get()
    run = activation.run if activation is not None else None
    if run is None:
        return set()
    return {each for each in engine.loop.live_runs() if each is run or each.key in run.ancestors}
