"""Losses between numbers, element by element. May import `numpy`, `losses._common`."""

from __future__ import annotations

import math
from typing import Any

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.errors import DtypeError
from funcgraph.losses._common import check_shapes
from funcgraph.numpy.creation import as_floats

__all__ = [
    "absolute_error",
    "cosine_distance",
    "cosine_similarity",
    "hinge_loss",
    "huber_loss",
    "l2_loss",
    "log_cosh",
    "squared_error",
]


def _errors(name: str, predictions: Any, targets: Any) -> Any:
    if targets is None:
        return as_floats(predictions)
    check_shapes(name, predictions, targets)
    if dtype_of(targets).kind in "biu":  # integers of few bits would wrap around
        predictions = as_floats(predictions)
    return predictions - targets


def squared_error(predictions: Any, targets: Any = None) -> Any:
    """Return (predictions - targets)^2.

    Args:
      predictions: Array of any shape.
      targets: Array of the same shape, or one number; default: 0.

    Returns:
      Array of that shape.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> squared_error(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
      array([1., 4.])

    Source:
      optax.losses, as for every loss of this module.
    """
    return fnp.square(_errors("squared_error", predictions, targets))


def l2_loss(predictions: Any, targets: Any = None) -> Any:
    """Return (predictions - targets)^2 / 2, whose derivative is the error itself.

    Args:
      predictions: Array of any shape.
      targets: Array of the same shape, or one number; default: 0.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> l2_loss(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
      array([0.5, 2. ])
    """
    return 0.5 * fnp.square(_errors("l2_loss", predictions, targets))


def absolute_error(predictions: Any, targets: Any = None) -> Any:
    """Return |predictions - targets|.

    Args:
      predictions: Array of any shape.
      targets: Array of the same shape, or one number; default: 0.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> absolute_error(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
      array([1., 2.])
    """
    return fnp.abs(_errors("absolute_error", predictions, targets))


def huber_loss(predictions: Any, targets: Any = None, *, delta: float = 1.0) -> Any:
    """Return e^2 / 2 where the error |e| <= delta, and delta (|e| - delta / 2) beyond.

    Args:
      predictions: Array of any shape.
      targets: Array of the same shape, or one number; default: 0.
      delta: Where the square ends and the straight line begins.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> huber_loss(np.array([0.5, 3.0]))
      array([0.125, 2.5  ])

    Source:
      Huber 1964, Robust Estimation of a Location Parameter.
    """
    size = fnp.abs(_errors("huber_loss", predictions, targets))
    square = fnp.minimum(size, delta)
    return 0.5 * fnp.square(square) + delta * (size - square)


def log_cosh(predictions: Any, targets: Any = None) -> Any:
    """Return log(cosh(e)) of the error e: e^2 / 2 near 0, |e| - log 2 far away.

    Args:
      predictions: Array of any shape.
      targets: Array of the same shape, or one number; default: 0.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> print(log_cosh(np.array([0.0, 1000.0])).round(4))
      [  0.     999.3069]
    """
    e = _errors("log_cosh", predictions, targets)
    return fnp.logaddexp(e, -e) - math.log(2.0)


def hinge_loss(predictor_outputs: Any, targets: Any) -> Any:
    """Return max(0, 1 - output * target).

    Args:
      predictor_outputs: Array of any shape.
      targets: -1 or 1, in the same shape.

    Raises:
      ShapeError: The shapes differ.
      DtypeError: The targets are bools or unsigned.

    Example:
      >>> import numpy as np
      >>> hinge_loss(np.array([0.5, 2.0]), np.array([-1, 1]))
      array([1.5, 0. ])
    """
    check_shapes("hinge_loss", predictor_outputs, targets)
    if dtype_of(targets).kind in ("b", "u"):
        raise DtypeError(
            f"hinge_loss needs targets -1 or 1, got dtype {dtype_of(targets)}, which has no -1. Of "
            "bools: np.where(targets, 1.0, -1.0)."
        )
    return fnp.maximum(0.0, 1 - predictor_outputs * targets)


def cosine_similarity(
    predictions: Any,
    targets: Any,
    *,
    epsilon: float = 0.0,
    axis: int | tuple[int, ...] | None = -1,
    where: Any = None,
) -> Any:
    """Return the cosine of the angle between vectors: a·b / (|a| |b|).

    Args:
      predictions: Array (..., n).
      targets: Array of the same shape.
      epsilon: Least value of the squared lengths by which to divide.
      axis: Axis, or axes, of the vectors; None: all.
      where: Bools: which elements count; default: all. Where none counts, the result is 0.

    Returns:
      Array without these axes.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> print(cosine_similarity(np.array([1.0, 0.0]), np.array([3.0, 4.0])))
      0.6
    """
    check_shapes("cosine_similarity", predictions, targets)
    a, b = predictions, targets
    if where is not None:
        zero = dtype_of(a).type(0)
        a, b = fnp.where(where, a, zero), fnp.where(where, b, zero)
    squares = [fnp.maximum(fnp.sum(v * v, axis=axis), epsilon) for v in (a, b)]
    if where is not None:
        some = fnp.any(fnp.broadcast_to(where, shape_of(a)), axis=axis)
        squares = [fnp.where(some, v, dtype_of(v).type(1)) for v in squares]
    return fnp.sum(a * b, axis=axis) / (fnp.sqrt(squares[0]) * fnp.sqrt(squares[1]))


def cosine_distance(
    predictions: Any,
    targets: Any,
    *,
    epsilon: float = 0.0,
    axis: int | tuple[int, ...] | None = -1,
    where: Any = None,
) -> Any:
    """Return 1 - cosine_similarity.

    Args:
      predictions: Array (..., n).
      targets: Array of the same shape.
      epsilon: Least value of the squared lengths by which to divide.
      axis: Axis, or axes, of the vectors; None: all.
      where: Bools: which elements count; default: all.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> print(cosine_distance(np.array([1.0, 0.0]), np.array([3.0, 4.0])))
      0.4
    """
    return 1.0 - cosine_similarity(predictions, targets, epsilon=epsilon, axis=axis, where=where)
