"""NumPy's chapter "Indexing routines": reading by positions and masks, choosing, grids of indices.

Functions that write into an array come in two forms: NumPy's write, into arrays that can be written
(`ops.buffers`); with `inplace=False`, as in JAX, those of this module return a new array.
May import `core`, `ops`, `numpy._register`, `numpy.creation`, `numpy.manipulation`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of, dtype_of, ndim_of, shape_of
from funcgraph.core.trace import FUNCTIONS, KIND, NUMPY
from funcgraph.errors import InPlaceWriteError
from funcgraph.numpy._register import (
    NON_DIFFERENTIABLE,
    concrete,
    function,
    known,
    non_differentiable,
)
from funcgraph.numpy.creation import as_array, as_dtype
from funcgraph.numpy.manipulation import along, flat
from funcgraph.ops import manipulation as lookups
from funcgraph.ops import structural as st
from funcgraph.ops.buffers import Mutable, frozen
from funcgraph.ops.elementwise import greater, less, not_equal
from funcgraph.ops.indexing import index
from funcgraph.ops.updates import at

__all__ = [
    "argwhere",
    "choose",
    "compress",
    "diag_indices_from",
    "digitize",
    "extract",
    "fill_diagonal",
    "flatnonzero",
    "ix_",
    "nonzero",
    "piecewise",
    "place",
    "put",
    "put_along_axis",
    "ravel_multi_index",
    "searchsorted",
    "select",
    "take",
    "take_along_axis",
    "tril_indices_from",
    "triu_indices_from",
    "unravel_index",
    "where",
]

# --- positions: no derivative --------------------------------------------------------------------

nonzero = non_differentiable(np.nonzero)
argwhere = non_differentiable(np.argwhere)
flatnonzero = non_differentiable(np.flatnonzero)
ravel_multi_index = non_differentiable(np.ravel_multi_index)
unravel_index = non_differentiable(np.unravel_index)


@function(np.searchsorted)
def searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    """Find the positions at which v could be inserted into sorted a; no derivative."""
    a = as_array(a)
    a = a if sorter is None else index(a, sorter)
    return lookups.searchsorted(a, as_array(v), side=side)


@function(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """Find the interval of (increasing or decreasing) bins that holds x; no derivative."""
    return lookups.digitize(as_array(x), as_array(bins), right=right)


def _square_shape(arr: Any) -> tuple[int, ...]:
    shape = shape_of(as_array(arr))
    if len(shape) < 2:
        raise ValueError("input array must be at least 2-d")
    if len(set(shape)) > 1:
        raise ValueError("All dimensions of input must be of equal length")
    return shape


def _matrix_shape(arr: Any) -> tuple[int, ...]:
    shape = shape_of(as_array(arr))
    if len(shape) != 2:
        raise ValueError("input array must be 2-d")
    return shape


@function(np.diag_indices_from)
def diag_indices_from(arr: Any) -> tuple[Any, ...]:
    """Return the indices of the main diagonal of a cube, from its shape."""
    shape = _square_shape(arr)
    return np.diag_indices(shape[0], len(shape))


@function(np.tril_indices_from)
def tril_indices_from(arr: Any, k: int = 0) -> tuple[Any, Any]:
    """Return the indices of the lower triangle of a matrix, from its shape."""
    n, m = _matrix_shape(arr)
    return np.tril_indices(n, k, m)


@function(np.triu_indices_from)
def triu_indices_from(arr: Any, k: int = 0) -> tuple[Any, Any]:
    """Return the indices of the upper triangle of a matrix, from its shape."""
    n, m = _matrix_shape(arr)
    return np.triu_indices(n, k, m)


NON_DIFFERENTIABLE.update(
    [
        np.searchsorted,
        np.digitize,
        np.diag_indices_from,
        np.tril_indices_from,
        np.triu_indices_from,
    ]
)


@function(np.ix_)
def ix_(*args: Any) -> tuple[Any, ...]:
    """Make sequences into an open grid: the k-th is laid along axis k of len(args) axes."""
    grids = []
    for k, a in enumerate(map(as_array, args)):
        if ndim_of(a) != 1:
            raise ValueError("Cross index must be 1 dimensional")
        a = np.nonzero(concrete(a))[0] if dtype_of(a).kind == "b" else a
        n = shape_of(a)[0]
        a = a if n else np.zeros(0, np.intp)
        grids.append(st.reshape(a, shape=tuple(n if j == k else 1 for j in range(len(args)))))
    return tuple(grids)


# --- reading -------------------------------------------------------------------------------------


def within(positions: Any, n: int, mode: str) -> Any:
    """Bring integer positions into [0, n) by the mode "wrap" or "clip"; "raise" leaves them."""
    if mode == "wrap":
        return positions % n
    if mode == "clip":
        positions = st.where(less(positions, 0), 0, positions)
        return st.where(greater(positions, n - 1), n - 1, positions)
    if mode != "raise":
        raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")
    return positions


@function(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: None = None, mode: str = "raise") -> Any:
    """Read slices of an axis (None: elements of the flattened array) at integer positions.

    (..., n, ...) and positions of shape s give (..., *s, ...).
    """
    x, positions = as_array(a), as_array(indices)
    if axis is None:
        x, axis = flat(x), 0
    axis = st.normalize_axis(axis, ndim_of(x))
    positions = within(positions, shape_of(x)[axis], mode)
    return index(x, along(axis, positions))


def _open_grid(shape: tuple[int, ...]) -> list[Any]:
    """Return the positions along each axis, shaped so that they broadcast to `shape`."""
    return list(np.ix_(*map(np.arange, shape)))


def _along_axis(x: Any, indices: Any, axis: Any) -> tuple[Any, Any]:
    """Return x (flat, if axis is None) and the index that reads or writes it along an axis."""
    indices = as_array(indices)
    if dtype_of(indices).kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if axis is None:
        if ndim_of(indices) != 1:
            raise ValueError("when axis=None, `indices` must have a single dimension.")
        x, axis = flat(x), 0
    axis = st.normalize_axis(axis, ndim_of(x))
    if ndim_of(x) != ndim_of(indices):
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    grid = _open_grid(shape_of(x))
    grid[axis] = indices
    return x, tuple(grid)


@function(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    """Read one position per line along an axis: y[i, k] = arr[i, indices[i, k]] for the last."""
    x, idx = _along_axis(as_array(arr), indices, axis)
    return index(x, idx)


@function(np.compress)
def compress(condition: Any, a: Any, axis: Any = None) -> Any:
    """Read the slices along an axis (None: elements of the flattened array) that are marked."""
    mask = np.asarray(concrete(condition))
    if mask.ndim != 1:
        raise ValueError("condition must be a 1-d array")
    return take(as_array(a), np.flatnonzero(mask), axis)


@function(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """Read the elements at which condition is true, as one axis."""
    return take(as_array(arr), np.flatnonzero(concrete(condition)))


# --- choosing ------------------------------------------------------------------------------------


@function(np.where)
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """Take x where condition is true, else y; without x and y, return the true positions."""
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("either both or neither of x and y should be given")
    condition = condition if type(condition) is bool else as_array(condition)
    if dtype_of(condition).kind != "b":
        condition = not_equal(condition, 0)
    x, y = (as_array(v) if isinstance(v, list | tuple) else v for v in (x, y))
    return st.where(condition, x, y)


@function(np.choose)
def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Any:
    """Take each element from one of several arrays: y[i] = choices[a[i]][i], all broadcast."""
    parts = [as_array(c) for c in choices]
    which = within(as_array(a), len(parts), mode)
    known = KIND[type(which)] == NUMPY
    if known and not np.all((np.asarray(which) >= 0) & (np.asarray(which) < len(parts))):
        raise ValueError("invalid entry in choice array")
    shape = np.broadcast_shapes(shape_of(which), *map(shape_of, parts))
    stacked = st.stack(*(st.broadcast_to(p, shape) for p in parts), axis=0)
    return index(stacked, (which, *_open_grid(shape)))


@function(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """Take each element from the first array whose condition is true there, else the default."""
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    if len(condlist) == 0:
        raise ValueError("select with an empty condition list is not possible")
    conditions = [as_array(c) for c in condlist]
    for k, c in enumerate(conditions):
        if dtype_of(c).kind != "b":
            raise TypeError(f"invalid entry {k} in condlist: should be boolean ndarray")
    scalars = (int, float, complex)
    values = [v if type(v) in scalars else as_array(v) for v in (*choicelist, default)]
    dtype = np.result_type(*(v if type(v) in scalars else dtype_of(v) for v in values))
    shape = np.broadcast_shapes(*map(shape_of, [*conditions, *values]))
    *values, result = (as_dtype(v, dtype) for v in values)
    for c, v in zip(reversed(conditions), reversed(values), strict=True):
        result = st.where(c, v, result)
    return result if shape_of(result) == shape else st.broadcast_to(result, shape)


def _piecewise_everywhere(x: Any, masks: Any, functions: Any, args: Any, kw: Any) -> Any:
    """Apply every function to all elements and choose: for masks that are not known."""
    masks = (
        list(masks) if isinstance(masks, list | tuple) or ndim_of(masks) > ndim_of(x) else [masks]
    )
    y: Any = np.zeros(shape_of(x), dtype_of(x))
    functions = list(functions)
    if len(functions) == len(masks) + 1:
        last = functions.pop()
        y = last(x, *args, **kw) if callable(last) else last
    elif len(functions) != len(masks):
        raise ValueError(
            f"with {len(masks)} condition(s), as many functions are expected, or one more, got "
            f"{len(functions)}"
        )
    for mask, f in zip(masks, functions, strict=True):
        y = st.where(mask, f(x, *args, **kw) if callable(f) else f, y)
    return as_dtype(y, dtype_of(x))


@function(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """Apply to the elements of each mask its own function (or set them to its own number).

    The last true condition of an element counts; one function more than there are conditions is
    for the elements at which none is true, which else become 0.
    """
    x = as_array(x)
    plain = known(condlist)
    if plain is None:
        return _piecewise_everywhere(x, condlist, funclist, args, kw)
    condlist = plain
    if np.isscalar(condlist) or (
        not isinstance(condlist[0], list | np.ndarray) and ndim_of(x) != 0
    ):
        condlist = [condlist]
    conditions = list(np.asarray(condlist, bool))
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(conditions, axis=0))
    elif len(funclist) != len(conditions):
        n = len(conditions)
        raise ValueError(
            f"with {n} condition(s), either {n} or {n + 1} functions are expected, "
            f"got {len(funclist)}"
        )
    y: Any = np.zeros(shape_of(x), dtype_of(x))
    for mask, f in zip(conditions, funclist, strict=True):
        if callable(f):
            values = index(x, mask)
            if 0 not in shape_of(values):
                y = at(y)[mask].set(f(values, *args, **kw))
        else:
            y = at(y)[mask].set(f)
    return y


# --- writing -------------------------------------------------------------------------------------


def _refusal(name: str, instead: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise InPlaceWriteError(
            f"np.{name} writes into an existing array, but an argument is traced. Use {instead}."
        )

    return refuse


def _writer(numpy_function: Any, instead: str = "") -> Any:
    """Register a body that returns a new array for a function that NumPy has only in place.

    Called with `inplace=False` it is the body; else it is NumPy's, and traced arrays are refused.
    """
    name = numpy_function.__name__
    instead = instead or f"`x = funcgraph.numpy.{name}(x, ..., inplace=False)`"

    def register(body: Callable[..., Any]) -> Callable[..., Any]:
        refuse = _refusal(name, f"{instead}, or funcgraph.at")

        def write(a: Any, *args: Any, **kwargs: Any) -> None:
            if not isinstance(a, Mutable):
                refuse()
            a[...] = body(a.read(), *frozen(args), **frozen(kwargs))

        in_place = function(numpy_function)(write)

        @functools.wraps(body)
        def public(*args: Any, inplace: bool = True, **kwargs: Any) -> Any:
            return in_place(*args, **kwargs) if inplace else body(*args, **kwargs)

        return public

    return register


def _cycled(v: Any, count: int) -> Any:
    """Return the first `count` elements of v, flattened and repeated as often as needed."""
    v = flat(as_array(v))
    return index(v, np.arange(count) % max(shape_of(v)[0], 1))


def _copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    if not isinstance(dst, Mutable):
        _refusal("copyto", "`x = np.where(mask, source, x)`, or make a copy first: x.copy()")()
    source, mask = frozen(as_array(src)), frozen(as_array(where))
    aval = aval_of(source)
    given = aval.dtype if aval.weak is None else np.min_scalar_type(aval.weak(0))
    if not np.can_cast(given, dst.dtype, casting):
        raise InPlaceWriteError(
            f"np.copyto: cannot cast from {aval.dtype} to {dst.dtype} according to the rule "
            f"{casting!r}. Convert the source with .astype({dst.dtype})."
        )
    dst[...] = source if mask is True else st.where(mask, source, dst.read())


def _putmask(a: Any, mask: Any, values: Any) -> None:
    if not isinstance(a, Mutable):
        _refusal("putmask", "`x = np.where(mask, values, x)`, or make a copy first: x.copy()")()
    mask = frozen(as_array(mask))
    if prod(shape_of(mask)) != a.size:
        raise ValueError("putmask: mask and data must be the same size")
    cycled = st.reshape(_cycled(frozen(values), a.size), shape=a.shape)
    a[...] = st.where(st.reshape(mask, shape=a.shape), cycled, a.read())


FUNCTIONS[np.copyto] = _copyto
FUNCTIONS[np.putmask] = _putmask


@_writer(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> Any:
    """Return a with the elements at positions of the flattened array set to v, repeated."""
    x = as_array(a)
    positions = flat(within(as_array(ind), int(np.prod(shape_of(x))), mode))
    y = at(flat(x))[positions].set(_cycled(v, shape_of(positions)[0]))
    return st.reshape(y, shape=shape_of(x))


@_writer(np.place)
def place(arr: Any, mask: Any, vals: Any) -> Any:
    """Return arr with the elements at which mask is true set to vals, repeated."""
    x = as_array(arr)
    positions = np.flatnonzero(concrete(mask))
    y = at(flat(x))[positions].set(_cycled(vals, positions.size))
    return st.reshape(y, shape=shape_of(x))


@_writer(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> Any:
    """Return arr with one position per line along an axis set: the counterpart of take_along_axis.

    y[i, indices[i, k]] = values[i, k] for the last axis.
    """
    original = as_array(arr)
    x, idx = _along_axis(original, indices, axis)
    return st.reshape(at(x)[idx].set(as_array(values)), shape=shape_of(original))


@_writer(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> Any:
    """Return a with its main diagonal set to val, repeated."""
    x = as_array(a)
    shape = shape_of(x)
    if len(shape) < 2:
        raise ValueError("array must be at least 2-d")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise ValueError("All dimensions of input must be of equal length")
    step = shape[1] + 1 if len(shape) == 2 else 1 + int(np.cumprod(shape[:-1]).sum())
    size = int(np.prod(shape))
    end = shape[1] * shape[1] if len(shape) == 2 and not wrap else size
    positions = np.arange(size)[:end:step]
    y = at(flat(x))[positions].set(_cycled(val, positions.size))
    return st.reshape(y, shape=shape)
