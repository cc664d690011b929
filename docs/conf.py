"""Configuration of the documentation site: ``make docs``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import dmlkernels

project = "dmlkernels"
author = "the dmlkernels authors"
project_copyright = author
version = release = dmlkernels.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"dmlkernels {release}"
html_show_sourcelink = False
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes and ranges
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Warns", "returns_style")]

_LOSSES = ("_loss", "_penalty", "_objective")
_KINDS = {
    "losses": lambda name, value: inspect.isfunction(value) and name.endswith(_LOSSES),
    "modules": lambda _, value: inspect.isclass(value),
    "tools": lambda name, value: inspect.isfunction(value) and not name.endswith(_LOSSES),
}


class Public(SphinxDirective):
    """``.. public:: losses`` documents every exported name of that kind."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        chosen = _KINDS[self.arguments[0]]
        lines: list[str] = []
        for name in sorted(dmlkernels.__all__, key=str.lower):
            value = getattr(dmlkernels, name)
            if not chosen(name, value):
                continue
            lines += ["", f".. auto{'class' if inspect.isclass(value) else 'function'}:: dmlkernels.{name}", ""]
            if inspect.isclass(value):
                lines += ["   :members:", "   :inherited-members: Module", ""]
        parent = nodes.section()
        parent.document = self.state.document
        self.state.nested_parse(StringList(lines, source="public names"), self.content_offset, parent)
        return parent.children


def name_other_pages(_: Sphinx, page: str, source: list[str]) -> None:
    """Put pages that the index does not name in place of ``others``."""
    if page == "index":
        pages = (path.stem for path in sorted(Path(__file__).parent.glob("*.md")))
        source[0] = source[0].replace(
            "\nothers\n", "\n".join(["", *(p for p in pages if p not in (page, *source[0].split())), ""])
        )


def join_names(_: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Put names of arguments that share a description on one line, as napoleon wants them."""
    for i in reversed(range(len(lines) - 1)):
        if re.fullmatch(r"\s+(\w+, )*\w+,", lines[i]):
            lines[i : i + 2] = [f"{lines[i]} {lines[i + 1].strip()}"]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", join_names, priority=400)  # before napoleon
    app.connect("source-read", name_other_pages)
    app.add_directive("public", Public)
