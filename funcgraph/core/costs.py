"""What a graph costs: arithmetic operations, bytes moved.

    elementwise operations    1 per element of the result, transcendental ones too
    reductions                1 per element that goes into the result, less one
    matmul, einsum, convolve  2 per product that is added up
    conv and its transposes   the same, products with padding too
    pooling                   1 per tap of every window
    fft                       5 n log2 n
    factorisations            the leading term of the textbook's count (the table below)
    movement, indexing, casts 0

An operation on complex numbers, integers or bools counts as one. A scan costs its length times its
body, a choice its most expensive branch, a while loop as many bodies as `trips` says.

Bytes are those that every equation reads and writes by itself; views (reshape, transpose,
broadcast, slices) move none. May import `core`.

Source: G. Golub and C. Van Loan, Matrix Computations, 4th edition, 2013 (factorisations, expm).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, log2, prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.calls import calls_of
from funcgraph.core.graph import Equation, Graph, Var
from funcgraph.core.lifetimes import is_view, nbytes
from funcgraph.core.primitive import Elementwise, Linear

__all__ = ["Cost", "Costs", "costs", "flops_of", "work_of"]

Avals = list[Aval]
Rule = Callable[[Avals, Avals, dict[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Cost:
    """One operation at one line of the user's program, in all its executions."""

    operation: str
    count: int  # executions
    flops: int
    bytes: int
    line: str


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs by operation and line, the most expensive first; `print` shows the table."""

    rows: tuple[Cost, ...]
    notes: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """Arithmetic operations of one evaluation."""
        return sum(row.flops for row in self.rows)

    @property
    def bytes(self) -> int:
        """Bytes read and written by the equations of one evaluation."""
        return sum(row.bytes for row in self.rows)

    def __str__(self) -> str:
        table = [("operation", "count", "FLOPs", "bytes", "line")]
        for r in self.rows:
            table.append((r.operation, f"{r.count:,}", f"{r.flops:,}", f"{r.bytes:,}", r.line))
        total = sum(r.count for r in self.rows)
        table.append(("total", f"{total:,}", f"{self.flops:,}", f"{self.bytes:,}", ""))
        widths = [max(len(row[k]) for row in table) for k in range(4)]
        lines = []
        for name, *numbers, line in table:
            cells = [name.ljust(widths[0])]
            cells += [n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True)]
            lines.append("  ".join([*cells, line]).rstrip())
        return "\n".join([*lines, *self.notes])


# --- arithmetic: exceptions to the rule by kind of derivative, by name ----------------------------


def _size(a: Aval) -> int:
    return prod(a.shape)


def _reduced(x: Avals, y: Avals, _: Any) -> float:
    return max(_size(x[0]) - _size(y[0]), 0)


def _each(x: Avals, y: Avals, _: Any) -> float:
    return _size(x[0])


def _none(x: Avals, y: Avals, _: Any) -> float:
    return 0


def _matmul(x: Avals, y: Avals, _: Any) -> float:
    return 2 * _size(y[0]) * x[0].shape[-1]


def _einsum(x: Avals, y: Avals, attrs: dict[str, Any]) -> float:
    """Two operations for each combination of indices, one if nothing is added up."""
    operands, _, result = attrs["spec"].partition("->")
    letters = operands.split(",")
    sizes = {c: n for s, a in zip(letters, x, strict=True) for c, n in zip(s, a.shape, strict=True)}
    return prod(sizes.values()) * (2 if set(sizes) - set(result) else 1)


def _convolve(x: Avals, y: Avals, attrs: dict[str, Any]) -> float:
    short, long = sorted((_size(x[0]), _size(x[1])))
    return 2 * short * (long if attrs["mode"] != "valid" else long - short + 1)


def _correlated(form: Callable[[Avals, Avals], tuple[Aval, Aval]]) -> Rule:
    """Return the rule of a convolution or a transpose of it; form gives its output and kernel."""

    def rule(x: Avals, y: Avals, _: Any) -> float:
        output, kernel = form(x, y)
        return 2 * _size(output) * prod(kernel.shape[:-1])

    return rule


def _windows(x: Avals, y: Avals, attrs: dict[str, Any]) -> float:
    window: int = attrs["window"]
    return _size(x[0] if "length" in attrs else y[0]) * window


def _sorted(x: Avals, y: Avals, attrs: dict[str, Any]) -> float:
    n = x[0].shape[attrs["axis"]]
    return sum(map(_size, x)) * ceil(log2(max(n, 1)))


def _searched(numbers: int) -> Rule:
    """Return the rule of a binary search in the other argument for each of these numbers."""
    return lambda x, y, _: _size(x[numbers]) * ceil(log2(_size(x[1 - numbers]) + 1))


def _added(x: Avals, y: Avals, _: Any) -> float:
    return _size(x[1])


def _fourier(factor: float, result: bool) -> Rule:
    """Return the rule of transforms along an axis, by the longer side of the transform."""

    def rule(x: Avals, y: Avals, attrs: dict[str, Any]) -> float:
        a = y[0] if result else x[0]
        n = a.shape[attrs["axis"]]
        return factor * _size(a) * log2(max(n, 1))

    return rule


def _matrices(count: Callable[[int, int], float]) -> Rule:
    """Return the rule of an operation on m by n matrices (m >= n), in stacks."""

    def rule(x: Avals, y: Avals, _: Any) -> float:
        *stack, m, n = x[0].shape
        return prod(stack) * count(max(m, n), min(m, n))

    return rule


def _solve(x: Avals, y: Avals, _: Any) -> float:
    n, k = x[1].shape[-2:]
    return 2 / 3 * n**3 * prod(x[0].shape[:-2]) + 2 * n * n * k * prod(y[0].shape[:-2])


def _solve_triangle(x: Avals, y: Avals, _: Any) -> float:
    return x[0].shape[-1] * _size(y[0])


_LU = _matrices(lambda m, n: m * n * n - n**3 / 3)  # 2n³/3 for square ones
_SVD = _matrices(lambda m, n: 14 * m * n * n + 8 * n**3)  # with both thin factors

_FLOPS: dict[str, Rule] = {
    **dict.fromkeys(
        ["reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_all", "reduce_any"],
        _reduced,
    ),
    **dict.fromkeys(["argmax", "argmin", "nanargmax", "nanargmin", "count_nonzero"], _reduced),
    **dict.fromkeys(["cumsum", "cumsum_back", "cumprod", "cummax", "cummin"], _each),
    **dict.fromkeys(["class_numbers", "stop_gradient", "truncate_dtype"], _none),
    "matmul": _matmul,
    "einsum_pair": _einsum,
    "convolve": _convolve,
    **dict.fromkeys(["index_add", "index_max", "index_min", "index_mul"], _added),
    "conv": _correlated(lambda x, y: (y[0], x[1])),
    "conv_input": _correlated(lambda x, y: (x[0], x[1])),
    "conv_kernel": _correlated(lambda x, y: (x[1], y[0])),
    **dict.fromkeys(
        ["window_argmax", "window_max", "window_put", "window_spread", "window_sum", "window_take"],
        _windows,
    ),
    "index_sum": lambda x, y, _: sum(map(_size, x)),
    **dict.fromkeys(["argsort", "argpartition", "partition_order", "lexsort"], _sorted),
    "searchsorted": _searched(1),
    "digitize": _searched(0),
    **dict.fromkeys(["fft", "ifft"], _fourier(5, True)),
    "rfft": _fourier(2.5, False),  # half of the transform of complex numbers
    "irfft": _fourier(2.5, True),
    **dict.fromkeys(["det", "slogdet", "lu"], _LU),
    "cholesky": _matrices(lambda m, n: n**3 / 3),
    "inv": _matrices(lambda m, n: 2 * n**3),
    "cofactor": _matrices(lambda m, n: 2 * n**3),
    "solve": _solve,
    "solve_triangular": _solve_triangle,
    "qr": _matrices(lambda m, n: 4 * n * n * (m - n / 3)),  # R, and as much again for Q
    "eigh": _matrices(lambda m, n: 9 * n**3),
    "eig": _matrices(lambda m, n: 25 * n**3),
    "svd": _SVD,
    "pinv": lambda x, y, attrs: _SVD(x, y, attrs) + 2 * _size(y[0]) * min(x[0].shape[-2:]),
    "expm": _matrices(lambda m, n: (2 * 6 + 8 / 3) * n**3),  # degree 13; squarings not counted
}


def _flops(e: Equation, x: Avals, y: Avals) -> int:
    rule = _FLOPS.get(e.primitive.name)
    if rule is not None:
        return round(rule(x, y, e.attrs))
    derivative = e.primitive.derivative
    elementwise = isinstance(derivative, Elementwise) or isinstance(e.primitive.numpy, np.ufunc)
    if isinstance(derivative, Linear) and not elementwise:
        return 0
    return sum(map(_size, y))


# --- memory ---------------------------------------------------------------------------------------


def _moved(e: Equation) -> int:
    if is_view(e):
        return 0
    written = [v.aval for v in e.outputs]
    read = [v.aval for v in e.inputs if isinstance(v, Var)]
    if e.primitive.name == "getitem":
        read[:1] = written  # it reads what it picks
    return sum(map(nbytes, read)) + sum(map(nbytes, written))


# --- sums -----------------------------------------------------------------------------------------

Entry = tuple[str, str, int, int, int]  # operation, line, count, flops, bytes


def _entries(graph: Graph, times: int, trips: int, notes: dict[str, None]) -> Iterator[Entry]:
    """Yield the costs of every equation, `times` executions of each."""
    for e in graph.equations:
        calls = calls_of(e)
        found = []
        for call in calls:
            steps = trips if call.trips is None else call.trips
            found.append(list(_entries(call.graph, times * steps, trips, notes)))
        if calls and calls[0].choice:
            found = [max(found, key=lambda entries: sum(entry[3] for entry in entries))]
        for entries in found:
            yield from entries
        where = f"{e.primitive.name}{' at ' + e.line if e.line else ''}"
        if any(call.trips is None for call in calls):
            notes[f"{where}: counted for {trips} step{'s' * (trips != 1)} (trips=)"] = None
        elif not calls and e.primitive.name == "jax_call":
            notes[f"{where}: what JAX computes is not counted"] = None
        if not calls:
            x = [v.aval if isinstance(v, Var) else aval_of(v) for v in e.inputs]
            y = [v.aval for v in e.outputs]
            flops = 0 if e.primitive.name == "jax_call" else _flops(e, x, y)
            yield e.primitive.name, e.line, times, times * flops, times * _moved(e)


def flops_of(e: Equation) -> int:
    """Return the number of arithmetic operations of an equation; while loops take one step."""
    return sum(entry[3] for entry in _entries(Graph((), (e,), ()), 1, 1, {}))


def work_of(e: Equation) -> int:
    """Return what stands for the time of an equation: operations, and bytes read and written."""
    return sum(entry[3] + entry[4] for entry in _entries(Graph((), (e,), ()), 1, 1, {}))


def costs(graph: Graph, trips: int = 1) -> Costs:
    """Return the costs of a graph, by operation and line.

    Args:
      graph: The graph.
      trips: How many steps each while loop takes.
    """
    notes: dict[str, None] = {}
    sums: dict[tuple[str, str], list[int]] = {}
    for name, line, *numbers in _entries(graph, 1, trips, notes):
        total = sums.setdefault((name, line), [0, 0, 0])
        total[:] = [a + b for a, b in zip(total, numbers, strict=True)]
    rows = [Cost(name, n, ops, size, line) for (name, line), (n, ops, size) in sums.items()]
    rows.sort(key=lambda row: (-row.flops, -row.bytes))
    return Costs(tuple(rows), tuple(notes))
