"""Registered functions bring what waits into the form that new code takes; once, and all of it or nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from routilux import Flow
from routilux.errors import DuplicateNameError, InvalidTypeError, ResumeRefusedError
from routilux.testing import ManualExecutor
from tests.drawings import DEADLINE
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
        finish(flow, flow.resume(flow.load("run")))
    assert got == [[1, 2]]


@pytest.mark.parametrize(
    ("migration", "named"),
    [
        (lambda slot, data: {**data, "cents": data["gone"]}, "raised KeyError: 'gone'"),
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
