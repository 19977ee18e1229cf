"""A fork is a new run from any point of another one, which stays as it is."""

import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.job_state import ledger_of
from routilux.ledger import RecordKey
from routilux.stores import Store, open_store
from routilux.testing import FakeClock
from tests.drawings import Gate, collector, draw, entry, fails, node, own_run, relay, source, wait


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store("memory:" if request.param == "memory" else tmp_path / "runs.db")
    yield opened
    opened.close()


def outcome(job_state: JobState) -> dict[str, Any]:
    """What a run did and left, without times."""
    saved = job_state.serialize()
    history = [
        (record.routine_id, record.event_name, {k: v for k, v in record.data.items() if k not in UNLIKE})
        for record in job_state.execution_history
    ]
    outputs = [entry["data"] for entry in saved["output_log"]]
    return {"history": history, "outputs": outputs, **{name: saved[name] for name in SAME}}


UNLIKE = {"execution_time", "traceback"}
SAME = ("status", "shared_data", "slot_data", "current_routine_id")


def counts(routine: Routine, data: dict[str, Any]) -> None:
    own_run(routine).modify_shared_data("items", lambda before: [*before, data["item"]], [])


def sums(store: Store, **options: Any) -> Flow:
    flow = Flow("drawn", store=store, **options)
    return draw("a -> b -> c", flow=flow, a=source(1, 2, 3), b=relay(), c=node(counts))


# -- any flow, any record


