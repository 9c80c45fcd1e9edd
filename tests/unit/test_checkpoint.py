"""Checkpoints with policies, against JAX; what is kept, as a list and a table."""

from __future__ import annotations

import math
import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.control.checkpoint import checkpoint, checkpoint_policies, remat, saved_residuals
from funcgraph.errors import CustomRuleError

RNG = np.random.default_rng(0)
X = RNG.standard_normal(4)
XS = RNG.standard_normal((3, 4))
W = RNG.standard_normal((4, 4)) / 2
BIG = RNG.standard_normal((100, 100)) / 100

POLICIES = [
    None,
    checkpoint_policies.nothing_saveable,
    checkpoint_policies.dots_saveable,
    checkpoint_policies.everything_saveable,
    lambda primitive: primitive.name in ("sin", "cos"),
]
MODES = {
    "grad": lambda m, f: m.grad(f),
    "jvp": lambda m, f: lambda x: m.jvp(f, (x,), (x,)),
    "hessian": lambda m, f: m.hessian(f),
    "grad grad": lambda m, f: m.grad(lambda x: fnp.sum(m.grad(f)(x) ** 2)),
    "grad jvp": lambda m, f: m.grad(lambda x: m.jvp(f, (x,), (x,))[1]),
}


def same(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=tol, atol=tol)


def body(w: Any, h: Any) -> Any:
    return fnp.tanh(w @ fnp.sin(w @ h)) * fnp.exp(-h * h)


def loss(wrap: Any) -> Any:
    def f(x: Any) -> Any:
        layer = wrap(lambda h, k: {"y": body(W, h) * x + k})  # closes over x
        return fnp.sum(layer(layer(x, 2)["y"], k=1)["y"] ** 2)

    return f


@cache
def wanted(mode: str) -> Any:
    """Return what JAX computes, of X and of the lanes XS."""
    jax = pytest.importorskip("jax")
    f = MODES[mode](jax, loss(jax.checkpoint))
    return jax.jit(f)(X), jax.jit(jax.vmap(f))(XS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", MODES)
def test_derivatives_are_those_without_checkpoint(mode: str, policy: Any) -> None:
    ours = MODES[mode](fg, loss(lambda f: checkpoint(f, policy=policy)))
    one, lanes = wanted(mode)
    same(ours(X), one)
    same(fg.vmap(ours)(XS), lanes)
    same(fg.jit(ours)(X), one)


@pytest.mark.parametrize(
    "wrap", [checkpoint, lambda f: fg.jit(lambda x: fg.cond(x < 9.0, f, f, x))]
)
def test_forward_over_reverse_goes_through_custom_vjp(wrap: Any) -> None:
    @fg.custom_vjp
    def cube(x: Any) -> Any:
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (g * 3 * x**2,))
    f = wrap(lambda x: cube(x) * x)
    same(fg.jvp(fg.grad(f), (2.0,), (1.0,)), (32.0, 48.0))
    same(fg.jvp(fg.grad(wrap(f)), (2.0,), (1.0,)), (32.0, 48.0))


def test_policies_choose_what_is_kept() -> None:
    def count(f: Any) -> float:
        return saved_residuals(lambda w: f(f(f(w))))(BIG).bytes / BIG.nbytes

    layer = lambda w: fnp.sin(fnp.cos(w @ w) @ fnp.exp(w))
    full = count(layer)
    everything = count(checkpoint(layer, policy=checkpoint_policies.everything_saveable))
    dots = count(checkpoint(layer, policy=checkpoint_policies.dots_saveable))
    nothing = count(checkpoint(layer, policy=checkpoint_policies.nothing_saveable))
    assert nothing == 4  # the argument, and each layer's output, which is the next one's argument
    assert dots == 4 + 6  # and two products for each layer
    assert dots < everything <= full + 2
    wanted = fg.grad(lambda w: layer(layer(w)).sum())(BIG)
    for policy in POLICIES:
        again = checkpoint(layer, policy=policy)
        same(fg.grad(lambda w: again(again(w)).sum())(BIG), wanted)  # noqa: B023


def test_what_is_kept_is_not_computed_again() -> None:
    calls = 0

    @fg.custom_jvp
    def counted(x: Any) -> Any:
        nonlocal calls
        calls += type(x) is np.ndarray
        return np.sin(x)

    counted.defjvp(lambda p, t: (counted(p[0]), fnp.cos(p[0]) * t[0]))
    f = lambda x: fnp.sum(fnp.exp(counted(x)))
    counts = []
    for policy in (lambda p: p.name == "custom_call", None):
        calls = 0
        same(fg.grad(checkpoint(f, policy=policy))(X), np.exp(np.sin(X)) * np.cos(X))
        counts.append(calls)
    assert counts[0] < counts[1]


