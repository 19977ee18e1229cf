"""Snapshots: what the rows of a bounded run add up to, so that to go on with it need not take all of them."""

import logging
import sys
from typing import TYPE_CHECKING, Any

from routilux.job_state import ledger_of
from routilux.stores.journal import snapshot_text

if TYPE_CHECKING:  # whose they are
    from routilux.flow.durable.run import DurableRun

__all__ = ["take_snapshot"]

logger = logging.getLogger(__name__)


def take_snapshot(run: "DurableRun") -> None:
    """Keep what the rows so far add up to, but for the records; in place of the snapshot before.

    A run that keeps all its records has none: to go on with it takes every row.
    """
    scribe, ledger = run.scribe, ledger_of(run.job_state)

    def write_down(state: dict[str, Any]) -> None:
        if scribe.number < scribe.snapshot_due:
            return  # another worker was quicker
        if ledger.limit is None:
            scribe.snapshot_due = sys.maxsize
            return
        if run.over or run.lost is not None:
            return  # it is not this process's any more
        if run.recoveries:
            state["recoveries"] = run.recoveries
        record, record_count = run.job_state, run.job_state.record_total()
        row = scribe.cut()  # the state has it already
        scribe.snapshot_due = 2 * scribe.number
        text = snapshot_text(state, record_count, record.output_log, record.shared_log)
        # One payload that waits for many routines stands once in the journal, and once for each in here.
        kept = (scribe.number, text) if len(text) <= scribe.size else None
        if row is not None or kept is not None:
            run.forget_written()
            run.durability.group.add(run.job_id, row, snapshot=kept)

    try:
        run.job_state.write_live_form(write_down)
    except (TypeError, ValueError) as error:  # metadata, perhaps, which nobody has looked at until now
        scribe.snapshot_due = 2 * scribe.number
        logger.warning("No snapshot of run %s: %s", run.job_id, error, extra={"job_id": run.job_id})
