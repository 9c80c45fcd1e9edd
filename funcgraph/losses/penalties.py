"""Penalties on the size of parameters. May import `numpy`, `tree`."""

from __future__ import annotations

from typing import Any

import funcgraph.numpy as fnp
from funcgraph import tree
from funcgraph.core.aval import dtype_of

__all__ = ["l1_penalty", "l2_penalty"]


def _chosen(params: Any, mask: Any) -> list[Any]:
    """Return the leaves that count."""
    if mask is None:
        return tree.leaves(params)
    flags = mask(params) if callable(mask) else mask
    return tree.leaves(tree.map(lambda m, part: part if m else None, flags, params))


def l1_penalty(params: Any, mask: Any = None) -> Any:
    """Return the sum of the absolute values of all elements of a pytree.

    Args:
      params: Arrays and numbers.
      mask: Bools in the structure of params (one may stand for a whole subtree), or a function from
        params to such a tree: which leaves count; default: all.

    Returns:
      A scalar; 0 without leaves.

    Raises:
      TreeError: The mask does not fit; the message names the key path.

    Example:
      >>> import numpy as np
      >>> print(l1_penalty({"w": np.array([1.0, -2.0]), "b": 5.0}, {"w": True, "b": False}))
      3.0
    """
    return sum([fnp.sum(fnp.abs(x)) for x in _chosen(params, mask)])


def l2_penalty(params: Any, mask: Any = None) -> Any:
    """Return half the sum of the squares of all elements of a pytree: its gradient is the pytree.

    Args:
      params: Arrays and numbers.
      mask: Which leaves count (see `l1_penalty`); default: all.

    Returns:
      A scalar; 0 without leaves.

    Raises:
      TreeError: The mask does not fit; the message names the key path.

    Example:
      >>> import numpy as np
      >>> print(l2_penalty({"w": np.array([1.0, -2.0]), "b": 5.0}, {"w": True, "b": False}))
      2.5
    """
    return 0.5 * sum([fnp.sum(_square(x)) for x in _chosen(params, mask)])


def _square(x: Any) -> Any:
    if dtype_of(x).kind != "c":
        return fnp.square(x)
    return fnp.square(fnp.real(x)) + fnp.square(fnp.imag(x))
