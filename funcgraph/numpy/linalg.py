"""The functions of numpy.linalg. May import `core`, `ops`, `numpy.creation`, `numpy.products`."""

from __future__ import annotations

from collections import namedtuple
from functools import reduce
from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.trace import unsupported
from funcgraph.numpy import matrices, products
from funcgraph.numpy._register import function, known, non_differentiable
from funcgraph.numpy.creation import as_array, as_floats
from funcgraph.numpy.reductions import max, min, sum
from funcgraph.ops import decompositions as dec
from funcgraph.ops import elementwise as ew
from funcgraph.ops.linalg import matmul
from funcgraph.ops.linalg import matrix_transpose as swap_last
from funcgraph.ops.reductions import reduce_any
from funcgraph.ops.structural import (
    concatenate,
    expand_dims,
    moved,
    normalize_axes,
    reshape,
    transpose,
    where,
)

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals",
    "eigvalsh", "inv", "lstsq", "matmul", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "svd",
    "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vecdot", "vector_norm",
]  # fmt: skip

LinAlgError = np.linalg.LinAlgError
_UNSET: Any = np._NoValue  # type: ignore[attr-defined]
matrix_rank = non_differentiable(np.linalg.matrix_rank)

EighResult = namedtuple("EighResult", "eigenvalues eigenvectors")
EigResult = namedtuple("EigResult", "eigenvalues eigenvectors")
QRResult = namedtuple("QRResult", "Q R")
SVDResult = namedtuple("SVDResult", "U S Vh")
SlogdetResult = namedtuple("SlogdetResult", "sign logabsdet")


def _square(a: Any, read: Any = as_floats) -> Any:
    x = read(a)
    if ndim_of(x) < 2 or shape_of(x)[-1] != shape_of(x)[-2]:
        raise LinAlgError(f"the last 2 dimensions must be square, got shape {shape_of(x)}")
    return x


# --- products ------------------------------------------------------------------------------------

cross = function(np.linalg.cross)(lambda x1, x2, /, *, axis=-1: products.cross(x1, x2, axis=axis))
outer = function(np.linalg.outer)(lambda x1, x2, /: products.outer(x1, x2))
tensordot = function(np.linalg.tensordot)(
    lambda x1, x2, /, *, axes=2: products.tensordot(x1, x2, axes)
)
vecdot = function(np.linalg.vecdot)(
    lambda x1, x2, /, *, axis=-1: products.vecdot(x1, x2, axis=axis)
)
diagonal = function(np.linalg.diagonal)(
    lambda x, /, *, offset=0: matrices.diagonal(x, offset, -2, -1)
)
trace = function(np.linalg.trace)(
    lambda x, /, *, offset=0, dtype=None: products.trace(x, offset, -2, -1, dtype)
)
function(np.linalg.matmul)(lambda x1, x2, /: matmul(as_array(x1), as_array(x2)))


