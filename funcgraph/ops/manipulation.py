"""Primitives that look numbers up in sorted ones: positions, which have no derivative.

May import `core`, `ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, ndim_of, shape_of
from funcgraph.core.primitive import Primitive, Zero
from funcgraph.ops.elementwise import greater, isnan, less, less_equal, logical_not, logical_or
from funcgraph.ops.reductions import count_nonzero
from funcgraph.ops.structural import expand_dims, spread, where

__all__ = ["digitize", "searchsorted"]


def _batch_searchsorted(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    """Count the elements before each value, where every lane looks into an array of its own."""
    a, v = args
    if not batched[0]:
        return primitive(a, v, **attrs)
    v = spread(v, size, batched[1])
    ndim = ndim_of(v)
    a = expand_dims(a, tuple(range(1, ndim)))
    v = expand_dims(v, (ndim,))
    compare = less if attrs["side"] == "left" else less_equal
    before = logical_or(compare(a, v), isnan(v))  # nan comes after all numbers
    if attrs["side"] == "left":
        before = where(isnan(a), False, before)
    return count_nonzero(before, axes=(ndim,))


def _batch_digitize(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    x, bins = args
    if not batched[1]:
        return primitive(x, bins, **attrs)
    side = {"side": "left" if attrs["right"] else "right"}
    both = (batched[1], batched[0])
    rising = _batch_searchsorted(searchsorted, size, (bins, x), both, side)
    falling = _batch_searchsorted(searchsorted, size, (bins[:, ::-1], x), both, side)
    n = shape_of(bins)[1]
    down = greater(bins[:, 0], bins[:, -1]) if n else np.zeros(size, bool)
    down = expand_dims(down, tuple(range(1, ndim_of(rising))))
    return where(logical_not(down), rising, n - falling)


searchsorted = Primitive(
    "searchsorted",
    lambda a, v, side: np.searchsorted(a, v, side),
    lambda jax, a, v, side: jax.numpy.searchsorted(a, v, side).astype(np.intp),
    lambda a, v, side: Aval(v.shape, np.dtype(np.intp)),
    Zero(),
    _batch_searchsorted,
)

digitize = Primitive(
    "digitize",
    lambda x, bins, right: np.digitize(x, bins, right),
    lambda jax, x, bins, right: jax.numpy.digitize(x, bins, right).astype(np.intp),
    lambda x, bins, right: Aval(x.shape, np.dtype(np.intp)),
    Zero(),
    _batch_digitize,
)
