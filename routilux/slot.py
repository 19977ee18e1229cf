"""Slot: where a routine receives data, and how deliveries are merged."""

import logging
import types
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any

from routilux.callables import describe_callable, is_saved_callable, remember_callable, restore_callable
from routilux.context import current_activation, refuse_late
from routilux.errors import HandlerTypeError, InvalidValueError, MergeResultError, UnknownNameError
from routilux.handlers import ASYNC, ASYNC_GENERATOR, GENERATOR, Caller, bind, kinds_of, may_await
from routilux.plain import plain_dict
from routilux.registration import OwnFields, registered
from routilux.restoration import Restoration, read_additions, restore_together, saved_additions
from routilux.saved import Reader
from routilux.synchronous import record_slot_error, working_for

if TYPE_CHECKING:  # a slot is drawn between these; it calls none of them while it is defined
    from routilux.event import Event
    from routilux.flow.flow import Flow
    from routilux.job_state import JobState
    from routilux.routine import Routine

__all__ = ["MergeFunction", "Slot", "read_slot"]

logger = logging.getLogger(__name__)

MergeFunction = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
MergeStrategy = str | MergeFunction

MERGE_STRATEGIES = ("override", "append")

OWN_KEYS = ("name", "_data", "handler", "merge_strategy")


class _Collected(list[Any]):
    """A list that "append" made, and may therefore grow in place: copying it for each delivery would be quadratic."""


def _collect(held: dict[str, Any], key: str, value: Any) -> _Collected:
    if key not in held:
        return _Collected([value])
    before = held[key]
    if isinstance(before, _Collected):
        before.append(value)
        return before
    return _Collected([*before, value] if isinstance(before, list) else [before, value])


