"""NumPy's set routines and histograms: distinct values, and sums of weights by bins.

Values are gathered from the input, hence differentiable; which ones, the plain values decide.
May import `core`, `ops`, `numpy._register`, `numpy.creation`, `numpy.manipulation`.
"""

from __future__ import annotations

import builtins
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.trace import FUNCTIONS
from funcgraph.numpy._register import concrete, function, non_differentiable
from funcgraph.numpy.creation import as_array, as_dtype, linspace
from funcgraph.numpy.manipulation import along, flat
from funcgraph.ops import elementwise as ew
from funcgraph.ops import manipulation as lookups
from funcgraph.ops import structural as st
from funcgraph.ops.indexing import ARRAY, index, index_add

__all__ = [
    "bincount",
    "histogram",
    "histogram2d",
    "histogram_bin_edges",
    "histogramdd",
    "intersect1d",
    "isin",
    "setdiff1d",
    "setxor1d",
    "union1d",
    "unique",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]

isin = non_differentiable(np.isin)

# --- sets ----------------------------------------------------------------------------------------


@function(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    **_: Any,
) -> Any:
    """Return the sorted distinct elements (or slices along an axis), each at its first place.

    The derivative goes to the first of equal elements.
    """
    x = as_array(ar)
    _, first, *rest = np.unique(
        concrete(x), True, return_inverse, return_counts, axis, equal_nan=equal_nan
    )
    if axis is None:
        values = index(flat(x), first)
    else:
        values = index(x, along(st.normalize_axis(axis, ndim_of(x)), first))
    results = (values, *([first] if return_index else []), *rest)
    return results if len(results) > 1 else values


@function(np.unique_values)
def unique_values(x: Any) -> Any:
    """Return the distinct elements, sorted; nan differs from nan."""
    return unique(x, equal_nan=False)


def _named(numpy_function: Any, x: Any) -> Any:
    """Return NumPy's named tuple with the values gathered from x."""
    return numpy_function(concrete(x))._replace(values=unique(x, equal_nan=False))


@function(np.unique_all)
def unique_all(x: Any) -> Any:
    """Return the distinct elements, sorted, and their first indices, inverse and counts."""
    return _named(np.unique_all, as_array(x))


@function(np.unique_counts)
def unique_counts(x: Any) -> Any:
    """Return the distinct elements, sorted, and how often each occurs."""
    return _named(np.unique_counts, as_array(x))


@function(np.unique_inverse)
def unique_inverse(x: Any) -> Any:
    """Return the distinct elements, sorted, and the positions of x in them."""
    return _named(np.unique_inverse, as_array(x))


