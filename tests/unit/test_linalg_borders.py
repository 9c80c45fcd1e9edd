"""Linear algebra where values coincide or vanish, and arguments that choose what is read."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import funcgraph as fg
import funcgraph.scipy.linalg as fsl

RNG = np.random.default_rng(5)
A, C = RNG.standard_normal((4, 4)), RNG.standard_normal((4, 4))
TALL = RNG.standard_normal((4, 3))
# Two eigenvalues of 0, exactly.
FLAT = np.pad(A[:2, :2] @ A[:2, :2].T, (0, 2))


def top(a: Any) -> Any:
    """Return a function of eigenvectors of other eigenvalues than the equal ones."""
    v = np.linalg.eigh(a)[1][:, 2:]
    return np.sum(v @ v.T * C)


def low_rank(a: Any) -> Any:
    """Return a function of singular vectors of other values than the equal ones."""
    u, s, vh = np.linalg.svd(a)
    return np.sum((u[:, :2] * s[:2]) @ vh[:2] * C)


def engines(f: Callable[..., Any]) -> list[Callable[..., Any]]:
    return [f, fg.jit(f), *([fg.jit(f, backend="xla")] if importlib.util.find_spec("jax") else [])]


@pytest.mark.parametrize("f", [top, low_rank])
def test_equal_values_do_not_spoil_the_vectors_of_others(f: Any) -> None:
    direction = C + C.T
    wanted = (f(FLAT + 1e-6 * direction) - f(FLAT - 1e-6 * direction)) / 2e-6
    for gradient in (fg.grad(f), fg.jit(fg.grad(f))):  # XLA's are nan, as JAX's
        assert np.isclose(np.sum(gradient(FLAT) * direction), wanted, rtol=1e-6)
    assert np.isclose(fg.jvp(f, (FLAT,), (direction,))[1], wanted, rtol=1e-6)


def exponential(a: Any) -> Any:
    w, v = np.linalg.eigh(a)
    return np.sum((v * np.exp(w)) @ v.T * C)


def test_derivatives_that_equal_values_hide_are_nan_and_no_wrong_numbers() -> None:
    """The first is e (C + C.T) / 2, the second that of tr a²: f' is in them, which no rule sees."""
    for gradient in engines(fg.grad(exponential)):
        assert np.isnan(gradient(np.eye(4))[0, 1])
    squares = lambda a: np.sum(np.linalg.eigvalsh(a) ** 2)
    assert np.isnan(fg.hessian(squares)(np.eye(2))[0, 1, 0, 1])
    for gradient in engines(fg.grad(squares)):
        assert np.array_equal(gradient(np.eye(2)), 2 * np.eye(2))


def test_singular_vectors_of_zeros() -> None:
    """u s vh is a, whose derivative is that of a, at any rank; or it is nan."""

    def f(a: Any) -> Any:
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        return np.sum((u * s) @ vh * C[:, :3])

    gradient = fg.grad(f)(np.pad(A[:, :1], ((0, 0), (0, 2))))
    assert np.all(np.isnan(gradient) | np.isclose(gradient, C[:, :3]))


CASES: dict[str, tuple[Callable[..., Any], Any]] = {
    **{
        f"solve {kind} {lower}": (
            lambda m, a, kind=kind, lower=lower: m.solve(a, C, assume_a=kind, lower=lower),
            A if kind != "pos" else A @ A.T,
        )
        for kind in ("diagonal", "tridiagonal", "banded", "lower triangular", "sym", "pos")
        for lower in (False, True)
    },
    "solve hermitian": (lambda m, a: m.solve(a, C, assume_a="her"), A + 1j * C),
    "inv sym": (lambda m, a: m.inv(a, assume_a="sym", lower=True), A),
    "inv triangle": (lambda m, a: m.inv(a, assume_a="upper triangular"), A),
    "qr r": (lambda m, a: np.abs(m.qr(a, mode="r")[0]), TALL),
    "lu rows": (lambda m, a: m.lu(a, p_indices=True)[0], A),
    "pinv of integers": (lambda m, a: m.pinv(a), np.arange(6).reshape(3, 2)),
    "toeplitz": (lambda m, a: m.toeplitz(a, a[0, :2]), TALL),
}


@pytest.mark.parametrize("name", CASES)
def test_what_scipy_reads(name: str) -> None:
    f, a = CASES[name]
    try:
        wanted = f(scipy.linalg, a)
    except (TypeError, ValueError):
        pytest.skip("this SciPy does not have the argument")
    got = fg.jit(lambda x: f(fsl, x))(a)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda a: fsl.solve(a, a, assume_a="skew"), ValueError, "'skew'.*'diagonal'"),
        (lambda a: fsl.qr(a, mode="complete"), ValueError, "'complete'.*'economic'"),
        (lambda a: fsl.pinv(a, atol=0.1), fg.errors.UnsupportedFunctionError, "atol"),
        (lambda a: fsl.pinv(a, return_rank=True), fg.errors.UnsupportedFunctionError, "rank"),
        (lambda a: fsl.eigh(a, UPLO="U"), TypeError, "UPLO"),
        (lambda a: np.linalg.pinv(a, 0.1, rtol=0.1), ValueError, "rcond and rtol"),
        (lambda a: np.linalg.cond(a[:0]), np.linalg.LinAlgError, r"empty.*\(0, 4\)"),
    ],
)
def test_arguments_are_not_ignored(f: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fg.jit(f)(A)


def test_numpys_defaults() -> None:
    x = np.outer(TALL[0], TALL[1]).astype(np.float32)
    f = lambda a: np.linalg.pinv(a, rtol=None)
    np.testing.assert_allclose(fg.jit(f)(x), f(x), rtol=1e-4)
    zeros = np.zeros((2, 2))
    assert fg.jit(np.linalg.cond)(zeros) == np.linalg.cond(zeros) == np.inf
