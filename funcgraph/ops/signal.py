"""The convolution of two sequences. May import `core`, `ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of, is_inexact, ndim_of, promote, shape_of
from funcgraph.core.primitive import Bilinear, Primitive
from funcgraph.ops.linalg import matmul
from funcgraph.ops.structural import pad_zeros

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


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    """Multiply a matrix of windows of a with v reversed."""
    a, v = args
    m = shape_of(v)[-1]
    if attrs["mode"] == "full":
        a = pad_zeros(a, widths=((0, 0),) * (ndim_of(a) - 1) + ((m - 1, m - 1),))
    starts = np.arange(shape_of(a)[-1] - m + 1)
    windows = a[..., starts[:, None] + np.arange(m)]
    v = v[..., ::-1]
    return matmul(windows, v[..., None])[..., 0] if batched[1] else matmul(windows, v)


def _on_jax(jax: Any, a: Any, v: Any, mode: str) -> Any:
    dtype = promote(aval_of(a), aval_of(v))
    if is_inexact(dtype):
        return jax.numpy.convolve(a, v, mode)
    # JAX would convolve integers as floats of single precision.
    x, y = (jax.numpy.asarray(z, dtype) for z in (a, v))
    return _batch(convolve, 1, (x[None], y), (True, False), {"mode": mode})[0]


# y_n = Σ_k a_k v_{n-k}; mode "full" or "valid" (where they overlap completely; v not longer than a).
convolve = Primitive(
    "convolve",
    lambda a, v, mode: np.convolve(a, v, mode),
    _on_jax,
    _aval,
    Bilinear(_by_first, _by_second),
    _batch,
)
