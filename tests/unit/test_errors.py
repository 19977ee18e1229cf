"""Every error says what was wrong, which names exist and what to do, and is caught by the built-in that one expects."""

import pickle

import pytest

from routilux import errors
from routilux.errors import RoutiluxError, SourceFileError, UnknownNameError

BUILT_IN = {
    "InvalidValueError": ValueError,
    "BrokenDrawingError": ValueError,
    "UnknownNameError": ValueError,
    "DuplicateNameError": ValueError,
    "ForeignStateError": ValueError,
    "InvalidDataError": ValueError,
    "CallableError": ValueError,
    "ExpressionError": ValueError,
    "NotPendingError": ValueError,
    "RegisteredNameError": ValueError,
    "SourceFileError": ValueError,
    "HandlerTypeError": TypeError,
    "InvalidTypeError": TypeError,
    "MergeResultError": TypeError,
    "MissingExtraError": ImportError,
    "NotPlainError": TypeError,
    "RunError": RuntimeError,
    "NoRunError": RuntimeError,
    "RunEndedError": RuntimeError,
    "FlowShutDownError": RuntimeError,
    "SelfWaitError": RuntimeError,
    "AttemptTimeoutError": TimeoutError,
    "AwaitCancelledError": RuntimeError,
    "HandlerCancelledError": RuntimeError,
    "LateAttemptError": RuntimeError,
    "WorkerStartError": RuntimeError,
    "RunDrivenError": RuntimeError,
    "LeaseLostError": RuntimeError,
    "StoreError": RuntimeError,
    "StoreBusyError": TimeoutError,
    "StoreUnavailableError": OSError,
    "NewerStoreError": ValueError,
    "UnknownRunError": KeyError,
    "ResumeRefusedError": ValueError,
}


@pytest.mark.parametrize(("name", "built_in"), BUILT_IN.items())
def test_an_error_is_caught_by_its_built_in_and_by_ours(name, built_in):
    assert issubclass(getattr(errors, name), built_in)
    assert issubclass(getattr(errors, name), RoutiluxError)


def test_every_public_error_is_in_this_table():
    assert set(errors.__all__) == {*BUILT_IN, "RoutiluxError"}


def test_an_unknown_name_is_shown_with_those_that_exist_and_the_nearest():
    error = UnknownNameError("event", "outptu", ["output", "done"], "routine 'a'")
    assert str(error) == "Unknown event 'outptu' in routine 'a'. Known: 'done', 'output'. Did you mean 'output'?"
    assert (error.kind, error.name, error.known) == ("event", "outptu", ["done", "output"])


def test_an_unknown_name_where_there_is_none_says_so():
    assert str(UnknownNameError("slot", "input", [])) == "Unknown slot 'input'. There is no slot there yet."


def test_a_long_list_of_names_is_cut():
    text = str(UnknownNameError("routine", "x", [f"routine-{number:03}" for number in range(100)]))
    assert "and 80 more" in text
    assert len(text) < 600


@pytest.mark.parametrize("name", [None, 5, ("a", "b"), b"x", ""])
def test_a_name_of_any_kind_can_be_unknown(name):
    assert repr(name) in str(UnknownNameError("routine", name, ["a"]))


def test_an_unknown_name_survives_pickling_as_a_value_error():
    error = UnknownNameError("event", "x", ["y"])
    twin = pickle.loads(pickle.dumps(error))
    assert isinstance(twin, ValueError)
    assert str(twin) == str(error)


def test_a_source_file_error_survives_pickling_with_its_place():
    error = SourceFileError("steps.py", 3, "invalid syntax")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), twin.path, twin.line, twin.reason) == (SourceFileError, "steps.py", 3, "invalid syntax")
    assert str(twin) == str(error)
    assert str(twin).startswith("steps.py, line 3: this is not Python: invalid syntax.")
