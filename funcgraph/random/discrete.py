"""Random integers, classes, orders and choices, from keys.

May import `core`, `numpy`, `ops`, `random`.
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
from funcgraph.random.continuous import gumbel, sample_shape, uniform
from funcgraph.random.keys import as_key, as_shape, split
from funcgraph.random.threefry import random_bits

__all__ = ["bernoulli", "categorical", "choice", "permutation", "rademacher", "randint"]


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
    dtype = np.dtype(np.int32 if dtype is None else dtype)
    if dtype.kind not in "iu" or any(dtype_of(v).kind not in "iu" for v in (minval, maxval)):
        raise TypeError(
            f"randint takes integers, got dtype {dtype} and bounds of dtypes {dtype_of(minval)} "
            f"and {dtype_of(maxval)}."
        )
    shape = sample_shape(as_shape(shape), minval, maxval)
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
    return ew.less(uniform(key, sample_shape(shape, p), dtype), cast(p, dtype))


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
    dtype = np.dtype(np.int32 if dtype is None else dtype)
    half = np.float64(0.5) if dtype.itemsize == 8 else 0.5  # as in JAX, which then has x64
    ones = cast(bernoulli(key, half, as_shape(shape)), dtype)
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
