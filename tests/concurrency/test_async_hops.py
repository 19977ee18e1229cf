"""From one async handler to the next on the loop's thread: who has the token, which task, whose context."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from routilux import Flow, Routine
from routilux.context import current_activation
from routilux.executors import coroutines
from routilux.flow import TaskPriority
from routilux.flow.loop_turn import LoopTurn
from routilux.flow.run import Run
from routilux.flow.workers import Workers
from tests.drawings import DEADLINE, collector, draw, items, names, node, passed, source, wait

Handler = Callable[[Routine, dict[str, Any]], Any]

STRATEGIES = pytest.mark.parametrize("strategy", ["sequential", "concurrent"])


class Awaits(Routine):
    """A routine whose one slot has an async handler `handle(routine, data)`."""

    def __init__(self, handle: Handler) -> None:
        super().__init__()
        self.define_event("output")
        self.define_slot("input", handler=self.handler)
        self.handle = handle

    async def handler(self, **data: Any) -> None:
        await self.handle(self, data)


async def relay(routine: Routine, data: dict[str, Any]) -> None:
    routine.emit("output", **data)


def counts_down(before: Callable[[int], Any] = lambda n: None) -> Handler:
    """A handler of a ring: calls `before(n)`, awaits what that returns, and emits n - 1 until that is 0."""

    async def handle(routine: Routine, data: dict[str, Any]) -> None:
        n = data["item"]
        awaited = before(n)
        if awaited is not None:
            await awaited
        if n > 1:
            routine.emit("output", item=n - 1)

    return handle


def ring(strategy: str, hops: int, *steps: Handler, name: str = "ring") -> Flow:
    """A countdown from `hops` around routines with these handlers."""
    flow = Flow(name, execution_strategy=strategy, max_workers=4)
    parts = {f"s{number}": Awaits(step) for number, step in enumerate(steps)}
    draw(" -> ".join(["a", *parts, "s0"]), flow=flow, a=source(hops), **parts)
    return flow


def this_run() -> Run:
    """In a handler: the live side of its run."""
    activation = current_activation.get()
    assert activation is not None
    assert isinstance(activation.run, Run)
    return activation.run


@pytest.fixture
def workers_tokens(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs of which a worker was given a token, one entry for each."""
    found: list[Run] = []

    def hand_out(workers: Any, run: Any, tokens: int = 1) -> None:
        found.extend([run] * tokens)
        real(workers, run, tokens)

    real = Workers.hand_out
    monkeypatch.setattr(Workers, "hand_out", hand_out)
    return found


# -- the token


@STRATEGIES
@pytest.mark.parametrize("awaited", [False, True])
def test_a_run_of_async_handlers_needs_a_worker_only_to_begin(strategy, awaited, workers_tokens):
    def before(n: int) -> Any:
        runs.add(this_run())
        return asyncio.sleep(0) if awaited else None

    runs: set[Run] = set()
    with ring(strategy, 200, counts_down(before), counts_down(before)) as flow:
        job_state = flow.run("a")
    assert names(job_state, "s0").count("completed") == names(job_state, "s1").count("completed") == 100
    assert len(workers_tokens) <= 2
    assert [run.tokens for run in runs] == [0]


@STRATEGIES
def test_a_token_goes_to_and_fro_between_the_loop_and_the_workers_and_comes_back(strategy):
    threads: dict[str, set[str]] = {"async": set(), "plain": set()}
    runs: set[Run] = set()
    at_work = [0]

    async def awaits(routine: Routine, data: dict[str, Any]) -> None:
        runs.add(this_run())
        at_work[0] += 1
        assert strategy == "concurrent" or at_work == [1]
        threads["async"].add(threading.current_thread().name)
        if data["item"] % 3 == 0:
            await asyncio.sleep(0)
        at_work[0] -= 1
        routine.emit("output", **data)

    def plain(routine: Routine, data: dict[str, Any]) -> None:
        threads["plain"].add(threading.current_thread().name)
        assert strategy == "concurrent" or at_work == [0]
        if data["item"] > 1:
            routine.emit("output", item=data["item"] - 1)

    with draw("a -> b -> c -> b", a=source(40, 40), b=Awaits(awaits), c=node(plain)) as flow:
        flow.set_execution_strategy(strategy, 3)
        assert names(flow.run("a"), "c").count("completed") == 80
    assert not threads["async"] & threads["plain"]
    assert [(run.tokens, run.outstanding) for run in runs] == [(0, 0)]


