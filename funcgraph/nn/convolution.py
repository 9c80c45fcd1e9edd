"""Convolutional layers, fixed filters and pooling layers. Channels are last.

May import `core`, `numpy`, `ops`, `random`, `nn`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.errors import LayerError, ShapeError
from funcgraph.nn import functional_conv as functions
from funcgraph.nn.initializers import Initializer, lecun_normal, zeros
from funcgraph.nn.layer import Layer, Shape, define, fn
from funcgraph.random.keys import split

__all__ = [
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
    "AvgPool",
    "Conv",
    "ConvTranspose",
    "DepthwiseConv",
    "Filter",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "MaxPool",
]

Axes = int | tuple[int, ...]


def _window(kind: str, window: Axes, shape: Shape) -> tuple[int, ...]:
    """Return the window's length along each spatial axis of an input."""
    count = len(shape) - 2
    if count not in (1, 2, 3):
        raise ShapeError(
            f"{kind} needs an input (n, *spatial, channels) with 1 to 3 spatial axes, got the "
            f"shape {shape!r}."
        )
    lengths = (window,) * count if isinstance(window, int) else tuple(window)
    if len(lengths) != count:
        raise LayerError(
            f"{kind} has a window of {len(lengths)} axes, {lengths}, but the input {shape!r} has "
            f"{count} spatial axes."
        )
    return lengths


def _layer(
    kind: str,
    window: Axes,
    channels: Callable[[int], tuple[int, int]],
    call: Callable[[Any, Any], Any],
    bias: bool,
    w_init: Initializer | None,
    b_init: Initializer,
) -> Layer:
    """Return a layer with a kernel: channels(inputs) gives the last two lengths of its shape."""

    def parameters(key: Any, shape: Shape) -> dict[str, Any]:
        lengths = _window(kind, window, shape)
        w_key, b_key = split(key)
        size = (*lengths, *channels(shape[-1]))
        params = {"w": (w_init or lecun_normal())(w_key, size, shape.float_dtype)}
        if bias:
            params["b"] = b_init(b_key, size[-1:], shape.float_dtype)
        return params

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        y = call(x, params["w"])
        return y + params["b"] if bias else y

    return define(kind, parameters, apply)


def Conv(  # noqa: N802
    features: int,
    window: Axes,
    *,
    strides: Axes = 1,
    padding: Any = "VALID",
    dilation: Axes = 1,
    groups: int = 1,
    bias: bool = True,
    w_init: Initializer | None = None,
    b_init: Initializer = zeros,
) -> Layer:
    """Return a convolutional layer with 1, 2 or 3 spatial axes: each output channel is a filter.

    y[n, p, o] = Σ_{q, i} x[n, p * stride + q, i] w[q, i, o] + b[o]

    Args:
      features: Number of output channels.
      window: Lengths of the filters: an int, or one for each spatial axis.
      strides: Steps between outputs, likewise.
      padding: "VALID" (none), "SAME" (as many outputs as inputs, divided by the strides), an int,
        or an int or a pair (low, high) for each spatial axis.
      dilation: Distances between the filter's taps, likewise.
      groups: In how many groups the channels are split; outputs of a group see its channels alone.
      bias: Whether there is a b.
      w_init: Initialiser of w, shape (*window, inputs / groups, features); default: lecun_normal().
      b_init: Initialiser of b, shape (features,).

    Returns:
      A Layer with the parameters `w` and `b`, for x of shape (n, *spatial, inputs).

    Raises:
      ShapeError: The input has no spatial axes, other channels than w, or is smaller than a window.
      LayerError: The window has another number of axes, or the groups do not divide the channels.

    Example:
      >>> import funcgraph as fg
      >>> Conv(8, (3, 3), padding="SAME").init(fg.random.key(0), (-1, 28, 28, 1))[0]
      float32[-1,28,28,8]

    Source:
      LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
      1998.
    """

    def channels(inputs: int) -> tuple[int, int]:
        if inputs % groups or features % groups:
            raise LayerError(
                f"Conv with {groups} groups needs channels that are multiples of that, got "
                f"{inputs} inputs and {features} features."
            )
        return inputs // groups, features

    def call(x: Any, w: Any) -> Any:
        return functions.conv(x, w, strides, padding, dilation, groups)

    return _layer("Conv", window, channels, call, bias, w_init, b_init)


