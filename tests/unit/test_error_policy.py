"""The decision for a failed attempt: a table, without anything around it."""

import pytest

from routilux import ErrorHandler
from routilux.flow.error_policy import Decision, asks_application, decide

ERROR = ValueError("no good")


def retrying(**options):
    return ErrorHandler("retry", max_retries=2, retryable_exceptions=(ValueError,), **options)


@pytest.mark.parametrize(
    ("policy", "is_entry", "expected"),
    [
        (None, True, Decision.FAIL),
        (None, False, Decision.NOTE),
        (ErrorHandler("stop"), True, Decision.FAIL),
        (ErrorHandler("stop"), False, Decision.FAIL),
        (ErrorHandler("continue"), True, Decision.CONTINUE),
        (ErrorHandler("continue"), False, Decision.CONTINUE),
        (ErrorHandler("skip"), True, Decision.SKIP),
        (ErrorHandler("skip"), False, Decision.SKIP),
        (retrying(), True, Decision.RETRY),
        (retrying(), False, Decision.RETRY),
    ],
)
def test_the_first_failure_follows_the_policy_and_only_without_one_the_entry_differs(policy, is_entry, expected):
    assert decide(policy, 0, ERROR, is_entry) is expected


@pytest.mark.parametrize("is_entry", [True, False])
def test_retries_are_granted_until_they_are_used_up(is_entry):
    decisions = [decide(retrying(), count, ERROR, is_entry) for count in range(4)]
    assert decisions == [Decision.RETRY, Decision.RETRY, Decision.FAIL, Decision.FAIL]


def test_what_is_not_retryable_fails_at_once():
    assert decide(retrying(), 0, KeyError("k"), False) is Decision.FAIL


def test_what_a_policy_counts_for_readers_decides_nothing():
    policy = retrying()
    policy.retry_count = 99
    assert decide(policy, 0, ERROR, False) is Decision.RETRY


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("policy", [None, ErrorHandler("continue"), ErrorHandler("skip"), retrying()])
@pytest.mark.parametrize("is_entry", [True, False])
def test_no_policy_tolerates_being_told_to_stop(error, policy, is_entry):
    assert decide(policy, 0, error, is_entry) is Decision.FAIL


@pytest.mark.parametrize("strategy", ["stop", "continue", "skip", "retry"])
def test_an_application_that_says_no_fails_the_run(strategy):
    assert decide(ErrorHandler(strategy), 0, ERROR, False, verdict=False) is Decision.FAIL


@pytest.mark.parametrize(
    ("strategy", "expected"), [("stop", Decision.CONTINUE), ("continue", Decision.CONTINUE), ("skip", Decision.SKIP)]
)
def test_an_application_that_says_yes_tolerates(strategy, expected):
    assert decide(ErrorHandler(strategy), 0, ERROR, False, verdict=True) is expected


def test_only_a_subclass_with_a_handle_error_of_its_own_is_asked():
    class Own(ErrorHandler):
        def handle_error(self, *args, **kwargs):
            return True

    class Plain(ErrorHandler):
        pass

    assert asks_application(Own())
    assert not asks_application(Plain())
    assert not asks_application(ErrorHandler())
    assert not asks_application(None)
