"""Graphs with fewer changes of sign: a + (-b) is a - b, and (-a) * b is subtracted later on.

The results are the same, to the last bit. May import `core`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.simplify import prune

__all__ = ["with_fewer_signs"]

_ABSORB = frozenset(["add", "subtract", "negative", "multiply", "divide"])


def with_fewer_signs(graph: Graph) -> Graph:
    """Return an equal graph with fewer negations."""
    if not any(e.primitive.name == "negative" for e in graph.equations):
        return graph
    readers: dict[Any, list[str]] = defaultdict(list)
    for v in graph.outputs:
        readers[v].append("")
    for e in graph.equations:
        for v in e.inputs:
            readers[v].append(e.primitive.name)
    opposite: dict[Any, Var] = {}  # v is minus this
    equations: list[Equation] = []
    for e in graph.equations:
        name = e.primitive.name
        if e.outputs and e.outputs[0].aval.dtype.kind != "f":  # of bytes, 0 - 1 is 255
            equations.append(e)
        elif name == "negative" and isinstance(e.inputs[0], Var):
            opposite[e.outputs[0]] = e.inputs[0]
            equations.append(e)
        elif name in ("add", "subtract"):
            equations.append(_sum(e, opposite))
        elif (
            name in ("multiply", "divide")
            and not opposite.keys().isdisjoint(e.inputs)
            and _ABSORB.issuperset(readers[e.outputs[0]])
        ):
            equations += _product(e, opposite)
        else:
            equations.append(e)
    return prune(Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants))


def _sum(e: Equation, opposite: dict[Any, Var]) -> Equation:
    """Return a sum or difference that reads no opposite if it can."""
    a, b = e.inputs
    other = "add" if e.primitive.name == "subtract" else "subtract"
    if b in opposite:
        return replace(e, primitive=REGISTRY[other], inputs=(a, opposite[b]))
    if a in opposite and other == "subtract":
        return replace(e, primitive=REGISTRY["subtract"], inputs=(b, opposite[a]))
    return e


def _product(e: Equation, opposite: dict[Any, Var]) -> list[Equation]:
    """Return a product or quotient of what is not negated, and its opposite if need be."""
    inputs: Any = tuple([opposite.get(v, v) for v in e.inputs])
    (out,) = e.outputs
    if all(v in opposite for v in e.inputs):
        return [replace(e, inputs=inputs)]
    positive = opposite[out] = Var(out.aval)
    negation = Equation(REGISTRY["negative"], (positive,), (out,), {}, e.line, e.scope)
    return [replace(e, inputs=inputs, outputs=(positive,)), negation]
