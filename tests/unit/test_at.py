"""`x.at[index]` and `funcgraph.at(x)[index]`: values and derivatives as JAX's, repeats included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgraph as fg
import funcgraph.numpy as fnp
from funcgraph.errors import ConcretizationError

RNG = np.random.default_rng(7)
M = RNG.standard_normal((3, 4))
POSITIVE = np.abs(M) + 0.5
REPEATED = np.array([0, 2, 2, 0])
INDICES: list[Any] = [
    1,
    -1,
    (2, slice(1, 3)),
    (..., 0),
    np.array([2, 0]),
    REPEATED,
    (REPEATED, np.array([1, 1, 1, 1])),
    (slice(None), np.array([3, 3, 0])),
    M > 0.3,
]
METHODS = ["set", "add", "subtract", "multiply", "mul", "divide", "power", "min", "max"]
BY_UFUNC = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "min": np.minimum,
    "max": np.maximum,
}


def values(idx: Any) -> np.ndarray:
    return np.abs(np.random.default_rng(3).standard_normal(np.shape(M[idx]))) + 0.25


def updated(x: Any, idx: Any, method: str, v: Any) -> Any:
    return getattr(fg.at(x)[idx], method)(v)


@pytest.mark.parametrize("idx", INDICES, ids=str)
@pytest.mark.parametrize("method", BY_UFUNC)
def test_value_is_that_of_ufunc_at(method: str, idx: Any) -> None:
    expected = POSITIVE.copy()
    BY_UFUNC[method].at(expected, idx, values(idx))
    got = updated(POSITIVE, idx, method, values(idx))
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    traced = fg.vjp(lambda x: updated(x, idx, method, values(idx)), POSITIVE)[0]
    np.testing.assert_array_equal(traced, got)
    assert getattr(fg.at(POSITIVE.astype(np.float32))[idx], method)(2.0).dtype == np.float32


def differentiable_in_jax(method: str, idx: Any) -> bool:
    """Return whether JAX has the derivative: of products only where no index repeats."""
    flat = np.arange(M.size).reshape(M.shape)[idx].reshape(-1)
    return method in ("set", "add", "subtract", "min", "max") or np.unique(flat).size == flat.size


@pytest.mark.parametrize("idx", INDICES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_gradient_is_jaxs(method: str, idx: Any) -> None:
    jax = pytest.importorskip("jax")
    repeated = not differentiable_in_jax("multiply", idx)
    if repeated and method in ("set", "multiply", "mul", "divide", "power"):
        return  # JAX has no such derivative, or does not say which value stays: see below
    weights = np.cos(M)
    v = values(idx)
    with jax.enable_x64(True):
        wanted = jax.grad(
            lambda x, v: jax.numpy.sum(
                getattr(x.at[idx], method)(v, unique_indices=not repeated) * weights
            ),
            (0, 1),
        )(jax.numpy.asarray(POSITIVE), jax.numpy.asarray(v))
    got = fg.grad(lambda x, v: np.sum(getattr(x.at[idx], method)(v) * weights), (0, 1))
    for f in (got, fg.jit(got), fg.jit(got, backend="xla")):
        for a, b in zip(f(POSITIVE, v), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_ties_are_shared_as_in_jax() -> None:
    jax = pytest.importorskip("jax")
    x, v, idx = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 5.0, 3.0]), np.array([0, 0, 1, 2])
    for method in ("min", "max"):
        with jax.enable_x64(True):
            _, pull = jax.vjp(
                lambda x, v, method=method: getattr(x.at[idx], method)(v),
                *map(jax.numpy.array, (x, v)),
            )
            wanted = pull(jax.numpy.array([1.0, 10.0, 100.0]))
        pull = fg.vjp(lambda x, v, method=method: getattr(x.at[idx], method)(v), x, v)[1]
        for a, b in zip(pull(np.array([1.0, 10.0, 100.0])), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def loop(method: str, x: Any, idx: Any, v: Any) -> Any:
    """Return the update, one index after the other."""
    combine = {
        "multiply": lambda a, b: a * b,
        "divide": lambda a, b: a / b,
        "power": lambda a, b: a**b,
    }[method]
    rows = [x[k] for k in range(3)]
    for k, i in enumerate(idx):
        rows[i] = combine(rows[i], v[k])
    return fnp.stack(rows)


@pytest.mark.parametrize("zeros", [0, 1, 2])
@pytest.mark.parametrize("method", ["multiply", "divide", "power"])
def test_repeated_indices_multiply_on(method: str, zeros: int) -> None:
    if zeros and method != "multiply":
        return  # division by zero, and 0 ** v, are no business of the index
    x, v = np.array([1.5, 2.0, 0.7]), np.array([0.5, 2.0, 3.0, 1.25])
    v[:zeros] = 0.0
    idx = np.array([1, 1, 0, 1])
    weights = np.array([1.0, -2.0, 3.0])

    def ours(x: Any, v: Any, idx: Any = idx) -> Any:
        return np.sum(weights * getattr(fg.at(x)[idx], method)(v) ** 2)

    def plain(x: Any, v: Any) -> Any:
        return np.sum(weights * loop(method, x, idx, v) ** 2)

    def close(a: Any, b: Any) -> None:
        for p, q in zip(fg.tree.leaves(a), fg.tree.leaves(b), strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-10, atol=1e-12)

    np.testing.assert_allclose(ours(x, v), plain(x, v), rtol=1e-12)
    wanted = fg.grad(plain, (0, 1))(x, v)
    close(fg.grad(ours, (0, 1))(x, v), wanted)
    close(fg.hessian(ours, (0, 1))(x, v), fg.hessian(plain, (0, 1))(x, v))
    dots = fg.jvp(ours, (x, v), (np.ones(3), np.ones(4)))
    close(dots, fg.jvp(plain, (x, v), (np.ones(3), np.ones(4))))
    for backend in ("numpy", "xla"):  # the indices are an argument: unknown when it is staged
        if backend == "xla":
            pytest.importorskip("jax")
        staged = fg.jit(fg.grad(ours, (0, 1)), backend=backend)
        close([np.asarray(g) for g in staged(x, v, idx)], list(wanted))
    many = np.stack([idx, np.array([0, 2, 2, 2])])
    got = fg.vmap(fg.grad(ours, (0, 1)), in_axes=(None, None, 0))(x, v, many)
    for k in range(2):
        close([g[k] for g in got], list(fg.grad(ours, (0, 1))(x, v, many[k])))


def test_integers() -> None:
    x = np.array([7, 8, 9])
    assert fg.at(x)[0].divide(2).tolist() == [3.5, 8.0, 9.0]
    assert fg.at(x)[np.array([0, 0])].multiply(2).tolist() == [28, 8, 9]
    assert fg.at(x)[1].power(2).tolist() == [7, 64, 9]
    assert fg.at(x)[:2].min(7.9).tolist() == [7, 7, 9]  # cast to the dtype of x, as JAX does
    assert fg.at(x)[1:].get().tolist() == [8, 9]


def test_apply_follows_the_index() -> None:
    triple = lambda t: 3 * t
    x = np.array([1.0, 2.0, 3.0])
    assert fg.at(x)[np.array([0, 0, 2])].apply(triple).tolist() == [9.0, 2.0, 9.0]
    assert fg.at(x)[1:].apply(np.negative).tolist() == [1.0, -2.0, -3.0]
    assert fg.at(x)[x > 1].apply(triple).tolist() == [1.0, 6.0, 9.0]
    assert fg.grad(lambda x: np.sum(x.at[np.array([0, 0])].apply(np.square)))(x).tolist() == [
        4.0,
        1.0,
        1.0,
    ]

    def staged(x: Any, i: Any, **promise: bool) -> Any:
        return x.at[i].apply(triple, **promise)

    with pytest.raises(ConcretizationError, match="unique_indices=True if no index repeats"):
        fg.jit(staged)(x, np.array([0, 1]))
    promised = fg.jit(lambda x, i: staged(x, i, unique_indices=True))
    assert promised(x, np.array([0, 1])).tolist() == [3.0, 6.0, 3.0]
    assert fg.jit(staged)(x, 1).tolist() == [1.0, 6.0, 3.0]  # one index cannot repeat


def test_sparsity_of_updates() -> None:
    pytest.importorskip("scipy")
    idx = np.array([0, 0])
    for method in ("multiply", "min", "max", "add"):
        f = lambda x, method=method: getattr(x.at[idx], method)(x[1:3])
        found = fg.jacobian_sparsity(f)(np.ones(4)).toarray()
        wanted = np.eye(4, dtype=bool)
        wanted[0, 1:3] = True
        np.testing.assert_array_equal(found, wanted)
