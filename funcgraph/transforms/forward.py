"""Forward mode: tracers that carry a primal and a tangent, and the rule that moves tangents on.

`push` is the forward reading of a primitive's one derivative; `linearize` uses it on a tape.
May import `core`, `ops`.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.core.primitive import Bilinear, Elementwise, Linear, Primitive
from funcgraph.core.trace import Trace, ValueTracer, leaked, refuse_closures
from funcgraph.ops.strong import (
    nothing,
    strong_bilinear,
    strong_elementwise,
    strong_general,
    strong_linear,
)
from funcgraph.ops.structural import broadcast_to, cast, zeros

__all__ = ["Forward", "ForwardTracer", "fit_dtype", "push"]


_ndarray = np.ndarray
_float64 = np.float64
# Types of values on which Python's operators do what NumPy's functions do, if one is an array.
_PLAIN = {np.ndarray, np.float64, float, int}


class ForwardTracer(ValueTracer):
    """A primal with its tangent."""

    __slots__ = ("tangent",)

    def __init__(self, value: Any, tangent: Any, trace: Forward) -> None:
        self.value = value
        self.tangent = tangent
        self._trace = trace


def _quiet() -> Callable[..., Any]:
    """Return a function that calls another one, in a context in which NumPy does not warn.

    That is faster than to enter np.errstate for every operation.
    """
    context = contextvars.copy_context()
    context.run(np.errstate(all="ignore").__enter__)
    return context.run


class Forward(Trace):
    """The trace of forward mode; if `safe`, zeros are strong, see `ops.strong`.

    `unary` and `binary` are the short way for the rules of plain arrays and numbers.
    """

    __slots__ = ("quiet", "safe")

    def __init__(self, safe: bool) -> None:
        super().__init__()
        self.safe = safe
        self.quiet = _quiet()

    def unary(self, primitive: Primitive, x: Any) -> Any:
        """Apply a primitive of one argument and move its tangent on."""
        v, dv = x.value, x.tangent
        plain = type(v) is type(dv) and (type(v) is _ndarray or type(v) is _float64)
        if not plain or self.safe or not self.alive or primitive.rules is None:
            return self.process(primitive, (x,), {})
        y = primitive.numpy(v)
        return self._out(y, self.quiet(primitive.rules[0], dv, y, v))

    def binary(self, primitive: Primitive, x: Any, y: Any) -> Any:
        """Apply a primitive of two arguments and move their tangents on."""
        a = b = da = db = None
        if type(x) is ForwardTracer and x._trace is self:
            a, da = x.value, x.tangent
        else:
            a = x
        if type(y) is ForwardTracer and y._trace is self:
            b, db = y.value, y.tangent
        else:
            b = y
        ta, tb = type(a), type(b)
        plain = (
            ta in _PLAIN
            and tb in _PLAIN
            and (da is None or type(da) is ta)
            and (db is None or type(db) is tb)
            and (ta is _ndarray or tb is _ndarray or ta is _float64 or tb is _float64)
        )
        if not plain or self.safe or not self.alive or primitive.rules is None:
            return super().binary(primitive, x, y)
        v = primitive.operator(a, b)
        return self._out(v, self.quiet(_sum_of, primitive.rules, da, db, v, a, b))

    def _out(self, y: Any, t: Any) -> Any:
        """Return the tracer of a plain value and its tangent."""
        if t is None:
            return y
        if type(y) is not _float64 or type(t) is not _float64:
            if shape_of(t) != shape_of(y):
                t = broadcast_to(t, shape_of(y))
            t = fit_dtype(t, dtype_of(y), False)
        return ForwardTracer(y, t, self)

    def process(self, primitive: Primitive, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Apply a primitive to primals and move the tangents on."""
        if not self.alive:
            leaked(self.level)
        values: list[Any] = []
        tangents: list[Any] = []
        for a in args:
            if type(a) is ForwardTracer and a._trace is self:
                values.append(a.value)
                tangents.append(a.tangent)
            else:
                values.append(a)
                tangents.append(None)
        if primitive.forward is not None:
            y, t = primitive.forward(values, tangents, attrs, self.safe)
        else:
            y = primitive(*values, **attrs)
            if primitive.zero:
                return y
            shape = None if primitive.many else shape_of(y)
            with np.errstate(all="ignore"):
                try:
                    t = push(primitive, y, shape, values, tangents, attrs, self.safe)
                except (ZeroDivisionError, OverflowError):  # of Python's numbers
                    values, tangents = _of_numpy(values), _of_numpy(tangents)
                    t = push(primitive, y, shape, values, tangents, attrs, self.safe)
        if primitive.augment is not None:
            refuse_closures(self, primitive, attrs, (*y, *t))
        if primitive.many:
            return tuple(
                v if dv is None else ForwardTracer(v, dv, self) for v, dv in zip(y, t, strict=True)
            )
        if t is None:
            return y
        return ForwardTracer(y, fit_dtype(t, dtype_of(y), self.safe), self)


