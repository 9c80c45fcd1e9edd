"""Cases of scipy.linalg; its functions convert their arguments, so only funcgraph's are traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import funcgraph.scipy.linalg as fsl
from tests.conformance.spec import Case

RNG = np.random.default_rng(36)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def of_spd(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return f as a function of a matrix x, applied to the positive definite x xᴴ + 1."""

    def g(x: Any, *args: Any, **kwargs: Any) -> Any:
        return f(x @ np.conj(x.mT) + np.eye(x.shape[-1], dtype=x.dtype), *args, **kwargs)

    g.__name__ = f"{f.__name__}_of_spd"
    return g


def through_cholesky(a: Any, b: Any, lower: bool) -> Any:
    """Solve by cho_factor and cho_solve."""
    return fsl.cho_solve(fsl.cho_factor(a, lower), b)


M, Z, V = real(3, 3) + 2 * np.eye(3), cplx(3, 3) + 2 * np.eye(3), real(3)

CASES = [
    *[Case(fsl.solve, (M, b), jax=False) for b in (V, real(3, 2))],
    Case(fsl.solve, (M, V), {"transposed": True}, jax=False),
    *[
        Case(of_spd(fsl.solve), (x, V), {"assume_a": kind, "lower": lower}, jax=False)
        for x in (M, Z)
        for kind in ("her", "pos")
        for lower in (False, True)
    ],
    Case(of_spd(fsl.solve), (M, V), {"assume_a": "sym"}, jax=False),
    *[
        Case(fsl.solve_triangular, (x, V), {"trans": trans, "lower": lower}, jax=False)
        for x in (M, Z)
        for trans in (0, "T", 2)
        for lower in (False, True)
    ],
    Case(fsl.solve_triangular, (M, real(3, 2)), {"unit_diagonal": True}, jax=False),
    *[Case(of_spd(fsl.cholesky), (x,), {"lower": k}, jax=False) for x in (M, Z) for k in (0, 1)],
    *[
        Case(of_spd(through_cholesky), (x, V, k), diff=(0, 1), jax=False)
        for x in (M, Z)
        for k in (0, 1)
    ],
    *[Case(fsl.expm, (x,), jax="jax.scipy.linalg.expm") for x in (M, 0.3 * real(2, 2, 2))],
    Case(fsl.lu, (M,), jax=False),
    Case(fsl.lu, (M,), {"permute_l": True}, jax=False),
    Case(fsl.qr, (real(4, 3),), {"mode": "economic"}, jax=False),
    Case(fsl.qr, (M,), jax=False),
    Case(fsl.svd, (real(4, 3),), {"full_matrices": False}, jax=False),
    Case(fsl.svdvals, (M,), jax=False),
    Case(of_spd(fsl.eigh), (M,), {"eigvals_only": True}, jax=False),
    Case(fsl.inv, (M,), jax=False),
    Case(fsl.det, (M,), jax=False),
    Case(fsl.pinv, (real(4, 3),), jax=False),
    Case(fsl.toeplitz, (V,), jax="jax.scipy.linalg.toeplitz"),
    Case(fsl.toeplitz, (V, real(4)), jax="jax.scipy.linalg.toeplitz"),
    Case(fsl.block_diag, (M, V, real(2, 2)), jax="jax.scipy.linalg.block_diag"),
]
