"""Derivatives of maxima in windows: what an element gets is decided where there are fewer elements.

Behind relu and max pooling, a cotangent is put to its place among the elements, and is then kept
if the element there is positive. But that element is the maximum, whose sign is known before. And
which element it is, is found as soon as the maximum is: then nobody has to keep the elements. The
numbers are the same, but for windows with nan beside other elements, none of which is the maximum:
these get nothing. May import `core`.
"""

from __future__ import annotations

from dataclasses import replace

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var

__all__ = ["decided_early"]


def decided_early(graph: Graph) -> Graph:
    """Return the graph with choices among elements of windows made at their maxima."""
    made = {v: e for e in graph.equations for v in e.outputs}
    equations: list[Equation] = []
    for e in graph.equations:
        equations += (
            _summed_before(e, made) if e.primitive.name == "reduce_sum" else _masked(e, made)
        )
    return Graph(graph.inputs, tuple(_indices_first(equations)), graph.outputs, graph.constants)


def _made_by(name: str, v: object, made: dict[Var, Equation]) -> Equation | None:
    e = made.get(v) if isinstance(v, Var) else None
    return e if e is not None and e.primitive.name == name else None


def _masked(e: Equation, made: dict[Var, Equation]) -> list[Equation]:
    """Return put(g * (y > c)) in place of put(g) * (x > c), if y are the maxima of x."""
    if e.primitive.name != "multiply":
        return [e]
    for values, mask in (e.inputs, e.inputs[::-1]):
        put, sign = _made_by("window_put", values, made), _made_by("greater", mask, made)
        if put is None or sign is None or isinstance(sign.inputs[1], Var):
            continue
        g, taps = put.inputs
        index = _made_by("window_argmax", taps, made)
        if index is None or index.inputs[0] is not sign.inputs[0] or not isinstance(g, Var):
            continue
        y = index.inputs[1]
        chosen, kept = Var(Aval(g.aval.shape, sign.outputs[0].aval.dtype)), Var(g.aval)
        signs = replace(sign, inputs=(y, sign.inputs[1]), outputs=(chosen,))
        product = replace(e, inputs=(g, chosen), outputs=(kept,))
        last = replace(put, inputs=(kept, taps), outputs=e.outputs)
        made.update({chosen: signs, kept: product, e.outputs[0]: last})
        return [signs, *_masked(product, made), last]
    return [e]


def _summed_before(e: Equation, made: dict[Var, Equation]) -> list[Equation]:
    """Return the sum of what is put somewhere in place of the sum over all places."""
    while (put := _made_by("window_put", e.inputs[0], made)) and put.attrs["axis"] in e.attrs[
        "axes"
    ]:
        if max(put.attrs["pad"]) >= put.attrs["window"]:  # a window of nothing but padding
            break
        e = replace(e, inputs=put.inputs[:1])
    return [e]


def _indices_first(equations: list[Equation]) -> list[Equation]:
    """Return the equations with indices of maxima right behind what they are read from."""
    made = {v: k for k, e in enumerate(equations) for v in e.outputs}

    def place(k: int) -> float:
        e = equations[k]
        if e.primitive.name != "window_argmax":
            return k
        return 0.5 + max(made.get(v, -1) for v in e.inputs if isinstance(v, Var))

    return [equations[k] for k in sorted(range(len(equations)), key=place)]
