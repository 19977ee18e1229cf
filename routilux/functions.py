"""Functions as routines: what a function takes is what its slots take, and what it returns is its event."""

import types
from collections.abc import Callable
from contextlib import closing
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, overload

from routilux.annotations import VALUE, annotated_return
from routilux.callables import describe_callable, is_saved_callable, remember_callable, restore_callable
from routilux.context import current_activation
from routilux.error_handler import ErrorHandler
from routilux.errors import CallableError, HandlerTypeError, InvalidTypeError
from routilux.function_handlers import AsyncFunctionHandler, FunctionHandler
from routilux.handlers import ASYNC, ASYNC_GENERATOR, kind_of_unusable
from routilux.plain import shortened
from routilux.registration import registered
from routilux.routine import Routine
from routilux.slot import Slot, refuse_unrun

__all__ = ["RESULT", "FunctionRoutine", "routine"]

P = ParamSpec("P")
R = TypeVar("R")

# The name under which a value is sent that is no dict of names.
RESULT = "result"

OUTPUT = "output"
SLOTS = ("trigger", "input")


@registered
class FunctionRoutine(Routine, Generic[P, R]):
    """A function as a routine. It can still be called as the function that it is.

    It has the slots "trigger" (so that a run can start at it) and "input" (for what other routines send). Both call the
    function with the data of the delivery, as a handler of that signature is called; see `routilux.handlers.bind`.

    What the function returns is emitted as the event "output": a dict whose keys are texts as the event's data, any
    other value under the name `result`. None emits nothing. A generator emits each item as it comes, but for None; once
    the run was cancelled or timed out, no further item is taken. An `async def` function is awaited on the flow's own
    loop, and an async generator is a generator there: between its items, others of the loop have their turns.

    It is saved by the function's name, so the function must stand at the top level of a module. It is restored where
    that module is imported.

    Args:
        function: The function. None: one that saved data will bring.

    Raises:
        TypeError: It cannot be called, or is a routine already.
    """

    fields_to_serialize = [*Routine.fields_to_serialize, "function"]

    def __init__(self, function: Callable[P, R] | None = None) -> None:
        super().__init__()
        for name in SLOTS:
            self.define_slot(name)
        self.define_event(OUTPUT)
        self.function = function
        name = getattr(function, "__name__", "")
        if isinstance(name, str) and name.isidentifier():  # that of a lambda is none
            self._id = name

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]  # the base's does nothing
        """Call the function, outside any flow: nothing is emitted."""
        if self._function is None:
            raise HandlerTypeError(
                f"{self!r} has no function. Pass one to FunctionRoutine(function), or restore the routine from a flow."
            )
        return self._function(*args, **kwargs)

    @property
    def function(self) -> Callable[P, R] | None:
        """The function. Assigning another lets the slots call that one."""
        return self._function

    @function.setter
    def function(self, function: Callable[P, R] | None) -> None:
        if is_saved_callable(function):
            function = None  # serilux hands a constructor the saved form; `deserialize` finds the function
        if function is not None:
            _refuse_unusable(function)
        self._function = function
        for name in SLOTS:
            slot, called = self._slots[name], self.__call__ if function is None else function
            is_to_await = kind_of_unusable(called) in (ASYNC, ASYNC_GENERATOR)
            handler = AsyncFunctionHandler if is_to_await else FunctionHandler
            slot.handler = handler(called, partial(self._send, slot), self._send_item)
        if function is not None:
            remember_callable(function)
            update_wrapper(self, function, ("__name__", "__qualname__", "__doc__"), ())
            returned = annotated_return(function)
            self._events[OUTPUT].output_params = [RESULT] if returned is VALUE else list(returned.keys)

    def _send(self, slot: Slot, result: Any) -> None:
        if not isinstance(result, types.GeneratorType):
            refuse_unrun(result, slot)
            self._send_item(result)
            return
        activation = current_activation.get()
        run = activation.run if activation is not None else None
        with closing(result):
            for item in result:
                self._send_item(item)
                # Not in a run that was paused or has failed: that one may go on, and would miss the other items.
                if run is not None and run.is_refusing():
                    break

    def _send_item(self, item: Any) -> None:
        if item is not None:
            # Not by `emit`, which would take the names `flow` and `job_state` out of the data.
            self.emit_later(OUTPUT, data=item if _is_data(item) else {RESULT: item})

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The routine as data, with the name of its function.

        Raises:
            TypeError: A value that is not JSON; the message names the path to it.
            ValueError: The function is not at the top level of a module, or its name means another one by now.
        """
        self._check_name_leads_back()
        return super().serialize(max_depth, _current_depth)

    def _check_name_leads_back(self) -> None:
        function, found, reason = self._function, None, None
        if function is None:
            return
        where = f"The function of {self!r}"
        try:
            found = restore_callable(describe_callable(function, self, where), self, where)
        except CallableError as error:
            reason = error
        if found is function:
            return
        if found is None:
            trouble = f"{shortened(function)} is not a function at module level, so saved data could not name it"
        else:
            trouble = f"{function.__module__}.{function.__qualname__} is the name of another function by now"
        raise CallableError(
            f"{self!r} cannot be saved: {trouble}. Define the function with `def` at the top level of a module, under "
            "a name of its own, or make a subclass of Routine."
        ) from reason


def _is_data(item: Any) -> bool:
    # A Counter or another subclass is a value: as plain data it would lose what it can do.
    return type(item) is dict and all(isinstance(key, str) for key in item)


def _refuse_unusable(function: Any) -> None:
    if isinstance(function, Routine) or (isinstance(function, type) and issubclass(function, Routine)):
        raise InvalidTypeError(
            f"{function!r} is no function but a routine already. Put it into a flow with flow.add_routine(...)."
        )
    if not callable(function):
        raise InvalidTypeError(f"{function!r} cannot be called. Give a function.")


@overload
def routine(
    function: Callable[P, R], /, *, routine_id: str | None = None, error_handler: ErrorHandler | None = None
) -> FunctionRoutine[P, R]: ...


@overload
def routine(
    *, routine_id: str | None = None, error_handler: ErrorHandler | None = None
) -> Callable[[Callable[P, R]], FunctionRoutine[P, R]]: ...


def routine(
    function: Callable[P, R] | None = None,
    /,
    *,
    routine_id: str | None = None,
    error_handler: ErrorHandler | None = None,
) -> FunctionRoutine[P, R] | Callable[[Callable[P, R]], FunctionRoutine[P, R]]:
    """Make a routine of a function; also as a decorator, `@routine` or `@routine(error_handler=...)`.

    The name then means the routine: it stands in flows, is connected with `>>`, and calling it still calls the
    function.

    Args:
        function: What to call; see `FunctionRoutine` for what becomes of its parameters and its result.
        routine_id: Under which id it will stand in a flow; the function's name by default.
        error_handler: The policy for its errors; else the flow's.

    Raises:
        TypeError: It cannot be called, or is a routine already; or the policy is no ErrorHandler.
    """

    def make(function: Callable[P, R]) -> FunctionRoutine[P, R]:
        made = FunctionRoutine(function)
        if routine_id is not None:
            made._id = routine_id
        made.set_error_handler(error_handler)
        return made

    return make if function is None else make(function)
