"""The peers' work, done by routilux: every flow concurrent with four workers, full records on."""

import gc
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter
from typing import Any

from routilux import Flow, JobState, Routine

DISTRIBUTION = "routilux"
Work = Callable[[], list[int]]


class Hop(Routine):
    """Counts down by sending to itself."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen
        self.define_slot("trigger", self.hop)
        self.define_event("next", ["n"])

    def hop(self, n: int) -> None:
        self.seen.append(n)
        if n > 1:
            self.emit("next", n=n - 1)


class Source(Routine):
    """Sends so many messages."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.begin)
        self.define_event("out", ["v"])

    def begin(self, count: int) -> None:
        for v in range(count):
            self.emit("out", v=v)


class Sink(Routine):
    """Takes them."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen
        self.define_slot("trigger", self.take)

    def take(self, v: int) -> None:
        self.seen.append(v)


class Adder(Routine):
    """Adds one and passes it on."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.add)
        self.define_event("next", ["v"])

    def add(self, v: int) -> None:
        self.emit("next", v=v + 1)


def _flow(**routines: Routine) -> Flow:
    flow = Flow(execution_strategy="concurrent", max_workers=4)
    for name, routine in routines.items():
        flow.add_routine(routine, name)
    return flow


def _run(flow: Flow, entry: str, **params: Any) -> None:
    job_state = flow.run(entry, params)
    assert job_state.status == "completed", job_state.status


def _found(seen: list[int]) -> list[int]:
    found = [len(seen), sum(seen)]
    seen.clear()
    return found


def chain(size: int) -> Work:
    seen: list[int] = []
    flow = _flow(hop=Hop(seen))
    flow.connect("hop", "next", "hop", "trigger")

    def work() -> list[int]:
        _run(flow, "hop", n=size)
        return _found(seen)

    return work


def chain_of_nodes(size: int) -> Work:
    seen: list[int] = []
    flow = _flow(**{f"hop{number}": Hop(seen) for number in range(size)})
    for number in range(1, size):
        flow.connect(f"hop{number - 1}", "next", f"hop{number}", "trigger")

    def work() -> list[int]:
        _run(flow, "hop0", n=size)
        return _found(seen)

    return work


def fan_out(size: int) -> Work:
    seen: list[int] = []
    flow = _flow(source=Source(), sink=Sink(seen))
    flow.connect("source", "out", "sink", "trigger")

    def work() -> list[int]:
        _run(flow, "source", count=size)
        return _found(seen)

    return work


def trivial_run(size: int) -> Work:
    seen: list[int] = []
    flow = _flow(lone=Sink(seen))

    def work() -> list[int]:
        for v in range(size):
            _run(flow, "lone", v=v)
        return _found(seen)

    return work


def many_runs(size: int) -> Work:
    seen: list[int] = []
    flow = _flow(first=Adder(), second=Adder(), third=Sink(seen))
    flow.connect("first", "next", "second", "trigger")
    flow.connect("second", "next", "third", "trigger")

    def work() -> list[int]:
        job_states = [flow.execute("first", {"v": v}) for v in range(size)]
        for job_state in job_states:
            JobState.wait_for_completion(flow, job_state)
            assert job_state.status == "completed", job_state.status
        return _found(seen)

    return work


CASES = {
    "chain": chain,
    "chain-of-nodes": chain_of_nodes,
    "fan-out": fan_out,
    "trivial-run": trivial_run,
    "many-runs": many_runs,
}


def main(case: str, size: int, repeats: int) -> None:
    """Do the work once to warm up, and then so many times by the clock."""
    work = CASES[case](size)
    results = [work()]
    seconds = []
    for _ in range(repeats):
        gc.collect()
        began = perf_counter()
        results.append(work())
        seconds.append(perf_counter() - began)
    differing = [result for result in results if result != results[0]]
    print(json.dumps({"result": differing or results[0], "seconds": seconds, "version": version(DISTRIBUTION)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
