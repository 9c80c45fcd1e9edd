"""SciPy's optimisers on pytrees: `minimize`. May import `transforms`, `tree`; SciPy when called."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcgraph import tree
from funcgraph.core.aval import dtype_of, shape_of
from funcgraph.errors import GradientDtypeError, MissingPackageError, TreeError
from funcgraph.transforms.arguments import gradient_of
from funcgraph.transforms.gradient import value_and_grad
from funcgraph.transforms.jacobian import hessian, hvp
from funcgraph.transforms.ravel import ravel_pytree

__all__ = ["MinimizeResult", "minimize"]

_VALUES_ONLY = {"nelder-mead", "powell", "cobyla", "cobyqa"}
_PRODUCTS = {"newton-cg", "trust-ncg", "trust-krylov", "trust-constr"}
_MATRICES = {"dogleg", "trust-exact"}


class MinimizeResult(NamedTuple):
    """What `minimize` found.

    Args:
      params: The minimiser: the structure, types and dtypes of the starting point.
      fun: The value there, a float.
      grad: The gradient there, like params; None for methods that use values only.
      nit: Number of iterations; None where SciPy's method does not count them.
      nfev: Number of evaluations of the function.
      success: Whether the method's criterion was met.
      message: SciPy's account of why it stopped.
    """

    params: Any
    fun: float
    grad: Any
    nit: int | None
    nfev: int
    success: bool
    message: str


def minimize(
    fun: Callable[..., Any],
    params: Any,
    args: tuple[Any, ...] = (),
    *,
    method: str = "L-BFGS-B",
    bounds: tuple[Any, Any] | None = None,
    tol: float | None = None,
    callback: Callable[[Any], Any] | None = None,
    options: dict[str, Any] | None = None,
) -> MinimizeResult:
    """Minimise a function of a pytree by one of SciPy's methods, with exact derivatives.

    Value and gradient come from one evaluation. Newton-CG, trust-ncg, trust-krylov and trust-constr
    get products with the Hessian, dogleg and trust-exact the Hessian itself. The function sees
    float64, whatever the dtypes of the parameters.

    Args:
      fun: fun(params, *args) returns a real scalar. `fg.jit(fun)` makes evaluations faster.
      params: The starting point: a pytree of real arrays and numbers.
      args: Further arguments of fun, which are not changed.
      method: A method of scipy.optimize.minimize, in any case.
      bounds: (lower, upper): each a pytree like params, or a prefix of one: a number stands for
        all of a subtree, None for no bound.
      tol: Tolerance of the method's criterion.
      callback: callback(params) is called after each iteration; it may raise StopIteration.
      options: Options of the method, such as {"maxiter": 100}.

    Returns:
      A MinimizeResult.

    Raises:
      GradientDtypeError: A leaf of params is not real (the message names its key path).
      TreeError: bounds do not fit params.
      MissingPackageError: SciPy is not installed.

    Example:
      >>> import numpy as np
      >>> rosenbrock = lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2
      >>> found = minimize(rosenbrock, {"x": -1.0, "y": 2.0})
      >>> found.success, round(found.params["x"], 3), round(found.params["y"], 3)
      (True, 1.0, 1.0)
    """
    if importlib.util.find_spec("scipy") is None:
        raise MissingPackageError("minimize needs SciPy: pip install 'funcgraph[scipy]'.")
    optimize = importlib.import_module("scipy.optimize")
    wide = _float64(params)
    start, unravel = ravel_pytree(wide)
    restored = _restorer(params)
    kind = method.lower()
    keywords: dict[str, Any] = {"jac": kind not in _VALUES_ONLY}
    objective = _objective(fun, unravel, args, keywords["jac"])
    if kind in _PRODUCTS:
        keywords["hessp"] = _hessian_product(fun, unravel, args)
    if kind in _MATRICES:
        keywords["hess"] = hessian(lambda x: fun(unravel(x), *args))
    if bounds is not None:
        keywords["bounds"] = optimize.Bounds(*_flat_bounds(bounds, wide))
    if callback is not None:
        keywords["callback"] = lambda x, *_: callback(restored(unravel(x)))
    found = optimize.minimize(objective, start, method=method, tol=tol, options=options, **keywords)
    slope = found.get("grad", found.get("jac")) if keywords["jac"] else None
    return MinimizeResult(
        restored(unravel(found.x)),
        float(found.fun),
        None if slope is None else restored(unravel(np.asarray(slope))),
        found.get("nit"),
        int(found.nfev),
        bool(found.success),
        str(found.message),
    )


def _float64(params: Any) -> Any:
    """Return the parameters as float64; raise where one is not real."""

    def leaf(path: Any, x: Any) -> Any:
        if type(x) is not int and dtype_of(x).kind != "f":
            raise GradientDtypeError(
                f"params{tree.keystr(path)} has dtype {dtype_of(x)}, but minimize changes real "
                "floating-point numbers only. Convert it with .astype(float), or pass it in args."
            )
        return np.array(x, np.float64)[()]

    return tree.map_with_path(leaf, params)


def _restorer(params: Any) -> Callable[[Any], Any]:
    """Return the function that gives a pytree the types and dtypes of the parameters."""
    _, as_before = ravel_pytree(tree.map(lambda p: float(p) if type(p) is int else p, params))

    def restored(pytree: Any) -> Any:
        narrow = as_before(ravel_pytree(pytree)[0])
        return tree.map(lambda p, x: gradient_of(p, x, set()), params, narrow)

    return restored


def _objective(fun: Any, unravel: Any, args: Any, with_gradient: bool) -> Callable[[Any], Any]:
    if not with_gradient:
        return lambda x: float(fun(unravel(x), *args))
    both = value_and_grad(fun)

    def objective(x: Any) -> tuple[float, Any]:
        value, grad = both(unravel(x), *args)
        return float(value), ravel_pytree(grad)[0]

    return objective


def _hessian_product(fun: Any, unravel: Any, args: Any) -> Callable[[Any, Any], Any]:
    def product(x: Any, v: Any) -> Any:
        return ravel_pytree(hvp(lambda p: fun(p, *args), (unravel(x),), (unravel(v),)))[0]

    return product


def _flat_bounds(bounds: Any, params: Any) -> list[Any]:
    """Return lower and upper bounds as vectors."""
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise TreeError(f"bounds must be a pair (lower, upper) of pytrees, got {bounds!r:.80}.")
    return [_spread(b, params, end) for b, end in zip(bounds, (-np.inf, np.inf), strict=True)]


def _spread(prefix: Any, params: Any, missing: float) -> Any:
    """Return the bound of every element of the parameters, from a prefix of their tree."""
    out: list[Any] = [np.zeros(0)]

    def leaf(bound: Any, part: Any) -> None:
        value = missing if bound is None else bound
        for x in tree.leaves(part):
            if shape_of(value) not in ((), shape_of(x)):
                raise TreeError(
                    f"a bound has shape {shape_of(value)}, but its parameter {shape_of(x)}: give "
                    "one number for all elements, or one for each."
                )
            out.append(np.broadcast_to(np.asarray(value, float), shape_of(x)).ravel())

    tree.map(leaf, prefix, params, is_leaf=lambda x: x is None)
    return np.concatenate(out)
