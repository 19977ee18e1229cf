"""ExecutionTracker: how often, how long and how well the routines of a flow ran, over all its runs."""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import Lock, RLock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from routilux.plain import plain
from routilux.registration import OwnFields, registered
from routilux.restoration import Restoration, read_additions, restore_together, saved_additions
from routilux.saved import Reader

if TYPE_CHECKING:  # the record's rows are read by shape
    from routilux.job_state import ExecutionRecord

__all__ = ["KEPT_COUNT", "ExecutionTracker", "RunFigures", "Sums", "TrackedRun"]

# So many executions, and so many events, are kept in detail; the sums count all of them.
KEPT_COUNT = 500

# So many runs may hand in their figures before somebody reads; then they are added up unasked.
INBOX_MAX = 64

OWN_KEYS = ("flow_id", "routine_executions", "event_flow", "performance_metrics")

_ENDED = {"completed": "completed", "error_continued": "error_continued", "skipped": "skipped", "error": "failed"}


class Sums:
    """Counts and durations of one routine."""

    __slots__ = ("completed", "failed", "max_ns", "min_ns", "total_ns")

    def __init__(self) -> None:
        self.completed = 0
        self.failed = 0
        self.total_ns = 0
        self.min_ns = 0
        self.max_ns = 0

    @property
    def ended(self) -> int:
        """How many executions have ended, well or not."""
        return self.completed + self.failed

    def add(self, duration_ns: int, succeeded: bool) -> None:
        """Count one execution. `Run.settle` counts successes itself, line for line as here."""
        if succeeded:
            self.completed += 1
        else:
            self.failed += 1
        self.total_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)
        if duration_ns < self.min_ns or not self.min_ns:
            self.min_ns = duration_ns

    def merge(self, other: "Sums") -> None:
        """Count what another has counted."""
        # Comparisons, not min() and max(): it is called for each routine of each run.
        if other.min_ns and (other.min_ns < self.min_ns or not self.min_ns):
            self.min_ns = other.min_ns
        if other.max_ns > self.max_ns:  # noqa: PLR1730
            self.max_ns = other.max_ns
        self.completed += other.completed
        self.failed += other.failed
        self.total_ns += other.total_ns

    def copy(self) -> "Sums":
        """The same figures, which stay as they are."""
        other = Sums()
        other.merge(self)
        return other


class RunFigures(NamedTuple):
    """What a run that is over hands to the tracker: sums now, records to be read later."""

    sums: dict[str, Sums]
    event_count: int
    record_count: int
    read: "Callable[[], Iterable[ExecutionRecord]]"


class TrackedRun(Protocol):
    """A live run, as the tracker sees it."""

    key: int

    def live_figures(self, tracker: object) -> "tuple[dict[str, Sums], int, list[ExecutionRecord]] | None":
        """Sums, number of events, and the records since the tracker's last call; None when the run is over."""


