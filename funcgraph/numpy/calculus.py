"""Differences, integrals, interpolation, convolution, covariance, functions along axes.

May import `core`, `ops`, `numpy._register`, `numpy.creation`, `numpy.manipulation`,
`numpy.products`, `numpy.reductions`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.numpy._register import function
from funcgraph.numpy.creation import as_array, as_dtype, as_floats
from funcgraph.numpy.manipulation import along, flat
from funcgraph.numpy.products import matmul
from funcgraph.numpy.reductions import average, mean, sum
from funcgraph.ops import elementwise as ew
from funcgraph.ops import reductions as red
from funcgraph.ops import signal
from funcgraph.ops.indexing import index
from funcgraph.ops.manipulation import searchsorted
from funcgraph.ops.structural import (
    broadcast_to,
    concatenate,
    expand_dims,
    moved,
    normalize_axes,
    normalize_axis,
    reshape,
    stack,
    where,
)

__all__ = [
    "apply_along_axis", "apply_over_axes", "convolve", "corrcoef", "correlate", "cov", "diff",
    "ediff1d", "gradient", "interp", "trapezoid", "unwrap",
]  # fmt: skip

# --- differences and integrals -------------------------------------------------------------------


def _part(x: Any, axis: int, start: Any, stop: Any) -> Any:
    return index(x, along(axis, slice(start, stop)))


def _steps(x: Any, axis: int) -> Any:
    """Return x_{k+1} - x_k along an axis."""
    return _part(x, axis, 1, None) - _part(x, axis, None, -1)


def _differences(x: Any, axis: int) -> Any:
    """Return the same, but of bools where they change, as NumPy's diff does."""
    if dtype_of(x).kind != "b":
        return _steps(x, axis)
    return ew.not_equal(_part(x, axis, 1, None), _part(x, axis, None, -1))


def _column(x: Any, axis: int, ndim: int) -> Any:
    """Return a vector laid along one of ndim axes."""
    return reshape(x, shape=(1,) * axis + (shape_of(x)[0],) + (1,) * (ndim - axis - 1))


def _slab(end: Any, x: Any, axis: int) -> Any:
    end = as_array(end)
    if ndim_of(end):
        return end
    return broadcast_to(end, tuple(1 if k == axis else n for k, n in enumerate(shape_of(x))))


@function(np.diff)
def diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue
) -> Any:
    """Return the n-th differences along an axis: y_k = a_{k+1} - a_k."""
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n!r}")
    x = as_array(a)
    if n == 0:
        return x
    if ndim_of(x) == 0:
        raise ValueError("diff requires input that is at least one dimensional")
    k = normalize_axis(axis, ndim_of(x))
    before, after = ([] if e is np._NoValue else [_slab(e, x, k)] for e in (prepend, append))
    if before or after:
        x = concatenate(*before, x, *after, axis=k)
    for _ in range(n):
        x = _differences(x, k)
    return x


