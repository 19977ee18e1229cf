"""Running an example as its reader does: in a process of its own, somewhere else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import routilux

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def start_example(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Return a function that starts an example with arguments; both its outputs are pipes."""
    # The child imports the very package that this process tests, installed or not.
    package_folder = str(Path(routilux.__file__).parents[1])
    python_path = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))

    def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": python_path, "PYTHONUTF8": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    return start


@pytest.fixture
def run_example(
    start_example: Callable[..., "subprocess.Popen[str]"],
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Return a function that runs an example to its end, and gives what it printed."""

    def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        with start_example(name, *arguments) as running:
            try:
                stdout, stderr = running.communicate(timeout=50)
            except subprocess.TimeoutExpired:
                running.kill()
                raise
        return subprocess.CompletedProcess(running.args, running.returncode, stdout, stderr)

    return run
