"""The how-to page about checking a flow lists every code, with its severity."""

import re

from routilux.flow.checks import SEVERITIES
from tests.docs.markdown_pages import ROOT

ROW = re.compile(r"^\| `([\w-]+)` \| (\w+) \|", re.MULTILINE)


def test_every_finding_is_on_its_page() -> None:
    page = (ROOT / "docs" / "how-to" / "checking-a-flow.md").read_text(encoding="utf-8")
    assert ROW.findall(page) == list(SEVERITIES.items())
