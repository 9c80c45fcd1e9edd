"""Points in space, computed coordinate by coordinate: the short last axis goes elsewhere.

NumPy's inner loop goes along the last axis, and takes 10 to 50 ns to begin. Differences of all
pairs of points, an array of shape (n, n, 3), have n * n such loops; in the shape (3, n, n) or
(n, 3, n) they have 3 * n. May import `core`, `engines.numpy.blocks`.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.simplify import prune
from funcgraph.engines.numpy.blocks import BLOCK

__all__ = ["by_planes"]

_FEW = 4  # elements of the last axis
_LEAST = 64  # rows


def by_planes(graph: Graph) -> Graph:
    """Return an equal graph in which arrays with a short last axis are planes, where it pays.

    That is where they begin with smaller arrays, and end in sums.
    """
    groups = [g for g in _groups(graph) if _pays(g, graph)]
    if not groups:
        return graph
    reshaped = {e.outputs[0]: e for e in graph.equations if e.primitive.name == "reshape"}
    place: dict[Any, _Planes] = {}
    for g in groups:
        planes = _Planes(g[0].outputs[0].aval.shape, reshaped)
        place.update((e.outputs[0], planes) for e in g)
    equations: list[Equation] = []
    for e in graph.equations:
        if e.outputs and e.outputs[0] in place:
            equations += place[e.outputs[0]].elementwise(e)
        elif e.primitive.name == "reduce_sum" and e.inputs[0] in place:
            equations += place[e.inputs[0]].sum(e)
        else:
            equations.append(e)
    return prune(Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants))


def _is_short(e: Equation) -> bool:
    """Return whether an equation is elementwise, on rows that are short."""
    if not e.primitive.is_elementwise or len(e.outputs) != 1:
        return False
    shape = e.outputs[0].aval.shape
    return len(shape) > 2 and 2 <= shape[-1] <= _FEW and prod(shape[:-1]) >= _LEAST


def _groups(graph: Graph) -> list[list[Equation]]:
    """Return the elementwise equations on short rows, those together that read each other."""
    group: dict[Any, list[Equation]] = {}
    for e in filter(_is_short, graph.equations):
        (out,) = e.outputs
        members = [e]
        for v in e.inputs:
            if not isinstance(v, Var) or v.aval.shape != out.aval.shape:
                continue
            other = group.get(v, members)
            if other is not members:
                members += other
                group.update((m.outputs[0], members) for m in members)
        group[out] = members
    return list({id(g): g for g in group.values()}.values())


def _pays(group: list[Equation], graph: Graph) -> bool:
    """Return whether nothing as large as the group's arrays enters it, and only sums leave it."""
    inside = {e.outputs[0] for e in group}
    size = prod(group[0].outputs[0].aval.shape)
    before = {v for e in group for v in e.inputs if isinstance(v, Var) and v not in inside}
    if inside.intersection(graph.outputs) or any(2 * prod(v.aval.shape) > size for v in before):
        return False
    readers = (e for e in graph.equations if not inside.isdisjoint(e.inputs))
    return all(e.outputs[0] in inside or e.primitive.name == "reduce_sum" for e in readers)


class _Planes:
    """How arrays of a shape are kept: the last axis first, or before the last of large ones."""

    def __init__(self, shape: tuple[int, ...], reshaped: dict[Any, Equation]) -> None:
        self.reshaped = reshaped
        n = len(shape)
        self.axis = 0 if prod(shape) <= BLOCK else n - 2
        self.order = [*range(n - 1)]
        self.order.insert(self.axis, n - 1)  # at each place: which axis stands there
        self.planes: dict[Any, Any] = {}
        self.known: dict[Any, Any] = {}  # results by what is done, and with what

    def moved(self, x: Var, found: list[Equation]) -> Var:
        """Return an argument, broadcast from the left, with its axes in order."""
        shape = x.aval.shape
        if not shape or x in self.planes:
            return self.planes.get(x, x)
        full = (1,) * (len(self.order) - len(shape)) + shape
        kept = [k for k, n in enumerate(full) if n > 1]  # the axes that have any length
        axes = tuple(kept.index(k) for k in self.order if k in kept)
        now: Any = x
        while now in self.reshaped:
            now = self.reshaped[now].inputs[0]

        def step(name: str, size: tuple[int, ...], **attrs: Any) -> None:
            nonlocal now
            if name == "reshape" and now.aval.shape == size:
                return
            key = name, now, size
            if key not in self.known:
                out = self.known[key] = Var(Aval(size, x.aval.dtype))
                found.append(Equation(REGISTRY[name], (now,), (out,), attrs))
            now = self.known[key]

        planes, short = tuple(full[k] for k in self.order), tuple(full[k] for k in kept)
        if axes != tuple(range(len(axes))):
            step("reshape", short, shape=short)
            step("transpose", tuple(short[k] for k in axes), axes=axes)
            step("copy", now.aval.shape)  # results have the order of what they are made of
        step("reshape", planes, shape=planes)
        self.planes[x] = now
        return now

    def elementwise(self, e: Equation) -> list[Equation]:
        """Return equations in place of one of the group."""
        found: list[Equation] = []
        inputs = tuple(self.moved(x, found) if isinstance(x, Var) else x for x in e.inputs)
        (out,) = e.outputs
        shape = tuple(out.aval.shape[k] for k in self.order)
        self.planes[out] = Var(Aval(shape, out.aval.dtype))
        return [*found, replace(e, inputs=inputs, outputs=(self.planes[out],))]

    def sum(self, e: Equation) -> list[Equation]:
        """Return equations in place of a sum."""
        (out,), axes = e.outputs, e.attrs["axes"]
        left = [k for k in self.order if k not in axes]
        places = tuple(p for p, k in enumerate(self.order) if k in axes)
        inputs, attrs = (self.planes[e.inputs[0]],), {**e.attrs, "axes": places}
        if left == sorted(left):
            return [replace(e, inputs=inputs, attrs=attrs)]
        planes = self.planes[e.inputs[0]].aval.shape
        total = Var(Aval(tuple(n for p, n in enumerate(planes) if p not in places), out.aval.dtype))
        back = {"axes": tuple(left.index(k) for k in sorted(left))}
        return [
            replace(e, inputs=inputs, outputs=(total,), attrs=attrs),
            Equation(REGISTRY["transpose"], (total,), (out,), back, e.line),
        ]
