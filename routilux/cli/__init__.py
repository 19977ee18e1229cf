"""`python -m routilux runs ...`: runs in files and stores, for a person to look at and to decide about."""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TextIO

from routilux.cli.stored import DECISIONS, LIST_VIEW, listed, stored, stored_records
from routilux.cli.views import RECORD_VIEWS, VIEWS, Lines, line, printable
from routilux.errors import InvalidDataError, MissingExtraError, StoreUnavailableError
from routilux.job_state import JobState
from routilux.plain import shortened
from routilux.state_file import read_file
from routilux.stores.base import Store
from routilux.stores.opening import open_store
from routilux.stores.relational import RelationalStore

__all__ = ["main"]

# What a shell reports for a program that SIGPIPE has ended, as it ends most programs whose reader is gone.
_READER_IS_GONE = 128 + 13


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Run the command line; returns the exit status.

    It is 0, 2 when a file or store cannot be read or a decision cannot be carried out, and 141 when standard output
    is a pipe that nobody reads any more.

    Args:
        arguments: The words after the program's name; those of the process by default.
        out: Where to write; standard output by default.
    """
    if out is not None:
        return _run(arguments, out)
    if sys.stdout is None:  # the process was started without one
        _complain("there is no standard output to write to")
        return 2
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
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.store is not None:
            with closing(_opened(options.store, options.command in DECISIONS)) as store:
                return _look_into(store, options, out)
        job_state = _loaded(options.run)
    except BrokenPipeError:
        raise  # of standard output: `main` knows
    except (OSError, ValueError, RuntimeError, MissingExtraError) as error:
        _complain(str(error))
        return 2
    records = job_state.execution_history
    if options.command in RECORD_VIEWS:
        return _print(out, options, *RECORD_VIEWS[options.command], records)
    return _print(out, options, *VIEWS[options.command], job_state, records)


def _complain(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"routilux: {printable(text)}\n")


def _opened(url: str, is_to_decide: bool) -> Store:
    """A store that is there: whoever looks must not make one, and what an application has of its own is not ours.

    Args:
        url: Where it is.
        is_to_decide: Whether it is going to be written.

    Raises:
        StoreUnavailableError: It is not.
        InvalidValueError: No store has such a URL.
        MissingExtraError: It takes a package that is not installed.
    """
    store = open_store(url)  # which opens no database yet
    path = url.removeprefix("sqlite:///")
    if url.startswith("memory:") or ("://" not in path and not os.path.exists(path)):
        raise StoreUnavailableError(f"There is no store {url}. Give a SQLite file that a flow has made, or a URL.")
    if isinstance(store, RelationalStore):
        store.only_look()
    if is_to_decide:
        store.list_runs(limit=0)  # it is one
        store.close()
        return open_store(url)
    return store


def _look_into(store: Store, options: argparse.Namespace, out: TextIO) -> int:
    if options.command == "list":
        return _print(out, options, *LIST_VIEW, listed(store, options.status, options.flow, options.limit))
    if options.command in DECISIONS:
        out.write(line(DECISIONS[options.command](store, options.run)) + "\n")
        return 0
    # All records, and not only those that a bounded run has in memory; page by page.
    if options.command in RECORD_VIEWS:
        return _print(out, options, *RECORD_VIEWS[options.command], stored_records(store, options.run))
    job_state = stored(store, options.run)
    return _print(out, options, *VIEWS[options.command], job_state, stored_records(store, options.run))


def _print(
    out: TextIO, options: argparse.Namespace, lines: Callable[..., Lines], data: Callable[..., Any], *seen: Any
) -> int:
    """Show what is seen, by the function that makes lines of it or by the one that makes data."""
    if options.json:
        out.write(json.dumps(data(*seen), indent=2) + "\n")
    else:
        out.writelines(f"{each}\n" for each in lines(*seen))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m routilux", description="Look at runs, and decide about them.")
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    runs = groups.add_parser("runs", help="runs in files and stores", description="Runs in files and stores.")
    commands = runs.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = _command(commands, "list", "the runs of a store, newest first")
    _add_store(command, required=True)
    command.add_argument("--status", help="only those with this status")
    command.add_argument("--flow", metavar="FLOW_ID", help="only those of this flow")
    command.add_argument("--limit", type=int, default=50, help="at most so many (50)")
    _add_json(command)
    for name, about in (
        ("show", "what it is and how it stands"),
        ("history", "everything that happened, oldest first"),
        ("errors", "what went wrong"),
        ("pending", "what waits to be resumed"),
    ):
        command = _command(commands, name, about)
        command.add_argument("run", metavar="RUN", help="a file that JobState.save has written; with --store, a job_id")
        _add_store(command, required=False)
        _add_json(command)
    for name, about in (
        ("resume", "let the application go on with a run that is paused or has failed, when it calls flow.recover()"),
        ("retry", "the same, for a run that has failed"),
        ("cancel", "end a run that nobody drives, for good"),
        ("delete", "forget a run that nobody drives"),
    ):
        command = _command(commands, name, about)
        command.add_argument("run", metavar="JOB_ID", help="the run")
        _add_store(command, required=True)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=about, description=about.capitalize() + ".")


def _add_store(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--store", metavar="URL", required=required, help="a SQLite file, or the URL of a store")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for programs instead of people")


def _loaded(path: str) -> JobState:
    """The run that a file holds, as a plain JobState also where an application has saved a class of its own.

    `JobState.load` would refuse that one, for it could not give back what the application had. Here it is only shown.
    """
    try:
        saved = read_file(path, lambda _: True)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. A run of a store is looked at with --store URL.") from error
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
