"""The programs that do the work, one for each library, and how each is called: a process for each reading."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import routilux
from tests.benchmarks.peers import Peer
from tests.benchmarks.peers.environments import EnvironmentNotMadeError, cache_folder, interpreter

__all__ = ["Program", "ProgramFailedError", "Reading", "our_program", "peer_program"]

# A process that takes longer than this has lost its work.
LOST_SECONDS = 300.0

# Nobody records, sends or traces anything.
QUIET = {
    "DO_NOT_TRACK": "1",
    "HAYSTACK_AUTO_TRACE_ENABLED": "false",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
}


class ProgramFailedError(RuntimeError):
    """A program was not there, failed, hung, or came to a wrong result."""


@dataclass(frozen=True)
class Reading:
    """What one process printed, with the median of its seconds; and what its work has left on the disk."""

    result: Any
    seconds: float
    version: str
    stored_bytes: int = 0


@dataclass(frozen=True)
class Program:
    """A file that does the shapes of work, and the interpreter and options that it is called with."""

    command: tuple[str, ...]
    file: Path
    environment: Mapping[str, str]

    def read(self, shape: str, size: int, repeats: int) -> Reading:
        """Run it once.

        Raises:
            ProgramFailedError: It failed, hung, or did not end with a line of JSON.
        """
        printed = self._run(str(self.file), shape, str(size), str(repeats))
        try:
            found = json.loads(printed.strip().splitlines()[-1])
            return Reading(found["result"], median(found["seconds"]), found["version"], found.get("bytes", 0))
        except (ValueError, LookupError, TypeError) as error:
            raise ProgramFailedError(f"{self.file.name} printed {printed[-200:]!r}, which is no reading") from error

    def import_seconds(self) -> float:
        """What its imports take, those of the standard library apart, above a Python that does nothing."""
        return self._timed(self.imports) - self._timed("pass")

    @cached_property
    def imports(self) -> str:
        """Its import statements, without those of the standard library: what its work needs, be it lazy or not."""
        found = []
        for statement in ast.parse(self.file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ImportFrom):
                names = [statement.module or ""]
            elif isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            else:
                continue
            if not sys.stdlib_module_names.issuperset(name.partition(".")[0] for name in names):
                found.append(ast.unparse(statement))
        return "\n".join(found)

    def _timed(self, code: str) -> float:
        began = perf_counter()
        self._run("-c", code)
        return perf_counter() - began

    def _run(self, *arguments: str) -> str:
        try:
            ended = subprocess.run(
                [*self.command, *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=LOST_SECONDS,
                env=os.environ | self.environment,
            )
        except subprocess.TimeoutExpired as error:
            raise ProgramFailedError(f"took longer than {LOST_SECONDS:g} s") from error
        except OSError as error:
            raise ProgramFailedError(str(error)) from error
        if ended.returncode != 0:
            lines = [line for line in ended.stderr.splitlines() if line.strip()]
            raise ProgramFailedError(lines[-1].strip() if lines else f"exit status {ended.returncode}")
        return ended.stdout


def our_program(name: str = "routilux.py") -> Program:
    """One of routilux, with the package of this process and not with one that is installed elsewhere."""
    root = Path(routilux.__file__).parent.parent
    # -I would ignore PYTHONPATH. -P keeps the program's own name from being found as the package.
    command = (sys.executable, "-P", "-s")
    return Program(command, Path(__file__).with_name(name), QUIET | {"PYTHONPATH": str(root)})


def peer_program(peer: Peer) -> Program:
    """A peer's, with the Python of its environment.

    Raises:
        ProgramFailedError: It could not be installed.
    """
    try:
        python = interpreter(peer, cache_folder())
    except EnvironmentNotMadeError as error:
        raise ProgramFailedError(str(error)) from error
    return Program((str(python), "-I"), peer.file, QUIET)
