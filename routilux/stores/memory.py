"""Memory: runs in this process, for tests and for whoever wants the rest of what a store gives."""

import time
from collections.abc import Sequence
from threading import Lock
from weakref import WeakValueDictionary

from routilux.errors import InvalidValueError
from routilux.stores.base import FINISHED, JournalRow, RunHeader, Store, StoredInput, Write
from routilux.stores.checks import (
    checked_after,
    checked_instant,
    checked_lease,
    checked_level,
    checked_limit,
    checked_rows,
    checked_status,
    checked_text,
    driven_run,
    is_text,
    lost_lease,
    refuse_header,
    refuse_writes,
    unknown_run,
)
from routilux.stores.forking import watch_forks
from routilux.stores.processes import new_driver_name

__all__ = ["MemoryStore"]


class _Run:
    """A run as it is kept."""

    __slots__ = ("driver", "header", "inputs", "number", "rows", "snapshot")

    def __init__(self, number: int, header: RunHeader, driver: str) -> None:
        self.number = number
        self.header = header
        self.driver: str | None = driver
        self.rows: dict[int, str] = {}
        self.snapshot: tuple[int, str] | None = None
        self.inputs: list[StoredInput] = []


class _Memory:
    """What the stores of one name share. `lock` protects all of it, and the stores' own attributes."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.runs: dict[str, _Run] = {}
        self.leases: dict[str, float] = {}  # when the lease of a driver runs out, in monotonic seconds
        self.run_count = 0
        self.input_count = 0
        watch_forks(self)

    def before_fork(self) -> None:
        """No fork comes in the middle of a write."""
        self.lock.acquire()

    def after_fork(self, in_child: bool) -> None:
        """The copy in a child has none of the drivers' threads."""
        if in_child:
            self.leases.clear()
        self.lock.release()

    def is_driven(self, run: _Run) -> bool:
        return run.driver is not None and self.leases.get(run.driver, 0.0) > time.monotonic()

    def header_of(self, run: _Run) -> RunHeader:
        return run.header._replace(driver=run.driver if run.driver in self.leases else None)

    def newest_first(self) -> list[_Run]:
        return sorted(self.runs.values(), key=_age, reverse=True)


def _age(run: _Run) -> tuple[float, int]:
    return (run.header.created_at, run.number)


