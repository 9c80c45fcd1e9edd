"""Rematerialisation: a graph that computes some values twice, in order to stay within a budget.

While more is alive somewhere than the budget allows, the program is cut where most is alive. What
to keep across the cut, and what to compute again behind it, is chosen by minimum cuts of the graph
(`core.recompute`): for several prices of a byte, and several numbers of segments that can be
computed again one by one. The cheapest program within the budget is taken; what room is left is
used to keep more. If none is, the one with the lowest peak is cut once more. May import `core`.

Sources: T. Chen et al., Training deep nets with sublinear memory cost, 2016 (segments).
PyTorch's min_cut_rematerialization_partition (torch/_functorch/partitioners.py): the minimum cut
between the forward and the backward pass. J. Rhys, A selection problem of shared fixed costs and
network flows, Management Science 17, 1970 (least cost of a choice as a minimum cut).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from funcgraph.core.graph import Graph, Var
from funcgraph.core.lifetimes import Lifetimes
from funcgraph.core.recompute import Point, Written
from funcgraph.core.simplify import prune

__all__ = ["Options", "Rematerialized", "rematerialize"]

_SEGMENTS = (1, 2, 4, 6, 10, 16, 28, 48)
_STEP = 4  # from a price of a byte to the next one
_ENOUGH = 6  # programs within the budget that are looked at more closely
_CHAIN = 32  # operations of which the last result alone is kept
_ROUNDS = 3  # cuts at most
_LESS = 0.8  # of what is above the budget has to be left, at most, for a cut to be worth it
_SMALL = 1 << 14  # values below this part of the peak are always kept


class Rematerialized(NamedTuple):
    """A program that may compute some values twice.

    Attributes:
      graph: The program.
      lives: When its values are alive.
    """

    graph: Graph
    lives: Lifetimes

    @property
    def peak(self) -> int:
        """The largest number of bytes alive at one time."""
        return int(self.lives.bytes.max())


class Options(NamedTuple):
    """What a program has to heed besides its budget.

    Attributes:
      donated: Numbers of the inputs whose memory results of the same type take.
      barrier: Whether an optimiser must be told that what stands twice is meant so.
      keep: Variables that somebody looks at: where they are first made, they stay.
      ahead: Whether the memory of results is taken before the program begins.
    """

    donated: Sequence[int] = ()
    barrier: bool = False
    keep: Sequence[Any] = ()
    ahead: bool = False

    def lifetimes(self, graph: Graph) -> Lifetimes:
        """Return when the values of a program are alive."""
        return Lifetimes(graph, self.donated, self.ahead)


def rematerialize(graph: Graph, budget: int, options: Options) -> Rematerialized:
    """Return an equal program with the peak of its memory within a budget, or as low as it gets.

    Args:
      graph: The program.
      budget: Bytes that may be alive at one time, with arguments, constants and results.
      options: What else it has to heed.
    """
    now = Rematerialized(graph, options.lifetimes(graph))
    floor = now.lives.floor()
    if budget >= floor:
        found = _lowered(now, budget, options)
        if found.peak <= budget:
            return found
    return _lowered(now, floor, options)  # a lower aim finds other programs


def _lowered(now: Rematerialized, budget: int, options: Options) -> Rematerialized:
    for _ in range(_ROUNDS):
        if now.peak <= budget:
            break
        new = _Search(now, budget, options).best()
        if new is None:
            break
        now = new
    return now


class _Search:
    """The search for what to keep where most is alive."""

    def __init__(self, now: Rematerialized, budget: int, options: Options) -> None:
        self.now, self.budget, self.options = now, budget, options
        at = int(np.argmax(now.lives.bytes))
        self.point = Point(now.graph, now.lives, at, now.peak // _SMALL)

    def best(self) -> Rematerialized | None:
        """Return the cheapest program within the budget, or the lowest; None: none is lower."""
        first = self.rank(self.now)
        within: list[tuple[Any, Rematerialized]] = []
        found = [(first, self.now)]
        for kept in self.choices():
            written = self.point.written(kept, self.options.barrier)
            new = self.measured(written)
            if new.peak <= self.budget:
                within.append(self.filled(kept, written, new))
                if len(within) == _ENOUGH:
                    break
            else:
                found.append((self.rank(new), new))
        rank, new = min(within or found, key=lambda pair: pair[0])
        return new if rank[1] < _LESS * first[1] else None

    def choices(self) -> Iterator[set[Var]]:
        """Yield sets of values to keep, those first with which least has to be done again."""
        point, known = self.point, set()
        found: list[tuple[int, int, set[Var]]] = []
        for segments in _SEGMENTS:
            if segments == 1 or segments**2 <= 4 * len(point.needed):
                for price in self.prices():
                    kept = point.kept(segments, price)
                    if (key := frozenset(kept)) not in known:
                        known.add(key)
                        found.append((self.work(kept), len(found), kept))
        for _, _, kept in sorted(found, key=lambda entry: entry[:2]):
            yield kept

    def prices(self) -> list[int]:
        """Return prices of a byte: from what it costs to compute one to what it does in chains."""
        point = self.point
        again = [
            (point.work[k], point.program.equations[k].outputs) for k in point.closure(point.needed)
        ]
        ratios = [work // max(1, sum(map(point.lives.size, made))) for work, made in again]
        prices = [max(1, min(ratios, default=1))]
        while prices[-1] < _CHAIN * max(ratios, default=1):
            prices.append(_STEP * prices[-1])
        return prices

    def work(self, kept: set[Var]) -> int:
        return sum(self.point.work[k] for k in self.point.closure(self.point.needed, kept))

    def measured(self, written: Written) -> Rematerialized:
        """Return a program without what is computed for nothing, with its lifetimes."""
        outputs = written.graph.outputs
        graph = prune(replace(written.graph, outputs=(*outputs, *self.options.keep)))
        graph = replace(graph, outputs=outputs)
        return Rematerialized(graph, self.options.lifetimes(graph))

    def rank(self, r: Rematerialized) -> tuple[int, int]:
        """Return what is least for the best program: by how much the budget is exceeded."""
        over = np.maximum(r.lives.bytes - self.budget, 0)
        return int(over.max()), int(over.sum())

    # --- room that is left ------------------------------------------------------------------------

    def filled(
        self, kept: set[Var], written: Written, new: Rematerialized
    ) -> tuple[Any, Rematerialized]:
        """Return the work that is done again, and a program that keeps what there is room for."""
        more = self.room(kept, written, new)
        low, high, best, choice = 0, len(more), new, kept
        while low < high:  # nearly always, there is room for all of them
            middle = high if high == len(more) else (low + high + 1) // 2
            larger = kept.union(more[:middle])
            other = self.measured(self.point.written(larger, self.options.barrier))
            if other.peak <= self.budget:
                low, best, choice = middle, other, larger
            else:
                high = middle - 1
        return (0, 0, self.work(choice)), best

    def room(self, kept: set[Var], written: Written, new: Rematerialized) -> list[Var]:
        """Return values to keep besides, where that leaves the memory within the budget."""
        point, lives = self.point, new.lives
        room = self.budget - lives.bytes
        left = _Repeated(point, kept)
        pairs = [(v, written.now[v]) for v in left.values if v in written.now]
        spans = {
            v: slice(lives.last[v] + 1, lives.born[new] + 1)
            for v, new in pairs
            if v in lives.last and new in lives.born
        }
        gain = left.gains()
        order = sorted(
            spans, key=lambda v: gain[v] / max(1, lives.size(v) * (spans[v].stop - spans[v].start))
        )
        found = []
        for v in reversed(order):
            if left.is_read(v) and room[spans[v]].min(initial=self.budget) >= lives.size(v):
                room[spans[v]] -= lives.size(v)
                left.keep(v)
                found.append(v)
        return found


class _Repeated:
    """What is computed again, and what reads it."""

    def __init__(self, point: Point, kept: set[Var]) -> None:
        self.point = point
        self.equations = point.closure(point.needed, kept)
        self.values = [
            v
            for k in sorted(self.equations)
            for v in point.program.equations[k].outputs
            if v not in kept and v in point.lives.born and v not in point.lives.held
        ]
        self.reads = Counter(v for v in point.needed if v not in kept)
        self.reads.update(v for k in self.equations for v in point.reads[k])

    def gains(self) -> dict[Var, int]:
        """Return for each value the work that is not done again, if it is kept."""
        gains: dict[Var, int] = {}
        needed = set(self.point.needed)
        for v in self.values:
            k = self.point.lives.born[v]
            alone = [x for x in self.point.reads[k] if self.reads[x] == 1 and x not in needed]
            gains[v] = self.point.work[k] + sum(gains.get(x, 0) for x in alone)
        return gains

    def is_read(self, v: Var) -> bool:
        """Return whether something still needs a value again."""
        return self.reads[v] > 0

    def keep(self, v: Var) -> None:
        """Note that a value is kept; so its equation need not run again, nor some before it."""
        self.reads[v] = 0
        stack = [self.point.lives.born[v]]
        while stack:
            k = stack.pop()
            outputs = self.point.program.equations[k].outputs
            if k in self.equations and not any(self.reads[v] for v in outputs):
                self.equations.discard(k)
                for x in self.point.reads[k]:
                    if self.reads[x] > 0:
                        self.reads[x] -= 1
                        if not self.reads[x] and x in self.point.lives.born:
                            stack.append(self.point.lives.born[x])
