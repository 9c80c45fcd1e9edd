"""NumPy's chapter "Building matrices": diagonals and triangles.

May import `core`, `ops`, `numpy._register`, `numpy.creation`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.numpy._register import function
from funcgraph.numpy.creation import as_array
from funcgraph.ops import structural as st
from funcgraph.ops.indexing import index

__all__ = ["diag", "diagflat", "diagonal", "tril", "triu"]


@function(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Read a diagonal of two axes; it becomes the last axis."""
    x = as_array(a)
    if ndim_of(x) < 2:
        raise ValueError("diag requires an array of at least two dimensions")
    first, second = (st.normalize_axis(k, ndim_of(x)) for k in (axis1, axis2))
    if first == second:
        raise ValueError("axis1 and axis2 cannot be the same")
    rest = tuple(k for k in range(ndim_of(x)) if k not in (first, second))
    x = st.transpose(x, axes=(*rest, first, second))
    *lead, m, n = shape_of(x)
    # Of the flattened matrix a diagonal is every (n + 1)-th element: a view, no list of positions.
    start = offset if offset >= 0 else -offset * n
    count = max(min(m, n - offset) if offset >= 0 else min(m + offset, n), 0)
    x = st.reshape(x, shape=(*lead, m * n))
    return index(x, (..., slice(start, start + count * (n + 1), n + 1) if count else slice(0, 0)))


@function(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """Read the k-th diagonal of a matrix, or make the matrix that has v on it."""
    v = as_array(v)
    if ndim_of(v) == 2:
        return diagonal(v, k)
    if ndim_of(v) != 1:
        raise ValueError("Input must be 1- or 2-d.")
    size = shape_of(v)[0] + abs(k)
    lines = st.pad_zeros(v, widths=((0, abs(k)),))
    lines = st.reshape(lines, shape=(size, 1) if k >= 0 else (1, size))
    return st.where(np.eye(size, k=k, dtype=bool), lines, dtype_of(v).type(0))


@function(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """Make the matrix that has the elements of v, in C order, on its k-th diagonal."""
    v = as_array(v)
    return diag(st.reshape(v, shape=(prod(shape_of(v)),)), k)


def _triangle(m: Any, mask: Callable[[int, int], Any]) -> Any:
    x = as_array(m)
    if ndim_of(x) == 1:  # as NumPy: one row is repeated
        x = st.broadcast_to(x, shape_of(x) * 2)
    return st.where(mask(*shape_of(x)[-2:]), x, dtype_of(x).type(0))


@function(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """Set to zero what lies above the k-th diagonal of the last two axes."""
    return _triangle(m, lambda rows, columns: np.tri(rows, columns, k, bool))


@function(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """Set to zero what lies below the k-th diagonal of the last two axes."""
    return _triangle(m, lambda rows, columns: ~np.tri(rows, columns, k - 1, bool))
