"""Cases of NumPy's poly functions."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Case

RNG = np.random.default_rng(45)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def cplx(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


P, Q, Z, X, S = real(5), real(3), cplx(4), real(2, 3), np.array(0.7)
T = np.linspace(-1.0, 1.5, 7)
Y, Y2, W = real(7), real(7, 2), np.abs(real(7)) + 0.2
LEADING = np.array([0.0, 0.0, 1.5, -2.0])

ARITHMETIC = [
    Case(f, args)
    for f in (np.polyadd, np.polysub, np.polymul)
    for args in ((P, Q), (Q, P), (P, P[::-1].copy()), (Z, Q))
] + [
    *[Case(f, (P, S), jax=False) for f in (np.polyadd, np.polysub, np.polymul)],
    Case(np.polymul, (LEADING, Q), diff=(1,), jax=False),
    # JAX keeps the leading coefficients of the remainder that NumPy cuts off.
    Case(np.polydiv, (P, Q), jax=False),
    Case(np.polydiv, (P, P * 2.0 + 1), jax=False),
    Case(np.polydiv, (Z, Q), jax=False),
    Case(np.polydiv, (Q, P)),
    Case(np.polydiv, (P, real(1)), jax=False),
]
VALUES = [Case(np.polyval, (p, x)) for p in (P, Z) for x in (X, S, cplx(3))] + [
    Case(np.polyval, (P, 2.0), diff=(0,)),
    Case(np.polyval, ([1, 2, 3], X), diff=(1,), jax=False),
    Case(np.polyval, (real(1), X)),
]
CALCULUS = [
    *[Case(np.polyder, (p, m)) for p in (P, Z) for m in (0, 1, 2)],
    *[Case(np.polyint, (p, m)) for p in (P, Z) for m in (0, 1, 2)],
    Case(np.polyint, (P, 2, real(2)), diff=(0, 2)),
    Case(np.polyint, (P, 2, S), diff=(0, 2), jax=False),
    Case(np.polyint, (P, 1, S), diff=(0, 2), jax=False),
    Case(np.polyder, (P, 5), jax=False),
]
FITS = [
    Case(np.polyfit, (T, Y, 2), tol=1e-5),
    Case(np.polyfit, (T, Y2, 3), tol=1e-5),
    Case(np.polyfit, (T, Y, 2), {"w": W}, tol=1e-5),
    Case(np.polyfit, (T, Y2, 1), {"w": W}, tol=1e-5),
    Case(np.polyfit, (T, Y, 1), {"full": True}, jax=False, tol=1e-5),
    Case(np.polyfit, (T, Y, 2), {"cov": True}, jax=False, tol=1e-5),
    Case(np.polyfit, (T, Y2, 2), {"cov": True}, jax=False, tol=1e-5),
    Case(np.polyfit, (T, Y, 2), {"cov": "unscaled"}, jax=False, tol=1e-5),
]
ROOTS = [
    Case(np.poly, (P,)),
    Case(np.poly, (Z,)),
    Case(np.poly, (real(3, 3) + 3 * np.eye(3),), jax=False, tol=1e-5),
    Case(np.roots, (np.array([1.0, -6.0, 11.0, -6.0]),), jax=False, tol=1e-5),
    Case(np.roots, (np.array([2.0, 1.0, 3.0]),), jax=False, tol=1e-5),
    Case(np.roots, (np.array([2.0, 3.0]),), jax=False),
    Case(np.roots, (Z,), jax=False, tol=1e-5),
]

CASES = [*ARITHMETIC, *VALUES, *CALCULUS, *FITS, *ROOTS]
