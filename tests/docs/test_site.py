"""The site's own extensions: docstrings as plain text, entries of the reference, formulas."""

from __future__ import annotations

import importlib
import logging
import types
from pathlib import Path

import pytest

import funcgraph
import funcgraph.numpy

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "_ext"


@pytest.fixture
def extension(monkeypatch):
    """Return a function that imports an extension of docs/_ext."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_only_code_and_doctests_are_markup_in_docstrings(extension):
    lines = [
        "Return |x| * y_ of `a * b` and ``c|d``, for *args.",
        "",
        ">>> f(2 * x)",
        "a * b",
        "",
        "The rest * is text.",
    ]
    extension("docstrings").escape(None, "function", "f", None, None, lines)
    assert lines == [
        r"Return \|x\| \* y\_ of `a * b` and ``c|d``, for \*args.",
        "",
        ">>> f(2 * x)",
        "a * b",
        "",
        r"The rest \* is text.",
    ]


@pytest.mark.parametrize(
    ("module", "name", "line"),
    [
        (funcgraph, "grad", ".. autofunction:: grad"),
        (funcgraph, "Graph", ".. autoclass:: Graph"),
        (funcgraph, "ShapeDtype", ".. py:data:: ShapeDtype"),
        (funcgraph.numpy, "ptp", ".. autofunction:: ptp"),
        (funcgraph.numpy, "sin", ".. autofunction:: sin"),
        (funcgraph.numpy, "zeros", "   ``numpy.zeros`` itself."),
        (funcgraph.numpy, "newaxis", "   :value: None"),
        (
            funcgraph.numpy,
            "add",
            "   ``numpy.add`` on arrays of all kinds and tracers, with rules for derivatives and "
            "batches.",
        ),
        (
            funcgraph.numpy,
            "greater",
            "   ``numpy.greater`` on arrays of all kinds and tracers, its derivative is zero.",
        ),
    ],
)
def test_entries_of_the_reference(extension, module, name, line):
    assert line in list(extension("api").entry(module, name))


def test_a_public_name_without_an_entry_is_a_warning(extension, caplog, monkeypatch):
    api = extension("api")
    monkeypatch.setattr(api, "logger", logging.getLogger("api"))
    monkeypatch.setattr(api, "MODULES", ["funcgraph.io"])
    domain = types.SimpleNamespace(objects=["funcgraph.io.save"])
    domains = types.SimpleNamespace(python_domain=domain)
    api.check(None, types.SimpleNamespace(domains=domains))
    assert caplog.messages == ["no page of docs/api documents funcgraph.io.load"]


def test_formulas_become_mathml(extension):
    mathml = extension("mathml")
    nodes = importlib.import_module("docutils.nodes")
    translator = types.SimpleNamespace(body=[])
    for node in (nodes.math, nodes.math_block):
        with pytest.raises(nodes.SkipNode):
            mathml._visit(translator, node("", r"\partial f / \partial x"))
    inline, block = translator.body
    assert inline.startswith("<math") and "<mi>∂</mi>" in inline
    assert block.startswith('<div class="math"><math') and 'display="block"' in block
