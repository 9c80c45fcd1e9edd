"""Sphinx extension: formulas as MathML, which browsers show without any script.

Docutils translates TeX to MathML, so neither MathJax nor a network is needed.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _visit(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """Write a formula; one that cannot be translated is a warning, hence an error of the build."""
    block = isinstance(node, nodes.math_block)
    try:
        text = tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        logger.warning("the formula %r: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from error
    if block:
        text = f'<div class="math">{text}</div>'
    translator.body.append(text)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_visit, None), (_visit, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
