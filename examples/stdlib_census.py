r"""A census of Python's standard library: over a thousand real source files go through one flow.

    discover --file--> read --source--> parse --tree--> measure --measures--> collect
                          \                \                                   /
                           `---- failed ----`------------- failed ------------'

Run it with `python examples/stdlib_census.py`; `--help` lists the options.

Counted is every `.py` file below the library's folder, its tests included: some of those are broken
on purpose, and a census has to survive them. Not counted are `__pycache__` and what was installed
later, `site-packages` and `dist-packages`.

Three decisions that are worth a look:

* **Events carry names and numbers, not trees.** A run keeps all that was emitted, and the trees of
  a whole library are gigabytes. So sources and trees wait in a cloakroom while the event travels
  with the ticket. What the run remembers stays small, and plain enough to be saved as JSON.
* **A file that was begun is finished first.** The queue is first-in first-out: left alone, every
  file is read before the first one is parsed. What follows `read` has a high priority, and so there
  is about one tree for each worker in memory, however many files there are.
* **The end of the run is the join.** `collect` adds each file to the run's shared data, and nobody
  counts what is still missing: a run is over exactly when its last handler is, and the sums stand.
"""

import argparse
import ast
import io
import itertools
import os
import sys
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from routilux import (
    ErrorHandler,
    ErrorStrategy,
    ExecutionTracker,
    Flow,
    JobState,
    OutputHandler,
    Routine,
)
from routilux.flow import TaskPriority

SKIPPED_FOLDERS = {"__pycache__", "site-packages", "dist-packages"}
READ_RETRIES = 2
PARSING = Lock()  # see parse_source
PROGRESS_STEP = 50
TOP_COUNT = 10


class LongFunction(NamedTuple):
    """A function, and where it begins."""

    line_count: int
    name: str
    path: str
    line: int


class Failure(NamedTuple):
    """A file that is not in the counts, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """What the census found, and what it cost.

    Attributes:
        root: The folder; all paths are relative to it.
        file_count: Files found: those that were measured, and those that failed.
        counts: Sums over the measured files: files, lines, functions, classes, imports (the
            statements), definitions (modules, classes, functions), docstrings (of definitions).
        imported_by: For each top-level module, how many files import it by its absolute name.
        longest: The longest functions, the longest first.
        failures: The files that could not be read or parsed, by path.
        seconds: From the start of the run to its end.
        emission_count: Events emitted in the run.
        routines: For each routine, the figures of the flow's tracker.
    """

    root: Path
    file_count: int
    counts: Counter[str]
    imported_by: Counter[str]
    longest: list[LongFunction]
    failures: list[Failure]
    seconds: float
    emission_count: int
    routines: dict[str, dict[str, Any]]


class Cloakroom:
    """Keeps what is too big to travel in an event, and hands it out once, for its ticket."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards both
        self._things: dict[int, Any] = {}
        self._tickets = itertools.count(1)

    def put(self, thing: Any) -> int:
        with self._lock:
            ticket = next(self._tickets)
            self._things[ticket] = thing
            return ticket

    def take(self, ticket: int) -> Any:
        with self._lock:
            return self._things.pop(ticket)


