"""The primitive of choices between graphs, `switch`.

Derivatives are choices between derived graphs. With lanes (vmap) each branch runs only for those
that chose it. May import `core`, `ops`, `transforms`, `control`. The public functions are in
`control.branches`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgraph.control.eager import (
    Eager,
    Flags,
    Pullback,
    eager_call,
    on_jax,
    own_memory,
    plain,
    run_graph,
)
from funcgraph.control.lanes import Lanes, crosses_lanes, gathered, masked, pick, run_lanes
from funcgraph.control.types import strong
from funcgraph.core import calls
from funcgraph.core.aval import Aval, is_inexact
from funcgraph.core.graph import Graph
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.simplify import prune
from funcgraph.ops.elementwise import equal
from funcgraph.ops.structural import zeros
from funcgraph.transforms.inspection import DESCENTS
from funcgraph.transforms.partial import batch_graph, cached, split, tangent_graph
from funcgraph.transforms.stage import stage

__all__ = ["Branches", "switch_primitive"]

Branches = tuple[Graph, ...]


# Arguments (number, *operands), every branch takes all operands.


class Choice(NamedTuple):
    """A choice as a function of plain arrays, or of tapes' and forward tracers."""

    branches: Branches
    lanes: Lanes = Lanes()

    @classmethod
    def of(cls, attrs: dict[str, Any]) -> Choice:
        """Return the choice that the attributes of an equation describe."""
        return cls(attrs["branches"], Lanes.of(attrs))

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of an equation."""
        return {"branches": self.branches, **self.lanes.attrs}

    def __call__(self, number: Any, *operands: Any) -> Sequence[Any]:
        """Run the branch that was chosen, or each for the lanes that chose it."""
        if not self.lanes.sizes:
            return run_graph(self.branches[int(plain(number))], operands)
        if on_jax((number, *operands)) or any(map(crosses_lanes, self.branches)):
            return self.masked(number, *operands)
        total, flags = self.lanes.total, self.lanes.flags(1)[1:]
        number, *values = self.lanes.flat((number, *operands), 1)
        parts, order = [], []
        for k, graph in enumerate(self.branches):
            (mine,) = np.nonzero(plain(number) == k)
            if mine.size or (k == 0 and not total):
                picked = values if mine.size == total else pick(values, flags, mine)
                parts.append(run_lanes(graph, picked, flags, mine.size, total))
                order.append(mine)
        return self.lanes.back(gathered(parts, order))

    def masked(self, number: Any, *operands: Any) -> list[Any]:
        """Run all branches on all lanes and choose afterwards: needs no values."""
        lanes = self.lanes
        number = lanes.full((number, *operands), 1)[0]
        outs = [lanes.batch(b, lambda has: has[1:], 1).run(*operands) for b in self.branches]
        chosen = outs[-1]
        for k, out in enumerate(outs[:-1]):
            mask = equal(number, k)
            chosen = [masked(mask, y, other) for y, other in zip(out, chosen, strict=True)]
        return chosen

    def pullback_graphs(self, varying: Flags, safe: bool) -> calls.OneOf:
        """Return the pullback of one lane as a choice between graphs."""
        outs = self.branches[0].output_avals
        operands = [v.aval for v in self.branches[0].inputs]

        def pull(branch: Graph) -> Graph:
            back, n = _pullback(branch, varying[1:], safe), len(operands)

            def run(*values: Any) -> list[Any]:
                given = iter(values[n:])
                cts = [next(given) if is_inexact(a.dtype) else zeros(a) for a in outs]
                return back.run(*cts, *values[:n])

            given = [strong(a) for a in outs if is_inexact(a.dtype)]
            return prune(stage(run, [*operands, *given]))

        return calls.OneOf(tuple(map(pull, self.branches)))

    def avals(self, avals: Sequence[Aval]) -> tuple[Aval, ...]:
        """Return the avals of the results."""
        return self.lanes.avals(self.branches[0].output_avals)

    def batched(self, size: int, flags: Flags) -> tuple[Eager, Flags]:
        """Return the choice in lanes."""
        return self._replace(lanes=self.lanes.within(size, flags)), flags


def _run_numpy(*args: Any, **attrs: Any) -> tuple[Any, ...]:
    return own_memory(Choice.of(attrs)(*args), args)


def _run_jax(jax: Any, number: Any, *operands: Any, **attrs: Any) -> Any:
    choice = Choice.of(attrs)
    if choice.lanes.sizes:
        return tuple(choice.masked(number, *operands))

    def callee(graph: Graph) -> Callable[..., Any]:
        avals = graph.output_avals
        return lambda *xs: tuple(
            jax.numpy.asarray(y, a.dtype) for y, a in zip(graph.run(*xs), avals, strict=True)
        )

    return tuple(jax.lax.switch(number, [callee(b) for b in choice.branches], *operands))


def _flags(branches: Branches, given: Sequence[bool]) -> Flags:
    inputs = branches[0].inputs
    return tuple(a and is_inexact(v.aval.dtype) for a, v in zip(given, inputs, strict=True))


def _jvp(tangents: Any, y: Any, *args: Any, safe: bool, **attrs: Any) -> Any:
    branches, lanes = Choice.of(attrs)
    flags = _flags(branches, [t is not None for t in tangents[1:]])
    dots = [t for t, flag in zip(tangents[1:], flags, strict=True) if flag]
    moving = Choice(
        tuple(tangent_graph(b, flags, safe) for b in branches),
        lanes.map_flags(
            lambda has: (*has, *(h for h, flag in zip(has[1:], flags, strict=True) if flag))
        ),
    )
    out = switch_primitive(*args, *dots, **moving.attrs)
    inexact = [is_inexact(a.dtype) for a in branches[0].output_avals]
    return tuple(t if flag else None for t, flag in zip(out, inexact, strict=True))


def _augment(args: Any, attrs: dict[str, Any], varying: Any) -> Any:
    flags = _flags(attrs["branches"], varying[1:])
    ahead = tuple(_ahead(b, flags) for b in attrs["branches"])
    return switch_primitive(*args, **{**attrs, "branches": ahead}), [], {**attrs, "flags": flags}


def _ahead(graph: Graph, flags: Flags) -> Graph:
    """Return the graph as reverse mode runs it: an outer forward mode goes through custom_vjp."""
    forward, n = split(graph, flags).forward, len(graph.outputs)
    alone = (forward.inputs, forward.equations, forward.outputs[:n], forward.constants)
    return cached(graph, ("ahead", flags), lambda: prune(Graph(*alone)))


def _vjp(
    g: Any, y: Any, number: Any, *operands: Any, flags: Flags, safe: bool, **attrs: Any
) -> Any:
    choice = Choice.of(attrs)
    if choice.lanes.sizes:
        avals = choice.branches[0].output_avals
        given = [ct for ct, a in zip(g, avals, strict=True) if is_inexact(a.dtype)]
        found = eager_call(number, *operands, *given, fun=Pullback(choice, (False, *flags), safe))
    else:
        back = tuple(_pullback(b, flags, safe) for b in choice.branches)
        found = switch_primitive(number, *g, *operands, branches=back)
    cts = iter(found)
    return (None, *(next(cts) if flag else None for flag in flags))


def _pullback(graph: Graph, flags: Flags, safe: bool) -> Graph:
    """Return the graph (cotangents, inputs) -> cotangents of the inputs; it runs forward again."""
    passes = split(graph, flags, safe)
    n, outputs = len(graph.inputs), len(graph.outputs)

    def pull(*values: Any) -> list[Any]:
        cts, inputs = values[:outputs], values[outputs:]
        places = (*inputs, *passes.forward.run(*inputs)[outputs:])
        return passes.backward.run(*cts, *(places[k] for k in passes.sources))

    avals = [*map(strong, graph.output_avals), *(v.aval for v in graph.inputs[:n])]
    return cached(graph, ("pullback", flags, safe), lambda: prune(stage(pull, avals)))


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    number, *operands = args
    choice = Choice.of(attrs)
    if not batched[0] and not choice.lanes.sizes:  # all lanes make the same choice
        lanes = tuple(batch_graph(b, size, tuple(batched[1:])) for b in choice.branches)
        return switch_primitive(number, *operands, branches=lanes)
    choice = choice._replace(lanes=choice.lanes.within(size, tuple(batched)))
    if type(number) is np.ndarray:  # tapes follow: what they keep need not be computed again
        return own_memory(choice(*args), args)
    return switch_primitive(*args, **choice.attrs)


DESCENTS["switch"] = _run_numpy

switch_primitive: Primitive = Primitive(
    "switch",
    _run_numpy,
    _run_jax,
    lambda *avals, **attrs: Choice.of(attrs).avals(avals),
    General(_jvp, _vjp),
    _batch,
    many=True,
    augment=_augment,
)
