"""Convolutions and pooling as pure functions. May import `core`, `ops`, `numpy`.

Channels last: inputs are (N, *spatial, C), kernels (*taps, C / groups, O), with 1, 2, 3 or more
spatial axes. Every function is differentiable in every mode and order, and runs on NumPy arrays,
JAX arrays and tracers. An input without a batch axis: `x[None]`, or one lane of `vmap`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.errors import ShapeError
from funcgraph.numpy.creation import as_array
from funcgraph.ops import conv as _conv
from funcgraph.ops.pooling import window_max, window_sum
from funcgraph.ops.structural import cast, concatenate
from funcgraph.ops.windows import Ints, Pairs, extent, output_length, pads, per_axis

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "conv",
    "conv_transpose",
    "global_avg_pool",
    "global_max_pool",
    "max_pool",
    "min_pool",
]


# --- convolution ----------------------------------------------------------------------------------


def _arguments(
    x: Any, w: Any, strides: Any, dilation: Any, groups: int, transposed: bool = False
) -> tuple[Ints, Ints]:
    """Return strides and dilation of a convolution; raise where its arrays do not fit."""
    _conv.check_channels(shape_of(x), shape_of(w), groups, transposed)
    count = ndim_of(x) - 2
    return per_axis(strides, count, "strides"), per_axis(dilation, count, "dilation")


def conv(
    x: Any, w: Any, strides: Any = 1, padding: Any = "VALID", dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolve an input with a kernel (without flipping it, as every framework does).

    y[n, o, m] = Σ x[n, o * stride + k * dilation - low, c] * w[k, c, m], summed over k and c.

    Args:
      x: Input of shape (N, *spatial, C): NWC, NHWC, NDHWC, floating-point or complex.
      w: Kernel of shape (*taps, C / groups, O): WIO, HWIO, DHWIO.
      strides: Steps between outputs: an int, or one for each spatial axis.
      padding: "VALID" (none), "SAME" (outputs = ceil(length / stride)), an int for both ends of all
        axes, or for each axis an int or a pair (low, high). Negative numbers cut the input.
      dilation: Distances between the taps: an int, or one for each spatial axis.
      groups: In how many groups the channels are split; outputs of a group see its channels alone.
        With groups = C each channel is convolved by itself (depthwise).

    Returns:
      Array of shape (N, *outputs, O).

    Raises:
      ShapeError: Input and kernel do not fit, or the kernel is larger than the padded input.
      WindowError: An argument is not what it must be.

    Example:
      >>> import numpy as np
      >>> x = np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1)
      >>> conv(x, np.array([-1.0, 1.0]).reshape(2, 1, 1)).ravel()
      array([1., 2., 4.])

    Source:
      Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016;
      jax.lax.conv_general_dilated.
    """
    x, w = as_array(x), as_array(w)
    strides, dilation = _arguments(x, w, strides, dilation, groups)
    shape, kernel = shape_of(x), shape_of(w)
    padding = pads(padding, shape[1:-1], kernel[:-2], strides, dilation)
    attrs = {"strides": strides, "padding": padding, "dilation": dilation, "groups": int(groups)}
    return _conv.conv(x, w, **attrs)


