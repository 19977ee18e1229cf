"""Public means: in `__all__`, and on a reference page."""

import importlib
import re

import pytest

from tests.docs.markdown_pages import ROOT

DIRECTIVE = re.compile(r"^\.\. auto(?P<kind>\w+):: (?P<name>[\w.]+)$", re.MULTILINE)


def documented_objects() -> set[int]:
    """The identities of everything that the reference pages' directives show."""
    shown: set[int] = set()
    for page in (ROOT / "docs" / "reference").rglob("*.md"):
        for directive in DIRECTIVE.finditer(page.read_text(encoding="utf-8")):
            if directive["kind"] == "module":
                module = importlib.import_module(directive["name"])
                shown |= {id(getattr(module, name)) for name in module.__all__}
            else:
                module_name, _, name = directive["name"].rpartition(".")
                shown.add(id(getattr(importlib.import_module(module_name), name)))
    return shown


@pytest.mark.parametrize(
    "module_name",
    ["routilux", "routilux.flow", "routilux.builtin_routines", "routilux.analysis", "routilux.stores"],
)
def test_every_public_name_is_on_a_reference_page(module_name: str) -> None:
    module = importlib.import_module(module_name)
    shown = documented_objects()
    public = [name for name in module.__all__ if not name.startswith("__")]
    assert [name for name in public if id(getattr(module, name)) not in shown] == []