def test_a_plain_handler_begins_while_the_async_one_that_emitted_goes_on():
    began = threading.Event()

    async def emits(routine: Routine, data: dict[str, Any]) -> None:
        routine.emit("output")
        assert began.wait(DEADLINE)  # without an await: the loop's thread must not be needed

    parts: dict[str, Any] = {"b": Awaits(emits), "d": Awaits(relay), "c": node(lambda routine, data: began.set())}
    with draw("a -> b -> d", "b -> c", a=source(1), **parts) as flow:
        flow.set_execution_strategy("concurrent", 2)
        assert flow.run("a").errors == []


def test_a_plain_handler_that_comes_to_the_front_when_the_loop_has_the_token_runs_on_a_worker(monkeypatch):
    emitters: list[Any] = []
    threads: list[str] = []

    def take_on_loop(run: Run, turn: Any) -> Any:
        while emitters:
            thread = threading.Thread(target=emitters.pop())
            thread.start()
            thread.join(DEADLINE)
        return real(run, turn)

    real = Run.take_on_loop
    monkeypatch.setattr(Run, "take_on_loop", take_on_loop)

    async def emits(routine: Routine, data: dict[str, Any]) -> None:
        context = contextvars.copy_context()
        emitters.append(lambda: context.run(routine.emit_later, "urgent", priority=TaskPriority.HIGH))
        routine.emit("output", **data)

    def plain(routine: Routine, data: dict[str, Any]) -> None:
        threads.append(threading.current_thread().name)

    emitting = Awaits(emits)
    emitting.define_event("urgent")
    parts: dict[str, Any] = {"b": emitting, "c": Awaits(relay), "d": node(plain)}
    with draw("a -> b -> c -> d", "b.urgent -> d", a=source(1), **parts) as flow:
        flow.set_execution_strategy("concurrent", 1)
        assert flow.run("a").errors == []
    assert (len(threads), emitters) == (2, [])
    assert "routilux-coroutines" not in threads


@STRATEGIES
def test_a_run_that_is_paused_when_the_loop_has_its_token_gives_it_back(strategy, monkeypatch):
    stops: list[bool] = []

    def take_on_loop(run: Run, turn: Any) -> Any:
        if run.event_count > 3 and not stops:
            stops.append(True)
            pausing = threading.Thread(target=flow.pause, args=(run.job_state,))
            pausing.start()
            pausing.join(DEADLINE)
        return real(run, turn)

    real = Run.take_on_loop
    monkeypatch.setattr(Run, "take_on_loop", take_on_loop)
    runs: set[Run] = set()
    with ring(strategy, 300, counts_down(lambda n: runs.add(this_run()))) as flow:
        job_state = flow.execute("a")
        wait(flow, job_state)
        assert (job_state.status, len(job_state.pending_tasks)) == ("paused", 1)
        wait(flow, flow.resume(job_state))
        assert (job_state.status, names(job_state, "s0").count("completed")) == ("completed", 300)
    assert [run.tokens for run in runs] == [0]


@STRATEGIES
def test_an_engine_that_fails_on_the_loops_thread_fails_the_run_and_no_other(strategy, monkeypatch):
    def settle(run: Run, task: Any, turn: Any) -> Any:
        if isinstance(turn, LoopTurn) and run.job_state.job_id == "broken":
            raise RuntimeError("the engine's own")
        return real(run, task, turn)

    real = Run.settle
    monkeypatch.setattr(Run, "settle", settle)
    runs: set[Run] = set()
    with ring(strategy, 3, counts_down(lambda n: runs.add(this_run()))) as flow:
        broken = wait(flow, flow.execute("a", job_id="broken"))
        assert broken.status == "failed"
        assert flow.run("a").status == "completed"
    assert {run.tokens for run in runs} == {0}


# -- turns


@STRATEGIES
@pytest.mark.parametrize("awaited", [False, True])
def test_a_ring_that_never_rests_lets_timers_and_other_runs_have_their_turn(strategy, awaited):
    stop = threading.Event()

    async def for_ever(routine: Routine, data: dict[str, Any]) -> None:
        if awaited:
            await asyncio.sleep(0)
        if not stop.is_set():
            routine.emit("output", item=1)

    async def short(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0.001)
        routine.emit("output", **data)

    got: list[Any] = []
    parts: dict[str, Any] = {"b": Awaits(for_ever), "d": Awaits(short), "e": Awaits(relay), "f": collector(got)}
    with draw("a -> b -> b", "c -> d -> e -> f", a=source(1), c=source(5), **parts) as flow:
        flow.set_execution_strategy(strategy, 2)
        busy = flow.execute("a")
        try:
            wait(flow, flow.execute("c"))
        finally:
            stop.set()
        assert (wait(flow, busy).status, items(got)) == ("completed", [5])


