"""ErrorStrategy and ErrorHandler: what is to be done when a handler raises. A policy, without counters of runs."""

import logging
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidTypeError, InvalidValueError, UnknownNameError
from routilux.registration import OwnFields, registered

if TYPE_CHECKING:  # named in signatures; a policy needs no room above it
    from routilux.flow.flow import Flow
    from routilux.job_state import JobState
    from routilux.routine import Routine

__all__ = ["ErrorHandler", "ErrorStrategy"]

logger = logging.getLogger(__name__)


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

    fields_to_serialize = [
        "strategy",
        "max_retries",
        "retry_delay",
        "retry_backoff",
        "retry_count",
        "is_critical",
        "retryable_exceptions",
    ]

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
        self.max_retries = _not_negative("max_retries", max_retries)
        self.retry_delay = _not_negative("retry_delay", retry_delay)
        self.retry_backoff = _not_negative("retry_backoff", retry_backoff)
        self.retryable_exceptions: tuple[type[BaseException], ...] = _exception_classes(retryable_exceptions)
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

    def reset(self) -> None:
        """Set `retry_count` back to 0."""
        self.retry_count = 0


def _not_negative(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{name} must be a number, not {value!r}.")
    if not value >= 0:
        raise InvalidValueError(f"{name} must not be negative, and {value!r} is. Use 0 for none.")
    return value


def _exception_classes(classes: Any) -> tuple[type[BaseException], ...]:
    if classes is None:
        return (Exception,)
    found = (classes,) if isinstance(classes, type) else tuple(classes)
    for cls in found:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise InvalidTypeError(f"retryable_exceptions holds {cls!r}, which is not an exception class.")
    return found
