"""Loops with less in their bodies: what need not be done step by step is done once.

    before the loop   what depends on constants alone
                      x @ w of a row x and a constant w, for all rows at once
    behind the loop   sums over the steps: of products a @ b, and of columns

The weight gradients of a recurrent net are such sums. Stacked over the steps, one product of
matrices replaces as many small ones, each with an addition to the sum. What may change is the order
of summation. May import `core`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY, VIEWS
from funcgraph.core.simplify import prune

__all__ = ["hoist"]

_LEAST = 512  # multiplications of a product that is worth it
_MOST = 4  # times the memory of the rows that products of them may take
# These, and ufuncs, raise no exception. Arithmetic broadcasts by itself, in the loop too.
_CHEAP = VIEWS - {"broadcast"} | {"convert", "where", "reduce_sum"}


def hoist(graph: Graph) -> Graph:
    """Return an equal graph with less work in the bodies of its loops, the inner ones first."""
    if not any(e.attrs and e.subgraphs for e in graph.equations):
        return graph
    equations: list[Equation] = []
    constants = dict(graph.constants)
    read = set(_variables(graph.outputs)).union(*(_variables(e.inputs) for e in graph.equations))
    for e in graph.equations:
        e = e.with_graphs(hoist)
        if e.primitive.name == "scan":
            equations += _Loop(e, constants, read).apart()
        else:
            equations.append(e)
    if equations == list(graph.equations):
        return graph
    return prune(Graph(graph.inputs, tuple(equations), graph.outputs, constants))


def _variables(atoms: Iterable[Atom]) -> list[Var]:
    return [v for v in atoms if isinstance(v, Var)]


def _is_matrix(v: Any) -> bool:
    return isinstance(v, Var) and len(v.aval.shape) == 2


class _Loop:
    """A scan taken apart: pairs (variable of the body, atom outside), and equations on both sides.

    Args:
      e: The scan.
      constants: Of the graph that it is in; they become more.
      read: The variables of that graph that anything reads.
    """

    def __init__(self, e: Equation, constants: dict[Var, Any], read: set[Var]) -> None:
        self.e = e
        self.constants = constants
        self.length = e.attrs["length"]
        body: Graph = e.attrs["body"]
        n, m = e.attrs["carries"], e.attrs["carries"] + e.attrs["rows"]
        given = list(zip(body.inputs, e.inputs, strict=False))
        results = list(zip(body.outputs, e.outputs, strict=True))
        self.body = body
        self.carry, self.rows, self.fixed = given[:n], given[n:m], dict(given[m:])
        self.ends = results[:n]
        self.ys = [(v, out) for v, out in results[n:] if out in read]
        self.equations = list(body.equations)
        self.before: list[Equation] = []
        self.behind: list[Equation] = []
        self.changed = len(self.ys) < len(results) - n
        self.made: dict[Var, Equation] = {}
        self.reads: Counter[Atom] = Counter()
        self.all_steps: dict[Var, Any] = {}  # values of a variable in all steps, as far as known
        self.dropped: set[Atom] = set()  # carries that became sums behind the loop

    def apart(self) -> list[Equation]:
        """Return equations in place of the scan."""
        self.constants_first()
        if not any(e.subgraphs for e in self.equations):  # a loop of loops is to save memory
            self.rows_first()
            self.sums_last()
        return [*self.before, self.scan(), *self.behind] if self.changed else [self.e]

    def scan(self) -> Equation:
        """Return the loop over what is left of the body."""
        outputs = tuple(v for v, _ in (*self.ends, *self.ys))
        carry = tuple(v for v, _ in self.carry)
        left = prune(Graph(carry, tuple(self.equations), outputs, self.body.constants))
        read = {*_variables(outputs), *(v for e in left.equations for v in _variables(e.inputs))}
        rows = [(v, x) for v, x in self.rows if v in read]
        fixed = [(v, x) for v, x in self.fixed.items() if v in read]
        inputs = [*self.carry, *rows, *fixed]
        known = {v: x for v, x in left.constants.items() if v not in self.fixed}
        body = Graph(tuple(v for v, _ in inputs), left.equations, outputs, known)
        attrs = {**self.e.attrs, "body": body, "carries": len(self.carry), "rows": len(rows)}
        outs = tuple(out for _, out in (*self.ends, *self.ys))
        return replace(self.e, inputs=tuple(x for _, x in inputs), outputs=outs, attrs=attrs)

    # --- before ---------------------------------------------------------------------------------

    def constants_first(self) -> None:
        """Compute before the loop what depends on its constants alone."""
        outside = {v: x for v, x in self.fixed.items() if isinstance(x, Var) and x.aval == v.aval}
        left = []
        for e in self.equations:
            known = _variables(e.inputs)
            at_hand = all(v in outside or v in self.body.constants for v in known)
            if not (known and at_hand and _is_cheap(e)):
                left.append(e)
                continue
            self.constants.update((v, self.body.constants[v]) for v in known if v not in outside)
            (inner,) = e.outputs
            outside[inner] = Var(inner.aval)
            inputs = tuple(outside.get(v, v) if isinstance(v, Var) else v for v in e.inputs)
            self.before.append(replace(e, inputs=inputs, outputs=(outside[inner],)))
        self.changed = self.changed or len(left) < len(self.equations)
        self.equations = left
        self.fixed.update((v, x) for v, x in outside.items() if v not in self.fixed)

    def rows_first(self) -> None:
        """Multiply all rows by a constant matrix at once."""
        stacked = dict(self.rows)
        left = []
        for e in self.equations:
            x, w = e.inputs if e.primitive.name == "matmul" else (None, None)
            if not (x in stacked and w in self.fixed and _is_matrix(w)):
                left.append(e)
                continue
            (out,) = e.outputs
            (m, n), shape = w.aval.shape, out.aval.shape
            if n > _MOST * m or prod(shape) * m < _LEAST or len(shape) > 2:
                left.append(e)
                continue
            flat = self.reshaped(self.before, stacked[x], (self.length * prod(shape[:-1]), m))
            product = Var(Aval((flat.aval.shape[0], n), out.aval.dtype))
            self.before.append(replace(e, inputs=(flat, self.fixed[w]), outputs=(product,)))
            self.rows.append((out, self.reshaped(self.before, product, (self.length, *shape))))
        self.changed = self.changed or len(left) < len(self.equations)
        self.equations = left

    # --- behind ---------------------------------------------------------------------------------

    def sums_last(self) -> None:
        """Sum products, then columns of what is stacked by then, behind the loop."""
        self.made = {v: e for e in self.equations for v in e.outputs}
        self.reads = Counter(v for e in self.equations for v in e.inputs)
        self.reads.update(v for v, _ in (*self.ends, *self.ys))
        for v, rows in (*self.rows, *self.ys):
            if isinstance(v, Var):
                self.all_steps.setdefault(v, rows)
        for name in ("matmul", "reduce_sum"):
            for place in reversed(range(len(self.carry))):
                term = self.summed(place)
                if term is not None and term.primitive.name == name:
                    total = self.product(term) if name == "matmul" else self.columns(term)
                    if total is not None:
                        self.replace(place, total)
        self.equations = [e for e in self.equations if self.dropped.isdisjoint(e.outputs)]

    def summed(self, place: int) -> Equation | None:
        """Return what makes t, if a carry c only becomes c + t, and is not read otherwise."""
        (carry, _), (end, _) = self.carry[place], self.ends[place]
        addition = self.made.get(end) if isinstance(end, Var) else None
        if addition is None or addition.primitive.name != "add" or carry not in addition.inputs:
            return None
        a, b = addition.inputs
        term = b if a is carry else a
        if any(self.reads[v] != 1 for v in (carry, end, term)):
            return None
        same = isinstance(term, Var) and term.aval == carry.aval and term.aval.dtype.kind == "f"
        return self.made.get(term) if same else None  # type: ignore[arg-type]

    def product(self, e: Equation) -> Var | None:
        """Return the sum of products of matrices: one product, of factors stacked side by side."""
        if not all(map(_is_matrix, e.inputs)):
            return None
        p, q = _variables(e.inputs)
        if any(v in self.fixed or v in self.body.constants for v in (p, q)):
            return None
        (m, k), n = p.aval.shape, q.aval.shape[1]
        new = sum(prod(v.aval.shape) for v in (p, q) if not self.is_stacked(v))
        if m * k * n < _LEAST or new > m * n:
            return None
        total = Var(e.outputs[0].aval)
        columns = self.transposed(self.side_by_side(p, across=True))
        factors = (columns, self.side_by_side(q, across=False))
        self.behind.append(replace(e, inputs=factors, outputs=(total,)))
        return total

    def columns(self, e: Equation) -> Var | None:
        """Return the sum over columns of a matrix that is stacked anyway."""
        (v,) = _variables(e.inputs)
        if not (_is_matrix(v) and self.is_stacked(v) and e.attrs["axes"] == (0,)):
            return None
        total = Var(e.outputs[0].aval)
        flat = self.side_by_side(v, across=False)
        self.behind.append(replace(e, inputs=(flat,), outputs=(total,)))
        return total

    def replace(self, place: int, total: Var) -> None:
        """Put the sum behind the loop in place of a carry."""
        (_, start), (end, out) = self.carry.pop(place), self.ends.pop(place)
        self.dropped.add(end)
        self.behind.append(Equation(REGISTRY["add"], (start, total), (out,), {}, self.e.line))
        self.changed = True

    def source(self, v: Var) -> tuple[Var, bool]:
        """Return of what v is the transpose, and True; or v and False."""
        e = self.made.get(v)
        if e is None or e.primitive.name != "transpose" or e.attrs["axes"] != (1, 0):
            return v, False
        return _variables(e.inputs)[0], True

    def is_stacked(self, v: Var) -> bool:
        """Return whether the values of all steps are there."""
        return self.source(v)[0] in self.all_steps

    def stacked(self, v: Var) -> Any:
        """Return the values of all steps; the loop gives them, if they are not there."""
        if v not in self.all_steps:
            out = self.all_steps[v] = Var(Aval((self.length, *v.aval.shape), v.aval.dtype))
            self.ys.append((v, out))
        return self.all_steps[v]

    def side_by_side(self, v: Var, across: bool) -> Var:
        """Return the rows of a matrix in all steps (across: its columns) as those of one matrix."""
        source, turned = self.source(v)
        rows = self.stacked(source)
        if turned is not across:
            axes, (length, m, n) = (0, 2, 1), rows.aval.shape
            swapped = Var(Aval((length, n, m), rows.aval.dtype))
            self.behind.append(
                Equation(REGISTRY["transpose"], (rows,), (swapped,), {"axes": axes}, self.e.line)
            )
            rows = swapped
        length, m, n = rows.aval.shape
        return self.reshaped(self.behind, rows, (length * m, n))

    def transposed(self, v: Var) -> Var:
        """Return the transpose of a matrix: an equation more."""
        out = Var(Aval(v.aval.shape[::-1], v.aval.dtype))
        axes = {"axes": (1, 0)}
        self.behind.append(Equation(REGISTRY["transpose"], (v,), (out,), axes, self.e.line))
        return out

    def reshaped(self, equations: list[Equation], v: Any, shape: tuple[int, ...]) -> Var:
        """Return v in another shape: an equation more."""
        out = Var(Aval(shape, v.aval.dtype))
        equations.append(Equation(REGISTRY["reshape"], (v,), (out,), {"shape": shape}, self.e.line))
        return out


def _is_cheap(e: Equation) -> bool:
    is_ufunc = isinstance(e.primitive.numpy, np.ufunc)
    return not e.primitive.many and (is_ufunc or e.primitive.name in _CHEAP)
