"""ExecutionRecord and JobState: the complete record of one run."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from threading import RLock
from typing import Any

from serilux import SerializableRegistry, register_serializable

from routilux.context import refuse_late
from routilux.errors import InvalidDataError, InvalidValueError
from routilux.execution_record import ExecutionRecord, History, errors_of, record_of, restored_record
from routilux.guarded import taken_from
from routilux.history_data import read_rows
from routilux.ids import new_id
from routilux.ledger import Ledger, RecordKey
from routilux.output_handler import OutputHandler, check_output_handler, hand_over
from routilux.registration import registered
from routilux.restoration import restore_additions, saved_additions
from routilux.routine_states import RoutineStates
from routilux.shared_data import SharedData
from routilux.shared_state import SharedState
from routilux.state_data import checked_instant, local_time, read_state, shallow, shallow_slot_data
from routilux.state_file import Saves, read_file
from routilux.state_saving import saved_state
from routilux.status import JobStatus
from routilux.waiting import wait_for_completion, wait_until_condition

__all__ = ["ExecutionRecord", "JobState", "ledger_of", "register_serializable"]


@registered
class JobState(SharedState):
    """The complete record of one run: what happened, what is left to do, what the routines shared.

    Every attribute and method may be read and called from any thread while workers write. Iterating
    `routine_states` or `shared_data` sees a copy of the moment.

    Attributes:
        flow_id: The flow that this run belongs to.
        job_id: Names the run; unique.
        current_routine_id: The routine that was activated last, or None.
        pause_points: One entry per pause: timestamp, reason, current_routine_id, checkpoint, counts.
        pending_tasks: What waits to be resumed, one dict per activation.
        deferred_events: What is emitted when the run is resumed.
        input_requests: What its routines have asked for and not got, oldest first: dicts id, name, routine_id, slot,
            due_at. See `Routine.request_input`.
        kept_inputs: What was sent to it before somebody asked for it, oldest first: dicts name, data.
        shared_log: Append-only entries of the routines.
        output_handler: Receives outputs as they are sent; not saved.
        output_log: Every output that was sent, as dicts routine_id, output_type, data, timestamp.
        metadata: For the application; saved.
    """

    fields_to_serialize = [
        "flow_id",
        "job_id",
        "status",
        "current_routine_id",
        "routine_states",
        "execution_history",
        "created_at",
        "updated_at",
        "pause_points",
        "pending_tasks",
        "deferred_events",
        "shared_data",
        "shared_log",
        "output_log",
        "metadata",
    ]

    def __init__(self, flow_id: str = "") -> None:
        super().__init__()
        self._history = History([], self._ledger)
        self._created_at: datetime | None = None
        self._updated_at: datetime | None = None
        self.flow_id = flow_id
        self.job_id = new_id()
        self.current_routine_id: str | None = None
        self.pause_points: list[dict[str, Any]] = []
        self.pending_tasks: list[dict[str, Any]] = []
        self.deferred_events: list[dict[str, Any]] = []
        self.input_requests: list[dict[str, Any]] = []
        self.kept_inputs: list[dict[str, Any]] = []
        self.output_handler: OutputHandler | None = None
        # By the number of the process: in a forked child, the threads that are saving do not exist.
        self._saves: dict[int, Saves] = {}
        self.output_log: list[dict[str, Any]] = []
        self.metadata: dict[str, Any] = {}

    def __repr__(self) -> str:
        ledger = self._ledger
        with ledger.lock:
            records = len(self._history) + ledger.unread_count()
            failed = ledger.routine_states.failed()
        parts = [f"flow {self.flow_id!r}", f"{records} records"]
        live = ledger.live
        if live is not None:
            parts.append(f"{live.queue_size()} queued, {live.active_count()} active")
        if self.pending_tasks:
            parts.append(f"{len(self.pending_tasks)} pending")
        if failed:
            parts.append(f"failed in {', '.join(failed)}")
        return f"JobState[{self.job_id}:{self.status}] ({'; '.join(parts)})"

    # -- status and times

    @property
    def status(self) -> str:
        """pending, running, paused, completed, failed or cancelled; may be assigned any string."""
        return self._ledger.status

    @status.setter
    def status(self, value: str) -> None:
        if self._ledger.scribe is not None:
            self._ledger.scribe.check_text("status", str(value))
        with self._ledger.lock:
            self._ledger.status = str(value)
            self._touch()

    @property
    def created_at(self) -> datetime:
        """When this record was made (local time)."""
        return self._created_at or self._ledger.origin

    @created_at.setter
    def created_at(self, value: datetime) -> None:
        self._created_at = checked_instant("created_at", value)

    @property
    def updated_at(self) -> datetime:
        """When anything was last written here (local time)."""
        with self._ledger.lock:
            return self._last_update()

    @updated_at.setter
    def updated_at(self, value: datetime) -> None:
        value = checked_instant("updated_at", value)
        self._created_at = self.created_at  # which is the origin, until that is moved here
        with self._ledger.lock:
            self.folded_history()  # what was written has its times by the origin that was
        self._updated_at = value
        self._ledger.origin_ns = self._ledger.last_ns()
        self._ledger.origin = max(value, datetime.now())

    def _last_update(self) -> datetime:
        ledger = self._ledger
        if self._updated_at is not None and ledger.last_ns() <= ledger.origin_ns:
            return self._updated_at
        return ledger.instant(ledger.last_ns())

    @property
    def checkpoint(self) -> dict[str, Any]:
        """The checkpoint of the last pause point; empty when the run was never paused."""
        return self.pause_points[-1].get("checkpoint", {}) if self.pause_points else {}

    # -- routine states

    @property
    def routine_states(self) -> dict[str, dict[str, Any]]:
        """The state of each routine by its id; a dict that may be walked while workers write it."""
        return self._ledger.routine_states

    @routine_states.setter
    def routine_states(self, value: dict[str, dict[str, Any]]) -> None:
        if value is self._ledger.routine_states:
            return  # `routine_states |= {...}` has written it already, and it stays the object that others hold
        refuse_late(self, "replace the routines' states")
        states = RoutineStates(taken_from(value), self._ledger.lock)
        with self._ledger.lock:
            states.track(self._ledger.routine_states)
            self._ledger.routine_states = states

    def update_routine_state(self, routine_id: str, state: dict[str, Any]) -> None:
        """Replace a routine's state with a copy of `state`."""
        refuse_late(self, "write a routine's state")
        self._check_durable(state, f"the state of {routine_id!r}")
        state = taken_from(state)
        with self._ledger.lock:
            self._ledger.routine_states.set(routine_id, state)
            self._touch()

    def get_routine_state(self, routine_id: str) -> dict[str, Any] | None:
        """A routine's state, or None when it has not run."""
        state: dict[str, Any] | None = self._ledger.routine_states.get(routine_id)
        return state

    # -- history

    @property
    def execution_history(self) -> list[ExecutionRecord]:
        """Everything that happened, oldest first. Always the same list; callers may append to it."""
        with self._ledger.lock:
            return self.folded_history()

    @execution_history.setter
    def execution_history(self, value: list[ExecutionRecord]) -> None:
        if value is self._history:
            return  # `execution_history += [...]` has written it already: one and the same list, and nothing is dropped
        records = list(value)  # before the lock is taken: it may be made of the history itself
        with self._ledger.lock:
            self._ledger.take_records()
            self._history = History(records, self._ledger)

    def folded_history(self) -> list[ExecutionRecord]:
        """With the engine's lock held: the history, with everything that was written in it. Not for applications."""
        ledger = self._ledger
        self._history.fold()
        if ledger.limit is not None and len(self._history) > ledger.limit:
            surplus = len(self._history) - ledger.limit
            del self._history[:surplus]
            ledger.dropped += surplus
        if ledger.dropped:
            self.metadata["history_dropped"] = ledger.dropped
        return self._history

    def record_execution(self, routine_id: str, event_name: str, data: dict[str, Any] | None) -> None:
        """Append a record with the present time; None for data that are an empty dict."""
        data = {} if data is None else data
        refuse_late(self, f"record {event_name!r}")
        self._check_durable(data, f"the data of a record of {routine_id!r}")
        ledger = self._ledger
        with ledger.lock:
            ledger.write(RecordKey(routine_id, event_name), ledger.now(), data)
            if ledger.live is not None:
                ledger.live.poke()

    def get_execution_history(self, routine_id: str | None = None) -> list[ExecutionRecord]:
        """A new list of the records, of one routine or of all, sorted by time."""
        records = list(self.execution_history)
        if routine_id is not None:
            records = [record for record in records if record.routine_id == routine_id]
        return sorted(records, key=lambda record: local_time(record.timestamp))

    @property
    def errors(self) -> list[ExecutionRecord]:
        """The records of everything that went wrong, oldest first, each error once.

        A tolerated error of a task stands in the history twice (as `error`, and as `error_continued` or
        `skipped`); here only its `error` record, which has the traceback.
        """
        return list(errors_of(list(self.execution_history)))

    def use_new_locks(self) -> None:
        """In a forked child, where the threads that held the locks do not exist. Not for applications."""
        self._ledger.use_new_lock()
        self._shared_lock = RLock()
        self._shared_data = SharedData(dict(dict.items(self._shared_data)), lock=self._shared_lock)
        self._modifying_thread = 0

    def record_total(self) -> int:
        """With the engine's lock held: how many records there have been. For the stream, not for applications."""
        return self._ledger.record_count() + len(self._history)

    def records_after(self, count: int, most: int) -> tuple[int, Callable[[], list[ExecutionRecord]]]:
        """With the engine's lock held: the newest records after the first `count`, `most` at most, to be read later.

        For the tracker of the flow, not for applications.
        """
        ledger = self._ledger
        if not self._history and len(ledger.rows) <= 3 * most and count <= ledger.dropped:
            lean_count, unfold = ledger.peek(0)
            return lean_count, lambda: list(map(record_of, unfold()))
        folded = self._history[max(0, count - ledger.dropped) :][-most:]
        skipped = max(0, count - ledger.dropped - len(self._history))
        lean_count, unfold = ledger.peek(max(skipped, ledger.unread_count() - most))
        return (
            len(folded) + lean_count,
            lambda: [*folded, *(record_of(row) for row in unfold())],
        )

    # -- deferred events and outputs

    def add_deferred_event(self, routine_id: str, event_name: str, data: dict[str, Any]) -> None:
        """Have a routine emit an event when the run is resumed."""
        refuse_late(self, f"defer {event_name!r}")
        entry = {
            "routine_id": routine_id,
            "event_name": event_name,
            "data": data,
            "timestamp": datetime.now().isoformat(),
        }
        self._check_durable(data, f"the data of the deferred event {routine_id}.{event_name}")
        with self._ledger.lock:
            self.deferred_events.append(entry)
            self._touch()
            if self._ledger.scribe is not None:
                self._ledger.scribe.deferred([entry])

    def set_output_handler(self, handler: OutputHandler | None) -> None:
        """Send the outputs of this run to `handler`; None: only to the output log.

        Raises:
            TypeError: When it has no `handle` method.
        """
        check_output_handler(handler)
        self.output_handler = handler

    def send_output(self, routine_id: str, output_type: str, data: dict[str, Any]) -> None:
        """Put an output into the output log, then hand it to the output handler on this thread."""
        refuse_late(self, f"send the output {output_type!r}")
        ledger = self._ledger
        self._check_durable(data, f"an output of {routine_id!r}")
        with ledger.lock:
            # The time is taken under the lock: the log's times never run backwards.
            at_ns = ledger.touched_ns = ledger.now()
            timestamp = ledger.instant(at_ns)
            entry = {"routine_id": routine_id, "output_type": output_type, "data": data}
            entry["timestamp"] = timestamp.isoformat()
            self.output_log.append(entry)
            if ledger.scribe is not None:
                ledger.scribe.output(entry)
            ledger.output_marks.append(len(self._history) + ledger.record_count())
            if ledger.live is not None:
                ledger.live.poke()
        if self.output_handler is not None:
            hand_over(
                self.output_handler,
                job_id=self.job_id,
                routine_id=routine_id,
                output_type=output_type,
                data=data,
                timestamp=timestamp,
            )

    def outputs(self, output_type: str | None = None) -> list[dict[str, Any]]:
        """A new list of the entries of the output log, of one type or of all."""
        with self._ledger.lock:
            entries = list(self.output_log)
        return entries if output_type is None else [e for e in entries if e["output_type"] == output_type]

    # -- as data

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The run as data, at this instant: what is queued, active or on a timer stands in `pending_tasks`.

        May be called from any thread while workers write. Fields that an application has added are read a moment later.

        Raises:
            TypeError: Something in it is not JSON, or of another kind; the message names the path to it.
            ValueError: Something in it could not be loaded again; the message names the path to it.
        """
        below: dict[str, Any] = {"max_depth": max_depth, "_current_depth": _current_depth + 1}
        return {
            "_type": type(self).__name__,
            **saved_state(self._snapshot(), self._ledger),
            **saved_additions(self, _OWN_KEYS, "a JobState", below),
        }

    def write_live_form(self, use: Callable[[dict[str, Any]], None]) -> None:
        """Call `use` with what `serialize` gives, without what only grows: records, outputs and the shared log.

        It is called at the instant of the snapshot, with the engine's lock held. For journals, not for applications.
        """
        additions = saved_additions(self, _OWN_KEYS, "a JobState", {"max_depth": 100, "_current_depth": 1})
        with self._at_rest():
            taken = {**self._taken(), "execution_history": [], "rows": [], "output_log": [], "shared_log": []}
            use({"_type": type(self).__name__, **saved_state(taken, self._ledger), **additions})
            self._shared_data.forget_written()

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """While no merge is half done, and nobody writes.

        Raises:
            RunError: Called by the function that `modify_shared_data` was given.
        """
        self.refuse_while_modifying("A run cannot be saved or copied by", "save")
        while True:
            live = self._ledger.live
            with live.snapshot_lock() if live is not None else nullcontext(), self._shared_lock, self._ledger.lock:
                if self._ledger.live in (live, None):  # else it began to run before we had the locks
                    yield
                    return

    def _snapshot(self) -> dict[str, Any]:
        """Everything at one instant: objects that are shared with the run, in containers that are not."""
        with self._at_rest():
            return self._taken()

    def _taken(self) -> dict[str, Any]:
        live, scribe = self._ledger.live, self._ledger.scribe
        row = self._ledger.journal_row if scribe is None else scribe.number
        self._ledger.routine_states.bring_up_to_date()
        if self._ledger.limit is not None:
            self.folded_history()
        return {
            "flow_id": self.flow_id,
            "job_id": self.job_id,
            "status": self._ledger.status,
            "current_routine_id": self.current_routine_id,
            "created_at": self._created_at or self._ledger.origin,
            "updated_at": self._last_update(),
            "routine_states": {key: shallow(value) for key, value in dict.items(self._ledger.routine_states)},
            # What nobody has read need not become objects: it is saved as it was written.
            "execution_history": list(self._history),
            "rows": self._ledger.rows.copy(),
            "pause_points": shallow(self.pause_points),
            # What is active has begun before what is parked.
            "pending_tasks": [*(live.outstanding_tasks() if live is not None else ()), *self.pending_tasks],
            "deferred_events": shallow(self.deferred_events),
            "input_requests": shallow(self.input_requests),
            "kept_inputs": shallow(self.kept_inputs),
            "shared_data": dict(dict.items(self._shared_data)),
            "shared_log": shallow(self.shared_log),
            "output_log": shallow(self.output_log),
            "metadata": shallow(self.metadata),
            "execution_strategy": self._ledger.strategy,
            **({} if self._ledger.limit is None else {"history_limit": self._ledger.limit}),
            **({"journal_row": row} if row else {}),
            **({"input_number": self._ledger.input_number} if self._ledger.input_number else {}),
            "slot_data": shallow_slot_data(self._ledger.slot_data),
        }

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Become what `serialize` wrote; a missing key keeps the present value, an unknown one is ignored.

        Raises:
            ValueError: A value that cannot be, or a newer format; the state is then as it was.
        """
        if self._ledger.live is not None:
            doing = "paused in" if self.status == JobStatus.PAUSED else "being driven by"
            raise InvalidValueError(f"{self!r} is {doing} a flow of this process. Restore into a new JobState().")
        found = read_state(data)
        if "execution_history" in found:
            found["rows"] = read_rows(found["execution_history"])
            usual = found["rows"] is not None
            found["execution_history"] = [] if usual else [*map(restored_record, found["execution_history"])]
        if type(self) is not JobState:
            # A subclass may refuse a value where it is set: then it does so here, and this state is as it was.
            rehearsal = type(self)()
            rehearsal._become({name: value for name, value in found.items() if name != "rows"})  # noqa: SLF001 - one of us
        restore_additions(self, _OWN_KEYS, data, "a JobState")  # first: these can still be refused
        self._become(found)

    def _become(self, found: dict[str, Any]) -> None:
        """Take over what a snapshot, or a file, has."""
        slot_data, rows = found.pop("slot_data", None), found.pop("rows", None)
        self._ledger.strategy = found.pop("execution_strategy", self._ledger.strategy)
        self._ledger.limit = found.pop("history_limit", self._ledger.limit)
        self._ledger.journal_row = found.pop("journal_row", self._ledger.journal_row)
        self._ledger.input_number = found.pop("input_number", self._ledger.input_number)
        updated_at = found.pop("updated_at", None)
        for name, value in found.items():
            setattr(self, name, value)
        if slot_data is not None:
            self._ledger.slot_data = slot_data
        dropped = self.metadata.get("history_dropped")
        if type(dropped) is int and dropped > 0:
            self._ledger.dropped = dropped
        if "output_log" in found:
            self._ledger.output_marks = [0] * len(self.output_log)
        if updated_at is not None:
            self.updated_at = updated_at
        if rows is not None:
            self._ledger.restore(rows)  # last: the origin of its times has been moved by then
        self._ledger.was_live = False

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write the run to a file, and make its folders. At every instant the path holds the old file or the new one.

        Of several threads that save one run to one path at once, the one that called last decides what the file says.
        A signal handler may save a run whose file its own thread is just writing. But where it has interrupted a change
        of the record itself, it waits for ever: safer is a flag that the program looks at.

        Raises:
            TypeError: Something in it is not JSON, or of another kind; no file is touched.
            ValueError: Something in it could not be loaded again; no file is touched.
            OSError: The file cannot be written; the old one is still there.
        """
        process = os.getpid()
        # In one step and without a lock, which could be held by the thread that a signal handler has interrupted.
        saves = self._saves.get(process) or self._saves.setdefault(process, Saves())
        saves.save(filepath, self.serialize)

    @classmethod
    def load(cls, filepath: str | os.PathLike[str]) -> "JobState":
        """The run that a file holds. Nothing is imported, built or run that the file names.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no JobState, or one of a newer format; the message names the file and the trouble.
            TypeError: What is given is no path.
        """
        saved = read_file(filepath, cls._is_name_of_state)
        job_state = cls()
        try:
            job_state.deserialize(saved)
        except (TypeError, ValueError) as error:
            raise InvalidDataError(f"{filepath} is not a JobState that can be read: {error}") from error
        return job_state

    @classmethod
    def _is_name_of_state(cls, name: str) -> bool:
        known = SerializableRegistry.get_class(name)
        classes = (*cls.__mro__, known) if isinstance(known, type) else cls.__mro__
        return any(each.__name__ == name and issubclass(each, JobState) for each in classes)

    # -- copies

    def __getstate__(self) -> dict[str, Any]:
        """What copy and pickle take: the record without its live side (locks, run, output handler)."""
        state = self._snapshot()
        state["execution_history"] += map(record_of, self._ledger.unfolded(state.pop("rows")))
        ours = {*vars(JobState()), "output_handler"}
        foreign = {name: value for name, value in vars(self).items() if name not in ours and name not in state}
        return {**state, **foreign}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # an unpickled object has not been through its constructor
        self._become(dict(state))

    # -- waiting: calls of the class, not of an instance

    wait_for_completion = staticmethod(wait_for_completion)
    wait_until_condition = staticmethod(wait_until_condition)


# What a JobState saves itself; other fields are an application's.
_OWN_KEYS = frozenset(
    [
        *JobState.fields_to_serialize,
        "format_version",
        "execution_strategy",
        "history_limit",
        "input_number",
        "input_requests",
        "journal_row",
        "kept_inputs",
        "slot_data",
    ]
)


def ledger_of(job_state: JobState) -> Ledger:
    """The engine's side of a record. For the rooms of this package, not for applications."""
    return job_state._ledger  # noqa: SLF001 - its own room
