"""An office whose code changes from month to month: orders come in at a door, and a desk works on them."""

from typing import Any

from routilux import Flow, JobState, Routine
from routilux.flow.code_change import ResumeCheck
from routilux.stores.opening import open_store
from routilux.testing import ManualExecutor
from tests.drawings import DEADLINE


class Desk(Routine):
    """Slots are given as functions, or as (function, merge strategy); the trigger emits each of `orders`."""

    def __init__(self, events: tuple[str, ...] = (), **slots: Any) -> None:
        super().__init__()
        for name in events:
            self.define_event(name)
        for name, slot in slots.items():
            handler, merge = slot if isinstance(slot, tuple) else (slot, "override")
            self.define_slot(name, handler, merge_strategy=merge)


class Door(Desk):
    def __init__(self) -> None:
        super().__init__(events=("order",), trigger=self.let_in)

    def let_in(self, orders: list[dict[str, Any]]) -> None:
        for order in orders:
            self.emit("order", **order)


def drawn(url: str, desk: Routine, slot: str | None = "order", **settings: Any) -> Flow:
    flow = Flow("office", store=url, store_level="sync", **settings)
    flow.add_routine(Door(), "door")
    flow.add_routine(desk, "desk")
    if slot is not None:
        flow.connect("door", "order", "desk", slot)
    return flow


ORDERS = [{"order": 1, "amount": 5}, {"order": 2, "amount": 7}]


def left_by_last_month(
    url: str,
    desk: Routine,
    orders: list[dict[str, Any]] = ORDERS,
    job_id: str = "run",
    status: str = "paused",
    steps: int = 0,
    slot: str = "order",
) -> None:
    """A run that the code of last month has begun: its orders wait for the desk, and its process is no more."""
    executor = ManualExecutor()
    flow = drawn(url, desk, slot, executor=executor)
    job_state = flow.execute("door", {"orders": orders}, job_id=job_id)
    for _ in range(steps):
        assert executor.step()
    if status == "paused":
        flow.pause(job_state)
    assert flow.store is not None
    flow.store.close()


def finish(flow: Flow, job_state: JobState) -> None:
    assert JobState.wait_for_completion(flow, job_state, timeout=DEADLINE)
    assert job_state.status == "completed", job_state.errors


def verdicts(checks: list[ResumeCheck]) -> dict[str, str]:
    return {check.routine_id: check.verdict for check in checks}


def check_of(flow: Flow, routine_id: str = "desk", job_id: str = "run") -> ResumeCheck:
    return next(check for check in flow.check_resume(job_id) if check.routine_id == routine_id)


def store_form(url: str, job_id: str = "run") -> Any:
    store = open_store(url)
    form = store.find(job_id), store.rows(job_id)
    store.close()
    return form


def one(order: int, amount: int) -> None: ...


def takes_optional(order: int, amount: int, note: str = "") -> None: ...


def takes_currency(order: int, amount: int, currency: str) -> None: ...


def takes_cents(order: int, cents: int = 0) -> None: ...


def takes_order_only(order: int, *rest: int) -> None: ...


def takes_whole(data: dict[str, Any]) -> None: ...


def takes_more(**more: Any) -> None: ...


class OtherDesk(Desk):
    """As a desk, under another name."""
