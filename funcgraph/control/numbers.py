"""Python's numbers in loops, as the first carry and as counters: they compute as NumPy's do.

Python's own rules are others: 1 / 0 is an error, (-2.0) ** 0.5 complex, ~True is -2, and an
integer never overflows. Yet a number must stay one, as its dtype gives way to others' (NEP 50):
that of a first carry until a step has told what the carry's is, that of a counter, and of what is
computed of counters and Python's numbers alone, until an array stands beside it.
May import `core`, `ops`, `tree`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import Aval, aval_of, dtype_of, promote
from funcgraph.core.primitive import Elementwise
from funcgraph.core.trace import FUNCTIONS, UFUNCS, Trace, ValueTracer
from funcgraph.ops.structural import cast

__all__ = ["as_counter", "as_numbers", "without_counters", "without_numbers"]


class NumberTracer(ValueTracer):
    """A Python number on which NumPy's functions run; there is no derivative to lose."""

    __slots__ = ()

    def __init__(self, value: Any, trace: Trace) -> None:
        self.value = value
        self._trace = trace

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.value)

    def __float__(self) -> float:  # type: ignore[override]
        return float(self.value)

    def __int__(self) -> int:  # type: ignore[override]
        return int(self.value)

    def __complex__(self) -> complex:  # type: ignore[override]
        return complex(self.value)

    def __index__(self) -> int:  # type: ignore[override]
        return self.value.__index__()  # type: ignore[no-any-return]

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __repr__(self) -> str:
        return repr(self.value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.value, dtype)

    def item(self, *_: Any) -> Any:  # type: ignore[override]
        """Return the number."""
        return self.value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        inputs, kwargs = without_numbers((inputs, kwargs))
        return getattr(ufunc, method)(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = without_numbers((args, kwargs))
        return func(*args, **kwargs)


class _Numbers(Trace):
    __slots__ = ()

    def process(self, primitive: Any, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply a primitive to the numbers themselves."""
        return primitive(*map(_number, args), **attrs)


def _number(x: Any) -> Any:
    return x.value if type(x) is NumberTracer else x


def as_numbers(carry: Any) -> Any:
    """Return a carry whose Python numbers compute as NumPy's; bools are NumPy's."""
    trace = _Numbers()

    def wrapped(x: Any) -> Any:
        if type(x) is bool:
            return np.bool_(x)
        return NumberTracer(x, trace) if type(x) in (int, float, complex) else x

    return tree.map(wrapped, carry)


def without_numbers(out: Any) -> Any:
    """Return what a function of such a carry returned, with Python's numbers again."""
    return tree.map(_number, out)


# --- counters ------------------------------------------------------------------------------------

_PYTHON = (bool, int, float, complex)
_WEAK = {"i": int, "f": float, "c": complex}
# Beside these a number may as well be of NumPy: nothing is wider.
_WIDE = frozenset(map(np.dtype, _PYTHON))


class Counter(NumberTracer):
    """The counter of a loop, or a number computed of counters; its value may be traced."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc in UFUNCS:
            return super(NumberTracer, self).__array_ufunc__(ufunc, method, *inputs, **kwargs)
        inputs, kwargs = without_counters((inputs, kwargs))
        return getattr(ufunc, method)(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = without_counters((args, kwargs))
        return FUNCTIONS.get(func, func)(*args, **kwargs)


class _Counting(Trace):
    """What all counters belong to: it is the first to see an operation, and turns it into others.

    So no other transformation comes to know of counters.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.level = math.inf  # type: ignore[assignment]

    def process(self, primitive: Any, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply a primitive to the numbers, in the dtype of the arrays beside them."""
        values = list(map(_counted, args))
        if type(primitive.derivative) is not Elementwise and not primitive.is_elementwise:
            return primitive(*values, **attrs)
        alone = all(type(x) is Counter or type(x) in _PYTHON or _is_bool(x) for x in args)
        if not alone and any(dtype_of(x) not in _WIDE for x in values):
            values = [
                cast(v, d) if type(x) is Counter else v
                for x, v, d in zip(args, values, _dtypes(primitive, args), strict=True)
            ]
        out = primitive(*values, **attrs)
        return as_counter(out) if alone and not primitive.many else out


def _is_bool(x: Any) -> bool:
    aval = aval_of(x)
    return aval.dtype == bool and not aval.shape


def _dtypes(primitive: Any, args: tuple[Any, ...]) -> list[np.dtype[Any]]:
    """Return the dtypes in which NumPy would compute, if counters were Python's numbers."""
    avals = [_weak(x.dtype) if type(x) is Counter else aval_of(x) for x in args]
    if isinstance(primitive.numpy, np.ufunc):
        wanted = [a.weak or a.dtype for a in avals] + [None] * primitive.numpy.nout
        return list(primitive.numpy.resolve_dtypes(tuple(wanted)))[: len(args)]
    return [promote(*(a for a in avals if a.dtype != bool))] * len(args)


def _weak(dtype: np.dtype[Any]) -> Aval:
    return Aval((), dtype, _WEAK[dtype.kind])


_counting = _Counting()


def as_counter(x: Any) -> Any:
    """Return a number as a counter; a bool as it is."""
    return x if dtype_of(x).kind not in _WEAK else Counter(x, _counting)


def _counted(x: Any) -> Any:
    return x.value if type(x) is Counter else x


def without_counters(out: Any) -> Any:
    """Return a pytree with the values of counters, of NumPy's own dtypes."""
    return tree.map(_counted, out)
