"""Async handlers of runs that are kept."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from routilux import Flow, Routine
from routilux.functions import routine
from routilux.stores.base import Write
from routilux.stores.memory import MemoryStore


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
@pytest.mark.parametrize("level", ["group", "sync"])
@pytest.mark.parametrize("limit", [None, 2])
def test_the_thread_that_drives_coroutines_never_waits_for_the_store(
    level: str, strategy: str, limit: int | None
) -> None:
    writing: set[str] = set()
    driving: set[str] = set()

    class Watched(MemoryStore):
        def write(self, writes: Sequence[Write]) -> None:
            writing.add(threading.current_thread().name)
            super().write(writes)

    def emits_each(self: Routine) -> None:
        for number in range(200):
            self.emit("output", number=number)

    @routine
    async def awaits(number: int) -> dict[str, Any]:
        driving.add(threading.current_thread().name)
        if number % 3:
            await asyncio.sleep(0)
        if number % 50 == 49:
            raise ValueError(number)
        return {"number": number}

    @routine
    async def ends(number: int) -> None:
        driving.add(threading.current_thread().name)

    begin = Routine()
    begin.define_event("output")
    begin.define_slot("trigger", lambda: emits_each(begin))
    awaits.set_limits(max_concurrency=limit)
    store = Watched("memory:", level)
    with Flow("watched", store=store, execution_strategy=strategy) as flow:
        flow.add_routine(begin, "begin")
        flow.add_routine(awaits, "awaits")
        flow.add_routine(ends, "ends")
        flow.connect("begin", "output", "awaits", "input")
        flow.chain(awaits, ends)
        assert flow.run("begin").status == "completed"
    assert driving
    assert writing
    assert not driving & writing
