"""Following a run from outside: its records and outputs, as they come about."""

from collections.abc import Iterator
from typing import Any

from routilux.job_state import ExecutionRecord, JobState, ledger_of

__all__ = ["Item", "stream"]

Item = ExecutionRecord | dict[str, Any]


def stream(job_state: JobState) -> Iterator[Item]:
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
