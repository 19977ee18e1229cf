"""The journal of a run: what its rows say, and the run that they add up to.

A row is the JSON text of a list of operations, in the order in which they happened; most rows end with the settlement
of an activation. Reading imports, builds and runs nothing: rows are data. An operation is a list that begins with a
letter; times are microseconds since the epoch, activations are named by their ids.

| operation | what happened |
|---|---|
| `S` state | a state to begin from: at the start, and whenever the run was resumed |
| `h` count | so many records came before, and are not here: of a bounded history that was kept later |
| `n` id, routine, slot, data, source, priority | a task came from outside |
| `e` id, routine, event, time, data, deliveries, priority, due | an activation emitted; id null: somebody outside |
| `b` id, time, record, merges, routine, slot | an activation began; `record` 1: has a record, 2: one with its data |
| `m` id, held, data | its delivery was merged by a function, or (held null) by "append" |
| `c` id, time, nanoseconds, routine | it completed at its first attempt |
| `l` id | it is over otherwise |
| `y` id, attempt, due | it failed, and is tried again |
| `x` id | it failed for good; the run fails with it |
| `r` routine, event, time, data | a record of another kind |
| `s` routine, state | the state of a routine, as a whole |
| `k` key, value | a shared value was set; without value: it is gone |
| `g` entry, `o` entry, `f` entries | an entry of the shared log, of the output log, deferred events |
| `d` routine, slot, data | a handler has set what a slot holds |
| `t` metadata | the metadata, as a whole |
| `w` | the run was cancelled, and what had not begun dropped |
| `z` pause point | the run was paused |
| `q` id, request, time | an activation asked for an input; id null: somebody outside |
| `i` number, entry, time | an input came; its number in the store, or 0 |
| `u` request, time | an input did not come in time: the request is unanswered |

An input goes to the oldest request of its name, and is kept while there is none: which has met which follows from the
order of the rows.

A payload is stored once, with its emission; a delivery says where it goes and how its names change. What "append" has
collected is not stored, since it follows from the deliveries in their order. `b` and `c` name the routine only where
the history is bounded: the last rows must then tell the newest records without those before them.

The state of a resume by other code has a `structure_before`: that of the flow which wrote the rows before it.

A snapshot is what rows add up to, without the records: JSON of the state, of the logs, and of their number.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from routilux.errors import InvalidDataError
from routilux.event import mapped
from routilux.pending_data import REQUESTED
from routilux.plain import shortened
from routilux.routine_states import RoutineStates
from routilux.slot import Slot

__all__ = ["Replay", "is_point", "pause_told_by", "records_of", "snapshot_text", "source_of", "structure_changed"]


# Merging by "append" as a slot does it; the slot itself need not be there.
_APPEND = Slot("", merge_strategy="append")

# What stands in rows of its own, because it only grows.
_GROWING = ("execution_history", "output_log", "shared_log")


def source_of(routine_id: str, event: str) -> dict[str, str]:
    """By which line a task came, as pending tasks say it."""
    return {"routine_id": routine_id, "event": event}


class Replay:
    """The run that rows of a journal add up to.

    Args:
        limit: Keep so many of the newest records; None: all.
        only_records: Keep neither the output log nor the shared log.

    Attributes:
        record_count: Records so far, those that were not kept included.
    """

    def __init__(self, limit: int | None = None, *, only_records: bool = False) -> None:
        self._only_records = only_records
        self._state: dict[str, Any] = {}
        self._tasks: dict[str, dict[str, Any]] = {}
        self._states = RoutineStates({}, Lock())
        self._slot_data: dict[tuple[str, str], dict[str, Any]] = {}
        self._history: deque[dict[str, Any]] = deque(maxlen=limit)
        self._outputs: list[dict[str, Any]] = []
        self._log: list[dict[str, Any]] = []
        self._last_us = 0
        self.record_count = 0

    # -- reading

    def apply(self, body: str) -> None:
        """Go on by one row.

        Raises:
            InvalidDataError: It is no row of a journal.
        """
        try:
            for code, *values in json.loads(body):
                _STEPS[code](self, *values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidDataError(
                f"No row of a journal: {shortened(body)} ({type(error).__name__}: {error})"
            ) from error

    def apply_all(self, bodies: Iterable[str]) -> "Replay":
        """Go on by several rows; returns itself."""
        for body in bodies:
            self.apply(body)
        return self

    def refuse_empty(self) -> None:
        """Raise where no row says what the run began with.

        Raises:
            InvalidDataError: There is nothing to begin from.
        """
        if not self._state.get("job_id"):
            raise InvalidDataError("No journal of a run: none of its rows says whose it is, and what it began with.")

    def begun(self) -> list[str]:
        """The activations whose handlers were at work, by their ids, in the order of their beginning."""
        return [key for key, task in self._tasks.items() if task["was"] == "active"]

    def waiting(self) -> list[str]:
        """The activations that had not begun, in the order in which they would have."""
        return [key for key, task in self._tasks.items() if task["was"] != "active"]

    def deaths(self) -> dict[str, int]:
        """How often the run's process had died in an activation when the run was recovered last, by its id."""
        return dict(self._state.get("recoveries") or {})

    def history(self) -> list[dict[str, Any]]:
        """The saved forms of the records that were kept."""
        return list(self._history)

    def take_history(self) -> list[dict[str, Any]]:
        """The saved forms of the records since the last call; they are not kept any more."""
        taken = list(self._history)
        self._history.clear()
        return taken

    def drop_surplus(self) -> None:
        """Keep only so many of the newest records as the run itself does."""
        limit = self.history_limit()
        while limit is not None and len(self._history) > limit:
            self._history.popleft()

    def history_limit(self) -> int | None:
        """How many records the run keeps in memory; None: all."""
        limit: int | None = self._state.get("history_limit")
        return limit

    def begin_from_snapshot(self, text: str) -> None:
        """Be as the rows that a snapshot stands for have it, but for the records.

        Raises:
            InvalidDataError: It is no snapshot.
        """
        try:
            found = json.loads(text)
            self._begin_from(found["state"])
            if not self._only_records:
                self._outputs, self._log = found["output_log"], found["shared_log"]
            self.record_count = found["record_count"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidDataError(
                f"No snapshot of a run: {shortened(text)} ({type(error).__name__}: {error})"
            ) from error

    def put_before(self, records: list[dict[str, Any]]) -> None:
        """Take up the records that were the newest when the snapshot was taken."""
        self._history.extendleft(reversed(records))

    def saved_form(self, status: str) -> dict[str, Any]:
        """What `JobState.deserialize` takes: the run as it was after the last row, with the status of its header."""
        self._states.bring_up_to_date()
        slot_data: dict[str, dict[str, Any]] = {}
        for (routine_id, slot), held in self._slot_data.items():
            slot_data.setdefault(routine_id, {})[slot] = held
        tasks = sorted(self._tasks.values(), key=_place)  # stable: else as they came
        dropped = self.record_count - len(self._history)
        metadata = dict(self._state.get("metadata", {}))
        metadata.pop("history_dropped", None)  # of another moment
        return {
            **self._state,
            "status": status,
            "metadata": {**metadata, "history_dropped": dropped} if dropped else metadata,
            "routine_states": dict(dict.items(self._states)),
            "slot_data": slot_data,
            "pending_tasks": [] if status in ("completed", "cancelled") else tasks,
            "kept_inputs": self._state.get("kept_inputs", []),
            "input_requests": [] if status == "cancelled" else self._state.get("input_requests", []),
            "execution_history": list(self._history),
            "output_log": self._outputs,
            "shared_log": self._log,
            **({"updated_at": _local_time(self._last_us)} if self._last_us else {}),
        }

    # -- the operations

    def _begin_from(self, state: dict[str, Any]) -> None:
        self._state = {key: value for key, value in state.items() if key not in _GROWING}
        self._tasks = {task["id"]: dict(task) for task in self._state.pop("pending_tasks", ())}
        self._states = RoutineStates(self._state.pop("routine_states", {}), Lock())
        held = self._state.pop("slot_data", {})
        self._slot_data = {(routine, slot): data for routine, slots in held.items() for slot, data in slots.items()}

    def _arrive(
        self,
        key: str,
        routine: str,
        slot: str,
        data: dict[str, Any],
        source: Any,
        priority: int,
        due: int | None = None,
    ) -> None:
        self._tasks[key] = {
            "id": key,
            "routine_id": routine,
            "slot": slot,
            "data": data,
            "connection": source,
            "priority": priority,
            "attempt": 1,
            "due_at": None if due is None else _utc_time(due),
            "merged": False,
            "released": {},
            "was": "queued",
        }

    def _emit(
        self,
        key: str | None,
        routine: str,
        event: str,
        at: int,
        data: dict[str, Any],
        deliveries: list[list[Any]],
        priority: int = 2,
        due: int | None = None,
    ) -> None:
        self._record(routine, event, at, data, is_emission=True)
        parent = self._tasks.get(key) if key is not None else None
        if parent is not None:
            # As `Wired.name_in` calls it.
            name = event if parent["routine_id"] == routine else f"{routine}\0{event}"
            parent["released"].setdefault(name, []).append(data)
        for target, slot, task_id, *line in deliveries:
            mapping = line[0] if line else {}
            source = None if line and line[0] is None else source_of(routine, event)
            self._arrive(task_id, target, slot, mapped(data, mapping), source, priority, due)

    def _skip(self, count: int) -> None:
        self.record_count += count

    def _begin(self, key: str, at: int, record: int, merges: int, *_names: str) -> None:
        task = self._tasks.pop(key)
        self._tasks[key] = task  # at the end: those that have begun are told apart by their order
        if task["was"] == "failed":  # a dead letter that is tried again
            task["revivals"] = task.get("revivals", 0) + 1
        task["was"] = "active"
        task["due_at"] = None
        self._state["current_routine_id"] = task["routine_id"]
        if record:
            self._record(task["routine_id"], "start", at, task["data"] if record == 2 else {"slot": task["slot"]})
        if merges:
            task["merged"] = True
            self._slot_data[task["routine_id"], task["slot"]] = task["data"]

    def _merge(self, key: str, held: dict[str, Any] | None, data: dict[str, Any] | None = None) -> None:
        task = self._tasks[key]
        place = task["routine_id"], task["slot"]
        if held is None or data is None:
            held, data = _APPEND.merge(self._slot_data.get(place, {}), task["data"])
        self._slot_data[place] = held
        task["data"], task["merged"] = data, True

    def _complete(self, key: str, at: int, nanoseconds: int, *_names: str) -> None:
        routine = self._tasks.pop(key)["routine_id"]
        self._states.completions[routine] = nanoseconds
        self._record(routine, "completed", at, _completion(nanoseconds))

    def _leave(self, key: str) -> None:
        del self._tasks[key]

    def _retry(self, key: str, attempt: int, due: int | None) -> None:
        task = self._tasks[key] = self._tasks.pop(key)  # at the end of the queue
        task.update(was="retry", attempt=attempt, due_at=None if due is None else _utc_time(due))

    def _fail(self, key: str) -> None:
        self._tasks[key].update(was="failed")

    def _record(self, routine: str, event: str, at: int, data: dict[str, Any], is_emission: bool = False) -> None:
        self._history.append(_saved_record(routine, event, at, data, is_emission))
        self._last_us = at
        self.record_count += 1

    def _state_of(self, routine: str, state: dict[str, Any] | None) -> None:
        self._states.bring_up_to_date()
        if state is None:
            dict.pop(self._states, routine, None)
        else:
            self._states.set(routine, state)

    def _share(self, key: str, *value: Any) -> None:
        shared = self._state.setdefault("shared_data", {})
        if value:
            shared[key] = value[0]
        else:
            shared.pop(key, None)

    def _set_slot(self, routine: str, slot: str, data: dict[str, Any]) -> None:
        self._slot_data[routine, slot] = data

    def _set_metadata(self, metadata: dict[str, Any]) -> None:
        self._state["metadata"] = metadata

    def _defer(self, entries: list[dict[str, Any]]) -> None:
        self._state.setdefault("deferred_events", []).extend(entries)

    def _drop(self) -> None:
        self._tasks = {key: task for key, task in self._tasks.items() if task["was"] == "active"}

    def _pause(self, point: dict[str, Any]) -> None:
        self._state.setdefault("pause_points", []).append(point)

    def _request(self, key: str | None, request: dict[str, Any], at: int) -> None:
        parent = self._tasks.get(key) if key is not None else None
        if parent is not None:
            what = {name: request[name] for name in ("routine_id", "slot", "name")}
            parent["released"].setdefault(REQUESTED, []).append(what)
        self._record(request["routine_id"], "input_requested", at, _words_of(request))
        kept = self._state.setdefault("kept_inputs", [])
        early = next((entry for entry in kept if entry["name"] == request["name"]), None)
        if early is None:
            self._state.setdefault("input_requests", []).append(request)
        else:
            kept.remove(early)
            self._answer(request, "input_received", at, early["data"])

    def _receive(self, number: int, entry: dict[str, Any], at: int) -> None:
        if number:
            self._state["input_number"] = number
        requests = self._state.setdefault("input_requests", [])
        request = next((each for each in requests if each["name"] == entry["name"]), None)
        if request is None:
            self._state.setdefault("kept_inputs", []).append(entry)
        else:
            requests.remove(request)
            self._answer(request, "input_received", at, entry["data"])

    def _time_out(self, request: dict[str, Any], at: int) -> None:
        self._state["input_requests"].remove(request)
        self._answer(request, "input_timed_out", at, {"name": request["name"], "timed_out": True})

    def _answer(self, request: dict[str, Any], word: str, at: int, data: dict[str, Any]) -> None:
        told = {"data": data} if word == "input_received" else {}
        self._record(request["routine_id"], word, at, {**_words_of(request), **told})
        self._arrive(request["id"], request["routine_id"], request["slot"], data, None, 2)

    def _log_entry(self, entry: dict[str, Any]) -> None:
        if not self._only_records:
            self._log.append(entry)

    def _output(self, entry: dict[str, Any]) -> None:
        if not self._only_records:
            self._outputs.append(entry)


_STEPS: dict[str, Callable[..., None]] = {
    "S": Replay._begin_from,  # noqa: SLF001 - the class's own
    "h": Replay._skip,  # noqa: SLF001
    "n": Replay._arrive,  # noqa: SLF001
    "e": Replay._emit,  # noqa: SLF001
    "b": Replay._begin,  # noqa: SLF001
    "m": Replay._merge,  # noqa: SLF001
    "c": Replay._complete,  # noqa: SLF001
    "l": Replay._leave,  # noqa: SLF001
    "y": Replay._retry,  # noqa: SLF001
    "x": Replay._fail,  # noqa: SLF001
    "r": Replay._record,  # noqa: SLF001
    "s": Replay._state_of,  # noqa: SLF001
    "k": Replay._share,  # noqa: SLF001
    "g": Replay._log_entry,  # noqa: SLF001
    "o": Replay._output,  # noqa: SLF001
    "f": Replay._defer,  # noqa: SLF001
    "d": Replay._set_slot,  # noqa: SLF001
    "t": Replay._set_metadata,  # noqa: SLF001
    "w": Replay._drop,  # noqa: SLF001
    "z": Replay._pause,  # noqa: SLF001
    "q": Replay._request,  # noqa: SLF001
    "i": Replay._receive,  # noqa: SLF001
    "u": Replay._time_out,  # noqa: SLF001
}


def _words_of(request: dict[str, Any]) -> dict[str, Any]:
    """What the records of a request say of it."""
    return {"name": request["name"], "slot": request["slot"]}


def _place(task: dict[str, Any]) -> int:
    """Where a task stands in what a run has left: as a run that stops puts it there."""
    if task["was"] in ("active", "failed"):
        return 0 if task["was"] == "active" else 1
    return 9 if task["due_at"] is not None else 2 + int(task["priority"])


def _local_time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6).isoformat()


