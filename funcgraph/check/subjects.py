"""The two that are compared, funcgraph and JAX: products with derivatives of order one and two.

Both have `vjp` and `jvp`, so a derivative is written once. JAX differentiates the program itself:
of a function with a custom rule it sees the function, not the rule.
May import `core`, `transforms`.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from funcgraph.check.problem import Arrays, Problem, single
from funcgraph.core.aval import aval_of, dtype_of, is_inexact, shape_of
from funcgraph.core.graph import Graph, Var
from funcgraph.core.jaxlink import jax_name
from funcgraph.errors import FuncgraphError
from funcgraph.transforms.arguments import run
from funcgraph.transforms.gradient import vjp
from funcgraph.transforms.linear import jvp
from funcgraph.transforms.stage import stage

__all__ = ["Cost", "Jax", "Kind", "Ours", "kinds_of", "peak_of", "rounded_otherwise"]

# (order, mode): of order two, the outer mode comes first, "fwd-rev" is forward over reverse.
Kind = tuple[int, str]
Product = Callable[..., Any]  # (leaves, cotangents, tangents, tangents) -> arrays


def kinds_of(order: int, modes: tuple[str, ...]) -> list[Kind]:
    """Return what is compared up to an order."""
    first = [(1, m) for m in modes]
    return first if order == 1 else first + [(2, f"{a}-{b}") for b in modes for a in modes]


def _product(kind: Kind, vjp: Any, jvp: Any, f: Any) -> Product:
    """Return a product with a derivative of f, for anyone's vjp and jvp."""

    def pulled(ct: Any) -> Any:
        return lambda *xs: tuple(vjp(f, *xs)[1](ct))

    def pushed(v: Any) -> Any:
        return lambda *xs: jvp(f, xs, v)[1]

    return {
        (1, "rev"): lambda xs, ct, v, u: vjp(f, *xs)[1](ct),
        (1, "fwd"): lambda xs, ct, v, u: jvp(f, xs, v)[1],
        (2, "rev-rev"): lambda xs, ct, v, u: vjp(pulled(ct), *xs)[1](v),
        (2, "fwd-rev"): lambda xs, ct, v, u: jvp(pulled(ct), xs, v)[1],
        (2, "rev-fwd"): lambda xs, ct, v, u: vjp(pushed(v), *xs)[1](ct),
        (2, "fwd-fwd"): lambda xs, ct, v, u: jvp(pushed(v), xs, u)[1],
    }[kind]


# Which of (cotangents, tangents, tangents) a product reads.
_READS = {
    (1, "rev"): (True, False, False),
    (1, "fwd"): (False, True, False),
    (2, "fwd-fwd"): (False, True, True),
}


def _read(kind: Kind, *given: Any) -> list[Any]:
    """Return what a product reads; None for the rest."""
    flags = _READS.get(kind, (True, True, False))
    return [x if flag else None for x, flag in zip(given, flags, strict=True)]


@dataclass(frozen=True)
class Cost:
    """What one product took: seconds, and the peak of bytes (None: not known)."""

    seconds: float
    bytes: int | None


def _seconds(call: Callable[[], Any]) -> float:
    """Return the least time of up to three runs."""
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        if best > 0.1:
            break
    return best


def peak_of(call: Callable[[], Any]) -> int:
    """Return the peak of the memory, as tracemalloc sees it, that a call adds."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not running:
            tracemalloc.stop()


def _like(values: Any, of: Arrays) -> Arrays:
    """Return numbers in the dtypes of leaves or outputs."""
    return tuple(np.asarray(v, dtype_of(x)) for v, x in zip(values, of, strict=True))


class Ours:
    """The derivatives of funcgraph."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def _call(self, kind: Kind, ct: Any, v: Any, u: Any) -> Callable[[], Any]:
        p = self.problem
        spaces = (p.output, p.leaves, p.leaves)
        given = [
            None if x is None else _like(x, of)
            for x, of in zip(_read(kind, ct, v, u), spaces, strict=True)
        ]
        product = _product(kind, vjp, jvp, p.fun)
        return lambda: product(p.leaves, *given)

    def __call__(self, kind: Kind, ct: Any, v: Any = None, u: Any = None) -> list[Any]:
        """Return a product as NumPy arrays."""
        return [single(y) for y in self._call(kind, ct, v, u)()]

    def cost(self, kind: Kind, ct: Any, v: Any, u: Any) -> Cost:
        """Return what one product takes."""
        call = self._call(kind, ct, v, u)
        return Cost(_seconds(call), peak_of(call))


# Constants with fewer elements stay in the program that XLA compiles.
_LARGE = 4096


