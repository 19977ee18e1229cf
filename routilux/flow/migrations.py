"""Migrations: functions of the application that bring waiting tasks into the form which new code takes."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from routilux.errors import DuplicateNameError, InvalidTypeError, InvalidValueError, text_of
from routilux.plain import plain_dict, shortened

__all__ = ["Migrate", "Migration", "MigrationFailedError", "Migrations"]

# Takes the slot and the data of a task that waits, returns the slot and the data that it has from now on, or only data.
Migrate = Callable[[str, dict[str, Any]], "tuple[str, dict[str, Any]] | dict[str, Any]"]


class MigrationFailedError(InvalidValueError):
    """A migration raised, or what it returned is not usable. It does not leave this room: `ResumeCheck` tells it."""


class Migration(NamedTuple):
    """What was registered for one routine as it was: for its tasks, and for what its slots have collected."""

    of_task: Migrate
    of_held: Migrate | None

    def task(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A pending task in its new form.

        Raises:
            MigrationFailedError: It has none.
        """
        slot, data = _migrated(self.of_task, entry["slot"], entry["data"], "a waiting task")
        return {**entry, "slot": slot, "data": data}

    def held(self, slots: dict[str, dict[str, Any]], collected: list[str]) -> dict[str, dict[str, Any]]:
        """What the slots hold, with what some have collected in its new form; as it was without a function for it.

        Raises:
            MigrationFailedError: It has none.
        """
        if self.of_held is None:
            return slots
        moved = {slot: data for slot, data in slots.items() if slot not in collected}
        for slot in collected:
            name, new = _migrated(self.of_held, slot, slots[slot], "what a slot has collected")
            if name in moved:
                raise MigrationFailedError(f"The migration puts what two slots hold into one, {name!r}.")
            moved[name] = new
        return moved


class Migrations:
    """The migrations of one flow, by routine id and the fingerprint that they begin from.

    Args:
        known: Where they are kept.
    """

    def __init__(self, known: dict[tuple[str, str], Migration]) -> None:
        self._known = known

    def add(self, routine_id: str, from_fingerprint: str, of_task: Migrate, of_held: Migrate | None) -> None:
        """See `Flow.migrate`."""
        for name, text in (("routine_id", routine_id), ("from_fingerprint", from_fingerprint)):
            if not isinstance(text, str) or not text:
                raise InvalidValueError(f"{name} must be a text that is not empty, not {text!r}.")
        for function in (of_task, of_held):
            if not callable(function) and not (function is None and of_held is None):
                raise InvalidTypeError(f"A migration is a function of (slot, data), not {shortened(function)}.")
        if (routine_id, from_fingerprint) in self._known:
            raise DuplicateNameError(
                f"There is a migration for {routine_id!r} from {from_fingerprint!r} already. Make one function of both."
            )
        self._known[routine_id, from_fingerprint] = Migration(of_task, of_held)

    def find(self, routine_id: str, from_fingerprint: str) -> Migration | None:
        """The migration of a routine, or None."""
        return self._known.get((routine_id, from_fingerprint))

    def fingerprints(self, routine_id: str) -> list[str]:
        """From what there are migrations of a routine."""
        return sorted(fingerprint for key, fingerprint in self._known if key == routine_id)


def _migrated(function: Migrate, slot: str, data: dict[str, Any], what: str) -> tuple[str, dict[str, Any]]:
    try:
        result: Any = function(slot, copy.deepcopy(data))
    except Exception as error:
        raise MigrationFailedError(
            f"The migration of {what} for slot {slot!r} raised {type(error).__name__}: {text_of(error)}."
        ) from error
    pair = (slot, result) if isinstance(result, dict) else result
    if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], dict):
        raise MigrationFailedError(
            f"The migration of {what} for slot {slot!r} returned {shortened(result)}, which is neither a dict nor a "
            "tuple of a slot's name and a dict."
        )
    try:
        return pair[0], plain_dict(pair[1], f"what the migration of {what} returned")
    except TypeError as error:
        raise MigrationFailedError(str(error)) from error
