"""Graphs in which values are computed again, where they are needed again, instead of being kept.

What is kept is chosen at a point of the program: `Point` knows which values from before it are
needed behind it; `Point.kept` chooses among them by minimum cuts; `Point.written` is the program
that computes the others a second time, each just before it is first read behind the point.
May import `core`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from funcgraph.core.costs import work_of
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.lifetimes import Lifetimes, is_view, nbytes
from funcgraph.core.mincut import SINK, SOURCE, Network
from funcgraph.core.primitive import REGISTRY

__all__ = ["Point", "Written"]

_NEVER = 1 << 100  # more than everything else
_ONCE = frozenset(["eager_call"])  # runs the user's Python code


class Point:
    """A point of a program, and what is needed behind it of what was made before.

    Args:
      graph: The program.
      lives: When its values are alive.
      at: The first equation behind the point.
      small: Values of at most so many bytes are kept in any case.

    Attributes:
      needed: Results made before the point that are read behind it; none that is a view, or is
        there anyway.
    """

    def __init__(self, graph: Graph, lives: Lifetimes, at: int, small: int = 0) -> None:
        self.program, self.lives, self.at, self.small = graph, lives, at, small
        self.views = {v: e for e in graph.equations[:at] for v in e.outputs if v in lives.owner}
        self.reads = [self._read(e) for e in graph.equations]
        self.work = [work_of(e) for e in graph.equations[:at]]
        behind = dict.fromkeys(v for reads in self.reads[at:] for v in reads)
        self.needed = [v for v in behind if lives.born[v] < at]

    def _read(self, e: Equation) -> list[Var]:
        """Return the results, large ones, whose memory an equation reads."""
        inputs = e.inputs[:1] if is_view(e) else e.inputs
        owners = dict.fromkeys(self.lives.of(v) for v in inputs if isinstance(v, Var))
        return [v for v in owners if v not in self.lives.held and self.lives.size(v) > self.small]

    def closure(self, wanted: Iterable[Var], *known: Container[Var]) -> set[int]:
        """Return the equations that compute some values from those that are known."""
        found: set[int] = set()
        stack = list(wanted)
        while stack:
            v = stack.pop()
            k = self.lives.born[v]
            if k not in found and not any(v in some for some in known):
                found.add(k)
                stack += self.reads[k]
        return found

    # --- what to keep -----------------------------------------------------------------------------

    def kept(self, segments: int, price: int) -> set[Var]:
        """Return which values to keep.

        What is carried from one segment of the program before the point to the next is kept, so
        that what a segment makes can be computed again by itself. Of all else, the sum of price *
        bytes kept and of the work that is done again is the least possible.

        Args:
          segments: Into how many parts the program before the point is cut.
          price: Of a byte, in units of work.
        """
        carried = self._carried(segments)
        return carried | self._cut(price, carried)

    def _carried(self, segments: int) -> set[Var]:
        """Return what segments take over: what is read not later than a segment's length after.

        Near each place at which the program is to be cut, it is cut where that is least.
        """
        gap = max(1, self.at // segments)
        spans: list[tuple[int, int, Var]] = []
        last: dict[Var, int] = {}
        change = np.zeros(self.at + 2, np.int64)
        for k in range(self.at):
            for v in self.reads[k]:
                before = last.get(v, self.lives.born[v])
                if before < k <= before + gap:
                    spans.append((before, k, v))
                    change[[before + 1, k + 1]] += [self.lives.size(v), -self.lives.size(v)]
                last[v] = k
        size = np.cumsum(change)
        ends = [0, *self._ends(segments)]
        found: set[Var] = set()
        for before, end, after in zip(ends, ends[1:], ends[2:], strict=False):
            window = np.arange((before + end) // 2, (end + after) // 2 + 1)
            at = min(window, key=lambda k: (size[k], abs(k - end)))
            found.update(v for a, b, v in spans if a < at <= b)
        return found

    def _ends(self, segments: int) -> list[int]:
        """Return where segments end that make about as many of the bytes that are needed."""
        made = sorted((self.lives.born[v], self.lives.size(v)) for v in self.needed)
        sums, total = [], 0
        for _, size in made:
            total += size
            sums.append(total)
        found = []
        for k in range(1, segments):
            where = bisect_left(sums, total * k / segments)
            found.append(made[min(where, len(made) - 1)][0] + 1)
        return [*sorted(set(found)), self.at]

    def _cut(self, price: int, known: set[Var]) -> set[Var]:
        """Return what to keep besides what is known, to have what is needed behind the point.

        The network: SOURCE -> an equation, with its work as capacity; an equation -> its result,
        with the price of keeping it; a result -> the equations that read it, and -> SINK, if it is
        needed. On the sink's side are equations that run again, and values that are available.
        """
        net = Network()
        results: dict[Var, int] = {}
        equations: dict[int, int] = {}
        stack: list[Var] = []

        def result(v: Var) -> int:
            if v not in results:
                results[v] = net.node()
                stack.append(v)
            return results[v]

        for v in self.needed:
            if v not in known:
                net.edge(result(v), SINK, _NEVER)
        while stack:
            v = stack.pop()
            k = self.lives.born[v]
            if k not in equations:
                repeatable = _can_repeat(self.program.equations[k])
                equations[k] = net.node()
                net.edge(SOURCE, equations[k], self.work[k] if repeatable else _NEVER)
                for x in self.reads[k]:
                    if x not in known:
                        net.edge(result(x), equations[k], _NEVER)
            net.edge(equations[k], results[v], price * self.lives.size(v))
        first = net.source_side()
        return {
            v
            for v, node in results.items()
            if node not in first and equations[self.lives.born[v]] in first
        }

    # --- the program ------------------------------------------------------------------------------

    def written(self, kept: Container[Var], barrier: bool) -> Written:
        """Return the program that keeps some values, and computes the others again.

        Args:
          kept: What is kept of the values from before the point.
          barrier: Whether an optimiser must be told that what stands twice is meant so.
        """
        return _Writer(self, kept, barrier).run()


class Written(NamedTuple):
    """A program, and the second values of what is computed again in it."""

    graph: Graph
    now: dict[Var, Var]


def _can_repeat(e: Equation) -> bool:
    return e.primitive.name not in _ONCE and any(isinstance(v, Var) for v in e.inputs)


def _is_real(v: Var) -> bool:
    return v.aval.dtype.kind == "f"


class _Writer:
    """Writes the equations of a program in which some run again."""

    def __init__(self, point: Point, kept: Container[Var], barrier: bool) -> None:
        self.point, self.kept = point, kept
        self.barrier = barrier
        self.equations = list(point.program.equations[: point.at])
        self.now: dict[Var, Var] = {}  # what was computed again
        self.again: set[Var] = set()  # all that was computed again
        self.last: Var | None = None  # of what else was computed behind the point

    def run(self) -> Written:
        point, program = self.point, self.point.program
        for k in range(point.at, len(program.equations)):
            e = program.equations[k]
            wanted = [v for v in point.reads[k] if point.lives.born[v] < point.at]
            for again in sorted(point.closure(wanted, self.kept, self.now)):
                self._repeat(program.equations[again])
            inputs = tuple(self._value(v) for v in e.inputs)
            same = all(a is b for a, b in zip(inputs, e.inputs, strict=True))
            self.equations.append(e if same else replace(e, inputs=inputs))
            self.last = next(filter(_is_real, e.outputs), self.last)
        equations = tuple(self.equations)
        graph = Graph(program.inputs, equations, program.outputs, program.constants)
        return Written(graph, self.now)

    def _value(self, v: Atom) -> Atom:
        """Return what stands for a value now; a view of what was computed again is made again."""
        if not isinstance(v, Var) or v in self.now:
            return self.now.get(v, v) if isinstance(v, Var) else v
        view = self.point.views.get(v)
        if view is None or self.point.lives.of(v) not in self.now:
            return v
        inputs = (self._value(view.inputs[0]), *view.inputs[1:])
        if view.primitive.name == "barrier":
            inputs = inputs[:1]
        return self._append(view, inputs, [v])[0]

    def _append(self, e: Equation, inputs: tuple[Atom, ...], renamed: Iterable[Var]) -> list[Var]:
        new = [Var(v.aval, v.name) for v in e.outputs]
        pairs = dict(zip(e.outputs, new, strict=True))
        self.now.update((v, pairs[v]) for v in renamed)
        self.again.update(new)
        self.equations.append(replace(e, inputs=inputs, outputs=tuple(new)))
        return new

    def _repeat(self, e: Equation) -> None:
        """Compute the results of an equation again."""
        inputs = [self._value(v) for v in e.inputs]
        if self.barrier and self.last is not None and not self.again.intersection(inputs):
            k, v = min(
                ((k, v) for k, v in enumerate(inputs) if isinstance(v, Var)),
                key=lambda pair: (not _is_real(pair[1]), nbytes(pair[1].aval)),
            )
            inputs[k] = late = Var(v.aval, v.name)
            self.equations.append(Equation(REGISTRY["barrier"], (v, self.last), (late,), {}))
        free = [v for v in e.outputs if v not in self.point.lives.held and v not in self.kept]
        self._append(e, tuple(inputs), free)