def test_outer_derivatives_keep_no_more() -> None:
    deep = lambda w: fnp.sum(fnp.sin(fnp.cos(fnp.sin(fnp.cos(fnp.sin(w))))))
    inner = lambda f: lambda w: fg.vjp(f, w)[0]  # the forward pass of an inner derivative
    again = saved_residuals(inner(checkpoint(deep)))(BIG)
    assert again.bytes <= 2 * BIG.nbytes < saved_residuals(deep)(BIG).bytes


def test_strong_zeros_reach_the_policies() -> None:
    f = lambda x: fnp.where(x > 0, fnp.sqrt(x), 0.0).sum()
    x = np.array([4.0, 0.0])
    wanted = fg.grad(f)(x)
    assert np.isfinite(wanted).all()
    for policy in POLICIES:
        same(fg.grad(checkpoint(f, policy=policy))(x), wanted)


def test_static_arguments_and_keywords() -> None:
    def f(x: Any, name: str, n: int, *, k: Any) -> Any:
        return getattr(fnp, name)(x) ** n * k

    for static in ((1, 2), (1, -1)):
        g = remat(f, static_argnums=static)
        same(fg.grad(lambda x: g(x, "sin", 2, k=3.0).sum())(X), 6 * np.sin(X) * np.cos(X))  # noqa: B023
    assert g.__name__ == "f"
    same(g(X, "sin", 2, k=1.0), np.sin(X) ** 2)


def test_branches_on_values_close_over_nothing() -> None:
    f = lambda y: checkpoint(lambda x: x * y if x > 0 else x)(y)
    with pytest.raises(CustomRuleError, match="closure"):
        fg.grad(f)(2.0)
    policy = checkpoint_policies.dots_saveable
    assert fg.grad(checkpoint(lambda x: x * x if x > 0 else -x, policy=policy))(3.0) == 6


def test_saved_residuals() -> None:
    table = np.arange(1000.0)

    def f(x: Any, n: Any) -> Any:
        y = np.sin(x["a"])
        return np.sum(y * y.reshape(100, 10).ravel() * table) * n

    found = saved_residuals(f)({"a": np.ones(1000)}, 3)
    summary = [(r.operation, r.shape, r.bytes) for r in found if r.bytes > 8]
    assert sorted(summary) == [
        ("argument", (1000,), 8000),
        ("constant", (1000,), 8000),
        ("multiply", (1000,), 8000),
        ("sin", (1000,), 8000),  # once, with its views
    ]
    (sine,) = [r for r in found if r.operation == "sin"]
    assert sine.line.startswith(__file__) and sine.dtype == np.float64
    lines = str(found).splitlines()
    assert lines[0].split() == ["bytes", "type", "operation", "line"]
    assert lines[-1].split() == [f"{found.bytes:,}", "total"]
    assert any(line.split()[:3] == ["8,000", "float64[1000]", "sin"] for line in lines)


def test_residuals_of_float32_are_half_as_large() -> None:
    f = lambda x: np.sum(np.tanh(np.cos(x)))
    large, small = (saved_residuals(f)(np.ones(2000, t)) for t in (np.float64, np.float32))
    assert (large.bytes, small.bytes) == (32_000, 16_000)
    assert small[0].dtype == np.float32


@pytest.mark.parametrize("compiled", [False, True])
def test_blocks_of_a_loop_keep_the_square_root_of_its_states(compiled: bool) -> None:
    def states(steps: int, every: int | None) -> float:
        """Return the peak of memory, in states."""

        def f(x: Any) -> Any:
            step = lambda c, _: (np.tanh(1.01 * c), None)
            return np.sum(fg.scan(step, x, None, length=steps, checkpoint_every=every)[0])

        x = np.ones(5000)
        g = fg.jit(fg.grad(f)) if compiled else fg.grad(f)
        g(np.ones(1))  # imports what is imported at first use
        tracemalloc.start()
        try:
            g(x)
            return tracemalloc.get_traced_memory()[1] / x.nbytes
        finally:
            tracemalloc.stop()

    assert states(225, None) > 225
    assert states(225, 15) < 3 * math.sqrt(225)
