"""Primitives that look numbers up in sorted ones: positions, which have no derivative.

May import `core`.
"""

from __future__ import annotations

import numpy as np

from funcgraph.core.aval import Aval
from funcgraph.core.primitive import Primitive, Zero

__all__ = ["digitize", "searchsorted"]

searchsorted = Primitive(
    "searchsorted",
    lambda a, v, side: np.searchsorted(a, v, side),
    lambda jax, a, v, side: jax.numpy.searchsorted(a, v, side).astype(np.intp),
    lambda a, v, side: Aval(v.shape, np.dtype(np.intp)),
    Zero(),
)

digitize = Primitive(
    "digitize",
    lambda x, bins, right: np.digitize(x, bins, right),
    lambda jax, x, bins, right: jax.numpy.digitize(x, bins, right).astype(np.intp),
    lambda x, bins, right: Aval(x.shape, np.dtype(np.intp)),
    Zero(),
)