def _utc_time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat()


def _completion(nanoseconds: int) -> dict[str, Any]:
    return {"execution_time": nanoseconds / 1e9}


def _saved_record(routine: str, event: str, at: int, data: dict[str, Any], is_emission: bool = False) -> dict[str, Any]:
    record: dict[str, Any] = {
        "_type": "ExecutionRecord",
        "routine_id": routine,
        "event_name": event,
        "data": data,
        "timestamp": _local_time(at),
    }
    if is_emission:
        record["is_emission"] = True
    return record


# -- rows without what came before them

# Operations that add nothing to the history; a beginning does not always.
_WITHOUT_RECORD = frozenset("Shnbmlyxskgofdtwz")


# Operations that change nothing of what a run that is paused waits for.
_AFTER_PAUSE = frozenset("rskgot")


def is_point(body: str) -> bool:
    """Whether a row ends with the settlement of an activation, or says a whole state: one may go on from there."""
    return any(operation[0] in ("S", "c", "l", "x") for operation in json.loads(body))


def pause_told_by(body: str) -> dict[str, Any] | None:
    """The pause point with which a run stands still whose last row this is; None where the row alone does not tell."""
    point: dict[str, Any] | None = None
    for code, *values in json.loads(body):
        if code == "z":
            point = values[0]
        elif code == "S":
            points = values[0].get("pause_points") or [None]
            point = points[-1]
        elif code not in _AFTER_PAUSE:
            point = None
    return point


