"""Staging of one run: tracers that write equations, and have values where Python asks for them.

May import `core`, `transforms.stage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Var
from funcgraph.core.trace import refuse_leak
from funcgraph.transforms.stage import Stage, StageTracer

__all__ = ["Following"]


class Following(Stage):
    """A stage that knows the values of its inputs: what depends on them is computed if needed.

    Args:
      inputs: A value for each input, in their order.
    """

    __slots__ = ("computed", "inputs", "values")

    def __init__(self, inputs: Sequence[Any]) -> None:
        super().__init__()
        self.inputs = list(inputs)
        self.values: dict[Var, Any] = {}
        self.computed = 0  # how many of the equations

    def tracer(self, aval: Aval, name: str = "") -> StageTracer:
        """Return a tracer of a new variable; the first ones are the inputs."""
        out = super().tracer(aval, name)
        if len(self.values) < len(self.inputs):
            self.values[out.variable] = self.inputs[len(self.values)]
        return out

    def value_of(self, tracer: StageTracer) -> Any:
        """Return the value of a variable in this run."""
        if not self.alive:
            refuse_leak()
        for e in self.equations[self.computed :]:
            args = [self._value(a) for a in e.inputs]
            out = e.primitive(*args, **e.attrs)
            self.values.update(zip(e.outputs, out if e.primitive.many else (out,), strict=True))
        self.computed = len(self.equations)
        return self.values[tracer.variable]

    def _value(self, atom: Any) -> Any:
        if not isinstance(atom, Var):
            return atom
        return self.values[atom] if atom in self.values else self.constants[atom]
