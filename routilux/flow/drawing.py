"""Drawing: the routines of a flow and the lines between them; what a Flow is before it runs."""

import logging
from collections.abc import Callable, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from routilux.connection import Connection
from routilux.error_handler import ErrorHandler
from routilux.errors import (
    BrokenDrawingError,
    DuplicateNameError,
    InvalidTypeError,
    InvalidValueError,
    UnknownNameError,
)
from routilux.flow.chain import Chain, Step
from routilux.functions import FunctionRoutine, routine
from routilux.ids import new_id
from routilux.registration import OwnFields
from routilux.routine import Routine

if TYPE_CHECKING:  # a drawing that runs, and what is seen in it
    from routilux.flow.checks import Finding
    from routilux.flow.flow import Flow
    from routilux.flow.graph import FlowGraph
    from routilux.stores.base import Store

__all__ = ["Drawing"]

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Routine)
P = ParamSpec("P")
T = TypeVar("T")


class Drawing(OwnFields):
    """Routines by their ids, and the connections between them. `Flow` is a drawing that can be executed."""

    def __init__(self, flow_id: str | None = None) -> None:
        self.flow_id = flow_id if flow_id else new_id()
        self.routines: dict[str, Routine] = {}
        self.connections: list[Connection] = []
        self._error_handler: ErrorHandler | None = None
        # Where runs are kept; None: they end with the process.
        self.store: Store | None = None
        # Makes changes of the drawing atomic. Taken alone.
        self._drawing_lock = RLock()
        # Stands in the connections instead of the flow: a routine that is shared must not keep every flow alive.
        self._owner = object()
        # Counts what `add_routine` and `connect` change: a check does not count for what came while it was looking.
        self.change_count = 0
        # Whether `refuse_broken` has looked at the drawing since then. Read without the lock, by every execution.
        self.is_checked = False
        self._told: set[Finding] = set()

    def add_routine(self, routine: Routine, routine_id: str | None = None) -> str:
        """Put a routine into the flow; returns its id, by default the routine's own `_id`.

        Raises:
            ValueError: The id is taken; or the flow has a store, and the id is made up for this process.
        """
        if not isinstance(routine, Routine):
            raise InvalidTypeError(
                f"{routine!r} is not a Routine. Pass an object of a subclass, not the class: add_routine(MyRoutine())."
            )
        key = routine._id if routine_id is None else routine_id
        with self._drawing_lock:
            self._check_id(key, routine)
            self.routines[key] = routine
            self._changed()
        routine._current_flow = cast("Flow", self)  # the one kind of drawing that there is
        return key

    def _check_id(self, key: Any, routine: Routine) -> None:
        if self.store is not None and key == hex(id(routine)):  # however it got here, by a chain, say
            raise InvalidValueError(
                f"A flow with a store needs ids that are the same in the next process, and that of {routine!r} is made "
                "up. Name it: add_routine(routine, routine_id='...'), or routine(function, routine_id='...') for a "
                "lambda."
            )
        if not isinstance(key, str) or not key:
            raise InvalidValueError(f"A routine id must be a text that is not empty, not {key!r}.")
        if key in self.routines:
            raise DuplicateNameError(
                f"Routine id {key!r} is taken by {self.routines[key]!r}. Choose another: "
                "add_routine(routine, routine_id='...')."
            )

    def connect(
        self,
        source_routine_id: str,
        source_event: str,
        target_routine_id: str,
        target_slot: str,
        param_mapping: dict[str, str] | None = None,
    ) -> Connection:
        """Let a slot hear an event. Doing it again replaces the mapping and still delivers once.

        Args:
            source_routine_id: Who emits.
            source_event: What is emitted.
            target_routine_id: Who receives.
            target_slot: Where.
            param_mapping: `{source name: target name}` for names that differ.

        Raises:
            ValueError: Something of it does not exist; the message lists what does.
        """
        with self._drawing_lock:
            self._changed()
            source = self._known_routine(source_routine_id)
            event = source.get_event(source_event)
            if event is None:
                known = list(source._events)
                raise UnknownNameError("event", source_event, known, f"routine {source_routine_id!r}")
            target = self._known_routine(target_routine_id)
            slot = target.get_slot(target_slot)
            if slot is None:
                known = list(target._slots)
                raise UnknownNameError("slot", target_slot, known, f"routine {target_routine_id!r}")
            # Among the event's own lines: a search through all of the flow's would make drawing it quadratic.
            for present in [link.connection for link in event.links]:
                if (
                    present is not None
                    and present.owner is self._owner
                    and (present.source_id, present.target_id) == (source_routine_id, target_routine_id)
                    and present.target_slot is slot
                    and present in self.connections
                ):
                    present.param_mapping = param_mapping or {}
                    return present
            connection = Connection.drawn_by(
                self._owner, (source_routine_id, event), (target_routine_id, slot), param_mapping
            )
            self.connections.append(connection)
            return connection

    def chain(self, *steps: Step | Sequence[Step]) -> list[str]:
        """Connect each routine's obvious event to the next one's obvious slot; returns the ids of the steps.

        The obvious event is the only one, or the one called "output". The obvious slot is the only one besides
        "trigger", or the one called "input"; or "trigger", where there is no other. At a function the one name that
        is sent becomes the one parameter that is wanted, by a `param_mapping`. The lines are those that `connect`
        draws.

        Args:
            *steps: Routines, their ids, or functions (see `FunctionRoutine`). What is not in the flow yet is added:
                a routine under its `_id`, a function under its name. A list is all of its members side by side:
                `chain(a, [b, c], d)`.

        Raises:
            TypeError: A step is none.
            ValueError: A step is unknown, or its event or slot is not obvious; the message says what there is. Then
                nothing is drawn.
        """
        with self._drawing_lock:
            chain = Chain(self.routines, steps)
            for routine_id, added in chain.added.items():
                self._check_id(routine_id, added)  # all of them before the first is added
            for routine_id, added in chain.added.items():
                self.add_routine(added, routine_id)
            for line in chain.lines:
                self.connect(*line)
            return chain.ids

    @overload
    def routine(
        self, function: Callable[P, T], /, *, routine_id: str | None = None, error_handler: ErrorHandler | None = None
    ) -> FunctionRoutine[P, T]: ...

    @overload
    def routine(
        self, /, *, routine_id: str | None = None, error_handler: ErrorHandler | None = None
    ) -> Callable[[Callable[P, T]], FunctionRoutine[P, T]]: ...

    def routine(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        routine_id: str | None = None,
        error_handler: ErrorHandler | None = None,
    ) -> Any:
        """Make a routine of a function and add it; also as a decorator, `@flow.routine` or `@flow.routine(...)`.

        Args:
            function: What to call; see `FunctionRoutine` for what becomes of its parameters and its result.
            routine_id: The function's name by default.
            error_handler: The policy for its errors; else the flow's.

        Raises:
            TypeError: It cannot be called, or is a routine already; or the policy is no ErrorHandler.
            ValueError: The id is taken.
        """

        def add(function: Callable[..., Any]) -> Any:
            made = routine(function, routine_id=routine_id, error_handler=error_handler)
            self.add_routine(made)
            return made

        return add if function is None else add(function)

    def _known_routine(self, routine_id: str) -> Routine:
        routine = self.routines.get(routine_id)
        if routine is None:
            raise UnknownNameError("routine", routine_id, self.routines, f"flow {self.flow_id!r}")
        return routine

    def find_routines_by_type(self, cls: type[R]) -> list[tuple[str, R]]:
        """The routines of a class, as (id, routine).

        Raises:
            TypeError: It is no class.
        """
        try:
            isinstance(None, cls)
        except TypeError as error:
            raise InvalidTypeError(
                f"find_routines_by_type takes a class, not {cls!r}: flow.routines has them by id."
            ) from error
        return [(key, routine) for key, routine in list(self.routines.items()) if isinstance(routine, cls)]

    def set_error_handler(self, error_handler: ErrorHandler | None) -> None:
        """Use a policy for the errors of routines that have none of their own.

        Raises:
            TypeError: Not an ErrorHandler.
        """
        self.error_handler = error_handler

    @property
    def error_handler(self) -> ErrorHandler | None:
        """The policy for routines that have none of their own, or None."""
        return self._error_handler

    @error_handler.setter
    def error_handler(self, error_handler: ErrorHandler | None) -> None:
        if error_handler is not None and not isinstance(error_handler, ErrorHandler):
            raise InvalidTypeError(f"{error_handler!r} is not an ErrorHandler. Use ErrorHandler(strategy=...).")
        self._error_handler = error_handler

    def graph(self) -> "FlowGraph":
        """What is drawn, as plain values: nodes, ports, lines, entry points, cycles, reachability.

        It shows this instant, and does not follow later changes.
        """
        from routilux.flow.graph import read_graph  # noqa: PLC0415 - an import is quicker without

        with self._drawing_lock:
            return read_graph(self.flow_id, self.routines, self._owner)

    def to_mermaid(self, direction: str = "LR") -> str:
        """The drawing as a Mermaid flowchart, which many Markdown viewers show as a picture.

        Args:
            direction: "LR" (left to right), "RL", "TB" (top to bottom) or "BT".

        Raises:
            ValueError: Another direction.
        """
        from routilux.flow.mermaid import mermaid_of  # noqa: PLC0415 - few programs need it

        return mermaid_of(self.graph(), direction)

    def validate(self) -> "list[Finding]":
        """What looks wrong in the drawing as it is now: the errors first, then warnings, then what is worth knowing.

        Nothing is raised, and nothing of the application is called. `execute` looks as well, when something was added
        or connected: an error is raised there, and a warning is logged.
        """
        from routilux.flow.checks import sorted_findings  # noqa: PLC0415 - as for `graph`
        from routilux.flow.object_checks import check_saving  # noqa: PLC0415 - as for `graph`

        return sorted_findings([*self._find(), *check_saving(self.routines)])

    def refuse_broken(self) -> None:
        """Raise when something is certain to fail, and log what is hardly meant, each finding once.

        Raises:
            BrokenDrawingError: Something is certain to fail.
        """
        count = self.change_count
        try:
            findings = self._find()
        except Exception:  # a check that fails is our fault, and no reason not to run
            logger.exception("The drawing of flow %r could not be checked", self.flow_id)
            findings = []
        # Where an execution begins there is a trigger, whatever a subclass has done to show it.
        errors = [each for each in findings if each.severity == "error" and each.code != "missing-trigger"]
        if errors:
            raise BrokenDrawingError(self.flow_id, errors)
        with self._drawing_lock:
            new = [each for each in findings if each.severity == "warning" and each not in self._told]
            self._told.update(new)
            self.is_checked = count == self.change_count
        for finding in new:
            logger.warning("Flow %r, %s", self.flow_id, finding)

    def _changed(self) -> None:
        self.change_count += 1
        self.is_checked = False

    def _find(self) -> "list[Finding]":
        from routilux.flow.checks import check_graph  # noqa: PLC0415 - as for `graph`
        from routilux.flow.object_checks import check_objects  # noqa: PLC0415 - as for `graph`

        return [*check_objects(self.routines, self.connections), *check_graph(self.graph())]

    def forget_threads(self) -> None:
        """In a forked child, where the thread that held the lock does not exist."""
        self._drawing_lock = RLock()

    def get_routine_retry_count(self, routine_id: str) -> int | None:
        """Retries granted to a routine's latest activation; None without an error handler."""
        routine = self.routines.get(routine_id)
        handler = None if routine is None else routine.get_error_handler() or self.error_handler
        return None if handler is None else handler.retry_count