class _Memories:
    """The memories that have a name. `lock` protects them; no other lock is taken while it is held."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.by_name: WeakValueDictionary[str, _Memory] = WeakValueDictionary()
        watch_forks(self)

    def before_fork(self) -> None:
        """No fork comes while a name is looked up."""
        self.lock.acquire()

    def after_fork(self, in_child: bool) -> None:  # noqa: ARG002 - the names are the same there
        """Names may be looked up again."""
        self.lock.release()


_memories = _Memories()


def _memory_of(url: str) -> _Memory:
    name = url.removeprefix("memory:")
    if name == url:
        raise InvalidValueError(
            f"{url!r} is not the URL of a memory. Give 'memory:', or 'memory:NAME' for a shared one."
        )
    fresh = _Memory()
    if not name:
        return fresh
    with _memories.lock:
        return _memories.by_name.setdefault(name, fresh)


class MemoryStore(Store):
    """Runs in this process. They end with it; a forked child has a copy, in which nobody drives them.

    Args:
        url: "memory:" for a store of its own; "memory:NAME" for what all stores of that name share, as long as one of
            them exists.
        level: "group" or "sync", which are the same here.
        lease_seconds: How long the runs of a driver that gives no sign of life stay its own.
    """

    def __init__(self, url: str = "memory:", level: str = "group", lease_seconds: float = 10.0) -> None:
        self.url = url
        self.level = checked_level(level)
        self.lease_seconds = checked_lease(lease_seconds)
        self.driver = new_driver_name()
        self._memory = _memory_of(url)
        self._driving: set[str] = set()
        watch_forks(self)

    def __repr__(self) -> str:
        return f"MemoryStore({self.url!r})"

    # -- driving runs

    def create(self, header: RunHeader, rows: Sequence[JournalRow]) -> bool:  # noqa: D102 - as Store says
        refuse_header(header)
        checked_rows(rows)
        with self._memory.lock:
            self._keep_lease()
            run = self._memory.runs.get(header.job_id)
            if run is not None:
                return (
                    run.driver == self.driver
                    and (run.header.flow_id, run.header.created_at) == (header.flow_id, header.created_at)
                    and _has_rows(run, rows)
                )
            self._memory.run_count += 1
            run = _Run(self._memory.run_count, header, self.driver)
            run.rows.update(rows)
            self._memory.runs[header.job_id] = run
            self._driving.add(header.job_id)
            return True

    def write(self, writes: Sequence[Write]) -> None:  # noqa: D102
        refuse_writes(writes)
        with self._memory.lock:
            if self.driver not in self._memory.leases:
                raise lost_lease(self)
            self._keep_lease()
            remaining = []
            for write in writes:
                run = self._memory.runs.get(write.job_id)
                if run is not None and run.driver == self.driver:
                    remaining.append((run, write))
                elif not (write.release and run is not None and _has_rows(run, write.rows)):
                    raise lost_lease(self, write.job_id)
            for run, write in remaining:  # from here on nothing fails
                self._write_one(run, write)

    def claim(self, flow_id: str, job_id: str | None = None) -> list[RunHeader]:  # noqa: D102
        memory = self._memory
        is_text("flow_id", flow_id)
        if job_id is not None:
            is_text("job_id", job_id)
        with memory.lock:
            self._refuse_lost()
            if job_id is None:
                runs = [
                    run
                    for run in sorted(memory.runs.values(), key=_age)
                    if run.header.flow_id == flow_id
                    and run.header.status in ("pending", "running")
                    and run.driver != self.driver
                    and not memory.is_driven(run)
                ]
            else:
                run = memory.runs.get(job_id)
                if run is None or run.header.flow_id != flow_id:
                    raise unknown_run(job_id, flow_id)
                if run.driver != self.driver and memory.is_driven(run):
                    raise driven_run(run.header.job_id, run.driver)
                runs = [run]
            self._keep_lease()
            for run in runs:
                if run.driver is not None and run.driver != self.driver:
                    memory.leases.pop(run.driver, None)
                run.driver = self.driver
                self._driving.add(run.header.job_id)
            return [memory.header_of(run) for run in runs]

    def renew(self) -> None:  # noqa: D102
        with self._memory.lock:
            if self.driver in self._memory.leases or self._driving:
                self._keep_lease()

    # -- reading

    def find(self, job_id: str) -> RunHeader | None:  # noqa: D102
        is_text("job_id", job_id)
        with self._memory.lock:
            run = self._memory.runs.get(job_id)
            return self._memory.header_of(run) if run is not None else None

    def list_runs(  # noqa: D102
        self,
        status: str | None = None,
        flow_id: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[RunHeader]:
        most = checked_limit(limit)
        checked_status(status)
        if flow_id is not None:
            is_text("flow_id", flow_id)
        since = checked_instant("since", since)
        with self._memory.lock:
            return [
                self._memory.header_of(run)
                for run in self._memory.newest_first()
                if (status is None or run.header.status == status)
                and (flow_id is None or run.header.flow_id == flow_id)
                and (since is None or run.header.created_at >= since)
            ][:most]

    def rows(self, job_id: str, after: int = 0, limit: int | None = None) -> list[JournalRow]:  # noqa: D102
        most, after = checked_limit(limit), checked_after(after)
        is_text("job_id", job_id)
        with self._memory.lock:
            run = self._memory.runs.get(job_id)
            numbers = sorted(number for number in run.rows if number > after)[:most] if run is not None else []
            return [JournalRow(number, run.rows[number]) for number in numbers] if run is not None else []

    def last_row(self, job_id: str) -> JournalRow | None:  # noqa: D102
        is_text("job_id", job_id)
        with self._memory.lock:
            run = self._memory.runs.get(job_id)
            if run is None or not run.rows:
                return None
            number = max(run.rows)
            return JournalRow(number, run.rows[number])

    def snapshot(self, job_id: str) -> tuple[int, str] | None:  # noqa: D102
        is_text("job_id", job_id)
        with self._memory.lock:
            run = self._memory.runs.get(job_id)
            return run.snapshot if run is not None else None

    # -- what comes from outside

    def put_input(self, job_id: str, name: str, data: str) -> int:  # noqa: D102
        is_text("job_id", job_id)
        checked_text("name", name)
        checked_text("data", data)
        with self._memory.lock:
            run = self._memory.runs.get(job_id)
            if run is None:
                raise unknown_run(job_id)
            self._memory.input_count += 1
            run.inputs.append(StoredInput(self._memory.input_count, name, data))
            return self._memory.input_count

    def inputs(self, job_id: str, after: int = 0) -> list[StoredInput]:  # noqa: D102
        after = checked_after(after)
        is_text("job_id", job_id)
        with self._memory.lock:
            run = self._memory.runs.get(job_id)
            return [each for each in run.inputs if each.number > after] if run is not None else []

    # -- cleaning up

    def delete(self, job_id: str) -> None:  # noqa: D102
        is_text("job_id", job_id)
        with self._memory.lock:
            run = self._memory.runs.get(job_id)
            if run is None:
                raise unknown_run(job_id)
            if self._memory.is_driven(run):
                raise driven_run(run.header.job_id, run.driver)
            del self._memory.runs[job_id]
            self._driving.discard(job_id)

    def prune(self, older_than: float | None = None, keep: int | None = None, flow_id: str | None = None) -> int:  # noqa: D102
        spared = checked_limit(keep) if keep is not None else 0
        older_than = checked_instant("older_than", older_than)
        if flow_id is not None:
            is_text("flow_id", flow_id)
        with self._memory.lock:
            finished = [
                run
                for run in self._memory.newest_first()
                if run.header.status in FINISHED and flow_id in (None, run.header.flow_id)
            ]
            forgotten = [
                run.header.job_id
                for run in finished[spared:]
                if (older_than is None or run.header.updated_at < older_than) and not self._memory.is_driven(run)
            ]
            for job_id in forgotten:
                del self._memory.runs[job_id]
                self._driving.discard(job_id)
            return len(forgotten)

    def close(self) -> None:  # noqa: D102
        with self._memory.lock:
            self._memory.leases.pop(self.driver, None)
            self._become_another_driver()

    # -- around a fork

    def before_fork(self) -> None:
        """The memory has what is to be done."""

    def after_fork(self, in_child: bool) -> None:
        """In the child, the runs are nobody's."""
        if in_child:
            self._become_another_driver()

    # -- inside, with the memory's lock held

    def _become_another_driver(self) -> None:
        self.driver = new_driver_name()
        self._driving = set()

    def _refuse_lost(self) -> None:
        if self.driver not in self._memory.leases and self._driving:
            raise lost_lease(self)

    def _keep_lease(self) -> None:
        self._refuse_lost()
        self._memory.leases[self.driver] = time.monotonic() + self.lease_seconds

    def _write_one(self, run: _Run, write: Write) -> None:
        for number, body in write.rows:
            run.rows.setdefault(number, body)
        header = run.header
        run.header = header._replace(
            status=header.status if write.status is None else write.status,
            fingerprint=header.fingerprint if write.fingerprint is None else write.fingerprint,
            updated_at=time.time(),
        )
        if write.snapshot is not None:
            run.snapshot = (write.snapshot_number, write.snapshot)
        if write.release:
            run.driver = None
            self._driving.discard(write.job_id)


def _has_rows(run: _Run, rows: Sequence[JournalRow]) -> bool:
    return all(run.rows.get(row.number) == row.body for row in rows)
