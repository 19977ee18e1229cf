"""Every exception that routilux raises, drawn as one tree.

    RoutiluxError
    ├── InvalidValueError (ValueError)      an argument has a value that cannot work
    │   ├── UnknownNameError                an id, event, slot or strategy that does not exist
    │   ├── UnknownRunError (KeyError)      a run that the store does not have
    │   ├── DuplicateNameError              a name that is taken already
    │   ├── ForeignStateError               a JobState of another flow
    │   ├── InvalidDataError                saved data that are broken, foreign or newer
    │   ├── BrokenDrawingError              a flow in which something is certain to fail
    │   ├── ResumeRefusedError              a run that cannot go on with the flow as it is drawn now
    │   ├── NotPendingError                 a JobState that was executed before
    │   ├── CallableError                   a function that cannot be saved or restored
    │   ├── ExpressionError                 a condition as text that is none, or goes too far
    │   ├── SourceFileError                 a source file that is not Python
    │   └── RegisteredNameError             an application class holds one of our names in serilux
    ├── HandlerTypeError (TypeError)        a handler, or what it returned, is not usable
    ├── InvalidTypeError (TypeError)        an argument is of the wrong kind
    ├── MergeResultError (TypeError)        a merge strategy did not return a dict
    ├── NotPlainError (TypeError)           user data that JSON cannot hold
    ├── MissingExtraError (ImportError)     a config or URL asks for a package that is not installed
    ├── RunError (RuntimeError)             the moment is wrong, not the argument
    │   ├── NoRunError                      called outside an execution
    │   ├── RunEndedError                   emitted into a run that has ended
    │   ├── FlowShutDownError               the flow takes no new work
    │   ├── SelfWaitError                   a handler waits for its own run
    │   ├── AttemptTimeoutError (TimeoutError) an attempt took longer than its routine's attempts may
    │   ├── LateAttemptError                a handler goes on after its attempt was given up
    │   ├── HandlerCancelledError           an async handler was cancelled with its run
    │   ├── AwaitCancelledError             what an async handler awaited was cancelled, and its run was not
    │   ├── WorkerStartError                no thread could be started
    │   ├── RunDrivenError                  another process drives the run
    │   └── LeaseLostError                  another process has taken the runs over
    └── StoreError (RuntimeError)           a store of runs that does not do what it should
        ├── StoreBusyError (TimeoutError)   another process holds it for too long
        ├── StoreUnavailableError (OSError) it cannot be reached, read or written
        └── NewerStoreError (ValueError)    a newer routilux has made it

Each class also inherits the built-in that a caller would catch. A message says what was wrong, with the value
and the names that exist, and then what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what a flow's checks find
    from routilux.flow.checks import Finding
    from routilux.flow.code_change import ResumeCheck

__all__ = [
    "AttemptTimeoutError",
    "AwaitCancelledError",
    "BrokenDrawingError",
    "CallableError",
    "DuplicateNameError",
    "ExpressionError",
    "FlowShutDownError",
    "ForeignStateError",
    "HandlerCancelledError",
    "HandlerTypeError",
    "InvalidDataError",
    "InvalidTypeError",
    "InvalidValueError",
    "LateAttemptError",
    "LeaseLostError",
    "MergeResultError",
    "MissingExtraError",
    "NewerStoreError",
    "NoRunError",
    "NotPendingError",
    "NotPlainError",
    "RegisteredNameError",
    "ResumeRefusedError",
    "RoutiluxError",
    "RunDrivenError",
    "RunEndedError",
    "RunError",
    "SelfWaitError",
    "SourceFileError",
    "StoreBusyError",
    "StoreError",
    "StoreUnavailableError",
    "UnknownNameError",
    "UnknownRunError",
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
        # A long text is no slip of the pen, and comparing it would take all the memory there is.
        text = self.name[:200] if isinstance(self.name, str) else ""
        near = get_close_matches(text, self.known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"Known: {listed}.{hint}"


class DuplicateNameError(InvalidValueError):
    """A name that is taken already."""


class ForeignStateError(InvalidValueError):
    """A JobState that belongs to another flow."""


class BrokenDrawingError(InvalidValueError):
    """A flow is executed in whose drawing something is certain to fail; nothing has run.

    Attributes:
        flow_id: The flow's.
        findings: What is wrong; see `Flow.validate`.
    """

    def __init__(self, flow_id: str, findings: "Iterable[Finding]") -> None:
        self.flow_id = flow_id
        self.findings = tuple(findings)
        listed = "".join(f"\n  {each.where}: {each.message} {each.advice} [{each.code}]" for each in self.findings)
        super().__init__(f"Flow {flow_id!r} cannot be executed; correct its drawing:{listed}")

    def __reduce__(self) -> tuple[object, ...]:
        return (BrokenDrawingError, (self.flow_id, self.findings))


class ResumeRefusedError(InvalidValueError):
    """A run cannot go on with the flow as it is drawn now; nothing has happened.

    Attributes:
        job_id: The run's.
        checks: What stands in its way, routine by routine; see `Flow.check_resume`.
    """

    def __init__(self, job_id: str, checks: "Iterable[ResumeCheck]") -> None:
        self.job_id = job_id
        self.checks = tuple(checks)
        listed = "".join(f"\n  {check.routine_id}: {check.reason} {check.advice}" for check in self.checks)
        super().__init__(f"Run {job_id} cannot go on with the flow as it is drawn now:{listed}")

    def __reduce__(self) -> tuple[object, ...]:
        return (ResumeRefusedError, (self.job_id, self.checks))


class NotPendingError(InvalidValueError):
    """A JobState that was executed before is given to `execute`."""

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(
            f"execute() takes a JobState that is pending; {job_id} is {status!r}. "
            "Each run has one of its own: make a new JobState(flow.flow_id)."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (InvalidValueError, self.args)


class InvalidDataError(InvalidValueError):
    """Saved data that are truncated, foreign, newer, or not what they should be."""


class CallableError(InvalidValueError):
    """A callable that cannot be saved, or that saved data must not bring back."""


class ExpressionError(InvalidValueError):
    """An expression that is none, that has something which is not allowed in one, or that goes beyond its bounds."""


class SourceFileError(InvalidValueError):
    """A source file that Python cannot read.

    Attributes:
        path: The file.
        line: The number of the line, from 1; None where no single line is to blame.
        reason: What is wrong.
    """

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        place = path if line is None else f"{path}, line {line}"
        super().__init__(
            f"{place}: this is not Python: {reason}. Correct the file, or read it with the Python version that it is "
            "written for."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (SourceFileError, (self.path, self.line, self.reason))


class RegisteredNameError(InvalidValueError):
    """An application class holds one of our names in serilux's registry."""


