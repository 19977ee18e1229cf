"""Every python block of the README and the docs is run, in page order."""

from pathlib import Path

import pytest

from tests.docs.markdown_pages import Page, project_pages
from tests.docs.page_runner import run_page

PAGES = project_pages()
PAGES_WITH_PYTHON = [page for page in PAGES if page.has_python]


@pytest.mark.parametrize("page", PAGES_WITH_PYTHON, ids=lambda page: page.name)
@pytest.mark.usefixtures("forgotten_registrations")
def test_every_python_block_of_the_page_runs_in_page_order(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page)
    # The flows of the pages are drawn as flows should be.
    assert [record.getMessage() for record in caplog.records if record.name == "routilux.flow.drawing"] == []


def test_no_page_shows_python_that_is_not_run() -> None:
    assert [f"{page.name}, {fault}" for page in PAGES for fault in page.faults] == []