def _of_numpy(xs: list[Any]) -> list[Any]:
    """Return Python's numbers as NumPy's, whose operations give inf and nan instead of errors."""
    return [np.asarray(x)[()] if type(x) in (int, float, complex) else x for x in xs]


def _sum_of(rules: Any, da: Any, db: Any, y: Any, a: Any, b: Any) -> Any:
    """Return the tangent of an elementwise operation on two arguments."""
    first = None if da is None or rules[0] is None else rules[0](da, y, a, b)
    if db is None or rules[1] is None:
        return first
    second = rules[1](db, y, a, b)
    return second if first is None else first + second


def fit_dtype(t: Any, dtype: Any, safe: bool) -> Any:
    """Return a tangent in the dtype of its primal."""
    if t is None or dtype_of(t) == dtype:
        return t
    return strong_linear(lambda t: cast(t, dtype), t) if safe else cast(t, dtype)


def push(
    primitive: Primitive,
    y: Any,
    shape: Any,
    args: Any,
    tangents: Any,
    attrs: dict[str, Any],
    safe: bool = False,
) -> Any:
    """Return the tangent of an operation's value (None: zero) from those of its arguments.

    Args:
      primitive: The operation.
      y: Its value (None where the derivative does not read it).
      shape: The shape of the value, if there is one value.
      args: The arguments, or stand-ins where the derivative does not read them.
      tangents: The tangents of the arguments; None is zero.
      attrs: The operation's static keywords.
      safe: Whether zeros are strong: those of the tangents are marked, as `ops.strong` says.
    """
    derivative = primitive.derivative
    if isinstance(derivative, Elementwise):
        return _push_elementwise(derivative, y, shape, args, tangents, attrs, safe)
    if isinstance(derivative, Linear):
        n = len(args) if derivative.count is None else derivative.count
        if all(t is None for t in tangents[:n]):
            return None
        none = nothing if safe else zeros
        moved = [none(a) if t is None else t for t, a in zip(tangents[:n], args, strict=False)]
        if safe:
            return strong_linear(lambda ts: primitive(*ts, *args[n:], **attrs), tuple(moved))
        return primitive(*moved, *args[n:], **attrs)
    if isinstance(derivative, Bilinear):
        return _push_bilinear(primitive, args, tangents, attrs, safe)
    if primitive.augment is not None:  # its tangents are staged, with strong zeros or without
        attrs = {**attrs, "safe": safe}
    elif safe:
        return _push_general(primitive, y, args, tangents, attrs)
    return derivative.jvp(tuple(tangents), y, *args, **attrs)  # type: ignore[union-attr]


def _push_general(primitive: Primitive, y: Any, args: Any, tangents: Any, attrs: Any) -> Any:
    derivative: Any = primitive.derivative
    places = [k for k, t in enumerate(tangents) if t is not None]

    def rule(ts: Any) -> Any:
        given: list[Any] = [None] * len(tangents)
        for k, t in zip(places, ts, strict=True):
            given[k] = t
        out = derivative.jvp(tuple(given), y, *args, **attrs)
        return out if primitive.many else (out,)

    out = strong_general(rule, tuple(tangents[k] for k in places))
    return out if primitive.many else out[0]


def _push_elementwise(
    derivative: Elementwise, y: Any, shape: Any, args: Any, tangents: Any, attrs: Any, safe: bool
) -> Any:
    total = None
    alone = sum(t is not None for t in tangents) == 1
    for k, (rule, t) in enumerate(zip(derivative.rules, tangents, strict=False)):
        if t is None or rule is None:
            continue
        part = (
            strong_elementwise(derivative, k, t, y, args, attrs, alone, back=False)
            if safe
            else rule(t, y, *args, **attrs)
        )
        total = part if total is None else total + part
    if total is not None and shape_of(total) != shape:
        total = broadcast_to(total, shape)
    return total


def _push_bilinear(primitive: Primitive, args: Any, tangents: Any, attrs: Any, safe: bool) -> Any:
    a, b = args
    ta, tb = tangents
    varies = ta is not None and tb is not None
    first = second = None
    if ta is not None:
        first = (
            strong_bilinear(lambda t, v: primitive(t, v, **attrs), ta, b, varies, back=False)
            if safe
            else primitive(ta, b, **attrs)
        )
    if tb is not None:
        second = (
            strong_bilinear(lambda t, v: primitive(v, t, **attrs), tb, a, varies, back=False)
            if safe
            else primitive(a, tb, **attrs)
        )
    if first is None or second is None:
        return second if first is None else first
    return first + second
