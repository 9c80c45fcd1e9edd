"""Distributions made of gamma variates, from keys. May import `core`, `numpy`, `ops`, `random`.

Shape parameters may be traced: the samples are differentiated by them implicitly, that is, at a
fixed probability (see `random.implicit`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import aval_of, shape_of
from funcgraph.ops import elementwise as ew
from funcgraph.ops.structural import broadcast_to, cast
from funcgraph.random.continuous import exponential, float_dtype, normal, sample_shape
from funcgraph.random.discrete import rademacher
from funcgraph.random.keys import as_key, as_shape, split
from funcgraph.random.marsaglia import gammas

__all__ = [
    "ball", "beta", "chisquare", "dirichlet", "f", "gamma", "generalized_normal", "loggamma", "t",
]  # fmt: skip


def gamma(key: Any, a: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of the gamma distribution of scale 1.

    Their density is x^(a - 1) exp(-x) / Γ(a). A shape below 0 gives nan.

    Args:
      key: Random key.
      a: Shape parameter, > 0; broadcasts to the shape; may be differentiated.
      shape: Shape of the result; None: that of a.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> gamma(fg.random.key(0), 3.0, (2,)).round(4)
      array([2.5691, 2.7842], dtype=float32)

    Source:
      Marsaglia and Tsang, ACM Trans. Math. Software 26 (2000) 363; Figurnov et al., NeurIPS 2018;
      jax.random.gamma.
    """
    return _drawn(key, a, shape, float_dtype(dtype, "gamma"), log=False)


