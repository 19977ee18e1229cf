"""The cases: which of our work stands beside which floor, and what it is asked to reach."""

import asyncio
import gc
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from statistics import median
from threading import Event, Semaphore
from time import perf_counter_ns, sleep

from routilux import Flow, JobState
from tests.benchmarks import durable, floors, flows
from tests.benchmarks.footprint import import_seconds, retained_by_messages, retained_by_payloads
from tests.benchmarks.measure import Case, Pair, Sizes, Target, expect

__all__ = ["CASES"]

MS = 1e3  # of microseconds


# -- hops


def hop_us(flow: Flow, calls: flows.Calls, hops: int) -> float:
    """A countdown; microseconds per hop."""
    began = perf_counter_ns()
    job_state = flows.run_ring(flow, hops)
    elapsed = perf_counter_ns() - began
    flows.recorded(job_state, calls.total(), hops, next=hops)
    return elapsed / hops / 1e3


@contextmanager
def chain(sizes: Sizes, workers: int) -> Iterator[Pair]:
    """One routine that feeds itself, against one task that submits itself."""
    calls = flows.Calls()
    with flows.ring(1, workers, calls) as flow, ThreadPoolExecutor(workers) as pool:
        yield Pair(
            lambda: hop_us(flow, calls, sizes.hops),
            lambda: floors.resubmitting(pool, sizes.hops),
        )


@contextmanager
def async_chain(sizes: Sizes) -> Iterator[Pair]:
    """One async routine that feeds itself, against one coroutine that makes a task of itself."""
    calls = flows.Calls()
    with flows.async_ring(calls) as flow:
        yield Pair(lambda: hop_us(flow, calls, sizes.hops), lambda: floors.recreating(sizes.hops))


@contextmanager
def longer_ring(sizes: Sizes) -> Iterator[Pair]:
    """A ring of routines, ten times as long on the way."""
    calls = flows.Calls()
    with flows.ring(sizes.ring, 1, calls) as flow:
        yield Pair(
            lambda: hop_us(flow, calls, sizes.hops * sizes.grown),
            lambda: hop_us(flow, calls, sizes.hops),
        )


@contextmanager
def more_routines(sizes: Sizes) -> Iterator[Pair]:
    """As many routines as hops, in a flow that is ten times as large."""
    many, few = sizes.hops * sizes.grown, sizes.hops
    calls = flows.Calls()
    with flows.ring(many, 1, calls) as large, flows.ring(few, 1, calls) as small:
        yield Pair(lambda: hop_us(large, calls, many), lambda: hop_us(small, calls, few))


# -- messages


def message_us(flow: Flow, calls: flows.Calls, messages: int) -> float:
    """A fan-out; microseconds per message."""
    began = perf_counter_ns()
    job_state = flows.run_fan_out(flow, messages)
    elapsed = perf_counter_ns() - began
    flows.recorded(job_state, calls.total(), messages, out=messages)
    return elapsed / messages / 1e3


@contextmanager
def fan_out(sizes: Sizes, workers: int, is_wide: bool = False) -> Iterator[Pair]:
    """One routine that emits everything at once, against one `submit` per message."""
    calls = flows.Calls()
    messages = sizes.messages * (sizes.grown if is_wide else 1)
    with flows.fan_out(workers, lambda v: calls.add()) as flow, ThreadPoolExecutor(workers) as pool:
        yield Pair(
            lambda: message_us(flow, calls, messages),
            lambda: floors.submitting_each(pool, messages),
        )


@contextmanager
def wider_fan_out(sizes: Sizes, workers: int) -> Iterator[Pair]:
    """Ten times as many messages."""
    calls = flows.Calls()
    with flows.fan_out(workers, lambda v: calls.add()) as flow:
        yield Pair(
            lambda: message_us(flow, calls, sizes.messages * sizes.grown),
            lambda: message_us(flow, calls, sizes.messages),
        )


# -- runs


def run_us(execute: Callable[[], JobState], repeats: int) -> float:
    """A run and the wait for it; the median in microseconds."""
    times = []
    for _ in range(repeats):
        began = perf_counter_ns()
        job_state = execute()
        times.append(perf_counter_ns() - began)
        expect("status of the run", job_state.status, "completed")
    return median(times) / 1e3


