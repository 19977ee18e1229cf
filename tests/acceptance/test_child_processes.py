"""The end of the interpreter, and fork: told by processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import os, sys, threading
from routilux import ErrorHandler, Flow, JobState, Routine
from tests.drawings import Gate, collector, draw, entry, node, relay, source, wait
"""


def in_child(program: str, timeout: float = 40.0) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PRELUDE + program],
        check=False, capture_output=True, text=True, timeout=timeout, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_queued_tasks_drain_at_the_end_of_the_interpreter():
    program = """
gate = Gate()
def late(routine, data):
    gate.hold()
    print(data["item"], flush=True)
    routine.emit("output", item=data["item"] + 10)
def show(routine, data):
    print(data["item"], flush=True)
flow = draw("a -> b -> c", a=source(1, 2, 3), b=node(late), c=node(show))
flow.execute("a")
gate.await_arrival()
gate.open()
"""
    assert sorted(map(int, in_child(program).split())) == [1, 2, 3, 11, 12, 13]


def test_a_flow_that_was_dropped_still_drains():
    program = """
draw("a -> b", a=source(*range(100)), b=node(lambda routine, data: print(data["item"]))).execute("a")
"""
    assert list(map(int, in_child(program).split())) == list(range(100))


def test_timers_do_not_keep_the_interpreter_from_ending():
    program = """
def later(routine, data):
    routine.emit_later("output", delay=3600)
flow = draw("a -> b", a=entry(later), b=node(lambda routine, data: print("never")))
flow.execute("a")
retried = node(lambda routine, data: 1 / 0)
retried.set_as_critical(retry_delay=3600)
other = draw("a -> b", a=source(1), b=retried)
other.execute("a", timeout=None)
print("end of the program")
"""
    assert in_child(program) == "end of the program\n"


def test_a_flow_that_has_ended_without_shutdown_lets_the_interpreter_end():
    program = """
flow = draw("a -> b", a=source(1), b=collector([]))
print(flow.run("a").status)
"""
    assert in_child(program) == "completed\n"


def test_queued_tasks_are_done_when_the_applications_own_exit_functions_run():
    program = """
import atexit
seen = []
flow = draw("a -> b", a=source(*range(500)), b=node(lambda routine, data: seen.append(data)))
state = flow.execute("a")
def report():
    print(len(seen), state.status)
atexit.register(report)
"""
    assert in_child(program) == "500 completed\n"


@pytest.mark.parametrize("strategy", ["sequential", "concurrent"])
def test_what_is_queued_for_async_handlers_is_done_when_the_program_ends(strategy):
    program = f"""
import asyncio
import atexit
from routilux.functions import routine
seen = []

@routine
async def first(item):
    await asyncio.sleep(0.01)
    return item

@routine
def second(item):
    return item

@routine
async def third(item):
    await asyncio.sleep(0)
    seen.append(item)

flow = draw("a", a=source(*range(20)), flow=Flow(execution_strategy={strategy!r}))
flow.chain("a", first, second, third)
state = flow.execute("a")
atexit.register(lambda: print(len(seen), state.status))
"""
    assert in_child(program) == "20 completed\n"


def test_an_entry_on_a_daemon_thread_lets_the_program_end_also_beside_async_handlers():
    program = """
from routilux.functions import routine
arrived = threading.Event()

@routine
async def first(item): ...

flow = draw("a", a=entry(lambda routine, data: (arrived.set(), threading.Event().wait())))
flow.add_routine(first)
threading.Thread(target=flow.execute, args=("a",), kwargs={"timeout": None}, daemon=True).start()
arrived.wait()
print("end of the program")
"""
    assert in_child(program) == "end of the program\n"


