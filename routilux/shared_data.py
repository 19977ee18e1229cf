"""SharedData: the shared values of a run, which notices what may be changed in place."""

import json
import logging
from collections.abc import Callable, Iterator, KeysView
from typing import Any

from routilux.context import current_activation
from routilux.errors import NotPlainError
from routilux.guarded import GuardedDict, LockLike, taken_from
from routilux.plain import plain

__all__ = ["SharedData"]

logger = logging.getLogger(__name__)

# What nobody can change in place.
_ATOMS = frozenset({str, int, float, bool, type(None)})

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class SharedData(GuardedDict[str, Any]):
    """Shared values by their keys.

    For a run that is kept, each key whose list or dict was handed out is marked, with the activation that it was
    handed out to: at the end of that one, what it holds is compared with what was written of it. Marking takes no
    lock: each mark is one entry of a dict, and whoever takes it out compares afterwards.
    """

    __slots__ = ("_lasting", "_touched", "_written")

    def __init__(self, values: dict[str, Any] | None = None, lock: LockLike = None) -> None:
        super().__init__(values, lock)
        # (activation, key); activation None: somebody outside of the run's handlers. None: nobody wants to know.
        self._touched: dict[tuple[Any, str], None] | None = None
        # Keys that were handed out to somebody outside, of whom nobody knows how long he keeps what he got.
        self._lasting: dict[str, None] = {}
        # Of what was written last of keys that are no atoms: length and hash of its JSON text.
        self._written: dict[str, tuple[int, int]] = {}

    # -- for who keeps the run, with the lock held

    def begin_tracking(self) -> None:
        """Note from now on what is written and handed out."""
        self.changed, self._touched = {}, {}
        self._lasting, self._written = {}, {}

    def track(self, before: GuardedDict[str, Any]) -> None:
        """As every guarded dict."""
        super().track(before)
        if isinstance(before, SharedData) and before._touched is not None:  # noqa: SLF001 - one of us
            self._touched, self._lasting = before._touched, before._lasting  # noqa: SLF001 - one of us
            for key, value in dict.items(self):
                self._touch(key, value)

    def forget_written(self) -> None:
        """A whole state was written, with what these values were at that moment."""
        self._written.clear()

    def has_news(self, with_lasting: bool = False) -> bool:
        """Without the lock: whether `take` has anything to look at."""
        return bool(self.changed or self._touched or (with_lasting and self._lasting))

    def take(
        self, is_over: Callable[[Any], bool], with_lasting: bool, use: Callable[[list[tuple[Any, ...]]], None]
    ) -> None:
        """Call `use` with what is to be written: (key, value), or (key,) for one that is gone.

        Args:
            is_over: Whether an activation ends now, or has ended.
            with_lasting: Look at everything that was ever handed out to somebody outside, too.
            use: Is given the changes before anybody can see that there are none left.

        Raises:
            NotPlainError: A value is not JSON. It is left out at the next call.
        """
        changed, touched = self.changed, self._touched
        if changed is None or touched is None:
            return
        found: list[tuple[Any, ...]] = []
        written: dict[str, tuple[int, int]] = {}
        for key in list(changed):
            if dict.__contains__(self, key):
                try:
                    self._add(found, written, key)
                except NotPlainError:
                    del changed[key]
                    raise
            else:
                found.append((key,))
        marks = [mark for mark in touched.copy() if mark[0] is None or is_over(mark[0])]
        self._lasting.update((key, None) for toucher, key in marks if toucher is None)
        for mark in marks:
            touched.pop(mark, None)  # before the look: what is handed out from here on is marked anew
        keys = {key: toucher is not None for toucher, key in sorted(marks, key=lambda mark: mark[0] is not None)}
        if with_lasting:
            keys = {**dict.fromkeys(self._lasting, False), **keys}
        for key, is_own in keys.items():
            if key in changed or key in written or not dict.__contains__(self, key):
                continue
            try:
                self._add(found, written, key, only_news=True)
            except NotPlainError as error:
                if is_own:
                    touched.update((mark, None) for mark in marks if mark[1] != key)
                    raise
                logger.warning("What was put into a shared value from outside is not kept: %s", error)
        if found:
            use(found)
        self._written.update(written)
        changed.clear()

    def _add(
        self, found: list[tuple[Any, ...]], written: dict[str, tuple[int, int]], key: str, only_news: bool = False
    ) -> None:
        value = plain(dict.__getitem__(self, key), f"shared_data[{key!r}]")
        if type(value) in _ATOMS:
            self._written.pop(key, None)
            if only_news:
                return  # it cannot have been changed in place, and an assignment is noted by itself
        else:
            text = _encode(value)
            written[key] = len(text), hash(text)
            if only_news and self._written.get(key) == written[key]:
                return
        found.append((key, value))

    # -- reading hands out

    def _touch(self, key: str, value: Any) -> None:
        if self._touched is None or type(value) in _ATOMS:
            return
        toucher = current_activation.get()
        if toucher is not None:
            theirs = getattr(toucher.job_state, "shared_data", None)
            if not isinstance(theirs, SharedData) or theirs._lock is not self._lock:  # noqa: SLF001 - one of us
                toucher = None  # of another run, which will never say here that it is over
        self._touched[toucher, key] = None

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        self._touch(key, value)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default."""
        value = super().get(key, default)
        self._touch(key, value)
        return value

    def copy(self) -> dict[str, Any]:
        """A plain dict with the content of this moment."""
        values = super().copy()
        if self._touched is not None:
            for key, value in values.items():
                self._touch(key, value)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> KeysView[str]:  # type: ignore[override]  # dict_keys is a KeysView in all but name
        """The keys of this moment."""
        return super().copy().keys()

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    # -- writing is refused where it cannot be kept

    def check(self, values: dict[str, Any]) -> None:
        """Refuse what a run that is kept could not keep.

        Raises:
            NotPlainError: A key is no text, or a value not JSON.
        """
        for key, value in values.items():
            if type(key) is not str:
                plain({key: None}, "shared_data")
            if type(value) not in _ATOMS or type(value) is int:
                plain(value, f"shared_data[{key!r}]")

    def __setitem__(self, key: str, value: Any) -> None:
        if self.changed is not None:
            self.check({key: value})
        super().__setitem__(key, value)
        self._touch(key, value)  # who has assigned it may hold it

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take over pairs, all at once for other threads."""
        if self.changed is None:
            super().update(*args, **kwargs)
            return
        pairs = taken_from(*args, **kwargs)
        self.check(pairs)
        super().update(pairs)
        for key, value in pairs.items():
            self._touch(key, value)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of a key, which is set first if it is missing."""
        if self.changed is not None and key not in self:
            self.check({key: default})
        value = super().setdefault(key, default)
        self._touch(key, value)
        return value
