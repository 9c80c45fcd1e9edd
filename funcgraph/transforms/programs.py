"""Graphs that JAX's own transformations differentiate and batch by our rules.

A `Program` is what the XLA engine makes an operation of JAX of; each rule of that operation asks it
for another program. May import `core`, `ops`, `transforms`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from funcgraph.core.aval import Aval, is_inexact
from funcgraph.core.graph import Graph
from funcgraph.core.simplify import prune
from funcgraph.ops.structural import zeros
from funcgraph.transforms.gradient import vjp
from funcgraph.transforms.partial import batch_graph, split
from funcgraph.transforms.stage import stage

__all__ = ["Program", "Ruled"]

Flags = tuple[bool, ...]
T = TypeVar("T")


class Program:
    """A graph, made when it is first run: a pushforward that JAX transposes never is.

    Args:
      outputs: Shapes and dtypes of what it returns.
      make: Returns the graph.
      linear: In how many of its last inputs it is linear.
      transpose: Returns the program (other inputs, cotangents of the outputs) -> cotangents of
        these last inputs.
    """

    def __init__(
        self,
        outputs: Sequence[Aval],
        make: Callable[[], Graph],
        linear: int = 0,
        transpose: Callable[[], Program] | None = None,
    ) -> None:
        self.outputs = tuple(Aval(a.shape, a.dtype) for a in outputs)
        self.linear = linear
        self._make, self._transpose = make, transpose
        self._known: dict[Any, Any] = {}

    @functools.cached_property
    def graph(self) -> Graph:
        """The graph."""
        return self._make()

    @property
    def transpose(self) -> Program:
        """The transpose of a linear program; its own transpose is this one."""
        assert self._transpose is not None
        return self._transpose()

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]  # type: ignore[no-any-return]

    def derivative(self, varying: Flags) -> tuple[Program, tuple[int, ...], Program]:
        """Return how to compute outputs, and tangents of those that have a derivative.

        Args:
          varying: Which inputs have tangents.

        Returns:
          (forward, sources, push): `forward` takes the inputs and returns the outputs and further
          values; `push` takes the values at places `sources` of (*inputs, *further values), then
          the tangents of the varying inputs, and is linear in these.
        """
        return self._once(varying, lambda: self._derivative(varying))

    def _derivative(self, varying: Flags) -> tuple[Program, tuple[int, ...], Program]:
        passes = split(self.graph, varying)
        back = _of_residuals(passes.backward, self.outputs)
        inputs = [v.aval for v, flag in zip(self.graph.inputs, varying, strict=True) if flag]
        smooth = [a for a in self.outputs if is_inexact(a.dtype)]
        push: Program = Program(
            smooth, lambda: _transposed(back, len(smooth)), len(inputs), lambda: pull
        )
        pull: Program = Program(inputs, lambda: back, len(smooth), lambda: push)
        forward = passes.forward
        return Program(forward.output_avals, lambda: forward), passes.sources, push

    def batched(self, size: int, batched: Flags) -> Program:
        """Return the program of all lanes; all inputs in which it is linear have a batch axis."""
        return self._once((size, batched), lambda: self._batched(size, batched))

    def _batched(self, size: int, batched: Flags) -> Program:
        def lanes(program: Program, flags: Flags, transpose: Any = None) -> Program:
            outputs = [Aval((size, *a.shape), a.dtype) for a in program.outputs]
            return Program(
                outputs,
                lambda: batch_graph(program.graph, size, flags),
                program.linear,
                transpose,
            )

        if not self.linear:
            return lanes(self, batched)
        flags = (*batched[: len(batched) - self.linear], *(True,) * len(self.outputs))
        there: Program = lanes(self, batched, lambda: back)
        back: Program = lanes(self.transpose, flags, lambda: there)
        return there


class Ruled(Program):
    """A graph that is differentiated and batched as another one, which has rules of its own.

    Args:
      graph: What runs.
      rules: The program of the same inputs and outputs that says what its derivatives are.
    """

    def __init__(self, graph: Graph, rules: Program) -> None:
        super().__init__(rules.outputs, lambda: graph)
        self._rules = rules

    def _derivative(self, varying: Flags) -> tuple[Program, tuple[int, ...], Program]:
        return self._rules.derivative(varying)

    def _batched(self, size: int, batched: Flags) -> Program:
        return self._rules.batched(size, batched)


def _of_residuals(backward: Graph, outputs: Sequence[Aval]) -> Graph:
    """Return (residuals, cotangents) -> cotangents; outputs without derivative have none."""
    seeds, residuals = backward.inputs[: len(outputs)], backward.inputs[len(outputs) :]
    smooth = [v for v in seeds if is_inexact(v.aval.dtype)]
    none = {v: zeros(v.aval) for v in seeds if not is_inexact(v.aval.dtype)}
    constants = {**backward.constants, **none}
    return prune(Graph((*residuals, *smooth), backward.equations, backward.outputs, constants))


def _transposed(graph: Graph, seeds: int) -> Graph:
    """Return the transpose of a graph that is linear in its last inputs, so at zero as anywhere."""
    avals = [v.aval for v in graph.inputs]
    known = len(avals) - seeds

    def pull(*args: Any) -> tuple[Any, ...]:
        def linear(*cts: Any) -> tuple[Any, ...]:
            return tuple(graph.run(*args[:known], *cts))

        start = [zeros(a) for a in avals[known:]]
        return vjp(linear, *start)[1](tuple(args[known:]))  # type: ignore[no-any-return]

    outputs = [Aval(a.shape, a.dtype) for a in graph.output_avals]
    return prune(stage(pull, [*avals[:known], *outputs]))