@function(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Return the differences of consecutive elements, between two optional ends."""
    x = flat(as_array(ary))
    parts = [_steps(x, 0)]
    for name, end, place in (("to_begin", to_begin, 0), ("to_end", to_end, 2)):
        if end is None:
            continue
        end = as_array(end)
        if not np.can_cast(dtype_of(end), dtype_of(x), "same_kind"):
            raise TypeError(
                f"dtype of `{name}` must be compatible with input `ary` under the `same_kind` rule."
            )
        parts.insert(place, flat(as_dtype(end, dtype_of(x))))
    return concatenate(*parts, axis=0) if len(parts) > 1 else parts[0]


@function(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Return the integral by the trapezoidal rule: Σ (x_{k+1} - x_k) (y_k + y_{k+1}) / 2."""
    y = as_array(y)
    k = normalize_axis(axis, ndim_of(y))
    if x is None:
        d = as_array(dx)
    else:
        x = as_array(x)
        flat_x = ndim_of(x) == 1
        d = _steps(x, 0 if flat_x else normalize_axis(axis, ndim_of(x)))
        d = _column(d, k, ndim_of(y)) if flat_x else d
    pairs = _part(y, k, 1, None) + _part(y, k, None, -1)
    return sum(d * pairs / 2.0, axis)


@function(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return the derivatives along axes: central differences inside, one-sided ones at the ends.

    The spacing is a number, one per axis, or coordinates of each axis; where it is not uniform,
    the derivative is that of the parabola through three points (Quarteroni et al. 2007, 4.7).
    """
    x = as_floats(f)
    axes = normalize_axes(axis, ndim_of(x))
    spacing = [as_array(h) for h in varargs] or [1.0]
    spacing = [as_floats(h) if dtype_of(h).kind in ("b", "u") else h for h in spacing]
    if len(spacing) == 1 and ndim_of(spacing[0]) == 0:
        spacing = spacing * len(axes)
    if len(spacing) != len(axes):
        raise TypeError("invalid number of arguments")
    if edge_order > 2:
        raise ValueError("'edge_order' greater than 2 not supported")
    out = [_slope(x, h, k, edge_order) for h, k in zip(spacing, axes, strict=True)]
    return out[0] if len(out) == 1 else tuple(out)


def _slope(x: Any, h: Any, axis: int, edge_order: int) -> Any:
    n = shape_of(x)[axis]
    if n < edge_order + 1:
        raise ValueError(
            "Shape of array too small to calculate a numerical gradient, at least (edge_order + 1) "
            "elements are required."
        )
    if ndim_of(h) == 0:
        inner = (_part(x, axis, 2, None) - _part(x, axis, None, -2)) / (2.0 * h)
        steps: Any = [h] * 4
    else:
        if ndim_of(h) != 1:
            raise ValueError("distances must be either scalars or 1d")
        if shape_of(h)[0] != n:
            raise ValueError(
                "when 1d, distances must match the length of the corresponding dimension"
            )
        d = _column(_steps(as_dtype(h, np.result_type(dtype_of(h), 0.0)), 0), axis, ndim_of(x))
        h1, h2 = _part(d, axis, None, -1), _part(d, axis, 1, None)
        inner = (
            -h2 / (h1 * (h1 + h2)) * _part(x, axis, None, -2)
            + (h2 - h1) / (h1 * h2) * _part(x, axis, 1, -1)
            + h1 / (h2 * (h1 + h2)) * _part(x, axis, 2, None)
        )
        ends = (0, 1), (1, 2), (n - 3, n - 2), (n - 2, n - 1)
        steps = [_part(d, axis, max(a, 0), max(b, 0)) for a, b in ends]
    if edge_order == 1:
        first = (_part(x, axis, 1, 2) - _part(x, axis, 0, 1)) / steps[0]
        last = (_part(x, axis, n - 1, n) - _part(x, axis, n - 2, n - 1)) / steps[3]
    else:
        first = _end_slope([_part(x, axis, k, k + 1) for k in (0, 1, 2)], steps[0], steps[1])
        backwards = [_part(x, axis, k, k + 1) for k in (n - 1, n - 2, n - 3)]
        last = -_end_slope(backwards, steps[3], steps[2])
    dtype = dtype_of(x)
    return concatenate(*(as_dtype(part, dtype) for part in (first, inner, last)), axis=axis)


def _end_slope(points: list[Any], h1: Any, h2: Any) -> Any:
    """Return the slope, at the first, of the parabola through three points, h1 and h2 apart."""
    a = -(2.0 * h1 + h2) / (h1 * (h1 + h2))
    b = (h1 + h2) / (h1 * h2)
    c = -h1 / (h2 * (h1 + h2))
    return a * points[0] + b * points[1] + c * points[2]


# --- interpolation and phases --------------------------------------------------------------------


def _periodic(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Any, Any, Any]:
    """Bring the points into one period, in order, with one more point at each end."""
    if KIND[type(period)] == NUMPY and period == 0:
        raise ValueError("period must be a non-zero value")
    period = ew.absolute(as_array(period))
    x, xp = ew.remainder(x, period), ew.remainder(xp, period)
    order = red.argsort(xp, axis=0)
    xp, fp = red.permute_along(xp, order, axis=0), red.permute_along(fp, order, axis=0)
    xp = concatenate(xp[-1:] - period, xp, xp[:1] + period, axis=0)
    return x, xp, concatenate(fp[-1:], fp, fp[:1], axis=0)


@function(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """Return the piecewise linear interpolant through (xp, fp) at x, in double precision."""
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    if ew.is_complex(x) or ew.is_complex(xp):
        raise TypeError("x and xp of interp must be real")
    if ndim_of(xp) != 1 or ndim_of(fp) != 1:
        raise ValueError("Data points must be 1-D sequences")
    if shape_of(xp) != shape_of(fp):
        raise ValueError("fp and xp are not of the same length.")
    if shape_of(xp)[0] == 0:
        raise ValueError("array of sample points is empty")
    dtype = np.complex128 if ew.is_complex(fp) else np.float64
    x, xp, fp = as_dtype(x, np.float64), as_dtype(xp, np.float64), as_dtype(fp, dtype)
    if period is not None:
        left = right = None
        x, xp, fp = _periodic(x, xp, fp, period)
    n = shape_of(xp)[0]
    place = ew.minimum(ew.maximum(searchsorted(xp, x, side="right"), 1), max(n - 1, 1))
    before, after = place - 1, ew.minimum(place, n - 1)
    x0, y0 = index(xp, before), index(fp, before)
    run, rise = index(xp, after) - x0, index(fp, after) - y0
    flat_run = ew.equal(run, 0)
    y = y0 + where(flat_run, 0.0, (x - x0) / where(flat_run, 1.0, run)) * rise
    y = where(ew.less(x, xp[0]), fp[0] if left is None else left, y)
    return where(ew.greater(x, xp[-1]), fp[-1] if right is None else right, y)


@function(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Any:
    """Add multiples of the period so that no step along an axis exceeds half of it."""
    x = as_array(p)
    k = normalize_axis(axis, ndim_of(x))
    half = period / 2
    d = _differences(x, k)
    turned = ew.remainder(d + half, period) - half
    up = ew.logical_and(ew.equal(turned, -half), ew.greater(d, 0))
    change = where(up, half, turned) - d
    change = where(ew.less(ew.absolute(d), half if discont is None else discont), 0, change)
    moved_on = _part(x, k, 1, None) + red.cumsum(change, axis=k)
    return concatenate(_part(x, k, None, 1), moved_on, axis=k)


# --- convolution ---------------------------------------------------------------------------------


def _sequence(x: Any) -> Any:
    x = as_array(x)
    if ndim_of(x) != 1:
        raise ValueError(f"object too {'deep' if ndim_of(x) else 'small'} for desired array")
    return x


def _convolve(a: Any, v: Any, mode: str) -> Any:
    """Convolve a with v, which is not longer."""
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"mode must be one of 'valid', 'same', or 'full' (got {mode!r})")
    if mode == "same":
        start = (shape_of(v)[0] - 1) // 2
        return signal.convolve(a, v, mode="full")[start : start + shape_of(a)[0]]
    return signal.convolve(a, v, mode=mode)


@function(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Return the convolution of two sequences: y_n = Σ_k a_k v_{n-k}."""
    a, v = (_sequence(x if ndim_of(x) else expand_dims(x, (0,))) for x in map(as_array, (a, v)))
    for name, x in (("a", a), ("v", v)):
        if shape_of(x)[0] == 0:
            raise ValueError(f"{name} cannot be empty")
    return _convolve(v, a, mode) if shape_of(v)[0] > shape_of(a)[0] else _convolve(a, v, mode)


@function(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Return the cross-correlation of two sequences: y_n = Σ_k a_{n+k} conj(v_k)."""
    a, v = _sequence(a), _sequence(v)
    if shape_of(a)[0] == 0 or shape_of(v)[0] == 0:
        raise ValueError("array cannot be empty")
    v = ew.conjugate(v) if ew.is_complex(v) else v
    if shape_of(v)[0] > shape_of(a)[0]:  # the roles are exchanged, and the result turned around
        return _convolve(v, a[::-1], mode)[::-1]
    return _convolve(a, v[::-1], mode)


# --- covariance ----------------------------------------------------------------------------------


def _observations(x: Any, rowvar: bool, dtype: Any) -> Any:
    """Return a matrix with a row for each variable."""
    x = as_dtype(x, dtype)
    if ndim_of(x) < 2:
        return reshape(x, shape=(1, -1))
    return x if rowvar else x.T


def _sample_weights(weights: Any, name: str, n: int) -> Any:
    if weights is None:
        return None
    w = as_dtype(as_array(weights), np.float64)
    if ndim_of(w) > 1:
        raise RuntimeError(f"cannot handle multidimensional {name}")
    if shape_of(w)[0] != n:
        raise RuntimeError(f"incompatible numbers of samples and {name}")
    return w


@function(np.cov)
def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None,
        fweights: Any = None, aweights: Any = None, *, dtype: Any = None) -> Any:  # fmt: skip
    """Return the covariance matrix of variables: Σ_k w_k (x_ik - mean_i) conj(x_jk - mean_j) / n.

    n is Σ w - ddof Σ w aweights / Σ w, with w = fweights aweights; without weights, the number of
    observations less ddof. Double precision at least, as in NumPy.
    """
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be integer")
    given = [as_array(v) for v in (m, y) if v is not None]
    for name, v in zip("my", given, strict=False):
        if ndim_of(v) > 2:
            raise ValueError(f"{name} has more than 2 dimensions")
    if dtype is None:
        dtype = np.result_type(*map(dtype_of, given), np.float64)
    rows = [_observations(given[0], rowvar, dtype)]
    for v in given[1:]:
        rows.append(_observations(v, rowvar or shape_of(v)[:1] == (1,), dtype))
    x = concatenate(*rows, axis=0) if len(rows) > 1 else rows[0]
    ddof = int(not bias) if ddof is None else ddof
    n = shape_of(x)[1]
    f, a = _sample_weights(fweights, "fweights", n), _sample_weights(aweights, "aweights", n)
    w = f if a is None else a if f is None else f * a
    if w is None:
        factor: Any = max(n - ddof, 0)
        d = x - mean(x, 1, keepdims=True)
        product = matmul(d, _adjoint(d))
    else:
        factor = sum(w)
        if ddof != 0:
            factor = factor - ddof * (1 if a is None else sum(w * a) / factor)
        d = x - expand_dims(average(x, 1, w), (1,))
        product = matmul(d, _adjoint(d * w))
    c = as_dtype(product * np.true_divide(1, factor), dtype_of(product))
    return c if shape_of(c) != (1, 1) else reshape(c, shape=())


def _adjoint(x: Any) -> Any:
    return (ew.conjugate(x) if ew.is_complex(x) else x).T


@function(np.corrcoef)
def corrcoef(
    x: Any, y: Any = None, rowvar: bool = True, bias: Any = None, ddof: Any = None, *,
    dtype: Any = None
) -> Any:  # fmt: skip
    """Return the correlation coefficients: cov_ij / sqrt(cov_ii cov_jj)."""
    c = cov(x, y, rowvar, dtype=dtype)
    if ndim_of(c) == 0:
        return c / c
    k = np.arange(shape_of(c)[0])
    deviation = ew.sqrt(ew.real(c[k, k]))
    c = c / expand_dims(deviation, (1,)) / deviation
    bounded = lambda v: ew.minimum(ew.maximum(v, -1), 1)  # noqa: E731
    if ew.is_complex(c):
        return bounded(ew.real(c)) + 1j * bounded(ew.imag(c))
    return bounded(c)


# --- functions along axes ------------------------------------------------------------------------


@function(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply a function to the 1-D slices along an axis; its results take the place of the axis."""
    x = as_array(arr)
    k = normalize_axis(axis, ndim_of(x))
    x = moved(x, k, ndim_of(x) - 1)
    rest = shape_of(x)[:-1]
    if 0 in rest:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = [as_array(func1d(index(x, at), *args, **kwargs)) for at in np.ndindex(rest)]
    inner = shape_of(results[0])
    y = reshape(stack(*results, axis=0), shape=(*rest, *inner))
    for j in range(len(inner)):
        y = moved(y, len(rest) + j, k + j)
    return y


@function(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """Apply func(x, axis) over several axes in turn, keeping their number."""
    x = as_array(a)
    n = ndim_of(x)
    for axis in axes if isinstance(axes, tuple | list) else (axes,):
        k = axis + n if axis < 0 else axis
        y = func(x, k)
        x = y if ndim_of(y) == ndim_of(x) else expand_dims(y, (k,))
        if ndim_of(x) != n:
            raise ValueError("function is not returning an array of the correct shape")
    return x
