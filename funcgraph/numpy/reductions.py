"""Sums, products, extremes, means and their relatives. May import `core`, `ops`, `numpy.creation`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.numpy._register import function
from funcgraph.numpy.creation import as_array
from funcgraph.ops import elementwise as ew
from funcgraph.ops import reductions as red
from funcgraph.ops.structural import (
    broadcast_to,
    cast,
    concatenate,
    expand_dims,
    normalize_axes,
    normalize_axis,
    reduce_sum,
    reshape,
    where,
)

__all__ = [
    "all", "amax", "amin", "any", "average", "count_nonzero", "cumprod", "cumsum",
    "cumulative_prod", "cumulative_sum", "max", "mean", "min", "nancumprod", "nancumsum", "nanmax",
    "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "prod", "ptp", "std", "sum", "var",
]  # fmt: skip


def reduce_with(x: Any, axis: Any, keepdims: Any, primitive: Any) -> Any:
    """Apply a reducing primitive over axis (None, int or tuple), keeping axes of length 1 or not."""
    axes = normalize_axes(axis, ndim_of(x))
    y = primitive(x, axes=axes)
    return expand_dims(y, axes) if keepdims else y


def masked(x: Any, mask: Any, fill: Any) -> Any:
    """Return x where mask holds and fill elsewhere; mask True keeps all."""
    return x if mask is True else where(mask, x, dtype_of(x).type(fill))


def _prepared(a: Any, dtype: Any, mask: Any, fill: Any) -> Any:
    x = as_array(a)
    x = x if dtype is None else cast(x, dtype)
    return masked(x, mask, fill)


@function(np.sum)
def sum(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, initial: Any = None,
        where: Any = True) -> Any:  # fmt: skip
    """Return the sum of elements over axes: Σ a."""
    y = reduce_with(_prepared(a, dtype, where, 0), axis, keepdims, red_sum)
    return y if initial is None else y + initial


red_sum = reduce_sum


@function(np.prod)
def prod(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, initial: Any = None,
         where: Any = True) -> Any:  # fmt: skip
    """Return the product of elements over axes: Π a."""
    y = reduce_with(_prepared(a, dtype, where, 1), axis, keepdims, red.reduce_prod)
    return y if initial is None else y * initial


def _extreme(primitive: Any, combine: Any, a: Any, axis: Any, keepdims: bool, initial: Any,
             mask: Any) -> Any:  # fmt: skip
    x = as_array(a)
    if mask is not True:
        if initial is None:
            raise ValueError("reduction operation does not have an identity: pass initial= too.")
        x = where(mask, x, initial)
    y = reduce_with(x, axis, keepdims, primitive)
    return y if initial is None else combine(y, initial)


@function(np.max)
def max(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None,
        where: Any = True) -> Any:  # fmt: skip
    """Return the largest element over axes; ties share the derivative."""
    return _extreme(red.reduce_max, ew.maximum, a, axis, keepdims, initial, where)


@function(np.min)
def min(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None,
        where: Any = True) -> Any:  # fmt: skip
    """Return the smallest element over axes; ties share the derivative."""
    return _extreme(red.reduce_min, ew.minimum, a, axis, keepdims, initial, where)


amax, amin = max, min  # np.amax and np.amin are wrappers of their own in NumPy
function(np.amax)(max.__wrapped__)
function(np.amin)(min.__wrapped__)


@function(np.ptp)
def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the range of values over axes: max - min."""
    x = as_array(a)
    return max(x, axis, keepdims=keepdims) - min(x, axis, keepdims=keepdims)


# --- moments -------------------------------------------------------------------------------------


def count(x: Any, axis: Any, mask: Any = True) -> Any:
    """Return how many elements of x enter a reduction over axis."""
    axes = normalize_axes(axis, ndim_of(x))
    if mask is True:
        n = 1
        for k in axes:
            n *= shape_of(x)[k]
        return n
    return red.count_nonzero(broadcast_to(mask, shape_of(x)), axes=axes)


@function(np.mean)
def mean(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False,
         where: Any = True) -> Any:  # fmt: skip
    """Return the mean over axes: Σ a / n."""
    x = as_array(a)
    n = count(x, axis, where)
    total = sum(x, axis, dtype, keepdims=keepdims, where=where)
    if where is not True:
        n = cast(expand_dims(n, normalize_axes(axis, ndim_of(x))) if keepdims else n, real_of(total))
    return total / n


def real_of(x: Any) -> Any:
    """Return the dtype of the real part of x."""
    return ew.real_dtype(dtype_of(x))


