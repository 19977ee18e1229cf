"""SlotActivationTask: one unit of work, from the emission that made it to its settlement."""

import logging
from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime
from typing import TYPE_CHECKING, Any

from routilux.flow.identity import as_text
from routilux.priority import TaskPriority
from routilux.synchronous import routine_id_in

if TYPE_CHECKING:  # a task is what these hand to each other
    from routilux.connection import Connection
    from routilux.flow.flow import Flow
    from routilux.flow.run import Run
    from routilux.flow.wiring import Port, Wired
    from routilux.job_state import JobState
    from routilux.slot import Slot

__all__ = [
    "Activation",
    "Held",
    "HeldCall",
    "HeldEmission",
    "HeldOutput",
    "HeldRequest",
    "SlotActivationTask",
    "Special",
    "TaskPriority",
]


logger = logging.getLogger(__name__)


class SlotActivationTask:
    """Data on their way to a slot. Tasks compare by priority: the smaller comes first.

    Args:
        slot: Where the data go.
        data: This delivery's own dict, mapped already.
        connection: By which line they came; None for the entry and for bare `event.connect(slot)`.
        priority: HIGH, NORMAL or LOW.
        retry_count: Retries so far; 0 at the first attempt.
        max_retries: Informs readers; the error policy decides.
        created_at: A datetime or seconds; now by default.
        job_state: The run that it counts for.
    """

    __slots__ = (
        "_created_at",
        "connection",
        "data",
        "job_state",
        "max_retries",
        "priority",
        "retry_count",
        "slot",
    )

    job_state: "JobState | None"

    def __init__(
        self,
        slot: "Slot",
        data: dict[str, Any],
        connection: "Connection | None" = None,
        priority: TaskPriority = TaskPriority.NORMAL,
        retry_count: int = 0,
        max_retries: int = 0,
        created_at: datetime | float | None = None,
        job_state: "JobState | None" = None,
    ) -> None:
        self.slot = slot
        self.data = data
        self.connection = connection
        self.priority = TaskPriority.of(priority)
        self.retry_count = retry_count
        self.max_retries = max_retries
        self._created_at: datetime | float = datetime.now() if created_at is None else created_at
        self.job_state = job_state

    def __lt__(self, other: "SlotActivationTask") -> bool:
        return self.priority < other.priority

    def __repr__(self) -> str:
        attempt = f", attempt {self.retry_count + 1}" if self.retry_count else ""
        keys = sorted(map(str, self.data))
        return f"{type(self).__name__}[{self._place()}] ({TaskPriority(self.priority).name}{attempt}, keys {keys})"

    def _place(self) -> str:
        return self.slot.place()

    @property
    def created_at(self) -> datetime | float:
        """When it was made."""
        return self._created_at


