"""A process that has imported nothing but routilux restores a flow with built-in routines, and runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from routilux import Flow
from tests.hostile import TRICKS
from tests.registered import Box

ROOT = Path(__file__).parents[2]

# The name, its config, its entry and its event, what it is sent, and some of what it emits.
CASES = [
    ("ConditionalRouter", {"routes": [["big", "data['n'] > 5"]]}, "input", "big", {"data": {"n": 7}}, {"route": "big"}),
    ("DataFlattener", {}, "input", "output", {"data": {"a": {"b": 1}}}, {"flattened_data": {"a.b": 1}}),
    (
        "DataTransformer",
        {"transformations": ["uppercase"]},
        "input",
        "output",
        {"data": "a"},
        {"transformed_data": "A"},
    ),
    ("DataValidator", {"rules": {"n": "is_int"}}, "input", "valid", {"data": {"n": 1}}, {"validated_data": {"n": 1}}),
    ("ResultExtractor", {}, "input", "output", {"data": "[1]"}, {"extracted_result": [1], "format": "json"}),
    ("TextClipper", {"max_length": 3}, "input", "output", {"text": "ab\ncdef"}, {"was_clipped": True}),
    ("TextRenderer", {}, "input", "output", {"data": {"a": 1}}, {"rendered_text": "<a>1</a>"}),
    ("TimeProvider", {"custom_format": "now"}, "request", "output", {"data": {}}, {"formatted": "now"}),
]

RESTORE = """
import json, sys, routilux

name, slot, event, saved, sent = json.load(sys.stdin)
got = []
with routilux.Flow() as flow:
    flow.deserialize(saved)
    start, end = routilux.Routine(), routilux.Routine()
    start.define_slot("trigger", handler=lambda **data: start.emit("out", **data))
    start.define_event("out")
    end.define_slot("trigger", handler=lambda **data: got.append(data))
    flow.add_routine(start, "start")
    flow.add_routine(end, "end")
    flow.connect("start", "out", "made", slot)
    flow.connect("made", event, "end", "trigger")
    assert flow.run("start", sent).status == "completed"
assert type(flow.routines["made"]) is getattr(routilux, name)
print(json.dumps(got))
"""


def in_child(program: str, given: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(given), check=False, capture_output=True, text=True, timeout=50, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("name", "config", "slot", "event", "sent", "emitted"), CASES, ids=[case[0] for case in CASES])
def test_a_flow_with_a_builtin_is_restored_and_runs(name, config, slot, event, sent, emitted):
    saved = {"flow_id": "saved", "routines": {"made": {"_type": name, "_config": config}}, "connections": []}
    whole = Flow()
    whole.deserialize(saved)
    (got,) = json.loads(in_child(RESTORE, [name, slot, event, whole.serialize(), sent]))
    assert {key: got[key] for key in emitted} == emitted


def test_a_builtin_in_a_field_of_the_application_is_restored():
    program = (
        "import json, sys, routilux\n"
        "from tests.registered import Box\n"
        "class Keeper(routilux.Routine):\n"
        "    def __init__(self):\n"
        "        super().__init__(); self.box = Box(); self.add_serializable_fields(['box'])\n"
        "keeper = Keeper(); keeper.deserialize(json.load(sys.stdin))\n"
        "print(type(keeper.box.held).__name__, keeper.box.held.get_config('max_length'))"
    )
    held = {"_type": "TextClipper", "_config": {"max_length": 7}}
    saved = {"_type": "Keeper", "box": {"_type": Box.__name__, "held": held}}
    assert in_child(program, saved) == "TextClipper 7"


# One thread has come no further than to register the class when another restores by it.
HALF_IMPORTED = """
import sys, threading, routilux
from routilux import registration

register, reached, restored = registration.register_serializable, threading.Event(), threading.Event()

def halting(cls):
    register(cls)
    if cls.__name__ == "ConditionalRouter":
        reached.set()
        restored.wait(0.3)  # in vain: it has to wait for this thread

def restore():
    flow = routilux.Flow()
    flow.deserialize({"routines": {"r": {"_type": "ConditionalRouter"}}})
    print(hasattr(sys.modules["routilux.builtin_routines"], "TimeProvider"))
    restored.set()

registration.register_serializable = halting
importing = threading.Thread(target=lambda: routilux.TextClipper)
importing.start()
assert reached.wait(20)
restoring = threading.Thread(target=restore)
restoring.start()
importing.join(), restoring.join()
"""


def test_a_builtin_that_another_thread_is_still_importing_is_waited_for():
    assert in_child(HALF_IMPORTED, None) == "True"


# Does something, and prints which modules that has imported.
WATCHED = """
import json, sys, routilux

given, plain = json.load(sys.stdin), set(sys.modules)
{act}
print(*sorted(set(sys.modules) - plain))
"""

RESTORE_ALL = """
for saved in given:
    try:
        routilux.Flow().deserialize(saved)
    except (TypeError, ValueError):
        pass
"""


def imported(act: str, given: object = None) -> set[str]:
    return set(in_child(WATCHED.format(act=act), given).split())


NO_BUILTINS = [
    "routilux.TextClipper", "routilux.builtin_routines", "builtin_routines", "testing", "cli", "routilux.cli",
    "textclipper", " TextClipper", "TextClipper\0", "colorsys", "NamedFunctions", "__getattr__", "",
]  # fmt: skip


def with_routine(name: object, **more: object) -> dict[str, object]:
    return {"routines": {"r": {"_type": name, **more}}}


def test_no_other_name_imports_anything():
    flows = [with_routine(name) for name in [*NO_BUILTINS, None, 5, ["TextClipper"], {"_type": "TextClipper"}]]
    assert imported(RESTORE_ALL, flows) == set()


def test_the_name_of_a_builtin_where_user_data_stand_imports_nothing():
    data = {"_type": "TextClipper", "_config": {}}
    flows = [with_routine("Routine", _config={"a": data}), {"error_handler": data}, {"flow_id": "f", "unknown": data}]
    assert imported(RESTORE_ALL, flows) == set()


def test_a_file_that_names_builtins_imports_their_module_and_nothing_else():
    tricks = [value for name, value in TRICKS.items() if "huge" not in name and "many" not in name]
    flows = [with_routine(case[0], _config={"a": trick}, _slots={"b": trick}) for case in CASES for trick in tricks]
    builtins = imported("routilux.builtin_routines")
    assert "routilux.builtin_routines.utils" in builtins
    assert imported(RESTORE_ALL, flows) == builtins
    assert imported(f"{RESTORE_ALL}\nimport colorsys", flows) == {*builtins, "colorsys"}
