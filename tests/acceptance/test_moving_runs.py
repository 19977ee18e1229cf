"""Runs that begin in one process and end in another: nothing is lost on the way, and nothing happens twice."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from routilux import Flow, JobState, Routine
from routilux.job_state import register_serializable
from routilux.testing import FakeClock, ManualExecutor
from tests.drawings import DEADLINE, own_context, own_run, wait
from tests.moving import at_instants, draw_moving, finish, result

EVENTS = 2000


def in_child(program: str, *arguments: Any, timeout: float = 50.0) -> str:
    """Run a program in a process of its own; it finds this module as `here`."""
    prelude = (
        "import json, sys\nfrom routilux import Flow, JobState\nimport tests.acceptance.test_moving_runs as here\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", prelude + program, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def leave(flow: Flow, job_state: JobState, folder: Path) -> None:
    """Save a flow and a run for the next process."""
    (folder / "flow.json").write_text(json.dumps(flow.serialize()), encoding="ascii")
    job_state.save(folder / "run.json")


def find(folder: str | Path) -> tuple[Flow, JobState]:
    """What an earlier process has left."""
    flow = Flow()
    flow.deserialize(json.loads((Path(folder) / "flow.json").read_text(encoding="ascii")))
    return flow, JobState.load(Path(folder) / "run.json")


# -- two thousand events on their way


@register_serializable
class ManyEvents(Routine):
    """Emits them all."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.emit_all)
        self.define_event("output")

    def emit_all(self, count: int) -> None:
        for item in range(count):
            self.emit("output", item=item)


@register_serializable
class Hop(Routine):
    """Passes on what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.pass_on)
        self.define_event("output")

    def pass_on(self, item: int) -> None:
        self.emit("output", item=item)


@register_serializable
class Arrivals(Routine):
    """Writes down each delivery, one line for each."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.note)

    def note(self, item: int) -> None:
        own_run(self).append_to_shared_log({"item": item})


def draw_many() -> Flow:
    flow = Flow("many", "concurrent", 4)
    flow.add_routine(ManyEvents(), "many")
    flow.add_routine(Hop(), "hop")
    flow.add_routine(Arrivals(), "arrivals")
    flow.connect("many", "output", "hop", "input")
    flow.connect("hop", "output", "arrivals", "input")
    return flow


def pause_after(flow: Flow, job_state: JobState, arrived: int) -> None:
    """Pause a run as soon as so many events have arrived; it has more to do."""
    JobState.wait_until_condition(flow, job_state, lambda *_: len(job_state.shared_log) >= arrived, DEADLINE, 0.001)
    flow.pause(job_state, reason="to be moved")


def move_on(folder: str, arrived: int | None) -> str:
    """In a child: resume, and pause again after so many arrivals, or come to the end; JSON of what it was and is."""
    flow, job_state = find(folder)
    kept = len(job_state.pending_tasks) + len(job_state.shared_log)
    assert flow.resume(job_state) is job_state
    if arrived is None:
        wait(flow, job_state)
    else:
        pause_after(flow, job_state, arrived)
    leave(flow, job_state, Path(folder))
    flow.shutdown()
    return json.dumps({"kept": kept, "status": job_state.status})


def test_two_thousand_events_in_flight_are_each_delivered_once_in_whatever_process(tmp_path: Path) -> None:
    flow = draw_many()
    job_state = JobState(flow.flow_id)
    flow.execute("many", {"count": EVENTS}, job_state=job_state)
    pause_after(flow, job_state, 200)
    assert job_state.status == "paused"
    assert len(job_state.pending_tasks) + len(job_state.shared_log) == EVENTS
    leave(flow, job_state, tmp_path)
    flow.shutdown()

    second = json.loads(in_child("print(here.move_on(sys.argv[1], 1000))", tmp_path))
    assert second == {"kept": EVENTS, "status": "paused"}
    third = json.loads(in_child("print(here.move_on(sys.argv[1], None))", tmp_path))
    assert third == {"kept": EVENTS, "status": "completed"}

    moved = JobState.load(tmp_path / "run.json")
    assert (moved.job_id, moved.status, moved.pending_tasks) == (job_state.job_id, "completed", [])
    assert Counter(entry["item"] for entry in moved.shared_log) == Counter(range(EVENTS))
    told = Counter(f"{record.routine_id} {record.event_name}" for record in moved.execution_history)
    assert told["many output"] == told["hop output"] == told["hop completed"] == told["arrivals completed"] == EVENTS


def test_two_thousand_events_that_wait_when_the_entry_is_over_are_moved_too(tmp_path: Path) -> None:
    flow = draw_many()
    job_state = JobState(flow.flow_id)
    # A sequential run's tasks start when its entry handler has returned; with no thread to run them, all of them wait.
    stepped = Flow("many", executor=ManualExecutor(), clock=FakeClock())
    stepped.deserialize({**flow.serialize(), "execution_strategy": "sequential"})
    stepped.execute("many", {"count": EVENTS}, job_state=job_state)
    assert len(job_state.serialize()["pending_tasks"]) == EVENTS
    leave(flow, job_state, tmp_path)  # without a pause: it is "running"
    assert json.loads(in_child("print(here.move_on(sys.argv[1], None))", tmp_path))["status"] == "completed"
    moved = JobState.load(tmp_path / "run.json")
    assert Counter(entry["item"] for entry in moved.shared_log) == Counter(range(EVENTS))


# -- snapshots that end in a fresh process


def end_all(folder: str) -> str:
    """In a child: end every run in a folder; JSON of what they came to."""
    return json.dumps([end_one(path) for path in sorted(Path(folder).glob("run*.json"))])


