"""SlotActivationTask: one unit of work, from the emission that made it to its settlement."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from routilux.priority import TaskPriority
from routilux.synchronous import routine_id_in

if TYPE_CHECKING:  # a task is what these hand to each other
    from routilux.connection import Connection
    from routilux.flow.flow import Flow
    from routilux.flow.run import Run
    from routilux.flow.wiring import Port, Wired
    from routilux.job_state import JobState
    from routilux.slot import Slot

__all__ = ["IDENTITY_MASK", "Activation", "HeldEmission", "HeldOutput", "SlotActivationTask", "TaskPriority"]

IDENTITY_MASK = (1 << 64) - 1


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

    Attributes:
        run: The live side of its run.
        port: Routine id and slot as the flow has them.
        identity: 64 bits from (parent's identity, event and connection, n-th emission of that event): the same when
            the parent runs again, whatever the order of its emissions.
        is_entry: Whether it is the one that `execute` began with.
        merged: True once `data` are the merged arguments; every later attempt uses them.
        released: What this activation has emitted, by event (see `Wired.name_in`).
        replay: For one that had begun when it was stopped: what it had emitted, as dicts or their digests, which is
            not emitted again.
        effects: What it does, held back until it succeeds (policy RETRY); None: it takes effect at once.
        deferred: Deferred events, which enter the state when it ends.
        started_ns: When its present attempt started.
    """

    __slots__ = (
        "_created_ns",
        "deferred",
        "effects",
        "identity",
        "is_entry",
        "merged",
        "port",
        "released",
        "replay",
        "run",
        "started_ns",
    )

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
        # One of these is made for each delivery. The base class's constructor would cost as much again.
        self.slot = port.slot
        self.data = data
        self.connection = connection
        self.priority = priority
        self.retry_count = self.max_retries = 0
        self.job_state = run.job_state
        self.run = run
        self.port = port
        self.identity = identity
        self._created_ns = self.started_ns = created_ns
        self.merged = self.is_entry = False
        self.released: dict[str, list[Any]] | None = None
        self.replay: dict[str, list[Any]] | None = None
        self.effects: list[HeldEmission | HeldOutput] | None = None
        self.deferred: list[tuple[str, str, dict[str, Any]]] | None = None

    def _place(self) -> str:
        return f"{self.port.node.id}.{self.slot.name}"

    @property
    def created_at(self) -> datetime | float:
        """When it was made. An integer until somebody asks: a datetime costs more than the rest of the task."""
        return self.run.ledger.instant(self._created_ns)

    @property
    def activation_id(self) -> str:
        """Names this activation in the world outside."""
        return f"{self.run.job_id}:{self.identity:016x}"

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


class HeldOutput:
    """An output of an attempt that has not succeeded yet."""

    __slots__ = ("data", "output_type", "routine_id")

    def __init__(self, routine_id: str, output_type: str, data: dict[str, Any]) -> None:
        self.routine_id = routine_id
        self.output_type = output_type
        self.data = data
