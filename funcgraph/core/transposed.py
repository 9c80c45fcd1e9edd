"""Products of transposed matrices, in the forms that XLA computes fastest on a CPU.

Of a transposed matrix and a vector: without the transposition. XLA copies the transposed matrix for
them: of 1500 x 1500 numbers, that takes forty times as long as the product.

Of a transposed matrix and a matrix, as gradients by weights are: of the transposed matrix, written
to memory, if it has a multiple of 64 rows. Those XLA reads from the same lines of the cache, one
after the other; others it reads faster than it writes them (milliseconds as they are, and written;
jax 0.10, two cores):

    1024 x 512, 1024 x 512   1.43  1.19       2000 x 50, 2000 x 50      0.075  0.128
    1024 x 512, 1024 x 10    0.52  0.14       2000 x 100, 2000 x 100    0.15   0.18
    256 x 1024, 256 x 128    0.40  0.20       20000 x 200, 20000 x 10   0.94   1.64
    2048 x 512, 2048 x 64    1.22  0.48       3000 x 70, 3000 x 70      0.101  0.163
    3200 x 256, 3200 x 1024  4.13  3.88       1024 x 784, 1024 x 512    1.80   1.82

Not of what elementwise operations made: that XLA computes in the order in which it is read. With
it written, the gradient of a transformer block took 1.5 times as long.

The order of summation may change. May import `core`.
"""

from __future__ import annotations

from dataclasses import replace

from funcgraph.core.aval import aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY, VIEWS, Elementwise
from funcgraph.core.simplify import prune

__all__ = ["untransposed", "written_out"]

_LINES = 64  # columns, of a multiple of which a matrix is written to memory transposed
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
    fused: set[Atom] = set()  # by XLA, with what reads it
    equations: list[Equation] = []
    for e in graph.equations:
        e = e.with_graphs(written_out)
        view = e.primitive.name in VIEWS and e.inputs[0] in fused
        if view or isinstance(e.primitive.derivative, Elementwise):
            fused.update(e.outputs)
        if _is_transposition(e) and e.inputs[0] not in fused:
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
    return single and len(other) == 2 and columns % _LINES == 0 and work >= _MUCH
