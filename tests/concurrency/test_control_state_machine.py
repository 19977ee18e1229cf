"""Random orders of execute, pause, resume, cancel, save, load, fail, repair and retry on several runs at once.

Between two steps no handler is at work, so a model can say which deliveries a run still owes. A saved run goes on as a
copy beside the original, in the same flow or in another one, over the same routine objects.
"""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from routilux import ErrorHandler, Flow, JobState, Routine
from routilux.testing import FakeClock, ManualExecutor
from tests.drawings import HandlerKind, draw, entry, node, own_context

KINDS = (
    "plain",
    "twice",  # emits twice
    "fails once",  # and is retried
    "fragile",  # fails while things are broken, after it has emitted
    "later",  # emits with a delay
    "defers",  # an event, to the next resume
    "pauses",  # its own run, and then emits
    "saves",  # its own run, between two emissions
)

RUNS_MAX = 9


class Track:
    """One run, or one copy of a run, and what it has delivered so far."""

    def __init__(self, flow: Flow, job_state: JobState, kinds: list[str], delivered: Counter[Any]) -> None:
        self.flow = flow
        self.job_state = job_state
        self.kinds = kinds
        self.delivered = delivered
        # Whether its flow drives it. A state that was loaded says "running", too, and nothing happens to it.
        self.is_live = False
        self.frozen: dict[str, Any] | None = None

    @property
    def is_still(self) -> bool:
        """Whether nothing may change in it until somebody resumes it."""
        return not self.is_live or self.job_state.status != "running"

    def owed(self) -> Counter[Any]:
        """Every delivery that the run makes, once each."""
        owed: Counter[Any] = Counter()
        for number, kind in enumerate(self.kinds):
            owed["retried", number, 0] += 1
            owed["stopped", number, 0] += 1
            owed["stopped", number, 1] += kind in ("twice", "saves", "fragile")
            owed["retried", number, 1] += kind == "twice"
            owed["asked", number, 0] += kind == "defers"
            owed["merged", number + 1, 0] += 1
        return +owed


