"""Random numbers of continuous distributions, from keys. May import `core`, `ops`, `random`.

Parameters (`minval`, ...) may be traced, and are differentiated where the sample depends on them
smoothly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import shape_of
from funcgraph.ops import elementwise as ew
from funcgraph.ops.structural import cast
from funcgraph.random.keys import as_key, as_shape, split
from funcgraph.random.numbers import erf_inv, normals, unit
from funcgraph.random.threefry import random_bits

__all__ = [
    "cauchy", "exponential", "fitting_shape", "float_dtype", "gumbel", "laplace", "logistic",
    "normal", "pareto", "rayleigh", "sample_shape", "triangular", "truncated_normal", "uniform",
    "weibull_min",
]  # fmt: skip


def float_dtype(dtype: Any, what: str) -> Any:
    """Return a sampler's dtype (None: float32); raise where it is no real floating point."""
    dtype = np.dtype(np.float32 if dtype is None else dtype)
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise TypeError(f"{what} has dtype float16, float32 or float64, got {dtype}.")
    return dtype


def sample_shape(shape: Any, *parameters: Any) -> tuple[int, ...]:
    """Return the shape of a sample, which the parameters must broadcast to (None: just these)."""
    return fitting_shape(shape, np.broadcast_shapes(*map(shape_of, parameters)))


