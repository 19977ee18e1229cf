"""How Sphinx builds these pages: `python -m sphinx -W docs <folder>`."""

from typing import Any

import routilux

project = "routilux"
author = "The routilux authors"
copyright = "The routilux authors"
version = release = routilux.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"routilux {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings put code in single backticks, as the comments do.
default_role = "code"
add_module_names = False
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# The config keys of a built-in routine.
napoleon_custom_sections = [("Config", "params_style")]


def keep_drawings(_app: Any, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Show an indented block of a module's docstring as it stands: it is a drawing, or code."""
    if what != "module":
        return
    for number in range(len(lines) - 1, 1, -1):
        begins = lines[number].startswith("    ") and not lines[number - 1].strip()
        above = next((line for line in reversed(lines[:number]) if line.strip()), "")
        if begins and not above.startswith(" ") and not above.endswith("::"):
            lines[number:number] = ["::", ""]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_drawings)
