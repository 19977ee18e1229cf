"""What other processes do in the tests of inputs: `python -m tests.durable.desk_process WHAT STORE JOB_ID [...]`."""

import json
import os
import signal
import sys
from typing import Any

from routilux import Flow, JobState, Routine
from routilux.flow.inputs import Inputs
from routilux.stores.opening import open_store
from tests.asking import desk


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


class Busy(Routine):
    """Asks, and has other work until a line comes on stdin."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", self.ask)
        self.define_slot("answer", self.take)
        self.define_slot("work", self.work)
        self.define_event("more")

    def ask(self) -> None:
        self.request_input("approval", "answer")
        self.emit("more")

    def work(self) -> None:
        say("working")
        sys.stdin.readline()

    def take(self, **data: Any) -> None:
        say("answer", json.dumps(data))


class Later(Routine):
    """Emits after a delay."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self.delay = delay
        self.got: list[int] = []
        self.define_slot("trigger", lambda: self.emit_later("later", delay=self.delay, data={"n": 1}))
        self.define_slot("take", self.take)
        self.define_event("later")

    def take(self, n: int) -> None:
        self.got.append(n)


def busy_desk(**options: Any) -> Flow:
    flow = Flow("busy", **options)
    flow.add_routine(Busy(), "busy")
    flow.connect("busy", "more", "busy", "work")
    return flow


def later(delay: float = 0.0, **options: Any) -> tuple[Flow, Later]:
    routine = Later(delay)
    flow = Flow("later", **options)
    flow.add_routine(routine, "later")
    flow.connect("later", "later", "later", "take")
    return flow, routine


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def send(store: str, job_id: str, data: str) -> None:
    flow, clerk = desk(store=store)
    with flow:
        flow.send_input(job_id, "approval", json.loads(data))
        job_state = flow.load(job_id)
        JobState.wait_for_completion(flow, job_state)
    say(job_state.status, json.dumps(clerk.got))


def send_and_die(store: str, job_id: str, data: str) -> None:
    Inputs.find = die  # the first step after the input was kept
    flow, _ = desk(store=store)
    flow.send_input(job_id, "approval", json.loads(data))


def ask_and_die(store: str, job_id: str) -> None:
    flow, _ = desk(store=store)
    flow.execute("clerk", {"names": ["approval"]}, job_id=job_id)
    die()


def work(store: str, job_id: str) -> None:
    with busy_desk(store=store, execution_strategy="concurrent") as flow:
        job_state = flow.execute("busy", job_id=job_id)
    say(job_state.status)


def delay_and_die(store: str, job_id: str, delay: str) -> None:
    flow, _ = later(float(delay), store=open_store(store, "sync"))
    flow.execute("later", job_id=job_id)
    die()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
