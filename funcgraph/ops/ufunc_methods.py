"""Ufuncs with keywords (`np.add(x, y, where=m)`) and their methods (`np.add.reduce(x)`), traced.

Fills `core.trace.UFUNC_METHODS`. Reductions of the common ufuncs are NumPy's functions (`np.sum`),
looked up late; any other binary ufunc is folded. May import `core`, `ops`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of, dtype_of, ndim_of, shape_of
from funcgraph.core.trace import FUNCTIONS, UFUNC_METHODS, UFUNCS, unsupported
from funcgraph.ops.indexing import index
from funcgraph.ops.reductions import cummax, cummin
from funcgraph.ops.structural import (
    broadcast_to,
    cast,
    concatenate,
    expand_dims,
    moved,
    normalize_axes,
    normalize_axis,
    stack,
)
from funcgraph.ops.structural import (
    where as choose,
)

_REDUCE: dict[Any, Any] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}
_ACCUMULATE: dict[Any, Any] = {np.add: np.cumsum, np.multiply: np.cumprod}
_RUNNING: dict[Any, Any] = {np.maximum: cummax, np.minimum: cummin}

# Folded by halves, log2(n) operations instead of n.
_ASSOCIATIVE = {
    np.add, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin, np.hypot, np.logaddexp,
    np.logaddexp2, np.logical_and, np.logical_or, np.logical_xor, np.bitwise_and, np.bitwise_or,
    np.bitwise_xor, np.gcd, np.lcm,
}  # fmt: skip

# --- call with keywords --------------------------------------------------------------------------


def _loop_dtypes(ufunc: Any, args: Any, signature: Any, casting: str) -> tuple[Any, ...]:
    """Return the dtypes to which the arguments are cast, as NumPy resolves them."""
    avals = map(aval_of, args)
    dtypes = [a.dtype if a.weak is None else a.weak for a in avals]
    resolved = ufunc.resolve_dtypes(
        (*dtypes, *[None] * ufunc.nout), signature=signature, casting=casting
    )
    return resolved[: ufunc.nin]


def call(
    ufunc: Any,
    *args: Any,
    where: Any = True,
    casting: str = "same_kind",
    order: str = "K",
    dtype: Any = None,
    subok: bool = True,
    signature: Any = None,
    **kwargs: Any,
) -> Any:
    """Apply a ufunc with keywords; elements that `where` leaves out are zero."""
    if set(kwargs) - ({"axis"} if ufunc.signature else set()):
        unsupported(ufunc, f"does not take {sorted(kwargs)} with traced arguments")
    if dtype is not None:
        signature = (None,) * ufunc.nin + (np.dtype(dtype),) * ufunc.nout
    if signature is not None:
        dtypes = _loop_dtypes(ufunc, args, signature, casting)
        args = tuple(
            a if dtype_of(a) == d else cast(a, d) for a, d in zip(args, dtypes, strict=True)
        )
    outs = UFUNCS[ufunc](*args, **kwargs)
    if where is True:
        return outs
    if ufunc.nout == 1:
        return _masked(where, outs)
    return tuple(_masked(where, out) for out in outs)


def _masked(mask: Any, x: Any) -> Any:
    return choose(mask, x, dtype_of(x).type(0))


def outer(ufunc: Any, a: Any, b: Any, /, **kwargs: Any) -> Any:
    """Apply a ufunc of two arguments to all pairs of elements."""
    new = tuple(range(ndim_of(a), ndim_of(a) + ndim_of(b)))
    return call(ufunc, expand_dims(a, new) if new else a, b, **kwargs)


# --- reduce --------------------------------------------------------------------------------------


def _identity(ufunc: Any, dtype: Any) -> Any:
    """Return what an empty reduction gives; None if there is no such value."""
    lowest = {np.logaddexp: -np.inf, np.logaddexp2: -np.inf}
    value = lowest.get(ufunc, ufunc.identity)
    return None if value is None else dtype.type(value)


def _result_dtype(ufunc: Any, x: Any) -> Any:
    return ufunc.resolve_dtypes((None, dtype_of(x), None), reduction=True)[0]


def _halves(f: Callable[..., Any], x: Any) -> Any:
    """Fold an associative f along axis 0."""
    n = shape_of(x)[0]
    while n > 1:
        half = n // 2
        y = f(x[:half], x[half : 2 * half])
        x = concatenate(y, x[2 * half :], axis=0) if n % 2 else y
        n = half + n % 2
    return x[0]


def _one_by_one(f: Callable[..., Any], x: Any) -> Any:
    y = x[0]
    for k in range(1, shape_of(x)[0]):
        y = f(y, x[k])
    return y


def _fold(ufunc: Any, x: Any) -> Any:
    return (_halves if ufunc in _ASSOCIATIVE else _one_by_one)(UFUNCS[ufunc], x)


def reduce(
    ufunc: Any,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Reduce along axes with a binary ufunc."""
    if ndim_of(array) == 0 and axis in (0, -1):
        axis = ()
    if ufunc in _REDUCE:
        options: dict[str, Any] = {"dtype": dtype, "initial": initial}
        used = {k: v for k, v in options.items() if v is not None}
        if where is not True:
            used["where"] = where
        return FUNCTIONS[_REDUCE[ufunc]](array, axis=axis, keepdims=keepdims, **used)
    if ufunc.nin != 2 or ufunc.nout != 1 or ufunc.signature:
        raise ValueError("reduce only supported for binary functions")
    x = cast(array, dtype or _result_dtype(ufunc, array))
    axes = sorted(normalize_axes(axis, ndim_of(x)), reverse=True)
    if len(axes) > 1 and ufunc not in _ASSOCIATIVE:
        raise ValueError(
            f"reduction operation '{ufunc.__name__}' is not reorderable, so at most one axis may be "
            "specified"
        )
    identity = _identity(ufunc, dtype_of(x))
    if where is not True:
        x = _left_out(ufunc, x, where, initial if identity is None else identity)
    y = x
    for a in axes:
        y = moved(y, a, 0)
        if a == axes[-1] and initial is not None:
            y = concatenate(_row(initial, y), y, axis=0)
        if shape_of(y)[0] == 0:
            y = _row(identity, y, ufunc)
        y = _fold(ufunc, y)
    return expand_dims(y, tuple(axes[::-1])) if keepdims else y


