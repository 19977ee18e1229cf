"""Scribe: writes down what happens in one durable run, as rows of its journal.

What each operation means stands in `routilux.stores.journal`, which reads them again. Here they are made as text at
once: a payload is written down as it was when it was emitted, and nothing is held that a handler could still change.
"""

import contextlib
import json
from collections.abc import Callable
from typing import Any

from routilux.errors import NotPlainError
from routilux.flow.identity import as_text
from routilux.flow.task import Activation
from routilux.flow.wiring import Delivery, Wired
from routilux.job_state import ExecutionRecord, JobState, ledger_of
from routilux.ledger import RecordKey
from routilux.plain import plain
from routilux.priority import TaskPriority
from routilux.stores.base import JournalRow
from routilux.stores.checks import checked_text

__all__ = ["Scribe", "encoded"]


def _prepared_encoder() -> Callable[[Any], str]:
    """What `JSONEncoder.encode` does, ASCII only, so that any text of an application passes through any store.

    That one prepares itself anew for each value, which takes as long again as the encoding of a small payload.
    """
    encoder = json.JSONEncoder(separators=(",", ":"), check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)  # as `JSONEncoder.iterencode` finds it
    if make is None:
        return encoder.encode
    text = json.encoder.encode_basestring_ascii
    chunks = make(None, encoder.default, text, None, ":", ",", False, False, True)
    return lambda value: "".join(chunks(value, 0))


dumps = _prepared_encoder()

# What the encoder writes as it is, but for whole numbers of thousands of digits, which it refuses.
_SIMPLE = frozenset({str, bool, type(None), float, int})
_INT_MAX = 1 << 64

# Of a history that is copied, so many records stand in a row.
COPIED_RECORDS = 1000

# The rows of a journal when its first snapshot is taken.
SNAPSHOT_ROWS = 1000


def encoded(data: dict[str, Any], place: object) -> str:
    """A payload as JSON text.

    Args:
        data: The payload.
        place: Says in errors, by its text, where it stands; it has that made only then.

    Raises:
        NotPlainError: Something in it is not JSON; the message names the path to it.
    """
    for key, value in data.items():
        kind = type(value)
        if kind not in _SIMPLE or type(key) is not str or (kind is int and not -_INT_MAX < value < _INT_MAX):
            # A look at all of it: the encoder would change keys silently, and not say where it stopped.
            return dumps(plain(data, str(place)))
    return dumps(data)


