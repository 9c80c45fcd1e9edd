"""Which values the forward pass keeps for the backward pass, and which are computed again.

May import `core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgraph.core.graph import Atom, Equation, Var

__all__ = ["Residuals"]

# Recomputing these costs no more than reading what was kept: data movement and simple arithmetic.
_CHEAP = frozenset([
    "add", "subtract", "multiply", "divide", "negative", "square", "where", "maximum", "minimum",
    "greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "logical_and",
    "logical_or", "logical_not", "reshape", "transpose", "broadcast", "convert", "conjugate",
    "real", "imag",
])  # fmt: skip
_FEW = 3  # equations that are repeated for one value: x (1 - x), say
# Of these the first argument is kept in place of the result: it is no larger.
_VIEWS = frozenset(["reshape", "transpose", "broadcast"])


class Residuals:
    """The variables of the forward pass that the backward pass reads, by its own variables.

    Args:
      reads: The backward pass's variable for each variable of the forward pass that it reads.
      equations: Of the forward pass.
      constants: Of the forward pass.
      free: Inputs of the forward pass that are there anyway, and cost nothing to keep.
    """

    def __init__(
        self,
        reads: dict[Var, Var],
        equations: Sequence[Equation],
        constants: dict[Var, Any],
        free: set[Var],
    ) -> None:
        self.reads = dict(reads)
        self.constants: dict[Var, Any] = {}
        self.equations = equations
        self._known = constants
        self._free = free
        self._again = self._choose()

    def _choose(self) -> set[int]:
        """Return the equations to repeat: cheap ones, of what is at hand anyway."""
        made = {v: k for k, e in enumerate(self.equations) for v in e.outputs}
        again: set[int] = set()
        waiting = list(self.reads)
        while waiting:
            v = waiting.pop()
            k = made.get(v)
            if k is None or k in again or self.equations[k].primitive.name not in _CHEAP:
                continue
            inputs = [x for x in self.equations[k].inputs if isinstance(x, Var)]
            if self.equations[k].primitive.name in _VIEWS:  # the array itself is as good to keep
                again.add(k)
                waiting += [x for x in inputs if x not in self.reads]
                self.reads.update((x, Var(x.aval)) for x in inputs if x not in self.reads)
            elif (chain := self._chain(k, made)) is not None:
                again.update(chain)
                for x in (x for j in chain for x in self.equations[j].inputs):
                    if isinstance(x, Var) and x not in self.reads and x not in self._known:
                        self.reads[x] = Var(x.aval, x.name)
        return again

    def _chain(self, last: int, made: dict[Var, int]) -> set[int] | None:
        """Return the few cheap equations that lead from what is at hand to this one, or None."""
        chain, waiting = {last}, [last]
        while waiting:
            for x in self.equations[waiting.pop()].inputs:
                if not isinstance(x, Var) or any(x in s for s in (self.reads, self._free)):
                    continue
                k = made.get(x)
                if k in chain or x in self._known:
                    continue
                if (
                    k is None
                    or len(chain) == _FEW
                    or self.equations[k].primitive.name not in _CHEAP
                ):
                    return None
                chain.add(k)
                waiting.append(k)
        return chain

    def _atom(self, x: Atom) -> Atom:
        if not isinstance(x, Var) or x in self.reads:
            return self.reads[x] if isinstance(x, Var) else x
        self.constants[x] = self._known[x]
        return x

    def prelude(self) -> list[Equation]:
        """Return the repeated equations, in terms of the backward pass's variables."""
        out = []
        for k in sorted(self._again):
            e = self.equations[k]
            inputs = tuple(map(self._atom, e.inputs))
            outputs = tuple(self.reads[v] for v in e.outputs)
            out.append(Equation(e.primitive, inputs, outputs, e.attrs, e.line, e.scope))
        return out

    def kept(self) -> list[tuple[Var, Var]]:
        """Return pairs (backward variable, forward variable) of what has to be kept."""
        repeated = {v for k in self._again for v in self.equations[k].outputs}
        return [(b, a) for a, b in self.reads.items() if a not in repeated]
