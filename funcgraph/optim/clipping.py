"""Bounds on gradients: clip, clip_by_global_norm, global_norm.

May import `numpy`, `tree`, `optim.base`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph import tree
from funcgraph.core.aval import dtype_of, ndim_of
from funcgraph.ops.structural import reshape
from funcgraph.optim.base import (
    EmptyState,
    GradientTransformation,
    as_dtype,
    empty_init,
    scalar,
    transformation,
    wide,
)

__all__ = ["clip", "clip_by_global_norm", "global_norm"]


def _sum_of_squares(x: Any) -> Any:
    if dtype_of(x).kind not in "fc":  # integers of few bits would wrap around
        x = as_dtype(x, np.dtype(np.float64))
    elif dtype_of(x) == np.float16:  # squares overflow from 256 on
        x = as_dtype(x, np.dtype(np.float32))
    if ndim_of(x) == 0:
        return fnp.real(x * fnp.conj(x)) if dtype_of(x).kind == "c" else x * x
    flat = reshape(x, (-1,))
    product = fnp.vdot(flat, flat)  # one pass over memory, without a temporary array
    return fnp.real(product) if dtype_of(x).kind == "c" else product


@wide
def global_norm(updates: Any) -> Any:
    """Return the Euclidean norm of all elements of a pytree together.

    Args:
      updates: A pytree of arrays, such as gradients.

    Returns:
      A scalar, in the promoted dtype of the leaves (float32 for float16); 0.0 without leaves.

    Example:
      >>> print(global_norm({"w": 3.0, "b": (4.0, None)}))
      5.0

    Source:
      optax.global_norm.
    """
    return fnp.sqrt(sum([_sum_of_squares(x) for x in tree.leaves(updates)]))


def clip(max_delta: Any) -> GradientTransformation:
    """Limit every element to [-max_delta, max_delta].

    Example:
      >>> clip(1.0).update([3.0, -0.5], EmptyState())[0]
      [np.float64(1.0), np.float64(-0.5)]

    Source:
      optax.clip.
    """

    def update(updates: Any, state: EmptyState, params: Any = None) -> Any:
        def limit(g: Any) -> Any:
            bound = scalar(max_delta, g)
            return fnp.clip(g, -bound, bound)

        return tree.map(limit, updates), state

    return transformation(empty_init, update)


def clip_by_global_norm(max_norm: Any) -> GradientTransformation:
    """Scale all updates by one factor, so that their global norm is at most max_norm.

    Example:
      >>> import numpy as np
      >>> clip_by_global_norm(1.0).update(np.array([3.0, 4.0]), EmptyState())[0]
      array([0.6, 0.8])

    Source:
      optax.clip_by_global_norm; Pascanu et al. 2013, On the difficulty of training RNNs.
    """

    def update(updates: Any, state: EmptyState, params: Any = None) -> Any:
        factor = max_norm / fnp.maximum(global_norm(updates), max_norm)
        return tree.map(lambda g: scalar(factor, g) * g, updates), state

    return transformation(empty_init, update)