@registered
class Slot(OwnFields):
    """Receives data for a routine and calls its handler.

    Args:
        name: Unique within the routine.
        routine: The routine that it belongs to.
        handler: Called with the merged data; see `routilux.handlers.bind` for how.
        merge_strategy: "override" (new data replace the old), "append" (each key collects a list of its values) or a
            function `(old, new) -> merged`. Deliveries to one slot of one run are merged one at a time.

    Raises:
        TypeError: A handler that cannot be called, or a generator function.
        ValueError: An unknown merge strategy.
    """

    fields_to_serialize = list(OWN_KEYS)

    def __init__(
        self,
        name: str = "",
        routine: "Routine | None" = None,
        handler: Callable[..., Any] | None = None,
        merge_strategy: MergeStrategy = "override",
    ) -> None:
        self.name = name
        self.routine = routine
        self.connected_events: list[Event] = []
        self._own_data: dict[str, Any] = {}
        #: True while the data came from a file and no run has taken them up.
        self.has_restored_data = False
        # Makes merges by `receive` outside a run atomic; inside one, the run's own lock does (see `_merging`).
        # Re-entrant: a merge function may call `receive` itself.
        self._receive_lock = RLock()
        self.handler = handler
        self.merge_strategy = merge_strategy

    def __repr__(self) -> str:
        handler = getattr(self.handler, "__name__", self.handler)
        sources = len(self.connected_events)
        return f"Slot[{self.place()}] (handler {handler}, {self._merge_name()}, {sources} connected events)"

    def place(self) -> str:
        """Where it is, as routine and slot, for messages."""
        return f"{getattr(self.routine, '_id', '')}.{self.name}" if self.routine is not None else self.name

    # -- handler and merge strategy: read once when they are set, not when they are used

    @property
    def handler(self) -> Callable[..., Any] | None:
        """What is called; None merges and calls nothing."""
        return self._handler

    @handler.setter
    def handler(self, value: Any) -> None:
        if is_saved_callable(value):
            value = None  # serilux hands a constructor the saved form; `deserialize` finds the function
        caller = None if value is None else bind(value, f"slot {self.name!r}")
        kinds = [""] if value is None else kinds_of(value)
        #: Whether the handler's call may make a coroutine, which a flow's coroutine loop drives.
        self.is_async = may_await(kinds)
        #: Whether it does nothing else: no decorator has a say before that.
        self.is_purely_async = kinds[0] == ASYNC
        if caller is not None and self.is_purely_async and (GENERATOR in kinds or ASYNC_GENERATOR in kinds):
            caller = partial(self._call_checked, caller)
        self.caller: Caller | None = caller
        self._handler: Callable[..., Any] | None = value
        remember_callable(value)

    @property
    def merge_strategy(self) -> MergeStrategy:
        """The name "override" or "append", or a function."""
        return self._merge_strategy

    @merge_strategy.setter
    def merge_strategy(self, value: Any) -> None:
        if is_saved_callable(value):
            value = "override"  # as for the handler
        if not callable(value) and value not in MERGE_STRATEGIES:
            raise UnknownNameError("merge strategy", value, MERGE_STRATEGIES, f"slot {self.name!r}")
        self._merge_strategy: MergeStrategy = value
        remember_callable(value)
        #: True when a delivery replaces what was there, so that nothing has to be computed.
        self.replaces = value == "override"

    def _merge_name(self) -> str:
        return self._merge_strategy if isinstance(self._merge_strategy, str) else repr(self._merge_strategy)

    def merge(self, old: dict[str, Any], new: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the slot holds after a delivery, and what the handler gets of it.

        Neither `old` nor `new` is changed, but for the lists that "append" itself made: those grow in place, and the
        handler gets a copy, so that its list does not grow under its hands. Of what a function returns, it gets a copy
        too: the next delivery may change in place what the slot holds, and a retry uses the arguments as they were.

        Raises:
            MergeResultError: When a merge function did not return a dict.
        """
        strategy = self._merge_strategy
        if callable(strategy):
            return self._merge_by(strategy, old, new)
        if strategy == "override":
            return new, new
        held = dict(old)
        for key, value in new.items():
            held[key] = _collect(held, key, value)
        return held, {key: list(held[key]) for key in new}

    def _merge_by(
        self, function: MergeFunction, old: dict[str, Any], new: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            merged = function(dict(old), dict(new))  # it may change them in place, and raise afterwards
        except Exception as error:
            error.add_note(f"raised by the merge strategy {self._merge_name()} of slot {self.place()!r}")
            raise
        if not isinstance(merged, dict):
            raise MergeResultError(
                f"The merge strategy {self._merge_name()} of slot {self.place()!r} returned {merged!r}. "
                "It must return the merged dict."
            )
        return merged, dict(merged)

    # -- the slot's data: during a run they belong to the run

    @property
    def _data(self) -> dict[str, Any]:
        activation = current_activation.get()
        if activation is not None and activation.run is not None:
            return activation.run.slot_data_of(self, activation)
        return self._own_data

    @_data.setter
    def _data(self, value: dict[str, Any]) -> None:
        if not isinstance(value, dict):
            raise InvalidValueError(f"The data of slot {self.place()!r} must be a dict, not {value!r}.")
        activation = current_activation.get()
        if activation is not None and activation.run is not None:
            refuse_late(activation.job_state, f"set the data of slot {self.name!r}")
            activation.run.set_slot_data(self, activation, value)
        else:
            self._own_data = value

    # -- as data

    def take_restored_data(self) -> dict[str, Any]:
        """What a file has brought, once; empty where it has brought nothing."""
        if not self.has_restored_data:
            return {}
        self.has_restored_data = False
        return dict(self._own_data)

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The slot as data, with the fields that an application has added.

        Raises:
            ValueError: The handler is a method of another routine.
            TypeError: Its data are not JSON.
        """
        place = self.place()
        strategy = self._merge_strategy
        below: dict[str, Any] = {"max_depth": max_depth, "_current_depth": _current_depth + 1}
        return {
            "_type": type(self).__name__,
            "name": self.name,
            "_data": plain_dict(self._own_data, f"the data of slot {place!r}"),
            "handler": describe_callable(self._handler, self.routine, f"The handler of slot {place!r}"),
            "merge_strategy": strategy
            if isinstance(strategy, str)
            else describe_callable(strategy, self.routine, f"The merge strategy of slot {place!r}"),
            **saved_additions(self, OWN_KEYS, f"slot {place!r}", below, self.routine),
        }

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Take over what `serialize` wrote; a missing key keeps the present value.

        A slot that has a handler keeps it, and its merge strategy, whatever the data say: they are the constructor's.

        Raises:
            ValueError: A callable that saved data may not bring back; the slot is then as it was.
        """
        restore_together([read_slot(self, data)])

    # -- connections

    def connect(self, event: "Event", param_mapping: dict[str, str] | None = None) -> None:
        """Receive what an event emits. Doing it twice changes nothing."""
        event.connect(self, param_mapping)

    def disconnect(self, event: "Event") -> None:
        """Receive nothing more from an event."""
        event.disconnect(self)

    # -- receiving without an engine

    def receive(self, data: dict[str, Any], job_state: "JobState | None" = None, flow: "Flow | None" = None) -> None:
        """Merge data and call the handler, now and on this thread.

        An error of the handler is logged and, with a job, recorded under the routine's id in `flow`. It is never
        raised. Flows do not come this way: they run activations (see `routilux.flow.activation`).
        """
        try:
            with self._merging():
                self._data, merged = self.merge(self._data, dict(data))
            with working_for(self, job_state, flow):
                self.call_handler(merged, propagate_exceptions=True)
        except Exception as error:
            logger.exception("The handler of slot %s raised", self.place())
            record_slot_error(self, error, job_state, flow)

    def _merging(self) -> "AbstractContextManager[Any]":
        """Held from the look at what the slot holds until the merged data are in their place.

        In a run it is the lock under which the run merges its deliveries: with another, `receive` and a delivery would
        both merge into the same old data, and one of them would be lost.

        Raises:
            RunError: Called by the function that `modify_shared_data` was given, under a lock that is taken later.
        """
        activation = current_activation.get()
        if activation is None or activation.run is None:
            return self._receive_lock
        activation.job_state.refuse_while_modifying("A slot cannot receive in", "receive")
        lock: AbstractContextManager[Any] = activation.run.snapshot_lock()
        return lock

    def call_handler(self, data: dict[str, Any], propagate_exceptions: bool = False) -> None:
        """Call the handler with `data` as its signature asks, without merging.

        Args:
            data: What the handler gets.
            propagate_exceptions: Raise what the handler raises instead of logging it.
        """
        if self.caller is None:
            return
        try:
            self._call_here(self.caller, data)
        except Exception:
            if propagate_exceptions:
                raise
            logger.exception("The handler of slot %s raised", self.place())

    async def _call_checked(self, caller: Caller, data: dict[str, Any]) -> None:
        # Nobody looks at what a coroutine returns, and this handler's decorator may hand a generator through.
        refuse_unrun(await caller(data), self)

    def _call_here(self, caller: Caller, data: dict[str, Any]) -> None:
        result = None if self.is_purely_async else caller(data)
        if self.is_purely_async or (self.is_async and isinstance(result, Coroutine)):
            if result is not None:
                result.close()
            raise HandlerTypeError(
                f"The handler of slot {self.place()!r} is `async def`, and without a flow nothing awaits it. "
                "Put its routine into a Flow, or test it with routilux.testing.activate(...)."
            )
        refuse_unrun(result, self)


def read_slot(slot: Slot, data: Any) -> Restoration:
    """What data will change in a slot; see `Slot.deserialize`.

    Raises:
        ValueError: A value that cannot be, or a callable that saved data may not bring back.
    """
    where = f"slot {slot.name!r}"
    reader = Reader(data, where)
    values: dict[str, Any] = {}
    name = slot.name
    if "name" in reader:
        values["name"] = name = reader.text("name")
    if "_data" in reader:
        own_data = plain_dict(reader.raw("_data"), f"the data of slot {name!r}")
        values.update(_own_data=own_data, has_restored_data=bool(own_data))
    if slot.handler is None and "handler" in reader:
        values["handler"] = restore_callable(reader.raw("handler"), slot.routine, f"The handler of slot {name!r}")
    if slot.handler is None and slot.merge_strategy == "override" and "merge_strategy" in reader:
        saved = reader.raw("merge_strategy")
        found = f"The merge strategy of slot {name!r}"
        strategy = saved if isinstance(saved, str) else restore_callable(saved, slot.routine, found) or "override"
        if isinstance(strategy, str) and strategy not in MERGE_STRATEGIES:
            raise reader.wrong("merge_strategy", 'a function, "override" or "append"')
        values["merge_strategy"] = strategy
    return Restoration(slot, values, read_additions(slot, OWN_KEYS, reader), where, slot.routine)


def refuse_unrun(result: Any, slot: Slot) -> None:
    """A handler that returned a coroutine or a generator has not run; say so instead of dropping it.

    Raises:
        HandlerTypeError: When `result` would have to be awaited, or iterated over.
    """
    if result is None:
        return
    is_generator = isinstance(result, types.GeneratorType | types.AsyncGeneratorType)
    if not is_generator and not hasattr(type(result), "__await__"):
        return
    close = getattr(result, "close", None)
    if close is not None:
        close()
    if is_generator:
        raise HandlerTypeError(
            f"The handler of slot {slot.place()!r} returned {result!r}, which nobody iterates over: none of its lines "
            "have run. Iterate over it in the handler, and emit each item with self.emit(...)."
        )
    raise HandlerTypeError(
        f"The handler of slot {slot.place()!r} returned {result!r}, which nobody awaits. "
        "Define the handler itself with `async def`, and await it in there."
    )
