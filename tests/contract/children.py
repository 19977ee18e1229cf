"""Child processes that use a store."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.docs.markdown_pages import ROOT

# `opened` is one more driver of the store whose place is the first argument.
BEGINNING = """
import os
import signal
import sys

from routilux.errors import LeaseLostError, StoreBusyError, StoreUnavailableError
from routilux.stores import JournalRow, RunHeader, Write

place, *arguments = sys.argv[1:]
if "://" in place:  # its driver takes a while to import
    from routilux.stores.postgres import PostgresStore as Backend
else:
    from routilux.stores.sqlite import SQLiteStore as Backend


def opened(**settings):
    return Backend(place, **settings)


def header(job_id):
    return RunHeader(job_id, "flow", "running", 100.0, 100.0)


def say(text):
    print(text, flush=True)

"""


@contextmanager
def child(script: str, place: object, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs the script; it is killed in the end, if it is still there."""
    command = [sys.executable, "-c", BEGINNING + script, str(place), *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]") -> str:
    """The next line that the process says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(f"it has ended: {process.communicate()[1]}")
    return line.strip()


def tell(process: "subprocess.Popen[str]", text: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def rest_of(process: "subprocess.Popen[str]") -> str:
    """What the process still says; it has to end well."""
    out, error = process.communicate(timeout=50.0)
    assert process.returncode == 0, error
    return out.strip()
