"""Sorting, positions of elements, and order statistics.

Sorted values are gathered: their derivative goes to the element each came from. May import
`core`, `ops`, `numpy._register`, `numpy.creation`, `numpy.reductions`.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of, dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.numpy._register import NON_DIFFERENTIABLE, function
from funcgraph.numpy.creation import as_array, as_floats
from funcgraph.numpy.reductions import axes_of, checked, flat
from funcgraph.ops import elementwise as ew
from funcgraph.ops import reductions as red
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import (
    broadcast_to,
    cast,
    expand_dims,
    normalize_axis,
    reduce_sum,
    reshape,
    transpose,
    where,
)

__all__ = [
    "argmax", "argmin", "argpartition", "argsort", "lexsort", "median", "nanargmax", "nanargmin",
    "nanmedian", "nanpercentile", "nanquantile", "partition", "percentile", "quantile", "sort",
    "sort_complex",
]  # fmt: skip

# --- orders --------------------------------------------------------------------------------------


def _plain_order(order: Any) -> None:
    if order is not None:
        raise ValueError("Cannot specify order when the array has no fields.")


def _sortable(a: Any, axis: Any, order: Any) -> tuple[Any, int]:
    """Return an array and a non-negative axis; the axis None flattens."""
    _plain_order(order)
    x = as_array(a)
    return flat(x, None) if axis is None else (x, normalize_axis(axis, ndim_of(x)))


@function(np.sort)
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """Return the elements along an axis in ascending order, equal ones as they stood."""
    x, k = _sortable(a, axis, order)
    return red.permute_along(x, red.argsort(x, axis=k), axis=k)


@function(np.argsort)
def argsort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Return the positions of the elements in ascending order (stable); no derivative."""
    _plain_order(order)
    x, k = flat(as_array(a), axis)
    return red.argsort(x, axis=k)


@function(np.partition)
def partition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """Return the elements along an axis so that those at `kth` are in their sorted places."""
    x, k = _sortable(a, axis, order)
    return red.permute_along(x, red.partition_order(x, kth=kth, axis=k), axis=k)


@function(np.argpartition)
def argpartition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """Return positions that bring the elements at `kth` into their sorted places; no derivative."""
    x, k = _sortable(a, axis, order)
    return red.argpartition(x, kth=kth, axis=k)


