"""Arrays from values and from other arrays. May import `core`, `ops`, `numpy._register`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.trace import KIND, NUMPY
from funcgraph.numpy._register import function
from funcgraph.ops import elementwise as ew
from funcgraph.ops.indexing import index, index_add
from funcgraph.ops.structural import (
    broadcast_to,
    cast,
    concatenate,
    copy as copy_values,
    expand_dims,
    fit,
    reshape,
    stack,
    transpose,
    where,
)

__all__ = [
    "arange", "array", "asanyarray", "asarray", "asarray_chkfinite", "ascontiguousarray",
    "asfortranarray", "astype", "block", "copy", "diag", "diagflat", "empty", "empty_like", "eye",
    "full", "full_like", "geomspace", "identity", "linspace", "logspace", "meshgrid", "ones",
    "ones_like", "require", "tri", "tril", "triu", "vander", "zeros", "zeros_like",
]  # fmt: skip

arange, empty, eye, identity = np.arange, np.empty, np.eye, np.identity
ones, tri, zeros = np.ones, np.tri, np.zeros


def as_array(x: Any) -> Any:
    """Return x as an array: nested lists and tuples, also of tracers, are stacked."""
    if type(x) is list or type(x) is tuple:
        if not x:
            return np.zeros(0)
        parts = [as_array(v) for v in x]
        if all(KIND[type(p)] == NUMPY for p in parts):
            return np.asarray(parts)
        return stack(*parts, axis=0)
    return x


def as_dtype(x: Any, dtype: Any) -> Any:
    """Return x in the given dtype; None keeps it."""
    return x if dtype is None else cast(x, dtype)


@function(np.array)
def array(object: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **_: Any) -> Any:
    """Return an array from nested lists, also of traced arrays, or a copy of an array."""
    x = as_array(object)
    x = x if dtype is None else cast(x, dtype)
    missing = ndmin - ndim_of(x)
    return expand_dims(x, tuple(range(missing))) if missing > 0 else copy_values(x)


def _converter(numpy_function: Any) -> Any:
    @function(numpy_function)
    def convert(a: Any, dtype: Any = None, **_: Any) -> Any:
        x = as_array(a)
        return x if dtype is None else cast(x, dtype)

    convert.__name__ = numpy_function.__name__
    convert.__doc__ = "Return an array from nested lists, also of traced arrays; no copy if it is one."
    return convert


asarray = _converter(np.asarray)
asanyarray = _converter(np.asanyarray)
ascontiguousarray = _converter(np.ascontiguousarray)
asfortranarray = _converter(np.asfortranarray)
asarray_chkfinite = _converter(np.asarray_chkfinite)
require = _converter(np.require)


@function(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """Return a copy."""
    return copy_values(as_array(a))


@function(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """Return x in another dtype; there is no derivative through integers and bool."""
    return cast(x, dtype)


def _like(numpy_function: Any, make: Any) -> Any:
    @function(numpy_function)
    def like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None,
             device: Any = None) -> Any:  # fmt: skip
        x = as_array(a)
        return make(shape_of(x) if shape is None else shape, dtype or dtype_of(x))

    like.__name__ = numpy_function.__name__
    like.__doc__ = "Return a constant array of the shape and dtype of a."
    return like


zeros_like = _like(np.zeros_like, np.zeros)
ones_like = _like(np.ones_like, np.ones)
empty_like = _like(np.empty_like, np.zeros)


@function(np.full)
def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", **_: Any) -> Any:
    """Return an array of the given shape filled with a value: y[...] = fill_value."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    value = as_array(fill_value)
    return broadcast_to(value if dtype is None else cast(value, dtype), shape)


@function(np.full_like)
def full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
              shape: Any = None, device: Any = None) -> Any:  # fmt: skip
    """Return an array of the shape and dtype of a, filled with a value."""
    a = as_array(a)
    value = cast(as_array(fill_value), dtype or dtype_of(a))
    return broadcast_to(value, shape_of(a) if shape is None else tuple(shape))


@function(np.linspace)
def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
             dtype: Any = None, axis: int = 0, **_: Any) -> Any:  # fmt: skip
    """Return evenly spaced numbers: y_k = start + k (stop - start) / (num - 1)."""
    start, stop = as_array(start), as_array(stop)
    parts = num - 1 if endpoint else num
    step = (stop - start) / parts if parts else (stop - start) * np.nan
    shape = np.broadcast_shapes(shape_of(start), shape_of(stop))
    k = np.arange(num, dtype=dtype_of(step)).reshape((-1,) + (1,) * len(shape))
    weight = k / parts if parts > 0 else k
    y = start * (1 - weight) + stop * weight
    y = y if axis in (0, -1 - len(shape)) else _move_first(y, axis % (len(shape) + 1))
    y = y if dtype is None else cast(y, dtype)
    return (y, step) if retstep else y


