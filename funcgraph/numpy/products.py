"""Products of vectors, matrices and tensors. May import `core`, `ops`, `numpy.creation`."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgraph.core.aval import dtype_of, ndim_of, shape_of
from funcgraph.core.trace import UFUNCS
from funcgraph.numpy._register import function, non_differentiable
from funcgraph.numpy.creation import as_array, as_dtype, strong
from funcgraph.numpy.matrices import diagonal
from funcgraph.ops import elementwise as ew
from funcgraph.ops import linalg
from funcgraph.ops.buffers import Mutable, Snapshot
from funcgraph.ops.structural import (
    cast,
    expand_dims,
    moved,
    normalize_axis,
    reduce_sum,
    reshape,
    stack,
    transpose,
)

__all__ = [
    "cross", "dot", "einsum", "einsum_path", "inner", "kron", "matmul", "matvec",
    "outer", "tensordot", "trace", "vdot", "vecdot", "vecmat",
]  # fmt: skip

matmul = linalg.matmul
einsum_path = non_differentiable(np.einsum_path)


@function(np.dot)
def dot(a: Any, b: Any) -> Any:
    """Return the dot product: Σ_k a[..., k] b[..., k, :]; with a scalar, the product."""
    a, b = strong(as_array(a)), strong(as_array(b))
    if ndim_of(a) == 0 or ndim_of(b) == 0:
        return ew.multiply(a, b)
    if ndim_of(b) <= 2:
        return linalg.matmul(a, b)
    return tensordot(a, b, ((-1,), (-2,)))


@function(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    """Return Σ conj(a) b over all elements."""
    a, b = reshape(as_array(a), shape=(-1,)), reshape(as_array(b), shape=(-1,))
    return linalg.matmul(ew.conjugate(a) if ew.is_complex(a) else a, b)


@function(np.inner)
def inner(a: Any, b: Any) -> Any:
    """Return Σ_k a[..., k] b[..., k]."""
    a, b = strong(as_array(a)), strong(as_array(b))
    if ndim_of(a) == 0 or ndim_of(b) == 0:
        return ew.multiply(a, b)
    return tensordot(a, b, ((-1,), (-1,)))


@function(np.outer)
def outer(a: Any, b: Any) -> Any:
    """Return y[i, j] = a_i b_j of the flattened arguments."""
    return reshape(as_array(a), shape=(-1, 1)) * reshape(as_array(b), shape=(1, -1))


@function(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Return the sum of products over the given pairs of axes."""
    a, b = as_array(a), as_array(b)
    na, nb = ndim_of(a), ndim_of(b)
    if isinstance(axes, (int, np.integer)):
        axes = (range(na - axes, na), range(axes))
    pairs = [[k] if isinstance(k, (int, np.integer)) else list(k) for k in axes]
    left = [normalize_axis(k, na) for k in pairs[0]]
    right = [normalize_axis(k, nb) for k in pairs[1]]
    if len(left) != len(right) or any(
        shape_of(a)[i] != shape_of(b)[j] for i, j in zip(left, right, strict=False)
    ):
        raise ValueError(
            f"tensordot: shapes {shape_of(a)} and {shape_of(b)} do not match over axes {axes}."
        )
    free_a = [k for k in range(na) if k not in left]
    free_b = [k for k in range(nb) if k not in right]
    n = int(np.prod([shape_of(a)[k] for k in left]))
    shape_a, shape_b = ([shape_of(x)[k] for k in f] for x, f in ((a, free_a), (b, free_b)))
    a = reshape(_ordered(a, (*free_a, *left)), shape=(int(np.prod(shape_a)), n))
    b = reshape(_ordered(b, (*right, *free_b)), shape=(n, int(np.prod(shape_b))))
    return reshape(linalg.matmul(a, b), shape=(*shape_a, *shape_b))


def _ordered(x: Any, axes: tuple[int, ...]) -> Any:
    return x if axes == tuple(range(len(axes))) else transpose(x, axes=axes)