def DepthwiseConv(  # noqa: N802
    window: Axes,
    *,
    multiplier: int = 1,
    strides: Axes = 1,
    padding: Any = "VALID",
    dilation: Axes = 1,
    bias: bool = True,
    w_init: Initializer | None = None,
    b_init: Initializer = zeros,
) -> Layer:
    """Return a convolutional layer that filters each channel by itself.

    Args:
      window: As of Conv.
      multiplier: Number of filters for each channel.
      strides: As of Conv.
      padding: As of Conv.
      dilation: As of Conv.
      bias: Whether there is a b.
      w_init: Initialiser of w, shape (*window, 1, channels * multiplier); default: lecun_normal().
      b_init: Initialiser of b, shape (channels * multiplier,).

    Returns:
      A Layer with the parameters `w` and `b`, for x of shape (n, *spatial, channels).

    Raises:
      ShapeError: As of Conv.
      LayerError: As of Conv.

    Example:
      >>> import funcgraph as fg
      >>> DepthwiseConv(3).init(fg.random.key(0), (-1, 28, 28, 16))[0]
      float32[-1,26,26,16]

    Source:
      Howard et al., "MobileNets", 2017, section 3.1.
    """

    def call(x: Any, w: Any) -> Any:
        return functions.conv(x, w, strides, padding, dilation, groups=shape_of(x)[-1])

    channels = lambda inputs: (1, inputs * multiplier)  # noqa: E731
    return _layer("DepthwiseConv", window, channels, call, bias, w_init, b_init)


def ConvTranspose(  # noqa: N802
    features: int,
    window: Axes,
    *,
    strides: Axes = 1,
    padding: Any = "VALID",
    dilation: Axes = 1,
    bias: bool = True,
    w_init: Initializer | None = None,
    b_init: Initializer = zeros,
) -> Layer:
    """Return a transposed convolution, which makes the spatial axes longer by the strides.

    Args:
      features: Number of output channels.
      window: As of Conv.
      strides: How many times longer the spatial axes become.
      padding: "VALID", "SAME" (exactly strides times as long), or pairs, as of nn.conv_transpose.
      dilation: As of Conv.
      bias: Whether there is a b.
      w_init: Initialiser of w, shape (*window, inputs, features); default: lecun_normal().
      b_init: Initialiser of b, shape (features,).

    Returns:
      A Layer with the parameters `w` and `b`, for x of shape (n, *spatial, inputs).

    Raises:
      ShapeError: As of Conv.
      LayerError: As of Conv.

    Example:
      >>> import funcgraph as fg
      >>> layer = ConvTranspose(8, 3, strides=2, padding="SAME")
      >>> layer.init(fg.random.key(0), (-1, 14, 14, 4))[0]
      float32[-1,28,28,8]

    Source:
      Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4.
    """

    def call(x: Any, w: Any) -> Any:
        return functions.conv_transpose(x, w, strides, padding, dilation)

    channels = lambda inputs: (inputs, features)  # noqa: E731
    return _layer("ConvTranspose", window, channels, call, bias, w_init, b_init)


