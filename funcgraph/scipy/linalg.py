"""The functions of scipy.linalg that have derivatives (extra `scipy`).

On plain arrays SciPy's own run, on JAX arrays JAX's. SciPy is imported when it is first called: on
traced arrays NumPy is enough for all functions but expm and lu. May import `core`, `ops`,
`numpy.*`, SciPy.

Sources: N. Higham, "Functions of Matrices", 2008, eq. (3.16) (exponential: the derivative is a
block of the exponential of a matrix of twice the size); S. Walter and L. Lehmann, "Algorithmic
differentiation of linear algebra functions", 2010 (LU).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, ndim_of, shape_of
from funcgraph.core.primitive import General, Primitive, aligned
from funcgraph.core.trace import unsupported
from funcgraph.numpy import linalg as fla
from funcgraph.numpy._register import function
from funcgraph.numpy.creation import as_array, as_floats
from funcgraph.ops import decompositions as dec
from funcgraph.ops.elementwise import conjugate, is_complex
from funcgraph.ops.indexing import index
from funcgraph.ops.linalg import matmul, matrix_transpose
from funcgraph.ops.structural import cast, concatenate, expand_dims, reshape, where
from funcgraph.ops.triangular import solve_triangular as _solve_triangular
from funcgraph.ops.triangular import triangle as _triangle

__all__ = [
    "block_diag",
    "cho_factor",
    "cho_solve",
    "cholesky",
    "det",
    "eigh",
    "expm",
    "inv",
    "lu",
    "pinv",
    "qr",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "toeplitz",
]


def _scipy(name: str) -> Callable[..., Any]:
    """Return the function of scipy.linalg of this name, which is looked up at each call."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module("scipy.linalg"), name)(*args, **kwargs)

    call.__module__, call.__name__ = "scipy.linalg", name
    return call


def _from_triangle(x: Any, lower: bool, hermitian: bool = True) -> Any:
    """Return the symmetric matrix of which one triangle is given."""
    rest = _triangle(x, lower, -1)
    other = dec.adjoint(rest) if hermitian else matrix_transpose(rest)
    return _triangle(x, lower) + other


_TRIANGLES = ("upper triangular", "lower triangular")
_SYMMETRIC = ("sym", "symmetric")
_HERMITIAN = ("her", "hermitian", "pos", "positive definite")
_BANDS = {"diagonal": 0, "tridiagonal": 1}
_WHOLE = (None, "gen", "general", "banded")


def _as_assumed(a: Any, kind: str | None, lower: bool) -> Any:
    """Return the matrix of which SciPy reads the part that assume_a names."""
    if kind in _TRIANGLES:
        return _triangle(a, kind == "lower triangular")
    if kind in _SYMMETRIC:
        return _from_triangle(a, lower, hermitian=False)
    if kind in _HERMITIAN:
        return dec.hermitian(_from_triangle(a, lower))  # of the diagonal the real part
    if kind in _BANDS:
        n = np.arange(shape_of(a)[-1])
        return where(np.abs(n[:, None] - n) <= _BANDS[kind], a, dtype_of(a).type(0))
    if kind not in _WHOLE:
        known = [*_WHOLE[1:], *_BANDS, *_TRIANGLES, *_SYMMETRIC, *_HERMITIAN]
        raise ValueError(f"assume_a={kind!r} is not a structure of matrices, which are {known}")
    return a


def _columns(b: Any, solve_: Any) -> Any:
    """Solve for a vector or for the columns of a matrix."""
    return solve_(expand_dims(b, (1,)))[..., 0] if ndim_of(b) == 1 else solve_(b)


@function(_scipy("solve"), jax="jax.scipy.linalg.solve")
def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: str | None = None,
    transposed: bool = False,
) -> Any:
    """Return x with a x = b; assume_a says which part of a is read, as in SciPy."""
    a, b = as_array(a), as_array(b)
    a = _as_assumed(a, assume_a, lower)
    a = matrix_transpose(a) if transposed else a
    return _columns(b, lambda c: dec.solve(a, c))


