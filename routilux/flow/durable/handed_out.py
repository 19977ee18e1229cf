"""HandedOut: what handlers of a durable run may change in place, written down when their activations end.

A handler that appends to a shared list tells nobody. So what was handed out to it (a shared value, the data of a slot)
is compared with what was written of it before its settlement is written; where nothing was handed out, nothing is done.
"""

import contextlib
from typing import TYPE_CHECKING, Any

from routilux.errors import NotPlainError
from routilux.flow.durable.own_timers import OwnTimers
from routilux.flow.durable.scribe import encoded
from routilux.flow.lifecycle import OPEN
from routilux.flow.task import Activation

if TYPE_CHECKING:  # who writes
    from routilux.flow.durable.scribe import Scribe
    from routilux.slot import Slot

__all__ = ["HandedOut"]

SlotKey = tuple[str, str]


class HandedOut(OwnTimers):
    """The side of a `DurableRun` that keeps shared data and the data of slots."""

    __slots__ = ("_shared_changes", "_slot_marks", "_slot_texts", "_slots_set", "scribe")

    scribe: "Scribe"
    # Shared values that were written, and that are kept with the settlement that comes next: an activation that
    # runs again must not find what it has written itself.
    _shared_changes: list[tuple[Any, ...]]
    # Slots whose data were handed out, with the activations that have them.
    _slot_marks: dict[tuple[Activation, SlotKey], None]
    # What the journal says that those slots hold, where that is known.
    _slot_texts: dict[SlotKey, str]
    # How often handlers have set what a slot holds.
    _slots_set: int

    def hand_out_nothing(self) -> None:
        """At the beginning: nobody has got anything."""
        self._shared_changes, self._slot_marks, self._slot_texts, self._slots_set = [], {}, {}, 0

    def note_changes(self, task: Activation) -> None:
        """Without the lock, before the settlement of an activation: have kept with it what its handler has changed.

        Raises:
            NotPlainError: Something is not JSON. It is left out at the next call.
        """
        is_last = self.outstanding <= 1 or self._gate != OPEN
        self.job_state.take_shared_changes(
            self._add_shared_changes, lambda each: each is task or each not in self.active, is_last
        )
        if self._slot_marks:
            self._note_slots(task)

    def note_changes_from_outside(self) -> None:
        """Before a pause: what nobody's settlement will keep."""
        if self.active:
            return  # theirs will
        while True:
            with contextlib.suppress(NotPlainError):  # the pause is none of its business
                self.job_state.take_shared_changes(self._add_shared_changes, with_lasting=True)
                break
        with self.lock:
            self._note_shared()

    # -- shared data

    def _add_shared_changes(self, changes: list[tuple[Any, ...]]) -> None:
        with self.lock:  # under that of the shared data, so that changes stand in their order
            self._shared_changes += changes

    def _note_shared(self) -> None:
        if self._shared_changes:
            changes, self._shared_changes = self._shared_changes, []
            self.scribe.share(changes)

    # -- slots

    def slot_data_of(self, slot: "Slot", activation: Activation) -> dict[str, Any]:
        """What a slot holds in this run; whoever asks may change it."""
        held = super().slot_data_of(slot, activation)
        key = (activation.routine_id_of(slot.routine), slot.name)
        with self.lock:
            if activation in self.active:
                if key not in self._slot_texts:
                    with contextlib.suppress(NotPlainError):  # told when its handler has returned
                        self._slot_texts[key] = encoded(held, _place(key))
                self._slot_marks[activation, key] = None
        return held

    def set_slot_data(self, slot: "Slot", activation: Activation, data: dict[str, Any]) -> None:
        """Replace what a slot holds in this run, and write that down."""
        key = (activation.routine_id_of(slot.routine), slot.name)
        self.scribe.check(data, f"the data of slot {slot.name!r}")
        with self.lock:
            self._put_slot_data(key, data)
            self.scribe.slot_data(key, data)
            self._slot_texts.pop(key, None)
            self._slots_set += 1
            if activation in self.active:
                self._slot_marks[activation, key] = None  # it may hold what it has set

    def merge(self, task: Activation) -> None:
        """Merge a delivery, and write it down in the order of the merges."""
        with self._merge_lock:
            before = self._slots_set
            super().merge(task)
            key = task.port.key
            with self.lock:
                held = self.ledger.slot_data[key]
                # What follows from the deliveries is not written again, unless a handler has set it beside the merge,
                # or has it in its hands.
                is_known = self._slots_set == before and not any(each == key for _, each in self._slot_marks)
                follows = is_known and not callable(task.port.slot.merge_strategy)
                self.scribe.merged(task, None if follows else held)
                self._slot_texts.pop(key, None)

    def _note_slots(self, task: Activation) -> None:
        # The merges' lock too: "append" changes what a slot holds before it is written down.
        with self._merge_lock, self.lock:
            over = [mark for mark in self._slot_marks if mark[0] is task or mark[0] not in self.active]
            for mark in over:
                del self._slot_marks[mark]
            for key in dict.fromkeys(key for _, key in over):
                held = self.ledger.slot_data.get(key)
                if held is not None:
                    text = encoded(held, _place(key))
                    if text != self._slot_texts.get(key):
                        self.scribe.slot_data(key, held)
                        self._slot_texts[key] = text
                if not any(each == key for _, each in self._slot_marks):
                    self._slot_texts.pop(key, None)

    def forget_written(self) -> None:
        """With the lock held: a snapshot has what slots hold at this moment."""
        self._slot_texts.clear()


def _place(key: SlotKey) -> str:
    routine_id, slot = key
    return f"what the slot {slot!r} of {routine_id!r} holds"
