"""New code is deployed while runs are open: what fits goes on, and what does not is refused."""

import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routilux import ErrorHandler, ErrorStrategy, Flow, JobState, Routine
from routilux.errors import InvalidDataError, ResumeRefusedError
from routilux.flow.code_change import ResumeCheck
from routilux.testing import ManualExecutor
from tests.drawings import DEADLINE
from tests.durable.offices import (
    ORDERS,
    Desk,
    Door,
    OtherDesk,
    check_of,
    drawn,
    finish,
    left_by_last_month,
    one,
    store_form,
    takes_cents,
    takes_currency,
    takes_more,
    takes_optional,
    takes_order_only,
    takes_whole,
    verdicts,
)

_numbers = itertools.count()


# -- what goes on


@pytest.mark.parametrize(
    "desk",
    [
        lambda: Desk(order=one),
        lambda: OtherDesk(order=one),
        lambda: Desk(order=takes_optional),
        lambda: Desk(order=takes_more),
        lambda: Desk(order=takes_whole),
        lambda: Desk(order=takes_order_only),
        lambda: Desk(events=("billed",), order=one, other=one),
    ],
    ids=[
        "same",
        "class renamed",
        "new optional parameter",
        "takes all",
        "takes the whole",
        "parameter gone",
        "new event and slot",
    ],
)
def test_code_that_takes_what_waits_goes_on(url: str, desk: Callable[[], Routine]) -> None:
    left_by_last_month(url, Desk(order=one))
    with drawn(url, desk()) as flow:
        flow.add_routine(Desk(order=one), "new routine")
        assert set(verdicts(flow.check_resume("run")).values()) == {"ok"}
        finish(flow, flow.resume(flow.load("run")))


def test_a_routine_that_is_gone_hinders_no_run_that_has_nothing_for_it(url: str) -> None:
    executor = ManualExecutor()
    flow = drawn(url, Desk(order=one), executor=executor)
    flow.add_routine(Desk(order=(one, "append")), "archive")
    flow.pause(flow.execute("door", {"orders": ORDERS}, job_id="run"))
    assert flow.store is not None
    flow.store.close()
    with drawn(url, Desk(order=one)) as flow:
        assert verdicts(flow.check_resume("run")) == {"door": "ok", "desk": "ok", "archive": "ok"}
        assert check_of(flow, "archive").reason == "It is gone, and nothing waits for it."
        finish(flow, flow.resume(flow.load("run")))


# -- what is refused


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (
            lambda: Desk(order=one),
            lambda: Desk(order=takes_currency),
            "Slot 'order': its handler needs 'currency', which 2 waiting tasks do not have.",
        ),
        (
            lambda: Desk(order=one),
            lambda: Desk(orders=one),
            "There is no slot 'order' any more, for 2 waiting tasks. Did you mean 'orders'?",
        ),
        (
            lambda: Desk(order=one),
            lambda: Desk(order=takes_cents),
            "its handler takes 'cents' in place of 'amount', which 2 waiting tasks have: that would be dropped.",
        ),
        (
            lambda: Desk(order=one),
            lambda: Desk(order=None),
            "no handler any more, and 2 waiting tasks would do nothing",
        ),
    ],
    ids=["parameter needed", "slot renamed", "parameter renamed", "handler gone"],
)
def test_code_that_does_not_take_what_waits_is_refused_and_nothing_changes(
    url: str, before: Callable[[], Routine], after: Callable[[], Routine], reason: str
) -> None:
    left_by_last_month(url, before())
    kept = store_form(url)
    with drawn(url, after(), slot=None) as flow:
        job_state = flow.load("run")
        was = job_state.serialize()
        check = check_of(flow)
        assert (check.verdict, verdicts(flow.check_resume("run"))["door"]) == ("refuse", "ok")
        assert reason in check.reason
        assert f"flow.migrate('desk', '{check.fingerprint}', fn)" in check.advice
        with pytest.raises(ResumeRefusedError) as caught:
            flow.resume(job_state)
        assert caught.value.checks == (check,)
        assert isinstance(caught.value, ValueError)
        assert all(text in str(caught.value) for text in ("run", "desk", check.reason, check.advice))
        assert job_state.serialize() == was
    assert store_form(url) == kept
    with drawn(url, before()) as flow:  # last month's code is deployed once more
        finish(flow, flow.resume(flow.load("run")))


