"""Every transformation of every transformation of a set of functions, against JAX's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp

jax = pytest.importorskip("jax")

RNG = np.random.default_rng(0)
X, V = RNG.uniform(0.5, 1.5, 4), RNG.standard_normal(4)
A = RNG.standard_normal((4, 4)) + 4 * np.eye(4)
KERNEL = RNG.standard_normal((2, 3))
Function = Callable[[Any], Any]


class _Jax:
    """The names of funcgraph's top level, from JAX."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jax, name, None) or getattr(jax.lax, name)


JAX = _Jax()

# Functions of a vector of four that return one; m is funcgraph or JAX.


def elementwise(m: Any) -> Function:
    return lambda x: fnp.tanh(x) * x + fnp.where(x > 1, fnp.log(x), x**3)


def algebra(m: Any) -> Function:
    return lambda x: fnp.linalg.solve(A * x, fnp.sin(x)) + fnp.linalg.norm(A @ x) * x


def convolution(m: Any) -> Function:
    def f(x: Any) -> Any:
        windows = fnp.stack([x[k : k + 3] for k in range(2)])
        return fnp.concatenate([fnp.einsum("wk,ck->w", windows, KERNEL * x[0]), x[2:] ** 2])

    return f


def order(m: Any) -> Function:
    return lambda x: fnp.cumsum(fnp.sort(x * fnp.asarray([1.0, -1.0, 2.0, 0.5]))) * fnp.max(x)


def loop(m: Any) -> Function:
    def f(x: Any) -> Any:
        step = lambda c, v: (fnp.sin(c) * v + c, c[0] * v)
        end, ys = m.scan(step, x, fnp.cos(x))
        return end + ys

    return f


def choice(m: Any) -> Function:
    def f(x: Any) -> Any:
        y = m.cond(x[0] > x[1], lambda x: fnp.sin(x) * x[0], lambda x: x**2 / x[1], x)
        branches = [lambda y, f=f: f(y) for f in (fnp.sin, fnp.cos, fnp.exp, fnp.tanh)]
        return m.switch(fnp.argmax(x), branches, y)

    return f


STEPS = 6  # more than any of the loops takes


def until(m: Any, bounded: bool = False) -> Function:
    """Return a loop whose number of steps depends on the data; JAX takes a bounded one."""
    going = lambda s: fnp.sum(s**2) < 9.0
    more = {"max_steps": STEPS} if bounded else {}

    def f(x: Any) -> Any:
        step = lambda s: fnp.sin(s) * x + 1.2 * s
        if m is fg:
            return m.while_loop(going, step, x, **more) * x

        def masked(s: Any, _: Any) -> Any:
            goes = going(s)
            return fnp.where(goes, step(fnp.where(goes, s, x)), s), None

        return m.scan(masked, x, None, STEPS)[0] * x

    return f


def ruled(m: Any) -> Function:
    g = m.custom_jvp(lambda x: fnp.sin(x) * x)
    g.defjvp(lambda p, t: (fnp.sin(p[0]) * p[0], 2.0 * fnp.cos(p[0]) * t[0]))
    return lambda x: g(x * x) + x


def noisy(m: Any) -> Function:
    key = np.array([0, 7], np.uint32)
    return lambda x: x * fnp.asarray(fg.random.normal(key, (4,), np.float64)) + fnp.exp(-x)


FUNCTIONS = [elementwise, algebra, convolution, order, loop, choice, until, ruled, noisy]
TRANSFORMS: dict[str, Callable[[Any, Function], Function]] = {
    "grad": lambda m, f: m.grad(lambda x: fnp.sum(f(x) ** 2)),
    "jvp": lambda m, f: lambda x: m.jvp(f, (x,), (V * x,))[1],
    "vjp": lambda m, f: lambda x: m.vjp(f, x)[1](V * f(x))[0],
    "vmap": lambda m, f: lambda x: fnp.sum(m.vmap(f)(fnp.stack([x, x[::-1]])), 0),
    "jacfwd": lambda m, f: lambda x: m.jacfwd(f)(x) @ V,
    "jacrev": lambda m, f: lambda x: V @ m.jacrev(f)(x),
    "checkpoint": lambda m, f: m.checkpoint(f),
    "numpy": lambda m, f: fg.jit(f) if m is fg else f,
    "xla": lambda m, f: fg.jit(f, backend="xla") if m is fg else f,
}


def compare(function: Any, *names: str) -> None:
    def build(m: Any) -> Function:
        # XLA cannot go back through a loop whose number of steps it does not know.
        f = until(m, "xla" in names) if function is until else function(m)
        for name in reversed(names):
            f = TRANSFORMS[name](m, f)
        return f

    wanted = np.asarray(jax.jit(build(JAX))(X))
    got = np.asarray(build(fg)(X))
    assert got.dtype == np.float64
    scale = np.abs(wanted).max() + 1
    np.testing.assert_allclose(got / scale, wanted / scale, rtol=0, atol=1e-10)


# Compiled by JAX again and again, these take the longest.
HEAVY = [algebra, choice, convolution, order, until]
functions = pytest.mark.parametrize(
    "function",
    [pytest.param(f, marks=[pytest.mark.slow] * (f in HEAVY), id=f.__name__) for f in FUNCTIONS],
)


@pytest.mark.parametrize("inner", TRANSFORMS)
@pytest.mark.parametrize("outer", TRANSFORMS)
@functions
def test_pairs(function: Any, outer: str, inner: str) -> None:
    compare(function, outer, inner)


TRIPLES = [
    ("grad", "grad", "grad"),
    ("numpy", "vmap", "grad"),
    ("xla", "vmap", "jvp"),
    ("jvp", "numpy", "grad"),
    ("grad", "xla", "jacrev"),
    ("vmap", "jacfwd", "vjp"),
    ("jacrev", "checkpoint", "vmap"),
    ("numpy", "xla", "grad"),
]


@pytest.mark.parametrize("names", TRIPLES, ids="-".join)
@functions
def test_triples(function: Any, names: tuple[str, ...]) -> None:
    compare(function, *names)
