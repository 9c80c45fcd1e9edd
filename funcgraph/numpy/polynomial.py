"""NumPy's poly functions: coefficients stand highest power first.

Some of NumPy's results are as long as the numbers in them make them (leading zeros are cut off):
`polymul`, `polydiv` and `roots` look at values. May import `core`, `ops`, `numpy.*`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.numpy import linalg
from funcgraph.numpy._register import function, known
from funcgraph.numpy.calculus import convolve
from funcgraph.numpy.creation import as_array, as_dtype, as_floats, vander
from funcgraph.numpy.products import matmul, outer
from funcgraph.numpy.reductions import sum
from funcgraph.ops import elementwise as ew
from funcgraph.ops.structural import (
    cast,
    concatenate,
    expand_dims,
    pad_zeros,
    reshape,
    stack,
)

__all__ = [
    "poly", "polyadd", "polyder", "polydiv", "polyfit", "polyint", "polymul", "polysub", "polyval",
    "roots",
]  # fmt: skip


def _coefficients(p: Any) -> Any:
    x = as_array(p)
    return x if ndim_of(x) else expand_dims(x, (0,))


def _trimmed(p: Any) -> Any:
    """Return p without leading zeros, but at least one coefficient; as it is, if not known."""
    plain = known(p)
    if plain is None:
        return p
    nonzero = np.flatnonzero(plain)
    first = int(nonzero[0]) if len(nonzero) else shape_of(p)[0] - 1
    return p[first:] if first > 0 else p


# --- arithmetic ----------------------------------------------------------------------------------


def _aligned(a1: Any, a2: Any) -> tuple[Any, Any]:
    """Return both polynomials with as many coefficients."""
    a, b = _coefficients(a1), _coefficients(a2)
    missing = shape_of(a)[0] - shape_of(b)[0]
    if missing > 0:
        b = pad_zeros(b, widths=((missing, 0),))
    return (pad_zeros(a, widths=((-missing, 0),)) if missing < 0 else a), b


@function(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    """Return the sum of two polynomials."""
    a, b = _aligned(a1, a2)
    return a + b


@function(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    """Return the difference of two polynomials."""
    a, b = _aligned(a1, a2)
    return a - b


@function(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    """Return the product of two polynomials, whose leading zeros are cut off first."""
    return convolve(_trimmed(_coefficients(a1)), _trimmed(_coefficients(a2)))


@function(np.polydiv)
def polydiv(u: Any, v: Any) -> Any:
    """Return quotient and remainder: u = q v + r; leading coefficients of r near 0 are cut off."""
    u, v = as_floats(_coefficients(u)), as_floats(_coefficients(v))
    dtype = np.result_type(dtype_of(u), dtype_of(v))
    u, v = as_dtype(u, dtype), as_dtype(v, dtype)
    m, n = shape_of(u)[0] - 1, shape_of(v)[0] - 1
    scale = 1.0 / v[0]
    quotient = []
    for k in range(m - n + 1):
        quotient.append(scale * u[k])
        u = u - pad_zeros(quotient[-1] * v, widths=((k, m - n - k),))
    q = stack(*quotient, axis=0) if quotient else np.zeros(1, dtype)
    rest = known(u)
    first = 0
    while rest is not None and first < m and np.allclose(rest[first], 0, rtol=1e-14):
        first += 1
    return q, u[first:]


@function(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Return the value of a polynomial, by Horner's rule: ((p_0 x + p_1) x + ...)."""
    p, x = _coefficients(p), as_array(x)
    y = np.zeros(shape_of(x), dtype_of(x))[()]
    for k in range(shape_of(p)[0]):
        y = y * x + p[k]
    return y


# --- derivatives and antiderivatives -------------------------------------------------------------


def _powers(p: Any) -> Any:
    """Return n, n-1, ..., 1, the exponents of p times x."""
    return np.arange(shape_of(p)[0], 0, -1)


