"""NumPy's chapters "Joining arrays" and "Splitting arrays".

May import `core`, `ops`, `numpy._register`, `numpy.creation`, `numpy.manipulation`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from funcgraph.core.aval import ndim_of, shape_of
from funcgraph.numpy._register import function
from funcgraph.numpy.creation import as_array, as_dtype, strong
from funcgraph.numpy.manipulation import (
    along,
    at_least_three_axes,
    at_least_two_axes,
    atleast_1d,
    flat,
    transpose,
)
from funcgraph.ops import structural as st
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import normalize_axis

__all__ = [
    "append",
    "array_split",
    "column_stack",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "split",
    "stack",
    "unstack",
    "vsplit",
    "vstack",
]

# --- joining -------------------------------------------------------------------------------------


def _joined(arrays: list[Any], axis: int, dtype: Any) -> Any:
    return as_dtype(st.concatenate(*arrays, axis=axis), dtype)


def _list(arrays: Any) -> list[Any]:
    """Return a sequence of arrays, or an array's slices along its first axis, as a list."""
    parts = [strong(as_array(a)) for a in arrays]
    if not parts:
        raise ValueError("need at least one array to concatenate")
    return parts


@function(np.concatenate)
def concatenate(
    arrays: Any, /, axis: Any = 0, out: None = None, *, dtype: Any = None, casting: Any = None
) -> Any:
    """Join arrays along an existing axis (None: after flattening them)."""
    parts = _list(arrays)
    if axis is None:
        return _joined([flat(x) for x in parts], 0, dtype)
    if any(ndim_of(x) == 0 for x in parts):
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    return _joined(parts, normalize_axis(axis, ndim_of(parts[0])), dtype)


concat = concatenate


@function(np.stack)
def stack(
    arrays: Any, axis: int = 0, out: None = None, *, dtype: Any = None, casting: Any = None
) -> Any:
    """Join arrays of one shape along a new axis."""
    parts = _list(arrays)
    if len({shape_of(x) for x in parts}) > 1:
        raise ValueError("all input arrays must have the same shape")
    axis = normalize_axis(axis, ndim_of(parts[0]) + 1)
    return as_dtype(st.stack(*parts, axis=axis), dtype)


@function(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Any:
    """Join arrays of at least two axes along the first."""
    return _joined([at_least_two_axes(x) for x in _list(tup)], 0, dtype)


@function(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Any:
    """Join arrays along the second axis, or along the first if the first array has only one."""
    parts = [atleast_1d(x) for x in _list(tup)]
    return _joined(parts, 0 if ndim_of(parts[0]) == 1 else 1, dtype)


@function(np.dstack)
def dstack(tup: Any) -> Any:
    """Join arrays of at least three axes along the third."""
    return _joined([at_least_three_axes(x) for x in _list(tup)], 2, None)


@function(np.column_stack)
def column_stack(tup: Any) -> Any:
    """Join arrays side by side; those with one axis become columns."""
    parts = [x if ndim_of(x) > 1 else transpose(at_least_two_axes(x)) for x in _list(tup)]
    return _joined(parts, 1, None)


@function(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    """Join values to the end of an array (axis None: of both flattened)."""
    return concatenate([as_array(arr), as_array(values)], axis)


# --- splitting -----------------------------------------------------------------------------------


@function(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Split into parts of nearly equal length, or at the given positions."""
    x = as_array(ary)
    axis = normalize_axis(axis, ndim_of(x))
    n = shape_of(x)[axis]
    if np.ndim(indices_or_sections):
        ends = [0, *(int(k) for k in indices_or_sections), n]
    else:
        sections = int(indices_or_sections)
        if sections <= 0:
            raise ValueError("number sections must be larger than 0.")
        each, extras = divmod(n, sections)
        ends = [k * each + min(k, extras) for k in range(sections + 1)]
    return [index(x, along(axis, slice(a, b))) for a, b in pairwise(ends)]


@function(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Split into parts of equal length, or at the given positions."""
    x = as_array(ary)
    if not np.ndim(indices_or_sections) and shape_of(x)[axis] % int(indices_or_sections):
        raise ValueError("array split does not result in an equal division")
    return array_split(x, indices_or_sections, axis)


@function(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split along the second axis (of an array with one axis: along that)."""
    x = as_array(ary)
    if ndim_of(x) == 0:
        raise ValueError("hsplit only works on arrays of 1 or more dimensions")
    return split(x, indices_or_sections, 1 if ndim_of(x) > 1 else 0)


@function(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split along the first axis of an array of at least two."""
    x = as_array(ary)
    if ndim_of(x) < 2:
        raise ValueError("vsplit only works on arrays of 2 or more dimensions")
    return split(x, indices_or_sections, 0)


@function(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split along the third axis."""
    x = as_array(ary)
    if ndim_of(x) < 3:
        raise ValueError("dsplit only works on arrays of 3 or more dimensions")
    return split(x, indices_or_sections, 2)


@function(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """Return the slices along an axis, without that axis."""
    x = as_array(x)
    if ndim_of(x) == 0:
        raise ValueError("Input array must be at least 1-d.")
    axis = normalize_axis(axis, ndim_of(x))
    return tuple(index(x, along(axis, k)) for k in range(shape_of(x)[axis]))
