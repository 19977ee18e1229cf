"""RunInputs: a run asks the world outside for something, and takes what is sent to it."""

from abc import abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any

from routilux.context import current_effects
from routilux.errors import RunEndedError
from routilux.flow.attempts import RunAttempts
from routilux.flow.gate import Gate
from routilux.flow.identity import as_text, from_text, identity_of
from routilux.flow.pending import seconds_until, wall_clock
from routilux.flow.stops import write_pause_point
from routilux.flow.task import Activation, HeldRequest
from routilux.flow.timers import nanoseconds
from routilux.job_state import JobState
from routilux.ledger import RecordKey
from routilux.pending_data import REQUESTED, same_payload
from routilux.status import JobStatus

if TYPE_CHECKING:  # what asks
    from routilux.flow.wiring import Port
    from routilux.interfaces import Clock
    from routilux.routine import Routine
    from routilux.slot import Slot

__all__ = ["EARLY_SECONDS", "RunInputs", "has_work", "is_due", "waits_for_input"]

# Keeps the activations that answers make apart from those that emissions make.
_SALT = identity_of(REQUESTED)

# A timer may fire a moment before the text that tells its time, which is rounded.
EARLY_SECONDS = 0.001


def waits_for_input(job_state: JobState) -> bool:
    """Whether a run is paused because it has nothing to do until an input comes, and not because somebody said so."""
    points = job_state.pause_points
    return job_state.status == JobStatus.PAUSED and bool(points) and "waits_for" in points[-1]


def has_work(job_state: JobState) -> bool:
    """Whether a run that is paused has activations that a resume would start; dead letters that are kept are none."""
    return any(not entry.get("kept_back") for entry in job_state.pending_tasks)


def is_due(request: dict[str, Any], clock: "Clock") -> bool:
    """Whether the time of a request is over, by the wall clock."""
    due_at = request["due_at"]
    return due_at is not None and seconds_until(due_at, clock) <= EARLY_SECONDS


