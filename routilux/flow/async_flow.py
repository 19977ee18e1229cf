"""AwaitedFlow: the side of a Flow that an application awaits on a loop of its own."""

import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from routilux.executors.opening import asyncio_waits
from routilux.flow.controls import check_state
from routilux.flow.durable.elsewhere import FIRST_SECONDS, MOST_SECONDS
from routilux.flow.durable_flow import DurableFlow
from routilux.flow.lifecycle import RunLifecycle
from routilux.flow.nested import nested_job_id
from routilux.flow.stream import AsyncRunStream
from routilux.job_state import JobState, ledger_of
from routilux.time_limits import check_wait
from routilux.waiting import Looks, warn_of_timeout

if TYPE_CHECKING:  # named in signatures
    from routilux.flow.flow import Flow
    from routilux.output_handler import OutputHandler

__all__ = ["AwaitedFlow"]


class AwaitedFlow(DurableFlow):
    """What a flow does for callers that await. Their loop is never blocked, and may be any, or several."""

    def _flow(self) -> "Flow":
        return cast("Flow", self)  # there is no other class of this one

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # As `with flow` leaves, on a thread: what is awaited there may need the loop of this one.
        await asyncio_waits().in_thread(partial(self._flow().__exit__, kind, error, trace))

    async def run_async(
        self,
        entry_routine_id: str,
        entry_params: dict[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the run's, not of this wait
        *,
        output_handler: "OutputHandler | None" = None,
        job_id: str | None = None,
    ) -> JobState:
        """Start a run, await its end, and return its JobState.

        All handlers run in the flow: plain ones on its workers, the entry's too, async ones on its own loop. It is
        not raised when the run failed: look at `status` and `errors`. When the awaiting task is cancelled, so is the
        run, if this call has started it.

        Args:
            entry_routine_id: A routine with a slot called "trigger".
            entry_params: What the trigger gets.
            timeout: Seconds that the run may take; else the flow's `execution_timeout`. For one that another process
                drives: seconds to wait for it, after which it is returned as it is.
            output_handler: Receives this run's outputs from the first on.
            job_id: Names the run; a uuid4 by default. Where the flow has a store and that a run of this id, nothing is
                started, and that run is awaited.

        Raises:
            ValueError: Unknown entry, one without a trigger, or a timeout that is not positive.
            RuntimeError: The flow is shutting down, or no thread can be started.
        """
        own = JobState(self.flow_id)
        start = partial(
            self._flow()._start,  # noqa: SLF001 - its own
            entry_routine_id,
            entry_params,
            timeout=timeout,
            inline=False,
            job_state=own,
            output_handler=output_handler,
            # Here, not on the thread that starts it: threads come in any order, and a handler that runs again must find
            # each of its runs by the same id.
            job_id=self._nested_job_id() if job_id is None else job_id,
        )

        def cancel(started: JobState) -> None:
            if started is own or job_id is None:  # else it was there before: it is somebody else's
                self._flow().cancel(started, "run_async was cancelled")

        if self.store is None:
            job_state: JobState = start()
        else:  # it waits for a transaction
            job_state = await asyncio_waits().in_thread_or_undone(start, cancel)
        try:
            await self.wait_async(job_state, self._flow()._patience(job_state, timeout))  # noqa: SLF001 - its own
        except BaseException:
            # In a thread, since a cancellation may have callbacks to call.
            await asyncio_waits().in_thread(partial(cancel, job_state))
            raise
        return job_state

    async def wait_async(self, job_state: JobState, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - False, no error
        """Await the end of a run; False at the timeout. As `JobState.wait_for_completion`, for an asyncio loop.

        Args:
            job_state: The run.
            timeout: Seconds; None waits without end.

        Raises:
            TypeError: It is no JobState, or the timeout no number.
            SelfWaitError: A handler awaits its own run, or one that waits for it.
        """
        check_state(job_state)
        check_wait(timeout)
        live = ledger_of(job_state).live
        if not isinstance(live, RunLifecycle):
            return await self._poll(job_state, timeout)
        if not self._engine.threaded:  # the wait takes the steps
            wait = partial(JobState.wait_for_completion, self._flow(), job_state, timeout)
            return bool(await asyncio_waits().in_thread(wait))
        return await live.wait_async(timeout)

    async def _poll(self, job_state: JobState, timeout: float | None) -> bool:  # noqa: ASYNC109 - as above
        """Look now and then at a state that no run of this process tells of.

        No thread waits for it: that could not be cancelled, and those of a loop's executor are few.
        """
        until = None if timeout is None else time.monotonic() + timeout
        flow, waits = self._flow(), asyncio_waits()
        looks, pause = Looks(flow, job_state), FIRST_SECONDS
        while True:
            live = ledger_of(job_state).live
            left = None if until is None else max(0.0, until - time.monotonic())
            if isinstance(live, RunLifecycle):
                return await self.wait_async(job_state, left)
            if live is None:
                if looks.find_it_over():
                    return True
                pause = looks.seconds_between()
            else:  # the store is asked, which takes its time
                if await waits.in_thread(partial(live.wait, 0.0)):
                    return True
                pause = min(2 * pause, MOST_SECONDS)
            if left == 0.0:
                warn_of_timeout(flow, job_state, timeout)
                return False
            await waits.sleep(pause if left is None else min(pause, left))

    def astream(self, entry_routine_id: str, entry_params: dict[str, Any] | None = None) -> AsyncRunStream:
        """Start a run, and iterate with `async for` over what happens in it, as it happens.

        The items are those of `stream`. The run starts when the iteration begins, its entry handler in the flow as
        every other. Leaving the loop detaches; the run goes on. The stream's `job_state` is the run's record.
        """
        job_state = JobState(self.flow_id)
        job_id = self._nested_job_id()
        if job_id is not None:
            job_state.job_id = job_id
        execute = self._flow()._start  # noqa: SLF001 - its own
        start = partial(execute, entry_routine_id, entry_params, inline=False, job_state=job_state)
        return AsyncRunStream(job_state, partial(self._call, start))

    def _nested_job_id(self) -> str | None:
        return None if self.store is None else nested_job_id(self.store)

    async def _call(self, start: Callable[[], Any]) -> Any:
        # With a store, a start waits for a transaction.
        return start() if self.store is None else await asyncio_waits().in_thread(start)