def _move_first(x: Any, axis: int) -> Any:
    order = list(range(1, ndim_of(x)))
    order.insert(axis, 0)
    return transpose(x, axes=tuple(order))


@function(np.logspace)
def logspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0,
             dtype: Any = None, axis: int = 0) -> Any:  # fmt: skip
    """Return numbers evenly spaced on a logarithmic scale: y_k = base ** linspace_k."""
    y = ew.power(base, linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else cast(y, dtype)


@function(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None,
              axis: int = 0) -> Any:  # fmt: skip
    """Return a geometric progression: y_k = start (stop / start) ** (k / (num - 1))."""
    start, stop = as_array(start), as_array(stop)
    sign = ew.sign(start)
    low, high = ew.log10(start * sign), ew.log10(stop * sign)
    y = sign * ew.power(10.0, linspace(low, high, num, endpoint, axis=axis))
    return y if dtype is None else cast(y, dtype)


# --- matrices ------------------------------------------------------------------------------------


@function(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """Return a matrix with the flattened v on its k-th diagonal."""
    v = reshape(as_array(v), shape=(-1,))
    n = shape_of(v)[0] + abs(k)
    rows = np.arange(shape_of(v)[0]) + max(-k, 0)
    where_ = (rows, rows + k)
    return _scatter(v, (n, n), where_)


def _scatter(v: Any, shape: tuple[int, ...], idx: tuple[Any, ...]) -> Any:
    from funcgraph.ops.indexing import split_index

    template, arrays = split_index(idx)
    return index_add(np.zeros(shape, dtype_of(v)), v, *arrays, template=template)


@function(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """Return the k-th diagonal of a matrix, or a matrix with a vector on its k-th diagonal."""
    v = as_array(v)
    if ndim_of(v) == 1:
        return diagflat(v, k)
    if ndim_of(v) != 2:
        raise ValueError("Input must be 1- or 2-d.")
    rows, columns = shape_of(v)
    n = max(min(rows + min(k, 0), columns - max(k, 0)), 0)
    i = np.arange(n) + max(-k, 0)
    return index(v, (i, i + k))


def _triangle(keep: Any) -> Any:
    def body(m: Any, k: int = 0) -> Any:
        x = as_array(m)
        x = broadcast_to(x, (shape_of(x)[0],) * 2) if ndim_of(x) == 1 else x
        return where(keep(shape_of(x)[-2:], k), x, dtype_of(x).type(0))

    return body


tril = function(np.tril)(_triangle(lambda shape, k: np.tri(*shape, k, dtype=bool)))
triu = function(np.triu)(_triangle(lambda shape, k: ~np.tri(*shape, k - 1, dtype=bool)))
tril.__name__, tril.__doc__ = "tril", "Return the lower triangle, with zeros above diagonal k."
triu.__name__, triu.__doc__ = "triu", "Return the upper triangle, with zeros below diagonal k."


@function(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803
    """Return the Vandermonde matrix: y[i, j] = x_i ** (N - 1 - j)."""
    x = as_array(x)
    n = shape_of(x)[0] if N is None else N
    columns = [fit(dtype_of(x).type(1), x)]
    for _ in range(n - 1):
        columns.append(columns[-1] * x)
    columns = columns[:n]
    return stack(*(columns if increasing else columns[::-1]), axis=1)


@function(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """Return coordinate matrices from coordinate vectors."""
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    vectors = [reshape(as_array(x), shape=(-1,)) for x in xi]
    axes = list(range(len(vectors)))
    if indexing == "xy" and len(axes) > 1:
        axes[0], axes[1] = 1, 0
    full_shape = [0] * len(vectors)
    for axis, v in zip(axes, vectors, strict=True):
        full_shape[axis] = shape_of(v)[0]
    out = []
    for axis, v in zip(axes, vectors, strict=True):
        shape = [1] * len(vectors)
        shape[axis] = -1
        v = reshape(v, shape=tuple(shape))
        out.append(v if sparse else broadcast_to(v, tuple(full_shape)))
    return tuple(out)


@function(np.block)
def block(arrays: Any) -> Any:
    """Assemble an array from nested lists of blocks."""
    depth = _depth(arrays)
    ndim = max(depth, *[ndim_of(x) for x in _blocks(arrays)])

    def build(x: Any, level: int) -> Any:
        if type(x) is list:
            return concatenate(*[build(v, level + 1) for v in x], axis=ndim - depth + level)
        missing = ndim - ndim_of(x)
        return expand_dims(x, tuple(range(missing))) if missing else x

    return build(arrays, 0)


def _depth(x: Any) -> int:
    return 1 + max(_depth(v) for v in x) if type(x) is list else 0


def _blocks(x: Any) -> list[Any]:
    return [b for v in x for b in _blocks(v)] if type(x) is list else [x]