def structure_changed(body: str) -> str | None:
    """The structure of the flow which drove the run before a resume by other code, where a row is of that one."""
    if '"structure_before"' not in body:
        return None
    states = (operation[1] for operation in json.loads(body) if operation[0] == "S")
    return next((state["structure_before"] for state in states if "structure_before" in state), None)


def records_of(body: str) -> list[dict[str, Any]] | None:
    """The saved forms of a row's records; None where they cannot be told without the rows before it."""
    found = []
    for code, *values in json.loads(body):
        if code == "e":
            _, routine, event, at, data, *_ = values
            found.append(_saved_record(routine, event, at, data, is_emission=True))
        elif code == "r":
            found.append(_saved_record(*values))
        elif code == "c":
            _, at, nanoseconds, *names = values
            if not names:
                return None
            found.append(_saved_record(names[0], "completed", at, _completion(nanoseconds)))
        elif code == "b" and values[2]:
            _, at, record, _, *names = values
            if not names or record != 1:
                return None
            found.append(_saved_record(names[0], "start", at, {"slot": names[1]}))
        elif code not in _WITHOUT_RECORD:
            return None
    return found


def snapshot_text(
    state: dict[str, Any], record_count: int, output_log: list[dict[str, Any]], shared_log: list[dict[str, Any]]
) -> str:
    """What `Replay.begin_from_snapshot` takes."""
    snapshot = {"state": state, "record_count": record_count, "output_log": output_log, "shared_log": shared_log}
    return json.dumps(snapshot, separators=(",", ":"), check_circular=False)