def fitting_shape(shape: Any, found: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that was asked for (None: `found`), which `found` must broadcast to."""
    if shape is None:
        return found
    shape = as_shape(shape)
    leading = len(shape) - len(found)
    if leading < 0 or any(n not in (1, m) for n, m in zip(found, shape[leading:], strict=True)):
        raise ValueError(f"parameters of shape {found} do not broadcast to the shape {shape}.")
    return shape


def uniform(
    key: Any, shape: Any = (), dtype: Any = np.float32, minval: Any = 0.0, maxval: Any = 1.0
) -> Any:
    """Return numbers distributed uniformly in [minval, maxval).

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: float16, float32 or float64.
      minval: Smallest number; broadcasts to the shape.
      maxval: Upper bound.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> uniform(fg.random.key(0), (2,))
      array([0.947667 , 0.9785799], dtype=float32)

    Source:
      jax.random.uniform.
    """
    dtype = float_dtype(dtype, "uniform")
    shape = sample_shape(as_shape(shape), minval, maxval)
    u = unit(random_bits(as_key(key), shape=shape, width=8 * dtype.itemsize), dtype=dtype)
    if type(minval) is float and type(maxval) is float and (minval, maxval) == (0.0, 1.0):
        return u
    low, high = cast(minval, dtype), cast(maxval, dtype)
    return ew.maximum(low, u * (high - low) + low)


def normal(key: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers of the standard normal distribution.

    √2 erf⁻¹(u), u uniform in (-1, 1). Complex numbers have real and imaginary parts of variance
    1/2.

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: float16, float32 or float64; complex64 or complex128.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> normal(fg.random.key(0), (2,))
      array([1.622642, 2.025265], dtype=float32)

    Source:
      jax.random.normal.
    """
    if dtype is not None and np.dtype(dtype).kind == "c":
        real = np.finfo(dtype).dtype
        re, im = (normal(k, shape, real) for k in split(as_key(key)))
        return (re + 1j * im) * real.type(math.sqrt(0.5))
    return normals(as_key(key), shape=as_shape(shape), dtype=float_dtype(dtype, "normal"))


def gumbel(key: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers of the standard Gumbel distribution: -log(-log u), u uniform in (0, 1).

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> gumbel(fg.random.key(0), (2,)).round(4)
      array([2.9234, 3.8326], dtype=float32)

    Source:
      jax.random.gumbel.
    """
    dtype = float_dtype(dtype, "gumbel")
    tiny = float(np.finfo(dtype).tiny)
    return -ew.log(-ew.log(uniform(key, shape, dtype, tiny, 1.0)))


def exponential(key: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers of the standard exponential distribution: -log(1 - u), u uniform in [0, 1).

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> exponential(fg.random.key(0), (2,)).round(4)
      array([2.9501, 3.8434], dtype=float32)

    Source:
      jax.random.exponential.
    """
    return -ew.log1p(-uniform(key, shape, dtype))


def laplace(key: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers of the standard Laplace distribution: sign(u) log(1 - |u|), u in (-1, 1).

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> laplace(fg.random.key(0), (2,)).round(4)
      array([-2.257 , -3.1503], dtype=float32)

    Source:
      jax.random.laplace.
    """
    dtype = float_dtype(dtype, "laplace")
    u = uniform(key, shape, dtype, -1.0 + float(np.finfo(dtype).epsneg), 1.0)
    return ew.sign(u) * ew.log1p(-ew.absolute(u))


def logistic(key: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers of the standard logistic distribution: log(u / (1 - u)), u in (0, 1).

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> logistic(fg.random.key(0), (2,)).round(4)
      array([2.8964, 3.8218], dtype=float32)

    Source:
      jax.random.logistic.
    """
    dtype = float_dtype(dtype, "logistic")
    u = uniform(key, shape, dtype, float(np.finfo(dtype).tiny), 1.0)
    return ew.log(u) - ew.log1p(-u)


def cauchy(key: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers of the standard Cauchy distribution: tan(π (u - 1/2)), u in (0, 1).

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> cauchy(fg.random.key(0), (2,)).round(3)
      array([ 6.027, 14.838], dtype=float32)

    Source:
      jax.random.cauchy.
    """
    dtype = float_dtype(dtype, "cauchy")
    u = uniform(key, shape, dtype, float(np.finfo(dtype).eps), 1.0)
    return ew.tan(dtype.type(np.pi) * (u - 0.5))


def truncated_normal(
    key: Any, lower: Any, upper: Any, shape: Any = None, dtype: Any = np.float32
) -> Any:
    """Return numbers of the standard normal distribution between two bounds.

    √2 erf⁻¹(u), u uniform between erf(lower/√2) and erf(upper/√2).

    Args:
      key: Random key.
      lower: Lower bound, a number.
      upper: Upper bound, a number.
      shape: Shape of the result; None: ().
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> truncated_normal(fg.random.key(0), -2.0, 2.0, (2,)).round(4)
      array([1.456 , 1.7147], dtype=float32)

    Source:
      jax.random.truncated_normal.
    """
    dtype = float_dtype(dtype, "truncated_normal")
    low, high = (math.erf(float(v) / math.sqrt(2)) for v in (lower, upper))
    u = uniform(key, sample_shape(shape), dtype, low, high)
    out = dtype.type(math.sqrt(2)) * erf_inv(u)
    inside = [np.nextafter(dtype.type(lower), np.inf), np.nextafter(dtype.type(upper), -np.inf)]
    return fnp.clip(out, *(dtype.type(v) for v in inside))


def pareto(key: Any, b: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of the Pareto distribution: exp(e / b), e exponential.

    Their density is b x^(-b - 1), x >= 1.

    Args:
      key: Random key.
      b: Shape parameter, > 0; broadcasts to the shape.
      shape: Shape of the result; None: that of b.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> pareto(fg.random.key(0), 3.0, (2,)).round(3)
      array([2.673, 3.601], dtype=float32)

    Source:
      jax.random.pareto.
    """
    dtype = float_dtype(dtype, "pareto")
    return ew.exp(exponential(key, sample_shape(shape, b), dtype) / cast(b, dtype))


def rayleigh(key: Any, scale: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of the Rayleigh distribution: scale √(-2 log u), u uniform in [0, 1).

    Args:
      key: Random key.
      scale: Scale, > 0; broadcasts to the shape.
      shape: Shape of the result; None: that of scale.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> rayleigh(fg.random.key(0), 2.0, (2,)).round(3)
      array([0.656, 0.416], dtype=float32)

    Source:
      jax.random.rayleigh.
    """
    dtype = float_dtype(dtype, "rayleigh")
    u = uniform(key, sample_shape(shape, scale), dtype)
    return cast(scale, dtype) * ew.sqrt(-2 * ew.log(u))


def weibull_min(
    key: Any, scale: Any, concentration: Any, shape: Any = (), dtype: Any = np.float32
) -> Any:
    """Return numbers of the Weibull distribution: scale e^(1 / concentration), e exponential.

    Args:
      key: Random key.
      scale: Scale, > 0.
      concentration: Shape parameter, > 0.
      shape: Shape of the uniform numbers; that of the result is broadcast from it and the
        parameters' shapes.
      dtype: float16, float32 or float64.

    Returns:
      Array of that dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> weibull_min(fg.random.key(0), 2.0, 1.5, (2,)).round(3)
      array([4.114, 4.907], dtype=float32)

    Source:
      jax.random.weibull_min.
    """
    dtype = float_dtype(dtype, "weibull_min")
    e = exponential(key, shape, dtype)
    return ew.power(e, 1 / cast(concentration, dtype)) * cast(scale, dtype)


def triangular(
    key: Any, left: Any, mode: Any, right: Any, shape: Any = None, dtype: Any = np.float32
) -> Any:
    """Return numbers of the triangular distribution, by the inverse of its distribution function.

    Args:
      key: Random key.
      left: Smallest number; broadcasts to the shape, as the others.
      mode: The most likely number.
      right: Largest number.
      shape: Shape of the result; None: that of the parameters.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> triangular(fg.random.key(0), 0.0, 1.0, 4.0, (2,)).round(3)
      array([3.208, 3.493], dtype=float32)

    Source:
      jax.random.triangular.
    """
    dtype = float_dtype(dtype, "triangular")
    u = uniform(key, sample_shape(shape, left, mode, right), dtype)
    left, mode, right = (cast(v, dtype) for v in (left, mode, right))
    width = right - left
    rising = ew.less(u, (mode - left) / width)
    # The root of the branch that is not taken may be that of 0, whose slope is infinite.
    low = ew.sqrt(fnp.where(rising, u * width * (mode - left), 1))
    high = ew.sqrt(fnp.where(rising, 1, (1 - u) * width * (right - mode)))
    return fnp.where(rising, left + low, right - high)
