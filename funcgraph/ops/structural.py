"""Primitives that move, join, cast and sum elements, and what derivatives need of them.

Also `fit`, which brings a cotangent to the shape and dtype of its primal, and `zeros`.
May import `core`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of, dtype_of, is_inexact, ndim_of, promote, shape_of
from funcgraph.core.primitive import Elementwise, Linear, Primitive, Zero, aligned
from funcgraph.errors import ShapeError

__all__ = [
    "blank",
    "broadcast_to",
    "cast",
    "concatenate",
    "copy",
    "expand_dims",
    "fit",
    "inverse",
    "normalize_axes",
    "normalize_axis",
    "ones",
    "pad_zeros",
    "prefixed",
    "reduce_sum",
    "reshape",
    "shifted",
    "spread",
    "stack",
    "transpose",
    "where",
    "zeros",
]


def zeros(x: Any) -> Any:
    """Return a NumPy array of zeros with the shape and dtype of x (any array-like or aval)."""
    return np.zeros(shape_of(x), dtype_of(x))[()]


def blank(x: Any) -> Any:
    """Return the same zeros, read-only and all in one place of memory: for operations to start from.

    As a constant of a graph a table of zeros would be copied, kept, and compiled by XLA.
    """
    return np.broadcast_to(np.zeros((), dtype_of(x)), shape_of(x))[()]


def ones(x: Any) -> Any:
    """Return a NumPy array of ones with the shape and dtype of x (any array-like or aval)."""
    return np.ones(shape_of(x), dtype_of(x))[()]


def normalize_axis(axis: Any, ndim: int) -> int:
    """Return axis as a number in [0, ndim); raise numpy.exceptions.AxisError outside."""
    return int(np.lib.array_utils.normalize_axis_index(axis, ndim))


def normalize_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return axis (None: all; an int; a tuple) as a tuple of numbers in [0, ndim)."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(np.lib.array_utils.normalize_axis_tuple(axis, ndim))


def fit(ct: Any, x: Any) -> Any:
    """Sum the axes of ct over which x was broadcast and give it the shape and dtype of x."""
    shape = shape_of(x)
    if shape_of(ct) != shape:
        ct = _summed(ct, shape)
    dtype = dtype_of(x)
    return ct if dtype_of(ct) is dtype else cast(ct, dtype)


def _summed(ct: Any, shape: tuple[int, ...]) -> Any:
    ct_shape = shape_of(ct)
    extra = len(ct_shape) - len(shape)
    if extra < 0:
        return broadcast_to(ct, shape)
    axes = tuple(range(extra))
    if ct_shape[extra:] != shape:
        axes += tuple(extra + k for k, n in enumerate(shape) if n == 1 != ct_shape[extra + k])
    ct = reduce_sum(ct, axes=axes) if axes else ct
    ct_shape = shape_of(ct)
    if ct_shape == shape:
        return ct
    ones_only = prod(ct_shape) == prod(shape)
    return reshape(ct, shape=shape) if ones_only else broadcast_to(ct, shape)


# --- batching rules that many primitives share ----------------------------------------------------


def spread(x: Any, size: int, batched: bool) -> Any:
    """Return an argument with a batch axis in front, repeated along it if it has none."""
    return x if batched else broadcast_to(x, (size, *shape_of(x)))


def shifted(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    """Batch an operation along `axis` or `axes` (counted from the front) of all its arguments."""
    args = [spread(a, size, b) for a, b in zip(args, batched, strict=True)]
    attrs = dict(attrs)
    if "axes" in attrs:
        attrs["axes"] = tuple(a + 1 for a in attrs["axes"])
    else:
        attrs["axis"] += 1
    return primitive(*args, **attrs)


def prefixed(name: str, first: Callable[[int], Any]) -> Callable[..., Any]:
    """Batch an operation of one argument by an attribute with one entry for each axis."""

    def batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
        return primitive(*args, **{**attrs, name: (first(size), *attrs[name])})

    return batch


# --- dtype ---------------------------------------------------------------------------------------


def _np_cast(x: Any, dtype: Any) -> Any:
    if dtype.kind != "c" and dtype_of(x).kind == "c":
        x = np.real(x)  # as JAX and without NumPy's ComplexWarning
    return x.astype(dtype) if hasattr(x, "astype") else dtype.type(x)


def _jax_cast(jax: Any, x: Any, dtype: Any) -> Any:
    x = jax.numpy.asarray(x)
    if dtype.kind != "c" and x.dtype.kind == "c":
        x = x.real
    return x.astype(dtype.newbyteorder("="))  # JAX has no other byte order


def _aval_cast(x: Aval, dtype: Any) -> Aval:
    return Aval(x.shape, dtype)


convert = Primitive(
    "convert",
    _np_cast,
    _jax_cast,
    _aval_cast,
    Linear(lambda g, x, dtype: cast(g, dtype_of(x))),
    aligned,
)
truncate_dtype = Primitive("truncate_dtype", _np_cast, _jax_cast, _aval_cast, Zero(), aligned)


def cast(x: Any, dtype: Any) -> Any:
    """Convert to another dtype; to integer or bool there is no derivative."""
    dtype = np.dtype(dtype)
    return (convert if is_inexact(dtype) else truncate_dtype)(x, dtype=dtype)


# --- shape ---------------------------------------------------------------------------------------


def _aval_reshape(x: Aval, shape: tuple[int, ...]) -> Aval:
    if prod(x.shape) != prod(shape):
        raise ShapeError(
            f"reshape: an array of shape {x.shape} has {prod(x.shape)} elements, which do not fill "
            f"the shape {shape}."
        )
    return Aval(shape, x.dtype)


def _np_reshape(x: Any, shape: tuple[int, ...]) -> Any:
    return x.reshape(shape) if type(x) is np.ndarray else np.reshape(x, shape)


reshaped = Primitive(
    "reshape",
    _np_reshape,
    lambda jax, x, shape: jax.numpy.reshape(x, shape),
    _aval_reshape,
    Linear(lambda g, x, shape: reshape(g, shape=shape_of(x))),
    prefixed("shape", lambda size: size),
)


def reshape(x: Any, shape: tuple[int, ...]) -> Any:
    """Give x another shape; -1 stands for the length that is left."""
    if -1 in shape:
        rest = prod(n for n in shape if n != -1)
        left = prod(shape_of(x)) // rest if rest else 0
        shape = tuple(left if n == -1 else n for n in shape)
    return reshaped(x, shape=shape)


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """Return the permutation that undoes a permutation."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _np_transpose(x: Any, axes: tuple[int, ...]) -> Any:
    return x.transpose(axes) if type(x) is np.ndarray else np.transpose(x, axes)