def test_an_async_handler_that_waits_for_an_input_or_a_delay_lets_the_program_end():
    program = """
class Asks(Routine):
    def __init__(self):
        super().__init__()
        self.define_event("later")
        self.define_slot("trigger", self.ask)
        self.define_slot("answered", self.ask)

    async def ask(self):
        self.request_input("name", slot="answered")
        self.emit_later("later", delay=3600)

flow = Flow()
flow.add_routine(Asks(), "asks")
flow.connect("asks", "later", "asks", "answered")
flow.execute("asks", timeout=None)
print("end of the program")
"""
    assert in_child(program) == "end of the program\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_makes_a_pool_of_its_own():
    program = """
flow = draw("a -> b", a=source(1, 2), b=collector([]), flow=Flow(execution_strategy="concurrent"))
assert flow.run("a").status == "completed"
child = os.fork()
if not child:
    try:
        job_state = flow.run("a")
        assert job_state.status == "completed", job_state
        assert len(job_state.get_execution_history("b")) == 4
        with flow:
            assert flow.run("a").status == "completed"
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
assert flow.run("a").status == "completed"
flow.shutdown()
print("both")
"""
    assert in_child(program) == "both\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_owns_no_live_run_of_its_parent():
    program = """
seen = []
gate = Gate()
flow = draw("a -> b -> c", a=source(1, 2), b=node(gate.act), c=collector(seen))
job_state = flow.execute("a")
gate.await_arrival()
child = os.fork()
if not child:
    try:
        assert not flow._running
        assert flow._task_queue.empty()
        assert not list(flow._active_tasks)
        gate.may_go = threading.Event()
        gate.open()
        mine = flow.run("a")
        assert mine.status == "completed"
        assert len(seen) == 2, seen
        list(job_state.routine_states), job_state.execution_history, repr(job_state)
        flow.shutdown()
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
gate.open()
wait(flow, job_state)
flow.shutdown()
print(job_state.status, len(seen))
"""
    assert in_child(program) == "completed 2\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_in_the_middle_of_busy_runs_does_not_hang_the_child():
    program = """
def act(routine, data):
    if data["item"]:
        routine.emit("output", item=data["item"] - 1)
flow = draw("a -> b -> b", a=source(*[300] * 4), b=node(act), flow=Flow(execution_strategy="concurrent"))
for _ in range(10):
    states = [flow.execute("a") for _ in range(3)]
    child = os.fork()
    if not child:
        try:
            small = draw("a -> b", a=source(1), b=collector([]))
            ok = small.run("a").status == "completed" and flow.run("a").status == "completed"
            os._exit(0 if ok else 1)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    for state in states:
        wait(flow, state)
    assert os.waitpid(child, 0)[1] == 0
flow.shutdown()
print("done")
"""
    assert in_child(program) == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no signals as POSIX has them")
@pytest.mark.parametrize("step", ["open", "fsync", "chmod"])
def test_a_signal_handler_saves_what_its_thread_is_just_saving(tmp_path, step):
    program = f"""
import signal
path, step = {str(tmp_path / "state.json")!r}, {step!r}
state = JobState("f")
state.save(path)
real = getattr(os, step)
def interrupted(*args, **options):
    setattr(os, step, real)
    signal.raise_signal(signal.SIGTERM)
    return real(*args, **options)
def handler(number, frame):
    state.status = "completed"
    state.save(path)
    print("saved", JobState.load(path).status)
signal.signal(signal.SIGTERM, handler)
setattr(os, step, interrupted)
state.save(path)
print("then", JobState.load(path).status, os.listdir(os.path.dirname(path)))
"""
    assert in_child(program, 10.0) == "saved completed\nthen completed ['state.json']\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_is_forked_while_another_thread_saves_can_save(tmp_path):
    program = f"""
path, other = {str(tmp_path / "state.json")!r}, {str(tmp_path / "child.json")!r}
state, inside, may_go, real = JobState("f"), threading.Event(), threading.Event(), os.fsync
def slowly(handle):
    inside.set()
    may_go.wait(20)
    return real(handle)
os.fsync = slowly
thread = threading.Thread(target=state.save, args=(path,))
thread.start()
inside.wait(20)
child = os.fork()
if not child:
    os.fsync = real
    saving = threading.Thread(target=state.save, args=(other,), daemon=True)
    saving.start()
    saving.join(5)
    os._exit(saving.is_alive())
may_go.set()
thread.join()
print(os.waitpid(child, 0)[1], JobState.load(path).job_id == JobState.load(other).job_id == state.job_id)
"""
    assert in_child(program, 20.0) == "0 True\n"