def _left_out(ufunc: Any, x: Any, mask: Any, neutral: Any) -> Any:
    """Put a neutral value where the mask is false."""
    if ufunc not in _ASSOCIATIVE:
        unsupported(ufunc, "has no differentiable .reduce with where=")
    if neutral is None:
        raise ValueError(
            f"reduction operation '{ufunc.__name__}' does not have an identity, so to use a "
            "where mask one has to specify 'initial'"
        )
    return choose(mask, x, cast(neutral, dtype_of(x)))


def _row(value: Any, x: Any, ufunc: Any = None) -> Any:
    """Return the value as one more row of x."""
    if value is None:
        raise ValueError(
            f"zero-size array to reduction operation {ufunc.__name__} which has no identity"
        )
    return broadcast_to(cast(value, dtype_of(x)), (1, *shape_of(x)[1:]))


# --- accumulate, reduceat ------------------------------------------------------------------------


def accumulate(ufunc: Any, array: Any, axis: Any = 0, dtype: Any = None) -> Any:
    """Return all partial results of a reduction along one axis."""
    if ufunc in _ACCUMULATE:
        return FUNCTIONS[_ACCUMULATE[ufunc]](array, axis=axis, dtype=dtype)
    if ufunc.nin != 2 or ufunc.nout != 1 or ufunc.signature:
        raise ValueError("accumulate only supported for binary functions")
    if ndim_of(array) == 0:
        raise TypeError("cannot accumulate on a scalar")
    x = cast(array, dtype or _result_dtype(ufunc, array))
    axis = normalize_axis(axis, ndim_of(x))
    if ufunc in _RUNNING:
        return _RUNNING[ufunc](x, axis=axis)
    x = moved(x, axis, 0)
    if shape_of(x)[0] == 0:
        return moved(x, 0, axis)
    partial = [x[0]]
    for k in range(1, shape_of(x)[0]):
        partial.append(UFUNCS[ufunc](partial[-1], x[k]))
    return moved(stack(*partial, axis=0), 0, axis)


def reduceat(ufunc: Any, array: Any, indices: Any, axis: Any = 0, dtype: Any = None) -> Any:
    """Reduce the slices that start at `indices` and end at the next one."""
    axis = normalize_axis(axis, ndim_of(array))
    starts = [int(i) for i in np.asarray(indices)]
    ends = [*starts[1:], shape_of(array)[axis]]
    pieces = []
    for start, end in zip(starts, ends, strict=True):
        part = slice(start, max(end, start + 1))
        piece = index(array, (*(slice(None),) * axis, part))
        pieces.append(reduce(ufunc, piece, axis=axis, dtype=dtype))
    return stack(*pieces, axis=axis)


UFUNC_METHODS.update(
    {
        "__call__": call,
        "accumulate": accumulate,
        "outer": outer,
        "reduce": reduce,
        "reduceat": reduceat,
    }
)
