"""Arguments in the dtypes in which NumPy computes, for an engine that has other rules.

JAX adds int32 to float32 in float32, NumPy in float64 (NEP 50). May import `core`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of, is_inexact
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY

__all__ = ["converted"]

# Operations that are no ufuncs, and compute in the dtype of the result: their first such argument.
_IN_ITS_DTYPE = {
    "concatenate": 0,
    "stack": 0,
    "cumprod": 0,
    "matmul": 0,
    "einsum_pair": 0,
    "where": 1,
}


def converted(graph: Graph) -> Graph:
    """Return the graph with conversions before what JAX would compute in another dtype."""
    made: dict[tuple[Var, Any], Var] = {}
    equations: list[Equation] = []
    for e in graph.equations:
        e = e.with_graphs(converted)
        inputs = list(e.inputs)
        for k, (v, dtype) in enumerate(zip(e.inputs, _wanted(e), strict=True)):
            if not isinstance(v, Var) or v.aval.weak or v.aval.dtype == dtype or dtype.kind == "b":
                continue
            if (v, dtype) not in made:
                new = made[v, dtype] = Var(Aval(v.aval.shape, dtype))
                convert = REGISTRY["convert" if is_inexact(dtype) else "truncate_dtype"]
                equations.append(Equation(convert, (v,), (new,), {"dtype": dtype}, e.line, e.scope))
            inputs[k] = made[v, dtype]
        equations.append(e if inputs == list(e.inputs) else replace(e, inputs=tuple(inputs)))
    if equations == list(graph.equations):
        return graph
    return Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants)


def _wanted(e: Equation) -> list[np.dtype[Any]]:
    """Return the dtypes in which NumPy reads the arguments."""
    avals = [v.aval if isinstance(v, Var) else aval_of(v) for v in e.inputs]
    if e.primitive.is_elementwise:
        ufunc: Any = e.primitive.numpy
        given = [a.weak or a.dtype for a in avals]
        return list(ufunc.resolve_dtypes((*given, *[None] * ufunc.nout))[: ufunc.nin])
    first = _IN_ITS_DTYPE.get(e.primitive.name, len(avals))
    return [a.dtype if k < first else e.outputs[0].aval.dtype for k, a in enumerate(avals)]
