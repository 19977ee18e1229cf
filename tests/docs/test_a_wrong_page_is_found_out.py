"""The runner of the pages fails where a page is wrong: a runner that cannot fail proves nothing."""

import sys
from pathlib import Path

import pytest

from tests.docs.markdown_pages import Page, read_page
from tests.docs.page_runner import PageError, run_page


@pytest.fixture
def page_of(tmp_path: Path):
    def write(text: str) -> Page:
        path = tmp_path / "page.md"
        path.write_text(text, encoding="utf-8")
        return read_page(path, "page.md")

    return write


def test_a_block_that_raises_is_named_by_page_and_line(page_of) -> None:
    page = page_of("# Title\n\n```python\nvalue = 1\n```\n\nText.\n\n```python\n\nvalue / 0\n```\n")
    with pytest.raises(PageError, match=r"^page\.md, line 11: ZeroDivisionError"):
        run_page(page)


def test_the_line_is_the_pages_own_even_if_the_error_comes_from_deeper(page_of) -> None:
    page = page_of("```python\nimport json\n\njson.loads('{')\n```\n")
    with pytest.raises(PageError, match=r"^page\.md, line 4: JSONDecodeError"):
        run_page(page)


def test_a_block_that_is_not_python_is_named_by_page_and_line(page_of) -> None:
    page = page_of("Text.\n\n```python\nvalue = 1\nvalue =\n```\n")
    with pytest.raises(PageError, match=r"^page\.md, line 5: SyntaxError"):
        run_page(page)


def test_a_block_that_ends_the_interpreter_fails(page_of) -> None:
    with pytest.raises(PageError, match="line 2: SystemExit"):
        run_page(page_of("```python\nraise SystemExit\n```\n"))


def test_a_block_sees_what_the_blocks_above_it_defined(page_of, capsys) -> None:
    run_page(page_of("```python\na = 1\n```\n\n```python\nprint(a)\n```\n"))
    assert capsys.readouterr().out == "1\n"


def test_a_block_that_prints_what_the_page_says_passes_and_the_next_one_runs(page_of, capsys) -> None:
    run_page(
        page_of("```python\nprint('a')\n```\n\n<!-- output -->\n```text\na\n```\n\n```python\nprint('the next')\n```\n")
    )
    assert capsys.readouterr().out == "the next\n"


def test_a_block_that_prints_something_else_fails(page_of) -> None:
    page = page_of("```python\nprint('b')\n```\n\n<!-- output -->\n```text\na\n```\n")
    with pytest.raises(PageError, match=r"(?s)line 2: .*- a\n\+ b"):
        run_page(page)


def test_a_class_of_a_page_behaves_like_one_of_a_module(page_of) -> None:
    page = page_of(
        "Text.\n\n"
        "```python\nimport inspect\nimport pickle\nimport sys\n```\n\n"
        "1. In a list:\n\n"
        "   ```python\n   class Thing:\n       size = 1\n\n"
        "   def double(x):\n       return 2 * x\n   ```\n\n"
        "```python\n"
        "assert inspect.getsource(Thing) == 'class Thing:\\n    size = 1\\n'\n"
        "assert inspect.getsource(double) == 'def double(x):\\n    return 2 * x\\n'\n"
        "assert type(pickle.loads(pickle.dumps(Thing()))) is Thing\n"
        "assert sys.modules[Thing.__module__].Thing is Thing\n"
        "assert '.' not in __name__\n"
        "```\n"
    )
    assert len(page.examples()) == 3
    run_page(page)


def test_nothing_of_a_page_is_left_when_it_has_run(page_of) -> None:
    before = set(sys.modules)
    run_page(page_of("```python\na = 1\n```\n"))
    assert set(sys.modules) == before


def test_a_block_inside_a_directive_is_run(page_of) -> None:
    page = page_of("````{tip}\n```python\nraise KeyError\n```\n````\n\n```python\na = 1\n```\n")
    assert page.faults == []
    with pytest.raises(PageError, match="line 3: KeyError"):
        run_page(page)


def test_a_page_without_python_has_nothing_to_run(page_of) -> None:
    page = page_of("```bash\npython3 -m venv .venv\n```\n\n```{toctree}\nindex\n```\n")
    assert not page.has_python
    assert page.faults == []


@pytest.mark.parametrize(
    "text",
    [
        "```python no-run\na = 1\n```\n",
        "```{python}\na = 1\n```\n",
        "```{code-block} python\na = 1\n```\n",
        "```py\na = 1\n```\n",
        "```Python\na = 1\n```\n",
        "~~~pycon\n>>> 1\n~~~\n",
        "> ```python\n> a = 1\n> ```\n",
        "- ```python\n  a = 1\n  ```\n",
        "```python\na = 1\n",
        "```python\nif __name__ == '__main__':\n    a = 1\n```\n",
        "<!-- output -->\n```text\na\n```\n",
        "```python\na = 1\n```\n\n<!-- output -->\n\nText.\n\n```text\na\n```\n",
        "```python\na = 1\n```\n\n<!-- output -->\n```\na\n```\n",
    ],
)
def test_what_would_escape_the_runner_is_a_fault(page_of, text: str) -> None:
    assert page_of(text).faults
