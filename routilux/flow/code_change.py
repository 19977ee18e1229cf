"""Code change: whether a run that was drawn by earlier code can go on with the drawing of today.

What waits in a run was made by the code that drove it. Where today's code would drop something of it, or call a handler
with what it was not made for, the run is refused, and the check says what to do about it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from routilux.flow.migrations import Migration, MigrationFailedError, Migrations
from routilux.flow.structure import RoutineShape, SlotShape, Structure
from routilux.state_data import check_deferred, check_pending

if TYPE_CHECKING:  # looked at
    from routilux.routine import Routine

__all__ = ["ResumeCheck", "ResumePlan", "Waiting", "plan_resume"]

Verdict = Literal["ok", "migrate", "refuse"]


class ResumeCheck(NamedTuple):
    """Whether what waits in a run for one routine can go on with the flow as it is drawn now.

    Attributes:
        routine_id: The routine.
        verdict: "ok"; "migrate": a registered migration makes it fit; "refuse": the run is not resumed.
        reason: Why.
        advice: What to do; empty unless it is refused.
        fingerprint: Of the routine as the run knows it: what `Flow.migrate` asks for. Empty where nothing is known:
            for a run out of a file, or of a routilux that kept none.
    """

    routine_id: str
    verdict: Verdict
    reason: str
    advice: str = ""
    fingerprint: str = ""

    def __str__(self) -> str:
        return f"{self.routine_id}: {self.verdict}: {' '.join(filter(None, (self.reason, self.advice)))}"


class Waiting(NamedTuple):
    """What a run has at one instant that its routines are still to be given.

    Attributes:
        pending: Its pending tasks.
        deferred: Its deferred events.
        slot_data: What its slots hold, by (routine id, slot).
        current: Which routine was activated last.
    """

    pending: list[dict[str, Any]]
    deferred: list[dict[str, Any]]
    slot_data: dict[tuple[str, str], dict[str, Any]]
    current: str | None


class ResumePlan(NamedTuple):
    """What a resume would do.

    Attributes:
        checks: One for each routine.
        waiting: What was looked at.
        pending: The tasks to go on with, in the order in which they wait.
        slot_data: What slots hold then.
    """

    checks: list[ResumeCheck]
    waiting: Waiting
    pending: list[dict[str, Any]]
    slot_data: dict[tuple[str, str], dict[str, Any]]

    @property
    def refused(self) -> list[ResumeCheck]:
        """Why the run cannot go on."""
        return [check for check in self.checks if check.verdict == "refuse"]

    @property
    def migrates(self) -> bool:
        """Whether the run goes on with something else than what waited."""
        return any(check.verdict == "migrate" for check in self.checks)


class _Problem(NamedTuple):
    reason: str
    advice: str


def plan_resume(
    waiting: Waiting, before: Structure | None, now: Structure, routines: "dict[str, Routine]", migrations: Migrations
) -> ResumePlan:
    """Look at everything that waits. Calls migrations, and routines' `get_slot` and `get_event`; changes nothing.

    Args:
        waiting: What the run has.
        before: The structure of the flow that it was driven by; None: unknown, and only the data can tell.
        now: That of today's flow.
        routines: Today's routines.
        migrations: Those of the application.

    Raises:
        InvalidDataError: An entry of what waits is none.
    """
    for number, entry in enumerate(waiting.pending):
        check_pending(entry, f"pending_tasks[{number}]")
    for number, event in enumerate(waiting.deferred):
        check_deferred(event, f"deferred_events[{number}]")
    tasks: dict[str, list[int]] = {}
    for number, entry in enumerate(waiting.pending):
        tasks.setdefault(entry["routine_id"], []).append(number)
    deferred: dict[str, Counter[str]] = {}
    for event in waiting.deferred:
        deferred.setdefault(event["routine_id"], Counter())[event["event_name"]] += 1
    held: dict[str, dict[str, dict[str, Any]]] = {}
    for (routine_id, slot), data in waiting.slot_data.items():
        held.setdefault(routine_id, {})[slot] = data
    named = [*routines, *(before or ()), *tasks, *deferred, *([] if waiting.current is None else [waiting.current])]
    checks, pending, slot_data = [], list(waiting.pending), dict(waiting.slot_data)
    for routine_id in dict.fromkeys(named):
        look = _Look(
            routine_id,
            routines,
            before.get(routine_id) if before is not None else None,
            now.get(routine_id),
            [waiting.pending[number] for number in tasks.get(routine_id, ())],
            deferred.get(routine_id, Counter()),
            held.get(routine_id, {}),
        )
        checks.append(look.check(migrations, is_current=waiting.current == routine_id))
        if checks[-1].verdict == "migrate":
            for number, entry in zip(tasks.get(routine_id, ()), look.tasks, strict=True):
                pending[number] = entry
            for slot in held.get(routine_id, {}):
                del slot_data[routine_id, slot]
            slot_data.update({(routine_id, slot): data for slot, data in look.held.items()})
    return ResumePlan(checks, waiting, pending, slot_data)


class _Look:
    """A look at one routine: what waits for it, and how it was and is drawn."""

    def __init__(
        self,
        routine_id: str,
        routines: "dict[str, Routine]",
        before: RoutineShape | None,
        now: RoutineShape | None,
        tasks: list[dict[str, Any]],
        deferred: "Counter[str]",
        held: dict[str, dict[str, Any]],
    ) -> None:
        self.id = routine_id
        self._known = routines
        self._routine = routines.get(routine_id)
        self._before = before
        self._now = now
        self.tasks = tasks
        self._deferred = deferred
        self.held = held
        self._fingerprint = before.fingerprint if before is not None else ""
        self._is_changed = before is None or now is None or before.fingerprint != now.fingerprint
        # By slot: how it was, where the run knows that and it is not the same now.
        self._was = (before.slots or {}) if before is not None and self._is_changed else {}
        self._is_now = (now.slots or {}) if now is not None else {}

    def check(self, migrations: Migrations, *, is_current: bool) -> ResumeCheck:
        """The verdict. After "migrate", `tasks` and `held` are what they become."""
        problems = list(self._problems_of_names(is_current))
        migration = None
        if self._routine is not None:
            if self._before is not None and self._is_changed and (self.tasks or self._collected()):
                migration = migrations.find(self.id, self._fingerprint)
            problems += self._after(migration) if migration is not None else self._problems(migrations)
        if problems:
            reasons = " ".join(dict.fromkeys(problem.reason for problem in problems))
            advice = " ".join(dict.fromkeys(problem.advice for problem in problems))
            return ResumeCheck(self.id, "refuse", reasons, advice, self._fingerprint)
        if migration is not None:
            reason = f"It has changed, and its migration from {self._fingerprint!r} makes {self._what_waits()} fit."
            return ResumeCheck(self.id, "migrate", reason, "", self._fingerprint)
        return ResumeCheck(self.id, "ok", self._reason_why_not(), "", self._fingerprint)

    def _what_waits(self) -> str:
        return _count(len(self.tasks), "waiting task") if self.tasks else "what its slots have collected"

    def _reason_why_not(self) -> str:
        if self._routine is None:
            return "It is gone, and nothing waits for it."
        if not self._is_changed:
            return "It is as it was."
        how = "" if self._before is None else "It has changed, and "
        what = "what waits for it fits." if self.tasks else "nothing waits for it."
        return how + what if how else what.capitalize()

    # -- what is wrong

    def _problems_of_names(self, is_current: bool) -> Iterator[_Problem]:
        """What no migration could mend."""
        if self._routine is None:
            waiting = [f"{_count(len(self.tasks), 'task')} waiting" if self.tasks else ""]
            waiting += [f"{_count(count, 'deferred event')} {name!r}" for name, count in self._deferred.items()]
            waiting.append(f"data collected in {_listed(self._collected())}" if self._collected() else "")
            text = ", ".join(filter(None, waiting))
            if text:
                yield _Problem(
                    f"There is no routine {self.id!r} any more, and the run has {text} of it."
                    f"{_hint(self.id, self._known)}",
                    "Keep a routine with this id until such runs are over.",
                )
            elif is_current:
                yield _Problem(
                    f"There is no routine {self.id!r} any more, and it is the run's current_routine_id."
                    f"{_hint(self.id, self._known)}",
                    "Keep a routine with this id until such runs are over, or set current_routine_id to None.",
                )
            return
        advice = "Keep the event until such runs are over."
        for name, count in self._deferred.items():
            if self._routine.get_event(name) is None:
                yield _Problem(
                    f"There is no event {name!r} any more, and {_count(count, 'deferred event')} would be emitted as "
                    f"that.{_hint(name, self._routine._events)}",
                    advice,
                )
        emitted = {name for entry in self.tasks for name in entry.get("released") or () if "\0" not in name}
        for name in sorted(emitted):
            if self._routine.get_event(name) is None:
                yield _Problem(
                    f"There is no event {name!r} any more, and a handler that is to run again has emitted it: what it "
                    "emits in its place would come twice.",
                    advice,
                )

    def _problems(self, migrations: Migrations) -> Iterator[_Problem]:
        advice = self._advice(migrations)
        by_slot: dict[str, list[dict[str, Any]]] = {}
        for entry in self.tasks:
            by_slot.setdefault(entry["slot"], []).append(entry)
        for slot in dict.fromkeys([*by_slot, *self._collected()]):
            for reason in self._problems_of_slot(slot, by_slot.get(slot, [])):
                yield _Problem(reason, advice)

    def _after(self, migration: Migration) -> Iterator[_Problem]:
        collected = self._collected()
        try:
            self.tasks = [migration.task(entry) for entry in self.tasks]
            self.held = migration.held(self.held, collected)
        except MigrationFailedError as error:
            yield _Problem(f"{error}", f"Correct the function that flow.migrate has for {self.id!r}.")
            return
        advice = f"Correct the function that flow.migrate has for {self.id!r} from {self._fingerprint!r}."
        for slot in dict.fromkeys(entry["slot"] for entry in self.tasks):
            waiting = [entry for entry in self.tasks if entry["slot"] == slot]
            for reason in self._problems_of_slot(slot, waiting, is_migrated=True):
                yield _Problem(f"After its migration: {reason}", advice)
        for slot in self._collected() if migration.of_held is None else ():
            for reason in self._problems_of_slot(slot, []):
                yield _Problem(reason, "Give the migration a function for that as well: flow.migrate(..., held=fn).")

    def _problems_of_slot(
        self, name: str, entries: list[dict[str, Any]], *, is_migrated: bool = False
    ) -> Iterator[str]:
        assert self._routine is not None  # noqa: S101 - for the type checker: of one that is gone, slots are not asked
        what = _count(len(entries), "waiting task") if entries else "what it has collected"
        if self._routine.get_slot(name) is None:
            yield (
                f"There is no slot {name!r} any more, for {what}."
                f"{_hint(name, self._routine._slots) or f' Known: {_listed(self._routine._slots)}.'}"
            )
            return
        shape, was = self._is_now.get(name), None if is_migrated else self._was.get(name)
        # As it was: what its handler cannot take now, it could not take then, and that is no matter of the code.
        if shape is None or not self._is_changed or shape == was:
            return
        yield from _problems_of_parameters(name, shape, was, entries)
        if was is None:
            return
        if was.merge != shape.merge and (name in self.held or any(entry.get("merged") for entry in entries)):
            yield f"Slot {name!r} merged by {was.merge!r}, merges by {shape.merge!r} now, and holds data already."
        elif shape.merge != "override":
            lost, new = shape.dropped_since(was, self.held.get(name, {}))
            if lost:
                yield f"Slot {name!r}: its handler takes {_listed(new)} in place of {_listed(lost)}, which it holds."

    def _collected(self) -> list[str]:
        """The slots whose data still matter: of "override", the next delivery replaces them."""
        found = []
        for slot in self.held:
            was, shape = self._was.get(slot), self._is_now.get(slot)
            if was is not None and was != shape and (was.merge != "override" or (shape and shape.merge != was.merge)):
                found.append(slot)
        return found

    def _advice(self, migrations: Migrations) -> str:
        if not self._fingerprint:
            return "Resume it with the code that drove it, or bring its pending_tasks into the form of this code."
        others = migrations.fingerprints(self.id)
        known = f" (there are migrations from {_listed(others)})" if others else ""
        return (
            f"Deploy code that takes them, or register flow.migrate({self.id!r}, {self._fingerprint!r}, fn), "
            f"where fn(slot, data) returns what this code takes{known}."
        )


def _problems_of_parameters(
    name: str, shape: SlotShape, was: SlotShape | None, entries: list[dict[str, Any]]
) -> Iterator[str]:
    if shape.merge == "function":
        entries = [entry for entry in entries if entry.get("merged")]  # else merging may bring any names
    if entries and not shape.handler and was is not None and was.handler:
        yield f"Slot {name!r} has no handler any more, and {_count(len(entries), 'waiting task')} would do nothing."
    lacking = Counter(parameter for entry in entries for parameter in shape.missing(entry["data"]))
    for parameter, count in lacking.items():
        lacks = "does not have" if count == 1 else "do not have"
        yield f"Slot {name!r}: its handler needs {parameter!r}, which {_count(count, 'waiting task')} {lacks}."
    if was is None or lacking:
        return
    found: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        lost, new = shape.dropped_since(was, entry["data"])
        if lost:
            found[_listed(lost), _listed(new)] += 1
    for (lost_names, new_names), count in found.items():
        yield (
            f"Slot {name!r}: its handler takes {new_names} in place of {lost_names}, which "
            f"{_count(count, 'waiting task')} {'has' if count == 1 else 'have'}: that would be dropped."
        )


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _hint(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name[:200], list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
