"""Places in limited groups: how many coroutines of a group are driven at once, and which wait for a place.

Everything here is done on the loop's thread.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any

from routilux.executors.driven import Driven

__all__ = ["Places"]


class Places:
    """Who has a place, and who waits for one, by group.

    A group is known by its identity: it is a routine, which need not be hashable. Who has a place keeps it alive.

    Args:
        begin: Called with the beginning of a coroutine that has waited, and need not any more.
    """

    def __init__(self, begin: Callable[[Any], None]) -> None:
        self._begin = begin
        self._counts: Counter[int] = Counter()
        self._waiting: dict[int, deque[tuple[Driven, Any]]] = {}

    def admits(self, driven: Driven, beginning: Any) -> bool:
        """Whether a coroutine has a place now, or needs none; else its beginning is kept until there is one."""
        if driven.limit is None or driven.has_place:
            return True
        key = id(driven.limit.group)
        waiting = self._waiting.get(key)
        if not waiting and self._has_room(driven):
            self._counts[key] += 1
            driven.has_place = True
            return True
        if waiting is None:
            waiting = self._waiting[key] = deque()
        waiting.append((driven, beginning))
        self._fill(key)  # a limit may have been raised since
        return False

    def _has_room(self, driven: Driven) -> bool:
        if driven.limit is None:
            return True
        most = driven.limit.most()  # each time: it may be changed while some wait
        return most is None or self._counts[id(driven.limit.group)] < most

    def _fill(self, key: int) -> None:
        waiting = self._waiting.get(key)
        while waiting and self._has_room(waiting[0][0]):
            driven, beginning = waiting.popleft()
            self._counts[key] += 1
            driven.has_place = True
            self._begin(beginning)
        if not waiting:
            self._waiting.pop(key, None)

    def give_back(self, driven: Driven) -> None:
        """A coroutine has ended: the next of its group may begin."""
        if driven.limit is None or not driven.has_place:
            return
        key = id(driven.limit.group)
        driven.has_place = False
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
        self._fill(key)

    def let_go(self, drivens: Collection[Driven]) -> None:
        """These are not to wait any more: they end without having begun, and need no place for that."""
        for key in {id(driven.limit.group) for driven in drivens if driven.limit is not None}:
            mine = {id(driven) for driven in drivens}
            waiting = self._waiting.get(key, deque())
            gone = [pair for pair in waiting if id(pair[0]) in mine]
            if gone:
                self._waiting[key] = deque(pair for pair in waiting if id(pair[0]) not in mine)
            for driven, beginning in gone:
                driven.limit = None
                self._begin(beginning)
            self._fill(key)
