"""The primitive of loops with a known number of steps, whose body is a graph.

Its derivatives and batches are loops over transformed bodies. May import `core`, `ops`,
`transforms`. The public functions are in `control.loops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgraph.control.eager import own_memory
from funcgraph.control.types import strong
from funcgraph.core.aval import Aval, is_inexact
from funcgraph.core.graph import Graph
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.simplify import prune
from funcgraph.ops.indexing import index
from funcgraph.ops.strong import nothing
from funcgraph.ops.structural import moved, spread, stack, zeros
from funcgraph.transforms.inspection import DESCENTS, FRAMES
from funcgraph.transforms.partial import (
    Passes,
    batch_graph,
    cached,
    compiled,
    split,
    tangent_graph,
)
from funcgraph.transforms.stage import stage

__all__ = ["scan_primitive"]

Flags = tuple[bool, ...]


def _cut(values: Any, *sizes: int) -> list[list[Any]]:
    """Cut a sequence into parts of these sizes, and the rest."""
    out, start = [], 0
    for n in sizes:
        out.append(list(values[start : start + n]))
        start += n
    return [*out, list(values[start:])]


def _chosen(values: Any, flags: Sequence[bool]) -> list[Any]:
    return [v for v, flag in zip(values, flags, strict=True) if flag]


# Arguments (*carry, *xs, *constants); body (*carry, *x, *constants) -> (*carry, *y).


def _run_numpy(
    *args: Any, body: Graph, carries: int, rows: int, length: int, reverse: bool, **_: Any
) -> tuple[Any, ...]:
    carry, xs, constants = _cut(args[: len(body.inputs)], carries, rows)
    run = compiled(body)
    ys = [np.empty((length, *a.shape), a.dtype) for a in body.output_avals[carries:]]
    for i in reversed(range(length)) if reverse else range(length):
        out = run(*carry, *[x[i] for x in xs], *constants)
        carry = list(out[:carries])
        for buffer, y in zip(ys, out[carries:], strict=True):
            buffer[i] = y
    return own_memory((*carry, *ys), args)


def _run_jax(
    jax: Any,
    *args: Any,
    body: Graph,
    carries: int,
    rows: int,
    length: int,
    reverse: bool,
    unroll: int,
    **_: Any,
) -> tuple[Any, ...]:
    carry, xs, constants = _cut(args[: len(body.inputs)], carries, rows)
    avals = body.output_avals
    start = tuple(jax.numpy.asarray(x, a.dtype) for x, a in zip(carry, avals, strict=False))

    def step(carry: Any, x: Any) -> Any:
        out = [jax.numpy.asarray(y) for y in body.run(*carry, *x, *constants)]
        return tuple(out[:carries]), tuple(out[carries:])

    arrays = tuple(jax.numpy.asarray(x) for x in xs)
    end, ys = jax.lax.scan(step, start, arrays, length, reverse=reverse, unroll=unroll)
    return (*end, *ys)


def _avals(*_: Aval, body: Graph, carries: int, length: int, **__: Any) -> tuple[Aval, ...]:
    carry, ys = _cut(body.output_avals, carries)
    return (*map(strong, carry), *(Aval((length, *a.shape), a.dtype) for a in ys))


def _like(attrs: dict[str, Any], body: Graph, carries: int, rows: int) -> dict[str, Any]:
    """Return the attributes of a loop of the same length over another body."""
    kept = {k: attrs[k] for k in ("length", "reverse", "unroll")}
    return {"body": body, "carries": carries, "rows": rows, **kept}


def _varying(body: Graph, carries: int, given: Sequence[bool]) -> Flags:
    """Return which inputs of the body vary: if anything does, every floating-point carry may."""
    flags = [a and is_inexact(v.aval.dtype) for a, v in zip(given, body.inputs, strict=True)]
    moves = any(flags)
    carry = [moves and is_inexact(v.aval.dtype) for v in body.inputs[:carries]]
    return (*carry, *flags[carries:])


# --- forward mode --------------------------------------------------------------------------------


def _jvp(tangents: Any, y: Any, *args: Any, safe: bool, **attrs: Any) -> Any:
    body, carries, rows = attrs["body"], attrs["carries"], attrs["rows"]
    n = len(body.inputs)
    args, tangents = args[:n], tangents[:n]
    flags = _varying(body, carries, [t is not None for t in tangents])
    moving = cached(
        body,
        ("scan jvp", carries, rows, flags, safe),
        lambda: _tangent_body(body, carries, rows, flags, safe),
    )
    none = nothing if safe else zeros
    dots = [none(a) if t is None else t for a, t in zip(args, tangents, strict=True)]
    inputs: list[Any] = []
    counts = []
    parts = zip(*(_cut(v, carries, rows) for v in (args, dots, flags)), strict=True)
    for values, changes, vary in parts:
        inputs += [*values, *_chosen(changes, vary)]
        counts.append(sum(vary))
    out = _scan(*inputs, **_like(attrs, moving, carries + counts[0], rows + counts[1]))
    _, moved_carry, _, changes = _cut(out, carries, counts[0], len(y) - carries)
    rest = iter(moved_carry)
    first = [next(rest) if flag else None for flag in flags[:carries]]
    inexact = [is_inexact(a.dtype) for a in body.output_avals[carries:]]
    return (*first, *(t if flag else None for t, flag in zip(changes, inexact, strict=True)))


def _tangent_body(body: Graph, carries: int, rows: int, flags: Flags, safe: bool) -> Graph:
    """Return the body for values and tangents: of carry, x, constants -> of carry, of y."""
    moving = tangent_graph(body, flags, safe)
    vary = _cut(flags, carries, rows)
    parts = _cut(body.inputs, carries, rows)

    def step(*values: Any) -> list[Any]:
        primals: list[Any] = []
        dots: list[Any] = []
        rest = list(values)
        for part, which in zip(parts, vary, strict=True):
            now, change, rest = _cut(rest, len(part), sum(which))
            primals += now
            dots += change
        out, change = body.run(*primals), moving.run(*primals, *dots)
        carry, ys = _cut(out, carries)
        return [*carry, *_chosen(change[:carries], vary[0]), *ys, *change[carries:]]

    avals: list[Aval] = []
    for part, which in zip(parts, vary, strict=True):
        avals += [v.aval for v in part] + [strong(v.aval) for v in _chosen(part, which)]
    return prune(stage(step, avals))


# --- reverse mode --------------------------------------------------------------------------------


def _augment(args: Any, attrs: dict[str, Any], varying: Flags) -> Any:
    flags = _varying(attrs["body"], attrs["carries"], varying)
    outs, residuals = _collect(args, attrs, flags, safe=False)
    return outs, residuals, {**attrs, "flags": flags}


def _passes(body: Graph, carries: int, flags: Flags, safe: bool) -> Passes:
    """Return the passes of a body: rows and constants are there anyway, carries are not."""
    free = tuple(k >= carries for k in range(len(body.inputs)))
    return split(body, flags, safe, free)


def _collect(args: Any, attrs: dict[str, Any], flags: Flags, safe: bool) -> tuple[Any, list[Any]]:
    """Run the loop so that it also collects, step by step, what the backward loop needs."""
    body, carries, rows = attrs["body"], attrs["carries"], attrs["rows"]
    passes = _passes(body, carries, flags, safe)
    n, outputs = len(body.inputs), len(body.outputs)
    # A residual is a constant or a row of xs, there already, or it is collected.
    collected = sorted({k for k in passes.sources if k < carries or k >= n})
    key = ("scan forward", carries, flags, safe)
    forward = cached(body, key, lambda: _collecting(passes, n, outputs, collected))
    outs = _scan(*args[:n], **_like(attrs, forward, carries, rows))
    found = dict(zip(collected, outs[outputs:], strict=True))
    return outs[:outputs], [found[k] if k in found else args[k] for k in passes.sources]


def _collecting(passes: Passes, n: int, outputs: int, collected: list[int]) -> Graph:
    """Return the forward body that gives further values, and carries, as further ys."""
    graph = passes.forward
    more = [graph.inputs[k] if k < n else graph.outputs[outputs + k - n] for k in collected]
    results = (*graph.outputs[:outputs], *more)
    return prune(Graph(graph.inputs, graph.equations, results, graph.constants))


def _vjp(g: Any, y: Any, *args: Any, flags: Flags, safe: bool, **attrs: Any) -> Any:
    body, carries, rows = attrs["body"], attrs["carries"], attrs["rows"]
    n = len(body.inputs)
    passes = _passes(body, carries, flags, safe)
    residuals = _collect(args, attrs, flags, safe)[1] if safe else args[n:]
    fixed = [carries + rows <= k < n for k in passes.sources]  # constants, the same in every step
    back = cached(
        body,
        ("scan backward", carries, rows, flags, safe),
        lambda: _backward_body(body, carries, rows, passes, flags, fixed),
    )
    _, vary_x, vary_constant = _cut(flags, carries, rows)
    none = nothing if safe else zeros
    sums = [none(v.aval) for v in _chosen(body.inputs[carries + rows :], vary_constant)]
    ct_carry, ct_ys = _cut(g, carries)
    stacked = [r for r, is_fixed in zip(residuals, fixed, strict=True) if not is_fixed]
    constants = _chosen(residuals, fixed)
    inputs = [*ct_carry, *sums, *ct_ys, *stacked, *constants]
    shape = _like(attrs, back, carries + len(sums), len(ct_ys) + len(stacked))
    out = _scan(*inputs, **{**shape, "reverse": not attrs["reverse"]})
    ct_start, ct_sums, ct_xs = _cut(out, carries, len(sums))
    streams = [iter(ct_start), iter(ct_xs), iter(ct_sums)]
    results: list[Any] = [next(streams[0]) for _ in range(carries)]
    results += [next(streams[1]) if flag else None for flag in vary_x]
    results += [next(streams[2]) if flag else None for flag in vary_constant]
    return [r if flag else None for r, flag in zip(results, flags, strict=True)]


def _backward_body(
    body: Graph, carries: int, rows: int, passes: Passes, flags: Flags, fixed: list[bool]
) -> Graph:
    """Return the body (cts of carry, sums, cts of y, residuals) -> (cts, sums, cts of x)."""
    vary_carry, vary_x, vary_constant = _cut(flags, carries, rows)
    outs = list(map(strong, body.output_avals))
    sums = [strong(v.aval) for v in _chosen(body.inputs[carries + rows :], vary_constant)]
    residuals = [v.aval for v in passes.backward.inputs[len(outs) :]]
    stacked = [a for a, is_fixed in zip(residuals, fixed, strict=True) if not is_fixed]

    def step(*values: Any) -> list[Any]:
        cts, totals, ct_ys, now, constants = _cut(
            values, carries, len(sums), len(outs) - carries, len(stacked)
        )
        streams = iter(now), iter(constants)
        ordered = [next(streams[is_fixed]) for is_fixed in fixed]
        found = passes.backward.run(*cts, *ct_ys, *ordered)
        ct_carry, ct_x, ct_constants = _cut(found, sum(vary_carry), sum(vary_x))
        rest = iter(ct_carry)
        carry = [
            next(rest) if flag else zeros(a) for flag, a in zip(vary_carry, outs, strict=False)
        ]
        return [*carry, *(t + ct for t, ct in zip(totals, ct_constants, strict=True)), *ct_x]

    inputs = [*outs[:carries], *sums, *outs[carries:], *stacked, *_chosen(residuals, fixed)]
    return prune(stage(step, inputs))


# --- batches -------------------------------------------------------------------------------------


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    body, carries, rows = attrs["body"], attrs["carries"], attrs["rows"]
    n = len(body.inputs)
    carry, xs, constants = _cut(args[:n], carries, rows)
    flags = (*(True for _ in carry), *batched[carries:n])
    lanes = batch_graph(body, size, flags)
    carry = [spread(x, size, b) for x, b in zip(carry, batched, strict=False)]
    xs = [moved(x, 0, 1) if b else x for x, b in zip(xs, flags[carries:], strict=False)]
    out = _scan(*carry, *xs, *constants, **_like(attrs, lanes, carries, rows))
    end, ys = _cut(out, carries)
    return (*end, *(moved(y, 0, 1) for y in ys))


def _by_step(
    *args: Any, body: Graph, carries: int, rows: int, length: int, reverse: bool, **_: Any
) -> tuple[Any, ...]:
    """Run the loop on tracers of an inspection, step by step."""
    carry, xs, constants = _cut(args[: len(body.inputs)], carries, rows)
    ys: list[Any] = [None] * length
    for i in reversed(range(length)) if reverse else range(length):
        carry, ys[i] = _cut(body.run(*carry, *[index(x, i) for x in xs], *constants), carries)
    if not length:
        return (*carry, *(np.empty((0, *a.shape), a.dtype) for a in body.output_avals[carries:]))
    return (*carry, *(stack(*column, axis=0) for column in zip(*ys, strict=True)))


DESCENTS["scan"] = _by_step
FRAMES[_by_step.__code__] = lambda local: f"step {local['i']} of scan"

_scan: Primitive = Primitive(
    "scan", _run_numpy, _run_jax, _avals, General(_jvp, _vjp), _batch, many=True, augment=_augment
)
scan_primitive = _scan
