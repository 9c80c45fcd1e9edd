"""Whole matrices of derivatives: `jacfwd`, `jacrev`, `jacobian`, `hessian`; and `hvp`.

A function is run once, and its pushforward or pullback is mapped over the standard basis.
May import `core`, `ops`, `tree`, `transforms`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import dtype_of, is_inexact, shape_of
from funcgraph.errors import GradientDtypeError, NonScalarOutputError, TangentMismatchError
from funcgraph.ops.indexing import index
from funcgraph.ops.strong import constant_seeds
from funcgraph.ops.structural import moved, reshape
from funcgraph.transforms.arguments import check_leaf, name_of, positions, select, substitute
from funcgraph.transforms.gradient import grad, leaf_name, vjp
from funcgraph.transforms.linear import jvp, linearize
from funcgraph.transforms.vmap import vmap

__all__ = ["hessian", "hvp", "jacfwd", "jacobian", "jacrev"]

Argnums = int | tuple[int, ...]


def _size(x: Any) -> int:
    return int(np.prod(shape_of(x), dtype=int))


def _basis(leaves: list[Any]) -> list[Any]:
    """Return the standard basis of the space of these leaves: arrays with n lanes in front."""
    n = sum(map(_size, leaves))
    out, start = [], 0
    for x in leaves:
        size = _size(x)
        block = np.zeros((n, size), dtype_of(x))
        block[start + np.arange(size), np.arange(size)] = 1
        out.append(block.reshape(n, *shape_of(x)))
        start += size
    return out


def _blocks(x: Any, leaves: list[Any]) -> list[Any]:
    """Cut the lanes of an array into those of each leaf, with the leaf's axes for the lanes."""
    out, start = [], 0
    for leaf in leaves:
        part = index(x, slice(start, start + _size(leaf)))
        out.append(reshape(part, shape=(*shape_of(leaf), *shape_of(x)[1:])))
        start += _size(leaf)
    return out


def _behind(x: Any, count: int) -> Any:
    """Move the first `count` axes behind the others."""
    for _ in range(count):
        x = moved(x, 0, len(shape_of(x)) - 1)
    return x