def test_a_routine_that_is_gone_is_refused_with_what_waits_for_it(url: str) -> None:
    left_by_last_month(url, Desk(order=one))
    with Flow("office", store=url) as flow:
        flow.add_routine(Door(), "door")
        flow.add_routine(Desk(order=one), "desks")
        check = check_of(flow)
        assert check.verdict == "refuse"
        assert "There is no routine 'desk' any more, and the run has 2 tasks waiting" in check.reason
        assert "Did you mean 'desks'?" in check.reason
        with pytest.raises(ResumeRefusedError, match="Keep a routine with this id"):
            flow.resume(flow.load("run"))


def test_data_that_a_slot_has_collected_are_not_left_behind(url: str) -> None:
    left_by_last_month(url, Desk(order=(one, "append")), steps=1)
    with drawn(url, Desk(order=one)) as flow:
        assert "merged by 'append', merges by 'override' now, and holds data already" in check_of(flow).reason
        with pytest.raises(ResumeRefusedError, match="merged by 'append'"):
            flow.resume(flow.load("run"))
    left_by_last_month(url, Desk(order=(one, "append")), orders=ORDERS[:1], steps=1, job_id="all merged")
    with drawn(url, Desk(orders=(one, "append")), slot=None) as flow:
        assert (
            "There is no slot 'order' any more, for what it has collected" in check_of(flow, job_id="all merged").reason
        )


def test_what_append_has_collected_for_a_parameter_is_not_dropped(url: str) -> None:
    left_by_last_month(url, Desk(order=(one, "append")), orders=ORDERS[:1], steps=1)
    with drawn(url, Desk(order=(takes_cents, "append"))) as flow:
        assert "takes 'cents' in place of 'amount', which it holds" in check_of(flow).reason


