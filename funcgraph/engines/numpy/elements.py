"""Long elementwise programs of a few numbers as a loop over the elements, on Python's floats.

NumPy takes 0.3 us for an operation on ten numbers, Python's floats 0.02 us for each of them; and
the lines are compiled once for all elements. May import `core`, `engines.numpy`.
"""

from __future__ import annotations

import functools
from collections import Counter
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.simplify import already_simple
from funcgraph.engines.numpy.scalars import ELEMENTWISE, TRUTHS

__all__ = ["by_elements"]

# In the time of an operation on one float: one on an array; a loop; an array read or made by it.
_ON_ARRAY, _LOOP, _PASSED = 16, 480, 80


def by_elements(graph: Graph) -> Graph:
    """Return an equal graph in which a scan does elementwise work on few numbers, where it pays.

    The graph is simplified. The attribute `whole` of that scan makes the same program over arrays,
    for where Python raises an exception and NumPy gives inf or nan.
    """
    shapes = Counter(e.outputs[0].aval.shape for e in graph.equations if _is_elementwise(e))
    if not shapes:
        return graph
    ((shape, count),) = shapes.most_common(1)
    if count * (_ON_ARRAY - prod(shape)) < _LOOP:
        return graph
    members: list[Equation] = []
    before: list[Equation] = []
    behind: list[Equation] = []
    inside: set[Any] = set()
    later: set[Any] = set()  # what depends on members by way of others
    for e in graph.equations:
        if later.isdisjoint(e.inputs) and _is_elementwise(e) and e.outputs[0].aval.shape == shape:
            members.append(e)
            inside.update(e.outputs)
        elif inside.isdisjoint(e.inputs) and later.isdisjoint(e.inputs):
            before.append(e)
        else:
            behind.append(e)
            later.update(e.outputs)
    loop = _loop(members, {*graph.outputs, *(v for e in behind for v in e.inputs)})
    passed = len(loop.outputs) + loop.attrs["rows"]
    if len(members) * (_ON_ARRAY - prod(shape)) < _LOOP + _PASSED * passed:
        return graph
    equations = (*before, loop, *behind)
    return already_simple(Graph(graph.inputs, equations, graph.outputs, graph.constants))


def _is_elementwise(e: Equation) -> bool:
    """Return whether an equation computes a vector of floats, or of truths, from such."""
    if e.primitive.name not in ELEMENTWISE:
        return False
    aval = e.outputs[0].aval
    if len(aval.shape) != 1 or not 1 < aval.shape[0] < _ON_ARRAY:
        return False
    if aval.dtype != np.float64 and (aval.dtype != bool or e.primitive.name not in TRUTHS):
        return False
    return all(_is_known(x, aval.shape) for x in e.inputs)


def _is_known(x: Any, shape: tuple[int, ...]) -> bool:
    """Return whether an argument is a vector of this shape or a number."""
    if not isinstance(x, Var):
        return type(x) is not complex
    aval = x.aval
    return aval.weak is None and aval.shape in (shape, ()) and aval.dtype in (np.float64, bool)


def _loop(members: list[Equation], read: set[Any]) -> Equation:
    """Return the scan that computes what is read of the results of some equations."""
    made = [v for e in members for v in e.outputs]
    known = set(made)
    given = dict.fromkeys(v for e in members for v in e.inputs if type(v) is Var and v not in known)
    rows, constants = [[v for v in given if bool(v.aval.shape) == flag] for flag in (True, False)]
    inputs, results = (*rows, *constants), tuple(v for v in made if v in read)
    number: dict[Any, Any] = {v: Var(Aval((), v.aval.dtype)) for v in (*inputs, *made)}

    def one(atoms: Any) -> tuple[Any, ...]:
        return tuple(number.get(v, v) if type(v) is Var else v for v in atoms)

    equations = tuple(
        Equation(e.primitive, one(e.inputs), one(e.outputs), e.attrs, e.line, e.scope)
        for e in members
    )
    attrs = {
        "body": already_simple(Graph(one(inputs), equations, one(results))),
        "carries": 0,
        "rows": len(rows),
        "length": made[0].aval.shape[0],
        "reverse": False,
        "unroll": 1,
        "whole": functools.partial(Graph, inputs, tuple(members), results),
    }
    return Equation(REGISTRY["scan"], inputs, results, attrs, members[0].line)
