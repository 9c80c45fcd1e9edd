"""The functions of numpy.fft. May import `core`, `ops`, `numpy._register`, `numpy.creation`."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funcgraph.core.aval import ndim_of, shape_of
from funcgraph.numpy._register import function
from funcgraph.numpy.creation import as_array, as_floats
from funcgraph.ops import elementwise as ew
from funcgraph.ops import fft as dft
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import concatenate, normalize_axes, normalize_axis, pad_zeros

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

fftfreq, rfftfreq = np.fft.fftfreq, np.fft.rfftfreq
_SWAP = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _sized(x: Any, n: Any, axis: int) -> Any:
    """Cut an axis to length n, or pad it with zeros."""
    length = shape_of(x)[axis]
    n = _points(length if n is None else n)
    if n == length:
        return x
    if n < length:
        return index(x, (slice(None),) * axis + (slice(0, n),))
    widths = [(0, 0)] * ndim_of(x)
    widths[axis] = (0, n - length)
    return pad_zeros(x, widths=tuple(widths))


def _points(n: Any) -> int:
    """Return the length of a transform."""
    n = operator.index(n)
    if n < 1:
        raise ValueError(f"Invalid number of FFT data points ({n}) specified.")
    return n


def _norm(norm: Any) -> str:
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(f'Invalid norm value {norm}; should be "backward", "ortho" or "forward".')
    return norm or "backward"


def _one(primitive: Any, a: Any, n: Any, axis: int, norm: Any) -> Any:
    x = as_floats(a)
    k = normalize_axis(axis, ndim_of(x))
    return primitive(_sized(x, n, k), axis=k, norm=_norm(norm))


@function(np.fft.fft)
def fft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the discrete Fourier transform: y_k = Σ_j a_j exp(-2πi jk/n)."""
    return _one(dft.fft, a, n, axis, norm)


@function(np.fft.ifft)
def ifft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the inverse transform: y_k = Σ_j a_j exp(2πi jk/n) / n."""
    return _one(dft.ifft, a, n, axis, norm)


@function(np.fft.rfft)
def rfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the non-negative frequencies of the transform of real values."""
    return _one(dft.rfft, a, n, axis, norm)


@function(np.fft.irfft)
def irfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the n real values with the given non-negative frequencies."""
    x = as_floats(a)
    k = normalize_axis(axis, ndim_of(x))
    n = _points(2 * (shape_of(x)[k] - 1) if n is None else n)
    x = _sized(x, n // 2 + 1, k)
    return dft.irfft(x, n=n, axis=k, norm=_norm(norm))


@function(np.fft.hfft)
def hfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the real transform of a signal with Hermitian symmetry."""
    return irfft(ew.conjugate(as_array(a)), n, axis, _SWAP[_norm(norm)])


@function(np.fft.ihfft)
def ihfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the inverse of hfft."""
    return ew.conjugate(rfft(a, n, axis, _SWAP[_norm(norm)]))


# --- several axes --------------------------------------------------------------------------------


def _cook(x: Any, s: Any, axes: Any) -> tuple[list[Any], list[int]]:
    """Return lengths and axes as numpy.fft reads them."""
    if axes is None:
        axes = range(-ndim_of(x) if s is None else -len(s), 0)
    places = [normalize_axis(k, ndim_of(x)) for k in axes]
    if s is None:
        return [shape_of(x)[k] for k in places], places
    if len(s) != len(places):
        raise ValueError("Shape and axes have different lengths.")
    return [shape_of(x)[k] if n == -1 else n for n, k in zip(s, places, strict=True)], places


def _several(transform: Any, a: Any, s: Any, axes: Any, norm: Any) -> Any:
    x = as_array(a)
    lengths, places = _cook(x, s, axes)
    for n, k in reversed(list(zip(lengths, places, strict=True))):
        x = transform(x, n, k, norm)
    return x


@function(np.fft.fftn)
def fftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
    """Return the transform over several axes."""
    return _several(fft, a, s, axes, norm)


@function(np.fft.ifftn)
def ifftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
    """Return the inverse transform over several axes."""
    return _several(ifft, a, s, axes, norm)


@function(np.fft.rfftn)
def rfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
    """Return the transform of real values over several axes; the last one is halved."""
    x = as_array(a)
    lengths, places = _cook(x, s, axes)
    x = rfft(x, lengths[-1], places[-1], norm)
    return _several(fft, x, lengths[:-1], places[:-1], norm)


@function(np.fft.irfftn)
def irfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
    """Return the inverse of rfftn."""
    x = as_array(a)
    lengths, places = _cook(x, s, axes)
    last = None if s is None else lengths[-1]
    x = _several(ifft, x, lengths[:-1], places[:-1], norm)
    return irfft(x, last, places[-1], norm)


def _two(numpy_function: Any, several: Any) -> Any:
    def body(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None) -> Any:
        return several(a, s, axes, norm)

    body.__name__ = numpy_function.__name__
    body.__doc__ = f"Return {several.__name__} over two axes."
    return function(numpy_function)(body)


fft2, ifft2 = _two(np.fft.fft2, fftn), _two(np.fft.ifft2, ifftn)
rfft2, irfft2 = _two(np.fft.rfft2, rfftn), _two(np.fft.irfft2, irfftn)


def _rotated(x: Any, axes: Any, amount: Any) -> Any:
    for k in normalize_axes(axes, ndim_of(x)):
        n = shape_of(x)[k]
        shift = amount(n) % n if n else 0
        if shift:
            at = (slice(None),) * k
            x = concatenate(
                index(x, (*at, slice(n - shift, n))), index(x, (*at, slice(0, n - shift))), axis=k
            )
    return x


@function(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Any:
    """Move the zero frequency to the middle."""
    return _rotated(as_array(x), axes, lambda n: n // 2)


@function(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Any:
    """Undo fftshift."""
    return _rotated(as_array(x), axes, lambda n: -(n // 2))
