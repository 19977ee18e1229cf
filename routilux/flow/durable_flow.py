"""DurableFlow: the side of a Flow whose runs outlive their process; see `Flow(store=...)`."""

from typing import TYPE_CHECKING

from routilux.errors import InvalidValueError
from routilux.flow.drawing import Drawing
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

    def _kept(self) -> "Durability":
        durability = self._engine.durability
        if durability is None:
            raise InvalidValueError(
                f"Flow {self.flow_id!r} has no store, so its runs end with this process. Give it one: "
                "Flow(flow_id, store='runs.db')."
            )
        return durability
