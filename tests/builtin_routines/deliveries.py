"""What the tests of the built-in routines share: one delivery, one round through JSON, two runs at once, odd values."""

import json
import threading
from typing import Any

from routilux import Flow, Routine, Slot
from tests.drawings import Gate, collector, draw, node, own_run, source, wait

__all__ = [
    "ODD_VALUES",
    "HeldText",
    "Mute",
    "answer",
    "answers",
    "circular",
    "deep",
    "reloaded_flow",
    "two_runs_at_once",
]


def answers(routine: Routine, /, slot: str = "input", **data: Any) -> list[dict[str, Any]]:
    """What the routine emits for one delivery, outside a run. What its handler raises is raised."""
    got: list[dict[str, Any]] = []
    listener = Slot("listener", handler=lambda **emitted: got.append(emitted))
    event = routine.get_event("output")
    assert event is not None
    event.connect(listener)
    try:
        found = routine.get_slot(slot)
        assert found is not None
        found.call_handler(data, propagate_exceptions=True)
    finally:
        event.disconnect(listener)
    return got


def answer(routine: Routine, /, slot: str = "input", **data: Any) -> dict[str, Any]:
    """The one emission for one delivery."""
    (emitted,) = answers(routine, slot, **data)
    return emitted


def reloaded_flow(routine: Routine, slot: str = "input") -> tuple[Flow, list[dict[str, Any]]]:
    """A flow `start -> made -> end` whose routine `made` went through JSON text; `end` collects what it emits."""
    flow = Flow("saved")
    flow.add_routine(routine, "made")
    restored = Flow()
    restored.deserialize(json.loads(json.dumps(flow.serialize())))
    got: list[dict[str, Any]] = []
    return draw(f"start -> made.{slot}", "made -> end", flow=restored, start=source(), end=collector(got)), got


def two_runs_at_once(
    routine: Routine, one: dict[str, Any], other: dict[str, Any], gate: Gate, slot: str = "input"
) -> tuple[Any, Any]:
    """What two runs of one routine object get: the first is held in the routine until the second is over."""
    got: dict[str, dict[str, Any]] = {}

    def collect(end: Routine, data: dict[str, Any]) -> None:
        got[own_run(end).job_id] = data

    flow = draw(f"start -> made.{slot}", "made -> end", start=source(), made=routine, end=node(collect))
    flow.set_execution_strategy("concurrent", 2)
    before = dict(vars(routine))
    first = flow.execute("start", one)
    gate.await_arrival()
    second = flow.run("start", other)
    assert first.job_id not in got
    gate.open()
    wait(flow, first)
    assert vars(routine) == before  # nothing of a run stays on the routine
    return got[first.job_id], got[second.job_id]


class Mute:
    """A value whose `__str__` and `__repr__` raise."""

    def __repr__(self) -> str:
        raise RuntimeError("mute")


class HeldText:
    """A value that is held at a gate while `str` asks for its text."""

    def __init__(self, text: str, gate: Gate) -> None:
        self.text, self.gate = text, gate

    def __str__(self) -> str:
        self.gate.hold()
        return self.text


class Sly(dict[str, Any]):
    """A dict that does not tell what it holds."""

    def items(self) -> Any:
        raise RuntimeError("sly")

    __iter__ = keys = values = get = __getitem__ = items  # type: ignore[assignment]


def circular() -> dict[str, Any]:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)
    return value


def deep(levels: int = 100_000) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


ODD_VALUES: dict[str, Any] = {
    "circular": circular(),
    "deep": deep(),
    "mute": Mute(),
    "mute inside": {"a": [Mute()], "b": {"text": Mute()}},
    "mute key": {Mute(): Mute()},
    "sly": Sly(a=1),
    "half a character": "\ud800",
    "halves inside": {"\udfff": ["\ud800"]},
    "bytes": b"\xff\0",
    "none": None,
    "not a number": float("nan"),
    "infinite": [float("-inf")],
    "huge number": 10**5000,
    "huge number inside": {"a": 10**5000},
    "set": {1},
    "class": Mute,
    "function": deep,
    "true": True,
    "lock": threading.Lock(),
    "empty": {},
    "nul": "\0```json\0",
}
