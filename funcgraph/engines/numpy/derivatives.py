"""Where a program looks whether its derivatives are finite, and what it does only after that.

Until then no argument is written, so that the program can give up and another one be run. The
derivatives are the last outputs of the graph. May import `core`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from funcgraph.core.graph import Graph, Var

__all__ = ["derivatives_first", "to_look_at"]

# What these give is finite if their arguments are (unless it overflows), and only then.
_FINITE_IF_ARGUMENTS = frozenset([
    "add", "subtract", "multiply", "negative", "matmul", "reduce_sum", "reshape", "transpose",
    "index_add",
])  # fmt: skip


def _elements(v: Var) -> int:
    return prod(v.aval.shape)


def to_look_at(graph: Graph, derivatives: int) -> Graph:
    """Return the graph with what to look at in place of its last outputs, the derivatives.

    That is, in place of a result of sums and products their arguments, if these are smaller.
    """
    made = {v: e for e in graph.equations for v in e.outputs}
    n = len(graph.outputs) - derivatives

    def variables(atoms: Iterable[Any]) -> list[Var]:
        floats = (v for v in atoms if isinstance(v, Var) and v.aval.dtype.kind in "fc")
        return [v for v in dict.fromkeys(floats) if v not in graph.constants]

    waiting = variables(graph.outputs[n:])
    found: dict[Var, None] = {}
    while waiting:
        v = waiting.pop()
        e = made.get(v)
        if e is not None and e.primitive.name in _FINITE_IF_ARGUMENTS:
            parts = variables(e.inputs)
            if sum(map(_elements, parts)) <= _elements(v):
                waiting += parts
                continue
        found[v] = None
    outputs = (*graph.outputs[:n], *found)
    return Graph(graph.inputs, graph.equations, outputs, graph.constants)


def derivatives_first(
    graph: Graph, watched: Sequence[Any], donated: Sequence[int]
) -> tuple[Graph, int]:
    """Return the graph with its updates at the end, and the number of the first equation of these.

    Updates are what depends on the derivatives, and what is only there for them, such as 0.9 * m.
    """
    known, behind = set(watched), set()
    needed = _ancestors(graph, known)
    for k, e in enumerate(graph.equations):
        if k not in needed and not known.isdisjoint(e.inputs):
            behind.add(k)
            known.update(e.outputs)
    if not behind and not donated:
        return graph, len(graph.equations)
    inputs = {graph.inputs[k] for k in donated}
    late = behind | _only_for(graph, behind, needed, inputs)
    if not late:
        return graph, len(graph.equations)
    order = [k for k in range(len(graph.equations)) if k not in late] + sorted(late)
    equations = tuple(graph.equations[k] for k in order)
    moved = Graph(graph.inputs, equations, graph.outputs, graph.constants)
    return moved, len(equations) - len(late)


def _ancestors(graph: Graph, watched: set[Any]) -> set[int]:
    """Return the equations that some variables depend on."""
    needed, found = set(watched), set()
    for k in range(len(graph.equations) - 1, -1, -1):
        e = graph.equations[k]
        if not needed.isdisjoint(e.outputs):
            found.add(k)
            needed.update(e.inputs)
    return found


def _only_for(graph: Graph, behind: set[int], needed: set[int], inputs: set[Var]) -> set[int]:
    """Return elementwise equations that only those behind read, or that update an input."""
    early: set[Any] = set().union(*(graph.equations[k].inputs for k in needed))
    outputs = set(graph.outputs)
    found: set[int] = set()
    for k in range(len(graph.equations) - 1, -1, -1):
        e = graph.equations[k]
        if k in behind or k in needed:
            continue
        updates = not inputs.isdisjoint(e.inputs)
        free = early.isdisjoint(e.outputs) and (updates or outputs.isdisjoint(e.outputs))
        if free and e.primitive.is_elementwise:
            found.add(k)
        else:
            early.update(e.inputs)
    return found