class Activation(SlotActivationTask):
    """A task that counts for a run: from the emission that made it to its settlement.

    One of these is made for each delivery, so it is made of little: what only few of them have stands in `special`,
    which is None for the others. The attributes below are read and set as if all had them.

    Attributes:
        run: The live side of its run.
        port: Routine id and slot as the flow has them.
        identity: The same when the parent runs again, whatever the order of its emissions; see `identity.py`.
        started_ns: When its present attempt started; -1: it has not begun.
        special: What most activations do not have; see `Special`.
        is_entry: Whether it is the one that `execute` began with.
        merged: True once `data` are the merged arguments; every later attempt uses them.
        replay: For one that had begun when it was stopped: what it had emitted, as dicts or their digests, which is
            not emitted again.
        effects: What it does, held back until it succeeds (policy RETRY); None: it takes effect at once.
        deferred: Deferred events, which enter the state when it ends.
    """

    __slots__ = ("_created_ns", "emitted", "identity", "port", "run", "special", "started_ns")

    def __init__(
        self,
        run: "Run",
        port: "Port",
        data: dict[str, Any],
        connection: "Connection | None" = None,
        priority: TaskPriority = TaskPriority.NORMAL,
        identity: int = 0,
        created_ns: int = 0,
    ) -> None:
        self.run = run
        self.port = port
        self.data = data
        self.connection = connection
        self.priority = priority
        self.identity = identity
        self._created_ns = created_ns
        self.started_ns = -1
        # None, or (name, data) of its only emission, or {name: [data, data]}; see `released`.
        self.emitted: Any = None
        self.special: Special | None = None

    # -- what it has emitted

    def released(self) -> dict[str, list[Any]]:
        """With the run's lock held: what it has emitted, by event (see `Wired.name_in`)."""
        found = self.emitted
        if isinstance(found, tuple):
            return {found[0]: [found[1]]}
        return found or {}

    def release(self, name: str, data: Any) -> int:
        """With the run's lock held: note an emission; returns how many of that event came before it."""
        found = self.emitted
        if found is None:
            self.emitted = (name, data)  # most emit once, and this costs a quarter of a dict with a list
            return 0
        if type(found) is tuple:
            found = self.emitted = {found[0]: [found[1]]}
        payloads = found.get(name)
        if payloads is None:
            found[name] = [data]
            return 0
        payloads.append(data)
        return len(payloads) - 1

    def rerelease(self, name: str, data: Any) -> None:
        """With the run's lock held: the emission noted last was one that had been released before, with these data."""
        if isinstance(self.emitted, tuple):
            self.emitted = (name, data)
        else:
            self.emitted[name][-1] = data

    # -- what most do not have

    def _make_special(self) -> "Special":
        if self.special is None:
            self.special = Special()
        return self.special

    @property
    def retry_count(self) -> int:
        """Retries so far; 0 at the first attempt."""
        return 0 if self.special is None else self.special.retry_count

    @retry_count.setter
    def retry_count(self, value: int) -> None:
        self._make_special().retry_count = value

    @property
    def max_retries(self) -> int:
        """Informs readers; the error policy decides."""
        return 0 if self.special is None else self.special.max_retries

    @max_retries.setter
    def max_retries(self, value: int) -> None:
        self._make_special().max_retries = value

    @property
    def merged(self) -> bool:
        """Whether `data` are the merged arguments. A delivery that replaces what was there is merged when it begins."""
        if self.special is not None and self.special.merged:
            return True
        return self.started_ns >= 0 and self.port.slot.replaces

    @merged.setter
    def merged(self, value: bool) -> None:
        self._make_special().merged = value

    @property
    def is_entry(self) -> bool:
        """Whether it is the one that `execute` began with."""
        return self.special is not None and self.special.is_entry

    @is_entry.setter
    def is_entry(self, value: bool) -> None:
        self._make_special().is_entry = value

    @property
    def replay(self) -> dict[str, list[Any]] | None:
        """For one that had begun when it was stopped: what it had emitted."""
        return None if self.special is None else self.special.replay

    @replay.setter
    def replay(self, value: dict[str, list[Any]] | None) -> None:
        self._make_special().replay = value

    @property
    def effects(self) -> "list[Held] | None":
        """What it does, held back until it succeeds; None: it takes effect at once."""
        return None if self.special is None else self.special.effects

    @effects.setter
    def effects(self, value: "list[Held] | None") -> None:
        self._make_special().effects = value

    @property
    def deferred(self) -> list[tuple[str, str, dict[str, Any]]] | None:
        """Deferred events, which enter the state when it ends."""
        return None if self.special is None else self.special.deferred

    @deferred.setter
    def deferred(self, value: list[tuple[str, str, dict[str, Any]]] | None) -> None:
        self._make_special().deferred = value

    @property
    def is_late(self) -> bool:
        """Whether this attempt was given up, and what its handler still does is refused."""
        return self.special is not None and self.special.late is not None

    def refuse_late(self, part: object, what: str) -> None:
        """Refuse what a handler whose attempt was given up does to the record of its run.

        Raises:
            LateAttemptError: It is of its run.
        """
        job_state = self.run.job_state
        if part is job_state or part is job_state.shared_data or part is self.run.ledger.routine_states:
            self.run.refuse_late(self, what)

    def give_up(self, late: "LateAttempt") -> "Activation":
        """With the run's lock held: the attempt is given up; returns the activation that goes on in its place.

        What the handler's context holds is this one. So each that is late is known by itself, whatever attempts come.
        """
        successor = Activation(
            self.run, self.port, dict(self.data), self.connection, self.priority, self.identity, self._created_ns
        )
        successor.started_ns, successor.emitted = self.started_ns, self.emitted
        special = self._make_special()
        successor.special = special.copy()
        special.late, late.successor = late, successor
        return successor

    @property
    def present(self) -> "Activation":
        """The activation that goes on in its place; itself, unless its attempt was given up."""
        late = None if self.special is None else self.special.late
        return self if late is None or late.successor is None else late.successor.present

    @property
    def staged(self) -> "list[Activation] | None":
        """Tasks that it has caused, and that start when it is settled and kept; None: they start at once."""
        return None if self.special is None else self.special.staged

    @staged.setter
    def staged(self, value: "list[Activation] | None") -> None:
        self._make_special().staged = value

    @property
    def revival_count(self) -> int:
        """How often it was tried again as a dead letter, with all its retries."""
        return 0 if self.special is None else self.special.revival_count

    @revival_count.setter
    def revival_count(self, value: int) -> None:
        self._make_special().revival_count = value

    def next_execute(self) -> tuple[int, str]:
        """Count a run that its handler starts; returns which one of this attempt it is, from 1, and a name for it.

        The next attempt has other names: it starts anew what has failed in this one. The same attempt, when it runs
        again because its process has died, has the same.
        """
        with self.run.lock:  # threads of the handler may start some beside each other
            special = self._make_special()
            if special.execute_attempt != special.retry_count:
                special.execute_attempt, special.execute_count = special.retry_count, 0
            special.execute_count += 1
            number, attempt = special.execute_count, special.retry_count + 1
        revival = f"{self.revival_count}." if self.revival_count else ""
        return number, f"{self.activation_id}.{revival}{attempt}.{number}"

    # -- what follows from its place

    @property
    def slot(self) -> "Slot":  # type: ignore[override]  # as above
        """Where the data go."""
        return self.port.slot

    @property
    def job_state(self) -> "JobState":  # type: ignore[override]  # as above
        """The run that it counts for."""
        return self.run.job_state

    def _place(self) -> str:
        return f"{self.port.node.id}.{self.slot.name}"

    @property
    def created_at(self) -> datetime | float:
        """When it was made. An integer until somebody asks: a datetime costs more than the rest of the task."""
        return self.run.ledger.instant(self._created_ns)

    @property
    def activation_id(self) -> str:
        """Names this activation in the world outside."""
        return f"{self.run.job_id}:{as_text(self.identity)}"

    @property
    def flow(self) -> "Flow":
        """The flow that it runs in."""
        return self.run.flow

    def routine_id_of(self, routine: Any) -> str:
        """The id of a routine in this activation's flow."""
        if self.port.node.routine is routine:
            return self.port.node.id
        return routine_id_in(self.flow, routine)

    def hold_output(self, routine_id: str, output_type: str, data: dict[str, Any]) -> None:
        """Keep an output until the attempt has succeeded."""
        self.run.hold_output(self, HeldOutput(routine_id, output_type, data))

    def defer(self, routine_id: str, event_name: str, data: dict[str, Any]) -> None:
        """Keep a deferred event until the activation ends."""
        self.run.defer(self, (routine_id, event_name, data))


