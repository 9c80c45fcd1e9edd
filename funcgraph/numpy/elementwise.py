"""All of NumPy's ufuncs, and its elementwise functions that are not ufuncs.

May import `core`, `ops`, `numpy._register`, `numpy.creation`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, is_inexact
from funcgraph.core.primitive import Unary
from funcgraph.core.trace import KIND, NUMPY, TRACER, UFUNCS, unsupported
from funcgraph.numpy._register import function, known, non_differentiable
from funcgraph.numpy.creation import as_array, as_dtype, as_floats
from funcgraph.ops import elementwise as ew
from funcgraph.ops import special
from funcgraph.ops.buffers import Mutable, store
from funcgraph.ops.structural import cast, where, zeros

__all__ = [
    "allclose", "angle", "around", "array_equal", "array_equiv", "clip", "fix", "i0", "imag",
    "isclose", "iscomplex", "isneginf", "isposinf", "isreal", "nan_to_num", "real",
    "real_if_close", "round", "sinc",
]  # fmt: skip

_UNSET: Any = np._NoValue  # type: ignore[attr-defined]


def ufunc_namespace() -> dict[str, Any]:
    """Return NumPy's names of ufuncs (with aliases such as abs, acos) and what they stand for."""
    names = {n: f for n, f in vars(np).items() if isinstance(f, np.ufunc)}
    return {name: _function(UFUNCS[ufunc]) for name, ufunc in names.items() if ufunc in UFUNCS}


@functools.cache  # aliases (abs, absolute) are one function
def _function(primitive: Any) -> Any:
    """Return a primitive of one argument as a function, which Python calls faster."""
    if not isinstance(primitive, Unary):
        return primitive
    plain = primitive.numpy

    def public(x: Any, /) -> Any:
        kind = KIND[type(x)]
        if kind == NUMPY:
            return plain(x)
        return x._trace.unary(primitive, x) if kind == TRACER else primitive.jax(x)

    public.__name__ = public.__qualname__ = primitive.name
    public.__module__ = "funcgraph.numpy"
    what = "its derivative is zero" if primitive.zero else "with rules for derivatives and batches"
    public.__doc__ = f"Return np.{primitive.name} of an array of any kind or a tracer; {what}."
    return public


@function(np.real)
def real(val: Any) -> Any:
    """Return the real part."""
    x = as_array(val)
    return ew.real(x) if ew.is_complex(x) else x


@function(np.imag)
def imag(val: Any) -> Any:
    """Return the imaginary part; of real numbers, zeros."""
    return ew.imag(as_array(val))


@function(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """Return the argument of complex numbers: atan2(im z, re z)."""
    z = as_array(z)
    im = ew.imag(z) if ew.is_complex(z) else zeros(z)
    a = ew.arctan2(im, real(z))
    return a * (180 / math.pi) if deg else a


@function(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """Return the real part if all imaginary parts vanish up to rounding; looks at the values."""
    x = as_array(a)
    plain = known(x)
    return x if plain is None or np.iscomplexobj(np.real_if_close(plain, tol)) else real(x)


@function(np.round)
def round(a: Any, decimals: int = 0) -> Any:
    """Round to a number of decimals, halves to even; piecewise constant, so the derivative is 0."""
    x = as_array(a)
    x = as_dtype(x, np.float16) if dtype_of(x).kind == "b" else x  # as NumPy
    return ew.round_to(x, decimals=decimals)


@function(np.around)
def around(a: Any, decimals: int = 0) -> Any:
    """Round to a number of decimals, as `round` does."""
    return round.__wrapped__(a, decimals)


@function(np.fix)
def fix(x: Any) -> Any:
    """Round towards zero; piecewise constant, so the derivative is 0."""
    return ew.trunc(as_array(x))


@function(np.clip)
def clip(
    a: Any,
    a_min: Any = _UNSET,
    a_max: Any = _UNSET,
    *,
    min: Any = _UNSET,
    max: Any = _UNSET,
    **kwargs: Any,
) -> Any:
    """Limit values: minimum(maximum(a, a_min), a_max); at a limit, half the derivative."""
    if kwargs:
        unsupported(np.clip, f"does not take {sorted(kwargs)} with traced arguments")
    if (a_min is not _UNSET and min is not _UNSET) or (a_max is not _UNSET and max is not _UNSET):
        raise ValueError("Passing `min` or `max` keyword argument when `a_min` and `a_max` are "
                         "provided is forbidden.")  # fmt: skip
    low, high = (min if a_min is _UNSET else a_min), (max if a_max is _UNSET else a_max)
    x = as_array(a)
    if low is not _UNSET and low is not None:
        x = ew.maximum(x, as_array(low))
    if high is not _UNSET and high is not None:
        x = ew.minimum(x, as_array(high))
    return x


@function(np.sinc)
def sinc(x: Any) -> Any:
    """Return sin(πx)/(πx), and 1 at 0; every derivative is exact at and near 0."""
    return special.sinc(as_floats(x), order=0)


@function(np.i0)
def i0(x: Any) -> Any:
    """Return the modified Bessel function of the first kind of order 0; its derivative is i1."""
    return special.bessel_i0(as_floats(x))


@function(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Replace nan and infinities by finite numbers; the derivative there is zero."""
    if isinstance(x, Mutable):
        y = nan_to_num(x.read(), True, nan, posinf, neginf)
        return y if copy else store(x, y, "np.nan_to_num with copy=False")
    x = as_array(x)
    dtype = dtype_of(x)
    if not is_inexact(dtype):
        return x
    if dtype.kind == "c":
        re, im = (nan_to_num(p, copy, nan, posinf, neginf) for p in (real(x), imag(x)))
        return re + 1j * im
    limits = np.finfo(dtype)
    low = float(limits.min) if neginf is None else neginf
    high = float(limits.max) if posinf is None else posinf
    y = where(ew.isnan(x), cast(nan, dtype), x)
    y = where(ew.equal(x, np.inf), cast(high, dtype), y)
    return where(ew.equal(x, -np.inf), cast(low, dtype), y)


# --- predicates: no derivative -------------------------------------------------------------------

allclose = non_differentiable(np.allclose)
array_equal, array_equiv = non_differentiable(np.array_equal), non_differentiable(np.array_equiv)


@function(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Return |a - b| <= atol + rtol |b|, elementwise; no derivative."""
    a, b = as_array(a), as_array(b)
    b = as_dtype(b, np.result_type(dtype_of(b), 1.0))  # differences of integers would overflow
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
    x = as_array(x)
    return ew.logical_and(ew.isinf(x), ew.logical_not(ew.signbit(x)))


@function(np.isneginf)
def isneginf(x: Any) -> Any:
    """Return where x is -inf; no derivative."""
    x = as_array(x)
    return ew.logical_and(ew.isinf(x), ew.signbit(x))
