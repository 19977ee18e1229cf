"""What every test may use."""

import sys
import threading
from collections.abc import Iterator

import pytest
import serilux
from hypothesis import settings

from tests.drawings import HandlerKind

# No deadline: a busy machine is slow, not wrong. New examples on every run, also where CI is set.
settings.register_profile("routilux", deadline=None, derandomize=False, print_blob=True)
settings.load_profile("routilux")


@pytest.fixture
def forgotten_registrations() -> Iterator[None]:
    """Takes the classes that a test registers out of serilux's registry again.

    The registry is the process's own, and refuses a second class of the same name. The library's
    classes stay: they are registered once, when their module is first imported.
    """
    registry = serilux.SerializableRegistry.registry
    before = set(registry)
    yield
    for name in set(registry) - before:
        if not registry[name].__module__.startswith("routilux."):
            del registry[name]


@pytest.fixture
def hasty_switching() -> Iterator[None]:
    """Threads are switched after each few instructions: what can interleave, does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def no_leaked_threads() -> Iterator[None]:
    """Fails a test whose threads are still alive five seconds after its end."""
    before = set(threading.enumerate())
    yield
    started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(timeout=5.0)
    leaked = [thread.name for thread in started if thread.is_alive()]
    assert not leaked, f"still alive: {leaked}"


@pytest.fixture(params=["plain", "async"])
def handler_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test with handlers that workers call, and once more with handlers that await; see `node`."""
    HandlerKind.use(request.param)
    yield request.param
    HandlerKind.use("plain")
