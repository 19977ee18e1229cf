"""Two Flow objects over one Store object: a run is at work in one of them at a time."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.errors import RunDrivenError
from routilux.stores import Store
from routilux.stores.opening import open_store
from tests.drawings import Gate, draw, entry, in_thread, node, wait, wait_until


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        found = open_store("memory:")
    else:
        place: Callable[[], str] = request.getfixturevalue("new_file" if request.param == "sqlite" else "new_schema")
        found = open_store(place())
    yield found
    found.close()


def drawn(store: Store, act: Callable[..., Any] | None = None) -> Flow:
    return draw(
        "a -> b", flow=Flow("drawn", store=store), a=entry(lambda routine, data: routine.emit("output")), b=node(act)
    )


@pytest.mark.parametrize("call", [Flow.resume, Flow.pause, Flow.cancel], ids=["resume", "pause", "cancel"])
def test_a_run_at_work_in_one_flow_is_refused_in_another_over_the_same_store(
    store: Store, call: Callable[[Flow, JobState], Any]
) -> None:
    gate, called = Gate(), []
    with drawn(store, gate.act) as there, drawn(store, lambda routine, data: called.append(1)) as here:
        job_state = there.execute("a", job_id="job")
        gate.await_arrival()
        loaded = here.load("job")
        with pytest.raises(RunDrivenError, match="Run job is at work in another Flow object"):
            call(here, loaded)
        assert here.recover() == []
        assert loaded.status == job_state.status == "running"
        gate.open()
        assert wait(there, job_state).status == "completed"
        assert wait(here, loaded).status == "completed"
        assert called == []


def test_a_run_that_one_flow_has_paused_goes_on_in_another_over_the_same_store(store: Store) -> None:
    gate, called = Gate(), []
    with drawn(store, gate.act) as there, drawn(store, lambda routine, data: called.append(1)) as here:
        job_state = there.execute("a", job_id="job")
        gate.await_arrival()
        join = in_thread(lambda: there.pause(job_state))
        wait_until(there, job_state, lambda state: state.status == "paused")
        with pytest.raises(RunDrivenError):  # its handler is still at work
            here.resume(here.load("job"))
        gate.open()
        join()
        assert wait(here, here.resume(here.load("job"))).status == "completed"
        assert there.load("job").status == "completed"
