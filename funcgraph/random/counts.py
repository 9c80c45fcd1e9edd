"""Random counts, from keys. May import `control`, `core`, `numpy`, `ops`, `random`.

They are piecewise constant in their parameters: derivatives are zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.control.loops import scan
from funcgraph.core.aval import aval_of, dtype_of, shape_of
from funcgraph.ops import elementwise as ew
from funcgraph.ops.structural import broadcast_to, cast
from funcgraph.random.continuous import float_dtype, sample_shape, uniform
from funcgraph.random.keys import as_key, as_shape, split
from funcgraph.random.rejection import binomials, poissons

__all__ = ["binomial", "geometric", "multinomial", "poisson"]


def _integer(dtype: Any, what: str) -> Any:
    dtype = np.dtype(np.int32 if dtype is None else dtype)
    if dtype.kind not in "iu":
        raise TypeError(f"{what} has an integer dtype, got {dtype}.")
    return dtype


def _probability(p: Any, dtype: Any) -> Any:
    """Return a probability in its own floating-point dtype.

    Python's numbers become float32, but float64 for a result of 64 bits: that is JAX with x64.
    """
    aval = aval_of(p)
    own = aval.weak is None and aval.dtype.kind == "f"
    return cast(p, aval.dtype if own else np.dtype(f"f{max(4, dtype.itemsize)}"))


def poisson(key: Any, lam: Any, shape: Any = None, dtype: Any = np.int32) -> Any:
    """Return numbers of the Poisson distribution: P(k) = lam^k exp(-lam) / k!.

    Args:
      key: Random key.
      lam: Mean, >= 0, taken in float32; broadcasts to the shape.
      shape: Shape of the result; None: that of lam.
      dtype: An integer dtype.

    Returns:
      Array of that shape and dtype; -1 where lam is negative, infinite or nan.

    Raises:
      RandomKeyError: key is no random key.
      TypeError: dtype is no integer dtype.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> poisson(fg.random.key(0), 4.0, (5,))
      array([0, 1, 5, 5, 2], dtype=int32)

    Source:
      Hörmann, "The transformed rejection method for generating Poisson random variables",
      Insurance: Math. Econ. 12 (1993) 39; jax.random.poisson.
    """
    dtype = _integer(dtype, "poisson")
    lam = broadcast_to(cast(lam, np.dtype(np.float32)), sample_shape(shape, lam))
    return poissons(as_key(key), lam, dtype=dtype)


def geometric(key: Any, p: Any, shape: Any = None, dtype: Any = np.int32) -> Any:
    """Return how many trials of probability p it takes to succeed: P(k) = p (1 - p)^(k - 1).

    Args:
      key: Random key.
      p: Probability, in (0, 1]; broadcasts to the shape.
      shape: Shape of the result; None: that of p.
      dtype: An integer dtype.

    Returns:
      Array of that shape and dtype: its largest number where p is 0, and 0 where p is impossible.

    Raises:
      RandomKeyError: key is no random key.
      TypeError: dtype is no integer dtype.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> geometric(fg.random.key(0), 0.2, (5,))
      array([1, 1, 5, 4, 3], dtype=int32)

    Source:
      jax.random.geometric.
    """
    dtype = _integer(dtype, "geometric")
    shape, p = sample_shape(shape, p), _probability(p, dtype)
    u = uniform(key, shape, dtype_of(p))
    log = ew.log(fnp.where(ew.equal(u, 0), dtype_of(p).type(1), u))  # as in JAX, 0 stands for 1
    return _limited(ew.floor(log / ew.log1p(-p)) + 1, dtype)


def _limited(x: Any, dtype: Any) -> Any:
    """Return floats as integers, as XLA converts them: within their range, and 0 of nan."""
    info = np.iinfo(dtype)
    real = dtype_of(x).type
    above = ew.greater_equal(x, real(float(info.max)))  # rounded up: the first beyond
    inside = ew.greater_equal(x, real(float(info.min))) & ~above
    whole = cast(fnp.where(inside, x, real(0)), dtype)
    return fnp.where(above, dtype.type(info.max), whole)


def binomial(key: Any, n: Any, p: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return how many of n trials of probability p succeed.

    Args:
      key: Random key.
      n: Number of trials; broadcasts to the shape.
      p: Probability, in [0, 1]; broadcasts to the shape. Its dtype is that of the computation.
      shape: Shape of the result; None: that of the parameters.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype; nan where n or p is impossible.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> binomial(fg.random.key(0), 10, 0.3, (5,))
      array([2., 2., 1., 2., 1.], dtype=float32)

    Source:
      Hörmann, "The generation of binomial random variates", J. Stat. Comput. Simul. 46 (1993) 101;
      jax.random.binomial.
    """
    dtype = float_dtype(dtype, "binomial")
    shape, p = sample_shape(shape, n, p), _probability(p, dtype)
    n = cast(n, dtype_of(p))
    return binomials(as_key(key), broadcast_to(n, shape), broadcast_to(p, shape), dtype=dtype)


def multinomial(
    key: Any, n: Any, p: Any, *, shape: Any = None, dtype: Any = np.float32, unroll: int = 1
) -> Any:
    """Return how often each outcome occurs in n trials: one binomial variate after the other.

    Args:
      key: Random key.
      n: Number of trials; broadcasts to the batch.
      p: Array (..., k): the probabilities of the outcomes.
      shape: Shape of the batch: that of the result without k; None: p's. (JAX before 0.12 takes
        the whole shape of the result, against its documentation.)
      dtype: float16, float32 or float64.
      unroll: How many outcomes each step of the loop (`scan`) takes.

    Returns:
      Array of shape (*shape, k), of that dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: p has no axis, or a parameter does not broadcast to the shape.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> multinomial(fg.random.key(0), 10, np.array([0.2, 0.3, 0.5]))
      array([1., 4., 5.], dtype=float32)

    Source:
      jax.random.multinomial.
    """
    dtype = float_dtype(dtype, "multinomial")
    if not shape_of(p):
        raise ValueError(f"multinomial takes p of shape (..., k), got {aval_of(p)}.")
    p = _probability(p, dtype)
    k = shape_of(p)[-1]
    batch = shape_of(p)[:-1] if shape is None else as_shape(shape)
    n = broadcast_to(cast(n, dtype_of(p)), sample_shape(batch, n))
    p = fnp.moveaxis(broadcast_to(p, sample_shape((*batch, k), p)), -1, 0)
    rest = fnp.flip(fnp.cumsum(fnp.flip(p, 0), axis=0), 0)  # the outcomes not yet counted
    ratios = fnp.clip(p / fnp.where(ew.equal(rest, 0), dtype_of(p).type(1), rest), 0, 1)

    def step(left: Any, inputs: Any) -> tuple[Any, Any]:
        ratio, key = inputs
        count = binomial(key, left, ratio, dtype=dtype_of(left))
        return left - count, count

    keys = split(key, shape_of(ratios)[0])
    _, counts = scan(step, n, (ratios, keys), unroll=unroll)
    return cast(fnp.moveaxis(counts, 0, -1), dtype)
