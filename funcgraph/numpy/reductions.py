"""Sums, products, extremes, moments, running totals and truth, over any axes; nan-skipping forms.

May import `core`, `ops`, `numpy._register`, `numpy.creation`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, is_inexact, ndim_of, shape_of
from funcgraph.numpy._register import NON_DIFFERENTIABLE, function
from funcgraph.numpy.creation import as_array, as_dtype
from funcgraph.ops import elementwise as ew
from funcgraph.ops import reductions as red
from funcgraph.ops import structural as st

__all__ = [
    "all", "amax", "amin", "any", "average", "count_nonzero", "cumprod", "cumsum",
    "cumulative_prod", "cumulative_sum", "max", "mean", "min", "nancumprod", "nancumsum",
    "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "prod", "ptp",
    "std", "sum", "var",
]  # fmt: skip

# --- over axes -----------------------------------------------------------------------------------


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return axis (None, an int or a tuple) as a tuple of numbers in [0, ndim)."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:  # the usual cases, without NumPy's checks
        return (axis + ndim,) if axis < 0 else (axis,)
    if ndim == 0 and axis in (0, -1):  # NumPy lets scalars pass
        return ()
    return st.normalize_axes(axis, ndim)


def flat(x: Any, axis: Any) -> tuple[Any, int]:
    """Return x with at least one axis, all joined if axis is None, and a non-negative axis."""
    ndim = ndim_of(x)
    if axis is None or ndim == 0:
        x, ndim, axis = st.reshape(x, shape=(-1,)) if ndim != 1 else x, 1, axis or 0
    return x, st.normalize_axis(axis, ndim)


def reduce_with(x: Any, axis: Any, keepdims: Any, primitive: Any) -> Any:
    """Apply a reducing primitive over axis; keepdims leaves axes of length 1."""
    axes = axes_of(axis, ndim_of(x))
    y = primitive(x, axes=axes)
    return st.expand_dims(y, tuple(sorted(axes))) if keepdims and axes else y


def masked(x: Any, mask: Any, fill: Any) -> Any:
    """Return x where mask holds and fill elsewhere; the mask True keeps all."""
    return x if mask is True else st.where(mask, x, dtype_of(x).type(fill))


def checked(axis: Any, ndim: int) -> None:
    """Raise AxisError if an axis is not there: of scalars too, which `axes_of` lets pass."""
    if axis is not None and ndim == 0:
        st.normalize_axes(axis, ndim)


def count(x: Any, axis: Any, keepdims: Any = False, mask: Any = True) -> Any:
    """Return how many elements of x enter a reduction: an int, or with a mask an array."""
    if mask is not True:
        return reduce_with(st.broadcast_to(mask, shape_of(x)), axis, keepdims, red.count_nonzero)
    shape = shape_of(x)
    n = 1
    for k in axes_of(axis, len(shape)):
        n *= shape[k]
    return n


def _like(initial: Any, x: Any) -> Any:
    """Return the initial value of a reduction in the dtype of the others."""
    return st.cast(initial, dtype_of(x))


# The bodies have arguments named sum, where, mean: what they call must have other names.
def _total(a: Any, axis: Any, dtype: Any, keepdims: Any, initial: Any, mask: Any) -> Any:
    x = as_array(a) if dtype is None else as_dtype(as_array(a), dtype)
    y = reduce_with(masked(x, mask, 0), axis, keepdims, st.reduce_sum)
    y = y if dtype is None else as_dtype(y, dtype)
    return y if initial is None else y + _like(initial, y)


@function(np.sum)
def sum(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
        initial: Any = None, where: Any = True) -> Any:  # fmt: skip
    """Return the sum of elements over axes: initial + Σ a."""
    return _total(a, axis, dtype, keepdims, initial, where)


@function(np.prod)
def prod(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
         initial: Any = None, where: Any = True) -> Any:  # fmt: skip
    """Return the product of elements over axes: initial * Π a."""
    x = masked(as_dtype(as_array(a), dtype), where, 1)
    y = as_dtype(reduce_with(x, axis, keepdims, red.reduce_prod), dtype)
    return y if initial is None else y * _like(initial, y)


# --- extremes ------------------------------------------------------------------------------------


def _extreme(
    primitive: Any, combine: Any, a: Any, axis: Any, keepdims: Any, initial: Any, mask: Any
) -> Any:
    x = as_array(a)
    initial = None if initial is None else _like(initial, x)
    if mask is not True:
        if initial is None:
            raise ValueError(
                f"reduction operation '{combine.name}' does not have an identity, so to use a "
                "where mask one has to specify 'initial'"
            )
        x = st.where(mask, x, initial)
    if initial is None:
        return reduce_with(x, axis, keepdims, primitive)
    axes = axes_of(axis, ndim_of(x))
    if count(x, axes) == 0:  # nothing but the initial value is left
        rest = tuple(n for k, n in enumerate(shape_of(x)) if k not in axes)
        y = st.broadcast_to(initial, rest)
        return st.expand_dims(y, axes) if keepdims else y
    return combine(reduce_with(x, axis, keepdims, primitive), initial)


@function(np.max)
def max(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
        where: Any = True) -> Any:  # fmt: skip
    """Return the largest element over axes; equal ones share the derivative."""
    return _extreme(red.reduce_max, ew.maximum, a, axis, keepdims, initial, where)


@function(np.min)
def min(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
        where: Any = True) -> Any:  # fmt: skip
    """Return the smallest element over axes; equal ones share the derivative."""
    return _extreme(red.reduce_min, ew.minimum, a, axis, keepdims, initial, where)


# np.amax and np.amin are functions of their own, equal to np.max and np.min.
amax = function(np.amax)(max.__wrapped__)
amin = function(np.amin)(min.__wrapped__)


@function(np.ptp)
def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Return the range of values over axes: max a - min a."""
    x = as_array(a)
    high = reduce_with(x, axis, keepdims, red.reduce_max)
    return high - reduce_with(x, axis, keepdims, red.reduce_min)


