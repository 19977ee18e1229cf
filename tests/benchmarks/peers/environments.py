"""A virtual environment for each peer: made when it is first asked for, kept in the user's cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.peers import Peer

__all__ = ["EnvironmentNotMadeError", "cache_folder", "interpreter"]

# Written last. A folder without it was left behind by a process that was killed.
_MARKER = "installed.txt"


class EnvironmentNotMadeError(RuntimeError):
    """A peer could not be installed."""


def cache_folder() -> Path:
    """Where the environments are kept; it may be removed at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "routilux-benchmarks"


def interpreter(peer: Peer, folder: Path) -> Path:
    """The Python of a peer's environment below `folder`, which is made if it is not there.

    Raises:
        EnvironmentNotMadeError: It could not be made; nothing of it is left.
    """
    # The Python's own version is part of the name: a peer must not be measured with an older Python than we are.
    python_version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    environment = folder / f"{peer.name}-{peer.version}-{python_version}"
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    marker = environment / _MARKER
    requirements = (peer.requirement, *peer.also)
    if not marker.exists() or marker.read_text(encoding="utf-8").splitlines()[0] != " ".join(requirements):
        _make(environment, python, requirements)
    return python


def _make(environment: Path, python: Path, requirements: tuple[str, ...]) -> None:
    print(f"making {environment} ...", file=sys.stderr, flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    try:
        _call(sys.executable, "-m", "venv", str(environment))
        _call(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
        installed = _call(str(python), "-m", "pip", "freeze", "--disable-pip-version-check")
        (environment / _MARKER).write_text(f"{' '.join(requirements)}\n{installed}", encoding="utf-8")
    except BaseException:
        # Ctrl-C too: half an environment serves nobody.
        shutil.rmtree(environment, ignore_errors=True)
        raise


def _call(*command: str) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise EnvironmentNotMadeError(str(error)) from error
    if ended.returncode != 0:
        lines = [line for line in (ended.stderr or ended.stdout).splitlines() if line.strip()] or ["no output"]
        # The last error is the outcome; the ones before it, and pip's lists of every release, are how it came to it.
        reason = [line for line in lines if line.startswith("ERROR")] or lines
        raise EnvironmentNotMadeError(f"{' '.join(command[1:])}: {reason[-1]}")
    return ended.stdout