@function(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Any:
    """Return the distinct elements of two arrays, sorted."""
    return unique(st.concatenate(flat(as_array(ar1)), flat(as_array(ar2)), axis=0))


@function(np.intersect1d)
def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """Return the distinct elements that both arrays hold, sorted, as they stand in the first."""
    x, y = flat(as_array(ar1)), flat(as_array(ar2))
    _, first, second = np.intersect1d(concrete(x), concrete(y), assume_unique, return_indices=True)
    dtype = np.result_type(dtype_of(x), dtype_of(y))
    values = as_dtype(index(x, first), dtype)
    return (values, first, second) if return_indices else values


@function(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """Return the distinct elements of the first array that the second does not hold, sorted."""
    x = flat(as_array(ar1)) if assume_unique else unique(ar1)
    missing = ~np.isin(concrete(x), concrete(ar2), assume_unique=True)
    return index(x, np.flatnonzero(missing))


@function(np.setxor1d)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """Return the distinct elements that just one of two arrays holds, sorted."""
    parts = [flat(as_array(a)) if assume_unique else unique(a) for a in (ar1, ar2)]
    x = st.concatenate(*parts, axis=0)
    plain = concrete(x)
    order = np.argsort(plain)
    differs = np.concatenate([[True], plain[order][1:] != plain[order][:-1], [True]])
    return index(x, order[differs[1:] & differs[:-1]])


# --- counts --------------------------------------------------------------------------------------


def _sums(bins: Any, weights: Any, count: int, dtype: Any) -> Any:
    """Return the sums of the weights by bin number; numbers outside [0, count) are left out."""
    inside = st.where(ew.less(bins, 0), False, ew.less(bins, count))
    chosen = st.where(inside, as_dtype(weights, dtype), np.dtype(dtype).type(0))
    places = st.where(inside, bins, 0)
    return index_add(np.zeros(count, dtype), chosen, places, template=(ARRAY,))


@function(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """Add up the weights (or count) by non-negative integers: y[k] = Σ weights[x == k]."""
    numbers = np.asarray(concrete(x))
    count = np.bincount(numbers, minlength=minlength).size
    if weights is None:
        return np.bincount(numbers, minlength=minlength)
    weights = as_array(weights)
    if shape_of(weights) != numbers.shape:
        raise ValueError("The weights and list don't have the same length.")
    return _sums(numbers, weights, count, np.dtype(float))


def _edges(a: Any, bins: Any, range: Any, weights: Any = None) -> Any:
    """Return the bin edges; those that follow from the data are differentiable in them."""
    if isinstance(bins, str):
        plain = np.histogram_bin_edges(concrete(a), bins, range, concrete(weights))
        bins = len(plain) - 1
    elif ndim_of(bins) == 1:
        edges = as_array(bins)
        if type(edges) is np.ndarray and np.any(edges[:-1] > edges[1:]):
            raise ValueError("`bins` must increase monotonically, when an array")
        return edges
    if range is not None or not prod(shape_of(a)):
        return np.histogram_bin_edges(np.empty(0, dtype_of(a)), bins, range)
    low, high = FUNCTIONS[np.min](a), FUNCTIONS[np.max](a)
    margin = st.where(ew.equal(low, high), 0.5, 0.0)
    margin = as_dtype(margin, np.result_type(dtype_of(a), 0.0))
    return linspace(low - margin, high + margin, bins + 1)


@function(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """Return the edges of the bins of np.histogram; from min(a) to max(a) if no range is given."""
    return _edges(flat(as_array(a)), bins, range, weights)


def _bins(x: Any, edges: Any) -> Any:
    """Return the bin numbers of the elements of x; the last edge belongs to the last bin."""
    found = lookups.searchsorted(edges, x, side="right") - 1
    return st.where(ew.equal(x, edges[-1]), shape_of(edges)[0] - 2, found)


def _widths(edges: Any) -> Any:
    return as_dtype(index(edges, slice(1, None)) - index(edges, slice(-1)), float)


@function(np.histogram)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, Any]:
    """Add up the weights (or count) of the values of a in bins; return the sums and the edges.

    Differentiable in the weights and in edges; which bin a value falls into is constant.
    """
    x = flat(as_array(a))
    weights = None if weights is None else as_array(weights)
    if weights is not None and shape_of(weights) != shape_of(as_array(a)):
        raise ValueError("weights should have the same shape as a.")
    edges = _edges(x, bins, range, weights)
    flat_weights = np.ones(shape_of(x), np.intp) if weights is None else flat(weights)
    sums = _sums(_bins(x, edges), flat_weights, shape_of(edges)[0] - 1, dtype_of(flat_weights))
    if density:
        sums = sums / _widths(edges) / st.reduce_sum(sums, axes=(0,))
    return sums, edges


@function(np.histogramdd)
def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, list[Any]]:
    """Add up the weights (or count) of points in boxes; return the sums and the edges by axis.

    The points are the rows of an array, (n, d), or a list of d arrays of coordinates, (n,).
    """
    if isinstance(sample, list | tuple):
        columns = [flat(as_array(c)) for c in sample]
    else:
        points = as_array(sample)
        points = points if ndim_of(points) > 1 else st.expand_dims(points, (1,))
        columns = [index(points, (slice(None), k)) for k in builtins.range(shape_of(points)[1])]
    d = len(columns)
    given = list(bins) if not np.isscalar(bins) else [bins] * d
    if len(given) != d:
        raise ValueError("The dimension of bins must be equal to the dimension of the sample x.")
    ranges = [None] * d if range is None else list(range)
    if len(ranges) != d:
        raise ValueError("range argument must have one entry per dimension")
    edges = [
        _edges(c if r is None else np.empty(0), b, r)  # a range is in double precision
        for c, b, r in zip(columns, given, ranges, strict=True)
    ]
    shape = tuple(shape_of(e)[0] - 1 for e in edges)
    number: Any = 0  # of the box, in C order; -1 outside
    inside: Any = True
    for c, e, n in zip(columns, edges, shape, strict=True):
        k = _bins(c, e)
        inside = st.where(ew.less(k, 0), False, st.where(ew.less(k, n), inside, False))
        number = number * n + k
    number = st.where(inside, number, -1)
    weights = np.ones(shape_of(number)) if weights is None else flat(as_array(weights))
    sums = _sums(number, weights, prod(shape), np.dtype(float))
    sums = st.reshape(sums, shape=shape)
    if density:
        total = st.reduce_sum(sums, axes=tuple(builtins.range(d)))
        for k, e in enumerate(edges):
            sums = sums / st.reshape(_widths(e), shape=(shape[k], *(1,) * (d - 1 - k)))
        sums = sums / total
    return sums, edges


@function(np.histogram2d)
def histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, Any, Any]:
    """Add up the weights (or count) of points (x, y) in rectangles; return sums and both edges."""
    if not np.isscalar(bins) and len(bins) not in (1, 2):
        bins = [as_array(bins)] * 2
    sums, edges = histogramdd([as_array(x), as_array(y)], bins, range, density, weights)
    return sums, edges[0], edges[1]
