"""What every test may use."""

import gc
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import serilux
from hypothesis import settings

from routilux import Flow
from tests.drawings import HandlerKind

# No deadline: a busy machine is slow, not wrong. New examples on every run, also where CI is set.
settings.register_profile("routilux", max_examples=50, deadline=None, derandomize=False, print_blob=True)
# `--hypothesis-profile thorough`, of .ci/run.
settings.register_profile("thorough", settings.get_profile("routilux"), max_examples=300)
settings.load_profile("routilux")


# What durable runs do not do, and these tests do: keep live objects in payloads, go on with a copy of a record while
# its run goes on as well, or leave no memory behind. A test by its name, or one case of it.
NOT_DURABLE = frozenset(
    {
        # A copy of a record, whose run went on or was cancelled: refused, and `load` gives what goes on.
        "test_a_deep_copy_goes_on_like_the_original",
        "test_a_run_that_has_stopped_may_be_cancelled_and_loses_what_it_kept[plain-restored]",
        "test_a_run_that_has_stopped_may_be_cancelled_and_loses_what_it_kept[async-restored]",
        "test_paused_failed_completed_and_restored_runs_go_on[plain-restored]",
        "test_paused_failed_completed_and_restored_runs_go_on[async-restored]",
        # How the loop's thread takes activations itself: of durable runs, workers begin them.
        "test_a_cancellation_between_two_handlers_reaches_neither_and_no_handler_of_another_run[concurrent]",
        "test_a_cancellation_between_two_tasks_of_the_loop_keeps_the_next_handler_from_beginning",
        "test_a_loop_that_is_told_to_end_in_the_middle_of_a_turn_finishes_what_it_has_and_ends",
        "test_a_plain_handler_that_comes_to_the_front_when_the_loop_has_the_token_runs_on_a_worker",
        "test_a_run_of_async_handlers_needs_a_worker_only_to_begin",
        "test_a_run_that_is_paused_when_the_loop_has_its_token_gives_it_back",
        "test_an_engine_that_fails_on_the_loops_thread_fails_the_run_and_no_other",
        "test_a_store_level_without_a_store_is_refused",  # there is one
        # Inputs of a paused run: the store has them, and its record when somebody drives it again.
        "test_an_input_that_comes_before_its_request_is_kept_for_it",
        "test_an_input_that_comes_too_late_is_kept_for_the_next_request",
        "test_what_the_sender_changes_afterwards_is_not_delivered",
        "test_a_run_that_nobody_knows_takes_no_input",  # the store is named in the message
        "test_adding_a_routine_gives_its_id",  # one that is made up, which the next process could not know
        "test_a_copy_goes_on_in_the_same_flow_while_the_original_is_alive",
        "test_a_snapshot_of_a_paused_run_goes_on_in_the_order_in_which_the_run_does",
        "test_a_snapshot_of_the_entry_at_work_begins_with_the_entry",
        "test_a_wait_for_a_restored_run_that_is_resumed_meanwhile_waits_for_its_end",
        "test_an_activation_that_was_taken_and_not_merged_starts_and_is_merged_once",
        "test_held_emissions_of_an_activation_that_runs_again_are_compared_as_well",
        "test_live_objects_may_be_paused_and_only_saving_them_is_an_error",
        "test_payloads_are_compared_outside_the_locks_of_the_run",
        "test_short_runs_leave_no_thread_timer_task_or_memory_behind",  # the store has them
        "test_what_cannot_be_compared_is_emitted_by_an_activation_that_runs_again",
        "runTest",  # the state machine of the controls, which loads files of runs that go on
        # A place is free when its handler has ended, which is before a worker has kept that it failed.
        "test_what_waits_for_a_place_does_not_begin_when_its_run_has_failed",
    }
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--store memory:` gives each flow of the tests a store: what holds for runs holds for durable ones."""
    parser.addoption("--store", help="give every flow without a store this one, for example memory:")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if not (_is_async(item) and item.get_closest_marker("plain_only"))]
    store = config.getoption("--store")
    if store is None:
        return
    _give_stores(store)
    skip = pytest.mark.skip(reason="not about durable runs")
    for item in items:
        if item.name in NOT_DURABLE or item.name.partition("[")[0] in NOT_DURABLE:
            item.add_marker(skip)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Nothing of thousands of tests is garbage: the collector, which tests often call, need not look at them."""
    gc.collect()
    gc.freeze()


def _is_async(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("handler_kind") == "async"


def _give_stores(url: str) -> None:
    make, add = Flow.__init__, Flow.add_routine

    def make_durable(flow: Flow, flow_id: str | None = None, *args: Any, store: Any = None, **more: Any) -> None:
        make(flow, flow_id or str(uuid.uuid4()), *args, store=store or url, **more)

    def add_with_id(flow: Flow, routine: Any, routine_id: str | None = None) -> Any:
        return add(flow, routine, routine_id if routine_id is not None else getattr(routine, "_id", None))

    Flow.__init__, Flow.add_routine = make_durable, add_with_id


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
