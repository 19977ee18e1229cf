"""Following a run from outside: its records and outputs, as they come about."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from routilux.context import refuse_standing_still
from routilux.executors.opening import asyncio_waits
from routilux.flow.lifecycle import RunLifecycle
from routilux.job_state import ExecutionRecord, JobState, ledger_of

__all__ = ["AsyncRunStream", "Item", "RunStream"]

Item = ExecutionRecord | dict[str, Any]


class RunStream(Iterator[Item]):
    """What happens in a run, as it happens: `ExecutionRecord`s, and outputs as dicts. Made by `Flow.stream`.

    Iterating blocks until there is something new, and ends with the run, or with the flow's shutdown. While the run is
    paused, or waits for input, it blocks, and goes on when the run is resumed. Leaving the loop detaches; the run goes
    on.

    Attributes:
        job_state: The run that is followed.
    """

    def __init__(self, job_state: JobState) -> None:
        self.job_state = job_state
        self._items = _follow(job_state)

    def __iter__(self) -> "RunStream":
        return self

    def __next__(self) -> Item:
        return next(self._items)

    def __repr__(self) -> str:
        return f"RunStream({self.job_state!r})"


class AsyncRunStream(AsyncIterator[Item]):
    """What happens in a run, as it happens, for `async for`. Made by `Flow.astream`; see `RunStream`.

    Attributes:
        job_state: The run that is followed. It is pending until the iteration begins.
    """

    def __init__(self, job_state: JobState, start: Callable[[], Awaitable[Any]]) -> None:
        self.job_state = job_state
        self._start = start
        self._has_started = False
        self._news = _News(job_state)
        self._items: deque[Item] = deque()
        self._is_over = False

    def __aiter__(self) -> "AsyncRunStream":
        return self

    async def __anext__(self) -> Item:
        if not self._has_started:
            self._has_started = True
            started = await self._start()
            if started is not self.job_state:  # a durable handler that runs again had started it before
                self.job_state, self._news = started, _News(started)
        while not self._items:
            if self._is_over:
                raise StopAsyncIteration
            # Whatever the run is doing, and though it be faster than its reader: the loop is not this stream's alone.
            await asyncio_waits().give_turn()
            live = self._news.read_into(self._items)
            if not self._items:
                self._is_over = live is None or not await self._wait(live)
            elif live is None:
                self._is_over = True
        return self._items.popleft()

    async def _wait(self, live: Any) -> bool:
        counts = self._news.record_count, self._news.mark_count
        if isinstance(live, RunLifecycle):
            return await live.wait_for_news_async(*counts)
        # Another process drives it.
        return bool(await asyncio_waits().in_thread(partial(live.wait_for_news, *counts)))

    def __repr__(self) -> str:
        return f"AsyncRunStream({self.job_state!r})"


def _follow(job_state: JobState) -> Iterator[Item]:
    """Yield the records and outputs of a run in the order in which they came about, until it is over."""
    news, items = _News(job_state), deque[Item]()
    while True:
        live = news.read_into(items)
        while items:
            yield items.popleft()
        refuse_standing_still(f"what happens in run {job_state.job_id}")
        if live is None or not live.wait_for_news(news.record_count, news.mark_count):
            return


class _News:
    """How far a reader has come. Records that were dropped meanwhile count as read."""

    def __init__(self, job_state: JobState) -> None:
        self._job_state = job_state
        self.record_count = self.output_count = 0
        # The outputs of the engine, which are those that a wait can be for. The log is a list that callers may change.
        self.mark_count = self._marks_read = 0

    def read_into(self, items: deque[Item]) -> Any:
        """Append what is new, in its order; returns the live run that there may be more of, or None.

        What a caller has put into the output log comes where the next output of the engine does, or last.
        """
        job_state, ledger = self._job_state, ledger_of(self._job_state)
        # Each is read before what it must not miss: the run before its outputs, the outputs before the records.
        live = ledger.live
        self.mark_count = len(ledger.output_marks)
        outputs = job_state.outputs()
        records = job_state.execution_history
        dropped = ledger.dropped
        end = dropped + len(records)
        for output in outputs[self.output_count :]:
            marks = ledger.output_marks
            mark = min(end, marks[self._marks_read]) if self._marks_read < len(marks) else end
            self._marks_read += "timestamp" in output  # as each of the engine has
            self._read_records(records, dropped, mark, items)
            items.append(output)
            self.output_count += 1
        self._read_records(records, dropped, end, items)
        return live

    def _read_records(self, records: list[ExecutionRecord], dropped: int, end: int, items: deque[Item]) -> None:
        items.extend(records[max(0, self.record_count - dropped) : max(0, end - dropped)])
        self.record_count = max(self.record_count, end)