class Controls(RuleBasedStateMachine):
    """What people and handlers do to runs, in any order."""

    @initialize(workers=st.integers(1, 3), concurrent=st.booleans())
    def begin(self, workers: int, concurrent: bool) -> None:
        self.is_broken = False
        self.tracks: list[Track] = []
        self.flows: list[tuple[Flow, ManualExecutor, FakeClock]] = []
        self.has_saved: set[tuple[str, str, int]] = set()
        self.strategy = ("concurrent", workers) if concurrent else ("sequential", 1)
        both = ("output", "asked")
        self.routines = {
            "a": entry(self.start),
            "retried": node(self.retried, events=both, error_handler=ErrorHandler("retry", 2, 1.0, 1.0, (OSError,))),
            "stopped": node(self.stopped, error_handler=ErrorHandler("stop")),
            "merged": node(self.merged, merge_strategy="append", error_handler=ErrorHandler("stop")),
            "note": node(self.note),
        }
        self.draw_flow()

    def draw_flow(self) -> Flow:
        executor, clock = ManualExecutor(), FakeClock()
        flow = Flow("drawn", *self.strategy, None, executor=executor, clock=clock)
        draw(
            "a -> retried -> note",
            "a -> stopped -> note",
            "a -> merged",
            "retried.asked -> note",
            flow=flow,
            **self.routines,
        )
        self.flows.append((flow, executor, clock))
        return flow

    # -- the handlers

    def track_of(self, routine: Routine, data: dict[str, Any]) -> Track:
        context = own_context(routine)
        (track,) = [track for track in self.tracks if track.job_state is context.job_state]
        assert context.flow is track.flow
        if "run" in data:
            assert track.job_state.job_id in data["run"], "a delivery of another run"
        assert track.is_live
        return track

    def start(self, routine: Routine, data: dict[str, Any]) -> None:
        track = self.track_of(routine, {})
        for number, kind in enumerate(track.kinds):
            routine.emit("output", run=track.job_state.job_id, number=number, kind=kind)
            if kind == "saves":
                self.save_once("a", track, number)

    def retried(self, routine: Routine, data: dict[str, Any]) -> None:
        track, number, kind = self.track_of(routine, data), data["number"], data["kind"]
        payload = {"run": data["run"], "way": "retried", "number": number}
        if kind == "later":
            routine.emit_later("output", delay=1.0, data={**payload, "copy": 0})
        else:
            routine.emit("output", **payload, copy=0)
        if kind == "twice":
            routine.emit("output", **payload, copy=1)
        if kind == "saves":
            self.save_once("retried", track, number)
        if kind == "defers":
            routine.emit_deferred_event("asked", **{**payload, "way": "asked"}, copy=0)
        if kind == "fails once" and own_context(routine).attempt == 1:
            raise OSError("as planned")

    def stopped(self, routine: Routine, data: dict[str, Any]) -> None:
        track, number, kind = self.track_of(routine, data), data["number"], data["kind"]
        payload = {"run": data["run"], "way": "stopped", "number": number}
        if kind == "pauses":
            track.flow.pause(track.job_state)
        routine.emit("output", **payload, copy=0)
        if kind == "saves":
            self.save_once("stopped", track, number)
        if kind == "fragile" and self.is_broken:
            raise ValueError("not repaired yet")
        if kind in ("twice", "saves", "fragile"):
            routine.emit("output", **payload, copy=1)

    def merged(self, routine: Routine, data: dict[str, Any]) -> None:
        track = self.track_of(routine, {"run": data["run"][-1]})
        if data["kind"][-1] == "fragile" and self.is_broken:
            raise ValueError("not repaired yet")
        track.delivered["merged", len(data["number"]), 0] += 1

    def note(self, routine: Routine, data: dict[str, Any]) -> None:
        self.track_of(routine, data).delivered[data["way"], data["number"], data["copy"]] += 1

    def save_once(self, routine_id: str, track: Track, number: int) -> None:
        key = (track.job_state.job_id, routine_id, number)
        if key not in self.has_saved and len(self.tracks) < RUNS_MAX:
            self.has_saved.add(key)
            self.save(track, self.flows[number % len(self.flows)][0])

    def save(self, track: Track, flow: Flow) -> None:
        text = json.dumps(track.job_state.serialize())
        copy = JobState()
        copy.deserialize(json.loads(text))
        assert copy.serialize() == json.loads(text)
        self.tracks.append(Track(flow, copy, track.kinds, Counter(track.delivered)))

    # -- the rules

    @precondition(lambda self: len(self.tracks) < RUNS_MAX)
    @rule(kinds=st.lists(st.sampled_from(KINDS), max_size=4), data=st.data())
    def execute(self, kinds: list[str], data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from(self.flows))[0]
        track = Track(flow, JobState(flow.flow_id), kinds, Counter())
        track.is_live = True
        self.tracks.append(track)
        flow.execute("a", job_state=track.job_state)

    @rule(data=st.data(), times=st.integers(1, 6))
    def step(self, data: st.DataObject, times: int) -> None:
        executor = data.draw(st.sampled_from(self.flows))[1]
        for _ in range(times):
            executor.step()

    @rule(data=st.data(), seconds=st.sampled_from([0.02, 1.0]))
    def let_time_pass(self, data: st.DataObject, seconds: float) -> None:
        _, executor, clock = data.draw(st.sampled_from(self.flows))
        clock.advance(seconds)
        executor.fire_timers()

    def any_track(self, data: st.DataObject, *, is_cancelled: bool = False) -> Track:
        found = [each for each in self.tracks if is_cancelled or each.job_state.status != "cancelled"]
        return data.draw(st.sampled_from(found or self.tracks))

    @precondition(lambda self: any(track.job_state.status != "cancelled" for track in self.tracks))
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        track = self.any_track(data)
        before, points = track.job_state.status, len(track.job_state.pause_points)
        track.flow.pause(track.job_state)
        assert track.job_state.status == "paused"
        assert len(track.job_state.pause_points) >= points + (before != "paused")
        track.frozen = None

    @precondition(lambda self: self.tracks)
    @rule(data=st.data())
    def pause_a_whole_flow(self, data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from(self.flows))[0]
        live = [track for track in self.tracks if track.flow is flow and not track.is_still]
        flow.pause()
        assert all(track.job_state.status == "paused" for track in live)

    @precondition(lambda self: self.tracks)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self.resume_track(self.any_track(data, is_cancelled=True))

    def resume_track(self, track: Track) -> None:
        if track.job_state.status == "cancelled":
            with pytest.raises(ValueError, match="cancelled"):
                track.flow.resume(track.job_state)
            return
        track.is_live, track.frozen = True, None
        assert track.flow.resume(track.job_state) is track.job_state
        assert track.job_state.status == "running"
        assert track.job_state.pending_tasks == []

    @precondition(lambda self: len(self.tracks) > 1)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        track = self.any_track(data)
        track.flow.cancel(track.job_state, reason="enough")
        assert track.job_state.status == "cancelled"
        assert track.job_state.pending_tasks == []
        track.frozen = None

    @precondition(lambda self: self.tracks and len(self.tracks) < RUNS_MAX)
    @rule(data=st.data(), elsewhere=st.booleans())
    def save_and_load(self, data: st.DataObject, elsewhere: bool) -> None:
        track = self.any_track(data, is_cancelled=True)
        self.save(track, self.draw_flow() if elsewhere else data.draw(st.sampled_from(self.flows))[0])

    @rule()
    def fail(self) -> None:
        self.is_broken = True

    @rule()
    def repair(self) -> None:
        self.is_broken = False

    # -- what must hold

    @invariant()
    def nothing_is_delivered_twice(self) -> None:
        for track in getattr(self, "tracks", []):
            assert not track.delivered - track.owed(), track.job_state

    @invariant()
    def a_run_that_stands_still_is_not_disturbed(self) -> None:
        for track in getattr(self, "tracks", []):
            if not track.is_still:
                track.frozen = None
                continue
            now = track.job_state.serialize()
            assert track.frozen is None or track.frozen == now
            track.frozen = now

    def teardown(self) -> None:
        self.is_broken = False
        for track in getattr(self, "tracks", []):
            self.finish(track)
        self.nothing_is_delivered_twice()

    def finish(self, track: Track) -> None:
        if track.job_state.status == "cancelled":
            return
        for _ in range(100):
            if track.is_still:
                if track.job_state.status == "completed" and not track.job_state.deferred_events:
                    break
                self.resume_track(track)
            for _, executor, clock in self.flows:
                while executor.run_until_idle():
                    clock.advance(1.0)
                clock.advance(1.0)
                executor.fire_timers()
        assert track.job_state.status == "completed", track.job_state
        assert track.job_state.pending_tasks == []
        assert track.delivered == track.owed(), track.job_state


TestControls = Controls.TestCase
TestControls.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class ManyControls(Controls):
    """The same, more often."""


TestManyControls = pytest.mark.slow(pytest.mark.timeout(300)(ManyControls.TestCase))
TestManyControls.settings = settings(
    max_examples=500, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class AwaitedControls(Controls):
    """The same, with handlers that await."""

    def __init__(self) -> None:
        HandlerKind.use("async")
        super().__init__()

    def teardown(self) -> None:
        HandlerKind.use("plain")
        super().teardown()


TestAwaitedControls = AwaitedControls.TestCase
TestAwaitedControls.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