def test_a_cancelled_ring_that_never_rests_ends():
    began = threading.Event()

    async def for_ever(routine: Routine, data: dict[str, Any]) -> None:
        began.set()
        routine.emit("output", item=1)

    with draw("a -> b -> b", a=source(1), b=Awaits(for_ever)) as flow:
        job_state = flow.execute("a")
        passed(began)
        flow.cancel(job_state)
        assert wait(flow, job_state).status == "cancelled"
        assert flow._engine.loop.live_count() == 0  # noqa: SLF001 - nothing of it may be left


# -- cancellations


@STRATEGIES
def test_a_cancellation_between_two_handlers_reaches_neither_and_no_handler_of_another_run(strategy, monkeypatch):
    begun: list[str] = []
    seen: list[str] = []

    def settle(run: Run, task: Any, turn: Any) -> Any:
        if task.port.node.id == "s0" and run.job_state.job_id == "stopped":
            cancelling = threading.Thread(target=flow.cancel, args=(run.job_state,))
            cancelling.start()
            cancelling.join(DEADLINE)
        return real(run, task, turn)

    real = Run.settle
    monkeypatch.setattr(Run, "settle", settle)

    async def second(routine: Routine, data: dict[str, Any]) -> None:
        begun.append(this_run().job_id)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append(this_run().job_id)
            raise

    with ring(strategy, 2, counts_down(), second) as flow:
        stopped = wait(flow, flow.execute("a", job_id="stopped"))
        assert (stopped.status, names(stopped, "s1")) == ("cancelled", [])
        other = wait(flow, flow.execute("a", job_id="other"))
    assert (other.status, begun, seen) == ("completed", ["other"], [])


@STRATEGIES
@pytest.mark.parametrize("first", ["awaits", "cancels itself"])
def test_a_cancellation_between_two_tasks_of_the_loop_keeps_the_next_handler_from_beginning(
    first, strategy, monkeypatch
):
    begun: list[str] = []

    def go_on(turn: LoopTurn, *args: Any) -> Any:
        if turn.run.job_id == "stopped" and turn.run.event_count >= 2:
            cancelling = threading.Thread(target=flow.cancel, args=(turn.run.job_state,))
            cancelling.start()
            cancelling.join(DEADLINE)
        return real(turn, *args)

    real = LoopTurn.go_on
    monkeypatch.setattr(LoopTurn, "go_on", go_on)

    def first_step(n: int) -> Any:
        task = asyncio.current_task()
        assert task is not None
        return asyncio.sleep(0) if first == "awaits" else (task.cancel(), None)[1]

    async def second(routine: Routine, data: dict[str, Any]) -> None:
        begun.append(this_run().job_id)
        if this_run().job_id == "stopped":
            await asyncio.Event().wait()

    with ring(strategy, 2, counts_down(first_step), second) as flow:
        assert flow.run("a").status == "completed"  # the loop is there from now on
        begun.clear()
        stopped = wait(flow, flow.execute("a", job_id="stopped"))
        assert (stopped.status, names(stopped, "s1"), begun) == ("cancelled", [], [])


@STRATEGIES
def test_a_cancellation_during_a_first_step_is_seen_where_the_handler_awaits(strategy):
    in_step, cancelled = threading.Event(), threading.Event()
    seen: list[str] = []

    async def second(routine: Routine, data: dict[str, Any]) -> None:
        in_step.set()
        passed(cancelled)
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    with ring(strategy, 2, counts_down(), second) as flow:
        job_state = flow.execute("a")
        passed(in_step)
        flow.cancel(job_state)
        cancelled.set()
        wait(flow, job_state)
    assert (job_state.status, names(job_state, "s1"), seen) == ("cancelled", ["start", "cancelled"], ["ended"])


@STRATEGIES
@pytest.mark.parametrize("awaited", [False, True])
def test_a_handler_that_cancels_its_own_task_and_leaves_it_so_cancels_no_other(strategy, awaited):
    seen: list[int] = []

    def cancels_itself(n: int) -> Any:
        task = asyncio.current_task()
        assert task is not None
        if awaited:
            return cancel_and_swallow(task)
        task.cancel()
        return None

    async def cancel_and_swallow(task: Any) -> None:
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append(-1)

    def awaits(n: int) -> Any:
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.cancelling())
        return asyncio.sleep(0)

    with ring(strategy, 8, counts_down(cancels_itself), counts_down(awaits)) as flow:
        job_state = flow.run("a")
    assert (job_state.status, job_state.errors) == ("completed", [])
    assert seen == [-1, 0] * 4 if awaited else [0] * 4


