"""Cases of differences, integration, interpolation, convolution, covariance, polynomials, FFT."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Case

RNG = np.random.default_rng(35)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


M, V, W, C = real(3, 4), real(5), real(3), cplx(3, 4)
GRID = np.cumsum(np.abs(real(5)) + 0.2)
INSIDE = np.linspace(GRID[0] + 0.05, GRID[-1] - 0.07, 6)
OUTSIDE = np.array([GRID[0] - 1.0, GRID[-1] + 1.0])

DIFFERENCES = [
    Case(np.diff, (M,)),
    Case(np.diff, (M, 2), {"axis": 0}),
    Case(np.diff, (M,), {"prepend": 1.0}),
    Case(np.diff, (V,), {"append": W}),
    Case(np.diff, (V, 0)),
    Case(np.ediff1d, (V,)),
    Case(np.ediff1d, (V, W, 2.0)),
    Case(np.gradient, (V,)),
    Case(np.gradient, (V, 0.5)),
    Case(np.gradient, (V, GRID), jax=False),
    Case(np.gradient, (M,)),
    Case(np.gradient, (real(4, 5),), {"axis": 1, "edge_order": 2}, jax=False),
    Case(np.gradient, (real(4, 5), 2.0, 3.0), diff=(0,)),
    Case(np.trapezoid, (V,)),
    Case(np.trapezoid, (V, GRID)),
    Case(np.trapezoid, (M,), {"axis": 0, "dx": 0.5}),
    Case(np.trapezoid, (M, np.cumsum(np.abs(M), 1))),
    Case(np.unwrap, (3 * V,)),
    Case(np.unwrap, (3 * M,), {"axis": 0, "period": 4}),
    Case(np.interp, (INSIDE, GRID, V)),
    Case(np.interp, (OUTSIDE, GRID, V)),
    Case(np.interp, (OUTSIDE, GRID, V, 1.5, 2.5), diff=(0, 1, 2)),
    Case(np.interp, (real(2, 3), GRID, V), {"period": 9.0}, diff=(0, 2)),
    Case(np.interp, (INSIDE, GRID, cplx(5)), diff=(0, 2), jax=False),
    Case(np.apply_along_axis, (lambda v: np.cumsum(np.sin(v)), 0, M), diff=(2,), jax=False),
    Case(np.apply_along_axis, (lambda v: np.sum(v * v), 1, M), diff=(2,), jax=False),
    Case(np.apply_over_axes, (np.sum, real(2, 3, 4), [0, 2]), diff=(1,), jax=False),
]

CONVOLUTIONS = [
    Case(f, args, {"mode": mode})
    for f in (np.convolve, np.correlate)
    for mode in ("full", "same", "valid")
    for args in ((V, W), (W, V), (V, real(4)), (cplx(4), cplx(3)), (V, V))
]

STATISTICS = [
    Case(np.cov, (M,)),
    Case(np.cov, (C,)),
    Case(np.cov, (V,)),
    Case(np.cov, (M,), {"rowvar": False, "bias": True}),
    Case(np.cov, (V, 2 * V**2)),
    Case(np.cov, (M,), {"ddof": 0, "aweights": np.abs(M[0]) + 0.1}),
    Case(np.cov, (M,), {"fweights": np.array([1, 2, 1, 3])}),
    Case(np.cov, (M,), {"fweights": np.array([1, 2, 1, 3]), "aweights": np.abs(M[0]) + 0.1}),
    Case(np.corrcoef, (M,)),
    Case(np.corrcoef, (V, V**2)),
    Case(np.corrcoef, (C,)),
]

ROOTS = np.array([1.0, -6.0, 10.5, -6.0])

POLYNOMIALS = [
    Case(np.polyadd, (V, W)),
    Case(np.polysub, (W, V)),
    Case(np.polymul, (V, W)),
    Case(np.polydiv, (V, W + 2), jax=False),
    Case(np.polyval, (V, M)),
    Case(np.polyval, (V, 0.5)),
    Case(np.polyder, (V,)),
    Case(np.polyder, (V, 2)),
    Case(np.polyint, (V,)),
    Case(np.polyint, (V, 2, W[:2])),
    Case(np.polyfit, (GRID, V, 2), diff=(0, 1)),
    Case(np.polyfit, (GRID, V, 2), {"w": np.abs(V) + 0.5}, diff=(0, 1)),
    Case(np.polyfit, (GRID, V, 1), {"cov": True}, diff=(0, 1), jax=False),
    Case(np.polyfit, (GRID, V, 1), {"full": True}, diff=(0, 1), jax=False),
    Case(np.polyfit, (GRID, real(5, 2), 2), diff=(0, 1)),
    Case(np.poly, (V,)),
    Case(np.poly, (M[:, :3],), jax=False),
    Case(np.poly, (np.array([1 + 2j, 1 - 2j, 3]),), diff=(), jax=False),
    Case(np.roots, (ROOTS,), jax=False, tol=1e-5),
    Case(np.roots, (np.array([0.0, 1.0, 1.0, -5.5, 3.0, 0.0]),), jax=False, diff=(), tol=1e-5),
    Case(np.vander, (V, 3)),
]

SIZES = [
    {}, {"n": 3}, {"n": 7, "norm": "ortho"}, {"axis": 0, "norm": "forward"}, {"n": 2, "axis": 0},
]  # fmt: skip
FFT = [
    *[
        Case(f, (C,), kw)
        for f in (np.fft.fft, np.fft.ifft, np.fft.irfft, np.fft.hfft)
        for kw in SIZES
    ],
    *[
        Case(f, (M,), kw)
        for f in (np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.ihfft)
        for kw in SIZES
    ],
    *[
        Case(f, (C,), kw)
        for f in (
            np.fft.fft2,
            np.fft.ifft2,
            np.fft.fftn,
            np.fft.ifftn,
            np.fft.irfft2,
            np.fft.irfftn,
        )
        for kw in ({}, {"s": (2, 5), "axes": (0, 1)}, {"norm": "ortho"})
    ],
    *[
        Case(f, (M,), kw)
        for f in (np.fft.rfft2, np.fft.rfftn)
        for kw in ({}, {"s": (2, 5), "axes": (0, 1)}, {"norm": "ortho"})
    ],
    Case(np.fft.fftshift, (M,)),
    Case(np.fft.ifftshift, (C,), {"axes": 1}),
    Case(np.fft.ifftshift, (V,)),
]

CASES = [*DIFFERENCES, *CONVOLUTIONS, *STATISTICS, *POLYNOMIALS, *FFT]
