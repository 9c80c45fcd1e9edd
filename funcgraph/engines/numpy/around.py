"""Loops over small arrays with fewer operations in their bodies: some are done around the loop.

    before the loop   elementwise operations on rows: r * r, 1 - r, r + b of a constant b
    behind the loop   elementwise operations on what is collected, if nothing in the loop reads
                      them; sums over the steps of outer products, as one product of matrices

An operation on a small array takes as long as one on a hundred times as many numbers. What may
change is the last bit of sums, and the sign of a zero that was added to zero. May import `core`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.graph import Atom, Equation, Graph, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.simplify import prune

__all__ = ["around"]

_SMALL = 1 << 13  # bytes of a result in one step
_TERMS = 1024  # of a sum whose order does not matter much
_MOST = 1 << 22  # bytes of the results of all steps
_ON_FLOATS = 16  # elements; such loops are of floats of Python, and better off as they are


def around(graph: Graph) -> Graph:
    """Return an equal graph with fewer operations in the bodies of its loops."""
    graph = _with_dots(graph)
    if not any(e.primitive.name == "scan" for e in graph.equations):
        return graph
    equations: list[Equation] = []
    constants = dict(graph.constants)
    for e in graph.equations:
        loop = e.primitive.name == "scan" and "lanes" not in e.attrs and not _is_on_floats(e)
        equations += _Loop(e, constants).apart() if loop else [e]
    return prune(Graph(graph.inputs, tuple(equations), graph.outputs, constants))


def _with_dots(graph: Graph) -> Graph:
    """Return the graph with sums of products of vectors as products of vectors."""
    made: dict[Any, Equation] = {v: e for e in graph.equations for v in e.outputs}
    equations = []
    for e in graph.equations:
        product = made.get(e.inputs[0]) if e.primitive.name == "reduce_sum" else None
        if product is not None and product.primitive.name == "multiply":
            (y,) = product.outputs
            alike = all(isinstance(v, Var) and v.aval == y.aval for v in product.inputs)
            few = len(y.aval.shape) == 1 and y.aval.shape[0] <= _TERMS
            if alike and few and y.aval.dtype.kind == "f" and e.attrs["axes"] == (0,):
                e = replace(e, primitive=REGISTRY["matmul"], inputs=product.inputs, attrs={})
        equations.append(e)
    if equations == list(graph.equations):
        return graph
    return prune(Graph(graph.inputs, tuple(equations), graph.outputs, graph.constants))


def _is_on_floats(e: Equation) -> bool:
    avals = [v.aval for v in e.attrs["body"].inputs]
    return all(prod(a.shape) <= _ON_FLOATS and a.dtype != np.float32 for a in avals)


def _variables(atoms: Any) -> list[Var]:
    return [v for v in atoms if isinstance(v, Var)]


def _is_elementwise(e: Equation) -> bool:
    known = e.primitive.is_elementwise and len(e.outputs) == 1
    return known and all(v.aval.weak is None for v in _variables((*e.inputs, *e.outputs)))


def _outer(e: Equation) -> tuple[Var, Var] | None:
    """Return column and row of an outer product; None if e is none."""
    out, variables = e.outputs[0], _variables(e.inputs)
    if e.primitive.name != "multiply" or len(variables) != 2 or len(out.aval.shape) != 2:
        return None
    m, n = out.aval.shape
    for column, row in (variables, variables[::-1]):
        shapes = column.aval.shape, row.aval.shape
        alike = column.aval.dtype == row.aval.dtype == out.aval.dtype
        if shapes == ((m, 1), (1, n)) and alike and out.aval.dtype.kind == "f":
            return column, row
    return None


class _Loop:
    """A scan, and equations on both sides of it."""

    def __init__(self, e: Equation, constants: dict[Var, Any]) -> None:
        self.e = e
        self.constants = constants
        self.length: int = e.attrs["length"]
        self.body: Graph = e.attrs["body"]
        n, m = e.attrs["carries"], e.attrs["carries"] + e.attrs["rows"]
        given = list(zip(self.body.inputs, e.inputs, strict=False))
        self.carry, self.fixed = given[:n], dict(given[m:])
        # Of a number of Python's outside, the loop makes one of NumPy's.
        self.same = {v for v, x in given[n:] if isinstance(x, Var) and x.aval.dtype == v.aval.dtype}
        self.rows: dict[Atom, Atom] = dict(given[n:m])
        results = list(zip(self.body.outputs, e.outputs, strict=True))
        self.ends, self.ys = results[:n], results[n:]
        self.equations = list(self.body.equations)
        self.before: list[Equation] = []
        self.behind: list[Equation] = []

    def apart(self) -> list[Equation]:
        """Return equations in place of the scan."""
        self.sums_of_constants()
        self.signs_of_rows()
        self.rows_first()
        self.outer_products_last()
        self.once()
        self.last()
        return [*self.before, self.scan(), *reversed(self.behind)]

    def scan(self) -> Equation:
        """Return the loop over what is left of the body."""
        carry = tuple(v for v, _ in self.carry)
        outputs = tuple(v for v, _ in (*self.ends, *self.ys))
        left = prune(Graph(carry, tuple(self.equations), outputs, self.body.constants))
        read = {*_variables(outputs), *(v for e in left.equations for v in _variables(e.inputs))}
        rows = [(v, x) for v, x in self.rows.items() if v in read]
        fixed = [(v, x) for v, x in self.fixed.items() if v in read]
        inputs = [*self.carry, *rows, *fixed]
        names: Any = tuple(v for v, _ in inputs)
        body = Graph(names, left.equations, outputs, left.constants)
        attrs = {**self.e.attrs, "body": body, "carries": len(carry), "rows": len(rows)}
        outs = tuple(out for _, out in (*self.ends, *self.ys))
        return replace(self.e, inputs=tuple(x for _, x in inputs), outputs=outs, attrs=attrs)

    # --- stacks ---------------------------------------------------------------------------------

    def is_small(self, v: Var) -> bool:
        """Return whether a result is small in each step, and in all of them."""
        size = prod(v.aval.shape) * v.aval.dtype.itemsize
        return size <= _SMALL and size * self.length <= _MOST

    def is_known(self, v: Any) -> bool:
        """Return whether a value is the same in all steps."""
        constant = v in self.fixed and v in self.same
        return not isinstance(v, Var) or constant or v in self.body.constants

    def stacked(self, v: Any, ndim: int, place: list[Equation]) -> Any:
        """Return the values of an atom in all steps, to be used with stacks of this many axes."""
        if not isinstance(v, Var):
            return v
        if v in self.body.constants:
            self.constants[v] = self.body.constants[v]
            return v
        if v in self.fixed:
            return self.fixed[v]
        rows = self.rows.get(v) or next(out for y, out in self.ys if y is v)
        if len(v.aval.shape) == ndim:
            return rows
        shape = (self.length, *[1] * (ndim - len(v.aval.shape)), *v.aval.shape)
        out = Var(Aval(shape, v.aval.dtype))
        place.append(Equation(REGISTRY["reshape"], (rows,), (out,), {"shape": shape}, self.e.line))
        return out

    def all_at_once(self, e: Equation, place: list[Equation], out: Var | None = None) -> Var:
        """Write an elementwise equation for all steps; return its result."""
        (inner,) = e.outputs
        ndim = len(inner.aval.shape)
        reshaped: list[Equation] = []
        inputs = tuple(self.stacked(v, ndim, reshaped) for v in e.inputs)
        if out is None:
            out = Var(Aval((self.length, *inner.aval.shape), inner.aval.dtype))
        whole = replace(e, inputs=inputs, outputs=(out,))
        place += [whole, *reshaped] if place is self.behind else [*reshaped, whole]
        return out

    # --- before ---------------------------------------------------------------------------------

    def rows_first(self) -> None:
        """Compute before the loop what depends on rows and constants alone."""
        left = []
        for e in self.equations:
            variables = _variables(e.inputs)
            known = all(v in self.rows or self.is_known(v) for v in variables)
            of_rows = known and any(v in self.rows for v in variables)
            if of_rows and _is_elementwise(e) and self.is_small(e.outputs[0]):
                self.rows[e.outputs[0]] = self.all_at_once(e, self.before)
            elif of_rows and e.primitive.name == "reshape":
                shape = (self.length, *e.attrs["shape"])
                out = Var(Aval(shape, e.outputs[0].aval.dtype))
                inputs = (self.rows[variables[0]],)
                whole = replace(e, inputs=inputs, outputs=(out,), attrs={"shape": shape})
                self.before.append(whole)
                self.rows[e.outputs[0]] = out
            else:
                left.append(e)
        self.equations = left

    def sums_of_constants(self) -> None:
        """Write (r + t) + c as (r + c) + t, where r is a row and c a constant."""
        reads = self.reads()
        made = {v: k for k, e in enumerate(self.equations) for v in e.outputs}
        for k, e in enumerate(self.equations):
            if e.primitive.name != "add" or not _is_elementwise(e):
                continue
            for c, u in (e.inputs, e.inputs[::-1]):
                inner = self.equations[made[u]] if u in made else None
                if not self.is_known(c) or inner is None or inner.primitive.name != "add":
                    continue
                (out,) = e.outputs
                for r, t in (inner.inputs, inner.inputs[::-1]):
                    alike = isinstance(r, Var) and r.aval == u.aval == out.aval  # type: ignore[union-attr]
                    if alike and r in self.rows and t not in self.rows and reads[u] == 1:
                        first = Var(out.aval)
                        self.equations[made[u]] = replace(inner, inputs=(r, c), outputs=(first,))
                        self.equations[k] = replace(e, inputs=(first, t))
                        break

    def signs_of_rows(self) -> None:
        """Write (-x) * r as x * (-r), where r is a row or depends on rows alone."""
        of_rows: set[Any] = set(self.rows)
        opposite: dict[Any, Any] = {}  # v is minus this
        equations = []
        for e in self.equations:
            if all(v in of_rows or self.is_known(v) for v in e.inputs):
                of_rows.update(e.outputs)
            elif e.primitive.name == "negative":
                opposite[e.outputs[0]] = e.inputs[0]
            elif e.primitive.name == "multiply" and _is_elementwise(e):
                for x, r in (e.inputs, e.inputs[::-1]):
                    if x in opposite and r in of_rows and r.aval.dtype == x.aval.dtype:
                        minus = Var(r.aval)
                        equations.append(Equation(REGISTRY["negative"], (r,), (minus,), {}, e.line))
                        e = replace(e, inputs=(opposite[x], minus))
            equations.append(e)
        self.equations = equations

    # --- behind ---------------------------------------------------------------------------------

    def reads(self) -> Counter[Any]:
        """Return how often each variable of the body is read, or is a result."""
        found = Counter(v for e in self.equations for v in e.inputs if isinstance(v, Var))
        found.update(v for v, _ in (*self.ends, *self.ys) if isinstance(v, Var))
        return found

    def outer_products_last(self) -> None:
        """Sum outer products behind the loop, if a carry is nothing but their sum."""
        for place in reversed(range(len(self.carry))):
            (carry, start), (end, out) = self.carry[place], self.ends[place]
            made, reads = {v: e for e in self.equations for v in e.outputs}, self.reads()
            addition = made.get(end)  # type: ignore[call-overload]
            if addition is None or addition.primitive.name != "add" or reads[end] != 1:
                continue
            a, b = addition.inputs
            term = b if a is carry else a
            product = made.get(term)
            if carry not in (a, b) or product is None or reads[carry] != 1 or reads[term] != 1:
                continue
            factors = _outer(product)
            if factors is None or carry.aval != product.outputs[0].aval:
                continue
            if all(map(self.is_small, factors)):
                self.carry.pop(place)
                self.ends.pop(place)
                gone = addition, product
                self.equations = [e for e in self.equations if not any(e is g for g in gone)]
                self.behind += self.sum_of_products(factors, start, out, made)

    def sum_of_products(
        self, factors: tuple[Var, Var], start: Atom, out: Var, made: dict[Var, Equation]
    ) -> list[Equation]:
        """Return equations, the last one first: out = start + columns.T @ rows of all steps."""
        line = self.e.line
        found: list[Equation] = []
        flat = []
        for v in factors:
            source = made.get(v)
            if source is not None and source.primitive.name == "reshape":
                v = _variables(source.inputs)[0]
            if v not in self.rows and all(y is not v for y, _ in self.ys):
                self.ys.append((v, Var(Aval((self.length, *v.aval.shape), v.aval.dtype))))
            rows = self.stacked(v, len(v.aval.shape), found)
            shape = (self.length, prod(v.aval.shape))
            flat.append(Var(Aval(shape, v.aval.dtype)))
            attrs = {"shape": shape}
            found.append(Equation(REGISTRY["reshape"], (rows,), (flat[-1],), attrs, line))
        columns, total = Var(Aval(flat[0].aval.shape[::-1], out.aval.dtype)), Var(out.aval)
        found += [
            Equation(REGISTRY["transpose"], (flat[0],), (columns,), {"axes": (1, 0)}, line),
            Equation(REGISTRY["matmul"], (columns, flat[1]), (total,), {}, line),
            Equation(REGISTRY["add"], (start, total), (out,), {}, line),
        ]
        return found[::-1]

    def once(self) -> None:
        """Collect once what is collected more than once, and not what is a row anyway."""
        known: dict[Any, Any] = dict(self.rows)
        ys = []
        for v, out in self.ys:
            if isinstance(v, Var) and v in known and self.is_small(v):
                line = self.e.line
                self.behind.append(Equation(REGISTRY["copy"], (known[v],), (out,), {}, line))
            else:
                ys.append((v, out))
                known[v] = out
        self.ys = ys

    def last(self) -> None:
        """Compute behind the loop what is only collected."""
        made = {v: e for e in self.equations for v in e.outputs}
        waiting = list(self.ys)
        while waiting:
            v, out = waiting.pop()
            e = made.get(v) if isinstance(v, Var) else None
            if e is None or not _is_elementwise(e) or self.reads()[v] != 1 or not self.is_small(v):
                continue
            collected = {y for y, _ in self.ys if y is not v}
            missing = {
                x
                for x in _variables(e.inputs)
                if not self.is_known(x) and x not in self.rows and x not in collected
            }
            if len(missing) > 1 or any(x.aval != v.aval for x in missing):
                continue
            self.ys.remove((v, out))
            for x in missing:
                self.ys.append((x, Var(out.aval)))
                waiting.append(self.ys[-1])
            self.all_at_once(e, self.behind, out)
            self.equations = [other for other in self.equations if other is not e]
