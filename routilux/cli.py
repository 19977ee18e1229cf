"""`python -m routilux runs show|history|errors|pending FILE`: a saved run for a person to read."""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from routilux.errors import InvalidDataError
from routilux.job_state import ExecutionRecord, JobState
from routilux.plain import shortened
from routilux.state_file import read_file

__all__ = ["main"]

Lines = Iterator[str]

# What a shell reports for a program that SIGPIPE has ended, as it ends most programs whose reader is gone.
_READER_IS_GONE = 128 + 13


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Run the command line; returns the exit status.

    It is 0, 2 when the file cannot be read, and 141 when standard output is a pipe that nobody reads any more.

    Args:
        arguments: The words after the program's name; those of the process by default.
        out: Where to write; standard output by default.
    """
    if out is not None:
        return _run(arguments, out)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has all the characters of a run
    try:
        try:
            return _run(arguments, sys.stdout)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is still expected
    except BrokenPipeError:
        _discard_output()
        return _READER_IS_GONE


def _discard_output() -> None:
    """Lead standard output nowhere: the interpreter flushes it once more at its exit, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _run(arguments: Sequence[str] | None, out: TextIO) -> int:
    options = _parser().parse_args(arguments)
    try:
        job_state = _loaded(options.file)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"routilux: {error}\n")
        return 2
    text, data = VIEWS[options.view]
    if options.json:
        out.write(json.dumps(data(job_state), indent=2) + "\n")
    else:
        out.writelines(f"{line}\n" for line in text(job_state))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m routilux", description="Look at saved runs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    runs = commands.add_parser("runs", help="look at a saved run", description="Look at a saved run.")
    views = runs.add_subparsers(dest="view", required=True, metavar="VIEW")
    for name, about in (
        ("show", "what it is and how it stands"),
        ("history", "everything that happened, oldest first"),
        ("errors", "what went wrong"),
        ("pending", "what waits to be resumed"),
    ):
        view = views.add_parser(name, help=about, description=about.capitalize() + ".")
        view.add_argument("file", metavar="FILE", help="a file that JobState.save has written")
        view.add_argument("--json", action="store_true", help="for programs instead of people")
    return parser


def _loaded(path: str) -> JobState:
    """The run that a file holds, as a plain JobState also where an application has saved a class of its own.

    `JobState.load` would refuse that one, for it could not give back what the application had. Here it is only shown.
    """
    saved = read_file(path, lambda _: True)
    is_state = saved["_type"] == "JobState" or "format_version" in saved or {"job_id", "status"} <= saved.keys()
    if not is_state:
        raise InvalidDataError(
            f"{path} is not a saved run: its _type is {shortened(saved['_type'])}, and it has neither a "
            "format_version nor a job_id and a status."
        )
    job_state = JobState()
    try:
        job_state.deserialize(saved)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"{path} is not a saved run that can be read: {error}") from error
    return job_state


def _show(state: JobState) -> Lines:
    yield f"run       {_line(state.job_id)}"
    yield f"flow      {_line(state.flow_id)}"
    yield f"status    {_line(state.status)}"
    yield f"created   {state.created_at.isoformat(sep=' ')}"
    yield f"updated   {state.updated_at.isoformat(sep=' ')}"
    yield f"records   {len(state.execution_history)}"
    yield f"errors    {len(state.errors)}"
    yield f"pending   {len(state.pending_tasks)}"
    yield f"deferred  {len(state.deferred_events)}"
    if state.pause_points:
        point = state.pause_points[-1]
        yield f"paused    {_line(point.get('timestamp'))}  {_line(point.get('reason'))}"
    if state.routine_states:
        yield ""
        yield "routines"
        for routine_id, routine_state in state.routine_states.items():
            error = f"  {_line(routine_state['error'])}" if "error" in routine_state else ""
            yield f"  {_line(routine_id)}  {_line(routine_state.get('status', ''))}{error}"


def _show_data(state: JobState) -> dict[str, Any]:
    return {
        "job_id": state.job_id,
        "flow_id": state.flow_id,
        "status": state.status,
        "created_at": state.created_at.isoformat(),
        "updated_at": state.updated_at.isoformat(),
        "record_count": len(state.execution_history),
        "error_count": len(state.errors),
        "pending_count": len(state.pending_tasks),
        "deferred_count": len(state.deferred_events),
        "pause_points": state.pause_points,
        "routine_states": dict(state.routine_states),
    }


def _history(state: JobState) -> Lines:
    for record in state.execution_history:
        yield _record(record)


def _errors(state: JobState) -> Lines:
    if not state.errors:
        yield "no errors"
    for record in state.errors:
        yield _record(record, ("error_type", "error", "slot", "retry_in"))
        for line in str(record.data.get("traceback", "")).splitlines():
            yield f"    {_line(line)}"


def _record(record: ExecutionRecord, keys: tuple[str, ...] | None = None) -> str:
    data = record.data if keys is None else {key: record.data[key] for key in keys if key in record.data}
    at = record.timestamp.isoformat(sep=" ", timespec="milliseconds")
    return f"{at}  {_line(record.routine_id)}.{_line(record.event_name)}  {_line(json.dumps(data))}"


def _pending(state: JobState) -> Lines:
    if not state.pending_tasks and not state.deferred_events:
        yield "nothing is pending"
    for entry in state.pending_tasks:
        due = f"  due {_line(entry['due_at'])}" if entry.get("due_at") else ""
        attempt = f"  attempt {_line(entry.get('attempt', 1))}"
        place = f"{_line(entry['routine_id'])}.{_line(entry['slot'])}"
        yield f"{_line(entry.get('was', 'queued')):7} {place}{attempt}{due}  {_line(json.dumps(entry.get('data')))}"
    for event in state.deferred_events:
        place = f"{_line(event['routine_id'])}.{_line(event['event_name'])}"
        yield f"deferred {place}  {_line(json.dumps(event.get('data')))}"


def _line(value: Any) -> str:
    """Text that keeps to its line, whatever a file has put into it: terminals obey control characters."""
    text = str(value)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return shown if len(shown) <= 500 else shown[:497] + "..."


def _records_data(records: list[ExecutionRecord]) -> list[dict[str, Any]]:
    return [record.serialize() for record in records]


# For each view: for people, and for programs.
VIEWS: dict[str, tuple[Callable[[JobState], Lines], Callable[[JobState], Any]]] = {
    "show": (_show, _show_data),
    "history": (_history, lambda state: _records_data(state.execution_history)),
    "errors": (_errors, lambda state: _records_data(state.errors)),
    "pending": (
        _pending,
        lambda state: {"pending_tasks": state.pending_tasks, "deferred_events": state.deferred_events},
    ),
}