class HandlerTypeError(RoutiluxError, TypeError):
    """A handler that cannot be called as a slot handler, or that returned something to await."""


class InvalidTypeError(RoutiluxError, TypeError):
    """An argument is of the wrong kind."""


class MergeResultError(RoutiluxError, TypeError):
    """A merge strategy did not return a dict."""


class MissingExtraError(RoutiluxError, ImportError):
    """A config, or the URL of a store, asks for something that needs a package which is not installed."""


class NotPlainError(RoutiluxError, TypeError):
    """User data that JSON cannot hold."""


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


class AttemptTimeoutError(RunError, TimeoutError):
    """An attempt took longer than its routine's `attempt_timeout`.

    Attributes:
        seconds: Of an async handler that was cancelled where it awaited: what it might take; else None.
    """

    seconds: float | None = None


class LateAttemptError(RunError):
    """A handler does something for its run, and its attempt was given up: its routine's `attempt_timeout` was over."""


class HandlerCancelledError(RunError):
    """An async handler was cancelled where it awaited something: its run was cancelled, or its time was over."""


class AwaitCancelledError(RunError):
    """What an async handler awaited was cancelled, by nobody of its run: an error as every other."""


class WorkerStartError(RunError):
    """The operating system refused to start a thread."""


class RunDrivenError(RunError):
    """A living process drives the run, and it is not this one."""


class LeaseLostError(RunError):
    """This process gave no sign of life for too long, and another has taken its runs over."""


class StoreError(RoutiluxError, RuntimeError):
    """A store of runs does not do what it should."""


class StoreBusyError(StoreError, TimeoutError):
    """Another process holds the store for longer than this one waits."""


class StoreUnavailableError(StoreError, OSError):
    """A store cannot be reached, read or written."""


class NewerStoreError(StoreError, ValueError):
    """A store that a newer routilux has made."""


class UnknownRunError(InvalidValueError, KeyError):
    """A run that the store does not have."""

    __str__ = Exception.__str__  # a KeyError shows its argument as Python code


def text_of(error: BaseException) -> str:
    """What an error says. An exception of the application whose `__str__` raises says so, instead of raising here."""
    try:
        return str(error)
    except Exception as inner:  # noqa: BLE001 - application code
        return f"<no text: __str__ raised {type(inner).__name__}>"


def repr_of(value: object) -> str:
    """What an object of the application is, for a message. One whose `__repr__` raises says so."""
    try:
        return repr(value)
    except Exception as inner:  # noqa: BLE001 - application code
        return f"<{type(value).__name__}: __repr__ raised {type(inner).__name__}>"