# --- moments -------------------------------------------------------------------------------------


def _mean(a: Any, axis: Any, dtype: Any, keepdims: Any, mask: Any) -> Any:
    x = as_array(a)
    checked(axis, ndim_of(x))
    half = False
    if dtype is None:
        given = dtype_of(x)
        half = given.char == "e"
        # As NumPy: half precision is summed in single precision, integers in double precision.
        dtype = np.float32 if half else np.float64 if given.kind in "biu" else None
    y = _total(x, axis, dtype, keepdims, None, mask)
    n = count(x, axis, keepdims, mask)
    y = y / (n if mask is True else st.cast(n, ew.real_dtype(dtype_of(y))))
    return st.cast(y, np.float16) if half else y


@function(np.mean)
def mean(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
         where: Any = True) -> Any:  # fmt: skip
    """Return the mean over axes: Σ a / n."""
    return _mean(a, axis, dtype, keepdims, where)


def _free(n: Any, ddof: Any, correction: Any, dtype: Any) -> Any:
    """Return n - ddof as a divisor, where it is positive, else 0."""
    if correction is not None:
        if ddof != 0:
            raise ValueError("ddof and correction can't be provided simultaneously.")
        ddof = correction
    if type(n) is int:
        return n - ddof if n > ddof else dtype.type(0)
    return ew.maximum(st.cast(n, dtype) - ddof, dtype.type(0))


def _squares(x: Any) -> Any:
    """Return |x|²."""
    return ew.real(x * ew.conjugate(x)) if ew.is_complex(x) else ew.square(x)


def _variance(a: Any, axis: Any, dtype: Any, ddof: Any, keepdims: Any, mask: Any, center: Any,
              correction: Any) -> Any:  # fmt: skip
    x = as_array(a)
    checked(axis, ndim_of(x))
    if dtype is None and dtype_of(x).kind in "biu":
        dtype = np.float64
    x = x if dtype is None else as_dtype(x, dtype)
    if center is None:
        center = _mean(x, axis, dtype_of(x), True, mask)
    total = _total(_squares(x - center), axis, dtype, keepdims, None, mask)
    n = count(x, axis, keepdims, mask)
    return total / _free(n, ddof, correction, ew.real_dtype(dtype_of(total)))


