"""Simplification of graphs: what is not needed, computed twice, or does nothing, goes.

May import `core`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.graph import Atom, Equation, Graph, Var

__all__ = ["prune", "simplify"]


def prune(graph: Graph) -> Graph:
    """Return the graph without equations and constants that no output depends on."""
    needed = {v for v in graph.outputs if isinstance(v, Var)}
    kept: list[Equation] = []
    for e in reversed(graph.equations):
        if any(v in needed for v in e.outputs):
            kept.append(e)
            needed.update(v for v in e.inputs if isinstance(v, Var))
    constants = {v: value for v, value in graph.constants.items() if v in needed}
    return Graph(graph.inputs, tuple(kept[::-1]), graph.outputs, constants)


def _exact(v: Any) -> Any:
    """Return what is equal only for values that are the same: 1, True and 1.0 differ, 0. and -0."""
    if isinstance(v, tuple):
        return tuple(map(_exact, v))
    return (type(v), repr(v)) if isinstance(v, float | complex) else (type(v), v)


def _key(e: Equation, inputs: tuple[Atom, ...]) -> Any:
    """Return what is equal for equations that compute the same; None if it cannot be told."""
    key = (e.primitive, _exact(inputs), _exact(tuple(e.attrs.items())))
    try:
        hash(key)
    except TypeError:  # an attribute such as a boolean mask
        return None
    return key


def _same(a: Var, b: Var) -> bool:
    return a.aval == b.aval


def _number(x: Atom, constants: dict[Var, Any]) -> Any:
    """Return a number that an atom is known to be, None otherwise."""
    if not isinstance(x, Var):
        return x
    value = constants.get(x)
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else None


def _without_effect(e: Equation, inputs: tuple[Atom, ...], constants: dict[Var, Any]) -> Any:
    """Return the argument that an operation returns as it is, None if there is none."""
    name = e.primitive.name
    if name in ("multiply", "divide", "subtract"):
        neutral = 0 if name == "subtract" else 1
        a, b = inputs
        if _number(b, constants) == neutral:
            return a
        return b if name == "multiply" and _number(a, constants) == neutral else None
    if name == "transpose":
        axes = e.attrs["axes"]
        return inputs[0] if axes == tuple(range(len(axes))) else None
    return inputs[0] if name in ("reshape", "broadcast", "convert", "positive", "copy") else None


def _undone(e: Equation, inputs: tuple[Atom, ...], made: dict[Var, Equation]) -> Any:
    """Return what was transposed or negated before e does it again; None otherwise."""
    before = made.get(inputs[0]) if inputs and isinstance(inputs[0], Var) else None
    if before is None or before.primitive is not e.primitive:
        return None
    if e.primitive.name == "transpose":
        first, second = before.attrs["axes"], e.attrs["axes"]
        return before.inputs[0] if all(first[k] == i for i, k in enumerate(second)) else None
    return before.inputs[0] if e.primitive.name == "negative" else None


def simplify(graph: Graph) -> Graph:
    """Return an equal graph without what is not needed, stands twice or has no effect.

    Dropped are equations that no output depends on, those that stand twice, x - 0, x * 1, x / 1,
    casts and reshapes to what is there already, and pairs of transposes or signs that cancel.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> graph = fg.make_graph(lambda x: np.sin(x) * 1.0 + np.sin(x).T.T)(np.zeros((2, 3)))
      >>> print(simplify(graph))
      graph(a: float64[2,3]) {
        b: float64[2,3] = sin a
        c: float64[2,3] = add b b
        return c
      }
    """
    same: dict[Var, Atom] = {}
    seen: dict[Any, tuple[Var, ...]] = {}
    made: dict[Var, Equation] = {}
    equations: list[Equation] = []

    def now(x: Atom) -> Atom:
        return same.get(x, x) if isinstance(x, Var) else x

    for e in graph.equations:
        inputs = tuple(map(now, e.inputs))
        found = _without_effect(e, inputs, graph.constants) or _undone(e, inputs, made)
        if isinstance(found, Var) and _same(found, e.outputs[0]):
            same[e.outputs[0]] = found
            continue
        key = _key(e, inputs)
        if key is not None and key in seen:
            same.update(zip(e.outputs, seen[key], strict=True))
            continue
        new = Equation(e.primitive, inputs, e.outputs, e.attrs, e.line)
        equations.append(new)
        made.update((v, new) for v in e.outputs)
        if key is not None:
            seen[key] = e.outputs
    outputs = tuple(map(now, graph.outputs))
    return prune(Graph(graph.inputs, tuple(equations), outputs, graph.constants))
