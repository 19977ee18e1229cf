"""Every name stands where the specification says that it is imported from."""

import importlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import serilux

import routilux

BUILTINS = [
    "ConditionalRouter", "DataFlattener", "DataTransformer", "DataValidator", "ResultExtractor", "TextClipper",
    "TextRenderer", "TimeProvider",
]  # fmt: skip

ROOT_NAMES = [
    "Routine", "ExecutionContext", "Slot", "Event", "Connection", "Flow", "JobState", "ExecutionRecord",
    "ExecutionTracker", "ErrorHandler", "ErrorStrategy", "OutputHandler", "QueueOutputHandler",
    "CallbackOutputHandler", "NullOutputHandler", "FunctionRoutine", "__version__", *BUILTINS,
]  # fmt: skip

PLACES = [
    ("routilux.routine", "_current_job_state"),
    ("routilux.routine", "Routine"),
    ("routilux.job_state", "register_serializable"),
    ("routilux.job_state", "JobState"),
    ("routilux.job_state", "ExecutionRecord"),
    ("routilux.slot", "Slot"),
    ("routilux.flow", "Flow"),
    ("routilux.flow", "SlotActivationTask"),
    ("routilux.flow", "TaskPriority"),
    ("routilux.flow", "ResumeCheck"),
    ("routilux.flow.flow", "Flow"),
    ("routilux.flow.task", "SlotActivationTask"),
    ("routilux.flow.task", "TaskPriority"),
    ("routilux.flow.event_loop", "start_event_loop"),
    ("routilux.flow.completion", "ensure_event_loop_running"),
    ("routilux.connection", "Connection"),
    ("routilux.event", "Event"),
    ("routilux.error_handler", "ErrorHandler"),
    ("routilux.error_handler", "ErrorStrategy"),
    ("routilux.execution_tracker", "ExecutionTracker"),
    ("routilux.output_handler", "OutputHandler"),
    ("routilux.output_handler", "QueueOutputHandler"),
    ("routilux.output_handler", "CallbackOutputHandler"),
    ("routilux.output_handler", "NullOutputHandler"),
    ("routilux.analysis", "RoutineAnalyzer"),
    ("routilux.analysis", "analyze_routine_file"),
    ("routilux.analysis", "WorkflowAnalyzer"),
    ("routilux.analysis", "analyze_workflow"),
    ("routilux.analysis", "BaseFormatter"),
    ("routilux.analysis", "RoutineMarkdownFormatter"),
    ("routilux.analysis", "WorkflowD2Formatter"),
    *(("routilux.builtin_routines", name) for name in BUILTINS),
    ("routilux.builtin_routines.control_flow", "ConditionalRouter"),
    ("routilux.builtin_routines.data_processing", "DataFlattener"),
    ("routilux.builtin_routines.data_processing", "DataTransformer"),
    ("routilux.builtin_routines.data_processing", "DataValidator"),
    ("routilux.builtin_routines.text_processing", "ResultExtractor"),
    ("routilux.builtin_routines.text_processing", "TextClipper"),
    ("routilux.builtin_routines.text_processing", "TextRenderer"),
    ("routilux.builtin_routines.utils", "TimeProvider"),
]

SAVED_CLASSES = [
    "Flow", "Routine", "Slot", "Event", "Connection", "JobState", "ExecutionRecord", "ErrorHandler", "ExecutionTracker",
    "FunctionRoutine",
]  # fmt: skip


@pytest.mark.parametrize("name", ROOT_NAMES)
def test_the_package_has_the_name(name):
    assert getattr(routilux, name)
    assert name in routilux.__all__
    assert name in dir(routilux)


@pytest.mark.parametrize(("module", "name"), PLACES)
def test_the_name_is_importable_from_its_module(module, name):
    found = getattr(importlib.import_module(module), name)
    if hasattr(routilux, name):
        assert found is getattr(routilux, name)


def test_registering_is_serilux_own():
    assert importlib.import_module("routilux.job_state").register_serializable is serilux.register_serializable


@pytest.mark.parametrize("name", [*SAVED_CLASSES, *BUILTINS])
def test_a_saved_class_is_a_serializable_that_is_registered_and_made_without_arguments(name):
    cls = getattr(routilux, name)
    assert issubclass(cls, serilux.Serializable)
    assert serilux.SerializableRegistry.get_class(name) is cls
    assert isinstance(cls(), cls)


