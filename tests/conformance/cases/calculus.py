"""Cases of differences, integrals, interpolation, convolution and covariance."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conformance.spec import Case

RNG = np.random.default_rng(44)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, C, V, A, S = real(3, 4), cplx(3, 4), real(6), real(2, 3, 4), np.array(0.7)
GRID = np.sort(real(6)) + np.arange(6.0)
ROWS, COLUMNS = np.array([0.0, 0.7, 1.1]), np.array([0.0, 0.3, 1.0, 1.2])

DIFFERENCES = [
    *[Case(np.diff, (x,), {"axis": k}) for x in (M, C) for k in (0, -1)],
    *[Case(np.diff, (V, n)) for n in (0, 2, 6)],
    Case(np.diff, (M,), {"prepend": 1.0}),
    Case(np.diff, (M, 2, 0, M[:1], 2.0), diff=(0, 3)),
    Case(np.diff, (M, 1, -1, S, real(3, 2)), diff=(0, 3, 4)),
    Case(np.ediff1d, (M,)),
    Case(np.ediff1d, (V, real(2), S)),
    Case(np.ediff1d, (V, 3.0, [1.0, 2.0]), diff=(0,), jax=False),
    Case(np.trapezoid, (M,)),
    Case(np.trapezoid, (C, None, 0.5, 0)),
    Case(np.trapezoid, (V, GRID)),
    Case(np.trapezoid, (M, COLUMNS), {"axis": 1}),
    Case(np.trapezoid, (M, ROWS), {"axis": 0}),
    Case(np.trapezoid, (A, A * 2.0), {"axis": 1}),
    Case(np.trapezoid, (V, None, S), diff=(0, 2)),
]

GRADIENTS = [
    Case(np.gradient, (V,)),
    Case(np.gradient, (C, S)),
    Case(np.gradient, (V, GRID)),
    Case(np.gradient, (M,)),
    Case(np.gradient, (A,), {"axis": (0, -1)}),
    Case(np.gradient, (M, ROWS, S)),
    Case(np.gradient, (M, COLUMNS), {"axis": 1}),
    Case(np.gradient, (M, ROWS, COLUMNS), {"edge_order": 2}, jax=False),
    Case(np.gradient, (V, S), {"edge_order": 2}, jax=False),
    Case(np.gradient, (C, S), {"axis": 0, "edge_order": 2}, jax=False),
    Case(np.gradient, (V, np.arange(6.0)), {"edge_order": 2}, diff=(0,), jax=False),
    Case(np.gradient, (real(2), S)),
    Case(np.gradient, (real(2), np.array([0.0, 2.0]))),
]

AT = np.array([[-3.0, 0.3], [2.2, 9.0]])
INTERPOLATIONS = [
    Case(np.interp, (AT, GRID, V)),
    Case(np.interp, (S, GRID, V)),
    Case(np.interp, (AT, GRID, cplx(6))),
    Case(np.interp, (AT, GRID, V, 1.5, S), diff=(0, 1, 2, 4)),
    Case(np.interp, (AT, GRID, V, S), diff=(0, 1, 2, 3)),
    Case(np.interp, (AT, RNG.permutation(GRID), V), {"period": 20.0}),
    Case(np.interp, (AT, GRID, V, None, None, np.array(-20.0)), diff=(0, 1, 2, 5)),
    Case(np.interp, (AT, GRID[:1], V[:1]), jax=False),
    Case(np.interp, (2.0, [1, 2.5, 3], V[:3]), diff=(2,), jax=False),
    Case(np.unwrap, (3.0 * V,)),
    Case(np.unwrap, (5.0 * A,), {"axis": 1}),
    Case(np.unwrap, (5.0 * M, 4.0), {"axis": 0}),
    Case(np.unwrap, (M,), {"period": 0.5}),
]


def products(f: Any) -> list[Case]:
    pairs = [
        (V, real(3)),
        (real(3), V),
        (real(4), V),
        (V, real(2)),
        (V, V[::-1].copy()),
        (cplx(5), cplx(2)),
        (cplx(2), cplx(5)),
        (V, cplx(3)),
    ]
    return [Case(f, pair, {"mode": m}) for pair in pairs for m in ("full", "same", "valid")]


CONVOLUTIONS = [
    *products(np.convolve),
    *products(np.correlate),
    Case(np.convolve, (V, real(3))),
    Case(np.correlate, (V, real(3))),
    Case(np.convolve, (V, [1, 0, -1]), diff=(0,), jax=False),
]

COVARIANCES = [
    *[Case(f, (x,), {"rowvar": r}) for f in (np.cov, np.corrcoef) for x in (M, C) for r in (1, 0)],
    *[Case(f, (V,)) for f in (np.cov, np.corrcoef)],
    *[Case(f, (M, real(4))) for f in (np.cov, np.corrcoef)],
    *[Case(f, (M, real(3, 2)), {"rowvar": False}) for f in (np.cov, np.corrcoef)],
    *[Case(f, (V, real(6))) for f in (np.cov, np.corrcoef)],
    Case(np.cov, (M,), {"bias": True}),
    Case(np.cov, (M,), {"ddof": 2}),
    Case(np.cov, (M,), {"fweights": np.array([1, 2, 1, 3])}),
    Case(np.cov, (C,), {"aweights": np.array([0.1, 0.2, 0.5, 0.9])}),
    Case(np.cov, (M,), {"aweights": np.array([0.1, 0.2, 0.5, 0.9]), "ddof": 0}),
    Case(
        np.cov,
        (M, None, True, False, None, np.array([1, 2, 1, 3]), np.array([0.1, 0.2, 0.5, 0.9])),
        diff=(0, 6),
    ),
    Case(np.cov, (M,), {"dtype": np.complex128}),
]


def slopes(x: Any) -> Any:
    return np.stack([x[1:] - x[:-1], x[1:] * x[:-1]])


ALONG = [
    Case(np.apply_along_axis, (np.sum, 0, M), diff=(2,)),
    Case(np.apply_along_axis, (np.cumsum, 1, M), diff=(2,)),
    Case(np.apply_along_axis, (np.sort, -1, A), diff=(2,), jax=False),
    Case(np.apply_along_axis, (slopes, 1, A), diff=(2,), jax=False),
    Case(np.apply_along_axis, (np.sum, 0, V), diff=(2,), jax=False),
    Case(np.apply_over_axes, (np.sum, A, (0, 2)), diff=(1,), jax=False),
    Case(np.apply_over_axes, (np.mean, A, [-1]), diff=(1,), jax=False),
]

CASES = [
    *DIFFERENCES,
    *GRADIENTS,
    *INTERPOLATIONS,
    *CONVOLUTIONS,
    *COVARIANCES,
    *ALONG,
]