@function(np.var)
def var(a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0,
        keepdims: bool = False, *, where: Any = True, mean: Any = None,
        correction: Any = None) -> Any:  # fmt: skip
    """Return the variance over axes: Σ |a - mean|² / (n - ddof)."""
    return _variance(a, axis, dtype, ddof, keepdims, where, mean, correction)


@function(np.std)
def std(a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0,
        keepdims: bool = False, *, where: Any = True, mean: Any = None,
        correction: Any = None) -> Any:  # fmt: skip
    """Return the standard deviation over axes: sqrt(Σ |a - mean|² / (n - ddof))."""
    return ew.sqrt(_variance(a, axis, dtype, ddof, keepdims, where, mean, correction))


def _weights_like(x: Any, weights: Any, axis: Any) -> Any:
    """Return weights, given for all elements or for those along axis, so that they match x."""
    w, shape = as_array(weights), shape_of(x)
    if shape_of(w) == shape:
        return w
    if axis is None:
        raise TypeError("Axis must be specified when shapes of a and weights differ.")
    axes = axes_of(axis, len(shape))
    if shape_of(w) != tuple(shape[k] for k in axes):
        raise ValueError(
            "Shape of weights must be consistent with shape of a along specified axis."
        )
    w = st.transpose(w, axes=st.inverse(axes))
    return st.reshape(w, shape=tuple(n if k in axes else 1 for k, n in enumerate(shape)))


