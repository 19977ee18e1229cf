"""Each example prints what is stored beside the tests."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
EXPECTED = Path(__file__).parent / "expected"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
CHECKED_BY_ITS_STRUCTURE = {"stdlib_census"}


def test_every_example_has_its_expected_output():
    stored = {path.stem for path in EXPECTED.glob("*.txt")}

    assert stored | CHECKED_BY_ITS_STRUCTURE == set(NAMES)


@pytest.mark.parametrize("name", sorted(set(NAMES) - CHECKED_BY_ITS_STRUCTURE))
def test_an_example_prints_what_is_expected(name, run_example):
    finished = run_example(name)

    assert finished.stderr == ""
    assert finished.stdout == (EXPECTED / f"{name}.txt").read_text(encoding="utf-8")
    assert finished.returncode == 0


@pytest.mark.slow  # each example once more, in a process of its own
@pytest.mark.parametrize("name", sorted(set(NAMES) - CHECKED_BY_ITS_STRUCTURE))
def test_the_checks_have_nothing_against_the_flows_of_an_example(name, tmp_path):
    # As the example's own process, but with the library's warnings on stderr.
    told = (
        "import logging, runpy, sys; logging.basicConfig(); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    finished = subprocess.run(
        [sys.executable, "-c", told, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=True,
    )

    assert "routilux.flow.drawing" not in finished.stderr


@pytest.mark.parametrize("name", NAMES)
def test_importing_an_example_runs_nothing(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)

    importlib.import_module(name)

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_begins_by_saying_its_one_idea(name):
    tree = ast.parse((EXAMPLES / f"{name}.py").read_bytes())

    assert ast.get_docstring(tree)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_uses_public_names_only(name):
    tree = ast.parse((EXAMPLES / f"{name}.py").read_bytes())
    own = {"self", "cls", "super"}

    private = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in own)
    ]

    assert private == []
