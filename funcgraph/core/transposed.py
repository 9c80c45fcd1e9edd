"""Products of transposed matrices, in the forms that XLA computes fastest on a CPU.

Of a transposed matrix and a vector: without the transposition. XLA copies the transposed matrix for
them: of 1500 x 1500 numbers, that takes forty times as long as the product.

Of a transposed matrix and a matrix, as gradients by weights are: of the transposed matrix, written
to memory. Otherwise XLA reads across rows, by slower code (milliseconds, jax 0.10, two cores):

    64 x 1024, 64 x 128     0.14  0.09        2048 x 512, 2048 x 64     1.29  0.53
    256 x 1024, 256 x 128   0.46  0.22        1600 x 128, 1600 x 512    0.63  0.58
    3200 x 256, 3200 x 256  1.54  1.11        500 x 32, 500 x 32        0.03  0.022
    8000 x 128, 8000 x 128  1.04  0.87        4096 x 32, 4096 x 32      0.07  0.11   (as it is)

The order of summation may change. May import `core`.
"""

from __future__ import annotations

from dataclasses import replace

from funcgraph.core.aval import aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.simplify import prune

__all__ = ["untransposed", "written_out"]

# The least columns of a matrix whose transpose is written to memory: of many rows, and of few.
_LONG, _SHORT = 64, 32
_FEW = 2048  # rows
_MUCH = 1 << 17  # multiplications of the product


def untransposed(graph: Graph) -> Graph:
    """Return the graph with v @ x in place of x.T @ v, and x @ v in place of v @ x.T."""
    matrices: dict[Atom, Atom] = {}  # by their transposes
    equations: list[Equation] = []
    for e in graph.equations:
        e = e.with_graphs(untransposed)
        if _is_transposition(e):
            matrices[e.outputs[0]] = e.inputs[0]
        equations.append(_turned(e, matrices) if e.primitive.name == "matmul" else e)
    if equations == list(graph.equations):
        return graph
    return prune(Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants))


def _is_transposition(e: Equation) -> bool:
    return e.primitive.name == "transpose" and e.attrs["axes"] == (1, 0)


def _turned(e: Equation, matrices: dict[Atom, Atom]) -> Equation:
    a, b = e.inputs
    if a in matrices and _is_vector(b):
        return _turned(replace(e, inputs=(b, matrices[a])), matrices)
    if b in matrices and _is_vector(a):
        return _turned(replace(e, inputs=(matrices[b], a)), matrices)
    return e


def _shape(x: Atom) -> tuple[int, ...]:
    return (x.aval if isinstance(x, Var) else aval_of(x)).shape


def _is_vector(x: Atom) -> bool:
    return len(_shape(x)) == 1


def written_out(graph: Graph) -> Graph:
    """Return the graph with x.T written to memory, where it is the first factor of a product."""
    written: dict[Atom, Var] = {}  # by transposes
    made: set[Atom] = set()
    equations: list[Equation] = []
    for e in graph.equations:
        e = e.with_graphs(written_out)
        if _is_transposition(e):
            made.add(e.outputs[0])
        elif e.primitive.name == "matmul" and e.inputs[0] in made and _is_written(e):
            first, second = e.inputs
            if first not in written:
                written[first] = Var(first.aval)  # type: ignore[union-attr]
                barrier = Equation(REGISTRY["barrier"], (first,), (written[first],), {}, e.line)
                equations.append(barrier)
            e = replace(e, inputs=(written[first], second))
        equations.append(e)
    if equations == list(graph.equations):
        return graph
    return Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants)


def _is_written(e: Equation) -> bool:
    """Return whether a product is of float32, and large; others XLA computes by other code."""
    (columns, rows), other = _shape(e.inputs[0]), _shape(e.inputs[1])
    single = e.outputs[0].aval.dtype == "float32"
    work = columns * rows * other[-1]
    least = _SHORT if rows <= _FEW else _LONG
    return single and len(other) == 2 and columns >= least and work >= _MUCH
