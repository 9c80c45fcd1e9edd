"""One vector from a pytree, and back: `ravel_pytree`. May import `core`, `ops`, `tree`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.errors import TreeError
from funcgraph.ops.structural import cast, concatenate, reshape

__all__ = ["ravel_pytree"]


def ravel_pytree(pytree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Join the leaves of a pytree into one vector.

    Args:
      pytree: Arrays and numbers, traced or not.

    Returns:
      (vector, unravel): the vector has the promoted dtype of the leaves; unravel(vector) returns
      the pytree, whose leaves have the shapes and dtypes they had.

    Raises:
      TreeError: unravel was given a vector of another length, or a complex one for real leaves.

    Example:
      >>> import numpy as np
      >>> vector, unravel = ravel_pytree({"a": np.ones((2, 2)), "b": 3.0})
      >>> vector
      array([1., 1., 1., 1., 3.])
      >>> unravel(2 * vector)["b"]
      np.float64(6.0)

    Source:
      jax.flatten_util.ravel_pytree.
    """
    leaves, structure = tree.flatten(pytree)
    shapes = [shape_of(x) for x in leaves]
    dtypes = [np.dtype(dtype_of(x)) for x in leaves]
    dtype = np.result_type(*dtypes) if dtypes else np.dtype(float)
    ends = np.cumsum([0] + [prod(s) for s in shapes]).tolist()

    def unravel(vector: Any) -> Any:
        if shape_of(vector) != (ends[-1],):
            raise TreeError(
                f"unravel needs a vector of shape ({ends[-1]},), got shape {shape_of(vector)}."
            )
        if dtype_of(vector).kind == "c" and dtype.kind != "c":
            raise TreeError(
                f"unravel got a vector of dtype {dtype_of(vector)}, but the leaves were real "
                f"({dtype}): their imaginary parts would be lost. Pass vector.real."
            )
        parts = [
            _like(reshape(vector[a:b], s), d)
            for (a, b), s, d in zip(pairwise(ends), shapes, dtypes, strict=True)
        ]
        return tree.unflatten(structure, parts)

    if not leaves:
        return np.zeros(0, dtype), unravel
    flat = [_like(reshape(x, (-1,)), dtype) for x in leaves]
    return concatenate(*flat, axis=0), unravel


def _like(x: Any, dtype: Any) -> Any:
    """Return x in a dtype; a NumPy array without axes as a number."""
    x = x if dtype_of(x) == dtype else cast(x, dtype)
    return x[()] if isinstance(x, np.ndarray) else x
