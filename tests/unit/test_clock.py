"""The system's time, and time that is set by hand."""

import threading
import time

import pytest

from routilux.clock import SYSTEM_CLOCK
from routilux.interfaces import Clock
from routilux.testing import FakeClock
from tests.drawings import in_thread, passed


@pytest.mark.parametrize("clock", [SYSTEM_CLOCK, FakeClock()])
def test_a_clock_has_what_the_engine_needs(clock):
    assert isinstance(clock, Clock)


def test_the_systems_clock_never_goes_back():
    readings = [SYSTEM_CLOCK.monotonic_ns() for _ in range(1000)]
    assert readings == sorted(readings)


def test_the_systems_clock_knows_the_date():
    assert abs(SYSTEM_CLOCK.time_ns() - time.time_ns()) < 5e9


def test_the_systems_clock_waits_no_longer_than_it_was_told():
    condition = threading.Condition()

    def seconds_waited() -> float:
        with condition:
            began_at = time.monotonic()
            SYSTEM_CLOCK.wait(condition, 0.01)
            return time.monotonic() - began_at

    assert in_thread(seconds_waited)() < 5.0  # nobody notifies it


def test_a_fake_clock_stands_still_until_it_is_advanced():
    clock = FakeClock(start=1000.0)
    assert clock.monotonic_ns() == clock.monotonic_ns() == 0
    assert clock.time_ns() == 1000 * 10**9
    clock.advance(1.5)
    assert clock.monotonic_ns() == 1_500_000_000
    assert clock.time_ns() == 1_001_500_000_000


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_fake_clock_does_not_go_back(seconds):
    with pytest.raises(ValueError, match="back"):
        FakeClock().advance(seconds)


def test_advancing_a_fake_clock_wakes_those_who_wait_by_it():
    clock, condition, asleep = FakeClock(), threading.Condition(), threading.Event()

    def sleep_until(at_ns: int) -> bool:
        with condition:
            while clock.monotonic_ns() < at_ns:
                asleep.set()
                clock.wait(condition, 3600)
        return True

    join = in_thread(lambda: sleep_until(2 * 10**9))
    passed(asleep)
    clock.advance(1.0)
    clock.advance(1.0)
    assert join() is True


def test_a_fake_clock_does_not_wait_when_there_is_no_time_left():
    clock, condition = FakeClock(), threading.Condition()

    def wait_without_time() -> bool:
        with condition:
            clock.wait(condition, 0)
            clock.wait(condition, -1)
        return True

    assert in_thread(wait_without_time)() is True
    assert clock.monotonic_ns() == 0
