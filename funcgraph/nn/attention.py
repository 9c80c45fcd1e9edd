"""Attention: the function, the layer with several heads, and its cache for step by step decoding.

May import `core`, `ops`, `numpy`, `random`, `nn.layer`, `nn.dense`, `nn.dropout`, `nn.lengths`,
`nn.positions`, `nn.initializers`, `nn.activations`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import funcgraph.numpy as fnp
from funcgraph.core.aval import dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.errors import LayerError, ShapeError
from funcgraph.nn.activations import softmax
from funcgraph.nn.dense import _positive
from funcgraph.nn.dropout import Dropout
from funcgraph.nn.initializers import Initializer, glorot_uniform, zeros
from funcgraph.nn.layer import Layer, Shape, define
from funcgraph.nn.lengths import checked_lengths
from funcgraph.nn.positions import rotary as rotate
from funcgraph.ops.structural import cast, reshape, where
from funcgraph.ops.updates import at
from funcgraph.random.keys import split

__all__ = ["MultiHeadAttention", "attention", "attention_cache", "padding_mask"]

# --- the function --------------------------------------------------------------------------------


def attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    causal: bool = False,
    bias: Any = None,
    scale: float | None = None,
    *,
    dropout: float = 0.0,
    key: Any = None,
) -> Any:
    """Return for each query the mean of the values, weighted by how well their keys match.

    y_t = Σ_s p_ts v_s,  p_t = softmax_s(scale q_t · k_s + bias_ts)

    As `jax.nn.dot_product_attention`, but for queries that may see no key at all: their result is 0
    (there the mean of all values), so that nothing gets past a mask, in gradients neither.

    Args:
      q: Queries (..., t, n, h): length t, n heads.
      k: Keys (..., s, m, h); m divides n, and n / m neighbouring heads of q share one of k.
      v: Values (..., s, m, o).
      mask: Bools that broadcast to (..., n, t, s): True where query t may see key s. None: all.
      causal: Whether query t sees only the keys s <= t.
      bias: Numbers that broadcast to (..., n, t, s). None: 0.
      scale: None: h ** -0.5.
      dropout: Fraction of the weights p that is dropped by chance.
      key: Random key, needed for dropout.

    Returns:
      Array (..., t, n, o) of the dtype of v. Weights are computed in float32 at least.

    Raises:
      LayerError: The mask is not of bools.
      RandomKeyError: There is dropout, but no key.
      ShapeError: The shapes do not fit.

    Example:
      >>> import numpy as np
      >>> q, k = np.zeros((1, 1, 2)), np.zeros((3, 1, 2))
      >>> v = np.array([1.0, 2.0, 6.0]).reshape(3, 1, 1)
      >>> attention(q, k, v), attention(q, k, v, mask=np.array([True, True, False]))
      (array([[[3.]]]), array([[[1.5]]]))

    Source:
      Vaswani et al., "Attention is all you need", 2017, equation 1; Ainslie et al., "GQA", 2023.
    """
    lead, t, n, h, s, m = _sizes(q, k, v)
    dtype = np.promote_types(np.result_type(dtype_of(q), dtype_of(k)), np.float32)
    weights_shape = (*lead, n, t, s)
    _check_masks(mask, bias, weights_shape)
    # Heads go in front of time; those that share keys lie behind each other in one matrix.
    factor = h**-0.5 if scale is None else scale
    queries = reshape(_heads_first(_cast(q, dtype) * factor), shape=(*lead, m, n // m * t, h))
    keys = _heads_first(_cast(k, dtype))
    logits = reshape(queries @ fnp.swapaxes(keys, -1, -2), shape=weights_shape)
    if bias is not None:
        logits = _cast(logits + bias, dtype)
    allowed = np.tri(t, s, dtype=bool) if causal else None
    if mask is not None:
        allowed = mask if allowed is None else fnp.logical_and(mask, allowed)
    if allowed is not None:
        # Finite, so that a row of them does not become NaN.
        logits = where(allowed, logits, dtype.type(-0.7 * np.finfo(dtype).max))
    p = softmax(logits)
    if mask is not None:
        p = where(fnp.any(allowed, axis=-1, keepdims=True), p, dtype.type(0))
    v = v if is_inexact(dtype_of(v)) else _cast(v, dtype)
    if dropout:
        p = Dropout(dropout).apply({}, p, key=key, train=True)
    p = reshape(_cast(p, dtype_of(v)), shape=(*lead, m, n // m * t, s))
    y = reshape(p @ _heads_first(v), shape=(*lead, n, t, shape_of(v)[-1]))
    return _heads_first(y)  # and back


def _cast(x: Any, dtype: np.dtype[Any]) -> Any:
    return x if dtype_of(x) == dtype else cast(x, dtype)


def _heads_first(x: Any) -> Any:
    """Swap the axes of time and heads."""
    return fnp.swapaxes(x, -2, -3)


def _sizes(q: Any, k: Any, v: Any) -> tuple[tuple[int, ...], int, int, int, int, int]:
    shapes = [shape_of(x) for x in (q, k, v)]
    if all(len(shape) >= 3 for shape in shapes):
        (*lead, t, n, h), (*lead_k, s, m, h_k), (*lead_v, s_v, m_v, _) = shapes
        if lead == lead_k == lead_v and (s, m, h) == (s_v, m_v, h_k) and m and n % m == 0:
            return tuple(lead), t, n, h, s, m
    raise ShapeError(
        "attention needs queries (..., t, n, h), keys (..., s, m, h) and values (..., s, m, o), "
        f"where m divides n and the leading axes are the same, got {', '.join(map(str, shapes))}."
    )


def _check_masks(mask: Any, bias: Any, shape: tuple[int, ...]) -> None:
    if mask is not None and dtype_of(mask).kind != "b":
        raise LayerError(
            f"the mask of attention must be of bools, True where a key may be seen, got "
            f"{dtype_of(mask)}. Numbers to add to the logits are a bias. Where the mask is an "
            "input of a model, tell init the dtype: funcgraph.ShapeDtype(shape, np.dtype(bool))."
        )
    for name, x in (("mask", mask), ("bias", bias)):
        if x is None:
            continue
        given = shape_of(x)
        pairs = zip(given[::-1], shape[::-1], strict=False)
        if len(given) > len(shape) or any(a not in (1, b) for a, b in pairs):
            raise ShapeError(
                f"the {name} of attention must broadcast to (..., heads, queries, keys) = {shape}, "
                f"got {given}. One of shape (batch, queries, keys) goes in as {name}[:, None]."
            )


def padding_mask(lengths: Any, size: int) -> Any:
    """Return the mask that hides the keys past the end of each sequence.

    Args:
      lengths: Integers (...): how many keys count. Traced ones are cut to [0, size].
      size: How many keys there are.

    Returns:
      Bools (..., 1, 1, size), for `attention`.

    Raises:
      DtypeError: The lengths are no integers.
      RangeError: A length is not in [0, size].

    Example:
      >>> import numpy as np
      >>> padding_mask(np.array([1, 3]), 3)[:, 0, 0]
      array([[ True, False, False],
             [ True,  True,  True]])
    """
    return np.arange(size) < checked_lengths(lengths, size)[..., None, None, None]


# --- the cache -----------------------------------------------------------------------------------


def attention_cache(params: Any, batch: Sequence[int], length: int) -> dict[str, Any]:
    """Return an empty cache of keys and values, for decoding step by step.

    Args:
      params: Parameters of a MultiHeadAttention.
      batch: Lengths of the leading axes of the input, such as (n,).
      length: How many steps it can hold.

    Returns:
      Dict of k and v, arrays (*batch, length, heads, features), and `position`, the number of steps
      that it holds: a pytree that keeps its shapes, so that it can be the carry of a scan.

    Example:
      >>> import funcgraph as fg
      >>> import numpy as np
      >>> layer = MultiHeadAttention(2, causal=True)
      >>> _, params = layer.init(fg.random.key(0), (-1, 5, 4))
      >>> cache = attention_cache(params, (3,), 5)
      >>> y, cache = layer.apply(params, np.ones((3, 1, 4), np.float32), cache=cache)
      >>> y.shape, cache["position"]
      ((3, 1, 4), np.int32(1))
    """
    w = params["w_k"]
    shape = (*batch, length, *shape_of(w)[1:])
    return {
        "k": np.zeros(shape, dtype_of(w)),
        "v": np.zeros(shape, dtype_of(w)),
        "position": np.int32(0),
    }


def _extend(cache: dict[str, Any], k: Any, v: Any) -> tuple[dict[str, Any], Any]:
    """Return the cache with further keys and values, and which of its keys each query may see."""
    start, new, length = cache["position"], shape_of(k)[-3], shape_of(cache["k"])[-3]
    if KIND[type(start)] == NUMPY and start + new > length:
        raise LayerError(
            f"the cache of attention holds {length} steps, {start} of them are filled, and {new} "
            "more come. Make it longer: nn.attention_cache(params, batch, length)."
        )
    held, given = shape_of(cache["k"])[:-3], shape_of(k)[:-3]
    if held != given:
        raise ShapeError(
            f"the cache of attention is for inputs with the leading axes {held}, got {given}."
        )
    places = start + np.arange(new)
    extended = {
        "k": at(cache["k"])[..., places, :, :].set(k),
        "v": at(cache["v"])[..., places, :, :].set(v),
        "position": start + np.int32(new),
    }
    return extended, np.arange(length) <= fnp.expand_dims(places, -1)


def _within(cache: dict[str, Any], y: Any) -> Any:
    """Return y, but NaN if the cache is more than full: XLA would drop these steps in silence."""
    end, length = cache["position"], shape_of(cache["k"])[-3]
    if KIND[type(end)] == NUMPY:
        return y
    return where(end <= length, y, dtype_of(y).type(np.nan))


# --- the layer -----------------------------------------------------------------------------------


class _Options(NamedTuple):
    heads: int
    kv_heads: int
    head_features: int | None
    outputs: int | None
    causal: bool
    rotary: float | None
    dropout: float
    bias: bool
    w_init: Initializer
    b_init: Initializer


def MultiHeadAttention(  # noqa: N802  (layers are named like this in every library)
    heads: int,
    *,
    head_features: int | None = None,
    kv_heads: int | None = None,
    outputs: int | None = None,
    causal: bool = False,
    rotary: float | None = None,
    dropout: float = 0.0,
    bias: bool = True,
    w_init: Initializer | None = None,
    b_init: Initializer = zeros,
) -> Layer:
    """Return a layer of attention with several heads.

    q = x W_q + b_q,  k = x' W_k + b_k,  v = x'' W_v + b_v,  y = attention(q, k, v) W_o + b_o

    Its apply is apply(params, x, keys=None, values=None, mask=None, *, cache=None, key=None,
    train=False): x (..., t, d) asks; keys (..., s, d') are x by default, and values (..., s, d'')
    are the keys by default. The mask is that of `attention`.

    With a cache (`attention_cache`), x holds the steps that follow those in the cache, and the
    result is (y, new cache): a decoder goes step by step, without computing old keys again. Steps
    that a full cache cannot hold raise an error; compiled for XLA, which has no errors, y is NaN.

    Args:
      heads: Number of heads n.
      head_features: Length h of a head's queries, keys and values; default: d / n.
      kv_heads: Number of heads of keys and values; divides n. None: n.
      outputs: Length of the last axis of y; default: d.
      causal: Whether step t sees only steps up to t.
      rotary: Base of the rotary encoding of positions (usually 10000.0), see `rotary`. None: none.
      dropout: Fraction of the weights that is dropped in training.
      bias: Whether there are b_q, b_k, b_v and b_o.
      w_init: Initialiser of the weights, as matrices (inputs, outputs); default: glorot_uniform().
      b_init: Initialiser of the biases.

    Returns:
      A Layer with the parameters w_q (d, n, h), w_k (d', m, h), w_v (d'', m, h), w_o (n, h, o),
      b_q (n, h), b_k (m, h), b_v (m, h), b_o (o,).

    Raises:
      LayerError: heads does not divide d or is no multiple of kv_heads, or the cache is full.
      RandomKeyError: There is dropout in training, but no key.
      ShapeError: An input does not fit.

    Example:
      >>> import funcgraph as fg
      >>> shape, params = MultiHeadAttention(4).init(fg.random.key(0), (-1, 10, 32))
      >>> shape, params["w_q"].shape
      (float32[-1,10,32], (32, 4, 8))

    Source:
      Vaswani et al., "Attention is all you need", 2017, section 3.2.2.
    """
    _positive("MultiHeadAttention", heads)
    m = heads if kv_heads is None else kv_heads
    if m < 1 or heads % m:
        raise LayerError(
            f"MultiHeadAttention: heads must be a multiple of kv_heads, got {heads} and {m}."
        )
    w_init = w_init or glorot_uniform()
    o = _Options(heads, m, head_features, outputs, causal, rotary, dropout, bias, w_init, b_init)
    parameters, apply = partial(_parameters, o), partial(_apply, o)
    return define("MultiHeadAttention", parameters, apply, random=dropout > 0)


def _parameters(o: _Options, key: Any, *shapes: Shape) -> dict[str, Any]:
    x, k, v = shapes[0], shapes[min(1, len(shapes) - 1)], shapes[min(2, len(shapes) - 1)]
    for shape in (x, k, v):
        if len(shape) < 2:
            raise ShapeError(
                f"MultiHeadAttention needs inputs of shape (..., time, features), got {shape}."
            )
    h = o.head_features
    if h is None:
        if x[-1] % o.heads:
            raise LayerError(
                f"MultiHeadAttention: {o.heads} heads do not divide the {x[-1]} features of the "
                f"input of shape {x}. Choose another number, or give head_features."
            )
        h = x[-1] // o.heads
    dtype, out = x.float_dtype, x[-1] if o.outputs is None else o.outputs
    sizes = {  # the axes of inputs, the axes of outputs
        "q": ((x[-1],), (o.heads, h)),
        "k": ((k[-1],), (o.kv_heads, h)),
        "v": ((v[-1],), (o.kv_heads, h)),
        "o": ((o.heads, h), (out,)),
    }
    params = {}
    for (name, (ins, outs)), part in zip(sizes.items(), split(key, 4), strict=True):
        w_key, b_key = split(part)
        w = o.w_init(w_key, (math.prod(ins), math.prod(outs)), dtype)
        params[f"w_{name}"] = reshape(w, shape=(*ins, *outs))
        if o.bias:
            params[f"b_{name}"] = o.b_init(b_key, outs, dtype)
    return params


def _apply(
    o: _Options,
    params: Any,
    x: Any,
    keys: Any = None,
    values: Any = None,
    mask: Any = None,
    *,
    cache: Any = None,
    key: Any = None,
    train: bool = False,
) -> Any:
    if cache is not None and (keys is not None or not o.causal):
        raise LayerError(
            "a cache is for a sequence that attends to its own past: create the layer with "
            f"causal=True and pass no keys, got causal={o.causal} and "
            f"{'no keys' if keys is None else f'keys of shape {shape_of(keys)}'}."
        )
    keys = x if keys is None else keys
    q = _project(params, "q", x)
    k = _project(params, "k", keys)
    v = _project(params, "v", keys if values is None else values)
    if o.rotary is not None:
        start = 0 if cache is None else cache["position"]
        q, k = (rotate(z, start + np.arange(shape_of(z)[-3]), o.rotary) for z in (q, k))
    if cache is not None:
        cache, seen = _extend(cache, k, v)
        k, v = cache["k"], cache["v"]
        mask = seen if mask is None else fnp.logical_and(mask, seen)
    causal, rate = o.causal and cache is None, o.dropout if train else 0.0
    y = _join(params, attention(q, k, v, mask, causal, dropout=rate, key=key))
    return y if cache is None else (_within(cache, y), cache)


def _project(params: Any, name: str, x: Any) -> Any:
    """Return x w + b with the axis of heads: (..., d) -> (..., n, h)."""
    w = params[f"w_{name}"]
    d, n, h = shape_of(w)
    if ndim_of(x) < 2 or shape_of(x)[-1] != d:
        raise ShapeError(
            f"MultiHeadAttention expects an input of shape (..., time, {d}), because its w_{name} "
            f"has the shape {shape_of(w)}, got {shape_of(x)}."
        )
    y = reshape(x @ reshape(w, shape=(d, n * h)), shape=(*shape_of(x)[:-1], n, h))
    return y + params[f"b_{name}"] if f"b_{name}" in params else y


def _join(params: Any, y: Any) -> Any:
    """Return y w_o + b_o: (..., n, h) -> (..., o)."""
    n, h, out = shape_of(params["w_o"])
    y = reshape(y, shape=(*shape_of(y)[:-2], n * h))
    y = y @ reshape(params["w_o"], shape=(n * h, out))
    return y + params["b_o"] if "b_o" in params else y