def in_child(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False, capture_output=True, text=True, timeout=50, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


REGISTERED = "print(*sorted(set(serilux.SerializableRegistry.registry) - before))"


def test_importing_the_package_registers_its_documented_classes_and_no_others():
    program = f"import serilux; before = set(serilux.SerializableRegistry.registry); import routilux; {REGISTERED}"
    assert in_child(program).split() == sorted(SAVED_CLASSES)


def test_importing_the_package_loads_nothing_that_only_looks_at_flows():
    program = "import sys, routilux; print(*(name for name in sys.modules if name.startswith('routilux.analysis')))"
    assert in_child(program) == ""


@pytest.mark.parametrize("use", ["routilux.TimeProvider", "from routilux import *", "routilux.builtin_routines"])
def test_the_first_use_of_a_builtin_registers_all_of_them_and_nothing_else(use):
    program = (
        f"import serilux; before = set(serilux.SerializableRegistry.registry); import routilux\n{use}\n{REGISTERED}"
    )
    assert in_child(program).split() == sorted([*SAVED_CLASSES, *BUILTINS])


def test_importing_the_package_does_not_import_the_builtins():
    program = (
        "import sys, routilux; dir(routilux); print(*(name for name in sys.modules if 'builtin_routines' in name))"
    )
    assert in_child(program) == ""


def test_importing_the_package_imports_nothing_that_few_programs_need():
    late = {
        *("asyncio", "hashlib", "pathlib", "random", "sqlite3", "uuid"),
        *("routilux.flow.checks", "routilux.flow.code_change", "routilux.flow.mermaid"),
        *("routilux.flow.durable.run", "routilux.flow.resuming", "routilux.stores"),
    }
    found = in_child(
        "import sys, serilux; before = set(sys.modules); import routilux; print(*set(sys.modules) - before)"
    )
    assert set(found.split()) & late == set()


def test_dir_has_the_names_that_are_imported_on_first_use():
    names = in_child("import routilux; print(*dir(routilux))").split()
    assert {*BUILTINS, "builtin_routines", "Flow", "flow"} <= set(names)


def test_a_star_import_has_every_public_name():
    names = in_child("from routilux import *\nprint(*dir())").split()
    assert set(ROOT_NAMES) <= set(names)


def test_a_misspelt_name_is_an_attribute_error_that_knows_the_right_one():
    done = subprocess.run(
        [sys.executable, "-c", "import routilux; routilux.TextCliper"],
        check=False, capture_output=True, text=True, timeout=50, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "module 'routilux' has no attribute 'TextCliper'. Did you mean: 'TextClipper'?" in done.stderr
    assert not hasattr(routilux, "TextCliper")


def test_threads_that_use_a_builtin_first_at_the_same_time_all_get_it():
    program = (
        "import sys, threading, routilux; sys.setswitchinterval(1e-6)\n"
        "start, found = threading.Barrier(8), []\n"
        "saved = {'routines': {'r': {'_type': 'ConditionalRouter', '_config': {'routes': [['a', 'data > 1']]}}}}\n"
        "def restore():\n"
        "    flow = routilux.Flow(); start.wait(); flow.deserialize(saved); found.append(type(flow.routines['r']))\n"
        "def take():\n"
        "    start.wait(); found.append(routilux.ConditionalRouter)\n"
        "threads = [threading.Thread(target=each) for each in [restore, take] * 4]\n"
        "[each.start() for each in threads]; [each.join() for each in threads]\n"
        "print(len(found), len(set(found)))"
    )
    assert in_child(program) == "8 1"


def test_importing_the_package_starts_no_thread_and_prints_nothing():
    assert in_child("import threading, routilux; assert threading.active_count() == 1") == ""


def test_the_library_logs_nothing_unless_it_is_asked_to():
    program = (
        "from routilux import Flow, Routine\n"
        "routine = Routine(); routine.define_slot('trigger', handler=lambda: 1 / 0)\n"
        "with Flow() as flow:\n"
        "    flow.add_routine(routine, 'a'); print(flow.run('a').status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True, capture_output=True, text=True, timeout=50, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("failed", "")
    assert logging.getLogger("routilux").handlers


def test_the_version_is_a_text_of_numbers():
    assert all(part.isdigit() for part in routilux.__version__.split(".")[:2])


def test_the_package_is_typed():
    assert (Path(routilux.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("name", ["Routine", "Flow", "JobState"])
def test_a_class_of_ours_can_be_subclassed(name):
    cls = type(f"My{name}", (getattr(routilux, name),), {})
    assert isinstance(cls(), getattr(routilux, name))


def test_a_flow_has_no_job_state():
    assert not hasattr(routilux.Flow(), "job_state")


def test_foreign_attributes_may_be_set_on_a_flow():
    flow = routilux.Flow()
    flow.anything = 5
    assert flow.anything == 5
