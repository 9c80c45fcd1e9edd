"""Formulas as LaTeX. May import `codegen.formula`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from funcgraph.codegen.formula import Expr, as_fraction, number

__all__ = ["latex", "latex_name"]

# How tightly the outermost operator binds.
RELATION, SUM, PRODUCT, POWER, ATOM = range(5)

_GREEK = frozenset([
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi",
    "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega",
])  # fmt: skip
# Functions with a command of their own, and whether their powers are written sin^2 x.
_COMMANDS = {
    "sin": True, "cos": True, "tan": True, "sinh": True, "cosh": True, "tanh": True,
    "arcsin": False, "arccos": False, "arctan": False, "log": False, "max": False, "min": False,
}  # fmt: skip
_WORDS = {
    "sign": "sgn", "arcsinh": "arsinh", "arccosh": "arcosh", "arctanh": "artanh", "erf": "erf",
    "arctan2": "atan2",
}  # fmt: skip
_RELATIONS = {
    "equal": "=", "less": "<", "less_equal": r"\le", "greater": ">", "greater_equal": r"\ge",
}  # fmt: skip


def latex_name(name: str) -> str:
    """Return a variable's name: Greek letters, indices, and a bar for cotangents."""
    if name.startswith("d_"):
        return rf"\bar{{{latex_name(name[2:])}}}"
    head, *rest = [part for part in re.split(r"_|(?<=[A-Za-z])(?=\d)", name) if part] or ["x"]
    text = f"\\{head}" if head in _GREEK else head if len(head) == 1 else rf"\mathrm{{{head}}}"
    if not rest:
        return text
    parts = (p if len(p) == 1 or p.isdecimal() else rf"\mathrm{{{p}}}" for p in rest)
    return f"{text}_{{{', '.join(parts)}}}"


def latex(x: Expr) -> str:
    """Return a formula as LaTeX, for mathematics mode."""
    return _write(x)[0]


def _at(x: Expr, level: int) -> str:
    text, mine = _write(x)
    return text if mine >= level else _bracket(text)


def _bracket(text: str) -> str:
    return rf"\left({text}\right)"


def _write(x: Expr) -> tuple[str, int]:
    """Return the text, and the level of its outermost operator."""
    if x.op == "number":
        return _number(x.value)
    if x.op == "constant":
        return r"\pi", ATOM
    if x.op == "symbol":
        return latex_name(x.value), ATOM
    if x.op == "sum":
        return _sum(x.args), SUM
    if x.op == "product":
        return _product(x)
    if x.op == "power":
        return _power(*x.args)
    if x.op == "matmul":
        return " ".join(_at(a, POWER) for a in x.args), PRODUCT
    if x.op in _RELATIONS:
        return f" {_RELATIONS[x.op]} ".join(_at(a, SUM) for a in x.args), RELATION
    return _function(x)


def _number(value: Any) -> tuple[str, int]:
    if value < 0:
        return f"-{_number(-value)[0]}", SUM
    fraction = _fraction(value)
    if fraction is not None:
        return rf"\frac{{{fraction.numerator}}}{{{fraction.denominator}}}", ATOM
    text = repr(value)
    if "e" not in text:
        return text, ATOM
    digits, _, exponent = text.partition("e")
    power = f"10^{{{int(exponent)}}}"
    return (power, POWER) if digits == "1" else (rf"{digits} \cdot {power}", PRODUCT)


def _fraction(value: Any) -> Fraction | None:
    """Return 1/2, 1/3 and the like; None for what is shorter as a decimal."""
    short = len(repr(value)) <= 4 and value != 0.5
    return None if isinstance(value, int) or short else as_fraction(value)


def _sum(terms: Sequence[Expr]) -> str:
    first = next((t for t in terms if not _is_negative(t)), terms[0])
    rest = [t for t in terms if t is not first]
    text = _at(first, SUM)
    for term in rest:
        part = _at(term, SUM)
        text += f" - {part[1:]}" if part.startswith("-") else f" + {part}"
    return text


def _is_negative(x: Expr) -> bool:
    return x.op in ("number", "product") and x.value < 0


def _product(x: Expr) -> tuple[str, int]:
    sign, size = ("-" if x.value < 0 else ""), abs(x.value)
    scalars = [f for f in x.args if not f.ndim]
    arrays = [f for f in x.args if f.ndim]
    above = [f for f in scalars if not _inverted(f)]
    below = [_inverse(f) for f in scalars if _inverted(f)]
    fraction = _fraction(size)
    if (below or fraction) and len(arrays) == 1 and arrays[0].op in _ABOVE:
        above, arrays = [*above, *arrays], []
    over, under = (fraction.numerator, fraction.denominator) if fraction else (size, 1)
    if not below and under == 1:
        front = _factors(over, above, PRODUCT)
    else:
        top, bottom = _factors(over, above, SUM), _factors(under, below, SUM)
        front = rf"\frac{{{top or 1}}}{{{bottom}}}"
    text = " ".join(filter(None, [front, _elementwise(arrays)]))
    return sign + text, SUM if sign else PRODUCT