@contextmanager
def trivial_run(sizes: Sizes) -> Iterator[Pair]:
    """A run of one routine, on the caller's thread."""
    calls = flows.Calls()

    def ours() -> float:
        found = run_us(lambda: flow.run("lone"), sizes.repeats)
        expect("handlers called", calls.total(), sizes.repeats)
        return found

    with flows.lone(calls) as flow, ThreadPoolExecutor(1) as pool:
        yield Pair(ours, lambda: floors.submitting_one(pool, sizes.repeats))


@contextmanager
def pooled_run(sizes: Sizes) -> Iterator[Pair]:
    """A run of two routines, the second of them on the pool: it has the thread switch that the floor has."""
    calls = flows.Calls()

    def ours() -> float:
        found = run_us(lambda: flows.run_fan_out(flow, 1), sizes.repeats)
        expect("handlers called", calls.total(), sizes.repeats)
        return found

    with flows.fan_out(1, lambda v: calls.add()) as flow, ThreadPoolExecutor(1) as pool:
        yield Pair(ours, lambda: floors.submitting_one(pool, sizes.repeats))


@contextmanager
def waking(sizes: Sizes) -> Iterator[Pair]:
    """From the end of the last handler to the waiter's return."""
    ended_at: list[int] = []

    def handler(v: int) -> None:
        floors.take_a_moment()
        ended_at.append(perf_counter_ns())

    def ours() -> float:
        times = []
        for _ in range(sizes.repeats):
            flows.run_fan_out(flow, 1)
            times.append(perf_counter_ns() - ended_at[-1])
        expect("handlers called", len(ended_at), sizes.repeats)
        ended_at.clear()
        return median(times) / 1e3

    with flows.fan_out(1, handler) as flow, ThreadPoolExecutor(1) as pool:
        yield Pair(ours, lambda: floors.last_word(pool, sizes.repeats, floors.take_a_moment))


@contextmanager
def many_runs(sizes: Sizes) -> Iterator[Pair]:
    """So many runs of three routines at once."""
    calls = flows.Calls()

    def ours() -> float:
        began = perf_counter_ns()
        job_states = [flow.execute("start", {"n": 2}) for _ in range(sizes.runs)]
        for job_state in job_states:
            JobState.wait_for_completion(flow, job_state)
        elapsed = perf_counter_ns() - began
        expect("handlers called", calls.total(), 2 * sizes.runs)
        for job_state in job_states:
            flows.recorded(job_state, 2, 2, next=2)
        return sizes.runs / elapsed * 1e9

    with flows.ring(2, 4, calls) as flow, ThreadPoolExecutor(4) as pool:
        yield Pair(ours, lambda: floors.one_task_per_run(pool, sizes.runs))