class RunInputs(RunAttempts):
    """What a run does about inputs: it asks, takes, and is paused when it has nothing else to do.

    Requests and inputs meet by name, first come first served; the journal's `Replay` does the same, so that a row
    need not say which input has met which request.
    """

    __slots__ = ()

    # -- asking

    def request_input(
        self, activation: Activation, routine: "Routine", slot: "Slot", name: str, timeout: float | None
    ) -> None:
        """Ask on behalf of an activation, or, where its effects are held back, when it has succeeded.

        Raises:
            RunEndedError: The run has ended.
        """
        node = activation.port.node
        if node.routine is not routine:
            node = self.engine.wiring.node_of(routine)
        request = HeldRequest(node.port(slot), name, timeout)
        with self.lock:
            if activation.is_late:
                raise self.late_error(activation, f"request the input {name!r}")
            effects = activation.effects
            if effects is not None:
                if current_effects.get() is effects:  # else a failed attempt's, which leaves nothing
                    effects.append(request)
                return
            given = self.ask(activation, request)
        self.hand_out(given)

    def ask(self, activation: Activation, request: HeldRequest) -> int:
        """With the lock held: open a request, or answer it with what was sent before; returns tokens to hand out."""
        port = request.port
        what = {"routine_id": port.node.id, "slot": port.slot.name, "name": request.name}
        if self._gate >= Gate.REFUSING or self.ledger.live not in (None, self):
            self._refuse_request(what)
            return 0
        now = self.now()
        nth = activation.release(REQUESTED, what)
        before = (activation.replay or {}).get(REQUESTED, ())
        if nth < len(before):  # it runs again: what it has asked for the first time stands
            activation.rerelease(REQUESTED, before[nth])
            if not same_payload(before[nth], what):
                self.ledger.write(RecordKey(port.node.id, "replay_differs"), now, {"event": "request_input", **what})
            return 0
        due_ns = None if request.timeout is None else now + nanoseconds(request.timeout)
        due_at = None if due_ns is None else wall_clock(due_ns, self.ledger.clock)
        entry = {"id": as_text(hash((activation.identity, _SALT, nth))), **what, "due_at": due_at}
        if self.ledger.scribe is not None:
            self.ledger.scribe.requested(activation, entry, now)
        self._note(entry, "input_requested", {}, now)
        self.input_ports[port.key] = port
        kept = self.job_state.kept_inputs
        for number, early in enumerate(kept):
            if early["name"] == request.name:
                del kept[number]
                self._note(entry, "input_received", {"data": early["data"]}, now)
                return self._deliver(entry, early["data"], now, activation)
        self.job_state.input_requests.append(entry)
        self.watch_requests()
        if due_ns is not None and due_at is not None and not self.is_adopted:
            self.engine.inputs.expire_at(self, due_ns, due_at)
        return 0

    def _refuse_request(self, what: dict[str, Any]) -> None:
        if self._gate == Gate.ENDED and self.ledger.live in (None, self):
            raise RunEndedError(
                f"{what['routine_id']!r} cannot request the input {what['name']!r}: run {self.job_id} has ended with "
                f"status {self.ledger.status!r}. Request it from a handler while its run goes on."
            )
        refusal = {"input": what["name"], "slot": what["slot"], "status": self.ledger.status}
        self.ledger.write(RecordKey(what["routine_id"], "refused"), self.now(), refusal)

    def watch_requests(self) -> None:
        """With the lock held: there are requests that somebody may answer."""
        self.engine.inputs.note(self.job_state)

    # -- taking

    def take_input(self, name: str, data: dict[str, Any], number: int = 0) -> int:
        """With the lock held: give an input to the oldest request of its name, or keep it; returns tokens to hand out.

        Args:
            name: What was asked for.
            data: What is delivered.
            number: Which of the store's inputs it is; 0: it comes from no store.
        """
        now, entry = self.now(), {"name": name, "data": data}
        if number:
            self.ledger.input_number = number
        if self.ledger.scribe is not None:
            self.ledger.scribe.received(entry, number, now)
        requests = self.job_state.input_requests
        for index, request in enumerate(requests):
            if request["name"] == name:
                del requests[index]
                self._note(request, "input_received", {"data": data}, now)
                return self._deliver(request, data, now)
        self.job_state.kept_inputs.append(entry)
        return 0

    def take_time_outs(self) -> int:
        """With the lock held: close the requests whose time is over; returns tokens to hand out."""
        now, given = self.now(), 0
        for request in list(self.job_state.input_requests):
            if not is_due(request, self.ledger.clock):
                continue
            self.job_state.input_requests.remove(request)
            if self.ledger.scribe is not None:
                self.ledger.scribe.timed_out(request, now)
            self._note(request, "input_timed_out", {}, now)
            given += self._deliver(request, {"name": request["name"], "timed_out": True}, now)
        return given

    @abstractmethod
    def new_task(self, port: "Port", data: dict[str, Any], identity: int, now: int) -> Activation:
        """A task that came by no line."""

    def _deliver(
        self, request: dict[str, Any], data: dict[str, Any], now: int, activation: Activation | None = None
    ) -> int:
        port = self.input_ports[request["routine_id"], request["slot"]]
        task = self.new_task(port, data.copy(), from_text(request["id"]), now)
        if self._gate == Gate.PARKING:
            self.park(task, "queued")
            return 0
        self.outstanding += 1
        if activation is not None and activation.staged is not None:
            activation.staged.append(task)
            return 0
        self.push(task)
        return self.tokens_for(1)

    def _note(self, request: dict[str, Any], word: str, more: dict[str, Any], now: int) -> None:
        # Past the scribe: a journal makes this record out of the operation, and holds the data once.
        ledger = self.ledger
        key = RecordKey(request["routine_id"], word)
        ledger.rows += (key, now, {"name": request["name"], "slot": request["slot"], **more})
        if ledger.limit is not None:
            ledger.keep_bound()
        self.poke()

    # -- being paused meanwhile

    def _must_wait_for_input(self) -> bool:
        return (
            self._gate == Gate.OPEN
            and not self.outstanding
            and bool(self.job_state.input_requests)
            and not self.is_adopted
            and self.ledger.status == JobStatus.RUNNING
        )

    def _end_if_over(self) -> None:
        if self.job_state.input_requests and not self.over and self._must_wait_for_input():
            self._stop_for_input()
        super()._end_if_over()

    def _stop_for_input(self) -> None:
        names = list(dict.fromkeys(request["name"] for request in self.job_state.input_requests))
        point: dict[str, Any] = {
            "reason": f"input: {', '.join(names)}",
            "checkpoint": {},
            "waits_for": names,
            # By these, whoever recovers the run sees whether it can go on, and reads no more of it.
            "due_at": self._first_due_at(),
            "input_number": self.ledger.input_number,
            # The clock stands still: it goes on with what is left when the input comes.
            "timeout": self.timeout,
            "seconds_left": self.timers.seconds_left(self.now()),
        }
        self._close(Gate.PARKING, JobStatus.PAUSED.value)
        write_pause_point(self.job_state, point, 0)
        self.engine.paused.add(self)
        self.engine.inputs.hold(self.job_state)

    def _first_due_at(self) -> str | None:
        dues: list[str] = [each["due_at"] for each in self.job_state.input_requests if each["due_at"] is not None]
        return min(dues, key=datetime.fromisoformat, default=None)

    def reopened(self) -> None:
        """Go on waiting for what was asked for before; what is too late by now has timed out."""
        self.engine.inputs.let_go(self.job_state)
        with self.lock:
            # Somebody who waits may have let it be paused again by now: then the timer below wakes it once more.
            given = self.take_time_outs() if self._gate == Gate.OPEN else 0
            if self.job_state.input_requests:
                self.watch_requests()
                for request in self.job_state.input_requests:
                    if request["due_at"] is not None:
                        self._expire_at(request["due_at"])
        self.hand_out(given)

    def _expire_at(self, due_at: str) -> None:
        left = seconds_until(due_at, self.ledger.clock)
        self.engine.inputs.expire_at(self, self.now() + nanoseconds(left), due_at)

    def expire_requests(self, due_at: str) -> None:
        """The timer of a request that ends at this instant has fired: close those whose time is over."""
        with self.lock:
            given = self.take_time_outs() if self._gate == Gate.OPEN else 0
            if self._gate == Gate.OPEN and any(each["due_at"] == due_at for each in self.job_state.input_requests):
                self._expire_at(due_at)  # timers go by a clock that only goes forward; the wall clock was set back
        self.hand_out(given)
