"""DurableFlow: the side of a Flow whose runs outlive their process; see `Flow(store=...)`."""

from typing import TYPE_CHECKING

from routilux.errors import InvalidValueError
from routilux.flow.code_change import ResumeCheck
from routilux.flow.controls import check_flow
from routilux.flow.drawing import Drawing
from routilux.flow.migrations import Migrate
from routilux.flow.resume_plans import check_resume
from routilux.job_state import JobState

if TYPE_CHECKING:  # what drives it
    from routilux.flow.durability import Durability
    from routilux.flow.engine import Engine

__all__ = ["DurableFlow"]


class DurableFlow(Drawing):
    """What a flow with a store can do besides. Without a store, each of these is a ValueError that says so."""

    if TYPE_CHECKING:  # set by Flow; serilux would make a saved field of an annotation that is executed
        _engine: "Engine"

    def recover(self) -> list[JobState]:
        """Go on with every unfinished run of this flow that no living process drives; returns their records.

        Paused runs stay paused. A handler that was at work when its process died runs again; what it had emitted is
        not emitted a second time. A run whose process has died `max_recoveries` times in the same activation fails
        with it. Call it when the application starts, and whenever another process may have died.

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

    def check_resume(self, run: JobState | str) -> list[ResumeCheck]:
        """Whether a run can go on with the flow as it is drawn now: one verdict for each routine, and why.

        Registered migrations are called with copies of what waits. Nothing is changed, and nothing raised for what is
        found: a resume that finds a "refuse" raises `ResumeRefusedError`.

        Args:
            run: The run; or its job_id, where the flow has a store. Another process may be driving it.

        Raises:
            ValueError: A state of another flow, or of no form; a job_id without a store, or that the store lacks.
            StoreError: The store cannot be read.
        """
        job_state = self.load(run) if isinstance(run, str) else run
        check_flow(self._engine, job_state)
        return check_resume(self._engine, job_state)

    def migrate(self, routine_id: str, from_fingerprint: str, fn: Migrate, held: Migrate | None = None) -> None:
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
        self._engine.migrations.add(routine_id, from_fingerprint, fn, held)

    def _kept(self) -> "Durability":
        durability = self._engine.durability
        if durability is None:
            raise InvalidValueError(
                f"Flow {self.flow_id!r} has no store, so its runs end with this process. Give it one: "
                "Flow(flow_id, store='runs.db')."
            )
        return durability
