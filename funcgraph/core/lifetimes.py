"""When the values of a graph are alive, and how many bytes they take.

Inputs and constants are there from the beginning to the end, a result from its equation to the last
one that reads it. Views (reshape, transpose, broadcast, slices) are in the memory of what they look
into. May import `core`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.calls import calls_of
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.primitive import VIEWS
from funcgraph.core.text import ARRAY

__all__ = ["Lifetimes", "is_view", "nbytes", "peak_bytes"]


_peaks: weakref.WeakKeyDictionary[Graph, int] = weakref.WeakKeyDictionary()


def nbytes(a: Aval) -> int:
    """Return how many bytes an array of this type has."""
    return prod(a.shape) * a.dtype.itemsize


def is_view(e: Equation) -> bool:
    """Return whether the result of an equation is in the memory of its first argument."""
    if e.primitive.name == "getitem":
        template = e.attrs["template"]
        return not any(part is ARRAY or isinstance(part, np.ndarray) for part in template)
    return e.primitive.name in VIEWS


def _variables(atoms: Iterable[Any]) -> list[Var]:
    return [v for v in atoms if isinstance(v, Var)]


class Lifetimes:
    """When the values of a graph are alive.

    Args:
      graph: The program.
      donated: Numbers of the inputs whose memory results of the same type take.
      ahead: Whether the memory of results is there from the beginning.

    Attributes:
      owner: In whose memory a view is.
      held: What is there to the end, once it is there: inputs, constants, results.
      given: Bytes of inputs and constants.
      born: The equation that makes a result which is no view.
      last: The last equation that reads a value or a view of it, or makes it.
      inside: What the graphs that an equation calls take besides.
      bytes: What is alive while each equation runs; the last entry is what is left.
    """

    def __init__(self, graph: Graph, donated: Sequence[int] = (), ahead: bool = False) -> None:
        self._ahead = ahead
        self.owner: dict[Var, Var] = {}
        self.born: dict[Var, int] = {}
        self.last: dict[Var, int] = {}
        for k, e in enumerate(graph.equations):
            first = e.inputs[0] if e.inputs else None
            if isinstance(first, Var) and is_view(e):
                self.owner[e.outputs[0]] = self.owner.get(first, first)
            else:
                self.born.update((v, k) for v in e.outputs)
            self.last.update((self.of(v), k) for v in _variables((*e.inputs, *e.outputs)))
        results = {self.of(v) for v in _variables(graph.outputs)}
        self.free = {*graph.inputs, *graph.constants}
        constants = sum(_stored(v.aval, x) for v, x in graph.constants.items())
        self.given = constants + sum(nbytes(v.aval) for v in graph.inputs)
        self.held = self.free | results
        self._taken = _taken([v for v in results if v in self.born], graph, donated)
        self._equations = graph.equations
        self.inside = [_inside(e) for e in graph.equations]
        self.bytes = self._profile()

    def of(self, v: Var) -> Var:
        """Return in whose memory a value is."""
        return self.owner.get(v, v)

    def size(self, v: Var) -> int:
        """Return how many bytes a value that is no view takes."""
        return 0 if v in self._taken else nbytes(v.aval)

    def alive(self, at: int) -> list[Var]:
        """Return the results that are alive while an equation runs, the largest first."""
        found = [
            v for v, k in self.born.items() if k <= at and (v in self.held or self.last[v] >= at)
        ]
        return sorted(found, key=lambda v: -self.size(v))

    def floor(self) -> int:
        """Return what must be alive at one time, whatever is computed again."""
        there = int(self._there())
        least = there
        for k, e in enumerate(self._equations):
            made = [v for v in e.outputs if v in self.born]
            used = {self.of(v) for v in _variables(e.inputs)} - self.held
            now = there + self.inside[k] + sum(map(self.size, used)) + sum(map(self.size, made))
            now -= self._ahead * sum(self.size(v) for v in made if v in self.held)
            least = max(least, now)
            there += (not self._ahead) * sum(self.size(v) for v in made if v in self.held)
        return least

    def _there(self) -> int:
        """Return the bytes that are there at the beginning."""
        results = sum(self.size(v) for v in self.held if v in self.born) if self._ahead else 0
        return results + self.given

    def _profile(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        change = np.zeros(len(self._equations) + 1, np.int64)
        change[0] = self._there()
        for v, k in self.born.items():
            if not (self._ahead and v in self.held):
                change[k] += self.size(v)
            if v not in self.held:
                change[self.last[v] + 1] -= self.size(v)
        change[:-1] += np.diff([0, *self.inside])
        change[-1] -= self.inside[-1] if self.inside else 0
        out: np.ndarray[Any, np.dtype[np.int64]] = np.cumsum(change)
        return out


def _inside(e: Equation) -> int:
    """Return how many bytes the graphs that an equation calls take beyond what they are given."""
    calls = calls_of(e) if e.attrs else ()
    return max((peak_bytes(c.graph) - _given(c.graph) for c in calls), default=0)


def _stored(aval: Aval, value: Any) -> int:
    """Return how many bytes a constant takes; one number that stands for many is stored once."""
    if not isinstance(value, np.ndarray):
        return nbytes(aval)
    lengths = zip(value.shape, value.strides, strict=True)
    return prod([value.itemsize, *(n for n, stride in lengths if stride)])


def _taken(results: list[Var], graph: Graph, donated: Sequence[int]) -> set[Var]:
    """Return results that are in the memory of donated inputs."""
    donors = [graph.inputs[k].aval for k in donated]
    found: set[Var] = set()
    for v in results:
        if v.aval in donors:
            donors.remove(v.aval)
            found.add(v)
    return found


def _given(graph: Graph) -> int:
    return sum(nbytes(v.aval) for v in graph.inputs)


def peak_bytes(graph: Graph) -> int:
    """Return the largest number of bytes that are alive at one time."""
    if graph not in _peaks:
        _peaks[graph] = int(Lifetimes(graph).bytes.max())
    return _peaks[graph]
