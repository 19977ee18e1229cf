"""Routine: a node of a flow, with slots that receive and events that it emits."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from routilux.arrows import flow_of
from routilux.context import ExecutionContext, current_activation
from routilux.context import current_job_state as _current_job_state
from routilux.error_handler import ErrorHandler, ErrorStrategy, read_policy
from routilux.errors import DuplicateNameError, InvalidTypeError, InvalidValueError, NoRunError, UnknownNameError
from routilux.event import Event, read_event
from routilux.job_state import JobState
from routilux.plain import plain_dict
from routilux.priority import TaskPriority
from routilux.registration import OwnFields, registered
from routilux.restoration import Restoration, read_additions, read_by_class, restore_together, saved_additions
from routilux.saved import Reader
from routilux.slot import MergeStrategy, Slot, read_slot
from routilux.synchronous import DirectCall, routine_id_in
from routilux.time_limits import checked_timeout

if TYPE_CHECKING:  # a routine runs in a flow that stands above it
    from routilux.flow.flow import Flow

__all__ = ["ExecutionContext", "Routine", "_current_job_state"]

# What stands at the head of an arrow: one routine, or several.
Head = TypeVar("Head", bound="Routine | Sequence[Routine]")

OWN_KEYS = ("_id", "_config", "_slots", "_events", "_error_handler")


@registered
class Routine(OwnFields):
    """A node of a flow. Subclass it, define slots and events in `__init__`, and emit from the slots' handlers.

    One object may serve many runs, of several flows, at once. So keep what changes during a run in the run
    (`get_execution_context().job_state`), and what does not in the config.
    """

    fields_to_serialize = list(OWN_KEYS)

    def __init__(self) -> None:
        self._id = hex(id(self))
        self._config: dict[str, Any] = {}
        self._slots: dict[str, Slot] = {}
        self._events: dict[str, Event] = {}
        self._error_handler: ErrorHandler | None = None
        self._last_flow: Flow | None = None
        self._max_concurrency: int | None = None
        self._attempt_timeout: float | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}[{self._id}]"

    def __call__(self, /, **kwargs: Any) -> None:
        """Do nothing. Deprecated: routines are activated through their slots."""

    # -- drawing

    def define_slot(
        self, name: str, handler: Callable[..., Any] | None = None, merge_strategy: MergeStrategy = "override"
    ) -> Slot:
        """Add a slot.

        Args:
            name: Unique among the slots. A slot called "trigger" makes the routine an entry for `Flow.execute`.
            handler: Called with the data of each delivery; see `routilux.handlers.bind` for how.
            merge_strategy: "override", "append" or `(old, new) -> merged`; see `Slot`.

        Raises:
            ValueError: The name is taken, or the merge strategy unknown.
            TypeError: The handler cannot be called.
        """
        _check_name("slot", name)
        if name in self._slots:
            raise DuplicateNameError(f"{self!r} has a slot {name!r} already. Choose another name.")
        slot = self._slots[name] = Slot(name, self, handler, merge_strategy)
        return slot

    def define_event(self, name: str, output_params: list[str] | None = None) -> Event:
        """Add an event.

        Args:
            name: Unique among the events.
            output_params: The names that it carries, for readers; any keyword may be emitted.

        Raises:
            ValueError: The name is taken.
        """
        _check_name("event", name)
        if name in self._events:
            raise DuplicateNameError(f"{self!r} has an event {name!r} already. Choose another name.")
        event = self._events[name] = Event(name, self, output_params)
        return event

    def get_slot(self, name: str) -> Slot | None:
        """The slot of this name, or None."""
        return self._slots.get(name)

    def get_event(self, name: str) -> Event | None:
        """The event of this name, or None."""
        return self._events.get(name)

    def __rshift__(self, other: Head) -> Head:
        """Connect this routine's obvious event to the obvious slot of another, or of each in a list; returns `other`.

        `a >> b` is `flow.chain(a, b)` in the flow that both were added to last, and `a >> b >> c` draws two lines.
        One of them may stand in no flow yet: it is added.

        Raises:
            TypeError: One is no routine. `flow.chain` takes functions and ids as well.
            ValueError: They stand in no flow, or in different ones; or it is not obvious which event and slot are
                meant. The message says what there is.
        """
        return other if _draw(self, other) else NotImplemented

    def __rrshift__(self, others: "Sequence[Routine]") -> Self:
        """Connect each of a list to this routine: `[a, b] >> c`."""
        return self if _draw(others, self) else NotImplemented

    # -- as data

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The routine as data: config, slots, events, error handler, and the fields that an application has added.

        Raises:
            TypeError: A value that is not JSON; the message names the path to it.
            ValueError: A handler that is a method of another routine.
        """
        where = repr(self)
        below: dict[str, Any] = {"max_depth": max_depth, "_current_depth": _current_depth + 1}
        return {
            "_type": type(self).__name__,
            "_id": self._id,
            "_config": plain_dict(self._config_to_save(), f"the config of {where}"),
            "_slots": {name: slot.serialize(**below) for name, slot in self._slots.copy().items()},
            "_events": {name: event.serialize(**below) for name, event in self._events.copy().items()},
            "_error_handler": self._error_handler.serialize(**below) if self._error_handler is not None else None,
            **saved_additions(self, OWN_KEYS, where, below),
        }

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Take over what `serialize` wrote, in place; a missing key keeps the present value.

        Slots and events that the constructor made stay the same objects, with their handlers and merge strategies.
        Those that stand only in the data are added.

        Everything is read before anything is changed. Parts that serilux restores in place come last; one that
        refuses its data gets its attributes back with the rest, but what it changed inside them is not undone.

        Raises:
            ValueError: A value that cannot be, or a callable that saved data may not bring back; the routine is then
                as it was.
        """
        where = repr(self)
        reader = Reader(data, where)
        values: dict[str, Any] = {}
        below: list[Restoration] = []
        if "_id" in reader:
            values["_id"] = reader.text("_id")
        if "_config" in reader:
            config = reader.user_data("_config")
            if not isinstance(config, dict):
                raise reader.wrong("_config", "a dict")
            values["_config"] = self._config_from_saved(config)
        if "_slots" in reader:
            slots = values["_slots"] = dict(self._slots)
            for name, saved in reader.mapping("_slots").items():
                slot = slots.setdefault(name, Slot(name, self))
                named = {**Reader(saved, f"slot {name!r}").all(), "name": name}
                below.append(read_by_class(slot, named, Slot, read_slot))
        if "_events" in reader:
            events = values["_events"] = dict(self._events)
            for name, saved in reader.mapping("_events").items():
                event = events.setdefault(name, Event(name, self))
                named = {**Reader(saved, f"event {name!r}").all(), "name": name}
                below.append(read_by_class(event, named, Event, read_event))
        if "_error_handler" in reader:
            values["_error_handler"], left = read_policy(reader.raw("_error_handler"), self._error_handler)
            below += left
        additions = read_additions(self, OWN_KEYS, reader)
        restore_together([Restoration(self, values, additions, where), *below])

    def _config_to_save(self) -> dict[str, Any]:
        """The config for `serialize`. A subclass that has callables in it replaces them by data, in a copy."""
        return self._config

    def _named_and_not_saved(self) -> list[tuple[str, str]]:
        """Functions that the config names and `serialize` leaves out: what each is, and why it cannot be saved."""
        return []

    def _config_from_saved(self, saved: dict[str, Any]) -> dict[str, Any]:
        """The config for `deserialize`, which may keep what it is given. Changes nothing in the routine."""
        return saved

    # -- emitting

    def emit(
        self, event_name: str, /, flow: "Flow | None" = None, job_state: "JobState | None" = None, **data: Any
    ) -> None:
        """Send data to every slot that is connected to an event, and return at once.

        In a run, one activation per connected slot is queued, and the emission is recorded; the handlers run on the
        flow's pool. Each delivery gets its own shallow copy of the data: nested values are shared, do not change
        them. Without a flow, each connected slot receives now, on this thread.

        Args:
            event_name: One of this routine's events.
            flow: For calls from outside a run. Inside one, the run's own flow is meant.
            job_state: Names a run explicitly.
            **data: What to send. A value that is called `flow` or `job_state` is sent with
                `emit_later(event_name, data={...})`.

        Raises:
            ValueError: Unknown event.
            TypeError: `flow` is no Flow, or `job_state` no JobState.
            RuntimeError: The run has ended, or the flow was shut down.
        """
        if flow is not None:
            _check_meant("flow", flow, hasattr(flow, "emit_from_outside"))
        activation = current_activation.get()
        if (
            activation is not None
            and activation.run is not None
            and (job_state is None or job_state is activation.job_state)
        ):
            activation.run.emit(activation, self, event_name, data)
            return
        if job_state is not None:
            _check_meant("job_state", job_state, isinstance(job_state, JobState))
        self._emit_from_outside(event_name, flow, job_state, data, 0.0, TaskPriority.NORMAL)

    def emit_later(
        self,
        event_name: str,
        /,
        delay: float = 0.0,
        priority: TaskPriority = TaskPriority.NORMAL,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Emit after a delay, or with a priority.

        The emission is recorded now and delivered when the delay is over. While a run has nothing else to do, its
        timeout stands still.

        Args:
            event_name: One of this routine's events.
            delay: Seconds from now.
            priority: Within a run HIGH is delivered before NORMAL before LOW.
            data: What to send.

        Raises:
            ValueError: Unknown event or priority, negative delay.
            TypeError: A delay that is no number.
        """
        if isinstance(delay, bool) or not isinstance(delay, int | float):
            raise InvalidTypeError(f"delay must be a number of seconds from now, not {delay!r}.")
        if not delay >= 0:
            raise InvalidValueError(f"delay must not be negative, and {delay!r} is. It is seconds from now.")
        priority = TaskPriority.of(priority)
        payload = dict(data or {})
        activation = current_activation.get()
        if activation is not None and activation.run is not None:
            activation.run.emit(activation, self, event_name, payload, delay, priority)
        else:
            self._emit_from_outside(event_name, None, None, payload, delay, priority)

    def _emit_from_outside(
        self,
        event_name: str,
        flow: "Flow | None",
        job_state: Any,
        data: dict[str, Any],
        delay: float,
        priority: TaskPriority,
    ) -> None:
        event = self._events.get(event_name)
        if event is None:
            raise UnknownNameError("event", event_name, self._events, repr(self))
        activation = current_activation.get()
        if job_state is None:
            job_state = activation.job_state if activation is not None else _current_job_state.get()
        flow = flow or self._current_flow
        if flow is None:
            event.deliver(data)
            return
        emit = partial(flow.emit_from_outside, self, event_name, data, job_state, delay, priority)
        if job_state is not None or not isinstance(activation, DirectCall) or not activation.holds(emit):
            emit()

    @property
    def _current_flow(self) -> "Flow | None":
        activation = current_activation.get()
        if activation is not None and activation.flow is not None:
            return activation.flow
        return self._last_flow

    @_current_flow.setter
    def _current_flow(self, flow: "Flow | None") -> None:
        self._last_flow = flow

    # -- inside a handler

    def get_execution_context(self) -> ExecutionContext | None:
        """The flow, the run and this routine's id in it; None outside an execution."""
        activation = current_activation.get()
        if activation is not None:
            if activation.flow is None or activation.job_state is None:
                return None
            return ExecutionContext.of(activation, activation.routine_id_of(self))
        job_state, flow = _current_job_state.get(), self._last_flow
        if job_state is None or flow is None:
            return None
        return ExecutionContext(flow, job_state, routine_id_in(flow, self))

    def send_output(self, /, output_type: str, **data: Any) -> None:
        """Send something to the caller of this run: into its output log and to its output handler.

        Raises:
            RuntimeError: Outside an execution.
        """
        context = self._require_context("send_output")
        activation = current_activation.get()
        if activation is not None and activation.effects is not None:
            activation.hold_output(context.routine_id, output_type, data)
        else:
            context.job_state.send_output(context.routine_id, output_type, data)

    def request_input(self, name: str, slot: str, timeout: float | None = None) -> None:
        """Ask the world outside for something, and return at once; the answer is delivered to a slot of this routine.

        `flow.send_input(job_id, name, data)` answers, in this process or another: then the slot receives `data`, as a
        new activation. An answer that was sent before is delivered at once, and each answer goes to one request, the
        oldest of its name. A run that has nothing else to do is paused meanwhile, with the reason "input: NAME", and
        goes on by itself. Under RETRY, a failed attempt has asked for nothing.

        Args:
            name: What is asked for; who answers gives the same.
            slot: One of this routine's slots. Nothing need be connected to it.
            timeout: Seconds. When they are over, the slot receives `{"name": name, "timed_out": True}` instead.

        Raises:
            ValueError: Unknown slot, or a timeout that is not positive.
            TypeError: A timeout that is no number.
            RuntimeError: Outside an execution, or the run has ended.
        """
        self._require_context("request_input")
        _check_name("input", name)
        target = self.get_slot(slot)
        if target is None:
            raise UnknownNameError("slot", slot, self._slots, repr(self))
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
            raise InvalidTypeError(f"timeout must be seconds, or None for no limit, not {timeout!r}.")
        if timeout is not None and not timeout > 0:
            raise InvalidValueError(f"timeout must be more than 0 seconds, and {timeout!r} is not. None: no limit.")
        activation = current_activation.get()
        if activation is None or activation.run is None:
            raise NoRunError(
                f"{self!r}.request_input() works in a run only, which can wait for an answer: Flow.execute starts one."
            )
        activation.run.request_input(activation, self, target, name, timeout)

    def emit_deferred_event(self, /, event_name: str, **data: Any) -> None:
        """Emit an event when the run is resumed. It enters the run's state when this activation ends.

        Raises:
            RuntimeError: Outside an execution.
            ValueError: Unknown event.
        """
        context = self._require_context("emit_deferred_event")
        if event_name not in self._events:
            raise UnknownNameError("event", event_name, self._events, repr(self))
        activation = current_activation.get()
        if activation is not None and activation.run is not None:
            activation.defer(context.routine_id, event_name, data)
        else:
            context.job_state.add_deferred_event(context.routine_id, event_name, data)

    def _require_context(self, method: str) -> ExecutionContext:
        context = self.get_execution_context()
        if context is None:
            raise NoRunError(
                f"{self!r}.{method}() works inside an execution only: call it from a slot's handler, and carry the "
                "context into own threads with contextvars.copy_context().run(...)."
            )
        return context

    def _extract_input_data(self, /, data: Any = None, **kwargs: Any) -> Any:
        """What a handler that takes anything was given: data, else kwargs["data"], the only value, kwargs, {}."""
        if data is not None:
            return data
        if "data" in kwargs:
            return kwargs["data"]
        if len(kwargs) == 1:
            return next(iter(kwargs.values()))
        return kwargs

    # -- config and errors

    def set_config(self, /, **kwargs: Any) -> None:
        """Set configuration values; they are saved with the flow."""
        self._config.update(kwargs)

    def get_config(self, key: str, default: Any = None) -> Any:
        """One configuration value, or the default."""
        return self._config.get(key, default)

    def config(self) -> dict[str, Any]:
        """A copy of the configuration."""
        return dict(self._config)

    def set_error_handler(self, error_handler: ErrorHandler | None) -> None:
        """Use a policy for this routine's errors; None leaves them to the flow's.

        Raises:
            TypeError: Not an ErrorHandler.
        """
        if error_handler is not None and not isinstance(error_handler, ErrorHandler):
            raise InvalidTypeError(f"{error_handler!r} is not an ErrorHandler. Use ErrorHandler(strategy=...).")
        self._error_handler = error_handler

    def get_error_handler(self) -> ErrorHandler | None:
        """This routine's own policy, or None."""
        return self._error_handler

    def set_limits(self, *, max_concurrency: int | None = None, attempt_timeout: float | None = None) -> None:
        """Limit the routine's handlers. Limits are not saved with the flow: set them in the constructor.

        Args:
            max_concurrency: How many async handlers may be at once in one flow, all its runs together; None: no limit.
                Those that wait for their turn count as begun; a run that is paused or fails takes them back. A change
                counts from the next one that begins or ends. Plain ones are bounded by the flow's workers.
            attempt_timeout: Seconds that one attempt may take, waiting for its turn excluded; None: no limit. Then the
                attempt has failed with an `AttemptTimeoutError`, a TimeoutError, which goes the way of every error. An
                async handler sees a CancelledError where it awaits, by the real time. A plain one cannot be stopped:
                its attempt is given up, and what its thread still does for the run is refused with a
                `LateAttemptError` and recorded as `late`. For an entry on its caller's thread that holds too, but
                `execute` returns when the handler does.

        Raises:
            ValueError: A value that cannot be.
            TypeError: A limit of time that is no number.
        """
        is_count = isinstance(max_concurrency, int) and not isinstance(max_concurrency, bool) and max_concurrency >= 1
        if max_concurrency is not None and not is_count:
            raise InvalidValueError(f"max_concurrency must be a whole number from 1, not {max_concurrency!r}.")
        seconds = checked_timeout("attempt_timeout", attempt_timeout)
        self._max_concurrency = max_concurrency
        self._attempt_timeout = seconds

    def set_as_optional(self, strategy: ErrorStrategy = ErrorStrategy.CONTINUE) -> None:
        """Tolerate errors of this routine."""
        self.set_error_handler(ErrorHandler(strategy=strategy))

    def set_as_critical(self, max_retries: int = 3, retry_delay: float = 1.0, retry_backoff: float = 2.0) -> None:
        """Retry errors of this routine, and fail the run when they stay."""
        self.set_error_handler(
            ErrorHandler(
                ErrorStrategy.RETRY,
                max_retries=max_retries,
                retry_delay=retry_delay,
                retry_backoff=retry_backoff,
                is_critical=True,
            )
        )


