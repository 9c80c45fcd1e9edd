"""Solutions with triangular matrices, in stacks.

NumPy has none: np.linalg.solve factorises the triangle as any matrix. Here it is asked for blocks on
the diagonal alone, and the rest is products: a third of the time at n = 300. (SciPy's functions have
a BLAS of their own: its threads and those of NumPy's wait for each other.) May import `core`, `ops`.

Source: M. Giles, "Collected matrix derivative results", 2008.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import Aval, dtype_of, promote, shape_of
from funcgraph.core.primitive import General, Primitive, aligned
from funcgraph.errors import ShapeError
from funcgraph.ops.linalg import matmul, matrix_transpose
from funcgraph.ops.structural import where

__all__ = ["inverse_triangle", "solve_triangular", "triangle"]


def triangle(x: Any, lower: bool, k: int = 0) -> Any:
    """Return matrices with zeros above (lower) or below the diagonal, or the k-th beside it."""
    shape = shape_of(x)[-2:]
    keep = np.tri(*shape, k, dtype=bool) if lower else np.tri(*shape, k, dtype=bool).T
    return where(keep, x, dtype_of(x).type(0))


# Rows that are solved for at once: by np.linalg, which knows no triangles.
_ROWS = 64


def _part(a: Any, lower: bool) -> Any:
    """Return a small matrix with zeros in its other triangle: np.tril or np.triu, in less time."""
    triangle = np.tri(a.shape[-1], dtype=bool)
    return np.where(triangle if lower else triangle.T, a, a.dtype.type(0))


def inverse_triangle(a: Any, lower: bool) -> Any:
    """Return the inverse of a triangle of a (or of a stack), by halves."""
    n = a.shape[-1]
    if n <= _ROWS:
        return np.linalg.inv(_part(a, lower))
    x = np.zeros(a.shape, a.dtype)
    first, last = slice(n // 2), slice(n // 2, n)
    for half in (first, last):
        x[..., half, half] = inverse_triangle(a[..., half, half], lower)
    rows, columns = (last, first) if lower else (first, last)
    change = x[..., rows, rows] @ a[..., rows, columns]
    x[..., rows, columns] = -change @ x[..., columns, columns]
    return x


def _np_solve_triangular(
    a: Any, b: Any, lower: bool, turned: bool = False, right: bool = False
) -> Any:
    if right:
        return _np_solve_triangular(a, b.swapaxes(-1, -2), lower, not turned).swapaxes(-1, -2)
    if turned:
        a, lower = a.swapaxes(-1, -2), not lower
    n, m = a.shape[-1], b.shape[-1]
    if n <= _ROWS:
        return np.linalg.solve(_part(a, lower), b)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.empty((*batch, n, m), np.result_type(a, b))
    starts = range(0, n, _ROWS)
    for start in starts if lower else reversed(starts):
        rows = slice(start, min(start + _ROWS, n))
        known = slice(start) if lower else slice(rows.stop, n)
        rest = b[..., rows, :] - a[..., rows, known] @ x[..., known, :]
        block = _part(a[..., rows, rows], lower)
        if m < _ROWS // 2:
            x[..., rows, :] = np.linalg.solve(block, rest)
        else:  # the product is worth a factorisation of its own
            x[..., rows, :] = np.linalg.inv(block) @ rest
    return x


def _jax_solve_triangular(
    jax: Any, a: Any, b: Any, lower: bool, turned: bool = False, right: bool = False
) -> Any:
    jnp = jax.numpy
    a, b = jnp.asarray(a), jnp.asarray(b)
    dtype = jnp.promote_types(a.dtype, b.dtype)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (jnp.broadcast_to(x, (*batch, *x.shape[-2:])).astype(dtype) for x in (a, b))
    return jax.lax.linalg.triangular_solve(
        a, b, left_side=not right, lower=lower, transpose_a=turned
    )


def _jvp(
    tangents: Any, y: Any, a: Any, b: Any, lower: bool, turned: bool = False, right: bool = False
) -> Any:
    ta, change = tangents
    if ta is not None:
        t = triangle(ta, lower)
        t = matrix_transpose(t) if turned else t
        product = matmul(y, t) if right else matmul(t, y)
        change = -product if change is None else change - product
    return solve_triangular(a, change, lower=lower, turned=turned, right=right)


def _vjp(
    g: Any, y: Any, a: Any, b: Any, lower: bool, turned: bool = False, right: bool = False
) -> Any:
    gb = solve_triangular(a, g, lower=lower, turned=not turned, right=right)
    first, second = (y, gb) if turned else (gb, y)
    if right:
        ga = matmul(matrix_transpose(second), first)
    else:
        ga = matmul(first, matrix_transpose(second))
    return triangle(-ga, lower), gb


def _aval(a: Aval, b: Aval, lower: bool, turned: bool = False, right: bool = False) -> Aval:
    if a.shape[-1] != b.shape[-1 if right else -2]:
        raise ShapeError(
            f"solve_triangular: a matrix of shape {a.shape} does not fit a right-hand side of "
            f"shape {b.shape}."
        )
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return Aval((*batch, *b.shape[-2:]), promote(a, b))


# x with t x = b, or x t = b (`right`), where t is a triangle of a, which is transposed if `turned`;
# the other triangle is not read. Nobody has to copy a matrix to transpose it.
solve_triangular = Primitive(
    "solve_triangular",
    _np_solve_triangular,
    _jax_solve_triangular,
    _aval,
    General(_jvp, _vjp),
    aligned,
)
