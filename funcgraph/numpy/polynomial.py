"""NumPy's poly functions, highest power first. May import `core`, `ops`, `numpy.*`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.numpy import linalg
from funcgraph.numpy._register import concrete, function
from funcgraph.numpy.calculus import convolve
from funcgraph.numpy.creation import as_array, vander
from funcgraph.numpy.products import matmul
from funcgraph.numpy.reductions import sum
from funcgraph.ops import elementwise as ew
from funcgraph.ops.structural import concatenate, expand_dims, pad_zeros, reshape, stack

__all__ = [
    "poly", "polyadd", "polyder", "polydiv", "polyfit", "polyint", "polymul", "polysub", "polyval",
    "roots",
]  # fmt: skip


def _coefficients(p: Any) -> Any:
    x = as_array(p)
    return x if ndim_of(x) else expand_dims(x, (0,))


def _padded(p: Any, n: int) -> Any:
    missing = n - shape_of(p)[0]
    return pad_zeros(p, widths=((missing, 0),)) if missing else p


def _aligned(a1: Any, a2: Any) -> tuple[Any, Any]:
    a, b = _coefficients(a1), _coefficients(a2)
    n = max(shape_of(a)[0], shape_of(b)[0])
    return _padded(a, n), _padded(b, n)


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
    """Return the product of two polynomials."""
    return convolve(_coefficients(a1), _coefficients(a2))


@function(np.polydiv)
def polydiv(u: Any, v: Any) -> Any:
    """Return quotient and remainder of two polynomials."""
    u, v = _coefficients(u) + 0.0, _coefficients(v) + 0.0
    m, n = shape_of(u)[0] - 1, shape_of(v)[0] - 1
    quotient = []
    for k in range(max(m - n + 1, 0)):
        d = u[k] / v[0]
        quotient.append(d)
        u = u - pad_zeros(d * v, widths=((k, m - n - k),))
    q = stack(*quotient, axis=0) if quotient else np.zeros(1, dtype_of(u))
    plain = concrete(u)
    first = 0
    while first < m and np.allclose(plain[first], 0, rtol=1e-14):
        first += 1
    return q, u[first:]


@function(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Return the value of a polynomial, by Horner's rule: ((p_0 x + p_1) x + ...)."""
    p, x = _coefficients(p), as_array(x)
    y = x * 0
    for k in range(shape_of(p)[0]):
        y = y * x + p[k]
    return y


@function(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """Return the m-th derivative of a polynomial."""
    p = _coefficients(p)
    for _ in range(m):
        n = shape_of(p)[0] - 1
        p = p[:-1] * np.arange(n, 0, -1).astype(dtype_of(p))
    return p


@function(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """Return the m-th antiderivative of a polynomial, with integration constants k."""
    p = _coefficients(p)
    constants = np.zeros(m, dtype_of(p)) if k is None else _coefficients(k)
    if k is not None and shape_of(constants)[0] == 1 and m > 1:
        constants = constants * np.ones(m, dtype_of(p))
    for j in range(m):
        n = shape_of(p)[0]
        head = p / np.arange(n, 0, -1).astype(dtype_of(p))
        p = concatenate(head, reshape(constants[j], shape=(1,)), axis=0)
    return p


@function(np.polyfit)
def polyfit(x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, w: Any = None,
            cov: Any = False) -> Any:  # fmt: skip
    """Return the coefficients of the least-squares polynomial of degree deg."""
    x, y = as_array(x) + 0.0, as_array(y) + 0.0
    if rcond is None:
        rcond = shape_of(x)[0] * float(np.finfo(dtype_of(x)).eps)
    left, right = vander(x, deg + 1), y
    if w is not None:
        w = as_array(w)
        left = left * w[:, None]
        right = right * (w[:, None] if ndim_of(right) == 2 else w)
    scale = ew.sqrt(sum(left * left, 0))
    c, residuals, rank, s = linalg.lstsq(left / scale, right, rcond)
    c = (c.T / scale).T
    if full:
        return c, residuals, rank, s, rcond
    if not cov:
        return c
    base = linalg.inv(matmul(left.T, left))
    if cov == "unscaled":
        return c, base
    factor = residuals / (shape_of(x)[0] - deg - 1)
    return c, base * factor if ndim_of(y) == 1 else base[:, :, None] * factor


@function(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """Return the polynomial with the given roots, or the characteristic one of a matrix."""
    x = as_array(seq_of_zeros)
    if ndim_of(x) == 2:
        x = linalg.eigvals(x)
    x = x if ndim_of(x) else expand_dims(x, (0,))
    p = np.ones(1, dtype_of(x))
    for k in range(shape_of(x)[0]):
        p = convolve(p, stack(dtype_of(x).type(1), -x[k], axis=0))
    if ew.is_complex(p):
        zeros = concrete(x)
        if np.array_equal(np.sort(zeros), np.sort(zeros.conjugate())):
            return ew.real(p)
    return p


@function(np.roots)
def roots(p: Any) -> Any:
    """Return the roots of a polynomial: eigenvalues of its companion matrix."""
    p = _coefficients(p)
    nonzero = np.nonzero(np.ravel(concrete(p)))[0]
    if not len(nonzero):
        return np.zeros(0)
    trailing = shape_of(p)[0] - nonzero[-1] - 1
    p = p[int(nonzero[0]) : int(nonzero[-1]) + 1]
    n = shape_of(p)[0]
    if n == 1:
        return np.zeros(trailing, dtype_of(p))
    first = reshape(-p[1:] / p[0], shape=(1, -1))
    companion = concatenate(first, np.eye(n - 1, dtype=dtype_of(p))[:-1], axis=0)
    found = linalg.eigvals(companion)
    return concatenate(found, np.zeros(trailing, dtype_of(found)), axis=0) if trailing else found
