"""Formulas: expressions of real numbers, vectors and matrices, put in order as textbooks do.

Sums and products are flat, equal terms and factors are collected, numbers come first. Every
identity holds for real numbers wherever both sides are defined. Imports nothing of funcgraph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = [
    "ONE",
    "ZERO",
    "Expr",
    "add",
    "apart",
    "apply",
    "as_fraction",
    "constant",
    "divide",
    "entry",
    "evaluate",
    "multiply",
    "negative",
    "number",
    "power",
    "product",
    "symbol",
    "symbols",
    "transpose",
]


@dataclass(frozen=True, slots=True)
class Expr:
    """A formula.

    Attributes:
      op: number, symbol, sum, product (of matrices: matmul), power, or the name of a function.
      args: What it is made of.
      value: Of a number; the name of a symbol; the coefficient of a product; the place of an entry.
      ndim: 0 for numbers, 1 for vectors, which are columns, 2 for matrices.
    """

    op: str
    args: tuple[Expr, ...] = ()
    value: Any = None
    ndim: int = 0


def number(x: Any) -> Expr:
    """Return a number; integers are written without a point."""
    return Expr("number", value=int(x) if float(x).is_integer() and abs(x) < 1e15 else float(x))


ZERO, ONE = number(0), number(1)
PI = Expr("constant", value=math.pi)


def constant(x: Any) -> Expr:
    """Return a number as what it is of π and of roots, if it is that exactly: 2 π, √(2 π), √2."""
    if isinstance(x, int) or len(repr(x)) < 8 or as_fraction(x):
        return number(x)
    if x < 0:
        return negative(constant(-x))
    for exponent, pi in ((1, PI), (-1, power(PI, number(-1))), (0, ONE)):
        for root in (1, 2):
            fraction = Fraction(x**root / math.pi**exponent).limit_denominator(12)
            found = (float(fraction) * math.pi**exponent) ** (1 / root)
            if 0 < fraction < 1000 and math.isclose(found, x, rel_tol=4e-16):
                top, bottom = number(fraction.numerator), number(fraction.denominator)
                if exponent < 0:  # 1 / √(2 π), not √(1 / (2 π))
                    inner = power(multiply(bottom, PI), number(-1 / root))
                    return multiply(power(top, number(1 / root)), inner)
                return power(multiply(top, power(bottom, number(-1)), pi), number(1 / root))
    return number(x)


def symbol(name: str, ndim: int = 0) -> Expr:
    """Return a variable."""
    return Expr("symbol", value=name, ndim=ndim)


def symbols(x: Expr) -> set[str]:
    """Return the names of all variables of a formula."""
    if x.op == "symbol":
        return {x.value}
    return set().union(*map(symbols, x.args))


def _ndim(args: tuple[Expr, ...]) -> int:
    return max((a.ndim for a in args), default=0)


# --- sums -----------------------------------------------------------------------------------------


def _split(x: Expr) -> tuple[Any, Expr]:
    """Return a coefficient and the rest."""
    if x.op == "number":
        return x.value, ONE
    if x.op == "product":
        return x.value, _product(1, x.args)
    return 1, x


def _key(x: Expr) -> Any:
    """Return what is equal for terms that are the same but for the order of factors."""
    if x.op in ("product", "sum"):
        return x.op, x.value, frozenset(map(_key, x.args))
    return x


def _degree(x: Expr) -> Any:
    """Return the degree of a monomial in one variable; None if it is none."""
    if x.op in ("number", "symbol"):
        return int(x.op == "symbol")
    if x.op == "product":
        return _degree(x.args[0]) if len(x.args) == 1 else None
    is_power = x.op == "power" and x.args[0].op == "symbol" and x.args[1].op == "number"
    return x.args[1].value if is_power else None


def add(*terms: Expr) -> Expr:
    """Return a sum, in which equal terms are collected."""
    flat = [t for term in terms for t in (term.args if term.op == "sum" else (term,))]
    found: dict[Any, tuple[Any, Expr]] = {}
    for term in flat:
        coefficient, rest = _split(term)
        before = found.get(_key(rest), (0, rest))
        found[_key(rest)] = before[0] + coefficient, before[1]
    kept = [multiply(number(c), rest) for c, rest in found.values() if c != 0]
    kept[1:] = sorted(kept[1:], key=lambda t: t.op == "number")  # x + 1, but 1 - x
    degrees = list(map(_degree, kept))
    if len(kept) > 2 and None not in degrees and len(symbols(Expr("sum", tuple(kept)))) == 1:
        kept.sort(key=_degree, reverse=True)
    if len(kept) < 2:
        return kept[0] if kept else ZERO
    split = [_split(t) for t in kept]
    size = abs(split[0][0])
    if size != 1 and all(abs(c) == size for c, _ in split):  # 2 x - 2 y is 2 (x - y)
        return _product(size, (add(*(multiply(number(c / size), rest) for c, rest in split)),))
    return Expr("sum", tuple(kept), ndim=_ndim(tuple(flat)))


# --- products -------------------------------------------------------------------------------------


def _product(coefficient: Any, factors: tuple[Expr, ...]) -> Expr:
    if coefficient == 0 and not _ndim(factors):
        return ZERO
    if not factors:
        return number(coefficient)
    if coefficient == 1 and len(factors) == 1:
        return factors[0]
    return Expr("product", factors, number(coefficient).value, _ndim(factors))


def _kind(factor: Expr) -> int:
    """Return where a factor stands: π, symbols, brackets, functions; arrays behind."""
    base = factor.args[0] if factor.op == "power" else factor
    places = {"symbol": 1, "entry": 1, "sum": 2, "exp": 3}
    places |= {"constant": 0, "product": 0, "number": 0}
    return 5 * (factor.ndim > 0) + places.get(base.op, 4)


def multiply(*factors: Expr) -> Expr:
    """Return a product, element by element, in which powers of equal bases are collected."""
    coefficient: Any = 1
    found: dict[Any, tuple[Expr, Expr]] = {}
    for factor in factors:
        parts = factor.args if factor.op == "product" else (factor,)
        coefficient *= factor.value if factor.op in ("product", "number") else 1
        for part in parts if factor.op != "number" else ():
            base, exponent = part.args if part.op == "power" else (part, ONE)
            before = found.get(_key(base), (base, ZERO))
            found[_key(base)] = before[0], add(before[1], exponent)
    powers = [power(base, exponent) for base, exponent in found.values()]
    if any(p.op in ("number", "product") for p in powers):
        return multiply(number(coefficient), *powers)
    return _product(coefficient, tuple(sorted(powers, key=_kind)))


def negative(x: Expr) -> Expr:
    """Return -x."""
    return multiply(number(-1), x)


def divide(a: Expr, b: Expr) -> Expr:
    """Return a / b, element by element."""
    return multiply(a, power(b, number(-1)))


def power(base: Expr, exponent: Expr) -> Expr:
    """Return base to the power of exponent, element by element."""
    n = exponent.value if exponent.op == "number" else None
    if n == 0:
        return ONE
    if n == 1:
        return base
    if base.op == "number" and n is not None and (folded := _folded(base.value, n)) is not None:
        return folded
    if isinstance(n, int):
        if base.op == "product" and any(a.op != "constant" for a in base.args):
            parts = (power(part, exponent) for part in base.args)
            return multiply(number(float(base.value) ** n), *parts)
        if base.op == "power" and base.args[1].op == "number":
            return power(base.args[0], number(base.args[1].value * n))
    if base.op == "exp" and n is not None:
        return apply("exp", multiply(exponent, base.args[0]))
    return Expr("power", (base, exponent), ndim=max(base.ndim, exponent.ndim))


def _folded(base: Any, n: Any) -> Expr | None:
    """Return a power of numbers that is as short as what it is made of; None if there is none."""
    if (base < 0 and not isinstance(n, int)) or (base == 0 and n < 0):
        return None
    value = float(base) ** n
    return number(value) if len(repr(value)) < 8 or as_fraction(value) else None


def as_fraction(value: Any) -> Fraction | None:
    """Return a number as a fraction of small numbers: 1/2, 1/3; None if it is none."""
    fraction = Fraction(value).limit_denominator(12)
    return fraction if fraction.numerator / fraction.denominator == value else None


# --- matrices and functions -----------------------------------------------------------------------


def entry(x: Expr, place: tuple[int, ...]) -> Expr:
    """Return an entry of a vector or matrix; places count from 0."""
    return x.args[place[0]] if x.op == "entries" else Expr("entry", (x,), place)


def transpose(x: Expr) -> Expr:
    """Return the transpose; of a column, a row."""
    scalars, rest = apart(x)
    if scalars:
        return multiply(*scalars, transpose(rest))
    if x.op == "matmul":
        return Expr("matmul", tuple(map(transpose, x.args[::-1])), ndim=2)
    return x.args[0] if x.op == "transpose" else Expr("transpose", (x,), ndim=2)


def product(a: Expr, b: Expr, ndim: int) -> Expr:
    """Return the product of two matrices (columns, rows); numbers among the factors go in front."""
    scalars: list[Expr] = []
    factors: tuple[Expr, ...] = ()
    for x in (a, b):
        mine, rest = apart(x)
        scalars += mine
        factors += rest.args if rest.op == "matmul" else (rest,)
    return multiply(*scalars, Expr("matmul", factors, ndim=ndim))


def apart(x: Expr) -> tuple[list[Expr], Expr]:
    """Return the numbers among the factors of an array, and the rest."""
    if x.op != "product":
        return [], x
    scalars = [number(x.value), *(f for f in x.args if not f.ndim)]
    return scalars, _product(1, tuple(f for f in x.args if f.ndim))


def apply(name: str, *args: Expr, ndim: int | None = None) -> Expr:
    """Return a function of formulas, element by element unless `ndim` says otherwise."""
    return Expr(name, args, ndim=_ndim(args) if ndim is None else ndim)


# --- values ---------------------------------------------------------------------------------------


def _total(x: Any) -> Any:
    return np.sum(x)


_VALUES: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "cases": np.where,
    "entries": lambda *xs: np.array(xs),
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "max": np.maximum,
    "min": np.minimum,
    "ones": lambda x: np.broadcast_to(1.0, np.shape(x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "total": _total,
    "columns": lambda x: np.sum(x, axis=0),
    "rows": lambda x: np.sum(x, axis=1),
    "transpose": np.transpose,
    "erf": np.vectorize(math.erf),
}


def evaluate(x: Expr, values: dict[str, Any]) -> Any:
    """Return the value of a formula.

    Args:
      x: The formula.
      values: Of its variables, by name.
    """
    args = [evaluate(a, values) for a in x.args]
    if x.op in ("number", "constant"):
        return x.value
    if x.op == "symbol":
        return values[x.value]
    if x.op == "sum":
        return sum(args[1:], start=args[0])
    if x.op == "product":
        out = x.value
        for a in args:
            out = out * a
        return out
    if x.op == "power":
        return np.float64(args[0]) ** args[1]
    if x.op == "entry":
        return args[0][x.value]
    if x.op == "matmul":
        return _matrix_product([_columns(a, v) for a, v in zip(x.args, args, strict=True)], x.ndim)
    return _VALUES.get(x.op, getattr(np, x.op, None))(*args)  # type: ignore[misc]


def _columns(x: Expr, value: Any) -> Any:
    """Return a vector as a column, or, if it is transposed, as a row."""
    if x.op == "transpose" and np.ndim(value) == 1:
        return np.reshape(value, (1, -1))
    return np.reshape(value, (-1, 1)) if np.ndim(value) == 1 else value


def _matrix_product(factors: list[Any], ndim: int) -> Any:
    out = np.linalg.multi_dot(factors)
    return out if ndim == 2 else out[:, 0] if ndim == 1 else out[0, 0]
