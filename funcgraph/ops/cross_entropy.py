"""Primitives of the softmax cross-entropy with class numbers: its value and its derivative.

The derivative, softmax minus one-hot, is one operation: no scatter into an array of zeros, and on
NumPy no memory but the result's. May import `core`, `ops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, ndim_of, shape_of
from funcgraph.core.primitive import General, Primitive, Zero, aligned
from funcgraph.errors import RangeError
from funcgraph.ops.activations import softmax
from funcgraph.ops.reductions import take_along
from funcgraph.ops.structural import expand_dims, reduce_sum, reshape, spread

__all__ = ["class_numbers", "cross_entropy", "cross_entropy_slope"]


def _last(x: Any) -> Any:
    """Return a per-row value as a column."""
    return expand_dims(x, (ndim_of(x),))


def _total(x: Any) -> Any:
    return reduce_sum(x, axes=(ndim_of(x) - 1,))


def _at_label(x: Any, labels: Any) -> Any:
    axis = ndim_of(x) - 1
    return reshape(take_along(x, _last(labels), axis=axis), shape_of(labels))


def _lanes(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    """Batch an operation on rows: any axes in front of them do."""
    return primitive(*[spread(a, size, b) for a, b in zip(args, batched, strict=True)])


# --- class numbers -------------------------------------------------------------------------------


def _np_class_numbers(labels: Any, classes: int, name: str) -> Any:
    labels = np.asarray(labels)
    least, most = np.minimum.reduce, np.maximum.reduce
    if labels.size and not (least(labels, None) >= 0 and most(labels, None) < classes):
        place = tuple(np.argwhere((labels < 0) | (labels >= classes))[0].tolist())
        where = f" at index {place}" if place else ""
        raise RangeError(
            f"the labels of {name} must be from 0 to {classes - 1}, one of {classes} classes, got "
            f"{labels[place]}{where}. If it marks what does not count, put a class in its place, "
            "np.maximum(labels, 0), and leave out the result: np.where(labels < 0, 0, losses)."
        )
    return labels


# The labels themselves, on NumPy checked: XLA cannot raise an error, and who reads them there must
# not take a wrong one for another class.
class_numbers = Primitive(
    "class_numbers",
    _np_class_numbers,
    lambda jax, labels, classes, name: jax.numpy.asarray(labels),
    lambda labels, classes, name: labels,
    Zero(),
    aligned,
)

# --- on NumPy ------------------------------------------------------------------------------------


def _np_shifted(x: Any) -> Any:
    """Return rows of x, less their largest element: new memory."""
    rows = np.reshape(x, (-1, x.shape[-1]))
    return rows - np.maximum.reduce(rows, axis=1, keepdims=True)


def _np_place(labels: Any) -> Any:
    flat = np.reshape(labels, -1)
    return np.arange(len(flat)), flat


def _np_cross_entropy(x: Any, labels: Any) -> Any:
    z = _np_shifted(x)
    own = z[_np_place(labels)]
    total = np.add.reduce(np.exp(z, out=z), axis=1)
    return (np.log(total) - own).reshape(x.shape[:-1])[()]


def _np_slope(g: Any, x: Any, labels: Any) -> Any:
    z = _np_shifted(x)
    weights = np.reshape(g, -1).astype(z.dtype, copy=False)
    np.exp(z, out=z)
    z *= (weights / np.add.reduce(z, axis=1))[:, None]
    z[_np_place(labels)] -= weights
    return z.reshape(x.shape)


# --- on JAX --------------------------------------------------------------------------------------


def _jax_known(labels: Any, n: int) -> Any:
    """Return which labels are class numbers; n may be more than their dtype can hold."""
    known = labels >= 0
    return known & (labels < n) if n <= np.iinfo(labels.dtype).max else known


def _jax_cross_entropy(jax: Any, x: Any, labels: Any) -> Any:
    jnp = jax.numpy
    x, labels = jnp.asarray(x), jnp.asarray(labels)
    largest = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True))
    place = jnp.asarray(labels, np.int32)[..., None]
    own = (jnp.take_along_axis(x, place, axis=-1) - largest)[..., 0]
    own = jnp.where(_jax_known(labels, x.shape[-1]), own, np.nan)
    return jnp.log(jnp.sum(jnp.exp(x - largest), axis=-1)) - own


def _jax_slope(jax: Any, g: Any, x: Any, labels: Any) -> Any:
    jnp = jax.numpy
    x, labels = jnp.asarray(x), jnp.asarray(labels)
    n = x.shape[-1]
    g = jnp.asarray(g, x.dtype)
    g = jnp.where(_jax_known(labels, n) | (g == 0), g, np.nan)
    e = jnp.exp(x - jnp.max(x, axis=-1, keepdims=True))
    # Compared, not scattered, so that XLA makes one loop of it all.
    mine = jnp.arange(n, dtype=np.int32) == jnp.asarray(labels, np.int32)[..., None]
    return e * (g / jnp.sum(e, axis=-1))[..., None] - jnp.where(mine, g[..., None], 0)


# --- derivatives ---------------------------------------------------------------------------------


def _jvp(t: Any, y: Any, x: Any, labels: Any) -> Any:
    return _total(softmax(x, axis=ndim_of(x) - 1) * t[0]) - _at_label(t[0], labels)


def _slope_jvp(t: Any, y: Any, g: Any, x: Any, labels: Any) -> Any:
    first = None if t[0] is None else cross_entropy_slope(t[0], x, labels)
    if t[1] is None:
        return first
    p = softmax(x, axis=ndim_of(x) - 1)
    change = p * t[1]
    second = _last(g) * (change - p * _last(_total(change)))
    return second if first is None else first + second


def _slope_vjp(ct: Any, y: Any, g: Any, x: Any, labels: Any) -> Any:
    p = softmax(x, axis=ndim_of(x) - 1)
    product = p * ct
    total = _total(product)
    return total - _at_label(ct, labels), _last(g) * (product - p * _last(total)), None


# log(sum(exp(x))) - x[label] along the last axis of x; labels has the shape of the other axes.
cross_entropy = Primitive(
    "cross_entropy",
    _np_cross_entropy,
    _jax_cross_entropy,
    lambda x, labels: Aval(x.shape[:-1], x.dtype),
    General(_jvp, lambda g, y, x, labels: (cross_entropy_slope(g, x, labels), None)),
    _lanes,
)

# g (softmax(x) - one_hot(label)), with g in the shape of labels.
cross_entropy_slope = Primitive(
    "cross_entropy_slope",
    _np_slope,
    _jax_slope,
    lambda g, x, labels: Aval(x.shape, x.dtype),
    General(_slope_jvp, _slope_vjp),
    _lanes,
)
