"""Fully connected layers, embeddings, and layers that only move numbers.

May import `nn.layer`, `nn.initializers`, `numpy`, `ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.errors import LayerError, ShapeError
from funcgraph.nn.initializers import Initializer, lecun_normal, normal, zeros
from funcgraph.nn.layer import Layer, Shape, define, fn
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import reshape
from funcgraph.random.keys import split

__all__ = ["Dense", "Embedding", "Flatten", "Identity", "Reshape"]


def Dense(  # noqa: N802  (layers are named like this in every library)
    features: int,
    *,
    bias: bool = True,
    w_init: Initializer | None = None,
    b_init: Initializer = zeros,
) -> Layer:
    """Return a fully connected layer.

    y[..., o] = Σ_i x[..., i] w[i, o] + b[o]

    Args:
      features: Length of the last axis of the output.
      bias: Whether there is a b.
      w_init: Initialiser of w, shape (inputs, features); default: lecun_normal().
      b_init: Initialiser of b, shape (features,).

    Returns:
      A Layer with the parameters `w` and `b`, for x of shape (..., inputs).

    Raises:
      ShapeError: The input has no axis, or not the length that w has.

    Example:
      >>> import funcgraph as fg
      >>> Dense(3).init(fg.random.key(0), (-1, 4))[0]
      float32[-1,3]
    """
    _positive("Dense", features)

    def parameters(key: Any, shape: Shape) -> dict[str, Any]:
        if not shape:
            raise ShapeError("Dense needs an input with at least one axis, got the shape ().")
        w_key, b_key = split(key)
        size = (shape[-1], features)
        params = {"w": (w_init or lecun_normal())(w_key, size, shape.float_dtype)}
        if bias:
            params["b"] = b_init(b_key, (features,), shape.float_dtype)
        return params

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        w = params["w"]
        if not shape_of(x) or shape_of(x)[-1] != shape_of(w)[0]:
            raise ShapeError(
                f"Dense expects an input of shape (..., {shape_of(w)[0]}), because its w has the "
                f"shape {shape_of(w)}, got {shape_of(x)}."
            )
        y = x @ w
        return y + params["b"] if bias else y

    return define("Dense", parameters, apply)


def _positive(kind: str, n: Any) -> None:
    if isinstance(n, bool) or not hasattr(n, "__index__") or n < 1:
        raise LayerError(f"{kind} needs a positive number of features, got {n!r}.")


def Embedding(  # noqa: N802
    num_embeddings: int, features: int, *, w_init: Initializer | None = None
) -> Layer:
    """Return a layer that looks up a vector for each integer.

    y[..., :] = w[x[...], :]

    Args:
      num_embeddings: Number of different integers: 0 to num_embeddings - 1.
      features: Length of a vector.
      w_init: Initialiser of w, shape (num_embeddings, features); default: normal(features ** -0.5).

    Returns:
      A Layer with the parameter `w`, float32, for integers of any shape.

    Raises:
      LayerError: The input is not of an integer dtype.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> words = fg.ShapeDtype((-1, 12), np.dtype(int))
      >>> Embedding(1000, 16).init(fg.random.key(0), words)[0]
      float32[-1,12,16]
    """
    _positive("Embedding", num_embeddings)
    _positive("Embedding", features)

    def parameters(key: Any, shape: Shape) -> dict[str, Any]:
        make = w_init or normal(features**-0.5)
        return {"w": make(key, (num_embeddings, features), np.float32)}

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        if dtype_of(x).kind not in "iu":
            raise LayerError(
                f"Embedding needs integers, got {dtype_of(x)}. Tell init the dtype: "
                "funcgraph.ShapeDtype(shape, np.dtype(int))."
            )
        return index(params["w"], x)

    return define("Embedding", parameters, apply)


def Reshape(*lengths: int) -> Layer:  # noqa: N802
    """Return the layer that brings each example into another shape; the batch axis stays.

    Example:
      >>> import funcgraph as fg
      >>> Reshape(2, 3).init(fg.random.key(0), (-1, 6))[0]
      float32[-1,2,3]
    """
    return fn(lambda x: reshape(x, shape=_resolved(shape_of(x), lengths)), "Reshape")


def _resolved(shape: tuple[int, ...], lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Return (batch, *lengths), with one -1 among the lengths replaced."""
    size = int(np.prod(shape[1:], dtype=int))
    known = int(np.prod([n for n in lengths if n != -1], dtype=int))
    missing = lengths.count(-1)
    fits = known == size if not missing else missing == 1 and known and size % known == 0
    if not shape or not fits:
        raise ShapeError(
            f"Reshape{lengths} does not fit an example of shape {shape[1:]}, which has {size} "
            "elements."
        )
    return (shape[0], *(size // known if n == -1 else n for n in lengths))


def Flatten() -> Layer:  # noqa: N802
    """Return the layer that brings each example into one axis: (n, a, b, ...) -> (n, a * b * ...).

    Example:
      >>> import funcgraph as fg
      >>> Flatten().init(fg.random.key(0), (-1, 28, 28, 1))[0]
      float32[-1,784]
    """
    return fn(lambda x: reshape(x, shape=_resolved(shape_of(x), (-1,))), "Flatten")


def Identity() -> Layer:  # noqa: N802
    """Return the layer that returns its input.

    Example:
      >>> import funcgraph as fg
      >>> Identity().init(fg.random.key(0), (-1, 3))[0]
      float32[-1,3]
    """
    return fn(lambda x: x, "Identity")
