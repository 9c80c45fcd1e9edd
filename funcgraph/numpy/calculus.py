"""Differences, interpolation, convolution, covariance. May import `core`, `ops`, `numpy.*`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, promote, aval_of, shape_of
from funcgraph.core.trace import FUNCTIONS
from funcgraph.numpy._register import concrete, function
from funcgraph.numpy.creation import as_array
from funcgraph.numpy.products import matmul
from funcgraph.numpy.reductions import average, mean, sum
from funcgraph.ops import elementwise as ew
from funcgraph.ops import reductions as red
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import (
    broadcast_to,
    cast,
    concatenate,
    expand_dims,
    normalize_axis,
    pad_zeros,
    reshape,
    where,
)

__all__ = [
    "apply_along_axis", "apply_over_axes", "convolve", "corrcoef", "correlate", "cov", "diff",
    "ediff1d", "gradient", "interp", "trapezoid", "unwrap",
]  # fmt: skip


def _along(axis: int, part: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, part)


@function(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Return the n-th differences along an axis: y_k = a_{k+1} - a_k."""
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n}")
    x = as_array(a)
    k = normalize_axis(axis, ndim_of(x))
    unset = np._NoValue  # type: ignore[attr-defined]
    ends = [None if e is None or e is unset else _as_slab(e, x, k) for e in (prepend, append)]
    parts = [p for p in (ends[0], x, ends[1]) if p is not None]
    x = concatenate(*parts, axis=k) if len(parts) > 1 else x
    for _ in range(n):
        x = x[_along(k, slice(1, None))] - x[_along(k, slice(None, -1))]
    return x


def _as_slab(end: Any, x: Any, axis: int) -> Any:
    end = as_array(end)
    if ndim_of(end):
        return end
    shape = list(shape_of(x))
    shape[axis] = 1
    return broadcast_to(end, tuple(shape))


