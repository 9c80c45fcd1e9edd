"""Elementwise primitives: one row each. Values are NumPy's ufuncs.

A rule r(g, y, x, ...) gives g times the derivative; it serves both modes. May import `core`,
`ops.structural`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of
from funcgraph.core.primitive import (
    Binary,
    Elementwise,
    Linear,
    Primitive,
    Unary,
    Zero,
    aligned,
    register_ufunc,
    ufunc_aval,
)
from funcgraph.core.trace import UFUNCS
from funcgraph.ops.structural import fit, where, zeros

LN2, LN10 = math.log(2), math.log(10)


def _declare(cls: Any, ufunc: Any, derivative: Any, jax: Any, name: str | None) -> Any:
    name = name or ufunc.__name__  # such as absolute, not abs
    primitive = cls(name, ufunc, jax or f"jax.numpy.{name}", ufunc_aval(ufunc), derivative)
    register_ufunc(primitive)
    return primitive


def unary(
    ufunc: Any, *rule: Any, keep: str = "x", jax: Any = None, name: Any = None, **more: Any
) -> Any:
    """Declare the primitive of a ufunc of one argument; without a rule it is constant."""
    derivative = Elementwise(*rule, keep=keep, **more) if rule else Zero()
    return _declare(Unary, ufunc, derivative, jax, name)


def binary(
    ufunc: Any, *rules: Any, keep: str = "x", jax: Any = None, name: Any = None, **more: Any
) -> Any:
    """Declare the primitive of a ufunc of two arguments; without rules it is constant."""
    derivative = Elementwise(*rules, keep=keep, **more) if rules else Zero()
    return _declare(Binary, ufunc, derivative, jax, name)


def real_dtype(dtype: Any) -> Any:
    """Return the dtype of the real part."""
    return np.zeros(0, dtype).real.dtype


def is_complex(x: Any) -> bool:
    """Return whether x has a complex dtype."""
    return dtype_of(x).kind == "c"


def _pow_base(g: Any, y: Any, a: Any, b: Any) -> Any:
    if type(b) in (int, float):
        return g * (b * power(a, b - 1)) if b else 0 * g
    both = logical_and(equal(a, 0), equal(b, 0))  # the derivative of x**0 is 0, also at 0
    return g * (b * power(a, where(both, 1, b - 1)))


def _pow_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    if type(a) in (int, float):
        return g * (y * (math.log(a) if a > 0 else math.nan if a else 0.0))
    return g * (log(where(equal(a, 0), 1, a)) * y)


def _share_max(g: Any, a: Any, b: Any) -> Any:
    return where(greater(a, b), g, where(equal(a, b), g * 0.5, 0))


def _select(g: Any, chosen: Any) -> Any:
    return where(chosen, g, 0)


def _first_fmax(a: Any, b: Any) -> Any:
    return logical_or(greater(a, b), isnan(b))


def _first_fmin(a: Any, b: Any) -> Any:
    return logical_or(less(a, b), isnan(b))


def _abs(g: Any, y: Any, x: Any) -> Any:
    if not is_complex(x):
        return where(greater_equal(x, 0), g, -g)
    slope = conjugate(x) / where(equal(y, 0), 1, y)
    # Forward, g is a complex tangent and the result real; backward, the other way round.
    return real(g * slope) if is_complex(g) else g * slope


def _hypot(g: Any, y: Any, x: Any) -> Any:
    zero = equal(y, 0)  # there, the subgradient (1/2, 1/2), as JAX
    return g * where(zero, 0.5, x / where(zero, 1, y))


def _nonzero(x: Any) -> Any:
    return where(equal(x, 0), 1, x)


def _logaddexp(g: Any, y: Any, a: Any, b: Any, base: float) -> Any:
    same = equal(a, y)  # b does not count, or a and b are infinite and y - a is nan
    tie = logical_and(same, equal(a, b))
    return g * where(tie, 0.5, exp(base * where(same, 0, a - y)))


def _everywhere(y: Any) -> bool:
    return True


def _no_pole(y: Any) -> Any:
    return isfinite(y)


def _conj_if_complex(x: Any) -> Any:
    return conjugate(x) if is_complex(x) else x


# fmt: off
# --- arithmetic ----------------------------------------------------------------------------------
add = binary(np.add, lambda g, y, a, b: g, lambda g, y, a, b: g, keep="")
subtract = binary(np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: -g, keep="")
multiply = binary(np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a, flat=(0, 1))
divide = binary(np.divide, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * (y / b), keep="xy", flat=(0,),
                summed={1: lambda g, y, a, b: fit(g * y, b) / -b})
negative = unary(np.negative, lambda g, y, x: -g, keep="")
positive = unary(np.positive, lambda g, y, x: g, keep="")
reciprocal = unary(np.reciprocal, lambda g, y, x: -g * (y * y), keep="y")
square = unary(np.square, lambda g, y, x: g * (x + x))
sqrt = unary(np.sqrt, lambda g, y, x: g / (y + y), keep="y", border=_everywhere)
cbrt = unary(np.cbrt, lambda g, y, x: g / (3 * (y * y)), keep="y")
power = binary(np.power, _pow_base, _pow_exponent, keep="xy", border=_no_pole)
float_power = binary(np.float_power, _pow_base, _pow_exponent, keep="xy", border=_no_pole)
remainder = binary(np.remainder, lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b))
fmod = binary(np.fmod, lambda g, y, a, b: g, lambda g, y, a, b: -g * trunc(divide(a, b)))
hypot = binary(np.hypot, lambda g, y, a, b: _hypot(g, y, a), lambda g, y, a, b: _hypot(g, y, b), keep="xy")
deg2rad = unary(np.deg2rad, lambda g, y, x: g * (math.pi / 180), keep="")
rad2deg = unary(np.rad2deg, lambda g, y, x: g * (180 / math.pi), keep="")
radians = unary(np.radians, lambda g, y, x: g * (math.pi / 180), keep="")
degrees = unary(np.degrees, lambda g, y, x: g * (180 / math.pi), keep="")
ldexp = binary(np.ldexp, lambda g, y, a, b: ldexp(g, b), None, flat=(0,))

# --- exponentials and logarithms -----------------------------------------------------------------
exp = unary(np.exp, lambda g, y, x: g * y, keep="y")
exp2 = unary(np.exp2, lambda g, y, x: g * (LN2 * y), keep="y")
expm1 = unary(np.expm1, lambda g, y, x: g * (y + 1), keep="y")
log = unary(np.log, lambda g, y, x: g / x)
log2 = unary(np.log2, lambda g, y, x: g / (LN2 * x))
log10 = unary(np.log10, lambda g, y, x: g / (LN10 * x))
log1p = unary(np.log1p, lambda g, y, x: g / (x + 1))
logaddexp = binary(np.logaddexp, lambda g, y, a, b: _logaddexp(g, y, a, b, 1.0),
                   lambda g, y, a, b: _logaddexp(g, y, b, a, 1.0), keep="xy")
logaddexp2 = binary(np.logaddexp2, lambda g, y, a, b: _logaddexp(g, y, a, b, LN2),
                    lambda g, y, a, b: _logaddexp(g, y, b, a, LN2), keep="xy")

# --- trigonometric and hyperbolic ----------------------------------------------------------------
sin = unary(np.sin, lambda g, y, x: g * cos(x))
cos = unary(np.cos, lambda g, y, x: -g * sin(x))
tan = unary(np.tan, lambda g, y, x: g * (y * y + 1), keep="y")
arcsin = unary(np.arcsin, lambda g, y, x: g / sqrt(1 - x * x), border=_everywhere)
arccos = unary(np.arccos, lambda g, y, x: -g / sqrt(1 - x * x), border=_everywhere)
arctan = unary(np.arctan, lambda g, y, x: g / (x * x + 1))
arctan2 = binary(np.arctan2, lambda g, y, a, b: g * (b / _nonzero(a * a + b * b)),
                 lambda g, y, a, b: -g * (a / _nonzero(a * a + b * b)))
sinh = unary(np.sinh, lambda g, y, x: g * cosh(x))
cosh = unary(np.cosh, lambda g, y, x: g * sinh(x))
tanh = unary(np.tanh, lambda g, y, x: g * (1 - y * y), keep="y")
arcsinh = unary(np.arcsinh, lambda g, y, x: g / sqrt(x * x + 1))
arccosh = unary(np.arccosh, lambda g, y, x: g / (sqrt(x - 1) * sqrt(x + 1)), border=_everywhere)
arctanh = unary(np.arctanh, lambda g, y, x: g / (1 - x * x))

# --- choice and sign -----------------------------------------------------------------------------
maximum = binary(np.maximum, lambda g, y, a, b: _share_max(g, a, b),
                 lambda g, y, a, b: _share_max(g, b, a))
minimum = binary(np.minimum, lambda g, y, a, b: _share_max(g, b, a),
                 lambda g, y, a, b: _share_max(g, a, b))
fmax = binary(np.fmax, lambda g, y, a, b: _select(g, _first_fmax(a, b)),
              lambda g, y, a, b: _select(g, equal(_first_fmax(a, b), False)))
fmin = binary(np.fmin, lambda g, y, a, b: _select(g, _first_fmin(a, b)),
              lambda g, y, a, b: _select(g, equal(_first_fmin(a, b), False)))
absolute = unary(np.absolute, _abs, keep="xy", jax="jax.numpy.abs")
fabs = unary(np.fabs, _abs, keep="xy")
copysign = binary(np.copysign, lambda g, y, a, b: where(equal(less(a, 0), signbit(b)), g, -g), None)
heaviside = binary(np.heaviside, None, lambda g, y, a, b: _select(g, equal(a, 0)))
nextafter = binary(np.nextafter, lambda g, y, a, b: g, None, keep="")

# --- complex -------------------------------------------------------------------------------------
real = Unary("real", np.real, "jax.numpy.real", lambda x: Aval(x.shape, real_dtype(x.dtype)),
             Linear(lambda g, x: g))
imag = Unary("imag", np.imag, "jax.numpy.imag", lambda x: Aval(x.shape, real_dtype(x.dtype)),
             Linear(lambda g, x: g * -1j if is_complex(x) else zeros(x)))
conjugate = _declare(Unary, np.conjugate, Linear(lambda g, x: _conj_if_complex(g)), None, None)

# --- parts of numbers: the ufuncs with two results are put together in fnp ------------------------
fraction = Unary("fraction", lambda x: np.modf(x)[0], lambda jax, x: jax.numpy.modf(x)[0],
                 ufunc_aval(np.sin), Elementwise(lambda g, y, x: g, keep=""))
mantissa = Unary("mantissa", lambda x: np.frexp(x)[0], lambda jax, x: jax.numpy.frexp(x)[0],
                 ufunc_aval(np.sin), Elementwise(lambda g, y, x: g * (y / _nonzero(x))))
exponent = Unary("exponent", lambda x: np.frexp(x)[1], lambda jax, x: jax.numpy.frexp(x)[1],
                 lambda x: Aval(x.shape, np.dtype(np.intc)), Zero())

# --- piecewise constant --------------------------------------------------------------------------
floor, ceil, rint, trunc = unary(np.floor), unary(np.ceil), unary(np.rint), unary(np.trunc)
sign, signbit, spacing = unary(np.sign), unary(np.signbit), unary(np.spacing)
floor_divide = binary(np.floor_divide)
round_to = Primitive("round", lambda x, decimals: np.round(x, decimals),
                     lambda jax, x, decimals: jax.numpy.round(x, decimals),
                     lambda x, decimals: Aval(x.shape, x.dtype), Zero(), aligned)
isfinite, isinf, isnan = unary(np.isfinite), unary(np.isinf), unary(np.isnan)
greater, greater_equal = binary(np.greater), binary(np.greater_equal)
less, less_equal = binary(np.less), binary(np.less_equal)
equal, not_equal = binary(np.equal), binary(np.not_equal)
logical_and, logical_or = binary(np.logical_and), binary(np.logical_or)
logical_xor, logical_not = binary(np.logical_xor), unary(np.logical_not)
bitwise_and, bitwise_or = binary(np.bitwise_and), binary(np.bitwise_or)
bitwise_xor, invert = binary(np.bitwise_xor), unary(np.invert)
left_shift, right_shift = binary(np.left_shift), binary(np.right_shift)
bitwise_count, gcd, lcm = unary(np.bitwise_count), binary(np.gcd), binary(np.lcm)
# fmt: on


def divmod(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Return quotients rounded down, and remainders: x1 = x2 * quotient + remainder."""
    return floor_divide(x1, x2), remainder(x1, x2)


def modf(x: Any) -> tuple[Any, Any]:
    """Return the parts of x after and before the decimal point."""
    return fraction(x), trunc(x)


def frexp(x: Any) -> tuple[Any, Any]:
    """Return mantissa in [0.5, 1) and integer exponent: x = mantissa * 2**exponent."""
    return mantissa(x), exponent(x)


UFUNCS.update({np.divmod: divmod, np.modf: modf, np.frexp: frexp})
