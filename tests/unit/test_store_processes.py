import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from routilux.stores.processes import is_gone, new_driver_name, this_process

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="nothing is proved without /proc")

TELL_AND_WAIT = """
import sys
from routilux.stores.processes import this_process
print(this_process(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", TELL_AND_WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def told_by(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_process_that_runs_is_not_gone(process: "subprocess.Popen[str]") -> None:
    assert not is_gone(told_by(process))
    assert not is_gone(this_process())


def test_a_process_that_is_stopped_is_not_gone(process: "subprocess.Popen[str]") -> None:
    told = told_by(process)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert not is_gone(told)


def test_a_process_that_has_ended_is_gone(process: "subprocess.Popen[str]") -> None:
    told = told_by(process)
    process.kill()
    process.wait()
    assert is_gone(told)


def test_a_process_whose_parent_has_not_asked_for_it_is_gone(process: "subprocess.Popen[str]") -> None:
    told = told_by(process)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(told)


def test_a_number_that_another_process_has_now_is_a_process_that_is_gone() -> None:
    place, number, started = this_process().split()
    assert is_gone(f"{place} {number} {int(started) - 1}")


@pytest.mark.parametrize("told", ["", " ", "place", "place 1 2", "{place}", "{place} x 2", "{place} 1"])
def test_of_what_cannot_be_checked_nothing_is_proved(told: str) -> None:
    assert not is_gone(told.format(place=this_process().split()[0]))


def test_of_another_machine_or_namespace_nothing_is_proved(process: "subprocess.Popen[str]") -> None:
    place, number, started = told_by(process).split()
    process.kill()
    process.wait()
    boot, _, namespace = place.partition("/")
    assert is_gone(f"{place} {number} {started}")
    assert not is_gone(f"{boot[::-1]}/{namespace} {number} {started}")
    assert not is_gone(f"{boot}/{namespace}1 {number} {started}")


def test_names_of_drivers_differ_and_tell_the_process() -> None:
    names = {new_driver_name() for _ in range(100)}
    assert len(names) == 100
    assert all(f"/{os.getpid()}/" in name for name in names)