def Filter(kernel: Any, *, strides: Axes = 1, padding: Any = "SAME") -> Layer:  # noqa: N802
    """Return a layer that applies one fixed kernel to each channel by itself.

    Args:
      kernel: Array with an axis for each spatial axis of the input; see `nn.filters`.
      strides: As of Conv.
      padding: As of Conv.

    Returns:
      A Layer without parameters, for x of shape (n, *spatial, channels).

    Raises:
      LayerError: The kernel has another number of axes than the input has spatial ones.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> edges = Filter(fg.nn.filters.laplace(), padding="VALID")
      >>> ramp = np.arange(25.0).reshape(1, 5, 5, 1)
      >>> edges.apply({}, ramp).ravel().max()
      np.float64(0.0)
    """
    kernel = np.asarray(kernel)

    def apply(x: Any) -> Any:
        if ndim_of(x) != kernel.ndim + 2:
            raise LayerError(
                f"Filter has a kernel of shape {kernel.shape}, for inputs (n, *spatial, channels) "
                f"with {kernel.ndim} spatial axes, got the shape {shape_of(x)}."
            )
        channels = shape_of(x)[-1]
        w = np.broadcast_to(kernel[..., None, None], (*kernel.shape, 1, channels))
        return functions.conv(x, w.astype(dtype_of(x)), strides, padding, groups=channels)

    return fn(apply, "Filter")


# --- pooling -------------------------------------------------------------------------------------


def MaxPool(  # noqa: N802
    window: Axes, *, strides: Axes | None = None, padding: Any = "VALID"
) -> Layer:
    """Return the layer that takes the maximum of each window.

    Args:
      window: Lengths of the window: an int, or one for each spatial axis.
      strides: Steps between windows; None: the window, so that windows do not overlap.
      padding: As of Conv; padding is never the maximum.

    Example:
      >>> import funcgraph as fg
      >>> MaxPool(2).init(fg.random.key(0), (-1, 28, 28, 8))[0]
      float32[-1,14,14,8]
    """
    return fn(lambda x: functions.max_pool(x, window, strides, padding), "MaxPool")


def AvgPool(  # noqa: N802
    window: Axes,
    *,
    strides: Axes | None = None,
    padding: Any = "VALID",
    count_include_pad: bool = True,
) -> Layer:
    """Return the layer that takes the mean of each window.

    Args:
      window: Lengths of the window: an int, or one for each spatial axis.
      strides: Steps between windows; None: the window, so that windows do not overlap.
      padding: As of Conv; padding counts as zeros.
      count_include_pad: Whether to divide by the window's size also where it reaches over the edge.

    Example:
      >>> import funcgraph as fg
      >>> AvgPool(2).init(fg.random.key(0), (-1, 28, 28, 8))[0]
      float32[-1,14,14,8]
    """
    return fn(
        lambda x: functions.avg_pool(x, window, strides, padding, count_include_pad), "AvgPool"
    )


def GlobalMaxPool() -> Layer:  # noqa: N802
    """Return the layer that takes the maximum over all spatial axes.

    Example:
      >>> import funcgraph as fg
      >>> GlobalMaxPool().init(fg.random.key(0), (-1, 7, 7, 8))[0]
      float32[-1,8]
    """
    return fn(functions.global_max_pool, "GlobalMaxPool")


def GlobalAvgPool() -> Layer:  # noqa: N802
    """Return the layer that takes the mean over all spatial axes.

    Example:
      >>> import funcgraph as fg
      >>> GlobalAvgPool().init(fg.random.key(0), (-1, 7, 7, 8))[0]
      float32[-1,8]
    """
    return fn(functions.global_avg_pool, "GlobalAvgPool")


def AdaptiveMaxPool(output_size: Any) -> Layer:  # noqa: N802
    """Return the layer that takes maxima over bins, so many along each spatial axis.

    Example:
      >>> import funcgraph as fg
      >>> AdaptiveMaxPool(3).init(fg.random.key(0), (-1, 7, 7, 8))[0]
      float32[-1,3,3,8]
    """
    return fn(lambda x: functions.adaptive_max_pool(x, output_size), "AdaptiveMaxPool")


def AdaptiveAvgPool(output_size: Any) -> Layer:  # noqa: N802
    """Return the layer that takes means over bins, so many along each spatial axis.

    Example:
      >>> import funcgraph as fg
      >>> AdaptiveAvgPool(3).init(fg.random.key(0), (-1, 7, 7, 8))[0]
      float32[-1,3,3,8]
    """
    return fn(lambda x: functions.adaptive_avg_pool(x, output_size), "AdaptiveAvgPool")
