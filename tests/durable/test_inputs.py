"""Inputs of runs that outlive their process: kept once, delivered once, whoever sends and whoever drives."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routilux import Flow, Routine
from routilux.errors import StoreUnavailableError
from routilux.stores.base import RunHeader, Store, StoredInput
from routilux.stores.journal import Replay
from routilux.stores.memory import MemoryStore
from routilux.stores.opening import open_store
from routilux.stores.sqlite import SQLiteStore
from routilux.testing.crash_points import crash_points
from tests.asking import Clerk, desk
from tests.drawings import DEADLINE, Gate, draw, entry, in_thread, node, own_run, wait
from tests.durable.desk_process import later

ROOT = Path(__file__).parents[2]
ASKED = {"names": ["approval"]}


# For those that start processes, or do much.
HEAVY_ON_POSTGRESQL = pytest.mark.parametrize(
    "url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a store that is empty, and that other processes can open as well."""
    if request.param == "sqlite":
        return str(tmp_path / "runs.db")
    new_schema: Callable[[], str] = request.getfixturevalue("new_schema")
    return new_schema()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.durable.desk_process", *arguments]


def other_process(*arguments: str) -> str:
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def killed_process(*arguments: str) -> None:
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == -signal.SIGKILL, done.stderr


def replayed(store: Store, job_id: str) -> dict[str, Any]:
    header = store.find(job_id)
    assert header is not None
    return Replay().apply_all(row.body for row in store.rows(job_id)).saved_form(header.status)


def kept(url: str) -> dict[str, Any]:
    """The run as the store has it."""
    with closing(open_store(url)) as store:
        return replayed(store, "order-17")


def header_of(url: str) -> RunHeader:
    with closing(open_store(url)) as store:
        header = store.find("order-17")
    assert header is not None
    return header


def inputs_of(url: str) -> list[StoredInput]:
    with closing(open_store(url)) as store:
        return store.inputs("order-17")


def put(url: str, data: str, job_id: str = "order-17", name: str = "approval") -> None:
    """Keep an input, and tell nobody."""
    with closing(open_store(url)) as store:
        store.put_input(job_id, name, data)


def paused(url: str, job_id: str = "order-17", params: dict[str, Any] | None = None) -> None:
    """Leave a run in the store that waits for an approval, and is nobody's."""
    flow, _ = desk(store=url)
    with flow:
        assert flow.execute("clerk", params or ASKED, job_id=job_id).status == "paused"


def test_a_run_that_waits_for_input_is_paused_in_the_store_and_nobodys(url):
    flow, _ = desk(store=url)
    job_state = flow.execute("clerk", ASKED, job_id="order-17")
    header = header_of(url)
    assert (header.status, header.driver) == ("paused", None)
    assert kept(url)["input_requests"] == job_state.input_requests
    flow.shutdown()


def test_an_input_from_the_same_process_is_delivered(url):
    flow, clerk = desk(store=url)
    job_state = flow.execute("clerk", ASKED, job_id="order-17")
    flow.send_input("order-17", "approval", {"yes": True})
    assert wait(flow, job_state).status == "completed"
    assert clerk.got == [{"yes": True}]
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_an_input_from_another_process_lets_the_run_go_on_there(url):
    paused(url)
    assert other_process("send", url, "order-17", '{"yes": true}') == 'completed [{"yes": true}]'


