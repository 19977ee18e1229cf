"""An application class that took one of our names in serilux's registry: the error names both."""

import subprocess
import sys
from pathlib import Path

import pytest

NAMES = [
    "Flow", "Routine", "Slot", "Event", "Connection", "JobState", "ExecutionRecord", "ErrorHandler", "ExecutionTracker",
    "TextClipper", "TimeProvider",
]  # fmt: skip

PROGRAM = """
import serilux

class {name}(serilux.Serializable):
    pass

serilux.register_serializable({name})
try:
    import routilux
    routilux.{name}
except ValueError as error:
    print(type(error).__name__, error)
"""


def in_child(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True, capture_output=True, text=True, timeout=50, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_took_one_of_our_names_is_named_with_ours(name):
    text = in_child(PROGRAM.format(name=name))
    assert text.startswith("RegisteredNameError")
    assert f"__main__.{name}" in text
    assert f"routilux.{'flow.flow' if name == 'Flow' else ''}" in text
    assert "Rename" in text


# A flow whose only routine is of a class with the name of a built-in one; the registered one is a routine.
THEIRS = """
import json, routilux

@routilux.job_state.register_serializable
class TextClipper(routilux.Routine):
    pass

flow = routilux.Flow()
flow.deserialize({"routines": {"r": {"_type": "TextClipper"}}})
print(type(flow.routines["r"]) is TextClipper)
try:
    flow.deserialize({"routines": {"r": {"_type": "TextRenderer"}}})
except ValueError as error:
    print(type(error).__name__, error)
print(type(flow.routines["r"]) is TextClipper)
"""


def test_a_class_that_took_the_name_of_a_builtin_is_the_one_that_is_restored():
    own, error, kept = in_child(THEIRS).splitlines()
    assert (own, kept) == ("True", "True")
    assert error.startswith("RegisteredNameError")
    assert "__main__.TextClipper" in error
    assert "routilux.builtin_routines." in error


def test_classes_of_other_names_do_no_harm():
    program = (
        PROGRAM.format(name="FlowChart").replace("routilux.FlowChart", "routilux.TextClipper")
        + "\nprint(routilux.Flow().run)\n"
    )
    assert "bound method" in in_child(program)