def test_what_a_merge_function_brings_need_not_be_in_the_waiting_data(url: str) -> None:
    def with_currency(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        return {**new, "currency": "EUR"}

    left_by_last_month(url, Desk(order=(one, lambda old, new: new)))
    with drawn(url, Desk(order=(takes_currency, with_currency))) as flow:
        assert check_of(flow).verdict == "ok"
        job_state = flow.resume(flow.load("run"))
        finish(flow, job_state)
        assert job_state.errors == []


def test_a_handler_that_has_emitted_does_not_emit_the_same_under_another_name(url: str) -> None:
    def fails(routine: Desk) -> Callable[..., None]:
        def handler(order: int, amount: int) -> None:
            routine.emit("billed", order=order)
            raise ConnectionError("the bank is closed")

        return handler

    desk = Desk(events=("billed",))
    desk.define_slot("order", fails(desk))
    desk.set_error_handler(ErrorHandler(ErrorStrategy.STOP))
    left_by_last_month(url, desk, status="failed", steps=1)
    with drawn(url, Desk(events=("invoiced",), order=one)) as flow:
        assert (
            "There is no event 'billed' any more, and a handler that is to run again has emitted it"
            in check_of(flow).reason
        )
        with pytest.raises(ResumeRefusedError, match="would come twice"):
            flow.resume(flow.load("run"))


def test_what_its_handler_could_not_take_before_is_no_matter_of_the_code(url: str) -> None:
    left_by_last_month(url, Desk(order=takes_currency))
    with drawn(url, Desk(order=takes_currency)) as flow:
        assert check_of(flow).reason == "It is as it was."
        job_state = flow.resume(flow.load("run"))
        JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        assert "currency" in job_state.errors[-1].data["error"]


# -- recovery


def test_recover_leaves_what_does_not_fit_paused_with_the_reason_and_the_others_go_on(url: str) -> None:
    left_by_last_month(url, Desk(order=one), job_id="old", status="running")
    left_by_last_month(url, Desk(order=takes_more), [{**ORDERS[0], "currency": "EUR"}], "new", "running")
    with drawn(url, Desk(order=takes_currency)) as flow:
        old, new = sorted(flow.recover(), key=lambda job_state: job_state.job_id, reverse=True)
        finish(flow, new)
        assert old.status == "paused"
        assert "its handler needs 'currency', which 2 waiting tasks do not have" in old.pause_points[-1]["reason"]
        assert len(old.pending_tasks) == 2
    with drawn(url, Desk(order=one)) as flow:
        assert flow.recover() == []
        finish(flow, flow.resume(flow.load("old")))


def test_recover_migrates(url: str) -> None:
    got: list[Any] = []
    left_by_last_month(url, Desk(order=one), status="running")
    with drawn(url, Desk(order=lambda order, amount, currency: got.append((order, amount, currency)))) as flow:
        flow.migrate("desk", check_of(flow).fingerprint, lambda slot, data: {**data, "currency": "EUR"})
        (job_state,) = flow.recover()
        finish(flow, job_state)
    assert got == [(1, 5, "EUR"), (2, 7, "EUR")]


# -- what is known of a run


def test_a_run_that_another_process_drives_can_be_checked(url: str) -> None:
    driving = drawn(url, Desk(order=one), executor=ManualExecutor())
    driving.execute("door", {"orders": ORDERS}, job_id="run")
    kept = store_form(url)
    with drawn(url, Desk(order=takes_currency)) as flow:
        assert "2 waiting tasks" in check_of(flow).reason
    assert store_form(url) == kept
    assert "as it was" in check_of(driving).reason


def test_a_file_of_a_run_is_checked_by_what_waits(tmp_path: Path) -> None:
    executor = ManualExecutor()
    flow = Flow("office", executor=executor)
    flow.add_routine(Door(), "door")
    flow.add_routine(Desk(order=one), "desk")
    flow.connect("door", "order", "desk", "order")
    job_state = flow.execute("door", {"orders": ORDERS})
    flow.pause(job_state)
    job_state.save(tmp_path / "run.json")

    def deployed(handler: Callable[..., None]) -> Flow:
        flow = Flow("office")
        flow.add_routine(Door(), "door")
        flow.add_routine(Desk(order=handler), "desk")
        return flow

    loaded = JobState.load(tmp_path / "run.json")
    with deployed(takes_currency) as flow:
        check = next(check for check in flow.check_resume(loaded) if check.verdict == "refuse")
        assert (check.routine_id, check.fingerprint) == ("desk", "")
        assert "needs 'currency'" in check.reason
        assert "pending_tasks" in check.advice
        with pytest.raises(ResumeRefusedError, match="needs 'currency'"):
            flow.resume(loaded)
        for entry in loaded.pending_tasks:
            entry["data"]["currency"] = "EUR"
        finish(flow, flow.resume(loaded))
    with deployed(takes_optional) as flow:
        loaded = JobState.load(tmp_path / "run.json")
        assert set(verdicts(flow.check_resume(loaded)).values()) == {"ok"}
        finish(flow, flow.resume(loaded))


def test_a_run_at_work_is_checked_by_what_waits_in_it(url: str) -> None:
    flow = drawn(url, Desk(order=one), executor=ManualExecutor())
    job_state = flow.execute("door", {"orders": ORDERS}, job_id="run")
    slot = flow.routines["desk"].get_slot("order")
    assert slot is not None
    slot.handler = takes_currency
    flow.add_routine(Desk(order=one), "new")
    assert job_state.status == "running"
    assert "2 waiting tasks" in check_of(flow).reason


def test_a_run_that_this_very_flow_has_paused_is_asked_for_names_only() -> None:
    executor = ManualExecutor()
    flow = Flow("office", executor=executor)
    flow.add_routine(Door(), "door")
    flow.add_routine(Desk(order=takes_currency), "desk")
    flow.connect("door", "order", "desk", "order")
    job_state = flow.execute("door", {"orders": ORDERS})
    flow.pause(job_state)
    assert set(verdicts(flow.check_resume(job_state)).values()) == {"ok"}
    flow.resume(job_state)
    executor.run_until_idle()
    assert len(job_state.errors) == 2


def test_a_job_id_asks_for_a_store() -> None:
    with pytest.raises(ValueError, match="has no store"):
        Flow("office").check_resume("run")


def test_a_drawing_of_thousands_of_routines_is_kept_as_fingerprints(url: str) -> None:
    def huge(handler: Callable[..., None]) -> Flow:
        flow = drawn(url, Desk(order=handler), executor=ManualExecutor())
        for number in range(2000):
            flow.add_routine(Desk(order=one), f"r{number}")
        return flow

    flow = huge(one)
    flow.pause(flow.execute("door", {"orders": ORDERS}, job_id="run"))
    header, _ = store_form(url)
    assert len(header.fingerprint) < 2002 * 25
    assert flow.store is not None
    flow.store.close()
    flow = huge(takes_currency)
    check = check_of(flow)
    assert "needs 'currency'" in check.reason
    flow.migrate("desk", check.fingerprint, lambda slot, data: {**data, "currency": "EUR"})
    assert [check.verdict for check in flow.check_resume("run") if check.verdict != "ok"] == ["migrate"]


def test_what_is_kept_by_a_newer_routilux_is_not_guessed_at(url: str) -> None:
    left_by_last_month(url, Desk(order=one))
    for kept, named in ((json.dumps({"v": 99}), "newer routilux"), ("[]", "none"), ('{"v": 1, "routines": 3}', "none")):
        with drawn(url, Desk(order=one)) as flow:
            job_state = flow.load("run")
            flow._engine.durability.scribe_of(job_state).structure = kept  # noqa: SLF001 - as the store would have it
            with pytest.raises(InvalidDataError, match=named):
                flow.resume(job_state)


def test_a_routine_added_after_the_first_run_is_known_of_the_next_run(url: str) -> None:
    flow = drawn(url, Desk(order=one), executor=ManualExecutor())
    flow.execute("door", {"orders": []}, job_id="first")
    flow.add_routine(Desk(order=one), "late")
    flow.execute("door", {"orders": []}, job_id="second")
    assert "late" not in store_form(url, "first")[0].fingerprint
    assert "late" in store_form(url, "second")[0].fingerprint


def test_a_refusal_can_be_pickled() -> None:
    error = ResumeRefusedError("run", [ResumeCheck("desk", "refuse", "It is gone.", "Bring it back.", "0badcafe")])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.job_id, again.checks) == (str(error), error.job_id, error.checks)


