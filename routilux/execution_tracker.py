"""ExecutionTracker: how often, how long and how well the routines of a flow ran, over all its runs."""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import RLock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from serilux import Serializable

from routilux.registration import OwnFields, registered

if TYPE_CHECKING:  # the record's rows are read by shape
    from routilux.job_state import ExecutionRecord

__all__ = ["KEPT_COUNT", "ExecutionTracker", "Sums"]

# So many executions, and so many events, are kept in detail; the sums count all of them.
KEPT_COUNT = 1000

_ENDED = {"completed": "completed", "error_continued": "error_continued", "skipped": "skipped", "error": "failed"}
_NOT_EVENTS = frozenset({"start", "timeout", "refused", *_ENDED})


class Sums:
    """Counts and durations of one routine."""

    __slots__ = ("completed", "ended", "max_ns", "min_ns", "total_ns")

    def __init__(self) -> None:
        self.ended = 0
        self.completed = 0
        self.total_ns = 0
        self.min_ns = 0
        self.max_ns = 0

    def add(self, duration_ns: int, succeeded: bool) -> None:
        """Count one execution."""
        self.ended += 1
        if succeeded:
            self.completed += 1
        self.total_ns += duration_ns
        if duration_ns > self.max_ns:
            self.max_ns = duration_ns
        if duration_ns < self.min_ns or not self.min_ns:
            self.min_ns = duration_ns

    def merge(self, other: "Sums") -> None:
        """Count what another has counted."""
        if not other.ended:
            return
        self.min_ns = min(self.min_ns, other.min_ns) if self.ended else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.ended += other.ended
        self.completed += other.completed
        self.total_ns += other.total_ns


@registered
class ExecutionTracker(OwnFields, Serializable):
    """Adds up the executions and events of a flow.

    The runs of a flow keep their own sums while they run; they are folded in here when something is read. The lists
    keep the newest `KEPT_COUNT` executions and events; counts and times cover all of them.

    Attributes:
        flow_id: The flow's.
    """

    fields_to_serialize = ("flow_id", "routine_executions", "event_flow", "performance_metrics")

    def __init__(self, flow_id: str = "") -> None:
        self.flow_id = flow_id
        # Protects everything below. Taken alone; `_fold_live` is called with it and takes the locks of runs.
        self._lock = RLock()
        self._routine_executions: dict[str, list[dict[str, Any]]] = {}
        self._event_flow: list[dict[str, Any]] = []
        self._performance_metrics: dict[str, Any] = {}
        self._sums: dict[str, Sums] = {}
        self._started: dict[str, int] = {}
        self._open_since: dict[int, int] = {}
        self._kept: deque[dict[str, Any]] = deque()
        self._event_count = 0
        self._unread: deque[tuple[int, Callable[[], Iterable[ExecutionRecord]]]] = deque()
        self._unread_count = 0
        self._fold_live: Callable[[ExecutionTracker], tuple[dict[str, Sums], int]] | None = None

    def __repr__(self) -> str:
        performance = self.get_flow_performance()
        return (
            f"ExecutionTracker[{self.flow_id}] ({performance['total_routines']} routines, "
            f"{performance['total_events']} events, {performance['total_execution_time']:.3f} s)"
        )

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
            self._kept = deque(entry for entries in value.values() for entry in entries)
            for routine_id, entries in value.items():
                self._started[routine_id] = len(entries)
                sums = self._sums[routine_id] = Sums()
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
            running = [e for e in self._routine_executions.get(routine_id, ()) if e["status"] == "running"]
            if not running:
                return
            entry = running[-1]
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

    def follow(self, fold_live: "Callable[[ExecutionTracker], tuple[dict[str, Sums], int]]") -> None:
        """Have live runs brought in whenever something is read.

        Args:
            fold_live: Adds the records of live runs with `add_records`; returns their sums by routine id, and how many
                events they have emitted.
        """
        self._fold_live = fold_live

    def absorb(
        self,
        sums: dict[str, Sums],
        event_count: int,
        record_count: int,
        read: "Callable[[], Iterable[ExecutionRecord]]",
    ) -> None:
        """Take over a run that is over: its sums now, its records when somebody reads them."""
        with self._lock:
            for routine_id, part in sums.items():
                self._sums.setdefault(routine_id, Sums()).merge(part)
            self._event_count += event_count
            self._unread.append((record_count, read))
            self._unread_count += record_count
            while len(self._unread) > 1 and self._unread_count - self._unread[0][0] >= 3 * KEPT_COUNT:
                # What would be dropped right after it was read need not be read: it is counted already.
                self._unread_count -= self._unread.popleft()[0]

    def add_records(self, records: "Iterable[ExecutionRecord]") -> None:
        """Read records of a run, in their order. Called with the lock held, from `fold_live`."""
        for record in records:
            if record.event_name == "start":
                self._open(record.routine_id, record.timestamp.isoformat(), dict(record.data))
            elif record.event_name in _ENDED:
                self._close(record)
            elif record.event_name not in _NOT_EVENTS:
                self._add_event(
                    record.timestamp.isoformat(), record.routine_id, record.event_name, None, record.data
                )

    def _fold(self) -> tuple[dict[str, Sums], int]:
        while self._unread:
            _, read = self._unread.popleft()
            self.add_records(read())
        self._unread_count = 0
        return self._fold_live(self) if self._fold_live is not None else ({}, 0)

    def _open(self, routine_id: str, start_time: str, params: dict[str, Any]) -> dict[str, Any]:
        entry = {"routine_id": routine_id, "start_time": start_time, "params": params, "status": "running"}
        self._routine_executions.setdefault(routine_id, []).append(entry)
        self._started[routine_id] = self._started.get(routine_id, 0) + 1
        self._kept.append(entry)
        while len(self._kept) > KEPT_COUNT:
            oldest = self._kept.popleft()
            entries = self._routine_executions.get(oldest["routine_id"], [])
            if entries and entries[0] is oldest:
                del entries[0]
            self._open_since.pop(id(oldest), None)
        return entry

    def _close(self, record: "ExecutionRecord") -> None:
        running = [e for e in self._routine_executions.get(record.routine_id, ()) if e["status"] == "running"]
        if not running:
            return
        seconds = record.data.get("execution_time")
        entry = running[0]
        if seconds is None:
            started_at = datetime.fromisoformat(entry["start_time"])
            seconds = max(1e-9, (record.timestamp - started_at).total_seconds())
        entry.update(
            status=_ENDED[record.event_name], end_time=record.timestamp.isoformat(), execution_time=seconds
        )
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