class Discover(Routine):
    """Finds the files, and emits one event for each."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.discover)
        self.define_event("file", ["root", "path"])

    def discover(self, root: str, limit: int | None) -> None:
        paths = sorted(python_files(root))[:limit]
        run_of(self).update_shared_data("file_count", len(paths))
        for path in paths:
            self.emit("file", root=root, path=path)


class Read(Routine):
    """Reads a file; when the disk stumbles, tries again; in the end gives up this file only."""

    def __init__(self, cloakroom: Cloakroom) -> None:
        super().__init__()
        self.cloakroom = cloakroom
        self.define_slot("file", handler=self.read)
        self.define_event("source", ["path", "ticket"])
        self.define_event("failed", ["path", "reason"])
        self.set_error_handler(
            ErrorHandler(
                ErrorStrategy.RETRY,
                max_retries=READ_RETRIES,
                retry_delay=0.05,
                retryable_exceptions=(OSError,),
            )
        )

    def read(self, root: str, path: str) -> None:
        context = self.get_execution_context()
        try:
            source = read_file(Path(root, path))
        except OSError as error:
            # An error that outlives its retries fails the whole run, so the last one is not raised.
            if context is not None and context.attempt <= READ_RETRIES:
                raise
            self.emit("failed", path=path, reason=error.strerror or str(error))
        else:
            emit_ahead(self, "source", path=path, ticket=self.cloakroom.put(source))


class Parse(Routine):
    """Parses a source; one that is not Python is an error that the run records and tolerates."""

    def __init__(self, cloakroom: Cloakroom) -> None:
        super().__init__()
        self.cloakroom = cloakroom
        self.define_slot("source", handler=self.parse)
        self.define_event("tree", ["path", "line_count", "ticket"])
        self.define_event("failed", ["path", "reason"])
        self.set_error_handler(ErrorHandler(ErrorStrategy.CONTINUE))

    def parse(self, path: str, ticket: int) -> None:
        source: bytes = self.cloakroom.take(ticket)
        try:
            tree = parse_source(source, path)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            self.emit("failed", path=path, reason=reason_of(error))
            raise
        line_count = len(source.splitlines())
        emit_ahead(self, "tree", path=path, line_count=line_count, ticket=self.cloakroom.put(tree))


class Measure(Routine):
    """Turns a tree into a few numbers and names."""

    def __init__(self, cloakroom: Cloakroom) -> None:
        super().__init__()
        self.cloakroom = cloakroom
        self.define_slot("tree", handler=self.measure)
        self.define_event("measures", ["counts", "modules", "longest"])

    def measure(self, path: str, line_count: int, ticket: int) -> None:
        counts, modules, longest = measure_tree(self.cloakroom.take(ticket), path)
        counts.update(files=1, lines=line_count)
        emit_ahead(self, "measures", counts=dict(counts), modules=sorted(modules), longest=longest)


class Collect(Routine):
    """Adds up, each sum in one atomic step: several workers may collect at once."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("measures", handler=self.collect)
        self.define_slot("failed", handler=self.collect_failure)

    def collect(self, counts: dict[str, int], modules: list[str], longest: list[LongFunction]) -> None:
        run = run_of(self)
        run.modify_shared_data("counts", lambda total: total + Counter(counts), Counter())
        run.modify_shared_data("imported_by", lambda total: total + Counter(modules), Counter())
        run.modify_shared_data("longest", lambda known: longest_of(known + longest), [])
        self.advance(run)

    def collect_failure(self, path: str, reason: str) -> None:
        run = run_of(self)
        run.modify_shared_data("failures", lambda known: [*known, Failure(path, reason)], [])
        self.advance(run)

    def advance(self, run: JobState) -> None:
        done = run.modify_shared_data("done", lambda count: count + 1, 0)
        total = run.get_shared_data("file_count")
        if done % PROGRESS_STEP == 0 or done == total:
            self.send_output("progress", done=done, total=total)


def run_of(routine: Routine) -> JobState:
    """Return the record of the run that this handler works for."""
    context = routine.get_execution_context()
    if context is None:
        raise RuntimeError(f"{routine!r} works inside a run only.")
    return context.job_state


def emit_ahead(routine: Routine, event_name: str, **data: Any) -> None:
    """Emit an event whose handlers run before the files that wait to be read."""
    routine.emit_later(event_name, priority=TaskPriority.HIGH, data=data)


def python_files(root: str) -> Iterator[str]:
    """Yield the paths of the source files below `root`, relative to it.

    A folder that cannot be listed comes like a file: to read it fails too, and so it is reported.
    """
    unlisted: list[OSError] = []
    for folder, subfolders, names in os.walk(root, onerror=unlisted.append):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        for name in names:
            if name.endswith(".py"):
                yield Path(folder, name).relative_to(root).as_posix()
    for error in unlisted:
        yield Path(error.filename).relative_to(root).as_posix()


def read_file(path: Path) -> bytes:
    """Return the bytes of a file. Which text they are, its first lines tell the parser."""
    return path.read_bytes()


