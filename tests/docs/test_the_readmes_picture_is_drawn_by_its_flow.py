"""The README's picture is what `to_mermaid` draws of the example that it shows."""

import importlib

import pytest

from tests.docs.markdown_pages import ROOT, read_page


def test_the_readmes_picture_is_drawn_by_its_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    flow = importlib.import_module("stdlib_census").draw_flow(workers=4)
    pictures = [
        block.text for block in read_page(ROOT / "README.md", "README.md").blocks if block.language == "mermaid"
    ]
    assert pictures == [flow.to_mermaid() + "\n"]
    assert {finding.severity for finding in flow.validate()} <= {"info"}
