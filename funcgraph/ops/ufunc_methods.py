"""Ufuncs with keywords (`np.add(x, y, where=m)`) and their methods (`np.add.reduce(x)`), traced.

Fills `core.trace.UFUNC_METHODS`. Reductions of the common ufuncs are NumPy's functions (`np.sum`),
looked up late; any other binary ufunc is folded. May import `core`, `ops`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of, dtype_of, ndim_of, shape_of
from funcgraph.core.trace import FUNCTIONS, KIND, NUMPY, UFUNC_METHODS, UFUNCS, unsupported
from funcgraph.errors import InPlaceWriteError
from funcgraph.ops.buffers import Mutable, frozen, store
from funcgraph.ops.indexing import index, index_add, split_index
from funcgraph.ops.reductions import cummax, cummin
from funcgraph.ops.structural import (
    broadcast_to,
    cast,
    concatenate,
    expand_dims,
    moved,
    normalize_axes,
    normalize_axis,
    reshape,
    stack,
)
from funcgraph.ops.structural import (
    where as choose,
)
from funcgraph.ops.updates import at, index_max, index_min, index_mul, occurrences, places

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


# --- at, out= ------------------------------------------------------------------------------------

# Ufuncs whose effect at a repeated index one primitive has.
_AT = {np.add: index_add, np.multiply: index_mul, np.minimum: index_min, np.maximum: index_max}


def _refused(what: str) -> InPlaceWriteError:
    return InPlaceWriteError(
        f"{what} writes into a traced array that is an input, or the result of an operation. Make "
        "a copy first, `x = x.copy()`, which can be written; or use funcgraph.at(x)[index]."
    )


def write(
    ufunc: Any, method: str, inputs: Any, outs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Apply a ufunc, or a method of it, that writes its result into an array."""
    if method == "at":
        return _ufunc_at(ufunc, *inputs)
    name = f"np.{ufunc.__name__} with out="
    if not all(isinstance(o, Mutable) for o in outs if o is not None):
        raise _refused(name)
    mask = kwargs.pop("where", True) if method == "__call__" else True
    results = getattr(ufunc, method)(*map(frozen, inputs), **frozen(kwargs))
    several = ufunc.nout > 1 and method == "__call__"
    written = []
    for out, result in zip(outs, results if several else (results,), strict=True):
        if out is None:
            written.append(result)
            continue
        kept = result if mask is True else choose(frozen(mask), result, out.read())
        written.append(store(out, kept, name, broadcast=method == "__call__"))
    return tuple(written) if several else written[0]


def _ufunc_at(ufunc: Any, a: Any, indices: Any, *operands: Any) -> None:
    """Apply a ufunc at an index; at repeated indices, one after the other."""
    if not isinstance(a, Mutable):
        raise _refused(f"np.{ufunc.__name__}.at (a ufunc.at)")
    a.check()
    if ufunc not in UFUNCS:
        unsupported(ufunc)
    x, v = a.read(), tuple(FUNCTIONS[np.asarray](frozen(v)) for v in operands)
    template, arrays = split_index(frozen(indices))
    if ufunc in _AT and np.can_cast(dtype_of(v[0]), a.dtype, "same_kind"):
        value = cast(frozen(v[0]), a.dtype)
        a.write(_AT[ufunc](x, value, *arrays, template=template))
        return
    if not all(KIND[type(k)] == NUMPY for k in arrays):
        raise InPlaceWriteError(
            f"np.{ufunc.__name__}.at applies the ufunc as often as an index comes, which cannot be "
            "known of traced indices. Use funcgraph.at(x)[index] with set, add, multiply, min or "
            "max."
        )
    numbers = np.asarray(places(a.shape, arrays, template))
    values = [reshape(broadcast_to(frozen(w), numbers.shape), shape=(numbers.size,)) for w in v]
    numbers = numbers.reshape(-1)
    y = reshape(x, shape=(a.size,))
    for chosen in occurrences(numbers):
        place = at(y)[numbers[chosen]]
        result = UFUNCS[ufunc](place.get(), *(w[chosen] for w in values))
        if not np.can_cast(dtype_of(result), a.dtype, "same_kind"):
            raise InPlaceWriteError(
                f"np.{ufunc.__name__}.at: cannot cast the result from {dtype_of(result)} to "
                f"{a.dtype} with casting rule 'same_kind'."
            )
        y = place.set(result)
    a.write(reshape(y, shape=a.shape))


UFUNC_METHODS.update(
    {
        "__call__": call,
        "accumulate": accumulate,
        "outer": outer,
        "reduce": reduce,
        "reduceat": reduceat,
        "write": write,
    }
)
