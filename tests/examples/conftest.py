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
def run_example(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Return a function that runs an example with arguments, and gives what it printed."""
    # The child imports the very package that this process tests, installed or not.
    package_folder = str(Path(routilux.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    python_path = os.pathsep.join(filter(None, [package_folder, inherited]))
    environment = {**os.environ, "PYTHONPATH": python_path, "PYTHONUTF8": "1"}

    def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run
