"""Special functions that NumPy itself has: sinc, and Bessel functions i0 and i1 (for `np.i0`).

May import `core`, `ops.elementwise`, `ops.structural`. Those of SciPy are in `scipy.special`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.primitive import Elementwise, Primitive, Unary, ufunc_aval
from funcgraph.ops.elementwise import equal
from funcgraph.ops.structural import where

__all__ = ["bessel_i0", "bessel_i1", "sinc"]

_float_aval = ufunc_aval(np.sin)

# --- sinc ----------------------------------------------------------------------------------------
# The n-th derivative f of sin(t)/t is the integral of s^n cos(ts + nπ/2) over s in [0, 1]. Where
# |t| > n, integration by parts gives it from the one before: t f = sin(t + nπ/2) - n f_before.
# Nearer to 0 this cancels; there, the power series of the cosine is integrated term by term.


def _sinc_series(n: int) -> list[float]:
    """Return the coefficients of t^(n % 2 + 2k), k = 0, 1, ..., exact for |t| <= n + 1."""
    powers = range(n % 2, 24 + 4 * n, 2)
    return [(-1) ** ((n + j) // 2) / (math.factorial(j) * (n + j + 1)) for j in powers]


def _sinc(xp: Any, x: Any, order: int) -> Any:
    if order == 0:
        return xp.sinc(x)
    t = math.pi * x
    near = abs(t) <= order + 1
    far = xp.where(near, order + 2, t)
    f = xp.sin(far) / far
    for n in range(1, order + 1):
        f = (xp.sin(far + n * (math.pi / 2)) - n * f) / far
    t = xp.where(near, t, 0)
    series = 0 * t
    for c in reversed(_sinc_series(order)):
        series = series * (t * t) + c
    return math.pi**order * xp.where(near, series * t ** (order % 2), f)


def _aval_sinc(x: Aval, order: int) -> Aval:
    return _float_aval(x)


# The derivative of some order of sin(πx)/(πx).
sinc = Primitive(
    "sinc",
    lambda x, order: _sinc(np, x, order),
    lambda jax, x, order: _sinc(jax.numpy, x, order),
    _aval_sinc,
    Elementwise(lambda g, y, x, order: g * sinc(x, order=order + 1), keep="x"),
)

# --- Bessel functions ----------------------------------------------------------------------------

# Midpoints of [0, π/2]: for periodic functions the midpoint rule converges exponentially; 64 points
# integrate to rounding for every x at which i1 does not overflow.
_COSINES = [math.cos((k + 0.5) * (math.pi / 128)) for k in range(64)]


def _np_i1(x: Any) -> Any:
    """Return I1(x) = 2/π ∫ sinh(x cos t) cos t dt over [0, π/2] (DLMF 10.32.3)."""
    total = 0 * x
    for c in _COSINES:
        total = total + np.sinh(x * c) * (c / 64)
    return total


def _i1_slope(g: Any, y: Any, x: Any) -> Any:
    zero = equal(x, 0)
    return g * (bessel_i0(x) - where(zero, 0.5, y / where(zero, 1, x)))


bessel_i0 = Unary(
    "bessel_i0",
    lambda x: np.i0(x)[()],
    "jax.numpy.i0",
    _float_aval,
    Elementwise(lambda g, y, x: g * bessel_i1(x), keep="x"),
)
bessel_i1 = Unary(
    "bessel_i1", _np_i1, "jax.scipy.special.i1", _float_aval, Elementwise(_i1_slope, keep="xy")
)
