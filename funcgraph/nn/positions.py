"""Encodings of positions: sinusoidal, learned, rotary.

May import `core`, `ops`, `numpy`, `nn.layer`, `nn.dense`, `nn.initializers`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import ShapeError
from funcgraph.nn.dense import _positive
from funcgraph.nn.initializers import Initializer, normal
from funcgraph.nn.layer import Layer, Shape, define
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import cast, reshape

__all__ = ["LearnedPositions", "SinusoidalPositions", "rotary", "sinusoidal"]


def _angles(positions: Any, count: int, step: float, base: float) -> Any:
    """Return p base**(-step i) for i = 0 ... count - 1, along a new last axis, in float64."""
    positions = np.asarray(positions) if KIND[type(positions)] == NUMPY else positions
    return fnp.expand_dims(positions, -1) * base ** (-step * np.arange(count))


def sinusoidal(
    positions: Any, features: int, base: float = 10000.0, dtype: Any = np.float32
) -> Any:
    """Return waves of many lengths at positions.

    y[2 i] = sin(p / base^(2 i / d)),  y[2 i + 1] = cos(p / base^(2 i / d))

    Args:
      positions: Numbers p of any shape, such as np.arange(t).
      features: d, length of the new last axis.
      base: The longest wave has about the length 2 π base.
      dtype: Type of the result, floating point.

    Returns:
      Array (..., d).

    Example:
      >>> import numpy as np
      >>> sinusoidal(np.arange(2), 4).round(3)
      array([[0.   , 1.   , 0.   , 1.   ],
             [0.841, 0.54 , 0.01 , 1.   ]], dtype=float32)

    Source:
      Vaswani et al., "Attention is all you need", 2017, section 3.5.
    """
    angles = _angles(positions, -(-features // 2), 2 / features, base)
    waves = fnp.stack([fnp.sin(angles), fnp.cos(angles)], axis=-1)
    shape = shape_of(waves)
    waves = reshape(waves, shape=(*shape[:-2], 2 * shape[-2]))
    return cast(waves[..., :features], np.dtype(dtype))


def rotary(x: Any, positions: Any = None, base: float = 10000.0) -> Any:
    """Turn queries or keys by angles that grow with the position.

    (a_i, b_i) -> (a_i cos α - b_i sin α, a_i sin α + b_i cos α),  α = p base^(-2 i / h)

    Here a and b are the halves of the last axis, as in GPT-NeoX and LLaMA. Products of queries and
    keys turned so depend on the difference of their positions alone.

    Args:
      x: Array (..., t, n, h), floating point, h even.
      positions: Numbers p (..., t). None: 0, 1, ... t - 1.
      base: The lengths of waves reach from 2 π to about 2 π base.

    Returns:
      Array of the shape and dtype of x.

    Raises:
      ShapeError: h is odd, or the positions do not fit.

    Example:
      >>> import numpy as np
      >>> rotary(np.array([[[1.0, 0.0]], [[1.0, 0.0]]])).round(3)
      array([[[1.   , 0.   ]],
      <BLANKLINE>
             [[0.54 , 0.841]]])

    Source:
      Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.
    """
    if ndim_of(x) < 3 or shape_of(x)[-1] % 2:
        raise ShapeError(
            f"rotary needs an array (..., time, heads, features) with an even number of features, "
            f"got the shape {shape_of(x)}."
        )
    t, _, h = shape_of(x)[-3:]
    positions = np.arange(t) if positions is None else positions
    if shape_of(positions)[-1:] != (t,) or ndim_of(positions) > ndim_of(x) - 2:
        raise ShapeError(
            f"rotary: positions must have the shape (..., {t}) for x of shape {shape_of(x)}, got "
            f"{shape_of(positions)}."
        )
    angles = fnp.expand_dims(_angles(positions, h // 2, 2 / h, base), -2)
    sin, cos = (cast(f(angles), dtype_of(x)) for f in (fnp.sin, fnp.cos))
    a, b = fnp.split(x, 2, axis=-1)
    return fnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def _check(kind: str, x: Any) -> None:
    if ndim_of(x) < 2:
        raise ShapeError(
            f"{kind} needs an input of shape (..., time, features), got {shape_of(x)}."
        )


def SinusoidalPositions(base: float = 10000.0) -> Layer:  # noqa: N802
    """Return the layer that adds `sinusoidal` encodings of positions.

    Its apply is apply(params, x, *, position=0, key=None, train=False): `position` is that of the
    first step of x (..., t, d), for decoding step by step.

    Args:
      base: As of `sinusoidal`.

    Returns:
      A Layer without parameters.

    Example:
      >>> import funcgraph as fg
      >>> SinusoidalPositions().init(fg.random.key(0), (-1, 10, 8))[0]
      float32[-1,10,8]
    """

    def apply(
        params: Any, x: Any, *, position: Any = 0, key: Any = None, train: bool = False
    ) -> Any:
        _check("SinusoidalPositions", x)
        t, d = shape_of(x)[-2:]
        return x + sinusoidal(position + np.arange(t), d, base, dtype_of(x))

    return define("SinusoidalPositions", None, apply)


def LearnedPositions(length: int, *, w_init: Initializer | None = None) -> Layer:  # noqa: N802
    """Return the layer that adds a vector to each step that is a parameter.

    y_t = x_t + w_t. Its apply is that of `SinusoidalPositions`.

    Args:
      length: How many positions there are.
      w_init: Initialiser of w, shape (length, d); default: normal(0.02).

    Returns:
      A Layer with the parameter `w`.

    Raises:
      ShapeError: The input is longer.

    Example:
      >>> import funcgraph as fg
      >>> LearnedPositions(20).init(fg.random.key(0), (-1, 10, 8))[1]["w"].shape
      (20, 8)
    """
    _positive("LearnedPositions", length)

    def parameters(key: Any, shape: Shape) -> dict[str, Any]:
        if len(shape) < 2:
            _check("LearnedPositions", np.zeros(shape))
        make = w_init or normal(0.02)
        return {"w": make(key, (length, shape[-1]), shape.float_dtype)}

    def apply(
        params: Any, x: Any, *, position: Any = 0, key: Any = None, train: bool = False
    ) -> Any:
        _check("LearnedPositions", x)
        w, (t, d) = params["w"], shape_of(x)[-2:]
        known = KIND[type(position)] == NUMPY
        if d != shape_of(w)[1] or (position if known else 0) + t > shape_of(w)[0]:
            first = f", from position {position} on" if known and position else ""
            raise ShapeError(
                f"LearnedPositions expects an input of shape (..., time, {shape_of(w)[1]}) with at "
                f"most {shape_of(w)[0]} steps, got {shape_of(x)}{first}."
            )
        return x + index(w, position + np.arange(t))

    return define("LearnedPositions", parameters, apply)
