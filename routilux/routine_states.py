"""The states of a run's routines: a dict that is brought up to date when somebody looks at it."""

from collections.abc import Collection
from typing import Any

from routilux.guarded import GuardedDict, LockLike, taken_from
from routilux.status import RoutineStatus, says_failed, word_of

__all__ = ["RoutineStates"]

_ENGINES = frozenset({"status", "execution_time"})


class RoutineStates(GuardedDict[str, dict[str, Any]]):
    """State of each routine by its id. Readers take the lock, and find everything that has happened before.

    That a routine has completed happens at each hop. It is noted as one number in `completions`, which costs a fifth
    of a new state, and becomes the state when somebody reads or writes one.

    Methods that say "with the lock held" are the engine's; everything else is a dict's and takes the lock itself.
    """

    __slots__ = ("completions",)

    WHAT = "write a routine's state"

    def __init__(self, states: dict[str, dict[str, Any]], lock: LockLike) -> None:
        super().__init__({key: self.taken(state) for key, state in states.items()}, lock)
        #: By routine: the nanoseconds of its last execution, which succeeded, and which its state does not say yet.
        self.completions: dict[str, int] = {}

    def taken(self, value: dict[str, Any]) -> dict[str, Any]:
        """A state as a plain dict: the engine reads it under the lock, and a subclass has code of its own."""
        return value if type(value) is dict or not isinstance(value, dict) else taken_from(value)

    # -- with the lock held

    def bring_up_to_date(self) -> None:
        """With the lock held: enter what has completed."""
        if not self.completions:
            return
        completions, self.completions = self.completions, {}
        for routine_id, duration_ns in completions.items():
            self._enter_success(routine_id, {"execution_time": duration_ns / 1e9})

    def of(self, routine_id: str) -> dict[str, Any]:
        """With the lock held: a routine's state; empty when it has none."""
        self.bring_up_to_date()
        return self._held(routine_id)

    def _held(self, routine_id: str) -> dict[str, Any]:
        state = dict.get(self, routine_id)
        return state if isinstance(state, dict) else {}  # a caller may have put anything there

    def set(self, routine_id: str, state: dict[str, Any]) -> None:
        """With the lock held: replace a routine's state."""
        self.bring_up_to_date()
        dict.__setitem__(self, routine_id, state)
        self._note((routine_id,))

    def merge(self, routine_id: str, changes: dict[str, Any], remove: Collection[str] = ()) -> None:
        """With the lock held: put keys into a routine's state and take some out.

        The state is replaced, not changed in place: a reader who holds the earlier one may be walking it.
        """
        state = {**self.of(routine_id), **changes}
        for key in remove:
            state.pop(key, None)
        dict.__setitem__(self, routine_id, state)
        self._note((routine_id,))

    def note_success(self, routine_id: str, changes: dict[str, Any]) -> None:
        """With the lock held: enter that a routine has completed, and what else is known of it."""
        self.bring_up_to_date()
        self._enter_success(routine_id, changes)
        self._note((routine_id,))

    def _enter_success(self, routine_id: str, changes: dict[str, Any]) -> None:
        state = self._held(routine_id)
        status = state.get("status")
        if not says_failed(status):
            # Else it was written by the handler, or is an earlier failure of this run, which a success does not hide.
            changes = {"status": RoutineStatus.COMPLETED.value, **changes}
        if state.keys() <= _ENGINES and changes.keys() >= state.keys():
            dict.__setitem__(self, routine_id, changes)
            return
        tolerated = word_of(status) in (RoutineStatus.ERROR_CONTINUED, RoutineStatus.SKIPPED)
        self.merge(routine_id, changes, ("error",) if tolerated else ())

    def forget_failures(self, spared: Collection[str] = ()) -> None:
        """With the lock held: routines that failed, but for some, have no state until they run again."""
        self.bring_up_to_date()
        for routine_id, state in list(dict.items(self)):
            if isinstance(state, dict) and says_failed(state.get("status")) and routine_id not in spared:
                self._note((routine_id,))
                rest = {key: value for key, value in state.items() if key not in ("status", "error", "error_time")}
                if rest:
                    dict.__setitem__(self, routine_id, rest)
                else:
                    dict.__delitem__(self, routine_id)

    def failed(self) -> list[str]:
        """With the lock held: the routines that failed. What is still to be entered are successes, and hides none."""
        states = [(key, state) for key, state in dict.items(self) if isinstance(state, dict)]
        return [key for key, state in states if says_failed(state.get("status"))]

    # -- as a dict

    def pairs_now(self) -> list[tuple[str, dict[str, Any]]]:
        """The states as they stand, without the lock; what has completed and is not entered is entered in the copy."""
        completions = self.completions.copy()
        found = dict(super().pairs_now())
        for routine_id, duration_ns in completions.items():
            state = found.get(routine_id) or {}
            status = state.get("status") if says_failed(state.get("status")) else RoutineStatus.COMPLETED.value
            found[routine_id] = {**state, "status": status, "execution_time": duration_ns / 1e9}
        return list(found.items())

    def __getitem__(self, key: str) -> dict[str, Any]:
        with self._lock:
            self.bring_up_to_date()
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> dict[str, Any] | Any:
        """A state, or the default."""
        with self._lock:
            self.bring_up_to_date()
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            self.bring_up_to_date()
        return super().__contains__(key)

    def __len__(self) -> int:
        with self._lock:
            self.bring_up_to_date()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        return self.copy() == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # as a dict

    def __repr__(self) -> str:
        return repr(self.copy())
