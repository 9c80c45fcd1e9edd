"""Equal graphs that NumPy computes faster.

May import `core`, `engines.numpy`, `ops.places`.

What may change is the last bit of sums of products, and the sign of a zero that was added to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.simplify import prune
from funcgraph.engines.numpy.pools import decided_early
from funcgraph.engines.numpy.scatter import are_rows_sorted
from funcgraph.ops.places import side_by_side

__all__ = ["rewrite"]


def rewrite(graph: Graph) -> Graph:
    """Return an equal graph with fewer passes over large arrays."""
    graph = _written_out(graph)
    names = {e.primitive.name for e in graph.equations}
    for name, change in _PASSES.items():
        if name in names:
            graph = change(graph)
    return prune(graph)


def _uses(graph: Graph) -> dict[Any, int]:
    count: dict[Any, int] = {}
    for v in (*graph.outputs, *(x for e in graph.equations for x in e.inputs)):
        if isinstance(v, Var):
            count[v] = count.get(v, 0) + 1
    return count


def _changed(graph: Graph, equations: list[Equation]) -> Graph:
    return Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants)


# --- functions written out, so that their steps are written into memory that is there -------------


def _written_out(graph: Graph) -> Graph:
    equations: list[Equation] = []
    for e in graph.equations:
        steps = _STEPS.get(e.primitive.name)
        x = e.inputs[0] if steps else None
        if isinstance(x, Var) and _same_type(e.outputs[0], x) and 0 not in x.aval.shape:
            equations += _steps(e, steps or [])
        else:
            equations.append(e)
    return _changed(graph, equations)


# Operations on x and earlier results, by number, as the primitives of `ops.activations` do them.
# Reductions are along the axis of the equation, which they leave with the length 1.
_X = "x"
_STEPS: dict[str, list[tuple[Any, ...]]] = {
    "relu": [("maximum", _X, 0)],
    "sigmoid": [
        ("minimum", _X, 0), ("exp", "0"), ("absolute", _X), ("negative", "2"), ("exp", "3"),
        ("add", "4", 1), ("divide", "1", "5"),
    ],
    "softmax": [
        ("reduce_max", _X), ("subtract", _X, "0"), ("exp", "1"), ("reduce_sum", "2"),
        ("divide", "2", "3"),
    ],
    "log_softmax": [
        ("reduce_max", _X), ("subtract", _X, "0"), ("exp", "1"), ("reduce_sum", "2"), ("log", "3"),
        ("subtract", "1", "4"),
    ],
}  # fmt: skip


def _steps(e: Equation, steps: list[tuple[Any, ...]]) -> list[Equation]:
    (x,), (out,) = e.inputs, e.outputs
    known: dict[Any, Any] = {_X: x}
    found = []

    def step(name: str, inputs: tuple[Any, ...], result: Var, **attrs: Any) -> None:
        found.append(Equation(REGISTRY[name], inputs, (result,), attrs, e.line, e.scope))

    for k, (name, *args) in enumerate(steps):
        inputs = tuple(known[a] if isinstance(a, str) else a for a in args)
        if name.startswith("reduce"):
            axis, shape = e.attrs["axis"], list(out.aval.shape)
            del shape[axis]
            reduced = Var(Aval(tuple(shape), out.aval.dtype))
            step(name, inputs, reduced, axes=(axis,))
            shape.insert(axis, 1)
            known[str(k)] = Var(Aval(tuple(shape), out.aval.dtype))
            step("reshape", (reduced,), known[str(k)], shape=tuple(shape))
        else:
            shapes = [v.aval.shape for v in inputs if isinstance(v, Var)]
            aval = Aval(np.broadcast_shapes(*shapes), out.aval.dtype)
            known[str(k)] = out if k == len(steps) - 1 else Var(aval)
            step(name, inputs, known[str(k)])
    return found


# --- a product of a column and a row is no sum: arithmetic, limited by memory alone ---------------


def _without_inner_axes(graph: Graph) -> Graph:
    return _changed(graph, [_as_outer(e) if _is_outer(e) else e for e in graph.equations])


def _is_outer(e: Equation) -> bool:
    """Return whether an equation multiplies columns (..., m, 1) by rows (..., 1, n)."""
    if e.primitive.name != "matmul":
        return False
    a, b = e.inputs
    if not (isinstance(a, Var) and isinstance(b, Var)) or a.aval.dtype != b.aval.dtype:
        return False
    return min(len(a.aval.shape), len(b.aval.shape)) >= 2 and a.aval.shape[-1] == 1


def _as_outer(e: Equation) -> Equation:
    return replace(e, primitive=REGISTRY["multiply"])


# --- sum(-x) = -sum(x) --------------------------------------------------------------------------


def _negated_after(graph: Graph) -> Graph:
    made = {e.outputs[0]: e for e in graph.equations if e.primitive.name == "negative"}
    equations: list[Equation] = []
    for e in graph.equations:
        x = e.inputs[0] if e.primitive.name == "reduce_sum" else None
        if isinstance(x, Var) and x in made and x.aval.dtype.kind == "f":
            total = Var(e.outputs[0].aval)
            equations.append(replace(e, inputs=made[x].inputs, outputs=(total,)))
            equations.append(replace(made[x], inputs=(total,), outputs=e.outputs))
        else:
            equations.append(e)
    return _changed(graph, equations)


# --- what is turned and then reshaped is copied: once, into memory that is there ------------------


_LARGE = 1 << 13  # elements; of smaller arrays, copies are as cheap in fresh memory


def _copied_once(graph: Graph) -> Graph:
    turned = {e.outputs[0]: e for e in graph.equations if e.primitive.name == "transpose"}
    copies: dict[Var, Var] = {}
    equations: list[Equation] = []
    for e in graph.equations:
        x = e.inputs[0] if e.primitive.name == "reshape" else None
        if isinstance(x, Var) and x in turned and _is_copied(e, turned[x]):
            if x not in copies:
                copies[x] = Var(x.aval)
                step = Equation(REGISTRY["copy"], (x,), (copies[x],), {}, e.line, e.scope)
                equations.append(step)
            e = replace(e, inputs=(copies[x],))
        equations.append(e)
    return _changed(graph, equations)


def _is_copied(e: Equation, turn: Equation) -> bool:
    """Return whether the reshaped transpose of an array in order is none of its views."""
    source = turn.inputs[0]
    if not isinstance(source, Var) or prod(source.aval.shape) < _LARGE:
        return False
    x = np.empty(source.aval.shape, bool).transpose(turn.attrs["axes"])
    try:
        x.reshape(e.attrs["shape"], copy=False)
    except ValueError:
        return True
    return False


# --- rows added to zeros: the memory of the result is enough -------------------------------------


def _without_zeros(graph: Graph) -> Graph:
    return _changed(graph, [_on_nothing(e, graph) for e in graph.equations])


def _on_nothing(e: Equation, graph: Graph) -> Equation:
    if not are_rows_sorted(e):
        return e
    x = e.inputs[0]
    value = graph.constants.get(x) if isinstance(x, Var) else x
    if isinstance(value, np.ndarray) and value.size and not any(value.strides):
        value = value.flat[0]  # all elements are this one
    return e if value is None or np.any(value) else replace(e, inputs=(0, *e.inputs[1:]))


# --- a sum of arrays in different places, side by side --------------------------------------------


def _side_by_side(graph: Graph) -> Graph:
    """Put arrays side by side that add up to a whole one: cotangents of its slices."""
    return _changed(graph, [_joined(e) or e for e in graph.equations])


def _joined(e: Equation) -> Equation | None:
    """Return the equation as one that joins arrays; None if they are no parts of a whole."""
    if e.primitive.name != "index_sum":
        return None
    shape, inputs = e.attrs["shape"], [v for v in e.inputs if isinstance(v, Var)]
    kinds = {(len(v.aval.shape), v.aval.dtype) for v in inputs}
    if not 2 <= len(inputs) == len(e.inputs) or kinds != {(len(shape), e.attrs["dtype"])}:
        return None
    if (found := side_by_side(e.attrs["templates"], shape)) is None:
        return None
    axis, order = found
    parts = tuple(inputs[k] for k in order)
    return replace(e, primitive=REGISTRY["concatenate"], inputs=parts, attrs={"axis": axis})


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
    turned = {e.outputs[0]: e for e in graph.equations if e.primitive.name == "transpose"}
    new: dict[int, list[Equation]] = {}
    for k, e in enumerate(graph.equations):
        if e.primitive.name != "multiply" or e.outputs[0].aval.dtype == np.float16:
            continue  # half precision overflows, and has few numbers below 1e-5
        for scale, y in (e.inputs, e.inputs[::-1]):
            if y in products and _is_scale(scale, graph) and _same_type(e.outputs[0], y):
                at = products[y]
                if (found := _scaled(e, scale, graph.equations[at], turned)) is not None:
                    new[at], new[k] = found, []
                    break
    return _changed(graph, [e for k, old in enumerate(graph.equations) for e in new.get(k, [old])])


def _same_type(a: Var, b: Any) -> bool:
    return a.aval == b.aval and a.aval.dtype.kind == "f"


def _scaled(
    e: Equation, scale: Any, product: Equation, turned: dict[Any, Equation]
) -> list[Equation] | None:
    """Return equations in place of a product and its multiplication by a number.

    A transpose is multiplied before it is turned: row by row.
    """
    factors = list(product.inputs)
    sizes = [prod(v.aval.shape) if isinstance(v, Var) else 0 for v in factors]
    small = int(sizes[1] < sizes[0])
    v = factors[small]
    if not isinstance(v, Var) or 2 * sizes[small] > prod(product.outputs[0].aval.shape):
        return None
    if v.aval.dtype != e.outputs[0].aval.dtype:
        return None
    turn = turned.get(v)
    source: Any = v if turn is None else turn.inputs[0]
    smaller = factors[small] = Var(source.aval)
    found = [Equation(e.primitive, (scale, source), (smaller,), {}, e.line, e.scope)]
    if turn is not None:
        again = factors[small] = Var(v.aval)
        found.append(replace(turn, inputs=(smaller,), outputs=(again,)))
    return [*found, replace(product, inputs=tuple(factors), outputs=e.outputs)]


# --- arithmetic broadcasts by itself -------------------------------------------------------------


def _without_broadcasts(graph: Graph) -> Graph:
    made = {e.outputs[0]: e for e in graph.equations if e.primitive.name == "broadcast"}
    equations = []
    for e in graph.equations:
        if e.primitive.is_elementwise:
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


# What is done, in this order, to a graph that has an operation of this name.
_PASSES: dict[str, Callable[[Graph], Graph]] = {
    "index_sum": _side_by_side,
    "index_add": _without_zeros,
    "transpose": _copied_once,
    "negative": _negated_after,
    "matmul": lambda graph: _scaled_before(_without_inner_axes(graph)),
    "window_put": decided_early,
    "broadcast": _without_broadcasts,
}
