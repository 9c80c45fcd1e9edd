"""Normalisation: functions of arrays, and layers with scale, shift and running statistics.

Channels are last. May import `core`, `numpy`, `ops`, `nn.layer`, `nn.initializers`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.errors import LayerError, ShapeError
from funcgraph.nn.layer import Layer, Shape, StatefulLayer, define
from funcgraph.ops.structural import cast, normalize_axes, reshape
from funcgraph.transforms.linear import stop_gradient

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RMSNorm",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "rms_norm",
]

# --- functions -----------------------------------------------------------------------------------


def _affine(y: Any, scale: Any, bias: Any) -> Any:
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


def _wide(x: Any) -> Any:
    """Return x, half precision as single: there, squares overflow from 256 on."""
    return cast(x, np.float32) if dtype_of(x) == np.float16 else x


def _narrowed(y: Any, *like: Any) -> Any:
    """Return y in half precision again, if all that it was made of is."""
    dtypes = [dtype_of(v) for v in like if v is not None]
    return cast(y, np.float16) if np.result_type(*dtypes) == np.float16 else y


def _standardized(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    """Return (x - mean) / √(variance + eps), mean and variance along axes."""
    wide = _wide(x)
    centered = wide - fnp.mean(wide, axis=axes, keepdims=True)
    variance = fnp.mean(fnp.square(centered), axis=axes, keepdims=True)
    return _narrowed(centered / fnp.sqrt(variance + eps), x)


def batch_norm(
    x: Any, mean: Any, var: Any, scale: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Return x normalised by given statistics of its channels.

    y = scale (x - mean) / √(var + eps) + bias

    Args:
      x: Array of shape (..., channels).
      mean: Shape (channels,).
      var: Shape (channels,).
      scale: Shape (channels,), or None: 1.
      bias: Shape (channels,), or None: 0.
      eps: Added to the variance.

    Returns:
      Array of the shape of x.

    Example:
      >>> import numpy as np
      >>> batch_norm(np.array([[3.0]]), np.array([1.0]), np.array([4.0]), eps=0.0)
      array([[1.]])

    Source:
      Ioffe and Szegedy, "Batch normalization", 2015, algorithm 1.
    """
    factor = 1 / fnp.sqrt(var + eps)
    factor = factor if scale is None else factor * scale
    return _affine((x - mean) * factor, None, bias)


def layer_norm(
    x: Any, scale: Any = None, bias: Any = None, axis: Any = -1, eps: float = 1e-5
) -> Any:
    """Return x with mean 0 and variance 1 along axes, then scaled and shifted.

    y = scale (x - mean) / √(variance + eps) + bias

    Args:
      x: Array, floating point.
      scale: Array that broadcasts with x, or None: 1.
      bias: Array that broadcasts with x, or None: 0.
      axis: An axis, or a tuple of axes.
      eps: Added to the variance.

    Returns:
      Array of the shape and dtype of x.

    Example:
      >>> import numpy as np
      >>> layer_norm(np.array([1.0, 3.0]), eps=0.0)
      array([-1.,  1.])

    Source:
      Ba, Kiros and Hinton, "Layer normalization", 2016.
    """
    return _affine(_standardized(x, normalize_axes(axis, ndim_of(x)), eps), scale, bias)


def rms_norm(x: Any, scale: Any = None, axis: Any = -1, eps: float = 1e-6) -> Any:
    """Return x with mean square 1 along axes, then scaled.

    y = scale x / √(mean(x²) + eps)

    Args:
      x: Array, floating point.
      scale: Array that broadcasts with x, or None: 1.
      axis: An axis, or a tuple of axes.
      eps: Added to the mean square.

    Returns:
      Array of the shape and dtype of x.

    Example:
      >>> import numpy as np
      >>> rms_norm(np.array([2.0, -2.0]), eps=0.0)
      array([ 1., -1.])

    Source:
      Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """
    axes = normalize_axes(axis, ndim_of(x))
    wide = _wide(x)
    size = fnp.mean(fnp.square(wide), axis=axes, keepdims=True)
    return _affine(_narrowed(wide / fnp.sqrt(size + eps), x), scale, None)


