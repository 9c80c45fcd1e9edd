"""Derivatives of maxima in windows: what an element gets is decided where there are fewer elements.

Behind relu and max pooling, a cotangent is put to its place among the elements, and is then kept
if the element there is positive. But that element is the maximum, whose sign is known before. And
which element it is, is found as soon as the maximum is: then nobody has to keep the elements. The
maximum of a window with nan is nan, but its derivative goes to the last element: its sign counts
there. May import `core`, `ops`.
"""

from __future__ import annotations

from dataclasses import replace

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.ops.pooling import window_take

__all__ = ["decided_early"]


def decided_early(graph: Graph) -> Graph:
    """Return the graph with choices among elements of windows made at their maxima."""
    made = {v: e for e in graph.equations for v in e.outputs}
    taken: dict[Var, Var] = {}
    equations: list[Equation] = []
    for e in graph.equations:
        equations += (
            _summed_before(e, made) if e.primitive.name == "reduce_sum" else _masked(e, made, taken)
        )
    return Graph(
        graph.inputs, tuple(_choices_first(equations, taken)), graph.outputs, graph.constants
    )


def _made_by(name: str, v: object, made: dict[Var, Equation]) -> Equation | None:
    e = made.get(v) if isinstance(v, Var) else None
    return e if e is not None and e.primitive.name == name else None


def _masked(e: Equation, made: dict[Var, Equation], taken: dict[Var, Var]) -> list[Equation]:
    """Return put(g * (z > c)) in place of put(g) * (x > c); z, taken from x, are its maxima y.

    `taken` has y for each z: where the windows of y are reduced next, z > c is the mask of y.
    """
    if e.primitive.name != "multiply":
        return [e]
    for values, mask in (e.inputs, e.inputs[::-1]):
        put, sign = _made_by("window_put", values, made), _made_by("greater", mask, made)
        if put is None or sign is None or isinstance(sign.inputs[1], Var):
            continue
        g, taps = put.inputs
        index = _made_by("window_argmax", taps, made)
        if index is None or not isinstance(g, Var):
            continue
        x, y = sign.inputs[0], index.inputs[1]
        if not isinstance(x, Var) or not isinstance(y, Var):
            continue
        if index.inputs[0] is not taken.get(x, x):
            continue
        z, kept = Var(y.aval), Var(g.aval)
        chosen = Var(Aval(g.aval.shape, sign.outputs[0].aval.dtype))
        taken[z] = y
        take = replace(index, primitive=window_take, inputs=(x, taps, y), outputs=(z,))
        signs = replace(sign, inputs=(z, sign.inputs[1]), outputs=(chosen,))
        product = replace(e, inputs=(g, chosen), outputs=(kept,))
        last = replace(put, inputs=(kept, taps), outputs=e.outputs)
        made.update({chosen: signs, kept: product, e.outputs[0]: last})
        return [take, signs, *_masked(product, made, taken), last]
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


def _choices_first(equations: list[Equation], taken: dict[Var, Var]) -> list[Equation]:
    """Return the equations with what maxima decide right behind what it is read from."""
    made = {v: float(k) for k, e in enumerate(equations) for v in e.outputs}
    places: list[float] = []
    for k, e in enumerate(equations):
        place, read = float(k), [v for v in e.inputs if isinstance(v, Var)]
        if e.primitive.name == "window_argmax" or not taken.keys().isdisjoint([*e.outputs, *read]):
            place = max(made.get(v, -1.0) for v in read) // 1 + 0.5
            made.update(dict.fromkeys(e.outputs, place))
        places.append(place)
    return [equations[k] for k in sorted(range(len(equations)), key=places.__getitem__)]
