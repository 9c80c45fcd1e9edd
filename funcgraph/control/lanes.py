"""Loops and branches over lanes: what a batch of them runs, and for which lanes.

A loop or choice under vmap keeps the graphs of one lane and says which of its arguments have which
batch axes; at run time these axes are one axis of lanes. May import `core`, `ops`, `transforms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from funcgraph.control.eager import Flags, run_graph, without_tracers
from funcgraph.core.aval import Aval, ndim_of, shape_of
from funcgraph.core.graph import Graph
from funcgraph.ops.indexing import index as read
from funcgraph.ops.structural import broadcast_to, concatenate, expand_dims, reshape, where
from funcgraph.transforms.collectives import COLLECTIVES
from funcgraph.transforms.partial import batch_graph, cached
from funcgraph.transforms.vmap import vmap

__all__ = ["Lanes", "crosses_lanes", "gathered", "masked", "pick", "run_lanes"]


class Lanes(NamedTuple):
    """The batch axes of a loop or choice, the outermost first.

    Attributes:
      sizes: Their lengths; () without vmap.
      batched: For each of them, which arguments have it.
    """

    sizes: tuple[int, ...] = ()
    batched: tuple[Flags, ...] = ()

    @classmethod
    def of(cls, attrs: dict[str, Any]) -> Lanes:
        """Return the lanes that the attributes of an equation describe."""
        return cls(*attrs.get("lanes", ()))

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of an equation: none without lanes."""
        return {"lanes": tuple(self)} if self.sizes else {}

    @property
    def total(self) -> int:
        """The number of lanes."""
        return prod(self.sizes)

    def within(self, size: int, batched: Flags) -> Lanes:
        """Return the lanes with a further axis outside of all."""
        return Lanes((size, *self.sizes), (batched, *self.batched))

    def map_flags(self, change: Any) -> Lanes:
        """Return the lanes for other arguments: change(flags) -> flags."""
        return Lanes(self.sizes, tuple(tuple(change(flags)) for flags in self.batched))

    def flags(self, always: int) -> Flags:
        """Return which arguments have lanes: the first `always`, and those with a batch axis."""
        found = map(any, zip(*self.batched, strict=True))
        return tuple(k < always or flag for k, flag in enumerate(found))

    def flat(self, args: Sequence[Any], always: int) -> list[Any]:
        """Return the arguments with one axis of lanes in place of all batch axes."""
        axes = list(zip(*self.batched, strict=True))
        return [
            self._flat(x, has) if k < always or any(has) else x
            for k, (x, has) in enumerate(zip(args, axes, strict=True))
        ]

    def _flat(self, x: Any, has: Flags) -> Any:
        x = self._full(x, has)
        n = len(has)
        return x if n == 1 else reshape(x, shape=(self.total, *shape_of(x)[n:]))

    def _full(self, x: Any, has: Flags) -> Any:
        if all(has):
            return x
        rest, mine = shape_of(x)[sum(has) :], iter(shape_of(x))
        x = reshape(x, shape=(*(next(mine) if h else 1 for h in has), *rest))
        return broadcast_to(x, (*self.sizes, *rest))

    def full(self, args: Sequence[Any], always: int) -> list[Any]:
        """Return the arguments, the first `always` of them with all batch axes."""
        axes = list(zip(*self.batched, strict=True))
        return [
            x if k >= always else self._full(x, has)
            for k, (x, has) in enumerate(zip(args, axes, strict=True))
        ]

    def batch(self, graph: Graph, part: Callable[[Flags], Flags], always: int) -> Graph:
        """Return the graph of all lanes, axis by axis; its first `always` inputs have all axes.

        `part` picks the flags of the graph's inputs from those of all arguments.
        """
        for size, flags in zip(reversed(self.sizes), reversed(self.batched), strict=True):
            mine = part(tuple(k < always or flag for k, flag in enumerate(flags)))
            graph = batch_graph(graph, size, mine)
        return graph

    def back(self, outs: Sequence[Any]) -> list[Any]:
        """Return results with one axis of lanes with the batch axes again."""
        if len(self.sizes) == 1:
            return list(outs)
        return [reshape(y, shape=(*self.sizes, *shape_of(y)[1:])) for y in outs]

    def avals(self, avals: Sequence[Aval]) -> tuple[Aval, ...]:
        """Return the avals of results, all of which have all batch axes."""
        return tuple(Aval((*self.sizes, *a.shape), a.dtype) for a in avals)


def run_lanes(graph: Graph, args: Sequence[Any], flags: Flags, count: int, of: int) -> Any:
    """Run a graph for `count` lanes: by its compiled batch if these are all of the `of` lanes.

    A batch of another size is not staged, since there may be one for every number of lanes.
    """
    if count == of:
        return run_graph(batch_graph(graph, count, flags), args)
    axes = tuple(0 if flag else None for flag in flags)
    return without_tracers(vmap(lambda *xs: graph.run(*xs), axes, axis_size=count)(*args))


def pick(args: Sequence[Any], flags: Flags, lanes: Any) -> list[Any]:
    """Return the arguments of some of the lanes."""
    return [read(x, lanes) if flag else x for x, flag in zip(args, flags, strict=True)]


def gathered(parts: Sequence[Sequence[Any]], order: Sequence[Any]) -> list[Any]:
    """Return the results of groups of lanes, in the order of the lanes."""
    if len(parts) == 1:
        return list(parts[0])
    back = np.argsort(np.concatenate(order))
    columns = zip(*parts, strict=True)
    return [read(concatenate(*column, axis=0), back) for column in columns]


def crosses_lanes(graph: Graph) -> bool:
    """Return whether the graph has operations across lanes: these need all lanes to take part."""
    return cached(
        graph,
        "crosses lanes",
        lambda: any(
            e.primitive in COLLECTIVES or any(map(crosses_lanes, _graphs(tuple(e.attrs.values()))))
            for e in graph.equations
        ),
    )


def _graphs(attrs: tuple[Any, ...]) -> Iterator[Graph]:
    for v in attrs:
        if isinstance(v, Graph):
            yield v
        elif isinstance(v, tuple):
            yield from _graphs(v)


def masked(mask: Any, new: Any, old: Any) -> Any:
    """Return for each lane the new value where the mask is true, the old one elsewhere."""
    axes = tuple(range(ndim_of(mask), ndim_of(new)))
    return where(expand_dims(mask, axes) if axes else mask, new, old)
