"""Measures of quality; most have no derivative. May import `numpy`, `losses._common`."""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.errors import ShapeError
from funcgraph.losses._common import check_classes, check_integer, check_shapes, mask_of
from funcgraph.losses.regression import absolute_error, squared_error
from funcgraph.numpy.creation import as_floats
from funcgraph.ops.reductions import take_along
from funcgraph.ops.structural import cast, expand_dims, normalize_axis, reshape
from funcgraph.ops.updates import at

__all__ = [
    "accuracy",
    "confusion_matrix",
    "mean_absolute_error",
    "perplexity",
    "r2_score",
    "top_k_accuracy",
]


def _mean(x: Any, where: Any) -> Any:
    """Return the mean of the elements that count."""
    if where is None:
        return fnp.mean(x)
    where = mask_of(x, where)
    return fnp.sum(fnp.where(where, x, dtype_of(x).type(0))) / fnp.sum(where)


def _hits(hits: Any, known: Any) -> Any:
    """Return 1 for what is right and 0 for what is wrong; nan where the label is no class."""
    return fnp.where(known, cast(hits, np.float64), np.nan)


def accuracy(logits: Any, labels: Any, *, axis: int = -1, where: Any = None) -> Any:
    """Return the fraction of examples whose largest logit is that of their label.

    Args:
      logits: Array (..., classes), or the numbers of the predicted classes, in the labels' shape.
      labels: Integers (...).
      axis: Axis of the classes.
      where: Bools in the labels' shape: which examples count; default: all.

    Returns:
      A scalar.

    Raises:
      ShapeError: The shapes do not fit.
      DtypeError: The labels are no integers.
      RangeError: A label that counts is no class. XLA cannot raise it: there the result is nan.

    Example:
      >>> import numpy as np
      >>> print(accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1])))
      0.5
    """
    check_integer("accuracy", "labels", labels)
    if ndim_of(logits) == ndim_of(labels):
        check_integer("accuracy", "predicted classes", logits)
        predicted = logits
    else:
        predicted = fnp.argmax(logits, axis=axis)
    check_shapes("accuracy", predicted, labels)
    if predicted is logits:  # how many classes there are is not known
        return _mean(cast(predicted == labels, np.float64), where)
    classes = shape_of(logits)[normalize_axis(axis, ndim_of(logits))]
    labels, known = check_classes("accuracy", labels, classes, where)
    return _mean(_hits(predicted == labels, known), where)


def top_k_accuracy(logits: Any, labels: Any, k: int, *, axis: int = -1, where: Any = None) -> Any:
    """Return the fraction of examples whose label is among those of the k largest logits.

    A label counts if fewer than k logits are larger than its own.

    Args:
      logits: Real array (..., classes).
      labels: Integers (...).
      k: How many.
      axis: Axis of the classes.
      where: Bools in the labels' shape: which examples count; default: all.

    Returns:
      A scalar.

    Raises:
      ShapeError: The shapes do not fit.
      DtypeError: The labels are no integers.
      RangeError: A label that counts is no class. XLA cannot raise it: there the result is nan.

    Example:
      >>> import numpy as np
      >>> logits = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]])
      >>> print(top_k_accuracy(logits, np.array([2, 0]), 2))
      0.5
    """
    check_integer("top_k_accuracy", "labels", labels)
    n = normalize_axis(axis, ndim_of(logits))
    shape = shape_of(logits)
    if shape_of(labels) != shape[:n] + shape[n + 1 :]:
        raise ShapeError(
            f"top_k_accuracy got logits of shape {shape} with the classes along axis {n}: the "
            f"labels must have shape {shape[:n] + shape[n + 1 :]}, got {shape_of(labels)}."
        )
    labels, known = check_classes("top_k_accuracy", labels, shape[n], where)
    own = take_along(logits, expand_dims(labels, (n,)), axis=n)
    above = fnp.logical_not(logits <= own)  # nan is above all, as for argmax, and no label's hit
    larger = fnp.sum(cast(above, np.intp), axis=n)
    return _mean(_hits(larger < k, known), where)


def confusion_matrix(labels: Any, predictions: Any, num_classes: int, *, where: Any = None) -> Any:
    """Return how often each class was taken for each other.

    Args:
      labels: Integers in [0, num_classes): the true classes.
      predictions: Integers of the same shape: the predicted classes.
      num_classes: Their number.
      where: Bools of the same shape: which examples count; default: all.

    Returns:
      Integer array (num_classes, num_classes): a row for each true class.

    Raises:
      ShapeError: The shapes differ.
      DtypeError: An argument does not hold integers.
      RangeError: A number that counts is no class. XLA cannot raise it: there it does not count.

    Example:
      >>> import numpy as np
      >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
      array([[1, 0],
             [1, 1]])

    Source:
      sklearn.metrics.confusion_matrix.
    """
    check_integer("confusion_matrix", "labels", labels)
    check_integer("confusion_matrix", "predictions", predictions)
    check_shapes("confusion_matrix", predictions, labels)
    labels, known = check_classes("confusion_matrix", labels, num_classes, where)
    predictions, too = check_classes("confusion_matrix", predictions, num_classes, where)
    counts = fnp.logical_and(known, too)
    if where is not None:
        counts = fnp.logical_and(counts, mask_of(labels, where))
    rows, columns, counts = (reshape(x, (-1,)) for x in (labels, predictions, counts))
    counts = cast(counts, np.intp)
    return at(np.zeros((num_classes, num_classes), np.intp))[rows, columns].add(counts)


def perplexity(losses: Any, *, where: Any = None) -> Any:
    """Return exp of the mean cross-entropy.

    Args:
      losses: Cross-entropies, in nats, of any shape.
      where: Bools of the same shape: which count; default: all.

    Returns:
      A scalar.

    Example:
      >>> import numpy as np
      >>> print(perplexity(np.log(np.array([4.0, 4.0]))).round(6))
      4.0
    """
    return fnp.exp(_mean(losses, where))


def r2_score(predictions: Any, targets: Any) -> Any:
    """Return 1 - sum((targets - predictions)^2) / sum((targets - mean)^2).

    Args:
      predictions: Array of any shape.
      targets: Array of the same shape, not all equal.

    Returns:
      A scalar: 1 for perfect predictions, 0 for the mean.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> print(r2_score(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0])))
      0.5
    """
    error = fnp.sum(squared_error(predictions, targets))
    targets = as_floats(targets)
    return 1.0 - error / fnp.sum(fnp.square(targets - fnp.mean(targets)))


def mean_absolute_error(predictions: Any, targets: Any, *, where: Any = None) -> Any:
    """Return the mean of |predictions - targets|.

    Args:
      predictions: Array of any shape.
      targets: Array of the same shape.
      where: Bools of the same shape: which elements count; default: all.

    Returns:
      A scalar.

    Raises:
      ShapeError: The shapes differ.

    Example:
      >>> import numpy as np
      >>> print(mean_absolute_error(np.array([1.0, 2.0]), np.array([0.0, 4.0])))
      1.5
    """
    return _mean(absolute_error(predictions, targets), where)
