"""Operations that do nothing, or undo one another: one table, by the name of the operation.

Each holds to the last bit, for every value (nan, inf, -0.0), shape and dtype for which its rule
gives an answer: so x * 0, x - x and x + 0.0 are not among them, and x * 1 is only for real x (an
infinite imaginary part times 0 is nan). May import `core`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.graph import Atom, Equation, Var
from funcgraph.core.primitive import REGISTRY
from funcgraph.core.text import ARRAY

__all__ = ["IDENTITIES", "Program"]

_FEW = 1 << 10  # elements of a constant that is looked at


class Program(NamedTuple):
    """What is known at an equation: the values of constants, and how results were made."""

    constants: dict[Var, Any]
    made: dict[Var, Equation]

    def number(self, x: Atom) -> Any:
        """Return the number that an atom, or all of its elements, are; None if it is not known."""
        while type(x) is Var and (spread := self.before(x, "broadcast")) is not None:
            x = spread.inputs[0]
        if type(x) is not Var:
            return x
        value = self.constants.get(x)
        if not isinstance(value, np.ndarray | np.generic) or not value.size:
            return None
        if not any(value.strides):  # one element, or a view of one
            return value.item(0)
        first = value.flat[0]
        few = value.size <= _FEW and value.tobytes() == first.tobytes() * value.size
        return first.item() if few else None

    def before(self, x: Atom, *names: str) -> Equation | None:
        """Return the equation that made x, if it is one of these operations."""
        e = self.made.get(x) if type(x) is Var else None
        return e if e is not None and e.primitive.name in names else None


# A rule returns what has the value of the equation: a variable, or another equation for its output.
Rule = Callable[[Equation, Program], Any]


def _aval(x: Atom) -> Aval:
    return x.aval if isinstance(x, Var) else aval_of(x)


def _again(e: Equation, before: Equation, **attrs: Any) -> Equation:
    """Return e applied to the argument of the operation before it."""
    return Equation(e.primitive, before.inputs, e.outputs, {**e.attrs, **attrs}, e.line, e.scope)


# --- neutral elements -----------------------------------------------------------------------------


def _is_zero(n: Any, sign: float) -> bool:
    """Return whether n is a zero with this sign in every part; an integer's is positive."""
    if n is None:
        return False
    parts = (n.real, n.imag) if type(n) is complex else (n,)
    return all(p == 0 and math.copysign(1.0, p) == sign for p in parts)


def _neutral(*places: int, number: int = 1, kinds: str = "iuf") -> Rule:
    """Return the rule of an operation that returns the other of its two arguments."""

    def rule(e: Equation, at: Program) -> Any:
        for k in places:
            n = at.number(e.inputs[k])
            if n is not None and n == number and _aval(e.inputs[1 - k]).dtype.kind in kinds:
                return e.inputs[1 - k]
        return None

    return rule


def _subtract(e: Equation, at: Program) -> Any:
    return e.inputs[0] if _is_zero(at.number(e.inputs[1]), 1.0) else None


def _add(e: Equation, at: Program) -> Any:
    for k in (0, 1):
        n, other = at.number(e.inputs[k]), e.inputs[1 - k]
        kind = _aval(other).dtype.kind
        exact = type(n) is complex or kind != "c"  # a real zero has the imaginary part +0.0
        if n is not None and (n == 0 if kind in "iu" else exact and _is_zero(n, -1.0)):
            return other
    return None


# --- one argument ---------------------------------------------------------------------------------


def _unchanged(e: Equation, at: Program) -> Any:
    """The result has the type of the argument, and then its elements."""
    return e.inputs[0]


def _if_real(e: Equation, at: Program) -> Any:
    return e.inputs[0] if _aval(e.inputs[0]).dtype.kind != "c" else None


def _inverse(e: Equation, at: Program) -> Any:
    before = at.before(e.inputs[0], e.primitive.name)
    return before.inputs[0] if before else None


def _idempotent(e: Equation, at: Program) -> Any:
    return e.inputs[0] if at.before(e.inputs[0], e.primitive.name) else None


def _no_axes(kinds: str) -> Rule:
    """Return the rule of a reduction over no axes; some begin with a number, as 0.0 + -0.0."""

    def rule(e: Equation, at: Program) -> Any:
        here = e.attrs["axes"] == () and _aval(e.inputs[0]).dtype.kind in kinds
        return e.inputs[0] if here else None

    return rule


def _same_twice(e: Equation, at: Program) -> Any:
    a, b = e.inputs
    return a if isinstance(a, Var) and a is b else None


def _not_false(e: Equation, at: Program) -> Any:
    x, n = e.inputs[0], at.number(e.inputs[1])
    return x if _aval(x).dtype == bool and n is not None and n == 0 else None


def _where(e: Equation, at: Program) -> Any:
    choice, a, b = e.inputs
    if isinstance(a, Var) and a is b:
        return a
    value = at.constants.get(choice) if isinstance(choice, Var) else np.asarray(choice)
    if not isinstance(value, np.ndarray | np.generic) or value.size == 0:
        return None
    if np.all(value):
        return a
    return None if np.any(value) else b