def _variance(a: Any, axis: Any, dtype: Any, ddof: Any, keepdims: bool, mask: Any, given: Any,
              correction: Any) -> Any:  # fmt: skip
    x = as_array(a)
    x = x if dtype is None else cast(x, dtype)
    center = mean(x, axis, keepdims=True, where=mask) if given is None else given
    d = x - center
    square = ew.real(d * ew.conjugate(d)) if ew.is_complex(d) else ew.square(d)
    n = count(x, axis, mask)
    total = sum(square, axis, keepdims=keepdims, where=mask)
    if mask is not True:
        n = cast(expand_dims(n, normalize_axes(axis, ndim_of(x))) if keepdims else n, real_of(total))
        return total / ew.maximum(n - (ddof if correction is None else correction), 0)
    free = n - (ddof if correction is None else correction)
    return total / (free if free > 0 else 0.0)


@function(np.var)
def var(a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, keepdims: bool = False, *,
        where: Any = True, mean: Any = None, correction: Any = None) -> Any:  # fmt: skip
    """Return the variance over axes: Σ |a - mean|² / (n - ddof)."""
    return _variance(a, axis, dtype, ddof, keepdims, where, mean, correction)


@function(np.std)
def std(a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, keepdims: bool = False, *,
        where: Any = True, mean: Any = None, correction: Any = None) -> Any:  # fmt: skip
    """Return the standard deviation over axes, the square root of `var`."""
    return ew.sqrt(_variance(a, axis, dtype, ddof, keepdims, where, mean, correction))


@function(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *,
            keepdims: bool = False) -> Any:  # fmt: skip
    """Return the weighted average: Σ w a / Σ w."""
    x = as_array(a)
    if weights is None:
        y = mean(x, axis, keepdims=keepdims)
        total = y * 0 + count(x, axis)
        return (y, total) if returned else y
    w = as_array(weights)
    if shape_of(w) != shape_of(x):
        if ndim_of(w) != 1 or not isinstance(axis, int):
            raise TypeError("weights need the shape of a, or be 1-D along one given axis.")
        place = normalize_axis(axis, ndim_of(x))
        w = reshape(w, shape=(1,) * place + (-1,) + (1,) * (ndim_of(x) - place - 1))
        w = broadcast_to(w, shape_of(x))
    total = sum(w, axis, keepdims=keepdims)
    y = sum(x * w, axis, keepdims=keepdims) / total
    return (y, broadcast_to(total, shape_of(y))) if returned else y


# --- accumulations -------------------------------------------------------------------------------


def _accumulate(primitive: Any, a: Any, axis: Any, dtype: Any) -> Any:
    x = as_array(a)
    x = x if dtype is None else cast(x, dtype)
    if axis is None:
        x, axis = reshape(x, shape=(-1,)), 0
    return primitive(x, axis=normalize_axis(axis, ndim_of(x)))


