"""Losses of classifiers, stable for logits of any size.

With class numbers, value and derivative are primitives (`ops.cross_entropy`). May import
`numpy`, `ops`, `losses._common`.
"""

from __future__ import annotations

from typing import Any

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.errors import ShapeError
from funcgraph.losses._common import (
    check_classes,
    check_float,
    check_integer,
    check_shapes,
    shifted,
)
from funcgraph.ops.cross_entropy import class_numbers, cross_entropy
from funcgraph.ops.reductions import take_along
from funcgraph.ops.structural import (
    cast,
    expand_dims,
    moved,
    normalize_axes,
    normalize_axis,
    reshape,
    transpose,
)

__all__ = [
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "sigmoid_binary_cross_entropy",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]

Axis = int | tuple[int, ...] | None


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Any:
    """Return -labels log σ(logits) - (1 - labels) log σ(-logits): the logistic loss.

    Args:
      logits: Real array of any shape.
      labels: Probabilities in [0, 1], or bools, of the same shape (or one number).

    Returns:
      Array of that shape.

    Raises:
      ShapeError: The shapes differ.
      DtypeError: The logits are not floating point.

    Example:
      >>> import numpy as np
      >>> print(sigmoid_binary_cross_entropy(np.array([0.0, -100.0]), np.array([1, 1])).round(4))
      [  0.6931 100.    ]

    Source:
      optax.losses, as for every loss of this module.
    """
    check_shapes("sigmoid_binary_cross_entropy", logits, labels)
    check_float("sigmoid_binary_cross_entropy", "logits", logits)
    labels = cast(labels, dtype_of(logits))
    # log(1 + exp(x)) - x y, with the larger exponential taken out: exact where it is nearly 0, and
    # written with where, not abs, so that the derivative at 0 is σ(0) - y for every engine.
    positive = logits > 0
    rest = fnp.log1p(fnp.exp(fnp.where(positive, -logits, logits)))
    return rest + logits * (cast(positive, dtype_of(logits)) - labels)


def _mask_like(where: Any, logits: Any, axes: Any) -> Any:
    """Return a mask with the axes of the logits."""
    if where is None or ndim_of(where) == ndim_of(logits):
        return where
    return expand_dims(where, axes)


def softmax_cross_entropy(logits: Any, labels: Any, axis: Axis = -1, where: Any = None) -> Any:
    """Return -sum(labels log softmax(logits)) along an axis.

    Args:
      logits: Real array (..., classes).
      labels: Probabilities of the classes, such as one-hot vectors, of the same shape.
      axis: Axis, or axes, of the classes; None: all.
      where: Bools: which classes count; default: all.

    Returns:
      Array without these axes.

    Raises:
      ShapeError: The shapes differ.
      DtypeError: The logits are not floating point.

    Example:
      >>> import numpy as np
      >>> logits = np.array([[100.0, 0.0], [0.0, 0.0]])
      >>> print(softmax_cross_entropy(logits, np.array([[0.0, 1.0], [0.5, 0.5]])).round(4))
      [100.       0.6931]
    """
    check_float("softmax_cross_entropy", "logits", logits)
    if shape_of(labels) != shape_of(logits):
        raise ShapeError(
            f"softmax_cross_entropy needs labels of the shape of the logits, {shape_of(logits)}, "
            f"got {shape_of(labels)}. For class numbers there is "
            "softmax_cross_entropy_with_integer_labels."
        )
    labels = cast(labels, dtype_of(logits)) if dtype_of(labels).kind not in "f" else labels
    axes = normalize_axes(axis, ndim_of(logits))
    mask = _mask_like(where, logits, axes)
    z, counted = shifted(logits, axes, mask)
    total = fnp.sum(fnp.exp(counted), axis=axes)
    if mask is not None:
        labels = fnp.where(mask, labels, dtype_of(labels).type(0))
        total = fnp.where(total == 0, dtype_of(total).type(1), total)
    return fnp.log(total) * fnp.sum(labels, axis=axes) - fnp.sum(labels * z, axis=axes)


