"""What tests of routines share: deliveries and what they make a routine emit, also after it was saved,
also in two runs at once; odd values.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from routilux import Flow, Routine
from routilux.testing import activate
from tests.drawings import Gate, draw, in_thread, source, wait

__all__ = [
    "ODD_VALUES",
    "HeldText",
    "Mute",
    "answer",
    "circular",
    "deep",
    "deliver",
    "heard",
    "in_new_process",
    "one",
    "register_two_at_once",
    "reloaded",
    "restored",
    "run_restored",
    "shared_without_end",
    "two_runs_at_once",
]

ROOT = Path(__file__).parents[1]

# What was emitted: (event, data) for each.
Emitted = list[tuple[str, dict[str, Any]]]


def heard(routine: Routine, *deliveries: dict[str, Any], slot: str = "input") -> Emitted:
    """What a routine emits when a slot gets these deliveries, one after the other."""
    found = []
    for each in deliveries:
        seen = activate(routine, slot, **each)
        assert seen.error is None, seen.error
        found += seen.emitted()
    return found


def answer(routine: Routine, /, slot: str = "input", **data: Any) -> dict[str, Any]:
    """The data of the one emission for a delivery."""
    ((_, emitted),) = heard(routine, data, slot=slot)
    return emitted


def one(routine: Routine, value: Any) -> dict[str, Any]:
    """The data of the one emission for a value; the slot gets it as `data`."""
    return answer(routine, data=value)


def deliver(routine: Routine, /, **data: Any) -> None:
    """Call the handler of `input` outside a run: what it raises is raised."""
    slot = routine.get_slot("input")
    assert slot is not None
    slot.call_handler(data, propagate_exceptions=True)


def reloaded(routine: Routine) -> Flow:
    """A flow with the routine, `tested`, that went through JSON text."""
    copy = Flow()
    copy.deserialize(json.loads(json.dumps(draw(tested=routine).serialize())))
    return copy


def restored(routine: Routine) -> Any:
    """The routine as it comes out of a saved flow."""
    return reloaded(routine).routines["tested"]


def run_restored(routine: Routine, *deliveries: dict[str, Any], slot: str = "input") -> Emitted:
    """What the routine emits in a saved and restored flow, with one run for each delivery."""
    found: Emitted = []
    with draw(f"start -> tested.{slot}", flow=reloaded(routine), start=source()) as flow:
        for each in deliveries:
            job_state = flow.run("start", each)
            assert (job_state.status, job_state.errors) == ("completed", [])
            found += _emitted_in(job_state)
    return found


def two_runs_at_once(
    routine: Routine, first: dict[str, Any], second: dict[str, Any], gate: Gate, slot: str = "input"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one routine object emits in two runs: the first is held in the routine until the second is over."""
    flow = draw(f"start -> tested.{slot}", start=source(), tested=routine)
    flow.set_execution_strategy("concurrent", 2)
    before = dict(vars(routine))
    with flow:
        held = flow.execute("start", first)
        gate.await_arrival()
        ended = flow.run("start", second)
        assert _emitted_in(held) == []
        gate.open()
        wait(flow, held)
    assert {**vars(routine), "_last_flow": None} == {**before, "_last_flow": None}  # nothing of a run stays on it
    ((_, one_data),), ((_, other_data),) = _emitted_in(held), _emitted_in(ended)
    return one_data, other_data


def register_two_at_once(register: Callable[[str, Any], None], function: Any) -> None:
    """Register `first`, and `second` on another thread while the first is about to be put in its place."""
    joins: list[Callable[[], Any]] = []

    class First(str):
        __slots__ = ()

        def __hash__(self) -> int:
            if not joins:
                is_over = threading.Event()
                joins.append(in_thread(lambda: (register("second", function), is_over.set())))
                # The other thread has to wait, and nothing tells when it does. One that need not is over long before.
                is_over.wait(0.2)
            return str.__hash__(self)

    register(First("first"), function)
    (join,) = joins
    join()


def _emitted_in(job_state: Any) -> Emitted:
    records = job_state.execution_history
    return [(each.event_name, each.data) for each in records if each.is_emission and each.routine_id == "tested"]


def in_new_process(program: str, given: Any) -> Any:
    """Run a program in a process of its own; it finds `given`, and what it puts into `result` comes back."""
    whole = f"import json, sys\ngiven = json.loads(sys.stdin.read())\n{program}\nprint(json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", whole],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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


def shared_without_end() -> list[Any]:
    """100 lists; as many ways lead to the innermost value as there are in a drawing of 2 ** 99 lines."""
    value: list[Any] = [1]
    for _ in range(99):
        value = [value, value]
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
