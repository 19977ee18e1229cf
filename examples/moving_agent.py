"""An agent that talks to a model, uses a tool and asks its user moves to another process in mid-conversation.

The model is a stand-in, but it is really called: over HTTP, at a port of this machine, and it is overloaded now and
then. The conversation travels in the events, so it is wherever the run is.
"""

import json
import subprocess
import sys
import tempfile
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from routilux import Flow, JobState, Routine
from routilux.job_state import register_serializable

Messages = list[dict[str, str]]


@register_serializable
class TravelAgent(Routine):
    """Gives the model the conversation so far, and does what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.hear)
        self.define_slot("conversation", handler=self.think)
        self.define_event("tool_wanted", ["messages"])
        self.define_event("user_wanted", ["messages"])
        # What fails is tried again later, without a thread that sleeps; what an attempt emitted counts if it succeeds.
        self.set_as_critical(max_retries=3, retry_delay=0.05)

    def hear(self, text: str) -> None:
        self.think([{"role": "user", "content": text}])

    def think(self, messages: Messages) -> None:
        context = self.get_execution_context()
        if context is None:
            return
        # The activation's id stays the same when it runs again: the model can tell a repeated request from a new one.
        reply = ask_model(self.get_config("port"), messages, context.activation_id)
        messages = [*messages, reply]
        if reply["role"] == "tool call":
            self.emit("tool_wanted", messages=messages)
            return
        print(f"  agent: {reply['content']}")
        if reply["content"].endswith("?"):
            self.emit_deferred_event("user_wanted", messages=messages)
            context.flow.pause(context.job_state, reason="waiting for the user")


@register_serializable
class Timetable(Routine):
    """A tool."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("call", handler=self.look_up)
        self.define_event("found", ["messages"])

    def look_up(self, messages: Messages) -> None:
        trains = {"Lisbon": "8:15 and 14:40", "Porto": "9:05"}.get(messages[-1]["content"], "no trains")
        print(f"  tool:  {messages[-1]['content']}: {trains}")
        self.emit("found", messages=[*messages, {"role": "tool", "content": trains}])


@register_serializable
class Traveller(Routine):
    """What the user said meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("asked", handler=self.reply)
        self.define_event("said", ["messages"])

    def reply(self, messages: Messages) -> None:
        context = self.get_execution_context()
        if context is None:
            return
        text = context.job_state.get_shared_data("reply")
        print(f"  user:  {text}")
        self.emit("said", messages=[*messages, {"role": "user", "content": text}])


def ask_model(port: int, messages: Messages, request_id: str) -> dict[str, str]:
    """One call of the model."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/chat", json.dumps(messages), {"Idempotency-Key": request_id})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ConnectionError(f"the model answers {response.status} {response.reason}")
        reply: dict[str, str] = json.loads(body)
        return reply
    finally:
        connection.close()


class Model(ThreadingHTTPServer):
    """The stand-in: what it says next depends on the conversation only."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ModelRequest)
        self.lock = threading.Lock()
        self.seen: dict[str, int] = {}

    def is_overloaded(self, request_id: str) -> bool:
        """Every request is turned away once."""
        with self.lock:
            self.seen[request_id] = self.seen.get(request_id, 0) + 1
            return self.seen[request_id] == 1

    def next_message(self, messages: Messages) -> dict[str, str]:
        """What a model would make of it."""
        last = messages[-1]
        if last["role"] == "tool":
            return {"role": "agent", "content": f"There are trains at {last['content']}. Which one do you take?"}
        if len(messages) == 1:
            return {"role": "tool call", "content": last["content"].rsplit(maxsplit=1)[-1].strip(".")}
        return {"role": "agent", "content": f"I have booked a seat for you: {last['content']}"}


class ModelRequest(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.is_overloaded(self.headers["Idempotency-Key"]):
            self.send_error(503, "Overloaded")
            return
        body = json.dumps(self.server.next_message(messages)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quietly."""


def begin(folder: Path, port: int) -> None:
    """The first process: the conversation begins, up to the first question to the user."""
    with Flow("travel", execution_strategy="concurrent", max_workers=4) as flow:
        agent = TravelAgent()
        agent.set_config(port=port)
        flow.add_routine(agent, "agent")
        flow.add_routine(Timetable(), "timetable")
        flow.add_routine(Traveller(), "traveller")
        flow.connect("agent", "tool_wanted", "timetable", "call")
        flow.connect("timetable", "found", "agent", "conversation")
        flow.connect("agent", "user_wanted", "traveller", "asked")
        flow.connect("traveller", "said", "agent", "conversation")
        print("  user:  I want to go to Lisbon.")
        job_state = flow.run("agent", {"text": "I want to go to Lisbon."})
        (folder / "flow.json").write_text(json.dumps(flow.serialize()), encoding="utf-8")
        job_state.save(folder / "run.json")
    print(f"The run is {job_state.status}: {job_state.pause_points[-1]['reason']}.")


def end(folder: Path, port: int) -> None:
    """The second process: the user replies, and the conversation goes on."""
    job_state = JobState.load(folder / "run.json")
    job_state.update_shared_data("reply", "The one at 14:40.")
    with Flow() as flow:
        flow.deserialize(json.loads((folder / "flow.json").read_text(encoding="utf-8")))
        flow.routines["agent"].set_config(port=port)
        JobState.wait_for_completion(flow, flow.resume(job_state))
    tried_again = sum(record.event_name == "error" for record in job_state.execution_history)
    print(f"The run is {job_state.status}; the model was busy {tried_again} times.")


def main() -> None:
    if len(sys.argv) > 3:
        {"begin": begin, "end": end}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
        return
    with Model() as model, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=model.serve_forever, daemon=True).start()
        for number, what in enumerate(("begin", "end"), start=1):
            print(f"Process {number}", flush=True)
            command = [sys.executable, __file__, what, folder, str(model.server_port)]
            subprocess.run(command, check=True)  # noqa: S603 - this very file
        model.shutdown()
        print(f"The model had {len(model.seen)} requests, each of them {max(model.seen.values())} times.")


if __name__ == "__main__":
    main()