@function(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Any:
    """Return the positions that sort by the last key, then the one before, ...; no derivative."""
    keys = [as_array(k) for k in keys]
    return red.lexsort(*keys, axis=normalize_axis(axis, ndim_of(keys[0])))


@function(np.sort_complex)
def sort_complex(a: Any) -> Any:
    """Return the elements as complex numbers, sorted by real part, then imaginary part."""
    x = as_array(a)
    x = red.permute_along(x, red.argsort(x, axis=ndim_of(x) - 1), axis=ndim_of(x) - 1)
    return x if ew.is_complex(x) else cast(x, np.complex128)


# --- positions of extremes -----------------------------------------------------------------------


def _position(primitive: Any, a: Any, axis: Any, keepdims: Any) -> Any:
    x, k = flat(a, axis)
    y = primitive(x, axis=k)
    if not keepdims:
        return y
    whole = axis is None or ndim_of(a) == 0
    return reshape(y, shape=(1,) * ndim_of(a)) if whole else expand_dims(y, (k,))


@function(np.argmax)
def argmax(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Return the position of the first maximum along an axis; no derivative."""
    return _position(red.argmax, as_array(a), axis, keepdims)


@function(np.argmin)
def argmin(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Return the position of the first minimum along an axis; no derivative."""
    return _position(red.argmin, as_array(a), axis, keepdims)


@function(np.nanargmax)
def nanargmax(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Return the position of the first maximum that is not nan; no derivative."""
    return _position(red.nanargmax, as_array(a), axis, keepdims)


@function(np.nanargmin)
def nanargmin(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Return the position of the first minimum that is not nan; no derivative."""
    return _position(red.nanargmin, as_array(a), axis, keepdims)


NON_DIFFERENTIABLE.update(
    [np.argmax, np.argmin, np.argpartition, np.argsort, np.lexsort, np.nanargmax, np.nanargmin]
)

# --- quantiles -----------------------------------------------------------------------------------

# Hyndman and Fan, "Sample quantiles in statistical packages", 1996: the quantile q of n sorted
# values stands at position n q + a + q (1 - a - b) - 1, counted from 0.
_CONTINUOUS = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3.0, 1 / 3.0),
    "normal_unbiased": (3 / 8.0, 3 / 8.0),
}


def _closest(q: Any, n: Any) -> Any:
    """Return the position nearest to n q - 1; of two as near, the odd one."""
    place = n * q - 1.5
    low = ew.floor(place)
    return where(ew.logical_and(ew.equal(place, low), ew.equal(low % 2, 1)), low, low + 1)


_DISCRETE = {
    "lower": lambda q, n: ew.floor((n - 1) * q),
    "higher": lambda q, n: ew.ceil((n - 1) * q),
    "nearest": lambda q, n: ew.rint((n - 1) * q),
    "inverted_cdf": lambda q, n: ew.ceil(n * q - 1),
    "closest_observation": _closest,
}


def _neighbours(q: Any, n: Any, method: str) -> tuple[Any, Any, Any]:
    """Return two positions among n sorted values and the weight of the second one (None: 0).

    Between the positions the weight is what carries the derivative by q; at a position, where the
    neighbours coincide, that derivative is 0, as in JAX.
    """
    if method in _DISCRETE:
        place = _DISCRETE[method](q, n)
        return place, place, None
    if method == "averaged_inverted_cdf":
        place = n * q - 1
        low = ew.floor(place)
        number = dtype_of(place).type
        return low, low + 1, where(ew.equal(place, low), number(0.5), number(1))
    if method == "midpoint":
        place = (n - 1) * q
        return ew.floor(place), ew.ceil(place), dtype_of(place).type(0.5)
    if method == "linear":
        place = (n - 1) * q
    elif method in _CONTINUOUS:
        a, b = _CONTINUOUS[method]
        place = n * q + (a + q * (1 - a - b)) - 1
    else:
        names = sorted([*_DISCRETE, *_CONTINUOUS, "averaged_inverted_cdf", "linear", "midpoint"])
        raise ValueError(f"{method!r} is not a valid method. Use one of: {', '.join(names)}")
    low = ew.floor(place)
    return low, ew.ceil(place), place - low


def _positions(place: Any, n: Any) -> Any:
    """Bring positions into [0, n), as integers."""
    return cast(ew.maximum(ew.minimum(place, n - 1), 0), np.intp)


def _read(x: Any, positions: Any, n: Any) -> Any:
    """Return x at positions (*q) of axis 0; with counts n, at positions (*q, *rest) of columns."""
    if ndim_of(n) == 0:
        return index(x, positions)
    shape, rest = shape_of(positions), shape_of(n)
    leading = prod(shape[: len(shape) - len(rest)])
    return reshape(red.take_along(x, reshape(positions, shape=(leading, *rest)), 0), shape=shape)


def _sorted(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """Return a with the axes joined into the first one and sorted, nan last, and the axes."""
    x = as_array(a)
    checked(axis, ndim_of(x))
    axes = axes_of(axis, ndim_of(x))
    x = red.joined(x, axes) if axes else expand_dims(x, (0,))
    return red.permute_along(x, red.argsort(x, axis=0), axis=0), axes


def _numbers(x: Any, each: bool) -> Any:
    """Return how many of the sorted values are not nan; `each` counts them, else all or nothing."""
    if not each or not is_inexact(dtype_of(x)):
        return shape_of(x)[0]
    return red.count_nonzero(ew.equal(x, x), axes=(0,))


def _spoiled(x: Any, n: Any, each: bool, y: Any) -> Any:
    """Return y, with nan where there is a nan (or, counting each, nothing but nan) in x."""
    if not is_inexact(dtype_of(x)):
        return y
    bad = ew.equal(n, 0) if each else ew.isnan(x[-1])
    return where(bad, dtype_of(y).type(np.nan), y)


def _kept(y: Any, axes: tuple[int, ...], leading: int, keepdims: Any) -> Any:
    """Put the reduced axes back, with length 1, behind the leading ones."""
    return expand_dims(y, tuple(sorted(k + leading for k in axes))) if keepdims else y


def _quantile(
    a: Any, q: Any, top: int, axis: Any, method: str, keepdims: Any, weights: Any, each: bool
) -> Any:
    """Return quantiles at the levels q / top."""
    if ew.is_complex(as_array(a)):
        raise TypeError("a must be an array of real numbers")
    if weights is not None:
        return _weighted_quantile(a, q, top, axis, method, keepdims, weights, each)
    x, axes = _sorted(a, axis)
    n, rest = _numbers(x, each), ndim_of(x) - 1
    weak, q = aval_of(q).weak is not None, _level(q, top)
    shape = shape_of(q)
    q = reshape(q, shape=shape + (1,) * rest) if ndim_of(n) and shape else q
    low, high, weight = _neighbours(q, n if type(n) is int else cast(n, dtype_of(q)), method)
    y = _read(x, _positions(low, n), n)
    if weight is not None:
        if weak:  # a Python number takes the precision of the others
            weight = cast(weight, dtype_of(x) if is_inexact(dtype_of(x)) else np.float64)
        if shape and not ndim_of(n) and ndim_of(weight):
            weight = reshape(weight, shape=shape + (1,) * rest)
        y = _between(y, _read(x, _positions(high, n), n), weight)
    return _kept(_spoiled(x, n, each, y), axes, len(shape), keepdims)


def _weighted_quantile(
    a: Any, q: Any, top: int, axis: Any, method: str, keepdims: Any, weights: Any, each: bool
) -> Any:
    """Return the first values whose share of the weight, with all before them, reaches q / top."""
    if method != "inverted_cdf":
        raise ValueError(f"Only method 'inverted_cdf' supports weights. Got: {method}.")
    a = as_array(a)
    weights = _spread_weights(as_array(weights), a, axis)
    x, axes = _sorted(a, axis)
    joined = red.joined(a, axes) if axes else expand_dims(a, (0,))
    w = red.joined(weights, axes) if axes else expand_dims(weights, (0,))
    w = cast(red.permute_along(w, red.argsort(joined, axis=0), axis=0), np.float64)
    if each:
        w = where(ew.isnan(x), 0.0, w)
    share = red.cumsum(w, axis=0)
    share = share / share[-1]
    q = _level(q, top)
    share = cast(share, dtype_of(q)) if dtype_of(q).kind == "f" else share
    share = where(ew.equal(share, 0), -1.0, share)  # what weighs nothing is no quantile 0
    shape, rest = shape_of(q), shape_of(x)[1:]
    levels = reshape(q, shape=(*shape, *(1,) * ndim_of(x)))
    place = red.count_nonzero(ew.less(share, levels), axes=(len(shape),))
    y = _read(x, _positions(place, shape_of(x)[0]), np.zeros(rest))
    return _kept(y if each else _spoiled(x, 0, False, y), axes, len(shape), keepdims)


def _spread_weights(weights: Any, a: Any, axis: Any) -> Any:
    """Return weights in the shape of a; they may have the axes of the quantile only."""
    shape = shape_of(a)
    if shape_of(weights) == shape:
        return weights
    if axis is None:
        raise TypeError("Axis must be specified when shapes of a and weights differ.")
    axes = [normalize_axis(k, len(shape)) for k in (axis if isinstance(axis, tuple) else (axis,))]
    if shape_of(weights) != tuple(shape[k] for k in axes):
        raise ValueError(
            f"weights of shape {shape_of(weights)} fit neither a, of shape {shape}, nor its axes "
            f"{axes}."
        )
    weights = transpose(weights, axes=tuple(int(k) for k in np.argsort(axes)))
    thin = tuple(n if k in axes else 1 for k, n in enumerate(shape))
    return broadcast_to(reshape(weights, shape=thin), shape)


def _between(a: Any, b: Any, t: Any) -> Any:
    """Return a + (b - a) t, from the nearer end, as NumPy rounds it."""
    d = b - a
    return where(ew.less(t, 0.5), a + d * t, b - d * (1 - t))


def _level(q: Any, top: int) -> Any:
    """Return q / top; it must lie in [0, 1], which only plain numbers are asked."""
    q = as_array(q)
    if KIND[type(q)] == NUMPY and not np.all((np.asarray(q) >= 0) & (np.asarray(q) <= top)):
        kind = "Quantiles" if top == 1 else "Percentiles"
        raise ValueError(f"{kind} must be in the range [0, {top}]")
    return q / top


@function(np.quantile)
def quantile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
             method: str = "linear", keepdims: bool = False, *,
             weights: Any = None) -> Any:  # fmt: skip
    """Return the quantiles q in [0, 1] over axes, by any of NumPy's methods: (*q, *rest)."""
    return _quantile(a, q, 1, axis, method, keepdims, weights, False)


@function(np.percentile)
def percentile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
               method: str = "linear", keepdims: bool = False, *,
               weights: Any = None) -> Any:  # fmt: skip
    """Return the percentiles q in [0, 100] over axes, by any of NumPy's methods: (*q, *rest)."""
    return _quantile(a, q, 100, axis, method, keepdims, weights, False)