def group_norm(x: Any, groups: int, scale: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Return x with mean 0 and variance 1 within each example and group of channels.

    Args:
      x: Array of shape (n, *spatial, channels).
      groups: Number of groups; it divides the channels.
      scale: Shape (channels,), or None: 1.
      bias: Shape (channels,), or None: 0.
      eps: Added to the variance.

    Returns:
      Array of the shape and dtype of x.

    Raises:
      ShapeError: The channels cannot be divided into the groups.

    Example:
      >>> import numpy as np
      >>> group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)
      array([[-1.,  1., -1.,  1.]])

    Source:
      Wu and He, "Group normalization", 2018.
    """
    shape = shape_of(x)
    if len(shape) < 2 or groups < 1 or shape[-1] % groups:
        raise ShapeError(
            f"group_norm with {groups} groups needs an array (n, ..., channels) whose channels are "
            f"a multiple of that, got the shape {shape}."
        )
    cut = reshape(x, shape=(*shape[:-1], groups, shape[-1] // groups))
    axes = (*range(1, len(shape) - 1), len(shape))
    return _affine(reshape(_standardized(cut, axes, eps), shape=shape), scale, bias)


def instance_norm(x: Any, scale: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Return x with mean 0 and variance 1 within each example and channel.

    Args:
      x: Array of shape (n, *spatial, channels).
      scale: Shape (channels,), or None: 1.
      bias: Shape (channels,), or None: 0.
      eps: Added to the variance.

    Returns:
      Array of the shape and dtype of x.

    Raises:
      ShapeError: There is no spatial axis.

    Example:
      >>> import numpy as np
      >>> instance_norm(np.array([[[1.0], [3.0]]]), eps=0.0).ravel()
      array([-1.,  1.])

    Source:
      Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.
    """
    shape = shape_of(x)
    if len(shape) < 3:
        raise ShapeError(
            f"instance_norm needs an array (n, *spatial, channels), got the shape {shape}."
        )
    return _affine(_standardized(x, tuple(range(1, len(shape) - 1)), eps), scale, bias)


# --- layers --------------------------------------------------------------------------------------


def _parameters(scale: bool, bias: bool, axes: int = 1) -> Any:
    """Return the function that makes ones and zeros for the last axes."""

    def parameters(key: Any, shape: Shape) -> dict[str, Any]:
        if len(shape) < axes:
            raise ShapeError(f"a normalisation over {axes} axes got an input of shape {shape!r}.")
        size = tuple(shape[len(shape) - axes :])
        if -1 in size:
            raise ShapeError(f"the length of a channel axis must be known, got {shape!r}.")
        params = {}
        if scale:
            params["scale"] = np.ones(size, shape.float_dtype)
        if bias:
            params["bias"] = np.zeros(size, shape.float_dtype)
        return params

    return parameters


def BatchNorm(  # noqa: N802
    *, momentum: float = 0.1, eps: float = 1e-5, scale: bool = True, bias: bool = True
) -> StatefulLayer:
    """Return batch normalisation, with running statistics as its state.

    In training: mean and variance of each channel over the batch and all other axes; the state
    becomes (1 - momentum) state + momentum statistics, with the variance of n - 1 degrees of
    freedom, as in PyTorch. Else: the statistics are the state's.

    Args:
      momentum: The weight of a new batch.
      eps: Added to the variance.
      scale: Whether there is a scale.
      bias: Whether there is a shift.

    Returns:
      A StatefulLayer for x of shape (n, ..., channels), with the parameters `scale` and `bias` and
      the state `mean` and `var`, each of shape (channels,).

    Raises:
      LayerError: In training each channel has one number only, as for a single example under vmap.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> layer = BatchNorm()
      >>> _, params, state = layer.init(fg.random.key(0), (-1, 2))
      >>> y, state = layer.apply(params, state, np.array([[0.0, 1.0], [2.0, 5.0]]), train=True)
      >>> y.round(2), state["mean"].round(2)
      (array([[-1., -1.],
             [ 1.,  1.]]), array([0.1, 0.3]))

    Source:
      Ioffe and Szegedy, "Batch normalization", 2015.
    """

    def state(shape: Shape) -> dict[str, Any]:
        size, dtype = shape[-1:], shape.float_dtype
        return {"mean": np.zeros(size, dtype), "var": np.ones(size, dtype)}

    def apply(
        params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False
    ) -> tuple[Any, Any]:
        weights = params.get("scale"), params.get("bias")
        if not train:
            return batch_norm(x, state["mean"], state["var"], *weights, eps), state
        shape = shape_of(x)
        n = int(np.prod(shape[:-1], dtype=int))
        if n < 2:
            raise LayerError(
                f"BatchNorm trains on the statistics of a batch, but each channel of an input of "
                f"shape {shape} has {n} number(s). Under vmap the layer sees one example at a "
                "time: use it on the whole batch, or LayerNorm or GroupNorm instead."
            )
        axes = tuple(range(len(shape) - 1))
        wide = _wide(x)
        mean = fnp.mean(wide, axis=axes)
        var = fnp.mean(fnp.square(wide - mean), axis=axes)
        new = {
            "mean": _moving(state["mean"], mean, momentum),
            "var": _moving(state["var"], var * (n / (n - 1)), momentum),
        }
        return _narrowed(batch_norm(wide, mean, var, *weights, eps), x, *weights), new

    return define("BatchNorm", _parameters(scale, bias), apply, state)