# --- types ----------------------------------------------------------------------------------------


def _holds(wide: np.dtype[Any], narrow: np.dtype[Any]) -> bool:
    """Return whether every number of type narrow is one of type wide."""
    if narrow.kind in "iu" and wide.kind in "fc":
        return bool(np.iinfo(narrow).bits <= np.finfo(wide).nmant)
    return np.can_cast(narrow, wide, "safe")


def _convert(e: Equation, at: Program) -> Any:
    x = e.inputs[0]
    before = at.before(x, "convert", "truncate_dtype")
    if _aval(x).dtype == e.attrs["dtype"] or before is None:
        return x
    start, middle, end = _aval(before.inputs[0]), _aval(x), e.attrs["dtype"]
    # What does not fit an integer is not defined: it may differ from float32 and from float64.
    defined = end.kind in "fcb" or (start.dtype.kind in "biu" and middle.dtype.kind in "biu")
    if start.weak is not None or not defined or not _holds(middle.dtype, start.dtype):
        return None
    return before.inputs[0] if start.dtype == end else _again(e, before)


# --- shapes ---------------------------------------------------------------------------------------


def _transpose(e: Equation, at: Program) -> Any:
    axes = e.attrs["axes"]
    if axes == tuple(range(len(axes))):
        return e.inputs[0]
    if before := at.before(e.inputs[0], "transpose"):
        return _again(e, before, axes=tuple(before.attrs["axes"][k] for k in axes))
    before = at.before(e.inputs[0], "broadcast")
    if before and _aval(before.inputs[0]).ndim == 0:
        shape = tuple(before.attrs["shape"][k] for k in axes)
        return Equation(
            before.primitive, before.inputs, e.outputs, {"shape": shape}, e.line, e.scope
        )
    return None


def _reshape(e: Equation, at: Program) -> Any:
    before = at.before(e.inputs[0], "reshape")
    return _again(e, before) if before else e.inputs[0]


def _broadcast(e: Equation, at: Program) -> Any:
    before = at.before(e.inputs[0], "broadcast", "reshape")
    if before is None:
        return e.inputs[0]
    start, middle = _aval(before.inputs[0]).shape, _aval(e.inputs[0]).shape
    new = len(middle) - len(start)
    if before.primitive.name == "broadcast" or (new > 0 and middle == (1,) * new + start):
        return _again(e, before)  # new axes in front come with the broadcast
    return e.inputs[0]


def _getitem(e: Equation, at: Program) -> Any:
    template, shape = e.attrs["template"], _aval(e.inputs[0]).shape
    if any(part is ARRAY or isinstance(part, np.ndarray) for part in template):
        return None
    old = [part for part in template if part is not None]  # None is a new axis
    slices = [part for part in old if part is not Ellipsis]
    if not all(type(part) is slice for part in slices):
        return None
    front = len(slices) if Ellipsis not in old else old.index(Ellipsis)
    lengths = (*shape[:front], *shape[len(shape) - (len(slices) - front) :])
    if any(s.indices(n) != (0, n, 1) for s, n in zip(slices, lengths, strict=True)):
        return None
    if len(old) == len(template):
        return e.inputs[0]
    new = {"shape": e.outputs[0].aval.shape}
    return Equation(REGISTRY["reshape"], e.inputs, e.outputs, new, e.line, e.scope)


def _concatenate(e: Equation, at: Program) -> Any:
    return e.inputs[0] if len(e.inputs) == 1 else None


def _pad(e: Equation, at: Program) -> Any:
    return e.inputs[0] if not any(map(any, e.attrs["widths"])) else None


# fmt: off
IDENTITIES: dict[str, Rule] = {
    "multiply": _neutral(0, 1),           # x * 1
    "divide": _neutral(1),                # x / 1
    "floor_divide": _neutral(1, kinds="iu"),
    "power": _neutral(1),                 # x ** 1
    "subtract": _subtract,                # x - 0
    "add": _add,                          # x + (-0.0)
    "left_shift": _neutral(1, number=0),
    "right_shift": _neutral(1, number=0),
    "positive": _unchanged,
    "copy": _unchanged,
    "conjugate": lambda e, at: _if_real(e, at) or _inverse(e, at),
    "real": _if_real,
    "negative": _inverse,                 # -(-x)
    "invert": _inverse,
    "logical_not": _inverse,
    **dict.fromkeys(["floor", "ceil", "trunc", "rint", "absolute"], _idempotent),
    **dict.fromkeys(["maximum", "minimum", "fmax", "fmin", "logical_and", "logical_or",
                     "bitwise_and", "bitwise_or"], _same_twice),
    "where": _where,
    "not_equal": _not_false,
    "convert": _convert,
    "truncate_dtype": _convert,
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast": _broadcast,
    "getitem": _getitem,                  # x[:, ...]; x[None] is a reshape
    "concatenate": _concatenate,
    "pad_zeros": _pad,
    "reduce_sum": _no_axes("iu"),
    "reduce_prod": _no_axes("iuf"),
    **dict.fromkeys(["reduce_max", "reduce_min", "reduce_all", "reduce_any"], _no_axes("biufc")),
}
# fmt: on