def add_up(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {"plan": new["plan"], "count": before.get("count", 0) + 1}


def follows(routine: Routine, data: dict[str, Any]) -> None:
    """Do what the data say: share, send, emit what comes next, fail."""
    plan = data["plan"]
    if isinstance(plan, list) and plan and isinstance(plan[-1], dict):
        plan = plan[-1]  # of what "append" has collected, the newest
    state = own_run(routine)
    state.modify_shared_data("steps", lambda before: before + 1, 0)
    if plan["sends"]:
        routine.send_output("line", steps=state.get_shared_data("steps"))
    for target, inner in plan["next"]:
        routine.emit(target, plan=inner)
    if plan["fails"]:
        raise ValueError("as planned")


EVENTS = ("plain", "appending", "adding")

plans = st.recursive(
    st.fixed_dictionaries({"sends": st.booleans(), "fails": st.booleans(), "next": st.just([])}),
    lambda inner: st.fixed_dictionaries(
        {
            "sends": st.booleans(),
            "fails": st.booleans(),
            "next": st.lists(st.tuples(st.sampled_from(EVENTS), inner).map(list), max_size=3),
        }
    ),
    max_leaves=6,
)


def planned(store: Store, strategy: str) -> Flow:
    flow = Flow("drawn", store=store)
    flow.set_error_handler(ErrorHandler(strategy))
    strategies = {"plain": "override", "appending": "append", "adding": add_up}
    flow.add_routine(entry(follows, events=EVENTS), "start")
    for name, merge_strategy in strategies.items():
        flow.add_routine(node(follows, events=EVENTS, merge_strategy=merge_strategy), name)
    for name, target in itertools.product(("start", *EVENTS), EVENTS):
        flow.connect(name, target, target, "input")
    return flow


@settings(max_examples=25)
@given(plan=plans, strategy=st.sampled_from(["continue", "skip"]), kind=st.sampled_from(["memory:", "file"]))
def test_from_every_record_of_any_flow_a_fork_comes_to_the_same_end(
    plan: dict[str, Any], strategy: str, kind: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(kind if kind == "memory:" else f"{folder}/runs.db")
        with planned(store, strategy) as flow:
            origin = wait(flow, flow.execute("start", {"plan": plan}))
            rows, header, wanted = store.rows(origin.job_id), store.find(origin.job_id), outcome(origin)
            for at in range(len(origin.execution_history)):
                forked = wait(flow, flow.fork(origin, at))
                assert outcome(forked) == wanted, f"forked at {at}"
            assert store.rows(origin.job_id) == rows
            assert store.find(origin.job_id) == header
        store.close()


# -- where it begins


def test_a_fork_begins_at_the_last_settlement_that_is_not_after_the_record(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
        names = [f"{record.routine_id}.{record.event_name}" for record in origin.execution_history]
        at = names.index("c.completed")
        exactly, later = flow.fork(origin, at), flow.fork(origin, at + 1)

        assert exactly.metadata["forked_from"] == {"job_id": origin.job_id, "record_count": at + 1}
        assert later.metadata["forked_from"] == exactly.metadata["forked_from"]


@pytest.mark.parametrize(("strategy", "last"), [("continue", "error_continued"), ("stop", "error")])
def test_a_failure_is_a_settlement_as_well(store: Store, strategy: str, last: str) -> None:
    broken = node(fails(ValueError("no")), error_handler=ErrorHandler(strategy))
    with draw("a -> b", flow=Flow("drawn", store=store), a=source(1, 2), b=broken) as flow:
        origin = flow.run("a")
        at = [record.event_name for record in origin.execution_history].index(last)
        forked = wait(flow, flow.fork(origin, at))

        assert forked.metadata["forked_from"]["record_count"] == at + 1


def test_before_the_first_settlement_a_fork_begins_at_the_start(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
        forked = wait(flow, flow.fork(origin, 1))

        assert forked.metadata["forked_from"]["record_count"] == 0
        assert outcome(forked) == outcome(origin)


def test_a_fork_has_times_and_records_of_the_old_run_up_to_its_point(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
        forked = wait(flow, flow.fork(origin, 7))
        count = forked.metadata["forked_from"]["record_count"]

        before = [(record.event_name, record.timestamp) for record in origin.execution_history[:count]]
        assert count > 1
        assert [(record.event_name, record.timestamp) for record in forked.execution_history[:count]] == before


def test_what_was_settled_does_not_run_again_in_a_fork(store: Store) -> None:
    got: list[dict[str, Any]] = []
    with draw("a -> b", flow=Flow("drawn", store=store), a=source(1, 2, 3), b=collector(got)) as flow:
        origin = flow.run("a")
        names = [f"{record.routine_id}.{record.event_name}" for record in origin.execution_history]
        got.clear()
        wait(flow, flow.fork(origin, names.index("b.completed")))

        assert [data["item"] for data in got] == [2, 3]


def test_a_run_forks_after_a_resume_with_what_was_changed_before_it(store: Store) -> None:
    flow = draw(
        "a -> b",
        flow=Flow("drawn", store=store),
        a=source(1),
        b=node(fails(ValueError("no"), 1), error_handler=ErrorHandler("stop")),
    )
    with flow:
        origin = flow.run("a")
        origin.update_shared_data("mended", True)
        wait(flow, flow.resume(origin))
        at = [record.event_name for record in origin.execution_history].index("error")

        assert flow.fork(origin, at).get_shared_data("mended") is True


def test_a_live_run_forks_with_what_it_has_done_so_far(store: Store) -> None:
    gate = Gate()
    with draw("a -> b -> c", flow=Flow("drawn", store=store), a=source(1), b=node(gate.act), c=node(counts)) as flow:
        origin = flow.execute("a")
        gate.await_arrival()
        forked = flow.fork(origin, len(origin.execution_history) - 1)
        gate.open()

        assert wait(flow, forked).get_shared_data("items") == [1]
        assert wait(flow, origin).get_shared_data("items") == [1]


def test_a_finished_run_forks_by_its_job_id_in_another_flow_object(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
    with sums(store) as other:
        forked = wait(other, other.fork(origin.job_id, 0))

        assert outcome(forked) == outcome(origin)


# -- what is different


def test_changes_set_shared_values_before_the_fork_goes_on(store: Store) -> None:
    with sums(store) as flow:
        forked = wait(flow, flow.fork(flow.run("a"), 0, {"items": ["before"]}))

        assert forked.get_shared_data("items") == ["before", 1, 2, 3]


def test_changes_may_be_a_function_of_the_new_run(store: Store) -> None:
    def change(job_state: JobState) -> None:
        for task in job_state.pending_tasks:
            task["data"]["item"] = 10 * task["data"]["item"]
        job_state.metadata["why"] = "what if"

    with sums(store) as flow:
        origin = flow.run("a")
        at = [record.event_name for record in origin.execution_history].index("completed")
        forked = wait(flow, flow.fork(origin, at, change))

        assert forked.get_shared_data("items") == [10, 20, 30]
        assert store.load(forked.job_id).metadata["why"] == "what if"
        assert origin.get_shared_data("items") == [1, 2, 3]


def test_a_function_of_changes_may_not_rename_the_run(store: Store) -> None:
    with sums(store) as flow, pytest.raises(ValueError, match="neither rename nor start"):
        flow.fork(flow.run("a"), 0, lambda job_state: setattr(job_state, "job_id", "mine"))


def test_what_a_change_raises_leaves_no_run(store: Store) -> None:
    def fail(_: JobState) -> None:
        raise LookupError("no such thing")

    with sums(store) as flow:
        origin = flow.run("a")
        with pytest.raises(LookupError):
            flow.fork(origin, 0, fail, job_id="forked")

        assert [header.job_id for header in store.list_runs()] == [origin.job_id]


# -- the new run


def test_a_fork_is_in_the_store_when_the_call_returns(store: Store) -> None:
    with sums(store) as flow:
        forked = flow.fork(flow.run("a"), 4, job_id="forked")

        assert forked.job_id == "forked"
        assert store.find("forked") is not None
        assert flow.load("forked") is forked
        wait(flow, forked)
        assert store.load("forked").status == "completed"


def test_a_fork_has_an_entry_of_its_own(store: Store) -> None:
    def entry_id(job_state: JobState) -> str:
        operations = [op for row in store.rows(job_state.job_id) for op in json.loads(row.body)]
        found: str = next(op[1] for op in operations if op[0] == "b")
        return found

    with sums(store) as flow:
        origin = flow.run("a", {})
        forked = wait(flow, flow.fork(origin, 0))

        assert entry_id(forked) != entry_id(origin)
        assert forked.execution_history[0].data == origin.execution_history[0].data


def test_a_fork_can_be_forked_from_where_it_began_and_not_from_before(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
        forked = wait(flow, flow.fork(origin, 9))
        count = forked.metadata["forked_from"]["record_count"]
        again = wait(flow, flow.fork(forked, count - 1))

        assert again.metadata["forked_from"] == {"job_id": forked.job_id, "record_count": count}
        assert outcome(again) == outcome(origin)
        with pytest.raises(ValueError, match=f"older than what the store can go back to.*record {count - 1} on"):
            flow.fork(forked, count - 2)


def test_a_fork_of_a_long_history_is_forked_by_the_same_numbers(store: Store) -> None:
    with draw("a -> b", flow=Flow("drawn", store=store), a=source(*range(1500)), b=node()) as flow:
        origin = flow.run("a")
        at = 2 + 1500 + 2 * 1200
        forked = wait(flow, flow.fork(origin, at))

        assert len(store.rows(forked.job_id, limit=4)) == 4
        assert forked.metadata["forked_from"]["record_count"] in (at, at + 1)
        assert [record.data.get("item") for record in store.history(forked.job_id, 1400, 10)] == [
            record.data.get("item") for record in origin.execution_history[1400:1410]
        ]


def test_records_that_a_run_has_forgotten_in_memory_keep_their_numbers_in_a_fork(store: Store) -> None:
    with sums(store, history_limit=3) as flow:
        origin = flow.run("a")
        count = len(store.history(origin.job_id))
        forked = wait(flow, flow.fork(origin, count - 2))
        newest = len(forked.execution_history)
        total = newest + forked.metadata["history_dropped"]

        assert total == count
        assert wait(flow, flow.fork(forked, count - 1)).status == "completed"
        assert len(store.history(forked.job_id, count - 1)) == 1
        with pytest.raises(ValueError, match="older than what the store can go back to"):
            flow.fork(forked, 0)


# -- what is refused


def test_there_is_no_fork_at_a_record_that_there_is_not(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
        count = len(origin.execution_history)
        with pytest.raises(ValueError, match=f"no record {count}: the store has {count}"):
            flow.fork(origin, count)
        for at in (-1, True, 1.5):
            with pytest.raises(ValueError, match="number of a record"):
                flow.fork(origin, at)  # type: ignore[arg-type]


def test_a_fork_takes_no_job_id_that_the_store_has(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
        with pytest.raises(ValueError, match="already"):
            flow.fork(origin, 0, job_id=origin.job_id)


def test_a_run_of_another_flow_is_not_forked(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
    with Flow("other", store=store) as other, pytest.raises(ValueError, match="belongs to flow 'drawn'"):
        other.fork(origin.job_id, 0)


def test_a_run_that_the_store_does_not_have_is_not_forked(store: Store) -> None:
    with sums(store) as flow:
        for run in ("nowhere", JobState("drawn")):
            with pytest.raises(ValueError, match="has no run"):
                flow.fork(run, 0)


def test_a_fork_needs_a_store() -> None:
    with draw("a -> b", a=source(1), b=node()) as flow:
        job_state = flow.run("a")
        with pytest.raises(ValueError, match="has no store"):
            flow.fork(job_state, 0)


def test_a_fork_that_names_what_the_flow_does_not_have_leaves_no_run(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
    with draw(flow=Flow("drawn", store=store), a=source(1)) as smaller:
        with pytest.raises(ValueError, match=r"'b'|'c'"):
            smaller.fork(origin.job_id, 5)

        assert [header.job_id for header in store.list_runs()] == [origin.job_id]


def test_a_record_of_the_application_counts_as_one(store: Store) -> None:
    with sums(store) as flow:
        origin = flow.run("a")
        with ledger_of(origin).lock:
            before = origin.record_total()
            ledger_of(origin).write(RecordKey("a", "note"), ledger_of(origin).now(), {"text": "seen"})
        flow.resume(origin)
        wait(flow, origin)

        assert store.history(origin.job_id, before, 1)[0].event_name == "note"
        assert wait(flow, flow.fork(origin, before)).status == "completed"


def test_a_fork_of_a_concurrent_run_does_everything_once(store: Store) -> None:
    def both(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", item=data["item"])
        routine.emit("output", item=-data["item"])

    def deeds(job_state: JobState) -> Counter[str]:
        return Counter(
            f"{record.routine_id}.{record.event_name} {record.data.get('item')}"
            for record in job_state.execution_history
        )

    flow = draw("a -> b -> c", flow=Flow("drawn", store=store), a=source(*range(1, 7)), b=node(both), c=node())
    flow.set_execution_strategy("concurrent", 4)
    with flow:
        origin = flow.run("a")
        for at in range(0, len(origin.execution_history), 3):
            assert deeds(wait(flow, flow.fork(origin, at))) == deeds(origin), f"forked at {at}"


def test_a_fork_is_as_old_as_itself_and_not_as_the_run_that_it_was_made_from(store: Store) -> None:
    clock = FakeClock()
    with sums(store, clock=clock) as flow:
        old = wait(flow, flow.execute("a", job_id="old"))
        clock.advance(100.0)
        since = clock.time_ns() / 1e9
        wait(flow, flow.execute("a", job_id="other"))
        clock.advance(100.0)
        fork = wait(flow, flow.fork("old", at=1, job_id="fork"))
        assert [header.job_id for header in store.list_runs()] == ["fork", "other", "old"]
        assert [header.job_id for header in store.list_runs(since=since)] == ["fork", "other"]
        assert store.load("fork").created_at == fork.created_at
        assert (fork.created_at - old.created_at).total_seconds() == pytest.approx(200.0)
        assert store.prune(keep=1) == 2
        assert [header.job_id for header in store.list_runs()] == ["fork"]
