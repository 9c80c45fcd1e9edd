"""To JAX and back, and optax around and inside compiled steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp

jax = pytest.importorskip("jax")
jnp = jax.numpy

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4))


def same(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=tol, atol=tol)


def test_plain_numpy_functions_run_under_jax() -> None:
    f = lambda t: {"y": np.sum(np.linalg.norm(np.sin(t["a"]), axis=1) * t["b"])}
    t = {"a": X, "b": 2.0}
    g = fg.to_jax(f)
    out = g(t)
    assert isinstance(out["y"], jax.Array)
    same(out, f(t))
    grad = lambda m, f: m.grad(lambda t: f(t)["y"])(t)
    same(jax.jit(lambda t: jax.grad(lambda t: g(t)["y"])(t))(t), grad(fg, f))
    same(
        jax.vmap(lambda a: g({"a": a, "b": 1.0})["y"])(np.stack([X, X])),
        np.full(2, f({**t, "b": 1.0})["y"]),
    )
    assert g({"a": jnp.asarray(X, np.float32), "b": np.float32(1)})["y"].dtype == np.float32


def test_jax_functions_run_in_ours() -> None:
    theirs = lambda t, k: {"y": jnp.tanh(t["a"]) * k, "z": jax.nn.softplus(t["a"][0])}
    ours = fg.from_jax(theirs)
    t = {"a": X}
    out = ours(t, 2.0)
    assert type(out["y"]) is np.ndarray and out["y"].dtype == np.float64
    same(out, theirs(t, 2.0))
    loss = lambda f: lambda t, k: (f(t, k)["y"] ** 2).sum() + f(t, k)["z"].sum()
    same(fg.grad(loss(ours), (0, 1))(t, 2.0), jax.grad(loss(theirs), (0, 1))(t, 2.0))
    same(fg.jvp(loss(ours), (t, 2.0), (t, 1.0)), jax.jvp(loss(theirs), (t, 2.0), (t, 1.0)))
    h = lambda m, f: m.hessian(lambda a: loss(f)({"a": a}, 2.0))(X)
    same(h(fg, ours), h(jax, theirs))
    lanes = np.stack([X, 2 * X])
    v = lambda m, f: m.vmap(m.grad(lambda a, k: loss(f)({"a": a}, k)), (0, None))(lanes, 2.0)
    same(v(fg, ours), v(jax, theirs))
    for backend in ("numpy", "xla"):
        same(fg.jit(fg.grad(loss(ours)), backend=backend)(t, 2.0), jax.grad(loss(theirs))(t, 2.0))
    assert isinstance(ours({"a": jnp.asarray(X)}, 1.0)["y"], jax.Array)


def test_dtypes_are_kept_without_x64() -> None:
    with jax.enable_x64(False):
        y = fg.from_jax(lambda x: jnp.sin(x))(X)
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, np.sin(X), rtol=1e-15)
        z = fg.jit(lambda x: np.sin(x) * 2, backend="xla")(X)
        assert z.dtype == np.float64
        np.testing.assert_allclose(np.asarray(z), 2 * np.sin(X), rtol=1e-14)
        same(fg.grad(fg.jit(lambda x: np.sum(np.sin(x) ** 2), backend="xla"))(X), np.sin(2 * X))


def test_optax_in_all_three_places() -> None:
    optax = pytest.importorskip("optax")
    target = np.linspace(0, 1, 5)
    optimizer = optax.adam(0.1)
    loss = lambda p: fnp.sum((p["w"] - target) ** 2)

    def step(p: Any, state: Any) -> Any:
        updates, state = optimizer.update(fg.grad(loss)(p), state, p)
        return optax.apply_updates(p, updates), state

    def run(step: Any) -> Any:
        p: Any = {"w": np.zeros(5)}
        state = optimizer.init(p)
        for _ in range(5):
            p, state = step(p, state)
        return p

    def ours(p: Any, state: Any) -> Any:
        updates, state = fg.from_jax(optimizer.update)(fg.grad(loss)(p), state, p)
        return fg.tree.map(lambda a, b: a + b, p, updates), state

    around, inside = run(step), run(jax.jit(step))
    same(around, inside)
    for backend in ("numpy", "xla"):
        same(run(fg.jit(ours, backend=backend)), around)
    assert np.asarray(around["w"]).dtype == np.float64
