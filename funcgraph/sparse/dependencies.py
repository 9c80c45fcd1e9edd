"""Dependencies: for each element of an array, the elements of the input it depends on.

A dependency is a boolean matrix, a `scipy.sparse` CSR array with one row for each element of the
array (C order) and one column for each element of the input; None stands for one without entries.
Here are the steps it takes through an operation, all vectorised. May import `errors`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgraph.errors import MissingPackageError

__all__ = [
    "along",
    "broadcast",
    "cumulative",
    "everything",
    "grouped",
    "numbers",
    "relate",
    "scipy_sparse",
    "size_of",
    "union",
]

Shape = tuple[int, ...]


def scipy_sparse() -> Any:
    """Return the module scipy.sparse."""
    try:
        import scipy.sparse
    except ImportError:
        raise MissingPackageError(
            "sparse Jacobians and Hessians are SciPy's arrays, but SciPy is not installed: "
            "pip install 'funcgraph[scipy]'."
        ) from None
    return scipy.sparse


def size_of(shape: Shape) -> int:
    """Return the number of elements of an array of this shape."""
    return int(np.prod(shape, dtype=int))


def numbers(shape: Shape) -> Any:
    """Return the array of this shape whose elements are their own positions, in C order."""
    return np.arange(size_of(shape)).reshape(shape)


def relate(dep: Any, rows: Any, columns: Any, size: int) -> Any:
    """Return the dependency of `size` elements, of which rows[k] depends on element columns[k]."""
    if dep is None:
        return None
    rows, columns = np.ravel(rows), np.ravel(columns)
    shape = (size, dep.shape[0])
    return scipy_sparse().csr_array((np.ones(rows.size, bool), (rows, columns)), shape=shape) @ dep


def union(deps: Sequence[Any]) -> Any:
    """Return the dependency of what depends on all that the given ones depend on."""
    given = [d for d in deps if d is not None]
    return functools.reduce(lambda a, b: a + b, given) if given else None


def broadcast(dep: Any, shape: Shape, to: Shape, mask: Any = None) -> Any:
    """Return the dependency of an array that was broadcast, where `mask` (None: all) is true."""
    if dep is None or (shape == to and mask is None):
        return dep
    columns = np.broadcast_to(numbers(shape), to).reshape(-1)
    if mask is None:
        return relate(dep, np.arange(columns.size), columns, columns.size)
    rows = np.flatnonzero(np.broadcast_to(mask, to))
    return relate(dep, rows, columns[rows], columns.size)


def grouped(dep: Any, groups: Any, size: int) -> Any:
    """Return the dependency of `size` elements, each made of the elements of its group."""
    groups = np.ravel(groups)
    return relate(dep, groups, np.arange(groups.size), size)


def _groups(shape: Shape, axes: Sequence[int]) -> Any:
    """Return the array of this shape that numbers what is left when the axes are reduced."""
    kept = tuple(1 if k in axes else n for k, n in enumerate(shape))
    return np.broadcast_to(numbers(kept), shape)


def along(dep: Any, shape: Shape, axes: Sequence[int], to: Shape) -> Any:
    """Return the dependency where each element depends on all along the axes.

    Args:
      dep: Of an array.
      shape: The array's.
      axes: Axes whose elements are mixed.
      to: Shape of the result: that of the array but for the lengths of these axes, or without them.
    """
    kept = [n for k, n in enumerate(shape) if k not in axes]
    count = size_of(tuple(kept))
    dep = grouped(dep, _groups(shape, axes), count)
    if size_of(to) == count:
        return dep
    return relate(dep, np.arange(size_of(to)), _groups(to, axes), size_of(to))


def cumulative(dep: Any, shape: Shape, axis: int, back: bool = False) -> Any:
    """Return the dependency where each element depends on those before it along the axis.

    If `back`, on those after it.
    """
    places = np.moveaxis(numbers(shape), axis, 0)
    places = places[::-1] if back else places
    step = 1
    while dep is not None and step < shape[axis]:  # as far back as 1, 3, 7, ...
        dep = dep + relate(dep, places[step:], places[:-step], dep.shape[0])
        step *= 2
    return dep


def everything(deps: Sequence[Any], size: int) -> Any:
    """Return the dependency of `size` elements, each on all that the given ones depend on."""
    total = union([grouped(d, np.zeros(d.shape[0], int), 1) for d in deps if d is not None])
    return relate(total, np.arange(size), np.zeros(size, int), size)