# Arrays that stand above the line of a fraction, not behind it.
_ABOVE = frozenset(["symbol", "sum", "ones"])


def _factors(coefficient: Any, factors: list[Expr], alone: int) -> str:
    """Return a product of numbers; a factor that stands alone binds as tightly as `alone`."""
    if coefficient == 1 and len(factors) == 1:
        return _at(factors[0], alone)
    parts = [_at(f, POWER) for f in factors]
    if coefficient != 1 or not parts:
        parts.insert(0, _number(coefficient)[0])
    return "" if parts == ["1"] else " ".join(parts)


def _inverted(factor: Expr) -> bool:
    if factor.op != "power":
        return False
    exponent = factor.args[1]
    return exponent.op == "number" and exponent.value < 0


def _inverse(factor: Expr) -> Expr:
    base, exponent = factor.args
    n = number(-exponent.value)
    return base if n.value == 1 else Expr("power", (base, n), ndim=factor.ndim)


def _elementwise(arrays: list[Expr]) -> str:
    """Return a product of arrays, element by element."""
    text = ""
    for a in sorted(arrays, key=_inverted):
        symbol = r" \oslash " if _inverted(a) else r" \odot "
        alone = len(arrays) == 1 and not _inverted(a)
        part = _at(_inverse(a) if _inverted(a) else a, PRODUCT if alone else POWER)
        if not text and _inverted(a):
            text = r"\mathbf{1}"
        text += (symbol if text else "") + part
    return text


def _power(base: Expr, exponent: Expr) -> tuple[str, int]:
    n = exponent.value if exponent.op == "number" else None
    if n is not None and n < 0:
        return _product(Expr("product", (Expr("power", (base, exponent), ndim=base.ndim),), 1))
    if n == 0.5:
        return rf"\sqrt{{{latex(base)}}}", ATOM
    mark = r"\odot " if base.ndim and n is not None else ""
    text = rf"{{{mark}{latex(exponent)}}}"
    if isinstance(n, int) and _COMMANDS.get(base.op, False) and not base.ndim:
        return rf"\{base.op}^{text}{_bracket(latex(base.args[0]))}", POWER
    return f"{_at(base, ATOM)}^{text}", POWER


def _function(x: Expr) -> tuple[str, int]:
    inner = [latex(a) for a in x.args]
    fixed = {
        "abs": (r"\left|{0}\right|", ATOM),
        "exp": ("e^{{{0}}}", POWER),
        "floor": (r"\left\lfloor {0} \right\rfloor", ATOM),
        "ceil": (r"\left\lceil {0} \right\rceil", ATOM),
        "cbrt": (r"\sqrt[3]{{{0}}}", ATOM),
        "log2": (r"\log_{{2}}\left({0}\right)", POWER),
        "log10": (r"\log_{{10}}\left({0}\right)", POWER),
        "sigmoid": (r"\sigma\left({0}\right)", POWER),
        "ones": (r"\mathbf{{1}}", ATOM),
    }
    if x.op in fixed:
        text, level = fixed[x.op]
        return text.format(*inner), level
    if x.op == "transpose":
        return rf"{_at(x.args[0], ATOM)}^{{\top}}", POWER
    if x.op == "total":
        index = "i" if x.args[0].ndim == 1 else "i, j"
        return rf"\sum_{{{index}}} {_at(x.args[0], ATOM)}_{{{index}}}", PRODUCT
    if x.op == "columns":
        return rf"{_at(x.args[0], ATOM)}^{{\top}} \mathbf{{1}}", PRODUCT
    if x.op == "rows":
        return rf"{_at(x.args[0], POWER)} \mathbf{{1}}", PRODUCT
    if x.op == "entry":
        base = inner[0] if "_" not in inner[0] else rf"\left({inner[0]}\right)"
        return f"{base}_{{{', '.join(str(k + 1) for k in x.value)}}}", ATOM
    if x.op == "entries":
        rows = r" \\ ".join(inner)
        return rf"\begin{{pmatrix}} {rows} \end{{pmatrix}}", ATOM
    if x.op == "cases":
        condition, a, b = inner
        lines = rf"{a} & \text{{if }} {condition} \\ {b} & \text{{otherwise}}"
        return rf"\begin{{cases}} {lines} \end{{cases}}", ATOM
    name = f"\\{x.op}" if x.op in _COMMANDS else rf"\operatorname{{{_WORDS.get(x.op, x.op)}}}"
    return name + _bracket(", ".join(inner)), POWER