@function(np.nanquantile)
def nanquantile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
                method: str = "linear", keepdims: bool = False, *,
                weights: Any = None) -> Any:  # fmt: skip
    """Return the quantiles over axes of the elements that are not nan."""
    return _quantile(a, q, 1, axis, method, keepdims, weights, True)


@function(np.nanpercentile)
def nanpercentile(a: Any, q: Any, axis: Any = None, out: None = None,
                  overwrite_input: bool = False, method: str = "linear", keepdims: bool = False,
                  *, weights: Any = None) -> Any:  # fmt: skip
    """Return the percentiles over axes of the elements that are not nan."""
    return _quantile(a, q, 100, axis, method, keepdims, weights, True)


def _median(a: Any, axis: Any, keepdims: Any, each: bool) -> Any:
    x, axes = _sorted(as_floats(a), axis)
    n = _numbers(x, each)
    low, high = (n - 1) // 2, n // 2
    if shape_of(x)[0] == 0:
        return _kept(reduce_sum(x, axes=(0,)) / 0, axes, 0, keepdims)
    if type(n) is int:
        y = x[high] if low == high else (x[low] + x[high]) * 0.5
    else:
        y = (_read(x, _positions(low, n), n) + _read(x, _positions(high, n), n)) * 0.5
    return _kept(_spoiled(x, n, each, y), axes, 0, keepdims)


@function(np.median)
def median(a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
           keepdims: bool = False) -> Any:  # fmt: skip
    """Return the median over axes; of an even number, the mean of the two in the middle."""
    return _median(a, axis, keepdims, False)


@function(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
              keepdims: bool = False) -> Any:  # fmt: skip
    """Return the median over axes of the elements that are not nan."""
    return _median(a, axis, keepdims, True)