def end_one(path: Path) -> dict[str, Any]:
    flow = Flow()
    flow.deserialize(json.loads((path.parent / "flow.json").read_text(encoding="ascii")))
    with flow:
        return result(finish(flow, JobState.load(path)))


def test_snapshots_end_in_a_fresh_process_as_the_run_ends_in_its_own(tmp_path: Path) -> None:
    taken = [0]
    job_state = JobState("moving")

    def look() -> None:
        taken[0] += 1
        if taken[0] % 40 == 7:
            job_state.save(tmp_path / f"run{taken[0]:04}.json")

    executor, clock = ManualExecutor(), FakeClock()
    flow = draw_moving(executor=executor, clock=clock)
    (tmp_path / "flow.json").write_text(json.dumps(flow.serialize()), encoding="ascii")

    def drive() -> None:
        while executor.run_until_idle():
            clock.advance(0.01)

    at_instants(look)
    try:
        flow.execute("source", job_state=job_state)
        drive()
        finish(flow, job_state, drive)
    finally:
        at_instants(None)
    expected = json.loads(json.dumps(result(job_state)))
    assert expected["status"] == "completed"
    ended = json.loads(in_child("print(here.end_all(sys.argv[1]))", tmp_path))
    assert len(ended) >= 5
    for each in ended:
        assert each == expected


def test_a_failed_run_goes_on_in_a_process_in_which_the_trouble_is_over(tmp_path: Path) -> None:
    flow = draw_mended()
    job_state = flow.run("many", {"count": 5})
    assert job_state.status == "failed"
    leave(flow, job_state, tmp_path)
    flow.shutdown()
    program = "here.Mended.is_mended = True\nprint(here.move_on(sys.argv[1], None))"
    assert json.loads(in_child(program, tmp_path))["status"] == "completed"
    moved = JobState.load(tmp_path / "run.json")
    assert [entry["item"] for entry in moved.shared_log] == [0, 1, 2, 3, 4]
    assert (moved.get_routine_state("mended") or {}).get("status") == "completed"
    assert len(moved.errors) == 1


@register_serializable
class Mended(Routine):
    """Fails in a process in which nobody has mended it, after it has emitted."""

    is_mended = False

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.work)
        self.define_event("output")
        self.set_as_critical(max_retries=0)

    def work(self, item: int) -> None:
        self.emit("output", item=item)
        if item == 2 and not Mended.is_mended:
            raise ConnectionError("the wire is cut")


def draw_mended() -> Flow:
    flow = Flow("mended")
    flow.add_routine(ManyEvents(), "many")
    flow.add_routine(Mended(), "mended")
    flow.add_routine(Arrivals(), "arrivals")
    flow.connect("many", "output", "mended", "input")
    flow.connect("mended", "output", "arrivals", "input")
    return flow


# -- a dialogue


@register_serializable
class Interviewer(Routine):
    """Asks, and pauses its own run until somebody has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.ask)
        self.define_event("answered")

    def ask(self, question: str) -> None:
        context = own_context(self)
        self.send_output("question", text=question)
        self.emit_deferred_event("answered", question=question)
        context.flow.pause(context.job_state, reason="waiting for an answer", checkpoint={"asked": question})
        context.job_state.modify_shared_data("asked", lambda count: count + 1, 0)


@register_serializable
class Listener(Routine):
    """Hears the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.listen)

    def listen(self, question: str) -> None:
        context = own_context(self)
        answer = context.job_state.get_shared_data("answer")
        context.job_state.update_shared_data("heard", f"{question} {answer}")


def draw_dialogue() -> Flow:
    flow = Flow("dialogue")
    flow.add_routine(Interviewer(), "interviewer")
    flow.add_routine(Listener(), "listener")
    flow.connect("interviewer", "answered", "listener", "input")
    return flow


def answer(folder: str, text: str) -> None:
    """In a child: answer, and let the run end."""
    flow, job_state = find(folder)
    assert (job_state.status, job_state.checkpoint) == ("paused", {"asked": "Who are you?"})
    job_state.update_shared_data("answer", text)
    with flow:
        wait(flow, flow.resume(job_state))
    leave(flow, job_state, Path(folder))


@pytest.mark.parametrize("asker", ["entry", "task"])
def test_an_answer_comes_in_another_process_and_the_question_is_asked_once(tmp_path: Path, asker: str) -> None:
    flow = draw_dialogue()
    if asker == "task":
        flow.add_routine(Receptionist(), "receptionist")
        flow.connect("receptionist", "output", "interviewer", "trigger")
    job_state = flow.execute("receptionist" if asker == "task" else "interviewer", {"question": "Who are you?"})
    wait(flow, job_state)
    assert job_state.status == "paused"
    assert [event["data"] for event in job_state.deferred_events] == [{"question": "Who are you?"}]
    assert job_state.pending_tasks == []
    leave(flow, job_state, tmp_path)
    flow.shutdown()

    in_child("here.answer(sys.argv[1], 'A friend.')", tmp_path)

    moved = JobState.load(tmp_path / "run.json")
    assert (moved.status, moved.job_id) == ("completed", job_state.job_id)
    assert moved.get_shared_data("heard") == "Who are you? A friend."
    assert moved.get_shared_data("asked") == 1
    assert len(moved.outputs("question")) == 1
    told = Counter(f"{record.routine_id} {record.event_name}" for record in moved.execution_history)
    assert told["interviewer start"] == told["interviewer completed"] == told["interviewer answered"] == 1
    assert told["listener completed"] == 1
    assert (moved.deferred_events, moved.pending_tasks) == ([], [])


@register_serializable
class Receptionist(Routine):
    """Passes the question on to the interviewer."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.start)
        self.define_event("output")

    def start(self, question: str) -> None:
        self.emit("output", question=question)
