"""Graphs made from graphs: their tangents, their forward and backward passes, their batches.

Each is staged once for a graph and a pattern of arguments, and kept as long as the graph lives.
May import `core`, `engines`, `ops`, `transforms`.
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Graph
from funcgraph.core.simplify import prune, simplify
from funcgraph.ops.strong import nothing
from funcgraph.ops.structural import zeros
from funcgraph.transforms.forward import Forward, ForwardTracer
from funcgraph.transforms.named_tape import new_tape
from funcgraph.transforms.residuals import Residuals
from funcgraph.transforms.stage import Stage, StageTracer, stage
from funcgraph.transforms.tape import TapeTracer, backward
from funcgraph.transforms.vmap import vmap

__all__ = ["Passes", "batch_graph", "cached", "compiled", "split", "tangent_graph"]

Flags = tuple[bool, ...]
_derived: weakref.WeakKeyDictionary[Graph, dict[Any, Any]] = weakref.WeakKeyDictionary()


T = TypeVar("T")


def cached(graph: Graph, key: Any, make: Callable[[], T]) -> T:
    """Return what `make` made for this graph and key, the first time it was asked for."""
    made = _derived.setdefault(graph, {})
    if key not in made:
        made[key] = make()
    return made[key]  # type: ignore[no-any-return]


def compiled(graph: Graph, backend: str = "numpy") -> Callable[..., tuple[Any, ...]]:
    """Return the compiled program of a graph."""

    def compile_graph() -> Any:
        engine = importlib.import_module(f"funcgraph.engines.{backend}")
        return engine.compile_graph(simplify(graph))

    return cached(graph, ("program", backend), compile_graph)  # type: ignore[no-any-return]


def tangent_graph(graph: Graph, varying: Flags, safe: bool = False) -> Graph:
    """Return the graph (inputs, tangents of the varying ones) -> tangents of the outputs."""

    def tangents(*args: Any) -> list[Any]:
        n = len(graph.inputs)
        trace, none = Forward(safe), nothing if safe else zeros
        rest = iter(args[n:])
        traced = [
            ForwardTracer(x, next(rest), trace) if flag else x
            for x, flag in zip(args[:n], varying, strict=True)
        ]
        outs = graph.run(*traced)
        mine = [type(y) is ForwardTracer and y._trace is trace for y in outs]
        return [
            y.tangent if m else none(a)
            for y, m, a in zip(outs, mine, graph.output_avals, strict=True)
        ]

    avals = [v.aval for v in graph.inputs]
    avals += [Aval(a.shape, a.dtype) for a, flag in zip(avals, varying, strict=True) if flag]
    return cached(graph, ("jvp", varying, safe), lambda: prune(stage(tangents, avals)))


class Passes(NamedTuple):
    """A graph cut in two for reverse mode."""

    forward: Graph  # inputs -> outputs, further values
    backward: Graph  # cotangents of the outputs, residuals -> cotangents of the varying inputs
    sources: tuple[int, ...]  # each residual's place in (*inputs, *further values)
    reached: Flags  # which of the varying inputs have a cotangent that is not just zero


def split(graph: Graph, varying: Flags, safe: bool = False, free: Flags | None = None) -> Passes:
    """Return the forward and the backward pass of a graph.

    The residuals are the values of the forward pass that the staged backward pass closes over, but
    for those that cost nothing to compute again. If `safe`, zeros are strong, see `ops.strong`;
    `free` marks inputs that cost nothing to keep (default: all).
    """
    at_hand = (True,) * len(graph.inputs) if free is None else free
    return cached(
        graph, ("vjp", varying, safe, at_hand), lambda: _split(graph, varying, safe, at_hand)
    )


def _split(graph: Graph, varying: Flags, safe: bool, free: Flags) -> Passes:
    ahead = Stage()
    inputs = [ahead.tracer(v.aval, v.name) for v in graph.inputs]
    tape = new_tape()
    watched = [x if not flag else tape.watch(x) for x, flag in zip(inputs, varying, strict=True)]
    outs = graph.run(*watched)
    entries = tape.end()
    mine = [type(y) is TapeTracer and y._trace is tape for y in outs]
    values = [y.value if m else y for y, m in zip(outs, mine, strict=True)]
    back = Stage()
    seeds = [back.tracer(Aval(a.shape, a.dtype)) for a in graph.output_avals]
    pairs = [(y.index, ct) for y, m, ct in zip(outs, mine, seeds, strict=True) if m]
    found = backward(entries, pairs, sum(varying), safe)
    sources = [x for x, flag in zip(inputs, varying, strict=True) if flag]
    none = nothing if safe else zeros
    cts = [none(x) if ct is None else ct for ct, x in zip(found, sources, strict=True)]
    results = tuple(back.atom(ct) for ct in cts)
    reads = {
        x.variable: v
        for v, x in back.constants.items()
        if isinstance(x, StageTracer) and x._trace is ahead
    }
    read = set(reads.values())
    rest = {v: x for v, x in back.constants.items() if v not in read}
    at_hand = {x.variable for x, flag in zip(inputs, free, strict=True) if flag}
    residuals = Residuals(reads, ahead.equations, ahead.constants, at_hand)
    prelude, pairs_kept = residuals.prelude(), residuals.kept()
    backward_graph = prune(
        Graph(
            (*(s.variable for s in seeds), *(v for v, _ in pairs_kept)),
            (*prelude, *back.equations),
            results,
            {**rest, **residuals.constants},
        )
    )
    places = {x.variable: k for k, x in enumerate(inputs)}
    kept = [ahead.atom(x) for x in values]
    numbers: list[int] = []
    for _, v in pairs_kept:
        if v not in places:
            places[v] = len(inputs) + len(kept) - len(values)
            kept.append(v)
        numbers.append(places[v])
    ahead.alive = back.alive = False
    forward_graph = Graph(
        tuple(x.variable for x in inputs), tuple(ahead.equations), tuple(kept), ahead.constants
    )
    reached = tuple(ct is not None for ct in found)
    return Passes(prune(forward_graph), backward_graph, tuple(numbers), reached)


def batch_graph(graph: Graph, size: int, batched: Flags) -> Graph:
    """Return the graph of all lanes: marked inputs and all outputs have a batch axis in front."""
    in_axes = tuple(0 if b else None for b in batched)
    mapped = vmap(lambda *xs: graph.run(*xs), in_axes, axis_size=size)
    avals = [
        Aval((size, *v.aval.shape), v.aval.dtype) if b else v.aval
        for v, b in zip(graph.inputs, batched, strict=True)
    ]
    return cached(graph, ("vmap", size, batched), lambda: prune(stage(mapped, avals)))