@function(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Return the differences of consecutive elements, between two optional ends."""
    x = reshape(as_array(ary), shape=(-1,))
    parts = [diff(x)]
    if to_begin is not None:
        parts.insert(0, reshape(as_array(to_begin), shape=(-1,)))
    if to_end is not None:
        parts.append(reshape(as_array(to_end), shape=(-1,)))
    return concatenate(*parts, axis=0) if len(parts) > 1 else parts[0]


@function(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Return the integral by the trapezoidal rule: Σ (x_{k+1} - x_k) (y_k + y_{k+1}) / 2."""
    y = as_array(y)
    k = normalize_axis(axis, ndim_of(y))
    if x is None:
        d = dx
    else:
        x = as_array(x)
        d = diff(x, axis=axis if ndim_of(x) > 1 else 0)
        if ndim_of(x) == 1:
            d = reshape(d, shape=(-1,) + (1,) * (ndim_of(y) - k - 1))
    pairs = y[_along(k, slice(1, None))] + y[_along(k, slice(None, -1))]
    return sum(d * pairs * 0.5, k)


@function(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return central differences in the interior and one-sided ones at the ends, per axis."""
    x = as_array(f)
    axes = range(ndim_of(x)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    places = [normalize_axis(k, ndim_of(x)) for k in axes]
    if len(varargs) not in (0, 1, len(places)):
        raise TypeError("invalid number of arguments")
    steps = list(varargs) or [1.0]
    steps = steps * len(places) if len(steps) == 1 else steps
    out = [_gradient(x, as_array(h), k, edge_order) for h, k in zip(steps, places, strict=True)]
    return out[0] if len(out) == 1 else tuple(out)


def _gradient(x: Any, h: Any, axis: int, edge_order: int) -> Any:
    n = shape_of(x)[axis]
    if n < edge_order + 1:
        raise ValueError(
            "Shape of array too small to calculate a numerical gradient, at least (edge_order + 1) "
            "elements are required."
        )
    at = lambda *part: x[_along(axis, slice(*part))]  # noqa: E731
    if ndim_of(h):
        d = diff(h)
        d = reshape(d, shape=(-1,) + (1,) * (ndim_of(x) - axis - 1))
    else:
        d = broadcast_to(h, (n - 1,) + (1,) * (ndim_of(x) - axis - 1))
    h1, h2 = d[:-1], d[1:]
    # The parabola through three points (its slope in the middle, and at the ends for order 2).
    middle = (
        at(2, None) * (h1 / (h2 * (h1 + h2)))
        + at(1, -1) * ((h2 - h1) / (h1 * h2))
        - at(None, -2) * (h2 / (h1 * (h1 + h2)))
    )
    if edge_order == 1:
        first, last = (at(1, 2) - at(0, 1)) / d[:1], (at(-1, None) - at(-2, -1)) / d[-1:]
    else:
        a, b = d[:1], d[1:2]
        first = (
            at(1, 2) * ((a + b) / (a * b))
            - at(0, 1) * ((2 * a + b) / (a * (a + b)))
            - at(2, 3) * (a / (b * (a + b)))
        )
        a, b = d[-2:-1], d[-1:]
        last = (
            at(-1, None) * ((2 * b + a) / (b * (a + b)))
            - at(-2, -1) * ((a + b) / (a * b))
            + at(-3, -2) * (b / (a * (a + b)))
        )
    return concatenate(first, middle, last, axis=axis)


@function(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None,
           period: Any = None) -> Any:  # fmt: skip
    """Return the piecewise linear interpolant through (xp, fp) at x."""
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    if period is not None:
        left = right = None
        period = abs(period)
        x, xp = ew.remainder(x, period), ew.remainder(xp, period)
        order = np.argsort(concrete(xp))
        xp, fp = index(xp, order), index(fp, order)
        xp = concatenate(xp[-1:] - period, xp, xp[:1] + period, axis=0)
        fp = concatenate(fp[-1:], fp, fp[:1], axis=0)
    n = shape_of(xp)[0]
    place = np.clip(np.searchsorted(concrete(xp), concrete(x), side="right"), 1, max(n - 1, 1))
    before, after = place - 1, np.minimum(place, n - 1)
    x0, x1 = index(xp, before), index(xp, after)
    y0, y1 = index(fp, before), index(fp, after)
    run = x1 - x0
    flat = ew.equal(run, 0)
    y = y0 + (x - x0) * (where(flat, 0, y1 - y0) / where(flat, 1, run))
    y = where(ew.less(x, xp[0]), fp[0] if left is None else left, y)
    return where(ew.greater(x, xp[-1]), fp[-1] if right is None else right, y)


# --- convolution -----------------------------------------------------------------------------------


@function(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Return the convolution of two sequences: y_n = Σ_k a_k v_{n-k}."""
    a, v = as_array(a), as_array(v)
    a = a if ndim_of(a) else expand_dims(a, (0,))
    v = v if ndim_of(v) else expand_dims(v, (0,))
    if ndim_of(a) != 1 or ndim_of(v) != 1:
        raise ValueError("object too deep for desired array")
    if not shape_of(a)[0] or not shape_of(v)[0]:
        raise ValueError("a and v cannot be empty")
    if shape_of(v)[0] > shape_of(a)[0]:
        a, v = v, a
    n, m = shape_of(a)[0], shape_of(v)[0]
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"mode must be one of 'valid', 'same', or 'full' (got {mode!r})")
    padding = {"full": (m - 1, m - 1), "same": (m // 2, (m - 1) // 2), "valid": (0, 0)}[mode]
    if mode == "same":
        padding = ((m - 1) - (m - 1) // 2, (m - 1) // 2)
    padded = pad_zeros(a, widths=(padding,))
    windows = np.arange(n + padding[0] + padding[1] - m + 1)[:, None] + np.arange(m)
    return matmul(index(padded, windows), v[::-1])


@function(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Return the cross-correlation: y_n = Σ_k a_{n+k} conj(v_k)."""
    a, v = as_array(a), as_array(v)
    v = ew.conjugate(v) if ew.is_complex(v) else v
    if shape_of(v)[0] > shape_of(a)[0]:
        return convolve(a, v[::-1], mode)[::-1] if mode == "none" else _swapped(a, v, mode)
    return convolve(a, v[::-1], mode)


def _swapped(a: Any, v: Any, mode: str) -> Any:
    """Correlate with the longer sequence second: NumPy swaps them and reverses the result."""
    return convolve(v, a[::-1], mode)[::-1]


# --- statistics of pairs ---------------------------------------------------------------------------


@function(np.cov)
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None,
        fweights: Any = None, aweights: Any = None, *, dtype: Any = None) -> Any:  # fmt: skip
    """Return the covariance matrix: Σ w (x_i - mean_i) conj(x_j - mean_j) / (n - ddof)."""
    x = _observations(m, rowvar)
    if y is not None:
        x = concatenate(x, _observations(y, rowvar), axis=0)
    x = x if dtype is None else cast(x, dtype)
    ddof = (0 if bias else 1) if ddof is None else ddof
    weights = None
    for w in (fweights, aweights):
        if w is not None:
            weights = as_array(w) if weights is None else weights * as_array(w)
    n = shape_of(x)[1]
    if weights is None:
        factor: Any = n - ddof
        d = x - mean(x, 1, keepdims=True)
        right = d
    else:
        total = sum(weights)
        if ddof == 0 or aweights is None:
            factor = total - ddof
        else:
            factor = total - ddof * sum(weights * as_array(aweights)) / total
        d = x - expand_dims(average(x, 1, weights), (1,))
        right = d * weights
    product = matmul(d, ew.conjugate(right).T if ew.is_complex(right) else right.T)
    out = product / factor
    return out if shape_of(out) != (1, 1) else out[0, 0]


def _observations(m: Any, rowvar: bool) -> Any:
    x = as_array(m)
    if ndim_of(x) > 2:
        raise ValueError("m has more than 2 dimensions")
    if ndim_of(x) < 2:
        return reshape(x, shape=(1, -1))
    return x if rowvar or shape_of(x)[0] == 1 else x.T


@function(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None, **_: Any) -> Any:
    """Return the correlation coefficients: cov_ij / sqrt(cov_ii cov_jj)."""
    c = cov(x, y, rowvar, dtype=dtype)
    if ndim_of(c) == 0:
        return c / c
    k = np.arange(shape_of(c)[0])
    deviation = ew.sqrt(ew.real(c[k, k]) if ew.is_complex(c) else c[k, k])
    c = c / deviation[:, None] / deviation[None, :]
    if ew.is_complex(c):
        return c
    return ew.minimum(ew.maximum(c, -1), 1)


# --- others ----------------------------------------------------------------------------------------


@function(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * math.pi) -> Any:
    """Add multiples of the period so that no step exceeds half of it."""
    x = as_array(p)
    k = normalize_axis(axis, ndim_of(x))
    plain = concrete(x)
    jumps = np.unwrap(plain, discont, axis=k, period=period) - plain
    return x + jumps.astype(dtype_of(x))


@function(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply a function to the 1-D slices along an axis."""
    x = as_array(arr)
    k = normalize_axis(axis, ndim_of(x))
    shape = (*shape_of(x)[:k], *shape_of(x)[k + 1 :])
    results = []
    for place in np.ndindex(shape):
        results.append(as_array(func1d(x[(*place[:k], slice(None), *place[k:])], *args, **kwargs)))
    inner = shape_of(results[0])
    stacked = reshape(FUNCTIONS[np.stack](results), shape=(*shape, *inner))
    order = (*range(k), *range(len(shape), len(shape) + len(inner)), *range(k, len(shape)))
    return FUNCTIONS[np.transpose](stacked, order)


@function(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """Apply func(x, axis) over several axes in turn, keeping their number."""
    x = as_array(a)
    for k in axes if isinstance(axes, (tuple, list)) else (axes,):
        y = func(x, normalize_axis(k, ndim_of(x)))
        x = y if ndim_of(y) == ndim_of(x) else expand_dims(y, (normalize_axis(k, ndim_of(x)),))
    return x