def _check_meant(name: str, value: object, is_meant: bool) -> None:
    if not is_meant:
        kind = "the Flow to emit in" if name == "flow" else "the JobState of the run to emit for"
        raise InvalidTypeError(
            f"{name}= of emit() is {kind}, not {value!r}. To send a value by that name, emit it with "
            f"emit_later(event_name, data={{{name!r}: ...}})."
        )


def _check_name(kind: str, name: Any) -> None:
    if not isinstance(name, str) or not name:
        a_kind = f"an {kind}" if kind[0] in "aei" else f"a {kind}"
        raise InvalidValueError(f"The name of {a_kind} must be a text that is not empty, not {name!r}.")


def _draw(tail: Any, head: Any) -> bool:
    """Draw an arrow; False where one of its ends is something else."""
    routines = [each for end in (tail, head) for each in (end if isinstance(end, list | tuple) else [end])]
    others = [each for each in routines if not isinstance(each, Routine)]
    if not others:
        flow_of(routines).chain(tail, head)
        return True
    if all(isinstance(each, str) or (callable(each) and not hasattr(type(each), "__rrshift__")) for each in others):
        raise InvalidTypeError(
            f"An arrow connects routines, and {others[0]!r} is no routine. Draw with flow.chain(...), which takes "
            "functions and the ids of routines as well."
        )
    return False
