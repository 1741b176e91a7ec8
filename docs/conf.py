"""The site: Sphinx over these Markdown pages and the package's docstrings; `python -m nox -s docs` builds it."""

import re
from importlib import metadata

from docutils import nodes
from sphinx.application import Sphinx

import sse_mw

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
# What users are given and never make: how it is constructed is no part of the interface.
GIVEN = {
    "sse_mw.Stream", "sse_mw.StreamInfo", "sse_mw.Stats", "sse_mw.CloseReason", "sse_mw.testing.EventStream",
    "sse_mw.testing.SyncEventStream", "sse_mw.testing.Headers",
}  # fmt: skip

project = "sse_mw"
author = "The sse_mw authors"
release = metadata.version("sse_mw")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

# What is written down here leads somewhere: the build takes each warning for an error.
nitpicky = True
nitpick_ignore_regex = [
    # Types from elsewhere have no page here, and their own sites are not asked: it builds without a network.
    ("py:.*", r"(?!sse_mw\b).*"),
    # For type checkers alone.
    ("py:class", r"sse_mw\._event\.T_co"),
    ("py:class", r"sse_mw\.testing\._(clock|run|time)\.T"),
    ("py:class", r"sse_mw\._route\.(Decorator|Endpoint)"),
]

myst_heading_anchors = 4

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 60
python_display_short_literal_types = True

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
pygments_dark_style = "github-dark"
copybutton_exclude = ".linenos, .gp, .go"


def leave_out_comments(app: Sphinx, doctree: nodes.document) -> None:
    """Whatever an HTML comment holds, such as the tests' hidden blocks, is not for readers."""
    for node in list(doctree.findall(nodes.raw)):
        if node.astext().lstrip().startswith("<!--"):
            node.parent.remove(node)


def read_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """A docstring's `name` is a link where it is one of ours, else code. Before napoleon, which looks for colons."""
    lines[:] = [CODE.sub(link_or_code, line) for line in lines]
    if what in {"attribute", "property"}:
        lines[:0] = ["..", ""]  # an empty comment: napoleon takes what stands before the first line's colon for a type


def link_or_code(match: re.Match[str]) -> str:
    text = match[1]
    first, *rest = text.removeprefix("@").removeprefix("sse_mw.").split(".")
    if first in sse_mw.__all__:
        return f":py:obj:`{text} <{'.'.join(['sse_mw', first, *rest])}>`"
    return f"``{text}``"


def hide_constructor(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    return ("", None) if name in GIVEN else (signature, returns)


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", leave_out_comments)
    app.connect("autodoc-process-docstring", read_docstring, priority=100)
    app.connect("autodoc-process-signature", hide_constructor)