@HEAVY_ON_POSTGRESQL
def test_a_run_at_work_in_another_process_is_given_its_input_there(url):
    child = subprocess.Popen(
        command("work", url, "order-17"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "working\n"
        flow = Flow("busy", store=url)
        flow.send_input("order-17", "approval", {"yes": True})
        flow.shutdown()
        assert child.stdout.readline() == 'answer {"yes": true}\n'
        child.stdin.write("done\n")
        child.stdin.close()
        assert child.stdout.readline() == "completed\n"


@HEAVY_ON_POSTGRESQL
def test_an_input_is_kept_when_its_sender_is_killed_before_it_is_delivered(url):
    paused(url)
    killed_process("send_and_die", url, "order-17", '{"yes": true}')
    flow, clerk = desk(store=url)
    found = flow.recover()
    assert [job_state.job_id for job_state in found] == ["order-17"]
    assert wait(flow, found[0]).status == "completed"
    assert clerk.got == [{"yes": True}]
    assert flow.recover() == []
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_a_request_is_kept_when_its_process_is_killed(url):
    killed_process("ask_and_die", url, "order-17")
    flow, clerk = desk(store=url)
    assert flow.recover() == []
    flow.send_input("order-17", "approval", {"yes": True})
    assert wait(flow, flow.load("order-17")).status == "completed"
    assert clerk.got == [{"yes": True}]
    flow.shutdown()


def test_an_input_that_was_put_into_the_store_is_taken_up_by_recover(url):
    paused(url)
    put(url, '{"yes":true}')
    flow, clerk = desk(store=url)
    (job_state,) = flow.recover()
    assert wait(flow, job_state).status == "completed"
    assert clerk.got == [{"yes": True}]
    flow.shutdown()


def test_an_input_is_delivered_once_whoever_looks_and_however_often(url):
    paused(url, params={"names": ["approval", "approval"]})
    put(url, '{"n":1}')
    for expected in ([{"n": 1}], []):
        flow, clerk = desk(store=url)
        flow.recover()
        flow.shutdown()
        assert clerk.got == expected
    saved = kept(url)
    assert (saved["status"], len(saved["input_requests"]), saved["input_number"]) == ("paused", 1, 1)


def test_an_input_for_something_else_is_kept_and_the_run_stays_paused(url):
    paused(url)
    flow, _ = desk(store=url)
    flow.send_input("order-17", "other", {"n": 1})
    assert flow.recover() == []
    assert header_of(url).status == "paused"
    flow.send_input("order-17", "approval")
    job_state = wait(flow, flow.load("order-17"))
    assert (job_state.status, job_state.kept_inputs) == ("completed", [{"name": "other", "data": {"n": 1}}])
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_a_person_who_pauses_a_run_that_waits_is_not_overruled_by_another_process(url):
    flow, clerk = desk(store=url)
    job_state = flow.execute("clerk", ASKED, job_id="order-17")
    flow.pause(job_state, reason="lunch")
    flow.shutdown()
    assert other_process("send", url, "order-17", '{"yes": true}') == "paused []"
    flow, clerk = desk(store=url)
    assert flow.recover() == []
    assert wait(flow, flow.resume(flow.load("order-17"))).status == "completed"
    assert clerk.got == [{"yes": True}]
    flow.shutdown()


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_a_run_of_the_store_that_is_over_takes_no_input(url, status):
    flow, _ = desk(store=url)
    job_state = flow.execute("clerk", ASKED, job_id="order-17")
    if status == "cancelled":
        flow.cancel(job_state)
    else:
        flow.send_input("order-17", "approval")
        wait(flow, job_state)
    with pytest.raises(RuntimeError, match=f"takes no input: its status is '{status}'"):
        flow.send_input("order-17", "approval")
    assert len(inputs_of(url)) == (status == "completed")
    flow.shutdown()


def test_only_runs_of_this_flow_take_inputs(url):
    paused(url)
    other = Flow("other", store=url)
    with pytest.raises(ValueError, match="It is one of flow 'desk'"):
        other.send_input("order-17", "approval")
    with pytest.raises(ValueError, match="has no run 'order-18' of flow 'other'"):
        other.send_input("order-18", "approval")
    other.shutdown()


def test_data_that_are_no_json_are_refused_before_anything_is_kept(url):
    paused(url)
    flow, _ = desk(store=url)
    with pytest.raises(TypeError, match=r"the input 'approval'\['a'\]"):
        flow.send_input("order-17", "approval", {"a": {1, 2}})
    assert inputs_of(url) == []
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_a_run_that_went_on_elsewhere_is_loaded_as_it_is_now(url):
    flow, _ = desk(store=url)
    job_state = flow.execute("clerk", ASKED, job_id="order-17")
    assert flow.load("order-17") is job_state
    assert other_process("send", url, "order-17", '{"yes": true}') == 'completed [{"yes": true}]'
    assert flow.load("order-17").status == "completed"
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_a_run_that_went_on_elsewhere_takes_its_next_input_here(url):
    flow, clerk = desk(store=url)
    flow.execute("clerk", {"names": ["approval", "approval"]}, job_id="order-17")
    assert other_process("send", url, "order-17", '{"n": 1}') == 'paused [{"n": 1}]'
    flow.send_input("order-17", "approval", {"n": 2})
    assert wait(flow, flow.load("order-17")).status == "completed"
    assert clerk.got == [{"n": 2}]
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_a_stale_record_that_is_refused_leaves_the_run_to_others(url):
    flow, _ = desk(store=url)
    stale = flow.execute("clerk", {"names": ["approval", "approval"]}, job_id="order-17")
    other_process("send", url, "order-17", '{"n": 1}')
    with pytest.raises(ValueError, match="went on elsewhere"):
        flow.resume(stale)
    assert header_of(url).driver is None
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_many_threads_send_to_a_run_of_the_store_and_each_input_is_delivered_once(url, hasty_switching):
    count = 40
    gate, clerk = Gate(), Clerk()
    flow = draw(
        "a -> clerk.ask",
        "a -> slow",
        flow=Flow("letters", store=url, execution_strategy="concurrent"),
        a=entry(lambda routine, data: routine.emit("output", names=["letter"] * count)),
        clerk=clerk,
        slow=node(lambda routine, data: gate.hold()),
    )
    job_state = flow.execute("a", job_id="run")
    gate.await_arrival()

    def send(numbers: range) -> None:
        for number in numbers:
            flow.send_input("run", "letter", {"n": number})

    joins = [in_thread(lambda first=first: send(range(first, count, 4))) for first in range(4)]
    for join in joins:
        join()
    gate.open()
    assert wait(flow, job_state).status == "completed"
    assert sorted(data["n"] for data in clerk.got) == list(range(count))
    flow.shutdown()


# -- time


def test_a_request_times_out_in_the_process_that_recovers_it(url):
    paused(url, params={**ASKED, "timeout": 0.05})
    flow, clerk = desk(store=url)
    flow.recover()
    until = time.monotonic() + DEADLINE
    while flow.load("order-17").status != "completed":
        assert time.monotonic() < until
        wait(flow, flow.load("order-17"))
    assert clerk.got == [{"name": "approval", "timed_out": True}]
    flow.shutdown()


def test_the_time_of_a_request_is_not_reckoned_anew_after_a_restart(url):
    paused(url, params={**ASKED, "timeout": 1000.0})
    before = kept(url)["input_requests"][0]["due_at"]
    flow, _ = desk(store=url)
    job_state = flow.load("order-17")
    assert wait(flow, flow.resume(job_state)).status == "paused"
    assert job_state.input_requests[0]["due_at"] == before
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_a_delay_survives_the_death_of_its_process(url):
    began_at = datetime.now().astimezone()
    killed_process("delay_and_die", url, "order-17", "1.0")
    (pending,) = kept(url)["pending_tasks"]
    due_at = datetime.fromisoformat(pending["due_at"])
    assert (pending["slot"], pending["data"], pending["was"]) == ("take", {"n": 1}, "queued")
    assert (due_at - began_at).total_seconds() >= 1.0
    flow, routine = later(store=url)
    (job_state,) = flow.recover()
    assert wait(flow, job_state).status == "completed"
    assert routine.got == [1]
    assert job_state.execution_history[-2].timestamp.astimezone() >= due_at
    flow.shutdown()


@HEAVY_ON_POSTGRESQL
def test_a_flow_that_was_shut_down_looks_for_time_outs_again_when_it_recovers(url):
    paused(url, params={**ASKED, "timeout": 0.5})
    flow, clerk = desk(store=url)
    flow.recover()
    flow.shutdown()
    flow.recover()
    until = time.monotonic() + DEADLINE
    while flow.load("order-17").status != "completed":
        assert time.monotonic() < until
        wait(flow, flow.load("order-17"))
    assert clerk.got == [{"name": "approval", "timed_out": True}]
    flow.shutdown()


def test_a_shutdown_waits_for_the_last_look_into_the_store_which_leaves_no_file_open(tmp_path, monkeypatch):
    gate, closed = Gate(), threading.Event()
    look, close = SQLiteStore.inputs, SQLiteStore.close

    def held(store: SQLiteStore, *args: Any, **more: Any) -> list[StoredInput]:
        if threading.current_thread().name == "routilux-event-loop":
            gate.hold()
        return look(store, *args, **more)

    def noted(store: SQLiteStore) -> None:
        close(store)
        closed.set()

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        routine.request_input("approval", "answer")
        gate.await_arrival()

    monkeypatch.setattr(SQLiteStore, "inputs", held)
    monkeypatch.setattr(SQLiteStore, "close", noted)
    asks = entry(ask)
    asks.define_slot("answer")
    flow = draw(flow=Flow("asking", store=str(tmp_path / "runs.db")), a=asks)
    assert wait(flow, flow.execute("a", job_id="run")).status == "paused"
    join = in_thread(flow.shutdown)
    assert not closed.wait(0.1)
    gate.open()
    join()
    assert not [each for each in Path("/proc/self/fd").iterdir() if each.resolve().name.startswith("runs.db")]


# -- a store in trouble


class Fragile(MemoryStore):
    """A store that cannot be written while it is `broken`."""

    broken = False

    def write(self, writes: Any) -> None:
        if self.broken:
            raise StoreUnavailableError("The disk is full.")
        super().write(writes)


def test_a_run_is_not_paused_for_input_while_its_store_cannot_be_written():
    def ask(routine: Routine, data: dict[str, Any]) -> None:
        routine.request_input("approval", "answer")
        store.broken = True

    store = Fragile("memory:")
    asks = entry(ask)
    asks.define_slot("answer")
    flow = draw(flow=Flow("fragile", store=store), a=asks)
    job_state = flow.execute("a", job_id="run")
    assert (job_state.status, job_state.pause_points) == ("running", [])
    store.broken = False
    assert wait(flow, job_state).status == "paused"
    assert replayed(store, "run")["pause_points"][-1]["reason"] == "input: approval"
    flow.shutdown()


# -- crashes


def corresponding(store: Store) -> Flow:
    """A run that asks, and a handler of it that answers, while a second question waits for a second answer."""

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        for name in ("first", "second"):
            routine.request_input(name, "answer")
        routine.emit("output", name="first")

    def answer(routine: Routine, data: dict[str, Any]) -> None:
        # It runs again after a crash, and who sends again sends twice: so it looks first.
        job_id, name = own_run(routine).job_id, data["name"]
        if all(each.name != name for each in store.inputs(job_id)):
            flow.send_input(job_id, name, {"to": name})

    asks = entry(ask, events=("output", "next"))
    asks.define_slot("answer", lambda to: asks.emit("next", name="second") if to == "first" else None)
    flow = draw("a -> b", "a.next -> b", flow=Flow("letters", store=store), a=asks, b=node(answer))
    return flow


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def new_place(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Gives the URL of a store that is empty, each time another one."""
    given: Callable[[], str] = request.getfixturevalue("new_file" if request.param == "sqlite" else "new_schema")
    return given


@pytest.mark.parametrize("level", ["group", pytest.param("sync", marks=pytest.mark.slow)])
def test_no_request_and_no_input_is_lost_or_doubled_wherever_the_process_is_killed(new_place, level):
    report = crash_points(corresponding, "a", {}, new_place, level)
    assert report.problems == []
    assert report.points > 10


def desk_over(store: Store) -> Flow:
    return desk(store=store)[0]


@pytest.mark.parametrize("level", ["group", pytest.param("sync", marks=pytest.mark.slow)])
def test_a_run_that_goes_on_with_its_input_does_so_once_wherever_the_process_is_killed(new_place, level):
    def with_inputs() -> str:
        url = new_place()
        paused(url, "run 0", {"names": ["approval", "other"]})
        for name in ("approval", "other"):
            put(url, f'{{"for":"{name}"}}', "run 0", name)
        return url

    report = crash_points(desk_over, "clerk", {}, with_inputs, level)
    assert report.problems == []
    assert report.points > 10


@HEAVY_ON_POSTGRESQL
def test_no_input_is_missed_that_comes_while_its_run_is_being_paused(url):
    job_ids = [f"order-{number}" for number in range(40)]
    driving, clerk = desk(store=url)
    sending, other_clerk = desk(store=url)

    def send_all() -> None:
        with closing(open_store(url)) as store:
            for number, job_id in enumerate(job_ids):
                until = time.monotonic() + DEADLINE
                while store.find(job_id) is None:
                    assert time.monotonic() < until
                sending.send_input(job_id, "approval", {"n": number})

    join = in_thread(send_all)
    for job_id in job_ids:
        driving.execute("clerk", ASKED, job_id=job_id)
    join()
    driving.shutdown()
    sending.shutdown()
    with closing(open_store(url)) as store:
        assert {store.find(job_id).status for job_id in job_ids} == {"completed"}
    assert sorted(data["n"] for data in [*clerk.got, *other_clerk.got]) == list(range(40))


# -- what the journal says is what the run has


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["ask", "send"]), st.sampled_from("abc")), min_size=1, max_size=12))
def test_the_journal_knows_what_was_asked_and_sent_as_the_run_does(steps):
    store = MemoryStore("memory:")
    clerk = Clerk()

    def act(routine: Routine, data: dict[str, Any]) -> None:
        for what, name in steps:
            if what == "ask":
                clerk_of.request_input(name, "answer")
            else:
                flow.send_input(own_run(routine).job_id, name, {"name": name})

    clerk_of = entry(act)
    clerk_of.define_slot("answer", clerk.take)
    flow = draw(flow=Flow("model", store=store), a=clerk_of)
    job_state = wait(flow, flow.execute("a", job_id="run"))
    flow.shutdown()
    asked = {name: sum(step == ("ask", name) for step in steps) for name in "abc"}
    sent = {name: sum(step == ("send", name) for step in steps) for name in "abc"}
    for name in "abc":
        met = min(asked[name], sent[name])
        assert sum(data["name"] == name for data in clerk.got) == met
        assert sum(each["name"] == name for each in job_state.input_requests) == asked[name] - met
    assert job_state.status == ("paused" if job_state.input_requests else "completed")
    saved, live = replayed(store, "run"), json.loads(json.dumps(job_state.serialize()))
    for key in ("status", "input_requests", "pending_tasks"):
        assert saved.get(key, []) == live.get(key, [])
    assert saved.get("kept_inputs", []) == live.get("kept_inputs", [])
    assert saved.get("input_number") == live.get("input_number")
    assert [each["event_name"] for each in saved["execution_history"]] == [
        each["event_name"] for each in live["execution_history"]
    ]
