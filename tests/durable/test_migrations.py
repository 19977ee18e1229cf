"""Registered functions bring what waits into the form that new code takes; once, and all of it or nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from routilux import Flow, JobState
from routilux.errors import DuplicateNameError, InvalidTypeError, ResumeRefusedError, StoreUnavailableError
from routilux.flow import resuming
from routilux.stores.opening import open_store
from routilux.testing import ManualExecutor
from tests.drawings import DEADLINE, Gate
from tests.durable.offices import (
    ORDERS,
    Desk,
    check_of,
    drawn,
    finish,
    left_by_last_month,
    one,
    store_form,
    takes_currency,
    verdicts,
)


def test_a_migration_gives_waiting_tasks_another_slot_and_other_data_once(url: str) -> None:
    got: list[Any] = []
    called: list[Any] = []

    def handler(order: int, cents: int) -> None:
        got.append((order, cents))

    def migrated(slot: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        called.append(data["order"])
        return "orders", {"order": data.pop("order"), "cents": data["amount"] * 100}

    left_by_last_month(url, Desk(order=one))
    executor = ManualExecutor()
    flow = drawn(url, Desk(orders=handler), slot="orders", executor=executor)
    old = check_of(flow).fingerprint
    flow.migrate("desk", old, migrated)
    assert check_of(flow).verdict == "migrate"
    assert old in check_of(flow).reason
    called.clear()
    job_state = flow.resume(flow.load("run"))
    assert called == [1, 2]
    assert executor.step()
    flow.pause(job_state)
    assert flow.store is not None
    flow.store.close()
    with drawn(url, Desk(orders=handler), slot="orders") as flow:  # the run has this code's fingerprint now
        flow.migrate("desk", old, migrated)
        assert (check_of(flow).verdict, check_of(flow).reason) == ("ok", "It is as it was.")
        assert check_of(flow).fingerprint != old
        finish(flow, flow.resume(flow.load("run")))
    assert (got, called) == ([(1, 500), (2, 700)], [1, 2])


def test_migrated_tasks_are_in_the_store_before_anything_of_them_runs(url: str) -> None:
    left_by_last_month(url, Desk(order=one))
    flow = drawn(url, Desk(order=takes_currency), executor=ManualExecutor())
    flow.migrate("desk", check_of(flow).fingerprint, lambda slot, data: {**data, "currency": "EUR"})
    flow.resume(flow.load("run"))
    with drawn(url, Desk(order=takes_currency)) as other:
        assert [entry["data"]["currency"] for entry in other.load("run").pending_tasks] == ["EUR", "EUR"]
        assert check_of(other).reason == "It is as it was."


def test_what_a_slot_has_collected_is_migrated_by_a_function_of_its_own(url: str) -> None:
    got: list[Any] = []
    left_by_last_month(url, Desk(order=(one, "append")), steps=1)

    def rename(slot: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return "orders", {"orders": data["order"]}

    def draw_new() -> Flow:
        desk = Desk(orders=(lambda orders: got.append(orders), "append"))  # noqa: PLW0108 - a parameter of this name
        return drawn(url, desk, slot="orders")

    with draw_new() as flow:
        fingerprint = check_of(flow).fingerprint
        flow.migrate("desk", fingerprint, rename)
        assert check_of(flow).verdict == "refuse"
        assert "flow.migrate(..., held=fn)" in check_of(flow).advice
    with draw_new() as flow:
        flow.migrate("desk", fingerprint, rename, held=rename)
        job_state = flow.resume(flow.load("run"))
        finish(flow, job_state)
        assert list(job_state.serialize()["slot_data"]["desk"]) == ["orders"]
    assert got == [[1, 2]]


@pytest.mark.parametrize(
    ("migration", "named"),
    [
        (lambda slot, data: {**data, "cents": data["gone"]}, "raised KeyError: 'gone'. Correct"),
        (lambda slot, data: None, "returned None"),
        (lambda slot, data: ("order", data, "more"), "neither a dict nor a tuple"),
        (lambda slot, data: {"order": object()}, "object"),
        (lambda slot, data: data, "After its migration: Slot 'order': its handler needs 'currency'"),
        (
            lambda slot, data: ("ordr", data),
            "There is no slot 'ordr' any more, for 2 waiting tasks. Did you mean 'order'",
        ),
    ],
)
def test_a_migration_that_fails_refuses_the_run_and_nothing_changes(
    url: str, migration: Callable[..., Any], named: str
) -> None:
    left_by_last_month(url, Desk(order=one))
    left_by_last_month(url, Desk(order=one), job_id="died", status="running")
    kept = store_form(url)
    with drawn(url, Desk(order=takes_currency)) as flow:
        flow.migrate("desk", check_of(flow).fingerprint, migration)
        job_state = flow.load("run")
        was = job_state.serialize()
        with pytest.raises(ResumeRefusedError) as caught:
            flow.resume(job_state)
        assert named in str(caught.value)
        assert job_state.serialize() == was
        (died,) = flow.recover()
        assert died.status == "paused"
        assert named in died.pause_points[-1]["reason"]
        assert [entry["data"] for entry in died.pending_tasks] == ORDERS
    assert store_form(url) == kept


def test_a_check_changes_nothing_though_a_migration_changes_what_it_gets(url: str) -> None:
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=takes_currency)) as flow:
        flow.migrate("desk", check_of(flow).fingerprint, lambda slot, data: data.update(currency="EUR") or data)
        job_state = flow.load("run")
        was = job_state.serialize()
        assert verdicts(flow.check_resume(job_state))["desk"] == "migrate"
        assert job_state.serialize() == was


def test_a_migration_is_for_one_fingerprint_and_the_advice_names_those_that_there_are(url: str) -> None:
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=takes_currency)) as flow:
        flow.migrate("desk", "0badcafe", lambda slot, data: {**data, "currency": "EUR"})
        assert check_of(flow).verdict == "refuse"
        assert "'0badcafe'" in check_of(flow).advice


def test_one_fingerprint_has_one_migration() -> None:
    flow = Flow()
    flow.migrate("desk", "0badcafe", lambda slot, data: data)
    with pytest.raises(DuplicateNameError, match="0badcafe"):
        flow.migrate("desk", "0badcafe", lambda slot, data: data)
    with pytest.raises(InvalidTypeError, match="function of"):
        flow.migrate("desk", "1badcafe", "currency")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from_fingerprint"):
        flow.migrate("desk", "", lambda slot, data: data)


def test_a_migration_may_use_the_flow_itself(url: str) -> None:
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=takes_currency)) as flow:

        def ask(slot: str, data: dict[str, Any]) -> dict[str, Any]:
            answer = Flow("rates")
            desk = Desk()
            desk.define_slot("trigger", lambda: None)
            answer.add_routine(desk, "ask")
            assert answer.run("ask", timeout=DEADLINE).status == "completed"
            return {**data, "currency": "EUR"}

        flow.migrate("desk", check_of(flow).fingerprint, ask)
        finish(flow, flow.resume(flow.load("run")))


def test_what_two_slots_have_collected_is_not_put_into_one(url: str) -> None:
    executor = ManualExecutor()
    flow = drawn(url, Desk(order=(one, "append"), late=(one, "append")), executor=executor)
    flow.connect("door", "order", "desk", "late")
    job_state = flow.execute("door", {"orders": ORDERS[:1]}, job_id="run")
    assert executor.run_until_idle() == 2
    flow.pause(job_state)
    assert flow.store is not None
    flow.store.close()
    with drawn(url, Desk(order=(one, "append"))) as flow:
        flow.migrate(
            "desk", check_of(flow).fingerprint, lambda slot, data: data, held=lambda slot, data: ("order", data)
        )
        assert "puts what two slots hold into one, 'order'" in check_of(flow).reason


def test_a_routine_that_is_as_it_was_is_not_migrated(url: str) -> None:
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=one)) as flow:
        flow.migrate("desk", check_of(flow).fingerprint, lambda slot, data: {"gone": 1})
        assert check_of(flow).verdict == "ok"
        finish(flow, flow.resume(flow.load("run")))


def counted(slot: str, data: dict[str, Any]) -> dict[str, Any]:
    """A migration that shows when it was done twice."""
    return {**data, "currency": data.get("currency", "") + "EUR"}


def test_a_resume_that_cannot_begin_takes_the_migration_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=takes_currency)) as flow:
        flow.migrate("desk", check_of(flow).fingerprint, counted)
        job_state = flow.load("run")
        with monkeypatch.context() as patch:
            patch.setattr(resuming, "go_on", raising(OSError("no thread")))
            with pytest.raises(OSError, match="no thread"):
                flow.resume(job_state)
        assert [entry["data"] for entry in job_state.pending_tasks] == ORDERS
        finish(flow, flow.resume(job_state))


def test_a_resume_that_the_store_has_not_heard_of_is_not_migrated_twice(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=lambda order, amount, currency: got.append(currency))) as flow:
        flow.migrate("desk", check_of(flow).fingerprint, counted)
        job_state = flow.load("run")
        with monkeypatch.context() as patch:
            patch.setattr(flow.store, "write", raising(StoreUnavailableError("the disk is full")))
            with pytest.raises(StoreUnavailableError):
                flow.resume(job_state)
        assert job_state.status == "paused"
        finish(flow, flow.resume(job_state))
    assert got == ["EUR", "EUR"]


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*args: Any) -> None:
        raise error

    return fail


def test_what_comes_to_wait_while_a_migration_runs_is_migrated_as_well(url: str) -> None:
    got: list[Any] = []
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=lambda order, amount, currency: got.append((order, currency)))) as flow:
        job_state = flow.load("run")
        late = [{"routine_id": "desk", "slot": "order", "data": {"order": 3, "amount": 9}}]

        def migrated(slot: str, data: dict[str, Any]) -> dict[str, Any]:
            if late:
                job_state.pending_tasks.append(late.pop())
            return counted(slot, data)

        fingerprint = next(check.fingerprint for check in flow.check_resume(job_state) if check.routine_id == "desk")
        flow.migrate("desk", fingerprint, migrated)
        finish(flow, flow.resume(job_state))
    assert got == [(1, "EUR"), (2, "EUR"), (3, "EUR")]


def test_a_run_whose_handlers_are_at_work_is_not_migrated_under_their_hands(url: str) -> None:
    gate = Gate()
    desk = Desk()

    def pauses(order: int, amount: int) -> None:
        context = desk.get_execution_context()
        assert context is not None
        context.flow.pause(context.job_state)
        gate.hold()

    desk.define_slot("order", pauses)
    with drawn(url, desk) as flow:
        job_state = flow.execute("door", {"orders": ORDERS}, job_id="run")
        gate.await_arrival()
        before = check_of(flow).fingerprint
        slot = desk.get_slot("order")
        assert slot is not None
        slot.handler = takes_currency
        flow.add_routine(Desk(order=one), "new")
        flow.migrate("desk", before, counted)
        with pytest.raises(ValueError, match="handlers at work"):
            flow.resume(job_state)
        assert [entry["data"] for entry in job_state.pending_tasks] == ORDERS[1:]
        gate.open()
        assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
        finish(flow, flow.resume(job_state))


# -- forks


def jobs_in(url: str) -> list[str]:
    store = open_store(url)
    found = [header.job_id for header in store.list_runs()]
    store.close()
    return found


def test_a_fork_of_a_run_of_earlier_code_is_refused_as_its_resume_is_and_leaves_no_run(url: str) -> None:
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=takes_currency)) as flow:
        check = check_of(flow)
        last = len(flow.load("run").execution_history) - 1
        with pytest.raises(ResumeRefusedError, match="Run run cannot go on") as caught:
            flow.fork("run", last)
        assert caught.value.checks == (check,)
    assert jobs_in(url) == ["run"]


def test_a_fork_of_a_run_of_earlier_code_is_migrated_once_and_the_old_run_is_as_it_was(url: str) -> None:
    got: list[Any] = []

    def handler(order: int, cents: int) -> None:
        got.append((order, cents))

    def migrated(slot: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"order": data["order"], "cents": data["amount"] * 100}

    left_by_last_month(url, Desk(order=one))
    kept = store_form(url)
    with drawn(url, Desk(order=handler)) as flow:
        flow.migrate("desk", check_of(flow).fingerprint, migrated)
        last = len(flow.load("run").execution_history) - 1
        finish(flow, flow.fork("run", last, job_id="fork"))
        assert check_of(flow, job_id="fork").reason == "It is as it was."
        assert got == [(1, 500), (2, 700)]
        assert store_form(url) == kept


def test_a_fork_at_what_was_before_a_migration_is_migrated_too(url: str) -> None:
    got: list[Any] = []
    left_by_last_month(url, Desk(order=one), steps=1)
    with drawn(url, Desk(order=lambda order, cents: got.append((order, cents)))) as flow:
        flow.migrate(
            "desk",
            check_of(flow).fingerprint,
            lambda slot, data: {"order": data["order"], "cents": data["amount"] * 100},
        )
        history = [(each.routine_id, each.event_name) for each in flow.load("run").execution_history]
        let_in = history.index(("door", "completed"))
        finish(flow, flow.resume(flow.load("run")))
        assert got == [(2, 700)]
        finish(flow, flow.fork("run", let_in))
        assert got[1:] == [(1, 500), (2, 700)]
        finish(flow, flow.fork("run", len(history)))  # its second order has the form of today already
        assert got[3:] == [(2, 700)]


def test_a_fork_that_is_kept_and_not_migrated_yet_is_of_the_earlier_code(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    left_by_last_month(url, Desk(order=one))
    with drawn(url, Desk(order=lambda order, amount, currency: got.append(currency))) as flow:
        flow.migrate("desk", check_of(flow).fingerprint, counted)
        last = len(flow.load("run").execution_history) - 1
        with monkeypatch.context() as patch:
            patch.setattr(resuming, "go_on", raising(OSError("no thread")))
            with pytest.raises(OSError, match="no thread"):
                flow.fork("run", last, job_id="fork")
        assert store_form(url, "fork")[0].fingerprint == store_form(url)[0].fingerprint
        finish(flow, flow.resume(flow.load("fork")))
    assert got == ["EUR", "EUR"]
