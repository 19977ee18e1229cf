"""Every exception that routilux raises, drawn as one tree.

    RoutiluxError
    ├── InvalidValueError (ValueError)      an argument has a value that cannot work
    │   ├── UnknownNameError                an id, event, slot or strategy that does not exist
    │   ├── DuplicateNameError              a name that is taken already
    │   ├── ForeignStateError               a JobState of another flow
    │   └── RegisteredNameError             an application class holds one of our names in serilux
    ├── HandlerTypeError (TypeError)        a handler, or what it returned, is not usable
    ├── InvalidTypeError (TypeError)        an argument is of the wrong kind
    ├── MergeResultError (TypeError)        a merge strategy did not return a dict
    └── RunError (RuntimeError)             the moment is wrong, not the argument
        ├── NoRunError                      called outside an execution
        ├── RunEndedError                   emitted into a run that has ended
        ├── FlowShutDownError               the flow takes no new work
        ├── SelfWaitError                   a handler waits for its own run
        └── WorkerStartError                no thread could be started

Each class also inherits the built-in that a caller would catch. A message says what was wrong, with the value
and the names that exist, and then what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "DuplicateNameError",
    "FlowShutDownError",
    "ForeignStateError",
    "HandlerTypeError",
    "InvalidTypeError",
    "InvalidValueError",
    "MergeResultError",
    "NoRunError",
    "RegisteredNameError",
    "RoutiluxError",
    "RunEndedError",
    "RunError",
    "SelfWaitError",
    "UnknownNameError",
    "WorkerStartError",
]


class RoutiluxError(Exception):
    """The root of every error that this library raises on purpose."""


class InvalidValueError(RoutiluxError, ValueError):
    """An argument has a value that cannot work."""


class UnknownNameError(InvalidValueError):
    """A name that does not exist; the message lists the ones that do.

    Attributes:
        kind: What was looked up, such as "routine" or "event".
        name: The name that was asked for.
        known: The names that exist, sorted.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str], where: str = "") -> None:
        self.kind = kind
        self.name = name
        self.known = sorted(known)
        place = f" in {where}" if where else ""
        super().__init__(f"Unknown {kind} {name!r}{place}. {self._advice()}")

    def __reduce__(self) -> tuple[object, ...]:
        return (InvalidValueError, self.args)

    def _advice(self) -> str:
        if not self.known:
            return f"There is no {self.kind} there yet."
        listed = ", ".join(repr(name) for name in self.known[:20])
        if len(self.known) > 20:
            listed += f" and {len(self.known) - 20} more"
        near = get_close_matches(str(self.name), self.known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"Known: {listed}.{hint}"


class DuplicateNameError(InvalidValueError):
    """A name that is taken already."""


class ForeignStateError(InvalidValueError):
    """A JobState that belongs to another flow."""


class RegisteredNameError(InvalidValueError):
    """An application class holds one of our names in serilux's registry."""


class HandlerTypeError(RoutiluxError, TypeError):
    """A handler that cannot be called as a slot handler, or that returned something to await."""


class InvalidTypeError(RoutiluxError, TypeError):
    """An argument is of the wrong kind."""


class MergeResultError(RoutiluxError, TypeError):
    """A merge strategy did not return a dict."""


class RunError(RoutiluxError, RuntimeError):
    """The moment is wrong, not the argument."""


class NoRunError(RunError):
    """Called outside an execution."""


class RunEndedError(RunError):
    """Emitted into a run that has ended."""


class FlowShutDownError(RunError):
    """The flow was shut down and takes no new work."""


class SelfWaitError(RunError):
    """A handler waits for the run that it belongs to, or for one that waits for it."""


class WorkerStartError(RunError):
    """The operating system refused to start a thread."""


def text_of(error: BaseException) -> str:
    """What an error says. An exception of the application whose `__str__` raises says so, instead of raising here."""
    try:
        return str(error)
    except Exception as inner:  # noqa: BLE001 - application code
        return f"<no text: __str__ raised {type(inner).__name__}>"
