"""Where a Jacobian or a Hessian can be nonzero: `jacobian_sparsity`, `hessian_sparsity`.

May import `core`, `tree`, `transforms`, `sparse`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import shape_of
from funcgraph.core.graph import Graph
from funcgraph.errors import ConcretizationError
from funcgraph.sparse.dependencies import size_of
from funcgraph.sparse.detection import graph_sparsity, has_own_rules
from funcgraph.transforms.arguments import name_of, positions
from funcgraph.transforms.gradient import grad
from funcgraph.transforms.stage import abstract

__all__ = ["Argnums", "detected", "detected_symmetric", "hessian_sparsity", "jacobian_sparsity"]

Argnums = int | tuple[int, ...]


def _staged(name: str, fun: Any, args: Any, kwargs: Any) -> Graph:
    try:
        return abstract(fun, args, kwargs)[0]
    except ConcretizationError as error:
        raise ConcretizationError(
            f"{name} stages the function to find the sparsity, so that it holds for all values: "
            f"{error.message} Or give sparsity= to sparse_jacobian or sparse_hessian (nothing is "
            "staged then), or bind arguments that are no data with functools.partial.",
            error.line,
        ) from None


def detected(name: str, fun: Any, argnums: Argnums, args: Any, kwargs: Any) -> tuple[Any, set[str]]:
    """Return the sparsity of a Jacobian, and the modes that can compute it."""
    numbers = positions(argnums, len(args))
    flags: list[bool] = []
    for k, x in enumerate(args):
        flags += [k in numbers] * len(tree.leaves(x))
    flags += [False] * len(tree.leaves(kwargs))
    pattern, modes = graph_sparsity(_staged(name, fun, args, kwargs), flags)
    if list(numbers) != sorted(numbers):  # argnums=(1, 0): the columns are in this order
        pattern = pattern[:, _column_order(numbers, args)]
    pattern.sort_indices()
    return pattern, modes


def _column_order(numbers: tuple[int, ...], args: Any) -> Any:
    sizes = [sum(size_of(shape_of(x)) for x in tree.leaves(args[k])) for k in sorted(numbers)]
    starts = dict(zip(sorted(numbers), np.cumsum([0, *sizes]).tolist(), strict=False))
    lengths = dict(zip(sorted(numbers), sizes, strict=True))
    return np.concatenate([starts[k] + np.arange(lengths[k]) for k in numbers])


def detected_symmetric(
    name: str, fun: Any, argnums: Argnums, args: Any, kwargs: Any
) -> tuple[Any, bool]:
    """Return the sparsity of a Hessian, and whether it is certainly symmetric."""
    pattern, _ = detected(name, grad(fun, argnums), argnums, args, kwargs)
    if has_own_rules(_staged(name, fun, args, kwargs)):
        return pattern, False
    pattern = (pattern * pattern.T).tocsr()  # what one half excludes is zero in the other, too
    pattern.sort_indices()
    return pattern, True


def jacobian_sparsity(fun: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """Return a function that finds where the Jacobian of `fun` can be nonzero.

    The function is staged, so that what is found holds for all values of its arguments. Arrays it
    closes over are constants: their zeros, masks and indices are used.

    Args:
      fun: A function of arrays (pytrees) that returns an array (a pytree).
      argnums: Position, or tuple of positions, of the arguments to differentiate.

    Returns:
      A function of the same arguments (arrays, or ShapeDtype) that returns a boolean
      `scipy.sparse.csr_array`, with one row for each element of the output and one column for each
      element of the differentiated arguments, both in C order, leaf by leaf.

    Raises:
      ConcretizationError: Python control flow in fun depends on values.
      MissingPackageError: SciPy is not installed.

    Example:
      >>> import numpy as np
      >>> print(jacobian_sparsity(np.diff)(np.zeros(4)).toarray().astype(int))
      [[1 1 0 0]
       [0 1 1 0]
       [0 0 1 1]]

    Source:
      Griewank and Walther, "Evaluating Derivatives", 2nd ed., 2008, section 7.1.
    """
    name = f"jacobian_sparsity of {name_of(fun)}"

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return detected(name, fun, argnums, args, kwargs)[0]

    return wrapped


def hessian_sparsity(fun: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """Return a function that finds where the Hessian of `fun` can be nonzero.

    It is found in the staged gradient, see `jacobian_sparsity`.

    Args:
      fun: A function of arrays (pytrees) that returns a real scalar.
      argnums: Position, or tuple of positions, of the arguments to differentiate.

    Returns:
      A function of the same arguments (arrays, or ShapeDtype) that returns a boolean
      `scipy.sparse.csr_array` with a row and a column for each element of the differentiated
      arguments, in C order, leaf by leaf.

    Raises:
      ConcretizationError: Python control flow in fun depends on values.
      MissingPackageError: SciPy is not installed.

    Example:
      >>> import numpy as np
      >>> rosenbrock = lambda x: np.sum((1 - x) ** 2) + np.sum((x[1:] - x[:-1] ** 2) ** 2)
      >>> print(hessian_sparsity(rosenbrock)(np.zeros(4)).toarray().astype(int))
      [[1 1 0 0]
       [1 1 1 0]
       [0 1 1 1]
       [0 0 1 1]]
    """
    name = f"hessian_sparsity of {name_of(fun)}"

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return detected_symmetric(name, fun, argnums, args, kwargs)[0]

    return wrapped