@function(np.einsum)
def einsum(*operands: Any, optimize: Any = False, dtype: Any = None, **_: Any) -> Any:
    """Evaluate Einstein's summation convention, with every calling form of np.einsum."""
    n = len(operands)
    places = range(1, n) if isinstance(operands[0], str) else range(0, n // 2 * 2, 2)
    if dtype is not None:
        operands = tuple(
            as_dtype(as_array(x), dtype) if k in places else x for k, x in enumerate(operands)
        )
    y = linalg.einsum(*operands, optimize=optimize)
    if dtype_of(y).kind != "b" and all(dtype_of(as_array(operands[k])).kind == "b" for k in places):
        y = cast(y, np.bool_)  # a sum of bools is their or
    arrays = [x for x in operands if hasattr(x, "shape")]
    if len(arrays) == 1 and isinstance(arrays[0], Mutable):  # without a sum NumPy gives a view
        probe = np.zeros(arrays[0].shape)
        plain: list[Any] = [probe if x is arrays[0] else x for x in operands]
        if np.may_share_memory(np.einsum(*plain), probe):
            return Snapshot(arrays[0], y)
    return y


@function(np.kron)
def kron(a: Any, b: Any) -> Any:
    """Return the Kronecker product: blocks a_ij b."""
    a, b = as_array(a), as_array(b)
    n = max(ndim_of(a), ndim_of(b))
    sa = (1,) * (n - ndim_of(a)) + shape_of(a)
    sb = (1,) * (n - ndim_of(b)) + shape_of(b)
    a = reshape(a, shape=tuple(k for i in sa for k in (i, 1)))
    b = reshape(b, shape=tuple(k for i in sb for k in (1, i)))
    return reshape(a * b, shape=tuple(i * j for i, j in zip(sa, sb, strict=True)))


@function(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1,
          axis: Any = None) -> Any:  # fmt: skip
    """Return the vector product along an axis of length 3 (or 2)."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = as_array(a), as_array(b)
    a = moved(a, normalize_axis(axisa, ndim_of(a)), ndim_of(a) - 1)
    b = moved(b, normalize_axis(axisb, ndim_of(b)), ndim_of(b) - 1)
    na, nb = shape_of(a)[-1], shape_of(b)[-1]
    if not {na, nb} <= {2, 3}:
        raise ValueError(
            f"cross: incompatible vector dimensions {na} and {nb}: they must be 2 or 3."
        )
    x = [a[..., k] if k < na else 0 for k in range(3)]
    y = [b[..., k] if k < nb else 0 for k in range(3)]
    last = x[0] * y[1] - x[1] * y[0]
    if na == nb == 2:
        return last
    first, second = x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2]
    axis_out = normalize_axis(axisc, ndim_of(last) + 1)
    return stack(first, second, last, axis=axis_out)


@function(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """Return the sum of the diagonal."""
    d = diagonal(a, offset, axis1, axis2)
    y = reduce_sum(d, axes=(ndim_of(d) - 1,))
    return y if dtype is None else y.astype(dtype)


# --- the products that NumPy has as ufuncs -------------------------------------------------------


def vecdot(x1: Any, x2: Any, /, axis: int = -1) -> Any:
    """Return Σ conj(x1) x2 over an axis."""
    a, b = as_array(x1), as_array(x2)
    if axis != -1:
        a = moved(a, normalize_axis(axis, ndim_of(a)), ndim_of(a) - 1)
        b = moved(b, normalize_axis(axis, ndim_of(b)), ndim_of(b) - 1)
    if ndim_of(a) == ndim_of(b) == 1:
        return vdot(a, b)
    products = (ew.conjugate(a) if ew.is_complex(a) else a) * b
    return as_dtype(reduce_sum(products, axes=(ndim_of(products) - 1,)), dtype_of(products))


def matvec(x1: Any, x2: Any, /) -> Any:
    """Return the products of matrices and vectors."""
    x2 = as_array(x2)
    return linalg.matmul(x1, expand_dims(x2, (ndim_of(x2),)))[..., 0]


def vecmat(x1: Any, x2: Any, /) -> Any:
    """Return the products of conjugated row vectors and matrices."""
    a = as_array(x1)
    a = ew.conjugate(a) if ew.is_complex(a) else a
    return linalg.matmul(expand_dims(a, (ndim_of(a) - 1,)), x2)[..., 0, :]


def _ufunc(name: str, body: Any) -> Any:
    """Make a body the meaning of a ufunc; NumPy 2.1 lacks some of them."""
    ufunc = getattr(np, name, None)
    if ufunc is None:
        return body
    UFUNCS[ufunc] = body
    return function(ufunc, jax=f"jax.numpy.{name}")(body)


vecdot, matvec, vecmat = (
    _ufunc("vecdot", vecdot),
    _ufunc("matvec", matvec),
    _ufunc("vecmat", vecmat),
)