@function(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """Return the weighted average over axes: Σ w a / Σ w; if returned, with Σ w."""
    x = as_array(a)
    if weights is None:
        y = _mean(x, axis, None, keepdims, True)
        return (y, np.full(shape_of(y), count(x, axis), dtype_of(y))[()]) if returned else y
    w = _weights_like(x, weights, axis)
    dtype = np.result_type(dtype_of(x), dtype_of(w), *[] if is_inexact(dtype_of(x)) else ["f8"])
    scale = _total(w, axis, dtype, keepdims, None, True)
    y = _total(x * w, axis, dtype, keepdims, None, True) / scale
    return (y, st.broadcast_to(scale, shape_of(y))) if returned else y


# --- running totals ------------------------------------------------------------------------------


def _accumulate(primitive: Any, a: Any, axis: Any, dtype: Any) -> Any:
    x, axis = flat(as_dtype(as_array(a), dtype), axis)
    return primitive(x, axis=axis)


@function(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """Return the running sums along an axis: y_k = Σ_{j ≤ k} a_j."""
    return _accumulate(red.cumsum, a, axis, dtype)


@function(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """Return the running products along an axis: y_k = Π_{j ≤ k} a_j."""
    return _accumulate(red.cumprod, a, axis, dtype)


def _cumulative(primitive: Any, x: Any, axis: Any, dtype: Any, initial: Any) -> Any:
    x = as_array(x)
    if axis is None and ndim_of(x) > 1:
        raise ValueError(
            "For arrays which have more than one dimension ``axis`` argument is required."
        )
    x, axis = flat(x, axis or 0)
    y = _accumulate(primitive, x, axis, dtype)
    if initial is None:
        return y
    shape = tuple(1 if k == axis else n for k, n in enumerate(shape_of(y)))
    return st.concatenate(np.full(shape, initial, dtype_of(y)), y, axis=axis)


@function(np.cumulative_sum)
def cumulative_sum(
    x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Return the running sums along an axis, after a zero if include_initial."""
    return _cumulative(red.cumsum, x, axis, dtype, 0 if include_initial else None)


@function(np.cumulative_prod)
def cumulative_prod(
    x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Return the running products along an axis, after a one if include_initial."""
    return _cumulative(red.cumprod, x, axis, dtype, 1 if include_initial else None)


# --- skipping nan --------------------------------------------------------------------------------


def without_nan(a: Any, fill: Any) -> tuple[Any, Any]:
    """Return a with nan replaced, and where it was a number."""
    x = as_array(a)
    if not is_inexact(dtype_of(x)):
        return x, True
    valid = ew.logical_not(ew.isnan(x))
    return st.where(valid, x, dtype_of(x).type(fill)), valid


def _both(mask: Any, other: Any) -> Any:
    return mask if other is True else other if mask is True else ew.logical_and(mask, other)


@function(np.nansum)
def nansum(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
           initial: Any = None, where: Any = True) -> Any:  # fmt: skip
    """Return the sum over axes of the elements that are not nan."""
    return _total(without_nan(a, 0)[0], axis, dtype, keepdims, initial, where)


@function(np.nanprod)
def nanprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
            initial: Any = None, where: Any = True) -> Any:  # fmt: skip
    """Return the product over axes of the elements that are not nan."""
    x = without_nan(a, 1)[0]
    return prod.__wrapped__(x, axis, dtype, None, keepdims, initial, where)


@function(np.nancumsum)
def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """Return the running sums along an axis, nan counting as 0."""
    return _accumulate(red.cumsum, without_nan(a, 0)[0], axis, dtype)


@function(np.nancumprod)
def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    """Return the running products along an axis, nan counting as 1."""
    return _accumulate(red.cumprod, without_nan(a, 1)[0], axis, dtype)


@function(np.nanmean)
def nanmean(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
            where: Any = True) -> Any:  # fmt: skip
    """Return the mean over axes of the elements that are not nan."""
    x, valid = without_nan(a, 0)
    if dtype is None and valid is not True:
        dtype = dtype_of(x)  # half precision is summed in half precision, unlike in np.mean
    return _mean(x, axis, dtype, keepdims, _both(valid, where))


def _nan_variance(
    a: Any, axis: Any, dtype: Any, ddof: Any, keepdims: Any, mask: Any, center: Any, given: Any
) -> Any:
    x, valid = without_nan(a, 0)
    mask = _both(valid, mask)
    y = _variance(x, axis, dtype, ddof, keepdims, mask, center, given)
    enough = ew.greater(count(x, axis, keepdims, mask), ddof if given is None else given)
    return st.where(enough, y, dtype_of(y).type(np.nan))


@function(np.nanvar)
def nanvar(a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0,
           keepdims: bool = False, *, where: Any = True, mean: Any = None,
           correction: Any = None) -> Any:  # fmt: skip
    """Return the variance over axes of the elements that are not nan."""
    return _nan_variance(a, axis, dtype, ddof, keepdims, where, mean, correction)


@function(np.nanstd)
def nanstd(a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0,
           keepdims: bool = False, *, where: Any = True, mean: Any = None,
           correction: Any = None) -> Any:  # fmt: skip
    """Return the standard deviation over axes of the elements that are not nan."""
    return ew.sqrt(_nan_variance(a, axis, dtype, ddof, keepdims, where, mean, correction))


def _nan_extreme(
    reduce: Any, a: Any, axis: Any, keepdims: Any, initial: Any, mask: Any, fill: float
) -> Any:
    x, valid = without_nan(a, fill)
    y = reduce(x, axis, None, keepdims, initial, mask)
    if valid is True or initial is not None:  # there is always a number
        return y
    some = reduce_with(valid, axis, keepdims, red.reduce_any)
    return st.where(some, y, dtype_of(y).type(np.nan))


@function(np.nanmax)
def nanmax(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
           where: Any = True) -> Any:  # fmt: skip
    """Return the largest element over axes that is not nan; equal ones share the derivative."""
    return _nan_extreme(max.__wrapped__, a, axis, keepdims, initial, where, -np.inf)


@function(np.nanmin)
def nanmin(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
           where: Any = True) -> Any:  # fmt: skip
    """Return the smallest element over axes that is not nan; equal ones share the derivative."""
    return _nan_extreme(min.__wrapped__, a, axis, keepdims, initial, where, np.inf)


# --- truth: no derivative ------------------------------------------------------------------------


@function(np.all)
def all(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    """Return whether all elements over axes are true; no derivative."""
    x = as_array(a)
    x = x if where is True else ew.logical_or(x, ew.logical_not(where))
    return reduce_with(x, axis, keepdims, red.reduce_all)


@function(np.any)
def any(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    """Return whether any element over axes is true; no derivative."""
    x = as_array(a)
    x = x if where is True else ew.logical_and(x, where)
    return reduce_with(x, axis, keepdims, red.reduce_any)


@function(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Return the number of elements over axes that are not zero; no derivative."""
    return reduce_with(as_array(a), axis, keepdims, red.count_nonzero)


NON_DIFFERENTIABLE.update([np.all, np.any, np.count_nonzero])
