"""Chains of elementwise operations on large arrays, for computation in blocks that fit the cache.

Operation by operation, every one reads its arguments from memory and writes its result there.
Block by block, what only the chain reads never leaves the cache. The numbers are the same to the
last bit. Sums of what a chain computes, over all axes but the last, are taken block by block too.
May import `core`, `engines.numpy`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.engines.numpy.blocks import BLOCK, Shape, is_sum_of_rows, rows_of
from funcgraph.engines.numpy.plan import owners

__all__ = ["chained"]

_LARGE = 4 * BLOCK  # smaller arrays stay in the cache by themselves


@dataclass(slots=True, eq=False)
class _Chain:
    shape: Shape
    opened: int  # its first member
    members: list[int] = field(default_factory=list)
    sums: set[Var] = field(default_factory=set)  # complete behind the chain only


def chained(graph: Graph, blocks: Collection[Equation], first: int) -> tuple[Graph, list[range]]:
    """Return the graph in an order in which chains are together, and the runs of that order.

    Args:
      graph: The program.
      blocks: The equations that are elementwise, and written into memory that is there.
      first: An equation before which no other is moved, nor the other way round.

    Returns:
      The graph, and ranges of equations: those of a chain, or single ones.
    """
    if not any(_elements(e.outputs[0]) >= _LARGE for e in blocks):
        return graph, [range(k, k + 1) for k in range(len(graph.equations))]
    makers = _Chains(graph, blocks)
    runs = makers.run(range(first)) + makers.run(range(first, len(graph.equations)))
    equations = tuple(graph.equations[k] for run in runs for k in run)
    ranges, start = [], 0
    for run in runs:
        ranges.append(range(start, start + len(run)))
        start += len(run)
    return Graph(graph.inputs, equations, graph.outputs, graph.constants), ranges


class _Chains:
    """Collects chains. One that is open waits for more members until somebody else reads it.

    Open chains do not depend on each other, so two of them can become one.
    """

    def __init__(self, graph: Graph, blocks: Collection[Equation]) -> None:
        self.equations: Sequence[Equation] = graph.equations
        self.owners = owners(graph)
        self.blocks = blocks
        self.open: dict[_Chain, None] = {}  # in the order of their first members
        self.chain_of: dict[Var, _Chain] = {}  # of results and sums, those of closed ones too
        self.runs: list[list[int]] = []

    def run(self, numbers: range) -> list[list[int]]:
        """Return the numbers of some equations in their new order, chains together."""
        self.runs = []
        for k in numbers:
            e = self.equations[k]
            read = self.read_by(e)
            self.close([c for c in read if not c.sums.isdisjoint(e.inputs)])
            if self.is_member(e):
                self.add(k, e)
            elif (summed := self.is_summed_by(e)) is not None:
                summed.members.append(k)
                summed.sums.update(e.outputs)
                self.chain_of.update((v, summed) for v in e.outputs)
            else:
                if self.open:
                    heavy = any(_elements(v) >= BLOCK for v in (*e.inputs, *e.outputs))
                    self.close(list(self.open) if heavy else self.read_by(e))
                self.runs.append([k])
        self.close(list(self.open))
        return self.runs

    def read_by(self, e: Equation) -> list[_Chain]:
        """Return the open chains that an equation reads, in order."""
        if not self.open:
            return []
        found = {self.chain_of[v] for v in e.inputs if v in self.chain_of}
        return sorted((c for c in found if c in self.open), key=lambda c: c.opened)

    def is_member(self, e: Equation) -> bool:
        """Return whether an equation can be computed in blocks.

        Not if it looks into an array of this shape in another way: one block of the result may be
        written over what the next one would read there.
        """
        if e not in self.blocks or _elements(e.outputs[0]) < _LARGE:
            return False
        shape = e.outputs[0].aval.shape
        if shape[0] < 2 * rows_of(shape):
            return False
        arrays = [v for v in e.inputs if isinstance(v, Var)]
        views = [(self.owners.get(v, v), v) for v in arrays]
        return all(owner is v or owner.aval.shape != shape for owner, v in views)

    def is_summed_by(self, e: Equation) -> _Chain | None:
        """Return the open chain whose result an equation sums over all axes but the last."""
        if not is_sum_of_rows(e):
            return None
        return next(iter(self.read_by(e)), None)

    def add(self, k: int, e: Equation) -> None:
        """Put an equation into the chains it continues, which become one."""
        shape = e.outputs[0].aval.shape
        before = self.read_by(e)
        self.close([c for c in before if c.shape != shape])
        first, *others = [c for c in before if c.shape == shape] or [_Chain(shape, k)]
        self.open[first] = None
        for c in others:
            del self.open[c]
            first.members += c.members
            first.sums |= c.sums
            self.chain_of.update((v, first) for k in c.members for v in self.equations[k].outputs)
        first.members.append(k)
        self.chain_of.update((v, first) for v in e.outputs)

    def close(self, chains: list[_Chain]) -> None:
        """Let chains end here."""
        for c in chains:
            del self.open[c]
            self.runs.append(sorted(c.members))


def _elements(v: Any) -> int:
    return prod(v.aval.shape) if isinstance(v, Var) else 0
