"""Initialisers of parameters, with the names, signatures and numbers of `jax.nn.initializers`.

Each is, or returns, a function (key, shape, dtype) -> array. May import `random`, `numpy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph import random
from funcgraph.errors import ShapeError
from funcgraph.ops.structural import broadcast_to
from funcgraph.ops.updates import at

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

#: A function of a key and a shape, and perhaps a dtype, that returns an array.
Initializer = Callable[..., Any]
Axes = int | Sequence[int]

# The standard deviation of a standard normal number cut off at -2 and 2.
_TRUNCATED = 0.87962566103423978


def zeros(key: Any, shape: Sequence[int], dtype: Any = np.float32) -> Any:
    """Return zeros.

    Example:
      >>> zeros(None, (2,))
      array([0., 0.], dtype=float32)
    """
    return np.zeros(shape, dtype)


def ones(key: Any, shape: Sequence[int], dtype: Any = np.float32) -> Any:
    """Return ones.

    Example:
      >>> ones(None, (2,))
      array([1., 1.], dtype=float32)
    """
    return np.ones(shape, dtype)


def constant(value: Any, dtype: Any = np.float32) -> Initializer:
    """Return the initialiser that fills arrays with a value, broadcast.

    Example:
      >>> constant(0.5)(None, (2,))
      array([0.5, 0.5], dtype=float32)
    """

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Any:
        return np.array(broadcast_to(np.asarray(value, dtype), tuple(shape)))

    return init


def uniform(scale: Any = 1e-2, dtype: Any = np.float32) -> Initializer:
    """Return the initialiser of uniform numbers in [0, scale).

    Example:
      >>> import funcgraph as fg
      >>> uniform()(fg.random.key(0), (2, 3)).max() < 0.01
      np.True_
    """

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Any:
        return random.uniform(key, shape, dtype) * np.asarray(scale, dtype)[()]

    return init


def normal(stddev: Any = 1e-2, dtype: Any = np.float32) -> Initializer:
    """Return the initialiser of normal numbers with mean 0.

    Example:
      >>> import funcgraph as fg
      >>> normal(1.0)(fg.random.key(0), (2, 3)).shape
      (2, 3)
    """

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Any:
        return random.normal(key, shape, dtype) * np.asarray(stddev, dtype)[()]

    return init


def truncated_normal(
    stddev: Any = 1e-2, dtype: Any = np.float32, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """Return the initialiser of normal numbers z * stddev with z in (lower, upper).

    Example:
      >>> import funcgraph as fg
      >>> abs(truncated_normal(1.0)(fg.random.key(0), (100,))).max() < 2
      np.True_
    """

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Any:
        scale = np.asarray(stddev, dtype)[()]
        return random.truncated_normal(key, lower, upper, shape, dtype) * scale

    return init


def _lengths(shape: Sequence[int], axes: Axes) -> int:
    chosen = [axes] if isinstance(axes, int) else axes
    return int(np.prod([shape[a] for a in chosen], dtype=int))


def _fans(shape: Sequence[int], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> Any:
    """Return how many numbers go into and come out of an element of the output."""
    if len(shape) < 2:
        raise ValueError(
            f"an initialiser that scales with the number of inputs needs at least 2 axes, got the "
            f"shape {tuple(shape)}. Use normal, uniform, zeros or constant."
        )
    inputs, outputs, batch = (_lengths(shape, a) for a in (in_axis, out_axis, batch_axis))
    window = np.prod(shape) / inputs / outputs / batch
    return inputs * window, outputs * window


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = np.float32,
) -> Initializer:
    """Return the initialiser whose variance depends on how many numbers are added up.

    Var = scale / n, where n is fan_in, fan_out, or their mean or geometric mean.

    Args:
      scale: Positive number.
      mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
      distribution: "truncated_normal", "normal" or "uniform".
      in_axis: Axis (or axes) of the shape that the operation sums over.
      out_axis: Axis (or axes) of the output.
      batch_axis: Axes that are neither.
      dtype: Default type of the elements, floating point.

    Returns:
      A function (key, shape, dtype) -> array.

    Raises:
      ValueError: mode or distribution is unknown, or the shape has fewer than 2 axes.

    Example:
      >>> import funcgraph as fg
      >>> w = variance_scaling(1.0, "fan_in", "normal")(fg.random.key(0), (1000, 50))
      >>> round(float(w.std() * 1000**0.5), 2)
      1.0

    Source:
      jax.nn.initializers.variance_scaling; Glorot and Bengio, 2010; He et al., 2015.
    """
    choices = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
    if mode not in choices:
        raise ValueError(f"mode of variance_scaling must be one of {choices}, got {mode!r}.")
    kinds = ("truncated_normal", "normal", "uniform")
    if distribution not in kinds:
        raise ValueError(f"distribution must be one of {kinds}, got {distribution!r}.")

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Any:
        fan_in, fan_out = _fans(shape, in_axis, out_axis, batch_axis)
        means = (fan_in, fan_out, (fan_in + fan_out) / 2, (fan_in * fan_out) ** 0.5)
        variance = np.asarray(scale / means[choices.index(mode)], dtype)[()]
        if distribution == "normal":
            return random.normal(key, shape, dtype) * np.sqrt(variance)
        if distribution == "uniform":
            return random.uniform(key, shape, dtype, -1) * np.sqrt(3 * variance)
        stddev = np.sqrt(variance) / np.asarray(_TRUNCATED, dtype)[()]
        return random.truncated_normal(key, -2, 2, shape, dtype) * stddev

    return init


def _family(scale: float, mode: str, distribution: str, name: str, source: str) -> Any:
    def make(
        in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = np.float32
    ) -> Initializer:
        return variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)

    make.__name__ = make.__qualname__ = name
    kind = "normal (cut off at 2 standard deviations)" if "normal" in name else "uniform"
    make.__doc__ = (
        f"Return the initialiser of {kind} numbers with variance {scale:g} / {mode}.\n\n"
        "Args:\n  in_axis: As of variance_scaling.\n  out_axis: As of variance_scaling.\n"
        "  batch_axis: As of variance_scaling.\n  dtype: Default type of the elements.\n\n"
        f"Source:\n  {source}"
    )
    return make


_GLOROT = "Glorot and Bengio, Understanding the difficulty of training deep networks, 2010."
_HE = "He, Zhang, Ren and Sun, Delving deep into rectifiers, 2015."
_LECUN = "LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998."

glorot_uniform = _family(1.0, "fan_avg", "uniform", "glorot_uniform", _GLOROT)
glorot_normal = _family(1.0, "fan_avg", "truncated_normal", "glorot_normal", _GLOROT)
lecun_uniform = _family(1.0, "fan_in", "uniform", "lecun_uniform", _LECUN)
lecun_normal = _family(1.0, "fan_in", "truncated_normal", "lecun_normal", _LECUN)
he_uniform = _family(2.0, "fan_in", "uniform", "he_uniform", _HE)
he_normal = _family(2.0, "fan_in", "truncated_normal", "he_normal", _HE)
xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


# --- orthogonal matrices -------------------------------------------------------------------------


def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = np.float32) -> Initializer:
    """Return the initialiser of matrices with orthonormal columns, or rows if these are fewer.

    Args:
      scale: Factor of the matrix.
      column_axis: The axis that numbers the columns; the others together number the rows.
      dtype: Default type of the elements, floating point.

    Returns:
      A function (key, shape, dtype) -> array, distributed uniformly over such matrices.

    Raises:
      ShapeError: The shape has fewer than 2 axes.

    Example:
      >>> import funcgraph as fg
      >>> w = orthogonal()(fg.random.key(0), (2, 3), np.float64)
      >>> (w @ w.T).round(6) + 0.0
      array([[1., 0.],
             [0., 1.]])

    Source:
      jax.nn.initializers.orthogonal; Saxe, McClelland and Ganguli, "Exact solutions to the
      nonlinear dynamics of learning in deep linear neural networks", 2013.
    """

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Any:
        if len(shape) < 2:
            raise ShapeError(
                f"orthogonal needs a shape with at least 2 axes, got {tuple(shape)}. Use normal, "
                "uniform, zeros or constant."
            )
        if 0 in shape:
            return np.zeros(shape, dtype)
        columns = shape[column_axis]
        others = list(shape)
        del others[column_axis]
        q = random.orthogonal(key, math.prod(others), (), dtype, columns)
        q = fnp.moveaxis(q.reshape((*others, columns)), -1, column_axis)
        return np.asarray(scale, dtype)[()] * q

    return init


def delta_orthogonal(
    scale: Any = 1.0, column_axis: int = -1, dtype: Any = np.float32
) -> Initializer:
    """Return the initialiser of kernels that are orthogonal in the middle and 0 elsewhere.

    A convolution with such a kernel keeps the norm of its input.

    Args:
      scale: Factor of the matrix.
      column_axis: As of orthogonal, for the matrix (inputs, outputs).
      dtype: Default type of the elements, floating point.

    Returns:
      A function (key, shape, dtype) -> array, for shapes (*window, inputs, outputs) with 1 to 3
      axes of the window.

    Raises:
      ShapeError: The shape has another number of axes, or fewer outputs than inputs.

    Example:
      >>> import funcgraph as fg
      >>> w = delta_orthogonal()(fg.random.key(0), (3, 2, 2))
      >>> w.any(axis=(1, 2))
      array([False,  True, False])

    Source:
      jax.nn.initializers.delta_orthogonal; Xiao et al., "Dynamical isometry and a mean field theory
      of CNNs", 2018.
    """
    make = orthogonal(scale, column_axis, dtype)

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Any:
        if len(shape) not in (3, 4, 5) or shape[-1] < shape[-2]:
            raise ShapeError(
                "delta_orthogonal needs a shape (*window, inputs, outputs) with 1 to 3 axes of the "
                f"window and at least as many outputs as inputs, got {tuple(shape)}."
            )
        middle = tuple((n - 1) // 2 for n in shape[:-2])
        return at(np.zeros(shape, dtype))[middle].set(make(key, shape[-2:], dtype))

    return init
