"""Distributions made of normal numbers, from keys. May import `core`, `numpy`, `ops`, `random`.

Parameters may be traced, and are differentiated by the chain rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import Aval, aval_of, dtype_of, promote, shape_of
from funcgraph.ops import elementwise as ew
from funcgraph.ops.structural import cast
from funcgraph.random.continuous import fitting_shape, float_dtype, normal, sample_shape, uniform
from funcgraph.random.discrete import rademacher
from funcgraph.random.keys import as_key, as_shape, split

__all__ = [
    "double_sided_maxwell", "lognormal", "maxwell", "multivariate_normal", "orthogonal", "wald",
]  # fmt: skip


def multivariate_normal(
    key: Any, mean: Any, cov: Any, shape: Any = None, dtype: Any = None, method: str = "cholesky"
) -> Any:
    """Return vectors of a normal distribution: mean + F z, z standard normal, F Fᵀ = cov.

    Args:
      key: Random key.
      mean: Array (..., n).
      cov: Covariances, an array (..., n, n), positive definite.
      shape: Shape of the batch, which mean's and cov's broadcast to; None: just these.
      dtype: Floating point; None: that of mean and cov.
      method: How to factor cov: "cholesky"; or "eigh" or "svd", for a singular cov.

    Returns:
      Array (*shape, n).

    Raises:
      RandomKeyError: key is no random key.
      ValueError: A shape or the method does not fit.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> mean, cov = np.zeros(2), np.array([[1.0, 0.5], [0.5, 2.0]])
      >>> multivariate_normal(fg.random.key(0), mean, cov, (2,)).round(4)
      array([[-0.2058, -1.1411],
             [ 1.8161,  1.1565]])

    Source:
      jax.random.multivariate_normal.
    """
    n = shape_of(mean)[-1] if shape_of(mean) else None
    if n is None or shape_of(cov)[-2:] != (n, n):
        raise ValueError(
            "multivariate_normal takes mean of shape (..., n) and cov of shape (..., n, n), got "
            f"{aval_of(mean)} and {aval_of(cov)}."
        )
    common = promote(aval_of(mean), aval_of(cov), Aval((), np.dtype(float), float))
    dtype = float_dtype(common if dtype is None else dtype, "multivariate_normal")
    mean, cov = cast(mean, common), cast(cov, common)
    batch = np.broadcast_shapes(shape_of(mean)[:-1], shape_of(cov)[:-2])
    batch = fitting_shape(shape, batch)
    z = normal(key, (*batch, n), dtype)
    return mean + fnp.matmul(_factor(cov, method), z[..., None])[..., 0]


def _factor(cov: Any, method: str) -> Any:
    """Return F with F Fᵀ = cov."""
    if method == "cholesky":
        return fnp.linalg.cholesky(cov)
    if method == "eigh":
        values, vectors = fnp.linalg.eigh(cov)
        return vectors * ew.sqrt(values)[..., None, :]
    if method == "svd":
        vectors, values, _ = fnp.linalg.svd(cov)
        return vectors * ew.sqrt(values)[..., None, :]
    raise ValueError(f'method is "cholesky", "eigh" or "svd", got {method!r}.')


def orthogonal(key: Any, n: int, shape: Any = (), dtype: Any = np.float32, m: Any = None) -> Any:
    """Return matrices distributed uniformly (by Haar's measure) over the orthogonal ones.

    Complex ones are unitary. If n and m differ, the rows or columns are orthonormal, the fewer of
    them.

    Args:
      key: Random key.
      n: Number of rows.
      shape: Shape of the batch.
      dtype: Floating point, real or complex.
      m: Number of columns; None: n.

    Returns:
      Array (*shape, n, m) of that dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> q = orthogonal(fg.random.key(0), 3)
      >>> (q @ q.T).round(4) + 0
      array([[1., 0., 0.],
             [0., 1., 0.],
             [0., 0., 1.]], dtype=float32)

    Source:
      Mezzadri, "How to generate random matrices from the classical compact groups", Notices AMS 54
      (2007) 592; jax.random.orthogonal.
    """
    rows, columns = as_shape((n, n if m is None else m))
    z = normal(key, (*as_shape(shape), max(rows, columns), min(rows, columns)), dtype)
    q, r = fnp.linalg.qr(z)
    q = q * ew.sign(fnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    return fnp.swapaxes(q, -1, -2) if rows < columns else q


def maxwell(key: Any, shape: Any = (), dtype: Any = np.float32) -> Any:
    """Return numbers of Maxwell's distribution: lengths of three-dimensional normal vectors.

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
      >>> maxwell(fg.random.key(0), (2,)).round(4)
      array([2.6311, 0.991 ], dtype=float32)

    Source:
      jax.random.maxwell.
    """
    z = normal(key, (*as_shape(shape), 3), float_dtype(dtype, "maxwell"))
    return ew.sqrt(fnp.sum(z * z, axis=-1))


def double_sided_maxwell(
    key: Any, loc: Any, scale: Any, shape: Any = (), dtype: Any = np.float32
) -> Any:
    """Return numbers of the two-sided Maxwell distribution: loc ± scale x, x of Maxwell's.

    Args:
      key: Random key.
      loc: Centre.
      scale: Scale, > 0.
      shape: Shape in front of the parameters' common shape; (): this shape again, as in JAX.
      dtype: float16, float32 or float64.

    Returns:
      Array of that dtype.

    Raises:
      RandomKeyError: key is no random key.

    Example:
      >>> import funcgraph as fg
      >>> double_sided_maxwell(fg.random.key(0), 1.0, 2.0, (2,)).round(4)
      array([4.0914, 4.1483], dtype=float32)

    Source:
      jax.random.double_sided_maxwell.
    """
    dtype = float_dtype(dtype, "double_sided_maxwell")
    common = sample_shape(None, loc, scale)
    shape = (*(as_shape(shape) or common), *common)
    first, second = split(as_key(key))
    x = rademacher(second, shape, dtype) * maxwell(first, shape, dtype)
    return x * cast(scale, dtype) + cast(loc, dtype)


def lognormal(key: Any, sigma: Any = 1.0, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of the log-normal distribution: exp(sigma z), z normal.

    Args:
      key: Random key.
      sigma: Standard deviation of the logarithm; broadcasts to the shape.
      shape: Shape of the result; None: that of sigma.
      dtype: Floating point, real or complex.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> lognormal(fg.random.key(0), 0.5, (2,)).round(4)
      array([2.2509, 2.7528], dtype=float32)

    Source:
      jax.random.lognormal.
    """
    z = normal(key, sample_shape(shape, sigma), dtype)
    return ew.exp(z * cast(sigma, dtype_of(z)))


def wald(key: Any, mean: Any, shape: Any = None, dtype: Any = np.float32) -> Any:
    """Return numbers of the Wald (inverse Gaussian) distribution of scale 1.

    Args:
      key: Random key.
      mean: Mean, > 0; broadcasts to the shape.
      shape: Shape of the result; None: that of mean.
      dtype: float16, float32 or float64.

    Returns:
      Array of that shape and dtype.

    Raises:
      RandomKeyError: key is no random key.
      ValueError: The parameters do not broadcast to the shape.

    Example:
      >>> import funcgraph as fg
      >>> wald(fg.random.key(0), 2.0, (2,)).round(4)
      array([0.5334, 0.5981], dtype=float32)

    Source:
      Michael, Schucany and Haas, "Generating random variates using transformations with multiple
      roots", Amer. Statist. 30 (1976) 88; jax.random.wald.
    """
    dtype = float_dtype(dtype, "wald")
    shape = sample_shape(shape, mean)
    first, second = split(as_key(key))
    mean = cast(mean, dtype)
    z = normal(first, shape, dtype)
    y, square = z * z, mean * mean
    x = mean + square * y / 2 - mean / 2 * ew.sqrt(4 * mean * y + square * (y * y))
    smaller = ew.less_equal(uniform(second, shape, dtype), mean / (mean + x))
    return fnp.where(smaller, x, square / x)
