"""Products with diagonal matrices as scalings of rows or columns.

The rows of a Jacobian are pulled back together, from an identity matrix: until the first product
of matrices, what is pulled back is diagonal, and that product is one scaling instead of n^3
multiplications. May import `core`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of, is_inexact
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.simplify import prune

__all__ = ["scaled"]

_LARGEST = 4096  # rows of a constant that is looked at


def scaled(graph: Graph) -> Graph:
    """Return the graph with scalings in place of its products with diagonal matrices.

    What is known to be diagonal is a constant, or was made from one by changes of sign, type and
    shape, sums of two, and factors that are the same for a row, or column. The zeros beside the
    diagonal count as zeros, even times infinity: see decision 14.
    """
    if not any(e.primitive.name == "matmul" for e in graph.equations):
        return graph
    found = _Diagonals(graph)
    return found.graph() if found.changed else graph


def _aval(x: Atom) -> Aval:
    return x.aval if isinstance(x, Var) else aval_of(x)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes that are longer than 1."""
    return tuple(k for k, n in enumerate(shape) if n != 1)


def _is_square(shape: tuple[int, ...]) -> bool:
    lengths = [n for n in shape if n != 1]
    return len(lengths) == 2 and lengths[0] == lengths[1]


class _Diagonals:
    """The equations once more, with the diagonals of what is diagonal, up to axes of length 1."""

    def __init__(self, graph: Graph) -> None:
        self.old = graph
        self.constants = dict(graph.constants)
        self.equations: list[Equation] = []
        self.known: dict[Var, Var] = {}  # diagonals
        self.changed = False
        for v, value in graph.constants.items():
            if _is_diagonal(v, value):
                (n,) = {n for n in v.aval.shape if n != 1}
                self.known[v] = self.constant(np.diagonal(value.reshape(n, n)).copy())
        if self.known:
            for e in graph.equations:
                self.visit(e)

    def graph(self) -> Graph:
        new = Graph(self.old.inputs, tuple(self.equations), self.old.outputs, self.constants)
        return prune(new)

    def constant(self, value: Any) -> Var:
        v = Var(aval_of(value))
        self.constants[v] = value
        return v

    def add(self, e: Equation, name: str, inputs: tuple[Atom, ...], out: Var, **attrs: Any) -> Var:
        """Add an equation in place of e, or beside it."""
        new = Equation(REGISTRY[name], inputs, (out,), attrs, e.line, e.scope)
        self.equations.append(new)
        return out

    def visit(self, e: Equation) -> None:
        if e.primitive.name == "matmul" and self.scaling(e):
            self.changed = True
            return
        self.equations.append(e)
        rule = _RULES.get(e.primitive.name)
        if rule is not None and any(v in self.known for v in e.inputs):
            inputs = rule(self, e)
            if inputs is not None:
                (v,) = e.outputs
                (n,) = {n for n in v.aval.shape if n != 1}
                self.known[v] = self.like(e, inputs, Var(Aval((n,), v.aval.dtype)))

    def like(self, e: Equation, inputs: tuple[Atom, ...], out: Var) -> Var:
        """Return the diagonal of what e makes, from the diagonals of what it reads."""
        if e.primitive.name in ("reshape", "transpose"):
            return inputs[0]  # type: ignore[return-value]
        self.equations.append(replace(e, inputs=inputs, outputs=(out,)))
        return out

    def scaling(self, e: Equation) -> bool:
        """Add the scaling that a product of matrices is; return whether it is one."""
        (a, b), (out,) = e.inputs, e.outputs
        if not (isinstance(a, Var) and isinstance(b, Var)) or a.aval.ndim != 2 or b.aval.ndim > 2:
            return False
        if not is_inexact(out.aval.dtype) or a.aval.shape[0] == 1:
            return False
        if a in self.known:
            factor, n = self.known[a], a.aval.shape[0]
            if b.aval.ndim == 2:
                factor = self.add(
                    e, "reshape", (factor,), Var(Aval((n, 1), a.aval.dtype)), shape=(n, 1)
                )
            self.add(e, "multiply", (factor, b), out)
        elif b in self.known and b.aval.ndim == 2:
            self.add(e, "multiply", (a, self.known[b]), out)
        else:
            return False
        if a in self.known and b in self.known:
            v = Var(Aval((a.aval.shape[0],), out.aval.dtype))
            self.known[out] = self.add(e, "multiply", (self.known[a], self.known[b]), v)
        return True

    # --- rules: what an equation reads, in its place for the diagonal of its result ---------------

    def each(self, e: Equation) -> tuple[Atom, ...] | None:
        """Return the diagonals of all operands: their sum, or the like, is diagonal."""
        shape = e.outputs[0].aval.shape
        if not _is_square(shape) or not all(v in self.known for v in e.inputs):
            return None
        same = all(_places(v.aval.shape, shape) == _long(shape) for v in e.inputs)  # type: ignore[union-attr]
        return tuple(self.known[v] for v in e.inputs) if same else None  # type: ignore[index]

    def reshaped(self, e: Equation) -> tuple[Atom, ...] | None:
        """A diagonal matrix stays one if its two axes do."""
        return (self.known[e.inputs[0]],) if _is_square(e.outputs[0].aval.shape) else None  # type: ignore[index]

    def product(self, e: Equation) -> tuple[Atom, ...] | None:
        """Return the diagonal of one operand, and of the other what meets it."""
        shape = e.outputs[0].aval.shape
        divides = e.primitive.name == "divide"
        if not _is_square(shape) or (divides and e.inputs[0] not in self.known):
            return None
        found = [
            self.known[v]
            if v in self.known and _places(v.aval.shape, shape) == _long(shape)
            else self.meeting(e, v, shape)
            for v in e.inputs
        ]
        if any(v is None for v in found) or not any(v in self.known for v in e.inputs):
            return None
        return tuple(found)  # type: ignore[arg-type]

    def meeting(self, e: Equation, v: Atom, shape: tuple[int, ...]) -> Atom | None:
        """Return what of an operand meets the diagonal, if it is a row, a column or a number."""
        aval = _aval(v)
        if not isinstance(v, Var) or aval.ndim == 0:
            return v
        axes = _long(aval.shape)
        if len(axes) > 1:
            return None
        new = (aval.shape[axes[0]],) if axes else ()
        if aval.shape == new:
            return v
        return self.add(e, "reshape", (v,), Var(Aval(new, aval.dtype)), shape=new)


def _is_diagonal(v: Var, value: Any) -> bool:
    if not isinstance(value, np.ndarray) or not _is_square(v.aval.shape):
        return False
    n = max(v.aval.shape)
    if n > _LARGEST or value.dtype.kind not in "fc":
        return False
    beside = np.count_nonzero(value) - np.count_nonzero(np.diagonal(value.reshape(n, n)))
    return not beside


def _places(part: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return where the axes longer than 1 of an operand are in the result."""
    return tuple(k + len(shape) - len(part) for k in _long(part))


_RULES = {
    "negative": _Diagonals.each,
    "add": _Diagonals.each,
    "subtract": _Diagonals.each,
    "reshape": _Diagonals.reshaped,
    "transpose": _Diagonals.reshaped,
    "multiply": _Diagonals.product,
    "divide": _Diagonals.product,
}
