"""ErrorStrategy and ErrorHandler: what is to be done when a handler raises. A policy, without counters of runs."""

import logging
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from serilux import SerializableRegistry

from routilux.callables import names_of_module
from routilux.errors import InvalidDataError, InvalidTypeError, InvalidValueError, UnknownNameError
from routilux.plain import shortened
from routilux.registration import OwnFields, registered
from routilux.restoration import Restoration, read_additions, read_by_class, restore_together, saved_additions
from routilux.saved import Reader

if TYPE_CHECKING:  # named in signatures; a policy needs no room above it
    from routilux.flow.flow import Flow
    from routilux.job_state import JobState
    from routilux.routine import Routine

__all__ = ["ErrorHandler", "ErrorStrategy"]

logger = logging.getLogger(__name__)

OWN_KEYS = (
    "strategy",
    "max_retries",
    "retry_delay",
    "retry_backoff",
    "retry_count",
    "is_critical",
    "retryable_exceptions",
)


class ErrorStrategy(Enum):
    """What to do about an error."""

    STOP = "stop"
    CONTINUE = "continue"
    RETRY = "retry"
    SKIP = "skip"


@registered
class ErrorHandler(OwnFields):
    """A policy for errors, of one routine or of a whole flow.

    Attempts are counted with each activation, so one ErrorHandler may serve many runs at once. A subclass that
    overrides `handle_error` is asked instead: True means tolerated, False means the run fails.

    Args:
        strategy: An ErrorStrategy or its name: "stop", "continue", "retry", "skip".
        max_retries: Retries after the first attempt: 3 allows four calls.
        retry_delay: Seconds before the first retry.
        retry_backoff: What the delay is multiplied by for each further retry.
        retryable_exceptions: Exception classes that are worth a retry; all of them by default.
        is_critical: Informs readers; the engine does not look at it.

    Raises:
        ValueError: Unknown strategy, a negative number.
    """

    fields_to_serialize = list(OWN_KEYS)

    def __init__(
        self,
        strategy: ErrorStrategy | str = "stop",
        max_retries: int = 3,
        retry_delay: float = 1.0,
        retry_backoff: float = 2.0,
        retryable_exceptions: Iterable[type[BaseException]] | None = None,
        is_critical: bool = False,
    ) -> None:
        self.strategy = strategy
        self.max_retries = max_retries
        self.retry_delay = retry_delay
        self.retry_backoff = retry_backoff
        self.retryable_exceptions = retryable_exceptions
        self.is_critical = is_critical
        #: Retries granted to the latest activation. Reported here for people; the engine never reads it.
        self.retry_count = 0

    def __repr__(self) -> str:
        text = f"ErrorHandler({self.strategy.value}"
        if self.strategy is ErrorStrategy.RETRY:
            text += f", {self.max_retries} retries after {self.retry_delay:g} s x {self.retry_backoff:g}"
        return text + (", critical)" if self.is_critical else ")")

    @property
    def strategy(self) -> ErrorStrategy:
        """The strategy; a name may be assigned, the member is read."""
        return self._strategy

    @strategy.setter
    def strategy(self, value: ErrorStrategy | str) -> None:
        try:
            self._strategy = ErrorStrategy(value)
        except ValueError:
            raise UnknownNameError("error strategy", value, [member.value for member in ErrorStrategy]) from None

    # What is assigned is checked here: else an error would be found out when a handler has raised another one.

    @property
    def max_retries(self) -> int:
        """Retries after the first attempt."""
        return self._max_retries

    @max_retries.setter
    def max_retries(self, value: int) -> None:
        self._max_retries: int = _not_negative("max_retries", value)

    @property
    def retry_delay(self) -> float:
        """Seconds before the first retry."""
        return self._retry_delay

    @retry_delay.setter
    def retry_delay(self, value: float) -> None:
        self._retry_delay: float = _not_negative("retry_delay", value)

    @property
    def retry_backoff(self) -> float:
        """What the delay is multiplied by for each further retry."""
        return self._retry_backoff

    @retry_backoff.setter
    def retry_backoff(self, value: float) -> None:
        self._retry_backoff: float = _not_negative("retry_backoff", value)

    @property
    def retryable_exceptions(self) -> tuple[type[BaseException], ...]:
        """The exception classes that are worth a retry; one, several or None for all may be assigned."""
        return self._retryable_exceptions

    @retryable_exceptions.setter
    def retryable_exceptions(self, value: type[BaseException] | Iterable[type[BaseException]] | None) -> None:
        self._retryable_exceptions = _exception_classes(value)

    def is_retryable(self, error: BaseException) -> bool:
        """Whether an error is one that a retry may help against."""
        return isinstance(error, self.retryable_exceptions)

    def delay_before(self, retry: int) -> float:
        """Seconds before retry number `retry`, counted from 1."""
        try:
            return float(self.retry_delay * self.retry_backoff ** (retry - 1))
        except OverflowError:
            return float("inf")

    def handle_error(
        self,
        error: BaseException,
        routine: "Routine",  # noqa: ARG002 - the signature that subclasses override
        routine_id: str,
        flow: "Flow | None",  # noqa: ARG002 - as above
        job_state: "JobState | None" = None,
    ) -> bool:
        """Apply the policy to one error; True when it is tolerated or worth another attempt.

        The engine calls this only on subclasses that override it. Called by hand, it counts `retry_count` up under
        RETRY, and never sleeps.
        """
        where = {"routine_id": routine_id, "job_id": job_state.job_id if job_state is not None else None}
        if self.strategy is ErrorStrategy.RETRY:
            if self.retry_count >= self.max_retries or not self.is_retryable(error):
                logger.error(
                    "%s failed for good after %d retries: %s", routine_id, self.retry_count, error, extra=where
                )
                return False
            self.retry_count += 1
            return True
        tolerated = self.strategy in (ErrorStrategy.CONTINUE, ErrorStrategy.SKIP)
        logger.log(
            logging.WARNING if tolerated else logging.ERROR,
            "%s: %s (%s)",
            routine_id,
            error,
            self.strategy.value,
            extra=where,
        )
        return tolerated

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The policy as data, with the fields that an application has added; exception classes by their names."""
        below: dict[str, Any] = {"max_depth": max_depth, "_current_depth": _current_depth + 1}
        return {
            "_type": type(self).__name__,
            "strategy": self.strategy.value,
            "max_retries": self.max_retries,
            "retry_delay": self.retry_delay,
            "retry_backoff": self.retry_backoff,
            "retry_count": self.retry_count,
            "is_critical": self.is_critical,
            "retryable_exceptions": [_name_of(cls) for cls in self.retryable_exceptions],
            **saved_additions(self, OWN_KEYS, "an ErrorHandler", below),
        }

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Take over what `serialize` wrote; a missing key keeps the present value.

        Raises:
            ValueError: A value that cannot be, or an exception class that is not imported; the policy is then as it
                was.
        """
        restore_together([_read(self, data)])

    def reset(self) -> None:
        """Set `retry_count` back to 0."""
        self.retry_count = 0


