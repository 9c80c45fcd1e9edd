"""NumPy's chapter "Array manipulation": shapes, axes, tiling, rearranging.

May import `core`, `ops`, `numpy._register`, `numpy.creation`.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.numpy._register import concrete, function, known
from funcgraph.numpy.creation import as_array, as_dtype, with_ndim
from funcgraph.ops import structural as st
from funcgraph.ops.buffers import View
from funcgraph.ops.indexing import index
from funcgraph.ops.structural import normalize_axes, normalize_axis

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_to",
    "delete",
    "expand_dims",
    "flip",
    "fliplr",
    "flipud",
    "insert",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "ravel",
    "repeat",
    "reshape",
    "resize",
    "roll",
    "rollaxis",
    "rot90",
    "squeeze",
    "swapaxes",
    "tile",
    "transpose",
    "trim_zeros",
]

# --- shape ---------------------------------------------------------------------------------------


def along(axis: int, part: Any) -> tuple[Any, ...]:
    """Return the index that applies `part` to one (non-negative) axis and keeps the others."""
    return (*(slice(None),) * axis, part)


def flat(x: Any) -> Any:
    """Return x with one axis, in C order."""
    return x if ndim_of(x) == 1 else st.reshape(x, shape=(prod(shape_of(x)),))


def with_order(x: Any, order: str | None) -> Any:
    """Return x with its axes arranged so that its C order is the given order of x.

    Args:
      x: Any array.
      order: "C", "F", "A" (F if x lies in memory so) or "K" (as x lies in memory).
    """
    if order in ("C", None) or ndim_of(x) < 2:
        return x
    if order not in ("F", "A", "K"):
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
    ndim = ndim_of(x)
    axes = tuple(reversed(range(ndim)))
    if order == "K":
        strides = np.abs(np.asarray(known(x)).strides) if known(x) is not None else axes
        axes = tuple(sorted(range(ndim), key=lambda k: -strides[k]))
    elif order == "A" and (known(x) is None or not np.isfortran(known(x))):
        return x
    return st.transpose(x, axes=axes)


def _filled_in(shape: Any, size: int) -> tuple[int, ...]:
    """Return a shape as a tuple of ints, with -1 replaced by the length that is left."""
    shape = (shape,) if np.ndim(shape) == 0 else shape
    shape = tuple(n.__index__() for n in shape)
    if -1 in shape:
        rest = -prod(shape)
        if shape.count(-1) > 1:
            raise ValueError("can only specify one unknown dimension")
        if rest == 0 or size % rest:
            raise ValueError(f"cannot reshape array of size {size} into shape {shape}")
        shape = tuple(size // rest if n == -1 else n for n in shape)
    return shape


@function(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: Any = None) -> Any:
    """Give an array another shape; the elements keep their order ("C": last axis fastest)."""
    x = as_array(a)
    shape = _filled_in(shape, prod(shape_of(x)))
    if order not in ("C", "F", "A"):
        raise ValueError(f"order must be one of 'C', 'F', or 'A' (got {order!r})")
    if order == "C" or (order == "A" and with_order(x, "A") is x):
        y = x if shape == shape_of(x) else st.reshape(x, shape=shape)
    else:
        y = st.reshape(with_order(x, "F"), shape=shape[::-1])
        y = st.transpose(y, axes=tuple(reversed(range(len(shape)))))
    return st.copy(y) if copy else y


@function(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    """Return the elements along one axis, (...) -> (size,)."""
    x = with_order(as_array(a), order)
    # Of a part, NumPy gives a copy or a view, by how it lies in memory: it cannot be written.
    return st.reshape(x, shape=shape_of(x)) if type(x) is View and ndim_of(x) == 1 else flat(x)


@function(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    """Insert axes of length 1 at the given positions of the result."""
    x = as_array(a)
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    return st.expand_dims(x, tuple(sorted(normalize_axes(tuple(axes), ndim_of(x) + len(axes)))))


@function(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    """Remove axes of length 1: all of them, or those given."""
    x = as_array(a)
    shape = shape_of(x)
    if axis is None:
        axes: tuple[int, ...] = tuple(k for k, n in enumerate(shape) if n == 1)
    else:
        axes = normalize_axes(axis, len(shape))
    if any(shape[k] != 1 for k in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return st.reshape(x, shape=tuple(n for k, n in enumerate(shape) if k not in axes))


def _each(f: Any, arrays: tuple[Any, ...]) -> Any:
    results = tuple(f(as_array(a)) for a in arrays)
    return results[0] if len(results) == 1 else results


@function(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    """Give each array at least one axis: () -> (1,)."""
    return _each(lambda x: x if ndim_of(x) else st.reshape(x, shape=(1,)), arys)


def at_least_two_axes(x: Any) -> Any:
    """Return x with a leading axis of length 1 if it has fewer than two axes."""
    return x if ndim_of(x) > 1 else st.reshape(x, shape=(1, *(shape_of(x) or (1,))))


def at_least_three_axes(x: Any) -> Any:
    """Return x with axes of length 1 before and after those it has, if fewer than three."""
    shape = shape_of(x)
    if len(shape) > 2:
        return x
    return st.reshape(x, shape={0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}[len(shape)])


@function(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    """Give each array at least two axes: (n,) -> (1, n)."""
    return _each(at_least_two_axes, arys)


@function(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    """Give each array at least three axes: (n,) -> (1, n, 1) and (m, n) -> (m, n, 1)."""
    return _each(at_least_three_axes, arys)


@function(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """Repeat an array along new leading axes and axes of length 1."""
    shape = (shape,) if np.ndim(shape) == 0 else tuple(shape)
    return st.broadcast_to(as_array(array), shape)


@function(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    """Broadcast arrays against each other."""
    arrays = [as_array(a) for a in args]
    shape = np.broadcast_shapes(*map(shape_of, arrays))
    return tuple(x if shape_of(x) == shape else st.broadcast_to(x, shape) for x in arrays)


# --- axes ----------------------------------------------------------------------------------------


@function(np.transpose)
def transpose(a: Any, axes: Any = None) -> Any:
    """Permute the axes; default: reverse them."""
    x = as_array(a)
    ndim = ndim_of(x)
    if axes is None:
        return st.transpose(x, axes=tuple(reversed(range(ndim))))
    if np.size(axes) != ndim:
        raise ValueError("axes don't match array")
    return st.transpose(x, axes=normalize_axes(tuple(axes), ndim))


permute_dims = transpose


@function(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """Swap the last two axes, (..., m, n) -> (..., n, m)."""
    x = as_array(x)
    if ndim_of(x) < 2:
        raise ValueError(f"Input array must be at least 2-dimensional, but it is {ndim_of(x)}")
    return swapaxes(x, -1, -2)


@function(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """Interchange two axes."""
    x = as_array(a)
    axes = list(range(ndim_of(x)))
    i, j = normalize_axis(axis1, len(axes)), normalize_axis(axis2, len(axes))
    axes[i], axes[j] = j, i
    return st.transpose(x, axes=tuple(axes))


@function(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Move axes to other positions; the others keep their order."""
    x = as_array(a)
    sources = normalize_axes(source, ndim_of(x))
    destinations = normalize_axes(destination, ndim_of(x))
    if len(sources) != len(destinations):
        raise ValueError(
            "`source` and `destination` arguments must have the same number of elements"
        )
    axes = [k for k in range(ndim_of(x)) if k not in sources]
    for d, s in sorted(zip(destinations, sources, strict=True)):
        axes.insert(d, s)
    return st.transpose(x, axes=tuple(axes))


