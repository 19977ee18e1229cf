"""Following a run from outside: its records and outputs, as they come about."""

from collections.abc import Iterator
from typing import Any

from routilux.job_state import ExecutionRecord, JobState, ledger_of

__all__ = ["Item", "RunStream"]

Item = ExecutionRecord | dict[str, Any]


class RunStream(Iterator[Item]):
    """What happens in a run, as it happens: `ExecutionRecord`s, and outputs as dicts. Made by `Flow.stream`.

    Iterating blocks until there is something new, and ends with the run. Leaving the loop detaches; the run goes on.

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


def _follow(job_state: JobState) -> Iterator[Item]:
    """Yield the records and outputs of a run in the order in which they came about, until it is over."""
    ledger = ledger_of(job_state)
    record_count = output_count = 0  # how many were yielded; dropped records count as yielded
    while True:
        # Each is read before what it must not miss: the run before its outputs, the outputs before the records.
        live = ledger.live
        outputs = job_state.outputs()
        records = job_state.execution_history
        dropped = ledger.dropped
        end = dropped + len(records)
        for output in outputs[output_count:]:
            mark = min(end, ledger.output_marks[output_count])
            yield from records[max(0, record_count - dropped) : max(0, mark - dropped)]
            record_count = max(record_count, mark)
            yield output
            output_count += 1
        yield from records[max(0, record_count - dropped) : end - dropped]
        record_count = max(record_count, end)
        if live is None:
            return
        live.wait_for_news(record_count, output_count)