def softmax_cross_entropy_with_integer_labels(
    logits: Any, labels: Any, axis: int | tuple[int, ...] = -1, where: Any = None
) -> Any:
    """Return -log softmax(logits)[label] along an axis.

    Args:
      logits: Real array (..., classes).
      labels: Integers in [0, classes), in the shape of the logits without `axis`.
      axis: Axis of the classes; several count as one, the last of them running fastest.
      where: Bools: which classes count; default: all. Where none does, the loss is 0.

    Returns:
      Array in the shape of the labels.

    Raises:
      ShapeError: The shapes do not fit.
      DtypeError: The logits are not floating point, or the labels no integers.
      RangeError: A label is negative, or no less than the number of classes. XLA cannot raise it:
        there the loss of this example is nan.

    Example:
      >>> import numpy as np
      >>> logits = np.array([[100.0, 0.0], [0.0, 0.0]])
      >>> print(softmax_cross_entropy_with_integer_labels(logits, np.array([1, 0])).round(4))
      [100.       0.6931]
    """
    name = "softmax_cross_entropy_with_integer_labels"
    check_float(name, "logits", logits)
    check_integer(name, "labels", labels)
    mask = _mask_like(where, logits, normalize_axes(axis, ndim_of(logits)))
    if isinstance(axis, tuple):
        logits = _joined_last(logits, axis)
        mask = None if mask is None else _joined_last(mask, axis)
        axis = -1
    k = normalize_axis(axis, ndim_of(logits))
    shape = shape_of(logits)
    if shape_of(labels) != shape[:k] + shape[k + 1 :]:
        raise ShapeError(
            f"{name} got logits of shape {shape} with the classes along axis {k}: the labels must "
            f"have shape {shape[:k] + shape[k + 1 :]}, got {shape_of(labels)}."
        )
    if mask is None:
        labels = class_numbers(labels, classes=shape[k], name=name)
        return cross_entropy(moved(logits, k, len(shape) - 1), labels)
    labels, known = check_classes(name, labels, shape[k])
    z, counted = shifted(logits, (k,), mask)
    chosen = reshape(take_along(z, expand_dims(labels, (k,)), axis=k), shape_of(labels))
    total = fnp.sum(fnp.exp(counted), axis=k)
    some = total > 0
    chosen = fnp.where(known, chosen, dtype_of(chosen).type(fnp.nan))
    loss = fnp.log(fnp.where(some, total, dtype_of(total).type(1))) - chosen
    return fnp.where(some, loss, dtype_of(loss).type(0))


def _joined_last(x: Any, axes: tuple[int, ...]) -> Any:
    """Move axes to the end and join them into one."""
    last = normalize_axes(axes, ndim_of(x))
    first = tuple(k for k in range(ndim_of(x)) if k not in last)
    x = transpose(x, axes=first + last)
    return reshape(x, (*shape_of(x)[: len(first)], -1))


def smooth_labels(labels: Any, alpha: Any, *, axis: Axis = -1, where: Any = None) -> Any:
    """Return (1 - alpha) labels + alpha / classes.

    Args:
      labels: One-hot vectors, or probabilities: real array (..., classes).
      alpha: The part that is spread evenly over all classes.
      axis: Axis, or axes, of the classes; None: all.
      where: Bools: which classes count; default: all.

    Returns:
      Array of the same shape.

    Raises:
      DtypeError: The labels are not floating point.

    Example:
      >>> import numpy as np
      >>> smooth_labels(np.array([1.0, 0.0]), 0.1)
      array([0.95, 0.05])

    Source:
      Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision.
    """
    check_float("smooth_labels", "labels", labels)
    if where is None:
        axes = normalize_axes(axis, ndim_of(labels))
        classes = 1
        for k in axes:
            classes *= shape_of(labels)[k]
    else:
        classes = cast(fnp.sum(where, axis=axis, keepdims=True), dtype_of(labels))
    return (1.0 - alpha) * labels + alpha / classes


def _total(x: Any, axis: Axis, where: Any) -> Any:
    return fnp.sum(x if where is None else fnp.where(where, x, dtype_of(x).type(0)), axis=axis)


def kl_divergence(log_predictions: Any, targets: Any, axis: Axis = -1, where: Any = None) -> Any:
    """Return sum(targets (log targets - log_predictions)) along an axis; 0 log 0 is 0.

    Args:
      log_predictions: Logarithms of probabilities: real array (..., classes).
      targets: Probabilities, of the same shape.
      axis: Axis, or axes, of the classes; None: all.
      where: Bools: which classes count; default: all.

    Returns:
      Array without these axes.

    Raises:
      ShapeError: The shapes differ.
      DtypeError: An argument is not floating point.

    Example:
      >>> import numpy as np
      >>> print(kl_divergence(np.log(np.array([0.5, 0.5])), np.array([1.0, 0.0])).round(4))
      0.6931
    """
    check_shapes("kl_divergence", log_predictions, targets)
    check_float("kl_divergence", "log_predictions", log_predictions)
    check_float("kl_divergence", "targets", targets)
    known = fnp.where(targets == 0, dtype_of(targets).type(1), targets)
    return _total(targets * (fnp.log(known) - log_predictions), axis, where)


def kl_divergence_with_log_targets(
    log_predictions: Any, log_targets: Any, axis: Axis = -1, where: Any = None
) -> Any:
    """Return sum(exp(log_targets) (log_targets - log_predictions)) along an axis.

    Args:
      log_predictions: Logarithms of probabilities: real array (..., classes).
      log_targets: Logarithms of probabilities, of the same shape.
      axis: Axis, or axes, of the classes; None: all.
      where: Bools: which classes count; default: all.

    Returns:
      Array without these axes.

    Raises:
      ShapeError: The shapes differ.
      DtypeError: An argument is not floating point.

    Example:
      >>> import numpy as np
      >>> p = np.log(np.array([0.25, 0.75]))
      >>> print(kl_divergence_with_log_targets(p, p))
      0.0
    """
    check_shapes("kl_divergence_with_log_targets", log_predictions, log_targets)
    check_float("kl_divergence_with_log_targets", "log_predictions", log_predictions)
    check_float("kl_divergence_with_log_targets", "log_targets", log_targets)
    return _total(fnp.exp(log_targets) * (log_targets - log_predictions), axis, where)