class Scribe:
    """The operations of a run that stand in no row yet, and the number of its last row.

    Every method is called with the run's lock held, but for `check`. It belongs to the record, not to a leg of the
    run: rows are numbered on through pauses and resumes.
    """

    __slots__ = ("_base_us", "_ledger", "_metadata", "_names", "_ops", "number", "size", "snapshot_due", "structure")

    def __init__(
        self, job_state: JobState, number: int = 0, snapshot_number: int = 0, structure: str | None = None
    ) -> None:
        self._ledger = ledger_of(job_state)
        self._ops: list[str] = []
        # Of ports, as the rows of a bounded history say them.
        self._names: dict[tuple[str, str], tuple[str, str]] = {}
        self._metadata = ""
        #: Of the last row.
        self.number = number
        #: Of the flow that drives the run, as the store has it (see `structure.py`); None: nobody has looked.
        self.structure = structure
        #: Characters of the rows that were made here.
        self.size = 0
        #: The row at which a snapshot is taken next: when the journal has doubled, so that their sum stays linear.
        self.snapshot_due = max(SNAPSHOT_ROWS, 2 * snapshot_number)
        # As `Ledger.instant` reckons, so that a record has the same time wherever it is read.
        self._base_us = round(self._ledger.origin.timestamp() * 1e6)

    def _at(self, at_ns: int) -> int:
        return self._base_us + (at_ns - self._ledger.origin_ns + 500) // 1000

    def cut(self) -> JournalRow | None:
        """A row of what has happened since the last one; None when nothing has."""
        states = self._ledger.routine_states
        if states.changed:
            states.bring_up_to_date()  # what it writes stands after the completions of this row, and holds them
            changed, states.changed = states.changed, {}
            for routine_id in changed:
                with contextlib.suppress(NotPlainError):  # written by hand; saving the run will tell
                    self._ops.append(dumps(["s", *plain([routine_id, dict.get(states, routine_id)], "a state")]))
        if not self._ops:
            return None
        body = f"[{','.join(self._ops)}]"
        self._ops.clear()
        self.number += 1
        self.size += len(body)
        return JournalRow(self.number, body)

    # -- what a run does

    def begin_from(self, state: dict[str, Any]) -> None:
        """The state that everything after it changes."""
        self._ops.append(f'["S",{dumps(state)}]')

    def emission(
        self, activation: Activation, wired: Wired, data: str, at_ns: int, nth: int, priority: int, due_ns: int | None
    ) -> None:
        """An emission, and the tasks that it makes.

        Args:
            activation: Who emits.
            wired: What is emitted.
            data: The payload, encoded.
            at_ns: When.
            nth: How many of this event the activation had emitted before.
            priority: Of the tasks.
            due_ns: When they start; None: at once.
        """
        if not wired.text:
            wired.text = f"{dumps(wired.node.id)},{dumps(wired.name)}"
        identity = activation.identity
        tasks = []
        for delivery in wired.deliveries:
            before, after = delivery.text or _text_of(delivery)
            tasks.append(f'{before}"{as_text(hash((identity, delivery.salt, nth)))}"{after}')
        parent = f'"{as_text(identity)}"' if activation.port.node.id else "null"
        rest = ""
        if due_ns is not None:
            rest = f",{int(priority)},{self._at(due_ns)}"
        elif priority != TaskPriority.NORMAL:
            rest = f",{int(priority)}"
        self._ops.append(f'["e",{parent},{wired.text},{self._at(at_ns)},{data},[{",".join(tasks)}]{rest}]')

    def arrival(self, entry: dict[str, Any], due_ns: int | None) -> None:
        """A task that came from outside, as a pending task describes it."""
        values = [entry[name] for name in ("id", "routine_id", "slot", "data", "connection", "priority")]
        due = [] if due_ns is None else [self._at(due_ns)]
        self._ops.append(dumps(["n", *plain(values, "a task from outside"), *due]))

    def begin(self, activation: Activation, at_ns: int, record: int, merges: bool) -> None:
        """A handler is about to be called."""
        key = as_text(activation.identity)
        names = "" if self._ledger.limit is None else self._names_of(activation)[0]
        self._ops.append(f'["b","{key}",{self._at(at_ns)},{record},{1 if merges else 0}{names}]')

    def _names_of(self, activation: Activation) -> tuple[str, str]:
        """Of routine and slot, and of the routine."""
        key = activation.port.key
        names = self._names.get(key)
        if names is None:
            routine_id, slot = map(dumps, key)
            names = self._names[key] = f",{routine_id},{slot}", f",{routine_id}"
        return names

    def merged(self, activation: Activation, held: dict[str, Any] | None) -> None:
        """A delivery was merged: by "append", or into what a function has returned."""
        key = as_text(activation.identity)
        if held is None:
            self._ops.append(f'["m","{key}",null]')
            return
        place = f"what the slot {activation.port.slot.name!r} of {activation.port.node.id!r} holds"
        text = encoded(held, place)
        data = text if _is_copy(activation.data, held) else encoded(activation.data, place)
        self._ops.append(f'["m","{key}",{text},{data}]')

    def complete(self, activation: Activation, at_ns: int, duration_ns: int) -> None:
        """It completed at its first attempt."""
        names = "" if self._ledger.limit is None else self._names_of(activation)[1]
        self._ops.append(f'["c","{as_text(activation.identity)}",{self._at(at_ns)},{duration_ns}{names}]')

    def leave(self, activation: Activation) -> None:
        """It is over, and records and states say how."""
        self._ops.append(f'["l","{as_text(activation.identity)}"]')

    def fail(self, activation: Activation) -> None:
        """It failed, and the run with it."""
        self._ops.append(f'["x","{as_text(activation.identity)}"]')

    def retry(self, activation: Activation, due_ns: int | None) -> None:
        """It failed, and will be tried again; without an instant, as soon as its turn comes."""
        due = "null" if due_ns is None else self._at(due_ns)
        self._ops.append(f'["y","{as_text(activation.identity)}",{activation.retry_count + 1},{due}]')

    def slot_data(self, key: tuple[str, str], data: dict[str, Any]) -> None:
        """A handler has set what a slot holds."""
        self._ops.append(dumps(["d", *key, plain(data, "slot data")]))

    def metadata(self, metadata: dict[str, Any]) -> None:
        """The metadata, if they are not what they were."""
        text = encoded(metadata, "metadata")
        if text != self._metadata:
            self._metadata = text
            self._ops.append(f'["t",{text}]')

    def dropped(self) -> None:
        """The run is being cancelled: what has not begun is dropped."""
        self._ops.append('["w"]')

    def share(self, changes: list[tuple[Any, ...]]) -> None:
        """Shared values were written."""
        self._ops.extend(dumps(["k", *change]) for change in changes)

    # -- what a record is told; see `routilux.ledger.Scribe`

    def check(self, value: Any, path: str) -> None:
        """Refuse what cannot be written down."""
        plain(value, path)

    def check_text(self, what: str, text: str) -> None:
        """Refuse a text that no store can hold."""
        checked_text(what, text)

    def record(self, key: RecordKey, at_ns: int, data: Any) -> None:
        """A record was written."""
        if key.unfold is not None and key.event_name == "start":
            return  # `begin` says it
        self._ops.append(dumps(["r", key.routine_id, key.event_name, self._at(at_ns), plain(data, "a record")]))

    def appended(self, record: ExecutionRecord, path: str = "the data of a record") -> None:
        """A caller has appended a record; `path` is where its data stand, for messages."""
        saved = record.saved_form(path)
        at_us = round(record.timestamp.timestamp() * 1e6)
        self._ops.append(
            dumps(["r", saved["routine_id"], saved["event_name"], at_us, saved["data"], record.is_emission])
        )

    def output(self, entry: dict[str, Any]) -> None:
        """An output was sent."""
        self._ops.append(dumps(["o", plain(entry, "an output")]))

    def deferred(self, entries: list[dict[str, Any]]) -> None:
        """Events were deferred."""
        self._ops.append(dumps(["f", plain(entries, "deferred events")]))

    def logged(self, entry: dict[str, Any]) -> None:
        """The shared log has an entry more."""
        self._ops.append(dumps(["g", plain(entry, "an entry of the shared log")]))

    def paused(self, point: dict[str, Any]) -> None:
        """There is a pause point more."""
        self._ops.append(dumps(["z", plain(point, "a pause point")]))

    def requested(self, activation: Activation, request: dict[str, Any], at_ns: int) -> None:
        """An activation has asked for an input."""
        parent = as_text(activation.identity) if activation.port.node.id else None
        self._ops.append(dumps(["q", parent, request, self._at(at_ns)]))

    def received(self, entry: dict[str, Any], number: int, at_ns: int) -> None:
        """An input has come."""
        self._ops.append(dumps(["i", number, entry, self._at(at_ns)]))

    def timed_out(self, request: dict[str, Any], at_ns: int) -> None:
        """An input has not come in time."""
        self._ops.append(dumps(["u", request, self._at(at_ns)]))

    def copy_history(self, job_state: JobState) -> list[JournalRow]:
        """Rows of what a record holds already that no row says: for a state that comes from elsewhere.

        They come before the state: one can go back to where that stands, and not to what was before.
        """
        rows: list[JournalRow | None] = []
        history = job_state.folded_history()
        if self._ledger.dropped:
            self._ops.append(f'["h",{self._ledger.dropped}]')
        for number, record in enumerate(history):
            if number and not number % COPIED_RECORDS:
                rows.append(self.cut())
            self.appended(record, f"execution_history[{number}].data")
        self._ops.extend(dumps(["o", plain(entry, "output_log")]) for entry in job_state.output_log)
        self._ops.extend(dumps(["g", plain(entry, "shared_log")]) for entry in job_state.shared_log)
        rows.append(self.cut())
        return [row for row in rows if row is not None]


def _is_copy(data: dict[str, Any], held: dict[str, Any]) -> bool:
    """Whether they hold the very same values; what would be compared otherwise is the application's."""
    return len(data) == len(held) and all(key in held and held[key] is value for key, value in data.items())


def _text_of(delivery: Delivery) -> tuple[str, str]:
    """What stands before and after the id of a task that comes by this line."""
    routine_id, slot_name = delivery.port.key
    after = "]"
    if delivery.connection is None:
        after = ",null]"
    elif delivery.mapping:
        after = f",{dumps(delivery.mapping)}]"
    delivery.text = f"[{dumps(routine_id)},{dumps(slot_name)},", after
    return delivery.text
