"""Random numbers of many distributions, from keys. May import `core`, `numpy`, `ops`, `random`.

Parameters (`minval`, `p`, `logits`, ...) may be traced, and are differentiated where the sample
depends on them smoothly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import aval_of, dtype_of, ndim_of, shape_of
from funcgraph.ops import elementwise as ew
from funcgraph.ops.reductions import argsort
from funcgraph.ops.structural import cast
from funcgraph.random.keys import as_key, as_shape, split
from funcgraph.random.numbers import erf_inv, normals, unit
from funcgraph.random.threefry import random_bits

__all__ = [
    "bernoulli", "categorical", "cauchy", "choice", "exponential", "gumbel", "laplace", "logistic",
    "normal", "permutation", "rademacher", "randint", "truncated_normal", "uniform",
]  # fmt: skip


def _float(dtype: Any, what: str) -> Any:
    dtype = np.dtype(dtype)
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise TypeError(f"{what} has dtype float16, float32 or float64, got {dtype}.")
    return dtype


def _within(shape: Any, *parameters: Any) -> tuple[int, ...]:
    """Return the shape of a sample, which the parameters must broadcast to (None: just these)."""
    found = np.broadcast_shapes(*map(shape_of, parameters))
    if shape is None:
        return found
    shape = as_shape(shape)
    if np.broadcast_shapes(shape, found) != shape:
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
    dtype = _float(dtype, "uniform")
    shape = _within(as_shape(shape), minval, maxval)
    u = unit(random_bits(as_key(key), shape=shape, width=8 * dtype.itemsize), dtype=dtype)
    if type(minval) is float and type(maxval) is float and (minval, maxval) == (0.0, 1.0):
        return u
    low, high = cast(minval, dtype), cast(maxval, dtype)
    return ew.maximum(low, u * (high - low) + low)


def normal(key: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers of the standard normal distribution.

    √2 erf⁻¹(u), u uniform in (-1, 1).

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
      >>> normal(fg.random.key(0), (2,))
      array([1.622642, 2.025265], dtype=float32)

    Source:
      jax.random.normal.
    """
    return normals(as_key(key), shape=as_shape(shape), dtype=_float(dtype, "normal"))


