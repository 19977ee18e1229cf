"""SharedState: what the routines of one run share, values and a log."""

from collections.abc import Callable
from datetime import datetime
from threading import RLock, get_ident
from typing import Any

from routilux.context import refuse_late
from routilux.errors import InvalidValueError, RunError
from routilux.guarded import taken_from
from routilux.kept_lists import SharedLog
from routilux.ledger import Ledger
from routilux.registration import OwnFields
from routilux.shared_data import SharedData

__all__ = ["SharedState"]


class SharedState(OwnFields):
    """The side of a JobState that belongs to its routines. It may be read and written from any thread."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        # Protects shared_data, shared_log and nothing else. Re-entrant: the function given to modify_shared_data
        # may use the other methods. Taken after a run's merge lock, since a merge function may use the shared data,
        # and before the ledger's.
        self._shared_lock = RLock()
        self._modifying_thread = 0
        self._shared_data = SharedData(lock=self._shared_lock)
        self._shared_log: list[dict[str, Any]] = SharedLog([], self._ledger)

    def _touch(self) -> None:
        self._ledger.touched_ns = self._ledger.now()

    def _check_durable(self, value: Any, what: str) -> None:
        # A durable run refuses at once what it could not keep.
        if self._ledger.scribe is not None:
            self._ledger.scribe.check(value, what)

    @property
    def shared_data(self) -> dict[str, Any]:
        """What the routines of this run share; a dict that may be walked while workers write it."""
        return self._shared_data

    @shared_data.setter
    def shared_data(self, value: dict[str, Any]) -> None:
        if value is self._shared_data:
            return  # `shared_data |= {...}` has written it already, and it stays the object that others hold
        refuse_late(self, "replace the shared data")
        values = SharedData(taken_from(value), lock=self._shared_lock)
        with self._shared_lock:
            if self._shared_data.changed is not None:
                values.check(dict(dict.items(values)))
            values.track(self._shared_data)  # before anybody sees it: see `take_shared_changes`
            self._shared_data = values

    def update_shared_data(self, key: str, value: Any) -> None:
        """Set one shared value, at once; an activation that runs again sets it again."""
        with self._shared_lock:
            self._shared_data[key] = value
            self._touch()

    def get_shared_data(self, key: str, default: Any = None) -> Any:
        """One shared value, or the default."""
        return self._shared_data.get(key, default)

    def modify_shared_data(self, key: str, fn: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace a shared value by `fn(value)`, with no other write in between, and return the new one.

        `fn` runs under the lock of the shared data: keep it short, and save nothing in it. What it raises leaves the
        value as it was.
        """
        refuse_late(self._shared_data, "modify shared data")
        with self._shared_lock:
            before, self._modifying_thread = self._modifying_thread, get_ident()
            try:
                value = fn(self._shared_data.get(key, default))
            finally:
                self._modifying_thread = before
            self._shared_data[key] = value
            self._touch()
            return value

    def refuse_while_modifying(self, what: str, verb: str) -> None:
        """Raise where the function given to `modify_shared_data` wants a run's merge lock. Not for applications.

        That one is taken before the lock of the shared data: another thread may be in a merge function, and wait for
        the shared data.

        Raises:
            RunError: It is called by that function, beside a live run.
        """
        if self._modifying_thread == get_ident() and self._ledger.live is not None:
            raise RunError(
                f"{what} the function given to modify_shared_data. Return the new value, and {verb} afterwards."
            )

    # -- the log

    @property
    def shared_log(self) -> list[dict[str, Any]]:
        """The entries of the routines, oldest first; callers may append to it."""
        return self._shared_log

    @shared_log.setter
    def shared_log(self, value: list[dict[str, Any]]) -> None:
        if value is self._shared_log:
            return  # `shared_log += [...]` has written it already
        # What is no list is refused when the run is saved, as for every field.
        self._shared_log = SharedLog(value, self._ledger) if isinstance(value, list) else value

    def append_to_shared_log(self, entry: dict[str, Any]) -> None:
        """Append an entry; it gets a `timestamp` (ISO text) unless it has one.

        Raises:
            ValueError: When the entry is not a dict.
        """
        if not isinstance(entry, dict):
            raise InvalidValueError(f"Entry must be a dictionary, not {type(entry).__name__}: {entry!r}")
        refuse_late(self, "append to the shared log")
        if "timestamp" not in entry:
            entry = {**entry, "timestamp": datetime.now().isoformat()}
        self._check_durable(entry, "an entry of the shared log")
        with self._shared_lock, self._ledger.lock:
            list.append(self._shared_log, entry)
            self._touch()
            if self._ledger.scribe is not None:
                self._ledger.scribe.logged(entry)

    def get_shared_log(self, filter_func: Callable[[dict[str, Any]], bool] | None = None) -> list[dict[str, Any]]:
        """A new list of the entries, of those for which `filter_func` is true or of all."""
        with self._shared_lock:
            entries = list(self.shared_log)
        return entries if filter_func is None else [entry for entry in entries if filter_func(entry)]

    # -- for the journal, not for applications

    def track_shared_data(self) -> None:
        """Note what is written to the shared data, and handed out of them, from now on."""
        with self._shared_lock:
            self._shared_data.begin_tracking()

    def take_shared_changes(
        self,
        use: Callable[[list[tuple[Any, ...]]], None],
        is_over: Callable[[Any], bool] = bool,
        with_lasting: bool = False,
    ) -> None:
        """Call `use` with what was written since the last call: (key, value), or (key,) for one that is gone.

        It is called under the lock of the shared data: of two threads that take changes, the later ones come later.

        Args:
            use: Is given the changes.
            is_over: Whether what was handed out to an activation is to be compared now; see `SharedData.take`.
            with_lasting: Compare all that was handed out to others than handlers, too.

        Raises:
            NotPlainError: A value is not JSON. It is left out at the next call.
        """
        # Empty without the lock means that `use` has been given everything that this thread has written: a change
        # goes only after that. Else the settlement of a handler could be kept before what the handler has shared,
        # while another thread has it in its hands.
        if not self._shared_data.has_news(with_lasting):
            return
        with self._shared_lock:
            self._shared_data.take(is_over, with_lasting, use)
