"""NumPy's chapter "Array creation": arrays from lists, filled arrays, ranges and grids, blocks.

May import `core`, `ops`, `numpy._register`.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of, dtype_of, is_inexact, ndim_of, promote, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.numpy._register import NON_DIFFERENTIABLE, function
from funcgraph.ops import elementwise as ew
from funcgraph.ops import structural as st
from funcgraph.ops.buffers import frozen, scope, writable

__all__ = [
    "array",
    "asanyarray",
    "asarray",
    "asarray_chkfinite",
    "ascontiguousarray",
    "asfortranarray",
    "astype",
    "block",
    "copy",
    "empty",
    "empty_like",
    "full",
    "full_like",
    "geomspace",
    "linspace",
    "logspace",
    "meshgrid",
    "ones",
    "ones_like",
    "require",
    "vander",
    "zeros",
    "zeros_like",
]

# --- from data -----------------------------------------------------------------------------------


def as_array(x: Any) -> Any:
    """Return x, or the array of nested lists and tuples of numbers and (traced) arrays."""
    cls = type(x)
    if cls is not list and cls is not tuple:
        return x
    parts = [as_array(v) for v in x]
    if all(KIND[type(p)] == NUMPY for p in parts):
        return np.asarray(parts)
    shapes = {shape_of(p) for p in parts}
    if len(shapes) > 1:
        raise ValueError(
            "the list has an inhomogeneous shape: its elements have the shapes "
            f"{', '.join(map(str, sorted(shapes)))}, but must have one."
        )
    return st.stack(*map(strong, parts), axis=0)


def as_floats(x: Any) -> Any:
    """Return what as_array does, integers and bools as float64: as numpy.linalg reads them."""
    x = as_array(x)
    return st.cast(x, np.float64) if dtype_of(x).kind in "biu" else x


def strong(x: Any) -> Any:
    """Return x; of a (traced) Python number, the 0-d array, whose dtype counts in combinations."""
    if aval_of(x).weak is None:
        return x if hasattr(x, "dtype") else np.asarray(x)
    return st.cast(x, dtype_of(x))


def as_dtype(x: Any, dtype: Any) -> Any:
    """Return x with another dtype; None keeps the one it has."""
    return x if dtype is None or dtype_of(x) == dtype else st.cast(x, dtype)


def with_ndim(x: Any, ndim: int) -> Any:
    """Return x with leading axes of length 1, so that it has at least `ndim` axes."""
    missing = ndim - ndim_of(x)
    return st.reshape(x, shape=(1,) * missing + shape_of(x)) if missing > 0 else x


@function(np.array)
def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: Any = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    **_: Any,
) -> Any:
    """Make an array of numbers, arrays, or (nested) lists of such, traced ones included."""
    x = as_array(object)
    same = as_dtype(x, dtype)
    y = with_ndim(same, ndmin)
    if same is object:  # what is made of a list, or cast, is a new array already
        return writable(st.copy(y)) if copy else y
    return writable(frozen(y))


def _converter(numpy_function: Any, ndmin: int = 0) -> Any:
    def convert(a: Any, dtype: Any = None, *_: Any, copy: Any = None, **__: Any) -> Any:
        return array(a, dtype, copy=copy or None, ndmin=ndmin)  # None: only where it must be

    convert.__name__ = convert.__qualname__ = numpy_function.__name__
    convert.__doc__ = (
        "Make an array of a (nested) list that may hold traced arrays; an array stays as it is.\n\n"
        "How elements lie in memory is no property of a traced array: the order has no effect."
    )
    return function(numpy_function)(convert)


asarray = _converter(np.asarray)
asanyarray = _converter(np.asanyarray)
ascontiguousarray = _converter(np.ascontiguousarray, ndmin=1)
asfortranarray = _converter(np.asfortranarray)
asarray_chkfinite = _converter(np.asarray_chkfinite)
require = _converter(np.require)


@function(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """Return x in another dtype; there is no derivative through integers and booleans."""
    y = as_dtype(x, dtype)
    return writable(st.copy(y)) if copy and y is x else y


@function(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """Return a copy of a."""
    return writable(st.copy(strong(as_array(a))))


# --- filled --------------------------------------------------------------------------------------


def _sizes(shape: Any) -> tuple[int, ...]:
    """Return a shape, or one size, as integers."""
    sizes = shape if isinstance(shape, tuple | list) or np.ndim(shape) else (shape,)
    return tuple(map(operator.index, sizes))


def _like(numpy_function: Any, make: Any) -> Any:
    def like(
        a: Any,
        dtype: Any = None,
        order: str = "K",
        subok: bool = True,
        shape: Any = None,
        *,
        device: Any = None,
    ) -> Any:
        a = as_array(a)
        dtype = dtype_of(a) if dtype is None else dtype
        return writable(make(shape_of(a) if shape is None else shape, dtype))

    like.__name__ = like.__qualname__ = numpy_function.__name__
    like.__doc__ = "Make a constant array with the shape and dtype of a."
    NON_DIFFERENTIABLE.add(numpy_function)
    return function(numpy_function)(like)


zeros_like = _like(np.zeros_like, np.zeros)
ones_like = _like(np.ones_like, np.ones)
empty_like = _like(np.empty_like, np.zeros)  # zeros, lest chance enters a derivative


@function(np.full)
def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", **_: Any) -> Any:
    """Make an array of the given shape in which every element is fill_value (broadcast)."""
    value = as_dtype(as_array(fill_value), dtype)
    return writable(frozen(st.broadcast_to(value, _sizes(shape))))


@function(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """Make an array with the shape and dtype of a, every element of which is fill_value."""
    a = as_array(a)
    dtype = dtype_of(a) if dtype is None else dtype
    return full(shape_of(a) if shape is None else shape, fill_value, dtype)


def _sized(public: Any) -> Any:
    """Let a function of a shape raise our errors on a traced one (NumPy's hide what is wrong)."""

    @functools.wraps(public)
    def make(shape: Any, *args: Any, **kwargs: Any) -> Any:
        return public(_sizes(shape), *args, **kwargs)

    return make


def _made(public: Any) -> Any:
    """Let a function make arrays that can be written, inside a transformation."""

    @functools.wraps(public)
    def make(*args: Any, **kwargs: Any) -> Any:
        made = public(*args, **kwargs)
        return writable(made) if kwargs.get("copy", True) is True else made

    return make


zeros, ones = _made(_sized(np.zeros)), _made(_sized(np.ones))
zeros_like, ones_like = _made(zeros_like), _made(ones_like)
empty_like, full, full_like = _made(empty_like), _made(full), _made(full_like)
array, copy = _made(array), _made(copy)


@functools.wraps(np.empty)
def empty(*args: Any, **kwargs: Any) -> Any:
    """Make an array to be filled; inside a transformation of zeros, lest chance enters."""
    return np.empty(*args, **kwargs) if scope.get() is None else zeros(*args, **kwargs)


# --- ranges --------------------------------------------------------------------------------------


def _ramp(start: Any, stop: Any, num: int, endpoint: bool) -> tuple[Any, ...]:
    """Return start, stop (in one dtype), 0, ..., num - 1 along a new first axis, and intervals."""
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    start, stop = as_array(start), as_array(stop)
    dtype = promote(aval_of(start), aval_of(stop))
    dtype = dtype if is_inexact(dtype) else np.result_type(dtype, 0.0)
    start, stop = as_dtype(start, dtype), as_dtype(stop, dtype)
    shape = np.broadcast_shapes(shape_of(start), shape_of(stop))
    steps = np.arange(num).reshape((num,) + (1,) * len(shape)).astype(dtype)
    return start, stop, steps, num - 1 if endpoint else num


def _finish(y: Any, stop: Any, num: int, endpoint: bool, axis: int) -> Any:
    """Set the last element to stop itself, as NumPy does, and move the first axis to `axis`."""
    if endpoint and num > 1:
        last = np.arange(num).reshape((num,) + (1,) * (ndim_of(y) - 1)) == num - 1
        y = st.where(last, stop, y)
    return st.moved(y, 0, st.normalize_axis(axis, ndim_of(y)))


@function(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """Make evenly spaced numbers: y_k = start + k (stop - start) / (num - 1)."""
    start, stop, steps, intervals = _ramp(start, stop, num, endpoint)
    step = (stop - start) / max(intervals, 1)
    y = _finish(steps * step + start, stop, num, endpoint, axis)
    if dtype is not None and np.dtype(dtype).kind in "iu":
        y = ew.floor(y)
    y = as_dtype(y, dtype)
    return (y, step if intervals > 0 else step * np.nan) if retstep else y


@function(np.logspace)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Make numbers evenly spaced on a logarithmic scale: base ** linspace(start, stop, num)."""
    if ndim_of(base):
        ndim = max(ndim_of(as_array(v)) for v in (start, stop, base))
        start, stop, base = (with_ndim(as_array(v), ndim) for v in (start, stop, base))
        base = st.expand_dims(base, (st.normalize_axis(axis, ndim + 1),))
    return as_dtype(ew.power(base, linspace(start, stop, num, endpoint, axis=axis)), dtype)


@function(np.geomspace)
def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Make a geometric progression: y_k = start (stop / start) ** (k / (num - 1))."""
    # NumPy computes in double precision if no dtype is given.
    working = np.result_type(*(dtype_of(as_array(v)) for v in (start, stop)), dtype or float)
    start, stop = (as_dtype(as_array(v), working) for v in (start, stop))
    start, stop, steps, intervals = _ramp(start, stop, num, endpoint)
    y = start * ew.exp(steps / max(intervals, 1) * ew.log(stop / start))
    return as_dtype(_finish(y, stop, num, endpoint, axis), dtype)


@function(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Make the Vandermonde matrix: y[i, j] = x[i] ** j if increasing, else x[i] ** (N - 1 - j)."""
    x = as_array(x)
    if ndim_of(x) != 1:
        raise ValueError("x must be a one-dimensional array or sequence.")
    n = shape_of(x)[0] if N is None else N
    columns: list[Any] = [np.ones(shape_of(x), np.promote_types(dtype_of(x), int))]
    while len(columns) < n:
        columns.append(columns[-1] * x)
    if n == 0:
        return np.zeros((shape_of(x)[0], 0), columns[0].dtype)
    return st.stack(*(columns[:n] if increasing else columns[n - 1 :: -1]), axis=1)


# --- grids and blocks ----------------------------------------------------------------------------


@function(np.meshgrid)
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """Make the coordinate arrays of a grid from the coordinates along each axis."""
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    order = list(range(len(xi)))
    if indexing == "xy" and len(xi) > 1:
        order[:2] = [1, 0]
    grids = []
    for x, axis in zip(map(as_array, xi), order, strict=True):
        shape = [1] * len(xi)
        shape[axis] = int(np.prod(shape_of(x)))
        grids.append(st.reshape(x, shape=tuple(shape)))
    if not sparse and grids:
        full_shape = np.broadcast_shapes(*map(shape_of, grids))
        grids = [st.broadcast_to(g, full_shape) for g in grids]
    return frozen(tuple(grids)) if copy else tuple(grids)


def _depth(arrays: Any, place: str = "arrays") -> int:
    """Return how deep the lists of np.block are nested; it must be the same everywhere."""
    if type(arrays) is tuple:
        raise TypeError(f"{place} is a tuple. Only lists can be used to arrange blocks.")
    if type(arrays) is not list:
        return 0
    if not arrays:
        raise ValueError(f"List at {place} cannot be empty")
    depths = {_depth(a, f"{place}[{k}]") for k, a in enumerate(arrays)}
    if len(depths) > 1:
        raise ValueError(f"List depths are mismatched at {place}: {sorted(depths)}.")
    return 1 + depths.pop()


def _leaves(arrays: Any) -> list[Any]:
    return [v for a in arrays for v in _leaves(a)] if type(arrays) is list else [arrays]


@function(np.block)
def block(arrays: Any) -> Any:
    """Assemble an array from nested lists of blocks; the innermost are joined on the last axis."""
    depth = _depth(arrays)
    ndim = max(depth, *map(ndim_of, _leaves(arrays)))

    def join(part: Any, depth: int) -> Any:
        if depth == 0:
            return with_ndim(strong(part), ndim)
        return st.concatenate(*(join(p, depth - 1) for p in part), axis=ndim - depth)

    return join(arrays, depth)