def conv_transpose(
    x: Any,
    w: Any,
    strides: Any = 1,
    padding: Any = "VALID",
    dilation: Any = 1,
    groups: int = 1,
    transpose_kernel: bool = False,
) -> Any:
    """Convolve an input that is spread out by zeros: the transpose of `conv`, which upsamples.

    The numbers are those of jax.lax.conv_transpose: `conv`, with strides 1, of the input with
    stride - 1 zeros between its elements, padded. For those of torch's ConvTranspose, with a weight
    of shape (C, O / groups, *taps), `padding` p and `output_padding` q: transpose_kernel=True, the
    weight's axes in the order (*taps, O / groups, C), and padding = (e - p, e - p + q) for each
    axis, where e = (taps - 1) * dilation.

    Args:
      x: Input of shape (N, *spatial, C).
      w: Kernel of shape (*taps, C / groups, O); with transpose_kernel, (*taps, O / groups, C).
      strides: How far the elements are spread: an int, or one for each spatial axis.
      padding: "VALID" (every product of an element and a tap counts: length * stride +
        max(extent - stride, 0) outputs), "SAME" (length * stride outputs), or what is added around
        the spread input: an int, or for each axis an int or a pair (low, high).
      dilation: Distances between the taps: an int, or one for each spatial axis.
      groups: In how many groups the channels are split.
      transpose_kernel: Take the kernel of the convolution of which this is the transpose, that is,
        reverse the taps and swap inputs and outputs.

    Returns:
      Array of shape (N, *outputs, O).

    Raises:
      ShapeError: Input and kernel do not fit, or no output is left.
      WindowError: An argument is not what it must be.

    Example:
      >>> import numpy as np
      >>> x = np.array([1.0, 2.0]).reshape(1, 2, 1)
      >>> conv_transpose(x, np.array([1.0, 10.0]).reshape(2, 1, 1), strides=2).ravel()
      array([10.,  1., 20.,  2.])

    Source:
      Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4;
      jax.lax.conv_transpose.
    """
    x, w = as_array(x), as_array(w)
    shape, kernel = shape_of(x), shape_of(w)
    strides, dilation = _arguments(x, w, strides, dilation, groups, transpose_kernel)
    spans = tuple(map(extent, kernel[:-2], dilation))
    around = _transposed_pads(padding, shape[1:-1], spans, strides)
    lengths, padding = [], []
    for n, s, e, (low, high) in zip(shape[1:-1], strides, spans, around, strict=True):
        length = (n - 1) * s + 1 + low + high - (e - 1)
        lengths.append(length)
        padding.append((e - 1 - low, (n - 1) * s + 1 + low - length))
    if any(n < 1 for n in lengths):
        raise ShapeError(
            f"the transposed convolution of an input of shape {shape} with a kernel of shape "
            f"{shape_of(w)}, strides {strides} and padding {around} has no outputs (lengths "
            f"{lengths}): pad more."
        )
    return _conv.conv_input(
        x,
        w if transpose_kernel else _conv.reversed_kernel(w, groups),
        strides=strides,
        padding=tuple(padding),
        dilation=dilation,
        groups=int(groups),
        shape=tuple(lengths),
    )