def loggamma(key: Any, a: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return logarithms of numbers of the gamma distribution, which do not underflow.

    A shape below 0 gives nan.

    Args:
      key: Random key.
      a: Shape parameter, > 0; broadcasts to the shape; may be differentiated.
      shape: Shape of the result; None: that of a.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> loggamma(fg.random.key(0), 1e-3, (2,)).round(2)
      array([-110.62,  -95.55], dtype=float32)

    Source:
      Marsaglia and Tsang, ACM Trans. Math. Software 26 (2000) 363; Figurnov et al., NeurIPS 2018;
      jax.random.loggamma.
    """
    return _drawn(key, a, shape, float_dtype(dtype, "loggamma"), log=True)


def _drawn(key: Any, a: Any, shape: Any, dtype: Any, log: bool) -> Any:
    a = broadcast_to(cast(a, dtype), sample_shape(shape, a))
    return gammas(as_key(key), a, log=log)


def beta(key: Any, a: Any, b: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of the beta distribution: x / (x + y), x and y of gamma distributions.

    Their density is proportional to x^(a - 1) (1 - x)^(b - 1).

    Args:
      key: Random key.
      a: First shape parameter, > 0; broadcasts to the shape; may be differentiated.
      b: Second shape parameter, likewise.
      shape: Shape of the result; None: that of the parameters.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> beta(fg.random.key(0), 2.0, 3.0, (2,)).round(4)
      array([0.2363, 0.4905], dtype=float32)

    Source:
      jax.random.beta.
    """
    dtype = float_dtype(dtype, "beta")
    shape = sample_shape(shape, a, b)
    first, second = split(as_key(key))
    x, y = loggamma(first, a, shape, dtype), loggamma(second, b, shape, dtype)
    top = ew.maximum(x, y)
    x, y = ew.exp(x - top), ew.exp(y - top)
    return x / (x + y)


def dirichlet(key: Any, alpha: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return vectors of the Dirichlet distribution: gamma variates divided by their sum.

    Args:
      key: Random key.
      alpha: Array (..., n) of concentrations, > 0; may be differentiated.
      shape: Shape of the batch, which alpha's batch broadcasts to; None: that of alpha.
      dtype: float16, float32 or float64.

    Returns:
      Array (*shape, n) of that dtype; the sum along the last axis is 1.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: alpha has no axis, or does not broadcast to the shape.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> dirichlet(fg.random.key(0), np.array([1.0, 2.0, 3.0])).round(4)
      array([0.1423, 0.4049, 0.4528], dtype=float32)

    Source:
      jax.random.dirichlet.
    """
    dtype = float_dtype(dtype, "dirichlet")
    if not shape_of(alpha):
        raise ValueError(f"dirichlet takes alpha of shape (..., n), got {aval_of(alpha)}.")
    batch = shape_of(alpha)[:-1] if shape is None else as_shape(shape)
    x = loggamma(key, alpha, (*batch, shape_of(alpha)[-1]), dtype)
    x = ew.exp(x - fnp.max(x, axis=-1, keepdims=True))
    return x / fnp.sum(x, axis=-1, keepdims=True)


def chisquare(key: Any, df: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of the χ² distribution: twice a gamma variate of shape df/2.

    Args:
      key: Random key.
      df: Degrees of freedom, > 0; broadcasts to the shape; may be differentiated.
      shape: Shape of the result; None: that of df.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> chisquare(fg.random.key(0), 5.0, (2,)).round(4)
      array([4.1577, 4.5456], dtype=float32)

    Source:
      jax.random.chisquare.
    """
    dtype = float_dtype(dtype, "chisquare")
    return 2 * ew.exp(loggamma(key, cast(df, dtype) / 2, sample_shape(shape, df), dtype))


def f(key: Any, dfnum: Any, dfden: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of the F distribution: a ratio of χ² variates over their degrees of freedom.

    Args:
      key: Random key.
      dfnum: Degrees of freedom of the numerator, > 0; broadcasts to the shape.
      dfden: Those of the denominator, likewise.
      shape: Shape of the result; None: that of the parameters.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> f(fg.random.key(0), 5.0, 7.0, (2,)).round(4)
      array([2.0243, 0.3954], dtype=float32)

    Source:
      jax.random.f.
    """
    dtype = float_dtype(dtype, "f")
    shape = sample_shape(shape, dfnum, dfden)
    below, above = split(as_key(key))
    dfnum, dfden = cast(dfnum, dtype), cast(dfden, dtype)
    x, y = chisquare(above, dfnum, shape, dtype), chisquare(below, dfden, shape, dtype)
    return (x / dfnum) / (y / dfden)


def t(key: Any, df: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of Student's t distribution: z / √(χ²/df), z normal.

    Args:
      key: Random key.
      df: Degrees of freedom, > 0; broadcasts to the shape; may be differentiated.
      shape: Shape of the result; None: that of df.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> t(fg.random.key(0), 4.0, (2,)).round(4)
      array([ 0.716 , -2.4174], dtype=float32)

    Source:
      jax.random.t.
    """
    dtype = float_dtype(dtype, "t")
    shape = sample_shape(shape, df)
    first, second = split(as_key(key))
    half = cast(df, dtype) / 2
    return normal(first, shape, dtype) * ew.sqrt(half / gamma(second, half, shape, dtype))


def generalized_normal(key: Any, p: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers whose density is proportional to exp(-|x|^p): ± a gamma variate^(1/p).

    Args:
      key: Random key.
      p: Exponent, > 0; broadcasts to the shape; may be differentiated.
      shape: Shape of the result.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> generalized_normal(fg.random.key(0), 1.5, (2,)).round(4)
      array([1.0604, 0.0892], dtype=float32)

    Source:
      jax.random.generalized_normal.
    """
    dtype = float_dtype(dtype, "generalized_normal")
    shape = sample_shape(as_shape(shape), p)
    first, second = split(as_key(key))
    power = 1 / cast(p, dtype)
    size = ew.power(gamma(first, power, shape, dtype), power)
    return rademacher(second, shape, dtype) * size


def ball(key: Any, d: int, p: Any = 2, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return points distributed uniformly in the unit ball of the p-norm.

    Args:
      key: Random key.
      d: How many dimensions.
      p: Exponent of the norm, a number > 0; may be differentiated.
      shape: Shape of the batch.
      dtype: float16, float32 or float64.

    Returns:
      Array (*shape, d) of that dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> ball(fg.random.key(0), 3).round(4)
      array([0.9172, 0.3927, 0.0117], dtype=float32)

    Source:
      Barthe, Guédon, Mendelson and Naor, "A probabilistic approach to the geometry of the
      l_p^n-ball", Ann. Probab. 33 (2005) 480; jax.random.ball.
    """
    dtype = float_dtype(dtype, "ball")
    shape = as_shape(shape)
    first, second = split(as_key(key))
    p = cast(p, dtype)
    g = generalized_normal(first, p, (*shape, *as_shape(d)), dtype)
    e = exponential(second, shape, dtype)
    total = fnp.sum(ew.power(ew.absolute(g), p), axis=-1) + e
    return g / ew.power(total, 1 / p)[..., None]