def randint(key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = np.int32) -> Any:
    """Return integers distributed uniformly in [minval, maxval).

    Args:
      key: Random key.
      shape: Shape of the result.
      minval: Smallest integer; broadcasts to the shape.
      maxval: One past the largest.
      dtype: An integer dtype.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      TypeError: dtype or a bound is no integer.

    Example:
      >>> import funcgraph as fg
      >>> randint(fg.random.key(0), (5,), 0, 10)
      array([9, 0, 2, 3, 1], dtype=int32)

    Source:
      jax.random.randint.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu" or any(dtype_of(v).kind not in "iu" for v in (minval, maxval)):
        raise TypeError(
            f"randint takes integers, got dtype {dtype} and bounds of dtypes {dtype_of(minval)} "
            f"and {dtype_of(maxval)}."
        )
    shape = _within(as_shape(shape), minval, maxval)
    if dtype.itemsize < 4:  # drawn in 32 bits, which makes them less biased
        info = np.iinfo(dtype)
        low, high = (fnp.clip(v, info.min, info.max + 1) for v in (minval, maxval))
        return cast(_integers(key, shape, low, high, np.dtype(np.int32)), dtype)
    return _integers(key, shape, minval, maxval, dtype)


def _integers(key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any) -> Any:
    """Combine two words for each number, so that each remainder is nearly as likely."""
    first, second = split(as_key(key))
    width = 8 * dtype.itemsize
    high, low = (random_bits(k, shape=shape, width=width) for k in (first, second))
    unsigned = np.dtype(f"u{dtype.itemsize}")
    info = np.iinfo(dtype)
    past = ew.greater(maxval, info.max)
    minval = cast(fnp.clip(minval, info.min, info.max), dtype)
    maxval = cast(fnp.clip(maxval, info.min, info.max), dtype)
    one = unsigned.type(1)
    with np.errstate(over="ignore"):
        span = cast(maxval - minval, unsigned)
        span = fnp.where(ew.less_equal(maxval, minval), one, span)
        span = fnp.where(ew.logical_and(past, ew.greater(maxval, minval)), span + one, span)
        half = _remainder(unsigned.type(2 ** (width // 2)), span)
        factor = _remainder(half * half, span)
        offset = _remainder(high, span) * factor + _remainder(low, span)
        return minval + cast(_remainder(offset, span), dtype)


def _remainder(x: Any, span: Any) -> Any:
    """Return x modulo span; a span of 0 stands for all numbers there are."""
    full = ew.equal(span, 0)
    return fnp.where(full, x, ew.remainder(x, fnp.where(full, dtype_of(span).type(1), span)))


def bernoulli(key: Any, p: Any = 0.5, shape: Any = None) -> Any:
    """Return bools that are true with probability p.

    Args:
      key: Random key.
      p: Probability; broadcasts to the shape.
      shape: Shape of the result; None: that of p.

    Returns:
      Bool array.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> bernoulli(fg.random.key(0), 0.7, (3,))
      array([False, False,  True])

    Source:
      jax.random.bernoulli.
    """
    aval = aval_of(p)
    dtype = aval.dtype if aval.weak is None and aval.dtype.kind == "f" else np.dtype(np.float32)
    return ew.less(uniform(key, _within(shape, p), dtype), cast(p, dtype))


def rademacher(key: Any, shape: Any = (), dtype: Any = np.int32) -> Any:
    """Return numbers that are 1 or -1 with probability 1/2.

    Args:
      key: Random key.
      shape: Shape of the result.
      dtype: Dtype of the result.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> rademacher(fg.random.key(0), (3,))
      array([-1, -1,  1], dtype=int32)

    Source:
      jax.random.rademacher.
    """
    dtype = np.dtype(dtype)
    ones = cast(bernoulli(key, 0.5, as_shape(shape)), dtype)
    return cast(2 * ones - 1, dtype)


def permutation(key: Any, x: Any, axis: int = 0, independent: bool = False) -> Any:
    """Return the elements along an axis in a random order.

    Args:
      key: Random key.
      x: Array; or an integer n, which stands for 0 ... n-1.
      axis: The axis.
      independent: Whether every vector along the axis gets an order of its own.

    Returns:
      Array of x's shape and dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> permutation(fg.random.key(0), 5)
      array([0, 1, 4, 3, 2])

    Source:
      jax.random.permutation.
    """
    if ndim_of(x) == 0:
        if dtype_of(x).kind not in "iu":
            raise TypeError(f"permutation takes an array or an integer, got {aval_of(x)}.")
        return _shuffled(key, np.arange(x), 0)
    axis = int(np.lib.array_utils.normalize_axis_index(axis, ndim_of(x)))
    if independent or ndim_of(x) == 1:
        return _shuffled(key, x, axis)
    return fnp.take(x, _shuffled(key, np.arange(shape_of(x)[axis]), 0), axis=axis)


def _shuffled(key: Any, x: Any, axis: int) -> Any:
    """Sort by random keys, as often as it takes for ties not to matter."""
    shape = shape_of(x)
    size = math.prod(shape)
    key = as_key(key)
    for _ in range(math.ceil(3 * math.log(max(1, size)) / math.log(2**32 - 1))):
        key, sub = split(key)
        order = argsort(random_bits(sub, shape=shape, width=32), axis=axis)
        x = fnp.take_along_axis(x, order, axis)
    return x


def choice(
    key: Any,
    a: Any,
    shape: Any = (),
    replace: bool = True,
    p: Any = None,
    axis: int = 0,
) -> Any:
    """Return random elements of an array.

    Args:
      key: Random key.
      a: Array; or an integer n, which stands for 0 ... n-1.
      shape: How many elements, as a shape.
      replace: Whether an element may be taken again.
      p: Probability of each element; None: all alike.
      axis: The axis along which to choose.

    Returns:
      Array in which `shape` stands in the place of the axis.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: Too few elements, or p does not fit.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> choice(fg.random.key(0), np.array([10.0, 20.0, 30.0]), (4,))
      array([20., 10., 30., 20.])

    Source:
      jax.random.choice.
    """
    shape = as_shape(shape)
    array = ndim_of(a) > 0
    axis = int(np.lib.array_utils.normalize_axis_index(axis, ndim_of(a))) if array else 0
    n = shape_of(a)[axis] if array else int(a)
    count = math.prod(shape)
    if count and n <= 0:
        raise ValueError(f"choice needs at least one element to choose from, got {n}.")
    if not replace and count > n:
        raise ValueError(
            f"choice cannot take {count} elements of {n} without putting them back (replace=False)."
        )
    if p is not None and shape_of(p) != (n,):
        raise ValueError(f"choice needs p of shape ({n},), got {shape_of(p)}.")
    if p is None:
        chosen = randint(key, shape, 0, n) if replace else permutation(key, n)[:count]
    elif replace:
        total = fnp.cumsum(p)
        dtype = dtype_of(total)
        chosen = fnp.searchsorted(total, total[-1] * (1 - uniform(key, shape, dtype)))
    else:
        race = gumbel(key, (n,), dtype_of(p)) + ew.log(p)
        chosen = argsort(-race, axis=0)[:count]
    chosen = fnp.reshape(chosen, shape)
    return fnp.take(a, chosen, axis=axis) if array else chosen


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
    tiny = float(np.finfo(dtype).tiny)
    return -ew.log(-ew.log(uniform(key, shape, dtype, tiny, 1.0)))


def categorical(key: Any, logits: Any, axis: int = -1, shape: Any = None) -> Any:
    """Return random classes: argmax of logits plus Gumbel noise.

    P(i) = exp(logits_i) / Σ exp(logits).

    Args:
      key: Random key.
      logits: Array of unnormalised log-probabilities.
      axis: The axis of the classes.
      shape: Shape of the result; it ends with logits' shape without the axis, which is the default.

    Returns:
      Integer array.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: shape does not end as it must.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> categorical(fg.random.key(0), np.log(np.array([0.2, 0.8])), shape=(5,))
      array([1, 0, 1, 1, 1])

    Source:
      Gumbel, "Statistical theory of extreme values", 1954; jax.random.categorical.
    """
    ndim = ndim_of(logits)
    axis = int(np.lib.array_utils.normalize_axis_index(axis, ndim))
    full = shape_of(logits)
    batch = (*full[:axis], *full[axis + 1 :])
    shape = batch if shape is None else as_shape(shape)
    if shape[len(shape) - len(batch) :] != batch:
        raise ValueError(f"categorical: the shape {shape} does not end with {batch}.")
    prefix = shape[: len(shape) - len(batch)]
    dtype = dtype_of(logits) if dtype_of(logits).kind == "f" else np.dtype(np.float32)
    noise = gumbel(key, (*prefix, *full), dtype)
    return fnp.argmax(noise + logits, axis=axis - ndim)


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
    u = uniform(key, shape, dtype, float(np.finfo(dtype).eps), 1.0)
    return ew.tan(np.dtype(dtype).type(np.pi) * (u - 0.5))


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
    dtype = _float(dtype, "truncated_normal")
    low, high = (math.erf(float(v) / math.sqrt(2)) for v in (lower, upper))
    u = uniform(key, _within(shape), dtype, low, high)
    out = dtype.type(math.sqrt(2)) * erf_inv(u)
    inside = [np.nextafter(dtype.type(lower), np.inf), np.nextafter(dtype.type(upper), -np.inf)]
    return fnp.clip(out, *(dtype.type(v) for v in inside))