@registered
class ExecutionTracker(OwnFields):
    """Adds up the executions and events of a flow.

    The runs of a flow keep their own sums while they run; they are folded in here when something is read. The lists
    keep the newest `KEPT_COUNT` executions and events; counts and times cover all of them.

    Attributes:
        flow_id: The flow's.
    """

    fields_to_serialize = list(OWN_KEYS)

    def __init__(self, flow_id: str = "") -> None:
        self.flow_id = flow_id
        # Protects everything below but the inbox. Reading takes the locks of live runs while it is held.
        self._lock = RLock()
        # Figures of runs that are over, by the key of the run. A run hands them in while its own lock is held, so they
        # have a lock apart, which is taken last: with `_lock`, a run that ends and a reader would wait for each other.
        self._inbox_lock = Lock()
        self._inbox: dict[int, list[RunFigures]] = {}
        self._live_runs: Callable[[], Iterable[TrackedRun]] = list
        self._routine_executions: dict[str, list[dict[str, Any]]] = {}
        self._event_flow: list[dict[str, Any]] = []
        self._performance_metrics: dict[str, Any] = {}
        self._sums: dict[str, Sums] = {}
        self._started: dict[str, int] = {}
        self._open_since: dict[int, int] = {}
        self._running: dict[str, deque[dict[str, Any]]] = {}
        self._kept: deque[dict[str, Any]] = deque()
        self._event_count = 0
        self._unread: deque[RunFigures] = deque()
        self._unread_count = 0

    def __repr__(self) -> str:
        performance = self.get_flow_performance()
        return (
            f"ExecutionTracker[{self.flow_id}] ({performance['total_routines']} routines, "
            f"{performance['total_events']} events, {performance['total_execution_time']:.3f} s)"
        )

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The tracker as data, with the fields that an application has added.

        Raises:
            TypeError: What an event carried is not JSON.
        """
        below: dict[str, Any] = {"max_depth": max_depth, "_current_depth": _current_depth + 1}
        with self._lock:
            own = [name for name in self.fields_to_serialize if name in OWN_KEYS]
            fields = {name: plain(getattr(self, name), f"the tracker's {name}") for name in own}
        added = saved_additions(self, OWN_KEYS, "an ExecutionTracker", below)
        return {"_type": type(self).__name__, **fields, **added}

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Take over what `serialize` wrote; a missing key keeps the present value.

        Raises:
            ValueError: A value that cannot be; the tracker is then as it was.
        """
        reader = Reader(data, "an ExecutionTracker")
        restored: dict[str, Any] = {}
        if "flow_id" in reader:
            restored["flow_id"] = reader.text("flow_id")
        if "routine_executions" in reader:
            for entries in reader.mapping("routine_executions").values():
                if not isinstance(entries, list) or not all(map(_is_execution, entries)):
                    raise reader.wrong("routine_executions", "a dict of lists of executions")
            restored["routine_executions"] = reader.user_data("routine_executions")
        if "event_flow" in reader:
            restored["event_flow"] = reader.dicts("event_flow")
        if "performance_metrics" in reader:
            reader.mapping("performance_metrics")
            restored["performance_metrics"] = reader.user_data("performance_metrics")
        additions = read_additions(self, OWN_KEYS, reader)
        restore_together([Restoration(self, restored, additions, "an ExecutionTracker")])

    # -- what is kept in detail

    @property
    def routine_executions(self) -> dict[str, list[dict[str, Any]]]:
        """The newest executions of each routine, as dicts."""
        with self._lock:
            self._fold()
            return self._routine_executions

    @routine_executions.setter
    def routine_executions(self, value: dict[str, list[dict[str, Any]]]) -> None:
        with self._lock:
            self._routine_executions = value
            self._started = {}
            self._sums = {}
            self._running = {}
            self._kept = deque(entry for entries in value.values() for entry in entries)
            for routine_id, entries in value.items():
                self._started[routine_id] = len(entries)
                sums = self._sums[routine_id] = Sums()
                self._running[routine_id] = deque(e for e in entries if e.get("status") == "running")
                for entry in entries:
                    if "execution_time" in entry:
                        sums.add(max(1, round(entry["execution_time"] * 1e9)), entry.get("status") == "completed")

    @property
    def event_flow(self) -> list[dict[str, Any]]:
        """The newest events, as dicts."""
        with self._lock:
            self._fold()
            return self._event_flow

    @event_flow.setter
    def event_flow(self, value: list[dict[str, Any]]) -> None:
        with self._lock:
            self._event_flow = value
            self._event_count = max(self._event_count, len(value))

    @property
    def performance_metrics(self) -> dict[str, Any]:
        """The performance of each routine by its id, brought up to date at each reading."""
        with self._lock:
            for routine_id in list(self.routine_executions):
                self._performance_metrics[routine_id] = self.get_routine_performance(routine_id)
            return self._performance_metrics

    @performance_metrics.setter
    def performance_metrics(self, value: dict[str, Any]) -> None:
        self._performance_metrics = value

    # -- recording by hand

    def record_routine_start(self, routine_id: str, params: dict[str, Any] | None = None) -> None:
        """An execution of a routine begins."""
        with self._lock:
            entry = self._open(routine_id, datetime.now().isoformat(), dict(params or {}))
            self._open_since[id(entry)] = perf_counter_ns()

    def record_routine_end(
        self, routine_id: str, status: str = "completed", result: Any = None, error: str | None = None
    ) -> None:
        """The newest execution of a routine that is not over is over. Without one nothing happens."""
        with self._lock:
            running = self._running.get(routine_id)
            if not running:
                return
            entry = running.pop()
            duration_ns = max(1, perf_counter_ns() - self._open_since.pop(id(entry), perf_counter_ns()))
            entry.update(status=status, end_time=datetime.now().isoformat(), execution_time=duration_ns / 1e9)
            if result is not None:
                entry["result"] = result
            if error is not None:
                entry["error"] = error
            self._sums.setdefault(routine_id, Sums()).add(duration_ns, status == "completed")

    def record_event(
        self,
        source_routine_id: str,
        event_name: str,
        target_routine_id: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """An event went from one routine to another, or to nobody in particular."""
        with self._lock:
            self._add_event(datetime.now().isoformat(), source_routine_id, event_name, target_routine_id, data or {})
            self._event_count += 1

    # -- performance

    def get_routine_performance(self, routine_id: str) -> dict[str, Any] | None:
        """Counts and seconds of one routine; None when it has not run."""
        with self._lock:
            live, _ = self._fold()
            sums = Sums()
            for part in (self._sums.get(routine_id), live.get(routine_id)):
                if part is not None:
                    sums.merge(part)
            total = max(self._started.get(routine_id, 0), sums.ended)
        if not total:
            return None
        return {
            "total_executions": total,
            "completed": sums.completed,
            "failed": sums.ended - sums.completed,
            "success_rate": sums.completed / total,
            "avg_execution_time": sums.total_ns / sums.ended / 1e9 if sums.ended else 0.0,
            "min_execution_time": sums.min_ns / 1e9,
            "max_execution_time": sums.max_ns / 1e9,
        }

    def get_flow_performance(self) -> dict[str, Any]:
        """Counts and seconds of the whole flow; all zeros when nothing has run."""
        with self._lock:
            live, live_event_count = self._fold()
            routine_ids = set(self._routine_executions) | set(self._sums) | set(live)
            parts = [*self._sums.values(), *live.values()]
            event_count = self._event_count + live_event_count
        total = sum(part.total_ns for part in parts) / 1e9
        return {
            "total_routines": len(routine_ids),
            "total_events": event_count,
            "total_execution_time": total,
            "avg_routine_time": total / len(routine_ids) if routine_ids else 0.0,
        }

    # -- from the runs

    def follow(self, live_runs: "Callable[[], Iterable[TrackedRun]]") -> None:
        """Ask live runs for their figures whenever something is read."""
        self._live_runs = live_runs

    def follow_no_more(self, live_runs: "Callable[[], Iterable[TrackedRun]]") -> None:
        """Leave these runs to another tracker; what was handed in stays."""
        if self._live_runs is live_runs:  # else another flow has it by now
            self._live_runs = list

    def hand_in(self, run_key: int, figures: RunFigures) -> None:
        """Take the figures of a run that is over. Called with the run's lock held; read later."""
        with self._inbox_lock:
            self._inbox.setdefault(run_key, []).append(figures)  # a run that was paused hands in at each end of a leg
            if len(self._inbox) < INBOX_MAX:
                return
            handed_in, self._inbox = self._inbox, {}
        # Nobody reads: keep it bounded. Another thread may be reading just now; then these are its next ones.
        if self._lock.acquire(blocking=False):
            try:
                self._absorb_all(handed_in)
            finally:
                self._lock.release()
        else:
            with self._inbox_lock:
                for key, legs in handed_in.items():
                    self._inbox[key] = [*legs, *self._inbox.get(key, ())]

    def _absorb_all(self, handed_in: dict[int, list[RunFigures]]) -> None:
        for legs in handed_in.values():
            for figures in legs:
                self._absorb(figures)

    def _absorb(self, figures: RunFigures) -> None:
        for routine_id, part in figures.sums.items():
            sums = self._sums.get(routine_id)
            if sums is None:
                sums = self._sums[routine_id] = Sums()
            sums.merge(part)
        self._event_count += figures.event_count
        self._unread.append(figures)
        self._unread_count += figures.record_count
        while len(self._unread) > 1 and self._unread_count - self._unread[0].record_count >= 3 * KEPT_COUNT:
            # What would be dropped right after it was read need not be read: it is counted already.
            self._unread_count -= self._unread.popleft().record_count

    def _fold(self) -> tuple[dict[str, Sums], int]:
        """Bring everything up to date; returns the sums and the number of events of live runs.

        First the list of live runs, then the inbox: a run that ends before is in the inbox, one that ends after is
        in the list, and says so when it is asked.
        """
        live_runs = list(self._live_runs())
        with self._inbox_lock:
            handed_in, self._inbox = self._inbox, {}
        self._absorb_all(handed_in)
        live: dict[str, Sums] = {}
        event_count = 0
        for run in live_runs:
            found = run.live_figures(self)
            if found is None:
                with self._inbox_lock:
                    late = self._inbox.pop(run.key, [])
                self._absorb_all({run.key: late})
                continue
            for routine_id, part in found[0].items():
                live.setdefault(routine_id, Sums()).merge(part)
            event_count += found[1]
            self._read_all()  # the older records first
            self._read(found[2])
        self._read_all()
        return live, event_count

    def _read_all(self) -> None:
        while self._unread:
            self._read(self._unread.popleft().read())
        self._unread_count = 0

    def _read(self, records: "Iterable[ExecutionRecord]") -> None:
        for record in records:
            if record.is_emission:
                self._add_event(record.timestamp.isoformat(), record.routine_id, record.event_name, None, record.data)
            elif record.event_name == "start":
                self._open(record.routine_id, record.timestamp.isoformat(), dict(record.data))
            elif record.event_name in _ENDED and "retry_in" not in record.data:
                self._close(record)

    def _open(self, routine_id: str, start_time: str, params: dict[str, Any]) -> dict[str, Any]:
        entry = {"routine_id": routine_id, "start_time": start_time, "params": params, "status": "running"}
        self._routine_executions.setdefault(routine_id, []).append(entry)
        self._running.setdefault(routine_id, deque()).append(entry)
        self._started[routine_id] = self._started.get(routine_id, 0) + 1
        self._kept.append(entry)
        while len(self._kept) > KEPT_COUNT:
            oldest = self._kept.popleft()
            whose = oldest.get("routine_id", "")
            entries = self._routine_executions.get(whose, [])
            if entries and entries[0] is oldest:
                del entries[0]
            running = self._running.get(whose)
            if running and running[0] is oldest:
                running.popleft()
            self._open_since.pop(id(oldest), None)
        return entry

    def _close(self, record: "ExecutionRecord") -> None:
        running = self._running.get(record.routine_id)
        if not running:
            return
        seconds = record.data.get("execution_time")
        entry = running.popleft()
        if seconds is None:
            started_at = datetime.fromisoformat(entry["start_time"])
            seconds = max(1e-9, (record.timestamp - started_at).total_seconds())
        entry.update(status=_ENDED[record.event_name], end_time=record.timestamp.isoformat(), execution_time=seconds)
        if "error" in record.data:
            entry["error"] = record.data["error"]

    def _add_event(
        self, timestamp: str, source: str, event_name: str, target: str | None, data: dict[str, Any]
    ) -> None:
        self._event_flow.append(
            {
                "timestamp": timestamp,
                "source_routine_id": source,
                "event_name": event_name,
                "target_routine_id": target,
                "data": data,
            }
        )
        if len(self._event_flow) > KEPT_COUNT:
            del self._event_flow[0]


def _is_execution(entry: Any) -> bool:
    """Whether a saved execution can be reckoned with: ids, times and durations are what they should be, if there."""
    if not isinstance(entry, dict):
        return False
    seconds = entry.get("execution_time", 0.0)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e9
    if not is_number or not isinstance(entry.get("routine_id", ""), str):
        return False
    try:
        return entry.get("status") != "running" or datetime.fromisoformat(entry["start_time"]).tzinfo is None
    except (KeyError, TypeError, ValueError):
        return False