@function(np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """Swap the last two axes."""
    return swap_last(as_array(x))


@function(np.linalg.multi_dot)
def multi_dot(arrays: Any) -> Any:
    """Return the product of several matrices, in the cheapest order."""
    items = [as_array(a) for a in arrays]
    if len(items) < 3:
        return reduce(products.dot, items)
    letters = [chr(97 + k) for k in range(len(items) + 1)]
    terms = [letters[k] + letters[k + 1] for k in range(len(items))]
    if ndim_of(items[0]) == 1:
        terms[0] = letters[1]
    if ndim_of(items[-1]) == 1:
        terms[-1] = letters[-2]
    ends = terms[0][:-1] + terms[-1][1:]
    return products.einsum(",".join(terms) + "->" + ends, *items, optimize="optimal")


@function(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """Return the n-th power of square matrices, by repeated squaring."""
    x = _square(a, as_array)
    if n == 0:
        return np.broadcast_to(np.eye(shape_of(x)[-1], dtype=dtype_of(x)), shape_of(x)).copy()
    x, n = (dec.inv(as_floats(x)), -n) if n < 0 else (x, n)
    result = None
    while n:
        if n % 2:
            result = x if result is None else matmul(result, x)
        n //= 2
        x = matmul(x, x) if n else x
    return result


# --- solving -------------------------------------------------------------------------------------


@function(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    """Return x with a x = b."""
    a, b = _square(a), as_floats(b)
    if ndim_of(b) == 1:
        return dec.solve(a, expand_dims(b, (1,)))[..., 0]
    return dec.solve(a, b)


@function(np.linalg.inv)
def inv(a: Any) -> Any:
    """Return the inverse of square matrices."""
    return dec.inv(_square(a))


@function(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = _UNSET) -> Any:
    """Return the Moore-Penrose pseudo-inverse (Golub and Pereyra 1973)."""
    x = as_floats(a)
    if rcond is not None and rtol is not _UNSET:
        raise ValueError("pinv was given both rcond and rtol: pass one of them.")
    if rtol is None:  # which has another default than no rtol
        rcond = sorted(shape_of(x)[-2:])[1] * float(np.finfo(dtype_of(x)).eps)
    elif rcond is None:
        rcond = 1e-15 if rtol is _UNSET else rtol
    return dec.pinv(x, rcond=rcond, hermitian=hermitian)


@function(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """Return (x, residuals, rank, singular values) of the least-squares solution of a x = b."""
    a, b = as_floats(a), as_floats(b)
    m, n = shape_of(a)
    if rcond is None:
        rcond = float(np.finfo(dtype_of(a)).eps) * (m if m > n else n)
    elif rcond == -1:
        rcond = float(np.finfo(dtype_of(a)).eps)
    s = svdvals(a)
    plain = known(s)
    if plain is None:
        rank = (s > rcond * s[..., :1]).sum().astype(np.int32)
    else:
        rank = np.int32((plain > rcond * plain.max(initial=0)).sum())
    x = matmul(dec.pinv(a, rcond=rcond, hermitian=False), b)
    if m <= n or (plain is not None and rank < n):
        return x, np.zeros(0, dtype_of(s)), rank, s
    rest = b - matmul(a, x)
    squares = ew.real(rest * ew.conjugate(rest)) if ew.is_complex(rest) else ew.square(rest)
    return x, sum(reshape(squares, shape=(m, -1)), 0), rank, s


@function(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """Return x with tensordot(a, x, x.ndim) = b."""
    a, b = as_floats(a), as_floats(b)
    if axes is not None:
        order = [k for k in range(ndim_of(a)) if k not in normalize_axes(axes, ndim_of(a))]
        a = transpose(a, axes=(*order, *normalize_axes(axes, ndim_of(a))))
    shape = shape_of(a)[ndim_of(b) :]
    n = int(np.prod(shape))
    x = solve(reshape(a, shape=(-1, n)), reshape(b, shape=(-1,)))
    return reshape(x, shape=shape)


@function(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """Return the inverse with respect to tensordot over `ind` axes."""
    x = as_floats(a)
    shape = shape_of(x)
    n = int(np.prod(shape[ind:]))
    return reshape(inv(reshape(x, shape=(n, -1))), shape=(*shape[ind:], *shape[:ind]))


# --- determinants --------------------------------------------------------------------------------


@function(np.linalg.det)
def det(a: Any) -> Any:
    """Return the determinant; its derivative, the matrix of cofactors, exists at any matrix."""
    return dec.det(_square(a))


@function(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    """Return sign and logarithm of the absolute value of the determinant."""
    return SlogdetResult(*dec.slogdet(_square(a)))


# --- factorisations ------------------------------------------------------------------------------


@function(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """Return the Cholesky factor of the Hermitian part of a (Murray 2016)."""
    lower = dec.cholesky(_square(a))
    return dec.adjoint(lower) if upper else lower


@function(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    """Return eigenvalues and eigenvectors of the Hermitian part of a."""
    return EighResult(*dec.eigh(_square(a)))


@function(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """Return the eigenvalues of the Hermitian part of a."""
    return dec.eigh(_square(a))[0]


# From NumPy 2.5 on eig gives complex numbers always, before it looked at their values.
_LOOKS = np.linalg.eig(np.eye(1))[0].dtype.kind == "f"


@function(np.linalg.eig)
def eig(a: Any) -> Any:
    """Return eigenvalues and eigenvectors (NumPy before 2.5: real if all eigenvalues are)."""
    w, v = dec.eig(_square(a))
    plain = known(w) if _LOOKS and not ew.is_complex(as_array(a)) else None
    if plain is not None and not np.any(np.imag(plain)):
        return EigResult(ew.real(w), ew.real(v))
    return EigResult(w, v)


@function(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    """Return the eigenvalues (NumPy before 2.5: real if all are)."""
    return eig(a)[0]


@function(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Return the QR factorisation (Walter and Lehmann 2010); modes reduced, r, complete."""
    x = as_floats(a)
    m, n = shape_of(x)[-2:]
    if mode not in ("reduced", "r", "complete") or (mode == "complete" and m > n):
        unsupported(np.linalg.qr, f"with mode={mode!r} has a result that is not differentiable")
    if m >= n:
        q, r = dec.qr(x)
    else:
        q, first = dec.qr(x[..., :m])
        r = concatenate(first, matmul(dec.adjoint(q), x[..., m:]), axis=ndim_of(x) - 1)
    return r if mode == "r" else QRResult(q, r)


@function(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True,
        hermitian: bool = False) -> Any:  # fmt: skip
    """Return the singular value decomposition (Townsend 2016)."""
    x = as_floats(a)
    m, n = shape_of(x)[-2:]
    if not compute_uv:
        return dec.svd(x)[1]
    if full_matrices and m != n:
        unsupported(
            np.linalg.svd,
            "with full_matrices=True of a matrix that is not square has a basis that is not "
            "differentiable (pass full_matrices=False)",
        )
    return SVDResult(*dec.svd(x))


@function(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    """Return the singular values."""
    return dec.svd(as_floats(x))[1]


# --- norms ---------------------------------------------------------------------------------------


def _vector_norm(x: Any, axes: tuple[int, ...], keepdims: bool, ord: Any) -> Any:
    if ord is None or ord == 2:
        squares = ew.real(x * ew.conjugate(x)) if ew.is_complex(x) else ew.square(x)
        return ew.sqrt(sum(squares, axes, keepdims=keepdims))
    size = ew.absolute(x)
    if ord == np.inf:
        return max(size, axes, keepdims=keepdims)
    if ord == -np.inf:
        return min(size, axes, keepdims=keepdims)
    if ord == 0:
        return sum(ew.not_equal(x, 0).astype(dtype_of(size)), axes, keepdims=keepdims)
    if ord == 1:
        return sum(size, axes, keepdims=keepdims)
    return ew.power(sum(ew.power(size, ord), axes, keepdims=keepdims), 1 / ord)


def _matrix_norm(x: Any, axes: tuple[int, int], keepdims: bool, ord: Any) -> Any:
    rows, columns = axes
    if ord is None or ord == "fro":
        return _vector_norm(x, axes, keepdims, None)
    if ord in (1, -1, np.inf, -np.inf):
        reduce = max if ord > 0 else min
        first, second = (rows, columns) if abs(ord) == 1 else (columns, rows)
        y = reduce(sum(ew.absolute(x), first, keepdims=True), second, keepdims=True)
    elif ord in (2, -2, "nuc"):
        last = moved(moved(x, rows, ndim_of(x) - 1), columns - (columns > rows), ndim_of(x) - 1)
        s = dec.svd(last)[1]
        value = (sum if ord == "nuc" else max if ord == 2 else min)(s, -1)
        y = expand_dims(value, tuple(sorted(axes)))
    else:
        raise ValueError(f"Invalid norm order {ord!r} for matrices")
    shape = tuple(n for k, n in enumerate(shape_of(y)) if k not in axes)
    return y if keepdims else reshape(y, shape=shape)


@function(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return a norm of vectors or matrices; at 0 the derivative is the subgradient 0."""
    x = as_floats(x)
    if axis is None:
        if ord is None or (ord == 2 and ndim_of(x) == 1) or (ord == "fro" and ndim_of(x) == 2):
            return _vector_norm(x, tuple(range(ndim_of(x))), keepdims, None)
        axes: tuple[int, ...] = tuple(range(ndim_of(x)))
    else:
        axes = normalize_axes(axis, ndim_of(x))
    if len(axes) == 1:
        if isinstance(ord, str):
            raise ValueError(f"Invalid norm order {ord!r} for vectors")
        return _vector_norm(x, axes, keepdims, ord)
    if len(axes) == 2:
        return _matrix_norm(x, (axes[0], axes[1]), keepdims, ord)
    raise ValueError("Improper number of dimensions to norm.")


@function(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Return the norm of vectors over axes."""
    x = as_floats(x)
    return _vector_norm(x, normalize_axes(axis, ndim_of(x)), keepdims, ord)


@function(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Return the norm of matrices over the last two axes."""
    x = as_floats(x)
    return _matrix_norm(x, (ndim_of(x) - 2, ndim_of(x) - 1), keepdims, ord)


@function(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """Return the condition number: norm(x) norm(inv(x)); for p None or 2, s_max / s_min."""
    x = as_floats(x)
    if 0 in shape_of(x)[-2:]:
        raise LinAlgError(f"cond is not defined on empty arrays, got shape {shape_of(x)}")
    if p in (None, 2, -2):
        s = dec.svd(x)[1]
        y = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    else:
        y = norm(x, p, axis=(-2, -1)) * norm(inv(x), p, axis=(-2, -1))
    given = reduce_any(ew.isnan(x), axes=(ndim_of(x) - 2, ndim_of(x) - 1))
    return where(ew.logical_and(ew.isnan(y), ew.logical_not(given)), np.inf, y)  # of 0, as NumPy
