"""The sparsity of a graph's Jacobian: dependencies followed from its inputs to its outputs.

What is found holds for all values of the inputs: constants alone have known values. Loops are
followed step by step, or, if they are long, until nothing changes; branches are united; functions
with derivatives of their own are followed through their rules.
May import `core`, `ops`, `transforms`, `sparse`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of, is_inexact
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.primitive import General
from funcgraph.core.trace import JAX, KIND, NUMPY
from funcgraph.ops.structural import zeros
from funcgraph.sparse.dependencies import (
    everything,
    grouped,
    relate,
    scipy_sparse,
    size_of,
    union,
)
from funcgraph.sparse.rules import UNKNOWN, Info, Operation, dependencies
from funcgraph.transforms.partial import batch_graph
from funcgraph.transforms.stage import stage_closed

__all__ = ["Detector", "graph_sparsity", "has_own_rules"]

_MAX_EQUATIONS = 20_000  # of a loop that is followed step by step
_MAX_ROUNDS = 30  # of a loop until nothing changes; then everything may depend on everything


def graph_sparsity(graph: Graph, varying: Sequence[bool]) -> tuple[Any, set[str]]:
    """Return where the Jacobian of a graph can be nonzero, and the modes that can compute it.

    Args:
      graph: Any graph.
      varying: Which of its inputs are differentiated.

    Returns:
      A boolean CSR array, with one row for each element of the outputs, and one column for each
      element of the varying inputs; and the set of the modes ("fwd", "rev") without those that an
      operation refuses.
    """
    sizes = [size_of(v.aval.shape) for v in graph.inputs]
    total = sum(n for n, flag in zip(sizes, varying, strict=True) if flag)
    infos, start = [], 0
    for n, flag in zip(sizes, varying, strict=True):
        infos.append(Info(_identity(n, start, total) if flag else None))
        start += n * flag
    detector = Detector()
    outs = detector.run(graph, infos)
    parts = [_rows(x.dep, a, total) for x, a in zip(outs, graph.output_avals, strict=True)]
    pattern = scipy_sparse().vstack(parts, format="csr", dtype=bool)
    pattern.sum_duplicates()
    return pattern, detector.modes


def has_own_rules(graph: Graph) -> bool:
    """Return whether the derivative of a graph may be another than that of what it computes."""
    return any(
        e.primitive.name in ("custom_call", "jax_call") or any(map(has_own_rules, e.subgraphs))
        for e in graph.equations
    )


def _identity(n: int, start: int, total: int) -> Any:
    columns = start + np.arange(n)
    data = np.ones(n, bool), columns, np.arange(n + 1)
    return scipy_sparse().csr_array(data, shape=(n, total))


def _rows(dep: Any, aval: Aval, total: int) -> Any:
    return (
        scipy_sparse().csr_array((size_of(aval.shape), total), dtype=bool) if dep is None else dep
    )


def _constant(x: Any) -> Info:
    """Return what is known of a value that the graph holds."""
    kind = KIND[type(x)]
    if kind == JAX and not isinstance(x, jax_name("jax.core.Tracer")):
        return Info(None, np.asarray(x))
    return Info(None, x if kind == NUMPY else UNKNOWN)


def _joined(a: Info, b: Info) -> Info:
    """Return what holds for a value that may be either."""
    known = a.value is not UNKNOWN and b.value is not UNKNOWN and np.array_equal(a.value, b.value)
    return Info(union([a.dep, b.dep]), a.value if known else UNKNOWN)


def _entries(x: Info) -> tuple[int, bool]:
    return 0 if x.dep is None else x.dep.nnz, x.value is UNKNOWN


class Detector:
    """Follows dependencies through graphs.

    Attributes:
      modes: "fwd" and "rev", without what an operation refuses.
    """

    def __init__(self) -> None:
        self.modes = {"fwd", "rev"}
        self._compiled = 0  # so many jit_calls are around
        self._by_name = {
            "jit_call": self._jit_call,
            "switch": self._switch,
            "scan": self._scan,
            "while": self._while,
            "custom_call": self._custom_call,
        }

    def run(self, graph: Graph, infos: Sequence[Info]) -> list[Info]:
        """Return what is known of the outputs of a graph."""
        env: dict[Any, Info] = {v: _constant(x) for v, x in graph.constants.items()}
        env.update(zip(graph.inputs, infos, strict=True))
        last = graph.last_uses()

        def read(atom: Any) -> Info:
            return env[atom] if isinstance(atom, Var) else Info(None, atom)

        for k, e in enumerate(graph.equations):
            env.update(zip(e.outputs, self._equation(e, [read(v) for v in e.inputs]), strict=True))
            for v in last[k]:
                del env[v]
        return [read(v) for v in graph.outputs]

    def _equation(self, e: Equation, args: list[Info]) -> list[Info]:
        follow = self._by_name.get(e.primitive.name)
        known = all(a.value is not UNKNOWN for a in args)
        if follow is not None and (known or any(a.dep is not None for a in args)):
            return follow(e, args)
        if known and not isinstance(e.primitive.derivative, General):
            with np.errstate(all="ignore"):
                return [Info(None, e.primitive.numpy(*(a.value for a in args), **e.attrs))]
        avals = [aval_of(v.aval if isinstance(v, Var) else v) for v in e.inputs]
        outs = [v.aval for v in e.outputs]
        return [Info(d) for d in dependencies(Operation(e.primitive, args, avals, outs, e.attrs))]

    # --- calls and branches ----------------------------------------------------------------------

    def _jit_call(self, e: Equation, args: list[Info]) -> list[Info]:
        self._compiled += 1
        try:
            return self.run(e.attrs["graph"], args)
        finally:
            self._compiled -= 1

    def _switch(self, e: Equation, args: list[Info]) -> list[Info]:
        number, *operands = args
        branches = e.attrs["branches"]
        if number.value is not UNKNOWN:
            return self.run(branches[int(number.value)], operands)
        results = [self.run(b, operands) for b in branches]
        out = results[0]
        for other in results[1:]:
            out = [_joined(a, b) for a, b in zip(out, other, strict=True)]
        return out

    # --- loops -----------------------------------------------------------------------------------

    def _scan(self, e: Equation, args: list[Info]) -> list[Info]:
        body, length, carries = e.attrs["body"], e.attrs["length"], e.attrs["carries"]
        first = carries + e.attrs["rows"]  # of the constants
        carry, xs, constants = args[:carries], args[carries:first], args[first:]
        if carries == 0:
            flags = (*(True for _ in xs), *(False for _ in constants))
            return self.run(batch_graph(body, length, flags), args)
        if length * len(body.equations) > _MAX_EQUATIONS:
            return self._long_scan(e, carry, xs, constants)
        order = range(length)
        columns: list[list[Info]] = [[] for _ in body.outputs[carries:]]
        for i in reversed(order) if e.attrs["reverse"] else order:
            row = [_row(x, i, length) for x in xs]
            outs = self.run(body, [*carry, *row, *constants])
            carry = outs[:carries]
            for column, y in zip(columns, outs[carries:], strict=True):
                column.append(y)
        if e.attrs["reverse"]:
            columns = [column[::-1] for column in columns]
        avals = body.output_avals[carries:]
        return [*carry, *(_stacked(c, a) for c, a in zip(columns, avals, strict=True))]

    def _long_scan(self, e: Equation, carry: Any, xs: Any, constants: Any) -> list[Info]:
        """Follow one step for all, whose row may be any."""
        body, length, carries = e.attrs["body"], e.attrs["length"], e.attrs["carries"]
        rows = [
            Info(None if x.dep is None else grouped(x.dep, _tiled(x, length), _part(x, length)))
            for x in xs
        ]
        carry, outs = self._until_same(body, carry, [*rows, *constants])
        ys = []
        for y, v in zip(outs[carries:], e.outputs[carries:], strict=True):
            size = size_of(v.aval.shape)
            numbers = np.arange(size) % max(size // length, 1)
            ys.append(Info(relate(y.dep, np.arange(size), numbers, size)))
        return [*carry, *ys]

    def _while(self, e: Equation, args: list[Info]) -> list[Info]:
        if self._compiled:
            self.modes.discard("rev")
        carries = e.attrs["carries"]
        middle = len(e.attrs["cond"].inputs)
        return self._until_same(e.attrs["body"], args[:carries], args[middle:])[0]

    def _until_same(
        self, body: Graph, carry: list[Info], rest: list[Info]
    ) -> tuple[list[Info], list[Info]]:
        """Return what holds for the carry after any number of steps, and the outputs of a step."""
        for _ in range(_MAX_ROUNDS):
            outs = self.run(body, [*carry, *rest])
            wider = [_joined(a, b) for a, b in zip(carry, outs, strict=False)]
            if list(map(_entries, wider)) == list(map(_entries, carry)):
                return carry, outs
            carry = wider
        deps = [x.dep for x in (*carry, *rest)]
        carry = [
            Info(everything(deps, size_of(v.aval.shape)) if is_inexact(v.aval.dtype) else None)
            for v in body.inputs[: len(carry)]
        ]
        return carry, self.run(body, [*carry, *rest])

    # --- rules of the user -----------------------------------------------------------------------

    def _custom_call(self, e: Equation, args: list[Info]) -> list[Info]:
        """The derivative is what the rules say, which need not be that of the function."""
        rules = e.attrs["rules"]
        if all(a.dep is None for a in args):
            return [Info(None) for _ in e.outputs]
        avals = [aval_of(v.aval if isinstance(v, Var) else v) for v in e.inputs]
        outs = [v.aval for v in e.outputs]
        found: list[list[Any]] = []
        if rules.jvp is not None:
            found.append(self._through_jvp(rules, args, avals))
        if rules.fwd is not None:
            found.append(self._through_vjp(rules, args, avals, outs))
        if rules.jvp is None:
            self.modes.discard("fwd")
        return [Info(union(deps)) for deps in zip(*found, strict=True)]

    def _through_jvp(self, rules: Any, args: list[Info], avals: list[Aval]) -> list[Any]:
        """Follow the tangents."""
        varying = [k for k, a in enumerate(args) if a.dep is not None]
        n = len(args)

        def tangents(*values: Any) -> list[Any]:
            dots: list[Any] = list(map(zeros, avals))
            for k, t in zip(varying, values[n:], strict=True):
                dots[k] = t
            outs, changes = rules.jvp(values[:n], dots)
            return [zeros(y) if t is None else t for y, t in zip(outs, changes, strict=True)]

        inputs = [Info(None, a.value) for a in args] + [Info(args[k].dep) for k in varying]
        dots = [Aval(avals[k].shape, avals[k].dtype) for k in varying]
        return [x.dep for x in self._staged(tangents, [*avals, *dots], inputs)]

    def _through_vjp(
        self, rules: Any, args: list[Info], avals: list[Aval], outs: list[Aval]
    ) -> list[Any]:
        """Follow the cotangents back, and transpose what is found."""
        varying = [k for k, a in enumerate(args) if a.dep is not None]
        n = len(args)
        seeded = [k for k, a in enumerate(outs) if is_inexact(a.dtype)]
        sizes = [size_of(a.shape) for a in outs]
        starts = np.cumsum([0, *sizes])
        total = int(starts[-1])

        def cotangents(*values: Any) -> list[Any]:
            cts: list[Any] = list(map(zeros, outs))
            for k, ct in zip(seeded, values[n:], strict=True):
                cts[k] = ct
            residuals = rules.fwd(*values[:n])[1]
            found = rules.bwd((*values[:n], *residuals), cts)
            return [zeros(avals[k]) if found[k] is None else found[k] for k in varying]

        inputs = [Info(None, a.value) for a in args]
        inputs += [Info(_identity(sizes[k], int(starts[k]), total)) for k in seeded]
        cts = [Aval(outs[k].shape, outs[k].dtype) for k in seeded]
        back = self._staged(cotangents, [*avals, *cts], inputs)
        deps: list[list[Any]] = [[] for _ in outs]
        for k, ct in zip(varying, back, strict=True):
            if ct.dep is not None:
                through = ct.dep.T.tocsr() @ args[k].dep
                for j, part in enumerate(deps):
                    part.append(through[starts[j] : starts[j + 1]])
        return [union(part) for part in deps]

    def _staged(self, fun: Any, avals: list[Aval], inputs: list[Info]) -> list[Info]:
        graph, closed = stage_closed(fun, avals)
        return self.run(graph, [*inputs, *(Info(None) for _ in closed)])


def _part(x: Info, length: int) -> int:
    return x.dep.shape[0] // length  # type: ignore[no-any-return]


def _tiled(x: Info, length: int) -> Any:
    """Return for each element of rows its number in its row."""
    return np.tile(np.arange(_part(x, length)), length)


def _row(x: Info, i: int, length: int) -> Info:
    value = UNKNOWN if x.value is UNKNOWN else x.value[i]
    if x.dep is None:
        return Info(None, value)
    n = _part(x, length)
    return Info(x.dep[i * n : (i + 1) * n], value)


def _stacked(column: list[Info], aval: Aval) -> Info:
    """Return what is known of the results of all steps, stacked."""
    known = bool(column) and all(y.value is not UNKNOWN for y in column)
    value = np.stack([y.value for y in column]) if known else UNKNOWN
    total = next((y.dep.shape[1] for y in column if y.dep is not None), None)
    if total is None:
        return Info(None, value)
    parts = [_rows(y.dep, aval, total) for y in column]
    return Info(scipy_sparse().vstack(parts, format="csr", dtype=bool), value)
