"""Transformer blocks. May import `nn.attention`, `nn.norm`, `nn.dropout`, `nn.dense` and below."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from funcgraph.core.aval import Aval
from funcgraph.errors import LayerError, ShapeError
from funcgraph.nn.activations import gelu
from funcgraph.nn.attention import MultiHeadAttention
from funcgraph.nn.dense import Dense, _positive
from funcgraph.nn.dropout import Dropout
from funcgraph.nn.initializers import Initializer
from funcgraph.nn.layer import Layer, Shape, checked_init, define
from funcgraph.nn.norm import LayerNorm
from funcgraph.random.keys import split
from funcgraph.transforms.stage import eval_shape

__all__ = ["FeedForward", "TransformerBlock"]


def FeedForward(  # noqa: N802  (layers are named like this in every library)
    hidden: int | None = None,
    *,
    outputs: int | None = None,
    activation: Callable[[Any], Any] = gelu,
    dropout: float = 0.0,
    bias: bool = True,
    w_init: Initializer | None = None,
) -> Layer:
    """Return a layer of two products with an activation between them.

    y = g(x W_up + b_up) W_down + b_down

    Args:
      hidden: Length of x W_up; default: 4 times that of x.
      outputs: Length of the last axis of y; default: that of x.
      activation: The function g. It may change the length, as `swiglu` does.
      dropout: Fraction of the values of g that is dropped in training.
      bias: Whether there are b_up and b_down.
      w_init: Initialiser of both w; default: that of Dense.

    Returns:
      A Layer with the parameters `up` and `down`, those of two Dense layers.

    Raises:
      RandomKeyError: There is dropout in training, but no key.
      ShapeError: The input does not fit.

    Example:
      >>> import funcgraph as fg
      >>> shape, params = FeedForward(32, activation=fg.nn.swiglu).init(fg.random.key(0), (-1, 8))
      >>> shape, params["up"]["w"].shape, params["down"]["w"].shape
      (float32[-1,8], (8, 32), (16, 8))
    """
    for n in (hidden, outputs):
        if n is not None:
            _positive("FeedForward", n)
    drop = Dropout(dropout)
    affine = Dense(1, bias=bias).apply  # it reads the lengths from its parameters

    def parameters(key: Any, shape: Shape) -> dict[str, Any]:
        if not shape:
            raise ShapeError("FeedForward needs an input with at least one axis, got the shape ().")
        up_key, down_key = split(key)
        width = 4 * shape[-1] if hidden is None else hidden
        up = Dense(width, bias=bias, w_init=w_init)
        down = Dense(shape[-1] if outputs is None else outputs, bias=bias, w_init=w_init)
        inner = eval_shape(activation, Aval((width,), shape.float_dtype))
        return {"up": up.init(up_key, shape)[1], "down": down.init(down_key, inner)[1]}

    def apply(params: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        h = drop.apply({}, activation(affine(params["up"], x)), key=key, train=train)
        return affine(params["down"], h)

    return define("FeedForward", parameters, apply, random=dropout > 0)


def TransformerBlock(  # noqa: N802
    heads: int,
    hidden: int | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
    activation: Callable[[Any], Any] = gelu,
    norm: Layer | None = None,
    head_features: int | None = None,
    kv_heads: int | None = None,
    rotary: float | None = None,
    bias: bool = True,
    w_init: Initializer | None = None,
) -> Layer:
    """Return a transformer block that normalises first.

    h = x + attention(norm_1(x)),  y = h + feed_forward(norm_2(h))

    Its apply is apply(params, x, mask=None, *, cache=None, key=None, train=False), with the mask of
    `attention`. With a cache, `attention_cache(params["attention"], batch, length)`, the result is
    (y, new cache): see `MultiHeadAttention`.

    Args:
      heads: Number of heads.
      hidden: Length of the hidden layer of `FeedForward`; default: 4 d.
      causal: Whether step t sees only steps up to t.
      dropout: Fraction that is dropped in training: of the weights of attention, of the hidden
        values, and of what is added to x and to h.
      activation: As of `FeedForward`.
      norm: The layer that normalises, without state; default: LayerNorm().
      head_features: As of `MultiHeadAttention`.
      kv_heads: As of `MultiHeadAttention`.
      rotary: As of `MultiHeadAttention`.
      bias: As of `MultiHeadAttention` and `FeedForward`.
      w_init: As of `MultiHeadAttention` and `FeedForward`.

    Returns:
      A Layer from (..., t, d) to (..., t, d) with the parameters norm_1, attention, norm_2 and
      feed_forward.

    Raises:
      LayerError: As of `MultiHeadAttention`.
      RandomKeyError: There is dropout in training, but no key.
      ShapeError: An input does not fit.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> model = fg.nn.serial(
      ...     fg.nn.Embedding(1000, 32),
      ...     fg.nn.LearnedPositions(50),
      ...     fg.nn.repeat(TransformerBlock(4, causal=True), 2),
      ...     fg.nn.LayerNorm(),
      ...     fg.nn.Dense(1000),
      ... )
      >>> words = fg.ShapeDtype((-1, 50), np.dtype(int))
      >>> model.init(fg.random.key(0), words)[0]
      float32[-1,50,1000]

    Source:
      Vaswani et al., "Attention is all you need", 2017; Xiong et al., "On layer normalization in
      the transformer architecture", 2020.
    """
    norm = LayerNorm() if norm is None else norm
    if not isinstance(norm, Layer):
        raise LayerError(
            f"the norm of TransformerBlock is a layer without state, got {norm!r:.80}."
        )
    attention = MultiHeadAttention(
        heads,
        head_features=head_features,
        kv_heads=kv_heads,
        causal=causal,
        rotary=rotary,
        dropout=dropout,
        bias=bias,
        w_init=w_init,
    )
    feed = FeedForward(hidden, activation=activation, dropout=dropout, bias=bias, w_init=w_init)
    parts = _Parts(norm, attention, feed, Dropout(dropout))
    parameters, apply = partial(_block_parameters, parts), partial(_block, parts)
    return define("TransformerBlock", parameters, apply, random=dropout > 0)


class _Parts(NamedTuple):
    norm: Layer
    attention: Layer
    feed_forward: Layer
    dropout: Layer


def _block_parameters(parts: _Parts, key: Any, shape: Shape, *_: Any) -> dict[str, Any]:
    if len(shape) < 2:
        raise ShapeError(
            f"TransformerBlock needs an input of shape (..., time, features), got {shape}."
        )
    layers = {
        "norm_1": parts.norm,
        "attention": parts.attention,
        "norm_2": parts.norm,
        "feed_forward": parts.feed_forward,
    }
    keys = split(key, len(layers))
    return {
        name: checked_init(layer, k, (shape,))[1]
        for (name, layer), k in zip(layers.items(), keys, strict=True)
    }


def _block(
    parts: _Parts,
    params: Any,
    x: Any,
    mask: Any = None,
    *,
    cache: Any = None,
    key: Any = None,
    train: bool = False,
) -> Any:
    keys = [None] * 4 if key is None else split(key, 4)

    def added(x: Any, y: Any, key: Any) -> Any:
        return x + parts.dropout.apply({}, y, key=key, train=train)

    normed = parts.norm.apply(params["norm_1"], x)
    y = parts.attention.apply(
        params["attention"], normed, mask=mask, cache=cache, key=keys[0], train=train
    )
    y, cache = (y, None) if cache is None else y
    h = added(x, y, keys[1])
    normed = parts.norm.apply(params["norm_2"], h)
    y = parts.feed_forward.apply(params["feed_forward"], normed, key=keys[2], train=train)
    y = added(h, y, keys[3])
    return y if cache is None else (y, cache)
