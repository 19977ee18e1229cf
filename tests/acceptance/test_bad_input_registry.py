"""An application class that took one of our names in serilux's registry: the error names both."""

import subprocess
import sys
from pathlib import Path

import pytest

NAMES = [
    "Flow", "Routine", "Slot", "Event", "Connection", "JobState", "ExecutionRecord", "ErrorHandler", "ExecutionTracker",
]  # fmt: skip

PROGRAM = """
import serilux

class {name}(serilux.Serializable):
    pass

serilux.register_serializable({name})
try:
    import routilux
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


def test_classes_of_other_names_do_no_harm():
    program = PROGRAM.format(name="FlowChart") + "\nprint(routilux.Flow().run)\n"
    assert "bound method" in in_child(program)