def _transposed_pads(padding: Any, lengths: Ints, spans: Ints, strides: Ints) -> Pairs:
    """Return what is added around the spread input of a transposed convolution."""
    if not isinstance(padding, str) or padding.upper() not in ("SAME", "VALID"):
        return pads(padding, lengths, spans, strides)
    pairs = []
    for e, s in zip(spans, strides, strict=True):
        total = e + s - 2
        if padding.upper() == "VALID":
            low, total = e - 1, total + max(e - s, 0)
        else:
            low = e - 1 if s > e - 1 else -(-total // 2)
        pairs.append((low, total - low))
    return tuple(pairs)


# --- pooling --------------------------------------------------------------------------------------


def _windows(x: Any, window: Any, strides: Any, padding: Any) -> list[dict[str, Any]]:
    """Return the attributes of pooling along each spatial axis, the last one first."""
    shape = shape_of(x)
    count = len(shape) - 2
    if count < 1:
        raise ShapeError(f"pooling is of an array of shape (N, *spatial, C), got shape {shape}.")
    window = per_axis(window, count, "window")
    strides = per_axis(window if strides is None else strides, count, "strides")
    pairs = pads(padding, shape[1:-1], window, strides)
    outputs = map(output_length, shape[1:-1], window, strides, pairs)
    if any(n < 1 for n in outputs):
        raise ShapeError(
            f"the window {window} is larger than the input of shape {shape} with padding {pairs}: "
            "nothing is left. Pad more, or use a smaller window."
        )
    # The first maximum of a window is in the first of its rows that has one: rows come last.
    return [
        {"axis": k + 1, "window": window[k], "stride": strides[k], "pad": pairs[k]}
        for k in reversed(range(count))
    ]


def max_pool(x: Any, window: Any, strides: Any = None, padding: Any = "VALID") -> Any:
    """Return the maximum of each window; at ties its first element has the derivative.

    Args:
      x: Input of shape (N, *spatial, C), real.
      window: Lengths of the window: an int, or one for each spatial axis.
      strides: Steps between windows: an int, or one for each spatial axis; None: the window, so
        that windows do not overlap (as in torch; flax's default is 1).
      padding: "VALID" (none), "SAME" (outputs = ceil(length / stride)), an int for both ends of all
        axes, or for each axis an int or a pair (low, high). Padding is never the maximum.

    Returns:
      Array of shape (N, *outputs, C).

    Raises:
      ShapeError: The window is larger than the padded input.
      WindowError: An argument is not what it must be.

    Example:
      >>> import numpy as np
      >>> max_pool(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
      array([[ 5.,  7.],
             [13., 15.]])

    Source:
      flax.linen.max_pool.
    """
    x = as_array(x)
    for attrs in _windows(x, window, strides, padding):
        x = window_max(x, **attrs)
    return x


def min_pool(x: Any, window: Any, strides: Any = None, padding: Any = "VALID") -> Any:
    """Return the minimum of each window; at ties its first element has the derivative.

    Args:
      x: Input of shape (N, *spatial, C), real.
      window: As for `max_pool`.
      strides: As for `max_pool`.
      padding: As for `max_pool`; padding is never the minimum.

    Returns:
      Array of shape (N, *outputs, C).

    Raises:
      ShapeError: The window is larger than the padded input.
      WindowError: An argument is not what it must be.

    Example:
      >>> import numpy as np
      >>> min_pool(np.arange(16.0).reshape(1, 4, 4, 1), 2, 2)[0, :, :, 0]
      array([[ 0.,  2.],
             [ 8., 10.]])

    Source:
      flax.linen.min_pool.
    """
    x = as_array(x)
    flip = operator.neg if is_inexact(dtype_of(x)) else operator.invert  # exact for every integer
    return flip(max_pool(flip(x), window, strides, padding))


def avg_pool(
    x: Any,
    window: Any,
    strides: Any = None,
    padding: Any = "VALID",
    count_include_pad: bool = True,
) -> Any:
    """Return the mean of each window.

    Args:
      x: Input of shape (N, *spatial, C).
      window: As for `max_pool`.
      strides: As for `max_pool`.
      padding: As for `max_pool`; padding counts as zeros.
      count_include_pad: Divide by the size of the window; if False, by the number of its elements
        that are not padding.

    Returns:
      Array of shape (N, *outputs, C); float64 for integers.

    Raises:
      ShapeError: The window is larger than the padded input.
      WindowError: An argument is not what it must be.

    Example:
      >>> import numpy as np
      >>> x = np.array([2.0, 4.0, 6.0]).reshape(1, 3, 1)
      >>> avg_pool(x, 2, 2, "SAME").ravel()
      array([3., 3.])
      >>> avg_pool(x, 2, 2, "SAME", count_include_pad=False).ravel()
      array([3., 6.])

    Source:
      flax.linen.avg_pool.
    """
    x = _floating(x)
    shape, dtype = shape_of(x), dtype_of(x)
    windows = _windows(x, window, strides, padding)
    for attrs in windows:
        x = window_sum(x, **attrs)
    if count_include_pad:
        return x / prod(a["window"] for a in windows)
    for attrs in windows:
        k = attrs["axis"]
        ones = np.ones((1,) * k + (shape[k],) + (1,) * (len(shape) - k - 1), dtype)
        x = x / window_sum(ones, **attrs)
    return x


def _floating(x: Any) -> Any:
    x = as_array(x)
    return x if is_inexact(dtype_of(x)) or dtype_of(x).kind == "V" else cast(x, np.float64)


def _spatial_axes(x: Any) -> Ints:
    if ndim_of(x) < 3:
        raise ShapeError(f"pooling is of an array of shape (N, *spatial, C), got {shape_of(x)}.")
    return tuple(range(1, ndim_of(x) - 1))


def global_max_pool(x: Any, keepdims: bool = False) -> Any:
    """Return the maximum over all spatial axes; ties share the derivative, as for np.max.

    Args:
      x: Input of shape (N, *spatial, C), real.
      keepdims: Keep the spatial axes, with length 1.

    Returns:
      Array of shape (N, C), or (N, 1, ..., 1, C).

    Raises:
      ShapeError: x has no spatial axes.

    Example:
      >>> import numpy as np
      >>> global_max_pool(np.arange(6.0).reshape(1, 3, 2))
      array([[4., 5.]])

    Source:
      Lin et al., "Network in network", ICLR 2014.
    """
    x = as_array(x)
    return fnp.max(x, axis=_spatial_axes(x), keepdims=keepdims)


def global_avg_pool(x: Any, keepdims: bool = False) -> Any:
    """Return the mean over all spatial axes.

    Args:
      x: Input of shape (N, *spatial, C).
      keepdims: Keep the spatial axes, with length 1.

    Returns:
      Array of shape (N, C), or (N, 1, ..., 1, C); float64 for integers.

    Raises:
      ShapeError: x has no spatial axes.

    Example:
      >>> import numpy as np
      >>> global_avg_pool(np.arange(6.0).reshape(1, 3, 2))
      array([[2., 3.]])

    Source:
      Lin et al., "Network in network", ICLR 2014.
    """
    x = as_array(x)
    return fnp.mean(x, axis=_spatial_axes(x), keepdims=keepdims)


def _adaptive(x: Any, output_size: Any, pool: Callable[..., Any]) -> Any:
    """Pool each spatial axis in bins, of the elements from floor(i L / n) to ceil((i + 1) L / n).

    `pool(x, axis=..., window=..., stride=..., pad=...)` pools along one axis.
    """
    axes = _spatial_axes(x)
    kept = output_size if isinstance(output_size, tuple | list) else (output_size,) * len(axes)
    shape = shape_of(x)
    wanted = [n if v is None else v for v, n in zip(kept, shape[1:-1], strict=False)]
    sizes = per_axis(wanted if len(kept) == len(axes) else kept, len(axes), "output_size")
    if 0 in shape[1:-1]:
        raise ShapeError(f"there is nothing to pool in an array of shape {shape}.")
    for axis, size in reversed(list(zip(axes, sizes, strict=True))):
        n = shape[axis]
        if n % size == 0:
            x = pool(x, axis=axis, window=n // size, stride=n // size, pad=(0, 0))
            continue
        bins = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
        at = (slice(None),) * axis
        parts = [
            pool(x[(*at, slice(a, b))], axis=axis, window=b - a, stride=1, pad=(0, 0))
            for a, b in bins
        ]
        x = concatenate(*parts, axis=axis)
    return x


def adaptive_max_pool(x: Any, output_size: Any) -> Any:
    """Return the maxima of `output_size` bins that cover each spatial axis.

    Bin i of n along an axis of length L holds the elements from floor(i L / n) up to, but not
    including, ceil((i + 1) L / n). At ties the first element of a bin has the derivative.

    Args:
      x: Input of shape (N, *spatial, C), real.
      output_size: Number of bins: an int, or one for each spatial axis; None keeps the length.

    Returns:
      Array of shape (N, *output_size, C).

    Raises:
      ShapeError: x has no spatial axes, or they are empty.
      WindowError: output_size is not what it must be.

    Example:
      >>> import numpy as np
      >>> adaptive_max_pool(np.arange(5.0).reshape(1, 5, 1), 2).ravel()
      array([2., 4.])

    Source:
      torch.nn.AdaptiveMaxPool2d.
    """
    return _adaptive(as_array(x), output_size, window_max)


def adaptive_avg_pool(x: Any, output_size: Any) -> Any:
    """Return the means of `output_size` bins that cover each spatial axis.

    Bin i of n along an axis of length L holds the elements from floor(i L / n) up to, but not
    including, ceil((i + 1) L / n).

    Args:
      x: Input of shape (N, *spatial, C).
      output_size: Number of bins: an int, or one for each spatial axis; None keeps the length.

    Returns:
      Array of shape (N, *output_size, C); float64 for integers.

    Raises:
      ShapeError: x has no spatial axes, or they are empty.
      WindowError: output_size is not what it must be.

    Example:
      >>> import numpy as np
      >>> adaptive_avg_pool(np.arange(5.0).reshape(1, 5, 1), 2).ravel()
      array([1., 3.])

    Source:
      torch.nn.AdaptiveAvgPool2d.
    """

    def mean(x: Any, window: int, **attrs: Any) -> Any:
        return window_sum(x, window=window, **attrs) / window

    return _adaptive(_floating(x), output_size, mean)