@function(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """Return the m-th derivative of a polynomial."""
    if int(m) < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    p = _coefficients(p)
    for _ in range(int(m)):
        p = p[:-1]
        p = p * _powers(p)
    return p


@function(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """Return the m-th antiderivative of a polynomial, with integration constants k."""
    m = int(m)
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    p, constants = _coefficients(p), _coefficients(np.zeros(max(m, 1)) if k is None else k)
    if shape_of(constants)[0] == 1 and m > 1:
        constants = constants * np.ones(m)
    if shape_of(constants)[0] < m:
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or >m.")
    for j in range(m):
        p = concatenate(p / _powers(p), constants[j : j + 1], axis=0)
    return p


# --- fit -----------------------------------------------------------------------------------------


def _check_fit(x: Any, y: Any, deg: int, w: Any) -> None:
    if deg < 0:
        raise ValueError("expected deg >= 0")
    if ndim_of(x) != 1:
        raise TypeError("expected 1D vector for x")
    if shape_of(x)[0] == 0:
        raise TypeError("expected non-empty vector for x")
    if ndim_of(y) not in (1, 2):
        raise TypeError("expected 1D or 2D array for y")
    if shape_of(x)[0] != shape_of(y)[0]:
        raise TypeError("expected x and y to have same length")
    if w is not None and ndim_of(w) != 1:
        raise TypeError("expected a 1-d array for weights")
    if w is not None and shape_of(w)[0] != shape_of(y)[0]:
        raise TypeError("expected w and y to have the same length")


@function(np.polyfit)
def polyfit(x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, w: Any = None,
            cov: Any = False) -> Any:  # fmt: skip
    """Return the coefficients c that minimise Σ_k w_k² |polyval(c, x_k) - y_k|²."""
    deg = int(deg)
    x, y = as_array(x) + 0.0, as_array(y) + 0.0
    w = None if w is None else as_array(w) + 0.0
    _check_fit(x, y, deg, w)
    if rcond is None:
        rcond = shape_of(x)[0] * np.finfo(dtype_of(x)).eps
    left, right = vander(x, deg + 1), y
    if w is not None:
        left = left * expand_dims(w, (1,))
        right = right * (expand_dims(w, (1,)) if ndim_of(right) == 2 else w)
    scale = ew.sqrt(sum(left * left, 0))
    left = left / scale
    c, residuals, rank, s = linalg.lstsq(left, right, rcond)
    c = (c.T / scale).T
    if full:
        return c, residuals, rank, s, rcond
    if not cov:
        return c
    base = linalg.inv(matmul(left.T, left)) / outer(scale, scale)
    free = shape_of(x)[0] - deg - 1
    if cov == "unscaled":
        factor: Any = 1
    elif free <= 0:
        raise ValueError(
            "the number of data points must exceed order to scale the covariance matrix"
        )
    else:
        factor = residuals / free
    return c, base * factor if ndim_of(y) == 1 else expand_dims(base, (2,)) * factor


# --- roots ---------------------------------------------------------------------------------------


def _are_conjugate(x: Any) -> bool:
    """Return whether numbers are known to come in conjugate pairs (their polynomial is real)."""
    zeros = known(x)
    return zeros is not None and bool(np.all(np.sort(zeros) == np.sort(zeros.conjugate())))


@function(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """Return the monic polynomial with the given roots, or the characteristic one of a matrix."""
    x = _coefficients(seq_of_zeros)
    x = x if dtype_of(x).char in "fdgFDG" else as_dtype(x, np.float64)
    shape = shape_of(x)
    if len(shape) == 2 and shape[0] == shape[1] != 0:
        x = linalg.eigvals(x)
    elif len(shape) != 1:
        raise ValueError("input must be 1d or non-empty square 2d array.")
    number = dtype_of(x).type
    p = np.ones(1, number)
    for k in range(shape_of(x)[0]):
        p = convolve(p, stack(number(1), -x[k], axis=0))
    return ew.real(p) if ew.is_complex(p) and _are_conjugate(x) else p


@function(np.roots)
def roots(p: Any) -> Any:
    """Return the roots of a polynomial: the eigenvalues of its companion matrix, and zeros."""
    p = _coefficients(p)
    if ndim_of(p) != 1:
        raise ValueError("Input must be a rank-1 array.")
    plain = known(p)
    nonzero = np.arange(shape_of(p)[0]) if plain is None else np.flatnonzero(plain)
    if not len(nonzero):
        return np.array([])
    zeros = shape_of(p)[0] - int(nonzero[-1]) - 1
    p = p[int(nonzero[0]) : int(nonzero[-1]) + 1]
    p = p if dtype_of(p).kind in "fc" else cast(p, np.float64)
    n = shape_of(p)[0]
    if n == 1:
        return np.zeros(zeros)
    first = reshape(-p[1:] / p[0], shape=(1, n - 1))
    companion = concatenate(first, np.eye(n - 1, dtype=dtype_of(p))[:-1], axis=0)
    found = linalg.eigvals(companion)
    values = known(found)
    real = values is not None and dtype_of(p).kind == "f" and not np.any(values.imag)
    found = ew.real(found) if real and ew.is_complex(found) else found  # from NumPy 2.5 on
    return concatenate(found, np.zeros(zeros, dtype_of(found)), axis=0) if zeros else found
