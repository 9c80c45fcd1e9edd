"""Products of a transposed matrix and a vector, without the transposition.

XLA copies the transposed matrix for them: of 1500 x 1500 numbers on a CPU, that takes forty times
as long as the product. The order of summation may change. May import `core`.
"""

from __future__ import annotations

from dataclasses import replace

from funcgraph.core.aval import aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.simplify import prune

__all__ = ["untransposed"]


def untransposed(graph: Graph) -> Graph:
    """Return the graph with v @ x in place of x.T @ v, and x @ v in place of v @ x.T."""
    matrices: dict[Atom, Atom] = {}  # by their transposes
    equations: list[Equation] = []
    for e in graph.equations:
        e = e.with_graphs(untransposed)
        if e.primitive.name == "transpose" and e.attrs["axes"] == (1, 0):
            matrices[e.outputs[0]] = e.inputs[0]
        equations.append(_turned(e, matrices) if e.primitive.name == "matmul" else e)
    if equations == list(graph.equations):
        return graph
    return prune(Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants))


def _turned(e: Equation, matrices: dict[Atom, Atom]) -> Equation:
    a, b = e.inputs
    if a in matrices and _is_vector(b):
        return _turned(replace(e, inputs=(b, matrices[a])), matrices)
    if b in matrices and _is_vector(a):
        return _turned(replace(e, inputs=(matrices[b], a)), matrices)
    return e


def _is_vector(x: Atom) -> bool:
    return (x.aval if isinstance(x, Var) else aval_of(x)).ndim == 1
