"""What does not pass in time: the bytes that stay, and the start of a process."""

import compileall
import gc
import importlib.util
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from tests.benchmarks import floors, flows
from tests.benchmarks.measure import expect

__all__ = ["import_seconds", "retained_by_messages", "retained_by_payloads"]

T = TypeVar("T")


def retained_by_messages(messages: int) -> float:
    """Bytes per message that a run of `messages` messages leaves, with its flow alive and its records unread."""
    calls = flows.Calls()
    with flows.fan_out(1, lambda v: calls.add()) as flow:
        flows.run_fan_out(flow, 1)
        calls.total()
        job_state, grown = _retained(lambda: flows.run_fan_out(flow, messages))
        flows.recorded(job_state, calls.total(), messages, out=messages)
    return grown / messages


def retained_by_payloads(messages: int) -> float:
    """Bytes per message of what the messages carry."""
    kept, grown = _retained(lambda: floors.payloads(messages))
    expect("payloads", len(kept), messages)
    return grown / messages


def _retained(work: Callable[[], T]) -> tuple[T, int]:
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        kept = work()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return kept, after - before


def import_seconds(name: str) -> float:
    """Seconds from the start to the end of a process that imports a package, which is compiled already."""
    _compile(name)
    command = [sys.executable, "-I", "-c", f"import {name}; print({name}.__name__)"]
    began = perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = perf_counter() - began
    expect(f"what {name} printed", (ended.returncode, ended.stdout.strip()), (0, name))
    return seconds


@cache
def _compile(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    compileall.compile_dir(Path(spec.origin).parent, quiet=2)
