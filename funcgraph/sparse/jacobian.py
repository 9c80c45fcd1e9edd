"""Sparse matrices of derivatives: `sparse_jacobian`, `sparse_hessian`.

May import `core`, `tree`, `transforms`, `sparse`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import Aval, aval_of, dtype_of, is_inexact, shape_of
from funcgraph.core.jaxlink import jax_name
from funcgraph.core.trace import JAX, KIND, NUMPY, TRACER
from funcgraph.errors import (
    GradientDtypeError,
    NonScalarOutputError,
    ShapeError,
    SparsityError,
    StaticArgumentError,
    TracerConversionError,
)
from funcgraph.ops.strong import constant_seeds
from funcgraph.sparse.dependencies import scipy_sparse, size_of
from funcgraph.sparse.plan import Plan, plan_columns, plan_symmetric
from funcgraph.sparse.sparsity import Argnums, detected, detected_symmetric
from funcgraph.transforms.arguments import check_leaf, name_of, positions, select, substitute
from funcgraph.transforms.gradient import grad, leaf_name, vjp
from funcgraph.transforms.linear import jvp
from funcgraph.transforms.vmap import vmap
from funcgraph.tree.exact import fixed

__all__ = [
    "SparseDerivative",
    "sparse_hessian",
    "sparse_jacobian",
]

_MAX_PLANS = 64  # of each function; the one that was not used for the longest time goes
_MAX_NUMBERS = 2**22  # so many numbers of seeds and products at a time, unless chunk_size says it


class SparseDerivative:
    """A function that computes a sparse matrix of derivatives: what `sparse_jacobian` returns.

    Called with the function's arguments it gives the matrix; `plan(*args)` says how.
    """

    def __init__(
        self,
        name: str,
        fun: Callable[..., Any],
        argnums: Argnums,
        sparsity: Any,
        make_plan: Callable[[Any, Any], Plan],
        plan_given: Callable[[Any], Plan],
        chunk_size: int | None,
    ) -> None:
        functools.update_wrapper(self, fun)
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"{name}: chunk_size must be positive, got {chunk_size}.")
        self._name = name
        self._fun = fun
        self._argnums = argnums
        self._chunk_size = chunk_size
        self._given = None if sparsity is None else plan_given(_as_pattern(name, sparsity))
        self._plans = functools.lru_cache(_MAX_PLANS)(
            lambda structure, avals, _: make_plan(*tree.unflatten(structure, avals))
        )

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """Return the plan for arguments of these shapes and dtypes; it is made once.

        Its attributes: `sparsity`, `mode`, `colors`, `products`.
        """
        if self._given is not None:
            return self._given
        leaves, structure = tree.flatten((args, kwargs))
        avals = tuple(self._aval(x) for x in leaves)
        return self._plans(structure, avals, fixed(structure.spec))

    def _aval(self, x: Any) -> Aval:
        plain = isinstance(x, np.ndarray | np.generic | int | float | complex | Aval)
        if KIND[type(x)] == NUMPY and not plain:
            raise StaticArgumentError(
                f"an argument of {self._name} is a {type(x).__name__}, which is no array, so the "
                "function cannot be staged to find the sparsity. Bind it with functools.partial, "
                "or give sparsity=."
            )
        return aval_of(x)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the matrix at these arguments."""
        for x in tree.leaves((args, kwargs)):
            is_jax = KIND[type(x)] == JAX and isinstance(x, jax_name("jax.core.Tracer"))
            if KIND[type(x)] == TRACER or is_jax:
                raise TracerConversionError(
                    f"{self._name} returns an array of SciPy's, which holds numbers, so it cannot "
                    "be called inside grad, vmap, jit or another transformation. Call it outside, "
                    "or use funcgraph.jacobian, funcgraph.hessian or funcgraph.jvp there."
                )
        plan = self.plan(*args, **kwargs)
        return _Products(self, plan, args, kwargs).matrix()


