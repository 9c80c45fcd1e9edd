"""Installs Python's operators on tracers, and the methods of ufuncs. May import `core`, `ops`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import aval_of, ndim_of, shape_of
from funcgraph.core.trace import FUNCTIONS, UFUNC_METHODS, UFUNCS, Tracer, unsupported
from funcgraph.ops import elementwise as ew
from funcgraph.ops.indexing import index
from funcgraph.ops.linalg import matmul
from funcgraph.ops.structural import cast, reshape, where

Call = Callable[..., Any]


def _operator(primitive: Call) -> Call:
    return lambda self, other: primitive(self, other)


def _reflected(primitive: Call) -> Call:
    return lambda self, other: primitive(other, self)


def _unary(primitive: Call) -> Call:
    return lambda self: primitive(self)


def _power(x: Any, y: Any) -> Any:
    return ew.square(x) if type(y) is int and y == 2 else ew.power(x, y)


_ARITHMETIC: dict[str, Call] = {
    "add": ew.add,
    "sub": ew.subtract,
    "mul": ew.multiply,
    "truediv": ew.divide,
    "floordiv": ew.floor_divide,
    "mod": ew.remainder,
    "divmod": UFUNCS[np.divmod],
    "pow": _power,
    "matmul": matmul,
    "and": ew.bitwise_and,
    "or": ew.bitwise_or,
    "xor": ew.bitwise_xor,
    "lshift": ew.left_shift,
    "rshift": ew.right_shift,
}
_COMPARISON: dict[str, Call] = {
    "lt": ew.less,
    "le": ew.less_equal,
    "gt": ew.greater,
    "ge": ew.greater_equal,
    "eq": ew.equal,
    "ne": ew.not_equal,
}
_UNARY: dict[str, Call] = {
    "neg": ew.negative,
    "pos": ew.positive,
    "abs": ew.absolute,
    "invert": ew.invert,
}


def _install_operators() -> None:
    for name, primitive in _ARITHMETIC.items():
        setattr(Tracer, f"__{name}__", _operator(primitive))
        setattr(Tracer, f"__r{name}__", _reflected(primitive))
    for name, primitive in _COMPARISON.items():
        setattr(Tracer, f"__{name}__", _operator(primitive))
    for name, primitive in _UNARY.items():
        setattr(Tracer, f"__{name}__", _unary(primitive))
    Tracer.__getitem__ = index  # type: ignore[attr-defined]


# --- ufuncs with keywords, and their methods ------------------------------------------------------


def _call(ufunc: Any, *args: Any, where_: Any = True, dtype: Any = None, **kwargs: Any) -> Any:
    """Apply a ufunc with dtype= and where=; elements that `where` leaves out are zero."""
    mask = kwargs.pop("where", where_)
    kwargs.pop("casting", None), kwargs.pop("order", None), kwargs.pop("subok", None)
    if kwargs:
        unsupported(ufunc, f"does not take {sorted(kwargs)} with traced arguments")
    if dtype is not None:
        args = tuple(cast(a, dtype) for a in args)
    out = UFUNCS[ufunc](*args)
    if mask is True:
        return out
    return where(mask, out, aval_of(out).dtype.type(0))


def _reduction(method: str, table: dict[Any, Any]) -> Call:
    def run(ufunc: Any, x: Any, axis: Any = 0, dtype: Any = None, **kwargs: Any) -> Any:
        if ufunc not in table:
            unsupported(ufunc, f"has no differentiable .{method}")
        if dtype is not None:
            kwargs["dtype"] = dtype
        return FUNCTIONS[table[ufunc]](x, axis=axis, **kwargs)

    return run


def _outer(ufunc: Any, x: Any, y: Any, **kwargs: Any) -> Any:
    x = reshape(x, shape=shape_of(x) + (1,) * ndim_of(y)) if ndim_of(y) else x
    return _call(ufunc, x, y, **kwargs)


def _reduceat(ufunc: Any, x: Any, indices: Any, axis: Any = 0, dtype: Any = None) -> Any:
    n = shape_of(x)[axis]
    starts = [int(i) for i in indices]
    pieces = []
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        part = index(x, (slice(None),) * (axis % ndim_of(x)) + (slice(start, max(stop, start + 1)),))
        pieces.append(UFUNC_METHODS["reduce"](ufunc, part, axis=axis, dtype=dtype))
    return FUNCTIONS[np.stack](pieces, axis=axis)


def _install_methods() -> None:
    reduce = {
        np.add: np.sum,
        np.multiply: np.prod,
        np.maximum: np.max,
        np.minimum: np.min,
        np.fmax: np.nanmax,
        np.fmin: np.nanmin,
        np.logical_and: np.all,
        np.logical_or: np.any,
        np.logaddexp: np.logaddexp.reduce,
    }
    accumulate = {
        np.add: np.cumsum,
        np.multiply: np.cumprod,
        np.maximum: np.maximum.accumulate,
        np.minimum: np.minimum.accumulate,
    }
    UFUNC_METHODS.update(
        {
            "__call__": _call,
            "reduce": _reduction("reduce", reduce),
            "accumulate": _reduction("accumulate", accumulate),
            "outer": _outer,
            "reduceat": _reduceat,
        }
    )


_install_operators()
_install_methods()
