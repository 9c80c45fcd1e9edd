"""Simplification of graphs: what is not needed, computed twice, or does nothing, goes.

May import `core`, `tree`.
"""

from __future__ import annotations

import weakref
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.identities import IDENTITIES, Program
from funcgraph.core.primitive import General
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.tree.exact import exact

__all__ = ["already_simple", "prune", "simplify"]

_FEW = 16  # elements of a constant that is compared with others
_SMALL = 1 << 10  # bytes that a folded constant may take beyond those of its arguments
_LARGE = 1 << 20  # bytes of arguments beyond which nothing is computed ahead


def prune(graph: Graph) -> Graph:
    """Return the graph without equations and constants that no output depends on."""
    needed: set[Atom] = set(graph.outputs)
    kept: list[Equation] = []
    for e in reversed(graph.equations):
        if not needed.isdisjoint(e.outputs):
            kept.append(e)
            needed.update(e.inputs)
    constants = {v: value for v, value in graph.constants.items() if v in needed}
    return Graph(graph.inputs, tuple(kept[::-1]), graph.outputs, constants)


def _key(e: Equation) -> Any:
    """Return what is equal for equations that compute the same; None if it cannot be told."""
    inputs = tuple([v if type(v) is Var else exact(v) for v in e.inputs])
    key = (e.primitive, inputs, exact(tuple(e.attrs.items())) if e.attrs else ())
    try:
        hash(key)
    except TypeError:  # an attribute such as a list
        return None
    return key


class _Simplifier:
    """Goes through the equations once, in order; what it knows is about the new program."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = dict(graph.constants)
        self.same: dict[Var, Atom] = {}  # what stands for a variable of the old program
        self.seen: dict[Any, tuple[Var, ...]] = {}
        self.program = Program(self.constants, {})
        self.equations: list[Equation] = []

    def run(self) -> Graph:
        self.share_constants()
        for e in self.graph.equations:
            self.visit(e)
        outputs = self.now(self.graph.outputs)
        return prune(Graph(self.graph.inputs, tuple(self.equations), outputs, self.constants))

    def now(self, atoms: tuple[Atom, ...]) -> tuple[Atom, ...]:
        same: dict[Any, Atom] = self.same
        return tuple([same.get(x, x) for x in atoms])

    def share_constants(self) -> None:
        """Keep one of several small constants with the same elements."""
        found: dict[Any, Var] = {}
        for v, value in self.graph.constants.items():
            if isinstance(value, np.ndarray | np.generic) and value.size <= _FEW:
                first = found.setdefault((v.aval, exact(value)), v)
                if first is not v:
                    self.same[v] = first

    def visit(self, e: Equation) -> None:
        attrs, inputs = e.with_graphs(simplify).attrs, self.now(e.inputs)
        if attrs is not e.attrs or inputs != e.inputs:
            e = Equation(e.primitive, inputs, e.outputs, attrs, e.line, e.scope)
        while (rule := IDENTITIES.get(e.primitive.name)) is not None:
            found = rule(e, self.program)
            if not isinstance(found, Equation):
                if isinstance(found, Var) and found.aval == e.outputs[0].aval:
                    self.same[e.outputs[0]] = found
                    found.name = found.name or e.outputs[0].name
                    return
                break
            e = found
        if self.fold(e):
            return
        key = _key(e)
        if key is not None and key in self.seen:
            for v, found in zip(e.outputs, self.seen[key], strict=True):
                self.same[v] = found
                found.name = found.name or v.name
            return
        self.equations.append(e)
        for v in e.outputs:
            self.program.made[v] = e
        if key is not None:
            self.seen[key] = e.outputs

    def fold(self, e: Equation) -> bool:
        """Compute an equation of constants, if that makes the program no larger.

        Not random numbers, nor what holds functions or graphs.
        """
        for x in e.inputs:
            if type(x) is Var and x not in self.constants:
                return False
        if e.primitive.many or isinstance(e.primitive.derivative, General):
            return False
        if not e.inputs or e.primitive.name.startswith("random"):
            return False
        values = [self.constants[x] if type(x) is Var else x for x in e.inputs]
        if any(KIND[type(v)] != NUMPY for v in values):
            return False
        sizes = [v.nbytes if isinstance(v, np.ndarray | np.generic) else 0 for v in values]
        (out,) = e.outputs
        wanted = prod(out.aval.shape) * out.aval.dtype.itemsize
        if sum(sizes) > _LARGE or wanted > sum(sizes) + _SMALL or out.aval.weak is not None:
            return False
        try:
            with np.errstate(all="ignore"):
                value = e.primitive.numpy(*values, **e.attrs)
        except Exception:  # it fails when the program runs, as it would have
            return False
        if aval_of(value) != out.aval:
            return False
        self.constants[out] = value
        return True


# One result for one graph: what is derived from graphs is found again by their identity.
_results: weakref.WeakKeyDictionary[Graph, Graph] = weakref.WeakKeyDictionary()
_simple: weakref.WeakSet[Graph] = weakref.WeakSet()


def simplify(graph: Graph) -> Graph:
    """Return a graph of the same values, to the last bit, with fewer equations.

    Dropped are equations that no output depends on, those that stand twice, those that do nothing
    or undo one another (`core.identities`), and those of constants. So are they in sub-graphs. The
    same graph gives the same result.

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
    if graph in _simple:
        return graph
    if graph not in _results:
        result = _Simplifier(graph).run()
        _results[graph] = result
        _simple.add(result)
    return _results[graph]


def already_simple(graph: Graph) -> Graph:
    """Return the graph, which `simplify` will leave as it is: it was made of a simple one."""
    _simple.add(graph)
    return graph
