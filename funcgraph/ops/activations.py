"""Primitives of activation functions: relu, sigmoid, softplus, softmax, log_softmax.

Each could be written with other operations; as primitives they are stable for every argument, and
their derivatives read the result, in few passes. May import `core`, `ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of
from funcgraph.core.primitive import Elementwise, General, Primitive, Unary, ufunc_aval
from funcgraph.ops.elementwise import exp, greater
from funcgraph.ops.structural import expand_dims, reduce_sum, shifted

__all__ = ["log_softmax", "relu", "sigmoid", "softmax", "softplus"]

_float_aval = ufunc_aval(np.sin)

# Jump at 0: the derivative there is 0, as in JAX.
relu = Unary(
    "relu",
    lambda x: np.maximum(x, 0),
    "jax.nn.relu",
    ufunc_aval(np.positive),
    Elementwise(lambda g, y, x: g * greater(y, 0), keep="y", flat=(0,)),
)


def _np_sigmoid(x: Any) -> Any:
    # No exponential is above 1, so nothing overflows, and small results keep their digits. Two of
    # them cost less than a choice by np.where.
    x = np.asarray(x, None if dtype_of(x).kind == "f" else float)
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


sigmoid = Unary(
    "sigmoid",
    _np_sigmoid,
    "jax.nn.sigmoid",
    _float_aval,
    Elementwise(lambda g, y, x: g * (y * (1 - y)), keep="y"),
)

softplus = Unary(
    "softplus",
    lambda x: np.logaddexp(x, dtype_of(x).type(0) if dtype_of(x).kind == "f" else 0.0),
    "jax.nn.softplus",
    _float_aval,
    Elementwise(lambda g, y, x: g * sigmoid(x), keep="x"),
)

# --- along an axis -------------------------------------------------------------------------------


def _np_softmax(x: Any, axis: int) -> Any:
    if not x.size:  # nothing has no maximum
        return np.exp(x)
    y = np.exp(x - np.max(x, axis=axis, keepdims=True))
    y /= np.sum(y, axis=axis, keepdims=True)
    return y


def _np_log_softmax(x: Any, axis: int) -> Any:
    if not x.size:
        return np.exp(x)
    y = x - np.max(x, axis=axis, keepdims=True)
    y -= np.log(np.sum(np.exp(y), axis=axis, keepdims=True))
    return y


def _aval(x: Aval, axis: int) -> Aval:
    return Aval(x.shape, _float_aval(x).dtype)


def _total(x: Any, axis: int) -> Any:
    return expand_dims(reduce_sum(x, axes=(axis,)), (axis,))


def _softmax_slope(g: Any, y: Any, axis: int) -> Any:
    """Return (diag(y) - y yᵀ) g: the Jacobian is symmetric, so this serves both modes."""
    return y * (g - _total(g * y, axis))


softmax = Primitive(
    "softmax",
    _np_softmax,
    "jax.nn.softmax",
    _aval,
    General(
        lambda ts, y, x, axis: _softmax_slope(ts[0], y, axis),
        lambda g, y, x, axis: (_softmax_slope(g, y, axis),),
    ),
    shifted,
)

log_softmax = Primitive(
    "log_softmax",
    _np_log_softmax,
    "jax.nn.log_softmax",
    _aval,
    General(
        lambda ts, y, x, axis: ts[0] - _total(exp(y) * ts[0], axis),
        lambda g, y, x, axis: (g - exp(y) * _total(g, axis),),
    ),
    shifted,
)
