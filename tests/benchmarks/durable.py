"""Runs that are kept in a SQLite file, beside the same runs in memory and beside bare commits."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns

from routilux import Flow, Routine
from tests.benchmarks.measure import Pair, Sizes, expect

__all__ = ["bytes_on_disk", "group_level", "growing_bytes", "sync_level"]

PAYLOAD = "x" * 1_000


class Starter(Routine):
    """Begins a countdown."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.begin)
        self.define_event("next", ["n", "text"])

    def begin(self, n: int, text: str) -> None:
        self.emit("next", n=n, text=text)


class Step(Routine):
    """One step of it, which carries a text along."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("in", self.step)
        self.define_event("next", ["n", "text"])

    def step(self, n: int, text: str) -> None:
        if n > 1:
            self.emit("next", n=n - 1, text=text)


def countdown(path: Path | None, level: str = "group") -> Flow:
    """A flow whose runs are kept in a file, or in memory only."""
    flow = Flow("countdown", store=None if path is None else str(path), store_level=level)
    flow.add_routine(Starter(), "start")
    flow.add_routine(Step(), "step")
    flow.connect("start", "next", "step", "in")
    flow.connect("step", "next", "step", "in")
    return flow


def step_us(flow: Flow, steps: int, text: str = "") -> float:
    """A run; microseconds per step."""
    began = perf_counter_ns()
    job_state = flow.run("start", {"n": steps, "text": text})
    elapsed = perf_counter_ns() - began
    expect("status", job_state.status, "completed")
    expect("emissions", sum(record.is_emission for record in job_state.execution_history), steps)
    return elapsed / steps / 1e3


def commits_us(path: Path, steps: int) -> float:
    """A commit for each step, by `sqlite3` alone and as safe from a loss of power; microseconds per step."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS steps (id INTEGER PRIMARY KEY, body TEXT)")
        body = "x" * 200  # what a step without a payload takes
        began = perf_counter_ns()
        for _ in range(steps):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO steps (body) VALUES (?)", (body,))
            connection.execute("COMMIT")
        return (perf_counter_ns() - began) / steps / 1e3


@contextmanager
def group_level(sizes: Sizes) -> Iterator[Pair]:
    """What a step costs more than in memory."""
    with (
        TemporaryDirectory() as folder,
        countdown(Path(folder, "runs.db")) as kept,
        countdown(None) as in_memory,
    ):
        yield Pair(
            lambda: step_us(kept, sizes.hops) - step_us(in_memory, sizes.hops),
            lambda: step_us(in_memory, sizes.hops),
        )


@contextmanager
def sync_level(sizes: Sizes) -> Iterator[Pair]:
    """A step that is safe before what follows from it starts, against a commit."""
    with TemporaryDirectory() as folder, countdown(Path(folder, "runs.db"), "sync") as flow:
        yield Pair(
            lambda: step_us(flow, sizes.hops),
            lambda: commits_us(Path(folder, "commits.db"), sizes.hops),
        )


def stored_bytes(steps: int) -> float:
    """What a run of so many steps, of 1,000 bytes each, takes on the disk while the file is open."""
    with TemporaryDirectory() as folder, countdown(Path(folder, "runs.db")) as flow:
        step_us(flow, steps, PAYLOAD)
        return sum(path.stat().st_size for path in Path(folder).iterdir() if path.suffix != ".db-shm")


@contextmanager
def bytes_on_disk(sizes: Sizes) -> Iterator[Pair]:
    """What 400 steps take, against what they carry."""
    yield Pair(lambda: stored_bytes(sizes.stored_steps), lambda: float(sizes.stored_steps * len(PAYLOAD)))


@contextmanager
def growing_bytes(sizes: Sizes) -> Iterator[Pair]:
    """Bytes per step of a run a hundred times as long."""
    many = sizes.stored_steps * sizes.grown * sizes.grown
    yield Pair(lambda: stored_bytes(many) / many, lambda: stored_bytes(sizes.stored_steps) / sizes.stored_steps)
