"""Makes a database of runs as the present code leaves one: `python -m tests.data.make_runs_database PATH`.

Each released version adds one under a name of its own; those that are there are never made anew.
"""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from routilux import ErrorHandler, ErrorStrategy, Flow, JobState, Routine
from routilux.stores.opening import open_store

__all__ = ["draw"]

SECONDS = 20.0


class Door(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.let_in)
        self.define_event("order", ["order", "amount"])
        self.define_event("closing", ["order"])

    def let_in(self, orders: list[int]) -> None:
        for order in orders:
            self.emit("order", order=order, amount=order * 10)


class Desk(Routine):
    """Bills orders; what `mood` says happens at order 2."""

    def __init__(self, mood: str = "") -> None:
        super().__init__()
        self.mood = mood
        self.define_slot("order", self.bill)
        self.define_event("bill", ["number", "amount"])

    def bill(self, order: int, amount: int) -> None:
        context = self.get_execution_context()
        assert context is not None
        job_state = context.job_state
        job_state.update_shared_data(f"seen {order}", {"by": "desk", "text": "\ud83d\0é"})
        self.emit("bill", number=order, amount=amount)
        if order != 2:
            return
        if self.mood == "pauses":
            job_state.add_deferred_event("door", "closing", {"order": 9})
            context.flow.pause(job_state, reason="lunch", checkpoint={"back_at": "13:00"})
        elif self.mood == "fails":
            raise ConnectionError("the bank is closed")
        elif self.mood == "dies":
            _wait_until_kept(context.flow, job_state)
            os._exit(0)


class Book(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("bill", self.enter, merge_strategy="append")
        self.define_slot("total", self.add_up, merge_strategy=added)
        self.define_slot("closing", self.close)
        self.define_event("entered", ["amount"])

    def enter(self, number: list[int], amount: list[int]) -> None:
        self.send_output("entered", numbers=number)
        self.emit("entered", amount=amount[-1])

    def add_up(self, amount: int) -> None:
        self.send_output("total", amount=amount)

    def close(self, order: int) -> None:
        self.send_output("closed", order=order)


def added(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {"amount": old.get("amount", 0) + new["amount"]}


def draw(store: str, mood: str = "") -> Flow:
    flow = Flow("orders", store=store)
    desk = Desk(mood)
    desk.set_error_handler(ErrorHandler(ErrorStrategy.STOP))
    for routine_id, routine in {"door": Door(), "desk": desk, "book": Book()}.items():
        flow.add_routine(routine, routine_id)
    flow.connect("door", "order", "desk", "order")
    flow.connect("door", "closing", "book", "closing")
    flow.connect("desk", "bill", "book", "bill")
    flow.connect("book", "entered", "book", "total")
    return flow


def _wait_until_kept(flow: Flow, job_state: JobState) -> None:
    """Until the store has what the handler of order 2 has emitted."""
    assert flow.store is not None
    store = open_store(flow.store.url)
    while not any('"number":2' in row.body for row in store.rows(job_state.job_id)):
        threading.Event().wait(0.01)
    store.close()


def _leave_runs(path: str) -> None:
    for mood, job_id in (("", "completed"), ("pauses", "paused"), ("fails", "failed")):
        with draw(path, mood) as flow:
            job_state = flow.execute("door", {"orders": [1, 2, 3]}, job_id=job_id)
            JobState.wait_for_completion(flow, job_state, timeout=SECONDS)
            assert job_state.status == job_id, job_state.errors
    flow = draw(path, "dies")
    JobState.wait_for_completion(flow, flow.execute("door", {"orders": [1, 2, 3]}, job_id="unfinished"))


def _main(path: str) -> None:
    if Path(path).exists():
        raise SystemExit(f"{path} is there already. What a version has left is never made anew.")
    # In a child, since it dies on the way.
    subprocess.run([sys.executable, "-m", __spec__.name, path, "child"], check=True, timeout=60)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")  # one file, without its log beside it
    connection.execute("VACUUM")
    connection.close()


if __name__ == "__main__":
    if sys.argv[2:] == ["child"]:
        _leave_runs(sys.argv[1])
    else:
        _main(sys.argv[1])
