"""Connectionist temporal classification. May import `control`, `numpy`, `losses._common`."""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.control.loops import scan
from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.errors import RangeError, ShapeError
from funcgraph.losses._common import check_classes, check_float, check_integer
from funcgraph.ops.activations import log_softmax
from funcgraph.ops.reductions import take_along
from funcgraph.ops.structural import broadcast_to, cast, concatenate, reshape, transpose

__all__ = ["ctc_loss"]


def ctc_loss(
    logits: Any,
    logit_paddings: Any,
    labels: Any,
    label_paddings: Any,
    *,
    blank_id: int = 0,
    log_epsilon: float = -1e5,
) -> Any:
    """Return -log of the probability of label sequences, summed over all their alignments.

    An alignment gives each frame a label of the sequence, in order and perhaps repeated, or the
    blank, which must stand between two equal labels. The sum is a recursion along the frames:
    log α_t(s) = log p_t(s) + log(α(s) + α(s - 1) + α(s - 2)), over the labels with blanks around
    them, where the last term counts only if it leaves out a blank between different labels.

    Args:
      logits: Real array (batch, frames, classes).
      logit_paddings: (batch, frames): 1 where a frame does not count, else 0; at the end.
      labels: Integers (batch, length).
      label_paddings: (batch, length): 1 where a label does not count, else 0; at the end.
      blank_id: The class that stands for no label.
      log_epsilon: Stands for the logarithm of 0: the loss of what has no alignment is large, not
        infinite.

    Returns:
      Array (batch,).

    Raises:
      ShapeError: The shapes do not fit.
      DtypeError: The logits are not floating point, or the labels no integers.
      RangeError: `blank_id`, or a label that is no padding, is no class. XLA cannot raise it for
        labels: there the loss of this sequence is nan.

    Example:
      >>> import numpy as np
      >>> none = np.zeros((1, 2))
      >>> loss = ctc_loss(np.zeros((1, 2, 2)), none, np.array([[1]]), none[:, :1])
      >>> print(np.exp(-loss))  # 3 of 4: label and blank, blank and label, label twice
      [0.75]

    Source:
      Graves et al. 2006, Connectionist Temporal Classification; arguments as optax.losses.ctc_loss.
    """
    _check(logits, logit_paddings, labels, label_paddings)
    dtype = dtype_of(logits)
    batch, length = shape_of(labels)
    _, frames, classes = shape_of(logits)
    if not 0 <= blank_id < classes:
        raise RangeError(f"blank_id must be from 0 to {classes - 1}, a class, got {blank_id}.")
    real = fnp.asarray(label_paddings) < 0.5
    labels, known = check_classes("ctc_loss", labels, classes, real)
    states = 2 * length + 1
    low = np.full((batch, states), log_epsilon, dtype)

    log_probs = log_softmax(logits, axis=2)
    extended = _with_blanks(labels, blank_id)
    places = broadcast_to(reshape(extended, (batch, 1, states)), (batch, frames, states))
    emitted = transpose(take_along(log_probs, places, axis=2), axes=(1, 0, 2))
    counts = transpose(fnp.asarray(logit_paddings) < 0.5, axes=(1, 0))
    odd = np.arange(states) % 2 == 1
    before = concatenate(extended[:, :1], extended[:, :1], extended[:, :-2], axis=1)[:, :states]
    skips = fnp.logical_and(fnp.logical_and(odd, np.arange(states) > 1), extended != before)

    def step(alpha: Any, inputs: Any) -> Any:
        log_p, counts = inputs
        one = concatenate(low[:, :1], alpha[:, :-1], axis=1)
        two = concatenate(low[:, :2], alpha[:, :-2], axis=1)[:, :states]
        total = fnp.logaddexp(fnp.logaddexp(alpha, one), fnp.where(skips, two, low))
        return fnp.where(reshape(counts, (batch, 1)), total + log_p, alpha), None

    start = np.concatenate([np.zeros((batch, 1), dtype), low[:, 1:]], axis=1)
    alpha, _ = scan(step, start, (emitted, counts))
    # The last label, and the blank behind it.
    lengths = fnp.sum(cast(real, np.intp), axis=1)
    end = reshape(2 * lengths, (batch, 1))
    last = take_along(alpha, end, axis=1)
    label = take_along(alpha, fnp.maximum(end - 1, 0), axis=1)
    label = fnp.where(end > 0, label, dtype.type(log_epsilon))
    loss = -reshape(fnp.logaddexp(last, label), (batch,))
    return fnp.where(fnp.all(known, axis=1), loss, dtype.type(np.nan))


def _with_blanks(labels: Any, blank_id: int) -> Any:
    """Return (batch, 2 length + 1): the labels with blanks between and around them."""
    batch, length = shape_of(labels)
    blanks = np.full((batch, length, 1), blank_id, dtype_of(labels))
    pairs = concatenate(blanks, reshape(labels, (batch, length, 1)), axis=2)
    end = np.full((batch, 1), blank_id, dtype_of(labels))
    return concatenate(reshape(pairs, (batch, 2 * length)), end, axis=1)


def _check(logits: Any, logit_paddings: Any, labels: Any, label_paddings: Any) -> None:
    check_float("ctc_loss", "logits", logits)
    check_integer("ctc_loss", "labels", labels)
    shape, label_shape = shape_of(logits), shape_of(labels)
    fits = ndim_of(logits) == 3 and ndim_of(labels) == 2 and shape[0] == label_shape[0]
    fits = fits and shape_of(logit_paddings) == shape[:2]
    if not fits or shape_of(label_paddings) != label_shape:
        raise ShapeError(
            "ctc_loss needs logits (batch, frames, classes), logit_paddings (batch, frames), "
            "labels (batch, length) and label_paddings (batch, length), got shapes "
            f"{shape}, {shape_of(logit_paddings)}, {label_shape} and {shape_of(label_paddings)}."
        )
