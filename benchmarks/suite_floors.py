"""What a workload costs at least, from the graph of its derivative.

* products: its matrix products, each by np.matmul alone, into memory that is there; a convolution
  counts as the product of its patches with its kernel.
* memory: arguments read and results written once, at the speed of np.copyto.
* dispatch: operations that are neither products nor views, at 0.3 us each: a call of a ufunc.

These are floors of programs that call NumPy: one that fuses operations has no dispatch to pay, one
with another BLAS has other products.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from suite_libraries import Funcgraph, leaves
from suite_workloads import Workload

import funcgraph as fg
from funcgraph.core.calls import calls_of
from funcgraph.core.graph import Equation, Graph
from funcgraph.core.primitive import VIEWS

__all__ = ["floors"]

DISPATCH = 0.3e-6
Product = tuple[tuple[int, ...], tuple[int, ...], str]  # shapes of both operands, dtype


def executed(graph: Graph, times: int = 1) -> Iterator[tuple[Equation, int]]:
    """Yield every operation, those of loops too, and how often it runs."""
    for e in graph.equations:
        calls = calls_of(e)
        if not calls:
            yield e, times
        for call in calls:
            yield from executed(call.graph, times * (call.trips or 1))


def of_matmul(e: Equation) -> Product:
    a, b = (v.aval for v in e.inputs)
    return a.shape, b.shape, a.dtype.name


def of_patches(image: Any, kernel: Any, roles: str) -> Product:
    """Return the product of a convolution: patches with kernel, or either's transpose."""
    rows, taps, channels = math.prod(image[:-1]), math.prod(kernel[:-1]), kernel[-1]
    sides = {"forward": (rows, taps, channels), "image": (rows, channels, taps)}
    m, k, n = sides.get(roles, (taps, rows, channels))
    return (m, k), (k, n), ""


def of_conv(e: Equation) -> Product:
    x, y, z = e.inputs[0].aval, e.inputs[1].aval, e.outputs[0].aval
    shapes = {
        "conv": (z.shape, y.shape, "forward"),
        "conv_input": (x.shape, y.shape, "image"),
        "conv_kernel": (y.shape, z.shape, "kernel"),
    }
    a, b, _ = of_patches(*shapes[e.primitive.name])
    return a, b, x.dtype.name


PRODUCTS: dict[str, Callable[[Equation], Product]] = {
    "matmul": of_matmul,
    "conv": of_conv,
    "conv_input": of_conv,
    "conv_kernel": of_conv,
}


def seconds(run: Callable[[], Any]) -> float:
    """Return the least of ten times; small runs are repeated."""
    start = time.perf_counter()
    run()
    n = max(1, int(1e-3 / (time.perf_counter() - start)))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(n):
            run()
        times.append((time.perf_counter() - start) / n)
    return min(times)


def product_seconds(product: Product) -> float:
    """Return what np.matmul takes for operands of these shapes."""
    a, b = (np.ones(shape, product[2]) for shape in product[:2])
    out = np.matmul(a, b)
    return seconds(lambda: np.matmul(a, b, out=out)) if out.ndim else seconds(lambda: a @ b)


def copy_rate() -> float:
    """Return bytes a second that a copy of large arrays reads and writes."""
    source, target = np.ones(1 << 22), np.empty(1 << 22)
    np.copyto(target, source)
    return 2 * source.nbytes / seconds(lambda: np.copyto(target, source))


def floors(workload: Workload, args: Any) -> dict[str, float]:
    """Return seconds by kind, and how many operations there are."""
    library = Funcgraph()
    derivative = getattr(library, workload.derivative)(workload.function(library))
    graph = fg.make_graph(derivative)(*args).simplify()
    products: Counter[Product] = Counter()
    calls = 0
    for e, times in executed(graph):
        if e.primitive.name in PRODUCTS:
            products[PRODUCTS[e.primitive.name](e)] += times
        elif e.primitive.name not in VIEWS:
            calls += times
    moved = sum(np.asarray(x).nbytes for x in leaves(args))
    moved += sum(math.prod(a.shape) * a.dtype.itemsize for a in graph.output_avals)
    return {
        "products": sum(n * product_seconds(product) for product, n in products.items()),
        "memory": moved / copy_rate(),
        "dispatch": calls * DISPATCH,
        "operations": calls,
    }
