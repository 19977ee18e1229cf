"""An error handler is a policy: what it decides, what it counts, what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux import ErrorHandler, ErrorStrategy, Flow, JobState, Routine


def handle(handler: ErrorHandler, error: BaseException) -> bool:
    return handler.handle_error(error, Routine(), "routine", Flow(), JobState())


def test_a_policy_stops_by_default():
    handler = ErrorHandler()
    assert handler.strategy is ErrorStrategy.STOP
    assert (handler.max_retries, handler.retry_delay, handler.retry_backoff) == (3, 1.0, 2.0)
    assert handler.retryable_exceptions == (Exception,)
    assert handler.is_critical is False
    assert handler.retry_count == 0


@pytest.mark.parametrize("strategy", list(ErrorStrategy))
def test_a_strategy_is_given_as_member_or_as_its_name_and_read_as_member(strategy):
    assert ErrorHandler(strategy).strategy is strategy
    assert ErrorHandler(strategy.value).strategy is strategy
    handler = ErrorHandler()
    handler.strategy = strategy.value
    assert handler.strategy is strategy


def test_the_strategies_have_these_names():
    assert {member.name: member.value for member in ErrorStrategy} == {
        "STOP": "stop",
        "CONTINUE": "continue",
        "RETRY": "retry",
        "SKIP": "skip",
    }


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'ignore'") as caught:
        ErrorHandler("ignore")
    for strategy in ErrorStrategy:
        assert repr(strategy.value) in str(caught.value)


@pytest.mark.parametrize("name", ["max_retries", "retry_delay", "retry_backoff"])
@pytest.mark.parametrize("value", [-1, -0.001, float("-inf"), float("nan")])
def test_a_negative_number_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        ErrorHandler("retry", **{name: value})


@pytest.mark.parametrize("value", ["3", None, True])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="max_retries"):
        ErrorHandler("retry", max_retries=value)


@pytest.mark.parametrize("name", ["max_retries", "retry_delay", "retry_backoff"])
@pytest.mark.parametrize("value", [None, "3", -1, float("nan")])
def test_what_is_assigned_is_checked_as_well(name, value):
    handler = ErrorHandler("retry", max_retries=2, retry_delay=2, retry_backoff=2)
    with pytest.raises((TypeError, ValueError), match=name):
        setattr(handler, name, value)
    assert getattr(handler, name) == 2


def test_exception_classes_may_be_assigned_in_any_form():
    handler = ErrorHandler("retry")
    handler.retryable_exceptions = [ValueError, OSError]
    assert handler.retryable_exceptions == (ValueError, OSError)
    handler.retryable_exceptions = KeyError
    assert handler.is_retryable(KeyError())
    with pytest.raises(TypeError, match="retryable_exceptions"):
        handler.retryable_exceptions = 5
    assert handler.retryable_exceptions == (KeyError,)
    handler.retryable_exceptions = None
    assert handler.retryable_exceptions == (Exception,)


@pytest.mark.parametrize("policy", ["retry", ErrorStrategy.RETRY, ErrorHandler])
def test_a_flows_policy_that_is_none_is_refused_when_it_is_assigned(policy):
    flow = Flow()
    flow.error_handler = before = ErrorHandler("skip")
    with pytest.raises(TypeError, match="ErrorHandler"):
        flow.error_handler = policy
    assert flow.error_handler is before
    flow.error_handler = None
    assert flow.error_handler is None


@pytest.mark.parametrize("classes", [[ValueError("x")], [42], [int]])
def test_what_is_no_exception_class_is_refused(classes):
    with pytest.raises(TypeError, match="retryable_exceptions"):
        ErrorHandler("retry", retryable_exceptions=classes)


@pytest.mark.parametrize(("strategy", "tolerated"), [("stop", False), ("continue", True), ("skip", True)])
def test_asked_by_hand_it_says_whether_the_error_is_tolerated(strategy, tolerated):
    assert handle(ErrorHandler(strategy), ValueError("x")) is tolerated


def test_asked_by_hand_retry_grants_so_many_retries_and_counts_them():
    handler = ErrorHandler("retry", max_retries=2, retry_delay=100)
    assert [handle(handler, ValueError("x")) for _ in range(4)] == [True, True, False, False]
    assert handler.retry_count == 2
    handler.reset()
    assert handler.retry_count == 0
    assert handle(handler, ValueError("x")) is True


def test_asked_by_hand_retry_does_not_tolerate_what_is_not_retryable():
    handler = ErrorHandler("retry", retryable_exceptions=(ConnectionError,))
    assert handle(handler, ValueError("x")) is False
    assert handle(handler, ConnectionResetError("x")) is True


def test_a_job_state_is_not_needed():
    assert ErrorHandler("continue").handle_error(ValueError("x"), Routine(), "routine", Flow()) is True


def test_the_retry_count_may_be_assigned():
    handler = ErrorHandler("retry")
    handler.retry_count = 5
    assert handler.retry_count == 5


@given(st.floats(0, 100), st.floats(0, 10), st.integers(1, 30))
def test_the_delay_grows_by_the_backoff(delay, backoff, retry):
    assert ErrorHandler("retry", retry_delay=delay, retry_backoff=backoff).delay_before(retry) == pytest.approx(
        delay * backoff ** (retry - 1)
    )


def test_a_delay_beyond_all_numbers_is_infinite():
    assert ErrorHandler("retry", retry_delay=1.0, retry_backoff=1e10).delay_before(1000) == float("inf")


def test_a_policy_says_what_it_does():
    assert "retry" in repr(ErrorHandler("retry", max_retries=4, is_critical=True))
    assert "4" in repr(ErrorHandler("retry", max_retries=4))
    assert "critical" in repr(ErrorHandler("retry", is_critical=True))
