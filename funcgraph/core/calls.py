"""How equations call the graphs they hold: with what, for what results, how many times.

What checks and costs have to know of control flow, in one table by the names of the primitives.
May import `core`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var

__all__ = ["CALLS", "Call", "OneOf", "WayBack", "calls_of", "inlined"]

Avals = tuple[Aval, ...]


class Call(NamedTuple):
    """A graph that an equation calls."""

    name: str  # as printed: body, branches[0]
    graph: Graph
    inputs: Avals  # what it is given
    outputs: Avals  # what it has to return
    trips: int | None = 1  # None: not known before it runs
    choice: bool = False  # one of several, of which one runs


class WayBack(NamedTuple):
    """The sweep back over a loop whose number of steps is not known, of one lane, as graphs.

    From the arguments of the loop (carry, constants of the condition and of the body) and the
    cotangents of the carries that have some, to the cotangents of carries and constants.

    Attributes:
      cond: (carry, its constants) -> whether a step follows.
      forth: (carry, constants) -> (carry, what has to be kept).
      back: (cotangents, their sums, what was kept, constants) -> (cotangents, sums).
      carries: How many carries there are.
      moving: How many of them have cotangents.
      results: Which of the cotangents, and sums, are asked for.
    """

    cond: Graph
    forth: Graph
    back: Graph
    carries: int
    moving: int
    results: tuple[bool, ...]


class OneOf(NamedTuple):
    """A choice between graphs by a number, of one lane; they take the arguments behind it."""

    branches: tuple[Graph, ...]


def _avals(atoms: Iterable[Var | bool | int | float | complex]) -> Avals:
    return tuple(aval_of(a) if not isinstance(a, Var) else a.aval for a in atoms)


def _row(a: Aval) -> Aval:
    return Aval(a.shape[1:], a.dtype)


def _scan(e: Equation) -> list[Call]:
    body, carries, rows = e.attrs["body"], e.attrs["carries"], e.attrs["rows"]
    given, results = _avals(e.inputs), _avals(e.outputs)
    xs = tuple(map(_row, given[carries : carries + rows]))
    inputs = (*given[:carries], *xs, *given[carries + rows :])
    outputs = (*given[:carries], *map(_row, results[carries:]))
    return [Call("body", body, inputs, outputs, e.attrs["length"])]


def _of_one_lane(e: Equation) -> tuple[Avals, Avals, int]:
    """Return arguments and results without the batch axes that vmap gave them; how many lanes."""
    sizes, batched = e.attrs.get("lanes", ((), ()))
    given = [
        Aval(a.shape[sum(flags[k] for flags in batched) :], a.dtype)
        for k, a in enumerate(_avals(e.inputs))
    ]
    results = [Aval(a.shape[len(sizes) :], a.dtype) for a in _avals(e.outputs)]
    return tuple(given), tuple(results), prod(sizes)


def _while(e: Equation) -> list[Call]:
    cond, body, carries = e.attrs["cond"], e.attrs["body"], e.attrs["carries"]
    given, middle = _of_one_lane(e)[0], len(cond.inputs)
    carry = given[:carries]
    going = (Aval((), np.dtype(bool)),)
    return [
        Call("cond", cond, given[:middle], going, None),
        Call("body", body, (*carry, *given[middle:]), carry, None),
    ]


def _switch(e: Equation) -> list[Call]:
    given, results, lanes = _of_one_lane(e)
    named = e.named_subgraphs.items()
    return [Call(name, graph, given[1:], results, lanes, choice=True) for name, graph in named]


def _jit(e: Equation) -> list[Call]:
    return [Call("graph", e.attrs["graph"], _avals(e.inputs), _avals(e.outputs))]


CALLS: dict[str, Callable[[Equation], list[Call]]] = {
    "scan": _scan,
    "while": _while,
    "switch": _switch,
    "jit_call": _jit,
}


def calls_of(e: Equation) -> list[Call]:
    """Return the graphs that an equation calls, in the order in which it does."""
    known = CALLS.get(e.primitive.name)
    return known(e) if known is not None else []


def inlined(graph: Graph, backend: str) -> Graph:
    """Return the graph with the equations of compiled functions in place of their calls.

    Args:
      graph: The program.
      backend: The engine of these functions; calls of others stay.
    """
    constants = dict(graph.constants)
    equations: list[Equation] = []
    known: dict[Var, Atom] = {}

    def now(atom: Atom) -> Atom:
        return known.get(atom, atom) if isinstance(atom, Var) else atom

    for e in graph.equations:
        inputs = tuple(map(now, e.inputs))
        if e.primitive.name != "jit_call" or e.attrs["backend"] != backend:
            equations.append(replace(e, inputs=inputs))
            continue
        inner = inlined(e.attrs["graph"], backend)
        known.update(zip(inner.inputs, inputs, strict=False))
        for v, value in inner.constants.items():
            known[v] = constant = Var(v.aval, v.name)
            constants[constant] = value
        for f in inner.equations:
            fresh = tuple(Var(v.aval, v.name) for v in f.outputs)
            equations.append(replace(f, inputs=tuple(map(now, f.inputs)), outputs=fresh))
            known.update(zip(f.outputs, fresh, strict=True))
        known.update(zip(e.outputs, tuple(map(now, inner.outputs)), strict=True))
    return Graph(graph.inputs, tuple(equations), tuple(map(now, graph.outputs)), constants)
