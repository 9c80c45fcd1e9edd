"""Discrete Fourier transforms of one axis, at its full length. May import `core`, `ops`.

The matrix of a DFT is symmetric, so `fft` and `ifft` are their own transposes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, shape_of
from funcgraph.core.primitive import Linear, Primitive
from funcgraph.ops.elementwise import conjugate, real
from funcgraph.ops.structural import pad_zeros, shifted

__all__ = ["fft", "ifft", "irfft", "rfft"]

_OPPOSITE = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _complex(dtype: Any) -> Any:
    return np.fft.fft(np.zeros(1, dtype)).dtype


def _declare(name: str) -> Primitive:
    function = getattr(np.fft, name)
    transform = Primitive(
        name,
        lambda x, axis, norm: function(x, axis=axis, norm=norm),
        lambda jax, x, axis, norm: getattr(jax.numpy.fft, name)(x, axis=axis, norm=norm),
        lambda x, axis, norm: Aval(x.shape, _complex(x.dtype)),
        Linear(lambda g, x, axis, norm: transform(g, axis=axis, norm=norm)),
        shifted,
    )
    return transform


fft, ifft = _declare("fft"), _declare("ifft")


def _real(dtype: Any) -> Any:
    return np.fft.irfft(np.zeros(2, dtype)).dtype


def _along(axis: int, ndim: int, part: Any, rest: Any) -> tuple[Any, ...]:
    return (rest,) * axis + (part,) + (rest,) * (ndim - axis - 1)


def _transpose_rfft(g: Any, x: Any, axis: int, norm: str) -> Any:
    shape = shape_of(x)
    missing = shape[axis] - shape_of(g)[axis]
    g = pad_zeros(g, widths=_along(axis, len(shape), (0, missing), (0, 0)))
    return real(fft(g, axis=axis, norm=norm))


def _half(shape: tuple[int, ...], axis: int, n: int) -> tuple[int, ...]:
    return (*shape[:axis], n, *shape[axis + 1 :])


def _jax_rfft(jax: Any, x: Any, axis: int, norm: str) -> Any:
    x = x.astype(np.float32) if x.dtype == np.float16 else x  # which JAX does not take
    return jax.numpy.fft.rfft(x, axis=axis, norm=norm)


rfft = Primitive(
    "rfft",
    lambda x, axis, norm: np.fft.rfft(x, axis=axis, norm=norm),
    _jax_rfft,
    lambda x, axis, norm: Aval(_half(x.shape, axis, x.shape[axis] // 2 + 1), _complex(x.dtype)),
    Linear(_transpose_rfft),
    shifted,
)


def _transpose_irfft(g: Any, x: Any, n: int, axis: int, norm: str) -> Any:
    out = conjugate(rfft(g, axis=axis, norm=_OPPOSITE[norm]))
    # Every frequency but the first, and the middle one of an even length, stands for two.
    count = np.full(n // 2 + 1, 2, dtype=g.dtype)
    count[0] = 1
    if n % 2 == 0:
        count[-1] = 1
    return out * count.reshape(_along(axis, len(shape_of(g)), -1, 1))


# n // 2 + 1 frequencies give n real values.
irfft = Primitive(
    "irfft",
    lambda x, n, axis, norm: np.fft.irfft(x, n, axis=axis, norm=norm),
    lambda jax, x, n, axis, norm: jax.numpy.fft.irfft(x, n, axis=axis, norm=norm).astype(
        _real(x.dtype)
    ),
    lambda x, n, axis, norm: Aval(_half(x.shape, axis, n), _real(x.dtype)),
    Linear(_transpose_irfft),
    shifted,
)
