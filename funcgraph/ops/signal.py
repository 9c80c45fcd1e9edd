"""The convolution of two sequences. May import `core`, `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, promote
from funcgraph.core.primitive import Bilinear, Primitive

__all__ = ["convolve"]


def _aval(a: Aval, v: Aval, mode: str) -> Aval:
    n, m = a.shape[0], v.shape[0]
    return Aval((n + m - 1 if mode == "full" else n - m + 1,), promote(a, v))


def _by_first(g: Any, a: Any, v: Any, mode: str) -> Any:
    return convolve(g, v[::-1], mode="valid" if mode == "full" else "full")


def _by_second(g: Any, a: Any, v: Any, mode: str) -> Any:
    if mode == "full":
        return convolve(g, a[::-1], mode="valid")
    return convolve(a, g[::-1], mode="valid")[::-1]


# y_n = Σ_k a_k v_{n-k}; mode "full" or "valid" (where they overlap completely; v not longer than a).
convolve = Primitive(
    "convolve",
    lambda a, v, mode: np.convolve(a, v, mode),
    lambda jax, a, v, mode: jax.numpy.convolve(a, v, mode),
    _aval,
    Bilinear(_by_first, _by_second),
)
