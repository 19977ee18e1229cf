"""In place of a journal of the application's: runs with one note each settlement, and durable runs must."""

from typing import Any

from routilux.interfaces import Settlement

__all__ = ["NO_JOURNAL", "NoJournal"]


class NoJournal:
    """A journal that nobody reads."""

    def started(self, job_id: str, entry_routine_id: str, params: dict[str, Any]) -> None:
        """Nobody is told."""

    def settled(self, settlement: Settlement) -> None:
        """Nobody is told."""

    def ended(self, job_id: str, status: str) -> None:
        """Nobody is told."""


NO_JOURNAL = NoJournal()
