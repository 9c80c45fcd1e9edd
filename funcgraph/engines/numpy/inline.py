"""Which results are written where they are read, instead of getting a line and a name.

Python takes 3 us to compile a line, and 0.02 us to store and load a value. May import `core`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod
from typing import Any

from funcgraph.core.graph import Equation, Graph, Var

__all__ = ["TINY", "Inline"]

TINY = 1 << 10  # bytes of an array that may as well be kept for longer than it is needed
_DEEPEST = 20  # operations in operations


class Inline:
    """Tiny results of ufuncs that another ufunc reads, once.

    They are computed later than their turn, from what nothing writes over: from each other, and
    from tiny inputs and constants.

    Args:
      graph: The program.
      planned: The equations whose results are written into memory that is there.
      fixed: Variables that have names of their own.
      donated: Inputs whose memory may be taken.
    """

    def __init__(
        self,
        graph: Graph,
        planned: Collection[Equation],
        fixed: Iterable[Var],
        donated: Collection[Var],
    ) -> None:
        self._reader: dict[Any, Equation | None] = dict.fromkeys((*fixed, *graph.outputs))
        for e in graph.equations:
            for v in e.inputs:
                self._reader[v] = None if v in self._reader else e  # the only one
        self._planned = planned
        given = (v for v in (*graph.inputs, *graph.constants) if v not in donated)
        self._depths: dict[Any, int] = {v: 0 for v in given if _is_tiny(v)}

    def takes(self, e: Equation) -> bool:
        """Return whether the result of an equation is written where it is read.

        Args:
          e: The next one whose result is memory that NumPy gives it.
        """
        if len(e.outputs) != 1 or not e.primitive.is_elementwise or not _is_tiny(e.outputs[0]):
            return False
        (out,), depths = e.outputs, [self._depths.get(v, -1) for v in e.inputs if type(v) is Var]
        reader = self._reader.get(out)
        self._depths[out] = 0
        if reader is None or -1 in depths or reader in self._planned:
            return False
        depth = 1 + max(depths, default=0)
        if depth > _DEEPEST or not reader.primitive.is_elementwise:
            return False
        self._depths[out] = depth
        return True


def _is_tiny(v: Var) -> bool:
    return prod(v.aval.shape) * int(v.aval.dtype.itemsize) < TINY
