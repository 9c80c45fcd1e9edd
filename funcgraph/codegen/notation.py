"""Equations as the NumPy expressions that people write: `x @ w + b`, `h.T`, `np.mean(e**2)`.

Every expression has the value of its equation to the last bit. May import `core`,
`engines.numpy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, aval_of
from funcgraph.core.graph import Equation, Var
from funcgraph.core.primitive import OPERATORS
from funcgraph.engines.numpy.expressions import expression, index_text, is_strong
from funcgraph.engines.numpy.literals import dtype_text, number_text

__all__ = ["ATOM", "Piece", "number", "piece_of", "reads_once"]

# How tightly the outermost operator of an expression binds.
COMPARE, ADD, MULTIPLY, SIGN, POWER, ATOM = range(1, 7)


class Piece(str):
    """The text of an expression, with the level of its outermost operator."""

    __slots__ = ("level", "symbol")

    level: int
    symbol: str

    def __new__(cls, text: str, level: int = ATOM, symbol: str = "") -> Piece:
        """Return the piece."""
        piece = super().__new__(cls, text)
        piece.level = level
        piece.symbol = symbol
        return piece

    def at(self, level: int) -> str:
        """Return the text for a place where operators bind at least so tightly."""
        return str(self) if self.level >= level else f"({self})"


Bind = Callable[[Any], str]
Made = Mapping[Var, Equation]
Args = Sequence[Piece]

_OPERATORS = {
    "add": ("+", ADD), "subtract": ("-", ADD), "multiply": ("*", MULTIPLY),
    "divide": ("/", MULTIPLY), "less": ("<", COMPARE), "less_equal": ("<=", COMPARE),
    "greater": (">", COMPARE), "greater_equal": (">=", COMPARE), "equal": ("==", COMPARE),
    "not_equal": ("!=", COMPARE),
}  # fmt: skip
_REDUCTIONS = {
    "reduce_sum": "sum", "reduce_prod": "prod", "reduce_max": "max", "reduce_min": "min",
    "reduce_all": "all", "reduce_any": "any",
}  # fmt: skip
_REDUCED = "reduced"  # the symbol of what may take keepdims=True


def number(x: Any) -> Piece:
    """Return a Python number."""
    text = number_text(x)
    return Piece(text[1:-1], SIGN) if text.startswith("(-") else Piece(text)


def _aval(x: Any) -> Aval:
    return x.aval if isinstance(x, Var) else aval_of(x)


def piece_of(e: Equation, args: Args, made: Made, bind: Bind) -> Piece | None:
    """Return the value of an equation of one result; None if there is no expression for it.

    Args:
      e: The equation.
      args: Its arguments.
      made: The equation of each argument that stands here as an expression.
      bind: Returns the name of an array among the attributes.
    """
    name = e.primitive.name
    special = _SPECIAL.get(name)
    if special is not None:
        found = special(e, args, made)
        if found is not None:
            return found
    if name in _OPERATORS and e.primitive.numpy in OPERATORS and any(map(is_strong, e.inputs)):
        return _infix(*_OPERATORS[name], *args)
    if name == "getitem" and is_strong(e.inputs[0]):
        index = index_text(e.attrs["template"], list(args[1:]), bind)
        return Piece(f"{args[0].at(ATOM)}[{index}]")
    # These texts name an argument twice, or take an attribute of it.
    atoms = name in ("convert", "truncate_dtype", "cholesky", "eigh", "getitem")
    text = expression(e, [a.at(ATOM) if atoms else str(a) for a in args], bind)
    return None if text is None else Piece(text)


def _infix(symbol: str, level: int, a: Piece, b: Piece) -> Piece:
    """Return `a symbol b`; products of matrices and of numbers are kept apart by brackets."""
    mixed = {symbol, a.symbol} in ({"@", "*"}, {"@", "/"})
    left = a.at(level + 1 if mixed or level == COMPARE else level)
    return Piece(f"{left} {symbol} {b.at(level + 1)}", level, symbol)


# --- operations with a notation of their own ------------------------------------------------------


def _convert(e: Equation, args: Args, made: Made) -> Piece | None:
    """Of a number of Python, the scalar: np.float64(x)."""
    weak, dtype = _aval(e.inputs[0]).weak, e.attrs["dtype"]
    if weak is None or (weak is complex and dtype.kind != "c"):
        return None
    return Piece(f"{dtype_text(dtype)}({args[0]})") if dtype.kind in "fc" else None


def _cholesky(e: Equation, args: Args, made: Made) -> Piece | None:
    """Of a real matrix, the transpose is the adjoint."""
    aval, k = _aval(e.inputs[0]), args[0].at(ATOM)
    if aval.ndim != 2 or aval.dtype != np.float64:
        return None
    return Piece(f"np.linalg.cholesky(({k} + {k}.T) * 0.5)")


def _joined(e: Equation, args: Args, made: Made) -> Piece:
    axis = f", axis={e.attrs['axis']}" if e.attrs["axis"] else ""
    return Piece(f"np.{e.primitive.name}([{', '.join(args)}]{axis})")


def _matmul(e: Equation, args: Args, made: Made) -> Piece:
    return _infix("@", MULTIPLY, *args)


def _negative(e: Equation, args: Args, made: Made) -> Piece | None:
    if not is_strong(e.inputs[0]):
        return None
    return Piece(f"-{args[0].at(POWER)}", SIGN)


def _square(e: Equation, args: Args, made: Made) -> Piece | None:
    """Of an array, x**2 is x * x; the power of a scalar is the C library's and may be rounded."""
    if is_strong(e.inputs[0]) and _aval(e.inputs[0]).shape:
        return Piece(f"{args[0].at(ATOM)}**2", POWER)
    return None