@STRATEGIES
def test_a_task_that_a_handler_has_awaited_in_is_never_that_of_another(strategy):
    tasks: list[Any] = []

    def awaits(n: int) -> Any:
        tasks.append(asyncio.current_task())
        return asyncio.sleep(0)

    with ring(strategy, 10, counts_down(awaits)) as flow:
        assert flow.run("a").status == "completed"
    assert len(set(tasks)) == 10


def test_a_handler_that_cancels_all_tasks_of_the_loop_does_not_make_it_stand_still(monkeypatch):
    monkeypatch.setattr(coroutines, "IDLE_SECONDS", 0.02)

    async def cancels_all(routine: Routine, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        routine.emit("output", **data)  # calls a driver, which has not begun
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    got: list[Any] = []
    with draw("a -> b -> c -> d", a=source(1), b=Awaits(cancels_all), c=Awaits(relay), d=collector(got)) as flow:
        flow.set_execution_strategy("concurrent", 2)
        assert flow.run("a").status == "completed"
    assert items(got) == [1]


# -- contexts


@STRATEGIES
@pytest.mark.parametrize("awaited", [False, True])
def test_a_variable_that_a_handler_sets_is_its_own(strategy, awaited):
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    seen: list[Any] = []

    async def sets(routine: Routine, data: dict[str, Any]) -> None:
        before = variable.get()
        variable.set(data["item"])
        if awaited:
            await asyncio.sleep(0)
        child = await asyncio.create_task(asyncio.sleep(0, variable.get())) if awaited else data["item"]
        seen.append((before, variable.get() - data["item"], child - data["item"]))
        if data["item"] > 1:
            routine.emit("output", item=data["item"] - 1)

    with ring(strategy, 10, sets, sets) as flow:
        assert flow.run("a").errors == []
    assert seen == [(0, 0, 0)] * 10


# -- limits


@STRATEGIES
def test_max_concurrency_holds_where_the_loop_begins_the_handlers(strategy):
    at_work, most = [0], [0]

    async def count(routine: Routine, data: dict[str, Any]) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        for _ in range(data["item"] % 3 * 5):
            await asyncio.sleep(0)
        at_work[0] -= 1

    async def spread(routine: Routine, data: dict[str, Any]) -> None:
        for number in range(20):
            routine.emit("output", item=number)

    limited = Awaits(count)
    limited.set_limits(max_concurrency=2)
    with draw("a -> b -> c", a=source(1), b=Awaits(spread), c=limited) as flow:
        flow.set_execution_strategy(strategy, 8)
        assert names(flow.run("a"), "c").count("completed") == 20
    assert most == [2 if strategy == "concurrent" else 1]


@STRATEGIES
def test_attempt_timeout_holds_where_the_loop_begins_the_handlers(strategy):
    limited = Awaits(counts_down(lambda n: asyncio.sleep(DEADLINE)))
    limited.set_limits(attempt_timeout=0.01)
    with draw("a -> b -> c", a=source(1), b=Awaits(relay), c=limited) as flow:
        flow.set_execution_strategy(strategy)
        job_state = flow.run("a")
    assert [record.data["error_type"] for record in job_state.errors] == ["AttemptTimeoutError"]


# -- the end of the loop


@STRATEGIES
def test_a_loop_that_is_told_to_end_in_the_middle_of_a_turn_finishes_what_it_has_and_ends(strategy, monkeypatch):
    monkeypatch.setattr(coroutines, "IDLE_SECONDS", 1000.0)
    threads: list[threading.Thread] = []

    def close(n: int) -> Any:
        if n == 900:
            threads.append(threading.current_thread())
            closing = threading.Thread(target=flow._engine.handover.close, args=(False,))  # noqa: SLF001 - as a shutdown
            closing.start()
            closing.join(DEADLINE)
        return asyncio.sleep(0) if n % 50 == 0 else None

    with ring(strategy, 1000, counts_down(close)) as flow:
        job_state = flow.run("a")
        assert names(job_state, "s0").count("completed") == 1000
        threads[0].join(DEADLINE)
        assert not threads[0].is_alive()
        assert flow.run("a").status == "completed"
    assert len(set(threads)) == 2
