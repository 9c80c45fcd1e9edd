"""Sphinx extension: our docstrings are plain text, in which only `code` and doctests are markup.

reStructuredText would read the stars of a formula and the bars of |x| as markup of its own.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_MARKUP = re.compile(r"(``.+?``|`[^`]*`)|([*|])|(?<=\w)(_)(?!\w)")


def _plain(match: re.Match[str]) -> str:
    return match[0] if match[1] else f"\\{match[0]}"


def escape(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Put a backslash before what is no markup, outside code and doctests."""
    doctest = False
    for k, line in enumerate(lines):
        doctest = line.lstrip().startswith(">>>") or (doctest and bool(line.strip()))
        if not doctest:
            lines[k] = _MARKUP.sub(_plain, line)


def skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out fields of NamedTuples, which `Attributes:` describes, and what is inherited."""
    module = getattr(value, "__module__", None) or "funcgraph"
    if type(value).__name__ == "_tuplegetter" or not module.startswith("funcgraph"):
        return True
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both, the first of them before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", escape, priority=400)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