class Special:
    """What few activations have: the entry, retried ones, those that run again, hold back effects or defer events."""

    __slots__ = (
        "deferred",
        "effects",
        "execute_attempt",
        "execute_count",
        "is_entry",
        "late",
        "max_retries",
        "merged",
        "replay",
        "retry_count",
        "revival_count",
        "staged",
        "was_failed",
    )

    def __init__(self) -> None:
        self.retry_count = self.max_retries = 0
        self.merged = self.is_entry = False
        # A dead letter that is tried again; if its run stops before it has begun, it still is one.
        self.was_failed = False
        self.replay: dict[str, list[Any]] | None = None
        self.effects: list[Held] | None = None
        self.deferred: list[tuple[str, str, dict[str, Any]]] | None = None
        # Tasks that it has caused, and that start when it is settled and kept; None: they start at once.
        self.staged: list[Activation] | None = None
        # How many runs its handler has started in which attempt.
        self.execute_attempt = self.execute_count = self.revival_count = 0
        # Set once the attempt was given up. An emission looks at it with the run's lock held.
        self.late: LateAttempt | None = None

    def copy(self) -> "Special":
        """The same of another activation."""
        found = Special()
        for name in Special.__slots__:
            setattr(found, name, getattr(self, name))
        return found


class LateAttempt:
    """An attempt that was given up, and whose thread may go on, or what an async handler has started.

    Attributes:
        seconds: What the attempt might take.
        successor: The activation that goes on in its place.
        is_settled: Whether the record of its failure stands in the history; what is refused comes after it.
        first_refused: What was refused first; recorded once.
    """

    __slots__ = ("first_refused", "is_settled", "seconds", "successor")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_settled = False
        self.first_refused: str | None = None
        self.successor: Activation | None = None


class HeldEmission:
    """An emission of an attempt that has not succeeded yet."""

    __slots__ = ("data", "delay", "differs", "priority", "wired")

    def __init__(self, wired: "Wired", data: dict[str, Any], delay: float, priority: TaskPriority) -> None:
        self.wired = wired
        self.data = data
        self.delay = delay
        self.priority = priority
        # Whether it is not what the activation had emitted here before it was stopped.
        self.differs = False


class HeldRequest:
    """An input that an attempt has asked for; held back until it succeeds where its effects are."""

    __slots__ = ("name", "port", "timeout")

    def __init__(self, port: "Port", name: str, timeout: float | None) -> None:
        self.port = port
        self.name = name
        self.timeout = timeout


class HeldOutput:
    """An output of an attempt that has not succeeded yet."""

    __slots__ = ("data", "output_type", "routine_id")

    def __init__(self, routine_id: str, output_type: str, data: dict[str, Any]) -> None:
        self.routine_id = routine_id
        self.output_type = output_type
        self.data = data


class HeldCall:
    """An emission that belongs to no run, by an attempt that has not succeeded yet."""

    __slots__ = ("_call", "_context")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._context = copy_context()

    def make(self) -> None:
        """Make it, in the context of its handler."""
        try:
            self._context.run(self._call)
        except Exception:  # no thread for it, or its flow was shut down: the handler that would hear of it has returned
            logger.exception("An emission that belongs to no run could not be made")


# What an attempt holds back until it succeeds.
Held = HeldCall | HeldEmission | HeldOutput | HeldRequest