def read_policy(data: Any, present: ErrorHandler | None = None) -> tuple[ErrorHandler | None, list[Restoration]]:
    """The policy of saved data, and what is left to be restored in it together with the rest.

    One of a class of the application is restored only if the class is registered. A new policy is complete: nobody
    else has it yet.

    Args:
        data: What `ErrorHandler.serialize` wrote, or None.
        present: The policy that the constructor has set; it is kept, and restored in place, if it is of that class.

    Raises:
        InvalidDataError: It is no policy, or one of an unknown class.
    """
    if data is None:
        return None, []
    reader = Reader(data, "an ErrorHandler")
    name = reader.text("_type") if "_type" in reader else ErrorHandler.__name__
    if present is not None and type(present).__name__ == name:
        return present, [read_by_class(present, data, ErrorHandler, _read)]
    cls = SerializableRegistry.get_class(name)
    if not (isinstance(cls, type) and issubclass(cls, ErrorHandler)):
        raise InvalidDataError(
            f"The class {shortened(name)} is not a registered ErrorHandler. Import the module that defines "
            "it, and register the class with register_serializable."
        )
    policy = cls()
    policy.deserialize(data)
    return policy, []


def _read(policy: ErrorHandler, data: Any) -> Restoration:
    reader = Reader(data, "an ErrorHandler")
    values: dict[str, Any] = {}
    if "strategy" in reader:
        values["strategy"] = ErrorHandler(reader.text("strategy")).strategy
    for name in ("max_retries", "retry_delay", "retry_backoff", "retry_count"):
        if name in reader:
            values[name] = _not_negative(name, reader.number(name))
    if "is_critical" in reader:
        values["is_critical"] = reader.flag("is_critical")
    if "retryable_exceptions" in reader:
        names = reader.items("retryable_exceptions")
        if not all(isinstance(name, str | type) for name in names):
            raise reader.wrong("retryable_exceptions", "a list of class names")
        present = {_name_of(cls): cls for cls in policy.retryable_exceptions}
        values["retryable_exceptions"] = _exception_classes(
            [present.get(name, name) if isinstance(name, str) else name for name in names]
        )
    return Restoration(policy, values, read_additions(policy, OWN_KEYS, reader), "an ErrorHandler")


def _not_negative(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{name} must be a number, not {value!r}.")
    if not value >= 0:
        raise InvalidValueError(f"{name} must not be negative, and {value!r} is. Use 0 for none.")
    return value


def _exception_classes(classes: Any) -> tuple[type[BaseException], ...]:
    if classes is None:
        return (Exception,)
    if not isinstance(classes, type | Iterable) or isinstance(classes, str):
        raise InvalidTypeError(
            f"retryable_exceptions must be exception classes, such as (OSError, TimeoutError), not {classes!r}."
        )
    found = (classes,) if isinstance(classes, type) else tuple(classes)
    # Names come from serilux, which hands a constructor the saved values before it restores the rest.
    found = tuple(_exception_named(each) if isinstance(each, str) else each for each in found)
    for cls in found:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise InvalidTypeError(f"retryable_exceptions holds {cls!r}, which is not an exception class.")
    return found


def _name_of(cls: type[BaseException]) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _exception_named(name: str) -> type[BaseException]:
    """The exception class of a name, from builtins and modules that are imported already; nothing is imported."""
    parts = name.split(".", 20)
    found: Any = names_of_module("builtins").get(name)
    for length in range(len(parts) - 1, 0, -1):  # the longest module name first; what remains are classes in classes
        names = names_of_module(".".join(parts[:length]))
        if names:
            for part in parts[length:]:
                found = names.get(part)
                names = vars(found) if issubclass(type(found), type) else {}
            break
    if not (issubclass(type(found), type) and issubclass(found, BaseException)):
        raise InvalidDataError(
            f"retryable_exceptions names {shortened(name, 400)}, which is no exception class of an imported module. "
            "Import its module before you restore."
        )
    return cast("type[BaseException]", found)