@contextmanager
def sleepers(sizes: Sizes) -> Iterator[Pair]:
    """Handlers that only sleep, against what the arithmetic says."""
    calls = flows.Calls()

    def handler(v: int) -> None:
        sleep(sizes.sleep_seconds)
        calls.add()

    def ours() -> float:
        began = perf_counter_ns()
        job_state = flows.run_fan_out(flow, sizes.sleepers)
        elapsed = perf_counter_ns() - began
        flows.recorded(job_state, calls.total(), sizes.sleepers, out=sizes.sleepers)
        return elapsed / 1e6

    rounds = -(-sizes.sleepers // sizes.sleeping_workers)
    with flows.fan_out(sizes.sleeping_workers, handler) as flow:
        yield Pair(ours, lambda: rounds * sizes.sleep_seconds * 1e3)


@contextmanager
def awaiting(sizes: Sizes) -> Iterator[Pair]:
    """Handlers that await together, against what one of them takes."""
    calls = flows.Calls()

    async def handler(v: int) -> None:
        await asyncio.sleep(sizes.await_seconds)
        calls.add()

    def ours() -> float:
        began = perf_counter_ns()
        job_state = flows.run_fan_out(flow, sizes.awaiting)
        elapsed = perf_counter_ns() - began
        flows.recorded(job_state, calls.total(), sizes.awaiting, out=sizes.awaiting)
        return elapsed / 1e6

    with flows.fan_out(2, handler) as flow:
        yield Pair(ours, lambda: sizes.await_seconds * 1e3)


# -- a run beside another


@contextmanager
def beside(sizes: Sizes, is_slow: bool = False) -> Iterator[Pair]:
    """A run of three tasks that do nothing, while another run of its flow has a long queue; against it alone."""
    calls = flows.Calls()

    may_go = Event()

    def handler(v: int) -> None:
        if v == 0:
            may_go.wait()  # until everything is queued
        if is_slow:
            sleep(sizes.slow_handler_seconds)

    def short_ms() -> float:
        elapsed = _timed_ms(lambda: flows.run_ring(flow, 2))
        expect("handlers called", calls.total(), 2)
        return elapsed

    def ours() -> float:
        may_go.clear()
        wide = flow.execute("source", {"count": sizes.queued})
        may_go.set()
        times = [short_ms() for _ in range(5)]
        expect("status of the other run meanwhile", wide.status, "running")
        flow.cancel(wide)
        JobState.wait_for_completion(flow, wide)
        return median(times)

    with flows.side_by_side(calls, handler) as flow:
        yield Pair(ours, lambda: median(short_ms() for _ in range(5)))


@contextmanager
def beside_awaiting(sizes: Sizes) -> Iterator[Pair]:
    """A countdown of plain handlers, while async ones of another flow await; against it alone."""
    calls = flows.Calls()
    begun = Semaphore(0)

    async def waits(v: int) -> None:
        begun.release()
        await asyncio.Event().wait()

    def ours() -> float:
        others = awaiting.execute("source", {"count": sizes.awaiting})
        for _ in range(sizes.awaiting):
            begun.acquire()
        found = hop_us(flow, calls, sizes.hops)
        expect("handlers that await meanwhile", len(awaiting._active_tasks), sizes.awaiting)
        awaiting.cancel(others)
        JobState.wait_for_completion(awaiting, others)
        return found

    with flows.ring(1, 1, calls) as flow, flows.fan_out(2, waits) as awaiting:
        yield Pair(ours, lambda: hop_us(flow, calls, sizes.hops))


# -- saved runs


@contextmanager
def saving(sizes: Sizes) -> Iterator[Pair]:
    """A run to JSON text, against plain dicts to the same text."""
    with _recorded(sizes.records) as job_state:
        plain = job_state.serialize()
        expect("records", len(plain["execution_history"]), sizes.records // 3 * 3 + 2)

        def ours() -> float:
            found: list[str] = []
            elapsed = _timed_ms(lambda: found.append(json.dumps(job_state.serialize())))
            expect("text", json.loads(found[0]) == plain, True)
            return elapsed

        yield Pair(ours, lambda: _timed_ms(lambda: json.dumps(floors.copied(plain))))


@contextmanager
def loading(sizes: Sizes) -> Iterator[Pair]:
    """A run out of JSON text, against plain dicts out of it."""
    with _recorded(sizes.records) as job_state:
        saved = job_state.serialize()
    text = json.dumps(saved)

    def ours() -> float:
        loaded = JobState()
        elapsed = _timed_ms(lambda: loaded.deserialize(json.loads(text)))
        expect("what was loaded", loaded.serialize() == saved, True)
        return elapsed

    yield Pair(ours, lambda: _timed_ms(lambda: json.loads(text)))


@contextmanager
def _recorded(records: int) -> Iterator[JobState]:
    calls = flows.Calls()
    with flows.fan_out(1, lambda v: calls.add()) as flow:
        yield flows.run_fan_out(flow, records // 3)


def _timed_ms(work: Callable[[], object]) -> float:
    began = perf_counter_ns()
    work()
    return (perf_counter_ns() - began) / 1e6


# -- bytes, stops and start


@contextmanager
def stops(sizes: Sizes) -> Iterator[Pair]:
    """A full collection of the garbage collector beside the records of a run, against one beside their payloads."""

    def ours() -> float:
        with _recorded(sizes.many_records) as job_state:
            elapsed = _timed_ms(gc.collect)
            expect("status of the run", job_state.status, "completed")
        return elapsed

    def floor() -> float:
        kept = floors.payloads(sizes.many_records // 3)
        elapsed = _timed_ms(gc.collect)
        expect("payloads", len(kept), sizes.many_records // 3)
        return elapsed

    yield Pair(ours, floor)


@contextmanager
def memory(sizes: Sizes) -> Iterator[Pair]:
    """What stays of a message when its run is over."""
    yield Pair(lambda: retained_by_messages(sizes.messages), lambda: retained_by_payloads(sizes.messages))


@contextmanager
def importing(sizes: Sizes) -> Iterator[Pair]:
    """A process that imports the package and ends, against one that imports its only dependency."""
    yield Pair(lambda: import_seconds("routilux") * 1e3, lambda: import_seconds("serilux") * 1e3)


def _case(
    name: str, unit: str, floor_name: str, open_pair: Callable[[Sizes], AbstractContextManager[Pair]], *targets: Target
) -> Case:
    return Case(name, unit, floor_name, targets, open_pair)


RESUBMIT = "executor, resubmitting"
SUBMIT = "executor.submit each"
RESULT = "submit().result()"

CASES = (
    _case("chain-1", "us/hop", RESUBMIT, partial(chain, workers=1), Target(2), Target(0.6)),
    _case("chain-4", "us/hop", RESUBMIT, partial(chain, workers=4), Target(2), Target(0.8)),
    _case("async-chain", "us/hop", "create_task, recreating", async_chain, Target(1.3)),
    _case("ring-grown", "us/hop", "a tenth of the hops", longer_ring, Target(1.2)),
    _case("routines-grown", "us/hop", "a tenth of them", more_routines, Target(1.4)),
    _case("fan-out-1", "us/message", SUBMIT, partial(fan_out, workers=1), Target(0.35)),
    _case("fan-out-4", "us/message", SUBMIT, partial(fan_out, workers=4), Target(0.7)),
    _case("wide-fan-out-1", "us/message", SUBMIT, partial(fan_out, workers=1, is_wide=True), Target(0.35)),
    _case("wide-fan-out-4", "us/message", SUBMIT, partial(fan_out, workers=4, is_wide=True), Target(0.7)),
    _case("fan-out-grown-1", "us/message", "a tenth of them", partial(wider_fan_out, workers=1), Target(1.3)),
    _case("fan-out-grown-4", "us/message", "a tenth of them", partial(wider_fan_out, workers=4), Target(1.3)),
    _case("trivial-run", "us", RESULT, trivial_run, Target(1 * MS, of_ratio=False), Target(3)),
    _case("pooled-run", "us", RESULT, pooled_run, Target(1 * MS, of_ratio=False), Target(3)),
    _case("waking", "us", RESULT, waking, Target(0.1 * MS, of_ratio=False)),
    _case("many-runs", "runs/s", "one task per run", many_runs, Target(0.3, at_least=True)),
    _case("sleepers", "ms", "ideal", sleepers, Target(1.02)),
    _case("awaiting", "ms", "ideal", awaiting, Target(1000, of_ratio=False)),
    _case("beside-wide", "ms", "alone", beside, Target(5, of_ratio=False)),
    _case("beside-slow", "ms", "alone", partial(beside, is_slow=True), Target(20 + 5, of_ratio=False)),
    _case("beside-awaiting", "us/hop", "alone", beside_awaiting, Target(1.2)),
    _case("saving", "ms", "plain dicts, copied", saving, Target(2)),
    _case("loading", "ms", "plain dicts", loading, Target(2)),
    _case("stops", "ms", "payloads alone", stops, Target(100, of_ratio=False)),
    _case("memory", "bytes/message", "the payload alone", memory, Target(600, of_ratio=False)),
    _case("durable-group", "us/step more", "in memory", durable.group_level, Target(15, of_ratio=False)),
    _case("durable-sync", "us/step", "sqlite3, a commit each", durable.sync_level, Target(1.5)),
    _case("durable-bytes", "bytes", "the payloads alone", durable.bytes_on_disk, Target(900_000, of_ratio=False)),
    _case("durable-grown", "bytes/step", "a hundredth of them", durable.growing_bytes, Target(1.1)),
    _case("import", "ms", "import serilux", importing, Target(2)),
)
