"""Samples of the primitives of ops.elementwise and ops.special."""

from __future__ import annotations

import numpy as np

from tests.conformance.spec import Sample

X = np.array([0.3, -1.2, 2.5])
P = np.array([0.4, 1.3, 2.7])  # positive
U = np.array([0.3, -0.6, 0.9])  # inside (-1, 1)
COLUMN = np.array([[1.7], [-0.8]])
Z = np.array([0.6 - 0.3j, -1.1 + 0.4j])
W = np.array([[0.2 + 1.3j], [1.4 + 0.7j]])
I, J = np.array([6, 3, 12]), np.array([2, 5, 1])
SPECIAL = np.array([0.0, np.inf, np.nan, 1.5])


def real(*arrays: np.ndarray) -> list[Sample]:
    return [Sample((x,)) for x in (*arrays, arrays[0][0])]


def both(*arrays: np.ndarray) -> list[Sample]:
    """Return samples of a function of real and complex numbers."""
    return [*real(*arrays), Sample((Z,))]


def pairs(a: np.ndarray = X, b: np.ndarray = COLUMN) -> list[Sample]:
    """Return samples of two arguments: broadcast, equal in shape, with a constant scalar."""
    return [Sample((a, b)), Sample((a, np.roll(a, 1))), Sample((b, 1.9)), Sample((0.7, a))]


def constant(*args: tuple) -> list[Sample]:
    return [Sample(a, diff=()) for a in args]


COMPLEX_PAIR = [Sample((Z, W)), Sample((Z, X[:2]))]
COMPARED = constant((X, COLUMN), (X, X), (I, 3), (SPECIAL, 0.0))
BITS = constant((I, J), (I > 5, J > 3))

SAMPLES: dict[str, list[Sample]] = {
    "add": [*pairs(), *COMPLEX_PAIR],
    "subtract": [*pairs(), *COMPLEX_PAIR],
    "multiply": [*pairs(), *COMPLEX_PAIR],
    "divide": [*pairs(), *COMPLEX_PAIR],
    "negative": both(X),
    "positive": both(X),
    "reciprocal": both(X),
    "square": both(X),
    "sqrt": both(P),
    "cbrt": real(X),
    "power": [
        *pairs(P, abs(COLUMN)),
        Sample((X, 3)),
        Sample((X, 0)),
        Sample((X, -2.0)),
        Sample((X, np.array([[0.0], [1.0], [2.0]])), diff=(0,)),
        Sample((P, np.array([[0.0], [1.0], [2.0]]))),
        Sample((np.array([0.0, 1.0, -2.0]), np.array([[1.0], [2.0], [3.0]])), diff=(0,)),
        *COMPLEX_PAIR,
    ],
    "float_power": [*pairs(P, abs(COLUMN)), Sample((X, np.array([2, 3, 1])))],
    "remainder": [*pairs(P, COLUMN), Sample((X, 0.7))],
    "fmod": [*pairs(P, COLUMN), Sample((X, 0.7))],
    "hypot": pairs(),
    "deg2rad": real(X),
    "rad2deg": real(X),
    "radians": real(X),
    "degrees": real(X),
    "ldexp": [Sample((X, 3)), Sample((X, J))],
    "exp": both(X),
    "exp2": [*real(X), Sample((Z,), jax=False)],
    "expm1": both(X),
    "log": both(P),
    "log2": both(P),
    "log10": both(P),
    "log1p": both(P),
    "logaddexp": [*pairs(), Sample((X, np.array([-np.inf, -40.0, 3.0])), diff=(0,))],
    "logaddexp2": pairs(),
    "sin": both(X),
    "cos": both(X),
    "tan": both(X),
    "arcsin": both(U),
    "arccos": both(U),
    "arctan": both(X),
    "arctan2": pairs(),
    "sinh": both(X),
    "cosh": both(X),
    "tanh": both(X),
    "arcsinh": both(X),
    "arccosh": [*real(P + 1), Sample((Z[:1],))],
    "arctanh": both(U),
    "maximum": pairs(),
    "minimum": pairs(),
    "fmax": [*pairs(), Sample((X, np.array([np.nan, -3.0, 4.0])), diff=(0,))],
    "fmin": [*pairs(), Sample((X, np.array([np.nan, -3.0, 4.0])), diff=(0,))],
    "absolute": both(X),
    "fabs": real(X),
    "copysign": [Sample((X, COLUMN), diff=(0,)), Sample((X, -1.0))],
    "heaviside": [Sample((np.zeros(3), X), diff=(1,)), Sample((X, COLUMN))],
    "nextafter": [Sample((X, np.inf), diff=(0,), order=1, jax=False, tol=1e-5)],
    "real": both(X),
    "imag": both(X),
    "conjugate": both(X),
    "fraction": real(X),
    "mantissa": real(X),
    "exponent": constant((X,)),
    "floor": constant((X,)),
    "ceil": constant((X,)),
    "rint": constant((X,), (Z * 3,)),
    "trunc": constant((X,)),
    "round": [Sample((X,), {"decimals": d}, diff=()) for d in (0, 1, -1)],
    "sign": constant((X,), (Z,)),
    "signbit": constant((X,), (np.array([0.0, -0.0]),)),
    "spacing": constant((X,)),
    "floor_divide": constant((X, COLUMN), (I, J)),
    "isfinite": constant((SPECIAL,), (Z,)),
    "isinf": constant((SPECIAL,)),
    "isnan": constant((SPECIAL,)),
    "greater": COMPARED,
    "greater_equal": COMPARED,
    "less": COMPARED,
    "less_equal": COMPARED,
    "equal": [*COMPARED, *constant((Z, W))],
    "not_equal": [*COMPARED, *constant((Z, W))],
    "logical_and": constant((X, 0.0), (I > 5, J > 3)),
    "logical_or": constant((X, 0.0), (I > 5, J > 3)),
    "logical_xor": constant((X, 0.0), (I > 5, J > 3)),
    "logical_not": constant((X,), (I > 5,)),
    "bitwise_and": BITS,
    "bitwise_or": BITS,
    "bitwise_xor": BITS,
    "invert": constant((I,), (I > 5,)),
    "left_shift": constant((I, J)),
    "right_shift": constant((I, J)),
    "bitwise_count": constant((I,)),
    "gcd": constant((I, J)),
    "lcm": constant((I, J)),
    "sinc": [
        *(Sample((np.array([0.0, 1e-3, 0.3, -1.2, 4.7]),), {"order": n}) for n in range(4)),
        Sample((Z,), {"order": 0}),
    ],
    "bessel_i0": real(X, 8 * X),
    "bessel_i1": real(X, np.array([0.0, 0.5, -7.0])),
}