# -- what is promised of all handlers and data

_names = st.sampled_from(["a", "b", "c", "d"])
_params = st.lists(_names, unique=True, max_size=4)


def handler_of(required: list[str], optional: list[str], takes_rest: bool) -> Callable[..., Any]:
    optional = [name for name in optional if name not in required]
    signature = ", ".join([*required, *(f"{name}=None" for name in optional), *(["**rest"] if takes_rest else [])])
    scope: dict[str, Any] = {}
    exec(f"def handler({signature}): pass", scope)  # noqa: S102 - letters, out of the lists above
    handler: Callable[..., Any] = scope["handler"]
    return handler


@example(required=["a"], optional=["b"], takes_rest=False, data=[{"c": 1}])
@given(
    required=_params,
    optional=_params,
    takes_rest=st.booleans(),
    data=st.lists(st.dictionaries(_names, st.integers(), max_size=4), max_size=3),
)
def test_a_run_is_refused_exactly_when_a_call_would_fail(
    required: list[str], optional: list[str], takes_rest: bool, data: list[dict[str, int]]
) -> None:
    handler = handler_of(required, optional, takes_rest)
    flow = Flow("office")
    desk = Desk(order=handler)
    flow.add_routine(desk, "desk")
    job_state = JobState("office")
    job_state.pending_tasks += [{"routine_id": "desk", "slot": "order", "data": each} for each in data]
    (check,) = flow.check_resume(job_state)
    slot = desk.get_slot("order")
    assert slot is not None

    def fails(each: dict[str, int]) -> bool:
        try:
            slot.call_handler(each, propagate_exceptions=True)
        except TypeError:
            return True
        return False

    assert (check.verdict == "refuse") == any(map(fails, data))


@given(st.permutations(["a", "b", "c"]), st.permutations(["c", "d"]))
def test_a_fingerprint_does_not_depend_on_the_order_of_parameters_and_slots(
    parameters: list[str], slots: list[str]
) -> None:
    def fingerprint(parameters: list[str], slots: list[str]) -> str:
        url = f"memory:fp-{next(_numbers)}"
        flow = Flow("office", store=url, executor=ManualExecutor())
        flow.add_routine(Desk(**{name: handler_of(parameters, [], takes_rest=False) for name in slots}), "desk")
        flow.add_routine(Door(), "door")
        return check_of_run(flow)

    assert fingerprint(parameters, slots) == fingerprint(["a", "b", "c"], ["c", "d"])
    assert fingerprint(parameters, slots) != fingerprint(["a", "b"], ["c", "d"])
    assert fingerprint(parameters, slots) != fingerprint(["a", "b", "c"], ["c", "e"])


def check_of_run(flow: Flow) -> str:
    job_state = flow.execute("door", {"orders": []})
    return next(check.fingerprint for check in flow.check_resume(job_state) if check.routine_id == "desk")
