"""Installs Python's operators on tracers, and loads the methods of ufuncs. May import `core`, `ops`.

There are no in-place operators: `x += y` on a tracer makes a new value, as `x = x + y` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgraph.core.aval import dtype_of
from funcgraph.core.primitive import Binary
from funcgraph.core.trace import Tracer
from funcgraph.ops import elementwise as ew
from funcgraph.ops import ufunc_methods as _ufunc_methods  # noqa: F401  (fills the table of methods)
from funcgraph.ops.indexing import index
from funcgraph.ops.linalg import matmul

Call = Callable[..., Any]


def _operator(primitive: Call) -> Call:
    return lambda self, other: primitive(self, other)


def _binary(primitive: Call) -> Call:
    return lambda self, other: self._trace.binary(primitive, self, other)


def _reflected_binary(primitive: Call) -> Call:
    return lambda self, other: self._trace.binary(primitive, other, self)


def _reflected(primitive: Call) -> Call:
    return lambda self, other: primitive(other, self)


def _unary(primitive: Call) -> Call:
    return lambda self: primitive(self)


def _equality(primitive: Call) -> Call:
    # Text is equal to no array: `x == "auto"` is False.
    return lambda self, other: NotImplemented if type(other) is str else primitive(self, other)


def _power(x: Any, y: Any) -> Any:
    # The exponents for which ndarray's operator too takes another way than np.power.
    if type(y) is int or (type(y) is float and dtype_of(x).kind not in "biu"):
        if y == 2:
            return ew.square(x)
        if y == 0.5:
            return ew.sqrt(x)
    return ew.power(x, y)


def _round(self: Any, ndigits: int | None = None) -> Any:
    return ew.rint(self) if ndigits is None else ew.round_to(self, decimals=ndigits)


_ARITHMETIC: dict[str, Call] = {
    "add": ew.add,
    "sub": ew.subtract,
    "mul": ew.multiply,
    "truediv": ew.divide,
    "floordiv": ew.floor_divide,
    "mod": ew.remainder,
    "divmod": ew.divmod,
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
}
_EQUALITY: dict[str, Call] = {"eq": ew.equal, "ne": ew.not_equal}
_UNARY: dict[str, Call] = {
    "neg": ew.negative,
    "pos": ew.positive,
    "abs": ew.absolute,
    "invert": ew.invert,
}


def _install_operators() -> None:
    for name, primitive in _ARITHMETIC.items():
        fast = isinstance(primitive, Binary)
        setattr(Tracer, f"__{name}__", (_binary if fast else _operator)(primitive))
        reflected = _reflected_binary if fast else _reflected
        setattr(Tracer, f"__r{name}__", reflected(primitive))
    for name, primitive in _COMPARISON.items():
        setattr(Tracer, f"__{name}__", _binary(primitive))
    for name, primitive in _UNARY.items():
        setattr(Tracer, f"__{name}__", _unary(primitive))
    for name, primitive in _EQUALITY.items():
        setattr(Tracer, f"__{name}__", _equality(primitive))
    for name, method in {"round": _round, "getitem": index}.items():
        setattr(Tracer, f"__{name}__", method)


_install_operators()
