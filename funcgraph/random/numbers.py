"""From random bits to floats, and the inverse of the error function.

May import `core`, `ops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.primitive import Elementwise, Primitive, Unary, Zero, aligned, ufunc_aval
from funcgraph.ops.elementwise import exp
from funcgraph.random.threefry import blocks, random_bits

__all__ = ["erf_inv", "normal_from_bits", "normals", "unit"]

_BLOCK = 1 << 14  # numbers at a time, so that they stay in the cache
_UNSIGNED = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def _pattern(dtype: Any) -> tuple[Any, Any]:
    """Return the shift that leaves the mantissa's bits, and the bits of 1.0."""
    unsigned = _UNSIGNED[dtype.itemsize]
    shift = unsigned(8 * dtype.itemsize - np.finfo(dtype).nmant)
    return shift, np.array(1, dtype).view(unsigned)[()]


def _np_unit(bits: Any, dtype: Any) -> Any:
    shift, one = _pattern(dtype)
    flat = np.asarray(bits).reshape(-1)
    out = np.empty(flat.shape, dtype)
    for start in range(0, flat.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        np.subtract(((flat[part] >> shift) | one).view(dtype), dtype.type(1), out=out[part])
    return out.reshape(np.shape(bits))[()]


def _jax_unit(jax: Any, bits: Any, dtype: Any) -> Any:
    shift, one = _pattern(dtype)
    return jax.lax.bitcast_convert_type((bits >> shift) | one, dtype) - dtype.type(1)


# The float in [0, 1) whose mantissa is the leading bits of an unsigned number of the same size.
unit = Primitive(
    "bits_to_unit", _np_unit, _jax_unit, lambda x, dtype: Aval(x.shape, dtype), Zero(), aligned
)

# --- the inverse of the error function -----------------------------------------------------------
# float32: Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2012, table 1 (single
# precision), as in XLA. float64: Wichura, "Algorithm AS 241", Applied Statistics 37, 1988, PPND16,
# at p = (1 + x) / 2; q = x / 2.

_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
    -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
    0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip
_NEAR = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_MIDDLE = (
    (7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550,
     4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940,
     2.05319162663775882187, 1.0),
)  # fmt: skip
_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580,
     5.46378491116411436990, 6.65790464350110377720),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5,
     7.868691311456132591e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
     5.9983220655588793769e-1, 1.0),
)  # fmt: skip


def _polynomial(coefficients: Any, x: Any) -> Any:
    """Return the value of a polynomial by Horner's rule."""
    out = x * coefficients[0]
    out += coefficients[1]
    for c in coefficients[2:]:
        out *= x
        out += c
    return out


def _single(x: Any) -> Any:
    """Return erf_inv of float32 numbers.

    The polynomial is summed in float64: XLA's is a chain of fused multiply-adds, to whose results
    that comes nearest.
    """
    w = -np.log1p(-x * x)
    far = np.flatnonzero(~(w < 5))
    out = (_polynomial(_CENTRAL, w.astype(np.float64) - 2.5) * x).astype(np.float32)
    if far.size:  # one number in 150
        tail = np.sqrt(w[far]) - np.float32(3)
        out[far] = _polynomial(_TAIL, tail.astype(np.float64)) * x[far]
        np.copyto(out, x * np.float32(np.inf), where=np.abs(x) == 1)
    return out


def _double(x: Any) -> Any:
    """Return erf_inv in float64."""
    q = 0.5 * x
    r = 0.180625 - q * q
    near = q * _polynomial(_NEAR[0], r) / _polynomial(_NEAR[1], r)
    s = np.sqrt(-np.log(0.5 - np.abs(q)))
    middle = _polynomial(_MIDDLE[0], s - 1.6) / _polynomial(_MIDDLE[1], s - 1.6)
    far = _polynomial(_FAR[0], s - 5.0) / _polynomial(_FAR[1], s - 5.0)
    tail = np.copysign(np.where(s <= 5, middle, far), q)
    out = np.where(np.abs(q) <= 0.425, near, tail) * math.sqrt(0.5)
    return np.where(np.abs(x) == 1, x * np.inf, out)


def _by_blocks(f: Callable[[Any], Any], x: Any) -> Any:
    flat = x.reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = f(flat[part])
    return out.reshape(x.shape)[()]


def _np_erf_inv(x: Any) -> Any:
    x = np.asarray(x)
    with np.errstate(all="ignore"):
        if x.dtype == np.float32:
            return _by_blocks(_single, x)
        if x.dtype == np.float16:
            return _by_blocks(_single, x.astype(np.float32)).astype(np.float16)
        return _by_blocks(_double, x.astype(np.float64, copy=False))


def normal_from_bits(bits: Any, dtype: Any) -> Any:
    """Return standard normal numbers from random bits of the same size, on NumPy."""
    low, high = _normal_range(dtype)
    u = _np_unit(bits, dtype)
    u *= high - low
    u += low
    return _np_erf_inv(np.maximum(low, u)) * dtype.type(math.sqrt(2))


def _np_normal(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    key = np.asarray(key)
    if key.ndim > 1:
        return normal_from_bits(random_bits(key, shape=shape, width=8 * dtype.itemsize), dtype)
    out = np.empty(math.prod(shape), dtype)
    for part, bits in blocks(key, out.size, 8 * dtype.itemsize):
        out[part] = normal_from_bits(bits, dtype)
    return out.reshape(shape)[()]


def _normal_range(dtype: Any) -> tuple[Any, Any]:
    return np.nextafter(dtype.type(-1), dtype.type(0)), dtype.type(1)


def _jax_normal(jax: Any, key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    low, high = _normal_range(dtype)
    u = unit(random_bits(key, shape=shape, width=8 * dtype.itemsize), dtype=dtype)
    u = jax.numpy.maximum(low, u * (high - low) + low)
    return dtype.type(math.sqrt(2)) * jax.lax.erf_inv(u)


# Standard normal numbers for a key, or for each of an array of keys.
normals = Primitive(
    "random_normal",
    _np_normal,
    _jax_normal,
    lambda key, shape, dtype: Aval((*key.shape[:-1], *shape), dtype),
    Zero(),
    aligned,
)

erf_inv = Unary(
    "erf_inv",
    _np_erf_inv,
    "jax.lax.erf_inv",
    ufunc_aval(np.sin),
    Elementwise(lambda g, y, x: g * (exp(y * y) * (0.5 * math.sqrt(math.pi))), keep="y"),
)
