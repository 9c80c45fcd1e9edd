"""Equal graphs that NumPy computes faster. May import `core`.

What may change is the last bit of sums of products.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.simplify import prune

__all__ = ["rewrite", "updates_last"]


def rewrite(graph: Graph) -> Graph:
    """Return an equal graph with fewer passes over large arrays."""
    return prune(_without_broadcasts(_scaled_before(graph)))


def _uses(graph: Graph) -> dict[Any, int]:
    count: dict[Any, int] = {}
    for v in (*graph.outputs, *(x for e in graph.equations for x in e.inputs)):
        if isinstance(v, Var):
            count[v] = count.get(v, 0) + 1
    return count


def _changed(graph: Graph, equations: list[Equation]) -> Graph:
    return Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants)


# --- c * (a @ b) = a @ (c * b), where b is smaller than the product ------------------------------


def _is_scale(x: Any, graph: Graph) -> bool:
    """Return whether x is a number that neither overflows nor underflows what it multiplies."""
    value = graph.constants.get(x) if isinstance(x, Var) else x
    if value is None or np.ndim(value) or isinstance(value, complex | bool):
        return False
    return 1e-6 <= abs(float(value)) <= 1e6 if np.asarray(value).dtype.kind in "fi" else False


def _scaled_before(graph: Graph) -> Graph:
    """Multiply a factor of a product of matrices by a number, in place of the larger product."""
    uses = _uses(graph)
    products = {
        e.outputs[0]: k
        for k, e in enumerate(graph.equations)
        if e.primitive.name == "matmul" and uses.get(e.outputs[0]) == 1
    }
    new: dict[int, list[Equation]] = {}
    for k, e in enumerate(graph.equations):
        if e.primitive.name != "multiply":
            continue
        for scale, y in (e.inputs, e.inputs[::-1]):
            if y in products and _is_scale(scale, graph) and _same_type(e.outputs[0], y):
                at = products[y]
                if (pair := _scaled(e, scale, graph.equations[at])) is not None:
                    new[at], new[k] = pair, []
                    break
    return _changed(graph, [e for k, old in enumerate(graph.equations) for e in new.get(k, [old])])


def _same_type(a: Var, b: Any) -> bool:
    return a.aval == b.aval and a.aval.dtype.kind == "f"


def _scaled(e: Equation, scale: Any, product: Equation) -> list[Equation] | None:
    """Return the two equations in place of a product and its multiplication by a number."""
    factors = list(product.inputs)
    sizes = [prod(v.aval.shape) if isinstance(v, Var) else 0 for v in factors]
    small = int(sizes[1] < sizes[0])
    v = factors[small]
    if not isinstance(v, Var) or 2 * sizes[small] > prod(product.outputs[0].aval.shape):
        return None
    if v.aval.dtype != e.outputs[0].aval.dtype:
        return None
    smaller = factors[small] = Var(v.aval)
    scaled = Equation(e.primitive, (scale, v), (smaller,), {}, e.line, e.scope)
    return [
        scaled,
        Equation(product.primitive, tuple(factors), e.outputs, {}, product.line, product.scope),
    ]


# --- arithmetic broadcasts by itself -------------------------------------------------------------


def _without_broadcasts(graph: Graph) -> Graph:
    made = {e.outputs[0]: e for e in graph.equations if e.primitive.name == "broadcast"}
    equations = []
    for e in graph.equations:
        if isinstance(e.primitive.numpy, np.ufunc) and e.primitive.numpy.signature is None:
            for k, v in enumerate(e.inputs):
                if isinstance(v, Var) and v in made:
                    e = _with_input(e, k, made[v].inputs[0])
        equations.append(e)
    return _changed(graph, equations)


def _with_input(e: Equation, k: int, source: Any) -> Equation:
    """Return the equation with another argument, if its result has the same type."""
    inputs = (*e.inputs[:k], source, *e.inputs[k + 1 :])
    if not isinstance(source, Var) or source.aval.weak is not None:
        return e
    shapes = [v.aval.shape for v in inputs if isinstance(v, Var)]
    if np.broadcast_shapes(*shapes) != e.outputs[0].aval.shape:
        return e
    return Equation(e.primitive, inputs, e.outputs, e.attrs, e.line, e.scope)


# --- updates last --------------------------------------------------------------------------------

# What these give for finite numbers is finite, unless it overflows.
_UPDATES = frozenset(["add", "subtract", "multiply"])


def updates_last(graph: Graph, donated: Sequence[int]) -> tuple[Graph, int]:
    """Return the graph with the updates of donated inputs at its end, and where they begin.

    Until then no input is written, so that the program can give up and another one be run. An
    update is an output such as `w - 0.1 * g`; what depends on it comes behind it, and must be
    elementwise, that is, no further derivative.
    """
    inputs = {graph.inputs[k] for k in donated}
    late: set[int] = set()
    for k, e in enumerate(graph.equations):
        update = e.primitive.name in _UPDATES and e.outputs[0] in graph.outputs
        if update and any(isinstance(v, Var) and v in inputs for v in e.inputs):
            behind = _behind(graph, k)
            if all(_is_elementwise(graph.equations[i]) for i in behind):
                late |= behind
    order = [k for k in range(len(graph.equations)) if k not in late] + sorted(late)
    equations = [graph.equations[k] for k in order]
    return _changed(graph, equations), len(equations) - len(late)


def _is_elementwise(e: Equation) -> bool:
    ufunc = e.primitive.numpy
    return isinstance(ufunc, np.ufunc) and ufunc.signature is None


def _behind(graph: Graph, k: int) -> set[int]:
    """Return equation k and those that depend on it."""
    found = {k}
    known = set(graph.equations[k].outputs)
    for i in range(k + 1, len(graph.equations)):
        e = graph.equations[i]
        if any(isinstance(v, Var) and v in known for v in e.inputs):
            found.add(i)
            known.update(e.outputs)
    return found
