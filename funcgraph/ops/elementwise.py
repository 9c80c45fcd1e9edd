"""Elementwise primitives: one row each. Values are NumPy's ufuncs.

A rule r(g, y, x, ...) gives g times the derivative; it serves both modes. May import `core`,
`ops.structural`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of
from funcgraph.core.primitive import Binary, Elementwise, General, Linear, Unary, Zero, ufunc_aval
from funcgraph.core.trace import UFUNCS
from funcgraph.ops.structural import cast, where, zeros

LN2, LN10 = math.log(2), math.log(10)


def _declare(cls: Any, ufunc: Any, derivative: Any, jax: Any, name: str | None) -> Any:
    name = name or ufunc.__name__
    primitive = cls(name, ufunc, jax or f"jax.numpy.{name}", ufunc_aval(ufunc), derivative)
    UFUNCS[ufunc] = primitive
    return primitive


def unary(ufunc: Any, *rule: Any, keep: str = "x", jax: Any = None, name: Any = None) -> Any:
    """Declare the primitive of a ufunc of one argument; without a rule it is constant."""
    return _declare(Unary, ufunc, Elementwise(*rule, keep=keep) if rule else Zero(), jax, name)


def binary(ufunc: Any, *rules: Any, keep: str = "x", jax: Any = None, name: Any = None) -> Any:
    """Declare the primitive of a ufunc of two arguments; without rules it is constant."""
    return _declare(Binary, ufunc, Elementwise(*rules, keep=keep) if rules else Zero(), jax, name)


def is_complex(x: Any) -> bool:
    """Return whether x has a complex dtype."""
    return dtype_of(x).kind == "c"


def _conj_if_complex(x: Any) -> Any:
    return conjugate(x) if is_complex(x) else x


# fmt: off
# --- arithmetic ----------------------------------------------------------------------------------
add = binary(np.add, lambda g, y, a, b: g, lambda g, y, a, b: g, keep="")
subtract = binary(np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: -g, keep="")
multiply = binary(np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
divide = binary(np.divide, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * (y / b), keep="xy")
negative = unary(np.negative, lambda g, y, x: -g, keep="")
positive = unary(np.positive, lambda g, y, x: g, keep="")
reciprocal = unary(np.reciprocal, lambda g, y, x: -g * (y * y), keep="y")
square = unary(np.square, lambda g, y, x: g * (x + x))
sqrt = unary(np.sqrt, lambda g, y, x: g / (y + y), keep="y")
cbrt = unary(np.cbrt, lambda g, y, x: g * y / (3 * x), keep="xy")

# --- exponentials and logarithms -----------------------------------------------------------------
exp = unary(np.exp, lambda g, y, x: g * y, keep="y")
exp2 = unary(np.exp2, lambda g, y, x: g * (LN2 * y), keep="y")
expm1 = unary(np.expm1, lambda g, y, x: g * (y + 1), keep="y")
log = unary(np.log, lambda g, y, x: g / x)
log2 = unary(np.log2, lambda g, y, x: g / (LN2 * x))
log10 = unary(np.log10, lambda g, y, x: g / (LN10 * x))
log1p = unary(np.log1p, lambda g, y, x: g / (x + 1))

# --- trigonometric and hyperbolic ----------------------------------------------------------------
sin = unary(np.sin, lambda g, y, x: g * cos(x))
cos = unary(np.cos, lambda g, y, x: -g * sin(x))
tan = unary(np.tan, lambda g, y, x: g * (y * y + 1), keep="y")
arcsin = unary(np.arcsin, lambda g, y, x: g / sqrt(1 - x * x))
arccos = unary(np.arccos, lambda g, y, x: -g / sqrt(1 - x * x))
arctan = unary(np.arctan, lambda g, y, x: g / (x * x + 1))
sinh = unary(np.sinh, lambda g, y, x: g * cosh(x))
cosh = unary(np.cosh, lambda g, y, x: g * sinh(x))
tanh = unary(np.tanh, lambda g, y, x: g * (1 - y * y), keep="y")

# --- comparison ----------------------------------------------------------------------------------
greater, greater_equal = binary(np.greater), binary(np.greater_equal)
less, less_equal = binary(np.less), binary(np.less_equal)
equal, not_equal = binary(np.equal), binary(np.not_equal)
isfinite = unary(np.isfinite)
conjugate = _declare(Unary, np.conjugate, Linear(lambda g, x: _conj_if_complex(g)), None, None)
# fmt: on
