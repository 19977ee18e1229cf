"""What follows from an error: (policy, retries so far, error) -> decision. Nothing here changes anything."""

from enum import Enum

from routilux.error_handler import ErrorHandler, ErrorStrategy

__all__ = ["Decision", "asks_application", "decide"]


class Decision(Enum):
    """What happens to an activation whose handler raised."""

    RETRY = "retry"
    FAIL = "failed"
    CONTINUE = "error_continued"
    SKIP = "skipped"
    # A task that nobody has a policy for: noted, and the run goes on. An entry without one fails.
    NOTE = "noted"
    # An async handler that was cancelled with its run. No policy is asked.
    STOP = "cancelled"


def decide(
    policy: ErrorHandler | None, retry_count: int, error: BaseException, is_entry: bool, verdict: bool | None = None
) -> Decision:
    """The decision for one failed attempt.

    Args:
        policy: The routine's, else the flow's, else None.
        retry_count: Retries that this activation has had.
        error: What the handler raised.
        is_entry: Whether it is the entry of the run.
        verdict: What a subclass's own `handle_error` said; None when it was not asked.
    """
    if not isinstance(error, Exception):
        return Decision.FAIL  # SystemExit, KeyboardInterrupt: no policy tolerates being told to stop
    if policy is None:
        return Decision.FAIL if is_entry else Decision.NOTE
    strategy = policy.strategy
    if verdict is False:
        return Decision.FAIL
    if strategy is ErrorStrategy.RETRY:
        if retry_count < policy.max_retries and policy.is_retryable(error):
            return Decision.RETRY
        return Decision.CONTINUE if verdict else Decision.FAIL
    if strategy is ErrorStrategy.SKIP:
        return Decision.SKIP
    return Decision.CONTINUE if verdict or strategy is ErrorStrategy.CONTINUE else Decision.FAIL


def asks_application(policy: ErrorHandler | None) -> bool:
    """Whether the policy is a subclass with a `handle_error` of its own, which wants to be asked."""
    return policy is not None and type(policy).handle_error is not ErrorHandler.handle_error