@function(_scipy("solve_triangular"), jax="jax.scipy.linalg.solve_triangular")
def solve_triangular(
    a: Any,
    b: Any,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """Return x with t x = b, tᵀ x = b or tᴴ x = b, where t is a triangle of a."""
    a, b = as_array(a), as_array(b)
    t = a
    if unit_diagonal:
        t = _triangle(a, lower, -1) + np.eye(shape_of(a)[-1], dtype=dtype_of(a))
    t = dec.conjugated(t) if trans in (2, "C") else t
    turned = trans in (1, "T", 2, "C")
    return _columns(b, lambda c: _solve_triangular(t, c, lower=bool(lower), turned=turned))


@function(_scipy("cholesky"), jax="jax.scipy.linalg.cholesky")
def cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    """Return the Cholesky factor of the matrix of which one triangle is given (Murray 2016)."""
    factor = dec.cholesky(_from_triangle(as_array(a), lower))
    return factor if lower else dec.adjoint(factor)


@function(_scipy("cho_factor"), jax="jax.scipy.linalg.cho_factor")
def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    """Return (factor, lower) for cho_solve; the other triangle is zero."""
    return cholesky(a, lower), lower


@function(_scipy("cho_solve"), jax="jax.scipy.linalg.cho_solve")
def cho_solve(
    c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    """Return x with a x = b, where a is given by its Cholesky factor."""
    factor, lower = c_and_lower
    t = as_array(factor)
    conjugate = dec.conjugated(t)
    first, second = (t, conjugate) if lower else (conjugate, t)

    def solution(c: Any) -> Any:
        x = _solve_triangular(first, c, lower=bool(lower), turned=not lower)
        return _solve_triangular(second, x, lower=bool(lower), turned=bool(lower))

    return _columns(as_array(b), solution)


# --- exponential ---------------------------------------------------------------------------------


def _expm_change(a: Any, direction: Any) -> Any:
    """Return the derivative of expm at a: the corner of expm([[a, direction], [0, a]])."""
    n, last = shape_of(a)[-1], ndim_of(a) - 1
    top = concatenate(a, direction, axis=last)
    bottom = concatenate(np.zeros(shape_of(a), dtype_of(a)), a, axis=last)
    whole = expm_values(concatenate(top, bottom, axis=last - 1))
    return index(whole, (..., slice(0, n), slice(n, None)))


expm_values = Primitive(
    "expm",
    _scipy("expm"),
    "jax.scipy.linalg.expm",
    lambda a: Aval(a.shape, a.dtype),
    General(
        lambda t, y, a: _expm_change(a, t[0]),
        lambda g, y, a: (_expm_change(matrix_transpose(a), g),),
    ),
    aligned,
)


@function(_scipy("expm"), jax="jax.scipy.linalg.expm")
def expm(A: Any) -> Any:
    """Return the matrix exponential: Σ Aᵏ / k!."""
    return expm_values(as_array(A))


# --- factorisations ------------------------------------------------------------------------------


def _lu_jvp(t: Any, y: Any, a: Any) -> Any:
    p, lower, upper = y
    m = _solve_triangular(lower, matmul(matrix_transpose(p), t[0]), lower=True)
    m = _solve_triangular(upper, m, lower=False, right=True)
    return None, matmul(lower, _triangle(m, True, -1)), matmul(_triangle(m, False), upper)


def _aval_lu(a: Aval) -> tuple[Aval, Aval, Aval]:
    same = Aval(a.shape, a.dtype)
    return Aval(a.shape, np.zeros(0, a.dtype).real.dtype), same, same


def _np_lu(a: Any) -> tuple[Any, ...]:
    if not a.size:  # SciPy forgets the shape
        return a.real, a, a
    return tuple(_scipy("lu")(a))


# Of square matrices.
lu_factors = Primitive(
    "lu",
    _np_lu,
    lambda jax, a: tuple(jax.scipy.linalg.lu(a)),
    _aval_lu,
    General(_lu_jvp),
    aligned,
    many=True,
)


@function(_scipy("lu"), jax="jax.scipy.linalg.lu")
def lu(
    a: Any,
    permute_l: bool = False,
    overwrite_a: bool = False,
    check_finite: bool = True,
    p_indices: bool = False,
) -> Any:
    """Return permutation, lower and upper factor of a square matrix: a = p l u."""
    a = as_floats(a)
    if shape_of(a)[-1] != shape_of(a)[-2]:
        why = "of a matrix that is not square is not supported on traced arrays"
        unsupported(_scipy("lu"), why)
    p, lower, upper = lu_factors(a)
    if permute_l:
        return matmul(p, lower), upper
    return (np.argmax(p, axis=-1).astype(np.int32) if p_indices else p), lower, upper


@function(_scipy("qr"), jax="jax.scipy.linalg.qr")
def qr(
    a: Any,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> Any:
    """Return the QR factorisation; modes economic and r, and full of matrices that are not tall."""
    if mode not in ("full", "r", "economic", "raw"):
        raise ValueError(f"mode={mode!r} of qr is none of 'full', 'r', 'economic', 'raw'")
    if pivoting or mode == "raw":
        unsupported(_scipy("qr"), "with pivoting or mode='raw' is not supported on traced arrays")
    if mode != "r":
        return tuple(fla.qr(a, mode="complete" if mode == "full" else "reduced"))
    r = fla.qr(a, mode="r")
    *batch, m, n = shape_of(a)
    if m <= n:
        return (r,)
    return (concatenate(r, np.zeros((*batch, m - n, n), dtype_of(r)), axis=len(batch)),)


@function(_scipy("svd"), jax="jax.scipy.linalg.svd")
def svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    """Return the singular value decomposition."""
    out = fla.svd(a, full_matrices, compute_uv)
    return tuple(out) if compute_uv else out


@function(_scipy("svdvals"), jax="jax.numpy.linalg.svdvals")
def svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """Return the singular values."""
    return fla.svdvals(as_array(a))


@function(_scipy("eigh"), jax="jax.scipy.linalg.eigh")
def eigh(
    a: Any,
    b: Any = None,
    *,
    lower: bool = True,
    eigvals_only: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    type: int = 1,
    check_finite: bool = True,
    subset_by_index: Any = None,
    subset_by_value: Any = None,
    driver: str | None = None,
) -> Any:
    """Return eigenvalues and eigenvectors of the matrix of which one triangle is given."""
    if not (b is subset_by_index is subset_by_value is None):
        unsupported(_scipy("eigh"), "with b= or a subset is not supported on traced arrays")
    w, v = dec.eigh(_from_triangle(as_array(a), lower))
    return w if eigvals_only else (w, v)


@function(_scipy("inv"), jax="jax.scipy.linalg.inv")
def inv(
    a: Any,
    overwrite_a: bool = False,
    check_finite: bool = True,
    *,
    assume_a: str | None = None,
    lower: bool = False,
) -> Any:
    """Return the inverse; assume_a says which part of a is read, as in SciPy."""
    return fla.inv(_as_assumed(as_array(a), assume_a, lower))


@function(_scipy("det"), jax="jax.scipy.linalg.det")
def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """Return the determinant, in double precision as SciPy."""
    x = as_array(a)
    return fla.det(cast(x, np.result_type(dtype_of(x), np.float64)))


@function(_scipy("pinv"), jax="jax.numpy.linalg.pinv")
def pinv(
    a: Any,
    *,
    atol: Any = None,
    rtol: Any = None,
    return_rank: bool = False,
    check_finite: bool = True,
) -> Any:
    """Return the Moore-Penrose pseudo-inverse (Golub and Pereyra 1973)."""
    if atol is not None or return_rank:
        unsupported(
            _scipy("pinv"), "with atol= or return_rank=True is not supported on traced arrays"
        )
    x = as_floats(a)
    default = max(shape_of(x)[-2:]) * float(np.finfo(dtype_of(x)).eps)
    return dec.pinv(x, rcond=default if rtol is None else rtol, hermitian=False)


# --- special matrices ----------------------------------------------------------------------------


@function(_scipy("toeplitz"), jax="jax.scipy.linalg.toeplitz")
def toeplitz(c: Any, r: Any = None) -> Any:
    """Return matrices with first columns c and first rows r: y[i, j] = c_{i-j} or r_{j-i}."""
    c = as_array(c)
    r = (conjugate(c) if is_complex(c) else c) if r is None else as_array(r)
    c, r = (reshape(x, shape=(-1,)) if ndim_of(x) == 0 else x for x in (c, r))
    n, m = shape_of(c)[-1], shape_of(r)[-1]
    batch = np.broadcast_shapes(shape_of(c)[:-1], shape_of(r)[:-1])
    c, r = np.broadcast_to(c[..., ::-1], (*batch, n)), np.broadcast_to(r[..., 1:], (*batch, m - 1))
    values = concatenate(c, r, axis=len(batch))
    return index(values, (..., n - 1 - np.arange(n)[:, None] + np.arange(m)))


@function(_scipy("block_diag"), jax="jax.scipy.linalg.block_diag")
def block_diag(*arrs: Any) -> Any:
    """Return the matrix with the given blocks on its diagonal, zeros elsewhere."""
    blocks = [as_array(a) for a in arrs]
    blocks = [reshape(b, shape=(1,) * (2 - ndim_of(b)) + shape_of(b)) for b in blocks]
    columns = [shape_of(b)[1] for b in blocks]
    rows = []
    for k, b in enumerate(blocks):
        n = shape_of(b)[0]
        before, after = np.zeros((n, sum(columns[:k]))), np.zeros((n, sum(columns[k + 1 :])))
        rows.append(concatenate(before.astype(dtype_of(b)), b, after.astype(dtype_of(b)), axis=1))
    return concatenate(*rows, axis=0)
