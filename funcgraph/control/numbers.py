"""Python's numbers as the first carry of a loop: they compute as NumPy's do.

Python's own rules are others: 1 / 0 is an error, (-2.0) ** 0.5 complex, ~True is -2, and an
integer never overflows. Yet a number must stay one, as its dtype gives way to others' (NEP 50),
until a step has told what the carry's is. May import `core`, `ops`, `tree`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.trace import Trace, ValueTracer

__all__ = ["as_numbers", "without_numbers"]


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