def _chosen(fun: Any, argnums: Argnums, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return fun as a function of the chosen arguments (a tuple), and these."""
    numbers = positions(argnums, len(args))
    chosen = select(tuple(numbers), args)

    @functools.wraps(fun)
    def restricted(*new: Any) -> Any:
        return fun(*substitute(tuple(numbers), args, new), **kwargs)

    return restricted, chosen


def _pack(argnums: Argnums, parts: tuple[Any, ...]) -> Any:
    return parts if isinstance(argnums, (tuple, list)) else parts[0]


def jacfwd(
    fun: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `fun`, column by column (forward mode).

    J[i, j] = ∂f_i/∂x_j; good where there are fewer inputs than outputs.

    Args:
      fun: A function of pytrees of floating-point arrays that returns a pytree of arrays.
      argnums: Position, or tuple of positions, of the arguments to differentiate.
      has_aux: Whether fun returns (output, aux); then the result is (Jacobian, aux).
      holomorphic: Whether fun is complex-differentiable; then the inputs are complex.
      chunk_size: At most so many columns at a time, which bounds the memory.

    Returns:
      A function of the same arguments. Each leaf of the output is replaced by a pytree like the
      differentiated argument, whose leaves have the axes of the output, then those of the input.

    Raises:
      GradientDtypeError: A leaf has no derivative, or is complex without holomorphic=True.

    Example:
      >>> import numpy as np
      >>> jacfwd(lambda x: np.stack([x[0] * x[1], x[1] ** 2]))(np.array([2.0, 3.0]))
      array([[3., 2.],
             [0., 6.]])

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.1.
    """
    name = f"jacfwd of {name_of(fun)}"

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        restricted, chosen = _chosen(fun, argnums, args, kwargs)
        leaves, structure = tree.flatten(chosen)
        _check_inputs(name, chosen, leaves, False, holomorphic)
        out = linearize(restricted, *chosen, has_aux=has_aux)
        pushforward = out[1]
        basis = tree.unflatten(structure, _basis(leaves))
        with constant_seeds():
            columns = vmap(pushforward, chunk_size=chunk_size)(*basis)

        def nest(column: Any) -> Any:
            blocks = _blocks(column, leaves)
            ndims = [len(shape_of(x)) for x in leaves]
            parts = [_behind(b, n) for b, n in zip(blocks, ndims, strict=True)]
            return _pack(argnums, tree.unflatten(structure, parts))

        jacobian = tree.map(nest, columns)
        return (jacobian, out[2]) if has_aux else jacobian

    return wrapped


def jacrev(
    fun: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `fun`, row by row (reverse mode).

    J[i, j] = ∂f_i/∂x_j; good where there are fewer outputs than inputs.

    Args:
      fun: A function of pytrees of floating-point arrays that returns a pytree of arrays.
      argnums: Position, or tuple of positions, of the arguments to differentiate.
      has_aux: Whether fun returns (output, aux); then the result is (Jacobian, aux).
      holomorphic: Whether fun is complex-differentiable; then inputs and outputs are complex.
      allow_int: Whether integer leaves are allowed; their derivative is a float0 zero.
      chunk_size: At most so many rows at a time, which bounds the memory.

    Returns:
      A function of the same arguments. Each leaf of the output is replaced by a pytree like the
      differentiated argument, whose leaves have the axes of the output, then those of the input.

    Raises:
      GradientDtypeError: A leaf has no derivative.
      NonScalarOutputError: A leaf of the output is no floating-point array, or it is complex
        without holomorphic=True.

    Example:
      >>> import numpy as np
      >>> jacrev(lambda x: np.stack([x[0] * x[1], x[1] ** 2]))(np.array([2.0, 3.0]))
      array([[3., 2.],
             [0., 6.]])

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.2.
    """
    name = f"jacrev of {name_of(fun)}"

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        restricted, chosen = _chosen(fun, argnums, args, kwargs)
        _check_inputs(name, chosen, tree.leaves(chosen), allow_int, holomorphic, forward=False)
        out = vjp(restricted, *chosen, has_aux=has_aux)
        value, pullback = out[:2]
        outs, structure = tree.flatten(value)
        for y in outs:
            _check_output(name, y, holomorphic)
        basis = tree.unflatten(structure, _basis(outs))
        with constant_seeds():
            rows = vmap(pullback, chunk_size=chunk_size)(basis)
        leaves, inner = tree.flatten(rows)
        parts = zip(*(_blocks(row, outs) for row in leaves), strict=True)
        nested = [_pack(argnums, tree.unflatten(inner, part)) for part in parts]
        jacobian = tree.unflatten(structure, nested)
        return (jacobian, out[2]) if has_aux else jacobian

    return wrapped


def _check_inputs(
    name: str,
    chosen: Any,
    leaves: list[Any],
    allow_int: bool,
    holomorphic: bool,
    forward: bool = True,
) -> None:
    for k, x in enumerate(leaves):
        where = functools.partial(leaf_name, name, chosen, k)
        check_leaf(x, where, allow_int, holomorphic, name)
        if forward and not holomorphic and dtype_of(x).kind == "c":
            raise GradientDtypeError(
                f"{where()} has dtype {dtype_of(x)}, for which forward mode gives only the "
                "derivative along the real axis. If the function is holomorphic, pass "
                "holomorphic=True; otherwise use jacrev."
            )


def _check_output(name: str, y: Any, holomorphic: bool) -> None:
    dtype = dtype_of(y)
    if not is_inexact(dtype) or (dtype.kind == "c") != holomorphic:
        wanted = "complex outputs (holomorphic=True)" if holomorphic else "real outputs"
        raise NonScalarOutputError(
            f"{name} needs {wanted}, but one has dtype {dtype}. Convert it, take its real part, "
            "or, for a holomorphic function, pass holomorphic=True."
        )


jacobian = jacrev


def hessian(
    fun: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Return a function that computes the matrix of second derivatives of `fun`.

    H[i, j] = ∂²f/∂x_i∂x_j, forward mode over reverse mode.

    Args:
      fun: A function of pytrees of floating-point arrays that returns a pytree of arrays.
      argnums: Position, or tuple of positions, of the arguments to differentiate.
      has_aux: Whether fun returns (output, aux); then the result is (Hessian, aux).
      holomorphic: Whether fun is complex-differentiable.
      chunk_size: At most so many columns at a time, which bounds the memory.

    Returns:
      A function of the same arguments. Each leaf of the output is replaced by a pytree of pytrees,
      whose leaves have the axes of the output, then those of the input, twice.

    Raises:
      GradientDtypeError: A leaf has no derivative.

    Example:
      >>> import numpy as np
      >>> hessian(lambda x: x[0] * x[1] ** 2)(np.array([2.0, 3.0]))
      array([[0., 6.],
             [6., 4.]])

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.3.
    """
    first = jacrev(fun, argnums, has_aux, holomorphic)
    return jacfwd(first, argnums, has_aux, holomorphic, chunk_size=chunk_size)


def hvp(fun: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """Return the product of the Hessian of a scalar function and a vector.

    ∂/∂t ∇f(x + t v) at t = 0, forward mode over reverse mode: no matrix is formed.

    Args:
      fun: Returns a scalar; a function of the primals.
      primals: Tuple or list of arguments, pytrees of floating-point arrays.
      tangents: The vector: tuple or list of the same structure, shapes and dtypes.

    Returns:
      The product: like the argument if there is one, otherwise a tuple like the primals.

    Raises:
      TangentMismatchError: The tangents do not match the primals.
      NonScalarOutputError: The output is not a real scalar.

    Example:
      >>> import numpy as np
      >>> hvp(lambda x: x[0] * x[1] ** 2, (np.array([2.0, 3.0]),), (np.array([1.0, 0.0]),))
      array([0., 6.])

    Source:
      Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6, 1994.
    """
    if not isinstance(primals, (tuple, list)):
        raise TangentMismatchError(
            f"hvp takes its primals in a tuple or list, got a {type(primals).__name__}: write "
            "hvp(f, (x,), (v,))."
        )
    argnums: Argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(grad(fun, argnums), primals, tangents)[1]
