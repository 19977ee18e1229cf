"""What the command line shows of a run, for people and for programs."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from routilux.execution_record import errors_of
from routilux.job_state import ExecutionRecord, JobState

__all__ = ["RECORD_VIEWS", "VIEWS", "Lines", "line", "printable"]

Lines = Iterator[str]
Records = Iterable[ExecutionRecord]


def _show(state: JobState, records: Records) -> Lines:
    counts = _counts(records)
    yield f"run       {line(state.job_id)}"
    yield f"flow      {line(state.flow_id)}"
    yield f"status    {line(state.status)}"
    yield f"created   {state.created_at.isoformat(sep=' ')}"
    yield f"updated   {state.updated_at.isoformat(sep=' ')}"
    yield f"records   {counts[0]}"
    yield f"errors    {counts[1]}"
    yield f"pending   {len(state.pending_tasks)}"
    yield f"deferred  {len(state.deferred_events)}"
    if state.pause_points:
        point = state.pause_points[-1]
        yield f"paused    {line(point.get('timestamp'))}  {line(point.get('reason'))}"
    for request in state.input_requests:
        yield f"asks for  {_asked(request)}"
    if state.routine_states:
        yield ""
        yield "routines"
        for routine_id, routine_state in state.routine_states.items():
            error = f"  {line(routine_state['error'])}" if "error" in routine_state else ""
            yield f"  {line(routine_id)}  {line(routine_state.get('status', ''))}{error}"


def _asked(request: dict[str, Any]) -> str:
    due = f"  until {line(request['due_at'])}" if request.get("due_at") else ""
    return f"{line(request['name'])}  for {line(request['routine_id'])}.{line(request['slot'])}{due}"


def _counts(records: Records) -> tuple[int, int]:
    """How many records there are, and how many errors; none of them is kept meanwhile."""
    count = 0

    def counted() -> Iterator[ExecutionRecord]:
        nonlocal count
        for record in records:
            count += 1
            yield record

    error_count = sum(1 for _ in errors_of(counted()))
    return count, error_count


def _show_data(state: JobState, records: Records) -> dict[str, Any]:
    record_count, error_count = _counts(records)
    return {
        "job_id": state.job_id,
        "flow_id": state.flow_id,
        "status": state.status,
        "created_at": state.created_at.isoformat(),
        "updated_at": state.updated_at.isoformat(),
        "record_count": record_count,
        "error_count": error_count,
        "pending_count": len(state.pending_tasks),
        "deferred_count": len(state.deferred_events),
        "pause_points": state.pause_points,
        "input_requests": state.input_requests,
        "routine_states": dict(state.routine_states),
    }


def _history(records: Records) -> Lines:
    for record in records:
        yield _record(record)


def _errors(records: Records) -> Lines:
    none = True
    for record in errors_of(records):
        none = False
        yield _record(record, ("error_type", "error", "slot", "retry_in"))
        for text in str(record.data.get("traceback", "")).splitlines():
            yield f"    {line(text)}"
    if none:
        yield "no errors"


def _record(record: ExecutionRecord, keys: tuple[str, ...] | None = None) -> str:
    data = record.data if keys is None else {key: record.data[key] for key in keys if key in record.data}
    at = record.timestamp.isoformat(sep=" ", timespec="milliseconds")
    return f"{at}  {line(record.routine_id)}.{line(record.event_name)}  {line(json.dumps(data))}"


def _pending(state: JobState, _: Records) -> Lines:
    if not state.pending_tasks and not state.deferred_events and not state.input_requests:
        yield "nothing is pending"
    for entry in state.pending_tasks:
        due = f"  due {line(entry['due_at'])}" if entry.get("due_at") else ""
        attempt = f"  attempt {line(entry.get('attempt', 1))}"
        place = f"{line(entry['routine_id'])}.{line(entry['slot'])}"
        yield f"{line(entry.get('was', 'queued')):7} {place}{attempt}{due}  {line(json.dumps(entry.get('data')))}"
    for event in state.deferred_events:
        place = f"{line(event['routine_id'])}.{line(event['event_name'])}"
        yield f"deferred {place}  {line(json.dumps(event.get('data')))}"
    for request in state.input_requests:
        yield f"input   {_asked(request)}"


def printable(text: str) -> str:
    """Text without what a terminal obeys."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def line(value: Any) -> str:
    """Text that keeps to its line, whatever a file has put into it: terminals obey control characters."""
    shown = printable(str(value))
    return shown if len(shown) <= 500 else shown[:497] + "..."


def _records_data(records: Records) -> list[dict[str, Any]]:
    return [record.serialize() for record in records]


# For each view of the records: for people, and for programs.
RECORD_VIEWS: dict[str, tuple[Callable[[Records], Lines], Callable[[Records], Any]]] = {
    "history": (_history, _records_data),
    "errors": (_errors, lambda records: _records_data(errors_of(records))),
}

# The same for those of a state, which may count the records.
VIEWS: dict[str, tuple[Callable[[JobState, Records], Lines], Callable[[JobState, Records], Any]]] = {
    "show": (_show, _show_data),
    "pending": (
        _pending,
        lambda state, _: {
            "pending_tasks": state.pending_tasks,
            "deferred_events": state.deferred_events,
            "input_requests": state.input_requests,
        },
    ),
}