def reason_of(error: Exception) -> str:
    """Say in one line why a source was not parsed."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
    return f"{type(error).__name__}: {error}"


def parse_source(source: bytes, path: str) -> ast.Module:
    """Return the tree of a source.

    CPython 3.11 counts the depth of its tree builder for all threads together. When a garbage collection lets another
    thread build a tree in between, the sum is off, and it raises SystemError. So one source at a time, which costs
    nothing (parsing keeps the interpreter's lock), and once more where the other thread was drawing a traceback.
    """
    with PARSING:
        for _ in range(20):
            try:
                return ast.parse(source, filename=path)
            except SystemError:
                continue
        return ast.parse(source, filename=path)


def measure_tree(tree: ast.Module, path: str) -> tuple[Counter[str], set[str], list[LongFunction]]:
    """Return the counts of a file, the top-level modules it imports, its longest functions."""
    counts: Counter[str] = Counter()
    modules: set[str] = set()
    functions: list[LongFunction] = []
    for name, node in statements(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                counts["functions"] += 1
                line_count = (node.end_lineno or node.lineno) - node.lineno + 1
                functions.append(LongFunction(line_count, name, path, node.lineno))
            case ast.ClassDef():
                counts["classes"] += 1
            case ast.Import():
                counts["imports"] += 1
                modules.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom():
                counts["imports"] += 1
                if node.module and not node.level:
                    modules.add(node.module.partition(".")[0])
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            counts["definitions"] += 1
            counts["docstrings"] += ast.get_docstring(node, clean=False) is not None
    return counts, modules, longest_of(functions)


def statements(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield the module and the statements in it, each with the qualified name of its scope.

    Expressions hold no statements: to leave them out takes a fifth of the time of `ast.walk`.
    """
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        scope, node = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            scope = f"{scope}.{node.name}" if scope else node.name
        yield scope, node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend((scope, child) for child in getattr(node, field, ()))


def longest_of(functions: Iterable[LongFunction]) -> list[LongFunction]:
    """Return the few longest, in an order that does not depend on who came first."""
    return sorted(functions, key=lambda each: (-each.line_count, each[1:]))[:TOP_COUNT]


class ProgressLine(OutputHandler):
    """Shows progress on standard error: one line written over on a terminal, else a few lines."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards _shown: workers report at the same time, and not in order
        self._shown = 0

    def handle(
        self,
        job_id: str,
        routine_id: str,
        output_type: str,
        data: dict[str, Any],
        timestamp: Any = None,
    ) -> None:
        done, total = data["done"], data["total"]
        on_terminal = sys.stderr.isatty()
        step = PROGRESS_STEP if on_terminal else total / 5
        with self._lock:
            if done < total and done - self._shown < step:
                return
            self._shown = done
            start, end = ("\r", "" if done < total else "\n") if on_terminal else ("", "\n")
            print(f"{start}{done:,} of {total:,} files", end=end, file=sys.stderr, flush=True)


def draw_flow(workers: int) -> Flow:
    """Return the flow of the picture above."""
    cloakroom = Cloakroom()
    flow = Flow("census", "concurrent", max_workers=workers, execution_timeout=None)
    flow.add_routine(Discover(), "discover")
    flow.add_routine(Read(cloakroom), "read")
    flow.add_routine(Parse(cloakroom), "parse")
    flow.add_routine(Measure(cloakroom), "measure")
    flow.add_routine(Collect(), "collect")
    flow.connect("discover", "file", "read", "file")
    flow.connect("read", "source", "parse", "source")
    flow.connect("parse", "tree", "measure", "tree")
    flow.connect("measure", "measures", "collect", "measures")
    flow.connect("read", "failed", "collect", "failed")
    flow.connect("parse", "failed", "collect", "failed")
    return flow


def census(
    root: str | Path,
    limit: int | None = None,
    workers: int = 4,
    output_handler: OutputHandler | None = None,
) -> tuple[Summary, JobState]:
    """Count what is below `root`, and return the summary and the finished run.

    Args:
        root: The folder of a library.
        limit: Take only the first so many files, in the order of their paths.
        workers: How many handlers may run at a time.
        output_handler: Gets "progress" outputs {done, total}, on the threads of the workers.
    """
    params = {"root": str(root), "limit": limit}
    # What the compiler thinks of the library's escape sequences is not the subject. A filter is the
    # whole process's: it stands around the run, not in a handler.
    with draw_flow(workers) as flow, warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        started_at = time.monotonic()
        try:
            job_state = flow.execute("discover", params, output_handler=output_handler)
            JobState.wait_for_completion(flow, job_state)
        except KeyboardInterrupt:
            flow.shutdown(wait=False)
            raise
        seconds = time.monotonic() - started_at
        return summarise(Path(root), flow, job_state, seconds), job_state


def summarise(root: Path, flow: Flow, job_state: JobState, seconds: float) -> Summary:
    """Put together what `collect` left in the run, and what the tracker knows."""
    found = job_state.get_shared_data
    tracker = flow.execution_tracker or ExecutionTracker()  # it is None only before the first run
    performances = {name: tracker.get_routine_performance(name) for name in flow.routines}
    return Summary(
        root=root,
        file_count=found("file_count", 0),
        counts=found("counts", Counter()),
        imported_by=found("imported_by", Counter()),
        longest=found("longest", []),
        failures=sorted(found("failures", [])),
        seconds=seconds,
        emission_count=tracker.get_flow_performance()["total_events"],
        routines={name: figures for name, figures in performances.items() if figures},
    )


def report(summary: Summary, job_state: JobState) -> Iterator[str]:
    """Yield the lines of the report."""
    counts = summary.counts
    share = counts["docstrings"] / max(counts["definitions"], 1)
    documented = f"{share:.1%} of {counts['definitions']:,} modules, classes and functions"
    popular = sorted(summary.imported_by.items(), key=lambda item: (-item[1], item[0]))

    yield f"Census of {summary.root}"
    yield (f"{summary.file_count:,} files found, {counts['files']:,} measured, {len(summary.failures):,} failed")
    yield from section("Totals")
    for name in ("files", "lines", "functions", "classes", "imports"):
        yield f"  {name:<16}  {counts[name]:>9,}"
    yield f"  {'with a docstring':<16}  {documented}"

    yield from section("Most imported modules (by how many files)")
    yield from table("><", [(f"{count:,}", module) for module, count in popular[:TOP_COUNT]])

    yield from section("Longest functions (in lines)")
    yield from table("><<", [(f"{f.line_count:,}", f.name, f"{f.path}:{f.line}") for f in summary.longest])
    yield from section("Files that failed")
    yield from table("<<", summary.failures)

    yield from section("The run")
    yield from table("<<", run_figures(summary, job_state))
    yield ""
    yield from table("<>>>>", list(routine_figures(summary)))
    yield ""
    yield "  Handlers that run at the same time wait for each other's turn at the interpreter, and the"
    yield "  clock counts that too: --workers 1 shows what each routine takes for itself."


def run_figures(summary: Summary, job_state: JobState) -> list[tuple[str, str]]:
    """Return what the run as a whole did."""
    activations = sum(figures["total_executions"] for figures in summary.routines.values())
    reads = job_state.get_execution_history("read")
    retried = sum(record.event_name == "completed" and "retried" in record.data for record in reads)
    slowest = max(summary.routines, key=lambda name: seconds_in(summary.routines[name]))
    return [
        ("status", job_state.status),
        ("seconds", f"{summary.seconds:.2f}"),
        ("activations", f"{activations:,}"),
        ("emissions", f"{summary.emission_count:,}"),
        ("errors on record", f"{len(job_state.errors):,}"),
        ("reads that were retried", f"{retried:,}"),
        ("slowest routine", slowest),
    ]


def routine_figures(summary: Summary) -> Iterator[tuple[str, ...]]:
    """Yield a head and one row per routine."""
    yield "routine", "activations", "seconds", "mean ms", "longest ms"
    for name, figures in summary.routines.items():
        yield (
            name,
            f"{figures['total_executions']:,}",
            f"{seconds_in(figures):.2f}",
            f"{1000 * figures['avg_execution_time']:.2f}",
            f"{1000 * figures['max_execution_time']:.2f}",
        )


def seconds_in(figures: dict[str, Any]) -> float:
    """Return the seconds spent in all the calls of a routine."""
    return float(figures["total_executions"] * figures["avg_execution_time"])


def section(title: str) -> list[str]:
    """Return a heading."""
    return ["", title, "-" * len(title)]


def table(sides: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows with their columns aligned, `<` to the left and `>` to the right."""
    if not rows:
        yield "  none"
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, sides, widths, strict=True)
        yield ("  " + "  ".join(f"{cell:{side}{width}}" for cell, side, width in cells)).rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the census that the command line asks for, and print it."""
    options = parse_options(arguments)
    progress = None if options.quiet else ProgressLine()
    try:
        summary, job_state = census(options.root, options.limit, options.workers, progress)
    except KeyboardInterrupt:
        return 130
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold any character
    print("\n".join(report(summary, job_state)))
    return 0 if job_state.status == "completed" else 1


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Count what is in a library of Python files.")
    option = parser.add_argument
    stdlib = sysconfig.get_path("stdlib")
    option("--root", type=folder, default=stdlib, help="the library's folder (%(default)s)")
    option("--limit", type=positive, metavar="N", help="take only the first N files")
    option("--workers", type=positive, default=4, metavar="N", help="handlers at a time (4)")
    option("--quiet", action="store_true", help="show no progress")
    return parser.parse_args(arguments)


def folder(text: str) -> Path:
    """Return the path of a folder that exists."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return Path(text)


def positive(text: str) -> int:
    """Return a number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
