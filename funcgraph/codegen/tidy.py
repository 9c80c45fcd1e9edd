"""Graphs as people would write them: constants as numbers, shapes left to broadcasting.

The values stay what they are, to the last bit. May import `core`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.simplify import simplify

__all__ = ["strengthened", "tidy"]


def tidy(graph: Graph) -> Graph:
    """Return a simplified graph whose elementwise operations leave broadcasting to NumPy.

    Nothing is computed ahead from constants that the user has a name for.
    """
    n, known = len(graph.inputs), {v: x for v, x in graph.constants.items() if v.name}
    if known:
        rest = {v: x for v, x in graph.constants.items() if v not in known}
        found = tidy(Graph((*graph.inputs, *known), graph.equations, graph.outputs, rest))
        constants = {**known, **found.constants}
        return Graph(found.inputs[:n], found.equations, found.outputs, constants)
    graph = simplify(graph)
    made = {v: e for e in graph.equations for v in e.outputs}
    equations = tuple(
        _relaxed(e, made, graph.constants) if _broadcasts(e) else e for e in graph.equations
    )
    return simplify(Graph(graph.inputs, equations, graph.outputs, graph.constants))


def strengthened(graph: Graph) -> tuple[Graph, set[int]]:
    """Return the graph for scalars of NumPy in place of Python's floats, where that is the same.

    It is, unless a float takes part in promotion, or in control flow. Returns also which of the
    inputs are to be scalars.
    """
    new = {
        v: Var(Aval((), v.aval.dtype), v.name)
        for v in graph.inputs
        if v.aval.weak is float and v not in graph.outputs
    }
    for e in graph.equations:
        mine = [a for a in e.inputs if isinstance(a, Var) and a in new]
        if mine and (e.primitive.many or not _same_type(e, new)):
            for v in mine:
                new.pop(v, None)
    equations = tuple(
        replace(e, inputs=tuple(new.get(a, a) if isinstance(a, Var) else a for a in e.inputs))
        for e in graph.equations
    )
    inputs = tuple(new.get(v, v) for v in graph.inputs)
    numbers = {k for k, v in enumerate(graph.inputs) if v in new}
    return Graph(inputs, equations, graph.outputs, graph.constants), numbers


def _same_type(e: Equation, new: dict[Var, Var]) -> bool:
    avals = [_aval(new.get(a, a) if isinstance(a, Var) else a) for a in e.inputs]
    return bool(e.primitive.abstract(*avals, **e.attrs) == e.outputs[0].aval)


def _broadcasts(e: Equation) -> bool:
    ufunc = isinstance(e.primitive.numpy, np.ufunc) and e.primitive.name != "matmul"
    return len(e.inputs) > 1 and (ufunc or e.primitive.name == "where")


def _relaxed(e: Equation, made: dict[Var, Equation], constants: dict[Var, Any]) -> Equation:
    """Return the equation with arguments as small as broadcasting allows."""
    inputs = list(e.inputs)
    for k, x in enumerate(inputs):
        for smaller in _smaller(x, made, constants):
            if _fits(e, [*inputs[:k], smaller, *inputs[k + 1 :]], x, smaller):
                inputs[k] = smaller
    return replace(e, inputs=tuple(inputs))


def _smaller(x: Atom, made: dict[Var, Equation], constants: dict[Var, Any]) -> list[Atom]:
    """Return what broadcasts to the same elements as x, the smallest last."""
    if not isinstance(x, Var):
        return []
    if x in constants:
        number = _number(constants[x])
        return [] if number is None else [number]
    e = made.get(x)
    if e is not None and e.primitive.name == "broadcast":
        return [e.inputs[0], *_smaller(e.inputs[0], made, constants)]
    return []


def _number(value: Any) -> Atom | None:
    """Return the Python number that all elements of a constant are, in their precision."""
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "if":
        return None
    flat = value.reshape(-1)
    if not value.size or value.dtype.itemsize > 8 or value.dtype.name == "float16":
        return None
    if flat.tobytes() != flat[:1].tobytes() * flat.size or not np.isfinite(flat[0]):
        return None
    shortest = flat[0].item() if value.dtype.kind == "i" else float(str(flat[0]))
    return shortest if value.dtype.type(shortest) == flat[0] else None


def _fits(e: Equation, inputs: list[Atom], old: Atom, new: Atom) -> bool:
    """Return whether an equation of these inputs gives the same: shape, type, and rounding."""
    dtypes = {x.aval.dtype for x in inputs if isinstance(x, Var) and x.aval.weak is None}
    dtypes.discard(np.dtype(bool))
    if not isinstance(new, Var) and dtypes != {_aval(old).dtype}:
        return False
    try:
        found = e.primitive.abstract(*map(_aval, inputs), **e.attrs)
    except (TypeError, ValueError):
        return False
    return bool(found == e.outputs[0].aval)


def _aval(x: Atom) -> Aval:
    return x.aval if isinstance(x, Var) else aval_of(x)
