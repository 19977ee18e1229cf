"""Runs the python blocks of one page as if they were one module."""

import contextlib
import difflib
import io
import linecache
import re
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType

from tests.docs.markdown_pages import Block, Page


class PageError(AssertionError):
    """A block of a page raised, or printed something else than the page says."""


def run_page(page: Page) -> None:
    """Runs the blocks in page order, in the namespace of one new module.

    Raises:
        PageError: Naming the page and the line.
    """
    with page_module(page) as module:
        for block, expected in page.examples():
            printed = run_block(page, block, module, captured=expected is not None)
            if expected is not None and printed != expected:
                lines = difflib.ndiff(expected.splitlines(True), printed.splitlines(True))
                what = f"{page.name}, line {block.line}: the page says (-), the block printed (+)"
                raise PageError(f"{what}:\n{''.join(lines)}")


@contextlib.contextmanager
def page_module(page: Page) -> Iterator[ModuleType]:
    """A module that `sys.modules` and `inspect` know for as long as the page runs."""
    module = ModuleType("page_" + re.sub(r"\W", "_", page.name))
    filename = module.__file__ = str(page.path)
    source = page.python_source()
    # No modification time: linecache then never exchanges the lines for those of the page itself.
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    sys.modules[module.__name__] = module
    try:
        yield module
    finally:
        del sys.modules[module.__name__]
        linecache.cache.pop(filename, None)


def run_block(page: Page, block: Block, module: ModuleType, *, captured: bool) -> str:
    """Runs one block and returns what it printed, if that was to be captured."""
    printed = io.StringIO()
    into = contextlib.redirect_stdout(printed) if captured else contextlib.nullcontext()
    try:
        text = "\n" * (block.line - 1) + block.text
        code = compile(text, str(page.path), "exec", dont_inherit=True)
        with into:
            exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        line = failing_line(error, page, block)
        raise PageError(f"{page.name}, line {line}: {type(error).__name__}: {error}") from error
    return printed.getvalue()


def failing_line(error: BaseException, page: Page, block: Block) -> int:
    """The innermost line of the page that the error passed."""
    if isinstance(error, SyntaxError) and error.filename == str(page.path) and error.lineno:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(page.path)]
    return next((line for line in reversed(lines) if line), block.line)
