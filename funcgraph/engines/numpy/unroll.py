"""Short loops written out: `unrolled`.

What is inside of a loop over Python's floats is part of the same function then, rather than a call
with arrays in and out for each step. May import `core`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY

__all__ = ["unrolled"]


def _count(graph: Graph) -> int:
    """Return how many equations there are if all scans are written out."""
    return sum(
        e.attrs["length"] * _count(e.attrs["body"]) if e.primitive.name == "scan" else 1
        for e in graph.equations
    )


def unrolled(graph: Graph, most: int) -> Graph:
    """Return the graph with all steps of its scans written out; itself if that takes too many.

    Args:
      graph: The program.
      most: How many equations there may be.
    """
    if not any(_is_scan(e) for e in graph.equations) or _count(graph) > most:
        return graph
    return _Unroller(graph).run()


def _is_scan(e: Equation) -> bool:
    return e.primitive.name == "scan" and e.attrs["length"] > 0 and "lanes" not in e.attrs


def _typed(x: Atom, v: Var) -> Atom:
    """Return what stands for an argument in a body: a number as one of the variable's type."""
    if isinstance(x, Var) or v.aval.weak is not None:
        return x
    return v.aval.dtype.type(x).item()  # type: ignore[no-any-return]


class _Unroller:
    """The new program, and what stands in it for variables of the old one."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = dict(graph.constants)
        self.equations: list[Equation] = []
        self.known: dict[Any, Atom] = {}

    def run(self) -> Graph:
        for e in self.graph.equations:
            self.visit(e, e.outputs)
        outputs = self.now(self.graph.outputs)
        return Graph(self.graph.inputs, tuple(self.equations), outputs, self.constants)

    def now(self, atoms: tuple[Atom, ...]) -> tuple[Atom, ...]:
        return tuple([self.known.get(x, x) for x in atoms])

    def visit(self, e: Equation, outputs: tuple[Var, ...]) -> None:
        """Write an equation, for these variables."""
        if _is_scan(e):
            self.known.update(zip(e.outputs, self.steps(e, outputs), strict=True))
            return
        self.equations.append(replace(e, inputs=self.now(e.inputs), outputs=outputs))
        self.known.update(zip(e.outputs, outputs, strict=True))

    def make(self, name: str, inputs: tuple[Atom, ...], out: Var, **attrs: Any) -> Var:
        """Write an equation of its own; return its result."""
        self.equations.append(Equation(REGISTRY[name], inputs, (out,), attrs))
        return out

    def steps(self, e: Equation, outputs: tuple[Var, ...]) -> list[Atom]:
        """Write all steps of a scan, whose rows become these variables; return its results."""
        body, carries, rows = e.attrs["body"], e.attrs["carries"], e.attrs["rows"]
        self.constants.update(body.constants)
        inputs = self.now(e.inputs)
        carry, xs, rest = inputs[:carries], inputs[carries:][:rows], inputs[carries + rows :]
        order = range(e.attrs["length"])
        ys: dict[int, tuple[Atom, ...]] = {}
        for k in reversed(order) if e.attrs["reverse"] else order:
            row = [
                self.make("getitem", (x,), Var(v.aval), template=(k,))
                for x, v in zip(xs, body.inputs[carries:], strict=False)
            ]
            pairs = zip(body.inputs, (*carry, *row, *rest), strict=False)
            self.known.update([(v, _typed(x, v)) for v, x in pairs])
            for inner in body.equations:
                self.visit(inner, tuple([Var(v.aval) for v in inner.outputs]))
            found = self.now(body.outputs)
            carry, ys[k] = found[:carries], found[carries:]
        stacks = [
            self.make("stack", tuple([ys[k][n] for k in order]), v, axis=0)
            for n, v in enumerate(outputs[carries:])
        ]
        return [*carry, *stacks]
