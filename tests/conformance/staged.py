"""Staging: the graph of a function and of its derivatives computes what the function does."""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph as fg
from funcgraph.core.aval import dtype_of, shape_of
from tests.conformance import oracle


def values(p: oracle.Problem) -> None:
    """The graph is well formed, and its value is that of the function, dtype included."""
    graph = fg.make_graph(p.f)(*p.xs)
    graph.check()
    assert fg.Graph.parse(graph.to_text()).to_text() == graph.to_text()
    with np.errstate(all="ignore"):
        _compare(graph, p.f(*p.xs), p.xs)


def derivatives(p: oracle.Problem) -> None:
    """Pullbacks and tangents can be staged: their rules look at no values."""
    with np.errstate(all="ignore"):
        cts = oracle.random_like(p.f(*p.xs), 1)
        ts = oracle.random_like(p.xs, 2)

        def both(*xs: Any) -> Any:
            return fg.vjp(p.f, *xs)[1](cts), fg.jvp(p.f, xs, ts)[1]

        graph = fg.make_graph(both)(*p.xs)
        graph.check()
        _compare(graph, fg.tree.leaves(both(*p.xs)), p.xs)
        simple, leaves = graph.simplify(), fg.tree.leaves(p.xs)
        simple.check()
        for g, w in zip(simple.run(*leaves), graph.run(*leaves), strict=True):
            np.testing.assert_array_equal(g, w)  # not one bit changes


def _compare(graph: fg.Graph, wanted: Any, xs: Any) -> None:
    got = graph.run(*fg.tree.leaves(xs))
    for g, w in zip(got, wanted, strict=True):
        assert (dtype_of(g), shape_of(g)) == (dtype_of(w), shape_of(w))
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)
