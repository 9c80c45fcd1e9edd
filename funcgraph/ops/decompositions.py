"""Solutions, inverses, determinants and factorisations of matrices, in stacks.

Each derivative is a tangent rule; reverse mode transposes it. Rules divide by differences of
eigenvalues or singular values, and are infinite where these coincide: what V f(w) V^H does there
depends on f', which no rule sees. Functions of the values alone, and of the vectors of other
values, have their derivatives all the same. May import `core`, `ops`.

Sources: M. Giles, "Collected matrix derivative results", 2008; I. Murray, "Differentiation of the
Cholesky decomposition", arXiv:1602.07527; S. Walter and L. Lehmann, "Algorithmic differentiation of
linear algebra functions", 2010 (QR); J. Townsend, "Differentiating the singular value
decomposition", 2016; G. Golub and V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413 (pseudo-inverse).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, promote, shape_of
from funcgraph.core.primitive import General, Primitive, aligned
from funcgraph.errors import ShapeError
from funcgraph.ops.elementwise import (
    absolute,
    conjugate,
    equal,
    imag,
    is_complex,
    less_equal,
    real,
    real_dtype,
)
from funcgraph.ops.linalg import einsum, matmul, matrix_transpose
from funcgraph.ops.structural import cast, expand_dims, where
from funcgraph.ops.triangular import solve_triangular

__all__ = [
    "adjoint",
    "cholesky",
    "cofactor",
    "det",
    "eig",
    "eigh",
    "inv",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
]


def conjugated(x: Any) -> Any:
    """Return the conjugate of complex numbers, and real ones as they are."""
    return conjugate(x) if is_complex(x) else x


def adjoint(x: Any) -> Any:
    """Return the conjugate transpose of matrices."""
    return matrix_transpose(conjugated(x))


def hermitian(x: Any) -> Any:
    """Return the Hermitian part of matrices."""
    return (x + adjoint(x)) * 0.5


def diagonal(x: Any) -> Any:
    """Return the diagonals of square matrices."""
    k = np.arange(shape_of(x)[-1])
    return x[..., k, k]


def row(x: Any) -> Any:
    """Make vectors into rows: multiplies columns."""
    return expand_dims(x, (len(shape_of(x)) - 1,))


def _trace_product(a: Any, b: Any) -> Any:
    return einsum("...ij,...ji->...", a, b)


def _eye(x: Any) -> Any:
    return np.eye(shape_of(x)[-1], dtype=dtype_of(x))


def _reciprocal(x: Any) -> Any:
    """Return 1/x, and inf where x is 0 (without a warning)."""
    zero = equal(x, 0)
    return where(zero, np.inf, 1 / where(zero, 1, x))


def _gaps(w: Any) -> Any:
    """Return the matrix 1/(w_j - w_i): inf for values equal up to rounding, 0 on the diagonal."""
    a, b = row(w), expand_dims(w, (len(shape_of(w)),))
    close = 16 * float(np.finfo(dtype_of(w)).eps)
    equal_values = less_equal(absolute(a - b), close * (absolute(a) + absolute(b)))
    gaps = _reciprocal(where(equal_values, 0, a - b))
    return where(np.eye(shape_of(w)[-1], dtype=bool), 0, gaps)


def _square(x: Aval) -> Aval:
    return Aval(x.shape, x.dtype)


# --- solve, inverse, determinant ------------------------------------------------------------------


def _solve_jvp(tangents: Any, y: Any, a: Any, b: Any) -> Any:
    ta, tb = tangents
    right = tb
    if ta is not None:
        right = -matmul(ta, y) if tb is None else tb - matmul(ta, y)
    return solve(a, right)


def _solve_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    gb = solve(matrix_transpose(a), g)
    return -matmul(gb, matrix_transpose(y)), gb


def _aval_solve(a: Aval, b: Aval) -> Aval:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"solve: a matrix of shape {a.shape} does not fit a right-hand side of shape {b.shape}."
        )
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return Aval((*batch, *b.shape[-2:]), promote(a, b))


solve = Primitive(
    "solve",
    np.linalg.solve,
    "jax.numpy.linalg.solve",
    _aval_solve,
    General(_solve_jvp, _solve_vjp),
    aligned,
)


def _inv_vjp(g: Any, y: Any, a: Any) -> Any:
    t = matrix_transpose(y)
    return (-matmul(matmul(t, g), t),)


inv = Primitive(
    "inv",
    np.linalg.inv,
    "jax.numpy.linalg.inv",
    _square,
    General(lambda t, y, a: -matmul(matmul(y, t[0]), y), _inv_vjp),
    aligned,
)


def _np_cofactor(a: Any) -> Any:
    """Return det(a) inv(a).T through the singular values, so that singular matrices have one."""
    u, s, vh = np.linalg.svd(a)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1).astype(a.dtype)
    phase = np.linalg.det(u) * np.linalg.det(vh)
    adjugate = (np.conj(np.swapaxes(vh, -1, -2)) * others[..., None, :]) @ np.conj(
        np.swapaxes(u, -1, -2)
    )
    return np.swapaxes(phase[..., None, None] * adjugate, -1, -2).astype(a.dtype)


def _cofactor_jvp(t: Any, y: Any, a: Any) -> Any:
    z = inv(a)
    change = expand_dims(expand_dims(_trace_product(z, t[0]), (y.ndim - 2,)), (y.ndim - 1,)) * y
    return change - matmul(y, matrix_transpose(matmul(z, t[0])))


def _jax_cofactor(jax: Any, a: Any) -> Any:
    y, pullback = jax.vjp(jax.numpy.linalg.det, a)  # finite where a is singular
    return pullback(jax.numpy.ones_like(y))[0]


cofactor = Primitive(
    "cofactor", _np_cofactor, _jax_cofactor, _square, General(_cofactor_jvp, None), aligned
)


def _per_matrix(g: Any) -> Any:
    n = len(shape_of(g))
    return expand_dims(g, (n, n + 1))


det = Primitive(
    "det",
    np.linalg.det,
    "jax.numpy.linalg.det",
    lambda a: Aval(a.shape[:-2], a.dtype),
    General(
        lambda t, y, a: einsum("...ij,...ij->...", cofactor(a), t[0]),
        lambda g, y, a: (_per_matrix(g) * cofactor(a),),
    ),
    aligned,
)


def _slogdet_jvp(t: Any, y: Any, a: Any) -> Any:
    change = _trace_product(inv(a), t[0])
    if not is_complex(a):
        return None, change
    return y[0] * (1j * imag(change)), real(change)


def _slogdet_vjp(g: Any, y: Any, a: Any) -> tuple[Any]:
    sign, change = g
    if is_complex(a):  # the sign turns with the imaginary part
        change = change - 1j * real(sign * y[0] * 1j)
    return (_per_matrix(change) * matrix_transpose(inv(a)),)


def _slogdet_aval(a: Aval) -> tuple[Aval, Aval]:
    return Aval(a.shape[:-2], a.dtype), Aval(a.shape[:-2], real_dtype(a.dtype))


slogdet = Primitive(
    "slogdet",
    lambda a: tuple(np.linalg.slogdet(a)),
    lambda jax, a: tuple(jax.numpy.linalg.slogdet(a)),
    _slogdet_aval,
    General(_slogdet_jvp, _slogdet_vjp),
    aligned,
    many=True,
)


def _pinv_jvp(t: Any, y: Any, a: Any, rcond: Any, hermitian: bool) -> Any:
    t = t[0]
    th, yh = adjoint(t), adjoint(y)
    left = _eye(matmul(a, y)) - matmul(a, y)
    right = _eye(matmul(y, a)) - matmul(y, a)
    first = -matmul(matmul(y, t), y)
    return (
        first + matmul(matmul(matmul(y, yh), th), left) + matmul(matmul(matmul(right, th), yh), y)
    )


pinv = Primitive(
    "pinv",
    lambda a, rcond, hermitian: np.linalg.pinv(a, rcond, hermitian),
    lambda jax, a, rcond, hermitian: jax.numpy.linalg.pinv(a, rcond, hermitian),
    lambda a, rcond, hermitian: Aval((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype),
    General(_pinv_jvp, None),
    aligned,
)

# --- factorisations -------------------------------------------------------------------------------


def _half_lower(x: Any) -> Any:
    n = shape_of(x)[-1]
    mask = np.tril(np.ones((n, n), real_dtype(dtype_of(x))), -1)
    return x * (mask + np.eye(n, dtype=mask.dtype) * mask.dtype.type(0.5))


def _cholesky_jvp(t: Any, y: Any, a: Any) -> Any:
    half = solve_triangular(y, hermitian(t[0]), lower=True)
    middle = solve_triangular(conjugated(y), half, lower=True, turned=True, right=True)
    return matmul(y, _half_lower(middle))


cholesky = Primitive(
    "cholesky",
    lambda a: np.linalg.cholesky(hermitian(a)),
    "jax.numpy.linalg.cholesky",
    _square,
    General(_cholesky_jvp, None),
    aligned,
)


def _eigh_jvp(t: Any, y: Any, a: Any) -> Any:
    w, v = y
    m = matmul(matmul(adjoint(v), hermitian(t[0])), v)
    tw = real(diagonal(m)) if is_complex(m) else diagonal(m)
    return tw, matmul(v, _gaps(w) * m)


eigh = Primitive(
    "eigh",
    lambda a: tuple(np.linalg.eigh(hermitian(a))),
    lambda jax, a: tuple(jax.numpy.linalg.eigh(a)),
    lambda a: (Aval(a.shape[:-1], real_dtype(a.dtype)), _square(a)),
    General(_eigh_jvp, None),
    aligned,
    many=True,
)


def _complex_dtype(dtype: Any) -> Any:
    return np.result_type(dtype, np.complex64)


def _eig_jvp(t: Any, y: Any, a: Any) -> Any:
    w, v = y
    m = solve(v, matmul(cast(t[0], dtype_of(v)), v))
    tv = matmul(v, _gaps(w) * m)
    # Eigenvectors have norm 1: no change along themselves.
    along = real(einsum("...ij,...ij->...j", conjugate(v), tv))
    return diagonal(m), tv - v * row(along)


def _np_eig(a: Any) -> Any:
    w, v = np.linalg.eig(a)
    dtype = _complex_dtype(a.dtype)
    return w.astype(dtype), v.astype(dtype)


eig = Primitive(
    "eig",
    _np_eig,
    lambda jax, a: tuple(jax.numpy.linalg.eig(a)),
    lambda a: (
        Aval(a.shape[:-1], _complex_dtype(a.dtype)),
        Aval(a.shape, _complex_dtype(a.dtype)),
    ),
    General(_eig_jvp, None),
    aligned,
    many=True,
)


def _qr_jvp(t: Any, y: Any, a: Any) -> Any:
    q, r = y
    x = solve_triangular(r, t[0], lower=False, right=True)
    c = matmul(adjoint(q), x)
    n = shape_of(c)[-1]
    lower = c * np.tril(np.ones((n, n), real_dtype(dtype_of(c))), -1)
    rotation = lower - adjoint(lower)
    if is_complex(c):
        rotation = rotation + (1j * imag(c)) * np.eye(n, dtype=real_dtype(dtype_of(c)))
    return matmul(q, rotation - c) + x, matmul(c - rotation, r)


# Of matrices with at least as many rows as columns.
qr = Primitive(
    "qr",
    lambda a: tuple(np.linalg.qr(a)),
    lambda jax, a: tuple(jax.numpy.linalg.qr(a)),
    lambda a: (_square(a), Aval((*a.shape[:-2], a.shape[-1], a.shape[-1]), a.dtype)),
    General(_qr_jvp, None),
    aligned,
    many=True,
)


def _svd_jvp(t: Any, y: Any, a: Any) -> Any:
    u, s, vh = y
    t = t[0]
    v, uh = adjoint(vh), adjoint(u)
    p = matmul(matmul(uh, t), v)
    ts = real(diagonal(p)) if is_complex(p) else diagonal(p)
    sr, f, inverse = row(s), _gaps(s * s), _reciprocal(s)
    sc = matrix_transpose(sr)
    tu = matmul(u, f * (p * sr + sc * adjoint(p)))
    tv = matmul(v, f * (sc * p + adjoint(p) * sr))
    if is_complex(p):
        tu = tu + u * row(1j * imag(diagonal(p)) * inverse)
    m, n = shape_of(t)[-2:]
    if m > n:
        rest = matmul(t, v)
        tu = tu + (rest - matmul(u, matmul(uh, rest))) * row(inverse)
    if n > m:
        rest = matmul(adjoint(t), u)
        tv = tv + (rest - matmul(v, matmul(vh, rest))) * row(inverse)
    return tu, ts, adjoint(tv)


def _svd_aval(a: Aval) -> tuple[Aval, Aval, Aval]:
    *batch, m, n = a.shape
    k = min(m, n)
    return (
        Aval((*batch, m, k), a.dtype),
        Aval((*batch, k), real_dtype(a.dtype)),
        Aval((*batch, k, n), a.dtype),
    )


svd = Primitive(
    "svd",
    lambda a: tuple(np.linalg.svd(a, full_matrices=False)),
    lambda jax, a: tuple(jax.numpy.linalg.svd(a, full_matrices=False)),
    _svd_aval,
    General(_svd_jvp, None),
    aligned,
    many=True,
)