def _as_pattern(name: str, sparsity: Any) -> Any:
    """Return a given sparsity as a boolean CSR array of its own without explicit zeros."""
    pattern = scipy_sparse().csr_array(sparsity)
    if pattern.ndim != 2:
        raise ShapeError(f"{name}: sparsity must have two axes, got shape {pattern.shape}.")
    pattern = (pattern != 0).tocsr()
    pattern.sort_indices()
    return pattern


class _Products:
    """The products of a Jacobian, or its transpose, with vectors, at one point."""

    def __init__(self, of: SparseDerivative, plan: Plan, args: Any, kwargs: Any) -> None:
        self.name = of._name
        self.plan = plan
        self.given = of._given is not None
        argnums = tuple(positions(of._argnums, len(args)))
        chosen = select(argnums, args)
        self.leaves, structure = tree.flatten(chosen)
        self._check_inputs(chosen)
        self.dtype = np.result_type(*map(dtype_of, self.leaves), np.float16)

        def restricted(*new: Any) -> Any:
            return of._fun(*substitute(argnums, args, new), **kwargs)

        if plan.mode == "fwd":
            # jvp passes also what reverse mode, and so linearize, cannot: loops of unknown length.
            self.map = lambda *tangents: jvp(restricted, chosen, tangents)[1]
            self.inputs, self.structure = self.leaves, structure
        else:
            value, self.map = vjp(restricted, *chosen)
            self.inputs, self.structure = tree.flatten((value,))
            self._check_outputs(self.inputs)
        self.chunk = of._chunk_size or max(1, _MAX_NUMBERS // max(sum(plan.sparsity.shape), 1))

    def _check_inputs(self, chosen: Any) -> None:
        for k, x in enumerate(self.leaves):
            where = functools.partial(leaf_name, self.name, chosen, k)
            check_leaf(x, where, False, False, self.name)
            if dtype_of(x).kind == "c":
                raise GradientDtypeError(
                    f"{where()} has dtype {dtype_of(x)}, but {self.name} is of real arrays. Take "
                    "the real and the imaginary part as two arguments."
                )

    def _check_outputs(self, outs: list[Any], batch: int = 0) -> None:
        """Check the outputs, or a batch of their tangents: float0 for an integer output."""
        for y in outs:
            if not is_inexact(dtype_of(y)) or dtype_of(y).kind == "c":
                raise NonScalarOutputError(
                    f"{self.name} needs real outputs, but one is "
                    f"{'complex' if dtype_of(y).kind == 'c' else 'no floating-point array'}. "
                    "Convert it, or return its real and its imaginary part."
                )
        rows, columns = (
            sum(size_of(shape_of(x)[n:]) for x in xs) for xs, n in ((outs, batch), (self.leaves, 0))
        )
        if self.plan.sparsity.shape != (rows, columns):
            raise ShapeError(
                f"{self.name}: sparsity has shape {self.plan.sparsity.shape}, but the matrix has "
                f"shape {rows, columns}: a row for each of the {rows} elements of the output, a "
                f"column for each of the {columns} elements of the differentiated argument(s)."
            )

    def matrix(self) -> Any:
        """Return the matrix."""
        plan = self.plan
        width = sum(size_of(shape_of(x)) for x in self.inputs)
        if plan.products == 0 or plan.colors.size != width:
            self._apply(np.zeros((1, width)))  # checks the outputs
        data = np.empty(plan.sparsity.nnz, self.dtype)
        for start in range(0, plan.products, self.chunk):
            stop = min(start + self.chunk, plan.products)
            products = self._apply(plan.seeds(start, stop, self.dtype))
            plan.read(data, start, stop, products)
        out = plan.matrix(data)
        if self.given:
            self._check(out)
        return out

    def _apply(self, seeds: Any) -> Any:
        """Return the products with the rows of an array, as rows."""
        parts, start = [], 0
        for x in self.inputs:
            stop = start + size_of(shape_of(x))
            part = seeds[:, start:stop].reshape(-1, *shape_of(x))
            parts.append(part.astype(dtype_of(x)))
            start = stop
        with constant_seeds():
            found = tree.leaves(vmap(self.map)(*tree.unflatten(self.structure, parts)))
        if self.plan.mode == "fwd":
            self._check_outputs(found, batch=1)
        flat = [np.reshape(np.asarray(y), (len(seeds), -1)) for y in found]
        return np.concatenate(flat, axis=1)

    def _check(self, matrix: Any) -> None:
        """Compare a product with the recovered matrix; raise SparsityError if they differ."""
        forward = self.plan.mode == "fwd"
        matrix = matrix if forward else matrix.T
        rng = np.random.default_rng(matrix.shape[1])
        vector = rng.uniform(0.5, 1.5, matrix.shape[1]) * rng.choice([-1, 1], matrix.shape[1])
        vector = vector.astype(self.dtype)
        with np.errstate(all="ignore"):
            wanted = self._apply(vector[None])[0]
            error = abs(wanted - matrix @ vector)
            size = abs(matrix) @ abs(vector)
            eps = np.finfo(self.dtype).eps
            limit = eps**0.5 * size + 100 * eps * size[np.isfinite(size)].max(initial=0)
        wrong = np.flatnonzero(error > limit)
        if wrong.size:
            what, vectors = ("row", "columns") if forward else ("column", "rows")
            raise SparsityError(
                f"{self.name}: {what} {wrong[0]} of the matrix does not agree with the given "
                f"sparsity ({wrong.size} such {what}s): a product with it is "
                f"{wanted[wrong[0]]:.6g}, but the elements read from the products with "
                f"{self.plan.products} sums of {vectors} give {(matrix @ vector)[wrong[0]]:.6g}. "
                "An element outside the sparsity is not zero, or a Hessian is not symmetric: leave "
                "sparsity= out to have the sparsity found."
            )


def sparse_jacobian(
    fun: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    sparsity: Any = None,
    mode: str = "auto",
    chunk_size: int | None = None,
) -> SparseDerivative:
    """Return a function that computes the Jacobian of `fun` as a sparse matrix.

    J[i, j] = ∂f_i/∂x_j. Columns (forward mode) or rows (reverse mode) without a common nonzero are
    computed by one product: a tridiagonal matrix takes three, whatever its size.

    The sparsity is found, and coloured, at the first call for each combination of shapes and
    dtypes; see `jacobian_sparsity`. Later calls cost the products only.

    Args:
      fun: A function of real floating-point arrays (pytrees) that returns such an array (a pytree).
      argnums: Position, or tuple of positions, of the arguments to differentiate.
      sparsity: Where the matrix can be nonzero, if it is known: a `scipy.sparse` matrix or an array
        of its shape. Nothing is staged then, and each call checks it by one further product.
      mode: "fwd" (columns), "rev" (rows), or "auto", the one with fewer products.
      chunk_size: At most so many products at a time, which bounds the memory.

    Returns:
      A function of the same arguments, which returns a `scipy.sparse.csr_array` of shape (size of
      the output, size of the differentiated arguments), rows and columns in C order, leaf by leaf;
      its dtype is that of these arguments. Entries of the sparsity are stored even where they are
      zero. `plan(*args)` gives sparsity, mode, colors and the number of products.

    Raises:
      ConcretizationError: Python control flow in fun depends on values, and sparsity is not given.
      SparsityError: The Jacobian is not zero outside the given sparsity.
      ShapeError: The given sparsity has another shape.
      GradientDtypeError: A leaf has no derivative, or is complex.
      NonScalarOutputError: The output is not real floating-point.
      TracerConversionError: It was called inside another transformation.
      MissingPackageError: SciPy is not installed.

    Example:
      >>> import numpy as np
      >>> jacobian = sparse_jacobian(lambda x: np.diff(x) ** 2)
      >>> print(jacobian(np.array([1.0, 2.0, 4.0])).toarray())
      [[-2.  2.  0.]
       [ 0. -4.  4.]]
      >>> jacobian.plan(np.zeros(10_000)).products
      2

    Source:
      Curtis, Powell and Reid, "On the estimation of sparse Jacobian matrices", IMA J. Appl. Math.
      13, 1974; Gebremedhin, Manne and Pothen, "What color is your Jacobian?", SIAM Review 47, 2005.
    """
    if mode not in ("auto", "fwd", "rev"):
        raise ValueError(f"mode of sparse_jacobian must be 'auto', 'fwd' or 'rev', got {mode!r}.")
    scipy_sparse()
    name = f"sparse_jacobian of {name_of(fun)}"

    def make_plan(args: Any, kwargs: Any) -> Plan:
        pattern, modes = detected(name, fun, argnums, args, kwargs)
        return plan_columns(pattern, modes if mode == "auto" else {mode})

    def plan_given(pattern: Any) -> Plan:
        return plan_columns(pattern, {"fwd", "rev"} if mode == "auto" else {mode})

    return SparseDerivative(name, fun, argnums, sparsity, make_plan, plan_given, chunk_size)


def sparse_hessian(
    fun: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    sparsity: Any = None,
    chunk_size: int | None = None,
) -> SparseDerivative:
    """Return a function that computes the Hessian of `fun` as a sparse matrix.

    H[i, j] = ∂²f/∂x_i∂x_j, forward mode over reverse mode, by products with sums of unit vectors.
    Of two elements (i, j) and (j, i) only one needs to be read: an arrow-shaped matrix takes two
    products, whatever its size. Symmetry is not used where fun contains rules of its own
    (custom_vjp, checkpoint, from_jax ...), unless sparsity is given.

    The sparsity is found, and coloured, at the first call for each combination of shapes and
    dtypes; see `hessian_sparsity`. Later calls cost the products only.

    Args:
      fun: A function of real floating-point arrays (pytrees) that returns a real scalar.
      argnums: Position, or tuple of positions, of the arguments to differentiate.
      sparsity: Where the matrix can be nonzero, if it is known: a `scipy.sparse` matrix or an array
        of its shape, or one half of it. Nothing is staged then, and each call checks it by one
        further product.
      chunk_size: At most so many products at a time, which bounds the memory.

    Returns:
      A function of the same arguments, which returns a `scipy.sparse.csr_array` with a row and a
      column for each element of the differentiated arguments, in C order, leaf by leaf; its dtype
      is theirs. Entries of the sparsity are stored even where they are zero. `plan(*args)` gives
      sparsity, colors and the number of products.

    Raises:
      ConcretizationError: Python control flow in fun depends on values, and sparsity is not given.
      SparsityError: The Hessian is not zero outside the given sparsity, or is not symmetric.
      ShapeError: The given sparsity has another shape.
      GradientDtypeError: A leaf has no derivative, or is complex.
      NonScalarOutputError: The output is not a real scalar.
      TracerConversionError: It was called inside another transformation.
      MissingPackageError: SciPy is not installed.

    Example:
      >>> import numpy as np
      >>> hessian = sparse_hessian(lambda x: x[0] * np.sum(x**2))
      >>> print(hessian(np.array([1.0, 2.0, 3.0])).toarray())
      [[6. 4. 6.]
       [4. 2. 0.]
       [6. 0. 2.]]
      >>> hessian.plan(np.zeros(10_000)).products
      2

    Source:
      Gebremedhin, Manne and Pothen, "What color is your Jacobian?", SIAM Review 47, 2005.
    """
    scipy_sparse()
    name = f"sparse_hessian of {name_of(fun)}"

    def make_plan(args: Any, kwargs: Any) -> Plan:
        pattern, symmetric = detected_symmetric(name, fun, argnums, args, kwargs)
        return plan_symmetric(pattern) if symmetric else plan_columns(pattern, {"fwd"})

    def plan_given(pattern: Any) -> Plan:
        if pattern.shape[0] != pattern.shape[1]:
            raise ShapeError(
                f"{name}: sparsity of a Hessian must be square, got shape {pattern.shape}."
            )
        both = (pattern + pattern.T).tocsr()
        both.sort_indices()
        return plan_symmetric(both)

    gradient = grad(fun, argnums)
    return SparseDerivative(name, gradient, argnums, sparsity, make_plan, plan_given, chunk_size)
