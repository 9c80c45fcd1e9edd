"""All of NumPy's ufuncs, and its elementwise functions that are not ufuncs.

May import `core`, `ops`, `numpy._register`, `numpy.creation`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of
from funcgraph.core.primitive import Elementwise, Unary, Zero, ufunc_aval
from funcgraph.core.trace import UFUNCS
from funcgraph.numpy._register import concrete, function
from funcgraph.numpy.creation import as_array
from funcgraph.ops import elementwise as ew
from funcgraph.ops.structural import expand_dims, reduce_sum, where

__all__ = [
    "angle", "around", "clip", "fix", "i0", "imag", "isclose", "iscomplex", "isneginf", "isposinf",
    "isreal", "nan_to_num", "real", "real_if_close", "round", "sinc",
]  # fmt: skip


def ufunc_namespace() -> dict[str, Any]:
    """Return NumPy's names of ufuncs (with aliases such as abs, acos) and what they stand for."""
    names = {n: getattr(np, n) for n in dir(np) if isinstance(getattr(np, n), np.ufunc)}
    return {name: UFUNCS[ufunc] for name, ufunc in names.items() if ufunc in UFUNCS}


@function(np.real)
def real(val: Any) -> Any:
    """Return the real part."""
    x = as_array(val)
    return ew.real(x) if ew.is_complex(x) else x


@function(np.imag)
def imag(val: Any) -> Any:
    """Return the imaginary part."""
    return ew.imag(as_array(val))


@function(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """Return the argument of complex numbers: atan2(im z, re z)."""
    z = as_array(z)
    im = ew.imag(z) if ew.is_complex(z) else z * 0
    a = ew.arctan2(im, real(z))
    return a * (180 / math.pi) if deg else a


@function(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """Return the real part if all imaginary parts vanish up to rounding (looks at values)."""
    x = as_array(a)
    return real(x) if not np.iscomplexobj(np.real_if_close(concrete(x), tol)) else x


_round = Unary(
    "round_values", np.rint, "jax.numpy.rint", ufunc_aval(np.rint), Zero()
)


@function(np.round)
def round(a: Any, decimals: int = 0) -> Any:
    """Round to decimals; piecewise constant, so the derivative is zero."""
    x = as_array(a)
    if decimals == 0:
        return _round(x)
    scale = 10.0**decimals
    return _round(x * scale) / scale


around = round
function(np.around)(round.__wrapped__)


@function(np.fix)
def fix(x: Any) -> Any:
    """Round towards zero; piecewise constant."""
    return ew.trunc(as_array(x))


@function(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None,
         **_: Any) -> Any:  # fmt: skip
    """Limit values: minimum(maximum(a, a_min), a_max)."""
    x = as_array(a)
    low = a_min if min is None else min
    high = a_max if max is None else max
    x = x if low is None else ew.maximum(low, x)
    return x if high is None else ew.minimum(high, x)


@function(np.sinc)
def sinc(x: Any) -> Any:
    """Return sin(πx)/(πx), and 1 at 0, where derivatives come from the series."""
    x = as_array(x)
    z = math.pi * x
    zero = ew.equal(z, 0)
    safe = where(zero, 1, z)
    z2 = z * z
    return where(zero, 1 - z2 * (1 / 6) * (1 - z2 * (1 / 20)), ew.sin(safe) / safe)


# Midpoints of [0, pi]: the trapezoidal rule converges exponentially for periodic functions; 128
# points integrate exp(x cos t) to rounding for every x at which i0 does not overflow.
_COSINES = np.cos((np.arange(128) + 0.5) * (math.pi / 128))


def _i1(x: Any) -> Any:
    """Return the Bessel function I1(x) = 1/π ∫ exp(x cos t) cos t dt over [0, π] (DLMF 10.32.3)."""
    cosines = _COSINES.astype(dtype_of(x))
    waves = ew.exp(expand_dims(x, (ndim_of(x),)) * cosines) * cosines
    return reduce_sum(waves, axes=(ndim_of(x),)) * (1 / len(_COSINES))


_i0 = Unary(
    "i0",
    lambda x: np.i0(x).astype(np.asarray(x).dtype)[()],
    "jax.numpy.i0",
    ufunc_aval(np.sin),
    Elementwise(lambda g, y, x: g * _i1(x), keep="x"),
)


@function(np.i0)
def i0(x: Any) -> Any:
    """Return the modified Bessel function of the first kind of order 0."""
    return _i0(as_array(x))


@function(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None,
               neginf: Any = None) -> Any:  # fmt: skip
    """Replace nan and infinities by finite numbers; the derivative there is zero."""
    x = as_array(x)
    if ew.is_complex(x):
        parts = (nan_to_num(p, nan=nan, posinf=posinf, neginf=neginf) for p in (real(x), imag(x)))
        re, im = parts
        return re + 1j * im
    limits = np.finfo(dtype_of(x))
    x = where(ew.isnan(x), nan, x)
    x = where(ew.equal(x, np.inf), limits.max if posinf is None else posinf, x)
    return where(ew.equal(x, -np.inf), limits.min if neginf is None else neginf, x)


# --- predicates: no derivative -------------------------------------------------------------------


@function(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Return |a - b| <= atol + rtol |b|, elementwise; no derivative."""
    a, b = as_array(a), as_array(b)
    near = ew.less_equal(ew.absolute(a - b), atol + rtol * ew.absolute(b))
    result = ew.logical_or(ew.equal(a, b), ew.logical_and(near, ew.isfinite(b)))
    if equal_nan:
        result = ew.logical_or(result, ew.logical_and(ew.isnan(a), ew.isnan(b)))
    return result


@function(np.isreal)
def isreal(x: Any) -> Any:
    """Return where the imaginary part is zero; no derivative."""
    return ew.equal(ew.imag(as_array(x)), 0)


@function(np.iscomplex)
def iscomplex(x: Any) -> Any:
    """Return where the imaginary part is not zero; no derivative."""
    return ew.not_equal(ew.imag(as_array(x)), 0)


@function(np.isposinf)
def isposinf(x: Any) -> Any:
    """Return where x is +inf; no derivative."""
    return ew.equal(as_array(x), np.inf)


@function(np.isneginf)
def isneginf(x: Any) -> Any:
    """Return where x is -inf; no derivative."""
    return ew.equal(as_array(x), -np.inf)
