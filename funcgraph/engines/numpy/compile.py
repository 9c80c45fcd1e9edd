"""Compiles a Graph to a function of arrays: `compile_graph`.

May import `core`, `engines.numpy`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.budget import MemoryReport
from funcgraph.core.calls import inlined
from funcgraph.core.diagonal import scaled
from funcgraph.core.graph import Graph, Var
from funcgraph.core.hoist import hoist
from funcgraph.core.simplify import prune, simplify
from funcgraph.engines.numpy.derivatives import to_look_at
from funcgraph.engines.numpy.elements import by_elements
from funcgraph.engines.numpy.floats import LARGEST, float_program
from funcgraph.engines.numpy.fresh import FreshBuffers
from funcgraph.engines.numpy.memory import Buffers, owners_alone
from funcgraph.engines.numpy.program import Program

__all__ = ["compile_graph", "memory_of"]


def _prepared(graph: Graph, derivatives: Sequence[Var], budget: int | None) -> tuple[Graph, int]:
    """Return the graph with what has to be finite as further outputs; and how many these are."""
    if budget is not None:
        graph = inlined(graph, "numpy")
    known = {v for e in prune(graph).equations for v in e.outputs}.union(graph.inputs)
    watched = tuple(v for v in dict.fromkeys(derivatives) if v in known)
    outputs = (*graph.outputs, *watched)
    graph = simplify(Graph(graph.inputs, graph.equations, outputs, graph.constants))
    return hoist(simplify(scaled(graph))), len(watched)


def memory_of(
    graph: Graph,
    donate_argnums: Sequence[int] = (),
    finite: Callable[[list[Any]], bool] | None = None,
    derivatives: Sequence[Var] = (),
    memory_budget: int | None = None,
) -> MemoryReport:
    """Return how much memory the program needs that compile_graph makes."""
    graph, n = _prepared(graph, derivatives, memory_budget)
    return Program(graph, donate_argnums, finite, n, budget=memory_budget).memory()


def compile_graph(
    graph: Graph,
    donate_argnums: Sequence[int] = (),
    finite: Callable[[list[Any]], bool] | None = None,
    derivatives: Sequence[Var] = (),
    memory_budget: int | None = None,
) -> Callable[..., Any]:
    """Return a function of the graph's inputs (arrays) that returns the tuple of its outputs.

    Args:
      graph: The program.
      donate_argnums: Numbers of the inputs whose memory the results may take.
      finite: Says whether all numbers of some arrays are finite.
      derivatives: Variables of the graph. If one that the outputs depend on is not finite, the
        function returns None, and has then not written into any input.
      memory_budget: How many bytes may be alive at one time.

    Raises:
      MemoryBudgetError: The budget is too small.
    """
    graph, n = _prepared(graph, derivatives, memory_budget)
    make = functools.partial(_array_program, graph, donate_argnums, finite, n, memory_budget)
    floats = None if memory_budget else _float_program(graph, n)
    arrays = None if floats else make()

    def run(*inputs: Any) -> Any:
        nonlocal arrays
        try:
            return floats(*inputs)  # type: ignore[misc]
        except (ArithmeticError, ValueError):  # where NumPy gives inf or nan
            arrays = arrays or make()
            return arrays(*inputs)

    return arrays or run


def _float_program(graph: Graph, derivatives: int) -> Callable[..., Any] | None:
    n = len(graph.outputs) - derivatives
    avals = (*(v.aval for v in graph.inputs), *graph.output_avals[:n])
    if any(prod(a.shape) > LARGEST for a in avals):
        return None
    graph = to_look_at(graph, derivatives)
    return float_program(graph, len(graph.outputs) - n)


def _array_program(
    graph: Graph,
    donated: Sequence[int],
    finite: Callable[[list[Any]], bool] | None,
    derivatives: int,
    budget: int | None,
) -> Callable[..., Any]:
    graph = by_elements(graph) if budget is None else graph
    program = Program(graph, donated, finite, derivatives, budget=budget)
    function, workspaces = program.function, program.workspaces
    buffers = Buffers(program.outputs) if budget is None else FreshBuffers(program.outputs)
    ends = tuple(
        x
        for x in program.graph.constants.values()
        if isinstance(x, np.ndarray) and not x.flags.owndata
    )

    def run(*inputs: Any) -> tuple[Any, ...]:
        workspace = workspaces.take()
        try:
            with np.errstate(all="ignore"):  # as XLA: derivatives may pass through inf and nan
                return function(inputs, workspace, buffers.take((*inputs, *ends)))
        finally:
            workspaces.give(workspace)

    numbers = {v: k for k, v in enumerate(program.graph.inputs) if k in donated}
    passed = {i: numbers[v] for i, v in enumerate(program.graph.outputs) if v in numbers}
    return functools.partial(_without_shared, run, passed) if passed else run


def _without_shared(run: Callable[..., Any], passed: dict[int, int], *inputs: Any) -> Any:
    """Run a program, and copy what comes back unchanged but shares its memory with another input.

    Args:
      run: The program.
      passed: Which outputs are which donated inputs, as they are.
      *inputs: Of the program.
    """
    outs = run(*inputs)
    if outs is None:  # a derivative is not finite
        return None
    alone = owners_alone(passed.values(), inputs)
    shared = {i for i, k in passed.items() if k not in alone and outs[i] is inputs[k]}
    return tuple(np.array(y) if i in shared else y for i, y in enumerate(outs)) if shared else outs