@function(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Move one axis backwards until it lies before the axis `start`."""
    x = as_array(a)
    ndim = ndim_of(x)
    axis = normalize_axis(axis, ndim)
    start = normalize_axis(start + ndim if start < 0 else start, ndim + 1)
    return st.moved(x, axis, start - 1 if axis < start else start)


# --- repeating -----------------------------------------------------------------------------------


@function(np.tile)
def tile(A: Any, reps: Any) -> Any:
    """Repeat an array as a whole, reps[k] times along axis k."""
    x = as_array(A)
    reps = tuple(int(r) for r in np.atleast_1d(reps))
    ndim = max(len(reps), ndim_of(x))
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - ndim_of(x)) + shape_of(x)
    single = tuple(v for n in shape for v in (1, n))
    target = tuple(v for pair in zip(reps, shape, strict=True) for v in pair)
    y = st.broadcast_to(st.reshape(x, shape=single), target)
    return st.reshape(y, shape=tuple(r * n for r, n in zip(reps, shape, strict=True)))


@function(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """Repeat each element (or slice along an axis): one number of times, or repeats[k] times."""
    x = as_array(a)
    if axis is None:
        x, axis = flat(x), 0
    axis = normalize_axis(axis, ndim_of(x))
    n = shape_of(x)[axis]
    repeats = np.asarray(concrete(repeats))
    if repeats.size != 1:
        return index(x, along(axis, np.repeat(np.arange(n), repeats)))
    r = int(np.repeat(0, repeats).size)
    shape = list(shape_of(x))
    y = st.expand_dims(x, (axis + 1,))
    y = st.broadcast_to(y, (*shape[: axis + 1], r, *shape[axis + 1 :]))
    return st.reshape(y, shape=(*shape[:axis], n * r, *shape[axis + 1 :]))


@function(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """Return a new shape filled with the elements in C order, again and again."""
    x = flat(as_array(a))
    shape = (new_shape,) if np.ndim(new_shape) == 0 else tuple(new_shape)
    if any(n < 0 for n in shape):
        raise ValueError("all elements of `new_shape` must be non-negative")
    size, n = prod(shape), shape_of(x)[0]
    if n == 0:
        return np.zeros(shape, dtype_of(x))
    y = tile(x, -(-size // n))
    return st.reshape(index(y, slice(0, size)), shape=shape)


# --- rearranging ---------------------------------------------------------------------------------


@function(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """Reverse the elements along the given axes (None: along all)."""
    x = as_array(m)
    axes = normalize_axes(axis, ndim_of(x))
    reverse = slice(None, None, -1)
    return index(x, tuple(reverse if k in axes else slice(None) for k in range(ndim_of(x))))


@function(np.fliplr)
def fliplr(m: Any) -> Any:
    """Reverse the second axis."""
    x = as_array(m)
    if ndim_of(x) < 2:
        raise ValueError("Input must be >= 2-d.")
    return flip(x, 1)


@function(np.flipud)
def flipud(m: Any) -> Any:
    """Reverse the first axis."""
    x = as_array(m)
    if ndim_of(x) < 1:
        raise ValueError("Input must be >= 1-d.")
    return flip(x, 0)


@function(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Rotate by k quarter turns in the plane of two axes, from the first towards the second."""
    x = as_array(m)
    if len(axes) != 2 or normalize_axis(axes[0], ndim_of(x)) == normalize_axis(axes[1], ndim_of(x)):
        raise ValueError("Axes must be two different axes.")
    first, second = axes
    if k % 4 == 0:
        return flip(x, ())
    if k % 4 == 2:
        return flip(x, (first, second))
    if k % 4 == 1:
        return swapaxes(flip(x, second), first, second)
    return flip(swapaxes(x, first, second), second)


@function(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Shift elements along axes; those that leave at the end come back at the start."""
    x = as_array(a)
    if axis is None:
        return st.reshape(roll(flat(x), shift, 0), shape=shape_of(x))
    axes = np.lib.array_utils.normalize_axis_tuple(axis, ndim_of(x), allow_duplicate=True)
    pairs = np.broadcast(concrete(shift), axes)
    if pairs.ndim > 1:
        raise ValueError("'shift' and 'axis' should be scalars or 1D sequences")
    total: dict[int, int] = {}
    for by, k in pairs:
        total[int(k)] = total.get(int(k), 0) + int(by)
    for k, by in total.items():
        cut = -by % (shape_of(x)[k] or 1)
        if cut:
            parts = [index(x, along(k, slice(cut, None))), index(x, along(k, slice(cut)))]
            x = st.concatenate(*parts, axis=k)
    return x


@function(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    """Leave out the slices at the given positions of an axis (None: of the flattened array)."""
    x = as_array(arr)
    if axis is None:
        x, axis = flat(x), 0
    axis = normalize_axis(axis, ndim_of(x))
    kept = np.delete(np.arange(shape_of(x)[axis]), concrete(obj))
    return index(x, along(axis, kept))


@function(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    """Insert values before the given positions of an axis (None: of the flattened array)."""
    x, values, obj = as_array(arr), as_array(values), concrete(obj)
    if axis is None:
        x, axis = flat(x), 0
    axis = normalize_axis(axis, ndim_of(x))
    n = shape_of(x)[axis]
    count = np.insert(np.arange(n), obj, 0).size - n
    if count == 1:  # one position takes any number of slices
        values = with_ndim(values, ndim_of(x))
        if np.ndim(obj) == 0:
            values = st.moved(values, 0, axis)
        count = shape_of(values)[axis]
    shape = (*shape_of(x)[:axis], count, *shape_of(x)[axis + 1 :])
    values = st.broadcast_to(as_dtype(values, dtype_of(x)), shape)
    order = np.insert(np.arange(n), obj, n + np.arange(count))
    return index(st.concatenate(x, values, axis=axis), along(axis, order))


@function(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """Cut off the zeros at the front and back of the given axes; the values decide how many."""
    x = as_array(filt)
    trim = trim.lower()
    if trim not in ("fb", "bf", "f", "b"):
        raise ValueError(f"unexpected character(s) in `trim`: {trim!r}")
    axes = normalize_axes(axis, ndim_of(x))
    nonzero = np.nonzero(concrete(x))
    cuts = []
    for k, found in enumerate(nonzero):
        start, stop = (found.min(), found.max() + 1) if found.size else (0, 0)
        cut = slice(
            int(start) if "f" in trim or not found.size else None,
            int(stop) if "b" in trim or not found.size else None,
        )
        cuts.append(cut if k in axes else slice(None))
    return index(x, tuple(cuts))
