"""DurableFlow: the side of a Flow whose runs outlive their process; see `Flow(store=...)`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidValueError
from routilux.flow.controls import check_flow
from routilux.flow.drawing import Drawing
from routilux.flow.lifecycle import RunLifecycle
from routilux.job_state import JobState, ledger_of
from routilux.time_limits import checked_timeout

if TYPE_CHECKING:  # what drives it, and what it says of runs that were made by other code
    from routilux.flow.code_change import ResumeCheck
    from routilux.flow.durable.durability import Durability
    from routilux.flow.engine import Engine
    from routilux.flow.migrations import Migrate

__all__ = ["DurableFlow"]


class DurableFlow(Drawing):
    """What a flow with a store can do besides. Without a store, each of these is a ValueError that says so."""

    if TYPE_CHECKING:  # set by Flow; serilux would make a saved field of an annotation that is executed
        _engine: "Engine"
        execution_timeout: float | None

    def recover(self) -> list[JobState]:
        """Go on with every unfinished run of this flow that no living process drives; returns their records.

        Paused runs stay paused, unless nobody has asked for that: a shutdown that did not wait has parked them, or a
        store that could not be written, or they wait for an input that has come, or for too long. A handler that was at
        work when its process died runs again; what it had emitted is not emitted a second time. A run whose process
        has died `max_recoveries` times in the same activation fails with it. Call it when the application starts, and
        whenever another process may have died.

        Raises:
            ValueError: The flow has no store.
            StoreError: The store cannot be read or written.
        """
        return self._kept().recover()

    def load(self, job_id: str) -> JobState:
        """A run of this flow as the store has it; for one of this process, its own JobState.

        Raises:
            ValueError: The flow has no store, or the store no such run.
            StoreError: The store cannot be read.
        """
        return self._kept().load(job_id)

    def check_resume(self, run: JobState | str) -> "list[ResumeCheck]":
        """Whether a run can go on with the flow as it is drawn now: one verdict for each routine, and why.

        Registered migrations are called with copies of what waits. Nothing is changed, and nothing raised for what is
        found: a resume that finds a "refuse" raises `ResumeRefusedError`.

        Args:
            run: The run; or its job_id, where the flow has a store. Another process may be driving it.

        Raises:
            ValueError: A state of another flow, or of no form; a job_id without a store, or that the store lacks.
            StoreError: The store cannot be read.
        """
        from routilux.flow.resume_plans import check_resume  # noqa: PLC0415 - few programs need it

        job_state = self.load(run) if isinstance(run, str) else run
        check_flow(self._engine, job_state)
        return check_resume(self._engine, job_state)

    def migrate(self, routine_id: str, from_fingerprint: str, fn: "Migrate", held: "Migrate | None" = None) -> None:
        """Bring what waits for a routine into the form of today's code, when a run of earlier code goes on.

        It is done by a resume, or a recovery, of a run that knows the routine by this fingerprint while it has another
        now; and once, since the run then has today's. There are no chains: each function brings the tasks from its
        fingerprint to the present form.

        Args:
            routine_id: The routine; it is still in the flow.
            from_fingerprint: Its fingerprint in the runs that are meant: `ResumeCheck.fingerprint`.
            fn: `fn(slot, data)` gets the slot and a copy of the data of each waiting task, and returns the data that
                it has from now on, or `(slot, data)`. It may run more than once for a task, on the thread of whoever
                resumes, and outside of the run. When it raises, the run is not resumed.
            held: The same for what "append" or a function has collected in a slot; without it that stays as it is.

        Raises:
            ValueError: There is one for this fingerprint already.
        """
        from routilux.flow.migrations import Migrations  # noqa: PLC0415 - few programs need it

        Migrations(self._engine.migrations).add(routine_id, from_fingerprint, fn, held)

    def fork(
        self,
        run: JobState | str,
        at: int,
        changes: Mapping[str, Any] | Callable[[JobState], Any] | None = None,
        *,
        job_id: str | None = None,
        timeout: float | None = None,
    ) -> JobState:
        """Start a new run from a point in the history of another one, which stays as it is; returns the new one.

        The new run has the history up to that point, and goes on at once: with what waited then, and with the handlers
        that were at work, which run again. Its `metadata["forked_from"]` says the old run's job_id and how many of its
        records it has taken over. It was created now, however old its history is.

        Args:
            run: A run of this flow, or its job_id; one that is live too, of which then counts what it has done so far.
            at: The number of a record, from 0. The point is the last settlement of an activation that is not after it,
                or the last resume; before the first, the start. In a run that has forgotten its oldest records in
                memory, `execution_history[0]` has the number `metadata["history_dropped"]`; `store.history` pages
                through all.
            changes: What is different: a dict of shared values by their keys, or a function that is given the new
                JobState before it is kept, and may change its shared data, pending tasks, deferred events, metadata.
            job_id: Names the new run; a uuid4 by default.
            timeout: Seconds that it may take; else the flow's `execution_timeout`.

        Raises:
            ValueError: The flow has no store; the store has no such run, or has one of the new job_id already; there is
                no such record, or it is older than what the store can go back to; the run names something that is gone.
            ResumeRefusedError: What waited then was made by other code, does not fit the flow as it is drawn now, and
                is not migrated either: as `check_resume` says of a run. There is no new run.
            StoreError: The store cannot be read or written.
        """
        return self._kept().fork(run, at, changes, job_id, self._limit(timeout))

    def retry_failed(
        self,
        run: JobState | str,
        routine_id: str | None = None,
        *,
        activation_id: str | None = None,
        timeout: float | None = None,
    ) -> JobState:
        """Go on with a run that has failed, and try its dead letters again, with all their retries; returns the run.

        A dead letter is a pending task with `was` "failed". What else is pending goes on as well, as `resume` has it.
        Dead letters that were not asked for stay: the run becomes failed again when all the rest is done, and they can
        be tried later. It needs no store, but for a run that is named by its job_id.

        Args:
            run: The run, or its job_id.
            routine_id: Only those of this routine.
            activation_id: Only this one: the `id` of its pending task.
            timeout: Seconds that the run may take from now on; else the flow's `execution_timeout`.

        Raises:
            ValueError: There is no such dead letter, the run is at work, or as `resume` says.
            StoreError: The store cannot be read or written.
        """
        from routilux.flow.durable.dead_letters import retry_failed  # noqa: PLC0415 - few programs need it

        job_state = self._kept().load(run) if isinstance(run, str) else run
        return retry_failed(self._engine, job_state, routine_id, activation_id, self._limit(timeout))

    def _patience(self, job_state: JobState, timeout: float | None) -> float | None:
        """Seconds to wait for a run that was asked for: one that is driven here ends by itself in time."""
        live = ledger_of(job_state).live
        return None if live is None or isinstance(live, RunLifecycle) else timeout

    def _limit(self, timeout: float | None) -> float | None:
        return checked_timeout("timeout", timeout) if timeout is not None else self.execution_timeout

    def _kept(self) -> "Durability":
        durability = self._engine.durability
        if durability is None:
            raise InvalidValueError(
                f"Flow {self.flow_id!r} has no store, so its runs end with this process. Give it one: "
                "Flow(flow_id, store='runs.db')."
            )
        return durability
