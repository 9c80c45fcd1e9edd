"""To JAX and back, and optax around and inside compiled steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph import nn
from funcgraph.errors import DerivativeChoiceError, TracerConversionError

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


# --- derivative="ours" ----------------------------------------------------------------------------


def branching(p: Any, x: Any) -> Any:
    """A loss with a convolution, pooling, a loop, and an output that is an integer."""
    y = nn.max_pool(np.tanh(nn.conv(x, p["w"], padding="SAME")), 2, 2)
    y = fg.scan(lambda c, v: (np.sin(c * p["a"]) + v, c[0]), y[:, 0], np.moveaxis(y, 1, 0))[0]
    return np.sum(y**2) * p["a"], {"best": np.argmax(y), "y": y}


P = {"w": RNG.standard_normal((3, 3, 2, 4)), "a": np.float64(0.7)}
IMAGES = RNG.standard_normal((2, 6, 6, 2))


def test_jax_transforms_by_our_rules() -> None:
    """Values, both modes, second order, batches, all against what JAX's own rules give."""
    ours, theirs = (fg.to_jax(branching, derivative=d) for d in ("ours", "jax"))

    def derivatives(f: Any) -> Any:
        loss = lambda p, x: f(p, x)[0]
        grad = jax.grad(loss, (0, 1))
        dots = jax.tree.map(jnp.ones_like, P)
        lanes = jnp.stack([IMAGES, 2 * IMAGES])
        return {
            "value": f(P, IMAGES),
            "aux": jax.grad(f, has_aux=True)(P, IMAGES),
            "grad": grad(P, IMAGES),
            "jvp": jax.jvp(lambda p: f(p, IMAGES)[1]["y"], (P,), (dots,)),
            "reverse over reverse": jax.grad(lambda p: (grad(p, IMAGES)[1] ** 2).sum())(P),
            "forward over reverse": jax.jvp(lambda p: grad(p, IMAGES), (P,), (dots,))[1],
            "hessian": jax.hessian(lambda a: loss({**P, "a": a}, IMAGES))(0.7),
            "lanes of grad": jax.vmap(grad, (None, 0))(P, lanes),
            "grad of lanes": jax.grad(lambda p: jax.vmap(loss, (None, 0))(p, lanes).sum())(P),
        }

    got, wanted = jax.jit(lambda: (derivatives(ours), derivatives(theirs)))()
    for name in wanted:
        same(got[name], wanted[name], 1e-8)


def test_our_rules_are_used() -> None:
    """What jax.grad compiles scatters nothing, as our pooling does not, and chooses nothing."""
    f = lambda x: np.sum(nn.max_pool(x, 3, 2, 1) ** 2)
    texts = [
        jax.jit(jax.grad(fg.to_jax(f, derivative=d))).lower(IMAGES).as_text()
        for d in ("jax", "ours")
    ]
    assert ["scatter" in text for text in texts] == [True, False]
    same(jax.grad(fg.to_jax(f, derivative="ours"))(IMAGES), fg.grad(f)(IMAGES))


def test_our_rules_for_what_a_function_closes_over() -> None:
    """Tracers of JAX that come in by closures, loops' bodies included, have derivatives too."""

    def loss(a: Any, derivative: str) -> Any:
        body = lambda c, _: (c * a, c)
        f = lambda x: np.sum(fg.scan(body, x, None, length=3)[0]) * a
        return fg.to_jax(f, derivative=derivative)(X)

    same(jax.grad(loss)(0.5, "ours"), jax.grad(loss)(0.5, "jax"))
    assert abs(float(jax.grad(loss)(0.5, "ours")) - 4 * 0.5**3 * X.sum()) < 1e-12
    g = fg.grad(lambda a: fg.to_jax(lambda x: np.sum(x * a), derivative="ours")(X))
    with pytest.raises(TracerConversionError, match="would silently cut the gradient"):
        g(2.0)


def test_our_rules_for_complex_numbers_and_linear_functions() -> None:
    z = X[0] + 1j * X[1]
    f = lambda z: np.sum(np.abs(z * np.exp(z)) ** 2)
    derivatives = lambda d: jax.grad(fg.to_jax(f, derivative=d))(z)
    same(derivatives("ours"), derivatives("jax"))
    double = fg.to_jax(lambda x: X @ x, derivative="ours")
    same(jax.linear_transpose(double, X[0])(X[:, 0])[0], X.T @ X[:, 0])


def test_our_rules_keep_float32_where_x64_is_off() -> None:
    with jax.enable_x64(False):
        f = fg.to_jax(lambda x: np.sum(np.sin(x) * 2.0 * np.arange(4.0)), derivative="ours")
        x = X.astype(np.float32)
        got = jax.jit(jax.grad(f))(x)
        assert got.dtype == np.float32
        same(got, np.cos(x) * 2 * np.arange(4.0), 1e-5)
        i = np.arange(4, dtype=np.int32)
        assert jax.jit(fg.to_jax(lambda x: i * x, derivative="ours"))(x).dtype == np.float32


def test_unknown_derivative_is_refused() -> None:
    with pytest.raises(DerivativeChoiceError, match="'jax' or 'ours', got 'theirs'"):
        fg.to_jax(np.sin, derivative="theirs")
