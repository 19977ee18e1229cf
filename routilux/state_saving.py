"""The saved form of a run, out of what was taken of it at one instant."""

from typing import Any

from routilux.execution_record import ExecutionRecord
from routilux.history_data import saved_rows
from routilux.ledger import Ledger
from routilux.pending_data import saved_form
from routilux.plain import plain
from routilux.state_data import FORMAT_VERSION, check_shapes

__all__ = ["saved_state"]


def saved_state(taken: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """What `JobState.serialize` writes, but for its type and the fields of applications.

    Args:
        taken: The attributes at one instant; it is used up.
        ledger: Whose rows are in it.

    Raises:
        TypeError: Something in it is not JSON, or of another kind; the message names the path to it.
        ValueError: Something in it could not be loaded again; the message names the path to it.
    """
    history, rows = taken.pop("execution_history"), taken.pop("rows")
    pending = taken.pop("pending_tasks")
    check_shapes(taken, history, pending, ExecutionRecord)
    for name in ("input_requests", "kept_inputs"):
        if not taken[name]:
            del taken[name]  # few runs ask for inputs
    created_at, updated_at = taken.pop("created_at"), taken.pop("updated_at")
    slot_data: dict[str, dict[str, Any]] = {}
    for (routine_id, slot_name), held in taken.pop("slot_data").items():
        path = f"slot_data[{routine_id!r}][{slot_name!r}]"
        slot_data.setdefault(routine_id, {})[slot_name] = plain(held, path)
    return {
        "format_version": FORMAT_VERSION,
        **{name: plain(value, name) for name, value in taken.items()},
        "created_at": created_at.isoformat(),
        "updated_at": updated_at.isoformat(),
        "execution_history": [
            *(record.saved_form(f"execution_history[{number}].data") for number, record in enumerate(history)),
            *saved_rows(ledger, rows, len(history)),
        ],
        "pending_tasks": [saved_form(entry, f"pending_tasks[{number}]") for number, entry in enumerate(pending)],
        "slot_data": slot_data,
    }
