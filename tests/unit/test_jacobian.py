"""Jacobians, Hessians and Hessian-vector products against JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import (
    GradientDtypeError,
    NonLinearError,
    NonScalarOutputError,
    TangentMismatchError,
)

jax = pytest.importorskip("jax")

RNG = np.random.default_rng(0)
X = RNG.standard_normal(4)
TREE = {"a": RNG.standard_normal((2, 3)), "b": (0.5, RNG.standard_normal(2))}


def same(got: Any, wanted: Any, tol: float = 1e-10) -> None:
    assert fg.tree.structure(got) == fg.tree.structure(wanted)
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(wanted), strict=True):
        assert np.shape(g) == np.shape(w)
        np.testing.assert_allclose(g, w, rtol=tol, atol=tol)


def vector(x: Any) -> Any:
    return fnp.sin(x)[:, None] * fnp.cumsum(x) ** 2


def pytree(t: Any, y: Any) -> Any:
    z = fnp.tanh(t["a"] @ y) * t["b"][0]
    return {"z": z, "s": (fnp.sum(z) ** 2 + t["b"][1][0], t["a"][0])}


def scalar(t: Any, y: Any) -> Any:
    return fnp.sum(pytree(t, y)["z"] ** 3) + t["b"][0] ** 2 * fnp.sum(y)


Y = RNG.standard_normal(3)


@pytest.mark.parametrize("name", ["jacfwd", "jacrev", "jacobian"])
@pytest.mark.parametrize("argnums", [0, 1, (0, 1), (1,), -1])
def test_jacobians_of_pytrees(name: str, argnums: Any) -> None:
    theirs = getattr(jax, "jacrev" if name == "jacobian" else name)
    same(getattr(fg, name)(pytree, argnums)(TREE, Y), theirs(pytree, argnums)(TREE, Y))
    same(getattr(fg, name)(vector)(X), theirs(vector)(X))


@pytest.mark.parametrize("argnums", [0, (0, 1)])
def test_hessians_of_pytrees(argnums: Any) -> None:
    same(fg.hessian(scalar, argnums)(TREE, Y), jax.jit(jax.hessian(scalar, argnums))(TREE, Y))
    same(fg.hessian(vector)(X), jax.jit(jax.hessian(vector))(X))
    reverse = fg.jacrev(fg.jacrev(vector))(X)
    same(reverse, fg.hessian(vector)(X))
    same(fg.jacfwd(fg.jacfwd(vector))(X), reverse)


def test_chunks_aux_keywords() -> None:
    f = lambda x, *, k: (vector(x) * k, {"k": k})
    for jac in (fg.jacfwd, fg.jacrev):
        for chunk in (1, 3, None):
            got, aux = jac(f, has_aux=True, chunk_size=chunk)(X, k=2.0)
            same(got, 2 * jax.jit(jax.jacrev(vector))(X))
            assert aux == {"k": 2.0}
    same(fg.hessian(lambda x: (np.sum(x**3), 1), has_aux=True)(X)[0], np.diag(6 * X))


def test_types_of_leaves() -> None:
    assert fg.jacfwd(lambda x: x**2)(3.0) == fg.jacrev(lambda x: x**2)(3.0) == 6
    x = X.astype(np.float32)
    for jac in (fg.jacfwd, fg.jacrev, fg.hessian):
        assert jac(lambda x: np.sin(x) * x)(x).dtype == np.float32


def test_control_flow_on_values() -> None:
    f = lambda x: np.stack([v * v if v > 0 else -v for v in x])
    same(fg.jacfwd(f)(X), np.diag(np.where(X > 0, 2 * X, -1)))
    same(fg.jacrev(f)(X), np.diag(np.where(X > 0, 2 * X, -1)))


def test_holomorphic() -> None:
    z = X + 1j
    f = lambda z: fnp.sin(z) * z
    for ours, theirs in ((fg.jacfwd, jax.jacfwd), (fg.jacrev, jax.jacrev)):
        same(ours(f, holomorphic=True)(z), theirs(f, holomorphic=True)(z))
    with pytest.raises(GradientDtypeError, match="holomorphic=True"):
        fg.jacfwd(f)(z)
    with pytest.raises(NonScalarOutputError, match="holomorphic=True"):
        fg.jacrev(f)(z)
    with pytest.raises(GradientDtypeError, match="int64"):
        fg.jacfwd(f)(np.arange(3))


def test_hvp() -> None:
    v = RNG.standard_normal(4)
    f = lambda x: fnp.sum(fnp.sin(x) * fnp.cumsum(x))
    same(fg.hvp(f, (X,), (v,)), jax.jit(jax.hessian(f))(X) @ v)
    got = fg.hvp(scalar, (TREE, Y), (TREE, Y))
    same(got, jax.jvp(jax.grad(scalar, (0, 1)), (TREE, Y), (TREE, Y))[1])
    with pytest.raises(TangentMismatchError, match=r"hvp\(f, \(x,\), \(v,\)\)"):
        fg.hvp(f, X, v)


def test_nested_in_other_transformations() -> None:
    g = lambda m, np_: m.grad(
        lambda x: (m.jacfwd(vector)(x) ** 2).sum() + m.jacrev(vector)(x).sum()
    )
    same(g(fg, np)(X), g(jax, jax.numpy)(X))
    x = RNG.standard_normal((3, 4))
    same(fg.vmap(fg.jacrev(vector))(x), jax.jit(jax.vmap(jax.jacrev(vector)))(x))
    same(fg.vmap(fg.hessian(vector))(x), jax.jit(jax.vmap(jax.hessian(vector)))(x))


def test_linear_transpose() -> None:
    a = RNG.standard_normal((3, 4))
    f = lambda x, t: {"y": a @ x - fnp.cumsum(a @ x) * 2, "z": fnp.stack([t["s"], x[0]]) / 4.0}
    primals = (X, {"s": 1.0})
    ct = {"y": RNG.standard_normal(3), "z": RNG.standard_normal(2)}
    same(fg.linear_transpose(f, *primals)(ct), jax.linear_transpose(f, *primals)(ct))
    shape = fg.ShapeDtype((4,), np.dtype(np.float32))
    assert (
        fg.linear_transpose(lambda x: 2 * x, shape)(np.ones(4, np.float32))[0].dtype == np.float32
    )
    x = RNG.standard_normal((2, 3))
    same(fg.vmap(fg.linear_transpose(lambda x: a @ x, X))(x), (x @ a,))
    g = fg.grad(lambda m: fg.linear_transpose(lambda x: m @ x, X)(np.ones(3))[0].sum())
    same(g(a), np.ones_like(a))
    for nonlinear in (np.sin, lambda x: x * x, lambda x: x @ x, lambda x: 1 / x, np.max):
        with pytest.raises(NonLinearError, match="not linear"):
            fg.linear_transpose(nonlinear, X)
    with pytest.raises(TangentMismatchError):
        fg.linear_transpose(lambda x: x, X)(np.ones(3))