class Jax:
    """The derivatives of JAX, of the program that the function is."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.straight = False  # whether the program holds at this point alone
        try:
            graph = stage(lambda *xs: run(problem.fun, xs, {}), [*map(aval_of, problem.leaves)])
        except FuncgraphError:  # it looks at values, which staging hides
            graph, self.straight = problem.point.graph, True
        large = [v for v, x in graph.constants.items() if np.size(x) > _LARGE and _is_float(x)]
        rest = {v: x for v, x in graph.constants.items() if v not in large}
        self._constants = [graph.constants[v] for v in large]
        self._graph = Graph((*graph.inputs, *large), graph.equations, graph.outputs, rest)
        self._compiled: dict[Any, Any] = {}

    def _arguments(self, kind: Kind, ct: Any, v: Any, u: Any) -> Any:
        ct, v, u = _read(kind, ct, v, u)
        array = jax_name("jax.numpy.asarray")
        p = self.problem

        def arrays(values: Any, of: Arrays) -> Any:
            return None if values is None else tuple(map(array, _like(values, of)))

        leaves = tuple(array(x, dtype=dtype_of(x)) for x in p.leaves)
        constants = [array(x) for x in self._constants]
        return constants, leaves, arrays(ct, p.output), arrays(v, p.leaves), arrays(u, p.leaves)

    def _program(self, kind: Kind) -> Any:
        array = jax_name("jax.numpy.asarray")

        def program(constants: Any, xs: Any, ct: Any, v: Any, u: Any) -> Any:
            def f(*xs: Any) -> Any:
                outs = self._graph.run(*xs, *constants)
                # Where JAX promotes otherwise than NumPy, results are of NumPy's dtype still.
                pairs = zip(outs, self.problem.output, strict=True)
                return tuple(array(y, dtype=dtype_of(of)) for y, of in pairs)

            return _product(kind, jax_name("jax.vjp"), jax_name("jax.jvp"), f)(xs, ct, v, u)

        return program

    def _executable(self, kind: Kind, arguments: Any) -> Any:
        if kind not in self._compiled:
            lowered = jax_name("jax.jit")(self._program(kind)).lower(*arguments)
            self._compiled[kind] = lowered.compile()
        return self._compiled[kind]

    def __call__(self, kind: Kind, ct: Any, v: Any = None, u: Any = None) -> list[Any]:
        """Return a product as NumPy arrays."""
        with jax_name("jax.enable_x64")(True):
            arguments = self._arguments(kind, ct, v, u)
            return [np.asarray(y) for y in self._executable(kind, arguments)(*arguments)]

    def cost(self, kind: Kind, ct: Any, v: Any, u: Any) -> Cost:
        """Return what one product takes, compiled: XLA's plan of temporaries and results."""
        with jax_name("jax.enable_x64")(True):
            arguments = self._arguments(kind, ct, v, u)
            executable = self._executable(kind, arguments)
            seconds = _seconds(lambda: jax_name("jax.block_until_ready")(executable(*arguments)))
            plan = executable.memory_analysis()
        if plan is None:
            return Cost(seconds, None)
        return Cost(seconds, plan.temp_size_in_bytes + plan.output_size_in_bytes)


def _is_float(x: Any) -> bool:
    return dtype_of(x).kind in "fc"


# --- rounding errors -----------------------------------------------------------------------------


def rounded_otherwise(problem: Problem, seed: int) -> Problem:
    """Return a problem in which each operation's result is changed in its last digit at random.

    How its derivatives vary with the seed is what rounding errors are (Monte Carlo arithmetic:
    Parker, Pierce and Eggert, Computing in Science & Engineering 2, 2000). It is made of the
    operations at the point, so custom rules are not in it.
    """
    graph = problem.point.graph

    def fun(*xs: Any) -> Arrays:
        rng = np.random.default_rng(seed)
        env: dict[Any, Any] = dict(graph.constants)
        env.update(zip(graph.inputs, [_nudged(x, rng) for x in xs], strict=True))
        for e in graph.equations:
            values = [env[v] if isinstance(v, Var) else v for v in e.inputs]
            out = e.primitive(*values, **e.attrs)
            outs = [_nudged(y, rng) for y in (out if e.primitive.many else (out,))]
            env.update(zip(e.outputs, outs, strict=True))
        return tuple(env[v] if isinstance(v, Var) else v for v in graph.outputs)

    return replace(problem, fun=fun)


def _nudged(x: Any, rng: np.random.Generator) -> Any:
    dtype = dtype_of(x)
    if not is_inexact(dtype):
        return x
    eps = float(np.finfo(dtype).eps) * rng.choice([-1.0, 1.0], shape_of(x))
    return x * (1 + eps).astype(np.finfo(dtype).dtype)
