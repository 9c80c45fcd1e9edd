"""Sparse Jacobians and Hessians: colourings, products, arguments, errors."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcgraph as fg
from funcgraph.errors import (
    ConcretizationError,
    GradientDtypeError,
    MissingPackageError,
    NonScalarOutputError,
    ShapeError,
    SparsityError,
    StaticArgumentError,
    TracerConversionError,
)
from funcgraph.sparse import (
    hessian_sparsity,
    jacobian_sparsity,
    sparse_hessian,
    sparse_jacobian,
)
from funcgraph.sparse.coloring import color_columns, color_symmetric

ss = pytest.importorskip("scipy.sparse")

RNG = np.random.default_rng(0)
X = RNG.uniform(0.2, 1.0, 6)
BAND = np.tri(6, k=1) - np.tri(6, k=-2)


def flat(x: Any) -> Any:
    return np.concatenate([np.ravel(v) for v in fg.tree.leaves(x)])


def dense(f: Any, x: Any) -> Any:
    y = f(x)
    return fg.jacobian(lambda x: flat(f(x)))(x).reshape(flat(y).size, np.size(x))


# --- random programs ------------------------------------------------------------------------------

STEPS = [
    lambda x: np.sin(x),
    lambda x: x * np.roll(x, 1),
    lambda x: x[::-1] + x[0],
    lambda x: np.pad(x[1:-1], 1) ** 2,
    lambda x: BAND @ x,
    lambda x: x.reshape(2, 3).T.ravel(),
    lambda x: np.where(x > 0.1, x, 2 * x[::-1]),
    lambda x: np.where(np.arange(6) % 2, x, 0.0),
    lambda x: np.repeat(np.max(x.reshape(2, 3), axis=1), 3) * x,
    lambda x: np.cumsum(x.reshape(3, 2), axis=0).ravel(),
    lambda x: fg.at(x)[np.array([0, 3])].add(x[4:] * x[0]),
    lambda x: np.concatenate([x[3:], np.tanh(x[:3])]),
    lambda x: np.einsum("ij,jk->ik", x.reshape(2, 3), np.diag([1.0, 0.0, 2.0])).ravel(),
    lambda x: fg.map(lambda v: v * np.exp(-v), x),
    lambda x: fg.scan(lambda c, v: (v, c * v), x[0], x)[1],
    lambda x: fg.jit(lambda x: x + np.convolve(x, [1.0, 0.5], "same"))(x),
    lambda x: np.sort(x.reshape(3, 2), axis=1).ravel(),
    lambda x: x / (2 + np.sum(x[:2]) ** 2),
]


@given(st.lists(st.sampled_from(range(len(STEPS))), min_size=1, max_size=4), st.integers(0, 9))
def test_random_programs(steps: list[int], seed: int) -> None:
    def f(x: Any) -> Any:
        for k in steps:
            x = STEPS[k](x)
        return x

    x = np.random.default_rng(seed).standard_normal(6)
    wanted = dense(f, x)
    np.testing.assert_allclose(sparse_jacobian(f)(x).toarray(), wanted, rtol=1e-10, atol=1e-10)
    scalar = lambda x: np.sum(f(x)[1:] * f(x)[:-1] ** 2)
    got = sparse_hessian(scalar)(x).toarray()
    np.testing.assert_allclose(got, fg.hessian(scalar)(x), rtol=1e-9, atol=1e-8)


# --- colourings -----------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.6))
def test_colorings_of_random_matrices(seed: int, m: int, n: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.random((m, n)) < density
    colors = color_columns(ss.csr_array(matrix))
    assert ((colors == -1) == ~matrix.any(0)).all()
    for row in matrix:
        assert len(set(colors[row])) == row.sum()
    square = rng.random((n, n)) < density
    square |= square.T
    colors = color_symmetric(ss.csr_array(square))
    assert ((colors == -1) == ~square.any(0)).all()
    for i, j in np.argwhere(square):  # alone in its row, or the other one is
        alone = [np.sum(colors[square[a]] == colors[b]) == 1 for a, b in ((i, j), (j, i))]
        assert any(alone)


def tridiagonal(x: Any) -> Any:
    inner = x[1:-1] ** 2 * x[:-2] - np.sin(x[2:])
    return np.concatenate([x[:1] * x[1], inner, x[-1:] * x[-2]])


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_large_matrices_take_few_products() -> None:
    x = RNG.standard_normal(10_000)
    jacobian = sparse_jacobian(tridiagonal)
    plan = jacobian.plan(x)
    assert plan.products == 3 and plan.colors.max() == 2 and plan.sparsity.nnz < 30_000
    got = jacobian(x)
    v = RNG.standard_normal(x.size)
    np.testing.assert_allclose(got @ v, fg.jvp(tridiagonal, (x,), (v,))[1], rtol=1e-10, atol=1e-10)
    hessian = sparse_hessian(rosenbrock)
    assert hessian.plan(x).products == 3
    np.testing.assert_allclose(hessian(x) @ v, fg.hvp(rosenbrock, (x,), (v,)), rtol=1e-9)
    arrow = sparse_hessian(lambda x: x[0] * np.sum(x**3))
    assert arrow.plan(x).products == 2
    assert repr(arrow.plan(x)) == "Plan(10000 x 10000, 29998 entries, mode='fwd', products=2)"


def test_the_mode_with_fewer_products() -> None:
    wide = lambda x: np.sum(x.reshape(2, 50) ** 2, axis=1)
    plan = sparse_jacobian(wide).plan(np.ones(100))
    assert (plan.mode, plan.products) == ("rev", 1)
    assert sparse_jacobian(wide, mode="fwd").plan(np.ones(100)).products == 50
    tall = sparse_jacobian(lambda x: x[0] * np.ones(9)).plan(np.ones(4))
    assert (tall.mode, tall.products) == ("fwd", 1)


def test_products_are_counted_and_staging_is_once() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(type(x).__name__)
        return tridiagonal(x)

    jacobian = sparse_jacobian(f, chunk_size=2)
    for x in (X, 2 * X, 3 * X):
        np.testing.assert_allclose(jacobian(x).toarray(), fg.jacobian(tridiagonal)(x))
    assert calls.count("StageTracer") == 1 and len(calls) == 7  # two chunks each
    jacobian(np.ones(7))
    assert calls.count("StageTracer") == 2


def test_nine_point_hessian_takes_no_more_than_columns() -> None:
    def f(x: Any) -> Any:
        u = x.reshape(8, 8)
        return np.sum(u[1:, 1:] * u[:-1, :-1] + (u[1:, :-1] * u[:-1, 1:]) ** 2 + u[1:, 1:] ** 3) + (
            np.sum((u[1:] * u[:-1]) ** 2) + np.sum((u[:, 1:] * u[:, :-1]) ** 2)
        )

    x = RNG.standard_normal(64)
    assert sparse_hessian(f).plan(x).products <= 9
    np.testing.assert_allclose(sparse_hessian(f)(x).toarray(), fg.hessian(f)(x), atol=1e-10)


# --- arguments ------------------------------------------------------------------------------------


def test_pytrees_and_several_arguments() -> None:
    p = {"a": RNG.standard_normal((2, 2)), "b": 0.5}
    y = RNG.standard_normal(3)
    f = lambda p, y: {"u": p["a"] @ y[:2], "v": (p["b"] * y, y[0] * p["a"])}
    for argnums in (0, 1, (0, 1), (1, 0), -1):
        blocks = fg.tree.leaves(fg.jacobian(f, argnums)(p, y))
        rows = [np.size(v) for v in fg.tree.leaves(f(p, y))]
        per_row = len(blocks) // len(rows)
        wanted = np.vstack([
            np.hstack([b.reshape(m, -1) for b in blocks[k * per_row : (k + 1) * per_row]])
            for k, m in enumerate(rows)
        ])  # fmt: skip
        for mode in ("fwd", "rev"):
            got = sparse_jacobian(f, argnums, mode=mode)(p, y).toarray()
            np.testing.assert_allclose(got, wanted, rtol=1e-12)
        assert (jacobian_sparsity(f, argnums)(p, y).toarray() == (wanted != 0)).all()
    scalar = lambda p, y: np.sum((p["a"] @ y[:2]) ** 2) * p["b"] + np.sum(y**3)
    got = sparse_hessian(scalar, (1, 0))(p, y).toarray()
    rows = fg.tree.leaves(fg.hessian(scalar, (1, 0))(p, y))
    sizes = [3, 4, 1]
    wanted = np.block([[rows[3 * i + j].reshape(m, n) for j, n in enumerate(sizes)]
                       for i, m in enumerate(sizes)])  # fmt: skip
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


def test_dtypes_and_empty_results() -> None:
    x = X.astype(np.float32)
    assert sparse_jacobian(np.sin)(x).dtype == np.float32
    assert sparse_hessian(rosenbrock)(x).dtype == np.float32
    assert sparse_jacobian(tridiagonal, sparsity=np.ones((6, 6)))(x).dtype == np.float32
    constant = sparse_jacobian(lambda x: np.ones(3))
    assert constant(X).shape == (3, 6) and constant(X).nnz == constant.plan(X).products == 0
    assert sparse_jacobian(lambda x: x[:0])(X).shape == (0, 6)
    assert sparse_hessian(np.sum)(X).nnz == 0
    assert sparse_jacobian(np.tanh)(0.5).toarray() == pytest.approx(1 - np.tanh(0.5) ** 2)


def test_shapes_suffice_for_the_sparsity() -> None:
    shape = fg.ShapeDtype((6,), np.dtype(float))
    assert jacobian_sparsity(tridiagonal)(shape).nnz == 16
    assert hessian_sparsity(rosenbrock)(shape).nnz == 16
    assert sparse_jacobian(tridiagonal).plan(shape).products == 3


def test_compiled_functions() -> None:
    wanted = fg.jacobian(tridiagonal)(X)
    for backend in ("numpy", "xla"):
        if backend == "xla":
            pytest.importorskip("jax")
        compiled = fg.jit(tridiagonal, backend=backend)
        for mode in ("fwd", "rev"):
            got = sparse_jacobian(compiled, mode=mode)(X)
            assert type(got.data) is np.ndarray
            np.testing.assert_allclose(got.toarray(), wanted, rtol=1e-10)


def test_results_do_not_share_memory() -> None:
    jacobian = sparse_jacobian(tridiagonal)
    first = jacobian(X)
    first.indices[:] = 0
    first.data[:] = 7
    np.testing.assert_allclose(jacobian(X).toarray(), fg.jacobian(tridiagonal)(X))


def test_strong_zeros() -> None:
    f = lambda x: np.where(x > 0.5, np.sqrt(x), 0.0)
    x = np.array([0.0, 1.0])
    for mode in ("fwd", "rev"):
        np.testing.assert_array_equal(
            sparse_jacobian(f, mode=mode)(x).toarray(), [[0, 0], [0, 0.5]]
        )


# --- a given sparsity -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "fwd", "rev"])
@pytest.mark.parametrize("kind", [np.asarray, ss.csr_array, ss.coo_matrix])
def test_given_sparsity(mode: str, kind: Any) -> None:
    def branching(x: Any) -> Any:
        return tridiagonal(x) if x[0] > 0 else x

    band = np.tri(6, k=1) * np.tri(6, k=1).T
    jacobian = sparse_jacobian(branching, sparsity=kind(band), mode=mode)
    np.testing.assert_allclose(jacobian(X).toarray(), fg.jacobian(branching)(X))
    np.testing.assert_allclose(jacobian(-X).toarray(), np.eye(6))
    assert jacobian.plan(X).products == 3


def test_half_of_a_hessian_is_enough() -> None:
    half = np.tri(6) - np.tri(6, k=-2)
    got = sparse_hessian(rosenbrock, sparsity=half)(X).toarray()
    np.testing.assert_allclose(got, fg.hessian(rosenbrock)(X), rtol=1e-12)


def test_nonzeros_outside_the_sparsity_are_found() -> None:
    with pytest.raises(SparsityError, match=r"row 1 of the matrix .*5 such rows"):
        sparse_jacobian(lambda x: x * x[0], sparsity=np.eye(6), mode="fwd")(X)
    with pytest.raises(SparsityError, match=r"column 0 of the matrix .*1 such column"):
        sparse_jacobian(lambda x: x * x[0], sparsity=np.eye(6), mode="rev")(X)
    with pytest.raises(SparsityError, match="leave sparsity= out"):
        sparse_hessian(rosenbrock, sparsity=np.eye(6))(X)


def test_asymmetric_rules() -> None:
    @fg.custom_vjp
    def odd(x: Any) -> Any:
        return np.sum(x)

    def bwd(x: Any, g: Any) -> Any:
        return (g * np.stack([x[1] ** 2 + x[2] ** 2, 0 * x[0], 0 * x[0]]),)

    odd.defvjp(lambda x: (np.sum(x), x), bwd)
    x = np.array([1.0, 2.0, 3.0])
    wanted = np.array([[0, 4, 6], [0, 0, 0], [0, 0, 0]])
    assert (hessian_sparsity(odd)(x).toarray() == (wanted != 0)).all()
    np.testing.assert_array_equal(sparse_hessian(odd)(x).toarray(), wanted)
    with pytest.raises(SparsityError, match=r"row 0 of the matrix .*not symmetric"):
        sparse_hessian(odd, sparsity=wanted)(x)


def test_non_finite_elements_are_no_error() -> None:
    f = lambda x: np.sqrt(x) * np.roll(x, 1)
    band = jacobian_sparsity(f)(X)
    got = sparse_jacobian(f, sparsity=band)(np.array([0.0, 1, 2, 3, 4, 5])).toarray()
    assert got[0, 0] == np.inf and np.isfinite(got[1:]).all()


# --- errors ---------------------------------------------------------------------------------------


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"sparsity has shape \(5, 6\).*shape \(6, 6\)"):
        sparse_jacobian(tridiagonal, sparsity=np.ones((5, 6)))(X)
    for mode in ("fwd", "rev"):
        with pytest.raises(ShapeError, match=r"sparsity has shape \(6, 5\).*shape \(6, 6\)"):
            sparse_jacobian(tridiagonal, sparsity=np.ones((6, 5)), mode=mode)(X)
    with pytest.raises(ShapeError, match="two axes"):
        sparse_jacobian(tridiagonal, sparsity=np.ones(6))
    with pytest.raises(ShapeError, match="must be square"):
        sparse_hessian(rosenbrock, sparsity=np.ones((5, 6)))
    with pytest.raises(ValueError, match="'auto', 'fwd' or 'rev', got 'forward'"):
        sparse_jacobian(tridiagonal, mode="forward")
    with pytest.raises(ValueError, match="chunk_size must be positive"):
        sparse_jacobian(tridiagonal, chunk_size=0)
    with pytest.raises(ConcretizationError, match=r"sparse_jacobian of .*give sparsity="):
        sparse_jacobian(lambda x: x if x[0] > 0 else 2 * x)(X)
    with pytest.raises(ConcretizationError, match=r"hessian_sparsity of .*give sparsity="):
        hessian_sparsity(lambda x: np.sum(x) if x[0] > 0 else x[0])(X)
    with pytest.raises(StaticArgumentError, match=r"is a str.*functools.partial"):
        sparse_jacobian(lambda x, how: x)(X, "fast")
    with pytest.raises(GradientDtypeError, match="int64"):
        sparse_jacobian(lambda x: x * 1.0)(np.arange(3))
    with pytest.raises(GradientDtypeError, match="real and the imaginary part"):
        sparse_jacobian(lambda x: x)(X + 1j)
    with pytest.raises(NonScalarOutputError, match="needs real outputs"):
        sparse_jacobian(lambda x: x * 1j)(X)
    with pytest.raises(NonScalarOutputError, match="needs real outputs"):
        sparse_jacobian(lambda x: (x > 0, np.sum(x)))(X)
    with pytest.raises(NonScalarOutputError, match="needs real outputs"):
        sparse_jacobian(lambda x: x > 0, mode="rev")(X)
    with pytest.raises(NonScalarOutputError):
        sparse_hessian(tridiagonal)(X)
    with pytest.raises(TracerConversionError, match="cannot be called inside grad"):
        fg.grad(lambda x: sparse_jacobian(tridiagonal)(x).sum())(X)


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    for make in (sparse_jacobian, sparse_hessian):
        with pytest.raises(MissingPackageError, match=r"pip install 'funcgraph\[scipy\]'"):
            make(tridiagonal)
    with pytest.raises(MissingPackageError, match=r"pip install 'funcgraph\[scipy\]'"):
        jacobian_sparsity(tridiagonal)(X)