def reads_once(e: Equation) -> bool:
    """Return whether x + x is written as 2 * x, or x * x as x**2."""
    x, other = e.inputs[0], e.inputs[-1]
    if len(e.inputs) != 2 or x is not other or not isinstance(x, Var) or not is_strong(x):
        return False
    kind = x.aval.dtype.kind
    if e.primitive.name == "add":
        return kind == "f"
    return e.primitive.name == "multiply" and kind in "iuf" and x.aval.ndim > 0


def _multiply(e: Equation, args: Args, made: Made) -> Piece | None:
    return _square(e, args, made) if reads_once(e) else None


def _add(e: Equation, args: Args, made: Made) -> Piece | None:
    if reads_once(e):
        return _infix("*", MULTIPLY, number(2), args[0])
    if is_strong(e.inputs[0]) and args[1].startswith("-") and args[1].level >= MULTIPLY:
        return _infix("-", ADD, args[0], Piece(args[1][1:], args[1].level))  # x + -y is x - y
    return None


def _power(e: Equation, args: Args, made: Made) -> Piece | None:
    if not any(map(is_strong, e.inputs)):
        return None
    return Piece(f"{args[0].at(ATOM)}**{args[1].at(SIGN)}", POWER)


def _transpose(e: Equation, args: Args, made: Made) -> Piece | None:
    axes = e.attrs["axes"]
    if axes == tuple(range(len(axes)))[::-1] and is_strong(e.inputs[0]):
        return Piece(f"{args[0].at(ATOM)}.T")
    return None


def _reshape(e: Equation, args: Args, made: Made) -> Piece | None:
    """Return keepdims=True of a reduction, x[:, None] for new axes, x.reshape(...) otherwise."""
    if not is_strong(e.inputs[0]):
        return None
    old, new = _aval(e.inputs[0]).shape, e.attrs["shape"]
    if args[0].symbol == _REDUCED and new == _kept_shape(e.inputs[0], made):
        return Piece(f"{args[0][:-1]}, keepdims=True)", ATOM, _REDUCED)
    index = _new_axes(old, new)
    if index is not None and old:
        return Piece(f"{args[0].at(ATOM)}[{index}]")
    text = ", ".join(map(str, new))
    return Piece(f"{args[0].at(ATOM)}.reshape({text})") if text and old else None


def _kept_shape(x: Any, made: Made) -> tuple[int, ...] | None:
    """Return the shape of a reduction, or of its quotient, that keeps its axes."""
    e = made.get(x)
    if e is not None and e.primitive.name == "divide":
        e = made.get(e.inputs[0])  # type: ignore[arg-type]
    if e is None or e.primitive.name not in _REDUCTIONS:
        return None
    return tuple(1 if k in e.attrs["axes"] else n for k, n in enumerate(_aval(e.inputs[0]).shape))


def _new_axes(old: tuple[int, ...], new: tuple[int, ...]) -> str | None:
    """Return the index that inserts axes of length one; None if the shapes differ by more."""
    parts, rest = [], list(old)
    for n in new:
        if rest and rest[0] == n:
            rest.pop(0)
            parts.append(":")
        elif n == 1:
            parts.append("None")
        else:
            return None
    if rest or "None" not in parts:
        return None
    while parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)


def _reduction(e: Equation, args: Args, made: Made) -> Piece | None:
    if not is_strong(e.inputs[0]):
        return None
    axes, ndim = e.attrs["axes"], _aval(e.inputs[0]).ndim
    axis = (axes[0] - ndim if axes[0] == ndim - 1 else axes[0]) if len(axes) == 1 else axes
    text = str(args[0]) if len(axes) == ndim else f"{args[0]}, axis={axis}"
    return Piece(f"np.{_REDUCTIONS[e.primitive.name]}({text})", ATOM, _REDUCED)


def _divide(e: Equation, args: Args, made: Made) -> Piece | None:
    """Return np.mean(x) for the sum of x by the number of its terms."""
    total = made.get(e.inputs[0])  # type: ignore[arg-type]
    if total is not None and total.primitive.name == "reshape":  # keepdims=True
        total = made.get(total.inputs[0])  # type: ignore[arg-type]
    if total is None or total.primitive.name != "reduce_sum" or args[0].symbol != _REDUCED:
        return None
    shape, axes = _aval(total.inputs[0]).shape, total.attrs["axes"]
    count = None if isinstance(e.inputs[1], Var) else e.inputs[1]
    dtype = e.outputs[0].aval.dtype
    same = dtype == total.outputs[0].aval.dtype and dtype.kind in "fc" and dtype.itemsize > 2
    if not axes or not same or count != prod(shape[k] for k in axes):
        return None
    return Piece(args[0].replace("np.sum(", "np.mean(", 1), ATOM, _REDUCED)


def _same(e: Equation, args: Args, made: Made) -> Piece:
    return args[0]


_SPECIAL: dict[str, Callable[[Equation, Args, Made], Piece | None]] = {
    "divide": _divide,
    "absolute": lambda e, args, made: Piece(f"np.abs({args[0]})"),
    "cholesky": _cholesky,
    "concatenate": _joined,
    "convert": _convert,
    "stack": _joined,
    "matmul": _matmul,
    "negative": _negative,
    "square": _square,
    "multiply": _multiply,
    "add": _add,
    "power": _power,
    "transpose": _transpose,
    "reshape": _reshape,
    "stop_gradient": _same,
    "barrier": _same,
    **dict.fromkeys(_REDUCTIONS, _reduction),
}