def _moving(old: Any, new: Any, momentum: float) -> Any:
    return (1 - momentum) * old + momentum * stop_gradient(new)


def LayerNorm(  # noqa: N802
    *, axes: int = 1, eps: float = 1e-5, scale: bool = True, bias: bool = True
) -> Layer:
    """Return layer normalisation.

    Args:
      axes: Over how many of the last axes mean and variance are taken.
      eps: Added to the variance.
      scale: Whether there is a scale.
      bias: Whether there is a shift.

    Returns:
      A Layer with the parameters `scale` and `bias`, of the shape of these axes.

    Example:
      >>> import funcgraph as fg
      >>> LayerNorm().init(fg.random.key(0), (-1, 5, 3))[0]
      float32[-1,5,3]

    Source:
      Ba, Kiros and Hinton, "Layer normalization", 2016.
    """
    over = tuple(range(-axes, 0))

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        return layer_norm(x, params.get("scale"), params.get("bias"), over, eps)

    return define("LayerNorm", _parameters(scale, bias, axes), apply)


def RMSNorm(*, eps: float = 1e-6, scale: bool = True) -> Layer:  # noqa: N802
    """Return normalisation by the mean square of the last axis.

    Args:
      eps: Added to the mean square.
      scale: Whether there is a scale.

    Returns:
      A Layer with the parameter `scale`, of the length of the last axis.

    Example:
      >>> import funcgraph as fg
      >>> RMSNorm().init(fg.random.key(0), (-1, 3))[0]
      float32[-1,3]

    Source:
      Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        return rms_norm(x, params.get("scale"), -1, eps)

    return define("RMSNorm", _parameters(scale, False), apply)


def GroupNorm(  # noqa: N802
    groups: int, *, eps: float = 1e-5, scale: bool = True, bias: bool = True
) -> Layer:
    """Return normalisation within each example and group of channels.

    Args:
      groups: Number of groups; it divides the channels.
      eps: Added to the variance.
      scale: Whether there is a scale.
      bias: Whether there is a shift.

    Returns:
      A Layer with the parameters `scale` and `bias`, for x of shape (n, ..., channels).

    Example:
      >>> import funcgraph as fg
      >>> GroupNorm(2).init(fg.random.key(0), (-1, 8, 8, 4))[0]
      float32[-1,8,8,4]

    Source:
      Wu and He, "Group normalization", 2018.
    """

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        return group_norm(x, groups, params.get("scale"), params.get("bias"), eps)

    return define("GroupNorm", _parameters(scale, bias), apply)


def InstanceNorm(  # noqa: N802
    *, eps: float = 1e-5, scale: bool = False, bias: bool = False
) -> Layer:
    """Return normalisation within each example and channel.

    Args:
      eps: Added to the variance.
      scale: Whether there is a scale.
      bias: Whether there is a shift.

    Returns:
      A Layer for x of shape (n, *spatial, channels).

    Example:
      >>> import funcgraph as fg
      >>> InstanceNorm().init(fg.random.key(0), (-1, 8, 8, 4))[0]
      float32[-1,8,8,4]

    Source:
      Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.
    """

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        return instance_norm(x, params.get("scale"), params.get("bias"), eps)

    return define("InstanceNorm", _parameters(scale, bias), apply)
