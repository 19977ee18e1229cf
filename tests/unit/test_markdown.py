"""Routines described in Markdown."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.analysis import BaseFormatter, RoutineMarkdownFormatter, analyze_routine_file

SOURCE = '''\
class Price(Routine):
    """Looks up `prices` | fast.

    Args:
        x: ```none```
    """

    def __init__(self):
        self.define_slot("item", self.look_up, merge_strategy="append")
        self.define_slot(prefix + "_in")
        self.define_event("priced", ["item", "price"])
        self.set_config(limit=1, unit="a|b", path=os.sep)

    async def look_up(self, item: str | None) -> None:
        """The *handler*."""
'''


@pytest.fixture
def page(tmp_path):
    def describe(source):
        path = tmp_path / "prices.py"
        path.write_text(source, encoding="utf-8")
        return RoutineMarkdownFormatter().format({**analyze_routine_file(path), "file_path": "prices.py"})

    return describe


def test_a_page_has_a_section_for_each_routine(page):
    assert page(SOURCE) == (
        "# Routines of `prices.py`\n"
        "\n"
        "## Price\n"
        "\n"
        "Line 1\n"
        "\n"
        "Looks up \\`prices\\` \\| fast.\n"
        "\n"
        "````text\n"
        "Args:\n"
        "    x: ```none```\n"
        "````\n"
        "\n"
        "### Slots\n"
        "\n"
        "| name | handler | merge strategy |\n"
        "| --- | --- | --- |\n"
        "| `item` | `look_up` | `append` |\n"
        "| `prefix + '_in'` (computed) |  | `override` |\n"
        "\n"
        "### Events\n"
        "\n"
        "| name | params |\n"
        "| --- | --- |\n"
        "| `priced` | `item`, `price` |\n"
        "\n"
        "### Config\n"
        "\n"
        "| key | value |\n"
        "| --- | --- |\n"
        "| `limit` | `1` |\n"
        '| `unit` | `"a\\|b"` |\n'
        "| `path` | `os.sep` |\n"
        "\n"
        "### Methods\n"
        "\n"
        "| name | line | about |\n"
        "| --- | --- | --- |\n"
        "| `__init__(self)` | 8 |  |\n"
        "| `async look_up(self, item: str \\| None) -> None` | 14 | The \\*handler\\*. |\n"
    )


def test_what_a_routine_does_not_have_has_no_section(page):
    assert page("class Step(Routine): pass\n") == "# Routines of `prices.py`\n\n## Step\n\nLine 1\n"


def test_a_file_without_routines_says_so(page):
    assert page("x = 1\n") == "# Routines of `prices.py`\n\nThis file defines no routine.\n"


def test_data_that_are_no_analysis_are_refused():
    with pytest.raises(ValueError, match="'routines'"):
        RoutineMarkdownFormatter().format({})


CELL_BORDER = re.compile(r"(?<!\\)\|")


def cells_of(row):
    """The cells as GitHub cuts them: at each pipe that has no backslash before it."""
    return [cell.strip(" ").replace("\\|", "|") for cell in CELL_BORDER.split(row)[1:-1]]


def code_in(cell):
    """The text of a cell that is one code span, as CommonMark reads it."""
    span = re.fullmatch(r"(?s)(`+)(.*[^`])\1", cell)
    assert span, cell
    assert span[1] not in re.findall("`+", span[2])
    text = span[2]
    return text[1:-1] if text[0] == text[-1] == " " and text.strip(" ") else text


@given(st.text(st.sampled_from("ab`|\\* _<\n"), min_size=1).filter(str.strip))
def test_any_name_stands_in_its_cell_as_it_is(name):
    routine = {
        "name": "Step",
        "line_number": 1,
        "docstring": None,
        "slots": [{"name": name, "handler": name, "merge_strategy": "override", "dynamic": False}],
        "events": [],
        "config": {},
        "dynamic_config": [],
        "methods": [],
    }

    rows = RoutineMarkdownFormatter().format({"file_path": "x.py", "routines": [routine]}).splitlines()

    shown = " ".join(name.splitlines())
    assert [code_in(cell) for cell in cells_of(rows[-1])] == [shown, shown, "override"]


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        ("# Head", "\\# Head"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("12) item", "12\\) item"),
        ("> quote", "\\> quote"),
        ("===", "\\==="),
        ("max_length and _x_ and __init__", "max_length and \\_x\\_ and \\_\\_init\\_\\_"),
        ("<script>&amp;</script>", "\\<script>\\&amp;\\</script>"),
        ("[a](b) ![c](d)", "\\[a\\](b) !\\[c\\](d)"),
        ("two\nlines", "two lines"),
    ],
)
def test_nothing_in_a_docstring_becomes_markup(page, docstring, shown):
    assert page(f"class Step(Routine):\n    {docstring!r}\n").split("\n")[6] == shown


class Short(BaseFormatter):
    def format(self, data):
        return f"{data['name']}\n"


def test_a_formatter_of_ones_own_saves_with_the_folders_that_it_needs(tmp_path):
    path = tmp_path / "a" / "b" / "short.txt"

    Short().save({"name": "é\ud800"}, path)

    assert path.read_bytes() == "é\\ud800\n".encode()


def test_a_formatter_must_format():
    with pytest.raises(TypeError, match="abstract"):
        BaseFormatter()