@function(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Return the running sums: y_k = Σ_{j ≤ k} a_j."""
    return _accumulate(red.cumsum, a, axis, dtype)


@function(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Return the running products: y_k = Π_{j ≤ k} a_j."""
    return _accumulate(red.cumprod, a, axis, dtype)


def _running_max(a: Any, axis: Any = 0, dtype: Any = None) -> Any:
    return _accumulate(red.cummax, a, axis, dtype)


def _running_min(a: Any, axis: Any = 0, dtype: Any = None) -> Any:
    return _accumulate(red.cummin, a, axis, dtype)


def _cumulative(primitive: Any, x: Any, axis: Any, dtype: Any, include: bool, unit: int) -> Any:
    x = as_array(x)
    if axis is None and ndim_of(x) != 1:
        raise ValueError("For arrays which have more than one dimension ``axis`` is required.")
    axis = normalize_axis(axis or 0, ndim_of(x))
    y = _accumulate(primitive, x, axis, dtype)
    if not include:
        return y
    shape = list(shape_of(y))
    shape[axis] = 1
    return concatenate(np.full(shape, unit, dtype_of(y)), y, axis=axis)


@function(np.cumulative_sum)
def cumulative_sum(x: Any, /, *, axis: Any = None, dtype: Any = None,
                   include_initial: bool = False) -> Any:  # fmt: skip
    """Return the running sums, after a zero if include_initial."""
    return _cumulative(red.cumsum, x, axis, dtype, include_initial, 0)


@function(np.cumulative_prod)
def cumulative_prod(x: Any, /, *, axis: Any = None, dtype: Any = None,
                    include_initial: bool = False) -> Any:  # fmt: skip
    """Return the running products, after a one if include_initial."""
    return _cumulative(red.cumprod, x, axis, dtype, include_initial, 1)


# --- ignoring nan --------------------------------------------------------------------------------


def without_nan(a: Any, fill: Any) -> tuple[Any, Any]:
    """Return a with nan replaced, and where it was a number."""
    x = as_array(a)
    valid = ew.equal(x, x)
    return where(valid, x, dtype_of(x).type(fill)), valid


@function(np.nansum)
def nansum(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False,
           initial: Any = None, where: Any = True) -> Any:  # fmt: skip
    """Return the sum of the elements that are not nan."""
    return sum(without_nan(a, 0)[0], axis, dtype, keepdims=keepdims, initial=initial, where=where)


@function(np.nanprod)
def nanprod(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False,
            initial: Any = None, where: Any = True) -> Any:  # fmt: skip
    """Return the product of the elements that are not nan."""
    return prod(without_nan(a, 1)[0], axis, dtype, keepdims=keepdims, initial=initial, where=where)


@function(np.nancumsum)
def nancumsum(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Return the running sums, nan counting as 0."""
    return cumsum(without_nan(a, 0)[0], axis, dtype)


@function(np.nancumprod)
def nancumprod(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Return the running products, nan counting as 1."""
    return cumprod(without_nan(a, 1)[0], axis, dtype)


@function(np.nanmean)
def nanmean(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False,
            where: Any = True) -> Any:  # fmt: skip
    """Return the mean of the elements that are not nan."""
    x, valid = without_nan(a, 0)
    return mean(x, axis, dtype, keepdims=keepdims, where=ew.logical_and(valid, where))


@function(np.nanvar)
def nanvar(a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, keepdims: bool = False, *,
           where: Any = True, mean: Any = None, correction: Any = None) -> Any:  # fmt: skip
    """Return the variance of the elements that are not nan."""
    x, valid = without_nan(a, 0)
    mask = ew.logical_and(valid, where)
    return _variance(x, axis, dtype, ddof, keepdims, mask, mean, correction)


@function(np.nanstd)
def nanstd(a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, keepdims: bool = False, *,
           where: Any = True, mean: Any = None, correction: Any = None) -> Any:  # fmt: skip
    """Return the standard deviation of the elements that are not nan."""
    x, valid = without_nan(a, 0)
    mask = ew.logical_and(valid, where)
    return ew.sqrt(_variance(x, axis, dtype, ddof, keepdims, mask, mean, correction))


def _nan_extreme(reduce: Any, a: Any, axis: Any, keepdims: bool, initial: Any, mask: Any,
                 fill: float) -> Any:  # fmt: skip
    x, valid = without_nan(a, fill)
    y = reduce(x, axis, keepdims=keepdims, initial=initial, where=mask)
    none = ew.logical_not(reduce_with(valid, axis, keepdims, red.reduce_any))
    return where(none, dtype_of(y).type(np.nan), y) if is_inexact(dtype_of(y)) else y


@function(np.nanmax)
def nanmax(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None,
           where: Any = True) -> Any:  # fmt: skip
    """Return the largest element that is not nan; ties share the derivative."""
    return _nan_extreme(max, a, axis, keepdims, initial, where, -np.inf)


@function(np.nanmin)
def nanmin(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None,
           where: Any = True) -> Any:  # fmt: skip
    """Return the smallest element that is not nan; ties share the derivative."""
    return _nan_extreme(min, a, axis, keepdims, initial, where, np.inf)


# --- truth: no derivative ------------------------------------------------------------------------


@function(np.all)
def all(a: Any, axis: Any = None, keepdims: bool = False, *, where: Any = True) -> Any:
    """Return whether all elements are true; no derivative."""
    x = as_array(a) if where is True else ew.logical_or(as_array(a), ew.logical_not(where))
    return reduce_with(x, axis, keepdims, red.reduce_all)


@function(np.any)
def any(a: Any, axis: Any = None, keepdims: bool = False, *, where: Any = True) -> Any:
    """Return whether any element is true; no derivative."""
    x = as_array(a) if where is True else ew.logical_and(as_array(a), where)
    return reduce_with(x, axis, keepdims, red.reduce_any)


@function(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Return the number of elements that are not zero; no derivative."""
    return reduce_with(as_array(a), axis, keepdims, red.count_nonzero)


def _logaddexp_reduce(a: Any, axis: Any = 0, keepdims: bool = False, **_: Any) -> Any:
    """Return log Σ exp a over axes, without overflow."""
    x = as_array(a)
    top = max(x, axis, keepdims=True)
    top = where(ew.isfinite(top), top, dtype_of(x).type(0))
    y = ew.log(sum(ew.exp(x - top), axis, keepdims=True)) + top
    return y if keepdims else reshape(y, shape=shape_of(sum(x, axis)))


function(np.maximum.accumulate, jax="jax.lax.cummax")(_running_max)
function(np.minimum.accumulate, jax="jax.lax.cummin")(_running_min)
function(np.logaddexp.reduce, jax="jax.scipy.special.logsumexp")(_logaddexp_reduce)
