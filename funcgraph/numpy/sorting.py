"""Sorting, positions of elements, and order statistics.

Sorted values are gathered: their derivative goes to the element each came from. May import
`core`, `ops`, `numpy.creation`, `numpy.reductions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.core.trace import unsupported
from funcgraph.numpy._register import function, non_differentiable
from funcgraph.numpy.creation import as_array
from funcgraph.ops import elementwise as ew
from funcgraph.ops import reductions as red
from funcgraph.ops.structural import (
    cast,
    expand_dims,
    normalize_axes,
    normalize_axis,
    reshape,
    stack,
    transpose,
    where,
)

__all__ = [
    "argmax", "argmin", "argpartition", "argsort", "lexsort", "median", "nanargmax", "nanargmin",
    "nanmedian", "nanpercentile", "nanquantile", "partition", "percentile", "quantile", "sort",
    "sort_complex",
]  # fmt: skip

argpartition = non_differentiable(np.argpartition)
lexsort = non_differentiable(np.lexsort)
nanargmax, nanargmin = non_differentiable(np.nanargmax), non_differentiable(np.nanargmin)


def _flat(x: Any, axis: Any) -> tuple[Any, int]:
    if axis is None:
        return reshape(x, shape=(-1,)), 0
    return x, normalize_axis(axis, ndim_of(x))


@function(np.sort)
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """Return the elements along an axis in ascending order."""
    x, k = _flat(as_array(a), axis)
    return red.take_along(x, red.argsort(x, axis=k), k)


@function(np.argsort)
def argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *,
            stable: Any = None) -> Any:  # fmt: skip
    """Return the positions of the elements in ascending order (stable); no derivative."""
    x, k = _flat(as_array(a), axis)
    return red.argsort(x, axis=k)


@function(np.partition)
def partition(a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None) -> Any:
    """Return the elements along an axis so that those at `kth` are in their sorted places."""
    x, k = _flat(as_array(a), axis)
    return red.take_along(x, argpartition(x, kth, axis=k), k)


@function(np.sort_complex)
def sort_complex(a: Any) -> Any:
    """Return the elements as complex numbers, sorted by real part, then imaginary part."""
    x = sort(a, -1)
    return x if ew.is_complex(x) else cast(x, np.result_type(dtype_of(x), np.complex64))


def _position(primitive: Any) -> Any:
    def body(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        x = as_array(a)
        flat, k = _flat(x, axis)
        y = primitive(flat, axis=k)
        if not keepdims:
            return y
        return y.reshape((1,) * ndim_of(x)) if axis is None else expand_dims(y, (k,))

    body.__name__ = primitive.name
    body.__doc__ = f"Return the position of the {primitive.name[3:]}imum along an axis; no derivative."
    return body


argmax = function(np.argmax)(_position(red.argmax))
argmin = function(np.argmin)(_position(red.argmin))

# --- quantiles -----------------------------------------------------------------------------------

# Positions n q + a + q (1 - a - b) - 1 in the sorted values (Hyndman and Fan 1996, table 1).
_CONTINUOUS = {
    "linear": (1.0, 1.0),
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
_ROUNDED = {"lower": ew.floor, "higher": ew.ceil, "nearest": ew.rint}


def _last(x: Any, axes: tuple[int, ...]) -> Any:
    """Move axes to the end and join them."""
    rest = [k for k in range(ndim_of(x)) if k not in axes]
    x = transpose(x, axes=(*rest, *axes))
    return reshape(x, shape=(*shape_of(x)[: len(rest)], -1))


def _place(q: Any, n: Any, method: str) -> Any:
    """Return the real-valued position of the quantile q among n sorted values."""
    if method in _ROUNDED:
        return _ROUNDED[method](q * (n - 1))
    if method == "midpoint":
        place = q * (n - 1)
        return 0.5 * (ew.floor(place) + ew.ceil(place))
    if method not in _CONTINUOUS:
        unsupported(np.quantile, f"with method={method!r} is not supported on traced arrays")
    a, b = _CONTINUOUS[method]
    place = n * q + (a + q * (1 - a - b)) - 1
    return ew.minimum(ew.maximum(place, 0), n - 1)


def _interpolated(x: Any, q: Any, n: Any, method: str) -> Any:
    """Return the quantile q of sorted values, of which the first n count, along the last axis."""
    place = _place(q, n, method)
    low = ew.floor(place)
    weight = place - low
    last = shape_of(x)[-1] - 1
    i = np.clip(_integers(low), 0, last)
    j = np.minimum(i + 1, np.maximum(_integers(n) - 1, 0))
    if np.ndim(i) == 0:
        first, second = x[..., int(i)], x[..., int(j)]
    else:
        axis = ndim_of(x) - 1
        first = red.take_along(x, i[..., None], axis)[..., 0]
        second = red.take_along(x, j[..., None], axis)[..., 0]
    weight = cast(weight, dtype_of(x)) if is_inexact(dtype_of(x)) else weight
    return first * (1 - weight) + second * weight


def _integers(x: Any) -> Any:
    return np.asarray(x).astype(np.intp)


def _quantile(a: Any, q: Any, axis: Any, method: str, keepdims: bool, weights: Any,
              skip_nan: bool) -> Any:  # fmt: skip
    if weights is not None:
        unsupported(np.quantile, "with weights= is not supported on traced arrays")
    x, q = as_array(a), as_array(q)
    axes = normalize_axes(axis, ndim_of(x))
    x = _last(x, axes)
    x = red.take_along(x, red.argsort(x, axis=ndim_of(x) - 1), ndim_of(x) - 1)
    valid = red.count_nonzero(ew.equal(x, x), axes=(ndim_of(x) - 1,))
    n = valid if skip_nan else shape_of(x)[-1]
    results = []
    for k in np.ndindex(shape_of(q)):
        y = _interpolated(x, q[k] if k else q, n, method)
        spoiled = ew.equal(valid, 0) if skip_nan else ew.less(valid, shape_of(x)[-1])
        y = where(spoiled, dtype_of(y).type(np.nan), y)
        results.append(expand_dims(y, axes) if keepdims else y)
    if not shape_of(q):
        return results[0]
    return reshape(stack(*results, axis=0), shape=(*shape_of(q), *shape_of(results[0])))


@function(np.quantile)
def quantile(a: Any, q: Any, axis: Any = None, overwrite_input: bool = False,
             method: str = "linear", keepdims: bool = False, *, weights: Any = None) -> Any:  # fmt: skip
    """Return the q-th quantiles over axes, 0 <= q <= 1; every continuous method of NumPy."""
    return _quantile(a, q, axis, method, keepdims, weights, False)


@function(np.percentile)
def percentile(a: Any, q: Any, axis: Any = None, overwrite_input: bool = False,
               method: str = "linear", keepdims: bool = False, *, weights: Any = None) -> Any:  # fmt: skip
    """Return the q-th percentiles over axes, 0 <= q <= 100."""
    return _quantile(a, as_array(q) / 100.0, axis, method, keepdims, weights, False)


@function(np.nanquantile)
def nanquantile(a: Any, q: Any, axis: Any = None, overwrite_input: bool = False,
                method: str = "linear", keepdims: bool = False, *, weights: Any = None) -> Any:  # fmt: skip
    """Return the q-th quantiles of the elements that are not nan."""
    return _quantile(a, q, axis, method, keepdims, weights, True)


@function(np.nanpercentile)
def nanpercentile(a: Any, q: Any, axis: Any = None, overwrite_input: bool = False,
                  method: str = "linear", keepdims: bool = False, *, weights: Any = None) -> Any:  # fmt: skip
    """Return the q-th percentiles of the elements that are not nan."""
    return _quantile(a, as_array(q) / 100.0, axis, method, keepdims, weights, True)


@function(np.median)
def median(a: Any, axis: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """Return the median over axes; the mean of the two middle elements of an even number."""
    return _quantile(a, 0.5, axis, "linear", keepdims, None, False)


@function(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, overwrite_input: bool = False,
              keepdims: bool = False) -> Any:  # fmt: skip
    """Return the median of the elements that are not nan."""
    return _quantile(a, 0.5, axis, "linear", keepdims, None, True)
