"""What the journal of a run must hold when its process was killed, and another one has gone on with it."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from routilux.errors import InvalidDataError
from routilux.stores.base import JournalRow, RunHeader
from routilux.stores.journal import Replay

__all__ = ["Life", "problems_of", "result_of"]

# What the engine itself records of an activation, once. What a handler sends or records itself, it does again when it
# runs again, since only emissions are known to have been made.
_ONCE = frozenset({"start", "completed", "error", "continue", "skip", "timeout", "replay_differs"})

# Differs from run to run, or from machine to machine.
_TIMES = ("timestamp", "execution_time", "error_time", "traceback")


class Life:
    """What the store has of a run when a process that drove it has ended."""

    def __init__(self, header: RunHeader | None, rows: Sequence[JournalRow]) -> None:
        self.header = header
        self.rows = list(rows)
        self.status = header.status if header is not None else "not there"

    def saved_form(self) -> dict[str, Any]:
        """The run as `JobState.serialize` gives it."""
        return Replay().apply_all(row.body for row in self.rows).saved_form(self.status)

    def settlement_count(self) -> int:
        """How many activations, or attempts, were settled."""
        deeds = _Deeds(self.rows)
        return len(deeds.settled) + len(deeds.retried)

    def routines_at_work(self) -> set[str]:
        """Whose handlers were at work."""
        return {task["routine_id"] for task in self.saved_form()["pending_tasks"] if task["was"] == "active"}


class _Deeds:
    """Which activations have begun, were settled, delivered, merged and put off in some rows."""

    def __init__(self, rows: Iterable[JournalRow]) -> None:
        self.begun: set[str] = set()
        self.settled: list[str] = []
        self.delivered: list[str] = []
        self.merged: list[str] = []
        self.retried: list[str] = []
        for row in rows:
            for code, *values in json.loads(row.body):
                if code == "b":
                    self.begun.add(values[0])
                    if values[3]:
                        self.merged.append(values[0])
                elif code == "m":
                    self.merged.append(values[0])
                elif code in ("c", "l", "x"):
                    self.settled.append(values[0])
                elif code == "y":
                    self.retried.append(f"{values[0]}, attempt {values[1]},")
                elif code == "e":
                    self.delivered += [delivery[2] for delivery in values[5]]


def result_of(life: Life, result: Callable[[dict[str, Any]], Any] | None) -> Any:
    """What two runs are compared by."""
    return _lines(life.saved_form()) if result is None else result(life.saved_form())


def problems_of(
    lives: Sequence[Life], wanted: Any, result: Callable[[dict[str, Any]], Any] | None = None
) -> Iterator[str]:
    """What is not as it must be, a sentence each.

    Args:
        lives: What the store had of the run when each of its processes had ended; the last one was not killed.
        wanted: `result_of` a run that nobody killed.
        result: As `result_of` takes it.
    """
    last = lives[-1]
    if last.header is None:
        yield "the run is not there"
        return
    for life in lives:
        try:
            life.saved_form()
        except InvalidDataError as error:
            yield f"its journal cannot be read: {error}"
            return
    for life in lives[:-1]:
        if last.rows[: len(life.rows)] != life.rows:
            yield "rows that were kept have changed"
        later = _Deeds(last.rows[len(life.rows) :])
        yield from (f"{each} was settled, and began again" for each in set(_Deeds(life.rows).settled) & later.begun)
    every = _Deeds(last.rows)
    for name, keys in (
        ("settled", every.settled),
        ("delivered", every.delivered),
        ("merged", every.merged),
        ("put off", every.retried),
    ):
        yield from (f"{key} was {name} {count} times" for key, count in Counter(keys).items() if count > 1)
    if last.status == "completed":
        unsettled = Replay().apply_all(row.body for row in last.rows)
        yield from (f"{key} was lost" for key in [*unsettled.begun(), *unsettled.waiting()])
    found = result_of(last, result)
    if result is not None:
        if found != wanted:
            yield f"it has come to {found!r} instead of {wanted!r}"
        return
    yield from (f"{count} times too few: {line}" for line, count in (wanted - found).items())
    at_work = set().union(*(life.routines_at_work() for life in lives[:-1] if life.header is not None))
    for line, count in (found - wanted).items():
        if not (line in wanted and _may_come_again(line, at_work)):
            yield f"{count} times too many: {line}"


def _may_come_again(line: str, at_work: set[str]) -> bool:
    """Whether a handler that was at work when its process was killed may have done this before as well."""
    kind, routine_id, name, *_ = json.loads(line)
    if kind == "output":
        return routine_id in at_work
    if kind == "record":
        return routine_id in at_work and name not in _ONCE
    return kind == "log" and bool(at_work)


def _lines(saved: dict[str, Any]) -> "Counter[str]":
    """What has happened in a run, and what it has left, without the times."""
    found: Counter[str] = Counter()
    for record in saved["execution_history"]:
        kind = "emission" if record.get("is_emission") else "record"
        found[_line(kind, record["routine_id"], record["event_name"], record["data"])] += 1
    for entry in saved["output_log"]:
        found[_line("output", entry["routine_id"], entry["output_type"], entry["data"])] += 1
    for entry in saved["shared_log"]:
        found[_line("log", "", "", entry)] += 1
    for event in saved.get("deferred_events", ()):
        found[_line("deferred", event["routine_id"], event["event_name"], event["data"])] += 1
    for request in saved.get("input_requests", ()):
        found[_line("asked for", request["routine_id"], request["name"], request["slot"])] += 1
    for entry in saved.get("kept_inputs", ()):
        found[_line("input", "", entry["name"], entry["data"])] += 1
    for task in saved["pending_tasks"]:
        found[_line("pending", task["routine_id"], task["slot"], [task["was"], task["data"]])] += 1
    for routine_id, state in saved["routine_states"].items():
        found[_line("state", routine_id, "", state)] += 1
    for name in ("status", "shared_data", "slot_data"):
        found[_line(name, "", "", saved.get(name))] += 1
    return found


def _line(kind: str, routine_id: str, name: str, data: Any) -> str:
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if key not in _TIMES}
    return json.dumps([kind, routine_id, name, data], sort_keys=True)
