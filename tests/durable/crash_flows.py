"""Flows for the crash tests. Child processes draw them by these names, so they stand at module level."""

import asyncio
import threading
from typing import Any

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.priority import TaskPriority
from routilux.stores import Store
from tests.drawings import Act, entry, node

__all__ = [
    "FLOWS",
    "awaiting",
    "awaiting_together",
    "chain",
    "concurrent",
    "failing",
    "in_place",
    "many_kinds",
    "merging",
    "nested",
    "overdue",
    "retrying",
    "tolerant",
]

# More than any test kills: the handlers here do not kill anybody.
MANY = 1000


def state_of(routine: Routine) -> JobState:
    context = routine.get_execution_context()
    assert context is not None
    return context.job_state


def count(routine: Routine, key: str) -> None:
    """Add one to a shared value: what is done twice is seen."""
    state_of(routine).modify_shared_data(key, lambda before: before + 1, 0)


def emits_each(routine: Routine, data: dict[str, Any]) -> None:
    for n in range(data["n"]):
        routine.emit("output", n=n)


def counts_down(routine: Routine, data: dict[str, Any]) -> None:
    count(routine, "steps")
    if data["n"]:
        routine.emit("output", n=data["n"] - 1)


def add_up(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {"n": before.get("n", 0) + new["n"]}


def draw(store: Store, routines: dict[str, Routine], lines: str, **settings: Any) -> Flow:
    """A flow with lines such as "a b": from the output of a to the input of b."""
    flow = Flow("crashing", store=store, max_recoveries=MANY, **settings)
    for routine_id, routine in routines.items():
        flow.add_routine(routine, routine_id)
    for line in lines.split(", "):
        source, target = line.split(" ")
        flow.connect(source, "output", target, "input")
    return flow


def passes(routine: Routine, data: dict[str, Any]) -> None:
    routine.emit("output", **data)


def chain(store: Store) -> Flow:
    """A countdown, which counts its steps in the shared data."""
    return draw(store, {"start": entry(passes), "step": node(counts_down)}, "start step, step step")


def merging(store: Store) -> Flow:
    """A fan-out that is collected by "append", and added up by a function; the order of the merges is seen."""

    def doubles(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", n=data["n"] * 2)
        if data["n"] % 3 == 0:
            routine.emit("output", n=data["n"] * 100)

    def sums(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output", n=sum(data["n"]))

    routines = {
        "start": entry(emits_each),
        "double": node(doubles),
        "collect": node(sums, merge_strategy="append"),
        "total": node(passes, merge_strategy=add_up),
        "end": node(),
    }
    return draw(store, routines, "start double, double collect, collect total, total end")


def _fails_once(routine: Routine, data: dict[str, Any]) -> None:
    key = f"tried {data['n']}"
    state_of(routine).modify_shared_data(key, lambda before: before + 1, 0)
    routine.send_output("attempt", n=data["n"])
    routine.emit("output", n=data["n"])
    if data["n"] % 2 and state_of(routine).get_shared_data(key) < 3:
        raise ConnectionError(f"{data['n']} is not ready")


def retrying(store: Store) -> Flow:
    """Every other activation fails twice, and what a failed attempt has emitted and sent is dropped."""
    policy = ErrorHandler("retry", max_retries=2, retry_delay=0.001)
    routines = {
        "start": entry(emits_each),
        "unsteady": node(_fails_once, error_handler=policy, merge_strategy=add_up),
        "end": node(merge_strategy=add_up),
    }
    return draw(store, routines, "start unsteady, unsteady end")


def tolerant(store: Store) -> Flow:
    """Handlers that emit and then fail, under policies that let the run go on."""

    def fails(routine: Routine, data: dict[str, Any]) -> None:
        count(routine, "failures")
        routine.emit("output", n=data["n"])
        raise ValueError(f"no {data['n']}")

    routines = {
        "start": entry(emits_each),
        "goes on": node(fails, error_handler=ErrorHandler("continue")),
        "is skipped": node(fails, error_handler=ErrorHandler("skip")),
        "end": node(merge_strategy="append"),
    }
    lines = [("start", "goes on"), ("goes on", "is skipped"), ("is skipped", "end")]
    flow = draw(store, routines, "start end")
    for source, target in lines:
        flow.connect(source, "output", target, "input")
    return flow


def many_kinds(store: Store) -> Flow:
    """Shared values and log, outputs, deferred events, delays, priorities, records of its own."""

    def does_all(routine: Routine, data: dict[str, Any]) -> None:
        n, state = data["n"], state_of(routine)
        state.update_shared_data(f"value {n}", {"n": n})
        count(routine, "count")
        state.append_to_shared_log({"n": n})
        state.record_execution("all", "noted", {"n": n})
        state.update_routine_state("all", {"last": n})
        routine.send_output("line", n=n)
        routine.emit_deferred_event("output", n=-n)
        routine.emit_later("late", delay=0.002 * n, data={"n": n})
        routine.emit_later("output", delay=0, data={"n": n}, priority=TaskPriority.LOW)
        routine.emit_later("output", delay=0, data={"n": n * 10}, priority=TaskPriority.HIGH)
        if n == 2:
            state.shared_data.pop("value 1")

    routines = {
        "start": entry(emits_each),
        "all": node(does_all, events=("output", "late"), merge_strategy="append"),
        "sum": node(merge_strategy=add_up),
        "late": node(merge_strategy=add_up),
    }

    def first(routine: Routine, data: dict[str, Any]) -> None:
        does_all(routine, {"n": data["n"][-1]})

    routines["all"] = node(first, events=("output", "late"), merge_strategy="append")
    flow = draw(store, routines, "start all, all sum")
    flow.connect("all", "late", "late", "input")
    return flow


def nested(store: Store) -> Flow:
    """Handlers that start runs of their own, wait for them, and use what has come of them."""

    def asks(routine: Routine, data: dict[str, Any]) -> None:
        flow = state_of(routine).flow_id and _flow_of[id(routine)]
        found = flow.execute("inner", {"n": data["n"]})
        assert JobState.wait_for_completion(flow, found, timeout=30.0)
        routine.emit("output", n=found.shared_data["count"])

    def counts(routine: Routine, data: dict[str, Any]) -> None:
        count(routine, "count")
        if data["n"]:
            routine.emit("output", n=data["n"] - 1)

    outer = node(asks)
    routines = {
        "start": entry(emits_each),
        "ask": outer,
        "sum": node(merge_strategy=add_up),
        "inner": entry(counts),
        "again": node(counts),
    }
    flow = draw(store, routines, "start ask, ask sum, inner again, again again")
    _flow_of[id(outer)] = flow
    return flow


_flow_of: dict[int, Flow] = {}


def concurrent(store: Store) -> Flow:
    """Four workers at once: what is merged and shared does not depend on the order."""

    def shares(routine: Routine, data: dict[str, Any]) -> None:
        state_of(routine).update_shared_data(f"value {data['n']}", data["n"])
        routine.emit("output", n=data["n"])
        routine.emit("output", n=data["n"] * 1000)

    routines = {
        "start": entry(emits_each),
        "share": node(shares),
        "all": node(merge_strategy="append"),
        "sum": node(merge_strategy=add_up),
    }
    return draw(store, routines, "start share, share all, share sum", execution_strategy="concurrent", max_workers=4)


def failing(store: Store) -> Flow:
    """The fourth delivery makes the run fail, with others queued."""

    def fails_at_three(routine: Routine, data: dict[str, Any]) -> None:
        count(routine, "count")
        routine.emit("output", n=data["n"])
        if data["n"] == 3:
            raise ValueError("no 3")

    routines = {"start": entry(emits_each), "fragile": node(fails_at_three), "end": node(merge_strategy="append")}
    return draw(store, routines, "start fragile, fragile end")


def overdue(store: Store) -> Flow:
    """Every first attempt takes too long, and emits when it was given up; the retry, beside it, emits the result."""

    def is_late_at_first(routine: Routine, data: dict[str, Any]) -> None:
        context = routine.get_execution_context()
        assert context is not None
        while context.attempt == 1 and not context.cancelled:
            threading.Event().wait(0.001)
        routine.emit("output", n=data["n"] if context.attempt > 1 else -1)

    policy = ErrorHandler("retry", max_retries=2, retry_delay=0.001)
    slow = node(is_late_at_first, error_handler=policy)
    slow.set_limits(attempt_timeout=0.01)
    routines = {"start": entry(emits_each), "slow": slow, "end": node(merge_strategy="append")}
    return draw(store, routines, "start slow, slow end")


class Awaits(Routine):
    """A routine whose one slot has an async handler, which awaits before and after it calls `act`."""

    def __init__(self, act: Act, *, slot: str = "input", merge_strategy: Any = "override") -> None:
        super().__init__()
        self.define_event("output")
        self._act = act
        self.define_slot(slot, handler=self.handle, merge_strategy=merge_strategy)

    async def handle(self, **data: Any) -> None:
        await asyncio.sleep(0)
        self._act(self, data)
        await asyncio.sleep(0.0005)


def awaiting(store: Store) -> Flow:
    """Async handlers alone: an entry, a countdown, attempts that fail, and what is collected of them."""
    unsteady = Awaits(_fails_once, merge_strategy=add_up)
    unsteady.set_error_handler(ErrorHandler("retry", max_retries=2, retry_delay=0.001))
    routines = {
        "start": Awaits(passes, slot="trigger"),
        "step": Awaits(counts_down),
        "unsteady": unsteady,
        "end": Awaits(passes, merge_strategy="append"),
    }
    return draw(store, routines, "start step, step step, step unsteady, unsteady end")


def awaiting_together(store: Store) -> Flow:
    """Async handlers that await at once, with plain ones before and after them."""

    def shares(routine: Routine, data: dict[str, Any]) -> None:
        state_of(routine).update_shared_data(f"value {data['n']}", data["n"])
        routine.emit("output", n=data["n"])

    routines = {
        "start": entry(emits_each),
        "share": Awaits(shares),
        "all": node(merge_strategy="append"),
        "sum": Awaits(lambda routine, data: None, merge_strategy=add_up),
    }
    return draw(store, routines, "start share, share all, share sum", execution_strategy="concurrent", max_workers=2)


def unordered(saved: dict[str, Any]) -> Any:
    """What a run comes to, where the order of its activations is not always the same."""
    held = {
        routine_id: {
            slot: sorted(value["n"]) if isinstance(value.get("n"), list) else value for slot, value in slots.items()
        }
        for routine_id, slots in saved["slot_data"].items()
        if routine_id != "share"
    }
    emitted = sorted(
        (record["routine_id"], record["data"]["n"])
        for record in saved["execution_history"]
        if record.get("is_emission")
    )
    kinds = sorted((record["routine_id"], record["event_name"]) for record in saved["execution_history"])
    return saved["status"], held, dict(sorted(saved["shared_data"].items())), emitted, kinds


def without_late(saved: dict[str, Any]) -> Any:
    """As `unordered`: when a late handler was heard of is not always the same, or whether the process lived so long."""
    history = [record for record in saved["execution_history"] if record["event_name"] != "late"]
    return unordered({**saved, "execution_history": history})


def in_place(store: Store) -> Flow:
    """Handlers that append to a shared list, take what a slot has collected, and append to the record's own lists."""

    def collects(routine: Routine, data: dict[str, Any]) -> None:
        state = state_of(routine)
        state.get_shared_data("seen", []).append(len(data["n"]))
        state.shared_log.append({"n": data["n"]})
        if len(data["n"]) == 2:
            slot = routine.get_slot("input")
            assert slot is not None
            slot._data.clear()
            routine.emit("output", n=data["n"])

    def starts(routine: Routine, data: dict[str, Any]) -> None:
        state_of(routine).update_shared_data("seen", [])
        emits_each(routine, data)

    routines = {"start": entry(starts), "collect": node(collects, merge_strategy="append"), "end": node()}
    return draw(store, routines, "start collect, collect end")


FLOWS = {
    "chain": (chain, 5, None),
    "merging": (merging, 4, None),
    "retrying": (retrying, 4, None),
    "tolerant": (tolerant, 3, None),
    "many kinds": (many_kinds, 3, None),
    "nested": (nested, 2, None),
    "concurrent": (concurrent, 4, unordered),
    "failing": (failing, 5, None),
    "in place": (in_place, 5, None),
    "overdue": (overdue, 3, without_late),
    "awaiting": (awaiting, 3, None),
    "awaiting together": (awaiting_together, 4, unordered),
}