transpose = Primitive(
    "transpose",
    _np_transpose,
    lambda jax, x, axes: jax.numpy.transpose(x, axes),
    lambda x, axes: Aval(tuple(x.shape[a] for a in axes), x.dtype),
    Linear(lambda g, x, axes: transpose(g, axes=inverse(axes))),
    lambda p, size, args, batched, attrs: p(*args, axes=(0, *(a + 1 for a in attrs["axes"]))),
)


def _batch_broadcast(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    (x,) = args
    shape = attrs["shape"]
    missing = len(shape) - ndim_of(x) + 1
    x = expand_dims(x, tuple(range(1, missing + 1))) if missing else x
    return primitive(x, shape=(size, *shape))


def _aval_broadcast(x: Aval, shape: tuple[int, ...]) -> Aval:
    if np.broadcast_shapes(x.shape, shape) != tuple(shape):
        raise ShapeError(f"an array of shape {x.shape} cannot be broadcast to the shape {shape}.")
    return Aval(shape, x.dtype)


def _np_broadcast(x: Any, shape: tuple[int, ...]) -> Any:
    """Repeat x: where that is little memory, in new memory, which is made faster than a view."""
    if type(x) not in (np.ndarray, np.float64) or prod(shape) > 512 or x.ndim > len(shape):
        return np.broadcast_to(x, shape)
    out = np.empty(shape, x.dtype)
    out[...] = x
    return out


broadcast = Primitive(
    "broadcast",
    _np_broadcast,
    lambda jax, x, shape: jax.numpy.broadcast_to(x, shape),
    _aval_broadcast,
    Linear(lambda g, x, shape: fit(g, x)),
    _batch_broadcast,
)

copy = Primitive(
    "copy",
    lambda x: np.array(x),
    "jax.numpy.copy",
    lambda x: Aval(x.shape, x.dtype),
    Linear(lambda g, x: g),
    aligned,
)


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Repeat x along new leading axes and axes of length 1."""
    return broadcast(x, shape=tuple(shape))


def expand_dims(x: Any, axes: tuple[int, ...]) -> Any:
    """Insert axes of length 1 at the (non-negative, sorted) positions of the result."""
    shape = list(shape_of(x))
    for a in axes:
        shape.insert(a, 1)
    return reshape(x, shape=tuple(shape))


# --- sum -----------------------------------------------------------------------------------------


def _aval_sum(x: Aval, axes: tuple[int, ...]) -> Aval:
    dtype = np.add.reduce(np.zeros(1, x.dtype)).dtype
    return Aval(tuple(n for k, n in enumerate(x.shape) if k not in axes), dtype)


def _transpose_sum(g: Any, x: Any, axes: tuple[int, ...]) -> Any:
    leading = axes == tuple(range(len(axes)))  # axes that broadcasting adds
    return broadcast_to(g if leading else expand_dims(g, axes), shape_of(x))


reduce_sum = Primitive(
    "reduce_sum",
    lambda x, axes: np.add.reduce(x, axis=axes),
    lambda jax, x, axes: jax.numpy.sum(x, axis=axes),
    _aval_sum,
    Linear(_transpose_sum),
    shifted,
)

# --- joining -------------------------------------------------------------------------------------


def _slice(x: Any, axis: int, start: int, stop: int) -> Any:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _transpose_concatenate(g: Any, *xs: Any, axis: int) -> tuple[Any, ...]:
    ends = np.cumsum([0] + [shape_of(x)[axis] for x in xs]).tolist()
    return tuple(_slice(g, axis, a, b) for a, b in pairwise(ends))


def _aval_concatenate(*xs: Aval, axis: int) -> Aval:
    shape = list(xs[0].shape)
    rest = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs}
    if len(rest) > 1 or len({len(x.shape) for x in xs}) > 1:
        raise ShapeError(
            "concatenate: all lengths but those of the joined axis must agree, along axis "
            f"{axis} of arrays of the shapes {', '.join(str(x.shape) for x in xs)}."
        )
    shape[axis] = sum(x.shape[axis] for x in xs)
    return Aval(tuple(shape), promote(*xs))


concatenate = Primitive(
    "concatenate",
    lambda *xs, axis: np.concatenate(xs, axis=axis),
    lambda jax, *xs, axis: jax.numpy.concatenate(xs, axis=axis),
    _aval_concatenate,
    Linear(_transpose_concatenate, count=None),
    shifted,
)


def _transpose_stack(g: Any, *xs: Any, axis: int) -> tuple[Any, ...]:
    at = (slice(None),) * axis
    return tuple(g[(*at, k)] for k in range(len(xs)))


stack = Primitive(
    "stack",
    lambda *xs, axis: np.stack(xs, axis=axis),
    lambda jax, *xs, axis: jax.numpy.stack(xs, axis=axis),
    lambda *xs, axis: Aval((*xs[0].shape[:axis], len(xs), *xs[0].shape[axis:]), promote(*xs)),
    Linear(_transpose_stack, count=None),
    shifted,
)

pad_zeros = Primitive(
    "pad_zeros",
    lambda x, widths: np.pad(x, widths),
    lambda jax, x, widths: jax.numpy.pad(x, widths),
    lambda x, widths: Aval(
        tuple(a + n + b for n, (a, b) in zip(x.shape, widths, strict=True)), x.dtype
    ),
    Linear(
        lambda g, x, widths: g[
            tuple(slice(a, a + n) for n, (a, _) in zip(shape_of(x), widths, strict=True))
        ]
    ),
    prefixed("widths", lambda size: (0, 0)),
)

# --- choice --------------------------------------------------------------------------------------

where = Primitive(
    "where",
    lambda c, x, y: np.where(c, x, y),
    lambda jax, c, x, y: jax.numpy.where(c, x, y),
    lambda c, x, y: Aval(np.broadcast_shapes(c.shape, x.shape, y.shape), promote(x, y)),
    Elementwise(
        None,
        lambda g, y, c, a, b: where(c, g, _zero_like(g)),
        lambda g, y, c, a, b: where(c, _zero_like(g), g),
        keep="x",
    ),
)


def _zero_like(g: Any) -> Any:
    return aval_of(g).dtype.type(0)


def moved(x: Any, source: int, destination: int) -> Any:
    """Move one axis (both positions non-negative)."""
    order = [k for k in range(ndim_of(x)) if k != source]
    order.insert(destination, source)
    return transpose(x, axes=tuple(order))
